"""Metrics of what people see, on the 8-bit RGB pixels a user gets. All take two pictures of one size.

=============  ======  ==============================================================================
ssimulacra2    higher  SSIMULACRA 2.1, up to 100, by the package ``ssimulacra2``
cvvdp          higher  ColorVideoVDP in just-objectionable differences, up to 10, by the package ``cvvdp``
vmaf           higher  VMAF 0.6.1 that gives nothing for sharpening (NEG), up to 100, by libvmaf in FFmpeg
psnr_hvs       higher  PSNR of what the eye's contrast sensitivity leaves, in dB, by libvmaf in FFmpeg
lpips          lower   LPIPS v0.1 on AlexNet, from 0; its weights are in this folder
butteraugli    lower   3-norm of Butteraugli, from 0, by the tool ``butteraugli_main`` of libjxl
=============  ======  ==============================================================================

Two that look through VGG16 are in :mod:`diptych.evaluation.vgg`.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from ssimulacra2 import compute_ssimulacra2
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, normalize

from diptych.errors import DiptychError
from diptych.evaluation import ffmpeg, vgg
from diptych.evaluation.cache import last_kept
from diptych.io.pixels import Picture, both

if TYPE_CHECKING:
    from pycvvdp import cvvdp as Cvvdp

_SMALLEST_SCALE = 8
"""Below it neither SSIMULACRA 2 nor Butteraugli looks at anything."""
_SMALLEST_ALEXNET = 31
_STRIDES_PADDINGS = ((4, 2), (1, 2), (1, 1), (1, 1), (1, 1))
_SMALLEST_VMAF = 33
_VMAF = "model=version=vmaf_v0.6.1neg:feature=name=psnr_hvs:log_fmt=json"
_TO_YUV = f"scale=out_color_matrix=bt709:out_range=full:flags=bicubic+{ffmpeg.ACCURATE},format=yuv444p"
_DISPLAY = "standard_4k"
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
def cvvdp(photo: Picture, decoded: Picture) -> float:
    """ColorVideoVDP on the display that it takes by default, 75 pixels a degree: 10 for equal pictures, 1 less
    where the difference is objectionable to half of the people.

    NaN for pictures with a side under 8 pixels.
    """
    ours, theirs = both(photo, decoded)
    if min(ours.shape[:2]) < _SMALLEST_SCALE:
        return math.nan
    score, _ = _cvvdp().predict(theirs.copy(), ours.copy(), dim_order="HWC")
    return float(score)


def vmaf(photo: Picture, decoded: Picture) -> float:
    """VMAF 0.6.1 in its form for codecs, NEG, which sharpening does not raise: 97 for equal still pictures.

    On luma. NaN for pictures with a side under 33 pixels, here and below.

    Raises:
        DiptychError: here and below, if there is no FFmpeg with libvmaf, or it fails.
    """
    return _by_libvmaf(photo, decoded)["vmaf"]


def psnr_hvs(photo: Picture, decoded: Picture) -> float:
    """PSNR-HVS in dB, planes of BT.709 weighted as libvmaf does: infinite for equal pictures."""
    return _by_libvmaf(photo, decoded)["psnr_hvs"]


@torch.inference_mode()
def lpips(photo: Picture, decoded: Picture) -> float:
    """Learned perceptual distance, version 0.1 on AlexNet: 0 for equal pictures, rarely above 1.

    NaN for pictures with a side under 31 pixels, which leave nothing for the last layers.
    """
    ours, theirs = both(photo, decoded)
    if min(ours.shape[:2]) < _SMALLEST_ALEXNET:
        return math.nan
    levels = zip(_seen_in_photo(ours), _seen(theirs), strict=True)
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


@cache
def _cvvdp() -> Cvvdp:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU is no news
    import pycvvdp

    return pycvvdp.cvvdp(display_name=_DISPLAY, device=torch.device("cpu"))


def _by_libvmaf(photo: Picture, decoded: Picture) -> dict[str, float]:
    ours, theirs = both(photo, decoded)
    height, width = ours.shape[:2]
    if min(height, width) < _SMALLEST_VMAF:
        return dict.fromkeys(("vmaf", "psnr_hvs"), math.nan)
    with tempfile.TemporaryDirectory() as folder:
        inputs = ""
        for name, picture in (("decoded", theirs), ("photo", ours)):
            (Path(folder) / name).write_bytes(picture.tobytes())
            inputs += f" -f rawvideo -pix_fmt rgb24 -s {width}x{height} -i {name}"
        graph = f"[0:v]{_TO_YUV}[d];[1:v]{_TO_YUV}[p];[d][p]libvmaf={_VMAF}:log_path=log"
        ffmpeg.run(_libvmaf(), f"{ffmpeg.QUIET} {inputs} -lavfi {graph} -f framemd5 -", folder=folder)
        found = json.loads((Path(folder) / "log").read_bytes())["frames"][0]["metrics"]
    return {"vmaf": found["vmaf"], "psnr_hvs": math.inf if found["psnr_hvs"] is None else found["psnr_hvs"]}


@cache
def _libvmaf() -> str:
    return ffmpeg.find("the metrics vmaf and psnr_hvs", filter="libvmaf")


@cache
def _libvmaf_version() -> str:
    version = ffmpeg.said(_libvmaf(), "-version").partition(" Copyright")[0]
    return f"{version}; -lavfi {_TO_YUV} libvmaf={_VMAF}"


MADE_WITH: dict[str, Callable[[], str]] = {
    "ssimulacra2": lambda: f"ssimulacra2 {metadata.version('ssimulacra2')}",
    "cvvdp": lambda: f"cvvdp {metadata.version('cvvdp')}, display {_DISPLAY}",
    "vmaf": _libvmaf_version,
    "psnr_hvs": _libvmaf_version,
    "dists": vgg.made_with,
    "vgg": vgg.made_with,
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


_seen_in_photo = last_kept(_seen)
