"""Disturbing changes: each gives a radiograph, the same each time, and does what its title says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.evaluate.disturbances import DISTURBING_CHANGES
from boneage.phantom import draw_hand

PHANTOM = draw_hand(10.0, height=400, width=300)


@pytest.mark.parametrize("name", DISTURBING_CHANGES)
@settings(max_examples=5, deadline=None)
@given(
    seed=st.integers(0, 99),
    height=st.integers(32, 120),
    width=st.integers(32, 120),
    level=st.sampled_from([1.0, 0.2, 0.0]),
)
def test_disturbance_returns_new_radiograph(name: str, seed: int, height: int, width: int, level: float) -> None:
    radiograph = np.random.default_rng(seed).random((height, width), dtype=np.float32) * np.float32(level)
    before = radiograph.copy()
    changed = DISTURBING_CHANGES[name].apply(radiograph)
    assert changed.dtype == np.float32
    assert changed.ndim == 2
    assert 0 <= changed.min() <= changed.max() <= 1
    assert not np.shares_memory(changed, radiograph)
    assert np.array_equal(radiograph, before)
    assert np.array_equal(changed, DISTURBING_CHANGES[name].apply(radiograph))


@pytest.mark.parametrize("name", DISTURBING_CHANGES)
def test_disturbance_changes_the_hand(name: str) -> None:
    changed = DISTURBING_CHANGES[name].apply(PHANTOM)
    assert changed.shape != PHANTOM.shape or np.abs(changed - PHANTOM)[PHANTOM > 0.12].max() > 0.05


def test_plaster_covers_the_wrist_and_leaves_the_fingers() -> None:
    for name in ("plaster_opaque", "plaster_faint", "covered_90"):
        difference = DISTURBING_CHANGES[name].apply(PHANTOM) - PHANTOM
        assert np.abs(difference[:120]).max() < 1e-6
        if name != "covered_90":  # which hides the brightest bone
            assert difference[300:, 120:180].min() >= 0
        assert difference[300:, 120:180].mean() > 0.05
    opaque = DISTURBING_CHANGES["plaster_opaque"].apply(PHANTOM)[300:380, 135:165]
    faint = DISTURBING_CHANGES["plaster_faint"].apply(PHANTOM)[300:380, 135:165]
    assert opaque.std() < 0.5 * faint.std()


def test_cut_fingertips_leave_less_of_the_hand() -> None:
    rows = [DISTURBING_CHANGES[name].apply(PHANTOM).shape[0] for name in ("fingertips_8", "fingertips_15")]
    assert PHANTOM.shape[0] > rows[0] > rows[1] > 0.7 * PHANTOM.shape[0]
