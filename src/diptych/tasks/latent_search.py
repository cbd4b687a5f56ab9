"""Encoder-side search: better latents for one picture. Format and decoder stay as they are.

::

    y ──h_a, h_s, context──> bits ───────────────────────────────────────────┐
    └─────rounded──g_s──> x_hat ──another view each step──task network──> loss ──gradient──> y, N times

The encoder network has learnt one answer for all pictures; a few steps of gradient descent on the latents of this
picture find a better one (Campos et al., CVPR workshops 2019). A network that always sees the same view is soon
fooled: what it finds better there is worse at another size. So every step shows another size and another cut.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from diptych.codec import tiling
from diptych.codec.architecture import HYPER_STRIDE
from diptych.codec.codec import patch
from diptych.codec.tiling import Area
from diptych.errors import DiptychError
from diptych.nn.arrays import model_of
from diptych.nn.hyperprior import scale_of, split
from diptych.nn.losses import distortion_weight, feature_distance, squared_error
from diptych.nn.model import gaussian_bits, straight_round
from diptych.nn.transforms import channels_last

if TYPE_CHECKING:
    from diptych.bitstream import Header
    from diptych.codec.codec import Codec
    from diptych.tasks import TaskNetwork

MSE_WEIGHT, FEATURE_WEIGHT = 0.03, 600.0
"""Of the mean squared error and the feature distance, as at the end of the shipped codec's training."""
RATE = 0.01
"""First step of Adam, in quantization steps; falls to zero. Larger ones cost other networks what this one gains."""
SIDE, MARGIN = 32, 8
"""Of the windows that are searched one after another, and of what is seen around each but left alone, in latents;
multiples of ``HYPER_STRIDE``."""
SIZES = (0.65, 1.0)
"""At which the task network sees a picture, relative to its own."""
TASK_STRIDE = 32


class _Window(NamedTuple):
    """Latents ``(1, M, h, w)``, the pixels they stand for, the part of them that may change, and the quality."""

    y: Tensor
    x: Tensor
    free: Area
    quality: Tensor


class Search:
    """Lowers rate + weight of the quality x (MSE + feature distance) of one picture; pass it to ``Codec.encode``.

    Time grows with steps x pixels, memory does not: pictures are searched window by window. The same picture gives
    the same file on the same machine.

    Args:
        codec: whose files are to be made.
        task: whose features count; on the CPU.
        steps: of gradient descent, 1 or more. 10 find half of what 100 do.
        mse_weight, feature_weight: of the mean squared error (0..255) and of the feature distance.

    Raises:
        DiptychError: if there are no steps.
    """

    def __init__(
        self,
        codec: Codec,
        task: TaskNetwork,
        steps: int,
        mse_weight: float = MSE_WEIGHT,
        feature_weight: float = FEATURE_WEIGHT,
    ) -> None:
        if steps < 1:
            raise DiptychError(f"a search of {steps} steps finds nothing; take 1 or more")
        model = model_of(codec.frozen.arrays, codec.frozen.widths).eval().requires_grad_(False)
        self.model, self.task, self.steps = channels_last(model), task, steps
        self.mse_weight, self.feature_weight = mse_weight, feature_weight

    def __call__(self, y: NDArray[np.float32], pixels: NDArray[np.uint8], header: Header) -> NDArray[np.float32]:
        """Scaled latents ``y`` ``(M, h, w)`` of the picture ``(H, W, 3)``, made better in place."""
        plane = tiling.plane(header)
        quality = torch.tensor([header.quality], dtype=torch.float32)
        for inner, outer in tiling.windows(plane, plane, SIDE, MARGIN):
            part = torch.from_numpy(y[None, :, *outer])
            x = torch.from_numpy(patch(pixels, outer.in_pixels())).permute(2, 0, 1)[None].float() / 255
            x = x.contiguous(memory_format=torch.channels_last)
            window = _Window(part, x, inner.inside(outer), quality)
            y[:, *inner] = self._improved(window)[0].numpy()
        return y

    def _improved(self, window: _Window) -> Tensor:
        """Latents ``(1, M, h, w)`` of the window's free part."""
        free = window.y[:, :, *window.free].clone().requires_grad_()
        optimizer = torch.optim.Adam([free], betas=(0.9, 0.99))
        for step in range(self.steps):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / self.steps)
            y = window.y.clone()
            y[:, :, *window.free] = free
            optimizer.zero_grad()
            self._loss(window._replace(y=y), np.random.default_rng(step)).backward(inputs=[free])
            optimizer.step()
        return free.detach()

    def _loss(self, window: _Window, random: np.random.Generator) -> Tensor:
        _, x, _, quality = window
        bits, y_hat = self._coded(window.y, quality)
        with torch.autocast("cpu", torch.bfloat16, enabled=_bfloat16_pays()):
            x_hat = self.model.g_s(y_hat * self.model.gains.inverse(quality), quality).float()
            distance = self._distance(x, x_hat, random)
        distortion = self.mse_weight * squared_error(x, x_hat) + self.feature_weight * distance
        return (bits / x[0, 0].numel() + distortion_weight(quality) * distortion).sum()

    def _coded(self, y: Tensor, quality: Tensor) -> tuple[Tensor, Tensor]:
        """Estimated bits of latents and hyper-latents, and the latents that a decoder would get, in steps."""
        model, (height, width) = self.model, y.shape[2:]
        z = model.h_a(pad(y, (0, -width % HYPER_STRIDE, 0, -height % HYPER_STRIDE), mode="replicate"))
        z_mean, z_index = model.prior(quality)
        symbols = straight_round(z - z_mean)
        features, prediction = (part[:, :, :height, :width] for part in model.h_s(symbols + z_mean))
        prediction, y_hat = model.context(y, features, prediction, straight_round)
        mean, index = split(prediction)
        bits = gaussian_bits(symbols, scale_of(z_index.expand_as(z))).sum()
        return bits + gaussian_bits(straight_round(y - mean), scale_of(index)).sum(), y_hat

    def _distance(self, x: Tensor, x_hat: Tensor, random: np.random.Generator) -> Tensor:
        """Feature distance ``(1,)`` in a random view."""
        size = random.uniform(*SIZES)
        top, left = (int(random.integers(min(TASK_STRIDE, side // 2))) for side in x.shape[2:])
        views = [_resized(picture[:, :, top:, left:], size) for picture in (x, x_hat)]
        with torch.no_grad():
            wanted = self.task.features(views[0])
        return feature_distance(wanted, self.task.features(views[1]))


def _resized(pictures: Tensor, factor: float) -> Tensor:
    """Pictures at another size, sides rounded to what task networks like."""
    height, width = (max(1, round(side * factor / TASK_STRIDE)) * TASK_STRIDE for side in pictures.shape[2:])
    return interpolate(pictures, (height, width), mode="bilinear", align_corners=False)


@cache
def _bfloat16_pays() -> bool:
    """Whether the processor has instructions for bfloat16, with which convolutions take half the time. Not timed:
    processes of one machine have to decide alike, or equal photos get other files."""
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
