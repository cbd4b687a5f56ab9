"""The order of the samples: a permutation per epoch, a pure function of its arguments."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from diptych.data.sampling import sample_order

SEEDS = st.integers(0, 2**31)
COUNTS = st.integers(1, 40)


@given(SEEDS, COUNTS, st.integers(0, 5))
def test_every_epoch_is_a_permutation(seed: int, count: int, epoch: int) -> None:
    order = [sample_order(seed, count, step, 1)[0] for step in range(epoch * count, (epoch + 1) * count)]
    assert sorted(order) == list(range(count))
    assert order == np.random.default_rng([seed, epoch]).permutation(count).tolist()


@given(SEEDS, COUNTS, st.integers(0, 30), st.integers(1, 12))
def test_steps_are_consecutive_pieces_whatever_was_asked_before(
    seed: int, count: int, step: int, batch: int
) -> None:
    piece = sample_order(seed, count, step, batch)
    singles = [sample_order(seed, count, place, 1)[0] for place in range((step + 1) * batch)]
    assert piece == singles[step * batch :]


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(sample_order(seed, 30, epoch, 30)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
