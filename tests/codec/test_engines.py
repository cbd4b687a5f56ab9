"""Every engine computes what was trained, on windows of any size."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from diptych.codec.codec import Codec, load
from diptych.codec.defaults import CAT
from diptych.codec.engine import engine_for
from diptych.codec.engine.onnx import OnnxRuntime
from diptych.codec.engine.openvino import OpenVino
from diptych.codec.engine.torch import Torch
from diptych.codec.engine.transforms import Transforms
from diptych.codec.weights import load_codec
from diptych.errors import BitstreamError, DiptychError
from diptych.training.export import trainable
from samples import picture

ENGINES = {
    "openvino": OpenVino(precision="f32"),
    "openvino bf16": OpenVino(precision="bf16"),
    "onnxruntime": OnnxRuntime(),
    "torch": Torch(),
}
SIZES = [(16, 16), (16, 48), (64, 32), (80, 112), (16, 32)]
TOLERANCE = {"openvino bf16": 0.03}
"""Of the largest value, where it is not 1e-5."""


@pytest.fixture(scope="module", params=ENGINES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    return bool(np.abs(found - expected).max() <= tolerance * np.abs(expected).max())


@torch.inference_mode()
def test_latents_are_those_of_the_trained_model(codec_file, name: str) -> None:
    frozen = load_codec(codec_file)
    transforms, model = Transforms(frozen, {}, ENGINES[name]), trainable(frozen)
    for quality, (height, width) in zip((0, 7.5, 50, 93.21, 100), SIZES, strict=True):
        pixels = np.asarray(picture(width, height))
        x, q = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255, torch.tensor([float(quality)])
        expected = (model.g_a(x, q) * model.gains.gain(q))[0].numpy()
        assert close(transforms.analysis(pixels[None], quality)[0], expected, TOLERANCE.get(name, 1e-5))


@torch.inference_mode()
def test_hyper_latents_are_those_of_the_trained_model(codec_file) -> None:
    frozen = load_codec(codec_file)
    transforms, model = Transforms(frozen, {}, ENGINES["openvino"]), trainable(frozen)
    for height, width in ((1, 1), (4, 8), (13, 6)):
        y = torch.randn(frozen.widths.latent, height, width)
        padded = torch.nn.functional.pad(y[None], (0, -width % 4, 0, -height % 4), mode="replicate")
        assert close(transforms.hyper_analysis(y.numpy()), model.h_a(padded)[0].numpy(), 1e-5)


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("position", [0.0, 0.3, 1.0])
def test_pictures_are_those_of_the_trained_model(codec: Codec, name: str, position: float) -> None:
    transforms, model = Transforms(codec.frozen, codec.transforms.human, ENGINES[name]), trainable(codec.frozen)
    own = dict(model.g_s.named_parameters())
    for layer, human in codec.transforms.human.items():
        own[layer].lerp_(torch.from_numpy(human), position)
    for quality, (height, width) in zip((0, 7.5, 50, 93.21, 100), SIZES, strict=True):
        values = torch.randint(
            -500, 500, (codec.frozen.widths.latent, height // 16, width // 16), dtype=torch.int32
        )
        q = torch.tensor([float(quality)])
        x_hat = model.g_s(values[None] / 256 * model.gains.inverse(q), q)[0].permute(1, 2, 0)
        found = transforms.synthesis(values.numpy()[None], quality, position)[0].astype(float)
        assert found.shape == (height, width, 3)
        levels = 0.51 if name not in TOLERANCE else 2
        assert np.abs(found - (255 * x_hat).clamp(0, 255).numpy()).max() <= levels


@pytest.mark.slow
def test_engines_agree_on_a_photo(name: str) -> None:
    shipped = load()
    codec = Codec(shipped.frozen, shipped.transforms.human, ENGINES[name])
    cat = Image.open(CAT).crop((60, 20, 301, 201))
    data = shipped.encode(cat, 60)
    assert np.array_equal(codec.latents(data).values, shipped.latents(data).values)
    views = ("machine", 0.4, "human")
    for ours, theirs in zip(codec.decode_views(data, views), shipped.decode_views(data, views), strict=True):
        assert np.abs(np.asarray(ours).astype(int) - np.asarray(theirs)).max() <= 2
    assert len(codec.encode(cat, 60)) == pytest.approx(len(data), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_many_pictures_are_coded_as_each_is(codec: Codec, engine: str) -> None:
    codec = Codec(codec.frozen, codec.transforms.human, ENGINES[engine])
    pictures = [picture(*size, seed) for seed, size in enumerate([(40, 30), (70, 20), (40, 30), (1, 1), (40, 30)])]
    files = codec.encode_many(pictures, 45)
    for data, image in zip(files, pictures, strict=True):
        assert len(data) == pytest.approx(len(codec.encode(image, 45)), rel=0.02)  # sums may differ in the last bit
    files.append(codec.encode(pictures[0], 80))
    for view in ("machine", "human", 0.3):
        for data, shown in zip(files, codec.decode_many(files, view), strict=True):
            assert np.abs(np.asarray(shown).astype(int) - np.asarray(codec.decode(data, view))).max() <= 1
    assert codec.encode_many([]) == codec.decode_many([]) == []


def test_weights_that_may_not_be_written_to(codec: Codec) -> None:
    """As those are that processes share."""
    image = picture(70, 50)
    data, before = codec.encode(image), np.asarray(codec.decode(codec.encode(image), "machine"))
    arrays = {name: array.copy() for name, array in codec.frozen.arrays.items()}
    for array in arrays.values():
        array.flags.writeable = False
    other = Codec(codec.frozen._replace(arrays=arrays), {}, OpenVino())
    assert np.array_equal(np.asarray(other.decode(data, "machine")), before)
    assert other.encode(image) == data


def test_one_bad_file_of_many_is_named(codec: Codec) -> None:
    with pytest.raises(BitstreamError, match="damaged"):
        codec.decode_many([codec.encode(picture(20, 20)), codec.encode(picture(20, 20))[:-1] + b"?"])


def test_threads_may_share_a_codec(codec: Codec) -> None:
    files = [codec.encode(picture(60 + 16 * k, 40), 50) for k in range(6)]
    expected = [np.asarray(codec.decode(file)) for file in files]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda file: np.asarray(codec.decode(file)), files * 3))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected * 3, strict=True))


@pytest.mark.slow
def test_signals_arrive_when_codecs_came_and_went() -> None:
    program = """
import gc, os, signal, numpy, diptych
from diptych.codec.engine.openvino import OpenVino
codecs = [diptych.Codec(diptych.load().frozen, engine=OpenVino()) for _ in range(3)]
for codec in codecs:
    codec.encode(numpy.zeros((32, 32, 3), numpy.uint8))
del codec
while codecs:
    del codecs[0]
    gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("arrived"))
os.kill(os.getpid(), signal.SIGINT)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "arrived\n", ended.stderr


def test_devices() -> None:
    assert engine_for("cpu").name.startswith("openvino ")
    with pytest.raises(DiptychError, match="there is no device 'tpu': use cpu or cuda"):
        engine_for("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(DiptychError, match="no GPU that PyTorch can use"):
            load(device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_reads_the_same_latents() -> None:
    shipped, codec = load(), load(device="cuda")
    data = codec.encode(picture(300, 200), 50, verify=True)
    assert np.array_equal(codec.latents(data).values, shipped.latents(data).values)
    ours, theirs = (np.asarray(c.decode(data, "human")).astype(int) for c in (codec, shipped))
    assert np.abs(ours - theirs).max() <= 2


def test_coding_imports_no_other_engine() -> None:
    program = """
import sys, numpy, diptych, diptych.codec.codec
codec = diptych.load()
codec.decode(codec.encode(numpy.zeros((20, 30, 3), numpy.uint8)))
print([name for name in ("torch", "onnx", "onnxruntime", "scipy") if name in sys.modules])
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr


FORKED = """
import os, signal
import diptych
from PIL import Image

photo = Image.effect_noise((90, 61), 40).convert("RGB")
for _ in range(4):
    codec = diptych.load()
    data = codec.encode(photo, 20)
    codec.decode_views(data, ["machine", 0.5, "human"])
if not (child := os.fork()):
    signal.alarm(30)
    diptych.load().decode(data, 0.25)
    codec.decode(data, "human")
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_decodes() -> None:
    ended = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
