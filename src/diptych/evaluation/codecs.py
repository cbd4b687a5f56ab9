"""The codecs of a recipe, and everything that they and the anchors make of a photo, through real files.

::

    photo ──encode──> .dip ──> latents ─┬─g_s, or a view file's stages──> views and their blends ──┬─> filter
                                        └─another g_s: another codec's, or with other upsamplers ──┘
    photo ──anchor at its settings, or in the bytes of the .dip──> file ──> picture
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open

from diptych.codec import codec, defaults
from diptych.codec.engine.transforms import Transforms
from diptych.codec.weights import FrozenCodec, human_beside, load_codec, read_arrays, write_arrays
from diptych.errors import DiptychError, ModelError
from diptych.evaluation.anchors import ANCHORS, Anchor, at_bytes
from diptych.evaluation.recipe import Bilateral, CodecFile, Evaluation, Gaussian
from diptych.evaluation.results import ORIGINAL, Variant, View
from diptych.nn.transforms import Synthesis, channels_last
from diptych.nn.upsamplers import replace_upsamplers
from diptych.tasks import shipped_task
from diptych.tasks.latent_search import Search

DECODER_FORMAT = "diptych-decoder-1"


class Codec(Protocol):
    """What an evaluation needs of :class:`diptych.codec.codec.Codec`."""

    @property
    def model_id(self) -> bytes: ...

    def encode(self, image: Image.Image, quality: float) -> bytes: ...

    def decode_views(self, data: bytes, views: Sequence[View]) -> list[Image.Image]: ...


@dataclass(frozen=True)
class Shown:
    """A codec of the recipe.

    Attributes:
        codec: it.
        views: that are measured of its files.
        writer: name of the first codec that makes the same files, which it reads.
    """

    codec: Codec
    views: Sequence[View]
    writer: str


@dataclass(frozen=True)
class Decoded:
    """A photo after one variant.

    Attributes:
        variant: what made it.
        picture: its RGB picture.
        size: bytes of its file; 0 for the original.
        fits: False for a matched anchor whose smallest file is larger than the codec's.
    """

    variant: Variant
    picture: Image.Image
    size: int
    fits: bool = True


def decoded(
    photo: np.ndarray,
    codecs: Mapping[str, Shown],
    qualities: Sequence[float],
    anchors: Mapping[str, Sequence[int]],
    matched: Sequence[str],
    known: Mapping[str, Anchor] = ANCHORS,
) -> Iterator[Decoded]:
    """Code ``photo`` (uint8 ``(H, W, 3)``) in every way asked for; the original comes first.

    Args:
        codecs: by name.
        anchors: settings to run by anchor name.
        matched: anchors to run again at the size of each of the codecs' files.
        known: the anchors by name.
    """
    original = Image.fromarray(photo)
    yield Decoded(Variant(codec=ORIGINAL), original, 0)
    written: dict[str, dict[float, bytes]] = {}
    for name, shown in codecs.items():
        if shown.writer == name:
            written[name] = {quality: shown.codec.encode(original, quality=quality) for quality in qualities}
        for quality, data in written[shown.writer].items():
            for view, picture in zip(shown.views, shown.codec.decode_views(data, shown.views), strict=True):
                yield Decoded(Variant(codec=name, setting=quality, view=view), picture, len(data))
    for name in dict.fromkeys([*anchors, *matched]):
        anchor, made = known[name], dict[int, bytes]()
        for setting in anchors.get(name, ()):
            made[setting] = anchor.encode(original, setting)
            picture = anchor.decode(made[setting])
            yield Decoded(Variant(codec=name, setting=setting), picture, len(made[setting]))
        for writer, files in written.items() if name in matched else ():
            for quality, data in files.items():
                fitted = at_bytes(anchor, original, len(data), made)
                variant = Variant(codec=name, setting=quality, matched=writer)
                yield Decoded(variant, anchor.decode(fitted.data), len(fitted.data), fitted.fits)


def opened(recipe: Evaluation, given: Mapping[str, Codec] | None = None) -> dict[str, Shown]:
    """The recipe's codecs, each of which has coded a small picture.

    Args:
        given: codecs that stand in for the recipe's, by name.

    Raises:
        DiptychError: if a file cannot be used, or has no such view; the codec is named.
    """
    found: dict[str, Shown] = {}
    writers: dict[tuple[Path | None, int], str] = {}
    for name, described in recipe.codecs.items():
        writer = writers.setdefault((described.model, described.optimize), name)
        try:
            shown = Shown(
                given[name] if given else _opened(described, recipe.device), recipe.views_of(name), writer
            )
            shown.codec.decode_views(shown.codec.encode(Image.new("RGB", (64, 64)), quality=50), shown.views)
            found[name] = shown
        except DiptychError as error:
            raise type(error)(f"the codec '{name}': {error}") from None
    return found


def files_of(described: CodecFile) -> dict[str, Path]:
    """The files that a codec is made from, by role; those that are not there are left out."""
    model = described.model or defaults.CODEC
    files = {"model": model, "human": described.view or human_beside(model), "decoder": described.decoder}
    return {role: path for role, path in files.items() if path is not None and path.is_file()}


def _opened(described: CodecFile, device: str) -> Codec:
    made = codec.load(described.model, described.view, device)
    if described.decoder:
        made = _with_decoder(made, described.decoder)
    shown: Codec = Searched(made, described.optimize) if described.optimize else made
    return Filtered(shown, described.filter) if described.filter else shown


class Searched:
    """A codec that searches for better latents of each picture, for the package's task network."""

    def __init__(self, base: codec.Codec, steps: int) -> None:
        self._codec, self._refine = base, Search(base, shipped_task(), steps)
        self.model_id = base.model_id

    def encode(self, image: Image.Image, quality: float) -> bytes:
        return self._codec.encode(image, quality, refine=self._refine)

    def decode_views(self, data: bytes, views: Sequence[View]) -> list[Image.Image]:
        return self._codec.decode_views(data, views)


class Filtered:
    """A codec whose pictures go through a filter."""

    def __init__(self, base: Codec, settings: Gaussian | Bilateral) -> None:
        self._codec, self._settings = base, settings
        self.model_id = base.model_id

    def encode(self, image: Image.Image, quality: float) -> bytes:
        return self._codec.encode(image, quality)

    def decode_views(self, data: bytes, views: Sequence[View]) -> list[Image.Image]:
        return [_filtered(picture, self._settings) for picture in self._codec.decode_views(data, views)]


def _filtered(picture: Image.Image, settings: Gaussian | Bilateral) -> Image.Image:
    """``picture`` through a filter that reaches two sigmas far."""
    from kornia.filters import bilateral_blur, gaussian_blur2d

    side = 2 * math.ceil(2 * settings.sigma) + 1
    x = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    window, reach = (side, side), (settings.sigma, settings.sigma)
    if isinstance(settings, Gaussian):
        x = gaussian_blur2d(x, window, reach, border_type="replicate")
    else:
        x = bilateral_blur(x, window, settings.contrast / 255, reach, border_type="replicate")
    return Image.fromarray((x[0] * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


def _with_decoder(base: codec.Codec, path: Path) -> codec.Codec:
    """The codec with another ``g_s`` and without a human view."""
    if not _has_other_upsamplers(path):
        return codec.Codec(_with_foreign(path, base.frozen), {}, base.transforms.engine)
    made = base.with_view({})
    made.transforms = _Rebuilt(base, load_decoder(path, base.frozen))
    return made


class _Rebuilt(Transforms):
    """A codec's transforms with a ``g_s`` of another build, which runs in torch."""

    def __init__(self, base: codec.Codec, g_s: Synthesis) -> None:
        super().__init__(base.frozen, {}, base.transforms.engine)
        self._g_s = g_s

    @torch.inference_mode()
    def synthesis(self, values: NDArray[np.int32], quality: float, position: float) -> NDArray[np.uint8]:
        y_hat = torch.from_numpy(self.dequantized(values, quality)).contiguous(memory_format=torch.channels_last)
        x_hat = self._g_s(y_hat, torch.full((len(y_hat),), quality))
        pixels: NDArray[np.uint8] = (x_hat.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).byte().numpy()
        return pixels


def _has_other_upsamplers(path: Path) -> bool:
    try:
        with safe_open(path, framework="np") as file:
            return (file.metadata() or {}).get("format") == DECODER_FORMAT
    except (SafetensorError, OSError):
        return False  # what reads it as a codec says what is wrong


def save_decoder(g_s: Synthesis, upsampler: str, model_id: bytes, path: Path) -> None:
    """Write a whole ``g_s`` with other upsamplers, in float16."""
    header = {"format": DECODER_FORMAT, "model_id": model_id.hex(), "upsampler": upsampler}
    write_arrays(path, {name: tensor.cpu().half().numpy() for name, tensor in g_s.state_dict().items()}, header)


def load_decoder(path: Path, frozen: FrozenCodec) -> Synthesis:
    """Read what :func:`save_decoder` wrote for the codec ``frozen``.

    Raises:
        ModelError: if it was made for another codec, or is not complete.
    """
    arrays, metadata = read_arrays(path, DECODER_FORMAT)
    if metadata.get("model_id") != frozen.model_id.hex():
        raise ModelError(f"{path} is a decoder of codec {metadata.get('model_id')}, not {frozen.model_id.hex()}")
    g_s = Synthesis(frozen.widths)
    try:
        replace_upsamplers(g_s, metadata["upsampler"])
        g_s.load_state_dict({name: torch.from_numpy(array).float() for name, array in arrays.items()})
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{path} is not a complete decoder file: {str(error).splitlines()[0]}") from None
    return channels_last(g_s.eval().requires_grad_(False))


def _with_foreign(path: Path, frozen: FrozenCodec) -> FrozenCodec:
    """The codec with the ``g_s`` of another one."""
    other = load_codec(path)
    if other.widths.latent != frozen.widths.latent:
        raise ModelError(f"{path} decodes {other.widths.latent} latents, not {frozen.widths.latent}")
    g_s = {name: array for name, array in other.arrays.items() if name.startswith("g_s.")}
    return frozen._replace(arrays=frozen.arrays | g_s)
