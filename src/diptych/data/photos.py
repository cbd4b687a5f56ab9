"""Random crops of the photos in a folder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.errors import RecipeError

SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def drawn(seed: int, step: int, batch: int, total: int) -> list[int]:
    """Indices of the samples of one step: consecutive pieces of one random permutation per epoch."""
    start, indices = step * batch, []
    for position in range(start, start + batch):
        epoch, place = divmod(position, total)
        indices.append(int(_permutation(seed, epoch, total)[place]))
    return indices


_permutations: dict[tuple[int, int, int], np.ndarray] = {}


def _permutation(seed: int, epoch: int, total: int) -> np.ndarray:
    key = (seed, epoch, total)
    if key not in _permutations:
        if len(_permutations) > 8:
            _permutations.clear()
        _permutations[key] = np.random.default_rng((seed, epoch)).permutation(total)
    return _permutations[key]


class Photos:
    """All photos under a folder, decoded once and kept in memory as uint8.

    Args:
        folder: searched recursively.
        limit: use only this many photos, 0 for all.

    Raises:
        RecipeError: if there is no photo.
    """

    def __init__(self, folder: Path, limit: int = 0) -> None:
        self.folder = folder
        self.limit = limit
        self._pixels: dict[int, np.ndarray | None] = {}
        self.broken: dict[str, str] = {}
        if not self.paths:
            raise RecipeError(f"no photos under {folder}")

    @cached_property
    def paths(self) -> list[Path]:
        found = sorted(p for p in self.folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        return found[: self.limit] if self.limit else found

    def pixels(self, index: int) -> np.ndarray | None:
        """RGB pixels ``(H, W, 3)`` uint8, or None for a photo that cannot be read (named in ``broken``)."""
        if index not in self._pixels:
            try:
                with Image.open(self.paths[index]) as image:
                    self._pixels[index] = np.asarray(image.convert("RGB"))
            except OSError as error:
                self.broken[self.paths[index].name] = str(error)
                self._pixels[index] = None
        return self._pixels[index]

    def crops(self, seed: int, step: int, batch: int, size: int) -> Tensor:
        """One step's training crops.

        Returns:
            ``(batch, 3, size, size)`` float in 0..1, channels-last, randomly flipped and transposed. Photos
            smaller than ``size`` are extended by reflection.
        """
        rng = np.random.default_rng((seed, step, 1))
        crops = [self._crop(index, rng, size) for index in drawn(seed, step, batch, len(self.paths))]
        stacked = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return stacked.float().div_(255)

    def _crop(self, index: int, rng: np.random.Generator, size: int) -> np.ndarray:
        pixels = self.pixels(index)
        while pixels is None:
            pixels = self.pixels(int(rng.integers(len(self.paths))))
        short = [max(0, size - side) for side in pixels.shape[:2]]
        if any(short):
            pixels = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
        top, left = (int(rng.integers(side - size + 1)) for side in pixels.shape[:2])
        crop = pixels[top : top + size, left : left + size]
        flips, turned = rng.integers(0, 2, 2), bool(rng.integers(2))
        crop = crop[:: 1 - 2 * flips[0], :: 1 - 2 * flips[1]]
        return np.ascontiguousarray(crop.transpose(1, 0, 2) if turned else crop)
