"""Augmentation stays within what the recipe allows, and is the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.train.data.augment import draw_change
from boneage.train.recipe import Augmentation

OPTIONS = Augmentation(rotation_degrees=20, zoom=0.2, shift=0.1, flip=0.5, gain=0.3, offset=0.2)


@given(st.integers(0, 10_000))
def test_draw_change_within_bounds(seed: int) -> None:
    change = draw_change(OPTIONS, 256, 192, np.random.default_rng(seed))
    assert 1 / 1.2 - 1e-9 <= change.jitter.zoom <= 1.2 + 1e-9
    assert 1 / 1.3 - 1e-9 <= change.gain <= 1.3 + 1e-9
    assert abs(change.offset) <= 0.2
    moved = change.jitter.points(np.array([96.0, 128.0])) - np.array([96.0, 128.0])
    assert abs(moved[0]) <= 19.2 + 1e-6
    assert abs(moved[1]) <= 25.6 + 1e-6
    up = change.jitter.points(np.array([[0.0, 1.0], [0.0, 0.0]]))
    direction = up[0] - up[1]
    assert abs(np.degrees(np.arctan2(direction[0], direction[1]))) <= 20 + 1e-6


def test_draw_change_flip_frequency() -> None:
    generator = np.random.default_rng(0)
    flips = [draw_change(OPTIONS, 64, 64, generator).jitter.determinant < 0 for _ in range(2000)]
    assert np.mean(flips) == pytest.approx(0.5, abs=0.04)


def test_draw_change_without_options() -> None:
    change = draw_change(Augmentation(), 64, 48, np.random.default_rng(0))
    assert np.allclose(change.jitter.matrix, np.eye(3))
    view = np.ones((4, 4), dtype=np.float32)
    assert np.array_equal(change.shade(view), view)


def test_draw_change_follows_seed() -> None:
    first, second = (draw_change(OPTIONS, 64, 48, np.random.default_rng((1, 2, 3))) for _ in range(2))
    assert first == second
