"""Commands on an S3 server of this machine, moto's, which fails one request in twenty."""

import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from diptych.cli.main import app
from diptych.codec.codec import Codec
from samples import picture

pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.slow
PHOTOS = 8
FAILED = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """s3://bucket/in/0.png ... of a server that fails requests, by turns before and after it has done them."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    store, numbers = DomainDispatcherApplication(create_backend_app), itertools.count(1)

    def application(environ: Any, start: Callable[..., Any]) -> Iterable[bytes]:
        number = next(numbers)
        if number % 20:
            return store(environ, start)
        if number % 40:
            list(store(environ, lambda *_: None))
        start("500 Internal Server Error", [("Content-Type", "application/xml")])
        return [FAILED]

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem(use_listings_cache=False)
    system.mkdir("bucket")
    for number in range(PHOTOS):
        data = BytesIO()
        picture(48, 33, number).save(data, "PNG")
        system.pipe_file(f"bucket/in/{number}.png", data.getvalue())
    yield system
    system.rm("bucket", recursive=True)
    server.shutdown()
    thread.join()


def test_there_and_back_and_again(bucket: Any, codec_file: Any, codec: Codec) -> None:
    command = ["encode", "s3://bucket/in", "-o", "s3://bucket/out/", "--manifest", "s3://bucket/list.jsonl"]
    command += ["--model", codec_file]
    done = run(*command)
    assert done.exit_code == 0, done.stderr
    files = {f"s3://bucket/in/{n}.png": codec.encode(picture(48, 33, n), 40) for n in range(PHOTOS)}
    for number, data in enumerate(files.values()):
        assert bucket.cat_file(f"bucket/out/{number}.dip") == data
    digests = {source: hashlib.sha256(data).hexdigest() for source, data in files.items()}
    assert listed(bucket) == digests
    assert "exist already" in run(*command[:4], "--model", codec_file).stderr

    bucket.rm_file("bucket/out/3.dip")
    resumed = run(*command, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert f"{PHOTOS - 1} of {PHOTOS} files are done already" in resumed.stderr
    assert len(resumed.stdout.splitlines()) == 1
    assert listed(bucket) == digests

    back = run("decode", "s3://bucket/out/*.dip", "-o", "s3://bucket/back/", "--model", codec_file)
    assert back.exit_code == 0, back.stderr
    shown = Image.open(BytesIO(bucket.cat_file("bucket/back/3.png")))
    assert shown.tobytes() == codec.decode(files["s3://bucket/in/3.png"]).tobytes()


def listed(bucket: Any) -> dict[str, str]:
    """SHA-256 by source; no source twice."""
    lines = [json.loads(line) for line in bucket.cat_file("bucket/list.jsonl").splitlines()]
    found = {line["source"]: line["sha256"] for line in lines}
    assert len(found) == len(lines)
    return found
