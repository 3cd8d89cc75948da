"""Views: aspect ratio kept, grey scale free of exposure, one film alike at every resolution."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.errors import Refusal
from boneage.geometry import Transform
from boneage.phantom import draw_hand
from boneage.views import ViewSpec, cut_view, measure_grey, view_transform

FILM = draw_hand(9.0, height=640, width=480)


@pytest.mark.parametrize("rule", ["minmax", "percentile"])
def test_a_view_has_the_specs_shape_and_unit_variance_inside_the_film(rule: str) -> None:
    view = cut_view(FILM, ViewSpec(height=256, width=192, grey=rule))  # type: ignore[arg-type]
    assert view.shape == (256, 192)
    assert view.dtype == np.float32
    assert view.mean() == pytest.approx(0, abs=0.05)
    assert view.std() == pytest.approx(1, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 1.0), st.floats(0.0, 0.5))
def test_gain_and_offset_of_the_exposure_do_not_count(gain: float, offset: float) -> None:
    spec = ViewSpec(height=128, width=96)
    other = cut_view((FILM * gain + offset).astype(np.float32), spec)
    assert np.allclose(other, cut_view(FILM, spec), atol=5e-3)


@pytest.mark.parametrize("side", [320, 900, 1600, 2600])
def test_a_film_is_alike_at_every_resolution(side: int) -> None:
    spec = ViewSpec(height=256, width=192)
    reference = cut_view(draw_hand(9.0, height=1000, width=750), spec)
    large = draw_hand(9.0, height=1000, width=750)
    method = cv2.INTER_AREA if side < 1000 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(large, (side * 3 // 4, side), interpolation=method), dtype=np.float32)
    assert np.abs(cut_view(resized, spec) - reference).mean() < 0.05


def test_padding_is_the_films_darkest_level() -> None:
    spec = ViewSpec(height=100, width=100)
    view = cut_view(FILM, spec)
    assert np.allclose(view[:, :10], view.min(), atol=1e-5)


def test_the_transform_of_a_view_leads_back_to_the_film() -> None:
    spec = ViewSpec(height=256, width=256)
    transform = view_transform((2000, 1500), spec)
    corners = np.array([[0.0, 0.0], [1500.0, 2000.0]])
    assert np.allclose(transform.inverse().points(transform.points(corners)), corners, atol=0.01)


def test_no_jitter_and_the_identity_are_equal_to_the_bit() -> None:
    spec = ViewSpec(height=128, width=96)
    assert np.array_equal(cut_view(FILM, spec), cut_view(FILM, spec, jitter=Transform()))


def test_measured_grey_levels_bound_the_film() -> None:
    grey = measure_grey(FILM, "percentile")
    assert 0 <= grey.low < grey.mean < grey.high <= 1


@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_an_even_film_is_refused(level: float) -> None:
    with pytest.raises(Refusal) as refusal:
        cut_view(np.full((300, 200), level, dtype=np.float32), ViewSpec())
    assert refusal.value.code == "no_contrast"
