import numpy as np
import pytest
from constriction import stream
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.bitstream import SCALES, SYMBOL_LIMIT, Decoder, encode, gaussian_tables
from diptych.bitstream.coder import _CLASS_MODEL, _RAW_MODELS, _models, _translated_errors
from diptych.errors import BitstreamError

from . import reference_coder as reference
from .strategies import TOTAL, messages, tables_from

relaxed = settings(max_examples=200)

GAUSSIAN = gaussian_tables()
GAUSSIAN_ROWS = [GAUSSIAN.row(table).tolist() for table in range(64)]


def decode(data, indexes, tables):
    decoder = Decoder(data, tables)
    symbols = [decoder.read(chunk) for chunk in indexes]
    decoder.close()
    return symbols


def reference_encode(chunks, rows):
    coder = reference.RangeEncoder()
    for symbols, indexes in chunks:
        reference.encode_chunk(coder, symbols.tolist(), indexes.tolist(), rows)
    return coder.finish()


def gaussian_chunk(seed, size, spread=1.0):
    random = np.random.default_rng(seed)
    indexes = random.integers(0, 64, size).astype(np.uint8)
    symbols = np.rint(random.normal(size=size) * SCALES[indexes] * spread).astype(np.int32)
    return symbols, indexes


@pytest.mark.slow
@relaxed
@given(messages())
def test_any_message_round_trips(message):
    rows, chunks = message
    tables = tables_from(rows)
    symbols = decode(encode(chunks, tables), [indexes for _, indexes in chunks], tables)
    for (expected, _), got in zip(chunks, symbols, strict=True):
        assert got.dtype == np.int32
        assert np.array_equal(got, expected)


@relaxed
@given(messages(symbol=st.integers(-400, 400)))
def test_the_specification_writes_and_reads_the_same_bytes(message):
    rows, chunks = message
    data = encode(chunks, tables_from(rows))
    assert data == reference_encode(chunks, rows)
    coder = reference.RangeDecoder(data)
    for symbols, indexes in chunks:
        assert reference.decode_chunk(coder, indexes.tolist(), rows) == symbols.tolist()
    assert coder.is_complete()


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_the_specification_reads_all_gaussian_tables_from_integers_alone(spread):
    chunks = [gaussian_chunk(seed, 2000, spread) for seed in (1, 2)]
    data = encode(chunks, GAUSSIAN)
    assert data == reference_encode(chunks, GAUSSIAN_ROWS)
    coder = reference.RangeDecoder(data)
    for symbols, indexes in chunks:
        assert reference.decode_chunk(coder, indexes.tolist(), GAUSSIAN_ROWS) == symbols.tolist()
    assert coder.is_complete()


def interval(model, symbol):
    """Start and size, out of 2**24, that constriction gives to a symbol."""
    encoder = stream.queue.RangeEncoder()
    encoder.encode(symbol, model)
    _, (lower, size) = encoder.pos()
    scale = (2**64 - 1) >> 24
    assert lower % scale == size % scale == 0
    return lower // scale, size // scale


@pytest.mark.parametrize("table", range(64))
def test_the_library_works_with_exactly_our_integers(table):
    start = 0
    for symbol, frequency in enumerate(GAUSSIAN_ROWS[table]):
        assert interval(_models(GAUSSIAN)[table], symbol) == (start, frequency)
        start += frequency
    assert start == TOTAL


def test_the_escape_code_works_with_exactly_its_integers():
    starts = np.cumsum([0, *reference.CLASS_TABLE]).tolist()
    assert starts[-1] == TOTAL
    for symbol, frequency in enumerate(reference.CLASS_TABLE):
        assert interval(_CLASS_MODEL, symbol) == (starts[symbol], frequency)
    for magnitude_class, model in enumerate(_RAW_MODELS):
        count = 2 << magnitude_class
        for symbol in (0, 1, count - 2, count - 1):
            assert interval(model, symbol) == (symbol * (TOTAL // count), TOTAL // count)


@pytest.mark.parametrize("size", [0, 1, 5, 1000])
def test_every_table_alone(size):
    for table in range(64):
        half_width = int(GAUSSIAN.half_width[table])
        symbols = np.resize(np.arange(-half_width - 2, half_width + 3), size).astype(np.int32)
        indexes = np.full(size, table, np.uint8)
        data = encode([(symbols, indexes)], GAUSSIAN)
        assert np.array_equal(decode(data, [indexes], GAUSSIAN)[0], symbols)


def test_every_symbol_may_escape():
    random = np.random.default_rng(3)
    symbols = random.integers(1 - SYMBOL_LIMIT, SYMBOL_LIMIT, 5000).astype(np.int32)
    indexes = random.integers(0, 64, 5000).astype(np.uint8)
    assert np.array_equal(decode(encode([(symbols, indexes)], GAUSSIAN), [indexes], GAUSSIAN)[0], symbols)


def test_nothing_costs_nothing():
    none = np.zeros(0, np.int32), np.zeros(0, np.uint8)
    assert encode([], GAUSSIAN) == encode([none, none], GAUSSIAN) == b""
    assert [chunk.size for chunk in decode(b"", [none[1], none[1]], GAUSSIAN)] == [0, 0]
    certain = tables_from([[TOTAL - 3, 1, 1, 1]])
    symbols, indexes = np.full(100, -1, np.int32), np.zeros(100, np.uint8)
    assert encode([(symbols, indexes)], certain) == b""
    assert np.array_equal(decode(b"", [indexes], certain)[0], symbols)


def test_size_is_close_to_the_information():
    symbols, indexes = gaussian_chunk(5, 20000)
    inside = np.abs(symbols) <= GAUSSIAN.half_width[indexes]
    symbols[~inside] = 0
    frequencies = GAUSSIAN.frequencies[indexes, symbols + GAUSSIAN.half_width[indexes]]
    information = -np.log2(frequencies / TOTAL).sum() / 8
    assert information < len(encode([(symbols, indexes)], GAUSSIAN)) < 1.0001 * information + 2


GOLDEN_ROWS = [
    [1000, 5000000, 7000000, 4770000, 6000, 216],
    [TOTAL - 100, 100],
    [2, 20, 200, 2000, 20000, 200000, TOTAL - 222322, 100],
]
GOLDEN_CHUNKS = [([0, 0, 1, -1, 2], [1, 0, 0, 0, 0]), ([-9, 3, -1, 1, 0, 1048575, -2], [1, 2, 2, 0, 1, 2, 0])]
GOLDEN_PAYLOAD = "a1c3a78c0a0b0032963003ec9fe86f1660"


def test_golden_bytes():
    chunks = [(np.array(s, np.int32), np.array(i, np.uint8)) for s, i in GOLDEN_CHUNKS]
    tables = tables_from(GOLDEN_ROWS)
    assert encode(chunks, tables).hex() == GOLDEN_PAYLOAD
    decoded = decode(bytes.fromhex(GOLDEN_PAYLOAD), [indexes for _, indexes in chunks], tables)
    assert [symbols.tolist() for symbols in decoded] == [symbols for symbols, _ in GOLDEN_CHUNKS]


@relaxed
@given(messages(), st.binary(min_size=1, max_size=9))
def test_trailing_bytes_are_refused(message, tail):
    rows, chunks = message
    tables = tables_from(rows)
    data = encode(chunks, tables)
    with pytest.raises(BitstreamError):
        decode(data + tail, [indexes for _, indexes in chunks], tables)


@pytest.mark.slow
@relaxed
@given(messages(), st.data())
def test_a_payload_that_is_accepted_is_the_code_of_its_symbols(message, data):
    rows, chunks = message
    tables = tables_from(rows)
    payload = bytearray(encode(chunks, tables) or b"\1")
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    indexes = [chunk for _, chunk in chunks]
    coder = reference.RangeDecoder(bytes(payload))
    try:
        symbols = decode(bytes(payload), indexes, tables)
    except BitstreamError:
        return
    assert encode(zip(symbols, indexes, strict=True), tables) == payload
    assert [reference.decode_chunk(coder, chunk.tolist(), rows) for chunk in indexes] == [
        chunk.tolist() for chunk in symbols
    ]
    assert coder.is_complete()


@relaxed
@given(st.binary(max_size=30), st.integers(0, 50))
def test_random_payloads_give_symbols_or_one_error(payload, count):
    indexes = np.arange(count, dtype=np.uint8) % 64
    coder = reference.RangeDecoder(payload)
    try:
        expected = reference.decode_chunk(coder, indexes.tolist(), GAUSSIAN_ROWS)
        complete = coder.is_complete() and max(map(abs, expected), default=0) < SYMBOL_LIMIT
    except ValueError:
        complete = False
    if complete:
        assert decode(payload, [indexes], GAUSSIAN)[0].tolist() == expected
    else:
        with pytest.raises(BitstreamError):
            decode(payload, [indexes], GAUSSIAN)


def test_truncated_payloads_are_refused_or_mean_other_symbols():
    symbols, indexes = gaussian_chunk(7, 200)
    data = encode([(symbols, indexes)], GAUSSIAN)
    for length in range(len(data)):
        try:
            other = decode(data[:length], [indexes], GAUSSIAN)[0]
        except BitstreamError:
            continue
        assert not np.array_equal(other, symbols)


def test_a_symbol_beyond_the_limit_is_refused_by_the_decoder():
    rows = [[1, 1, 1, 1, 1, TOTAL - 5]]
    coder = reference.RangeEncoder()
    reference.encode_chunk(coder, [SYMBOL_LIMIT + 1], [0], rows)
    with pytest.raises(BitstreamError, match="too large"):
        decode(coder.finish(), [np.zeros(1, np.uint8)], tables_from(rows))


@pytest.mark.parametrize("symbol", [SYMBOL_LIMIT, -SYMBOL_LIMIT, 2**31 - 1, -(2**31)])
def test_symbols_beyond_the_limit_are_refused_by_the_encoder(symbol):
    with pytest.raises(BitstreamError, match="too large"):
        encode([(np.array([symbol], np.int32), np.zeros(1, np.uint8))], GAUSSIAN)


@pytest.mark.parametrize(
    ("symbols", "indexes", "message"),
    [
        (np.zeros(3, np.int64), np.zeros(3, np.uint8), "int32"),
        (np.zeros(3, np.float32), np.zeros(3, np.uint8), "int32"),
        (np.zeros(3, np.int32), np.zeros(4, np.uint8), "as many"),
        (np.zeros(3, np.int32), np.zeros(3, np.int64), "uint8"),
        (np.zeros((3, 1), np.int32), np.zeros((3, 1), np.uint8), "vector"),
        (np.zeros(3, np.int32), np.full(3, 64, np.uint8), "Table 64"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(symbols, indexes, message):
    with pytest.raises(BitstreamError, match=message):
        encode([(symbols, indexes)], GAUSSIAN)


def test_the_decoder_refuses_unknown_tables():
    with pytest.raises(BitstreamError, match="Table 255"):
        Decoder(b"abc", GAUSSIAN).read(np.full(3, 255, np.uint8))
    with pytest.raises(BitstreamError, match="uint8"):
        Decoder(b"abc", GAUSSIAN).read(np.zeros(3, np.int32))


def test_panics_of_the_library_become_bitstream_errors():
    with pytest.raises(BaseException, match="range > 1") as panic:
        stream.model.Uniform(1)
    assert not isinstance(panic.value, Exception)
    with pytest.raises(BitstreamError, match="damaged"), _translated_errors("The data are damaged"):
        stream.model.Uniform(1)


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), AssertionError(), ValueError("x\ny")])
def test_errors_of_the_library_become_bitstream_errors(error):
    with pytest.raises(BitstreamError) as caught, _translated_errors("Damaged"):
        raise error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_errors_of_others_pass(error):
    with pytest.raises(error), _translated_errors("Damaged"):
        raise error
