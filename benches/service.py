#!/usr/bin/env python3
"""Measures a gleaner binary as its users meet it: as a process, over HTTP.

One JSON line per result goes to standard output, a table for people to standard error. See README.md beside
this file for what the numbers mean.
"""

import argparse
import ctypes
import http.client
import json
import mmap
import multiprocessing
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import cycle, takewhile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
FORK = multiprocessing.get_context("fork")


class Failed(Exception):
    """An answer that a correct service does not give."""


class Client:
    """One connection that stays open."""

    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def raw(self, method, path, body=None, kind="application/json"):
        """Status and body of the answer."""
        self.http.request(method, path, body, {"content-type": kind} if body is not None else {})
        response = self.http.getresponse()
        return response.status, response.read()

    def json(self, method, path, body=None, kind="application/json"):
        """The body of a 2xx answer."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        status, answer = self.raw(method, path, body, kind)
        if not 200 <= status < 300:
            raise Failed(f"{method} {path}: {status} {answer[:300].decode(errors='replace')}")
        return json.loads(answer)


class Server:
    """A `gleaner serve` of its own."""

    def __init__(self, gleaner, data_dir):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = open(Path(data_dir).parent / "serve.log", "ab")
        listen = ["--data-dir", data_dir, "--listen", f"127.0.0.1:{self.port}"]
        self.begun = time.monotonic()
        self.process = subprocess.Popen([gleaner, "serve", *listen], stderr=self.log)

    def until_ok(self, method, path, body=None):
        """Asks, each time on a new connection, until it is answered 200; the body of that answer."""
        while time.monotonic() - self.begun < 60:
            if self.process.poll() is not None:
                raise Failed(f"gleaner ended: see {self.log.name}")
            try:
                status, answer = Client(self.port).raw(method, path, body)
                if status == 200:
                    return answer
            except OSError:
                pass
            time.sleep(0.0005)
        raise Failed(f"{path} is not answered 200")

    def seconds(self):
        """Since it was executed."""
        return time.monotonic() - self.begun

    def memory_mb(self):
        """Anonymous memory: heap and stacks, not the mapped index files."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) * 1024 / 1e6

    def cpu_seconds(self):
        """Processor time it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """SIGTERM, and waits."""
        self.process.terminate()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.log.close()


@contextmanager
def serve(gleaner, data_dir):
    """A server that is ready, and a client of it."""
    server = Server(gleaner, data_dir)
    try:
        server.until_ok("GET", "/readyz")
        yield server, Client(server.port)
    finally:
        server.stop()


RESULTS = []


def report(benchmark, case, **numbers):
    """Prints one result."""
    short = lambda value: float(f"{value:.4g}") if isinstance(value, float) else value
    rounded = {name: short(value) for name, value in numbers.items()}
    load = round(os.getloadavg()[0], 1)
    RESULTS.append((f"{benchmark} {case}", rounded, load))
    print(json.dumps({"benchmark": benchmark, "case": case, **rounded, "load_1min": load}), flush=True)


def print_table():
    """Prints all results for people."""
    for name, numbers, load in RESULTS:
        shown = "  ".join(f"{key} {value}" for key, value in numbers.items())
        print(f"{name:48}  {shown}  (load {load})", file=sys.stderr)


def quantiles(seconds):
    """Median and 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000
    return {"p50_ms": at(0.5), "p99_ms": at(0.99)}


def search_all(port, path, bodies):
    """Sends each body; begin, end, and the seconds each answer took. A failure or a degraded answer raises."""
    client, seconds = Client(port), []
    client.raw("GET", "/healthz")
    begun = time.monotonic()
    for body in bodies:
        sent = time.monotonic()
        status, answer = client.raw("POST", path, body)
        seconds.append(time.monotonic() - sent)
        if status != 200 or b'"degraded":true' in answer:
            raise Failed(f"search: {status} {answer[:300].decode(errors='replace')}")
    return begun, time.monotonic(), seconds


def search_side_by_side(port, path, bodies, clients):
    """The bodies, shared out among processes that search at once: latencies and searches a second."""
    shares = [(port, path, bodies[at::clients]) for at in range(clients)]
    with FORK.Pool(clients) as pool:
        parts = pool.starmap(search_all, shares, chunksize=1)
    elapsed = max(end for _, end, _ in parts) - min(begun for begun, _, _ in parts)
    return {**quantiles([s for _, _, part in parts for s in part]), "per_s": len(bodies) / elapsed}


def markdown(folder, max_mb):
    """(path, text) of the Markdown files that are valid UTF-8; of more than `max_mb`, an even sample."""
    documents = []
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".md", ".mdx", ".markdown") and path.is_file():
            text = path.read_bytes().decode(errors="replace")
            if text.strip() and "\ufffd" not in text:
                documents.append((str(path.relative_to(folder)), text))
    if not documents:
        raise Failed(f"{folder} holds no Markdown")
    total = sum(len(text.encode()) for _, text in documents)
    step = max(1, round(total / (max_mb * 1e6))) if max_mb else 1
    return documents[::step]


def batches(documents, most):
    """NDJSON bodies of about `most` bytes."""
    lines, size = [], 0
    for path, text in documents:
        line = json.dumps({"id": path, "uri": path, "text": text}, ensure_ascii=False).encode()
        if lines and size + len(line) > most:
            yield b"\n".join(lines)
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    yield b"\n".join(lines)


def questions(documents):
    """Something that each document answers: its first long line."""
    long_lines = (next((line for line in text.splitlines() if len(line) > 40), text) for _, text in documents)
    return [json.dumps({"query": unquoted(line[:200])}).encode() for line in long_lines]


def unquoted(text):
    """Without the double quotes that ask for a phrase."""
    return text.replace('"', " ")


def keep_searching(port, path, bodies, stop, results):
    """Searches until told to stop; puts the latencies, or what failed."""
    try:
        results.put(search_all(port, path, takewhile(lambda _: not stop.is_set(), cycle(bodies)))[2])
    except (Failed, OSError) as error:
        results.put(str(error))


def import_documents(client, path, bodies, open_jobs):
    """Posts the bodies, at most `open_jobs` unfinished at a time; returns when all have ended."""
    jobs = []
    while bodies or jobs:
        if bodies and len(jobs) < open_jobs:
            answer = client.json("POST", f"{path}/documents", bodies.pop(0), "application/x-ndjson")
            if answer["failed"]:
                raise Failed(f"{answer['failed']} documents were refused")
            jobs.append(answer["job_id"])
            continue
        states = [client.json("GET", f"/v1/jobs/{job}") for job in jobs]
        for job in states:
            if job["failed"] or job["state"] in ("failed", "cancelled"):
                raise Failed(f"a job failed: {json.dumps(job)[:300]}")
        jobs = [job["id"] for job in states if job["state"] != "succeeded"]
        time.sleep(0.02)


def throughput(arguments, work):
    """Imports Markdown over HTTP while clients search."""
    static, max_mb = arguments.static_model, arguments.max_mb
    embedding = {"provider": "static", "path": str(static.resolve())} if static else {"provider": "builtin"}
    case = "static model" if static else "built-in model"
    documents = markdown(arguments.folder, max_mb if max_mb is not None else (0 if static else 1))
    text_mb = sum(len(text.encode()) for _, text in documents) / 1e6
    bodies, searches = list(batches(documents, 1 << 20)), questions(documents)
    path = "/v1/collections/bench"
    with serve(arguments.gleaner, work / "data") as (server, client):
        client.json("POST", "/v1/collections", {"name": "bench", "embedding": embedding})
        client.json("POST", f"{path}/search", searches[0])  # the model is loaded now
        stop, results = FORK.Event(), FORK.SimpleQueue()
        searching = (server.port, f"{path}/search", searches, stop, results)
        for _ in range(arguments.searchers):
            FORK.Process(target=keep_searching, args=searching, daemon=True).start()
        begun, cpu = time.monotonic(), server.cpu_seconds()
        try:
            import_documents(client, path, bodies, arguments.open_jobs)
            searchable = time.monotonic() - begun
            if client.json("GET", f"{path}/stats")["pending_documents"]:
                raise Failed("every job has ended, and documents are pending")
            while not (stats := client.json("GET", f"{path}/stats"))["settled"]:
                time.sleep(0.05)
            settled, cpu = time.monotonic() - begun, server.cpu_seconds() - cpu
        finally:
            stop.set()
        during = [results.get() for _ in range(arguments.searchers)]
        for failure in (part for part in during if isinstance(part, str)):
            raise Failed(f"while importing: {failure}")
        if stats["documents"] != len(documents):
            raise Failed(f"{stats['documents']} of {len(documents)} documents are searchable")
        report("throughput", case, documents=len(documents), chunks=stats["chunks"], text_mb=text_mb,
               searchable_s=searchable, searchable_mb_per_s=text_mb / searchable,
               graph_s=settled, graph_mb_per_s=text_mb / settled, server_cpu_s=cpu)  # fmt: skip
        latencies = [seconds for part in during for seconds in part]
        if latencies:
            report("throughput", f"{case}, searches meanwhile", searches=len(latencies), **quantiles(latencies))
        idle = quantiles(search_all(server.port, f"{path}/search", (searches * 1000)[:1000])[2])
        report("throughput", f"{case}, searches afterwards", **idle, anonymous_mb=server.memory_mb())


def read_queries(folder, ids):
    """Text, vector and exact neighbours (document id → score) of each query."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise Failed("this needs pyarrow: pip install -r benches/requirements.txt") from None
    rows = parquet.read_table(folder / "queries.parquet").to_pylist()
    names = parquet.read_table(folder / "base.parquet", columns=["id"])["id"].to_pylist() if ids else None
    for row in rows:
        near = zip(row["neighbours"], row["scores"])
        row["near"] = {names[at]: score for at, score in near} if ids else None
    return rows


def search_body(row, mode, **more):
    """A search with what the mode needs."""
    text = {} if mode == "dense" else {"query": unquoted(row["text"])}
    vector = {} if mode == "lexical" else {"vector": row["embedding"]}
    return json.dumps({"mode": mode, **text, **vector, **more}).encode()


def recall_at_10(client, path, rows, **more):
    """The share of the ten nearest that is found. Of equally near rows any will do."""
    found = 0
    for row in rows:
        tenth = sorted(row["near"].values(), reverse=True)[9]
        hits = client.json("POST", path, search_body(row, "dense", limit=10, **more))["hits"]
        found += sum(row["near"].get(hit["document_id"], -2.0) >= tenth - 1e-6 for hit in hits)
    return found / (10 * len(rows))


def import_vectors(gleaner, data_dir, folder):
    """Imports the rows of `base.parquet` with their vectors, on the command line; the import's own report."""
    shutil.rmtree(data_dir, ignore_errors=True)
    columns = ["--embedding", "embedding", "--metadata", "source,collection"]
    command = [gleaner, "--data-dir", data_dir, "import", "vectors", folder / "base.parquet", *columns]
    result = subprocess.run([*command, "--graph", "--json"], stdout=subprocess.PIPE, check=True)
    return json.loads(result.stdout)


def search(arguments, work):
    """Recall, latency and memory over 108,672 vectors that the client brings."""
    rows = read_queries(arguments.data, ids=True)
    done = import_vectors(arguments.gleaner, work / "data", arguments.data)
    if done["failed"]:
        raise Failed(f"{done['failed']} rows could not be imported")
    report("search", "import", documents=done["documents"], searchable_s=done["searchable_seconds"],
           graph_s=done["graph_seconds"])  # fmt: skip
    path = "/v1/collections/vectors/search"
    with serve(arguments.gleaner, work / "data") as (server, client):
        search_all(server.port, path, [search_body(row, "hybrid") for row in rows])
        report("search", "after 1,000 searches", anonymous_mb=server.memory_mb())
        exact = recall_at_10(client, path, rows, exact=True)
        report("search", "recall", recall_at_10=recall_at_10(client, path, rows), exact_recall_at_10=exact)
        for mode in ("lexical", "dense", "hybrid"):
            for clients in (1, 8):
                bodies = [search_body(row, mode) for row in rows] * (1 if clients == 1 else 3)
                numbers = search_side_by_side(server.port, path, bodies, clients)
                report("search", f"{mode}, {clients} client{'s' * (clients > 1)}", **numbers)
        report("search", "at the end", anonymous_mb=server.memory_mb())
    if exact < 1.0:
        raise Failed(f"an exact search finds {exact:.4f} of the nearest rows")


def sections(path):
    """Offset and length of each section of a part, by its number: see indexes/README.md."""
    with open(path, "rb") as file:
        file.seek(-32, os.SEEK_END)
        count, _, footer = struct.unpack("<IIQ", file.read(16))
        file.seek(footer)
        table = file.read(count * 24)
    return {number: (offset, length) for number, _, offset, length in struct.iter_unpack("<IIQQ", table)}


def in_page_cache(path, offset, length):
    """Bytes of a range of a file that are in memory."""
    if not length:
        return 0
    pages, first = mmap.PAGESIZE, offset // mmap.PAGESIZE * mmap.PAGESIZE
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
        length += offset - first
        found = (ctypes.c_ubyte * -(-length // pages))()
        pin = ctypes.c_char.from_buffer(view, first)
        try:
            address, libc = ctypes.addressof(pin), ctypes.CDLL(None, use_errno=True)
            if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(length), found):
                raise OSError(ctypes.get_errno(), "mincore")
        finally:
            del pin
        return sum(page & 1 for page in found) * pages


def residency(arguments, work):
    """How much of the vectors a fresh process brings into memory: nothing of its files was there before."""
    rows = read_queries(arguments.data, ids=False)
    import_vectors(arguments.gleaner, work / "data", arguments.data)
    files = [path for path in (work / "data").rglob("*") if path.is_file()]
    parts = [(path, sections(path)) for path in files if path.suffix == ".vectors"]
    graphs = [path for path in files if path.suffix == ".graph"]
    for path in files:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def measure(case, **more):
        def share(number):
            ranges = [(path, *table[number]) for path, table in parts]
            return sum(in_page_cache(*one) for one in ranges) / max(1, sum(length for _, _, length in ranges))

        graph = sum(in_page_cache(path, 0, path.stat().st_size) for path in graphs)
        graph_share = graph / max(1, sum(path.stat().st_size for path in graphs))
        report("residency", case, rows_share=share(2), codes_share=share(3), graph_share=graph_share, **more)

    measure("before the start")
    path = "/v1/collections/vectors/search"
    with serve(arguments.gleaner, work / "data") as (server, client):
        measure("ready")
        begun = time.monotonic()
        client.json("POST", path, search_body(rows[0], "dense", limit=10))
        measure("after the first search", first_ms=(time.monotonic() - begun) * 1000)
        time.sleep(3)  # codes and graph are checked in the background
        measure("three seconds later")
        bodies = [search_body(row, "dense", limit=10) for row in rows[:1000]]
        for before, until in ((1, 10), (10, 100), (100, 1000)):
            times = search_all(server.port, path, bodies[before:until])[2]
            measure(f"after {until:,} searches", **quantiles(times))


def start(arguments, work):
    """How long after its execution a process answers."""
    row = read_queries(arguments.data, ids=False)[0]
    import_vectors(arguments.gleaner, work / "data", arguments.data)
    sample = ["import", "vectors", ROOT / "README.md", "--data-dir", work / "sample"]
    subprocess.run([arguments.gleaner, *sample], stdout=subprocess.DEVNULL, check=True)
    text = json.dumps({"query": "How are documents imported?", "mode": "hybrid"}).encode()
    cases = ("vectors of the client", "data", search_body(row, "hybrid")), ("built-in model", "sample", text)
    for case, data_dir, body in cases:
        health, first = [], []
        for _ in range(arguments.runs):
            server = Server(arguments.gleaner, work / data_dir)
            try:
                server.until_ok("GET", "/healthz")
                health.append(server.seconds() * 1000)
                answer = server.until_ok("POST", "/v1/collections/vectors/search", body)
                first.append(server.seconds() * 1000)
            finally:
                server.stop()
            if b'"degraded":true' in answer or not json.loads(answer)["hits"]:
                raise Failed(f"the first search: {answer[:300]}")
        middle = lambda values: sorted(values)[len(values) // 2]
        report("start", case, runs=arguments.runs, healthz_ms=middle(health), first_search_ms=middle(first),
               slowest_first_search_ms=max(first))  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gleaner", type=Path, default=ROOT / "target/release/gleaner", help="the binary")
    parser.add_argument("--work", type=Path, help="folder for data directories (default: a temporary one)")
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    one = benchmarks.add_parser("throughput", help=throughput.__doc__)
    one.add_argument("--folder", type=Path, default=SHARED / "data/markdown", help="Markdown files")
    one.add_argument("--static-model", type=Path, metavar="DIR", help="instead of the built-in model")
    one.add_argument("--max-mb", type=float, help="sample of the files (built-in model: 1; 0: all)")
    one.add_argument("--searchers", type=int, default=1, help="clients that search meanwhile (1)")
    one.add_argument("--open-jobs", type=int, default=8, help="batches posted and not yet searchable (8)")
    for run in (search, residency, start):
        one = benchmarks.add_parser(run.__name__, help=run.__doc__)
        one.add_argument("--data", type=Path, default=SHARED / "data/text256", help="base and queries.parquet")
    one.add_argument("--runs", type=int, default=20, help="starts (20)")
    arguments = parser.parse_args()
    if not arguments.gleaner.is_file():
        parser.error(f"there is no {arguments.gleaner}: run `cargo build --release`, or pass --gleaner")
    with tempfile.TemporaryDirectory(prefix="gleaner-bench-", dir=arguments.work) as work:
        try:
            globals()[arguments.benchmark](arguments, Path(work))
        except (Failed, OSError, subprocess.CalledProcessError) as error:
            print(f"service.py: {error}", file=sys.stderr)
            for log in Path(work).glob("serve.log"):
                sys.stderr.writelines(log.read_text().splitlines(keepends=True)[-10:])
            sys.exit(1)
    print_table()


if __name__ == "__main__":
    main()
