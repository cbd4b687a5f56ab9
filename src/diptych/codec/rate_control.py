"""Choosing the quality for a number of bytes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from diptych.errors import DiptychError

TOLERANCE = 0.02
"""A file is close enough if it is at most this share below the target."""
_STEPS = 10000
_PROBES = 24


class Fitted(NamedTuple):
    """The file closest to a target from below.

    Attributes:
        data: its bytes.
        quality: it was made with.
        reached: whether it is within TOLERANCE of the target; if not, no quality is, the highest being too small
            or, of tiny files, two neighbouring qualities too far apart.
    """

    data: bytes
    quality: float
    reached: bool


def fit(encode: Callable[[float], bytes], target: int) -> Fitted:
    """The best file of at most ``target`` bytes.

    The size of a file grows with quality almost exponentially, so the search interpolates its logarithm (regula
    falsi with bisection as a guard); six probes are typical.

    Args:
        encode: quality in 0..100 to file.
        target: bytes.

    Raises:
        DiptychError: if the smallest file is larger than ``target``.
    """
    low, high = 0, _STEPS
    best = encode(0.0)
    if len(best) > target:
        raise DiptychError(f"{target:,} bytes are not enough: quality 0 takes {len(best):,}")
    if _close(best, target):
        return Fitted(best, 0.0, True)
    top = encode(100.0)
    if len(top) <= target:
        return Fitted(top, 100.0, _close(top, target))
    sizes = {low: len(best), high: len(top)}
    for probe in range(_PROBES):
        if high - low <= 1 or _close(best, target):
            break
        step = _between(low, high, sizes, target, bisect=probe % 3 == 2)
        data = encode(step * 100 / _STEPS)
        sizes[step] = len(data)
        if len(data) <= target:
            low, best = step, data
        else:
            high = step
    return Fitted(best, low * 100 / _STEPS, _close(best, target))


def _close(data: bytes, target: int) -> bool:
    return (1 - TOLERANCE) * target <= len(data) <= target


def _between(low: int, high: int, sizes: dict[int, int], target: int, bisect: bool) -> int:
    """A step strictly between two, where the logarithm of the size is expected just below the target's."""
    share = 0.5
    if not bisect and sizes[high] > sizes[low]:
        aim = math.log((1 - TOLERANCE / 2) * target / sizes[low])
        share = aim / math.log(sizes[high] / sizes[low])
    return min(high - 1, max(low + 1, round(low + share * (high - low))))
