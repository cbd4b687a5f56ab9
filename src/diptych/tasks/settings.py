"""Shapes of the package's own detectors, as their weights files tell them. No torch here: predicting needs none."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class DetectorSettings(BaseModel):
    """Shape of a network; stored with its weights.

    Attributes:
        classes: names of the classes, without the background.
        size: long side, in pixels, to which ``predict`` scales a picture.
        channels: width of the feature pyramid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...]
    size: PositiveInt = 352
    channels: PositiveInt = 96


class MaskRCNNSettings(DetectorSettings):
    """Shape of the network; stored with its weights.

    Attributes:
        hidden: width of the box head.
        mask_layers: widths of the mask head's convolutions.
        anchors: side of the anchors, in pixels, per pyramid level (strides 8, 16, 32, 64).
        proposals: boxes per picture that the region proposals hand to the heads.
        samples: of these, boxes per picture that are trained on.
    """

    hidden: PositiveInt = 512
    mask_layers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (96, 96)
    anchors: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (28, 56, 112, 224)
    proposals: PositiveInt = 200
    samples: PositiveInt = 64


DETECTIONS = 50
"""Found in a picture at most."""
ASPECTS = (0.5, 1.0, 2.0)
"""Height by width of the anchors at each place."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BODY_SCALES = {
    "efficientnet_lite0": (9.2, 6.7, 2.6),
    "efficientnet_lite1": (11.1, 7.3, 2.5),
}
"""Standard deviation of the ImageNet features at strides 8, 16, 32, divided out before the pyramid."""
