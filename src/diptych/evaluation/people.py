"""Metrics of what people see, on the 8-bit RGB pixels a user gets. All take two pictures of one size.

=============  ======  ==============================================================================
ssimulacra2    higher  SSIMULACRA 2.1, up to 100, by the package ``ssimulacra2``
lpips          lower   LPIPS v0.1 on AlexNet, from 0; its weights are in this folder
butteraugli    lower   3-norm of Butteraugli, from 0, by the tool ``butteraugli_main`` of libjxl
=============  ======  ==============================================================================
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache, lru_cache
from importlib import metadata, resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from ssimulacra2 import compute_ssimulacra2
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, normalize

from diptych.errors import DiptychError
from diptych.io.pixels import Picture, both

_SMALLEST_SCALE = 8
"""Below it neither SSIMULACRA 2 nor Butteraugli looks at anything."""
_SMALLEST_ALEXNET = 31
_STRIDES_PADDINGS = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
_BUTTERAUGLI = "butteraugli_main"
_OPTIONS = ("--pnorm", "3", "--intensity_target", "80")


def ssimulacra2(photo: Picture, decoded: Picture) -> float:
    """SSIMULACRA 2.1: 100 for equal pictures, about 90 where no difference is seen, 30 for low quality.

    NaN for pictures with a side under 8 pixels.

    Raises:
        ValueError: here and below, if the two differ in size.
    """
    ours, theirs = both(photo, decoded)
    if min(ours.shape[:2]) < _SMALLEST_SCALE:
        return math.nan
    return float(compute_ssimulacra2(*(io.BytesIO(_ppm(picture)) for picture in (ours, theirs))))


@torch.inference_mode()
def lpips(photo: Picture, decoded: Picture) -> float:
    """Learned perceptual distance, version 0.1 on AlexNet: 0 for equal pictures, rarely above 1.

    NaN for pictures with a side under 31 pixels, which leave nothing for the last layers.
    """
    ours, theirs = both(photo, decoded)
    if min(ours.shape[:2]) < _SMALLEST_ALEXNET:
        return math.nan
    levels = zip(_seen_in_photo(ours.tobytes(), ours.shape), _seen(theirs), strict=True)
    heads = (_alexnet()[f"lin{level}.weight"] for level in range(len(_STRIDES_PADDINGS)))
    return sum(
        float(((wanted - seen) ** 2).mean((0, 2, 3)) @ head)
        for (wanted, seen), head in zip(levels, heads, strict=True)
    )


def butteraugli(photo: Picture, decoded: Picture) -> float:
    """Butteraugli's 3-norm for a screen of 80 nits: 0 for equal pictures, about 1 where differences begin to show.

    NaN for pictures with a side under 8 pixels.

    Raises:
        DiptychError: if the tool is not installed or fails.
    """
    ours, theirs = both(photo, decoded)
    if min(ours.shape[:2]) < _SMALLEST_SCALE:
        return math.nan
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("photo.ppm", "decoded.ppm")]
        for file, picture in zip(files, (ours, theirs), strict=True):
            file.write_bytes(_ppm(picture))
        done = subprocess.run([_tool(), *map(str, files), *_OPTIONS], capture_output=True, text=True, check=False)
    found = re.search(r"^3-norm: (\S+)", done.stdout, re.MULTILINE)
    if not found:
        said = done.stderr.strip().splitlines()
        raise DiptychError(f"{_BUTTERAUGLI} failed: {said[-1] if said else f'exit code {done.returncode}'}")
    return float(found.group(1))


def _tool() -> str:
    found = shutil.which(_BUTTERAUGLI)
    if found is None:
        raise DiptychError(
            f"the metric butteraugli needs the tool {_BUTTERAUGLI} of libjxl: apt install libjxl-devtools"
        )
    return found


@cache
def _tool_version() -> str:
    digest = hashlib.sha256(Path(_tool()).read_bytes()).hexdigest()
    return f"{_BUTTERAUGLI} {' '.join(_OPTIONS)} (sha256 {digest[:16]})"


MADE_WITH: dict[str, Callable[[], str]] = {
    "ssimulacra2": lambda: f"ssimulacra2 {metadata.version('ssimulacra2')}",
    "lpips": lambda: "LPIPS 0.1, AlexNet",
    "butteraugli": _tool_version,
}
"""What computes each of these metrics; equal descriptions give equal scores. Raises DiptychError where it is not
installed."""


def _ppm(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PPM")
    return file.getvalue()


@cache
def _alexnet() -> dict[str, Tensor]:
    weights = load_file(str(resources.files("diptych") / "evaluation" / "lpips_alex.safetensors"))
    return {name: weight.float() for name, weight in weights.items()}


def _seen(picture: np.ndarray) -> list[Tensor]:
    """What each of AlexNet's five layers sees, of length 1 over the channels: float (1, channels, h, w)."""
    weights, levels = _alexnet(), list[Tensor]()
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    x = (torch.tensor(picture).permute(2, 0, 1)[None] / 127.5 - 1 - mean) / deviation
    for level, (stride, padding) in enumerate(_STRIDES_PADDINGS):
        if level in (1, 2):
            x = max_pool2d(x, 3, 2)
        x = conv2d(x, weights[f"conv{level}.weight"], weights[f"conv{level}.bias"], stride, padding).relu()
        levels.append(normalize(x, dim=1, eps=1e-10))
    return levels


@lru_cache(maxsize=1)
def _seen_in_photo(data: bytes, shape: tuple[int, ...]) -> list[Tensor]:
    """Kept for the next variant of the same photo."""
    return _seen(np.frombuffer(data, np.uint8).reshape(shape))
