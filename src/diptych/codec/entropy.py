"""The entropy path, in exact integers: latents to symbols under predicted tables, and back.

::

    z ──h_s──> features, prediction ─────────────────> pass 0: mean, table of some latents ──> their symbols
                   │          │
    latents so far ┴─context──┴─(+)──> prediction ───> pass 1: mean, table of more of them ──> and so on

One flipped table makes the rest of a stream undecodable, and float networks do flip them between machines (Balle
et al., ICLR 2019). So the networks that predict run on integers: weights are multiples of 2**-12, activations of
2**-8, every product and every partial sum is an integer below 2**53, hence exact in float64 in any order, on any
machine, thread count or instruction set. Only matrix products, sums, floor and clip are used: nothing that a
library could rewrite as Winograd, FFT or a lower precision. ``docs/bitstream.md`` specifies it.

Which latent belongs to which pass is a table that repeats every 2 x 2 latents and differs from channel to channel
(Li et al., CVPR 2022 and 2023), so a pass sees neighbours in space and in channels, yet is decoded at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from diptych.bitstream import SCALES, SYMBOL_LIMIT, Decoder, SymbolTables, encode
from diptych.codec.architecture import HYPER_STRIDE, PARTS, ROUNDS
from diptych.errors import ModelError

WEIGHT_BITS = 12
ACTIVATION_BITS = 8
ONE = 1 << ACTIVATION_BITS
"""The integer that stands for 1.0."""
WEIGHT_LIMIT = (1 << 15) - 1
ACTIVATION_LIMIT = 1 << 18
"""Activations are clipped to +-ACTIVATION_LIMIT, that is to +-1024.0."""
LEVELS = len(SCALES)
INDEX_GAIN = 8
INDEX_START = 24
MAX_PASSES = 8
_POSITIONS, _NEIGHBOURS = 512, 8192
"""How many positions a pointwise layer finishes at a time, and how many positions of channels a depthwise one: few
enough for the caches."""

Integers = NDArray[np.float64]
"""Whole numbers in float64, in units of ``1 / ONE``."""
SymbolsOf = Callable[[NDArray[np.intp], Integers, NDArray[np.uint8]], NDArray[Any]]
"""Gets places of a pass's latents in ``(M, h, w)``, flat, their means and their tables; returns their symbols."""


class Layer(NamedTuple):
    """Weights ``(out, in)`` or, depthwise, ``(channels, 9)`` in row-major taps; bias ``(out, 1)``. Both are scaled
    by ``2**-WEIGHT_BITS``, and half a unit is in the bias, so that ``floor`` of the sums is all there is to do."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of(cls, weight: NDArray[np.int16], bias: NDArray[np.int32]) -> Layer:
        """Of integers as files hold them.

        Raises:
            ModelError: if a sum could leave what float64 holds exactly.
        """
        wide, offset = weight.astype(np.float64), bias.astype(np.float64)
        worst = np.abs(wide).sum(1) * ACTIVATION_LIMIT + np.abs(offset)
        if worst.max(initial=0) + 2**WEIGHT_BITS >= 2**53:
            raise ModelError("the weights of the entropy path are too large for exact arithmetic")
        scale = 2.0**-WEIGHT_BITS
        return cls(wide * scale, (offset[:, None] + (1 << (WEIGHT_BITS - 1))) * scale)

    def rows(self, chosen: slice | NDArray[np.intp]) -> Layer:
        """The layer with some of its outputs."""
        return Layer(self.weight[chosen], self.bias[chosen])


class EntropyModel:
    """Everything that turns symbols into distributions, and the tables that code them.

    Args:
        arrays: of a codec file, with the shapes of :func:`diptych.codec.weights.integer_shapes`.

    Raises:
        ModelError: if the integers are not sound, or a network of them not provably exact.
        KeyError: if an array is missing.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.tables = SymbolTables.from_arrays({k.removeprefix("tables."): v for k, v in arrays.items()})
        self.prior_mean, self.prior_index = arrays["prior.mean"], arrays["prior.index"]
        if int(self.prior_index.max()) >= LEVELS or len(self.tables) < LEVELS:
            raise ModelError(f"the prior of the hyper-latents names a table beyond {LEVELS - 1}")
        self.passes = arrays["passes"]
        layers = [
            [_layer(arrays, f"{network}.{len(PARTS) * number + part}") for part in range(len(PARTS))]
            for network, count in (("h_s", ROUNDS), ("context", count_passes(self.passes) - 1))
            for number in range(count)
        ]
        self._rounds, context = layers[:ROUNDS], layers[ROUNDS:]
        self._context = [
            (spatial, expand, list(_corners(project, self.passes == number)))
            for number, (spatial, expand, project) in enumerate(context, 1)
        ]

    def encode(
        self, y: NDArray[np.float32], z: NDArray[np.float32], quality: float
    ) -> tuple[bytes, NDArray[np.int32]]:
        """Code a tile.

        Args:
            y: scaled latents ``(M, h, w)``.
            z: hyper-latents ``(Nz, h/4, w/4)``, rounded up.
            quality: 0..100.

        Returns:
            The payload, and the latents ``(M, h, w)`` in 1/ONE that a decoder will read from it.
        """
        z_mean, z_tables = self._prior(quality, z.shape[1:])
        z_symbols = _symbols(z - z_mean / ONE)
        chunks = [(z_symbols.ravel(), z_tables)]
        flat = y.ravel()

        def code(now: NDArray[np.intp], mean: Integers, tables: NDArray[np.uint8]) -> NDArray[np.int32]:
            symbols = _symbols(flat.take(now) - mean / ONE)
            chunks.append((symbols, tables))
            return symbols

        values = self.walk(z_symbols * ONE + z_mean, y.shape[1:], code)
        return encode(chunks, self.tables), values

    def decode(self, payload: bytes, size: tuple[int, ...], quality: float) -> NDArray[np.int32]:
        """Latents ``(M, h, w)`` of a tile in 1/ONE.

        Raises:
            BitstreamError: if the payload is not that of such a tile.
        """
        places = tuple(math.ceil(side / HYPER_STRIDE) for side in size)
        z_mean, z_tables = self._prior(quality, places)
        decoder = Decoder(payload, self.tables)
        z = decoder.read(z_tables).reshape(-1, *places)
        values = self.walk(z * ONE + z_mean, size, lambda now, mean, tables: decoder.read(tables))
        decoder.close()
        return values

    def walk(self, z: Integers, size: tuple[int, ...], symbols_of: SymbolsOf) -> NDArray[np.int32]:
        """Latents ``(M, h, w)`` of a tile in 1/ONE: the one order in which an encoder and a decoder see them.

        Args:
            z: hyper-latents ``(Nz, h/4, w/4)``, rounded up, in 1/ONE.
            size: h and w.
            symbols_of: is asked for the symbols of each pass in turn.
        """
        height, width = size
        features, prediction = self._predict(z, height, width)
        which = np.tile(self.passes, (1, -(-height // 2), -(-width // 2)))[:, :height, :width].ravel()
        known = np.zeros((len(self.passes), height, width))
        for number in range(1 + len(self._context)):
            if number:
                self._correct(prediction, number, known, features)
            now = np.flatnonzero(which == number)
            mean, index = (half.reshape(-1).take(now) for half in np.split(prediction, 2))
            index *= INDEX_GAIN / ONE
            index += INDEX_START + 0.5
            tables = np.clip(np.floor(index, out=index), 0, LEVELS - 1, out=index).astype(np.uint8)
            symbols = symbols_of(now, mean, tables)
            np.put(known, now, symbols * float(ONE) + mean)
        return known.astype(np.int32)

    def _prior(self, quality: float, places: tuple[int, ...]) -> tuple[Integers, NDArray[np.uint8]]:
        """Means ``(Nz, 1, 1)`` of a tile's hyper-latents in 1/ONE, and the table of each, flat."""
        knot = nearest_knot(quality)
        mean = self.prior_mean[knot].astype(np.float64)[:, None, None]
        return mean, self.prior_index[knot].repeat(math.prod(places))

    def _predict(self, z: Integers, height: int, width: int) -> tuple[Integers, Integers]:
        """``h_s``: features ``(N, h w)`` and prediction ``(2M, h, w)``."""
        for number, (spatial, expand, project) in enumerate(self._rounds, 1):
            around = depthwise(z, spatial)
            if number == ROUNDS:
                around = around[:, :height, :width]
            size = around.shape[1:]
            features = pointwise(around.reshape(len(around), -1), expand, floor=0)
            z = pointwise(features, project).reshape(-1, *size)
            if number < ROUNDS:
                z = z.reshape(-1, 2, 2, *size).transpose(0, 3, 1, 4, 2).reshape(-1, 2 * size[0], 2 * size[1])
        return features, z

    def _correct(self, prediction: Integers, number: int, known: Integers, features: Integers) -> None:
        """Add to the prediction of a pass's latents what the context says, the latents so far being known."""
        spatial, expand, corners = self._context[number - 1]
        around = depthwise(np.clip(known, -ACTIVATION_LIMIT, ACTIVATION_LIMIT), spatial)
        seen = np.concatenate([around.reshape(len(around), -1), features])
        hidden = pointwise(seen, expand, floor=0).reshape(-1, *known.shape[1:])
        means, indexes = np.split(prediction, 2)
        for rows, columns, channels, project in corners:
            part = hidden[:, rows, columns]
            places = part.reshape(len(part), part[0].size)
            more = pointwise(places, project).reshape(len(project.weight), *part.shape[1:])
            means[channels, rows, columns] += more[: len(more) // 2]
            indexes[channels, rows, columns] += more[len(more) // 2 :]


def count_passes(passes: NDArray[np.uint8]) -> int:
    """Number of passes in a table ``(M, 2, 2)`` of their numbers.

    Raises:
        ModelError: if it does not number them 0, 1, and so on.
    """
    numbers = np.unique(passes).tolist()
    if numbers != list(range(len(numbers))) or len(numbers) > MAX_PASSES:
        raise ModelError(f"the passes are not numbered 0, 1 .. up to at most {MAX_PASSES - 1}")
    return len(numbers)


def pointwise(x: Integers, layer: Layer, floor: float = -ACTIVATION_LIMIT) -> Integers:
    """1x1 convolution of ``x`` ``(in, positions)``; results below ``floor`` become it (0 for a ReLU)."""
    out = np.empty((len(layer.weight), x.shape[1]))
    sums = np.empty((len(out), min(_POSITIONS, x.shape[1])))
    for start in range(0, x.shape[1], _POSITIONS):
        part = x[:, start : start + _POSITIONS]
        total = np.matmul(layer.weight, part, out=sums[:, : part.shape[1]])
        total += layer.bias
        np.clip(np.floor(total, out=total), floor, ACTIVATION_LIMIT, out=out[:, start : start + _POSITIONS])
    return out


def depthwise(x: Integers, layer: Layer) -> Integers:
    """Depthwise 3x3 convolution of ``x`` ``(C, h, w)``, zeros outside.

    A padded channel is one long row in which the nine neighbours of all places are nine shifts of it; the padding
    between rows gives sums that nobody reads.
    """
    channels, height, width = x.shape
    pitch = width + 2
    length = height * pitch
    weights = np.concatenate([layer.weight, layer.bias], 1)[:, None]
    count = min(channels, max(1, _NEIGHBOURS // length))
    padded = np.zeros((count, (height + 2) * pitch + 2))
    inside = padded[:, :-2].reshape(count, height + 2, pitch)[:, 1:-1, 1:-1]
    shifts = as_strided(padded, (count, 3, 3, length), (padded.strides[0], 8 * pitch, 8, 8), writeable=False)
    neighbours = np.ones((count, 10, length))  # the tenth meets the bias
    total = np.empty((channels, 1, length))
    for start in range(0, channels, count):
        group = slice(start, min(start + count, channels))
        size = group.stop - start
        inside[:size] = x[group]
        neighbours[:, :9].reshape(shifts.shape)[...] = shifts
        np.matmul(weights[group], neighbours[:size], out=total[group])
    np.clip(np.floor(total, out=total), -ACTIVATION_LIMIT, ACTIVATION_LIMIT, out=total)
    return total.reshape(channels, height, pitch)[:, :, :width]


def _layer(arrays: Mapping[str, NDArray[Any]], name: str) -> Layer:
    return Layer.of(arrays[f"{name}.weight"], arrays[f"{name}.bias"])


def _corners(project: Layer, mine: NDArray[np.bool_]) -> Iterator[tuple[slice, slice, Any, Layer]]:
    """For each place in the 2 x 2 latents: rows, columns and channels of a pass, and what of a layer ``(2M, N)`` of
    means and indexes they need."""
    for row, column in product(range(2), range(2)):
        channels = np.flatnonzero(mine[:, row, column])
        if not channels.size:
            continue
        first, stop = int(channels[0]), int(channels[-1]) + 1
        both = project.rows(np.concatenate([channels, channels + len(mine)]))
        run: Any = slice(first, stop) if stop - first == channels.size else channels
        yield slice(row, None, 2), slice(column, None, 2), run, both


def _symbols(residual: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(residual).clip(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1).astype(np.int32)


def nearest_knot(quality: float) -> int:
    """The knot whose prior of the hyper-latents holds for a quality kept to 1/100; halves go up."""
    return (round(quality * 100) + 500) // 1000
