"""Files of a wanted size."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diptych.codec.codec import Codec
from diptych.codec.rate_control import fit
from diptych.errors import DiptychError
from samples import picture


@settings(deadline=None)
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
