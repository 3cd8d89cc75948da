"""The composed reading: what it states, what it withholds and why, in the keys that every output shares."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.clinical.ages import AgeIssue, ChronologicalAge, age_from_dates, entered_age, exact_age, parse_patient_age
from boneage.clinical.discordance import DiscordanceLimit, DiscordanceLimits
from boneage.clinical.documents import clinical_document
from boneage.clinical.errors import ClinicalError
from boneage.clinical.maturity import AgeDistribution
from boneage.clinical.reading import (
    SEVERITIES,
    BoneAgeEstimate,
    ClinicalReading,
    ClinicalWarningCode,
    clinical_reading,
)
from boneage.clinical.references import shipped_reference
from boneage.clinical.sds import Determination, WithheldReason
from boneage.sex import Sex
from boneage.strict import to_plain

BOY = BoneAgeEstimate(121.0, (112.0, 130.0), (102.0, 139.0), consensus_80=(115.0, 127.0))
Code = ClinicalWarningCode


def plain(reading: ClinicalReading) -> dict[str, Any]:
    document: dict[str, Any] = to_plain(clinical_document(reading))
    json.dumps(document, allow_nan=False)
    return document


def codes(reading: ClinicalReading) -> list[str]:
    return [warning.code.value for warning in reading.warnings]


def test_reading_with_dates() -> None:
    """All keys of a boy of exactly 11 years, seen against the default reference."""
    age = age_from_dates(date(2010, 3, 1), date(2021, 3, 1))
    reading, reference = clinical_reading(BOY, sex=Sex.MALE, age=age), shipped_reference()
    assert plain(reading) == {
        "method": "Greulich & Pyle",
        "chronological_age": {
            "months": 132,
            "lower_months": 132,
            "upper_months": 132,
            "years": 11,
            "completed_months": 0,
            "precision": "days",
            "source": "dates",
        },
        "reference": {
            **{key: getattr(reference, key) for key in ("id", "name", "population", "citation", "sha256")},
            "range_months": [3, 204],
        },
        "normal_range": {"lower_months": 111.82, "upper_months": 152.18, "is_open_above": False},
        "difference": {"months": -11, "range_months": [-11, -11]},
        "difference_reason": None,
        "sds": -1.09,
        "sds_interval_80": [-1.68, -0.5],
        "sds_range": None,
        "determination": "normal",
        "determination_candidates": ["normal"],
        "determination_reason": None,
        "near_maturity": {"is_near": False, "reasons": [], "probability_mature": None},
        "carpal_discordance": None,
    }
    assert (reading.interval_80, reading.interval_95, reading.warnings) == ((112, 130), (102, 139), ())
    assert reading.severity is None


def test_reading_of_whole_years() -> None:
    """013Y: the difference and the SDS are ranges, and nothing is called ahead."""
    reading = clinical_reading(BoneAgeEstimate(171.2), sex=Sex.MALE, age=parse_patient_age("013Y"))
    assert reading.difference is not None
    assert reading.difference.months is None
    assert reading.difference.range_months == pytest.approx((3.2, 15.2))
    assert (reading.sds.sds, reading.sds.range) == (None, (0.3, 1.46))
    assert reading.determination_reason is WithheldReason.AGE_IN_WHOLE_YEARS
    assert codes(reading) == ["age_in_whole_years"]
    assert reading.normal_range is None


def test_reading_without_age() -> None:
    reading = clinical_reading(BOY, sex=Sex.MALE, age=None)
    assert (reading.difference, reading.difference_reason) == (None, WithheldReason.AGE_UNKNOWN)
    assert reading.determination_reason is WithheldReason.AGE_UNKNOWN
    assert codes(reading) == ["age_unknown"]
    assert reading.interval_80 == (112, 130)


@pytest.mark.parametrize("issue", list(AgeIssue))
def test_reading_reports_the_issue_of_the_age(issue: AgeIssue) -> None:
    reading = clinical_reading(BOY, sex=Sex.MALE, age=None, age_issue=issue)
    assert codes(reading) == [issue.value, "age_unknown"]


def test_reading_of_an_infant() -> None:
    """A boy of 10 months is not called 8 months ahead."""
    reading = clinical_reading(BoneAgeEstimate(18.0, (8.0, 28.0)), sex=Sex.MALE, age=exact_age(10.0))
    assert (reading.difference, reading.difference_reason) == (None, WithheldReason.UNDER_TWO_YEARS)
    assert (reading.sds.sds, reading.determination_reason) == (None, WithheldReason.UNDER_TWO_YEARS)
    assert reading.normal_range is None
    assert (codes(reading), reading.severity) == (["under_two_years"], "critical")


def test_reading_of_an_infant_without_age() -> None:
    reading = clinical_reading(BoneAgeEstimate(18.0), sex=Sex.MALE, age=None)
    assert codes(reading) == ["estimate_under_two_years", "age_unknown"]


@pytest.mark.parametrize("age", [exact_age(288.0), parse_patient_age("024Y"), parse_patient_age("019Y")])
def test_reading_of_an_adult(age: ChronologicalAge) -> None:
    """A fused hand with an age of 24 years is no matter of 15 years 8 months."""
    reading = clinical_reading(BoneAgeEstimate(188.0, (180.0, 196.0)), sex=Sex.FEMALE, age=age)
    assert reading.difference_reason is reading.determination_reason is WithheldReason.BEYOND_SCALE
    assert (reading.difference, reading.severity) == (None, "critical")
    assert codes(reading)[:2] == ["beyond_scale", "near_maturity"]
    assert reading.interval_80 == (180, None)


@pytest.mark.parametrize(("sex", "limit"), [(Sex.FEMALE, 180.0), (Sex.MALE, 192.0)])
def test_reading_near_maturity(sex: Sex, limit: float) -> None:
    """No signed difference and no SDS from the limit on; intervals are open above."""
    reading = clinical_reading(
        BoneAgeEstimate(limit, (limit - 8, limit + 8), (limit - 14, limit + 14)), sex=sex, age=exact_age(170.0)
    )
    assert reading.difference_reason is reading.determination_reason is WithheldReason.NEAR_MATURITY
    assert (reading.difference, reading.sds.sds, reading.determination) == (None, None, None)
    assert (reading.interval_80, reading.interval_95) == ((limit - 8, None), (limit - 14, None))
    assert codes(reading) == ["near_maturity"]
    below = clinical_reading(BoneAgeEstimate(limit - 0.01), sex=sex, age=exact_age(170.0))
    assert below.difference is not None
    assert below.sds.sds is not None


def test_reading_near_maturity_by_distribution() -> None:
    shares = np.zeros(240)
    shares[170], shares[220] = 0.7, 0.3
    estimate = BoneAgeEstimate(185.0, distribution=AgeDistribution.by_month(shares))
    reading = clinical_reading(estimate, sex=Sex.MALE, age=exact_age(180.0))
    assert reading.determination_reason is WithheldReason.NEAR_MATURITY
    assert plain(reading)["near_maturity"] == {
        "is_near": True,
        "reasons": ["distribution"],
        "probability_mature": 0.3,
    }


@pytest.mark.parametrize(
    ("estimate", "is_meaningless", "has_critical_warning", "reason"),
    [
        (None, False, False, WithheldReason.NO_ESTIMATE),
        (BOY, True, True, WithheldReason.MEANINGLESS),
        (BOY, False, True, WithheldReason.CRITICAL_WARNING),
    ],
)
def test_reading_of_no_usable_bone_age(
    estimate: BoneAgeEstimate | None, is_meaningless: bool, has_critical_warning: bool, reason: WithheldReason
) -> None:
    reading = clinical_reading(
        estimate,
        sex=Sex.MALE,
        age=exact_age(120.0),
        is_meaningless=is_meaningless,
        has_critical_warning=has_critical_warning,
    )
    assert reading.difference_reason is reading.determination_reason is reason
    assert (reading.difference, reading.sds.sds) == (None, None)
    assert (reading.near_maturity is None) is (reason is not WithheldReason.CRITICAL_WARNING)
    plain(reading)


@pytest.mark.parametrize(("sex", "age"), [(Sex.FEMALE, 192.5), (Sex.MALE, 204.5)])
def test_reading_over_the_reference(sex: Sex, age: float) -> None:
    """A severe delay at 17 years still has its difference, but no SDS."""
    reading = clinical_reading(BoneAgeEstimate(150.0), sex=sex, age=exact_age(age))
    assert reading.difference is not None
    assert reading.difference.months == 150 - age
    assert reading.determination_reason is WithheldReason.OVER_REFERENCE_AGE
    assert codes(reading) == ["over_reference_age"]


def test_reading_of_unknown_sex() -> None:
    """Both sexes side by side, without SDS, normal range and determination, each by its own limits."""
    female, male = (
        clinical_reading(BoneAgeEstimate(months), sex=sex, age=exact_age(170.0), sex_is_known=False)
        for sex, months in ((Sex.FEMALE, 181.0), (Sex.MALE, 190.0))
    )
    assert female.difference_reason is WithheldReason.NEAR_MATURITY
    assert male.difference is not None
    assert male.difference.months == 20
    assert male.determination_reason is WithheldReason.SEX_UNKNOWN
    for one in (female, male):
        assert (one.sds.sds, one.normal_range) == (None, None)
        assert one.has_warning(Code.SEX_UNKNOWN)


def test_reading_of_a_correction() -> None:
    """A physician's reading has no interval: its class is by the score alone."""
    reading = clinical_reading(BoneAgeEstimate(98.0), sex=Sex.MALE, age=exact_age(120.0))
    assert (reading.sds.sds, reading.sds.interval_80, reading.interval_80) == (-2.25, None, None)
    assert reading.determination is Determination.DELAYED


def test_reading_states_borderline_classes() -> None:
    reading = clinical_reading(BoneAgeEstimate(98.0, consensus_80=(92.0, 104.0)), sex=Sex.MALE, age=exact_age(120.0))
    assert reading.determination is Determination.BORDERLINE
    assert plain(reading)["determination_candidates"] == ["delayed", "normal"]


def test_reading_with_carpal_discordance() -> None:
    limits = DiscordanceLimits({Sex.MALE: (DiscordanceLimit(24, 150, -12, 12),)})
    estimate = BoneAgeEstimate(121.0, region_ages_months={"B": 144.0, "C": 118.0, "D": 120.0})
    reading = clinical_reading(estimate, sex=Sex.MALE, age=exact_age(120.0), carpal_limits=limits)
    assert codes(reading) == ["carpal_discordance"]
    assert reading.carpal_discordance is not None
    assert reading.carpal_discordance.difference_months == 25


@pytest.mark.parametrize(
    ("months", "interval"), [(float("nan"), None), (120.0, (130.0, 110.0)), (120.0, (110.0, float("inf")))]
)
def test_estimate_invalid(months: float, interval: tuple[float, float] | None) -> None:
    with pytest.raises(ClinicalError) as error:
        BoneAgeEstimate(months, interval)
    assert error.value.code == "estimate_invalid"


def test_severities_fall_in_the_order_of_codes() -> None:
    ranks = [["critical", "caution", "info"].index(SEVERITIES[code]) for code in Code]
    assert ranks == sorted(ranks)


AGES = st.one_of(
    st.none(),
    st.floats(0, 400).map(exact_age),
    st.integers(0, 40).map(entered_age),
    st.builds(entered_age, st.integers(0, 20), st.integers(0, 11)),
)


@given(
    st.floats(0, 240),
    st.none() | st.tuples(st.floats(0, 30), st.floats(0, 30)),
    st.none() | st.sampled_from(list(Sex)),
    AGES,
    st.booleans(),
    st.booleans(),
)
def test_reading_is_consistent(
    bone: float,
    around: tuple[float, float] | None,
    sex: Sex | None,
    age: ChronologicalAge | None,
    is_meaningless: bool,
    has_critical_warning: bool,
) -> None:
    """Every reading has either a value or a reason, and nothing signed where something is withheld."""
    interval = None if around is None else (bone - around[0], bone + around[1])
    reading = clinical_reading(
        BoneAgeEstimate(bone, interval, interval),
        sex=sex,
        age=age,
        is_meaningless=is_meaningless,
        has_critical_warning=has_critical_warning,
    )
    plain(reading)
    assert (reading.determination is None) is (reading.determination_reason is not None)
    assert (reading.determination is None) is (reading.sds.sds is None)
    assert (reading.difference is None) is (reading.difference_reason is not None)
    assert reading.difference is not None or reading.sds.sds is None
    assert (reading.severity == "critical") is (
        reading.has_warning(Code.BEYOND_SCALE) or reading.has_warning(Code.UNDER_TWO_YEARS)
    )
    if reading.sds.sds is not None:
        assert age is not None
        assert sex is not None
        assert age.is_known_to_the_month
        assert 24 <= age.middle_months <= (192 if sex is Sex.FEMALE else 204)
        assert bone < (180 if sex is Sex.FEMALE else 192)
        assert reading.normal_range is not None
