"""What the worker processes do: functions of files, each with the process's own codec.

They can be pickled by name and return plain numbers and text; pictures go through files. Only they load an engine.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from diptych.bitstream import read_header
from diptych.bitstream.container import MAGIC
from diptych.codec.defaults import TASK
from diptych.codec.views import AUTO
from diptych.io.images import READS, Picture, picture_format, read_picture, stored_size
from diptych.serve.limits import TooLarge

if TYPE_CHECKING:
    from diptych.codec.codec import Codec

FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}
"""What pictures can be asked for in, with their media types."""
THUMBNAIL = 192
"""Longest side of a thumbnail, in pixels."""
SEEN = 1024
"""Longest side, in pixels, of what the task network sees; masks have this scale too."""

Facts = dict[str, Any]


class Setup(NamedTuple):
    """What a worker needs to know.

    Attributes:
        model: the codec's file, or None for the default one, which decodes files of others too.
        threads: that one worker may use.
        pixels: the largest picture it takes.
    """

    model: str | None
    threads: int
    pixels: int


def about(setup: Setup) -> Facts:
    """Load the codec and say which it is.

    Raises:
        ModelError: if that fails.
    """
    codec = _codec(setup)
    return {
        "model_id": codec.model_id.hex(),
        "human_view": codec.has_human_view,
        "task": TASK.is_file(),
    }


def publish(setup: Setup, folder: Path) -> Facts:
    """Write what the page needs to decode files of the codec itself, or of those in the package."""
    from diptych.page import in_package, write_codecs

    write_codecs([Path(setup.model)] if setup.model else in_package(), folder)
    return {}


def encode(setup: Setup, photo: Path, target: Path, quality: float) -> Facts:
    """Photo to ``.dip`` file."""
    codec = _codec(setup)
    image, notes = _photo(setup, photo)
    data = codec.encode(image, quality)
    target.write_bytes(data)
    return _facts(data) | {"notes": notes}


def decode(setup: Setup, dip: Path, target: Path, view: str, kind: str) -> Facts:
    """``.dip`` file to a picture in one of :data:`FORMATS`."""
    codec = _codec(setup)
    data = _dip(setup, dip)
    view = _chosen(view, data)
    _save(codec.decode(data, view), target, kind)
    return _facts(data) | {"view": view}


def original(setup: Setup, photo: Path, target: Path, kind: str) -> Facts:
    """A photo as the codec sees it, upright and in sRGB."""
    image, notes = _photo(setup, photo)
    _save(image, target, kind)
    return {"width": image.width, "height": image.height, "bytes": photo.stat().st_size, "notes": notes}


def thumbnail(setup: Setup, photo: Path, target: Path) -> Facts:
    """A small JPEG of a photo."""
    image = _photo(setup, photo).image
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image.save(target, "JPEG", quality=80)
    return {"width": image.width, "height": image.height}


def difference(setup: Setup, dip: Path, target: Path) -> Facts:
    """Heat map of where the two views of a ``.dip`` file differ."""
    from diptych.codec.view_difference import as_picture, difference_map, facts, in_words

    levels = difference_map(_codec(setup), _dip(setup, dip))
    _save(as_picture(levels), target, "png")
    return {**facts(levels), "summary": in_words(levels)}


def detect(setup: Setup, source: Path, view: str) -> Facts:
    """What the shipped task network finds in a photo, or in a view of a ``.dip`` file, with a score of 0.5 or more.

    Returns:
        ``width``, ``height``, and ``detections``: ``label``, ``hue`` (0..1, of its class), ``score``, ``box`` (x,
        y, width, height in pixels) and ``mask`` (uncompressed RLE as COCO has it; its size may be smaller).
    """
    from diptych.report.draw import found_in
    from diptych.tasks.detector import shipped_detector
    from diptych.tasks.view_hint import predicted

    codec, task = _codec(setup), shipped_detector()
    if _is_dip(source):
        data = _dip(setup, source)
        image = codec.decode(data, _chosen(view, data))
    else:
        image = _photo(setup, source).image
    width, height = image.size
    image.thumbnail((SEEN, SEEN), Image.Resampling.LANCZOS)
    scale = max(width, height) / max(image.size)
    raw = predicted(task, image)
    detections = []
    for one in found_in(raw, task.classes):
        left, top, right, bottom = (round(side * scale, 2) for side in one.box)
        detections.append(
            {
                "label": one.name,
                "hue": round(one.hue, 4),
                "score": round(one.score, 4),
                "box": [left, top, round(right - left, 2), round(bottom - top, 2)],
                "mask": _run_lengths(one.mask >= 0.5),
            }
        )
    return {"width": width, "height": height, "detections": detections}


def _chosen(view: str, data: bytes) -> str:
    """The view, where ``auto`` is what the file hints at, the human one without a hint."""
    if view != AUTO:
        return view
    hint = read_header(data).hint
    return "human" if hint is None else str(hint)


@cache
def _codec(setup: Setup) -> Codec:
    import diptych
    from diptych.codec.processes import limit_threads

    limit_threads(setup.threads)
    return diptych.load(setup.model)


@cache
def _only_photos() -> None:
    """Leave Pillow only the readers of photos: others, such as PostScript's, would start programs."""
    kinds = Image.registered_extensions()
    allowed = {kinds[suffix] for suffix in READS if suffix in kinds}
    Image.ID[:] = [name for name in Image.ID if name in allowed]


def _is_dip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _dip(setup: Setup, path: Path) -> bytes:
    """A ``.dip`` file whose picture is not too large, by its header."""
    with open(path, "rb") as file:
        header = read_header(file.read(64))
    _refuse_giant(setup, header.width, header.height)
    return path.read_bytes()


def _photo(setup: Setup, path: Path) -> Picture:
    """A photo that is not too large, by its header."""
    _only_photos()
    _refuse_giant(setup, *stored_size(path))
    return read_picture(path)


def _refuse_giant(setup: Setup, width: int, height: int) -> None:
    if width * height > setup.pixels:
        raise TooLarge(f"the picture has {width:,} x {height:,} pixels; this server takes {setup.pixels:,} at most")


def _facts(data: bytes) -> Facts:
    header = read_header(data)
    return {
        "width": header.width,
        "height": header.height,
        "bytes": len(data),
        "bpp": 8 * len(data) / (header.width * header.height),
        "quality": header.quality,
        "model_id": header.model_id.hex(),
        "view_hint": header.hint,
    }


def _save(image: Image.Image, target: Path, kind: str) -> None:
    format, options = picture_format(f"picture.{kind}")
    if kind == "png":
        options = {"compress_level": 1}  # three times as fast as the default, a few percent larger
    image.save(target, format, **options)


def _run_lengths(mask: np.ndarray) -> dict[str, list[int]]:
    """Uncompressed RLE of a mask ``(H, W)``: lengths of runs in column order, the first of zeros."""
    flat = mask.T.ravel()
    ends = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(ends, prepend=0, append=flat.size).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
