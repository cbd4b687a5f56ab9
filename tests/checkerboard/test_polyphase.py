"""Phase gains are what torch makes of constants; the share of the grid follows from them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv_transpose2d, interpolate, pixel_shuffle

from diptych.checkerboard import Upsampler, check, grid_share, phase_gains


def transposed(weight: np.ndarray, stride: int) -> Upsampler:
    return Upsampler("up", "transposed", weight, None, (stride, stride), None, False, "test")


def subpixel(
    weight: np.ndarray, stride: int, bias: np.ndarray | None = None, depth_first: bool = False
) -> Upsampler:
    return Upsampler("up", "subpixel", weight, bias, (stride, stride), None, depth_first, "test")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(max_examples=30)
@given(side=st.integers(1, 9), stride=st.integers(2, 4), padding=st.integers(0, 3), dilation=st.integers(1, 3))
def test_phase_gains_are_what_a_constant_becomes(side: int, stride: int, padding: int, dilation: int) -> None:
    weight = noise(2, 3, side, side)
    gains = phase_gains(weight, (stride, stride), (dilation, dilation))
    reach = dilation * (side - 1) // stride + 1
    for channel in range(2):
        flat = torch.zeros(1, 2, 4 * reach + 4, 4 * reach + 4)
        flat[:, channel] = 1
        out = conv_transpose2d(flat, torch.from_numpy(weight), stride=stride, padding=0, dilation=dilation)
        start = (2 * reach + 1) * stride
        block = out[0, :, start + padding :, start + padding :][:, :stride, :stride].numpy()
        expected = np.roll(gains[channel].reshape(3, stride, stride), (-padding, -padding), axis=(1, 2))
        assert np.allclose(block, expected, atol=1e-4)


@pytest.mark.parametrize("depth_first", [False, True])
def test_sub_pixel_phases_are_those_of_a_pixel_shuffle(depth_first: bool) -> None:
    # One output channel is a flat 1 and the other has a phase pattern: only the right order sees one flat channel.
    plain, pattern = np.ones(4), np.array([1.0, -1, 2, -2])
    channels = np.stack([plain, pattern])
    weight = (channels.T if depth_first else channels).reshape(8, 1, 1, 1)
    finding = check(subpixel(weight, 2, depth_first=depth_first))
    assert finding.kernel_db == pytest.approx(10 * math.log10(10 / 14))
    if not depth_first:
        shuffled = pixel_shuffle(torch.from_numpy(weight.reshape(1, 8, 1, 1)), 2)
        assert np.array_equal(shuffled[0].numpy().reshape(2, 4), channels)


def test_equal_phases_are_even() -> None:
    spread = np.array([0.25, 0.75, 0.75, 0.25])
    bilinear = np.outer(spread, spread)[None, None] * noise(5, 6, 1, 1)
    repeated = noise(5, 3, 3, 3).repeat(4, axis=0)
    assert check(transposed(bilinear, 2)).even
    icnr = check(subpixel(repeated, 2, bias=np.repeat(noise(5), 4)))
    assert icnr.kernel_db == icnr.bias_db == -math.inf
    assert icnr.even


def test_a_kernel_narrower_than_its_stride_leaves_holes() -> None:
    finding = check(transposed(np.ones((1, 1, 2, 2)), 4))
    assert finding.kernel_db == pytest.approx(10 * math.log10(1 - 4 / 16))
    assert not finding.even


def test_uneven_biases_are_seen() -> None:
    repeated = noise(5, 3, 3, 3).repeat(4, axis=0)
    finding = check(subpixel(repeated, 2, bias=noise(20)))
    assert finding.kernel_db == -math.inf
    assert finding.bias_db is not None
    assert finding.bias_db > -10
    assert not finding.even


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_random_kernels_are_mostly_grid(stride: int) -> None:
    share = check(transposed(noise(40, 40, 2 * stride, 2 * stride), stride)).kernel_db
    assert share == pytest.approx(10 * math.log10(1 - stride**-2), abs=0.15)


@settings(max_examples=30)
@given(seed=st.integers(0, 99), scale=st.floats(1e-3, 1e3), evenness=st.floats(0, 5))
def test_share_depends_on_neither_scale_nor_order_and_falls_with_what_is_common(
    seed: int, scale: float, evenness: float
) -> None:
    gains = noise(4, 3, 4, seed=seed).astype(np.float64)
    share = grid_share(gains)
    assert share <= 0
    assert grid_share(gains * scale) == pytest.approx(share)
    assert grid_share(gains[::-1, :, ::-1]) == pytest.approx(share)
    centred = gains - gains.mean(-1, keepdims=True)
    assert grid_share(centred + evenness) <= grid_share(centred) + 1e-9


def test_an_upsampler_that_makes_nothing_is_even() -> None:
    assert grid_share(np.zeros((2, 2, 4))) == -math.inf


def test_the_limit_is_half_a_level_of_mid_grey() -> None:
    """A resized constant with a ripple of half a level: just even; one of one level: uneven."""
    flat = interpolate(torch.full((1, 1, 2, 2), 128.0), scale_factor=2).numpy().reshape(1, 1, 4, 4)[..., :2, :2]
    ripple = np.array([[0.49, -0.49], [-0.49, 0.49]])
    assert check(transposed(flat + ripple, 2)).even
    assert not check(transposed(flat + 2 * ripple, 2)).even
