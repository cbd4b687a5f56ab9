"""The entropy coder of docs/bitstream.md as a plain program: Python integers and tables, no library.

It is slow and short on purpose. The tests hold the real coder to it, byte for byte and in both directions.
"""

from bisect import bisect_right
from itertools import accumulate

CLASS_TABLE = [2 ** (23 - c) for c in range(19)] + [2**5]


class RangeEncoder:
    def __init__(self) -> None:
        self.low = 0
        self.size = 2**64 - 1
        self.words = 2

    def put(self, frequencies: list[int], position: int) -> None:
        scale = self.size >> 24
        self.low += scale * sum(frequencies[:position])
        self.size = scale * frequencies[position]
        if self.size < 2**32:
            self.low <<= 32
            self.size <<= 32
            self.words += 1

    def finish(self) -> bytes:
        zeros = 0
        while -(-self.low >> zeros + 1) << zeros + 1 < self.low + self.size and zeros < 32 * self.words:
            zeros += 1
        number = -(-self.low >> zeros) << zeros
        return number.to_bytes(4 * self.words, "big").rstrip(b"\0")


class RangeDecoder:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read = 8
        self.size = 2**64 - 1
        self.distance = int.from_bytes(data[:8].ljust(8, b"\0"), "big")

    def get(self, frequencies: list[int]) -> int:
        scale = self.size >> 24
        quantile = self.distance // scale
        if quantile >= 2**24:
            raise ValueError("damaged")
        starts = [0, *accumulate(frequencies)]
        position = bisect_right(starts, quantile) - 1
        self.distance -= scale * starts[position]
        self.size = scale * frequencies[position]
        if self.size < 2**32:
            word = self.data[self.read : self.read + 4].ljust(4, b"\0")
            self.distance = (self.distance << 32) + int.from_bytes(word, "big")
            self.size <<= 32
            self.read += 4
        return position

    def is_complete(self) -> bool:
        """Whether the payload is the one that an encoder would have written for what was read."""
        if not self.data:
            return True
        last = self.data[-1]
        if last == 0 or len(self.data) > self.read:
            return False
        step = (last & -last) << 8 * (self.read - len(self.data))
        return self.distance < step and self.distance + step >= self.size


def encode_chunk(coder: RangeEncoder, symbols: list[int], indexes: list[int], rows: list[list[int]]) -> None:
    escaped = []
    for symbol, table in sorted(zip(symbols, indexes, strict=True), key=lambda pair: pair[1]):
        half_width = len(rows[table]) // 2 - 1
        if abs(symbol) <= half_width:
            coder.put(rows[table], symbol + half_width)
        else:
            coder.put(rows[table], 2 * half_width + 1)
            escaped.append((symbol, abs(symbol) - half_width))
    for _, excess in escaped:
        coder.put(CLASS_TABLE, excess.bit_length() - 1)
    for symbol, excess in sorted(escaped, key=lambda pair: pair[1].bit_length()):
        count = 2 ** excess.bit_length()
        raw = 2 * (excess - count // 2) + (symbol < 0)
        coder.put([2**24 // count] * count, raw)


def decode_chunk(coder: RangeDecoder, indexes: list[int], rows: list[list[int]]) -> list[int]:
    symbols = [0] * len(indexes)
    escaped = []
    for place in sorted(range(len(indexes)), key=lambda place: indexes[place]):
        row = rows[indexes[place]]
        position = coder.get(row)
        symbols[place] = position - (len(row) // 2 - 1)
        if position == len(row) - 1:
            escaped.append(place)
    classes = {place: coder.get(CLASS_TABLE) for place in escaped}
    for place in sorted(escaped, key=classes.__getitem__):
        count = 2 ** (classes[place] + 1)
        raw = coder.get([2**24 // count] * count)
        magnitude = len(rows[indexes[place]]) // 2 - 1 + count // 2 + raw // 2
        symbols[place] = -magnitude if raw % 2 else magnitude
    return symbols
