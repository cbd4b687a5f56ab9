"""Bodies of requests: from the socket to a temporary file, with limits that are checked on the way."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkstemp

import anyio
from starlette.requests import ClientDisconnect, Request

from diptych.bitstream.container import MEDIA_TYPE
from diptych.serve.limits import MEBIBYTE, Limits, Refusal, no_place


@asynccontextmanager
async def received(request: Request, folder: Path, limits: Limits) -> AsyncIterator[Path]:
    """The body as a file in ``folder``, which is removed afterwards.

    Raises:
        Refusal: 400 for an empty body or one that ends early, 408 for one that takes too long, 413 for one that is
            too large, 415 for a kind that no picture is, 507 for one that the disk cannot take.
    """
    _refuse_kind(request)
    path = reserved(folder)
    try:
        await _receive(request, path, limits)
        yield path
    finally:
        path.unlink(missing_ok=True)


def reserved(folder: Path) -> Path:
    """A new empty file.

    Raises:
        Refusal: 507 if there is no place for it.
    """
    try:
        handle, name = mkstemp(dir=folder)
    except OSError as error:
        raise no_place(error) from None
    os.close(handle)
    return Path(name)


async def _receive(request: Request, path: Path, limits: Limits) -> None:
    too_large = Refusal(413, f"the body is larger than {limits.upload / MEBIBYTE:g} MiB")
    if int(request.headers.get("content-length", 0)) > limits.upload:
        raise too_large
    size = 0
    try:
        with anyio.fail_after(limits.upload_seconds):
            async with await anyio.open_file(path, "wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limits.upload:
                        raise too_large
                    await file.write(chunk)
    except TimeoutError:
        raise Refusal(408, f"the body did not arrive within {limits.upload_seconds:g} s") from None
    except ClientDisconnect:
        raise Refusal(400, "the body ended early") from None
    except OSError as error:
        raise no_place(error) from None
    if not size:
        raise Refusal(400, "the body is empty: it has to be the file itself")


def _refuse_kind(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind not in (MEDIA_TYPE, "application/octet-stream") and not kind.startswith("image/"):
        raise Refusal(
            415,
            f"the body has to be the file itself, of type image/..., {MEDIA_TYPE} or application/octet-stream, "
            "not a form or text",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "the body must not be compressed: send the file as it is")
