"""Distances for gradients: the same as the meters report."""

import numpy as np
import pytest
import torch

from diptych.evaluation.grid import grid_score
from diptych.evaluation.metrics import psnr, ssim
from diptych.nn.tradeoff import squared_error
from diptych.training.distances import dissimilarity, grid_excess
from samples import picture


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    photo = np.asarray(picture(176, 176, seed=3))
    noise = np.random.default_rng(0).normal(0, 12, photo.shape)
    return photo, (photo + noise).clip(0, 255).astype(np.uint8)


def test_error_and_structure_are_the_meters(pair: tuple[np.ndarray, np.ndarray]) -> None:
    photo, decoded = pair
    error = squared_error(tensor(photo), tensor(decoded))
    assert float(10 * (255**2 / error).log10()) == pytest.approx(psnr(photo, decoded), abs=1e-3)
    assert 1 - float(dissimilarity(tensor(photo), tensor(decoded))) == pytest.approx(ssim(photo, decoded), abs=1e-4)


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_a_grid_is_far_and_noise_is_near(stride: int) -> None:
    random = np.random.default_rng(stride)
    flat = np.full((176, 176, 3), 128.0)
    noise = flat + random.normal(0, 8, flat.shape[:2])[..., None]
    grid = noise + 8 * np.kron(np.ones((176 // stride,) * 2), random.normal(size=(stride, stride)))[..., None]
    x, noisy, gridded = (tensor(a.clip(0, 255).astype(np.uint8)) for a in (noise, flat, grid))
    score = grid_score(grid.clip(0, 255).astype(np.uint8), stride)
    assert score > 30
    assert float(grid_excess(x, noisy, [stride])) < 1.5
    assert float(grid_excess(x, gridded, [stride])) > 3


def test_gradients_are_finite_where_pictures_agree() -> None:
    x = tensor(np.asarray(picture(64, 64)))
    same = x.clone().requires_grad_()
    total = squared_error(x, same) + dissimilarity(x, same) + grid_excess(x, same)
    (gradient,) = torch.autograd.grad(total.sum(), same)
    assert torch.isfinite(gradient).all()
