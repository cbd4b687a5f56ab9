"""A reader of text as a task network: lines that another network finds, read one by one.

::

    picture -> detector -> boxes of lines -> each at the height of the reader -> probabilities -> text
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diptych.errors import ModelError
from diptych.tasks.descriptions import ReaderDescription, located
from diptych.tasks.label_free import LabelFree
from diptych.tasks.onnx_graph import read_graph, session
from diptych.tasks.preprocessing import resized

_SMALLEST = 4
"""Sides, in pixels, below which a line is not read."""
_SAMPLE = (48, 192)


class ReaderTask(LabelFree):
    """A detector of lines of text, and a network that reads them (PP-OCR's, for example).

    Args:
        description: of both.

    Attributes:
        classes: of the detector.

    Raises:
        ModelError: a network cannot be used as described.
    """

    def __init__(self, description: ReaderDescription) -> None:
        super().__init__()
        from diptych.tasks import load_task

        self.detector = load_task(description.detector)
        self.classes: tuple[str, ...] = self.detector.classes
        graph = read_graph(located(description.network))
        self._reader, self._input = session(graph), graph.input
        self._height, self._bgr = graph.shape[2] or _SAMPLE[0], description.channels == "bgr"
        listed = self._reader.get_modelmeta().custom_metadata_map.get("character")
        if not listed:
            raise ModelError(f"The metadata of the network {graph.path} list no characters.")
        self._characters = ["", *listed.splitlines(), " "]
        found = self._probabilities(torch.zeros(3, *_SAMPLE)).shape[1]
        if found != len(self._characters):
            raise ModelError(
                f"The network {graph.path} tells {found} characters apart, but lists {len(self._characters)}."
            )

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Those of the detector, differentiable, and what the reader makes of each whole picture, which is not."""
        read = [torch.from_numpy(self._probabilities(image)) for image in images.detach()]
        return self.detector.features(images) | {"reader": torch.stack(read)}

    @torch.no_grad()
    def predict(self, images: Sequence[Tensor]) -> list[dict[str, Any]]:
        """What the detector finds in each picture (float (3, H, W) in [0, 1]), and what stands there: ``texts``."""
        return [self._read(image.cpu()) for image in images]

    def _read(self, image: Tensor) -> dict[str, Any]:
        (found,) = self.detector.predict([image])
        return found | {"texts": [self._line(image, box) for box in found["boxes"].round().int().tolist()]}

    def _line(self, image: Tensor, box: Sequence[int]) -> str:
        left, top, right, bottom = box
        line = image[:, max(0, top) : bottom, max(0, left) : right]
        if min(line.shape[1:]) < _SMALLEST:
            return ""
        best = self._probabilities(line).argmax(axis=1)
        changed = np.diff(best, prepend=-1) != 0  # a character that goes on is one character
        return "".join(self._characters[number] for number in best[changed])

    def _probabilities(self, line: Tensor) -> np.ndarray:
        """``(steps, characters)`` of a line (float (3, h, w) in [0, 1])."""
        width = max(8, round(line.shape[2] * self._height / line.shape[1]))
        x = 2 * resized(line[None].float(), (self._height, width), "antialias").clamp(0, 1) - 1
        x = x.flip(1) if self._bgr else x
        found: np.ndarray = self._reader.run(None, {self._input: np.ascontiguousarray(x.numpy())})[0][0]
        return found
