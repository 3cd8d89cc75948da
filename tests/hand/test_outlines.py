"""Outlines traced from probabilities: where they lie on the radiograph, and what is not drawn."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.hand.bones import BONES, tile_corner, tile_sides, tile_to_radiograph
from boneage.hand.outlines import LEAST_CERTAINTY, Outline, trace_outlines
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec
from tests.hand.test_bones import hand_on

SPEC = ViewSpec("bones", 144, 288, "hand")
SIDE = tile_sides(SPEC)[0]
INDEX = {bone.name: number for number, bone in enumerate(BONES)}


def probabilities(name: str, tile: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the output of a network that shows something on one tile only."""
    whole = np.zeros((SPEC.height, SPEC.width), np.float32)
    row, column = tile_corner(INDEX[name], SPEC)
    whole[row : row + SIDE, column : column + SIDE] = tile
    return whole


def disc(x: float, y: float, radius: float) -> NDArray[np.float64]:
    """Return a disc on a tile, with an edge of about a pixel."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.asarray(1 / (1 + np.exp(4 * (np.hypot(columns - x, rows - y) - radius))))


def bar(top: int, bottom: int) -> NDArray[np.float64]:
    tile = np.zeros((SIDE, SIDE))
    tile[top:bottom, 8:40] = 1.0
    return tile


def area(outline: Outline) -> float:
    return float(cv2.contourArea(outline.astype(np.float32)))


def centroid(outline: Outline) -> tuple[float, float]:
    moments = cv2.moments(outline.astype(np.float32))
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def pixel_area(name: str, hand: Hand) -> float:
    """Return the area of a pixel of a tile, square pixels of the radiograph."""
    return tile_to_radiograph(hand, INDEX[name], SPEC).zoom ** 2


@given(
    name=st.sampled_from(sorted(INDEX)),
    x=st.floats(14, SIDE - 14),
    y=st.floats(14, SIDE - 14),
    radius=st.floats(5, 9),
)
@settings(deadline=None, max_examples=25)
def test_disc_is_outlined_in_its_place(name: str, x: float, y: float, radius: float) -> None:
    hand = hand_on()
    outlines = trace_outlines(probabilities(name, disc(x, y, radius)), SPEC, hand)
    assert set(outlines) == set(INDEX)
    (outline,) = outlines[name]
    row, column = tile_corner(INDEX[name], SPEC)
    to_radiograph = tile_to_radiograph(hand, INDEX[name], SPEC)
    centre = to_radiograph.points(np.array([[column + x, row + y]]))[0]
    np.testing.assert_allclose(centroid(outline), centre, atol=0.4 * to_radiograph.zoom)
    assert area(outline) == pytest.approx(math.pi * radius**2 * pixel_area(name, hand), rel=0.08)
    assert not any(others for other, others in outlines.items() if other != name)


def test_thin_epiphysis_keeps_its_area() -> None:
    hand = hand_on()
    (outline,) = trace_outlines(probabilities("pip_3", bar(20, 23)), SPEC, hand)["pip_3"]
    assert area(outline) == pytest.approx(3 * 32 * pixel_area("pip_3", hand), rel=0.1)


def test_outlines_are_ordered_by_size() -> None:
    tile = np.maximum(disc(12, 12, 5), disc(32, 32, 8))
    small_last = trace_outlines(probabilities("carpals", tile), SPEC, hand_on())["carpals"]
    assert len(small_last) == 2
    assert area(small_last[0]) > area(small_last[1])


@pytest.mark.parametrize(
    "tile",
    [
        np.zeros((SIDE, SIDE)),
        disc(20, 20, 0.6),  # too small
        (LEAST_CERTAINTY - 0.05) * disc(24, 24, 9),  # uncertain
        0.49 * np.ones((SIDE, SIDE)),
    ],
)
def test_uncertain_and_tiny_parts_are_not_drawn(tile: NDArray[np.floating]) -> None:
    assert trace_outlines(probabilities("mcp_2", tile), SPEC, hand_on())["mcp_2"] == ()


def test_unreadable_bones_have_no_outlines() -> None:
    outlines = trace_outlines(probabilities("radius", disc(24, 24, 9)), SPEC, hand_on(), {"radius"})
    assert "radius" not in outlines and "ulna" in outlines


def test_outlines_need_joints() -> None:
    hand = Hand.at(hand_on().points_xy)
    with pytest.raises(ValueError, match="needs the joints"):
        trace_outlines(probabilities("radius", disc(24, 24, 9)), SPEC, hand)
