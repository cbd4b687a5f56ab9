"""Files of a whole decoder with other upsamplers: read back, or refused."""

from pathlib import Path

import pytest
import torch

from diptych.codec.weights import load_codec
from diptych.errors import ModelError
from diptych.evaluation.ablation.decoders import load_decoder, save_decoder
from diptych.nn.upsamplers import replace_upsamplers
from diptych.training.export import load_model


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
    frozen = load_codec(codec_file)
    save_decoder(load_model(codec_file).g_s, "resize", b"else", tmp_path / "g_s.safetensors")
    with pytest.raises(ModelError, match="of codec"):
        load_decoder(tmp_path / "g_s.safetensors", frozen)
