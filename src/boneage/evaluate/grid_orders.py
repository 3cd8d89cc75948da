"""Tests of the orders that Iglovikov et al. report (section 5), by paired bootstraps on our own predictions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from boneage.evaluate.grid import COHORT_OF, COLUMNS, ENSEMBLE, ROWS, TOGETHER, TYPES, Grid, Place, Resamples
from boneage.evaluate.metrics import Figure
from boneage.sex import Sex

_ROUNDING_MONTHS = 1e-9
"""Maximum difference that is attributed to rounding, months."""


class Claim(StrEnum):
    """Claim of the paper."""

    REGIONS = "regions"
    COHORTS = "cohorts"
    TYPES = "types"
    ENSEMBLE = "ensemble"

    @property
    def sentence(self) -> str:
        """Claim in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Claim.REGIONS: "MAD(B) > MAD(C) > MAD(A) > MAD(ensemble of the regions)",
    Claim.COHORTS: "Networks of one sex are better than mixed ones (on the radiographs of that sex)",
    Claim.TYPES: "Classification is better than regression",
    Claim.ENSEMBLE: "The ensemble of all regions and both types is the best",
}


class Verdict(StrEnum):
    """Verdict of our own radiographs on a claim."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Order:
    """Comparison of two fields.

    Attributes:
        claim: Claim that it is a part of.
        worse, better: Order in the paper.
        radiographs: Radiographs on which both were measured: ``all``, ``boys`` or ``girls``.
        count: Number of these radiographs.
        difference: MAD of the worse minus MAD of the better, months, with its paired 95 % confidence interval.
    """

    claim: Claim
    worse: Place
    better: Place
    radiographs: str
    count: int
    difference: Figure

    @property
    def verdict(self) -> Verdict:
        """Confirmed or contradicted if the interval excludes 0, else undecided."""
        if self.difference.low > _ROUNDING_MONTHS:
            return Verdict.CONFIRMED
        return Verdict.CONTRADICTED if self.difference.high < -_ROUNDING_MONTHS else Verdict.UNDECIDED


def paper_orders(grid: Grid, resamples: Resamples) -> list[Order]:
    """Return every comparison of the available networks, on the radiographs that both sides read."""
    return [
        _compare(grid, resamples, claim, worse, better)
        for claim, worse, better in _comparisons()
        if worse in grid.estimates and better in grid.estimates
    ]


def _comparisons() -> Iterator[tuple[Claim, Place, Place]]:
    """Yield (claim, worse, better) of all comparisons in the paper."""
    for column in COLUMNS:
        for worse, better in itertools.pairwise(("B", "C", "A", ENSEMBLE)):
            yield Claim.REGIONS, Place(column, worse), Place(column, better)
    for kind, sex, row in itertools.product(TYPES, Sex, ROWS):
        yield Claim.COHORTS, Place(f"{kind}-mixed", row), Place(f"{kind}-{COHORT_OF[sex]}", row)
    for cohort, row in itertools.product(("mixed", "males", "females"), ROWS):
        yield Claim.TYPES, Place(f"regression-{cohort}", row), Place(f"classification-{cohort}", row)
    best = Place(TOGETHER, ENSEMBLE)
    for column in COLUMNS:
        for row in ROWS if column == TOGETHER else (ENSEMBLE,):
            if Place(column, row) != best:
                yield Claim.ENSEMBLE, Place(column, row), best


def _compare(grid: Grid, resamples: Resamples, claim: Claim, worse: Place, better: Place) -> Order:
    errors = [np.abs(grid.estimates[place] - grid.boneage_months) for place in (worse, better)]
    differences = errors[0] - errors[1]
    finite = np.isfinite(differences)
    sexes = {sex for sex in Sex if (finite & grid.of_sex(sex)).any()}
    radiographs = {frozenset({Sex.MALE}): "boys", frozenset({Sex.FEMALE}): "girls"}.get(frozenset(sexes), "all")
    return Order(claim, worse, better, radiographs, int(finite.sum()), resamples.mean(differences))
