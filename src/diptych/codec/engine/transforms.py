"""The transforms of a codec: pictures to scaled latents, latents to hyper-latents, quantized latents to pictures.

::

    pixels ──cells──g_a──gain──> y ──h_a──> z                  y_hat ──inverse gain──g_s of a view──cells──> pixels

``h_a``, a hundredth of the work, runs in NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from diptych.codec.architecture import HYPER_STRIDE, QUALITY_KNOTS
from diptych.codec.engine.graphs import CELL, Arrays, Engine, Function, analysis, synthesis
from diptych.codec.entropy import ONE
from diptych.codec.views import MACHINE
from diptych.codec.weights import FrozenCodec
from diptych.errors import ModelError

_VIEWS = 3
"""Compiled decoders that are kept: both views and the blend last used."""


class Transforms:
    """The float networks of a codec on an engine, each compiled when it is first used.

    Args:
        frozen: the codec.
        human: tuned layers of ``g_s`` by their name inside it; empty if the codec has no human view.
        engine: runs ``g_a`` and ``g_s``.
    """

    def __init__(self, frozen: FrozenCodec, human: Mapping[str, NDArray[Any]], engine: Engine) -> None:
        self.engine, self.human = engine, human
        self._frozen = frozen
        self._gains = frozen.network("gains")
        self._decoder = lru_cache(_VIEWS)(self._compiled_decoder)

    def analysis(self, pixels: NDArray[np.uint8], quality: float) -> NDArray[np.float32]:
        """Latents ``(B, M, H/16, W/16)``, scaled by the gains of a quality, of pixels ``(B, H, W, 3)``; B is at
        most the engine's batch."""
        run, knots = self._encoder
        count, height, width = len(pixels), pixels.shape[1] // CELL, pixels.shape[2] // CELL
        cells = pixels.reshape(count, height, CELL, width, CELL, 3).swapaxes(2, 3).reshape(count, height, width, -1)
        [y] = run(cells, _offset(knots, quality))
        return y * self._gain("log_gain", quality)

    def hyper_analysis(self, y: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hyper-latents ``(Nz, h/4, w/4)``, rounded up, of scaled latents ``(M, h, w)``."""
        sides = [(0, -side % HYPER_STRIDE) for side in y.shape[1:]]
        x = np.pad(y, ((0, 0), *sides), mode="edge")
        for name in ("first", "second"):
            x = np.maximum(self._hyper(name, _neighbours(x)), 0)
        return self._hyper("mix", x)

    def synthesis(self, values: NDArray[np.int32], quality: float, position: float) -> NDArray[np.uint8]:
        """Pixels ``(B, 16h, 16w, 3)`` of quantized latents ``(B, M, h, w)`` in 1/ONE, at a position between the
        machine view (0) and the human one (1).

        Raises:
            ModelError: if a human view is asked for and the codec has none.
        """
        run, knots = self._decoder(position)
        [corners] = run(self.dequantized(values, quality), _offset(knots, quality))
        return _pictures(corners)

    def dequantized(self, values: NDArray[np.int32], quality: float) -> NDArray[np.float32]:
        """``y_hat`` ``(..., M, h, w)``: quantized latents in 1/ONE with the gains of a quality undone."""
        return values.astype(np.float32) * (self._gain("log_inverse", quality) / np.float32(ONE))

    def decoder(self, position: float) -> Arrays:
        """Weights of ``g_s`` at a position between the machine view (0) and the human one (1).

        Raises:
            ModelError: if a human view is asked for and the codec has none.
        """
        weights = self._frozen.network("g_s")
        if position != MACHINE and not self.human:
            raise ModelError("this codec has no human view: decode the machine view, or pass a view file")
        return weights | {name: _blend(weights[name], layer, position) for name, layer in self.human.items()}

    @cached_property
    def _encoder(self) -> tuple[Function, NDArray[np.float32]]:
        weights = self._frozen.network("g_a")
        return self.engine.compile(*analysis(weights)), weights["quality.knots"]

    def _compiled_decoder(self, position: float) -> tuple[Function, NDArray[np.float32]]:
        weights = self.decoder(position)
        return self.engine.compile(*synthesis(weights)), weights["quality.knots"]

    @cached_property
    def _h_a(self) -> Arrays:
        return self._frozen.network("h_a")

    def _hyper(self, name: str, x: NDArray[np.float32]) -> NDArray[np.float32]:
        weight, bias = self._h_a[f"{name}.weight"], self._h_a[f"{name}.bias"]
        flat = weight.reshape(len(weight), -1) @ x.reshape(len(x), -1)
        return (flat + bias[:, None]).reshape(-1, *x.shape[1:])

    def _gain(self, name: str, quality: float) -> NDArray[np.float32]:
        """Factors ``(M, 1, 1)``."""
        return np.exp(knot_weights(quality) @ self._gains[name])[:, None, None]


def _offset(knots: NDArray[np.float32], quality: float) -> NDArray[np.float32]:
    """What a quality adds to the channels of a network: ``(1, C, 1, 1)``."""
    return (knot_weights(quality) @ knots)[None, :, None, None]


def _blend(machine: NDArray[np.float32], human: NDArray[np.float32], position: float) -> NDArray[np.float32]:
    return human if position == 1 else machine + np.float32(position) * (human - machine)


def _neighbours(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 3 x 3 neighbours ``(C * 9, h/2, w/2)`` of every second place of ``x`` ``(C, h, w)``, zeros outside."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    windows = sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    return windows.transpose(0, 3, 4, 1, 2).reshape(-1, *windows.shape[1:3])


def _pictures(corners: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Pixels ``(B, 4h, 4w, 3)`` from what ``g_s`` finds in the squares between its last inputs:
    ``(B, h + 1, w + 1, 48)`` in -0.5..0.5."""
    count, height, width = corners.shape[:3]
    levels = corners * np.float32(255)
    levels += np.float32(128)  # half a level for rounding
    np.clip(levels, 0, 255, out=levels)
    rows = levels.astype(np.uint8).reshape(count, height, width, CELL, 3 * CELL).swapaxes(2, 3)
    edge = CELL // 2
    return rows.reshape(count, height * CELL, width * CELL, 3)[:, edge:-edge, edge:-edge]


def knot_weights(quality: float) -> NDArray[np.float32]:
    """Linear interpolation weights ``(QUALITY_KNOTS,)`` of a quality 0..100 over the knots."""
    position = quality * (QUALITY_KNOTS - 1) / 100
    return np.maximum(1 - np.abs(position - np.arange(QUALITY_KNOTS)), 0).astype(np.float32)
