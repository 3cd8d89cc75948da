"""Views, limits and answers of the networks that find hands in these tests."""

from __future__ import annotations

from boneage.hand.search import HandLimits
from boneage.hand.views import ViewSpec

ONE, NONE = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
MASK_VIEW = ViewSpec("radiograph", 120, 100)
LOCATE_VIEW = ViewSpec("radiograph", 96, 96)
REFINE_VIEW = ViewSpec("surroundings", 240, 220)
USUAL = HandLimits()
