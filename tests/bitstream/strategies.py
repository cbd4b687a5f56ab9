"""Tables and chunks to test with."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from diptych.bitstream import SYMBOL_LIMIT, SymbolTables

TOTAL = 2**24


def tables_from(rows: list[list[int]]) -> SymbolTables:
    frequencies = np.zeros((len(rows), max(map(len, rows))), dtype=np.int32)
    for target, row in zip(frequencies, rows, strict=True):
        target[: len(row)] = row
    return SymbolTables(np.array([len(row) // 2 - 1 for row in rows], dtype=np.int32), frequencies)


@st.composite
def rows(draw) -> list[int]:
    """A row of any shape: flat, skewed, or nearly all on one symbol."""
    half_width = draw(st.integers(0, 4))
    size = 2 * half_width + 2
    if draw(st.booleans()):
        likely = draw(st.integers(0, size - 1))
        return [TOTAL - (size - 1) if position == likely else 1 for position in range(size)]
    cuts = draw(st.lists(st.integers(1, TOTAL - 1), min_size=size - 1, max_size=size - 1, unique=True))
    edges = [0, *sorted(cuts), TOTAL]
    return [after - before for before, after in pairwise(edges)]


row_lists = st.lists(rows(), min_size=1, max_size=5)

any_symbol = st.one_of(
    st.integers(-6, 6),
    st.sampled_from([SYMBOL_LIMIT - 1, 1 - SYMBOL_LIMIT]),
    st.integers(1 - SYMBOL_LIMIT, SYMBOL_LIMIT - 1),
)

Chunk = tuple[np.ndarray, np.ndarray]


@st.composite
def messages(draw, symbol=any_symbol) -> tuple[list[list[int]], list[Chunk]]:
    """Rows of tables, and chunks of symbols with their indexes into them."""
    table_rows = draw(row_lists)
    pair = st.tuples(symbol, st.integers(0, len(table_rows) - 1))
    chunks = draw(st.lists(st.lists(pair, max_size=40), max_size=3))
    return table_rows, [
        (
            np.array([symbol for symbol, _ in chunk], dtype=np.int32),
            np.array([index for _, index in chunk], dtype=np.uint8),
        )
        for chunk in chunks
    ]
