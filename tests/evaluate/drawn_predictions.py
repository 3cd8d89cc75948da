"""Predictions that no network made."""

from __future__ import annotations

import numpy as np

from boneage.evaluate.predictions import Predictions
from boneage.sex import Sex


def drawn_predictions(count: int, seed: int = 0, *, intervals: bool = False) -> Predictions:
    """Draw predictions with errors of 9 months and, on request, their 80 % and 95 % intervals."""
    generator = np.random.default_rng(seed)
    labels = np.clip(generator.normal(127, 41, count), 1, 228).round()
    sexes = tuple(Sex.FEMALE if girl else Sex.MALE for girl in generator.random(count) < 0.45)
    estimates = np.maximum(labels + generator.normal(1, 9, count), 0.0)
    reaches = {80: 1.28 * 9.0, 95: 1.96 * 9.0} if intervals else {}
    return Predictions(
        tuple(str(number) for number in range(count)),
        sexes,
        labels,
        estimates,
        {"resolution": tuple(generator.choice(["half", "mid"], count).tolist())},
        {percent: np.stack([estimates - reach, estimates + reach], axis=1) for percent, reach in reaches.items()},
    )
