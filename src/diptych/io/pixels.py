"""Pictures as arrays: 8-bit RGB pixels, luma, and what is left of it above a Gaussian."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image

Picture = Image.Image | np.ndarray
"""A PIL image of any mode, or uint8 pixels ``(H, W, 3)``."""

SIGMA = 1.5
REACH = 3
"""Taps on each side of the Gaussian: two sigmas, as in the published scores of the paper's patches."""


def pixels(picture: Picture) -> np.ndarray:
    """8-bit RGB pixels ``(H, W, 3)`` of ``picture``.

    Raises:
        ValueError: if an array is not of this type and shape already.
    """
    array = np.asarray(picture.convert("RGB")) if isinstance(picture, Image.Image) else picture
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected uint8 pixels (H, W, 3), got {array.dtype} {array.shape}")
    return array


def both(photo: Picture, decoded: Picture) -> tuple[np.ndarray, np.ndarray]:
    """The :func:`pixels` of a photo and of what became of it.

    Raises:
        ValueError: if the two differ in size.
    """
    ours, theirs = pixels(photo), pixels(decoded)
    if ours.shape != theirs.shape:
        raise ValueError(f"the decoded picture is {theirs.shape[:2]}, the photo {ours.shape[:2]}")
    return ours, theirs


def digest(picture: Picture) -> bytes:
    """What tells a picture from every other: its size and pixels, hashed."""
    array = pixels(picture)
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).digest()


def luma(picture: Picture) -> np.ndarray:
    """Luma (BT.601 weights) ``(H, W)``, float64 in 0..255."""
    return pixels(picture) @ np.array([0.299, 0.587, 0.114])


def high_pass(plane: np.ndarray) -> np.ndarray:
    """``plane`` ``(H, W)`` minus its Gaussian blur (sigma 1.5, edges mirrored)."""
    return plane - _blurred(_blurred(plane, axis=0), axis=1)


def _blurred(plane: np.ndarray, axis: int) -> np.ndarray:
    taps = np.exp(-0.5 * (np.arange(-REACH, REACH + 1) / SIGMA) ** 2)
    margin = [(0, 0), (0, 0)]
    margin[axis] = (REACH, REACH)
    padded, length = np.pad(plane, margin, mode="symmetric"), plane.shape[axis]
    shifted = (padded.take(range(start, start + length), axis) for start in range(len(taps)))
    return sum(tap * part for tap, part in zip(taps / taps.sum(), shifted, strict=True))  # type: ignore[return-value]
