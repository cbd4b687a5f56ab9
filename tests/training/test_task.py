"""Training the task network: what comes out, and resuming it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from diptych.errors import ModelError, RecipeError
from diptych.tasks import load_task
from diptych.training import build, run
from diptych.training.trainer import Trainer


def task_recipe(folder: Path, photos: Path) -> Path:
    folder.mkdir(exist_ok=True)
    recipe = folder / "task.yaml"
    recipe.write_text(
        f"photos: {photos}\nlabels: {photos / 'labels.json'}\nbatch: 2\ncrop: 64\nsize: 64\n"
        f"imagenet: false\nfrozen: 0\n"
        f"loop: {{out: {folder / 'out'}, steps: 2, threads: 1, precision: fp32, warmup: 1}}\n"
    )
    return recipe


@pytest.mark.slow
def test_a_trained_machine_works_and_a_resumed_one_equals_it(tmp_path: Path, photos: Path) -> None:
    whole = run("task", task_recipe(tmp_path / "whole", photos))
    task = load_task(whole)
    assert task.classes == ("square", "box")
    assert task.settings.size == 64
    assert all(torch.isfinite(weight).all() for weight in task.state_dict().values())
    (found,) = task.predict([torch.rand(3, 80, 96)])
    assert set(found["labels"].tolist()) <= {1, 2}

    recipe = task_recipe(tmp_path / "parts", photos)
    trainer = Trainer(*build("task", recipe, ["loop.log_every=1"]))
    before = {name: p.detach().clone() for name, p in trainer.stage.model.named_parameters()}
    trainer.settings.out.mkdir()
    logged = trainer.advance([trainer.stage.batch(0, 0)])
    trainer.save()
    losses = {"objectness", "rpn_box_reg", "classifier", "box_reg", "mask"}
    assert logged["task/loss"] == pytest.approx(sum(logged[f"task/{name}"] for name in losses), rel=1e-5)
    for name, p in trainer.stage.model.named_parameters():
        assert torch.equal(before[name], p) != p.requires_grad, name
    resumed = load_file(run("task", recipe, resume=True))
    expected = load_file(whole)
    assert resumed.keys() == expected.keys()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


@pytest.mark.slow
def test_a_detector_of_boxes_is_trained_and_trained_on(tmp_path: Path, photos: Path) -> None:
    recipe = task_recipe(tmp_path, photos)
    own = ["architecture=fcos", "loop.steps=1"]
    first = run("task", recipe, own)
    assert load_task(first).KIND == "fcos"
    again = [f"start={first}", "size=96", f"loop.out={tmp_path / 'again'}"]
    assert load_task(run("task", recipe, [*own, *again])).settings.size == 96
    with pytest.raises(RecipeError, match="no mask_rcnn for the classes"):
        run("task", recipe, again)


def test_batches_depend_on_seed_and_step_alone(tmp_path: Path, photos: Path) -> None:
    one, _ = build("task", task_recipe(tmp_path, photos), [])
    other, _ = build("task", task_recipe(tmp_path, photos), [])
    one.batch(0, 0)
    (pictures, targets), (again, same) = one.batch(0, 7), other.batch(0, 7)
    assert pictures.shape == (2, 3, 64, 64)
    assert torch.equal(pictures, again)
    assert all(torch.equal(a[name], b[name]) for a, b in zip(targets, same, strict=True) for name in a)
    assert not torch.equal(pictures, one.batch(0, 8)[0])
    assert not torch.equal(pictures, one.batch(1, 7)[0])


def test_what_is_left_out_is_printed(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = json.loads((photos / "labels.json").read_text())
    labels["annotations"][3]["category_id"] = 77
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    build("task", task_recipe(tmp_path, photos), [f"labels={tmp_path / 'labels.json'}"])
    assert "Annotation 4 of 3.png was left out: it has the unknown category 77." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("labels=/nowhere.json", "cannot be read"),
        ("photos=/nowhere", "no photo that can be read"),
        ("crop=50", "crop"),
        ("split=half", "split"),
        ("frozen=8", "frozen"),
    ],
)
def test_wrong_recipes_are_named(tmp_path: Path, photos: Path, override: str, message: str) -> None:
    with pytest.raises((RecipeError, ModelError), match=message):
        run("task", task_recipe(tmp_path, photos), [override])
