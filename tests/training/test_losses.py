"""Distances for gradients: the same as the meters report."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ssimulacra2.ssimulacra2 import compute_ssimulacra2
from torch.nn.functional import conv2d, pad

from diptych.checkerboard.score import grid_score
from diptych.evaluation.metrics import psnr
from diptych.nn.losses import squared_error
from diptych.training.losses import grid_excess
from diptych.training.ssimulacra import Ssimulacra
from samples import picture


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    photo = np.asarray(picture(176, 176, seed=3))
    noise = np.random.default_rng(0).normal(0, 12, photo.shape)
    return photo, (photo + noise).clip(0, 255).astype(np.uint8)


def test_the_error_is_the_meters(pair: tuple[np.ndarray, np.ndarray]) -> None:
    photo, decoded = pair
    error = squared_error(tensor(photo), tensor(decoded))
    assert float(10 * (255**2 / error).log10()) == pytest.approx(psnr(photo, decoded), abs=1e-3)


def printed(total: float) -> float:
    """The score that tools print for an error sum (its published mapping)."""
    scaled = 0.9562382616834844 * total
    scaled = 2.326765642916932 * scaled - 0.020884521182843837 * scaled**2 + 6.248496625763138e-05 * scaled**3
    return 100 - 10 * max(scaled, 0.0) ** 0.6276336467831387


class PackagesBorders(Ssimulacra):
    """As the package blurs: beyond two sides of a picture lie zeros, beyond the others its mirror image."""

    def _blur(self, planes: torch.Tensor) -> torch.Tensor:
        count = planes.shape[1]
        mirrored = [planes[:, :, :5].flip(2), planes, planes[:, :, -5:].flip(2)]
        planes = pad(torch.cat(mirrored, 2), (5, 5, 0, 0))
        planes = conv2d(planes, self.taps.view(1, 1, -1, 1).expand(count, 1, -1, 1), groups=count)
        return conv2d(planes, self.taps.view(1, 1, 1, -1).expand(count, 1, 1, -1), groups=count)


@pytest.mark.slow
@pytest.mark.parametrize("quality", [4, 20, 60, 95])
@pytest.mark.parametrize("size", [(256, 256), (300, 271)])  # in smaller ones the tool leaves out scales
def test_what_people_see_is_the_packages(tmp_path: Path, quality: int, size: tuple[int, int]) -> None:
    photo = picture(*size, seed=5)
    photo.save(tmp_path / "photo.png")
    photo.save(tmp_path / "decoded.jpg", quality=quality)
    Image.open(tmp_path / "decoded.jpg").save(tmp_path / "decoded.png")
    pair = [tensor(np.asarray(Image.open(tmp_path / name))) for name in ("photo.png", "decoded.png")]
    wanted = compute_ssimulacra2(tmp_path / "photo.png", tmp_path / "decoded.png")
    assert printed(float(PackagesBorders()(*pair))) == pytest.approx(wanted, abs=0.2)
    assert printed(float(Ssimulacra()(*pair))) == pytest.approx(wanted, abs=6)  # crops have no such borders


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
    total = squared_error(x, same) + Ssimulacra()(x, same) + grid_excess(x, same)
    (gradient,) = torch.autograd.grad(total.sum(), same)
    assert torch.isfinite(gradient).all()
