"""What everything that runs the networks agrees on: strides, channel counts, names and shapes of weights.

The networks themselves are written down twice: for training in :mod:`diptych.nn`, for coding files in
:mod:`diptych.codec.engine` (floats) and :mod:`diptych.codec.entropy` (integers).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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

Shapes = dict[str, tuple[int, ...]]


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


def knot_weights(quality: float) -> NDArray[np.float32]:
    """Linear interpolation weights ``(QUALITY_KNOTS,)`` of a quality 0..100 over the knots."""
    position = quality * (QUALITY_KNOTS - 1) / 100
    return np.maximum(1 - np.abs(position - np.arange(QUALITY_KNOTS)), 0).astype(np.float32)


def nearest_knot(quality: float) -> int:
    """The knot whose prior of the hyper-latents holds for a quality kept to 1/100; halves go up."""
    return (round(quality * 100) + 500) // 1000


def float_shapes(widths: Widths) -> Shapes:
    """Names and shapes of the weights of ``g_a``, ``g_s``, ``h_a`` and of the gains."""
    m, n, k = widths.latent, widths.eighth, widths.quarter
    z, a = widths.hyper_latent, widths.hyper_analysis
    knots = {"g_a.quality.knots": n, "g_s.quality.knots": m, "gains.log_gain": m, "gains.log_inverse": m}
    shapes: Shapes = {name: (QUALITY_KNOTS, channels) for name, channels in knots.items()}
    for name, kernel in {
        "g_a.front": (n, 48, 3, 3),
        "g_a.down": (m, n, 3, 3),
        "g_s.stages.latent.0": (m, m, 1, 1),
        "h_a.first": (a, m, 3, 3),
        "h_a.second": (z, a, 3, 3),
        "h_a.mix": (z, z, 1, 1),
    }.items():
        shapes |= {f"{name}.weight": kernel, f"{name}.bias": kernel[:1]}
    for name, kernel in {
        "g_s.stages.eighth.0": (m, n, 4, 4),
        "g_s.stages.quarter.0": (n, k, 4, 4),
        "g_s.stages.pixel": (k, 3, 8, 8),
    }.items():
        shapes |= {f"{name}.weight": kernel, f"{name}.bias": kernel[1:2]}
    for name, channels in _blocks(widths):
        shapes |= {
            f"{name}.spatial.weight": (channels, 1, 3, 3),
            f"{name}.spatial.bias": (channels,),
            f"{name}.expand.weight": (2 * channels, channels, 1, 1),
            f"{name}.expand.bias": (2 * channels,),
            f"{name}.project.weight": (channels, 2 * channels, 1, 1),
            f"{name}.project.bias": (channels,),
        }
    return shapes


def integer_shapes(widths: Widths, rounds: int) -> Shapes:
    """Names and shapes of the integers of the entropy path, tables excepted, with ``rounds`` of context."""
    m, z, n, c = widths.latent, widths.hyper_latent, widths.hyper, widths.context
    shapes: Shapes = {"passes": (m, 2, 2), "prior.mean": (QUALITY_KNOTS, z), "prior.index": (QUALITY_KNOTS, z)}
    layers: Shapes = {}
    for number in range(ROUNDS):
        out = 2 * m if number == ROUNDS - 1 else 4 * z
        layers |= _layers("h_s", number, (z, 9), (n, z), (out, n))
    for number in range(rounds):
        layers |= _layers("context", number, (m, 9), (c, m + n), (2 * m, c))
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def _layers(network: str, number: int, *shapes: tuple[int, ...]) -> Shapes:
    return {f"{network}.{len(PARTS) * number + part}": shape for part, shape in enumerate(shapes)}


def _blocks(widths: Widths) -> Iterator[tuple[str, int]]:
    m, n, k = widths.latent, widths.eighth, widths.quarter
    yield from ((f"g_a.eighth.{number}", n) for number in range(4))
    yield from ((f"g_a.latent.{number}", m) for number in range(2))
    yield from ((f"g_s.stages.latent.{number}", m) for number in range(1, 3))
    yield from ((f"g_s.stages.eighth.{number}", n) for number in range(1, 5))
    yield "g_s.stages.quarter.1", k
