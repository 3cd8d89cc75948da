"""The clinical reading of one assessment: everything that follows from a bone age, a sex and a chronological age.

`clinical_reading` composes the other modules and decides what is withheld. The same function serves the estimate of a
model bundle and a physician's correction. `boneage.clinical.documents` states the reading by the project's schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from boneage.clinical.ages import AgeDifference, AgeIssue, ChronologicalAge, difference
from boneage.clinical.discordance import CarpalDiscordance, DiscordanceLimits, carpal_discordance
from boneage.clinical.errors import ClinicalError
from boneage.clinical.maturity import YOUNGEST_MONTHS, AgeDistribution, AgeZone, NearMaturity, age_zone, near_maturity
from boneage.clinical.references import Reference, shipped_reference
from boneage.clinical.sds import (
    Determination,
    Interval,
    NormalRange,
    SdsResult,
    WithheldReason,
    age_obstacle,
    judge,
    normal_range,
)
from boneage.sex import Sex

Severity = Literal["info", "caution", "critical"]
OpenInterval = tuple[float, float | None]
"""Lower and upper bound in months, with None instead of an upper bound where the interval is open above."""


class ClinicalWarningCode(StrEnum):
    """Stable codes of the warnings that a clinical reading raises."""

    BEYOND_SCALE = "beyond_scale"
    """The chronological age lies beyond the scale of Greulich & Pyle: bone age does not tell it."""
    UNDER_TWO_YEARS = "under_two_years"
    """The child is under two years old: radiographs of the hand say little at this age."""
    ESTIMATE_UNDER_TWO_YEARS = "estimate_under_two_years"
    """The chronological age is unknown and the estimate lies under two years."""
    NEAR_MATURITY = "near_maturity"
    """The hand is at or near skeletal maturity, where the bones hardly change any more."""
    SEX_UNKNOWN = "sex_unknown"
    """The sex is unknown or neither female nor male: there is no SDS."""
    AGES_DIFFER = "ages_differ"
    """Patient's Age contradicts birth date and study date: no chronological age is used."""
    STUDY_BEFORE_BIRTH = "study_before_birth"
    """The study date lies before the birth date: no chronological age is used."""
    DATES_IMPOSSIBLE = "dates_impossible"
    """A date is too early or lies in the future: no chronological age is used."""
    AGE_IN_WHOLE_YEARS = "age_in_whole_years"
    """The chronological age is known to the year only: the difference is a range."""
    CARPAL_DISCORDANCE = "carpal_discordance"
    """The carpal bones differ from the other regions by more than is usual."""
    PATIENT_AGE_MALFORMED = "patient_age_malformed"
    """Patient's Age in the file cannot be read."""
    AGE_UNKNOWN = "age_unknown"
    """The chronological age is unknown: there is no comparison with healthy children."""
    OVER_REFERENCE_AGE = "over_reference_age"
    """The child is over 16 years (girls) or 17 years (boys): there is no SDS."""
    OUTSIDE_REFERENCE = "outside_reference"
    """The chosen reference has no values at this age and sex."""


SEVERITIES: Mapping[ClinicalWarningCode, Severity] = MappingProxyType(
    {
        ClinicalWarningCode.BEYOND_SCALE: "critical",
        ClinicalWarningCode.UNDER_TWO_YEARS: "critical",
        ClinicalWarningCode.ESTIMATE_UNDER_TWO_YEARS: "caution",
        ClinicalWarningCode.NEAR_MATURITY: "caution",
        ClinicalWarningCode.SEX_UNKNOWN: "caution",
        ClinicalWarningCode.AGES_DIFFER: "caution",
        ClinicalWarningCode.STUDY_BEFORE_BIRTH: "caution",
        ClinicalWarningCode.DATES_IMPOSSIBLE: "caution",
        ClinicalWarningCode.AGE_IN_WHOLE_YEARS: "caution",
        ClinicalWarningCode.CARPAL_DISCORDANCE: "caution",
        ClinicalWarningCode.PATIENT_AGE_MALFORMED: "info",
        ClinicalWarningCode.AGE_UNKNOWN: "info",
        ClinicalWarningCode.OVER_REFERENCE_AGE: "info",
        ClinicalWarningCode.OUTSIDE_REFERENCE: "info",
    }
)
"""Severity of each warning; the order of the codes is from critical to info."""


@dataclass(frozen=True)
class ClinicalWarning:
    """Warning of a clinical reading; its sentence belongs to whoever shows it.

    Attributes:
        code: stable code.
    """

    code: ClinicalWarningCode

    @property
    def severity(self) -> Severity:
        """Severity of the code: ``info``, ``caution`` or ``critical``."""
        return SEVERITIES[self.code]


@dataclass(frozen=True)
class BoneAgeEstimate:
    """Bone age that is to be read: a model bundle's estimate or a physician's reading.

    Attributes:
        months: bone age by Greulich & Pyle.
        interval_80: (low, high) of the 80 % interval of one reader in months, or None, as for a physician's reading.
        interval_95: the same for 95 %.
        consensus_80: (low, high) of the 80 % interval of the mean of several readers, which the SDS carries, or None.
        distribution: probability of each age, or None.
        region_ages_months: bone age by region (``B`` carpal bones, ``C``, ``D``, ``E``); may be empty.
    """

    months: float
    interval_80: Interval | None = None
    interval_95: Interval | None = None
    consensus_80: Interval | None = None
    distribution: AgeDistribution | None = None
    region_ages_months: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ClinicalError: ``estimate_invalid`` if a number is not finite or an interval is reversed.
        """
        given = (self.interval_80, self.interval_95, self.consensus_80)
        intervals = [one for one in given if one is not None]
        numbers = [self.months, *(end for one in intervals for end in one), *self.region_ages_months.values()]
        if not all(math.isfinite(number) for number in numbers) or any(low > high for low, high in intervals):
            raise ClinicalError("estimate_invalid", "Bone ages must be finite, and intervals from low to high.")


@dataclass(frozen=True)
class ClinicalReading:
    """Clinical meaning of a bone age for a child.

    Attributes:
        sex: sex by which the bone age was estimated; None if unknown.
        chronological_age: age at the study, or None.
        reference: the reference of SDS and normal range.
        normal_range: normal range of bone age at the chronological age; None where no SDS is possible by age and sex.
        difference: bone age minus chronological age, or None.
        difference_reason: reason for a missing difference; None if there is one.
        sds: SDS, its interval, determination and the reason for a missing one.
        near_maturity: result of the rule for skeletal maturity; None without a meaningful bone age.
        interval_80, interval_95: intervals of the estimate in months, open above near maturity; None if not known or
            not meaningful.
        carpal_discordance: carpal bones against the other regions, or None.
        warnings: warnings in the order of severity, critical first.
    """

    sex: Sex | None
    chronological_age: ChronologicalAge | None
    reference: Reference
    normal_range: NormalRange | None
    difference: AgeDifference | None
    difference_reason: WithheldReason | None
    sds: SdsResult
    near_maturity: NearMaturity | None
    interval_80: OpenInterval | None
    interval_95: OpenInterval | None
    carpal_discordance: CarpalDiscordance | None
    warnings: tuple[ClinicalWarning, ...]

    @property
    def determination(self) -> Determination | None:
        """Class of the bone age, or None with `determination_reason`."""
        return self.sds.determination

    @property
    def determination_reason(self) -> WithheldReason | None:
        """Reason for a missing determination; None if there is one."""
        return self.sds.reason

    @property
    def severity(self) -> Severity | None:
        """Highest severity among the warnings, or None without any."""
        return self.warnings[0].severity if self.warnings else None

    def has_warning(self, code: ClinicalWarningCode) -> bool:
        """Return True if a warning was raised."""
        return any(warning.code is code for warning in self.warnings)


def clinical_reading(
    estimate: BoneAgeEstimate | None,
    *,
    sex: Sex | None,
    age: ChronologicalAge | None,
    reference: Reference | None = None,
    age_issue: AgeIssue | None = None,
    is_meaningless: bool = False,
    has_critical_warning: bool = False,
    carpal_limits: DiscordanceLimits | None = None,
    sex_is_known: bool = True,
) -> ClinicalReading:
    """Return the clinical meaning of a bone age for a child.

    Signed difference, SDS and determination are withheld beyond both ends of the scale, at or near skeletal maturity,
    and where the bone age is missing, meaningless or must not be used. An SDS also needs a known sex and an age that
    is known to the month and covered by the reference.

    Args:
        estimate: bone age, or None if the radiograph was rejected.
        sex: sex by which the bone age was estimated, or None.
        age: chronological age at the study, or None.
        reference: reference to judge by; ``gp-brush-sd`` if None.
        age_issue: problem with the age in the file, which raises a warning.
        is_meaningless: True if the number is no bone age (phantom, or outside the scale).
        has_critical_warning: True if a critical warning of the assessment forbids the use of the bone age.
        carpal_limits: usual differences between carpal bones and other regions.
        sex_is_known: False if the radiograph is read for both sexes, and `sex` is that of this reading. There is then
            no normal range, SDS or determination.
    """
    reference = reference or shipped_reference()
    usable = None if estimate is None or is_meaningless else estimate
    maturity = None if usable is None else near_maturity(usable.months, sex, usable.distribution)
    is_near = maturity is not None and maturity.is_near
    withheld = _withheld(estimate, age, sex, is_meaningless, has_critical_warning, is_near)
    judged_sex = sex if sex_is_known else None
    if usable is None or withheld is not None:
        sds = SdsResult(reason=withheld)
    else:
        sds = judge(usable.months, usable.consensus_80, age, judged_sex, reference)
    difference_reason = withheld or (WithheldReason.AGE_UNKNOWN if age is None else None)
    discordance = None
    if usable is not None:
        discordance = carpal_discordance(usable.region_ages_months, sex, usable.months, carpal_limits)
    return ClinicalReading(
        sex=sex,
        chronological_age=age,
        reference=reference,
        normal_range=normal_range(age, judged_sex, reference),
        difference=None if difference_reason or usable is None or age is None else difference(usable.months, age),
        difference_reason=difference_reason,
        sds=sds,
        near_maturity=maturity,
        interval_80=None if usable is None else _opened(usable.interval_80, is_near),
        interval_95=None if usable is None else _opened(usable.interval_95, is_near),
        carpal_discordance=discordance,
        warnings=_warnings(usable, age, sex, judged_sex, reference, age_issue, is_near, discordance),
    )


def _withheld(
    estimate: BoneAgeEstimate | None,
    age: ChronologicalAge | None,
    sex: Sex | None,
    is_meaningless: bool,
    has_critical_warning: bool,
    is_near_maturity: bool,
) -> WithheldReason | None:
    """Return the most informative reason to withhold difference, SDS and determination, or None."""
    zone = AgeZone.WITHIN if age is None else age_zone(age, sex)
    conditions = {
        WithheldReason.NO_ESTIMATE: estimate is None,
        WithheldReason.MEANINGLESS: is_meaningless,
        WithheldReason.BEYOND_SCALE: zone is AgeZone.BEYOND_SCALE,
        WithheldReason.UNDER_TWO_YEARS: zone is AgeZone.UNDER_TWO_YEARS,
        WithheldReason.CRITICAL_WARNING: has_critical_warning,
        WithheldReason.NEAR_MATURITY: is_near_maturity,
    }
    return next((reason for reason, holds in conditions.items() if holds), None)


_BY_OBSTACLE: Mapping[WithheldReason, ClinicalWarningCode] = MappingProxyType(
    {
        WithheldReason.BEYOND_SCALE: ClinicalWarningCode.BEYOND_SCALE,
        WithheldReason.UNDER_TWO_YEARS: ClinicalWarningCode.UNDER_TWO_YEARS,
        WithheldReason.OVER_REFERENCE_AGE: ClinicalWarningCode.OVER_REFERENCE_AGE,
        WithheldReason.OUTSIDE_REFERENCE: ClinicalWarningCode.OUTSIDE_REFERENCE,
    }
)


def _warnings(
    usable: BoneAgeEstimate | None,
    age: ChronologicalAge | None,
    sex: Sex | None,
    judged_sex: Sex | None,
    reference: Reference,
    age_issue: AgeIssue | None,
    is_near_maturity: bool,
    discordance: CarpalDiscordance | None,
) -> tuple[ClinicalWarning, ...]:
    """Return the warnings in the order of `ClinicalWarningCode`, which is by severity."""

    def raised() -> Iterator[ClinicalWarningCode]:
        obstacle = age_obstacle(age, sex, reference)
        if obstacle is not None and obstacle in _BY_OBSTACLE:
            yield _BY_OBSTACLE[obstacle]
        if age is None:
            yield ClinicalWarningCode.AGE_UNKNOWN
            if usable is not None and usable.months < YOUNGEST_MONTHS:
                yield ClinicalWarningCode.ESTIMATE_UNDER_TWO_YEARS
        elif not age.is_known_to_the_month:
            yield ClinicalWarningCode.AGE_IN_WHOLE_YEARS
        if age_issue is not None:
            yield ClinicalWarningCode(age_issue.value)
        if is_near_maturity:
            yield ClinicalWarningCode.NEAR_MATURITY
        if judged_sex is None:
            yield ClinicalWarningCode.SEX_UNKNOWN
        if discordance is not None and discordance.is_beyond:
            yield ClinicalWarningCode.CARPAL_DISCORDANCE

    codes = set(raised())
    return tuple(ClinicalWarning(code) for code in ClinicalWarningCode if code in codes)


def _opened(interval: Interval | None, is_open_above: bool) -> OpenInterval | None:
    if interval is None:
        return None
    return interval[0], None if is_open_above else interval[1]
