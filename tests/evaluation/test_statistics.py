import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.evaluation.statistics import bd_rate, bootstrap, interval, rate_for, resamples

RATES = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])


def quality(rate: np.ndarray) -> np.ndarray:
    return 30 + 4 * np.log2(rate) - 0.2 * np.log2(rate) ** 2


def test_resamples_depend_on_the_seed_alone() -> None:
    assert np.array_equal(resamples(9, 50, seed=3), resamples(9, 50, seed=3))
    assert not np.array_equal(resamples(9, 50, seed=3), resamples(9, 50, seed=4))
    assert resamples(9, 50).shape == (50, 9)


def test_interval_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(10, 2, 400)
    found = bootstrap(values, resamples(400, 2000))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * 2 / math.sqrt(400), rel=0.15)
    assert found.low < found.value < found.high


def test_paired_difference_is_narrower_than_the_means() -> None:
    rng = np.random.default_rng(0)
    ours, drawn = rng.normal(30, 5, 100), resamples(100)
    theirs = ours - 0.5 + rng.normal(0, 0.1, 100)
    alone, paired = bootstrap(ours, drawn), bootstrap(ours - theirs, drawn)
    assert paired.low > 0.4
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)


def test_missing_values_do_not_count() -> None:
    assert bootstrap([1, math.nan, 3], resamples(3)).value == 2
    assert bootstrap([1, 2, 9, math.nan], resamples(4), np.nanmedian).value == 2
    nothing = bootstrap([math.nan] * 3, resamples(3))
    assert all(math.isnan(v) for v in nothing)
    assert all(math.isnan(v) for v in interval(1, [math.nan])[1:])


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=20), st.floats(-50, 50))
def test_intervals_move_with_their_values(values: list[float], offset: float) -> None:
    drawn = resamples(len(values), 50)
    still, moved = bootstrap(values, drawn), bootstrap(np.array(values) + offset, drawn)
    assert np.allclose(np.array(still) + offset, moved, atol=1e-9)
    assert min(values) - 1e-9 <= still.low <= still.high <= max(values) + 1e-9


@given(st.floats(0.3, 3))
def test_bd_rate_of_a_scaled_curve(factor: float) -> None:
    dense = np.geomspace(0.01, 8, 60)
    found = bd_rate((dense, quality(dense)), (dense * factor, quality(dense)), (0.05, 2))
    assert not found.problem
    assert found.percent == pytest.approx(100 * (factor - 1), abs=0.2)


def test_bd_rate_of_a_curve_against_itself_is_zero() -> None:
    found = bd_rate((RATES, quality(RATES)), (RATES, quality(RATES)))
    assert found.percent == pytest.approx(0, abs=1e-9)
    assert found.shared == pytest.approx((quality(np.array(0.1)), quality(np.array(0.8))))


def test_bd_rate_sees_only_its_range() -> None:
    better_above = quality(RATES) + np.where(RATES > 0.5, 2, 0)
    assert bd_rate((RATES, quality(RATES)), (RATES, better_above), (0.05, 0.4)).percent == pytest.approx(
        0, abs=1e-9
    )
    assert bd_rate((RATES, quality(RATES)), (RATES, better_above), (0.05, 1.6)).percent < -5


def test_bd_rate_does_not_depend_on_the_points_chosen() -> None:
    coarse, fine = np.geomspace(0.03, 3, 9), np.geomspace(0.04, 2, 40)
    found = bd_rate((coarse, quality(coarse)), (fine * 0.8, quality(fine)))
    assert found.percent == pytest.approx(-20, abs=0.3)


def test_points_that_cost_more_and_show_less_are_left_out() -> None:
    rates, qualities = np.append(RATES, 0.3), np.append(quality(RATES), 19)
    assert bd_rate((RATES, quality(RATES)), (rates, qualities)).percent == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("tested", "problem"),
    [
        ((RATES, quality(RATES) + 100), "the anchor stays below the other"),
        ((RATES, quality(RATES) - 100), "the tested codec stays below the other"),
        (([0.2], [30]), "the tested codec has no curve"),
        (([2, 3], [30, 31]), "the tested codec has no curve"),
    ],
)
def test_no_bd_rate_without_overlap(tested: tuple, problem: str) -> None:
    found = bd_rate((RATES, quality(RATES)), tested)
    assert math.isnan(found.percent)
    assert problem in found.problem


@given(st.floats(0.05, 1.6))
def test_rate_for_a_quality_of_the_curve(rate: float) -> None:
    dense = np.geomspace(0.04, 2, 200)
    assert rate_for((dense, quality(dense)), float(quality(np.array(rate)))) == pytest.approx(rate, rel=1e-4)


def test_rate_for_points_of_the_curve() -> None:
    rates, qualities = [0.4, 0.1, 0.2, 0.3], [0.5, 0.2, 0.4, 0.3]
    assert rate_for((rates, qualities), 0.4) == pytest.approx(0.2)
    assert 0.2 < rate_for((rates, qualities), 0.45) < 0.4
    assert rate_for((rates, qualities), 0.1) == 0.1
    assert rate_for((rates, qualities), 0.51) == math.inf
    assert math.isnan(rate_for((rates, qualities), math.nan))
    assert math.isnan(rate_for(([0.1], [math.nan]), 0.2))


@given(
    st.lists(st.floats(0.01, 2), min_size=2, max_size=6, unique=True),
    st.lists(st.floats(0.01, 2), min_size=2, max_size=6, unique=True),
    st.data(),
)
def test_any_two_curves_have_a_rate_or_a_reason(
    rates: list[float], others: list[float], data: st.DataObject
) -> None:
    scores = st.floats(-5, 5, allow_subnormal=False) | st.sampled_from([0.0, 1.0, math.nan])
    curves = [
        (np.array(sorted(one)), np.array(data.draw(st.lists(scores, min_size=len(one), max_size=len(one)))))
        for one in (rates, others)
    ]
    bound = data.draw(st.sampled_from([0.1, *rates]))
    found = bd_rate(*curves, (bound * (1 + data.draw(st.sampled_from([-3e-16, 0, 3e-16]))), 1.5))
    assert math.isnan(found.percent) == bool(found.problem)
