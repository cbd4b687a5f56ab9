"""A server with the small codec of the tests, and pictures to send to it."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from starlette.testclient import TestClient

from diptych.serve.app import create_app
from diptych.serve.folder import Folder
from diptych.serve.limits import Limits
from diptych.serve.pool import Pool
from samples import picture

ADDRESS = "http://127.0.0.1"
LIMITS = Limits(upload=2**20, pixels=300_000, seconds=60, workers=1, waiting=2)


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    file = BytesIO()
    picture(90, 61).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, jpeg: bytes) -> Path:
    """A folder with a photo, one below it, and something that is none; a link leads out of it."""
    outside = tmp_path_factory.mktemp("outside") / "secret.jpg"
    outside.write_bytes(jpeg)
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "a photo.jpg").write_bytes(jpeg)
    (folder / "below").mkdir()
    (folder / "below" / "é#?.jpg").write_bytes(jpeg)
    (folder / "notes.txt").write_text("not a picture")
    (folder / "link.jpg").symlink_to(outside)
    return folder


@pytest.fixture(scope="session")
def pool(codec_file: Path) -> Pool:
    return Pool(LIMITS, str(codec_file))


@pytest.fixture(scope="session")
def client(pool: Pool, pictures: Path) -> Iterator[TestClient]:
    app = create_app(pool, Folder(pictures))
    with TestClient(app, ADDRESS, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def dip(client: TestClient, jpeg: bytes) -> bytes:
    answer = client.post("/encode", params={"quality": 60}, content=jpeg)
    assert answer.status_code == 200, answer.text
    return answer.content
