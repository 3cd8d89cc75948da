"""Measures of lost detail, on drawn hands."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.arrays import Image
from boneage.checks.detail import Detail, blockiness, blur
from boneage.checks.radiograph import detail_warnings
from boneage.evaluate.perturbations import compressed, shrunk
from boneage.geometry import Transform
from boneage.hand.registration import Hand
from boneage.hand.views import GreyScale, measure_grey
from boneage.phantom import draw_hand, phantom_points
from boneage.severity import Severity

HEIGHT, WIDTH = 400, 300
"""Shape of the drawn radiograph: that of a radiograph with a short side of 299 pixels."""


def drawn(height: int = HEIGHT, width: int = WIDTH) -> tuple[Image, Hand]:
    """Return a drawn radiograph with a little noise, and the hand on it."""
    whole = draw_hand(10.0, height=4 * height, width=4 * width)
    pixels = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(0).standard_normal(pixels.shape, dtype=np.float32)
    points_xy = phantom_points(height=height, width=width)
    hand = Hand(points_xy=points_xy, mask=(pixels > 0.15).astype(np.uint8), radiograph_to_mask=Transform())
    return np.asarray(np.clip(pixels + np.float32(0.01) * noise, 0, 1), np.float32), hand


PIXELS, HAND = drawn()
LENGTH = HAND.length_pixels


def grey_of(pixels: Image, hand: Hand) -> GreyScale:
    return measure_grey(pixels, "hand", hand)


def codes(pixels: Image, hand: Hand) -> list[tuple[str, Severity]]:
    return [(one.code.value, one.severity) for one in detail_warnings(Detail.of(pixels, hand, grey_of(pixels, hand)))]


def blurred(pixels: Image, share: float) -> Image:
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), share * LENGTH), np.float32)


def test_blur_rises_with_blur() -> None:
    pixels, hand = PIXELS, HAND
    series = [
        blur(each, hand, grey_of(each, hand)) for each in (pixels, *(blurred(pixels, k / 250) for k in (1, 2, 3, 5)))
    ]
    assert series == sorted(series)
    assert codes(pixels, hand) == []
    assert codes(blurred(pixels, 0.008), hand) == [("blurred", Severity.CAUTION)]
    assert codes(blurred(pixels, 0.03), hand) == [("blurred", Severity.CRITICAL)]


def test_detail_is_lost_before_there_is_a_warning() -> None:
    soft = Detail(blur=0.715, blockiness=1.0)
    assert soft.is_lost
    assert not list(detail_warnings(soft))
    assert not Detail.of(PIXELS, HAND, grey_of(PIXELS, HAND)).is_lost
    strong = compressed(PIXELS, 8)
    assert Detail.of(strong, HAND, grey_of(strong, HAND)).is_lost


def test_median_filter_has_a_warning() -> None:
    """It removes the detail of bones, and keeps edges sharp."""
    assert codes(np.asarray(cv2.medianBlur(PIXELS, 5), np.float32), HAND) == [("blurred", Severity.CAUTION)]


@pytest.mark.parametrize("size", [(12, 1), (1, 12)])
def test_blur_detects_movement_in_either_direction(size: tuple[int, int]) -> None:
    """A path of 5 % of the hand's length blurs along itself only."""
    moved = np.asarray(cv2.blur(PIXELS, size), np.float32)
    assert "blurred" in dict(codes(moved, HAND))


def test_blur_of_enlarged_radiograph() -> None:
    """A small image stays one after it was enlarged."""
    pixels, hand = PIXELS, HAND
    small = shrunk(pixels, 0.3)
    enlarged = cv2.resize(small, (pixels.shape[1], pixels.shape[0]), interpolation=cv2.INTER_CUBIC)
    assert "blurred" in dict(codes(np.clip(enlarged, 0, 1), hand))


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.2, 0.9), shift=st.floats(0, 0.1))
def test_detail_independent_of_brightness(factor: float, shift: float) -> None:
    pixels, hand = PIXELS, HAND
    other = np.asarray(factor * pixels + shift, np.float32)
    assert blur(other, hand, grey_of(other, hand)) == pytest.approx(blur(pixels, hand, grey_of(pixels, hand)), abs=0.02)
    assert blockiness(other, grey_of(other, hand)) == pytest.approx(blockiness(pixels, grey_of(pixels, hand)), abs=0.02)


@settings(max_examples=10, deadline=None)
@given(top=st.integers(0, 20), left=st.integers(0, 20), quality=st.sampled_from([4, 8]))
def test_blockiness_detects_a_grid_anywhere(top: int, left: int, quality: int) -> None:
    pixels, hand = PIXELS, HAND
    strong = np.ascontiguousarray(compressed(pixels, quality)[top:, left:])
    on_cut = hand.on(Transform.shift(left, top))
    assert "strongly_compressed" in dict(codes(strong, on_cut))
    assert "strongly_compressed" not in dict(codes(np.ascontiguousarray(pixels[top:, left:]), on_cut))


def test_blocks_of_a_large_hand_do_not_count() -> None:
    whole, hand = drawn(1200, 900)
    assert hand.length_pixels > 500
    assert codes(compressed(whole, 8), hand) == []


@pytest.mark.parametrize("shape", [(8, 100), (100, 8), (16, 16), (17, 40)])
def test_blockiness_of_few_or_even_pixels(shape: tuple[int, int]) -> None:
    grey = GreyScale(0.0, 1.0, 0.5, 0.2)
    assert blockiness(np.zeros(shape, np.float32), grey) == 1.0
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    assert 1.0 <= blockiness(noise, grey) < 3.8


def test_blur_of_an_even_hand() -> None:
    pixels, hand = PIXELS, HAND
    even = np.full_like(pixels, 0.5)
    assert blur(even, hand, GreyScale(0.0, 1.0, 0.5, 0.2)) == 0.0
