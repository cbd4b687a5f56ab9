"""What every request has to pass, and what every answer carries."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from contextlib import suppress
from urllib.parse import SplitResult, urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
PUBLIC = ("/", "/docs", "/health", "/openapi.json")
"""What is answered without the token, and all below ``/static/``: none of it says anything about pictures."""

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
        "img-src 'self' blob:; connect-src 'self' blob:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware: only known hosts, no foreign pages, the token, safe headers, and no endless answers.

    Args:
        app: what it guards.
        token: that requests have to bear; None asks for none.
        hosts: names under which the server may be addressed, or None for any. A web page whose name an attacker
            lets point here would be let in otherwise.
        names: of a proxy in front of the server, host or host:port: addressed as these, and asked by pages of these
            over HTTPS or HTTP, it answers as well.
        patience: seconds that a client has for taking in a part of an answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        hosts: Collection[str] | None,
        patience: float,
        names: Collection[str] = (),
    ) -> None:
        self.app = app
        self.token = token
        self.hosts = hosts
        self.patience = patience
        self.names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            with anyio.fail_after(self.patience):
                await send(message)

        refusal = self._refusal(scope["path"], Headers(scope=scope))
        with suppress(ClientDisconnect, TimeoutError):  # nobody is there to be told
            await (refusal or self.app)(scope, receive, guarded)

    def _refusal(self, path: str, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "").lower()
        if self.hosts is not None and _parts(f"//{host}").hostname not in self.hosts and not self._named(host):
            return _refused(403, "this server is not known under that name (see --name)")
        origin = headers.get("origin")
        if origin is not None and (place := _parts(origin).netloc.lower()) != host and not self._named(place):
            return _refused(403, "other web pages may not use this server")
        if self.token is None or path in PUBLIC or path.startswith("/static/"):
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return None
        return _refused(401, "this needs the token, as Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    def _named(self, place: str) -> bool:
        """Whether a host, with or without port, is one of the proxy's; ports 80 and 443 go without saying."""
        return place in self.names or place.removesuffix(":443").removesuffix(":80") in self.names


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


def _refused(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": sentence}, status, headers)
