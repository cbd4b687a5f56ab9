"""The page in a browser, behind a web server that knows nothing but files."""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

PATIENCE = 120_000

Open = Callable[..., Any]
"""From a folder of the page to it, opened in a browser."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Open]:
    """Opens pages; at the end, nothing was complained about, and nothing was asked of others."""
    complaints: list[str] = []
    asked: list[str] = []
    own: list[str] = []

    with ExitStack() as stack:

        def open_page(folder: Path, name: str = "", **options: Any) -> Any:
            own.append(stack.enter_context(served(folder)))
            context = browser.new_context(**options)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(own[-1] + name)
            return page

        yield open_page
    assert complaints == []
    assert asked
    assert [url for url in asked if not url.startswith((*own, *(f"blob:{each}" for each in own)))] == []


def in_page(page: Any, script: str, data: bytes, *arguments: Any) -> Any:
    """What an async function of bytes and arguments gives, with the page's module as ``dip``."""
    program = f"""async ([content, ...rest]) => {{
        const dip = await import("./diptych.js");
        const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
        return ({script})(bytes, ...rest);
    }}"""
    return page.evaluate(program, [base64.b64encode(data).decode(), *arguments])
