"""Choosing the quality: for a number of bytes, or for what the picture is to be worth when it is decoded.

Both look for the one place where something that grows with quality, the size or a score, passes a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from diptych.errors import DiptychError

TOLERANCE = 0.02
"""A file is close enough if it is at most this share below the target."""
_STEPS = 10000
_LIKELY = (25,)
"""Where a search for a score that grows evenly begins: in the middle of what photos take."""
LADDER = (0, 6, 12, 18, 24, 30, 36, 44, 52, 60, 70, 80, 90, 100)
"""Qualities that a search tries from below where scores go up and down on their way up."""


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

    The size of a file grows with quality almost exponentially, so the search interpolates its logarithm; six
    codings are typical.

    Args:
        encode: quality in 0..100 to file.
        target: bytes.

    Raises:
        DiptychError: if the smallest file is larger than ``target``.
    """
    aim, within = math.log(target) + math.log(1 - TOLERANCE) / 2, -math.log(1 - TOLERANCE) / 2
    files: dict[int, bytes] = {}

    def excess(step: int) -> float:
        files[step] = encode(step * 100 / _STEPS)
        return math.log(len(files[step])) - aim

    def fitted(step: int) -> Fitted:
        data = files[step]
        return Fitted(data, step * 100 / _STEPS, (1 - TOLERANCE) * target <= len(data) <= target)

    ends = {0: excess(0)}
    if len(files[0]) > target:
        raise DiptychError(f"{target:,} bytes are not enough: quality 0 takes {len(files[0]):,}")
    if fitted(0).reached:
        return fitted(0)
    ends[_STEPS] = excess(_STEPS)
    if len(files[_STEPS]) <= target:
        return fitted(_STEPS)
    return fitted(_crossing(excess, 0, _STEPS, ends, within)[0])


class Smallest(NamedTuple):
    """The smallest file that is good enough, or where none is, the best.

    Attributes:
        data: its bytes.
        quality: it was made with, a whole number.
        score: of it.
        reached: whether it is good enough.
        codings: how many files were made to find it.
    """

    data: bytes
    quality: int
    score: float
    reached: bool
    codings: int


def smallest(
    encode: Callable[[float], bytes], score: Callable[[bytes], float], wanted: float, steady: bool = True
) -> Smallest:
    """The file of the lowest whole quality whose score is ``wanted`` or more.

    Neighbouring whole qualities differ by about 3 % of the bytes, so finer ones would save half of that.

    Args:
        encode: quality in 0..100 to file.
        score: of a file; higher is better.
        steady: whether the score grows with every step of quality. Then a few codings find the lowest quality.
            Else a ladder of qualities is climbed from below, and what is found lies between its first good rung
            and the one before; a quality between lower rungs may be good enough as well.
    """
    files: dict[int, bytes] = {}
    scores: dict[int, float] = {}

    def surplus(quality: int) -> float:
        files[quality] = encode(quality)
        scores[quality] = score(files[quality])
        gap = scores[quality] - wanted
        return gap if steady else math.copysign(1, gap)  # of two equal steps, the middle is taken

    low, high = -1, 101
    known: dict[int, float] = {}
    for rung in _LIKELY if steady else LADDER:
        known[rung] = surplus(rung)
        if known[rung] >= 0:
            high = rung
            break
        low = rung
    _, found = _crossing(surplus, low, high, known)
    if found not in scores:
        found = min(scores, key=lambda quality: (-scores[quality], quality))
    return Smallest(files[found], found, scores[found], scores[found] >= wanted, len(files))


def _crossing(
    value: Callable[[int], float], low: int, high: int, known: Mapping[int, float], within: float = 0.0
) -> tuple[int, int]:
    """Between which neighbouring steps a growing value passes zero.

    Regula falsi where the values at both ends are known, with bisection as a guard.

    Args:
        low, high: the value is below zero at the one, not at the other; neither is asked for again.
        known: values at ends, where there are any.
        within: a value closer to zero than this will do.

    Returns:
        The last step where it is below zero and the first where it is not; one step twice if it will do.
    """
    values = dict(known)
    turn = 0
    while high - low > 1:
        turn += 1
        share = 0.5
        if turn % 3 and low in values and high in values and values[low] < values[high]:
            share = values[low] / (values[low] - values[high])
        step = min(high - 1, max(low + 1, round(low + share * (high - low))))
        values[step] = value(step)
        if abs(values[step]) < within:
            return step, step
        low, high = (step, high) if values[step] < 0 else (low, step)
    return low, high
