"""The decoder in a browser is that of the package: latents to the bit, views to two levels, errors to the word."""

import base64
import json
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest

import diptych
from diptych.bitstream import Container, Header, pack, unpack
from diptych.codec.codec import Codec, load
from diptych.errors import BitstreamError
from diptych.page import write
from page.conftest import Open, in_page, served
from samples import picture
from vectors import make

pytestmark = pytest.mark.slow
FOLDER = Path(make.__file__).parent
VECTORS = json.loads((FOLDER / "vectors.json").read_bytes())
CODECS = [FOLDER / name for name in VECTORS["codecs"].values()]

LATENTS = (
    "async (bytes) => [...new Uint8Array(await crypto.subtle.digest('SHA-256', (await dip.open(bytes)).latents))]"
)
PIXELS = """async (bytes, view) => {
    const { data, width, height } = await (await dip.open(bytes)).decode(view);
    let text = "";
    for (let at = 0; at < data.length; at += 4096) text += String.fromCharCode(...data.subarray(at, at + 4096));
    return [width, height, btoa(text)];
}"""
PROBLEM = (
    "async (bytes) => dip.open(bytes).then(() => null, (error) => [error instanceof dip.DipError, error.message])"
)
PROBLEMS = """async (bytes, damage) => {
    const { unpack } = await import("./container.js");
    return damage.map(([length, place, bit]) => {
        const damaged = bytes.slice(0, length);
        if (place < length) damaged[place] ^= bit;
        try {
            unpack(damaged);
        } catch (error) {
            return [error instanceof dip.DipError, error.message];
        }
    });
}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the codecs of the vectors."""
    path = tmp_path_factory.mktemp("page") / "viewer"
    write(path, CODECS)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, codec_file: Path) -> Path:
    path = tmp_path_factory.mktemp("page") / "viewer"
    write(path, [codec_file])
    return path


def pixels(page: Any, data: bytes, view: str | float) -> np.ndarray:
    width, height, content = in_page(page, PIXELS, data, view)
    levels = np.frombuffer(base64.b64decode(content), np.uint8).reshape(height, width, 4)
    assert (levels[..., 3] == 255).all()
    return levels[..., :3].astype(int)


def single_precision(codec: Codec) -> Codec:
    """The same codec on an engine that is as exact as the browser: random weights make much of any other."""
    pytest.importorskip("onnxruntime")
    from diptych.codec.engine.onnx import OnnxRuntime

    return Codec(codec.frozen, codec.transforms.human, OnnxRuntime(1))


def vector(name: str) -> bytes:
    return (FOLDER / f"{name}.dip").read_bytes()


def test_latents_of_all_vectors(opened: Open, folder: Path) -> None:
    page = opened(folder)
    found = {name: bytes(in_page(page, LATENTS, vector(name))).hex() for name in VECTORS["latents"]}
    assert found == VECTORS["latents"]


def test_machine_views_of_all_vectors(opened: Open, folder: Path) -> None:
    page = opened(folder)
    codecs = {codec.model_id: codec for codec in map(load, CODECS)}
    for name in VECTORS["latents"]:
        if "largest" not in name and "extremes" not in name:  # no picture: their numbers are not that of one
            data = vector(name)
            view = single_precision(codecs[unpack(data).header.model_id]).decode(data, "machine")
            assert np.abs(pixels(page, data, "machine") - np.asarray(view).astype(int)).max() <= 1, name


def test_views_of_the_shipped_codec(opened: Open, tmp_path: Path) -> None:
    write(tmp_path / "viewer")
    page = opened(tmp_path / "viewer")
    codec = diptych.load()
    data = codec.encode(picture(270, 130), quality=35.55)
    latents = sha256(codec.latents(data).values.astype("<i4").tobytes()).digest()
    assert bytes(in_page(page, LATENTS, data)) == latents
    for view in ("machine", "human", 0.35):
        assert np.abs(pixels(page, data, view) - np.asarray(codec.decode(data, view)).astype(int)).max() <= 2


def test_windows_leave_no_seam(opened: Open, small: Path, codec: Codec) -> None:
    data = codec.encode(picture(1200, 1061), quality=70)
    view = np.asarray(single_precision(codec).decode(data, "human")).astype(int)
    assert np.abs(pixels(opened(small), data, "human") - view).max() <= 1


def test_tiles(opened: Open, small: Path, codec: Codec) -> None:
    data = codec.encode(picture(2500, 1800), quality=10)
    assert unpack(data).header.tiles == 6
    assert bytes(in_page(opened(small), LATENTS, data)) == sha256(codec.latents(data).values.tobytes()).digest()


def test_damage_is_told_as_by_the_package(opened: Open, folder: Path) -> None:
    data = vector("tiles-150x100-q50")
    damage = [(length, length, 0) for length in range(len(data))]
    damage += [(len(data), place, 1 << place % 8) for place in range(len(data))]
    expected = []
    for length, place, bit in damage:
        damaged = bytearray(data[:length])
        if place < length:
            damaged[place] ^= bit
        with pytest.raises(BitstreamError) as refused:
            unpack(bytes(damaged))
        expected.append([True, str(refused.value)])
    assert in_page(opened(folder), PROBLEMS, data, damage) == expected


def test_payloads_with_right_checksums_are_refused_alike(opened: Open, folder: Path) -> None:
    page = opened(folder)
    codec = load(CODECS[0])
    header, (payload,) = unpack(vector("64x64-q50"))
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        length = int(rng.integers(len(payload) + 1))
        other = payload[:length] + rng.bytes(int(rng.integers(8))) + payload[length + int(rng.integers(2)) :]
        data = pack(Container(header, [other]))
        try:
            expected = sha256(codec.latents(data).values.astype("<i4").tobytes()).digest()
        except BitstreamError:
            refused += 1
            ours, sentence = in_page(page, PROBLEM, data)
            assert ours
            assert sentence.startswith("The compressed data")
        else:
            assert bytes(in_page(page, LATENTS, data)) == expected
    assert refused > 20


def test_files_that_cannot_be_decoded_here(opened: Open, folder: Path) -> None:
    page = opened(folder)
    header, payloads = unpack(vector("64x64-q50"))
    foreign = pack(Container(header._replace(model_id=b"\xde\xad\xbe\xef"), payloads))
    ours, sentence = in_page(page, PROBLEM, foreign)
    assert ours
    assert "codec deadbeef, which is not in this page (it has" in sentence
    wide = Header(20_000, 1, 50, header.model_id, 1024)
    ours, sentence = in_page(page, PROBLEM, pack(Container(wide, [b""] * wide.tiles)))
    assert ours
    assert sentence.startswith("A picture of 20000 x 1 pixels is too large for a browser")


def test_a_view_that_is_not_there(opened: Open, folder: Path) -> None:
    page = opened(folder)
    problem = "async (bytes, view) => (await dip.open(bytes)).decode(view).catch((error) => error.message)"
    assert in_page(page, problem, vector("64x64-q50"), "human").startswith("This codec has no human view")
    assert in_page(page, problem, vector("64x64-q50"), "other").startswith("There is no view 'other'")


@pytest.mark.parametrize("name", ["codecs/{}.safetensors", "codecs/codecs.json", "worker.js", "coder.js"])
def test_files_that_are_gone_for_a_while(
    browser: Any, small: Path, tmp_path: Path, codec: Codec, name: str
) -> None:
    copy = copytree(small, tmp_path / "copy")
    gone = copy / name.format(codec.model_id.hex())
    content = gone.read_bytes()
    gone.unlink()
    data = codec.encode(picture(20, 20))
    with served(copy) as address:
        page = browser.new_page()
        page.goto(address)
        ours, sentence = in_page(page, PROBLEM, data)
        assert ours
        assert "cannot be loaded" in sentence
        gone.write_bytes(content)
        assert in_page(page, PROBLEM, data) is None
        page.close()
