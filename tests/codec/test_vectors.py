"""The frozen test vectors: what was written with version 1 of the format stays readable, and means the same.

When a test fails here, the program has to change back, not the vectors.
"""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import reference_decoder as reference
from diptych.bitstream import unpack
from diptych.codec.codec import Codec, load
from vectors import make

FROZEN = "3fac7b3b3ad924ced3064693b5d02226752c4f5227f352c1d1e2673d2e27484a"
"""SHA-256 of vectors.json, which holds that of everything else."""

FOLDER = Path(make.__file__).parent
VECTORS = json.loads((FOLDER / "vectors.json").read_bytes())


@cache
def codec_of(data: bytes) -> tuple[Codec, reference.Arrays]:
    """The codec that wrote a file, for the program and for the second decoder."""
    path = FOLDER / VECTORS["codecs"][unpack(data).header.model_id.hex()]
    return load(path), load_file(path)


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_vectors_are_the_frozen_ones() -> None:
    assert digest(FOLDER / "vectors.json") == FROZEN
    assert {name: digest(FOLDER / name) for name in VECTORS["files"]} == VECTORS["files"]


@pytest.mark.slow
@pytest.mark.parametrize("name", VECTORS["latents"])
def test_both_decoders_read_the_latents(name: str) -> None:
    data = (FOLDER / f"{name}.dip").read_bytes()
    codec, arrays = codec_of(data)
    expected = VECTORS["latents"][name]
    for values in (codec.latents(data).values, reference.latents(data, arrays)):
        assert values.dtype == np.int32
        assert sha256(values.astype("<i4").tobytes()).hexdigest() == expected


def test_a_file_that_hints_at_a_view() -> None:
    assert unpack((FOLDER / "tiles-150x100-q50.dip").read_bytes()).header.hint == 0.5


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.png")), ids=lambda path: path.stem)
def test_machine_view(path: Path) -> None:
    data = path.with_suffix(".dip").read_bytes()
    view = codec_of(data)[0].decode(data, "machine")
    off = np.abs(np.asarray(view).astype(int) - np.asarray(Image.open(path)))
    assert off.max() <= 8  # random weights make much of an engine's precision, trained ones two levels at most
    assert off.mean() < 0.8


def test_script_makes_these_vectors(tmp_path: Path) -> None:
    make.write(tmp_path)
    made = json.loads((tmp_path / "vectors.json").read_bytes())
    assert made["codecs"] == VECTORS["codecs"]
    assert list(made["files"]) == list(VECTORS["files"])
    for name in made["files"]:
        if "extremes" in name or "largest" in name or name.endswith(".safetensors"):
            assert made["files"][name] == VECTORS["files"][name]
    for path in tmp_path.glob("*.dip"):
        assert path.stat().st_size == pytest.approx((FOLDER / path.name).stat().st_size, rel=0.02, abs=2)
