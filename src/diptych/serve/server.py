"""Running the server on an address of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import NamedTuple

import uvicorn

from diptych.errors import DiptychError
from diptych.io.files import reason
from diptych.serve.app import create_app
from diptych.serve.folder import Folder
from diptych.serve.limits import Limits
from diptych.serve.pool import Pool

CONNECTIONS = 512
"""Connections at once; more are refused, so that files and sockets do not run out."""


class Place(NamedTuple):
    """Where to listen, and who may come in.

    Attributes:
        host: name or address; of the local machine, or of a network.
        port: 0 takes a free one.
        token: that requests have to bear, or None.
        names: under which a proxy makes it known.
    """

    host: str
    port: int
    token: str | None
    names: Sequence[str] = ()


def run(
    place: Place, limits: Limits, folder: Folder | None, model: str | None, ready: Callable[[str], None]
) -> None:
    """Serve until the process is told to end.

    Args:
        place: where to listen.
        limits: what is taken on.
        folder: whose pictures are listed.
        model: the codec's file, or None for the shipped one.
        ready: is given the page's address when it can be opened.

    Raises:
        DiptychError: if the codec cannot be loaded, or the address cannot be used.
    """
    with _listening(place) as listener:
        asyncio.run(_serve(place, limits, folder, model, ready, listener))


async def _serve(
    place: Place,
    limits: Limits,
    folder: Folder | None,
    model: str | None,
    ready: Callable[[str], None],
    listener: socket.socket,
) -> None:
    pool = Pool(limits, model)
    await pool.start()
    config = uvicorn.Config(
        create_app(pool, folder, place.token, place.host, place.names),
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
        ws="none",
    )
    host = f"[{place.host}]" if ":" in place.host else place.host
    address = f"http://{host}:{listener.getsockname()[1]}/" + (f"#token={place.token}" if place.token else "")
    await _Server(config, lambda: ready(address)).serve([listener])


class _Server(uvicorn.Server):
    """Tells when it has started: from then on signals end it in good order."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _listening(place: Place) -> socket.socket:
    try:
        family = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((place.host, place.port), family=family, backlog=CONNECTIONS)
    except (OSError, OverflowError, UnicodeError) as error:
        raise DiptychError(f"cannot listen on {place.host}, port {place.port}: {reason(error)}") from None
