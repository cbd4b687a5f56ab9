"""The HTTP API with a real codec in a real worker process: what it makes, and how it says no."""

import errno
import json
import os
import tempfile
from binascii import crc_hqx
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import anyio
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from diptych.bitstream import read_header, unpack
from diptych.cli.main import app
from diptych.codec.codec import Codec
from diptych.serve import worker
from diptych.serve.app import create_app
from diptych.serve.folder import Folder
from diptych.serve.limits import Limits, Refusal
from diptych.serve.pool import Pool
from samples import picture
from serve import misdeeds
from serve.conftest import ADDRESS, LIMITS


def refused(answer, status: int, words: str) -> None:
    """Check that an answer is a refusal: JSON with one sentence."""
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert list(problem) == ["error"]
    assert words in problem["error"]
    assert "\n" not in problem["error"]
    assert tempfile.gettempdir() not in problem["error"]


def test_a_photo_becomes_a_dip_file(client: TestClient, codec: Codec, jpeg: bytes) -> None:
    answer = client.post("/encode?quality=12.34", content=jpeg, headers={"Content-Type": "image/jpeg"})
    assert answer.headers["content-type"] == "application/x-dip"
    facts = json.loads(answer.headers["diptych-facts"])
    header, _ = unpack(answer.content)
    assert (header.width, header.height, header.quality) == (90, 61, 12.34)
    assert (facts["width"], facts["height"], facts["bytes"]) == (90, 61, len(answer.content))
    assert facts["model_id"] == codec.model_id.hex()


@pytest.mark.parametrize("view", ["machine", "human", "0.5"])
def test_a_dip_file_becomes_the_picture_that_the_codec_makes(
    client: TestClient, codec: Codec, dip: bytes, view: str
) -> None:
    answer = client.post("/decode", params={"view": view}, content=dip)
    assert answer.headers["content-type"] == "image/png"
    image = np.asarray(Image.open(BytesIO(answer.content)), np.int16)
    assert np.abs(image - np.asarray(codec.decode(dip, view), np.int16)).max() <= 1


@pytest.mark.parametrize("kind", list(worker.FORMATS))
def test_pictures_come_in_the_format_that_is_asked_for(client: TestClient, dip: bytes, kind: str) -> None:
    answer = client.post("/decode", params={"format": kind}, content=dip)
    assert answer.headers["content-type"] == f"image/{kind}"
    assert Image.open(BytesIO(answer.content)).format == kind.upper()


def test_view_auto_is_the_human_view_of_a_file_without_a_hint(client: TestClient, dip: bytes) -> None:
    answer = client.post("/decode?view=auto", content=dip)
    assert json.loads(answer.headers["diptych-facts"])["view"] == "human"


def test_an_upload_may_come_in_parts(client: TestClient, jpeg: bytes, dip: bytes) -> None:
    def parts() -> Iterator[bytes]:
        for start in range(0, len(jpeg), 100):
            yield jpeg[start : start + 100]

    assert client.post("/encode?quality=60", content=parts()).content == dip


def test_the_original_is_upright_and_opaque(client: TestClient) -> None:
    file, turned = BytesIO(), Image.Exif()
    turned[0x0112] = 6
    picture(90, 61).convert("RGBA").save(file, "PNG", exif=turned)
    answer = client.post("/original", content=file.getvalue())
    image = Image.open(BytesIO(answer.content))
    assert (image.size, image.mode) == ((61, 90), "RGB")


def test_the_map_comes_with_its_figures(client: TestClient, dip: bytes) -> None:
    answer = client.post("/map", content=dip)
    assert Image.open(BytesIO(answer.content)).size == (90, 61)
    assert json.loads(answer.headers["diptych-facts"])["views_differ"] >= 0


@pytest.mark.parametrize("what", ["jpeg", "dip"])
def test_detections_are_listed(client: TestClient, what: str, request: pytest.FixtureRequest) -> None:
    answer = client.post("/detect", content=request.getfixturevalue(what)).json()
    assert (answer["width"], answer["height"]) == (90, 61)
    for one in answer["detections"]:
        assert 0.5 <= one["score"] <= 1
        assert sum(one["mask"]["counts"]) == np.prod(one["mask"]["size"])


def test_masks_are_run_lengths_in_column_order() -> None:
    mask = np.array([[0, 0, 1], [0, 1, 1]], bool)
    assert worker._run_lengths(mask) == {"size": [2, 3], "counts": [3, 3]}
    assert worker._run_lengths(~mask) == {"size": [2, 3], "counts": [0, 3, 3]}


def test_health_tells_what_the_server_takes(client: TestClient, codec: Codec) -> None:
    health = client.get("/health").json()
    assert (health["status"], health["model_id"]) == ("ok", codec.model_id.hex())
    assert (health["max_upload_bytes"], health["max_pixels"]) == (LIMITS.upload, LIMITS.pixels)
    assert health["admitted"] == 0


def test_the_description_names_every_route_and_refusal(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/encode", "/decode", "/map", "/detect", "/original", "/health", "/folder"} <= paths.keys()
    assert {"200", "400", "401", "413", "415", "422", "429", "503"} <= paths["/encode"]["post"]["responses"].keys()
    assert "image/*" in paths["/encode"]["post"]["requestBody"]["content"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("/encode?quality=nan", "'quality' is not possible"),
        ("/encode?quality=inf", "'quality' is not possible"),
        ("/encode?quality=-1", "'quality' is not possible"),
        ("/encode?quality=100.01", "'quality' is not possible"),
        ("/encode?quality=high", "'quality' is not possible"),
        ("/decode?format=exe", "'format' is not possible"),
        ("/decode?view=" + "9" * 100, "'view' is not possible"),
        ("/decode?view=sideways", "there is no view 'sideways'"),
        ("/decode?view=nan", "the view nan is outside"),
        ("/decode?view=1.5", "the view 1.5 is outside"),
        ("/decode?view=x.safetensors", "there is no view"),
    ],
)
def test_impossible_parameters_are_refused(client: TestClient, dip: bytes, parameters: str, words: str) -> None:
    refused(client.post(parameters, content=dip), 422, words)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Type": "multipart/form-data; boundary=x"}, "not a form or text"),
        ({"Content-Type": "application/json"}, "not a form or text"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "not a form or text"),
        ({"Content-Encoding": "gzip"}, "must not be compressed"),
    ],
)
def test_bodies_that_are_no_files_are_refused(
    client: TestClient, jpeg: bytes, headers: dict[str, str], words: str
) -> None:
    refused(client.post("/encode", content=jpeg, headers=headers), 415, words)


def test_damaged_and_foreign_files_are_refused(client: TestClient, jpeg: bytes, dip: bytes) -> None:
    refused(client.post("/encode", content=b""), 400, "empty")
    refused(client.post("/encode", content=b"no picture"), 422, "it is not a picture")
    refused(client.post("/encode", content=jpeg[:700]), 422, "it is damaged")
    refused(client.post("/encode", content=dip), 422, "it is not a picture")
    refused(
        client.post("/encode", content=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), 422, "not a picture"
    )
    refused(client.post("/decode", content=jpeg), 422, "not a .dip file")
    refused(client.post("/decode", content=dip[:-1]), 422, "truncated")
    refused(client.post("/decode", content=dip[:-1] + b"x"), 422, "checksum")
    other = dip[:7] + b"none" + dip[11:13]
    other += crc_hqx(other, 0).to_bytes(2, "little")
    refused(client.post("/decode", content=other + dip[15:]), 422, "")


def test_large_bodies_are_refused_before_they_are_whole(client: TestClient) -> None:
    refused(client.post("/encode", content=b"", headers={"Content-Length": str(10**15)}), 413, "larger than 1 MiB")
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 2**26:
            sent += 2**16
            yield bytes(2**16)

    refused(client.post("/encode", content=endless()), 413, "larger than 1 MiB")


@pytest.mark.slow
def test_large_pictures_are_refused_by_their_headers(client: TestClient, dip: bytes) -> None:
    file = BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    assert len(file.getvalue()) < LIMITS.upload
    for path in ("/encode", "/original", "/detect"):
        refused(client.post(path, content=file.getvalue()), 413, "30,000 x 30,000 pixels")
    claim = dip[:6] + bytes([16]) + dip[7:11] + b"\xff\xff\x03\xff\xff\x03"
    claim += crc_hqx(claim, 0).to_bytes(2, "little") + bytes(1000)
    assert read_header(claim).width == 65535
    for path in ("/decode", "/map", "/detect"):
        refused(client.post(path, content=claim), 413, "65,535 x 65,535 pixels")


def test_unknown_paths_and_methods_are_refused_in_the_same_way(client: TestClient) -> None:
    refused(client.get("/nothing"), 404, "not found")
    refused(client.put("/encode"), 405, "method not allowed")


@pytest.mark.slow
def test_nothing_is_left_behind(
    pool: Pool, jpeg: bytes, dip: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with TestClient(create_app(pool), ADDRESS) as client:
        [scratch] = tmp_path.iterdir()
        assert client.post("/encode", content=jpeg).status_code == 200
        assert client.post("/decode", content=dip).status_code == 200
        assert client.post("/decode", content=jpeg).status_code == 422
        assert client.post("/encode", content=bytes(2**21)).status_code == 413
        assert [path.name for path in scratch.iterdir()] == ["codecs"]
    assert list(tmp_path.iterdir()) == []
    assert pool.admitted == 0


def test_the_folder_is_listed_and_nothing_outside_it(client: TestClient, jpeg: bytes) -> None:
    listing = client.get("/folder").json()
    assert [entry["name"] for entry in listing["files"]] == ["a photo.jpg", "below/é#?.jpg"]
    assert client.get("/folder/a%20photo.jpg").content == jpeg
    assert client.get("/folder/below/%C3%A9%23%3F.jpg").content == jpeg
    small = client.get("/thumbnail/a%20photo.jpg")
    assert Image.open(BytesIO(small.content)).format == "JPEG"


@pytest.mark.parametrize(
    "name",
    ["link.jpg", "notes.txt", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "below/../notes.txt", "below", ""],
)
def test_names_do_not_lead_out_of_the_folder(client: TestClient, name: str) -> None:
    for path in ("/folder/", "/thumbnail/"):
        answer = client.get(path + name, follow_redirects=False)
        assert answer.status_code in (307, 404), answer.text


@pytest.mark.parametrize("path", ["/", "/health", "/encode", "/nothing", "/static/page.js"])
def test_every_answer_carries_safe_headers(client: TestClient, path: str) -> None:
    headers = client.get(path, headers={"Sec-Fetch-Site": "none"}).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


def test_foreign_pages_and_names_are_refused(client: TestClient, jpeg: bytes) -> None:
    refused(client.post("/encode", content=jpeg, headers={"Origin": "https://example.org"}), 403, "other web pages")
    refused(client.post("/encode", content=jpeg, headers={"Origin": "http://["}), 403, "other web pages")
    refused(client.get("/health", headers={"Host": "example.org"}), 403, "not known under that name")
    refused(client.get("/health", headers={"Host": "[::1"}), 403, "not known under that name")
    assert client.get("/health", headers={"Host": "[::1]:80"}).status_code == 200
    assert client.get("/health", headers={"Origin": ADDRESS}).status_code == 200


def test_the_token_is_asked_for(pool: Pool, jpeg: bytes) -> None:
    with TestClient(create_app(pool, token="s3cret", host="0.0.0.0"), ADDRESS) as guarded:
        for headers in ({}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Basic s3cret"}):
            refused(guarded.post("/encode", content=jpeg, headers=headers), 401, "token")
            refused(guarded.get("/folder", headers=headers), 401, "token")
            refused(guarded.get("/codecs/codecs.json", headers=headers), 401, "token")
        for path in ("/", "/health", "/docs", "/openapi.json", "/static/page.js", "/static/decoder/worker.js"):
            assert guarded.get(path).status_code == 200
        bearer = {"Authorization": "bearer s3cret"}
        refused(guarded.get("/folder", headers=bearer), 404, "without a folder")
        [codec] = guarded.get("/codecs/codecs.json", headers=bearer).json().values()
        assert guarded.get(f"/codecs/{codec['weights']}", headers=bearer).status_code == 200
        assert guarded.get("/health", headers={"Host": "any.example.org"}).status_code == 200


def test_a_full_queue_sends_requests_away(
    client: TestClient, pool: Pool, jpeg: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crowd:
        crowd.setattr(pool, "admitted", LIMITS.workers + LIMITS.waiting)
        answer = client.post("/encode", content=jpeg)
        refused(answer, 429, "busy")
        assert int(answer.headers["retry-after"]) >= 1
        assert client.get("/health").status_code == 200
    assert client.post("/encode", content=jpeg).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "arguments", "status"),
    [(misdeeds.sleep, (600,), 503), (misdeeds.die, (), 503), (misdeeds.want_memory, (), 413)],
)
def test_work_that_fails_takes_neither_server_nor_queue_with_it(
    function: object, arguments: tuple[float, ...], status: int
) -> None:
    async def check() -> None:
        pool = Pool(Limits(seconds=4, workers=1))
        with pytest.raises(Refusal) as refusal:
            await pool.run(function, *arguments)
        assert refusal.value.status == status
        assert await pool.run(misdeeds.sleep, 0) == {}

    anyio.run(check)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["decode", "map", "detect?view=auto", "detect?view=machine"])
def test_what_encode_answers_with_can_be_sent_back(client: TestClient, dip: bytes, route: str) -> None:
    answer = client.post(f"/{route}", content=dip, headers={"Content-Type": "application/x-dip"})
    assert answer.status_code == 200, answer.text


def test_pillow_and_the_server_call_the_type_alike() -> None:
    import diptych.pillow

    assert Image.MIME[diptych.pillow.FORMAT] == "application/x-dip"


@pytest.mark.slow
def test_odd_names_cost_themselves_alone(pool: Pool, tmp_path: Path, jpeg: bytes) -> None:
    (tmp_path / "b.jpg").write_bytes(jpeg)
    (tmp_path / "two\nlines.jpg").write_bytes(jpeg)
    (tmp_path / "100%.jpg").write_bytes(jpeg)
    (tmp_path / "raw.nef").write_bytes(jpeg)
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as file:
        file.write(jpeg)
    with TestClient(create_app(pool, Folder(tmp_path)), ADDRESS, raise_server_exceptions=False) as client:
        listing = client.get("/folder").json()
        assert [row["name"] for row in listing["files"]] == ["100%.jpg", "b.jpg", "two\nlines.jpg"]
        assert listing["left_out"] == 2
        assert len(listing["why"]) == 2
        assert "raw.nef (NEF is a camera raw file" in listing["why"][0]
        for name in ("two%0Alines.jpg", "100%25.jpg"):
            assert client.get(f"/folder/{name}").content == jpeg
            assert client.get(f"/thumbnail/{name}").status_code == 200
        assert client.get("/folder/caf%E9.jpg").status_code == 404


def test_a_proxy_is_answered_under_its_names(pool: Pool, jpeg: bytes) -> None:
    proxied = create_app(pool, names=["codec.example.com", "other.example.com:8443"])
    with TestClient(proxied, ADDRESS, raise_server_exceptions=False) as client:

        def status(**headers: str) -> int:
            return client.post("/original", content=jpeg, headers=headers).status_code

        assert status(Host="codec.example.com") == 200
        assert status(Host="CODEC.example.com:443", Origin="https://codec.example.com") == 200
        assert status(Origin="https://codec.example.com") == 200
        assert status(Host="other.example.com:8443", Origin="https://other.example.com:8443") == 200
        assert status(Host="other.example.com") == 403
        assert status(Host="evil.example.com") == 403
        assert status(Origin="https://evil.example.com") == 403
        assert status(Host="codec.example.com", Origin="https://evil.example.com") == 403


@pytest.mark.parametrize("where", ["upload", "answer"])
def test_a_full_disk_is_told(client: TestClient, jpeg: bytes, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Sockets, files and workers are real; the disk alone is said to be full, by its own error."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def no_place(*_: object) -> None:
        raise full

    if where == "upload":
        monkeypatch.setattr(anyio, "open_file", no_place)
    else:
        monkeypatch.setattr(worker, "encode", misdeeds.fill_the_disk)
    answer = client.post("/encode", content=jpeg)
    refused(answer, 507, "the server cannot store the file: no space left on device")
    monkeypatch.undo()
    assert client.post("/encode", content=jpeg).status_code == 200


@pytest.mark.parametrize("name", ["https://codec.example.com", "a b", "", "codec.example.com/x"])
def test_impossible_names_are_refused(name: str) -> None:
    result = CliRunner().invoke(app, ["serve", "--name", name])
    assert result.exit_code == 2


@pytest.mark.parametrize("limit", ["nan", "inf", "1e999"])
def test_impossible_time_limits_are_refused(limit: str) -> None:
    assert CliRunner().invoke(app, ["serve", "--time-limit", limit]).exit_code == 2
