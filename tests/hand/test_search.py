"""The search for a hand compares the bone's grey level with that of the air."""

from __future__ import annotations

import numpy as np
import pytest

from boneage.hand.search import bone_is_dark
from tests.hand.spotted import hand_mask, spotted_radiograph


@pytest.mark.parametrize("border", [None, 0.0, 1.0])
@pytest.mark.parametrize("inverted", [False, True])
def test_bone_is_dark_compares_hand_with_air(inverted: bool, border: float | None) -> None:
    view = spotted_radiograph()[::4, ::4].copy()
    if inverted:
        view = 1 - view
    if border is not None:
        view[:8], view[-8:], view[:, :8], view[:, -8:] = border, border, border, border
    assert bone_is_dark(view, hand_mask()[::4, ::4]) is inverted


def test_bone_is_dark_false_without_air() -> None:
    view = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    assert not bone_is_dark(view, np.ones((20, 20), np.uint8))
    thin = np.zeros((20, 20), np.uint8)
    thin[10] = 1  # erosion removes it
    assert not bone_is_dark(1 - view, thin)
