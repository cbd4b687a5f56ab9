"""Symbols to bytes and back: a range coder over shared integer tables.

A payload is one range-coded stream of chunks::

    payload = chunk, chunk, ...             (the caller knows how many, and how long each is)
    chunk   = symbols of table 0 | symbols of table 1 | ... | excess of the escaped symbols

Inside a chunk the symbols are sorted by table, keeping their order within a table: runs of one table are
several times faster to code than a table per symbol. ``docs/bitstream.md`` specifies the stream down to the
bit; ``tests/bitstream/reference_coder.py`` is that specification as a program.

A table is a row of positive integers that sum to ``2**24``: all that the coder knows of the statistics of symbols.
Tables are made once, when a model is frozen, and read back from its file as they are. No transcendental function is
evaluated when a file is decoded, so two machines can never disagree about a probability.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from constriction import stream
from numpy.typing import NDArray

from diptych.errors import BitstreamError, ModelError

PRECISION = 24
"""Bits of a probability: the frequencies of a table sum to ``2**PRECISION``."""

MAX_TABLES = 256
"""Tables are named by one byte."""

MAX_HALF_WIDTH = 2**15 - 1

SCALES: NDArray[np.float64] = 0.11 * (64 / 0.11) ** (np.arange(64) / 63)
"""Standard deviations of the 64 Gaussian tables, in quantization steps, from 0.11 to 64 in equal ratios."""
SCALES.flags.writeable = False

_RAREST_ESCAPE = 2.0**-16
_LEAST_ESCAPE_FREQUENCY = 64


@dataclass(frozen=True, eq=False)
class SymbolTables:
    """Up to 256 probability tables over the integers, each with an escape.

    Table ``i`` gives ``frequencies[i, k]`` out of ``2**24`` to the symbol ``k - half_width[i]``, for ``k`` in
    0 .. ``2 * half_width[i]``, then ``frequencies[i, 2 * half_width[i] + 1]`` to the escape, which stands for
    any symbol outside. The rest of the row is zero. Rows need not be symmetric.

    Attributes:
        half_width: int32 (tables,), 0 .. 32767.
        frequencies: int32 (tables, longest row), every used entry at least 1.

    Both arrays are read-only copies. Instances compare and hash by identity.

    Raises:
        ModelError: the arrays are not such tables.
    """

    half_width: NDArray[np.int32]
    frequencies: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name in ("half_width", "frequencies"):
            array = np.array(getattr(self, name), order="C")
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        problem = _problem(self.half_width, self.frequencies)
        if problem:
            raise ModelError(f"The probability tables are unusable: {problem}.")

    def __len__(self) -> int:
        return len(self.half_width)

    def row(self, table: int) -> NDArray[np.int32]:
        """The used frequencies of one table, escape last: int32 (2 * half_width + 2,)."""
        return self.frequencies[table, : 2 * int(self.half_width[table]) + 2]

    def to_arrays(self) -> dict[str, NDArray[np.int32]]:
        """The two arrays under their names, to be stored in a model file."""
        return {"half_width": self.half_width, "frequencies": self.frequencies}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "SymbolTables":
        """Tables from what :meth:`to_arrays` gave; other keys are ignored.

        Raises:
            ModelError: an array is missing or the arrays are not valid tables.
        """
        for name in ("half_width", "frequencies"):
            if name not in arrays:
                raise ModelError(f"The probability tables are unusable: the array '{name}' is missing.")
        return cls(arrays["half_width"], arrays["frequencies"])


def gaussian_tables() -> SymbolTables:
    """Tables of zero-mean Gaussians, rounded to integers, with the standard deviations :data:`SCALES`.

    A row ends where the escape becomes rarer than ``2**-16``, but no escape has less than ``2**-18``, so that
    latents with heavier tails than a Gaussian's remain cheap.

    Run when a model is frozen, never when a file is decoded: the result belongs in the model file.
    """
    rows = [_gaussian_row(float(scale)) for scale in SCALES]
    frequencies = np.zeros((len(rows), max(map(len, rows))), dtype=np.int32)
    for target, row in zip(frequencies, rows, strict=True):
        target[: len(row)] = row
    return SymbolTables(np.array([len(row) // 2 - 1 for row in rows], dtype=np.int32), frequencies)


def _gaussian_row(scale: float) -> list[int]:
    def tail(edge: float) -> float:
        """Probability that a magnitude exceeds ``edge``."""
        return math.erfc(edge / (scale * math.sqrt(2)))

    total = 2**PRECISION
    half_width = 0
    while tail(half_width + 0.5) > _RAREST_ESCAPE:
        half_width += 1
    escape = max(_LEAST_ESCAPE_FREQUENCY, round(tail(half_width + 0.5) * total))
    side = [
        max(1, round((tail(symbol - 0.5) - tail(symbol + 0.5)) / 2 * total)) for symbol in range(1, half_width + 1)
    ]
    middle = total - escape - 2 * sum(side)
    return [*reversed(side), middle, *side, escape]


def _problem(half_width: NDArray[Any], frequencies: NDArray[Any]) -> str | None:
    if half_width.dtype != np.int32 or frequencies.dtype != np.int32:
        return f"they must be int32, not {half_width.dtype} and {frequencies.dtype}"
    if half_width.ndim != 1 or frequencies.ndim != 2 or len(half_width) != len(frequencies):
        return f"the shapes {half_width.shape} and {frequencies.shape} do not fit together"
    if not 1 <= len(half_width) <= MAX_TABLES:
        return f"there are {len(half_width)} of them where 1 to {MAX_TABLES} are possible"
    if half_width.min() < 0 or half_width.max() > MAX_HALF_WIDTH:
        return f"a half width is outside 0 to {MAX_HALF_WIDTH}"
    used_length = 2 * half_width + 2
    if used_length.max() > frequencies.shape[1]:
        return f"a row of {used_length.max()} entries does not fit into {frequencies.shape[1]}"
    used = np.arange(frequencies.shape[1]) < used_length[:, np.newaxis]
    if (frequencies[used] < 1).any():
        return "a frequency in use is below 1"
    if frequencies[~used].any():
        return "an entry behind the escape is not 0"
    if (frequencies.sum(axis=1, dtype=np.int64) != 2**PRECISION).any():
        return f"the frequencies of a table do not sum to 2**{PRECISION}"
    return None


SYMBOL_LIMIT = 2**20
"""Symbols lie strictly between ``-SYMBOL_LIMIT`` and ``SYMBOL_LIMIT``."""

Symbols = NDArray[np.int32]
Indexes = NDArray[np.uint8]


def encode(chunks: Iterable[tuple[Symbols, Indexes]], tables: SymbolTables) -> bytes:
    """Code chunks of symbols into one payload.

    Args:
        chunks: pairs of symbols, int32 (n,) of magnitude below ``2**20``, and the table of each, uint8 (n,).
        tables: the tables that the indexes name.

    Returns:
        The shortest payload that decodes to these symbols; empty if the symbols are certain enough.

    Raises:
        BitstreamError: a chunk has the wrong type or shape, or a symbol or index is out of range.
    """
    writer = _Writer(tables)
    for symbols, indexes in chunks:
        if symbols.dtype != np.int32 or symbols.shape != indexes.shape:
            raise BitstreamError(
                f"Symbols must be int32 and as many as their indexes, not {symbols.dtype} {symbols.shape} "
                f"for {indexes.shape}."
            )
        order, counts = _group(indexes, tables)
        if symbols.size and (symbols.max() >= SYMBOL_LIMIT or symbols.min() <= -SYMBOL_LIMIT):
            raise BitstreamError(f"A symbol is too large to be coded: {SYMBOL_LIMIT - 1} is the limit.")
        writer.write(symbols[order], counts)
    return writer.finish()


class Decoder:
    """Reads back, chunk by chunk, what :func:`encode` wrote.

    Args:
        data: a payload.
        tables: the tables it was written with.
    """

    def __init__(self, data: bytes, tables: SymbolTables) -> None:
        self._data = data
        self._tables = tables
        padded = data + bytes(-len(data) % 4)
        self._decoder = stream.queue.RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))
        self._mirror = _Writer(tables)

    def read(self, indexes: Indexes) -> Symbols:
        """The symbols of the next chunk.

        Args:
            indexes: the table of each symbol, uint8 (n,).

        Returns:
            int32 (n,), in the order of ``indexes``.

        Raises:
            BitstreamError: the payload cannot be decoded, or the indexes are not valid.
        """
        order, counts = _group(indexes, self._tables)
        half_width = np.repeat(self._tables.half_width, counts)
        positions = [np.empty(0, dtype=np.int32)]
        for model, count in zip(_models(self._tables), counts.tolist(), strict=True):
            if count:
                positions.append(_decode(self._decoder, model, count))
        grouped = np.concatenate(positions) - half_width
        escaped = np.flatnonzero(grouped == half_width + 1)
        if escaped.size:
            grouped[escaped] = self._read_escaped(half_width[escaped])
        self._mirror.write(grouped, counts)
        symbols = np.empty_like(grouped)
        symbols[order] = grouped
        return symbols

    def close(self) -> None:
        """Check that the payload ends where the symbols do.

        The symbols read are coded again on the way; a payload is accepted only if it is, byte for byte, what
        :func:`encode` makes of them.

        Raises:
            BitstreamError: the payload is not the code of exactly the symbols that were read.
        """
        if self._mirror.finish() != self._data:
            raise BitstreamError("The compressed data do not end where the picture does: they are damaged.")

    def _read_escaped(self, half_width: NDArray[np.int32]) -> Symbols:
        classes = _decode(self._decoder, _CLASS_MODEL, half_width.size)
        symbols = np.empty_like(half_width)
        for magnitude_class in np.unique(classes).tolist():
            chosen = np.flatnonzero(classes == magnitude_class)
            raw = _decode(self._decoder, _RAW_MODELS[magnitude_class], chosen.size)
            magnitudes = half_width[chosen] + (1 << magnitude_class) + (raw >> 1)
            symbols[chosen] = np.where(raw & 1, -magnitudes, magnitudes)
        if np.abs(symbols).max() >= SYMBOL_LIMIT:
            raise BitstreamError("The compressed data are damaged: they hold a symbol that is too large.")
        return symbols


class _Writer:
    """Appends chunks whose symbols are already grouped by table."""

    def __init__(self, tables: SymbolTables) -> None:
        self._tables = tables
        self._encoder = stream.queue.RangeEncoder()

    def write(self, grouped: Symbols, counts: NDArray[np.intp]) -> None:
        half_width = np.repeat(self._tables.half_width, counts)
        positions = grouped + half_width
        escaped = np.flatnonzero((positions < 0) | (grouped > half_width))
        positions[escaped] = 2 * half_width[escaped] + 1
        start = 0
        for model, count in zip(_models(self._tables), counts.tolist(), strict=True):
            if count:
                _encode(self._encoder, positions[start : start + count], model)
                start += count
        if escaped.size:
            self._write_escaped(grouped[escaped], half_width[escaped])

    def finish(self) -> bytes:
        """The shortest byte string that names a number inside the coder's final interval.

        constriction itself ends on whole words, with a number ``point`` just above the lower end of the
        interval, whose last 64 bits it tells. From ``first`` .. ``last``, all that the interval holds, the
        number with most zero bits at its end is taken instead.
        """
        position, (lower, size) = self._encoder.pos()
        words = self._encoder.get_compressed()
        length = position + 2
        sealed = np.zeros(length, dtype=">u4")
        sealed[: words.size] = words
        point = int.from_bytes(sealed.tobytes(), "big")
        first = point - (point - lower) % 2**64
        if first == 0:
            return b""
        last = first + size - 1
        free_bits = ((first - 1) ^ last).bit_length() - 1
        return (last >> free_bits << free_bits).to_bytes(4 * length, "big").rstrip(b"\0")

    def _write_escaped(self, symbols: Symbols, half_width: NDArray[np.int32]) -> None:
        excess = np.abs(symbols) - half_width
        classes = np.searchsorted(_CLASS_STARTS, excess, side="right").astype(np.int32) - 1
        raw = ((excess - _CLASS_STARTS[classes]) << 1) | (symbols < 0)
        _encode(self._encoder, classes, _CLASS_MODEL)
        for magnitude_class in np.unique(classes).tolist():
            _encode(self._encoder, raw[classes == magnitude_class], _RAW_MODELS[magnitude_class])


def _group(indexes: Indexes, tables: SymbolTables) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Order that sorts a chunk by table, and the number of symbols of each table."""
    if indexes.dtype != np.uint8 or indexes.ndim != 1:
        raise BitstreamError(f"Table indexes must be a uint8 vector, not {indexes.dtype} {indexes.shape}.")
    counts = np.bincount(indexes, minlength=len(tables))
    if len(counts) > len(tables):
        raise BitstreamError(f"Table {len(counts) - 1} is asked for, but the model has {len(tables)} tables.")
    return np.argsort(indexes, kind="stable"), counts


def _exact_model(frequencies: NDArray[np.int32]) -> Any:
    """The model whose fixed-point probabilities are these very integers.

    constriction gives each of n symbols 1 and shares the other ``2**24 - n`` in proportion to the weights.
    The weights ``frequencies - 1`` sum to just that: its scale is exactly 1.0, its cumulative sums are exact.
    """
    return stream.model.Categorical((frequencies - 1).astype(np.float64), perfect=False)


_CLASS_STARTS = 1 << np.arange(20, dtype=np.int32)
_CLASS_MODEL = _exact_model(np.append(2**PRECISION >> np.arange(1, 20), 2**PRECISION >> 19).astype(np.int32))
_RAW_MODELS = [stream.model.Uniform(2 << magnitude_class) for magnitude_class in range(20)]

_models_of: WeakKeyDictionary[SymbolTables, list[Any]] = WeakKeyDictionary()


def _models(tables: SymbolTables) -> list[Any]:
    models = _models_of.get(tables)
    if models is None:
        models = [_exact_model(tables.row(table)) for table in range(len(tables))]
        _models_of[tables] = models
    return models


def _encode(encoder: Any, symbols: Symbols, model: Any) -> None:
    with _translated_errors("The symbols cannot be coded"):
        encoder.encode(symbols, model)


def _decode(decoder: Any, model: Any, count: int) -> Symbols:
    with _translated_errors("The compressed data are damaged"):
        return decoder.decode(model, count)


@contextmanager
def _translated_errors(what: str) -> Iterator[None]:
    """Turn whatever constriction raises into a BitstreamError; its panics are not even an `Exception`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BitstreamError(f"{what}: {reason}") from error
