"""Augmentation by lost detail, on a drawn hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.arrays import Image
from boneage.phantom import draw_hand
from boneage.train.data import lost_detail
from boneage.train.data.lost_detail import with_lost_detail

PIXELS = np.asarray(
    cv2.resize(draw_hand(10.0, height=1200, width=900), (225, 300), interpolation=cv2.INTER_AREA), np.float32
)
LENGTH = 160.0


def detail(pixels: Image) -> float:
    """Return the mean difference of a radiograph from its smoothed copy."""
    return float(np.abs(pixels - cv2.GaussianBlur(pixels, (0, 0), 1.0)).mean())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 9_999), height=st.integers(30, 90), width=st.integers(30, 90))
def test_with_lost_detail_returns_new_radiograph(seed: int, height: int, width: int) -> None:
    pixels = np.random.default_rng(seed).random((height, width), dtype=np.float32)
    before = pixels.copy()
    first, second = (with_lost_detail(pixels, 40.0, 0.5, np.random.default_rng(seed)) for _ in range(2))
    assert first.dtype == np.float32
    assert first.shape == pixels.shape
    assert 0 <= first.min() <= first.max() <= 1.001
    assert np.array_equal(first, second)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("kind", ["_blurred", "_moved", "_reduced", "_compressed", "_despeckled"])
def test_each_kind_of_lost_detail_loses_detail(kind: str) -> None:
    """Each draw keeps the brightness and, where it is strong enough to matter, loses detail."""
    changed = [getattr(lost_detail, kind)(PIXELS, LENGTH, 0.6, np.random.default_rng(seed)) for seed in range(20)]
    assert max(abs(float(one.mean() - PIXELS.mean())) for one in changed) < 0.02
    kept = np.array([detail(one) / detail(PIXELS) for one in changed])
    assert kept.max() < 1.1
    assert kept.min() < (1.0 if kind == "_compressed" else 0.7)


def test_movement_blurs_along_its_path_only() -> None:
    """A single bright pixel becomes a line of about the length of the path."""
    dot = np.zeros((81, 81), np.float32)
    dot[40, 40] = 1.0
    for seed in range(20):
        line = lost_detail._moved(dot, 400.0, 1.0, np.random.default_rng(seed))
        rows, columns = np.nonzero(line > 1e-6)
        length = float(np.hypot(np.ptp(rows), np.ptp(columns)))
        assert line.sum() == pytest.approx(1.0, abs=1e-3)
        assert 2 <= length <= 0.06 * 400 + 2
        assert len(rows) <= 1.5 * length + 2


def test_noise_follows_the_grey_range() -> None:
    even = np.full((200, 200), 0.5, np.float32)
    for seed in range(10):
        small, large = (
            lost_detail._noisy(even, LENGTH, grey_range, np.random.default_rng(seed)).std() for grey_range in (0.1, 0.4)
        )
        assert 0.0009 < small < 0.0065
        assert large == pytest.approx(4 * small, rel=0.02)


def test_reduction_leaves_a_small_hand_alone() -> None:
    assert lost_detail._reduced(PIXELS, 50.0, 1.0, np.random.default_rng(0)) is PIXELS


def test_median_filter_removes_speckles_and_keeps_edges() -> None:
    """Single bright pixels vanish, and a straight edge stays where it was."""
    halves = np.zeros((60, 80), np.float32)
    halves[:, 40:] = 0.8
    speckled = halves.copy()
    speckled[5::10, 3:40:10] = 1.0
    for seed in range(20):
        filtered = lost_detail._despeckled(speckled, LENGTH, 1.0, np.random.default_rng(seed))
        assert np.abs(filtered - halves).max() < 0.003
