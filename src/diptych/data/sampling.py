"""Which photos are trained on, which are kept back to choose between checkpoints, and what each step sees."""

import hashlib
from functools import lru_cache
from typing import Literal

import numpy as np

Split = Literal["all", "train", "validation"]

FRACTION = 0.05
"""Part of the photos that is kept back."""


def in_validation(file_name: str, fraction: float = FRACTION) -> bool:
    """Whether a photo belongs to the validation part, decided by a hash of its name alone."""
    digest = hashlib.sha256(file_name.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") < fraction * 2**32


def in_split(file_name: str, split: Split, fraction: float = FRACTION) -> bool:
    """Whether a photo belongs to ``split``."""
    return split == "all" or in_validation(file_name, fraction) == (split == "validation")


def sample_order(seed: int, count: int, step: int, batch: int) -> list[int]:
    """Indices (``batch`` of them, in ``range(count)``) of training step ``step``.

    Steps take consecutive pieces of one fresh permutation of all indices per epoch. The result depends on the
    arguments alone, so a resumed run sees exactly the samples an uninterrupted one would have seen.
    """
    places = (divmod(position, count) for position in range(step * batch, (step + 1) * batch))
    return [int(_permutation(seed, count, epoch)[place]) for epoch, place in places]


@lru_cache(maxsize=8)
def _permutation(seed: int, count: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)
