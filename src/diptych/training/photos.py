"""The photos of a recipe and the crops that a step trains on.

::

    folders ──draw──┬─ crops, cut by this process or by workers beside it      CPU, or more photos than a GPU holds
                    └─ photo numbers and windows; cut on the device            all photos in its memory
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import pad

from diptych.data.coco import IGNORE, CocoDataset
from diptych.data.crops import cut, cut_one, cut_target, draw_window
from diptych.data.photos import Photos
from diptych.data.sampling import Split, sample_order
from diptych.errors import RecipeError

Target = dict[str, Tensor]


class PhotoSource(BaseModel):
    """A folder of photos in a recipe; a path alone stands for ``{folder: path}``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    labels: Path | None = Field(default=None, description="COCO labels, for the task networks' losses")
    share: float = Field(default=1.0, gt=0, description="of a batch, relative to the other folders'")


def _sources(value: Any) -> Any:
    listed = value if isinstance(value, list) else [value]
    return [{"folder": each} if isinstance(each, str | Path) else each for each in listed]


Sources = Annotated[list[PhotoSource], BeforeValidator(_sources), Field(min_length=1)]


class Crops(NamedTuple):
    """A step's crops: cut already, or where to cut them.

    Attributes:
        x: ``(B, 3, S, S)`` in 0..1, or nothing ``(0,)``.
        photo: ``(B,)`` numbers of photos on the device, or nothing.
        window: ``(B, 4)``, see :mod:`diptych.data.crops`.
    """

    x: Tensor
    photo: Tensor
    window: Tensor


class TrainingPhotos:
    """Photos of one or several folders, and random crops of them. Each folder has its places in a batch, in order.

    Args:
        sources: the folders.
        batch: pictures per batch.
        side: of a crop, in pixels.
        zoom: photo pixels per crop pixel where a crop is resampled.
        limit: photos to use of each folder, 0: all.
        split: ``train`` and ``validation`` divide the photos by name.
    """

    def __init__(
        self,
        sources: Sequence[PhotoSource],
        batch: int,
        side: int,
        zoom: tuple[float, float] = (1.0, 1.0),
        limit: int = 0,
        split: Split = "all",
    ) -> None:
        self.side, self.zoom = side, zoom
        self.data: list[Photos | CocoDataset] = [
            CocoDataset(source.folder, source.labels, split, limit=limit or None)
            if source.labels
            else Photos(source.folder, limit, split)
            for source in sources
        ]
        self.counts = _parts([source.share for source in sources], batch)
        self._firsts = np.cumsum([0, *(len(data) for data in self.data)])
        self._resident: Tensor | None = None
        self._sizes: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def summary(self) -> str:
        return "\n".join(data.summary() for data in self.data)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the labels' classes; None without labels.

        Raises:
            RecipeError: the folders' labels name different classes.
        """
        named = {data.classes for data in self.data if isinstance(data, CocoDataset)}
        if len(named) > 1:
            raise RecipeError("the labels of the folders do not name the same classes in the same order")
        return next(iter(named), None)

    def draw(self, seed: int, number: int) -> tuple[Crops, list[Target]]:
        """The crops of batch ``number`` and what is in them, a pure function of the arguments and the files."""
        random = np.random.default_rng([seed, number, 2])
        pictures, photos, windows, targets = [], [], [], []
        for data, count, first in zip(self.data, self.counts, self._firsts[:-1], strict=True):
            for index in sample_order(seed, len(data), number, count):
                if self._resident is None:
                    sample = data.sample(index, random)
                    window = draw_window(sample.photo.shape[:2], self.side, self.zoom, random)
                    pictures.append(cut_one(sample.photo, window, self.side))
                    targets.append(cut_target(sample, window, self.side, IGNORE))
                else:
                    window = draw_window(self._sizes[first + index], self.side, self.zoom, random)
                photos.append(int(first) + index)
                windows.append(window)
        x = torch.stack(pictures) if pictures else torch.empty(0)
        return Crops(x, torch.tensor(photos), torch.tensor(windows)), targets

    def pictures(self, crops: Crops, device: torch.device) -> Tensor:
        """``(B, 3, S, S)`` in 0..1 on the device, channels last."""
        if self._resident is None:
            return crops.x.to(device, memory_format=torch.channels_last)
        return cut(self._resident[crops.photo], crops.window, self.side)

    @property
    def resident(self) -> bool:
        """Whether the photos lie on a device and crops are cut there."""
        return self._resident is not None

    def fit(self, memory: int) -> bool:
        """Whether the photos, all of them at the largest one's size, take no more than so many bytes."""
        random = np.random.default_rng(0)
        height = width = 0
        for data in self.data:
            for index in range(len(data)):
                shape = data.sample(index, random).photo.shape
                height, width = max(height, shape[0]), max(width, shape[1])
                if 3 * height * width * len(self) > memory:
                    return False
        return True

    def keep_on(self, device: torch.device) -> None:
        """Decode all photos into the device's memory; from now on crops are cut there.

        Raises:
            RecipeError: there are labels, whose masks stay on the CPU, or a photo cannot be read.
        """
        if self.classes is not None:
            raise RecipeError("photos with labels are not kept on a device")
        random = np.random.default_rng(0)
        photos = [data.sample(index, random).photo for data in self.data for index in range(len(data))]
        self._sizes = [(photo.shape[0], photo.shape[1]) for photo in photos]
        height, width = (max(size[axis] for size in self._sizes) for axis in (0, 1))
        self._resident = torch.empty(len(photos), 3, height, width, dtype=torch.uint8, device=device)
        for place, photo in zip(self._resident, photos, strict=True):
            picture = torch.from_numpy(photo.copy()).permute(2, 0, 1).to(device).float()
            edge = (0, width - photo.shape[1], 0, height - photo.shape[0])
            place.copy_(pad(picture[None], edge, mode="replicate")[0])


def _parts(shares: Sequence[float], batch: int) -> list[int]:
    """How many of ``batch`` pictures each share gets, the largest remainders rounded up.

    Raises:
        RecipeError: one would get none.
    """
    exact = np.array(shares) * batch / sum(shares)
    counts = exact.astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: batch - counts.sum()]] += 1
    if not counts.all():
        raise RecipeError(f"a batch of {batch} has no place for every folder's share: enlarge 'batch'")
    return counts.tolist()
