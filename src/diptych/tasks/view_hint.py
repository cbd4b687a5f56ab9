"""How human may a view be before a task network sees something else?

.dip -> machine view -> detections ┐
     -> blends from 1 downwards -> detections, until they are the same -> the largest safe blend -> header
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from diptych.bitstream import HINT_STEPS, Container, pack, unpack
from diptych.errors import DiptychError
from diptych.tasks.detector import Detector
from diptych.tasks.regions import overlaps

if TYPE_CHECKING:
    from PIL import Image

    from diptych.codec.codec import Codec
    from diptych.tasks import Task

CERTAIN = 0.5
"""Detections with a lower score do not count."""
SAME_BOX = 0.9
"""Two boxes with this intersection over union or more are the same."""
STEPS = HINT_STEPS
"""Blends that are tried: 1, 5/6 ... 1/6, and 0, which is the machine view itself."""


def largest_safe_blend(
    codec: Codec, data: bytes, task: Task | Detector, steps: int = STEPS, certain: float = CERTAIN
) -> float:
    """The largest position of the dial at which the task network sees what it sees in the machine view.

    That is: with as many detections of score ``certain`` or more, each with a partner of the same label whose box
    overlaps by an intersection over union of 0.9 or more. Positions are tried from 1 downwards, since a blend may
    be unsafe although a larger one is safe.

    Args:
        codec: must have a human view.
        data: the bytes of a ``.dip`` file.
        task: the network.
        steps: how finely: ``k / steps``.
        certain: 0 to 1.

    Returns:
        0 to 1; 0 if only the machine view itself is safe.

    Raises:
        DiptychError: as :meth:`Codec.decode`, or if ``steps`` is below 1.
    """
    if steps < 1:
        raise DiptychError(f"{steps} steps from machine to human are not possible")
    wanted = _detections(task, codec.decode(data, 0.0), certain)
    for step in range(steps, 0, -1):
        if _same(wanted, _detections(task, codec.decode(data, step / steps), certain)):
            return step / steps
    return 0.0


def hinted(codec: Codec, data: bytes, task: Task | Detector) -> bytes:
    """The file with its largest safe blend as the view hint: header and checksums change, payloads do not.

    Raises:
        DiptychError: as :func:`largest_safe_blend`.
    """
    header, payloads = unpack(data)
    return pack(Container(header._replace(hint=largest_safe_blend(codec, data, task)), payloads))


def predicted(task: Task | Detector, picture: Image.Image) -> dict[str, NDArray[Any]]:
    """What a machine finds in an RGB picture, as :meth:`Task.predict` says it, in arrays."""
    pixels = np.asarray(picture, np.float32).transpose(2, 0, 1) / 255
    if isinstance(task, Detector):
        return task.predict([pixels])[0]
    import torch

    found = task.predict([torch.from_numpy(pixels)])[0]
    return {name: value.numpy() for name, value in found.items()}


def _detections(
    task: Task | Detector, picture: Image.Image, certain: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes ``(n, 4)`` and labels ``(n,)``."""
    found = predicted(task, picture)
    kept = found["scores"] >= certain
    return found["boxes"][kept], found["labels"][kept]


def _same(
    wanted: tuple[NDArray[np.float32], NDArray[np.int64]], found: tuple[NDArray[np.float32], NDArray[np.int64]]
) -> bool:
    """Whether the detections pair up. One with two candidates is left with the best: others of its kind overlap
    far less than that, or the network's own suppression of doubles would have removed them."""
    (boxes, labels), (other_boxes, other_labels) = wanted, found
    if len(labels) != len(other_labels):
        return False
    if not len(labels):
        return True
    overlap = overlaps(boxes, other_boxes) * (labels[:, None] == other_labels)
    partners = overlap.argmax(axis=1)
    return bool((overlap.max(axis=1) >= SAME_BOX).all()) and len(np.unique(partners)) == len(partners)
