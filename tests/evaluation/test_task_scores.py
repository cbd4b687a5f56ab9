"""What a task network finds in pictures, and what is kept of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diptych.data.coco import CocoDataset
from diptych.errors import ModelError, RecipeError
from diptych.evaluation import task_scores
from diptych.evaluation.average_precision import PictureMatches
from diptych.evaluation.cache import Cache
from diptych.evaluation.task_scores import PredictionCache, TaskAccuracy, score_of
from diptych.tasks import Task, load_task
from labels import rectangle, write_dataset
from pictures import textured

SQUARE = {"boxes": torch.tensor([[10.0, 10, 50, 40]]), "labels": torch.tensor([2]), "scores": torch.tensor([0.9])}


class Boxes:
    """A task network that sees the same square everywhere and has no masks."""

    classes: tuple[str, ...] = ("triangle", "square")

    def __init__(self) -> None:
        self.shown = 0

    def features(self, images: Tensor) -> dict[str, Tensor]:
        return {"mean": images.mean(dim=(2, 3))}

    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        self.shown += len(images)
        return [SQUARE for _ in images]


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    return CocoDataset(tmp_path, write_dataset(tmp_path, [textured(96, 80)], [rectangle(10, 10, 40, 30)]))


def same(first: list[PictureMatches], second: list[PictureMatches]) -> bool:
    flat = [
        [part for picture in found for match in picture if match for part in match] for found in (first, second)
    ]
    return len(flat[0]) == len(flat[1]) and all(map(np.array_equal, *flat))


def test_classes_are_matched_by_name(dataset: CocoDataset) -> None:
    task = Boxes()
    assert score_of(task, dataset.truth(), 8).name == "box AP50"
    (matches,) = TaskAccuracy(task, dataset.truth(), "bbox", 8)(1, [textured(96, 80)])
    (found,) = [match for match in matches if match]
    assert found.hits.all()
    assert found.instances == 1


def test_labels_without_its_classes(dataset: CocoDataset) -> None:
    task = Boxes()
    task.classes = ("car", "bus")
    with pytest.raises(ModelError, match="no class in common"):
        TaskAccuracy(task, dataset.truth(), "bbox", 8)


def test_task_networks_that_do_not_detect() -> None:
    class Features:
        features = Boxes.features

    class Raw(Features):
        def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
            return [{"output": image} for image in images]

    with pytest.raises(RecipeError, match="only has features"):
        score_of(Features(), None, 8)
    with pytest.raises(RecipeError, match="needs a decoder"):
        score_of(Raw(), None, 8)


def test_what_was_found_is_kept(dataset: CocoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, pictures = Cache(tmp_path / "cache"), [textured(96, 80, seed) for seed in (0, 1, 0)]
    description = tmp_path / "boxes.yaml"
    description.write_text("kind: boxes")

    def found_by(task: Task) -> tuple[list[PictureMatches], int]:
        cached = PredictionCache(cache, task, description)
        return TaskAccuracy(task, dataset.truth(), "bbox", 1, cached)(1, pictures), task.shown

    first, shown = found_by(Boxes())
    assert shown == 2
    again, shown = found_by(Boxes())
    assert shown == 0
    assert same(first, again)
    monkeypatch.setattr(
        task_scores, "PREDICTIONS", task_scores.PREDICTIONS + 1
    )  # the code predicts something else now
    assert found_by(Boxes())[1] == 2

    other = Boxes()
    other.features = lambda images: {"mean": images.mean(dim=(2, 3)) + 1e-6}  # other weights behind the same file
    assert found_by(other)[1] == 2
    description.write_text("kind: boxes\n")
    assert found_by(Boxes())[1] == 2


def test_a_task_network_is_the_same_on_any_number_of_threads(task_file: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    known = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        known.add(PredictionCache(Cache(tmp_path / "cache"), load_task(task_file), task_file).task)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert len(known) == 1


def test_predictions_of_a_real_task_network_are_kept(dataset: CocoDataset, task_file: Path, tmp_path: Path) -> None:
    task = load_task(task_file)
    truth = dataset.truth()
    truth.dataset["categories"][0]["name"] = "spot"
    cached = PredictionCache(Cache(tmp_path / "cache"), task, task_file)
    assert score_of(task, truth, 8).name == "mask AP50"
    found = [TaskAccuracy(task, truth, "segm", 8, known)(1, [textured(96, 80)]) for known in (None, cached, cached)]
    assert same(found[0], found[1])
    assert same(found[0], found[2])
