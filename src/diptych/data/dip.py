"""Training and testing a network straight from ``.dip`` files.

    dataset = DipDataset("archive/", view="machine")
    for images in DataLoader(dataset, num_workers=2, collate_fn=list):
        ...

Files are decoded where they are asked for: in the workers of a ``DataLoader``, which load the codec once each and
run one thread each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

import diptych
from diptych.io.files import find_files, named, read_bytes
from diptych.io.places import Name

if TYPE_CHECKING:
    from diptych.codec.codec import Codec


@cache
def _codec(model: str | None, view_file: str | None) -> Codec:
    return diptych.load(model, view_file)


class DecodeDip:
    """A torchvision-style transform: a ``.dip`` file becomes a float tensor ``(3, H, W)`` in 0..1.

    It can be pickled, and serves as the ``loader`` of torchvision's ``ImageFolder`` and ``DatasetFolder``.

    Args:
        view: ``machine``, ``human``, or a position from 0 (machine) to 1 (human).
        model: a codec file; None for the one that each file names.
        view_file: a view file; None for the codec's own.
    """

    def __init__(
        self, view: str | float = "machine", model: str | Path | None = None, view_file: str | Path | None = None
    ) -> None:
        self.view = view
        self.model = None if model is None else str(model)
        self.view_file = None if view_file is None else str(view_file)

    def __call__(self, file: bytes | str | Name) -> Tensor:
        """Decode a file's bytes, or the file of this name.

        Raises:
            DiptychError: if it cannot be read, or its codec is not the one that was named or not here.
        """
        data = file if isinstance(file, bytes) else read_bytes(named(file))
        picture = _codec(self.model, self.view_file).decode(data, self.view)
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div_(255)

    def __repr__(self) -> str:
        return f"DecodeDip(view={self.view!r})"


class DipDataset(Dataset[Any]):
    """The pictures in ``.dip`` files, by name.

    Args:
        source: a folder (with its subfolders), or files; elsewhere too, such as ``s3://archive/``.
        view, model, view_file: see :class:`DecodeDip`.
        transform: applied to each ``(3, H, W)`` tensor.
        target: gives what belongs to a file, such as boxes and labels; with it, items are pairs.

    Raises:
        DiptychError: if there is no file.
    """

    def __init__(
        self,
        source: str | Path | Sequence[str | Path],
        view: str | float = "machine",
        transform: Callable[[Tensor], Any] | None = None,
        target: Callable[[Name], Any] | None = None,
        model: str | Path | None = None,
        view_file: str | Path | None = None,
    ) -> None:
        named = [source] if isinstance(source, (str, Path)) else source
        self.files = find_files([os.fspath(name) for name in named], {".dip"})
        self.decode = DecodeDip(view, model, view_file)
        self.transform = transform
        self.target = target

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        """The picture with this number, and its target if there are targets.

        Raises:
            DiptychError: naming the file, if it cannot be decoded.
        """
        path = self.files[index]
        try:
            image: Any = self.decode(path)
        except diptych.DiptychError as error:
            raise type(error)(f"{path}: {error}") from None
        if self.transform:
            image = self.transform(image)
        return (image, self.target(path)) if self.target else image
