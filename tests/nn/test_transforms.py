"""The fast forms of the transforms' layers compute what their plain forms do."""

import pytest
import torch
from torch import nn

from diptych.nn.transforms import Pointwise, ToPixels


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 2)])
def test_pixels_are_those_of_a_transposed_convolution(stride: int, size: tuple[int, int]) -> None:
    fast = ToPixels(6, 3, stride)
    plain = nn.ConvTranspose2d(6, 3, 2 * stride, stride, stride // 2)
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(2, 6, *size, requires_grad=True)
    assert torch.allclose(fast(x), plain(x), atol=1e-5)
    gradients = [torch.autograd.grad(layer(x).square().sum(), (x, *layer.parameters())) for layer in (fast, plain)]
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("batch", [1, 3])
def test_pointwise_is_a_plain_convolution(batch: int) -> None:
    fast, plain = Pointwise(5, 7), nn.Conv2d(5, 7, 1)
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(batch, 5, 4, 9)
    assert torch.allclose(fast(x), plain(x), atol=1e-5)
