"""Upsamplers of ONNX graphs, made here and found elsewhere."""

import sys
from pathlib import Path

import numpy as np
import pytest

from diptych.checkerboard import Hint, lint
from diptych.errors import DiptychError, ModelError

onnx = pytest.importorskip("onnx")
helper, numpy_helper = onnx.helper, onnx.numpy_helper

NETWORK = Path(__file__).parents[2].parent / "shared/data/networks/fastestdet.onnx"


def graph(path: Path, nodes: list[object], **arrays: np.ndarray) -> Path:
    kinds = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("x", "y")]
    initial = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", kinds[:1], kinds[1:], initial)), str(path))
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_transposed_convolutions_say_their_stride(tmp_path: Path) -> None:
    flat = np.ones((2, 3, 4, 6), np.float32)
    path = graph(
        tmp_path / "net.onnx",
        [
            helper.make_node("ConvTranspose", ["x", "a"], ["h"], name="first", strides=[2, 3]),
            helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(noise(3, 1, 3, 3))),
            helper.make_node("ConvTranspose", ["h", "b"], ["i"], name="second", strides=[2, 2]),
            helper.make_node("ConvTranspose", ["i", "c"], ["y"], name="no upsampler"),
        ],
        a=flat,
        c=noise(1, 1, 3, 3),
    )
    first, second = lint(path)
    assert (first.layer, first.stride, first.even) == ("first", (2, 3), True)
    assert (second.layer, second.stride, second.even) == ("second", (2, 2), False)
    assert first.known_by == "graph"


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_sub_pixel_convolutions_in_both_orders(tmp_path: Path, mode: str) -> None:
    kernels = noise(3, 2, 3, 3)
    weight = np.tile(kernels, (4, 1, 1, 1)) if mode == "DCR" else kernels.repeat(4, axis=0)
    path = graph(
        tmp_path / "net.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["i"]),
            helper.make_node("DepthToSpace", ["i"], ["y"], blocksize=2, mode=mode),
        ],
        w=weight,
    )
    [finding] = lint(path)
    assert finding.kind == "subpixel"
    assert finding.even


@pytest.mark.skipif(not NETWORK.is_file(), reason="the network is not here")
def test_a_network_without_upsamplers() -> None:
    with pytest.raises(ModelError, match="has no transposed or sub-pixel"):
        lint(NETWORK)


def test_unreadable_graphs(tmp_path: Path) -> None:
    rubbish = tmp_path / "x.onnx"
    rubbish.write_bytes(b"rubbish" * 30)
    for path in (rubbish, tmp_path / "none.onnx"):
        with pytest.raises(ModelError, match=str(path)):
            lint(path)
    with pytest.raises(ModelError, match="for safetensors files"):
        lint(rubbish, [Hint("a", "transposed", 2)])


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DiptychError, match=r"pip install 'diptych\[onnx\]'"):
        lint(tmp_path / "net.onnx")
