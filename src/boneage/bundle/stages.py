"""Weights of a bundle's regions by stage of maturity, and a correction of their mean, for one sex.

The parts of a hand mature at different ages, and a network is worth most where its part matures. Weights are therefore
linear between a few stages, which the mean by the members' plain weights determines. They are fitted to estimates out
of fold. All are at least 0, so that no region counts against its own age.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneage.arrays import Months
from boneage.hand.registration import Region
from boneage.strict import NotNegative

STAGES_MONTHS = (0.0, 60.0, 100.0, 140.0, 180.0, 228.0)
"""Ages at which weights and correction are fitted, months. They are linear between two ages and constant beyond."""

_TURN_MONTHS = 1.0
"""Residual up to which Huber's loss is quadratic; larger ones count linearly, as in least absolute deviations."""

_HELD_WEIGHTS = 300.0
"""Strength with which plain weights are held, in units of the loss: months squared for a weight that is 1 off."""

_HELD_CORRECTION = 0.75
"""Strength with which a correction of 0 is held: the loss for 1 month."""

_REWEIGHTINGS = 12
_SWEEPS = 400
_SETTLED = 1e-6
_SUM_TOLERANCE = 0.01
_FOLDS = 10


@dataclass(frozen=True)
class StageWeights:
    """Weights and correction at `STAGES_MONTHS`.

    Attributes:
        weights: weights of each region's networks together, one for each stage, at least 0. Those of a stage sum to 1.
        correction_months: number of months that is added to the weighted mean at each stage.
    """

    weights: Mapping[Region, tuple[NotNegative, ...]]
    correction_months: tuple[float, ...]

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        count = len(STAGES_MONTHS)
        if any(len(values) != count for values in (*self.weights.values(), self.correction_months)):
            yield "weights", f"and correction_months must have {count} values each, one for each stage"
        elif not np.allclose(np.sum(list(self.weights.values()), axis=0), 1.0, atol=_SUM_TOLERANCE):
            yield "weights", "must sum to 1 at each stage"

    def at(self, mean_months: float) -> dict[Region, float]:
        """Return the weight of each region, 0..1, at a mean by the members' plain weights."""
        return {region: float(np.interp(mean_months, STAGES_MONTHS, values)) for region, values in self.weights.items()}

    def correction(self, mean_months: float) -> float:
        """Return what is added to the weighted mean, months, at a mean by the members' plain weights."""
        return float(np.interp(mean_months, STAGES_MONTHS, self.correction_months))

    def ages(self, regions_months: Mapping[Region, Months], plain: Mapping[Region, float]) -> Months:
        """Return the weighted and corrected means (N,) of N radiographs, months.

        Args:
            regions_months: mean age by each region's networks, (N,) each.
            plain: plain weight of each region.
        """
        means = _plain_means(regions_months, plain)
        total = sum(
            np.interp(means, STAGES_MONTHS, self.weights[region]) * ages for region, ages in regions_months.items()
        )
        return np.asarray(total + np.interp(means, STAGES_MONTHS, self.correction_months))


def fit_stages(
    labels_months: ArrayLike, regions_months: Mapping[Region, Months], plain: Mapping[Region, float]
) -> StageWeights:
    """Fit weights and correction to the radiographs of one sex, by least absolute deviations.

    Args:
        labels_months: (N,), the readers' ages.
        regions_months: out-of-fold age by each region's networks, (N,) each, at least two regions.
        plain: plain weight of each region, above 0. Fitted weights stay near these where labels do not say otherwise.
    """
    regions = list(regions_months)
    last, others = regions[-1], regions[:-1]
    labels = np.asarray(labels_months, np.float64)
    total = sum(plain[region] for region in regions)
    hats = _hats(_plain_means(regions_months, plain))
    # The last region has what the others leave of 1, so that its age is subtracted from theirs.
    columns = [(regions_months[region] - regions_months[last])[:, None] * hats for region in others]
    matrix = np.concatenate([*columns, hats], axis=1)
    stages, weights = len(STAGES_MONTHS), len(others) * len(STAGES_MONTHS)
    held = np.concatenate([np.repeat([plain[region] / total for region in others], stages), np.zeros(stages)])
    strength = np.concatenate([np.full(weights, _HELD_WEIGHTS), np.full(stages, _HELD_CORRECTION)])
    lowest = np.concatenate([np.zeros(weights), np.full(stages, -np.inf)])
    wanted, fitted = labels - regions_months[last], held
    for _ in range(_REWEIGHTINGS):
        importance = 1.0 / np.maximum(np.abs(wanted - matrix @ fitted), _TURN_MONTHS)
        fitted = _least_squares(
            (matrix * importance[:, None]).T @ matrix + np.diag(strength),
            (matrix * importance[:, None]).T @ wanted + strength * held,
            lowest,
            fitted,
        )
    of_others = fitted[:weights].reshape(len(others), stages)
    of_others /= np.maximum(of_others.sum(axis=0), 1.0)
    by_region = {region: _rounded(values) for region, values in zip(others, of_others, strict=True)}
    left = np.maximum(1.0 - np.sum(list(by_region.values()), axis=0), 0.0)
    return StageWeights(
        {**by_region, last: _rounded(left)}, tuple(round(float(months), 2) for months in fitted[weights:])
    )


def stages_out_of_fold(
    labels_months: ArrayLike, regions_months: Mapping[Region, Months], plain: Mapping[Region, float]
) -> Months:
    """Return the ages (N,) of the radiographs of `fit_stages`, each by the weights of the other nine tenths."""
    labels = np.asarray(labels_months, np.float64)
    fold = np.arange(len(labels)) % _FOLDS
    ages = np.empty_like(labels)
    for left_out in range(_FOLDS):
        held = fold == left_out
        kept = fit_stages(labels[~held], {one: months[~held] for one, months in regions_months.items()}, plain)
        ages[held] = kept.ages({one: months[held] for one, months in regions_months.items()}, plain)
    return ages


def _plain_means(regions_months: Mapping[Region, Months], plain: Mapping[Region, float]) -> Months:
    weights = [plain[region] for region in regions_months]
    return np.asarray(np.average(list(regions_months.values()), axis=0, weights=weights), np.float64)


def _hats(means: Months) -> NDArray[np.float64]:
    """Return how much each stage counts at each mean, (N, stages): linear between two stages, 1 together."""
    unit = np.eye(len(STAGES_MONTHS))
    return np.stack([np.interp(means, STAGES_MONTHS, row) for row in unit], axis=1)


def _least_squares(
    matrix: NDArray[np.float64], product: NDArray[np.float64], lowest: NDArray[np.float64], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Solve normal equations with lower bounds, one unknown after the other until all have settled."""
    values = start.copy()
    for _ in range(_SWEEPS):
        before = values.copy()
        for place in range(len(values)):
            step = (product[place] - matrix[place] @ values) / matrix[place, place]
            values[place] = max(lowest[place], values[place] + step)
        if np.abs(values - before).max() < _SETTLED:
            break
    return values


def _rounded(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
