"""A few worker processes behind a bounded queue, with a time limit on each piece of work."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio import to_process

from diptych.codec.processes import cores
from diptych.errors import DiptychError
from diptych.serve import worker
from diptych.serve.limits import NO_PLACE, Limits, Refusal, TooLarge, no_place


class Pool:
    """Runs the functions of :mod:`diptych.serve.worker`.

    Attributes:
        limits: of the server.
        admitted: requests inside: being received, waiting or worked on.
    """

    def __init__(self, limits: Limits, model: str | None = None) -> None:
        self.limits = limits
        self.admitted = 0
        self._setup = worker.Setup(model, max(1, cores() // limits.workers), limits.pixels)
        self._free = anyio.Semaphore(limits.workers)
        self._processes = anyio.CapacityLimiter(limits.workers)
        self._about: worker.Facts = {}
        self._usual = 1.0

    async def start(self) -> worker.Facts:
        """Start all processes, each of which loads the codec; what :func:`worker.about` says of it.

        Raises:
            DiptychError: if the codec cannot be loaded.
        """
        os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "65536")  # glibc gives a worker's large arrays back at once
        if not self._about:
            self._about, *_ = await asyncio.gather(*(self._call(worker.about) for _ in range(self.limits.workers)))
        return self._about

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the queue, to be taken before a body is received: it bounds what lies on the disk.

        Raises:
            Refusal: 429 if there is none.
        """
        if self.admitted >= self.limits.workers + self.limits.waiting:
            seconds = math.ceil(self._usual * self.admitted / self.limits.workers)
            raise Refusal(429, "the server is busy: try again later", {"Retry-After": str(max(1, seconds))})
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, function: Callable[..., worker.Facts], *args: Any) -> worker.Facts:
        """``function(setup, *args)`` in a worker process, when one is free.

        Raises:
            Refusal: 413 for a picture that is too large, 422 for one that cannot be used, 503 if the work takes too
                long or ends its process.
        """
        async with self._free:
            start = time.monotonic()
            try:
                return await self._call(function, *args)
            finally:
                self._usual += (time.monotonic() - start - self._usual) / 8

    async def _call(self, function: Callable[..., worker.Facts], *args: Any) -> worker.Facts:
        retry = {"Retry-After": "1"}
        try:
            with anyio.fail_after(self.limits.seconds):
                return await to_process.run_sync(
                    function, self._setup, *args, cancellable=True, limiter=self._processes
                )
        except TimeoutError:
            raise Refusal(
                503, f"the work took more than {self.limits.seconds:g} s and was given up", retry
            ) from None
        except anyio.BrokenWorkerProcess:
            raise Refusal(503, "the work was given up, perhaps for want of memory", retry) from None
        except TooLarge as error:
            raise Refusal(413, str(error)) from None
        except DiptychError as error:
            raise Refusal(422, str(error)) from None
        except OSError as error:
            if error.errno not in NO_PLACE:
                raise
            raise no_place(error) from None
        except MemoryError:
            raise Refusal(413, "the picture does not fit into memory") from None
        except RuntimeError as error:  # an engine's way to say the same
            if "allocate memory" not in str(error):
                raise
            raise Refusal(413, "the picture does not fit into memory") from None
