"""The features of an ImageNet backbone as a task network: for photos without labels."""

from __future__ import annotations

from torch import Tensor

from diptych.nn.transforms import channels_last
from diptych.tasks.backbone import imagenet_body, normalized
from diptych.tasks.descriptions import FeaturesDescription, located
from diptych.tasks.label_free import LabelFree


class FeaturesTask(LabelFree):
    """A frozen backbone that is only compared, never asked: it has no ``predict``.

    Args:
        description: which backbone.

    Raises:
        ModelError: its weights cannot be found, or are those of another network.
    """

    def __init__(self, description: FeaturesDescription) -> None:
        super().__init__()
        weights = located(description.weights) if description.weights else None
        self.net = channels_last(imagenet_body(description.backbone, weights)).requires_grad_(False)
        self.eval()

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Features of ``images`` (float (B, 3, H, W) in [0, 1]) at strides 8, 16 and 32."""
        levels = self.net(normalized(images))
        return {f"stride {8 << k}": level.float() for k, level in enumerate(levels)}
