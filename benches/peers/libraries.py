"""The peers: one class a library, with the parameters it is usually run with.

Each is made from the base vectors (of unit length for `cosine`), the metric and the number of build threads. Then

- `package` is what it imports, which is done before any clock runs,
- `settings` are what a search can be given, roughly from fast to accurate; `ef`, or what stands for it, comes first,
- `search(setting)` is a function of one row (1 × dim) or many, which it searches in one thread: 10 ids for each,
- `size()` is that of the saved index with its vectors, in bytes.
"""

import os
import tempfile
from pathlib import Path

import numpy as np

K = 10
EFS = [{"ef": ef} for ef in (10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320, 448, 640, 896, 1280, 1792, 2560)]


def saved_size(save):
    """Bytes of the files that `save(path)` writes."""
    with tempfile.TemporaryDirectory() as folder:
        save(os.path.join(folder, "index"))
        return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())


class Hnswlib:
    """M 16, efConstruction 200."""

    package = "hnswlib"
    settings = EFS

    def __init__(self, base, metric, threads):
        import hnswlib

        self.index = hnswlib.Index("l2" if metric == "l2" else "ip", base.shape[1])
        self.index.init_index(len(base), M=16, ef_construction=200)
        self.index.add_items(base, num_threads=threads)

    def search(self, setting):
        self.index.set_ef(setting["ef"])
        return lambda rows: self.index.knn_query(rows, K, num_threads=1)[0]

    def size(self):
        return self.index.index_file_size()


class Faiss:
    """IndexHNSWFlat: M 16, efConstruction 200."""

    package = "faiss"
    settings = EFS

    def __init__(self, base, metric, threads):
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(threads)
        kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self.index = faiss.IndexHNSWFlat(base.shape[1], 16, kind)
        self.index.hnsw.efConstruction = 200
        self.index.add(base)

    def search(self, setting):
        self.faiss.omp_set_num_threads(1)
        self.index.hnsw.efSearch = setting["ef"]
        return lambda rows: self.index.search(rows, K)[1]

    def size(self):
        return self.faiss.serialize_index(self.index).nbytes


class Usearch:
    """Its defaults, connectivity 16 and expansion_add 128, with f32 vectors."""

    package = "usearch.index"
    settings = EFS

    def __init__(self, base, metric, threads):
        from usearch.index import Index

        self.index = Index(ndim=base.shape[1], metric="l2sq" if metric == "l2" else "ip", dtype="f32")
        self.index.add(np.arange(len(base)), base, threads=threads)

    def search(self, setting):
        self.index.expansion_search = setting["ef"]
        return lambda rows: self.index.search(rows, K, threads=1).keys

    def size(self):
        return self.index.serialized_length


class Scann:
    """A tree of 2 √rows leaves, asymmetric hashing of 2 dimensions a block, and reordering by the full vectors.

    For inner products also what the library offers for them alone: anisotropic quantization and SOAR. `ef` is the
    number of leaves searched.
    """

    package = "scann.scann_ops.py.scann_ops_pybind"
    settings = [
        {"ef": leaves, "reorder": reorder}
        for leaves in (2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 135, 200, 300, 450, 700)
        for reorder in (30, 100, 300)
    ]

    def __init__(self, base, metric, threads):
        from scann.scann_ops.py import scann_ops_pybind as scann

        leaves = round(2 * len(base) ** 0.5)
        inner = metric != "l2"
        builder = scann.builder(base, K, "dot_product" if inner else "squared_l2")
        spilling = {"avq": 4, "soar_lambda": 1.5, "overretrieve_factor": 2.0} if inner else {}
        builder.tree(leaves, num_leaves_to_search=100, training_sample_size=250_000, **spilling)
        builder.score_ah(2, **({"anisotropic_quantization_threshold": 0.2} if inner else {}))
        self.index = builder.reorder(100).set_n_training_threads(threads).build()

    def search(self, setting):
        leaves, reorder = setting["ef"], setting["reorder"]

        def search(rows):
            if len(rows) == 1:
                return self.index.search(rows[0], K, reorder, leaves)[0]
            return self.index.search_batched(rows, K, reorder, leaves)[0]

        return search

    def size(self):
        def save(path):
            os.mkdir(path)
            self.index.serialize(path)

        return saved_size(save)


class Rabitqlib:
    """SymphonyQG: degree 64, ef_construction 200, full vectors beside the codes.

    Unit vectors are compared by distance, which orders them as the inner product does and gives the better graph.
    """

    package = "rabitqlib"
    settings = EFS

    def __init__(self, base, metric, threads):
        import rabitqlib

        self.index = rabitqlib.SymqgIndex(base.shape[1], 64, "ip" if metric == "dot" else "l2")
        self.index.build(base, ef_construction=200, num_threads=threads)

    def search(self, setting):
        return lambda rows: self.index.search(rows, K, setting["ef"], 1)[0]

    def size(self):
        return saved_size(self.index.save)


PEERS = {one.__name__.lower(): one for one in (Hnswlib, Faiss, Usearch, Scann, Rabitqlib)}
