"""Selection and weighting of the radiographs that a plate averages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.hands import HandTable

FEWEST_RADIOGRAPHS = 20
"""Smallest number of radiographs of a plate, also in effect (1 / sum of squared weights)."""

AGE_TOLERANCE_MONTHS = 0.5

_CANDIDATES = 48
"""Number of radiographs with which a mean starts, if there are enough."""

_WIDEST_WINDOW_MONTHS = 12.0

_YOUNGEST_WINDOW_MONTHS = 7.0
"""Limits of the window of ages: 7 months plus a twelfth of the plate's age, at most 12.

Development is fastest at first.
"""

_SHARP_PIXELS = 300.0

_BLUNT_MONTHS = 3.0
"""Limits of sharpness: pixels from capitate to fingertip, and months.

A hand with fewer pixels ranks as if its label were 3 months farther away.
"""

_NEAR_MONTHS = 1.0
"""Distance within which labels count as the plate's age; of the others, as many younger as older ones are chosen."""


def window_months(age_months: float) -> float:
    """Return the largest distance of a radiograph's label from the plate's age."""
    return min(_WIDEST_WINDOW_MONTHS, _YOUNGEST_WINDOW_MONTHS + age_months / 12)


def choose_radiographs(
    radiographs: Sequence[LabelledRadiograph], hands: HandTable, sex: Sex, age_months: float, seed: int = 0
) -> list[LabelledRadiograph]:
    """Return the radiographs with which a plate's mean starts: near in age, sharp ones first, balanced about the age.

    Args:
        radiographs: radiographs of the training split; those without a hand are skipped.
        hands: hands on them.
        sex: sex of the plate.
        age_months: age of the plate.
        seed: seed that decides between equally suitable radiographs.
    """
    window = window_months(age_months)
    near = [f for f in radiographs if f.sex is sex and f.id in hands and abs(f.boneage_months - age_months) <= window]
    order = np.random.default_rng((seed, int(age_months))).permutation(len(near))
    ranked = sorted((near[place] for place in order), key=partial(_rank, hands=hands, age_months=age_months))
    sides: dict[int, list[LabelledRadiograph]] = {-1: [], 0: [], 1: []}
    for radiograph in ranked:
        off = radiograph.boneage_months - age_months
        sides[0 if abs(off) <= _NEAR_MONTHS else int(math.copysign(1, off))].append(radiograph)
    chosen = sides[0][:_CANDIDATES]
    for pair in zip(sides[-1], sides[1], strict=False):
        if len(chosen) + 2 <= _CANDIDATES:
            chosen += pair
    spare = [radiograph for radiograph in ranked if radiograph not in chosen]
    return chosen + spare[: max(2 * FEWEST_RADIOGRAPHS - len(chosen), 0)]


def _rank(radiograph: LabelledRadiograph, hands: HandTable, age_months: float) -> float:
    blunt = hands.hand(radiograph.id).length_pixels < _SHARP_PIXELS
    return round(abs(radiograph.boneage_months - age_months) / _BLUNT_MONTHS) + float(blunt)


def age_weights(
    ages_months: NDArray[np.float64], trust: NDArray[np.float64], age_months: float
) -> NDArray[np.float64] | None:
    """Return weights, of sum 1, with which the mean label is the plate's age: trust times a tilted bell about that age.

    Args:
        ages_months: (N,) labels.
        trust: (N,) at least 0.
        age_months: age of the plate.

    Returns:
        (N,); None if that mean cannot be reached within half a month.
    """
    off = ages_months - age_months
    counting = trust > 0
    if not counting.any():
        return None
    reach = float(np.abs(off[counting]).max())
    base = trust * np.exp(-0.5 * (off / (reach / 1.5 + 1.0)) ** 2)

    def tilted(slope: float) -> NDArray[np.float64]:
        weights = base * np.exp(np.clip(slope * off, -50, 50))
        return np.asarray(weights / weights.sum())

    low, high = -20.0 / max(reach, 1e-6), 20.0 / max(reach, 1e-6)
    if not tilted(low) @ off < 0 < tilted(high) @ off:
        # All labels lie on one side, so no tilt helps. None is needed if they are near enough.
        plain = tilted(0.0)
        return plain if abs(plain @ off) <= AGE_TOLERANCE_MONTHS else None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted(middle) @ off < 0 else (low, middle)
    return tilted((low + high) / 2)


def trust_in(agreement: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the trust in hands by their agreement (N,): 0 for the worst fifth, or a twentieth of fewer than 40."""
    count = len(agreement)
    dropped = 20 if count >= 40 else 5 if count >= 25 else 0
    low, high = np.percentile(agreement, [dropped, 2 * dropped + 10])
    trust = np.clip((agreement - low) / max(high - low, 1e-9), 0, 1)
    return np.asarray(trust if dropped else np.maximum(trust, 0.5), np.float64)


def effective_count(weights: NDArray[np.float64]) -> float:
    """Return the number of equally weighted radiographs whose mean has the variance of these weights, of sum 1."""
    return float(1 / (weights**2).sum())
