"""Bands of the estimated bone age, each with figures of its own: their order, their choice, and the search for one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np

from boneage.arrays import Months

MOST_BANDS = 6
"""Largest number of bands of a sex."""


class HasUpper(Protocol):
    """A band of estimates, which begins where the band before it ends."""

    @property
    def upper_months(self) -> float | None:
        """Upper bound of the estimates in the band; None for the last band."""


AnyBand = TypeVar("AnyBand", bound=HasUpper)


def band_at(bands: Sequence[AnyBand], months: float) -> AnyBand:
    """Return the band of an estimate, any finite number of months; an estimate on a bound is in the upper band."""
    bounded = (one for one in bands if one.upper_months is not None and months < one.upper_months)
    return next(bounded, bands[-1])


def faults_of_bands(bands: Sequence[HasUpper]) -> Iterator[tuple[str, str]]:
    """Yield the places and reasons of bounds that do not rise or do not end with None (`boneage.strict`)."""
    uppers = [math.inf if band.upper_months is None else band.upper_months for band in bands]
    if uppers[-1] != math.inf:
        yield f"bands[{len(uppers) - 1}].upper_months", "must be null in the last band"
    for number, (lower, upper) in enumerate(pairwise(uppers)):
        if lower >= upper:
            yield f"bands[{number}].upper_months", "must lie below that of the next band"


def equal_bands(ages_months: Months, fewest: int) -> list[float | None]:
    """Return the upper bounds of bands of equally many radiographs.

    Args:
        ages_months: (N,), estimates of N radiographs.
        fewest: smallest number of radiographs in a band where there are several. Nearly equal estimates make bands
            unequal, and there are fewer bands then.

    Returns:
        Rising bounds in months, rounded to hundredths, the last one None: at most `MOST_BANDS`, at least one.
    """
    ranked = np.sort(ages_months)
    for count in range(min(MOST_BANDS, len(ranked) // fewest), 1, -1):
        places = [len(ranked) * number // count for number in range(1, count)]
        uppers = np.round([(ranked[place - 1] + ranked[place]) / 2 for place in places], 2)
        if np.bincount(number_of_band(ranked, uppers.tolist()), minlength=count).min() >= fewest:
            return [*map(float, uppers), None]
    return [None]


def number_of_band(ages_months: Months, uppers: Sequence[float | None]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the number of the band (N,) of each estimate (N,), from the upper bounds of all bands."""
    bounds = [upper for upper in uppers if upper is not None]
    return np.searchsorted(np.array(bounds, np.float64), ages_months, side="right")
