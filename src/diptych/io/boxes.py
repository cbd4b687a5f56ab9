"""Files that tell where in photos the objects are: boxes of x, y, width, height in pixels of the upright photo.

=====================================================  ==================================================
``[[40, 30, 120, 80], ...]``                            boxes that hold for every photo, as of a fixed camera
``{"a.jpg": [[40, 30, 120, 80]], "b/c.jpg": [], ...}``  boxes by photo
labels in COCO format                                   the same; their sizes are checked
=====================================================  ==================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, FiniteFloat, PositiveFloat, PositiveInt, StrictInt, TypeAdapter, ValidationError

from diptych.errors import DiptychError
from diptych.io.files import read_bytes
from diptych.io.places import Name

Box = tuple[FiniteFloat, FiniteFloat, PositiveFloat, PositiveFloat]
"""x, y, width, height in pixels."""
Size = tuple[int, int]
Kind = TypeVar("Kind")


class _Photo(BaseModel):
    id: StrictInt
    file_name: str
    width: PositiveInt
    height: PositiveInt


class _Instance(BaseModel):
    image_id: StrictInt
    bbox: Box


class _Labels(BaseModel):
    images: list[_Photo]
    annotations: list[_Instance]


class BoxFile(NamedTuple):
    """What a file tells.

    Attributes:
        path: the file.
        everywhere: boxes that hold for every photo; none where the file names photos.
        named: boxes by name of the photo.
        sizes: width and height by name of the photo, as far as they are told.
    """

    path: Name
    everywhere: Sequence[Box]
    named: Mapping[str, Sequence[Box]]
    sizes: Mapping[str, Size]

    def of(self, photo: Name, size: Size) -> Sequence[Box]:
        """The boxes of a photo of this width and height; none if the file tells of none.

        A name in the file stands for every photo whose path ends in it; the longest one counts.

        Raises:
            DiptychError: if they cannot be those of this photo.
        """
        ends = ("/".join(photo.parts[start:]) for start in range(len(photo.parts)))
        name = next((end for end in ends if end in self.named), None)
        if name is None:
            boxes = self.everywhere
        else:
            boxes, told = self.named[name], self.sizes.get(name, size)
            if told != size:
                here = f"upright, this one has {size[0]} x {size[1]}"
                raise DiptychError(f"{self.path} tells of a photo of {told[0]} x {told[1]} pixels; {here}")
        for x, y, width, height in boxes:
            if x >= size[0] or y >= size[1] or x + width <= 0 or y + height <= 0:
                raise DiptychError(
                    f"the box {x:g}, {y:g}, {width:g}, {height:g} of {self.path} is outside the photo of "
                    f"{size[0]} x {size[1]}: a box is x, y, width, height in pixels"
                )
        return boxes


def read_boxes(path: Name) -> BoxFile:
    """Read a file of boxes.

    Raises:
        DiptychError: if it cannot be read, or is none.
    """
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError):
        raise DiptychError(f"{path} holds no boxes: it is not JSON") from None
    if isinstance(content, list):
        return BoxFile(path, _checked(path, list[Box], content), {}, {})
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        return BoxFile(path, [], _checked(path, dict[str, list[Box]], content), {})
    labels = _checked(path, _Labels, content)
    names = {photo.id: photo.file_name for photo in labels.images}
    named: dict[str, list[Box]] = {photo.file_name: [] for photo in labels.images}
    for instance in labels.annotations:
        if instance.image_id not in names:
            raise DiptychError(f"{path} has a box in the photo {instance.image_id}, which it does not list")
        named[names[instance.image_id]].append(instance.bbox)
    return BoxFile(path, [], named, {photo.file_name: (photo.width, photo.height) for photo in labels.images})


def _checked(path: Name, kind: type[Kind], content: Any) -> Kind:
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DiptychError(
            f"{path} holds no boxes: at '{where}', {first['msg'][:1].lower()}{first['msg'][1:]}"
        ) from None
