"""The codec through its public API, on real bytes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

import diptych.codec.codec as codec_module
from diptych.bitstream import read_header, unpack
from diptych.codec import tiling
from diptych.codec.codec import Codec, load
from diptych.codec.weights import CODEC_FORMAT, load_codec, load_view, read_arrays, write_arrays
from diptych.errors import BitstreamError, DiptychError, ModelError
from diptych.nn.context import SCANS
from diptych.training.export import load_model, save_model, save_view, trainable
from samples import lively_model, picture


@settings(max_examples=25)
@given(width=st.integers(1, 150), height=st.integers(1, 150), quality=st.integers(0, 10000))
def test_any_size_and_quality_round_trips(codec: Codec, width: int, height: int, quality: int) -> None:
    data = codec.encode(picture(width, height), quality / 100)
    header = read_header(data)
    assert (header.width, header.height) == (width, height)
    assert round(header.quality * 100) == quality
    assert codec.decode(data).size == (width, height)


@pytest.mark.slow
@pytest.mark.parametrize("scan", sorted(SCANS))
def test_every_scan_round_trips(tmp_path, scan: str) -> None:
    save_model(lively_model(scan=scan), tmp_path / "m.safetensors", {})
    codec = load(tmp_path / "m.safetensors")
    for size in ((1, 1), (16, 17), (33, 15), (113, 70), (65, 131)):
        data = codec.encode(picture(*size), 65, verify=True)
        assert codec.decode(data, "machine").size == size
        assert codec.latents(data).values.any()


def test_latents_do_not_depend_on_threads(codec: Codec) -> None:
    data = codec.encode(picture(333, 217), 70)
    found = []
    for count in (1, 2, 3):
        with threadpool_limits(count):
            found.append(codec.latents(data).values)
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    assert np.abs(found[0]).max() > 256


def test_higher_quality_costs_more_bytes(codec: Codec) -> None:
    sizes = [len(codec.encode(picture(160, 120), q)) for q in (0, 25, 50, 75, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_encoding_is_repeatable(codec: Codec) -> None:
    assert codec.encode(picture(100, 80), 33) == codec.encode(picture(100, 80), 33)


def test_views_share_the_file_and_blend(codec: Codec) -> None:
    data = codec.encode(picture(120, 90), 50)
    machine, half, human = (np.asarray(v).astype(int) for v in codec.decode_views(data, ["machine", 0.5, "human"]))
    assert np.array_equal(machine, np.asarray(codec.decode(data, 0.0)))
    assert np.array_equal(human, np.asarray(codec.decode(data, 1.0)))
    assert np.abs(machine - human).max() > 0
    assert np.abs(half - machine).mean() < np.abs(human - machine).mean()


@pytest.mark.parametrize("view", ["people", "", -0.1, 1.1, "nan"])
def test_unknown_views_are_refused(codec: Codec, view: str | float) -> None:
    with pytest.raises(DiptychError):
        codec.decode(codec.encode(picture(20, 20)), view)


@pytest.mark.parametrize("quality", [-1, 100.5, float("nan"), float("inf")])
def test_quality_out_of_range_is_refused(codec: Codec, quality: float) -> None:
    with pytest.raises(DiptychError, match="outside 0 to 100"):
        codec.encode(picture(20, 20), quality)


def test_arrays_tensors_and_images_are_the_same_picture(codec: Codec) -> None:
    image = picture(50, 40)
    array = np.asarray(image)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255
    assert codec.encode(image) == codec.encode(array) == codec.encode(tensor)


@pytest.mark.parametrize("wrong", [None, "photo.jpg", np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(codec: Codec, wrong: object) -> None:
    with pytest.raises(DiptychError):
        codec.encode(wrong)


def test_windows_leave_no_seam(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(700, 500)
    whole = codec.encode(image, 80)
    view = np.asarray(codec.decode(whole)).astype(int)
    monkeypatch.setattr(tiling, "WINDOW", 16)
    assert np.abs(np.asarray(codec.decode(whole)).astype(int) - view).max() <= 1
    shifted = codec.latents(codec.encode(image, 80)).values - codec.latents(whole).values
    assert (shifted != 0).mean() < 1e-3


def test_large_pictures_are_coded_in_tiles(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(300, 200)
    untiled = np.asarray(codec.decode(codec.encode(image, 90))).astype(float)
    monkeypatch.setattr(codec_module, "ONE_TILE_PIXELS", 1000)
    monkeypatch.setattr(codec_module, "TILE", 128)
    data = codec.encode(image, 90)
    assert unpack(data).header.tiles == 6
    tiled = np.asarray(codec.decode(data)).astype(float)
    assert np.abs(tiled - untiled).mean() < np.abs(untiled - np.asarray(image)).mean()


@settings(max_examples=20)
@given(data=st.data())
def test_a_region_is_that_part_of_the_picture(codec: Codec, data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 200))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    part = (x, y, data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y)))
    file = codec.encode(picture(width, height), 60)
    whole = np.asarray(codec.decode(file)).astype(int)
    region = np.asarray(codec.decode(file, region=part)).astype(int)
    assert np.abs(region - whole[y : y + part[3], x : x + part[2]]).max() <= 1


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (-1, 0, 5, 5), (0, 0, 51, 5), (49, 39, 2, 1)])
def test_regions_outside_the_picture_are_refused(codec: Codec, region: tuple[int, int, int, int]) -> None:
    with pytest.raises(DiptychError, match="not inside the picture"):
        codec.decode(codec.encode(picture(50, 40)), region=region)


def test_a_region_needs_only_its_tiles(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_module, "ONE_TILE_PIXELS", 1000)
    monkeypatch.setattr(codec_module, "TILE", 256)
    data = codec.encode(picture(900, 600), 60)
    whole = np.asarray(codec.decode(data)).astype(int)
    region = np.asarray(codec.decode(data, region=(20, 30, 50, 40))).astype(int)
    assert np.abs(region - whole[30:70, 20:70]).max() <= 1
    read = codec.latents(data, (20, 30, 50, 40)).values
    assert read[:, :16, :16].any()
    assert not read[:, 16:].any()


def test_verification_accepts_what_was_written(codec: Codec) -> None:
    assert codec.encode(picture(70, 50), 55, verify=True) == codec.encode(picture(70, 50), 55)


def test_files_of_another_codec_are_refused(codec: Codec, tmp_path) -> None:
    save_model(lively_model(seed=1), tmp_path / "other.safetensors", {})
    other = load(tmp_path / "other.safetensors")
    with pytest.raises(BitstreamError, match="written with codec"):
        other.decode(codec.encode(picture(20, 20)))


def test_model_file_round_trip_keeps_the_bitstream(codec: Codec, codec_file, tmp_path) -> None:
    copy = tmp_path / "copy.safetensors"
    save_model(load_model(codec_file), copy, {})
    assert load(copy).model_id == codec.model_id
    assert load(copy).encode(picture(90, 70), 60) == codec.encode(picture(90, 70), 60)


@pytest.mark.parametrize("scan", sorted(SCANS))
def test_training_sees_the_latents_that_are_coded(tmp_path, scan: str) -> None:
    save_model(lively_model(scan=scan), tmp_path / "m.safetensors", {})
    codec = load(tmp_path / "m.safetensors")
    image, model = picture(192, 128), trainable(codec.frozen)
    x = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
    quality = torch.tensor([60.0])
    with torch.no_grad():
        expected = model.quantized(x, quality)[0] / model.gains.inverse(quality)[0]
    off = torch.from_numpy(codec.latents(codec.encode(image, 60)).values) / 256 - expected
    assert (off.abs() > 0.1).float().mean() < 0.05


def test_a_view_of_another_codec_is_refused(codec_file, tmp_path) -> None:
    save_view({}, b"\0\1\2\3", tmp_path / "v.safetensors", {})
    with pytest.raises(ModelError, match="is a view of codec 00010203"):
        load(codec_file, tmp_path / "v.safetensors")


def test_a_view_with_foreign_layers_is_refused(codec_file, tmp_path) -> None:
    frozen = load_codec(codec_file)
    save_view({"stages.latent.0.bias": torch.zeros(1)}, frozen.model_id, tmp_path / "v.safetensors", {})
    with pytest.raises(ModelError, match="does not have in this shape"):
        load_view(tmp_path / "v.safetensors", frozen)


def test_without_a_human_view_only_the_machine_sees(codec_file, tmp_path) -> None:
    save_model(lively_model(), tmp_path / "alone.safetensors", {})
    alone = load(tmp_path / "alone.safetensors")
    data = alone.encode(picture(20, 20))
    alone.decode(data, "machine")
    with pytest.raises(ModelError, match="no human view"):
        alone.decode(data, "human")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_unusable_model_files_are_refused(tmp_path, content: bytes) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load(path)
    with pytest.raises(ModelError, match="there is no weights file"):
        load(tmp_path / "missing.safetensors")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("prior.index", torch.full((11, 8), 64, dtype=torch.uint8)),
        ("prior.mean", torch.zeros(11, 8)),
        ("prior.mean", torch.zeros(10, 8, dtype=torch.int32)),
        ("h_s.0.weight", torch.zeros(8, 9)),
        ("h_s.3.bias", torch.zeros(3, dtype=torch.int32)),
        ("tables.half_width", torch.zeros(64, dtype=torch.int32)),
        ("g_a.front.weight", torch.zeros(1, dtype=torch.float16)),
        ("gains.log_inverse", None),
        ("passes", None),
        ("passes", torch.zeros(12, 2, 2, dtype=torch.int32)),
        ("passes", torch.zeros(12, 2, 3, dtype=torch.uint8)),
        ("passes", torch.zeros(11, 2, 2, dtype=torch.uint8)),
        ("passes", torch.ones(12, 2, 2, dtype=torch.uint8)),
        ("passes", 2 * SCANS["checkerboard"](12)),
        ("passes", SCANS["quadtree"](12)),
        ("passes", torch.arange(48, dtype=torch.uint8).view(12, 2, 2) % 9),
        ("context.0.weight", torch.zeros(12, 8, dtype=torch.int16)),
        ("context.1.weight", torch.zeros(16, 12, dtype=torch.int16)),
        ("context.2.bias", torch.zeros(24)),
        ("context.2.bias", None),
        ("context.9.bias", torch.zeros(24, dtype=torch.int32)),
        ("g_s.stages.latent.9.weight", torch.zeros(1, dtype=torch.float16)),
    ],
)
def test_inconsistent_model_files_are_refused(codec_file, tmp_path, name: str, wrong: torch.Tensor | None) -> None:
    arrays, metadata = read_arrays(codec_file, CODEC_FORMAT)
    if wrong is None:
        del arrays[name]
    else:
        arrays[name] = wrong.numpy()
    write_arrays(tmp_path / "m.safetensors", arrays, metadata)
    with pytest.raises(ModelError):
        load(tmp_path / "m.safetensors")


STATES = {
    "float64": lambda: _default_dtype(torch.float64),
    "float16": lambda: _default_dtype(torch.float16),
    "bfloat16": lambda: _default_dtype(torch.bfloat16),
    "autocast to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", torch.float16),
    "another device": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
}


@contextmanager
def _default_dtype(kind: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_nothing_depends_on_the_global_state_of_torch(codec_file: Path, codec: Codec, state: str) -> None:
    data = codec.encode(picture(90, 61), 40)
    views = [np.asarray(view) for view in codec.decode_views(data, ["machine", 0.5, "human"])]
    with STATES[state]():  # type: ignore[operator]
        for one in (codec, load(codec_file)):
            assert one.encode(picture(90, 61), 40, verify=True) == data
            found = one.decode_views(data, ["machine", 0.5, "human"])
            assert all(np.array_equal(np.asarray(view), wanted) for view, wanted in zip(found, views, strict=True))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_pictures_of_numbers_that_are_none(codec: Codec, value: float) -> None:
    with pytest.raises(DiptychError, match="no numbers, or infinite"):
        codec.encode(torch.full((3, 8, 8), value))
    with pytest.raises(DiptychError):
        codec.encode(picture(9, 9), value)
    with pytest.raises(DiptychError):
        codec.decode(codec.encode(picture(9, 9)), value)
    with pytest.raises(DiptychError, match="whole pixels"):
        codec.decode(codec.encode(picture(9, 9)), region=(0, 0, value, 8))  # type: ignore[arg-type]
