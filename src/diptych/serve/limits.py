"""What the server takes on, and how it says no."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass

from diptych.errors import DiptychError
from diptych.io.files import reason

MEBIBYTE = 2**20
NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a disk says that takes nothing more."""


@dataclass(frozen=True)
class Limits:
    """Bounds that hold for every request.

    Attributes:
        upload: bytes of a body.
        upload_seconds: time that a client has for sending it, or for taking in a part of the answer.
        pixels: of a photo, or of the picture in a ``.dip`` file; read from its header before it is decoded.
        seconds: of work on one request, waiting not counted.
        workers: requests worked on at once, each in a process of its own.
        waiting: requests that may wait for them; more are refused with 429.
    """

    upload: int = 64 * MEBIBYTE
    upload_seconds: float = 60
    pixels: int = 64_000_000
    seconds: float = 120
    workers: int = 2
    waiting: int = 16


class TooLarge(DiptychError):
    """The picture has more pixels than this server works on."""


class Refusal(DiptychError):
    """An answer other than success: an HTTP status, and one sentence that says why."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.headers = dict(headers or {})


def no_place(error: OSError) -> Refusal:
    """What is answered when the server's folder for temporary files takes nothing more."""
    return Refusal(507, f"the server cannot store the file: {reason(error)}", {"Retry-After": "60"})
