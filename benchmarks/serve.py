"""Put ``diptych serve`` under a storm of valid and hostile requests, and see that it stays on its feet.

    python benchmarks/serve.py --requests 1000 --at-once 200 --out results/serve.json

The server is a process of its own on 127.0.0.1, its limits set low so that hostile requests meet them. Valid
requests must bring exactly what the same request brought before the storm. Hostile ones must be refused with
the status that names their fault. While the server is busy (429), both come again. Anything else is a
violation: another status, a wrong answer, a broken connection, a traceback in the log, a server that is not
there afterwards. Memory is that of the server and its workers, from Linux's /proc.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import zlib
from binascii import crc_hqx
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

TOKEN = "a-token-of-the-load-test"
UPLOAD_MIB = 2
PIXELS = 1_000_000
WAITING = 16
PATIENCE = 60.0
"""Seconds for one answer."""
MOST = 10_000
"""Requests in one run at most."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Call(NamedTuple):
    """A request.

    Attributes:
        name: of its kind.
        head: request line and headers.
        body: its parts, sent one after the other; a number is a pause in seconds.
        wanted: statuses that are right; empty if the client leaves without waiting for an answer.
    """

    name: str
    head: bytes
    body: tuple[bytes | float, ...]
    wanted: tuple[int, ...]

    @property
    def valid(self) -> bool:
        return self.wanted == (200,)


class Storm(NamedTuple):
    """What came of a storm.

    Attributes:
        statuses: how often each kind of request got each status, by kind.
        violations: sentences; empty if all went well.
        served: valid requests that were answered rightly.
        seconds: that it took.
    """

    statuses: dict[str, Counter[int]]
    violations: list[str]
    served: int
    seconds: float


async def ask(port: int, call: Call) -> Answer | None:
    """The answer to one request, or None if its client does not wait for one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(call.head)
        with suppress(ConnectionError):  # the answer may be there before all is sent
            for part in call.body:
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                else:
                    await asyncio.sleep(part)
        return await _read(reader) if call.wanted else None
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length")
    body = await reader.read() if length is None else await reader.readexactly(int(length))
    return Answer(int(first.split()[1]), headers, body)


def post(path: str, body: bytes, length: int | None = None, token: str | None = TOKEN, **more: str) -> bytes:
    """Request line and headers."""
    headers = {"Host": "127.0.0.1", "Content-Type": "application/octet-stream", **more}
    if "Transfer-Encoding" not in headers:
        headers["Content-Length"] = str(len(body) if length is None else length)
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return "\r\n".join([f"POST {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()


def get(path: str, host: str = "127.0.0.1") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


def photo(width: int, height: int) -> bytes:
    """A JPEG with something in it."""
    rng = np.random.default_rng(width)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes whose header names that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    pixels = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def dip_claiming(width: int, height: int, dip: bytes) -> bytes:
    """A ``.dip`` file of the codec of ``dip`` whose header, checksum included, names that size in tiles."""

    def varint(number: int) -> bytes:
        groups = []
        while number > 0x7F:
            groups.append(number & 0x7F | 0x80)
            number >>= 7
        return bytes([*groups, number])

    start = dip[:6] + bytes([16]) + dip[7:11] + varint(width) + varint(height)
    return start + crc_hqx(start, 0).to_bytes(2, "little") + bytes(2000)


def valid_calls(jpeg: bytes, dip: bytes) -> list[Call]:
    """Requests that have to succeed."""
    parts = (*_chunks(jpeg, 997), b"0\r\n\r\n")
    good = {
        "encode": (post("/encode?quality=35", jpeg), (jpeg,)),
        "encode in parts": (post("/encode?quality=5", jpeg, **{"Transfer-Encoding": "chunked"}), parts),
        "decode": (post("/decode?view=human", dip), (dip,)),
        "decode a blend": (post("/decode?view=0.5&format=jpeg", dip), (dip,)),
        "map": (post("/map", dip), (dip,)),
        "detect": (post("/detect?view=machine", dip), (dip,)),
        "page": (get("/"), ()),
        "folder": (get("/folder"), ()),
    }
    return [Call(name, head, body, (200,)) for name, (head, body) in good.items()]


def hostile_calls(jpeg: bytes, dip: bytes) -> list[Call]:
    """Requests that have to be refused, each for its own reason."""
    bomb, giant = png_claiming(60_000, 60_000), dip_claiming(60_000, 60_000, dip)
    damaged, noise = dip[:-3] + bytes(3), random.Random(1).randbytes(30_000)
    endless = post("/encode", b"", **{"Transfer-Encoding": "chunked"})
    return [
        Call("form", post("/encode", jpeg, **{"Content-Type": "multipart/form-data"}), (jpeg,), (415,)),
        Call("compressed", post("/encode", jpeg, **{"Content-Encoding": "gzip"}), (jpeg,), (415,)),
        Call("empty", post("/encode", b""), (), (400,)),
        Call("claims a terabyte", post("/encode", b"", length=10**12), (), (413,)),
        Call("endless", endless, tuple(_chunks(bytes(2**22), 2**16)), (413,)),
        Call("leaves early", post("/encode", jpeg), (jpeg[:1000], 0.05), ()),
        Call("dawdles", post("/encode", jpeg), (jpeg[:100], 1.0), ()),
        Call("photo bomb", post("/encode", bomb), (bomb,), (413,)),
        Call(".dip bomb", post("/decode", giant), (giant,), (413,)),
        Call("damaged photo", post("/encode", jpeg[:2000]), (jpeg[:2000],), (422,)),
        Call("damaged .dip", post("/decode", damaged), (damaged,), (422,)),
        Call("noise", post("/detect", noise), (noise,), (422,)),
        Call("PostScript", post("/encode", b"%!PS-Adobe-3.0 EPSF-3.0\n"), (b"%!PS-Adobe-3.0 EPSF-3.0\n",), (422,)),
        Call("quality nan", post("/encode?quality=nan", jpeg), (jpeg,), (422,)),
        Call("quality 1e9", post("/encode?quality=1e9", jpeg), (jpeg,), (422,)),
        Call("unknown view", post("/decode?view=../x.safetensors", dip), (dip,), (422,)),
        Call("no token", post("/encode", jpeg, token=None), (jpeg,), (401,)),
        Call("wrong token", post("/encode", jpeg, token="guess"), (jpeg,), (401,)),
        Call("traversal", get("/folder/../../../../etc/passwd"), (), (404,)),
        Call("coded traversal", get("/folder/%2e%2e/%2e%2e/etc/passwd"), (), (404,)),
        Call("static traversal", get("/static/%2e%2e/app.py"), (), (404,)),
        Call("another host", get("/health", "example.org"), (), (403,)),
        Call("another page", post("/encode", jpeg, Origin="https://example.org"), (jpeg,), (403,)),
        Call("not HTTP", noise[:200].replace(b"\n", b"") + b"\r\n\r\n", (), (400,)),
        Call("wrong method", post("/health", b""), (), (405,)),
    ]


def _chunks(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        part = data[start : start + size]
        yield f"{len(part):x}\r\n".encode() + part + b"\r\n"


async def storm(port: int, count: int, at_once: int, seconds: float, seed: int = 0) -> Storm:
    """Send ``count`` requests, ``at_once`` of them at any time, half of them hostile.

    What is not done after ``seconds`` is a violation.
    """
    jpeg = photo(320, 240)
    first = await ask(port, Call("encode", post("/encode", jpeg), (jpeg,), (200,)))
    assert first is not None
    valid, hostile = valid_calls(jpeg, first.body), hostile_calls(jpeg, first.body)
    right = {call.name: (await ask(port, call)) for call in valid}
    statuses: dict[str, Counter[int]] = {}
    violations: list[str] = []
    served = 0
    places = asyncio.Semaphore(at_once)

    async def one(call: Call) -> None:
        nonlocal served
        counted = statuses.setdefault(call.name, Counter())
        async with places:
            while True:
                try:
                    answer = await asyncio.wait_for(ask(port, call), PATIENCE)
                except (OSError, EOFError, TimeoutError, ValueError) as error:
                    violations.append(f"{call.name}: {type(error).__name__} {error}")
                    return
                counted[answer.status if answer else 0] += 1
                if answer is None or answer.status != 429:
                    break
                if problem := _problem(call._replace(wanted=(429,)), answer, None):
                    violations.append(f"{call.name}: {problem}")
                await asyncio.sleep(min(2, int(answer.headers["retry-after"])))
        if problem := _problem(call, answer, right.get(call.name)):
            violations.append(f"{call.name}: {problem}")
        served += call.valid

    chosen = random.Random(seed)
    calls = [chosen.choice(valid if number % 2 else hostile) for number in range(count)]
    start = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*map(one, calls))
    except TimeoutError:
        violations.append(f"not done after {seconds:g} s")
    return Storm(statuses, violations, served, time.monotonic() - start)


def _problem(call: Call, answer: Answer | None, right: Answer | None) -> str | None:
    """What is wrong with an answer."""
    if answer is None:
        return None
    if call.valid:
        if answer.status != 200:
            return f"{answer.status} {answer.body[:200]!r}"
        return None if right and answer.body == right.body else "another answer than before the storm"
    if answer.status not in call.wanted:
        return f"{answer.status} {answer.body[:200]!r}"
    if answer.headers.get("content-type") != "application/json":
        return None if call.name == "not HTTP" else "the refusal is not JSON"
    if answer.status == 429 and int(answer.headers["retry-after"]) < 1:
        return "429 without a time to come again"
    return None if list(json.loads(answer.body)) == ["error"] else "the refusal is not one sentence"


@contextmanager
def server(folder: Path, log: Path, model: Path | None = None) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Port and process of a server with two workers and low limits."""
    command = [sys.executable, "-m", "diptych", "serve", str(folder), "--port", "0", "--jobs", "2"]
    command += ["--queue", str(WAITING), "--max-upload", str(UPLOAD_MIB), "--max-pixels", str(PIXELS)]
    command += ["--model", str(model)] if model else []
    environment = {**os.environ, "DIPTYCH_TOKEN": TOKEN}
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        try:
            assert process.stdout is not None
            words = process.stdout.readline().split()
            if not words:
                raise SystemExit(f"the server did not start: {log.read_text()}")
            yield urlsplit(words[1]).port or 0, process
        finally:
            process.terminate()
            process.wait(20)


class Memory:
    """Peak memory, in bytes, of a process and of all below it, by sampling."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.own = self.total = 0

    def look(self) -> None:
        sizes = {pid: _resident(pid) for pid in _family(self.root)}
        self.own = max(self.own, sizes.get(self.root, 0))
        self.total = max(self.total, sum(sizes.values()))

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        async def watch() -> None:
            while True:
                self.look()
                await asyncio.sleep(0.5)

        task = asyncio.create_task(watch())
        try:
            yield
        finally:
            task.cancel()


def _family(root: int) -> set[int]:
    family, before = {root}, 0
    while len(family) > before:
        before = len(family)
        for status in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                if parent in family:
                    family.add(int(status.parent.name))
    return family


def _resident(pid: int) -> int:
    """Memory of a process, what it shares with others in parts only."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return 0


def run(count: int, at_once: int, seconds: float, model: Path | None = None) -> dict[str, Any]:
    """One storm on a server of its own; what came of it, ready for JSON."""
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place, "pictures"), Path(place, "log")
        folder.mkdir()
        (folder / "photo.jpg").write_bytes(photo(320, 240))
        with server(folder, log, model) as (port, process):
            memory = Memory(process.pid)

            async def weather() -> tuple[Storm, Answer | None]:
                async with memory.watched():
                    done = await storm(port, count, at_once, seconds)
                    return done, await ask(port, Call("health", get("/health"), (), (200,)))

            done, after = asyncio.run(weather())
            alive = process.poll() is None and after is not None and after.status == 200
        errors = log.read_text()
    violations = list(done.violations)
    violations += [] if alive else ["the server is gone"]
    violations += [f"a traceback in the log: {errors[-2000:]}"] if "Traceback" in errors else []
    violations += (
        [] if json.loads(after.body)["admitted"] == 0 else ["a place in the queue was lost"] if after else []
    )
    return {
        "requests": count,
        "at_once": at_once,
        "statuses": dict(sorted(sum(done.statuses.values(), Counter()).items())),
        "by_kind": {name: dict(sorted(counts.items())) for name, counts in sorted(done.statuses.items())},
        "valid_served": done.served,
        "crashes": int(not alive),
        "violations": violations,
        "seconds": round(done.seconds, 1),
        "peak_bytes_server": memory.own,
        "peak_bytes_with_workers": memory.total,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000, help=f"{MOST:,} at most")
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=600, help="for all of them")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    options = parser.parse_args()
    figures = run(min(options.requests, MOST), options.at_once, options.seconds)
    print(json.dumps(figures, indent=2))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
