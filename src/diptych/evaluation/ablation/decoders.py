"""How each row turns the base codec's latents into a picture.

::

    .dip ──base codec──> latents ─┬─g_s──────────────> base codec ─┬─> Gaussian filter
                                  │                                └─> bilateral filter
                                  ├─g_s, tuned stages──> trained rows, views, their blends
                                  └─another g_s────────> other upsamplers, another codec's decoder
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from diptych.codec.codec import Codec, Latents
from diptych.codec.engine.transforms import Transforms
from diptych.codec.views import HUMAN, MACHINE
from diptych.codec.weights import FrozenCodec, load_codec, load_view, read_arrays, write_arrays
from diptych.errors import DiptychError, ModelError
from diptych.evaluation.ablation.recipe import Bilateral, Gaussian, Row
from diptych.io.files import read_bytes
from diptych.nn.transforms import Synthesis, channels_last
from diptych.nn.upsamplers import replace_upsamplers

DECODER_FORMAT = "diptych-decoder-1"


class Source(NamedTuple):
    """What a row's picture is made with, apart from the base codec.

    Attributes:
        row: the row.
        weights: its file, if it has one.
    """

    row: Row
    weights: Path | None

    @property
    def key(self) -> str:
        """Names the row's pictures: equal keys, equal pictures of equal files."""
        row = self.row
        filtered = row.filter.model_dump_json() if row.filter else ""
        weights = hashlib.sha256(read_bytes(self.weights)).hexdigest() if self.weights else ""
        kind = "decoder" if row.decoder else row.upsampler or "view"
        return f"{kind} {weights} {self.position:g} {filtered}"

    @property
    def position(self) -> float:
        """On the dial between the base codec's ``g_s`` and the row's tuned stages."""
        if self.weights is None or self.row.decoder or self.row.upsampler:
            return MACHINE
        return HUMAN if self.row.blend is None else self.row.blend

    def load(self, base: Codec) -> Decoder:
        """The decoder.

        Raises:
            DiptychError: if the file cannot be used with ``base``; the row is named.
        """
        try:
            codec = self._codec(base) if self.weights else base
        except DiptychError as error:
            raise type(error)(f"row '{self.row.name}': {error}") from None
        return Decoder(codec, self.position, self.row.filter)

    def _codec(self, base: Codec) -> Codec:
        assert self.weights is not None
        if self.row.decoder:
            return Codec(_with_foreign(self.weights, base.frozen), {}, base.transforms.engine)
        if self.row.upsampler:
            codec = base.with_view({})
            codec.transforms = _Rebuilt(base, load_decoder(self.weights, base.frozen))
            return codec
        return base.with_view(load_view(self.weights, base.frozen))


class Decoder(NamedTuple):
    """A row's decoder.

    Attributes:
        codec: the base codec with the row's ``g_s``; its files are the base codec's.
        view: position on its dial.
        filter: what its picture goes through.
    """

    codec: Codec
    view: float
    filter: Gaussian | Bilateral | None

    def picture(self, latents: Latents) -> Image.Image:
        """The row's picture of a file, read by any codec of the same model id."""
        made = self.codec.synthesize(latents, self.view)
        return filtered(made, self.filter) if self.filter else made


class _Rebuilt(Transforms):
    """A codec's transforms with a ``g_s`` of another build, which runs in torch."""

    def __init__(self, base: Codec, g_s: Synthesis) -> None:
        super().__init__(base.frozen, {}, base.transforms.engine)
        self._g_s = g_s

    @torch.inference_mode()
    def synthesis(self, values: NDArray[np.int32], quality: float, position: float) -> NDArray[np.uint8]:
        y_hat = torch.from_numpy(self.dequantized(values, quality)).contiguous(memory_format=torch.channels_last)
        x_hat = self._g_s(y_hat, torch.full((len(y_hat),), quality))
        pixels: NDArray[np.uint8] = (x_hat.permute(0, 2, 3, 1) * 255).round().clamp(0, 255).byte().numpy()
        return pixels


class Decoders:
    """All rows as the views of one codec: what :class:`diptych.evaluation.variants.Codec` asks for.

    Args:
        base: writes and reads the files.
        sources: of the rows.
    """

    def __init__(self, base: Codec, sources: Sequence[Source]) -> None:
        self._base = base
        self._rows = {source.row.name: source.load(base) for source in sources}
        self.model_id = base.model_id

    def encode(self, image: Image.Image, quality: float) -> bytes:
        return self._base.encode(image, quality)

    def decode_views(self, data: bytes, views: Sequence[str]) -> list[Image.Image]:
        """The pictures of the rows named; the file is read once."""
        latents = self._base.latents(data)
        return [self._rows[name].picture(latents) for name in views]

    def check(self) -> None:
        """Decode a small file by all rows.

        Raises:
            DiptychError: if one cannot.
        """
        self.decode_views(self.encode(Image.new("RGB", (64, 64)), 50), list(self._rows))


def filtered(picture: Image.Image, settings: Gaussian | Bilateral) -> Image.Image:
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
