"""The largest blend that a task network does not notice."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

import diptych
from diptych.bitstream import unpack
from diptych.codec.codec import Codec
from diptych.codec.defaults import CAT, WEIGHTS
from diptych.errors import BitstreamError, DiptychError, ModelError
from diptych.io.images import read_picture
from diptych.tasks import shipped_task
from diptych.tasks.view_hint import hinted, largest_safe_blend
from samples import picture

Found = tuple[Sequence[Sequence[float]], Sequence[int], Sequence[float]]


class BlendDetector:
    """A task whose detections depend on how far a picture's pixels are from those of the machine view."""

    def __init__(self, codec: Codec, data: bytes, sees: Callable[[float], Found]) -> None:
        blends = [step / steps for steps in (6, 8) for step in range(steps + 1)]
        self.positions = {codec.decode(data, blend).tobytes(): blend for blend in blends}
        self.sees = sees
        self.asked: list[float] = []

    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        [image] = images
        blend = self.positions[(image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy().tobytes()]
        self.asked.append(blend)
        boxes, labels, scores = self.sees(blend)
        return [
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                "labels": torch.tensor(labels, dtype=torch.int64),
                "scores": torch.tensor(scores, dtype=torch.float32),
            }
        ]


@pytest.fixture(scope="module")
def data(codec: Codec) -> bytes:
    return codec.encode(picture(64, 64), 80)


BOX = (10.0, 10.0, 50.0, 50.0)
CORNER = (0.0, 0.0, 9.0, 9.0)
ONE: Found = ([BOX], [1], [0.9])
TWO: Found = ([BOX, CORNER], [1, 2], [0.9, 0.8])
NONE: Found = ([], [], [])


def blend_of(codec: Codec, data: bytes, sees: Callable[[float], Found], steps: int = 4) -> float:
    return largest_safe_blend(codec, data, BlendDetector(codec, data, sees), steps=steps)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("below", "change_at", "above", "expected"),
    [
        (ONE, 0.6, ONE, 1),
        (NONE, 0.6, NONE, 1),
        (ONE, 0.6, NONE, 0.5),
        (NONE, 0.6, ONE, 0.5),
        (ONE, 0.3, TWO, 0.25),
        (TWO, 0.01, ONE, 0),
        (ONE, 0.8, ([BOX], [2], [0.9]), 0.75),
        (ONE, 0.8, ([BOX], [1], [0.49]), 0.75),
        (ONE, 0.8, ([BOX], [1], [0.51]), 1),
        (ONE, 0.8, ([BOX, CORNER], [1, 1], [0.9, 0.4]), 1),
        (ONE, 0.8, ([(10.0, 10.0, 54.0, 50.0)], [1], [0.9]), 1),
        (ONE, 0.8, ([(10.0, 10.0, 55.0, 50.0)], [1], [0.9]), 0.75),
        (TWO, 0.8, ([CORNER, BOX], [2, 1], [0.9, 0.8]), 1),
        (TWO, 0.8, ([CORNER, BOX], [1, 2], [0.9, 0.8]), 0.75),
    ],
)
def test_what_counts_as_the_same(
    codec: Codec, data: bytes, below: Found, change_at: float, above: Found, expected: float
) -> None:
    assert blend_of(codec, data, lambda blend: below if blend < change_at else above) == expected


@pytest.mark.slow
def test_an_unsafe_blend_below_a_safe_one_does_not_matter(codec: Codec, data: bytes) -> None:
    assert blend_of(codec, data, lambda blend: NONE if blend in (0.25, 0.875) else ONE, steps=8) == 1


@pytest.mark.slow
def test_two_detections_may_not_share_a_partner(codec: Codec, data: bytes) -> None:
    apart: Found = ([BOX, CORNER], [1, 1], [0.9, 0.9])
    doubled: Found = ([BOX, BOX], [1, 1], [0.9, 0.9])
    assert blend_of(codec, data, lambda blend: apart if blend == 0 else doubled) == 0
    assert blend_of(codec, data, lambda blend: doubled if blend == 0 else apart) == 0


@pytest.mark.slow
def test_positions_are_tried_from_the_top(codec: Codec, data: bytes) -> None:
    network = BlendDetector(codec, data, lambda blend: ONE if blend < 0.6 else NONE)
    assert largest_safe_blend(codec, data, network, steps=4) == 0.5  # type: ignore[arg-type]
    assert network.asked == [0, 1, 0.75, 0.5]


@pytest.mark.slow
def test_the_hint_changes_nothing_but_the_header(codec: Codec, data: bytes) -> None:
    network = BlendDetector(codec, data, lambda blend: ONE if blend < 0.7 else NONE)
    file = hinted(codec, data, network)  # type: ignore[arg-type]
    before, after = unpack(data), unpack(file)
    assert after.header.hint == 4 / 6
    assert after.header._replace(hint=None) == before.header
    assert after.payloads == before.payloads
    assert len(file) == len(data)
    assert network.asked == [0, 1, 5 / 6, 4 / 6]
    for view in ("machine", "human"):
        assert codec.decode(file, view).tobytes() == codec.decode(data, view).tobytes()


@pytest.mark.slow
def test_errors(codec: Codec, data: bytes) -> None:
    network = BlendDetector(codec, data, lambda blend: NONE)
    with pytest.raises(DiptychError, match="0 steps"):
        largest_safe_blend(codec, data, network, steps=0)  # type: ignore[arg-type]
    with pytest.raises(BitstreamError):
        largest_safe_blend(codec, data[:-1], network)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no human view"):
        largest_safe_blend(codec.with_view({}), data, network)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(
    not all((WEIGHTS / name).is_file() for name in ("codec.human.safetensors", "task.safetensors")),
    reason="the weights are not shipped",
)
def test_the_shipped_task_on_the_cat() -> None:
    codec, task = diptych.load(), shipped_task()
    cat = read_picture(CAT).image
    blend = largest_safe_blend(codec, codec.encode(cat, 60), task, steps=2)
    assert blend in (0, 0.5, 1)
