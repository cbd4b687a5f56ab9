"""The machine that looks, and what is remembered of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diptych.data.coco import CocoDataset
from diptych.errors import ModelError, RecipeError
from diptych.evaluation import task_accuracy
from diptych.evaluation.average_precision import PictureMatches
from diptych.evaluation.cache import Cache
from diptych.evaluation.task_accuracy import Eye, Memory, overlap_of
from diptych.tasks import Task, load_task
from labels import rectangle, write_dataset
from pictures import textured

SQUARE = {"boxes": torch.tensor([[10.0, 10, 50, 40]]), "labels": torch.tensor([2]), "scores": torch.tensor([0.9])}


class Boxes:
    """A machine that sees the same square everywhere and has no masks."""

    classes: tuple[str, ...] = ("triangle", "square")

    def __init__(self) -> None:
        self.looks = 0

    def features(self, images: Tensor) -> dict[str, Tensor]:
        return {"mean": images.mean(dim=(2, 3))}

    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        self.looks += len(images)
        return [SQUARE for _ in images]


@pytest.fixture
def dataset(tmp_path: Path) -> CocoDataset:
    return CocoDataset(tmp_path, write_dataset(tmp_path, [textured(96, 80)], [rectangle(10, 10, 40, 30)]))


def same(first: list[PictureMatches], second: list[PictureMatches]) -> bool:
    flat = [
        [part for picture in looks for match in picture if match for part in match] for looks in (first, second)
    ]
    return len(flat[0]) == len(flat[1]) and all(map(np.array_equal, *flat))


def test_classes_are_matched_by_name(dataset: CocoDataset) -> None:
    machine = Boxes()
    assert overlap_of(machine) == "bbox"
    (matches,) = Eye(machine, dataset.truth(), "bbox", 8).look(1, [textured(96, 80)])
    (found,) = [match for match in matches if match]
    assert found.hits.all()
    assert found.instances == 1


def test_labels_without_its_classes(dataset: CocoDataset) -> None:
    machine = Boxes()
    machine.classes = ("car", "bus")
    with pytest.raises(ModelError, match="no class in common"):
        Eye(machine, dataset.truth(), "bbox", 8)


def test_machines_that_do_not_detect() -> None:
    class Features:
        features = Boxes.features

    class Raw(Features):
        def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
            return [{"output": image} for image in images]

    with pytest.raises(RecipeError, match="only has features"):
        overlap_of(Features())
    with pytest.raises(RecipeError, match="needs a decoder"):
        overlap_of(Raw())


def test_what_was_seen_is_remembered(dataset: CocoDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, pictures = Cache(tmp_path / "cache"), [textured(96, 80, seed) for seed in (0, 1, 0)]
    description = tmp_path / "boxes.yaml"
    description.write_text("kind: boxes")

    def look(machine: Task) -> tuple[list[PictureMatches], int]:
        memory = Memory(cache, machine, description)
        return Eye(machine, dataset.truth(), "bbox", 1, memory).look(1, pictures), machine.looks

    first, looks = look(Boxes())
    assert looks == 2
    again, looks = look(Boxes())
    assert looks == 0
    assert same(first, again)
    monkeypatch.setattr(
        task_accuracy, "PREDICTIONS", task_accuracy.PREDICTIONS + 1
    )  # the code predicts something else now
    assert look(Boxes())[1] == 2

    other = Boxes()
    other.features = lambda images: {"mean": images.mean(dim=(2, 3)) + 1e-6}  # other weights behind the same file
    assert look(other)[1] == 2
    description.write_text("kind: boxes\n")
    assert look(Boxes())[1] == 2


def test_a_machine_is_the_same_on_any_number_of_threads(machine_file: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    known = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        known.add(Memory(Cache(tmp_path / "cache"), load_task(machine_file), machine_file).machine)
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    assert len(known) == 1


def test_memory_of_a_real_machine(dataset: CocoDataset, machine_file: Path, tmp_path: Path) -> None:
    machine = load_task(machine_file)
    truth = dataset.truth()
    truth.dataset["categories"][0]["name"] = "spot"
    memory = Memory(Cache(tmp_path / "cache"), machine, machine_file)
    assert overlap_of(machine) == "segm"
    looks = [Eye(machine, truth, "segm", 8, known).look(1, [textured(96, 80)]) for known in (None, memory, memory)]
    assert same(looks[0], looks[1])
    assert same(looks[0], looks[2])
