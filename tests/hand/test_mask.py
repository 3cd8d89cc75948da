"""Mask of one hand from probabilities: the largest part, without holes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.hand.mask import THRESHOLD, components, filled, whole_hand, widened


@st.composite
def masks(draw: st.DrawFn) -> NDArray[np.uint8]:
    """Blots of all kinds, uint8 (h, w) of 0 and 1."""
    shape = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    share = draw(st.floats(0, 1))
    return (np.random.default_rng(draw(st.integers(0, 1000))).random(shape) < share).astype(np.uint8)


def drawn(text: str) -> NDArray[np.uint8]:
    """A mask from rows of ``#`` and ``.``."""
    return np.array([[place == "#" for place in row] for row in text.split()], np.uint8)


@settings(deadline=None)
@given(masks())
def test_components_partition_mask_largest_first(mask: NDArray[np.uint8]) -> None:
    parts = components(mask.astype(bool))
    assert np.array_equal(parts.sum(axis=0, dtype=np.uint8), mask)  # all of it, and nothing twice
    areas = [int(part.sum()) for part in parts]
    assert areas == sorted(areas, reverse=True)
    assert all(len(components(part.astype(bool))) == 1 for part in parts)


@settings(deadline=None)
@given(masks())
def test_filled_has_no_holes_and_same_outside(mask: NDArray[np.uint8]) -> None:
    whole = filled(mask)
    assert (whole >= mask).all()
    assert np.array_equal(filled(whole), whole)
    outside, labels = cv2.connectedComponents(np.pad(1 - whole, 1, constant_values=1), connectivity=4)
    assert outside == 2  # the mask, and one outside that reaches the border
    assert np.array_equal(labels[1:-1, 1:-1] == 0, whole.astype(bool))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("..... .###. .#.#. .###. .....", "..... .###. .###. .###. ....."),
        ("..... .###. .#.#. .#.#. .....", "..... .###. .#.#. .#.#. ....."),  # open below
        (".#. #.# .#.", ".#. ### .#."),  # touching by corners encloses
        ("### #.# #.#", "### #.# #.#"),  # a bay at the picture's border is none of the hand
        ("### #.# ###", "### ### ###"),
    ],
)
def test_filled_closes_holes_but_not_bays(before: str, after: str) -> None:
    assert np.array_equal(filled(drawn(before)), drawn(after))


def test_whole_hand_is_largest_part_without_holes() -> None:
    probability = np.zeros((60, 50), np.float32)
    cv2.circle(probability, (20, 30), 14, 0.9, -1)
    cv2.circle(probability, (20, 30), 4, 0.2, -1)  # a hole
    cv2.circle(probability, (44, 10), 4, 1.0, -1)  # a lead marker
    expected = np.zeros((60, 50), np.uint8)
    cv2.circle(expected, (20, 30), 14, 1, -1)
    mask = whole_hand(probability)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, expected)


def test_whole_hand_joins_parts_that_touch_by_corner() -> None:
    assert np.array_equal(whole_hand(drawn("#.. .#. ..#").astype(float)), drawn("#.. .#. ..#"))


@pytest.mark.parametrize("level", [0.0, THRESHOLD])
def test_whole_hand_empty_below_threshold(level: float) -> None:
    mask = whole_hand(np.full((7, 5), level))
    assert mask.shape == (7, 5)
    assert mask.dtype == np.uint8
    assert not mask.any()
    assert components(np.zeros((7, 5), bool)).shape == (0, 7, 5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), pixels=st.floats(0.0, 6.0))
def test_widened_mask_includes_margin(seed: int, pixels: float) -> None:
    mask = (np.random.default_rng(seed).random((24, 20)) < 0.01).astype(np.uint8)
    rows, columns = np.nonzero(mask)
    y, x = np.mgrid[:24, :20]
    away = np.hypot(y[..., None] - rows, x[..., None] - columns).min(axis=-1, initial=np.inf)
    wide = widened(mask, pixels)
    assert wide[away <= 0.95 * pixels].all()  # OpenCV measures to a few per cent
    assert not wide[away > 1.05 * pixels].any()
