"""What a pass of the context model may know, and that the integers predict what was trained."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from diptych.codec.entropy import LEVELS, ONE, EntropyModel
from diptych.nn.arrays import arrays_of, model_of
from diptych.nn.context import SCANS, spread
from diptych.nn.hyperprior import split
from samples import SMALL, lively_model

SIZES = [(4, 4), (5, 7), (1, 3), (8, 6)]
"""Latents of a picture; an odd side ends in half of the table that repeats."""


@settings(max_examples=30)
@given(st.sampled_from(sorted(SCANS)), st.sampled_from(SIZES), st.integers(0, 3), st.integers(0, 2**31))
def test_a_pass_never_sees_its_own_latents_or_later_ones(
    scan: str, size: tuple[int, int], number: int, seed: int
) -> None:
    model = lively_model(scan=scan)
    which = spread(model.context.passes, *size)
    y, features, prediction = inputs(size, seed)
    before, known = model.context(y, features, prediction, torch.round)
    unknown = which >= number
    after, known_still = model.context(torch.where(unknown, 50 - y, y), features, prediction, torch.round)
    so_far = (which <= number).repeat(2, 1, 1)
    assert torch.equal(before[:, so_far], after[:, so_far])
    assert torch.equal(known[:, ~unknown], known_still[:, ~unknown])


@pytest.mark.parametrize(("scan", "passes"), [("plain", 1), ("checkerboard", 2), ("quadtree", 4)])
def test_each_pass_depends_on_every_one_before(scan: str, passes: int) -> None:
    model = lively_model(scan=scan)
    which = spread(model.context.passes, 6, 6)
    assert sorted(which.unique().tolist()) == list(range(passes))
    y, features, prediction = inputs((6, 6), 1)
    y.requires_grad_()
    for later in range(passes):
        predicted, _ = model.context(y, features, prediction, lambda residual: residual)
        own = predicted[:, (which == later).repeat(2, 1, 1)].square().sum()
        (gradient,) = torch.autograd.grad(own + 0 * y.sum(), y)
        assert set(which[gradient[0] != 0].tolist()) == set(range(later))


@pytest.mark.parametrize("scan", sorted(SCANS))
@pytest.mark.parametrize("size", SIZES)
def test_the_integers_predict_what_was_trained(scan: str, size: tuple[int, int]) -> None:
    arrays = arrays_of(lively_model(scan=scan))
    model = model_of(arrays, SMALL).double()
    integers = EntropyModel(arrays)
    z = torch.randint(-3, 4, (1, SMALL.hyper_latent, *(-(-side // 4) for side in size))).double()
    symbols = torch.randint(-6, 7, (SMALL.latent, *size)).double()
    means, tables = np.zeros(symbols.shape), np.zeros(symbols.shape)

    def code(now: NDArray[np.intp], mean: NDArray[np.float64], table: NDArray[np.uint8]) -> NDArray[np.float64]:
        np.put(means, now, mean / ONE)
        np.put(tables, now, table)
        return symbols.numpy().take(now)

    known = integers.walk((z * ONE)[0].numpy(), size, code)
    with torch.no_grad():
        features, prediction = (part[..., : size[0], : size[1]] for part in model.h_s(z))
        trained, y_hat = model.context(torch.zeros_like(symbols[None]), features, prediction, lambda _: symbols)
    mean, index = split(trained)
    wanted = index.clamp(0, LEVELS - 1)[0].numpy()
    assert mean.std() > 0.1
    assert np.abs(means - mean[0].numpy()).max() < 0.1  # the result of every layer is rounded to 1 / ONE
    assert np.abs(tables - wanted).max() < 1.5
    assert np.abs(known / ONE - y_hat[0].numpy()).max() < 0.1


def inputs(size: tuple[int, int], seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random latents, features and prediction of ``h_s``."""
    draw = torch.Generator().manual_seed(seed)
    channels = (SMALL.latent, SMALL.hyper, 2 * SMALL.latent)
    y, features, prediction = (torch.randn(1, count, *size, generator=draw) for count in channels)
    return 10 * y, features, prediction
