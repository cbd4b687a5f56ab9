"""Instance segmentation: torchvision's Mask R-CNN on a small ImageNet network.

picture -> EfficientNet-Lite0 and pyramid -> RPN -> boxes -> classes, masks
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from diptych.tasks.detector_task import DetectorTask, in_float32
from diptych.tasks.fpn import Pyramid
from diptych.tasks.settings import ASPECTS, DETECTIONS, IMAGENET_MEAN, IMAGENET_STD, MaskRCNNSettings

LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")


class MaskRCNNTask(DetectorTask):
    """Instance segmentation as a task for the codec.

    Deterministic in ``predict``; ``loss`` samples boxes with torch's global generator.
    """

    KIND = "mask_rcnn"
    Settings = MaskRCNNSettings
    settings: MaskRCNNSettings

    @staticmethod
    def network(settings: MaskRCNNSettings) -> MaskRCNN:
        width, labels = settings.channels, len(settings.classes) + 1
        net = MaskRCNN(
            Pyramid("efficientnet_lite0", width),
            min_size=settings.size,
            max_size=settings.size,
            image_mean=list(IMAGENET_MEAN),
            image_std=list(IMAGENET_STD),
            rpn_anchor_generator=AnchorGenerator(
                tuple((side,) for side in settings.anchors), (ASPECTS,) * len(settings.anchors)
            ),
            rpn_pre_nms_top_n_train=2 * settings.proposals,
            rpn_pre_nms_top_n_test=2 * settings.proposals,
            rpn_post_nms_top_n_train=settings.proposals,
            rpn_post_nms_top_n_test=settings.proposals,
            rpn_batch_size_per_image=128,
            box_roi_pool=_pool(7),
            box_head=TwoMLPHead(width * 49, settings.hidden),
            box_predictor=FastRCNNPredictor(settings.hidden, labels),
            box_batch_size_per_image=settings.samples,
            box_detections_per_img=DETECTIONS,
            mask_roi_pool=_pool(14),
            mask_head=MaskRCNNHeads(width, settings.mask_layers, 1),
            mask_predictor=MaskRCNNPredictor(settings.mask_layers[-1], settings.channels, labels),
        )
        heads = net.roi_heads
        boxes = heads.box_predictor
        for last in (boxes.cls_score, boxes.bbox_pred, heads.mask_predictor[-1]):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
        for output in (net.rpn.head, boxes, heads.mask_predictor):
            output.register_forward_hook(in_float32)
        return net

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

    def nothing(self, image: Tensor) -> dict[str, Tensor]:
        return super().nothing(image) | {"masks": image.new_zeros(0, 1, *image.shape[1:])}


def _pool(side: int) -> MultiScaleRoIAlign:
    """RoI align from the levels at strides 8, 16 and 32, which it would else guess from its first picture: wrongly
    from a long and thin one."""
    pool = MultiScaleRoIAlign(["0", "1", "2"], output_size=side, sampling_ratio=2)
    pool.scales, pool.map_levels = [1 / 8, 1 / 16, 1 / 32], LevelMapper(3, 5)
    return pool
