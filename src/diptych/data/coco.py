"""COCO-format labels and their photos, instances as arrays.

    folder of photos + labels.json -> CocoDataset -> sample(i), target(i), truth() for the evaluation

A broken photo or annotation never stops a run: it is left out and named in ``CocoDataset.problems``.
"""

import contextlib
import io
import os
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from torch import Tensor

from diptych.data.coco_format import ImageEntry, Instance, LabelFile, check_annotation, read_labels, to_instance
from diptych.data.orientation import convention
from diptych.data.photo_cache import MEMORY, PhotoFile, PhotoStore, Sample, in_parallel, read_pixels, wrong_size
from diptych.data.problems import SHOWN, summary
from diptych.data.rle import bad_polygons
from diptych.data.sampling import FRACTION, Split, in_split
from diptych.errors import PictureError, RecipeError
from diptych.io.files import below
from diptych.io.formats import READS, left_out
from diptych.io.images import stored_size

IGNORE = -1
"""Label of a crowd region: neither an example of a class nor of the background."""


class CocoDataset:
    """Photos and instances of one COCO-format file.

    Labels are in the orientation in which a photo lies in its file, EXIF not applied, unless the sizes they
    state tell otherwise (:mod:`diptych.data.orientation`). Instances without a mask get their box as
    one. Photos that fit into ``memory`` together are decoded, and so checked, at once; of more photos only the
    headers are checked, they are decoded when needed, and another one stands in for one that is broken then.

    Args:
        folder: where the photos lie.
        labels: the COCO JSON file.
        split: ``train`` and ``validation`` divide the photos by name, ``all`` takes every one.
        validation: the part of the photos, 0 to 1, that ``validation`` gets.
        limit: take at most this many photos.
        memory: bytes of decoded photos to keep.

    Attributes:
        classes: names of the classes, in the order of the category ids; label ``k`` (1-based) is
            ``classes[k - 1]``.
        ids: COCO image ids in the order of the indices.

    Raises:
        RecipeError: the labels cannot be read, or no usable photo is left, or none of its annotations.
    """

    def __init__(
        self,
        folder: str | Path,
        labels: str | Path,
        split: Split = "all",
        validation: float = FRACTION,
        limit: int | None = None,
        memory: int = MEMORY,
    ) -> None:
        self._folder, self._labels = Path(folder), Path(labels)
        content = read_labels(self._labels)
        self.classes = tuple(category.name for category in content.categories)
        self._listed = {os.path.normpath(entry.file_name) for entry in content.images}
        self._problems: list[str] = []
        chosen = [i for i in content.images if in_split(i.file_name, split, validation)][:limit]
        self._convention = convention(self._folder, chosen, content.images)
        self._load(chosen, memory)
        self.ids = [entry.id for entry in self._images]
        self._instances = self._read_instances(content)

    def __len__(self) -> int:
        return len(self._images)

    @property
    def problems(self) -> list[str]:
        """One sentence per photo or annotation that was left out."""
        return self._problems + self._store.problems()

    def summary(self, file: Path | None = None) -> str:
        """How many photos and instances there are, and the first problems; see
        :func:`diptych.data.problems.summary`."""
        instances = [i for found in self._instances.values() for i in found]
        crowds, boxed = sum(i.crowd for i in instances), sum(i.boxed for i in instances)
        found = below(self._folder, READS)
        unlisted = sum(str(path.relative_to(self._folder)) not in self._listed for path in found.files)
        untold = self._convention.untold
        counts = [
            f"{len(self):,} photos in {self._folder} with {len(instances) - crowds:,} instances",
            f"{len(self.classes)} classes",
            f"{crowds:,} crowds" if crowds else "",
            f"{boxed:,} of them boxes without a mask" if boxed else "",
            f"{unlisted:,} photos there are not in {self._labels.name}" if unlisted else "",
        ]
        more = [f"{sentence}." for sentence in left_out(found.others).pictures]
        if untold:
            more.append(
                f"Nothing tells whether the labels of {len(untold):,} photos that EXIF turns are upright: "
                f"{', '.join(untold[:SHOWN])}{' and others' if len(untold) > SHOWN else ''}. "
                "They were taken as they lie in their files."
            )
        return summary(", ".join(filter(None, counts)), [*more, *self.problems], file)

    def name(self, index: int) -> str:
        """File name of photo ``index``."""
        return self._images[index].file_name

    def photo(self, index: int) -> np.ndarray:
        """Photo ``index``: uint8 (height, width, 3), sRGB. Shared: do not write into it.

        Raises:
            PictureError: it turns out to be broken.
        """
        pixels = self._store.get(index)
        if pixels is None:
            raise PictureError(self._store.broken[index])
        return pixels

    def sample(self, index: int, random: np.random.Generator) -> Sample:
        """Photo ``index`` and its instances, crowds with the label ``IGNORE``; if the photo turns out to be
        broken, another one drawn by ``random``.

        Raises:
            RecipeError: no photo can be read.
        """
        index, photo = self._store.usable(index, random)
        return Sample(photo, *self.instances(index, crowds=True))

    def labels(self, index: int) -> list[int]:
        """Class labels of the photo's instances, crowds left out, without decoding masks."""
        return [i.label for i in self._instances[self.ids[index]] if not i.crowd]

    def instances(self, index: int, crowds: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Instances of photo ``index`` as arrays.

        Args:
            crowds: also return crowd regions, with the label ``IGNORE``.

        Returns:
            boxes float32 (n, 4) in pixels as x0, y0, x1, y1; labels int64 (n,) in 1..classes; masks uint8
            (n, height, width) of 0 and 1.
        """
        found = [i for i in self._instances[self.ids[index]] if crowds or not i.crowd]
        boxes = np.array([i.box for i in found], dtype=np.float32).reshape(-1, 4)
        labels = np.array([IGNORE if i.crowd else i.label for i in found], dtype=np.int64)
        masks = np.zeros((0, self._images[index].height, self._images[index].width), dtype=np.uint8)
        if found:
            masks = np.moveaxis(rle_masks.decode([i.rle for i in found]), 2, 0)
        return boxes, labels, masks

    def target(self, index: int) -> dict[str, Tensor]:
        """Training target of photo ``index`` at its own size: boxes float32 (n, 4), labels int64 (n,), masks
        uint8 (n, height, width); crowds left out."""
        boxes, labels, masks = self.instances(index)
        return {
            "boxes": torch.from_numpy(boxes),
            "labels": torch.from_numpy(labels),
            "masks": torch.from_numpy(np.ascontiguousarray(masks)),
        }

    def truth(self) -> COCO:
        """The labels of the kept photos for pycocotools, with crowds; category ids are the labels 1..n."""
        annotations: list[dict[str, Any]] = []
        for image_id in self.ids:
            for instance in self._instances[image_id]:
                x0, y0, x1, y1 = instance.box
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": instance.label,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": float(instance.area),
                        "iscrowd": int(instance.crowd),
                        "segmentation": instance.rle,
                    }
                )
        coco = COCO()
        coco.dataset = {
            "images": [entry.model_dump() for entry in self._images],
            "annotations": annotations,
            "categories": [{"id": k, "name": name} for k, name in enumerate(self.classes, start=1)],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        return coco

    def _load(self, chosen: list[ImageEntry], memory: int) -> None:
        """Check the chosen photos; what remains are ``_images`` and the store of their pixels."""
        upright = self._convention.upright
        files = [PhotoFile(i.file_name, self._folder / i.file_name, (i.width, i.height), upright) for i in chosen]
        decode = 3 * sum(entry.width * entry.height for entry in chosen) <= memory
        kept = []
        for k, found in enumerate(in_parallel(partial(_inspected, decode=decode), files, "reading photos")):
            if isinstance(found, PictureError):
                self._problems.append(f"Photo {files[k].name} was left out: {found}.")
            else:
                kept.append((k, found))
        self._images = [chosen[k] for k, _ in kept]
        self._store = PhotoStore([files[k] for k, _ in kept], memory)
        for index, (_, pixels) in enumerate(kept):
            if pixels is not None:
                self._store.keep(index, pixels)
        if all(self._store.get(index) is None for index in range(len(self))):
            why = f": {self.problems[0]}" if self.problems else "."
            raise RecipeError(f"{self._labels} names no photo that can be read from {self._folder}{why}")

    def _read_instances(self, content: LabelFile) -> dict[int, list[Instance]]:
        label_of = {category.id: label for label, category in enumerate(content.categories, start=1)}
        entries = {entry.id: entry for entry in self._images}
        instances: dict[int, list[Instance]] = defaultdict(list)
        by_id: dict[str, Any] = {}
        tried, before = 0, len(self._problems)
        for number, annotation in enumerate(content.annotations):
            fields = annotation if isinstance(annotation, dict) else {}
            image_id, name = fields.get("image_id"), str(fields.get("id", f"number {number}"))
            if isinstance(image_id, int) and image_id not in entries:
                continue
            tried += 1
            try:
                first = by_id.setdefault(name, annotation)
                if first is not annotation and first == annotation:
                    raise ValueError("it is there twice")
                checked = check_annotation(annotation)
                entry = entries[checked.image_id]
                instance = to_instance(checked, (entry.width, entry.height), label_of)
                instances[entry.id].append(instance)
                for why in bad_polygons(checked.segmentation, (entry.height, entry.width)):
                    self._problems.append(
                        f"A polygon of annotation {name} of {entry.file_name} was left out: {why}."
                    )
            except ValueError as error:
                place = f" of {entries[image_id].file_name}" if isinstance(image_id, int) else ""
                self._problems.append(f"Annotation {name}{place} was left out: {error}.")
        if tried and not instances:
            raise RecipeError(f"None of the annotations in {self._labels} can be used: {self._problems[before]}")
        return instances


def _inspected(file: PhotoFile, decode: bool) -> np.ndarray | PictureError | None:
    """The pixels of a photo if they are to be decoded, or what is wrong with it."""
    try:
        if decode:
            return read_pixels(file)
        found = stored_size(file.path)
        if file.size is not None and file.size not in (found, found[::-1]):
            raise PictureError(wrong_size(file.path, found, file.size))
    except PictureError as error:
        return error
    return None


def repeated(dataset: CocoDataset, threshold: float, seed: int = 0) -> np.ndarray:
    """Indices (int64) of an epoch in which photos of rare classes appear more than once.

    A photo is repeated ``sqrt(threshold / f)`` times, ``f`` being the share of photos that show its rarest
    class; the fractional part is rounded at random, fixed by ``seed``. ``threshold`` 0 repeats nothing.
    """
    shown = [set(dataset.labels(i)) for i in range(len(dataset))]
    counts = np.zeros(len(dataset.classes) + 1)
    for labels in shown:
        counts[list(labels)] += 1
    factors = np.sqrt(threshold * len(dataset) / np.maximum(counts, 1))
    wanted = np.array([max([1.0, *(float(factors[k]) for k in labels)]) for labels in shown])
    extra = np.random.default_rng(seed).random(len(dataset)) < wanted % 1
    return np.repeat(np.arange(len(dataset)), wanted.astype(np.int64) + extra)
