"""Every recipe that ships can be read; those of the paper's setting start on small data sets of the right form."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pydantic import BaseModel
from torchvision.models import get_model, get_model_weights

from diptych.codec.codec import load
from diptych.data import cityscapes, openimages
from diptych.errors import RecipeError
from diptych.evaluation.ablation import Ablation
from diptych.evaluation.recipe import Evaluation
from diptych.io.recipes import read_recipe
from diptych.tasks.descriptions import TorchvisionDescription, read_description
from diptych.training import run
from diptych.training.base import BaseRecipe
from diptych.training.human import HumanRecipe
from diptych.training.pixel import PixelRecipe
from diptych.training.task import TaskRecipe
from samples import picture

RECIPES = Path(__file__).parents[2] / "recipes"
KINDS: dict[str, type[BaseModel]] = {
    "ablation": Ablation,
    "task": TaskRecipe,
    "pixel": PixelRecipe,
    "base": BaseRecipe,
    "human": HumanRecipe,
    "eval": Evaluation,
    "judges": Evaluation,
    "text": Evaluation,
}
WIDTH, HEIGHT = 96, 64
SETS = ("coco", "openimages", "cityscapes")
CAT, CAR = "/m/01yrx", "/m/0k4j"


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    kind = KINDS.get(path.stem.partition("-")[0])
    if kind:
        read_recipe(path, kind)
    else:
        read_description(path)


def shapes() -> np.ndarray:
    """Two things on a background, 1 and 2."""
    numbers = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    numbers[10:40, 8:44], numbers[20:60, 50:90] = 1, 2
    return numbers


def coco(root: Path) -> None:
    (root / "photos").mkdir()
    picture(WIDTH, HEIGHT).save(root / "photos" / "000000000009.jpg")
    corners = [8, 10, 44, 10, 44, 40, 8, 40]
    instance = {"id": 1, "image_id": 9, "category_id": 17, "bbox": [8, 10, 36, 30], "area": 1080, "iscrowd": 0}
    image = {"id": 9, "file_name": "000000000009.jpg", "width": WIDTH, "height": HEIGHT}
    categories = [{"id": 3, "name": "car"}, {"id": 17, "name": "cat"}]
    content = {"images": [image], "annotations": [instance | {"segmentation": [corners]}], "categories": categories}
    (root / "labels.json").write_text(json.dumps(content))


def of_openimages(root: Path) -> None:
    (root / "photos").mkdir()
    picture(WIDTH, HEIGHT).save(root / "photos" / "0a1b.jpg")
    Image.fromarray((shapes() == 1).astype(np.uint8) * 255).save(root / "0a1b_m01yrx_00000001.png")
    sides = {"XMin": 8 / WIDTH, "XMax": 44 / WIDTH, "YMin": 10 / HEIGHT, "YMax": 40 / HEIGHT}
    box = {"ImageID": "0a1b", "LabelName": CAT, "IsGroupOf": 0} | sides
    mask = {"MaskPath": "0a1b_m01yrx_00000001.png", "ImageID": "0a1b", "LabelName": CAT}
    mask |= {f"Box{name}": side for name, side in sides.items()}
    for name, row in (("boxes", box), ("masks", mask)):
        with open(root / f"{name}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerow(row)
    (root / "classes.csv").write_text(f"LabelName,DisplayName\n{CAT},Cat\n{CAR},Car\n")
    names = ("classes.csv", "boxes.csv", "masks.csv")
    labels, problems = openimages.convert(root / "photos", *(root / name for name in names), root)
    assert problems == []
    labels.write(root / "labels.json")


def of_cityscapes(root: Path) -> None:
    numbers = np.choose(shapes(), [7, 24000, 26000]).astype(np.uint16)
    name = "aachen/aachen_000000_000019"
    for folder in ("leftImg8bit", "gtFine"):
        (root / folder / "train" / "aachen").mkdir(parents=True)
    picture(WIDTH, HEIGHT).save(root / "leftImg8bit" / "train" / f"{name}_leftImg8bit.png")
    Image.fromarray(numbers).save(root / "gtFine" / "train" / f"{name}_gtFine_instanceIds.png")
    labels, problems = cityscapes.convert(root, "train")
    assert problems == []
    labels.write(root / "labels.json")
    (root / "photos").symlink_to(root / "leftImg8bit" / "train")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's task network, untrained."""
    torch.manual_seed(0)
    model = get_model("maskrcnn_resnet50_fpn_v2", weights=None, weights_backbone=None, num_classes=91)
    path = tmp_path_factory.mktemp("task") / "maskrcnn.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_papers_setting_starts(tmp_path: Path, checkpoint: Path, codec_file: Path, name: str) -> None:
    {"coco": coco, "openimages": of_openimages, "cityscapes": of_cityscapes}[name](tmp_path)
    task = "mask-rcnn-openimages.yaml" if name == "openimages" else "mask-rcnn.yaml"
    content = yaml.safe_load((RECIPES / "paper" / task).read_text())
    small = {"checkpoint": str(checkpoint), "options": {"min_size": 64, "max_size": 64}}
    (tmp_path / "mask-rcnn.yaml").write_text(yaml.safe_dump(content | small))
    settings = {
        "photos.folder": tmp_path / "photos",
        "photos.labels": tmp_path / "labels.json",
        "start": codec_file,
        "tasks": f"[{tmp_path / 'mask-rcnn.yaml'}]",
        "crop": 64,
        "batch": 1,
        "loop.out": tmp_path / "out",
        "loop.steps": 1,
        "loop.batches": 2,
        "loop.workers": 0,
        "loop.precision": "fp32",
        "handover": 0,
    }
    overrides = [f"{key}={value}" for key, value in settings.items()]
    codec = load(run("base", RECIPES / "paper" / f"base-{name}.yaml", overrides))
    assert codec.decode(codec.encode(picture(70, 50)), "machine").size == (70, 50)


def test_the_papers_task_network_has_torchvisions_classes() -> None:
    weights = get_model_weights("maskrcnn_resnet50_fpn_v2")["COCO_V1"]
    plain, renamed = (
        read_description(RECIPES / "paper" / name) for name in ("mask-rcnn.yaml", "mask-rcnn-openimages.yaml")
    )
    assert isinstance(plain, TorchvisionDescription)
    assert isinstance(renamed, TorchvisionDescription)
    assert ["__background__", *plain.names()] == weights.meta["categories"]
    assert not set(plain.names()) & set(renamed.names()) - {"N/A"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("photos: a\nphotos: b\n", "the key 'photos' is given twice, the last time in line 2"),
        (
            "photos: a\nloop:\n  out: b\n  steps: 1\n  steps: 2\n",
            "the key 'steps' is given twice, the last time in line 5",
        ),
        ("photos: a\nloop: {out: b, steps: 1, lr: .nan}\n", "wrong at 'loop.lr'"),
        ("photos: a\nloop: {out: b, steps: 1, lr: 1e999}\n", "wrong at 'loop.lr'"),
        (
            "photos: a\nloop: {out: b, steps: 1, checkpoint_minutes: .inf}\n",
            "wrong at 'loop.checkpoint_minutes': inf",
        ),
    ],
)
def test_keys_given_twice_and_numbers_that_are_none(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "pixel.yaml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_recipe(tmp_path / "pixel.yaml", PixelRecipe)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_given_as_overrides_are_checked_as_well(tmp_path: Path) -> None:
    (tmp_path / "pixel.yaml").write_text("photos: a\nloop: {out: b, steps: 1}\n")
    with pytest.raises(RecipeError, match=r"wrong at 'loop.lr': inf"):
        read_recipe(tmp_path / "pixel.yaml", PixelRecipe, ["loop.lr=.inf"])
