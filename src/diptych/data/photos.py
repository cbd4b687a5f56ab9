"""Random crops of the photos in a folder."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diptych.data.order import sample_order
from diptych.errors import PictureError, RecipeError

_log = logging.getLogger(__name__)

SUFFIXES = {".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def read_pixels(path: Path) -> np.ndarray:
    """RGB pixels of a photo, uint8 ``(H, W, 3)``.

    Raises:
        PictureError: saying why it cannot be read.
    """
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise PictureError(str(error) or type(error).__name__) from error


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
                self._pixels[index] = read_pixels(self.paths[index])
            except PictureError as error:
                name = self.paths[index].relative_to(self.folder).as_posix()
                self.broken[name] = str(error)
                _log.warning("%s was left out: %s", name, error)
                self._pixels[index] = None
        return self._pixels[index]

    def crops(self, seed: int, step: int, batch: int, size: int) -> Tensor:
        """One step's training crops.

        Returns:
            ``(batch, 3, size, size)`` float in 0..1, channels-last, randomly flipped and transposed. Photos
            smaller than ``size`` are extended by reflection; another photo stands in for a broken one.

        Raises:
            RecipeError: if no photo can be read.
        """
        rng = np.random.default_rng((seed, step, 1))
        crops = [self._crop(index, rng, size) for index in sample_order(seed, len(self.paths), step, batch)]
        stacked = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
        return stacked.float().div_(255)

    def _crop(self, index: int, rng: np.random.Generator, size: int) -> np.ndarray:
        pixels = self.pixels(index)
        while pixels is None:
            if len(self.broken) == len(self.paths):
                raise RecipeError(f"none of the photos under {self.folder} can be read")
            pixels = self.pixels(int(rng.integers(len(self.paths))))
        short = [max(0, size - side) for side in pixels.shape[:2]]
        if any(short):
            pixels = np.pad(pixels, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
        top, left = (int(rng.integers(side - size + 1)) for side in pixels.shape[:2])
        crop = pixels[top : top + size, left : left + size]
        flips, turned = rng.integers(0, 2, 2), bool(rng.integers(2))
        crop = crop[:: 1 - 2 * flips[0], :: 1 - 2 * flips[1]]
        return np.ascontiguousarray(crop.transpose(1, 0, 2) if turned else crop)
