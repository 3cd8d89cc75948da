"""From the answers of a bundle's members to one bone age."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.manifest import Manifest
from boneage.bundle.member_output import MemberOutput
from boneage.errors import BundleError
from boneage.hand.registration import Region
from boneage.sex import Sex

YOUNGEST_MONTHS, OLDEST_MONTHS = 0.0, 228.0
"""The range of bone ages that a reader can give: Greulich and Pyle's plates end at 19 years (228 months)."""

Z_95 = 1.96
"""Standard errors on either side that hold 95 % of a normal distribution."""

Z_80 = 1.2816
"""The same of 80 %."""


_AGREEMENT = 0.6
"""A region stands alone if the others lie closer together than this share of its distance from them."""

_FEWEST_REGIONS = 4
"""With fewer, nothing tells which of them is wrong."""


@dataclass(frozen=True)
class AgeEstimate:
    """A bone age with what is known of its error.

    Attributes:
        age_months: weighted mean over the members, corrected by sex where the bundle is calibrated; never below 0.
        member_ages_months: what each member said, neither corrected nor clipped.
        typical_error_months: mean absolute difference from readers: of a calibrated bundle, on radiographs of this sex
            near this age that the networks did not learn from; of others on the bundle's validation radiographs, of
            this sex where the manifest has it; None if the bundle was never validated. It speaks of radiographs like
            those, not of this one.
        interval_months: (low, high) that shall hold the readers' age of 95 % of such radiographs, cut at 0 and, unless
            the age itself lies above, at 228 months: no reader's age lies beyond. Of a calibrated bundle as wide as
                such
            radiographs ask for, by sex and age (`boneage.bundle.calibration`); of others 1.96 root mean squared errors
            of the validation radiographs on either side, the same for every radiograph. How many validation radiographs
            it held is `interval_coverage` in the metrics. None without either.
        interval_80_months: the same for 80 %, 1.2816 root mean squared errors without a calibration.
        outside_range: the corrected mean lay outside 0 to 228 months, where no reader's age lies: not a number to
            trust.
        is_calibrated: the bundle's calibration gave age, typical error and intervals.
        age_distribution: float64 (240,), probability of each month of age from 0: weighted mean over the members that
            give one; None if none does. Its expectation need not be `age_months`, which is of all members and
            corrected.
    """

    age_months: float
    member_ages_months: Mapping[str, float]
    typical_error_months: float | None = None
    interval_months: tuple[float, float] | None = None
    interval_80_months: tuple[float, float] | None = None
    outside_range: bool = False
    is_calibrated: bool = False
    age_distribution: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)


def combine(outputs: Mapping[str, MemberOutput], manifest: Manifest, *, sex: Sex | None = None) -> AgeEstimate:
    """One estimate from several members: the mean, weighted as the manifest says, over the members given.

    The manifest's calibration corrects it and tells its error; where that or the sex is missing, the mean stands as it
    is, with the error figures of the metrics.

    Args:
        outputs: by the members' names; at least one. Weights are renormalised over them.
        manifest: of the bundle they belong to.
        sex: of the patient.

    Raises:
        BundleError: ``bundle_mismatch`` if there is no output, or one of a member that the manifest does not know;
            ``bundle_output`` if an age is not a finite number.
    """
    weights = {member.name: member.weight for member in manifest.members}
    strangers = sorted(set(outputs) - set(weights))
    if strangers or not outputs:
        raise BundleError("bundle_mismatch", f"Outputs to combine: {sorted(outputs)}; members: {sorted(weights)}.")
    ages = {name: output.age_months for name, output in outputs.items()}
    if not all(math.isfinite(age) for age in ages.values()):
        raise BundleError("bundle_output", f"An age to combine is not a finite number: {ages}.")
    total = sum(weights[name] for name in ages)
    mean = sum(weights[name] * age for name, age in ages.items()) / total
    calibrated = manifest.calibration.by_sex[sex] if manifest.calibration is not None and sex is not None else None
    corrected = mean if calibrated is None else calibrated.corrected(mean)
    error = _error_of_metrics(manifest, sex) if calibrated is None else calibrated.band(corrected)
    widening = _widening(ages, manifest)
    age_months = max(corrected, YOUNGEST_MONTHS)
    return AgeEstimate(
        age_months=age_months,
        member_ages_months=ages,
        typical_error_months=None if error.typical_error_months is None else widening * error.typical_error_months,
        interval_months=_interval(age_months, error.half_width_95_months, widening),
        interval_80_months=_interval(age_months, error.half_width_80_months, widening),
        outside_range=not YOUNGEST_MONTHS <= corrected <= OLDEST_MONTHS,
        is_calibrated=calibrated is not None,
        age_distribution=_mean_distribution(outputs, weights),
    )


def region_ages(ages_months: Mapping[str, float], manifest: Manifest) -> dict[Region, float]:
    """What the members of each region say, months: their weighted mean, unclipped (Iglovikov et al., Fig. 8).

    Args:
        ages_months: by the members' names, all known to the manifest.
        manifest: of the bundle they belong to.

    Returns:
        By region, in the order of the members; empty unless there are two regions to compare.
    """
    grouped: dict[Region, list[tuple[float, float]]] = {}
    for member in manifest.members:
        if member.name in ages_months:
            grouped.setdefault(member.view.region, []).append((member.weight, ages_months[member.name]))
    if len(grouped) < 2:
        return {}
    return {
        region: sum(weight * age for weight, age in said) / sum(weight for weight, _ in said)
        for region, said in grouped.items()
    }


def _mean_distribution(outputs: Mapping[str, MemberOutput], weights: Mapping[str, float]) -> NDArray[np.float64] | None:
    given = {name: one.age_distribution for name, one in outputs.items() if one.age_distribution is not None}
    if not given:
        return None
    return np.asarray(np.average(list(given.values()), axis=0, weights=[weights[name] for name in given]), np.float64)


@dataclass(frozen=True)
class _ErrorOfMetrics:
    """What the metrics say of the error, as a calibration's band does; None for what they do not say."""

    half_width_80_months: float | None
    half_width_95_months: float | None
    typical_error_months: float | None


def _error_of_metrics(manifest: Manifest, sex: Sex | None) -> _ErrorOfMetrics:
    rmse = manifest.metrics.get("rmse_months")
    overall = manifest.metrics.get("mad_months")
    return _ErrorOfMetrics(
        half_width_80_months=None if rmse is None else Z_80 * rmse,
        half_width_95_months=None if rmse is None else Z_95 * rmse,
        typical_error_months=manifest.metrics.get("mad_months_by_sex", {}).get(sex, overall),
    )


def region_spread(region_ages_months: Mapping[Region, float]) -> float | None:
    """How far the oldest and the youngest region lie apart, months; None where there are no two regions."""
    ages = region_ages_months.values()
    return max(ages) - min(ages) if len(ages) > 1 else None


def lone_region(region_ages_months: Mapping[Region, float], manifest: Manifest) -> Region | None:
    """Find the region that stands alone: far from the mean of the others, which agree among themselves.

    Something lies over it, as a wire does. Of 60 drawn disturbances the others then stay near the undisturbed age.

    Args:
        region_ages_months: by region, as `region_ages` gives them.
        manifest: of the bundle, whose `Manifest.disagreement` says what is far.

    Returns:
        The region, or None: if none stands alone, there are fewer than four to judge by, or the manifest says nothing
        of disagreement.
    """
    if manifest.disagreement is None or len(region_ages_months) < _FEWEST_REGIONS:
        return None
    weights: dict[Region, float] = {}
    for member in manifest.members:
        weights[member.view.region] = weights.get(member.view.region, 0.0) + member.weight
    found: Region | None = None
    farthest = manifest.disagreement.caution_months
    for region, age in region_ages_months.items():
        others = {other: months for other, months in region_ages_months.items() if other != region}
        mean = sum(weights[other] * months for other, months in others.items()) / sum(
            weights[other] for other in others
        )
        spread = region_spread(others) or 0.0
        if abs(age - mean) > farthest and spread < _AGREEMENT * abs(age - mean):
            found, farthest = region, abs(age - mean)
    return found


def _widening(ages_months: Mapping[str, float], manifest: Manifest) -> float:
    """By what the error is larger than usual, since the regions lie so far apart."""
    spread = region_spread(region_ages(ages_months, manifest))
    return 1.0 if manifest.disagreement is None or spread is None else manifest.disagreement.widening(spread)


def _interval(age_months: float, half_width_months: float | None, widening: float) -> tuple[float, float] | None:
    return None if half_width_months is None else interval_around(age_months, widening * half_width_months)


def interval_around(age_months: float, half_width_months: float) -> tuple[float, float]:
    """(low, high) about an age of at least 0: see `AgeEstimate.interval_months`."""
    high = age_months + half_width_months
    low = max(age_months - half_width_months, YOUNGEST_MONTHS)
    return low, high if age_months > OLDEST_MONTHS else min(high, OLDEST_MONTHS)
