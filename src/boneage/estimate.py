"""From the answers of a bundle's members to one bone age."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from boneage.bundle import MemberOutput
from boneage.errors import BundleError
from boneage.manifest import Manifest
from boneage.registration import Region
from boneage.sex import Sex

YOUNGEST_MONTHS, OLDEST_MONTHS = 0.0, 228.0
"""The range of bone ages that a reader can give: Greulich and Pyle's plates end at 19 years (228 months)."""

NINETEEN_IN_TWENTY = 1.96
"""Standard errors on either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class AgeEstimate:
    """A bone age with what is known of its error.

    Attributes:
        age_months: weighted mean over the members, never below 0.
        member_ages_months: what each member said, unclipped.
        typical_error_months: mean absolute difference from readers on the bundle's validation films, of this sex where
            the manifest has it; None if the bundle was never validated. It speaks of films like those, not of this one.
        interval_months: (low, high): 1.96 root mean squared errors of the validation films on either side, cut at 0
            and, unless the age itself lies above, at 228 months: no reader's age lies beyond. The reach
            is the same for every film; how many validation films it held is `interval_coverage` in the metrics. None
            without that figure.
        outside_range: the mean lay outside 0 to 228 months, where no reader's age lies: not a number to trust.
        age_distribution: float64 (240,), probability of each month of age from 0: weighted mean over the members that
            give one; None if none does. Its expectation need not be `age_months`, which is of all members.
    """

    age_months: float
    member_ages_months: Mapping[str, float]
    typical_error_months: float | None = None
    interval_months: tuple[float, float] | None = None
    outside_range: bool = False
    age_distribution: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)


def combine(outputs: Mapping[str, MemberOutput], manifest: Manifest, *, sex: Sex | None = None) -> AgeEstimate:
    """One estimate from several members: the mean, weighted as the manifest says, over the members given.

    Args:
        outputs: by the members' names; at least one. Weights are renormalised over them.
        manifest: of the bundle they belong to.
        sex: of the patient, for the error figures of this sex where the manifest has them.

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
    age_months = max(mean, YOUNGEST_MONTHS)
    rmse = manifest.metrics.get("rmse_months")
    return AgeEstimate(
        age_months=age_months,
        member_ages_months=ages,
        typical_error_months=_typical_error(manifest, sex),
        interval_months=None if rmse is None else interval_around(age_months, rmse),
        outside_range=not YOUNGEST_MONTHS <= mean <= OLDEST_MONTHS,
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


def _typical_error(manifest: Manifest, sex: Sex | None) -> float | None:
    by_sex = manifest.metrics.get("mad_months_by_sex", {})
    error = by_sex.get(sex.value) if sex is not None else None
    return error if error is not None else manifest.metrics.get("mad_months")


def interval_around(age_months: float, rmse_months: float) -> tuple[float, float]:
    """(low, high) about an age of at least 0: see `AgeEstimate.interval_months`."""
    reach = NINETEEN_IN_TWENTY * rmse_months
    high = age_months + reach
    return max(age_months - reach, YOUNGEST_MONTHS), high if age_months > OLDEST_MONTHS else min(high, OLDEST_MONTHS)
