"""Two processes that train together, against one with the same total batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from diptych.training import build, run
from diptych.training.loop import batches

from .test_human import human_recipe
from .test_loop import pixel_recipe
from .test_task import task_recipe

ENVIRONMENT = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"]
SCRIPT = """
import sys
from pathlib import Path
from diptych.training import run
from diptych.training.loop import batches
from diptych.training import build
for recipe in sys.argv[1:]:
    run(Path(recipe).stem, Path(recipe))
"""
STAGES = ("pixel", "task", "base", "human")


def recipes_in(folder: Path, photos: Path, codec: Path, task: Path) -> list[Path]:
    """A recipe of every stage, each in a folder of its own, with two batches per step."""
    for stage in STAGES:
        (folder / stage).mkdir(parents=True)
    base = folder / "base" / "base.yaml"
    base.write_text(
        f"photos: {{folder: {photos}, labels: {photos / 'labels.json'}}}\nstart: {codec}\ntasks: [{task}]\n"
        f"batch: 1\ncrop: 64\ntask_weight: 100\nhuman: {{ssimulacra_weight: 1, grid_weight: 1}}\n"
        f"loop: {{out: {folder / 'base/out'}, steps: 3, threads: 1, precision: fp32, warmup: 1}}\n"
    )
    human = human_recipe(folder / "human", photos, codec)
    human.write_text(human.read_text() + "gan_weight: 0\n")
    recipes = [pixel_recipe(folder / "pixel", photos, steps=4), task_recipe(folder / "task", photos), base, human]
    for recipe in recipes:
        recipe.write_text(recipe.read_text().replace("loop: {", "loop: {batches: 2, "))
    return recipes


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, photos: Path, codec_file: Path, task_file: Path) -> None:
    """Without the adversary: its spectral norms are refined once per batch that a process sees."""
    together = recipes_in(tmp_path / "two", photos, codec_file, task_file)
    alone = recipes_in(tmp_path / "one", photos, codec_file, task_file)
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [*TWO, str(tmp_path / "script.py"), *map(str, together)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for stage, recipe, other in zip(STAGES, alone, together, strict=True):
        out, other_out = recipe.parent / "out", other.parent / "out"
        assert load_file(run(stage, recipe)).keys() == load_file(other_out / "weights.safetensors").keys()
        one, two = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (out, other_out))
        assert one["step"] == two["step"]
        for name, weights in one["average"].items():
            torch.testing.assert_close(two["average"][name], weights, rtol=1e-4, atol=1e-6, msg=f"{stage} {name}")
        assert len(list(other_out.glob("events.*"))) == 1
    assert done.stdout.count("training in fp32") == len(STAGES)


def test_every_batch_is_taken_once(tmp_path: Path, photos: Path) -> None:
    """Whoever takes which, and however many prepare them."""
    stage, settings = build("pixel", pixel_recipe(tmp_path, photos, steps=2), ["loop.batches=4"])
    whole = list(batches(stage, settings, 0, slice(None)))
    assert [len(step) for step in whole] == [4, 4]
    for process in range(2):
        own = list(batches(stage, settings, 1, slice(process, None, 2)))
        assert len(own) == 1
        assert shown(own[0]) == shown(whole[1][process::2])
    ahead = settings.model_copy(update={"workers": 2})
    for step, expected in zip(batches(stage, ahead, 0, slice(None)), whole, strict=True):
        assert shown(step) == shown(expected)


def shown(batches: list[Any]) -> list[tuple[bytes, list[float]]]:
    return [(batch.crops.x.numpy().tobytes(), batch.quality.tolist()) for batch in batches]


@pytest.mark.slow
def test_batches_that_cannot_be_shared_are_refused(photos: Path, tmp_path: Path) -> None:
    recipe = pixel_recipe(tmp_path, photos)
    command = [*TWO, "-m", "diptych", "train", "pixel", str(recipe), "loop.batches=3"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "diptych: error: 2 processes cannot share a step's 3 batches evenly" in done.stderr
    assert not (tmp_path / "out").exists()
