"""Vectors and their exact neighbours, and the Parquet files they come from.

`base.parquet` has `id` and `embedding`, `queries.parquet` has `embedding` and `neighbours`: the numbers of the nearest
base rows, nearest first.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

METRICS = ("cosine", "dot", "l2")
BLOCK = 1 << 14  # base rows compared at a time


def unit(rows):
    """Rows divided by their lengths; a row of zeros stays one."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.finfo(rows.dtype).tiny)


def similarities(rows, queries, metric):
    """One row a query: cosine, inner product, or the negative squared Euclidean distance, in f64."""
    rows, queries = rows.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        rows, queries = unit(rows), unit(queries)
    products = queries @ rows.T
    if metric == "l2":
        return 2 * products - (rows**2).sum(1) - (queries**2).sum(1)[:, None]
    return products


def exact_neighbours(base, queries, metric, k=100):
    """Numbers of the `k` base rows nearest to each query, nearest first."""
    ids = np.empty((len(queries), 0), np.int32)
    near = np.empty((len(queries), 0))
    for start in range(0, len(base), BLOCK):
        block = similarities(base[start : start + BLOCK], queries, metric)
        numbers = np.broadcast_to(np.arange(start, start + block.shape[1], dtype=np.int32), block.shape)
        ids, near = np.hstack([ids, numbers]), np.hstack([near, block])
        order = np.argsort(-near, axis=1, kind="stable")[:, :k]
        ids, near = np.take_along_axis(ids, order, 1), np.take_along_axis(near, order, 1)
    return ids


def matrix(table, column, dtype):
    """A column of lists of one length."""
    values = table[column].combine_chunks()
    return values.flatten().to_numpy(zero_copy_only=False).astype(dtype).reshape(len(values), -1)


def read(base, queries, metric):
    """Base vectors, query vectors and exact neighbours, which are computed where the file has none."""
    base = matrix(pq.read_table(base, columns=["embedding"]), "embedding", np.float32)
    table = pq.read_table(queries)
    queries = matrix(table, "embedding", np.float32)
    if "neighbours" in table.column_names:
        return base, queries, matrix(table, "neighbours", np.int64)
    return base, queries, exact_neighbours(base, queries, metric)


def lists(rows, kind):
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel(), kind), rows.shape[1])


def write(folder, base, queries, metric):
    """Writes both files of a data set."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = pa.array([str(row) for row in range(len(base))])
    pq.write_table(pa.table({"id": ids, "embedding": lists(base, pa.float32())}), folder / "base.parquet")
    neighbours = lists(exact_neighbours(base, queries, metric), pa.int32())
    table = pa.table({"embedding": lists(queries, pa.float32()), "neighbours": neighbours})
    pq.write_table(table, folder / "queries.parquet")
