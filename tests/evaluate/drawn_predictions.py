"""Predictions that no net made."""

from __future__ import annotations

import numpy as np

from boneage.evaluate.predictions import Predictions
from boneage.sex import Sex


def drawn_predictions(count: int, seed: int = 0) -> Predictions:
    generator = np.random.default_rng(seed)
    labels = np.clip(generator.normal(127, 41, count), 1, 228).round()
    return Predictions(
        tuple(str(number) for number in range(count)),
        tuple(Sex.FEMALE if girl else Sex.MALE for girl in generator.random(count) < 0.45),
        labels,
        np.maximum(labels + generator.normal(1, 9, count), 0.0),
        {"resolution": tuple(generator.choice(["half", "mid"], count).tolist())},
    )
