"""How close a decoded picture is to the photo, on the 8-bit RGB pixels a user gets."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional import image as reference_metrics

from diptych.evaluation.cache import last_kept
from diptych.io.pixels import Picture, both, high_pass, luma
from diptych.nn.losses import feature_distance
from diptych.tasks.backbone import Body
from diptych.tasks.backbone_features import FeaturesTask
from diptych.tasks.descriptions import FeaturesDescription

FEATURES: Body = "efficientnet_lite1"
"""Network of :func:`features`: trained on ImageNet, and no codec of the package was trained with it."""

_SSIM_SMALLEST = 11
_MS_SSIM_SMALLEST = 176


def psnr(photo: Picture, decoded: Picture) -> float:
    """Peak signal-to-noise ratio over all pixels and channels, in dB; infinite for equal pictures.

    Raises:
        ValueError: here and below, if the two differ in size.
    """
    ours, theirs = _tensors(photo, decoded)
    return float(reference_metrics.peak_signal_noise_ratio(theirs, ours, data_range=255.0))


def ssim(photo: Picture, decoded: Picture) -> float:
    """Structural similarity (Gaussian window, sigma 1.5), mean of the RGB channels, up to 1.

    NaN for pictures with a side under 11 pixels.
    """
    ours, theirs = _tensors(photo, decoded)
    if min(ours.shape[2:]) < _SSIM_SMALLEST:
        return math.nan
    similarity = reference_metrics.structural_similarity_index_measure(theirs, ours, data_range=255.0)
    assert isinstance(similarity, Tensor)
    return float(similarity)


def ms_ssim(photo: Picture, decoded: Picture) -> float:
    """Multi-scale structural similarity, five scales, mean of the RGB channels, up to 1.

    NaN for pictures with a side under 176 pixels, where the coarsest scale has no full window.
    """
    ours, theirs = _tensors(photo, decoded)
    if min(ours.shape[2:]) < _MS_SSIM_SMALLEST:
        return math.nan
    return float(reference_metrics.multiscale_structural_similarity_index_measure(theirs, ours, data_range=255.0))


def sharpness(photo: Picture, decoded: Picture) -> float:
    """Energy of the decoded picture's high-passed luma over the photo's: below 1 where it is blurred.

    The guard of the grid scores, which a blur lowers too. A grid is itself high-frequency energy and raises
    it. NaN if the photo has no high frequencies at all.
    """
    ours, theirs = both(photo, decoded)
    energy = float((high_pass(luma(ours)) ** 2).mean())
    return float((high_pass(luma(theirs)) ** 2).mean()) / energy if energy > 1e-9 else math.nan


def detail(photo: Picture, decoded: Picture) -> float:
    """How much of the photo's high-passed luma is in the decoded picture's: 1 in the photo, 0 in a full blur.

    The photo's part of the decoded one, ``<decoded, photo> / <photo, photo>``. Unlike :func:`sharpness` it does not
    rise with a grid, noise or invented texture, which are not the photo's. NaN if the photo has no high
    frequencies at all.
    """
    ours, theirs = both(photo, decoded)
    wanted = high_pass(luma(ours))
    energy = float((wanted**2).mean())
    return float((wanted * high_pass(luma(theirs))).mean()) / energy if energy > 1e-9 else math.nan


def features(photo: Picture, decoded: Picture) -> float:
    """Distance of the features of :data:`FEATURES` at strides 8, 16 and 32, see
    :func:`diptych.nn.losses.feature_distance`: 0 where nothing was lost, 1 where everything was.

    Raises:
        ModelError: if the network's weights are not installed.
    """
    ours, theirs = both(photo, decoded)
    return float(feature_distance(_seen_in_photo(ours), _seen(theirs))[0])


@cache
def _network() -> FeaturesTask:
    return FeaturesTask(FeaturesDescription(kind="features", backbone=FEATURES))


@torch.inference_mode()
def _seen(picture: np.ndarray) -> dict[str, Tensor]:
    return _network().features(torch.tensor(picture).permute(2, 0, 1)[None].float() / 255)


_seen_in_photo = last_kept(_seen)


def _tensors(photo: Picture, decoded: Picture) -> tuple[Tensor, Tensor]:
    ours, theirs = both(photo, decoded)
    first, second = (torch.tensor(p).permute(2, 0, 1)[None].float() for p in (ours, theirs))
    return first, second
