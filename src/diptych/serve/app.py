"""The routes: what is asked for, what is answered, and how an error reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

import diptych
from diptych.bitstream.container import MEDIA_TYPE as DIP
from diptych.codec import defaults, registry
from diptych.serve import worker
from diptych.serve.folder import Folder
from diptych.serve.guard import LOOPBACK, Guard
from diptych.serve.limits import Limits, Refusal
from diptych.serve.pool import Pool
from diptych.serve.uploads import received, reserved

STATIC = Path(__file__).parent / "static"
DECODER = STATIC.parents[1] / "page" / "static"
"""The modules that decode ``.dip`` files in a browser; ``/codecs`` is what they need of codecs."""
FACTS = "Diptych-Facts"
"""Header of an answer that is a file: what is known of it, as JSON."""

_REFUSALS = {
    400: "The body is empty or ends early.",
    401: "The token is missing.",
    404: "There is no such picture.",
    408: "The body took too long.",
    413: "The body or the picture is too large.",
    415: "The body is a form, text, or compressed.",
    422: "A parameter is out of range, or the file is damaged or of another kind.",
    429: "The server is busy; Retry-After says for how long.",
    503: "The work took too long or too much memory.",
    507: "The server's disk is full.",
}

Quality = Annotated[float, Query(ge=0, le=100, allow_inf_nan=False, description="Higher is larger and better.")]
View = Annotated[
    str,
    Query(max_length=20, description="machine, human, a number between them (0 to 1), or auto: the file's hint."),
]
Kind = Annotated[Literal["png", "jpeg", "webp", "avif"], Query(description="PNG and WebP keep every pixel.")]


class _Anything(Convertor[str]):
    """The rest of a path, line breaks included."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anything", _Anything())


class Problem(BaseModel):
    """Every answer that is not a success."""

    error: str = Field(description="What is wrong, in one sentence.")


class Mask(BaseModel):
    """Uncompressed run lengths as COCO has them: column by column, the first run is of zeros."""

    size: tuple[int, int] = Field(description="Height and width, which may be smaller than the picture's.")
    counts: list[int]


class Detection(BaseModel):
    label: str
    hue: float = Field(description="A colour for its class, 0 to 1.")
    score: float
    box: tuple[float, float, float, float] = Field(description="x, y, width, height in pixels.")
    mask: Mask


class Detections(BaseModel):
    width: int
    height: int
    detections: list[Detection]


class Health(BaseModel):
    status: Literal["ok"] = "ok"
    version: str
    model_id: str
    human_view: bool
    task: bool = Field(description="Whether /detect works.")
    folder: bool = Field(description="Whether /folder lists pictures.")
    needs_token: bool
    admitted: int = Field(description="Requests that are received, waiting or worked on now.")
    max_upload_bytes: int
    max_pixels: int
    workers: int
    waiting: int = Field(description="Requests that may wait; more are refused with 429.")


class Entry(BaseModel):
    name: str
    bytes: int


class Listing(BaseModel):
    name: str
    files: list[Entry]
    left_out: int
    why: list[str] = Field(description="A sentence on each kind of file that was left out.")


def create_app(
    pool: Pool,
    folder: Folder | None = None,
    token: str | None = None,
    host: str = "127.0.0.1",
    names: Collection[str] = (),
) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        pool: does the work; started with the application if it is not running yet.
        folder: whose pictures are listed.
        token: that requests have to bear; None asks for none.
        host: where it will listen. On the local machine it answers only to the local machine's names, and to
            ``names``.
        names: under which a proxy makes it known, with a port where that is not the scheme's own.
    """
    app = FastAPI(
        title="Diptych",
        version=diptych.__version__,
        description="Photos to .dip files and back. A body is the file itself, not a form. "
        "Errors are JSON with one sentence; 429 says in Retry-After when to come again.",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(pool),
        telemetry={"auto_configure": False},  # whatever the environment asks for: nothing leaves the machine
        exception_handlers={
            Refusal: _refused,
            RequestValidationError: _invalid,
            HTTPException: _no_such,
            Exception: _failed,
        },
    )
    _add_page(app, pool, folder, token)
    _add_codec(app, pool)
    _add_folder(app, pool, folder)
    return Guard(app, token, LOOPBACK if host in LOOPBACK else None, pool.limits.upload_seconds, names)


def _lifespan(pool: Pool) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with TemporaryDirectory(prefix="diptych-serve-", ignore_cleanup_errors=True) as scratch:
            app.state.scratch = Path(scratch)
            app.state.about = await pool.start()
            await pool.run(worker.publish, app.state.scratch / "codecs")
            app.mount("/codecs", StaticFiles(directory=app.state.scratch / "codecs"))
            yield

    return lifespan


def _add_page(app: FastAPI, pool: Pool, folder: Folder | None, token: str | None) -> None:
    app.mount("/static/decoder", StaticFiles(directory=DECODER))
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    def docs() -> FileResponse:
        return FileResponse(STATIC / "api.html")

    @app.get("/health")
    async def health(request: Request) -> Health:
        """Whether the server runs, with which codec, and what it takes."""
        limits: Limits = pool.limits
        return Health(
            version=diptych.__version__,
            folder=folder is not None,
            needs_token=token is not None,
            admitted=pool.admitted,
            max_upload_bytes=limits.upload,
            max_pixels=limits.pixels,
            workers=limits.workers,
            waiting=limits.waiting,
            **request.app.state.about,
        )


def _add_codec(app: FastAPI, pool: Pool) -> None:
    @app.post("/encode", **_takes(["image/*"], DIP))
    async def encode(request: Request, quality: Quality = defaults.QUALITY) -> FileResponse:
        """Turn a photo into a .dip file."""
        return await _made(pool, request, DIP, worker.encode, quality)

    @app.post("/decode", **_takes([DIP], "image/*"))
    async def decode(request: Request, view: View = defaults.VIEW, format: Kind = "png") -> FileResponse:
        """Turn a .dip file into a picture, in the view for people or the one for machines."""
        return await _made(pool, request, worker.FORMATS[format], worker.decode, view, format)

    @app.post("/map", **_takes([DIP], "image/png"))
    async def difference_map(request: Request) -> FileResponse:
        """Show where the two views of a .dip file differ, so where texture may be invented, as a heat map."""
        return await _made(pool, request, "image/png", worker.difference)

    @app.post("/detect", **_takes(["image/*", DIP], "application/json"))
    async def detect(request: Request, view: View = defaults.VIEW) -> Detections:
        """Find objects in a photo, or in a view of a .dip file, with the shipped task network."""
        async with pool.place(), received(request, request.app.state.scratch, pool.limits) as source:
            return Detections(**await _worked(pool, source, worker.detect, source, view))

    @app.post("/original", **_takes(["image/*"], "image/*"))
    async def original(request: Request, format: Kind = "png") -> FileResponse:
        """Turn a photo of any kind upright and into sRGB, as the codec sees it."""
        return await _made(pool, request, worker.FORMATS[format], worker.original, format)


def _add_folder(app: FastAPI, pool: Pool, folder: Folder | None) -> None:
    def opened() -> Folder:
        if folder is None:
            raise Refusal(404, "the server was started without a folder")
        return folder

    @app.get("/folder", responses=_problems(401, 404))
    def listing() -> Listing:
        """List the photos and .dip files of the folder that the server was started with."""
        return Listing(**opened().listing())

    @app.get("/folder/{name:anything}", response_class=FileResponse, responses=_problems(401, 404, 422))
    def file(name: str) -> FileResponse:
        """Fetch one of them as it is."""
        return FileResponse(opened().file(name), media_type="application/octet-stream")

    @app.get(
        "/thumbnail/{name:anything}",
        response_class=FileResponse,
        responses=_problems(401, 404, 413, 422, 429, 503, 507),
    )
    async def thumbnail(request: Request, name: str) -> FileResponse:
        """Fetch a small JPEG of one of the photos."""
        source = opened().file(name)
        async with pool.place():
            return await _answer(pool, request, "image/jpeg", worker.thumbnail, source)


async def _made(
    pool: Pool, request: Request, kind: str, function: Callable[..., worker.Facts], *args: Any
) -> FileResponse:
    """A file that a worker makes of the body."""
    async with pool.place(), received(request, request.app.state.scratch, pool.limits) as source:
        return await _answer(pool, request, kind, function, source, *args)


async def _answer(
    pool: Pool, request: Request, kind: str, function: Callable[..., worker.Facts], source: Path, *args: Any
) -> FileResponse:
    target = reserved(request.app.state.scratch)
    try:
        facts = await _worked(pool, source, function, source, target, *args)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return _Once(target, media_type=kind, headers={FACTS: json.dumps(facts)})


async def _worked(pool: Pool, source: Path, function: Callable[..., worker.Facts], *args: Any) -> worker.Facts:
    try:
        return await pool.run(function, *args)
    except Refusal as refusal:
        sentence = str(refusal).replace(str(source), "the file")
        sentence = sentence.replace(str(registry.folder()), "the server's folder of codecs")
        raise Refusal(refusal.status, sentence, refusal.headers) from None


class _Once(FileResponse):
    """An answer whose file is removed when it is sent, or cannot be."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            Path(self.path).unlink(missing_ok=True)


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "description": _REFUSALS[status]} for status in sorted(statuses)}


def _takes(bodies: Sequence[str], answer: str) -> dict[str, Any]:
    """What OpenAPI has to know of a route with a file as its body."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    responses = _problems(*_REFUSALS.keys() - {404})
    route: dict[str, Any] = {
        "openapi_extra": {"requestBody": {"required": True, "content": dict.fromkeys(bodies, binary)}}
    }
    if answer != "application/json":
        facts = {FACTS: {"description": "What is known of it, as JSON.", "schema": {"type": "string"}}}
        responses[200] = {"description": "The file.", "content": {answer: binary}, "headers": facts}
        route["response_class"] = FileResponse
    return {**route, "responses": responses}


def _problem(status: int, sentence: str, headers: Any = None) -> JSONResponse:
    return JSONResponse({"error": " ".join(sentence.split())}, status, headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return _problem(error.status, str(error), error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _problem(422, f"'{first['loc'][-1]}' is not possible: {first['msg'][:1].lower()}{first['msg'][1:]}")


async def _no_such(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _problem(error.status_code, str(error.detail).lower(), error.headers)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    return _problem(500, "the server failed at this; its log says why")
