"""Training and testing a network straight from ``.dip`` files.

    dataset = DipDataset("archive/", view="machine")
    for images in DataLoader(dataset, num_workers=2, collate_fn=list):
        ...

Files are decoded where they are asked for: in the workers of a ``DataLoader``, which load the codec once each and
run one thread each. With ``device="cuda"`` and no workers, those of a batch go through the GPU together.
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
from diptych.codec.defaults import VIEW
from diptych.io.files import find_files, named, read_bytes
from diptych.io.places import Name

if TYPE_CHECKING:
    from PIL import Image

    from diptych.codec.codec import Codec


@cache
def _codec(model: str | None, view_file: str | None, device: str) -> Codec:
    return diptych.load(model, view_file, device)


class DecodeDip:
    """A torchvision-style transform: a ``.dip`` file becomes a float tensor ``(3, H, W)`` in 0..1.

    It can be pickled, and serves as the ``loader`` of torchvision's ``ImageFolder`` and ``DatasetFolder``.

    Args:
        view: ``machine``, ``human``, or a position from 0 (machine) to 1 (human).
        model: a codec file; None for the one that each file names.
        view_file: a view file; None for the codec's own.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(
        self,
        view: str | float = VIEW,
        model: str | Path | None = None,
        view_file: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        self.view = view
        self.model = None if model is None else str(model)
        self.view_file = None if view_file is None else str(view_file)
        self.device = device

    def __call__(self, file: bytes | str | Name) -> Tensor:
        """Decode a file's bytes, or the file of this name.

        Raises:
            DiptychError: if it cannot be read, or its codec is not the one that was named or not here.
        """
        return _tensor(self._codec().decode(_bytes_of(file), self.view))

    def many(self, files: Sequence[bytes | str | Name]) -> list[Tensor]:
        """Decode files, those of one size and quality together (:meth:`diptych.Codec.decode_many`).

        Raises:
            DiptychError: as for one, naming none.
        """
        return list(map(_tensor, self._codec().decode_many(list(map(_bytes_of, files)), self.view)))

    @property
    def in_batches(self) -> bool:
        """Whether :meth:`many` is faster than one by one, as on a GPU."""
        return self._codec().transforms.engine.batch > 1

    def _codec(self) -> Codec:
        return _codec(self.model, self.view_file, self.device)

    def __repr__(self) -> str:
        return f"DecodeDip(view={self.view!r})"


def _bytes_of(file: bytes | str | Name) -> bytes:
    return file if isinstance(file, bytes) else read_bytes(named(file))


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float().div_(255)


class DipDataset(Dataset[Any]):
    """The pictures in ``.dip`` files, by name.

    Args:
        source: a folder (with its subfolders), or files; elsewhere too, such as ``s3://archive/``.
        view, model, view_file, device: see :class:`DecodeDip`.
        transform: applied to each ``(3, H, W)`` tensor.
        target: gives what belongs to a file, such as boxes and labels; with it, items are pairs.

    Raises:
        DiptychError: if there is no file.
    """

    def __init__(
        self,
        source: str | Path | Sequence[str | Path],
        view: str | float = VIEW,
        transform: Callable[[Tensor], Any] | None = None,
        target: Callable[[Name], Any] | None = None,
        model: str | Path | None = None,
        view_file: str | Path | None = None,
        device: str = "cpu",
    ) -> None:
        named = [source] if isinstance(source, (str, Path)) else source
        self.files = find_files([os.fspath(name) for name in named], {".dip"})
        self.decode = DecodeDip(view, model, view_file, device)
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
            image = self.decode(path)
        except diptych.DiptychError as error:
            raise type(error)(f"{path}: {error}") from None
        return self._item(path, image)

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """What a ``DataLoader`` asks for: the items with these numbers, decoded together where an engine gains from
        it."""
        if not self.decode.in_batches:
            return [self[index] for index in indices]
        paths = [self.files[index] for index in indices]
        try:
            images = self.decode.many(paths)
        except diptych.DiptychError:  # one by one, so that it names the file
            return [self[index] for index in indices]
        return list(map(self._item, paths, images))

    def _item(self, path: Name, image: Any) -> Any:
        image = self.transform(image) if self.transform else image
        return (image, self.target(path)) if self.target else image
