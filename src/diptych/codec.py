"""The codec: pictures to ``.dip`` bytes and back, in two views.

::

    encode   picture ──g_a──> y ──h_a──> z ──> symbols of z, then of y ──range coder──> payload ──> .dip
    decode   .dip ──> payload ──> z ──h_s (integers)──> means, tables ──> y_hat ──g_s of a view──> picture

The latents of the whole picture form one plane. Transforms run over windows of it with a margin as wide as
their receptive field, so windows leave no seam; entropy coding runs over tiles that know nothing of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diptych.bitstream import SYMBOL_LIMIT, Container, Decoder, Header, encode, pack, unpack
from diptych.errors import BitstreamError, DiptychError
from diptych.images import to_rgb
from diptych.models import FrozenCodec, load_codec, load_view
from diptych.nn.hyperprior import HYPER_STRIDE
from diptych.nn.integer import ONE
from diptych.nn.transforms import STRIDE, channels_last
from diptych.views import Views, dial

WINDOW = 128
"""Side, in latents, of the windows in which the transforms run."""
MARGIN = 8
"""Latents of context around a window: no less than the receptive fields of ``g_a`` and ``g_s``."""
TILE = 1024
"""Side, in pixels, of the tiles of pictures too large for one."""
ONE_TILE_PIXELS = 2048 * 2048
"""Pictures up to this size are one tile."""


class Latents(NamedTuple):
    """Quantized latents of a picture.

    Attributes:
        values: ``(M, h, w)`` int32 in units of ``1 / ONE`` quantization steps: ``y_hat`` before its gain is
            undone, the same on every machine.
        header: of the file they came from.
    """

    values: NDArray[np.int32]
    header: Header


class Codec:
    """A trained codec with its views; made by :func:`load`.

    Attributes:
        model_id: four bytes that name the entropy path; files carry it.
        frozen: networks, integers and tables.
    """

    def __init__(self, frozen: FrozenCodec, views: Views) -> None:
        self.frozen = frozen
        self.views = views
        self.model_id = frozen.model_id

    def encode(self, image: Any, quality: float = 40) -> bytes:
        """Code a picture.

        Args:
            image: PIL image, ``(H, W, 3)`` or ``(H, W)`` uint8 array, or ``(3, H, W)`` float tensor in 0..1.
            quality: 0 (smallest file) to 100, kept to 1/100.

        Returns:
            The bytes of a ``.dip`` file.

        Raises:
            DiptychError: if the quality is out of range or ``image`` is not a picture.
        """
        if not 0 <= quality <= 100:
            raise DiptychError(f"the quality {quality:g} is outside 0 to 100")
        pixels = as_pixels(image)
        height, width = pixels.shape[:2]
        tile = 0 if height * width <= ONE_TILE_PIXELS else TILE
        header = Header(width, height, round(quality * 100) / 100, self.model_id, tile)
        y = self._analyze(pixels, header)
        payloads = [self._encode_tile(y[:, rows, columns], header) for rows, columns in _tiles(header)]
        return pack(Container(header, payloads))

    def decode(self, data: bytes, view: str | float = "machine") -> Image.Image:
        """Decode one view of a file.

        Args:
            data: the bytes of a ``.dip`` file.
            view: ``machine``, ``human``, or a position from 0 (machine) to 1 (human).

        Raises:
            BitstreamError: if the file is damaged, foreign, too new, or of another model.
        """
        return self.decode_views(data, [view])[0]

    def decode_views(self, data: bytes, views: Sequence[str | float]) -> list[Image.Image]:
        """Decode several views of a file; its entropy-coded part is read once."""
        positions = [dial(view) for view in views]
        latents = self.latents(data)
        return [Image.fromarray(self._synthesize(latents, position)) for position in positions]

    def latents(self, data: bytes) -> Latents:
        """The quantized latents of a file, exact on every machine.

        Raises:
            BitstreamError: as :meth:`decode`.
        """
        container = unpack(data)
        header = container.header
        if header.model_id != self.model_id:
            raise BitstreamError(
                f"The file was written with codec {header.model_id.hex()}, this is codec {self.model_id.hex()}."
            )
        channels = self.frozen.model.widths.latent
        values = np.empty((channels, *_plane(header)), np.int32)
        for (rows, columns), payload in zip(_tiles(header), container.payloads, strict=True):
            values[:, rows, columns] = self._decode_tile(payload, header, rows, columns)
        return Latents(values, header)

    def complexity(self) -> dict[str, float]:
        """Parameters of each network and thousands of multiply-accumulates per pixel."""
        from diptych.nn.complexity import complexity

        return complexity(self.frozen.model)

    @torch.inference_mode()
    def _analyze(self, pixels: NDArray[np.uint8], header: Header) -> NDArray[np.float32]:
        """Scaled latents ``(M, h, w)`` of the whole picture, window by window."""
        model, quality = self.frozen.model, _quality(header)
        gain = model.gains.gain(quality)
        height, width = _plane(header)
        y = np.empty((model.widths.latent, height, width), np.float32)
        for inner, outer in _windows(height, width):
            x = _patch(pixels, outer)
            part = (model.g_a(x, quality) * gain)[0].numpy()
            y[:, inner.rows, inner.columns] = part[:, *inner.relative_to(outer)]
        return y

    @torch.inference_mode()
    def _encode_tile(self, y: NDArray[np.float32], header: Header) -> bytes:
        model, hyper = self.frozen.model, self.frozen.hyperprior
        height, width = y.shape[1:]
        low, right = -height % HYPER_STRIDE, -width % HYPER_STRIDE
        padded = torch.nn.functional.pad(torch.from_numpy(y)[None], (0, right, 0, low), mode="replicate")
        knot = _knot(header)
        z_mean = hyper.prior_mean[knot].double()[:, None, None]
        z = torch.round(model.h_a(padded)[0].double() - z_mean / ONE).clamp(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1)
        mean, tables = hyper.distributions(z * ONE + z_mean)
        mean, tables = mean[:, :height, :width], tables[:, :height, :width]
        symbols = torch.round(torch.from_numpy(y).double() - mean / ONE)
        symbols = symbols.clamp(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1)
        z_tables = hyper.prior_index[knot][:, None, None].expand(z.shape)
        return encode([(_flat(z), _flat8(z_tables)), (_flat(symbols), _flat8(tables))], self.frozen.tables)

    @torch.inference_mode()
    def _decode_tile(self, payload: bytes, header: Header, rows: slice, columns: slice) -> NDArray[np.int32]:
        hyper = self.frozen.hyperprior
        height, width = rows.stop - rows.start, columns.stop - columns.start
        knot = _knot(header)
        z_mean = hyper.prior_mean[knot].double()[:, None, None]
        shape = (len(z_mean), math.ceil(height / HYPER_STRIDE), math.ceil(width / HYPER_STRIDE))
        z_tables = hyper.prior_index[knot][:, None, None].expand(shape)
        decoder = Decoder(payload, self.frozen.tables)
        z = torch.from_numpy(decoder.read(_flat8(z_tables))).view(shape).double()
        mean, tables = hyper.distributions(z * ONE + z_mean)
        mean, tables = mean[:, :height, :width], tables[:, :height, :width]
        symbols = decoder.read(_flat8(tables)).reshape(mean.shape)
        decoder.close()
        return symbols * ONE + mean.to(torch.int32).numpy()

    @torch.inference_mode()
    def _synthesize(self, latents: Latents, position: float) -> NDArray[np.uint8]:
        """Pixels ``(H, W, 3)`` of one view, window by window."""
        values, header = latents
        quality = _quality(header)
        inverse = self.frozen.model.gains.inverse(quality) / ONE
        pixels = np.empty((header.height, header.width, 3), np.uint8)
        for inner, outer in _windows(*values.shape[1:]):
            y_hat = torch.from_numpy(values[None, :, outer.rows, outer.columns]).float() * inverse
            y_hat = y_hat.contiguous(memory_format=torch.channels_last)
            x_hat = self.views.synthesize(y_hat, quality, position)[0]
            rows, columns = inner.relative_to(outer)
            x_hat = x_hat[:, _in_pixels(rows), _in_pixels(columns)].permute(1, 2, 0)
            target = pixels[_in_pixels(inner.rows), _in_pixels(inner.columns)]
            rounded = (x_hat * 255).round_().clamp_(0, 255).to(torch.uint8).numpy()
            target[...] = rounded[: target.shape[0], : target.shape[1]]
        return pixels


def load(model: str | Path | None = None, view: str | Path | None = None) -> Codec:
    """Load a codec.

    Args:
        model: a codec file; None for the one that ships with the package.
        view: a view file with the human view; None for the shipped one, or for ``<model>.human.safetensors``
            beside a codec file of one's own, if there is one.

    Raises:
        ModelError: if a file is missing, damaged, or does not belong to the other.
    """
    path = Path(model) if model else Path(str(resources.files("diptych") / "weights" / "codec.safetensors"))
    beside = path.with_suffix(".human.safetensors")
    frozen = load_codec(path)
    if view is None:
        human = load_view(beside, frozen) if beside.is_file() else {}
    else:
        human = load_view(Path(view), frozen)
    channels_last(frozen.model)
    return Codec(frozen, Views(frozen.model.g_s, human))


def as_pixels(image: Any) -> NDArray[np.uint8]:
    """``(H, W, 3)`` uint8 pixels of a PIL image, uint8 array or float tensor (see :meth:`Codec.encode`).

    Raises:
        DiptychError: if ``image`` is none of these, or empty.
    """
    if isinstance(image, Image.Image):
        return np.asarray(to_rgb(image)[0])
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point():
        image = (image.detach().cpu() * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, axis=2)
        if image.ndim == 3 and image.shape[2] == 3:
            return image
    raise DiptychError("a picture is a PIL image, an (H, W, 3) uint8 array or a (3, H, W) float tensor")


class _Window(NamedTuple):
    rows: slice
    columns: slice

    def relative_to(self, outer: _Window) -> tuple[slice, slice]:
        return (
            slice(self.rows.start - outer.rows.start, self.rows.stop - outer.rows.start),
            slice(self.columns.start - outer.columns.start, self.columns.stop - outer.columns.start),
        )


def _windows(height: int, width: int) -> Iterator[tuple[_Window, _Window]]:
    """Windows that cover a plane, each alone and with its margin."""
    for top in range(0, height, WINDOW):
        for left in range(0, width, WINDOW):
            low, right = min(top + WINDOW, height), min(left + WINDOW, width)
            outer = _Window(
                slice(max(top - MARGIN, 0), min(low + MARGIN, height)),
                slice(max(left - MARGIN, 0), min(right + MARGIN, width)),
            )
            yield _Window(slice(top, low), slice(left, right)), outer


def _tiles(header: Header) -> Iterator[tuple[slice, slice]]:
    """Rows and columns, in latents, of every tile in reading order."""
    height, width = _plane(header)
    side = header.tile // STRIDE or max(height, width)
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(top, min(top + side, height)), slice(left, min(left + side, width))


def _plane(header: Header) -> tuple[int, int]:
    return math.ceil(header.height / STRIDE), math.ceil(header.width / STRIDE)


def _knot(header: Header) -> int:
    return (round(header.quality * 100) + 500) // 1000


def _quality(header: Header) -> Tensor:
    return torch.tensor([header.quality], dtype=torch.float32)


def _patch(pixels: NDArray[np.uint8], window: _Window) -> Tensor:
    """The window's pixels as ``(1, 3, H, W)`` in 0..1, the picture's border repeated up to whole latents."""
    rows, columns = _in_pixels(window.rows), _in_pixels(window.columns)
    part = pixels[rows, columns]
    missing = (rows.stop - rows.start - part.shape[0], columns.stop - columns.start - part.shape[1])
    part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    x = torch.from_numpy(part).permute(2, 0, 1)[None].float() / 255
    return x.contiguous(memory_format=torch.channels_last)


def _in_pixels(latents: slice) -> slice:
    return slice(latents.start * STRIDE, latents.stop * STRIDE)


def _flat(values: Tensor) -> NDArray[np.int32]:
    return values.to(torch.int32).numpy().reshape(-1)


def _flat8(values: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values.numpy()).reshape(-1)
