"""Classes of different lists, matched by name.

Detections are dictionaries: boxes float (n, 4) in pixels as x0, y0, x1, y1, labels int64 (n,) from 1, scores
float (n,) in [0, 1], and, for machines that segment, masks float (n, 1, H, W) in [0, 1].
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from diptych.errors import ModelError

Found = dict[str, Tensor]


def label_map(classes: Sequence[str], wanted: Sequence[str]) -> Tensor:
    """From labels of one list of classes to those of another, by name.

    Returns:
        int64 (1 + len(classes),): entry ``k`` is the label in ``wanted`` of label ``k``, 0 where it has none.

    Raises:
        ModelError: no name is in both.
    """
    labels = {name: label for label, name in reversed(list(enumerate(wanted, start=1)))}
    mapping = torch.tensor([0, *(labels.get(name, 0) for name in classes)])
    if not mapping.any():
        raise ModelError(
            f"The machine and the labels have no class in common: {_few(classes)} against {_few(wanted)}."
        )
    return mapping


def relabelled(instances: Found, mapping: Tensor) -> Found:
    """Detections or training targets with the labels that :func:`label_map` gives them.

    Instances of other classes are left out; labels below 0 (to be ignored) stay.
    """
    old = instances["labels"]
    new = torch.where(old < 0, old, mapping.to(old.device)[old.clamp(min=0)])
    kept = new != 0
    return {name: (new if name == "labels" else value)[kept] for name, value in instances.items()}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
