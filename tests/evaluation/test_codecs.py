"""Ways to decode one file: views, filters, other decoders; and files of decoders with other upsamplers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diptych.codec.codec import load
from diptych.codec.weights import load_codec
from diptych.errors import ModelError
from diptych.evaluation.codecs import load_decoder, opened, save_decoder
from diptych.evaluation.recipe import Evaluation
from diptych.nn.upsamplers import Upsampler, replace_upsamplers
from diptych.training.export import load_model, save_model
from samples import lively_model, picture


def rebuilt(codec: Path, upsampler: Upsampler, path: Path) -> Path:
    """A decoder file of the codec, its upsamplers replaced."""
    g_s = load_model(codec).g_s
    replace_upsamplers(g_s, upsampler)
    save_decoder(g_s, upsampler, load_codec(codec).model_id, path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(("size", "quality"), [((131, 77), 5), ((64, 33), 50), ((1, 1), 95)])
def test_all_read_the_files_of_one_codec(
    codec_file: Path, tmp_path: Path, size: tuple[int, int], quality: float
) -> None:
    other = tmp_path / "other.safetensors"
    save_model(lively_model(seed=1), other, {"stage": "test"})
    files = {upsampler: rebuilt(codec_file, upsampler, tmp_path / upsampler) for upsampler in ("resize", "shuffle")}
    described: dict[str, Any] = {
        "base": {"model": codec_file, "views": ["machine", 0.5, "human"]},
        "blurred": {"model": codec_file, "filter": {"kind": "gaussian", "sigma": 0.8}},
        "bilateral": {"model": codec_file, "filter": {"kind": "bilateral", "sigma": 1.5, "contrast": 25}},
        "other": {"model": codec_file, "decoder": other},
    }
    described |= {upsampler: {"model": codec_file, "decoder": file} for upsampler, file in files.items()}
    settings: dict[str, Any] = {"qualities": [20], "views": ["machine"], "out": tmp_path / "x.json"}
    codecs = opened(Evaluation(photos=tmp_path, codecs=described, **settings))
    image, base = picture(*size, seed=3), load(codec_file)
    data = base.encode(image, quality)
    assert all(shown.codec.encode(image, quality) == data for shown in codecs.values())
    assert len({shown.codec.model_id for shown in codecs.values()}) == 1
    pictures = [p for shown in codecs.values() for p in shown.codec.decode_views(data, shown.views)]
    for made, view in zip(pictures, ("machine", 0.5, "human"), strict=False):
        assert np.array_equal(np.asarray(made), np.asarray(base.decode(data, view)))
    distinct = {np.asarray(made).tobytes() for made in pictures}
    assert len(distinct) == len(pictures) == 8 or size == (1, 1)


def test_a_decoder_comes_back(codec_file: Path, tmp_path: Path) -> None:
    frozen, g_s = load_codec(codec_file), load_model(codec_file).g_s
    replace_upsamplers(g_s, "resize")
    save_decoder(g_s, "resize", frozen.model_id, tmp_path / "g_s.safetensors")
    again = load_decoder(tmp_path / "g_s.safetensors", frozen)
    for name, tensor in g_s.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.half().float()), name


def test_an_unknown_upsampler_is_refused(codec_file: Path, tmp_path: Path) -> None:
    frozen = load_codec(codec_file)
    save_decoder(load_model(codec_file).g_s, "nope", frozen.model_id, tmp_path / "g_s.safetensors")
    with pytest.raises(ModelError, match="not a complete decoder"):
        load_decoder(tmp_path / "g_s.safetensors", frozen)


def test_a_decoder_of_another_codec_is_refused(codec_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "g_s.safetensors"
    save_decoder(load_model(codec_file).g_s, "resize", b"else", path)
    described = {"bad": {"model": codec_file, "decoder": path}}
    recipe = Evaluation(photos=tmp_path, qualities=[20], codecs=described, out=tmp_path / "x.json")
    with pytest.raises(ModelError, match=r"the codec 'bad': .*is a decoder of codec"):
        opened(recipe)


@pytest.mark.slow
def test_a_searched_codec_writes_files_of_its_own(codec_file: Path, tmp_path: Path) -> None:
    described: dict[str, Any] = {"plain": {"model": codec_file}, "searched": {"model": codec_file, "optimize": 2}}
    settings: dict[str, Any] = {"qualities": [20], "views": ["machine"], "out": tmp_path / "x.json"}
    plain, searched = opened(Evaluation(photos=tmp_path, codecs=described, **settings)).values()
    assert (plain.writer, searched.writer) == ("plain", "searched")
    image = picture(64, 64, seed=3)
    data = searched.codec.encode(image, 20)
    assert data != plain.codec.encode(image, 20)
    made, wanted = (each.codec.decode_views(data, ["machine"])[0] for each in (searched, plain))
    assert np.array_equal(np.asarray(made), np.asarray(wanted))
