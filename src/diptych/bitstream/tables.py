"""Integer probability tables: the only thing the entropy coder knows about the statistics of symbols.

A table is a row of positive integers that sum to ``2**24``. They are made once, when a model is frozen, are
stored in the model file and are read back as they are: no transcendental function is evaluated when a file is
decoded, so two machines can never disagree about a probability.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diptych.errors import ModelError

PRECISION = 24
"""Bits of a probability: the frequencies of a table sum to ``2**PRECISION``."""

MAX_TABLES = 256
"""Tables are named by one byte."""

MAX_HALF_WIDTH = 2**15 - 1

SCALES: NDArray[np.float64] = 0.11 * (64 / 0.11) ** (np.arange(64) / 63)
"""Standard deviations of the 64 Gaussian tables, in quantization steps, from 0.11 to 64 in equal ratios."""
SCALES.flags.writeable = False

_RAREST_ESCAPE = 2.0**-16
_LEAST_ESCAPE_FREQUENCY = 64


@dataclass(frozen=True, eq=False)
class SymbolTables:
    """Up to 256 probability tables over the integers, each with an escape.

    Table ``i`` gives ``frequencies[i, k]`` out of ``2**24`` to the symbol ``k - half_width[i]``, for ``k`` in
    0 .. ``2 * half_width[i]``, then ``frequencies[i, 2 * half_width[i] + 1]`` to the escape, which stands for
    any symbol outside. The rest of the row is zero. Rows need not be symmetric.

    Attributes:
        half_width: int32 (tables,), 0 .. 32767.
        frequencies: int32 (tables, longest row), every used entry at least 1.

    Both arrays are read-only copies. Instances compare and hash by identity.

    Raises:
        ModelError: the arrays are not such tables.
    """

    half_width: NDArray[np.int32]
    frequencies: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name in ("half_width", "frequencies"):
            array = np.array(getattr(self, name), order="C")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        problem = _problem(self.half_width, self.frequencies)
        if problem:
            raise ModelError(f"The probability tables are unusable: {problem}.")

    def __len__(self) -> int:
        return len(self.half_width)

    def row(self, table: int) -> NDArray[np.int32]:
        """The used frequencies of one table, escape last: int32 (2 * half_width + 2,)."""
        return self.frequencies[table, : 2 * int(self.half_width[table]) + 2]

    def to_arrays(self) -> dict[str, NDArray[np.int32]]:
        """The two arrays under their names, to be stored in a model file."""
        return {"half_width": self.half_width, "frequencies": self.frequencies}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "SymbolTables":
        """Tables from what :meth:`to_arrays` gave; other keys are ignored.

        Raises:
            ModelError: an array is missing or the arrays are not valid tables.
        """
        for name in ("half_width", "frequencies"):
            if name not in arrays:
                raise ModelError(f"The probability tables are unusable: the array '{name}' is missing.")
        return cls(arrays["half_width"], arrays["frequencies"])


def gaussian_tables() -> SymbolTables:
    """Tables of zero-mean Gaussians, rounded to integers, with the standard deviations :data:`SCALES`.

    A row ends where the escape becomes rarer than ``2**-16``, but no escape has less than ``2**-18``, so that
    latents with heavier tails than a Gaussian's remain cheap.

    Run when a model is frozen, never when a file is decoded: the result belongs in the model file.
    """
    rows = [_gaussian_row(float(scale)) for scale in SCALES]
    frequencies = np.zeros((len(rows), max(map(len, rows))), dtype=np.int32)
    for target, row in zip(frequencies, rows, strict=True):
        target[: len(row)] = row
    return SymbolTables(np.array([len(row) // 2 - 1 for row in rows], dtype=np.int32), frequencies)


def _gaussian_row(scale: float) -> list[int]:
    def tail(edge: float) -> float:
        """Probability that a magnitude exceeds ``edge``."""
        return math.erfc(edge / (scale * math.sqrt(2)))

    total = 2**PRECISION
    half_width = 0
    while tail(half_width + 0.5) > _RAREST_ESCAPE:
        half_width += 1
    escape = max(_LEAST_ESCAPE_FREQUENCY, round(tail(half_width + 0.5) * total))
    side = [
        max(1, round((tail(symbol - 0.5) - tail(symbol + 0.5)) / 2 * total)) for symbol in range(1, half_width + 1)
    ]
    middle = total - escape - 2 * sum(side)
    return [*reversed(side), middle, *side, escape]


def _problem(half_width: NDArray[Any], frequencies: NDArray[Any]) -> str | None:
    if half_width.dtype != np.int32 or frequencies.dtype != np.int32:
        return f"they must be int32, not {half_width.dtype} and {frequencies.dtype}"
    if half_width.ndim != 1 or frequencies.ndim != 2 or len(half_width) != len(frequencies):
        return f"the shapes {half_width.shape} and {frequencies.shape} do not fit together"
    if not 1 <= len(half_width) <= MAX_TABLES:
        return f"there are {len(half_width)} of them where 1 to {MAX_TABLES} are possible"
    if half_width.min() < 0 or half_width.max() > MAX_HALF_WIDTH:
        return f"a half width is outside 0 to {MAX_HALF_WIDTH}"
    used_length = 2 * half_width + 2
    if used_length.max() > frequencies.shape[1]:
        return f"a row of {used_length.max()} entries does not fit into {frequencies.shape[1]}"
    used = np.arange(frequencies.shape[1]) < used_length[:, np.newaxis]
    if (frequencies[used] < 1).any():
        return "a frequency in use is below 1"
    if frequencies[~used].any():
        return "an entry behind the escape is not 0"
    if (frequencies.sum(axis=1, dtype=np.int64) != 2**PRECISION).any():
        return f"the frequencies of a table do not sum to 2**{PRECISION}"
    return None
