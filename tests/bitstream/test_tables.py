import math
import sys
from itertools import pairwise
from subprocess import run

import numpy as np
import pytest

from diptych.bitstream import SCALES, SymbolTables, gaussian_tables
from diptych.errors import ModelError

TOTAL = 2**24


@pytest.fixture(scope="module")
def gaussian() -> SymbolTables:
    return gaussian_tables()


def test_scales_span_the_range_in_equal_ratios():
    assert len(SCALES) == 64
    assert SCALES[0] == pytest.approx(0.11)
    assert SCALES[-1] == pytest.approx(64)
    assert np.ptp(np.diff(np.log(SCALES))) < 1e-12


def test_gaussian_rows_are_symmetric_and_complete(gaussian):
    assert len(gaussian) == 64
    for table in range(64):
        *symbols, escape = gaussian.row(table).tolist()
        assert symbols == symbols[::-1]
        assert sum(symbols) + escape == TOTAL
        assert min(symbols) >= 1
        assert 2**-18 <= escape / TOTAL <= 2**-16 * 1.001
        assert max(symbols) == symbols[len(symbols) // 2]


def test_gaussian_rows_grow_with_their_scale(gaussian):
    assert gaussian.half_width[0] == 0
    assert all(narrow <= wide for narrow, wide in pairwise(gaussian.half_width.tolist()))
    assert gaussian.frequencies.shape[1] == 2 * gaussian.half_width.max() + 2


@pytest.mark.parametrize("table", range(0, 64, 9))
def test_gaussian_rows_cost_no_more_than_the_density_they_stand_for(gaussian, table):
    scale = float(SCALES[table])
    half_width = int(gaussian.half_width[table])
    mass = [
        (math.erf((k + 0.5) / (scale * math.sqrt(2))) - math.erf((k - 0.5) / (scale * math.sqrt(2)))) / 2
        for k in range(-half_width, half_width + 1)
    ]
    coded = gaussian.row(table)[:-1] / TOTAL
    extra_bits = sum(p * math.log2(p / q) for p, q in zip(mass, coded, strict=True))
    assert extra_bits < 1e-4


def test_arrays_round_trip(gaussian):
    again = SymbolTables.from_arrays({**gaussian.to_arrays(), "other": np.zeros(3)})
    assert np.array_equal(again.half_width, gaussian.half_width)
    assert np.array_equal(again.frequencies, gaussian.frequencies)


def test_tables_cannot_change_behind_the_coder():
    half_width, frequencies = np.zeros(1, np.int32), np.array([[TOTAL - 1, 1]], np.int32)
    tables = SymbolTables(half_width, frequencies)
    frequencies[0] = 0
    assert tables.row(0).tolist() == [TOTAL - 1, 1]
    with pytest.raises(ValueError, match="read-only"):
        tables.frequencies[0, 0] = 5


def test_asymmetric_tables_are_welcome():
    tables = SymbolTables(np.array([1], np.int32), np.array([[5, 6, TOTAL - 12, 1, 0]], np.int32))
    assert tables.row(0).tolist() == [5, 6, TOTAL - 12, 1]


HALF = TOTAL // 2


@pytest.mark.parametrize(
    ("half_width", "frequencies", "message"),
    [
        (np.zeros(1, np.int64), np.array([[HALF, HALF]], np.int32), "int32"),
        (np.zeros(1, np.int32), np.array([[0.5, 0.5]], np.float32), "int32"),
        (np.zeros((1, 1), np.int32), np.array([[HALF, HALF]], np.int32), "shapes"),
        (np.zeros(1, np.int32), np.array([HALF, HALF], np.int32), "shapes"),
        (np.zeros(2, np.int32), np.array([[HALF, HALF]], np.int32), "shapes"),
        (np.zeros(0, np.int32), np.zeros((0, 2), np.int32), "0 of them"),
        (np.zeros(257, np.int32), np.full((257, 2), HALF, np.int32), "257 of them"),
        (np.array([-1], np.int32), np.array([[TOTAL, 0]], np.int32), "half width"),
        (np.array([2**15], np.int32), np.array([[HALF, HALF]], np.int32), "half width"),
        (np.array([1], np.int32), np.array([[HALF, HALF]], np.int32), "does not fit"),
        (np.array([0], np.int32), np.zeros((1, 0), np.int32), "does not fit"),
        (np.array([0], np.int32), np.array([[TOTAL, 0]], np.int32), "below 1"),
        (np.array([0], np.int32), np.array([[TOTAL + 1, -1]], np.int32), "below 1"),
        (np.array([0], np.int32), np.array([[HALF, HALF - 1, 1]], np.int32), "behind the escape"),
        (np.array([0], np.int32), np.array([[HALF, HALF + 1]], np.int32), "sum"),
    ],
)
def test_unusable_arrays_are_refused(half_width, frequencies, message):
    with pytest.raises(ModelError, match=message) as error:
        SymbolTables.from_arrays({"half_width": half_width, "frequencies": frequencies})
    assert str(error.value).endswith(".")


@pytest.mark.parametrize("missing", ["half_width", "frequencies"])
def test_missing_arrays_are_named(gaussian, missing):
    arrays = gaussian.to_arrays()
    del arrays[missing]
    with pytest.raises(ModelError, match=missing):
        SymbolTables.from_arrays(arrays)


def test_importing_the_bitstream_does_not_import_torch():
    program = "import sys, diptych.bitstream; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", program], check=False).returncode == 0
