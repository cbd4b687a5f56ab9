"""Work on many files in several processes, each of which loads the codec once.

The processes are spawned, so that they start alike on every system and share no locks with the parent. They hold
one end of a pipe whose other end only the parent has: when it closes, because the parent wants to stop or because
it was killed, they give up what they are at, remove their temporary files and end.
"""

from __future__ import annotations

import _thread
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, TypeVar

from threadpoolctl import threadpool_limits

from diptych.errors import DiptychError

if TYPE_CHECKING:
    from diptych.codec.codec import Codec

Item = TypeVar("Item")
Found = TypeVar("Found")

_GRACE = 2.0
"""Seconds that a worker which is to end has for leaving a long computation and cleaning up."""


def cores() -> int:
    """Number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # Linux only
        return os.cpu_count() or 1


def in_processes(
    items: Sequence[Item],
    work: Callable[[Codec, Item], Found],
    model: str | None,
    count: int,
    report: Callable[[Found], None],
) -> None:
    """Do ``work`` on all items in ``count`` processes and report what comes of each, as it is done.

    Each process gets its share of the cores, so that together they are as many threads as there are cores.
    When anything raises here, such as KeyboardInterrupt, all processes end before it goes on to the caller.

    Args:
        work: a function that can be pickled; it is given the process's codec.
        model: the codec's file, or None for the default one, which decodes files of others too.

    Raises:
        DiptychError: if the codec cannot be loaded, or a process dies.
    """
    context = multiprocessing.get_context("spawn")
    listen, hold = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(count, context, _start, (listen, work, model, max(1, cores() // count)))
    futures: list[Future[Found]] = []
    done = 0
    try:
        with _interrupts_held_back(), suppress(BrokenProcessPool):
            futures.extend(pool.submit(_do, item) for item in items)
        for future in as_completed(futures):
            with suppress(BrokenProcessPool):
                report(future.result())
                done += 1
        if done < len(items):
            raise DiptychError(
                f"a worker process died, perhaps for want of memory: {len(items) - done} of {len(items)} files are "
                "not done; use fewer --jobs, and --resume to go on"
            )
        pool.shutdown()
    finally:
        hold.close()
        pool.shutdown(cancel_futures=True)
        listen.close()


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Have the processes started here never see Ctrl-C, which the parent passes on; it gets its own a bit later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_codec: Codec | DiptychError
_work: Callable[[Codec, Any], Any]


def _start(listen: Connection, work: Callable[[Codec, Any], Any], model: str | None, threads: int) -> None:
    """Prepare a worker process."""
    global _codec, _work
    _work = work
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _end)
        threading.Thread(target=_end_with_parent, args=(listen,), daemon=True).start()
        _codec = _loaded(model, threads)
    except DiptychError as error:
        _codec = error
    except SystemExit:  # the pool would print it
        os._exit(1)


def _loaded(model: str | None, threads: int) -> Codec:
    limit_threads(threads)
    from diptych.codec.codec import load

    return load(model)


def limit_threads(count: int) -> None:
    """Have this process compute with so many threads at a time, whatever library it is that computes."""
    os.environ["OMP_NUM_THREADS"] = str(count)  # read by engines when they start, by torch when it is imported
    threadpool_limits(count)


def _do(item: Any) -> Any:
    if isinstance(_codec, DiptychError):
        raise _codec
    try:
        return _work(_codec, item)
    except SystemExit:  # the pool would go on with the next item
        os._exit(1)


def _end(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the cleaning up
    raise SystemExit(1)


def _end_with_parent(listen: Connection) -> None:
    listen.poll(None)
    _thread.interrupt_main(signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)
