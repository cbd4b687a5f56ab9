"""The codec: pictures to ``.dip`` bytes and back, in two views.

::

    encode   picture ──g_a──> y ──h_a──> z ──> symbols of z, then of y ──range coder──> payload ──> .dip
    decode   .dip ──> payload ──> z ──h_s, context (integers)──> means, tables ──> y_hat ──g_s of a view──> picture

Transforms run over windows of the picture, entropy coding over tiles: see :mod:`diptych.codec.tiling`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diptych.bitstream import ONE_TILE_PIXELS, Container, Header, pack, padded_area, read_header, unpack
from diptych.codec import defaults, registry, tiling
from diptych.codec.engine import Engine, engine_for
from diptych.codec.engine.complexity import complexity
from diptych.codec.engine.transforms import Transforms
from diptych.codec.focus import focused
from diptych.codec.tiling import Area
from diptych.codec.views import dial
from diptych.codec.weights import FrozenCodec, human_beside, load_codec, load_view
from diptych.errors import BitstreamError, DiptychError
from diptych.io.images import to_rgb

if TYPE_CHECKING:
    from torch import Tensor

    from diptych.io.boxes import Box

TILE = 1024
"""Side, in pixels, of the tiles of pictures too large for one."""

Picture: TypeAlias = "Image.Image | NDArray[np.uint8] | Tensor"
"""A PIL image, ``(H, W, 3)`` or ``(H, W)`` pixels, or a ``(3, H, W)`` float tensor in 0..1."""

Refine = Callable[[NDArray[np.float32], NDArray[np.uint8], Header], NDArray[np.float32]]
"""From scaled latents ``(M, h, w)`` of a picture, its pixels ``(H, W, 3)`` and its header to other latents;
the given ones may be overwritten."""


class Latents(NamedTuple):
    """Quantized latents of a picture.

    Attributes:
        values: ``(M, h, w)`` int32 in units of ``1 / ONE`` quantization steps: ``y_hat`` before its gain is
            undone, the same on every machine.
        header: of the file they came from.
        wanted: the pixels to be decoded; latents far from them may be missing (zero).
    """

    values: NDArray[np.int32]
    header: Header
    wanted: Area


class Codec:
    """A trained codec with its views; made by :func:`load`.

    Args:
        frozen: weights, integers and tables.
        human: tuned layers of ``g_s``, as :func:`diptych.codec.weights.load_view` reads them; none without a
            human view.
        engine: runs the transforms; None for the CPU's.
        alone: whether it refuses files of other codecs. The default one does not: it has them decoded by the
            codec that they name, found by :mod:`diptych.codec.registry`.

    Attributes:
        model_id: four bytes that name the entropy path; files carry it.
    """

    def __init__(
        self,
        frozen: FrozenCodec,
        human: Mapping[str, NDArray[Any]] | None = None,
        engine: Engine | None = None,
        alone: bool = True,
    ) -> None:
        self.frozen = frozen
        self.transforms = Transforms(frozen, human or {}, engine or engine_for("cpu"))
        self.model_id = frozen.model_id
        self.alone = alone

    def __reduce__(self) -> tuple[Any, ...]:
        """What a codec is made of anew in another process, by the CPU's engine there."""
        return Codec, (self.frozen, self.transforms.human, None, self.alone)

    @property
    def has_human_view(self) -> bool:
        """Whether there is any view but the machine view."""
        return bool(self.transforms.human)

    def with_view(self, human: Mapping[str, NDArray[Any]]) -> Codec:
        """The same codec with another human view."""
        return Codec(self.frozen, human, self.transforms.engine)

    def encode(
        self,
        image: Picture,
        quality: float = defaults.QUALITY,
        verify: bool = False,
        refine: Refine | None = None,
        focus: Sequence[Box] = (),
    ) -> bytes:
        """Code a picture.

        Args:
            image: PIL image, ``(H, W, 3)`` or ``(H, W)`` uint8 array, or ``(3, H, W)`` float tensor in 0..1.
            quality: 0 (smallest file) to 100, kept to 1/100.
            verify: decode the file again and compare its latents with those that were meant.
            refine: finds better latents before they are quantized, such as a
                :class:`diptych.tasks.latent_search.Search`.
            focus: boxes of x, y, width, height in pixels, outside of which little is to be spent; none for an even
                picture. See :mod:`diptych.codec.focus`.

        Returns:
            The bytes of a ``.dip`` file.

        Raises:
            DiptychError: for a quality out of range, what is no picture, or a file that does not verify.
        """
        pixels = as_pixels(image)
        header = self._header(pixels, quality)
        if len(focus):
            pixels = focused(pixels, focus, header.quality)
        (y,) = self._analyze([pixels], [header])
        if refine:
            y = refine(y, pixels, header)
        return self._code(y, header, verify)

    def encode_many(self, images: Sequence[Picture], quality: float = defaults.QUALITY) -> list[bytes]:
        """Code pictures, as :meth:`encode` does each: those of one size go through the transforms together where
        the engine gains from it, as on a GPU, and entropy coding runs in threads beside them.

        Args:
            images: of any sizes; all are in memory at once, with their latents.
            quality: of all.

        Raises:
            DiptychError: as :meth:`encode`.
        """
        pictures = [as_pixels(image) for image in images]
        headers = [self._header(pixels, quality) for pixels in pictures]
        with ThreadPoolExecutor() as pool:
            coded: dict[int, Future[bytes]] = {}
            for group in self._groups(headers):
                found = self._analyze([pictures[k] for k in group], [headers[k] for k in group])
                coded |= {k: pool.submit(self._code, y, headers[k]) for k, y in zip(group, found, strict=True)}
            return [coded[k].result() for k in range(len(pictures))]

    def decode(
        self, data: bytes, view: str | float = defaults.VIEW, region: tuple[int, int, int, int] | None = None
    ) -> Image.Image:
        """Decode one view of a file.

        Args:
            data: the bytes of a ``.dip`` file.
            view: ``machine``, ``human``, or a position from 0 (machine) to 1 (human).
            region: x, y, width, height in pixels: decode only this part. Tiles that do not touch it are not
                decoded.

        Raises:
            BitstreamError: if the file is damaged, foreign, too new, or of a codec that is not here.
            DiptychError: if the view or the region is impossible.
        """
        return self.decode_views(data, [view], region)[0]

    def decode_views(
        self,
        data: bytes,
        views: Sequence[str | float],
        region: tuple[int, int, int, int] | None = None,
    ) -> list[Image.Image]:
        """Decode several views of a file; its entropy-coded part is read once."""
        positions = [dial(view) for view in views]
        codec = self.for_file(data)
        latents = codec.latents(data, region)
        return [Image.fromarray(codec._synthesize([latents], position)[0]) for position in positions]

    def decode_many(self, files: Sequence[bytes], view: str | float = defaults.VIEW) -> list[Image.Image]:
        """Decode one view of each file, as :meth:`decode` does: entropy decoding runs in threads, and files of one
        size and quality go through the transforms together where the engine gains from it."""
        position = dial(view)
        codecs = [self.for_file(data) for data in files]
        with ThreadPoolExecutor() as pool:
            read = list(pool.map(lambda codec, data: codec.latents(data), codecs, files))
        pictures: dict[int, Image.Image] = {}
        for group in self._groups([latents.header for latents in read]):
            shown = codecs[group[0]]._synthesize([read[k] for k in group], position)
            pictures |= {k: Image.fromarray(pixels) for k, pixels in zip(group, shown, strict=True)}
        return [pictures[k] for k in range(len(files))]

    def synthesize(self, latents: Latents, view: str | float = defaults.VIEW) -> Image.Image:
        """One view of :meth:`latents`; several codecs of one model id can share these."""
        (pixels,) = self._with_id(latents.header.model_id)._synthesize([latents], dial(view))
        return Image.fromarray(pixels)

    def for_file(self, data: bytes) -> Codec:
        """The codec that decodes a file: this one, or the one that the file names (see :attr:`alone`).

        Raises:
            BitstreamError: if this is no ``.dip`` file, or its codec is not here.
            ModelError: if that codec cannot be loaded.
        """
        return self._with_id(read_header(data).model_id)

    def latents(self, data: bytes, region: tuple[int, int, int, int] | None = None) -> Latents:
        """The quantized latents of a file, exact on every machine.

        Args:
            data: the bytes of a ``.dip`` file.
            region: read only the tiles that this part of the picture needs; latents of others are zero.

        Raises:
            BitstreamError: as :meth:`decode`.
        """
        container = unpack(data)
        header = container.header
        if header.model_id != self.model_id:
            return self._with_id(header.model_id).latents(data, region)
        plane = tiling.plane(header)
        wanted = tiling.region_of(region, header) if region else tiling.whole_picture(header)
        needed = tiling.latents_of(wanted).grown(tiling.MARGIN, plane)
        values = np.zeros((self.frozen.widths.latent, *plane.size), np.int32)
        for area, payload in zip(tiling.tiles(header), container.payloads, strict=True):
            if area.meets(needed):
                values[:, *area] = self.frozen.entropy.decode(payload, area.size, header.quality)
        return Latents(values, header, wanted)

    def complexity(self) -> dict[str, float]:
        """Parameters of each network and thousands of multiply-accumulates per pixel."""
        return complexity(self.frozen)

    def _with_id(self, model_id: bytes) -> Codec:
        if model_id == self.model_id:
            return self
        if self.alone:
            raise BitstreamError(
                f"The file was written with codec {model_id.hex()}, this is codec {self.model_id.hex()}: name no "
                "codec, and the right one is looked for."
            )
        known = registry.find(model_id)
        if known is None:
            raise BitstreamError(
                f"The file was written with codec {model_id.hex()}, which is not here: put its .safetensors file "
                f"into {registry.folder()} ('diptych codecs' lists those that are here)."
            )
        return _opened(known, self.transforms.engine)

    def _verify(self, data: bytes, meant: Sequence[bytes]) -> None:
        container = unpack(data)
        tiles = zip(tiling.tiles(container.header), container.payloads, meant, strict=True)
        for area, payload, digest in tiles:
            values = self.frozen.entropy.decode(payload, area.size, container.header.quality)
            if _digest(values) != digest:
                raise DiptychError("the file does not decode to what was encoded; it was not kept")

    def _header(self, pixels: NDArray[np.uint8], quality: float) -> Header:
        if not 0 <= quality <= 100:
            raise DiptychError(f"the quality {quality:g} is outside 0 to 100")
        height, width = pixels.shape[:2]
        tile = 0 if padded_area(width, height) <= ONE_TILE_PIXELS else TILE
        return Header(width, height, round(quality * 100) / 100, self.model_id, tile)

    def _groups(self, headers: Sequence[Header]) -> Iterator[Sequence[int]]:
        """Numbers of pictures that equal headers allow to be transformed together, as many as the engine wants."""
        alike: dict[Header, list[int]] = {}
        for number, header in enumerate(headers):
            alike.setdefault(header, []).append(number)
        count = self.transforms.engine.batch
        for numbers in alike.values():
            yield from (numbers[start : start + count] for start in range(0, len(numbers), count))

    def _analyze(
        self, pictures: Sequence[NDArray[np.uint8]], headers: Sequence[Header]
    ) -> list[NDArray[np.float32]]:
        """Scaled latents ``(M, h, w)`` of whole pictures with equal headers, window by window."""
        plane = tiling.plane(headers[0])
        y = np.empty((len(pictures), self.frozen.widths.latent, *plane.size), np.float32)
        for inner, outer in tiling.windows(plane, plane):
            parts = np.stack([patch(pixels, outer.in_pixels()) for pixels in pictures])
            y[:, :, *inner] = self.transforms.analysis(parts, headers[0].quality)[:, :, *inner.inside(outer)]
        return list(y)

    def _code(self, y: NDArray[np.float32], header: Header, verify: bool = False) -> bytes:
        """The file of scaled latents."""
        payloads, meant = [], []
        for area in tiling.tiles(header):
            part = y[:, *area]
            payload, values = self.frozen.entropy.encode(part, self.transforms.hyper_analysis(part), header.quality)
            payloads.append(payload)
            if verify:
                meant.append(_digest(values))
        data = pack(Container(header, payloads))
        if verify:
            self._verify(data, meant)
        return data

    def _synthesize(self, latents: Sequence[Latents], position: float) -> list[NDArray[np.uint8]]:
        """Pixels ``(H, W, 3)`` of the wanted parts, which are alike, in one view, window by window."""
        _, header, wanted = latents[0]
        plane, needed = tiling.plane(header), tiling.latents_of(wanted)
        covered = needed.in_pixels()
        pixels = np.empty((len(latents), *covered.size, 3), np.uint8)
        for inner, outer in tiling.windows(needed, plane):
            values = np.stack([each.values[:, *outer] for each in latents])
            parts = self.transforms.synthesis(values, header.quality, position)
            pixels[:, *inner.in_pixels().inside(covered)] = parts[:, *inner.inside(outer).in_pixels()]
        return list(pixels[:, *wanted.inside(covered)])


def load(model: str | Path | None = None, view: str | Path | None = None, device: str = "cpu") -> Codec:
    """Load a codec.

    The default one encodes, and decodes files of every codec that is here (see :mod:`diptych.codec.registry`).
    One that is chosen by ``model`` or ``view`` decodes its own files alone.

    Args:
        model: a codec file; None for the default one, which ships with the package.
        view: a view file with the human view; None for the shipped one, or for ``<model>.human.safetensors``
            beside a codec file of one's own, if there is one.
        device: ``cpu``, or ``cuda`` for transforms on a GPU by PyTorch. Files and their latents are the same.

    Raises:
        ModelError: if a file is missing, damaged, or does not belong to the other.
        DiptychError: if the device cannot be used.
    """
    path = Path(model) if model else defaults.CODEC
    beside = human_beside(path)
    human = Path(view) if view is not None else beside if beside.is_file() else None
    return _open(path, human, engine_for(device), alone=bool(model) or view is not None)


@lru_cache(maxsize=8)
def _opened(known: registry.Known, engine: Engine) -> Codec:
    """A codec that was found, kept for the next of its files."""
    return _open(known.path, known.human, engine, alone=True)


def _open(path: Path, human: Path | None, engine: Engine, alone: bool) -> Codec:
    frozen = load_codec(path)
    return Codec(frozen, load_view(human, frozen) if human else {}, engine, alone)


def as_pixels(image: Picture) -> NDArray[np.uint8]:
    """``(H, W, 3)`` uint8 pixels of a PIL image, uint8 array or float tensor (see :meth:`Codec.encode`).

    Raises:
        DiptychError: if ``image`` is none of these, or empty.
    """
    if isinstance(image, Image.Image):
        return _pixels_of(to_rgb(image)[0])
    if _is_tensor(image) and image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point():
        levels = image.detach().cpu().float().numpy() * np.float32(255)
        if not np.isfinite(levels).all():
            raise DiptychError("the picture has values that are no numbers, or infinite")
        image = np.rint(levels).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        if image.ndim == 3 and image.shape[2] == 3:
            return image
    raise DiptychError("a picture is a PIL image, an (H, W, 3) uint8 array or a (3, H, W) float tensor")


def _pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels of an RGB picture, copied strip by strip: Pillow's own conversion takes twice their memory."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, 256):
        strip = image.crop((0, top, image.width, min(top + 256, image.height)))
        pixels[top : top + 256] = np.asarray(strip)
    return pixels


def _digest(values: NDArray[np.int32]) -> bytes:
    return hashlib.sha256(values.tobytes()).digest()


def _is_tensor(image: object) -> TypeGuard[Tensor]:
    """Whether this is a torch tensor, without importing torch: where there is one, somebody did."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def patch(pixels: NDArray[np.uint8], area: Area) -> NDArray[np.uint8]:
    """The area's pixels ``(H, W, 3)``, the picture's border repeated up to whole latents."""
    part = pixels[area.rows, area.columns]
    height, width = area.size
    return np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)), mode="edge")
