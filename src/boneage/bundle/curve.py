"""Calibration of a bundle's age distribution, whose central parts are then its prediction intervals.

The mean of the networks' distributions is too wide: each was trained on labels with a spread of 6 months, and they
differ from one another. Its probabilities are raised to a power and normalised. This is temperature scaling (Guo,
Pleiss, Sun and Weinberger, ICML 2017), and the power is the inverse temperature. The most likely power is chosen by sex
and band of the estimate, with labels of radiographs on which no network was trained.

The prediction intervals are the central 80 and 95 % of the calibrated curve, so that they widen where networks or
regions of the hand disagree. The labels are single readings: one reader lies within the interval in 80 or 95 of 100
radiographs. `consensus_share` leads from there to the mean of several readers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneage.arrays import Vector
from boneage.bundle.bands import band_at, equal_bands, faults_of_bands, number_of_band
from boneage.sex import Sex
from boneage.strict import Bounds, EveryKey, Length, Positive

AGES = 240
"""Length of an age distribution: the probability of each age in whole months, from 0."""

RADIOGRAPHS_IN_A_BAND = 150
"""Smallest size of a band where a sex has several; the width of its curves then has a standard error of about 6 %."""

FEWEST_RADIOGRAPHS = 50
"""Smallest number of radiographs from which curves are calibrated, and with which a sex has powers of its own."""

READER_SD_MONTHS = 6.0
"""Standard deviation of one reader about the mean of several, by RSNA's labels.

It was not measured on the radiographs of any bundle. For comparison, two readers of 1,389 radiographs of the Digital
Hand Atlas differ with an SD of 6.97 months, which is 4.9 months for one of them."""

LEAST_CONSENSUS_SHARE = 0.5
"""Smallest share of `consensus_share`: at least a quarter of the variance is the estimate's own."""

FOLDS = 10
"""Number of folds of `curves_out_of_fold`."""

_POWERS = np.geomspace(0.25, 8.0, 141)
_LEAST_PROBABILITY = 1e-6
"""Smallest probability of a label. It keeps single wrong labels from widening the curves of all radiographs."""
_EDGES = np.arange(AGES + 1) - 0.5
"""Bounds of the months of a distribution: an age in whole months is the middle of its month."""


@dataclass(frozen=True)
class CurveBand:
    """A range of estimates of one sex whose curves have one power.

    Attributes:
        upper_months: upper bound of the estimates in the band; None for the last band.
        radiographs: number of radiographs whose labels gave the power.
        power: exponent of the probabilities, above 0; above 1 it makes a curve narrower.
    """

    upper_months: float | None
    radiographs: Annotated[int, Bounds(at_least=1)]
    power: Positive


@dataclass(frozen=True)
class SexCurve:
    """Powers of one sex.

    Attributes:
        bands: at least one band, by rising `upper_months`.
    """

    bands: Annotated[tuple[CurveBand, ...], Length(1)]

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        yield from faults_of_bands(self.bands)


@dataclass(frozen=True)
class CurveCalibration:
    """Calibration of a bundle's age distribution, for both sexes."""

    by_sex: Annotated[Mapping[Sex, SexCurve], EveryKey()]

    def calibrated(self, curve: Vector, sex: Sex, age_months: float) -> Vector:
        """Return the calibrated curve.

        Args:
            curve: (`AGES`,), the mean of the networks' distributions.
            sex: sex of the patient.
            age_months: estimate, which is the mean of the curve before it is calibrated. It selects the band.
        """
        moved = centred(curve, min(max(age_months, 0.0), AGES - 1.0))
        return sharpened(moved, band_at(self.by_sex[sex].bands, age_months).power)


def centred(curve: Vector, mean_months: float) -> Vector:
    """Return a distribution (`AGES`,), moved so that its mean is another age within 0 to 239 months.

    A corrected estimate is not the mean of its networks' distributions. Probabilities that leave the range are lost.
    """
    shift = mean_months - float(curve @ np.arange(AGES))
    cumulative = np.concatenate([[0.0], np.cumsum(curve)])
    moved = np.diff(np.interp(_EDGES - shift, _EDGES, cumulative))
    return np.asarray(moved / moved.sum())


def sharpened(curves: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    """Return distributions (..., `AGES`), each raised to a power and normalised."""
    peaks = curves.max(axis=-1, keepdims=True)
    raised = (curves / peaks) ** power
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def central_interval(curve: Vector, percent: float) -> tuple[float, float]:
    """Return the central part of a distribution (`AGES`,): equal shares of the rest lie below and above, months."""
    cumulative = np.concatenate([[0.0], np.cumsum(curve)])
    tail = (1.0 - percent / 100.0) / 2.0
    low, high = np.interp([tail, 1.0 - tail], cumulative / cumulative[-1], _EDGES)
    return float(low), float(high)


def consensus_share(rmse_months: float | None, reader_sd_months: float) -> float:
    """Return the width of an interval for the mean of several readers, as a share of that for one reader.

    The squared error against single readings is that against the mean of several readers plus the variance of one
    reader about that mean. The share of the readers is assumed to be the same for each sex and age:
    ``sqrt(1 - reader² / RMSE²)``.

    Args:
        rmse_months: root mean square error against single readings; None if it was not measured, for a share of 1.
        reader_sd_months: standard deviation of one reader about the mean of several.

    Returns:
        Share from `LEAST_CONSENSUS_SHARE` to 1.
    """
    if not rmse_months:
        return 1.0
    return math.sqrt(max(1.0 - (reader_sd_months / rmse_months) ** 2, LEAST_CONSENSUS_SHARE**2))


def most_likely_power(labels_months: ArrayLike, curves: ArrayLike) -> float:
    """Return the power of distributions (N, `AGES`) that makes the labels (N,) of their radiographs most likely."""
    months = np.clip(np.rint(np.asarray(labels_months, np.float64)), 0, AGES - 1).astype(np.int64)
    stacked, rows = np.asarray(curves, np.float64), np.arange(len(months))
    likelihoods = [
        np.log(np.maximum(sharpened(stacked, power)[rows, months], _LEAST_PROBABILITY)).sum() for power in _POWERS
    ]
    return round(float(_POWERS[int(np.argmax(likelihoods))]), 3)


def fit_curve(
    sexes: Sequence[Sex], labels_months: ArrayLike, ages_months: ArrayLike, curves: ArrayLike
) -> CurveCalibration:
    """Fit the powers to N radiographs with labels on which no network was trained.

    A sex with fewer than `FEWEST_RADIOGRAPHS` has the power of both sexes together.

    Args:
        sexes: sexes of the N radiographs.
        labels_months: (N,), the readers' ages.
        ages_months: (N,), estimates.
        curves: (N, `AGES`), means of the networks' distributions.

    Raises:
        ValueError: the four do not have one length of at least `FEWEST_RADIOGRAPHS`, or a number is not finite.
    """
    fit = _Fit(sexes, labels_months, ages_months, curves)
    return fit.calibration(np.ones(len(sexes), np.bool_))


def curves_out_of_fold(
    sexes: Sequence[Sex], labels_months: ArrayLike, ages_months: ArrayLike, curves: ArrayLike
) -> NDArray[np.float64]:
    """Return the curve of each radiograph (N, `AGES`), calibrated by the radiographs of the other folds.

    The bands are those of all radiographs. A bundle's own calibration is fitted to all of them, and these curves show
    the coverage on radiographs to which it was not fitted.

    Args:
        sexes: see `fit_curve`, as are the others.
        labels_months: see there.
        ages_months: see there.
        curves: see there.

    Raises:
        ValueError: see there.
    """
    fit = _Fit(sexes, labels_months, ages_months, curves)
    fold = np.random.default_rng(0).permutation(len(sexes)) % FOLDS
    calibrated = np.empty_like(fit.curves)
    for held in range(FOLDS):
        calibration = fit.calibration(fold != held)
        for place in np.flatnonzero(fold == held).tolist():
            calibrated[place] = calibration.calibrated(fit.curves[place], sexes[place], float(fit.ages[place]))
    return calibrated


class _Fit:
    """Likelihood of each radiograph's label by each power, and the bands of both sexes."""

    def __init__(
        self, sexes: Sequence[Sex], labels_months: ArrayLike, ages_months: ArrayLike, curves: ArrayLike
    ) -> None:
        self.ages, self.curves = np.asarray(ages_months, np.float64), np.asarray(curves, np.float64)
        labels, count = np.asarray(labels_months, np.float64), len(sexes)
        if not labels.shape == self.ages.shape == (count,) or self.curves.shape != (count, AGES):
            raise ValueError(
                f"labels {labels.shape}, ages {self.ages.shape} and curves {self.curves.shape} must be of {count} sexes"
            )
        if count < FEWEST_RADIOGRAPHS:
            raise ValueError(f"curves are calibrated with at least {FEWEST_RADIOGRAPHS} radiographs, not {count}")
        if not all(np.isfinite(values).all() for values in (labels, self.ages, self.curves)):
            raise ValueError("labels, ages and curves must be finite")
        months = np.clip(np.rint(labels), 0, AGES - 1).astype(np.int64)
        moved = np.stack([centred(*pair) for pair in zip(self.curves, self.ages, strict=True)])
        rows = np.arange(count)
        self.likelihoods = np.stack(
            [np.log(np.maximum(sharpened(moved, power)[rows, months], _LEAST_PROBABILITY)) for power in _POWERS]
        )
        self.of_sex = {sex: np.array([one is sex for one in sexes]) for sex in Sex}
        self.uppers = {sex: self._uppers(chosen) for sex, chosen in self.of_sex.items()}

    def _uppers(self, chosen: NDArray[np.bool_]) -> list[float | None]:
        """Return the upper bounds of a sex's bands; one band for a sex with too few radiographs."""
        return equal_bands(self.ages[chosen], RADIOGRAPHS_IN_A_BAND)

    def calibration(self, used: NDArray[np.bool_]) -> CurveCalibration:
        """Return the calibration by the radiographs of a mask (N,), in the bands of all radiographs."""
        return CurveCalibration({sex: SexCurve(tuple(self._bands(sex, used))) for sex in Sex})

    def _bands(self, sex: Sex, used: NDArray[np.bool_]) -> Iterator[CurveBand]:
        if np.count_nonzero(self.of_sex[sex]) < FEWEST_RADIOGRAPHS:
            yield self._band(None, used)
            return
        numbers = number_of_band(self.ages, self.uppers[sex])
        for number, upper in enumerate(self.uppers[sex]):
            yield self._band(upper, used & self.of_sex[sex] & (numbers == number))

    def _band(self, upper: float | None, chosen: NDArray[np.bool_]) -> CurveBand:
        best = _POWERS[int(np.argmax(self.likelihoods[:, chosen].sum(axis=1)))]
        return CurveBand(upper, int(np.count_nonzero(chosen)), round(float(best), 3))
