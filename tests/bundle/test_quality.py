"""The quality network's limits and view."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.bundle.quality import (
    CAUTION_SHARES,
    CRITICAL_SHARES,
    QUALITY_LABELS,
    QualityLabel,
    QualityLimit,
    quality_view,
)
from boneage.hand.borders import inner_window
from boneage.hand.registration import Hand
from boneage.phantom import draw_hand, phantom_points


@given(
    label=st.sampled_from(QUALITY_LABELS),
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=3000),
)
def test_quality_limit_share_of_radiographs_above(label: QualityLabel, probabilities: list[float]) -> None:
    limit = QualityLimit.of(label, np.array(probabilities))
    above = np.array(probabilities) > limit.caution
    assert above.mean() <= CAUTION_SHARES.get(label, 0)
    assert 0.1 <= limit.caution <= 1
    if label in CRITICAL_SHARES:
        assert limit.critical is not None
        assert (np.array(probabilities) > limit.critical).mean() <= CRITICAL_SHARES[label]
        assert limit.critical >= limit.caution
    else:
        assert limit.critical is None


def test_quality_limit_is_the_lowest() -> None:
    probabilities = np.linspace(0, 1, 2001)
    limit = QualityLimit.of("plaster", probabilities)
    assert limit.caution == pytest.approx(1 - CAUTION_SHARES["plaster"], abs=6e-4)
    assert limit.critical == pytest.approx(1 - CRITICAL_SHARES["plaster"], abs=6e-4)


def test_quality_view_of_an_inverted_radiograph() -> None:
    radiograph = draw_hand(8.0, height=400, width=300)
    points_xy = phantom_points(height=400, width=300)
    mask = np.ones((1, 1), np.uint8)
    upright = Hand(points_xy, mask, Hand.at(points_xy).radiograph_to_mask)
    negative = Hand(points_xy, mask, Hand.at(points_xy).radiograph_to_mask, inverted=True)
    view = quality_view(radiograph, upright, 80, 72)
    assert view.shape == (80, 72)
    assert view.std() > 0.5
    np.testing.assert_allclose(quality_view(1 - radiograph, negative, 80, 72), view, atol=1e-3)


def test_quality_view_without_effect_of_a_far_border() -> None:
    radiograph = draw_hand(8.0, height=400, width=300)
    points_xy = phantom_points(height=400, width=300)
    view = quality_view(radiograph, Hand.at(points_xy), 80, 72)
    wide = np.pad(radiograph, 400, constant_values=np.float32(radiograph.min()))
    framed = quality_view(wide, Hand.at(points_xy + 400), 80, 72)
    hand = view > 0.5
    assert abs(float(framed[hand].mean() - view[hand].mean())) < 0.2


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_view_on_a_canvas_is_that_of_the_radiograph(grey: float, inverted: bool) -> None:
    """The canvas's edge, which looks like that of a photographed screen, is not on the view."""
    grain = np.random.default_rng(0).normal(0, 0.04, (400, 300)).astype(np.float32)  # no even border of its own
    radiograph = 0.2 + 0.6 * np.clip(draw_hand(8.0, height=400, width=300) + grain, 0, 1)
    radiograph = 1 - radiograph if inverted else radiograph
    points_xy = phantom_points(height=400, width=300)
    canvas = np.full((800, 800), grey, np.float32)
    canvas[150:550, 220:520] = radiograph
    hand = replace(Hand.at(points_xy), inverted=inverted)
    moved = replace(Hand.at(points_xy + np.array([220, 150])), inverted=inverted)
    view = quality_view(radiograph, hand, 80, 72)
    on_canvas = quality_view(canvas, moved, 80, 72)
    np.testing.assert_allclose(on_canvas, view, atol=0.02)
    assert np.array_equal(quality_view(canvas, moved, 80, 72, inner_window(canvas)), on_canvas)
