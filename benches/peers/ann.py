#!/usr/bin/env python3
"""Measures gleaner's vector index beside hnswlib, faiss, usearch, ScaNN and SymphonyQG on the same vectors.

One JSON line for each search setting goes to standard output, tables for people to standard error, and recall against
queries a second to an SVG file. See ../README.md for what the numbers mean.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import curves
import vectors
from libraries import K, PEERS

ROOT = Path(__file__).resolve().parents[2]
PROCESSORS = sorted(os.sched_getaffinity(0))
SEARCH_PROCESSOR = PROCESSORS[-1]
PASSES, PASS_SECONDS = 3, 1.0
LOWEST, HIGHEST = 0.75, 0.995  # recall: what is below is not timed, what is above once


class Failed(Exception):
    """A side that could not be measured."""


def recall(found, base, queries, neighbours, metric):
    """Share of the 10 nearest rows that were found; any row as near as the tenth is one of them."""
    hits = 0
    for ids, query, exact in zip(found, queries, neighbours):
        ids = np.unique(ids[ids < len(base)].astype(np.int64))
        ids = ids[ids >= 0]
        near = vectors.similarities(base[np.append(ids, exact[K - 1])], query[None], metric)[0]
        hits += (near[:-1] >= near[-1] - 1e-6 * max(1, abs(near[-1]))).sum()
    return hits / (K * len(queries))


def timed(search, rows):
    """One pass: seconds of each search, one row at a time, and the share of a processor that it had."""
    seconds = []
    begun, used = time.perf_counter(), time.thread_time()
    while time.perf_counter() - begun < PASS_SECONDS:
        for row in rows:
            before = time.perf_counter()
            search(row)
            seconds.append(time.perf_counter() - before)
    return np.array(seconds), (time.thread_time() - used) / (time.perf_counter() - begun)


def in_one_call(search, queries):
    """Queries a second when the library is handed all of them at once, still in one thread; the best of three."""
    fastest = float("inf")
    for _ in range(PASSES):
        begun = time.perf_counter()
        search(queries)
        fastest = min(fastest, time.perf_counter() - begun)
    return len(queries) / fastest


def measure(peer, data, metric, threads, send):
    """Builds the index of a peer and sends one line for each search setting, then `None`."""
    os.sched_setaffinity(0, PROCESSORS[:threads])
    base, queries, neighbours = data
    if metric == "cosine":
        base, queries = vectors.unit(base), vectors.unit(queries)
    importlib.import_module(PEERS[peer].package)
    begun, used = time.perf_counter(), time.process_time()
    index = PEERS[peer](base, metric, threads)
    built = {
        "builder": peer,
        "build_seconds": round(time.perf_counter() - begun, 2),
        "build_cpu_seconds": round(time.process_time() - used, 2),
        "threads": threads,
        "rows": len(base),
        "dim": base.shape[1],
        "bytes_per_vector": round(index.size() / len(base), 1),
    }
    os.sched_setaffinity(0, [SEARCH_PROCESSOR])
    rows = [queries[row : row + 1] for row in range(len(queries))]
    for setting in index.settings:
        search = index.search(setting)
        share = recall([np.ravel(search(row)) for row in rows], base, queries, neighbours, metric)
        if share < LOWEST:
            continue
        seconds, processor = min((timed(search, rows) for _ in range(PASSES)), key=lambda one: one[0].mean())
        p50, p99 = np.percentile(seconds, [50, 99]) * 1e6
        send.send({
            **built,
            **setting,
            "recall@10": round(share, 4),
            "qps": round(1 / seconds.mean()),
            "p50_us": round(p50, 1),
            "p99_us": round(p99, 1),
            "one_call_qps": round(in_one_call(search, queries)),
            "processor_share": round(processor, 2),
            "load_1min": round(os.getloadavg()[0], 1),
        })
        if share >= HIGHEST:
            break
    send.send(None)


def run_peer(peer, data, metric, threads):
    """Lines of a peer, measured in a process of its own."""
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=measure, args=(peer, data, metric, threads, send), daemon=True
    )
    process.start()
    send.close()
    try:
        yield from iter(receive.recv, None)
    except EOFError:
        raise Failed(f"{peer} ended before its last result") from None
    process.join()


def pin(group):
    """Keeps every thread of a process group on the search processor."""
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getpgid(int(process)) == group:
                for thread in os.listdir(f"/proc/{process}/task"):
                    os.sched_setaffinity(int(thread), [SEARCH_PROCESSOR])
        except OSError:
            continue  # it has ended


def run_gleaner(command, arguments):
    """Lines of gleaner's own benchmark. Once it says what recall takes, all is built, and all of it is pinned."""
    files = ["--base", arguments.base.resolve(), "--queries", arguments.queries.resolve()]
    command = [*shlex.split(command), *files, "--metric", arguments.metric, "--json"]
    if "--threads" not in command:
        command += ["--threads", str(arguments.threads_build)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    try:
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
                continue
            if line.startswith("recall target"):
                pin(process.pid)
            print(line, end="", file=sys.stderr, flush=True)
        if process.wait() != 0:
            raise Failed(f"exit code {process.returncode} of {shlex.join(map(str, command))}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)


def recorded(file):
    return [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]


def sides(arguments, data):
    """Lines of one round: gleaner, then each peer."""
    if arguments.gleaner and not arguments.gleaner_lines:
        yield from run_gleaner(arguments.gleaner, arguments)
    for peer in filter(None, arguments.peers.split(",")):
        yield from run_peer(peer, data, arguments.metric, arguments.threads_build)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="Parquet file with `embedding`")
    parser.add_argument("--queries", type=Path, required=True, help="Parquet file with `embedding`, `neighbours`")
    parser.add_argument("--metric", choices=vectors.METRICS, required=True)
    parser.add_argument("--peers", default=",".join(PEERS), help="some of %(default)s; empty: none")
    parser.add_argument("--gleaner", default="cargo bench --bench ann --", help="command (%(default)s); empty: none")
    parser.add_argument("--gleaner-lines", type=Path, help="its lines as recorded, instead of running it")
    parser.add_argument("--peer-lines", type=Path, help="lines of peers as recorded, beside those measured")
    parser.add_argument("--threads-build", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="gleaner and peers in turn this often; medians (1)")
    parser.add_argument("--name", help="of the figure ../ann-NAME.svg (the folder of the base file)")
    parser.add_argument("--json", action="store_true", help="only the lines: no tables, no figure")
    arguments = parser.parse_args()
    unknown = set(filter(None, arguments.peers.split(","))) - set(PEERS)
    if unknown:
        parser.error(f"there is no peer {', '.join(sorted(unknown))}: use some of {', '.join(PEERS)}")
    lines = [line for file in (arguments.gleaner_lines, arguments.peer_lines) if file for line in recorded(file)]
    try:
        data = vectors.read(arguments.base, arguments.queries, arguments.metric) if arguments.peers else None
        for round_number in range(arguments.rounds):
            for line in sides(arguments, data):
                lines.append(line | {"round": round_number})
                print(json.dumps(lines[-1]), flush=True)
    except (Failed, OSError) as error:
        sys.exit(f"ann.py: {error}")
    if lines and not arguments.json:
        builders = curves.medians(lines)
        name = arguments.name or arguments.base.resolve().parent.name
        title = f"{name}: {lines[0]['rows']:,} × {lines[0]['dim']}, {arguments.metric}"
        (ROOT / f"benches/ann-{name}.svg").write_text(curves.figure(builders, title))
        print(f"{title}\n\n{curves.table(builders)}", file=sys.stderr)


if __name__ == "__main__":
    main()
