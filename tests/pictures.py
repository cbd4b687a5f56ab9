"""Pictures with known properties, and the folder of the paper's patches."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

SHARED = Path(__file__).parents[1].parent / "shared" / "data"
PATCHES = SHARED / "paper-patches"


def textured(width: int = 336, height: int = 336, seed: int = 0) -> np.ndarray:
    """Random texture without a grid, its spectrum as that of photos: uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    spectrum = np.fft.fft2(rng.standard_normal((height, width))) / np.maximum(frequency, 1 / width)
    plane = np.fft.ifft2(spectrum).real
    plane = 128 + 80 * plane / np.abs(plane).max()
    return np.repeat(plane.round().astype(np.uint8)[:, :, None], 3, axis=2)


def gridded(photo: np.ndarray, stride: int, strength: float) -> np.ndarray:
    """``photo`` with one pixel of every ``stride`` x ``stride`` block brighter by ``strength`` levels."""
    grid = np.zeros(photo.shape[:2])
    grid[::stride, ::stride] = strength
    return (photo + grid[:, :, None]).clip(0, 255).round().astype(np.uint8)


def blurred(photo: np.ndarray, radius: float = 1.5) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).filter(ImageFilter.GaussianBlur(radius)))
