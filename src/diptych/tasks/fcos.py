"""Object detection without anchors: torchvision's FCOS on a small ImageNet network (Tian et al., 2019).

    picture -> EfficientNet-Lite1 and pyramid -> per cell: class, box, centredness

As unlike the package's Mask R-CNN as a detector on the same photos can be: one stage instead of two, other layers,
another ImageNet network. It tells whether a codec serves a task network it was not trained for.
"""

from collections.abc import Sequence

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList

from diptych.tasks.detector_task import DetectorTask, in_float32
from diptych.tasks.fpn import Pyramid
from diptych.tasks.settings import IMAGENET_MEAN, IMAGENET_STD, DetectorSettings

_STRIDES = (8, 16, 32, 64)


class FcosSettings(DetectorSettings):
    """Shape of the network; stored with its weights.

    Attributes:
        channels: width of pyramid and head, a multiple of 32 (the groups of the head's normalization).
        convolutions: layers of each of the head's two branches.
    """

    channels: PositiveInt = Field(default=96, multiple_of=32)
    convolutions: PositiveInt = 2


class FcosTask(DetectorTask):
    """Object detection as a task for the codec. Nothing in it is random."""

    KIND = "fcos"
    Settings = FcosSettings
    settings: FcosSettings

    @staticmethod
    def network(settings: FcosSettings) -> FCOS:
        width, classes = settings.channels, len(settings.classes)
        net = FCOS(
            Pyramid("efficientnet_lite1", width),
            classes,
            min_size=settings.size,
            max_size=settings.size,
            image_mean=list(IMAGENET_MEAN),
            image_std=list(IMAGENET_STD),
            anchor_generator=AnchorGenerator(tuple((stride,) for stride in _STRIDES), ((1.0,),) * len(_STRIDES)),
            head=FCOSHead(width, 1, classes, settings.convolutions),
            score_thresh=0.03,
            nms_thresh=0.5,
            detections_per_img=50,
            topk_candidates=300,
        )
        net.head.register_forward_hook(in_float32)
        return net

    def loss(
        self,
        images: Tensor,
        targets: Sequence[dict[str, Tensor]],
        features: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The three losses of FCOS at the pictures' own size.

        Args:
            images: float (B, 3, H, W) in [0, 1]; the losses are differentiable with respect to it.
            targets: per picture ``boxes`` float (n, 4) and ``labels`` int64 (n,); boxes labelled -1 are left out,
                for FCOS cannot ignore a part of a picture.
            features: what :meth:`features` gave for ``images``, if that is known already.
        """
        found = self.features(images) if features is None else features
        levels = list(found.values())
        batch = ImageList(images, [(images.shape[2], images.shape[3])] * len(images))
        anchors = self.net.anchor_generator(batch, levels)
        cells = [level.shape[2] * level.shape[3] for level in levels]
        wanted = [_from_zero(target) for target in targets]
        outputs = self.net.head(levels)
        with torch.autocast(images.device.type, enabled=False):
            return self.net.compute_loss(wanted, outputs, anchors, cells)

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        return [found | {"labels": found["labels"] + 1} for found in super().predict(images)]


def _from_zero(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """The boxes to be found, labelled as FCOS counts: it has no background class."""
    kept = target["labels"] > 0
    return {"boxes": target["boxes"][kept], "labels": target["labels"][kept] - 1}
