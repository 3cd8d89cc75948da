"""The combination of the members' outputs to one bone age with its prediction intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.curve import central_interval
from boneage.bundle.manifest import Manifest
from boneage.bundle.member_output import MemberOutput
from boneage.bundle.stages import StageWeights
from boneage.errors import BundleError
from boneage.hand.registration import Region
from boneage.sex import Sex

YOUNGEST_MONTHS, OLDEST_MONTHS = 0.0, 228.0
"""Range of bone ages that a reader can give: Greulich and Pyle's plates end at 19 years (228 months)."""

Z_95 = 1.96
"""Standard errors on either side that hold 95 % of a normal distribution."""

Z_80 = 1.2816
"""Standard errors on either side that hold 80 % of a normal distribution."""

_AGREEMENT = 0.6
"""Largest spread of the other regions, as a share of a region's distance from them, for which it stands alone."""

_FEWEST_REGIONS = 4
"""Smallest number of regions among which one can be singled out."""


@dataclass(frozen=True)
class AgeEstimate:
    """A bone age with its error figures.

    Attributes:
        age_months: weighted mean over the members, corrected by sex where the bundle is calibrated; never below 0.
        member_ages_months: age by each member, neither corrected nor clipped.
        typical_error_months: mean absolute difference (MAD) from readers. For a calibrated bundle it was measured out
            of fold on radiographs of this sex near this age. For others it was measured on the validation radiographs,
            of this sex where the manifest has it. None if the bundle was validated on fewer than `FEWEST_MEASURED`
            radiographs. It concerns such radiographs in general, not this one.
        interval_months: (low, high), 95 % prediction interval of one reader's age. It is cut at 0 and, unless the age
            itself lies above, at 228 months, since no reader's age lies beyond. It is the central part of the
            calibrated `age_distribution` (`boneage.bundle.curve`). A bundle without one has widths by sex and age
            (`boneage.bundle.calibration`), and without these 1.96 root mean squared errors of the validation
            radiographs on either side. The metrics' `interval_coverage` is the measured coverage on validation
            radiographs. None without a calibration and without `FEWEST_MEASURED` validation radiographs.
        interval_80_months: 80 % prediction interval of one reader's age; 1.2816 root mean squared errors without a
            calibration.
        consensus_interval_months, consensus_interval_80_months: the same for the mean of several readers, narrower by
            `Manifest.consensus_share`.
        outside_range: the corrected mean lies outside 0 to 228 months, where no reader's age lies; the estimate must
            not be trusted.
        is_calibrated: the intervals are calibrated by sex and age.
        member_weights: weight of each member in the estimate, 0..1, by name. They sum to 1.
        age_distribution: float64 (240,), probability of each age from 0 in whole months: weighted mean over the members
            that have one, calibrated where the manifest has that; None if none does. The mean of a calibrated one need
            not be `age_months`.
    """

    age_months: float
    member_ages_months: Mapping[str, float]
    typical_error_months: float | None = None
    interval_months: tuple[float, float] | None = None
    interval_80_months: tuple[float, float] | None = None
    consensus_interval_months: tuple[float, float] | None = None
    consensus_interval_80_months: tuple[float, float] | None = None
    outside_range: bool = False
    is_calibrated: bool = False
    member_weights: Mapping[str, float] = field(default_factory=dict, repr=False)
    age_distribution: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)


def combine(outputs: Mapping[str, MemberOutput], manifest: Manifest, *, sex: Sex | None = None) -> AgeEstimate:
    """Combine the outputs of several members to one estimate, their mean by the manifest's weights.

    The manifest's calibration may weigh the members by their regions and the stage of maturity
    (`boneage.bundle.stages`). It corrects the mean and gives its error. The calibrated distribution gives the
    intervals.
    Where these or the sex are missing, the mean is not corrected and has the error figures of the metrics.

    Args:
        outputs: outputs by the members' names, at least one. Weights are renormalised over them.
        manifest: manifest of their bundle.
        sex: sex of the patient.

    Raises:
        BundleError: ``bundle_mismatch`` if there is no output, or one of a member that is not in the manifest;
            ``bundle_output`` if an age is not a finite number.
    """
    weights = {member.name: member.weight for member in manifest.members}
    strangers = sorted(set(outputs) - set(weights))
    if strangers or not outputs:
        raise BundleError("bundle_mismatch", f"Outputs to combine: {sorted(outputs)}; members: {sorted(weights)}.")
    ages = {name: output.age_months for name, output in outputs.items()}
    if not all(math.isfinite(age) for age in ages.values()):
        raise BundleError("bundle_output", f"An age to combine is not a finite number: {ages}.")
    weights = _shares({name: weights[name] for name in ages})
    mean = _mean(ages, weights)
    calibrated = manifest.calibration.by_sex[sex] if manifest.calibration is not None and sex is not None else None
    # Weights by stage were fitted to the ordinary members alone.
    if calibrated is not None and calibrated.stages is not None and not manifest.stand_ins & set(ages):
        shift, weights = calibrated.stages.correction(mean), _weights_at(calibrated.stages, mean, weights, manifest)
        mean = _mean(ages, weights) + shift
    corrected = mean if calibrated is None else calibrated.corrected(mean)
    error = _error_of_metrics(manifest, sex) if calibrated is None else calibrated.band(corrected)
    age_months = max(corrected, YOUNGEST_MONTHS)
    curve = _mean_distribution(outputs, weights)
    wide, narrow = error.half_width_95_months, error.half_width_80_months
    intervals = [None if width is None else (age_months - width, age_months + width) for width in (wide, narrow)]
    is_calibrated = calibrated is not None
    if curve is not None and manifest.curve is not None and sex is not None:
        is_calibrated, curve = True, manifest.curve.calibrated(curve, sex, age_months)
        intervals = [central_interval(curve, percent) for percent in (95, 80)]
    of_one, of_several = (
        [None if ends is None else _interval(age_months, ends, share) for ends in intervals]
        for share in (1.0, manifest.consensus_share)
    )
    return AgeEstimate(
        age_months=age_months,
        member_ages_months=ages,
        typical_error_months=error.typical_error_months,
        interval_months=of_one[0],
        interval_80_months=of_one[1],
        consensus_interval_months=of_several[0],
        consensus_interval_80_months=of_several[1],
        outside_range=not YOUNGEST_MONTHS <= corrected <= OLDEST_MONTHS,
        is_calibrated=is_calibrated,
        member_weights=weights,
        age_distribution=curve,
    )


def _mean(ages: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(weights[name] * age for name, age in ages.items())


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _weights_at(
    stages: StageWeights, mean_months: float, plain: Mapping[str, float], manifest: Manifest
) -> dict[str, float]:
    """Return the members' weights at a stage of maturity, which sum to 1.

    A region's weight is divided among its members of the manifest by their plain weights, so that one that did not run
    leaves less for its region.

    Args:
        stages: weights of the regions.
        mean_months: mean of the members that ran, by their plain weights.
        plain: plain weights of the members that ran.
        manifest: manifest of all members.
    """
    of_region: dict[Region, float] = {}
    for member in manifest.ordinary_members:
        of_region[member.view.region] = of_region.get(member.view.region, 0.0) + member.weight
    at_stage = stages.at(mean_months)
    weights = {
        member.name: at_stage.get(member.view.region, 0.0) * member.weight / of_region[member.view.region]
        for member in manifest.ordinary_members
        if member.name in plain
    }
    return _shares(weights if sum(weights.values()) > 0 else plain)


def region_ages(ages_months: Mapping[str, float], manifest: Manifest) -> dict[Region, float]:
    """Return the age of each region, months: its members' weighted mean, unclipped (Iglovikov et al., Fig. 8).

    Args:
        ages_months: ages by the members' names, all of them in the manifest.
        manifest: manifest of their bundle.

    Returns:
        Ages by region, in the order of the members; empty unless there are two regions to compare.
    """
    grouped: dict[Region, list[tuple[float, float]]] = {}
    for member in manifest.members:
        if member.name in ages_months:
            grouped.setdefault(member.view.region, []).append((member.weight, ages_months[member.name]))
    if len(grouped) < 2:
        return {}
    return {
        region: sum(weight * age for weight, age in members) / sum(weight for weight, _ in members)
        for region, members in grouped.items()
    }


def _mean_distribution(outputs: Mapping[str, MemberOutput], weights: Mapping[str, float]) -> NDArray[np.float64] | None:
    given = {name: one.age_distribution for name, one in outputs.items() if one.age_distribution is not None}
    if not given:
        return None
    shares = [weights[name] for name in given]
    return np.asarray(np.average(list(given.values()), axis=0, weights=shares if sum(shares) > 0 else None), np.float64)


@dataclass(frozen=True)
class _ErrorOfMetrics:
    """Error figures from the metrics, in the form of a calibration's band; None for missing figures."""

    half_width_80_months: float | None
    half_width_95_months: float | None
    typical_error_months: float | None


def _error_of_metrics(manifest: Manifest, sex: Sex | None) -> _ErrorOfMetrics:
    if not manifest.has_measured_error:
        return _ErrorOfMetrics(None, None, None)
    rmse = manifest.metrics.get("rmse_months")
    overall = manifest.metrics.get("mad_months")
    return _ErrorOfMetrics(
        half_width_80_months=None if rmse is None else Z_80 * rmse,
        half_width_95_months=None if rmse is None else Z_95 * rmse,
        typical_error_months=manifest.metrics.get("mad_months_by_sex", {}).get(sex, overall),
    )


def region_spread(region_ages_months: Mapping[Region, float]) -> float | None:
    """Return the difference between the oldest and the youngest region, months; None without two regions."""
    ages = region_ages_months.values()
    return max(ages) - min(ages) if len(ages) > 1 else None


def lone_region(region_ages_months: Mapping[Region, float], manifest: Manifest) -> Region | None:
    """Find the region that stands alone: far from the mean of the others, which agree among themselves.

    A wire or another object may cover it. In 60 drawn disturbances the other regions stayed near the undisturbed age.

    Args:
        region_ages_months: ages by region, as `region_ages` returns them.
        manifest: manifest of the bundle, whose `Manifest.disagreement` has the limit of the distance.

    Returns:
        The region, or None if none stands alone, there are fewer than four, or the manifest has no disagreement.
    """
    if manifest.disagreement is None or len(region_ages_months) < _FEWEST_REGIONS:
        return None
    weights: dict[Region, float] = {}
    for member in manifest.ordinary_members:
        weights[member.view.region] = weights.get(member.view.region, 0.0) + member.weight
    lone: Region | None = None
    farthest = manifest.disagreement.caution_months
    for region, age in region_ages_months.items():
        others = {other: months for other, months in region_ages_months.items() if other != region}
        mean = sum(weights[other] * months for other, months in others.items()) / sum(
            weights[other] for other in others
        )
        spread = region_spread(others) or 0.0
        if abs(age - mean) > farthest and spread < _AGREEMENT * abs(age - mean):
            lone, farthest = region, abs(age - mean)
    return lone


def _interval(age_months: float, ends: tuple[float, float], share: float) -> tuple[float, float]:
    """Return an interval about an age of at least 0, months: see `AgeEstimate.interval_months`.

    Args:
        age_months: estimate, which the interval contains in any case.
        ends: ends of the interval, months.
        share: width of the interval as a share of the distance between the ends.
    """
    low, high = (age_months + share * (end - age_months) for end in ends)
    low, high = max(min(low, age_months), YOUNGEST_MONTHS), max(high, age_months)
    return low, high if age_months > OLDEST_MONTHS else min(high, OLDEST_MONTHS)
