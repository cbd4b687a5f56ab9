"""The fast forms of the transforms' layers compute what their plain forms do."""

import pytest
import torch
from torch import nn

from diptych.nn import precision, transforms
from diptych.nn.transforms import Analysis, Block, Pointwise, Synthesis, ToPixels
from samples import SMALL


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


def test_strips_of_a_block_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    block, x = Block(8), torch.randn(2, 8, 13, 9)
    whole = block(x)
    monkeypatch.setattr(transforms, "STRIP", 30)
    before = x.clone()
    with torch.inference_mode():
        assert torch.allclose(block(x), whole, atol=1e-5)
    assert torch.equal(x, before)


@pytest.mark.parametrize("fast", [False, True])
def test_inference_follows_the_trained_network(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "bfloat16_pays", lambda: fast)
    torch.manual_seed(0)
    quality = torch.tensor([40.0])
    for network, x in ((Synthesis(SMALL), torch.randn(1, 12, 5, 7)), (Analysis(SMALL), torch.rand(1, 3, 80, 112))):
        expected = network(x, quality)
        with torch.inference_mode():
            found = precision.infer(network, x, quality)
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() <= (0.03 if fast else 1e-5) * expected.abs().max()


def test_the_choice_of_precision_leaves_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    precision.bfloat16_pays.cache_clear()
    precision.bfloat16_pays()
    assert torch.equal(torch.rand(3), expected)
