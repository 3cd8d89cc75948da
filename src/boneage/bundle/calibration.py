"""Calibration of a bundle: a correction of its estimates by sex, and prediction intervals by sex and age.

The calibration is fitted to radiographs with labels and their estimates out of fold. Half an interval's width is the
``ceil((n + 1) level)``-th smallest of the n absolute residuals of a group. If a new radiograph is exchangeable with
these, its label lies within the interval with a probability of at least `level`, whatever the distribution of the
errors. This is split conformal prediction (Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World*, 2005;
Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, JASA 113, 2018).

A group is a sex and a band of the corrected estimate, so that the coverage holds in each group and not on average only
(Vovk's Mondrian predictors). It does not hold by label or stage, which are unknown for a new radiograph.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from boneage.arrays import Months
from boneage.bundle.bands import band_at, equal_bands, faults_of_bands, number_of_band
from boneage.bundle.stages import StageWeights
from boneage.sex import Sex
from boneage.strict import Bounds, EveryKey, Length, NotNegative, Positive

RADIOGRAPHS_IN_A_BAND = 300
"""Smallest size of a band where a sex has several; the 95 % quantile then has a standard error of 1.3 percentage
points."""

RADIOGRAPHS_OF_A_SEX = 100
"""Smallest number of radiographs for which a sex has its own correction and residuals; below, its one band is that of
both sexes."""

FEWEST_RADIOGRAPHS = 19
"""Smallest number of radiographs for which the conformal 95 % interval is finite."""

SLOPES = (0.5, 2.0)
"""Range of the correction's slope; beyond it a network is broken, not miscalibrated, and nothing is corrected."""

_FOLDS = 10
_TURN_MONTHS = 1.0
"""Residual up to which Huber's loss is quadratic; larger ones count linearly, as in least absolute deviations."""
_ITERATIONS = 100
_NO_LINE = (0.0, 1.0)
_SETTLED = 1e-9


@dataclass(frozen=True)
class Band:
    """A range of estimates of one sex that share their intervals.

    Attributes:
        upper_months: upper bound of the corrected estimates in the band; None for the last band.
        radiographs: number of radiographs whose residuals gave the figures.
        half_width_80_months, half_width_95_months: distance from the corrected estimate to either end of the interval,
            rounded up to hundredths; at least 0, the first not above the second.
        typical_error_months: mean absolute residual.
    """

    upper_months: float | None
    radiographs: Annotated[int, Bounds(at_least=1)]
    half_width_80_months: NotNegative
    half_width_95_months: NotNegative
    typical_error_months: NotNegative

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.half_width_80_months > self.half_width_95_months:
            yield "half_width_80_months", "must not exceed half_width_95_months"


@dataclass(frozen=True)
class SexCalibration:
    """Correction and bands of one sex.

    Attributes:
        intercept_months, slope: line of the correction; 0 and 1 where none helps. `SLOPES` bounds the slope.
        bands: at least one band, by rising `upper_months`.
        stages: weights of the regions by stage of maturity, whose mean the line corrects; None for the members' plain
            weights.
    """

    intercept_months: Annotated[float, Bounds(above=-240, below=240)]
    slope: Annotated[float, Bounds(at_least=SLOPES[0], at_most=SLOPES[1])]
    bands: Annotated[tuple[Band, ...], Length(1)]
    stages: StageWeights | None = None

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        yield from faults_of_bands(self.bands)

    def corrected(self, mean_months: float) -> float:
        """Return the corrected mean of a bundle's members, months; it may lie outside the range of bone age."""
        return self.intercept_months + self.slope * mean_months

    def band(self, corrected_months: float) -> Band:
        """Return the band of a corrected estimate, any finite number of months."""
        return band_at(self.bands, corrected_months)


@dataclass(frozen=True)
class Calibration:
    """Calibration of a bundle, for both sexes."""

    by_sex: Annotated[Mapping[Sex, SexCalibration], EveryKey()]


@dataclass(frozen=True)
class Disagreement:
    """Limits of the spread of the regions' ages, which is the age of the oldest region less that of the youngest.

    Attributes:
        caution_months: spread above which there is a warning, above 0.
        critical_months: spread above which the estimate must not be used; at least `caution_months`.
    """

    caution_months: Positive
    critical_months: Positive

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.critical_months < self.caution_months:
            yield "critical_months", "must not lie below caution_months"

    @classmethod
    def of(cls, spreads_months: ArrayLike) -> Disagreement:
        """Set the limits by the spreads (N,) of ordinary radiographs, N at least `DISAGREEMENT_RADIOGRAPHS`."""
        caution, critical = np.percentile(
            np.asarray(spreads_months, np.float64), (CAUTION_PERCENTILE, CRITICAL_PERCENTILE)
        )
        return cls(max(_rounded_up(caution), 0.01), max(_rounded_up(critical), 0.01))


DISAGREEMENT_RADIOGRAPHS = 100
"""Smallest number of radiographs from which disagreement is measured, since its limits are extreme percentiles."""

CAUTION_PERCENTILE, CRITICAL_PERCENTILE = 99.0, 99.8
"""Percentiles of the spreads of ordinary radiographs above which there is a warning, or the estimate is unusable."""


def calibrate(
    sexes: Sequence[Sex],
    labels_months: ArrayLike,
    ages_months: ArrayLike,
    disagreement_months2: Mapping[Sex, float] | None = None,
) -> Calibration:
    """Fit a calibration to N radiographs whose ages were estimated out of fold. Their order does not matter.

    *Correction.* For each sex it is the line from estimate to label of the least absolute deviations. It is kept only
    if it lessens the mean squared error by more than two standard errors of that gain, on radiographs to which it was
    not fitted (ten folds). The residuals of the intervals are also those of such radiographs.

    *Mean of all folds' networks instead of one.* The estimate of a radiograph out of fold is one
    network's. A bundle's estimate is the mean of K networks, whose error is smaller. For the squared error, averaged
    over the networks, the difference is exactly the networks' squared deviation from their mean:
    ``MSE(one) = MSE(mean) + D`` (Krogh and Vedelsby, NIPS 7, 1995). D needs no labels, only radiographs on which none
    of the networks was trained (`disagreement`). Residuals, and with them the widths, are therefore multiplied by
    ``sqrt(1 - D / MSE)``, on the assumption that the shape of their distribution is the same.

    The spread D of a single network flattens its line by ``1 - D / Var(ages)`` (errors in variables: Fuller,
    *Measurement Error Models*, 1987). The line is therefore made as steep as that of the mean, and judged by the mean's
    squared error.

    Args:
        sexes: sexes of the N radiographs.
        labels_months: (N,), the readers' ages.
        ages_months: (N,), each by networks that were not trained on the radiograph, neither corrected nor clipped.
        disagreement_months2: D by sex, months squared. Without it the intervals are those of a single fold's network,
            and too wide for the mean. It is ignored for a sex with fewer than `RADIOGRAPHS_OF_A_SEX` radiographs.

    Raises:
        ValueError: the three do not have one length of at least `FEWEST_RADIOGRAPHS`, or a number is not finite; or a
            disagreement is negative, or as large as the whole error, which that of the same networks cannot be.
    """
    labels, ages = np.asarray(labels_months, np.float64), np.asarray(ages_months, np.float64)
    if not labels.shape == ages.shape == (len(sexes),) or len(sexes) < FEWEST_RADIOGRAPHS:
        raise ValueError(
            f"{len(sexes)} sexes, labels {labels.shape} and ages {ages.shape} must be of one length of at least"
            f" {FEWEST_RADIOGRAPHS}"
        )
    if not (np.isfinite(labels).all() and np.isfinite(ages).all()):
        raise ValueError("labels and ages must be finite")
    apart = dict(disagreement_months2 or {})
    if not all(math.isfinite(square) and square >= 0 for square in apart.values()):
        raise ValueError(f"disagreements must be finite and not negative: {apart}")
    fitted = {}
    for sex in Sex:
        chosen = np.array([one == sex for one in sexes])
        fitted[sex] = _fit(labels[chosen], ages[chosen], apart.get(sex, 0.0))
    ages_of_both = np.concatenate([one.ages for one in fitted.values()])
    both = _bands(ages_of_both, np.concatenate([one.residuals for one in fitted.values()]), len(sexes))
    return Calibration(
        {
            sex: SexCalibration(
                *one.line, both if len(one.ages) < RADIOGRAPHS_OF_A_SEX else _bands(one.ages, one.residuals)
            )
            for sex, one in fitted.items()
        }
    )


def disagreement(ages_months: ArrayLike) -> float:
    """Return the mean squared deviation of K networks from their mean, months squared: D of `calibrate`.

    Args:
        ages_months: (K, N), ages of N radiographs of one sex on which none of the K networks was trained. Where a fold
            has several members (regions, say), its row is their mean, as in its estimates out of fold.

    Raises:
        ValueError: there are fewer than two networks, no radiograph, or an age that is not finite.
    """
    ages = np.asarray(ages_months, np.float64)
    if ages.ndim != 2 or ages.shape[0] < 2 or ages.shape[1] < 1 or not np.isfinite(ages).all():
        raise ValueError(f"ages {ages.shape} must be finite, of at least two networks and one radiograph")
    return float(ages.var(axis=0).mean())


@dataclass(frozen=True)
class _Fitted:
    """The line of a sex, its corrected estimates (N,), and the absolute residuals (N,) of the bundle's mean."""

    line: tuple[float, float]
    ages: Months
    residuals: Months


def _fit(labels: Months, ages: Months, disagreement_months2: float) -> _Fitted:
    order = np.lexsort((labels, ages))  # sums of floats, and the folds, depend on the order
    labels, ages = labels[order], ages[order]
    line, corrected = _NO_LINE, ages
    if len(ages) < RADIOGRAPHS_OF_A_SEX:
        return _Fitted(line, corrected, np.abs(labels - ages))
    own, tried = _line(labels, ages, disagreement_months2), _out_of_fold(labels, ages, disagreement_months2)
    more = (own[1] ** 2 - 1.0) * disagreement_months2  # the corrected networks have another disagreement
    if is_gain((labels - ages) ** 2 - (labels - tried) ** 2 + more):
        line, corrected = own, tried
    residuals = np.abs(labels - corrected)
    return _Fitted(line, corrected, residuals * _share_of_error(residuals, line[1] ** 2 * disagreement_months2))


def is_gain(gains: Months) -> bool:
    """Return whether the mean gain over radiographs (n,) is above 0 by more than two standard errors."""
    return bool(gains.mean() > 2.0 * gains.std(ddof=1) / math.sqrt(len(gains)))


def _share_of_error(residuals: Months, disagreement_months2: float) -> float:
    """Return the root mean square error of the mean of all networks as a share of that of one network."""
    if disagreement_months2 == 0.0:
        return 1.0
    square = float(np.mean(residuals**2))
    if disagreement_months2 >= square:
        raise ValueError(
            f"networks that disagree by {disagreement_months2:g} months squared cannot have a squared error of"
            f" {square:g} only; they must be those of the estimates out of fold"
        )
    return math.sqrt(1.0 - disagreement_months2 / square)


def _out_of_fold(labels: Months, ages: Months, disagreement_months2: float) -> Months:
    """Return the sorted ages, each corrected by the line of the other folds."""
    fold = np.arange(len(ages)) % _FOLDS
    corrected = np.empty_like(ages)
    for left_out in range(_FOLDS):
        held = fold == left_out
        intercept, slope = _line(labels[~held], ages[~held], disagreement_months2)
        corrected[held] = intercept + slope * ages[held]
    return corrected


def _line(labels: Months, ages: Months, disagreement_months2: float) -> tuple[float, float]:
    """Return intercept, months, and slope of the correction, rounded; `_NO_LINE` where the fit is not usable.

    The fit minimises Huber's loss (Annals of Mathematical Statistics 35, 1964) by reweighting until the line settles.
    """
    variance = float(np.var(ages))
    if variance <= _TURN_MONTHS**2 + 2.0 * disagreement_months2:
        return _NO_LINE  # the ages hardly vary, or no more than by chance
    middle, slope = float(ages.mean()), 1.0
    level = float(np.median(labels - ages)) + middle
    for _ in range(_ITERATIONS):
        weights = 1.0 / np.maximum(np.abs(labels - level - slope * (ages - middle)), _TURN_MONTHS)
        weights /= weights.sum()
        centre, height = float(weights @ ages), float(weights @ labels)
        away = ages - centre
        before = level, slope
        slope = float(weights @ (away * labels) / (weights @ away**2))
        level = height + slope * (middle - centre)
        if abs(level - before[0]) < _SETTLED and abs(slope - before[1]) < _SETTLED:
            break
    slope = round(slope / (1.0 - disagreement_months2 / variance), 5)
    return (round(level - slope * middle, 3), slope) if SLOPES[0] <= slope <= SLOPES[1] else _NO_LINE


def _bands(ages: Months, residuals: Months, fewest: int = RADIOGRAPHS_IN_A_BAND) -> tuple[Band, ...]:
    uppers = equal_bands(ages, fewest)
    numbers = number_of_band(ages, uppers)
    return tuple(_band(upper, np.sort(residuals[numbers == number])) for number, upper in enumerate(uppers))


def _band(upper_months: float | None, residuals: Months) -> Band:
    """Return the figures of sorted absolute residuals (n,), n at least `FEWEST_RADIOGRAPHS`."""
    narrow, wide = (_rounded_up(residuals[_rank(len(residuals), percent) - 1]) for percent in (80, 95))
    return Band(upper_months, len(residuals), narrow, wide, round(float(residuals.mean()), 2))


def _rank(count: int, percent: int) -> int:
    """Return ``ceil((n + 1) level)`` in whole numbers, 1 to n for n of at least `FEWEST_RADIOGRAPHS`."""
    return -(-(count + 1) * percent // 100)


def _rounded_up(months: float) -> float:
    return math.ceil(100.0 * float(months) - 1e-9) / 100.0
