"""Many photos on a Ray cluster of nodes on this machine, of which one is killed, and the driver as well.

    python benchmarks/cluster.py ../shared/data/kodak ../shared/data/voc/val --out results/cluster.json

Tiles of the photos are coded in one process, by ``--jobs all``, and by ``--cluster``: alternately, so that whatever
else the machine does meets both. Then a node is killed when a third of the files are done, and in another run the
driver, which goes on with ``--resume``. All of it again, in one run, against moto's S3 server (a server for tests,
not a product), which fails one request in twenty: half of them before it has done what was asked, half afterwards.

Needs ``pip install '.[cluster]' 'moto[server]'``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image

DIPTYCH = [sys.executable, "-m", "diptych"]
SUFFIXES = {".avif", ".jpg", ".png", ".webp"}
FAILED = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


def make_tiles(photos: Iterable[Path], count: int, side: int, folder: Path) -> None:
    """Square tiles of photos, one photo after the other, as PNG."""
    folder.mkdir()
    made = 0
    for path in photos:
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        for top in range(0, photo.height - side + 1, side):
            for left in range(0, photo.width - side + 1, side):
                if made == count:
                    return
                tile = photo.crop((left, top, left + side, top + side))
                tile.save(folder / f"{made:06}.png", compress_level=1)
                made += 1
    if made < count:
        raise SystemExit(f"the photos have {made} tiles of {side} x {side}, not {count}")


class Nodes:
    """A head that hands out the work and nodes with one processor each, one for each of this machine's, so that a
    cluster has as many as ``--jobs all``; :meth:`kill` leaves it one less, :meth:`replace` adds one."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        self._node = {"num_cpus": 1, "object_store_memory": 200 << 20}
        head = {**self._node, "num_cpus": 0, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._others = [self._cluster.add_node(**self._node) for _ in range(count)]
        self._cluster.wait_for_nodes()
        self.address = self._cluster.address

    def kill(self) -> None:
        """End a node and its workers by SIGKILL."""
        [raylet] = self._others.pop().all_processes["raylet"]
        found = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(raylet.process.pid)], capture_output=True, text=True
        )
        for pid in [raylet.process.pid, *map(int, found.stdout.split())]:
            os.kill(pid, signal.SIGKILL)

    def replace(self) -> None:
        self._others.append(self._cluster.add_node(**self._node))

    def shutdown(self) -> None:
        self._cluster.shutdown()


@contextmanager
def failing_s3(share: float) -> Iterable[dict[str, int]]:
    """moto's S3 server on this machine, which fails a share of its requests; how many it got and failed."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    store, chance = DomainDispatcherApplication(create_backend_app), random.Random(0)
    counts = {"requests": 0, "failed before": 0, "failed afterwards": 0}
    lock = threading.Lock()

    def application(environ: Any, start: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            drawn = chance.random()
            counts["requests"] += 1
            counts["failed before"] += drawn < share / 2
            counts["failed afterwards"] += share / 2 <= drawn < share
        if share / 2 <= drawn < share:
            list(store(environ, lambda *_: None))
        if drawn < share:
            start("500 Internal Server Error", [("Content-Type", "application/xml")])
            return [FAILED]
        return store(environ, start)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request else
    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.port}"
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    thread.start()
    try:
        yield counts
    finally:
        server.shutdown()
        thread.join()


def encode(source: str, target: str, *more: str) -> list[str]:
    return [*DIPTYCH, "encode", source, "-o", target, "--manifest", f"{target.rstrip('/')}.jsonl", *more]


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    print(f"{seconds:7.1f} s: diptych {' '.join(command[3:])}", file=sys.stderr, flush=True)
    return seconds


def until(files: int, command: list[str]) -> subprocess.Popen[str]:
    """Start a command, and wait until it says that so many files are done."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    for _ in range(files):
        if not process.stdout.readline():
            raise SystemExit(f"{' '.join(command)} ended with {process.wait()}")
    return process


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate()
    if process.returncode:
        raise SystemExit(f"a run ended with {process.returncode}")


def told(files: dict[str, bytes], manifest: bytes, expected: dict[str, str]) -> dict[str, Any]:
    """How a run compares with the one in one process: files by name, lines of the manifest."""
    lines = [json.loads(line) for line in manifest.splitlines()]
    listed = {line["output"].rpartition("/")[2]: line["sha256"] for line in lines}
    made = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return {
        "files": len(files),
        "identical": sum(made.get(name) == digest for name, digest in expected.items()),
        "manifest_lines": len(lines),
        "manifest_whole": len(lines) == len(listed) and listed == made,
    }


def folder_told(folder: Path, expected: dict[str, str]) -> dict[str, Any]:
    files = {path.name: path.read_bytes() for path in folder.glob("*.dip")}
    return told(files, folder.with_suffix(".jsonl").read_bytes(), expected)


def rate_of(folder: Path) -> float:
    """Files per second in the second half of a run, when all processes have started."""
    times = sorted(path.stat().st_mtime for path in folder.glob("*.dip"))
    half = times[len(times) // 2 :]
    return (len(half) - 1) / (half[-1] - half[0])


def on_disk(work: Path, nodes: Nodes, repetitions: int) -> dict[str, Any]:
    """Runs on files of this machine."""
    source, count = str(work / "in"), len(list((work / "in").iterdir()))
    alone = timed(encode(source, str(work / "alone")))
    expected = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (work / "alone").glob("*.dip")}
    ways = {"jobs": ["--jobs", "all"], "cluster": ["--cluster", nodes.address]}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for repetition in range(repetitions):
        for way in sorted(ways, reverse=repetition % 2 == 0):  # by turns first, so that a drift meets both
            folder = work / f"{way}-{repetition}"
            seconds[way].append(timed(encode(source, str(folder), *ways[way])))
            rates[way].append(rate_of(folder))
    found = {
        "one_process_s": alone,
        "seconds": seconds,
        "overhead": min(seconds["cluster"]) / min(seconds["jobs"]) - 1,  # the runs that others disturbed least
        "overhead_of_pairs": [b / a - 1 for a, b in zip(seconds["jobs"], seconds["cluster"], strict=True)],
        "files_per_second": rates,
        "overhead_once_running": max(rates["jobs"]) / max(rates["cluster"]) - 1,
        "jobs all": folder_told(work / "jobs-0", expected),
        "cluster": folder_told(work / "cluster-0", expected),
    }
    killed = work / "node-killed"
    process = until(count // 3, encode(source, str(killed), *ways["cluster"]))
    nodes.kill()
    finish(process)
    nodes.replace()
    found["a node killed"] = folder_told(killed, expected)
    killed = work / "driver-killed"
    process = until(count // 3, encode(source, str(killed), *ways["cluster"]))
    process.kill()
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in killed.glob("*.dip")}
    timed(encode(source, str(killed), *ways["cluster"], "--resume"))
    kept = sum(path.stat().st_mtime_ns == changed for path, changed in before.items())
    found["the driver killed"] = folder_told(killed, expected) | {"done_before": len(before), "kept": kept}
    return {"expected": expected} | found


def on_s3(work: Path, nodes: Nodes, expected: dict[str, str]) -> dict[str, Any]:
    """A run from bucket to bucket in which a node is killed, then the driver, and which goes on."""
    import s3fs

    store, count = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True), len(expected)
    for bucket in ("tiles", "coded"):
        store.mkdir(bucket)
    store.pipe({f"tiles/{path.name}": path.read_bytes() for path in (work / "in").iterdir()})
    command = encode("s3://tiles/", "s3://coded/out/", "--cluster", nodes.address)
    process = until(count // 3, command)
    nodes.kill()
    assert process.stdout
    for _ in range(count // 3):
        process.stdout.readline()
    process.kill()
    process.communicate()
    before = {name: about["LastModified"] for name, about in store.find("coded/out", detail=True).items()}
    start = time.perf_counter()
    timed([*command, "--resume"])
    seconds = time.perf_counter() - start
    after = store.find("coded/out", detail=True)
    files = {name.rpartition("/")[2]: data for name, data in store.cat(list(after)).items()}
    kept = sum(after[name]["LastModified"] == changed for name, changed in before.items())
    found = told(files, store.cat_file("coded/out.jsonl"), expected)
    return found | {"done_before": len(before), "kept": kept, "resumed_s": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="+", help="folders")
    parser.add_argument("--tiles", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, help="JSON file of the figures")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ["RAY_worker_niceness"] = "0"  # by itself 15: others on the machine would go before one of both ways  # noqa: SIM112 (so Ray calls it)
    processors = len(os.sched_getaffinity(0))
    photos = [path for folder in arguments.photos for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES]
    with tempfile.TemporaryDirectory() as name, failing_s3(0.05) as counts:
        work = Path(name)
        make_tiles(photos, arguments.tiles, arguments.side, work / "in")
        nodes = Nodes(processors)
        try:
            disk = on_disk(work, nodes, arguments.repetitions)
            expected = disk.pop("expected")
            store = on_s3(work, nodes, expected)
        finally:
            nodes.shutdown()
    about = {
        "command": " ".join(["python", *sys.argv]),
        "system": platform.platform(),
        "processors": processors,
        "versions": {name: metadata.version(name) for name in ("diptych", "ray", "s3fs", "moto", "openvino")},
        "tiles": arguments.tiles,
        "side": arguments.side,
        "nodes": 1 + processors,
    }
    text = json.dumps(about | {"disk": disk, "moto's S3": store | {"server": counts}}, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    runs = [disk[run] for run in ("jobs all", "cluster", "a node killed", "the driver killed")]
    wrong = [run for run in [*runs, store] if run["identical"] < arguments.tiles or not run["manifest_whole"]]
    raise SystemExit(len(wrong))


if __name__ == "__main__":
    main()
