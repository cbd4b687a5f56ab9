"""Scores: classes matched by name, and agreement without labels."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diptych.errors import ModelError
from diptych.tasks.agreement import Found, agreement, characters_kept, kept
from diptych.tasks.labels import label_map, relabelled

NAMES = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True)


def found(*boxes: Any, labels: Any = None, scores: Any = None) -> Found:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
        "scores": torch.tensor(scores or [0.9] * len(boxes)),
    }


@given(NAMES, NAMES)
def test_labels_follow_their_names(classes: list[str], wanted: list[str]) -> None:
    if not set(classes) & set(wanted):
        with pytest.raises(ModelError, match="no class in common"):
            label_map(classes, wanted)
        return
    mapping = label_map(classes, wanted)
    assert mapping[0] == 0
    for label, name in enumerate(classes, start=1):
        assert mapping[label] == (wanted.index(name) + 1 if name in wanted else 0)


def test_instances_of_other_classes_are_left_out() -> None:
    boxes = [[k, k, k + 5, k + 5] for k in range(4)]
    moved = relabelled(found(*boxes, labels=[2, -1, 3, 1]), label_map(["cat", "dog", "cow"], ["cow", "dog"]))
    assert moved["labels"].tolist() == [2, -1, 1]
    assert moved["boxes"][:, 0].tolist() == [0, 1, 2]
    assert len(moved["scores"]) == 3


def test_agreement() -> None:
    one, two = [0, 0, 10, 10], [20, 20, 40, 40]
    assert agreement(found(one, two), found(two, one)) == 1
    assert agreement(found(one, two), found(one)) == pytest.approx(2 / 3)
    assert agreement(found(one), found(one, two)) == pytest.approx(2 / 3)
    assert agreement(found(one), found()) == 0
    assert agreement(found(one), found([0, 0, 10, 21])) == 0
    assert agreement(found(one), found([0, 0, 10, 19])) == 1
    assert agreement(found(one), found(one, one)) == pytest.approx(2 / 3)
    assert agreement(found(one), found(one, labels=[2])) == 0
    assert math.isnan(agreement(found(), found(one)))
    assert math.isnan(agreement(found(one, scores=[0.4]), found(one)))
    assert agreement(found(one), found(one, two, scores=[0.9, 0.4])) == 1


def test_what_is_kept_is_defined_where_there_is_nothing_to_keep() -> None:
    one, two = [0, 0, 10, 10], [20, 20, 40, 40]
    assert kept(found(), found()) == 1
    assert kept(found(one, scores=[0.4]), found(two, scores=[0.3])) == 1
    assert kept(found(), found(one)) == 0
    assert kept(found(one), found()) == 0
    assert kept(found(one, two), found(one)) == agreement(found(one, two), found(one))


def test_surer_detections_choose_first() -> None:
    wanted = found([0, 0, 10, 10], [4, 0, 14, 10])
    seen = found([2, 0, 12, 10], [0, 0, 10, 10], scores=[0.6, 0.9])
    assert agreement(wanted, seen) == 1


def read(*lines: tuple[float, str]) -> Found:
    """Lines of text at these heights."""
    return {**found(*([0, top, 100, top + 10] for top, _ in lines)), "texts": [text for _, text in lines]}


def test_characters_count_in_order_and_in_lines_that_overlap() -> None:
    wanted = read((0, "diptych"), (50, "codec"))
    assert characters_kept(wanted, wanted) == 1
    assert characters_kept(wanted, read((52, "codec"), (1, "diptych"))) == 1
    assert characters_kept(wanted, read((0, "diptych"))) == 2 * 7 / (12 + 7)
    assert characters_kept(wanted, read((0, "dipstick"), (50, "c0dec"))) == pytest.approx(2 * (5 + 4) / 25)
    assert characters_kept(wanted, read((200, "diptych"), (250, "codec"))) == 0
    assert math.isnan(characters_kept(read((0, "")), wanted))
