"""Text that is read where a detector finds it."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from diptych.errors import ModelError
from diptych.tasks import load_task
from diptych.tasks.agreement import characters_kept

REPOSITORY = Path(__file__).parents[2]
LINES = ("machines read", "and people", "read it too")

for package in ("rapidocr", "onnx2torch", "onnxruntime"):
    pytest.importorskip(package)


def page() -> Image.Image:
    image = Image.new("RGB", (400, 300), (235, 230, 215))
    for number, line in enumerate(LINES):
        font = ImageFont.load_default(32)
        ImageDraw.Draw(image).text((30 + 40 * number, 30 + 90 * number), line, (30, 30, 60), font=font)
    return image


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.tensor(np.asarray(image)).permute(2, 0, 1).float() / 255


@pytest.mark.slow
def test_what_is_written_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    task = load_task("recipes/tasks/reader.yaml")
    clear, soft, lost = task.predict(
        [tensor(page().filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 6, 30)]
    )
    order = clear["boxes"][:, 1].argsort().tolist()
    assert [clear["texts"][k].replace(" ", "") for k in order] == [line.replace(" ", "") for line in LINES]
    assert characters_kept(clear, clear) == 1
    assert 0 <= characters_kept(clear, lost) <= characters_kept(clear, soft) < 1
    assert lost["texts"] == []
    assert np.isnan(characters_kept(lost, clear))
    assert set(task.features(tensor(page())[None])) > {"reader"}


def test_a_network_that_lists_no_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    description = yaml.safe_load(Path("recipes/tasks/reader.yaml").read_text())
    description["network"] = "rapidocr:models/*_det_*.onnx"
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(description))
    with pytest.raises(ModelError, match="list no characters"):
        load_task(tmp_path / "odd.yaml")
