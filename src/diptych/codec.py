"""The codec: pictures to ``.dip`` bytes and back, in two views.

::

    encode   picture ──g_a──> y ──h_a──> z ──> symbols of z, then of y ──range coder──> payload ──> .dip
    decode   .dip ──> payload ──> z ──h_s, context (integers)──> means, tables ──> y_hat ──g_s of a view──> picture

Transforms run over windows of the picture, entropy coding over tiles: see :mod:`diptych.geometry`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diptych import codecs, geometry
from diptych.bitstream import (
    ONE_TILE_PIXELS,
    SYMBOL_LIMIT,
    Container,
    Decoder,
    Header,
    encode,
    pack,
    padded_area,
    read_header,
    unpack,
)
from diptych.errors import BitstreamError, DiptychError
from diptych.geometry import Area
from diptych.images import to_rgb
from diptych.models import FrozenCodec, load_codec, load_view
from diptych.nn.context import spread
from diptych.nn.hyperprior import HYPER_STRIDE
from diptych.nn.integer import ONE
from diptych.nn.precision import infer, unaffected
from diptych.nn.transforms import channels_last
from diptych.views import Views, dial

TILE = 1024
"""Side, in pixels, of the tiles of pictures too large for one."""

Picture = Image.Image | NDArray[np.uint8] | Tensor
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

    Attributes:
        model_id: four bytes that name the entropy path; files carry it.
        frozen: networks, integers and tables.
        alone: whether it refuses files of other codecs. The default one does not: it has them decoded by the
            codec that they name, found by :mod:`diptych.codecs`.
    """

    def __init__(self, frozen: FrozenCodec, views: Views, alone: bool = True) -> None:
        self.frozen = frozen
        self.views = views
        self.model_id = frozen.model_id
        self.alone = alone

    @unaffected()
    def encode(
        self, image: Picture, quality: float = 40, verify: bool = False, refine: Refine | None = None
    ) -> bytes:
        """Code a picture.

        Args:
            image: PIL image, ``(H, W, 3)`` or ``(H, W)`` uint8 array, or ``(3, H, W)`` float tensor in 0..1.
            quality: 0 (smallest file) to 100, kept to 1/100.
            verify: decode the file again and compare its latents with those that were meant.
            refine: finds better latents before they are quantized, such as a :class:`diptych.search.Search`.

        Returns:
            The bytes of a ``.dip`` file.

        Raises:
            DiptychError: if the quality is out of range, ``image`` is not a picture, or the file does not
                verify.
        """
        if not 0 <= quality <= 100:
            raise DiptychError(f"the quality {quality:g} is outside 0 to 100")
        pixels = as_pixels(image)
        height, width = pixels.shape[:2]
        tile = 0 if padded_area(width, height) <= ONE_TILE_PIXELS else TILE
        header = Header(width, height, round(quality * 100) / 100, self.model_id, tile)
        y = self._analyze(pixels, header)
        if refine:
            y = refine(y, pixels, header)
        payloads, meant = [], []
        for area in geometry.tiles(header):
            payload, values = self._encode_tile(y[:, *area], header)
            payloads.append(payload)
            if verify:
                meant.append(_digest(values))
        data = pack(Container(header, payloads))
        if verify:
            self._verify(data, meant)
        return data

    def decode(
        self, data: bytes, view: str | float = "machine", region: tuple[int, int, int, int] | None = None
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

    @unaffected()
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
        return [Image.fromarray(codec._synthesize(latents, position)) for position in positions]

    @unaffected()
    def synthesize(self, latents: Latents, view: str | float = "machine") -> Image.Image:
        """One view of :meth:`latents`; several codecs of one model id can share these."""
        return Image.fromarray(self._with_id(latents.header.model_id)._synthesize(latents, dial(view)))

    def for_file(self, data: bytes) -> Codec:
        """The codec that decodes a file: this one, or the one that the file names (see :attr:`alone`).

        Raises:
            BitstreamError: if this is no ``.dip`` file, or its codec is not here.
            ModelError: if that codec cannot be loaded.
        """
        return self._with_id(read_header(data).model_id)

    @unaffected()
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
        plane = geometry.plane(header)
        wanted = geometry.region_of(region, header) if region else geometry.whole_picture(header)
        needed = geometry.latents_of(wanted).grown(geometry.MARGIN, plane)
        values = np.zeros((self.frozen.model.widths.latent, *plane.size), np.int32)
        for area, payload in zip(geometry.tiles(header), container.payloads, strict=True):
            if area.meets(needed):
                values[:, *area] = self._decode_tile(payload, header, area)
        return Latents(values, header, wanted)

    def complexity(self) -> dict[str, float]:
        """Parameters of each network and thousands of multiply-accumulates per pixel."""
        from diptych.nn.complexity import complexity

        return complexity(self.frozen.model)

    def _with_id(self, model_id: bytes) -> Codec:
        if model_id == self.model_id:
            return self
        if self.alone:
            raise BitstreamError(
                f"The file was written with codec {model_id.hex()}, this is codec {self.model_id.hex()}: name no "
                "codec, and the right one is looked for."
            )
        known = codecs.find(model_id)
        if known is None:
            raise BitstreamError(
                f"The file was written with codec {model_id.hex()}, which is not here: put its .safetensors file "
                f"into {codecs.folder()} ('diptych codecs' lists those that are here)."
            )
        return _opened(known)

    def _verify(self, data: bytes, meant: Sequence[bytes]) -> None:
        container = unpack(data)
        tiles = zip(geometry.tiles(container.header), container.payloads, meant, strict=True)
        for area, payload, digest in tiles:
            if _digest(self._decode_tile(payload, container.header, area)) != digest:
                raise DiptychError("the file does not decode to what was encoded; it was not kept")

    @torch.inference_mode()
    def _analyze(self, pixels: NDArray[np.uint8], header: Header) -> NDArray[np.float32]:
        """Scaled latents ``(M, h, w)`` of the whole picture, window by window."""
        model, quality = self.frozen.model, _quality(header)
        gain = model.gains.gain(quality)
        plane = geometry.plane(header)
        y = np.empty((model.widths.latent, *plane.size), np.float32)
        for inner, outer in geometry.windows(plane, plane):
            part = infer(model.g_a, patch(pixels, outer.in_pixels()), quality) * gain
            y[:, *inner] = part[0, :, *inner.inside(outer)].numpy()
        return y

    @torch.inference_mode()
    def _encode_tile(self, y: NDArray[np.float32], header: Header) -> tuple[bytes, NDArray[np.int32]]:
        """Payload of a tile, and the latents ``(M, h, w)`` that a decoder will read from it."""
        height, width = y.shape[1:]
        low, right = -height % HYPER_STRIDE, -width % HYPER_STRIDE
        padded = torch.nn.functional.pad(torch.from_numpy(y)[None], (0, right, 0, low), mode="replicate")
        z_mean, z_tables = self._prior(header, height, width)
        z = _symbols(self.frozen.model.h_a(padded)[0].double() - z_mean / ONE)
        chunks = [(_flat(z, torch.int32), z_tables)]
        exact = torch.from_numpy(y).double().flatten()

        def code(now: Tensor, mean: Tensor, tables: NDArray[np.uint8]) -> Tensor:
            symbols = _symbols(exact.index_select(0, now) - mean / ONE)
            chunks.append((_flat(symbols, torch.int32), tables))
            return symbols

        values = self._pass_by_pass(z * ONE + z_mean, (height, width), code)
        return encode(chunks, self.frozen.tables), values

    @torch.inference_mode()
    def _decode_tile(self, payload: bytes, header: Header, area: Area) -> NDArray[np.int32]:
        height, width = area.size
        z_mean, z_tables = self._prior(header, height, width)
        decoder = Decoder(payload, self.frozen.tables)
        shape = (len(z_mean), math.ceil(height / HYPER_STRIDE), math.ceil(width / HYPER_STRIDE))
        z = torch.from_numpy(decoder.read(z_tables)).view(shape).double()

        def read(now: Tensor, mean: Tensor, tables: NDArray[np.uint8]) -> Tensor:
            return torch.from_numpy(decoder.read(tables)).double()

        values = self._pass_by_pass(z * ONE + z_mean, (height, width), read)
        decoder.close()
        return values

    def _pass_by_pass(
        self, z: Tensor, size: tuple[int, int], symbols_of: Callable[[Tensor, Tensor, NDArray[np.uint8]], Tensor]
    ) -> NDArray[np.int32]:
        """Latents ``(M, h, w)`` of a tile in 1/ONE: the one order in which an encoder and a decoder see them.

        Args:
            z: hyper-latents ``(Nz, ...)`` in 1/ONE.
            size: h and w.
            symbols_of: gets a pass's mask ``(M, h, w)``, and the means and tables of its latents, flat; returns
                their symbols.
        """
        hyper, (height, width) = self.frozen.hyperprior, size
        features, prediction = (part[:, :height, :width] for part in hyper.start(z))
        which = spread(hyper.passes, height, width)
        known = torch.zeros(which.shape, dtype=torch.float64)
        for number in range(1 + len(hyper.context)):
            mean, tables = hyper.distributions(number, known, features, prediction)
            now = (which == number).flatten().nonzero().squeeze(1)
            mean = mean.flatten().index_select(0, now)
            tables = tables.flatten().index_select(0, now)
            known.view(-1).index_copy_(0, now, symbols_of(now, mean, tables.numpy()) * ONE + mean)
        return known.to(torch.int32).numpy()

    def _prior(self, header: Header, height: int, width: int) -> tuple[Tensor, NDArray[np.uint8]]:
        """Means ``(Nz, 1, 1)`` of a tile's hyper-latents in 1/ONE, and the table of each, flat."""
        hyper = self.frozen.hyperprior
        knot = (round(header.quality * 100) + 500) // 1000
        count = math.ceil(height / HYPER_STRIDE) * math.ceil(width / HYPER_STRIDE)
        return hyper.prior_mean[knot].double()[:, None, None], hyper.prior_index[knot].numpy().repeat(count)

    @torch.inference_mode()
    def _synthesize(self, latents: Latents, position: float) -> NDArray[np.uint8]:
        """Pixels ``(H, W, 3)`` of the wanted part in one view, window by window."""
        values, header, wanted = latents
        quality, plane = _quality(header), geometry.plane(header)
        inverse = self.frozen.model.gains.inverse(quality) / ONE
        needed = geometry.latents_of(wanted)
        covered = needed.in_pixels()
        pixels = np.empty((*covered.size, 3), np.uint8)
        for inner, outer in geometry.windows(needed, plane):
            y_hat = torch.from_numpy(values[None, :, *outer]).float() * inverse
            y_hat = y_hat.contiguous(memory_format=torch.channels_last)
            x_hat = self.views.synthesize(y_hat, quality, position)[0]
            x_hat = x_hat[:, *inner.inside(outer).in_pixels()].permute(1, 2, 0)
            pixels[*inner.in_pixels().inside(covered)] = (x_hat * 255).round_().clamp_(0, 255).byte().numpy()
        return pixels[*wanted.inside(covered)]


@unaffected()
def load(model: str | Path | None = None, view: str | Path | None = None) -> Codec:
    """Load a codec.

    The default one encodes, and decodes files of every codec that is here (see :mod:`diptych.codecs`). One that is
    chosen by ``model`` or ``view`` decodes its own files alone.

    Args:
        model: a codec file; None for the default one, which ships with the package.
        view: a view file with the human view; None for the shipped one, or for ``<model>.human.safetensors``
            beside a codec file of one's own, if there is one.

    Raises:
        ModelError: if a file is missing, damaged, or does not belong to the other.
    """
    path = Path(model) if model else codecs.DEFAULT
    beside = codecs.human_beside(path)
    human = Path(view) if view is not None else beside if beside.is_file() else None
    return _open(path, human, alone=bool(model) or view is not None)


@lru_cache(maxsize=8)
def _opened(known: codecs.Known) -> Codec:
    """A codec that was found, kept for the next of its files."""
    return _open(known.path, known.human, alone=True)


def _open(path: Path, human: Path | None, alone: bool) -> Codec:
    frozen = load_codec(path)
    layers = load_view(human, frozen) if human else {}
    channels_last(frozen.model)
    return Codec(frozen, Views(frozen.model.g_s, layers), alone)


def as_pixels(image: Picture) -> NDArray[np.uint8]:
    """``(H, W, 3)`` uint8 pixels of a PIL image, uint8 array or float tensor (see :meth:`Codec.encode`).

    Raises:
        DiptychError: if ``image`` is none of these, or empty.
    """
    if isinstance(image, Image.Image):
        return _pixels_of(to_rgb(image)[0])
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point():
        image = image.detach().cpu().float()
        if not image.isfinite().all():
            raise DiptychError("the picture has values that are no numbers, or infinite")
        image = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
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


def _quality(header: Header) -> Tensor:
    return torch.tensor([header.quality], dtype=torch.float32)


def patch(pixels: NDArray[np.uint8], area: Area) -> Tensor:
    """The area's pixels as ``(1, 3, H, W)`` in 0..1, the picture's border repeated up to whole latents."""
    part = pixels[area.rows, area.columns]
    height, width = area.size
    part = np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)), mode="edge")
    x = torch.from_numpy(part).permute(2, 0, 1)[None].float() / 255
    return x.contiguous(memory_format=torch.channels_last)


def _symbols(residual: Tensor) -> Tensor:
    return torch.round(residual).clamp(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1)


def _flat(values: Tensor, kind: torch.dtype) -> NDArray[Any]:
    return values.to(kind).numpy().reshape(-1)
