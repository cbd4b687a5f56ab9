"""The frozen test vectors: what was written with version 1 of the format stays readable, and means the same.

When a test fails here, the program has to change back, not the vectors.
"""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import reference_decoder as reference
from diptych.bitstream import unpack
from diptych.codec import Codec, load
from vectors import make

FROZEN = "b71d232404e41bacca1bf4e496be06e4e46d02f5d9a196a1f3aa202b6e577ff8"
"""SHA-256 of vectors.json, which holds that of everything else."""

FOLDER = Path(make.__file__).parent
VECTORS = json.loads((FOLDER / "vectors.json").read_bytes())


@pytest.fixture(scope="module")
def codec() -> Codec:
    return load(FOLDER / "codec.safetensors")


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_vectors_are_the_frozen_ones() -> None:
    assert digest(FOLDER / "vectors.json") == FROZEN
    assert {name: digest(FOLDER / name) for name in VECTORS["files"]} == VECTORS["files"]


@pytest.mark.parametrize("name", VECTORS["latents"])
def test_both_decoders_read_the_latents(codec: Codec, name: str) -> None:
    data = (FOLDER / f"{name}.dip").read_bytes()
    assert unpack(data).header.model_id.hex() == VECTORS["model_id"]
    expected = VECTORS["latents"][name]
    for values in (codec.latents(data).values, reference.latents(data, load_file(FOLDER / "codec.safetensors"))):
        assert values.dtype == np.int32
        assert sha256(values.astype("<i4").tobytes()).hexdigest() == expected


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.png")), ids=lambda path: path.stem)
def test_machine_view(codec: Codec, path: Path) -> None:
    view = codec.decode(path.with_suffix(".dip").read_bytes(), "machine")
    assert np.abs(np.asarray(view).astype(int) - np.asarray(Image.open(path))).max() <= 1


def test_script_makes_these_vectors(tmp_path: Path) -> None:
    make.write(tmp_path)
    made = json.loads((tmp_path / "vectors.json").read_bytes())
    assert made["model_id"] == VECTORS["model_id"]
    assert list(made["files"]) == list(VECTORS["files"])
    for name in ("codec.safetensors", "extremes-40x24-q70.dip"):
        assert made["files"][name] == VECTORS["files"][name]
    for path in tmp_path.glob("*.dip"):
        assert path.stat().st_size == pytest.approx((FOLDER / path.name).stat().st_size, rel=0.02, abs=2)
