"""The orders that Iglovikov et al. find in their table (section 5), put to the test on ours by paired bootstraps."""

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
"""The mean of equal estimates may differ from them by less, which decides nothing."""


class Claim(StrEnum):
    """What the paper says."""

    REGIONS = "regions"
    COHORTS = "cohorts"
    TYPES = "types"
    ENSEMBLE = "ensemble"

    @property
    def sentence(self) -> str:
        """The claim in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Claim.REGIONS: "MAD(B) > MAD(C) > MAD(A) > MAD(ensemble of the regions)",
    Claim.COHORTS: "Networks of one sex are better than mixed ones (on the radiographs of that sex)",
    Claim.TYPES: "Classification is better than regression",
    Claim.ENSEMBLE: "The ensemble of all regions and both types is the best",
}


class Verdict(StrEnum):
    """What our radiographs say about a claim."""

    CONFIRMED = "confirmed"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Order:
    """One comparison.

    Attributes:
        claim: of which it is a part.
        worse, better: as the paper has it.
        radiographs: on which both were held against the labels: ``all``, ``boys`` or ``girls``.
        count: of these radiographs.
        difference: MAD of the worse minus MAD of the better, months, with its paired 95 % interval.
    """

    claim: Claim
    worse: Place
    better: Place
    radiographs: str
    count: int
    difference: Figure

    @property
    def verdict(self) -> Verdict:
        """Confirmed or contradicted where the interval leaves 0 out."""
        if self.difference.low > _ROUNDING_MONTHS:
            return Verdict.CONFIRMED
        return Verdict.CONTRADICTED if self.difference.high < -_ROUNDING_MONTHS else Verdict.UNDECIDED


def paper_orders(grid: Grid, resamples: Resamples) -> list[Order]:
    """Every comparison that the networks at hand allow, on the radiographs that both sides read."""
    return [
        _compare(grid, resamples, claim, worse, better)
        for claim, worse, better in _comparisons()
        if worse in grid.estimates and better in grid.estimates
    ]


def _comparisons() -> Iterator[tuple[Claim, Place, Place]]:
    """(claim, worse, better) of all that the paper says."""
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
    known = np.isfinite(differences)
    sexes = {sex for sex in Sex if (known & grid.of_sex(sex)).any()}
    radiographs = {frozenset({Sex.MALE}): "boys", frozenset({Sex.FEMALE}): "girls"}.get(frozenset(sexes), "all")
    return Order(claim, worse, better, radiographs, int(known.sum()), resamples.mean(differences))
