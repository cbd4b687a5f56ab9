"""Coding on a Ray cluster: files by the commands' ``--cluster``, data sets of Ray Data by functions.

    import ray
    from diptych import cluster

    photos = ray.data.read_images("s3://photos/")
    cluster.encode(photos, quality=40).write_parquet("s3://compressed/")

Where tasks run, what is tried again when a worker or a node dies, and how many nodes there are is Ray's business.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import diptych
from diptych.codec import defaults
from diptych.codec.codec import Codec, load
from diptych.codec.processes import limit_threads
from diptych.errors import DiptychError, extra

if TYPE_CHECKING:
    from ray.data import Dataset

Item = TypeVar("Item")
Found = TypeVar("Found")

_CHUNK = 32
"""Items of a task at most: enough that handing it out costs little beside the work, few enough to be lost."""
_AT_ONCE = 4
"""Items of a task worked on at a time: while one is coded, others are read and written, elsewhere perhaps."""
_TASKS = 8
"""Tasks for each processor at least, so that all end at about the same time."""
_TRIES = 3
"""Times that Ray tries a task again whose worker or node died."""


def on_cluster(
    items: Sequence[Item],
    work: Callable[[Codec, Item], Found],
    lost: Callable[[Item], Found],
    model: str | None,
    address: str,
    report: Callable[[Found], None],
) -> None:
    """Do ``work`` on all items in the processes of a cluster and report what comes of each, as it is done.

    Twice as many tasks as the cluster has processors are handed out, whatever it has at that time.

    Args:
        work: a function that can be pickled; it runs in several threads of a worker on one processor, in this
            process's folder if there is one of that name, and again on the same item if its worker dies.
        lost: what comes of an item of which workers die.
        model: the codec's file, or None for the default one, which decodes files of others too.
        address: as ``ray.init`` takes it: ``auto``, or ``ray://host:10001``.

    Raises:
        DiptychError: if the codec cannot be loaded, or there is no cluster, or no longer.
    """
    with extra("cluster", "--cluster"):
        import ray
    codec = load(model)
    with _connected(address):
        shared = [ray.put((work, codec, os.getcwd()))]  # in a list, so that tasks are handed the reference
        task = ray.remote(num_cpus=1, max_retries=_TRIES)(_do_all)
        size = min(_CHUNK, 1 + len(items) // (_TASKS * _processors()))
        waiting = deque(items[start : start + size] for start in range(0, len(items), size))
        running: dict[Any, Sequence[Item]] = {}
        while waiting or running:
            while waiting and len(running) < 2 * _processors():
                chunk = waiting.popleft()
                running[task.remote(shared, chunk)] = chunk
            [ref, *_], _ = ray.wait(list(running))
            chunk = running.pop(ref)
            try:
                outcomes = ray.get(ref)
            except ray.exceptions.RayTaskError as error:
                if isinstance(
                    error.cause, (ImportError, ray.exceptions.RaySystemError)
                ):  # it could not be unpickled
                    raise DiptychError(
                        f"the Ray cluster at '{address}' needs Diptych {diptych.__version__} on its nodes"
                    ) from None
                raise error.cause from None
            except ray.exceptions.RayError:  # the worker died every time: of which item, each shows by itself
                waiting.extend([item] for item in chunk if len(chunk) > 1)
                outcomes = [lost(item) for item in chunk if len(chunk) == 1]
            for outcome in outcomes:
                report(outcome)


def encode(
    photos: Dataset, quality: float = defaults.QUALITY, column: str = "image", codec: Codec | None = None
) -> Dataset:
    """Code the pictures of a data set, where and when Ray Data reads them.

    Args:
        photos: with a column of ``(H, W, 3)`` or ``(H, W)`` uint8 arrays, as ``ray.data.read_images`` gives it.
        quality: 0 to 100.
        column: its name.
        codec: None for the default one.

    Returns:
        The other columns, and ``dip``: the bytes of a ``.dip`` file.
    """
    return _mapped(photos, partial(_encoded, quality, column), codec)


def decode(
    files: Dataset, view: str | float = defaults.VIEW, column: str = "bytes", codec: Codec | None = None
) -> Dataset:
    """Decode ``.dip`` files of a data set.

    Args:
        files: with a column of bytes, as ``ray.data.read_binary_files`` gives it, or :func:`encode` (``dip``).
        view: ``machine``, ``human``, or a position from 0 (machine) to 1 (human).
        column: its name.
        codec: None for the one that each file names.

    Returns:
        The other columns, and ``image``: ``(H, W, 3)`` uint8 arrays.
    """
    return _mapped(files, partial(_decoded, view, column), codec)


def _mapped(rows: Dataset, work: Callable[[Codec, Any], Any], codec: Codec | None) -> Dataset:
    with extra("cluster", "a data set"):
        import ray
    shared = [ray.put((work, codec or load(), os.getcwd()))]
    return rows.map(partial(_do, shared))


Row = Mapping[str, Any]


def _encoded(quality: float, column: str, codec: Codec, row: Row) -> Row:
    others = {name: value for name, value in row.items() if name != column}
    return others | {"dip": codec.encode(row[column], quality)}


def _decoded(view: str | float, column: str, codec: Codec, row: Row) -> Row:
    others = {name: value for name, value in row.items() if name != column}
    return others | {"image": np.asarray(codec.decode(row[column], view))}


@contextmanager
def _connected(address: str) -> Iterator[None]:
    with extra("cluster", "--cluster"):
        import grpc
        import ray
    try:
        if node := re.fullmatch(r"([^/]+):(\d+)", address):  # where nobody answers, Ray would wait for ever
            socket.create_connection((node[1], int(node[2])), timeout=10).close()
        with warnings.catch_warnings(action="ignore"):  # they say what the error does
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(". ")[0]
        raise DiptychError(f"there is no Ray cluster at '{address}': {reason[:1].lower()}{reason[1:]}") from None
    try:
        yield
    except (ConnectionError, grpc.RpcError):
        raise DiptychError(
            f"the Ray cluster at '{address}' is gone; what is done stays, and --resume goes on"
        ) from None
    finally:
        ray.shutdown()


def _processors() -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _do(shared: Sequence[Any], item: Any) -> Any:
    work, codec = _received(shared[0])
    return work(codec, item)


def _do_all(shared: Sequence[Any], items: Sequence[Any]) -> list[Any]:
    work, codec = _received(shared[0])
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(partial(work, codec), items))


@lru_cache(1)
def _received(reference: Any) -> tuple[Callable[[Codec, Any], Any], Codec]:
    """Work and codec, once for a worker process and all that it does for one driver."""
    import ray

    limit_threads(1)
    work, codec, folder = ray.get(reference)
    with suppress(OSError):
        os.chdir(folder)
    return work, codec
