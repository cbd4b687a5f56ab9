"""A network that names what a picture shows, as a task network: one detection as large as the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diptych.tasks.backbone import imagenet_classifier, normalized
from diptych.tasks.descriptions import ClassifierDescription, located
from diptych.tasks.label_free import LabelFree
from diptych.tasks.preprocessing import resized


class ClassifierTask(LabelFree):
    """A classifier of ImageNet's 1000 classes, frozen.

    Its answer to a picture is one box around it, of the likeliest class and sure: so its agreement with itself is
    the share of pictures whose class is kept.

    Args:
        description: which network.

    Attributes:
        classes: names of the classes, which have numbers alone.

    Raises:
        ModelError: its weights cannot be found, or are those of another network.
    """

    classes = tuple(f"ImageNet {number}" for number in range(1000))

    def __init__(self, description: ClassifierDescription) -> None:
        super().__init__()
        weights = located(description.weights) if description.weights else None
        self.net = imagenet_classifier(description.backbone, weights).requires_grad_(False)
        self._size = (description.size, description.size)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Scores of the classes before the softmax for ``images`` (float (B, 3, H, W) in [0, 1])."""
        return {"classes": self.net(normalized(resized(images, self._size, "antialias"))).float()}

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """One box, label and score 1 for each picture (float (3, H, W) in [0, 1])."""
        return [self._named(image) for image in images]

    def _named(self, image: Tensor) -> dict[str, Tensor]:
        best = self.features(image[None])["classes"].argmax(dim=1)
        box = torch.tensor([[0.0, 0.0, image.shape[2], image.shape[1]]], device=best.device)
        return {"boxes": box, "labels": best + 1, "scores": torch.ones(1, device=best.device)}
