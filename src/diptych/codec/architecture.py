"""What everything that runs the networks agrees on: strides and channel counts.

The networks themselves are written down twice: for training in :mod:`diptych.nn`, for coding files in
:mod:`diptych.codec.engine` (floats) and :mod:`diptych.codec.entropy` (integers).
"""

from __future__ import annotations

from typing import NamedTuple

STRIDE = 16
"""Side, in pixels, of the square that one latent stands for."""
HYPER_STRIDE = 4
"""Latents per hyper-latent, each way."""
QUALITY_KNOTS = 11
"""Qualities 0, 10 .. 100 have parameters of their own; those between are interpolated."""
ROUNDS = 3
"""Of depthwise, pointwise, ReLU, pointwise in ``h_s``."""
PARTS = ("spatial", "expand", "project")
"""The integer layers of each round."""


class Widths(NamedTuple):
    """Channel counts of the codec: latents, trunk at 1/8, trunk at 1/4, hyper-latents, trunks of ``h_a``, ``h_s``
    and the context model."""

    latent: int = 160
    eighth: int = 160
    quarter: int = 64
    hyper_latent: int = 96
    hyper_analysis: int = 96
    hyper: int = 192
    context: int = 128
