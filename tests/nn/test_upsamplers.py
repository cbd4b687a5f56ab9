"""Upsamplers without a grid: what they compute, and where they start."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import conv2d, interpolate

from diptych.nn.transforms import Synthesis, ToPixels, Widths
from diptych.nn.upsamplers import ResizeConv, ShuffleConv, replace_upsamplers


def transposed(stride: int) -> nn.ConvTranspose2d:
    torch.manual_seed(stride)
    return ToPixels(3, 2, 4) if stride == 4 else nn.ConvTranspose2d(3, 2, 2 * stride, stride, stride // 2)


@settings(max_examples=20)
@given(st.sampled_from([2, 4]), st.integers(1, 7), st.integers(1, 7))
def test_resize_conv_is_a_resize_and_a_convolution(stride: int, height: int, width: int) -> None:
    layer = ResizeConv(transposed(stride))
    x = torch.randn(2, 3, height, width)
    resized = interpolate(x, scale_factor=stride, mode="nearest")
    expected = conv2d(resized, layer.weight.flip(2, 3), layer.bias, padding=stride // 2)
    assert torch.allclose(layer(x), expected, atol=1e-5)


@pytest.mark.parametrize("kind", [ResizeConv, ShuffleConv])
@pytest.mark.parametrize("stride", [2, 4])
def test_a_flat_area_stays_flat_and_keeps_its_mean(kind: type[ResizeConv | ShuffleConv], stride: int) -> None:
    before = transposed(stride)
    flat = torch.ones(1, 3, 6, 6)
    inner = slice(2 * stride, -2 * stride)
    wanted, found = (layer(flat)[..., inner, inner] for layer in (before, kind(before)))
    assert wanted.std((2, 3)).min() > 1e-3
    assert found.std((2, 3)).max() < 1e-6
    assert torch.allclose(found.mean((2, 3)), wanted.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("stride", [2, 4])
def test_a_kernel_without_a_grid_is_kept(stride: int) -> None:
    before = transposed(stride)
    small = torch.randn(3, 2, stride + 1, stride + 1)
    once = nn.functional.conv_transpose2d(small.flatten(0, 1)[:, None], torch.ones(1, 1, stride, stride))
    with torch.no_grad():
        before.weight.copy_(once[:, 0].unflatten(0, (3, 2)))
    x = torch.randn(1, 3, 5, 4)
    assert torch.allclose(ResizeConv(before)(x), before(x), atol=1e-4)


@pytest.mark.parametrize("kind", ["resize", "shuffle"])
def test_a_decoder_with_other_upsamplers_makes_pictures_of_the_same_size(kind: str) -> None:
    widths = Widths(latent=12, eighth=16, quarter=8)
    g_s = Synthesis(widths)
    replace_upsamplers(g_s, kind)
    assert not any(isinstance(module, nn.ConvTranspose2d) for module in g_s.modules())
    assert g_s(torch.randn(2, 12, 3, 5), torch.tensor([5.0, 80.0])).shape == (2, 3, 48, 80)
