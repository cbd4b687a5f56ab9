"""Which samples each training step sees."""

from functools import lru_cache

import numpy as np


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
