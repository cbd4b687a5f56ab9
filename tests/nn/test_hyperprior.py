"""The hyperprior and the whole model: shapes, odd sizes, and what learns."""

import pytest
import torch

from diptych.bitstream.coder import SCALES
from diptych.codec.entropy import nearest_knot
from diptych.nn.hyperprior import HyperAnalysis, HyperLatentPrior, HyperSynthesis, scale_of, split
from diptych.nn.model import ALIGNMENT, CodecModel
from samples import SMALL


@pytest.mark.parametrize("size", [(4, 4), (8, 4), (12, 20)])
def test_shapes(size: tuple[int, int]) -> None:
    height, width = size
    z = HyperAnalysis(SMALL)(torch.randn(2, SMALL.latent, *size))
    assert z.shape == (2, SMALL.hyper_latent, height // 4, width // 4)
    features, prediction = HyperSynthesis(SMALL)(z)
    assert features.shape == (2, SMALL.hyper, *size)
    mean, index = split(prediction)
    assert mean.shape == index.shape == (2, SMALL.latent, *size)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (7, 2)])
def test_hyper_latents_of_odd_sizes_make_four_latents_each_way(size: tuple[int, int]) -> None:
    features, prediction = HyperSynthesis(SMALL)(torch.randn(1, SMALL.hyper_latent, *size))
    assert features.shape[2:] == prediction.shape[2:] == (4 * size[0], 4 * size[1])


def test_scales_are_those_of_the_tables_and_stay_among_them() -> None:
    assert torch.allclose(scale_of(torch.arange(len(SCALES))), torch.tensor(SCALES).float(), rtol=1e-5)
    assert torch.equal(scale_of(torch.tensor([-9.0, 99.0])), scale_of(torch.tensor([0.0, len(SCALES) - 1.0])))


def test_training_takes_the_prior_that_files_take() -> None:
    qualities = [number / 100 for number in range(10_001)]
    knots = HyperLatentPrior.knot(torch.tensor(qualities, dtype=torch.float64))
    assert knots.tolist() == [nearest_knot(quality) for quality in qualities]


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (2, 1)])
def test_every_part_learns_from_pictures_of_any_aligned_size(size: tuple[int, int]) -> None:
    model = CodecModel(SMALL)
    x = torch.rand(2, 3, *(ALIGNMENT * side for side in size))
    coded = model(x, torch.tensor([10.0, 80.0]))
    assert coded.x_hat.shape == x.shape
    assert coded.bits.shape == (2,)
    ((coded.x_hat - x).square().sum() + coded.bits.sum()).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_bits_are_told_without_touching_the_decoder() -> None:
    model = CodecModel(SMALL)
    model(torch.rand(1, 3, 64, 64), torch.tensor([40.0])).bits.sum().backward()
    assert all(weight.grad is None for weight in model.g_s.parameters())


@pytest.mark.parametrize("frozen", ["g_a", "h_a", "h_s", "context", "prior", "gains"])
def test_a_frozen_part_gets_no_gradient_and_hands_it_on(frozen: str) -> None:
    model = CodecModel(SMALL)
    model.get_submodule(frozen).requires_grad_(False)
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    coded = model(x, torch.tensor([40.0]))
    (coded.x_hat.square().sum() + coded.bits.sum()).backward()
    assert x.grad is not None
    assert x.grad.any()
    assert {name.partition(".")[0] for name, weight in model.named_parameters() if weight.grad is None} == {frozen}
