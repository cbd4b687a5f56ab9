"""The ``.dip`` file: container, entropy coder, probability tables. On numpy and constriction, never torch."""

from diptych.bitstream.coder import SCALES, SYMBOL_LIMIT, Decoder, SymbolTables, encode, gaussian_tables
from diptych.bitstream.container import (
    HINT_STEPS,
    ONE_TILE_PIXELS,
    Container,
    Header,
    pack,
    padded_area,
    read_header,
    unpack,
    unpack_whole_tiles,
)

__all__ = [
    "HINT_STEPS",
    "ONE_TILE_PIXELS",
    "SCALES",
    "SYMBOL_LIMIT",
    "Container",
    "Decoder",
    "Header",
    "SymbolTables",
    "encode",
    "gaussian_tables",
    "pack",
    "padded_area",
    "read_header",
    "unpack",
    "unpack_whole_tiles",
]
