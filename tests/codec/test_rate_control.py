"""Files of a wanted size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diptych.codec.codec import Codec
from diptych.codec.rate_control import fit, smallest
from diptych.errors import DiptychError
from samples import picture


@given(
    smallest=st.integers(1000, 10000),
    growth=st.floats(0.5, 5),
    bend=st.floats(0.7, 3),
    position=st.floats(0, 1),
)
def test_any_growing_size_is_hit_from_below(smallest: int, growth: float, bend: float, position: float) -> None:
    def encode(quality: float) -> bytes:
        calls.append(quality)
        return bytes(round(smallest * 2.718 ** (growth * (quality / 100) ** bend)))

    calls: list[float] = []
    target = len(encode(100 * position)) + 3
    fitted = fit(encode, target)
    assert len(fitted.data) <= target
    assert fitted.reached == (len(fitted.data) >= 0.98 * target)
    assert fitted.reached or fitted.quality == 100
    assert len(calls) <= 20


def test_real_files_hit_their_size(codec: Codec) -> None:
    image = picture(200, 150)
    for target in (1200, 2000, 4000):
        fitted = fit(lambda quality: codec.encode(image, quality), target)
        assert len(fitted.data) <= target
        assert fitted.reached == (len(fitted.data) >= 0.98 * target)
        assert codec.encode(image, fitted.quality) == fitted.data


def test_what_cannot_be_reached_is_said(codec: Codec) -> None:
    image = picture(60, 50)
    with pytest.raises(DiptychError, match="not enough: quality 0 takes"):
        fit(lambda quality: codec.encode(image, quality), 30)
    fitted = fit(lambda quality: codec.encode(image, quality), 10**6)
    assert (fitted.quality, fitted.reached) == (100, False)


@given(threshold=st.integers(0, 100), bend=st.floats(0.3, 3), start=st.floats(-50, 50), height=st.floats(0.01, 100))
def test_the_smallest_of_a_growing_score_is_found(threshold: int, bend: float, start: float, height: float) -> None:
    def score(data: bytes) -> float:
        return start + height * (len(data) / 100) ** bend

    found = smallest(lambda quality: bytes(round(quality)), score, score(bytes(threshold)))
    assert found.reached
    assert found.score == score(bytes(threshold))
    assert found.quality == len(found.data) <= threshold
    assert found.quality == 0 or score(bytes(found.quality - 1)) < found.score
    assert found.codings <= 15


@given(good=st.lists(st.booleans(), min_size=101, max_size=101), steady=st.booleans())
def test_what_is_found_is_good_enough_and_the_next_lower_is_not(good: list[bool], steady: bool) -> None:
    asked = []

    def encode(quality: float) -> bytes:
        asked.append(quality)
        return bytes(round(quality))

    found = smallest(encode, lambda data: float(good[len(data)]), 1, steady)
    assert found.reached == good[found.quality] == any(good[round(quality)] for quality in asked)
    assert not (found.reached and found.quality and good[found.quality - 1])
    assert found.codings == len(asked) == len(set(asked)) <= 17


def test_scores_that_go_up_and_down_are_searched_from_below() -> None:
    found = smallest(lambda quality: bytes(round(quality)), lambda data: 16 <= len(data) <= 20, 1, steady=False)
    assert found.quality == 16


@pytest.mark.parametrize("steady", [True, False])
def test_the_best_is_kept_where_none_is_good_enough(steady: bool) -> None:
    found = smallest(lambda quality: bytes(round(quality)), lambda data: min(70, len(data)), 99, steady)
    assert (found.score, found.reached) == (70, False)
    assert found.quality == (82 if steady else 70)
