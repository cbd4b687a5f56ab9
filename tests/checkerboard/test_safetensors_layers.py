"""Which layers of a file are taken for upsamplers, and how bad files are refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from diptych.checkerboard import Hint, lint, read_upsamplers
from diptych.checkerboard.flat_picture import flat_grid
from diptych.codec.codec import load
from diptych.codec.weights import save_view
from diptych.errors import ModelError

SHIPPED_VIEW = Path(__file__).parents[2] / "src/diptych/weights/codec.human.safetensors"


def saved(folder: Path, **layers: nn.Module) -> Path:
    path = folder / "net.safetensors"
    save_file(nn.ModuleDict(layers).state_dict(), path)
    return path


def test_the_layers_of_a_codec_are_known(codec_file: Path) -> None:
    found = read_upsamplers(codec_file)
    assert [(layer.name, layer.weight.shape[2], layer.stride[0]) for layer in found] == [
        ("g_s.stages.eighth.0", 4, 2),
        ("g_s.stages.quarter.0", 4, 2),
        ("g_s.stages.pixel", 8, 4),
    ]
    assert {finding.known_by for finding in lint(codec_file)} == {"codec"}
    assert not any(finding.even for finding in lint(codec_file))


def test_a_view_takes_the_place_of_the_codecs_layers(tmp_path: Path, codec_file: Path) -> None:
    codec = load(codec_file)
    layer = codec.frozen.arrays["g_s.stages.pixel.weight"]
    view = tmp_path / "view.safetensors"
    save_view({"stages.pixel.weight": np.ones_like(layer)}, codec.model_id, view, {})
    own, tuned = lint(codec_file), lint(codec_file, view=view)
    assert own[:2] == tuned[:2]
    assert tuned[2].even


@pytest.mark.skipif(not SHIPPED_VIEW.is_file(), reason="no human view is shipped")
def test_the_human_view_leaves_less_of_a_grid_on_a_flat_picture() -> None:
    grid = flat_grid(load())
    assert 0 < grid["human"] < grid["machine"] < 20


def test_hints_name_the_layers_of_a_foreign_file(tmp_path: Path) -> None:
    path = saved(tmp_path, a=nn.Conv2d(8, 8, 4, 2), b=nn.Conv2d(8, 18, 3), c=nn.ConvTranspose1d(2, 2, 4, 2))
    with pytest.raises(ModelError, match="name them with --layer"):
        lint(path)
    hints = [Hint.parse(text) for text in ("a:transposed:2", "b:subpixel:3", "c:transposed:2")]
    findings = lint(path, hints)
    assert [(finding.layer, finding.stride) for finding in findings] == [("a", (2, 2)), ("b", (3, 3)), ("c", (2,))]
    assert {finding.known_by for finding in findings} == {"hint"}
    assert findings[1].bias_db is not None


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_type(tmp_path: Path, kind: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(8, 4, 4, 2)
    hint = Hint("up", "transposed", 2)
    [exact] = lint(saved(tmp_path, up=layer), [hint])
    [other] = lint(saved(tmp_path, up=layer.to(kind)), [hint])
    assert other.kernel_db == pytest.approx(exact.kernel_db, abs=0.05)


@pytest.mark.parametrize(
    ("hint", "message"),
    [("none:transposed:2", "there is no layer 'none'"), ("b:subpixel:4", "not a multiple of 16")],
)
def test_hints_that_do_not_fit(tmp_path: Path, hint: str, message: str) -> None:
    path = saved(tmp_path, b=nn.Conv2d(8, 18, 3))
    with pytest.raises(ModelError, match=message):
        lint(path, [Hint.parse(hint)])


@pytest.mark.parametrize(
    "text", ["", "a", "a:transposed", "a:conv:2", "a:subpixel:1", "a:subpixel:x", ":subpixel:2"]
)
def test_malformed_hints(text: str) -> None:
    with pytest.raises(ModelError, match="is not NAME:transposed:STRIDE"):
        Hint.parse(text)


def test_unreadable_files(tmp_path: Path, codec_file: Path) -> None:
    rubbish = tmp_path / "x.safetensors"
    rubbish.write_bytes(b"rubbish" * 30)
    for path in (rubbish, tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(ModelError, match=str(path)):
            lint(path)
    plain = saved(tmp_path, up=nn.ConvTranspose2d(8, 4, 4, 2))
    with pytest.raises(ModelError, match="not a Diptych codec"):
        lint(plain, view=codec_file)
    with pytest.raises(ModelError, match="not a Diptych view"):
        lint(codec_file, view=plain)


@pytest.mark.skipif(not SHIPPED_VIEW.is_file(), reason="no human view is shipped")
def test_a_view_of_another_codec(codec_file: Path) -> None:
    with pytest.raises(ModelError, match="is not a view of"):
        lint(codec_file, view=SHIPPED_VIEW)


def test_a_network_without_convolutions(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a.weight": torch.zeros(3, 3), "n": torch.zeros(1, dtype=torch.int64)}, path)
    with pytest.raises(ModelError, match="name them with --layer"):
        lint(path)
