"""Changes carry the error of both readings, and a verdict only where their time apart allows one."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.clinical.ages import ChronologicalAge, entered_age, exact_age
from boneage.clinical.change import (
    ChangeFlag,
    ChangeReason,
    ReadingMethod,
    SerialReading,
    Verdict,
    change,
    course,
    in_order,
)
from boneage.clinical.errors import ClinicalError
from boneage.clinical.references import shipped_reference
from boneage.clinical.sds import Determination, WithheldReason
from boneage.sex import Sex

AUTOMATIC, MANUAL = ReadingMethod.AUTOMATIC, ReadingMethod.MANUAL


def automatic(
    bone: float, age: ChronologicalAge | float | None = None, day: date | None = None, version: str | None = "a 1"
) -> SerialReading:
    chronological = exact_age(age) if isinstance(age, float | int) else age
    return SerialReading(bone, AUTOMATIC, chronological, day, version, repeat_sd_months=1.3)


@pytest.mark.parametrize(("months", "band"), [(6, 7.2), (12, 3.6)])
def test_velocity_band_by_distance(months: float, band: float) -> None:
    """Automatic readings: ±7 months a year at 6 months, ±3.6 at 12."""
    result = change(automatic(100, 96), automatic(100 + months, 96 + months))
    assert result.velocity == pytest.approx(12)
    assert result.velocity_band == pytest.approx((12 - band, 12 + band), abs=0.01)
    assert (result.verdict, result.reason, result.flags) == (Verdict.AS_EXPECTED, None, ())


def test_change_below_six_months() -> None:
    """The difference and its band stand, the velocity does not: at 3 months it would be ±14."""
    result = change(automatic(100, 96), automatic(104, 99))
    assert (result.velocity, result.velocity_band, result.verdict) == (None, None, None)
    assert result.reason is ChangeReason.TOO_CLOSE
    assert result.difference_interval == pytest.approx((4 - 3.603, 4 + 3.603), abs=0.001)
    assert 12 / 3 * result.band_months == pytest.approx(14.4, abs=0.02)


@pytest.mark.parametrize(
    ("one", "other", "s"),
    [
        (automatic(100, 96), automatic(120, 120), 1.3 * math.sqrt(2)),
        (SerialReading(100, MANUAL, exact_age(96)), SerialReading(120, MANUAL, exact_age(120)), 7 * math.sqrt(2)),
        (automatic(100, 96), SerialReading(120, MANUAL, exact_age(120)), math.hypot(1.3, 7)),
        (automatic(100, 96), SerialReading(120, AUTOMATIC, exact_age(120)), math.hypot(1.3, 7)),
    ],
)
def test_band_by_repeat_sd(one: SerialReading, other: SerialReading, s: float) -> None:
    """A bundle whose SD was not measured counts like a physician."""
    result = change(one, other)
    assert result.band_months == pytest.approx(1.96 * s)
    assert (ChangeFlag.MIXED_METHODS in result.flags) is (one.method is not other.method)


@pytest.mark.parametrize("months", [0.0, -1.0, math.inf, math.nan])
def test_repeat_sd_invalid(months: float) -> None:
    with pytest.raises(ClinicalError):
        SerialReading(100.0, AUTOMATIC, repeat_sd_months=months)


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(15.61, Verdict.FASTER), (15.6, Verdict.AS_EXPECTED), (8.4, Verdict.AS_EXPECTED), (8.39, Verdict.SLOWER)],
)
def test_verdict_only_where_the_band_excludes_twelve(gain: float, verdict: Verdict) -> None:
    assert change(automatic(100, 96), automatic(100 + gain, 108)).verdict is verdict


@pytest.mark.parametrize(("first", "second"), [("a 1", "a 2"), ("a 1", None), (None, None)])
def test_mixed_versions(first: str | None, second: str | None) -> None:
    result = change(automatic(100, 96, version=first), automatic(112, 108, version=second))
    assert result.flags == (ChangeFlag.MIXED_VERSIONS,)
    assert result.verdict is Verdict.AS_EXPECTED


def test_change_near_maturity() -> None:
    later = SerialReading(195, MANUAL, exact_age(180), is_near_maturity=True)
    result = change(SerialReading(170, MANUAL, exact_age(160)), later)
    assert (result.velocity, result.verdict) == (None, None)
    assert (result.reason, result.flags) == (ChangeReason.NEAR_MATURITY, (ChangeFlag.NEAR_MATURITY,))


def test_change_by_study_dates() -> None:
    """The study dates give the time apart, also where the ages are chronological to the year only."""
    first = automatic(100, entered_age(8), date(2020, 8, 31))
    result = change(first, automatic(106, entered_age(8), date(2021, 3, 1)))
    assert result.distance_months == 6
    assert result.velocity == pytest.approx(12)
    assert change(first, automatic(106, None, date(2021, 2, 28))).reason is ChangeReason.TOO_CLOSE


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (entered_age(8), exact_age(120), ChangeReason.AGE_IN_WHOLE_YEARS),
        (None, exact_age(120), ChangeReason.AGE_UNKNOWN),
    ],
)
def test_change_of_unknown_distance(
    first: ChronologicalAge | None, second: ChronologicalAge, reason: ChangeReason
) -> None:
    result = change(automatic(100, first), automatic(112, second))
    assert (result.distance_months, result.verdict, result.reason) == (None, None, reason)
    assert result.difference_months == 12


def test_change_of_one_day() -> None:
    result = change(automatic(100, 96), automatic(101, 96))
    assert (result.distance_months, result.reason) == (0, ChangeReason.TOO_CLOSE)


def test_change_in_the_wrong_order() -> None:
    for first, second in (
        (automatic(100, None, date(2021, 1, 1)), automatic(110, None, date(2020, 1, 1))),
        (automatic(100, 120), automatic(110, 108)),
    ):
        with pytest.raises(ClinicalError) as error:
            change(first, second)
        assert error.value.code == "reading_order"


def test_change_over_one_year() -> None:
    result = change(automatic(100, 96), automatic(112, 108))
    assert (result.distance_months, result.difference_months, result.velocity) == (12, 12, 12)
    assert result.band_months == pytest.approx(3.6, abs=0.005)
    assert result.velocity_band == pytest.approx((8.4, 15.6), abs=0.005)
    assert (result.verdict, result.reason, result.flags) == (Verdict.AS_EXPECTED, None, ())


@given(st.floats(0, 228), st.floats(0, 228), st.floats(24, 200), st.floats(6, 100))
def test_velocity_is_the_difference_by_time(one: float, other: float, age: float, apart: float) -> None:
    """The band lies around the velocity, narrows with time, and decides the verdict."""
    result = change(automatic(one, age), automatic(other, age + apart + 1e-9))
    assert result.velocity is not None
    assert result.velocity_band is not None
    low, high = result.velocity_band
    assert low < result.velocity < high
    assert high - low == pytest.approx(24 * result.band_months / apart, rel=1e-6)
    assert (result.verdict is Verdict.AS_EXPECTED) is (low <= 12 <= high)


def test_course_sorts_and_scores() -> None:
    """A boy seen four times: first behind, then catching up, at last near maturity."""
    readings = [
        replace(automatic(195.0, 190.0), is_near_maturity=True),
        automatic(96.0, 120.0),
        replace(automatic(112.0, 132.0), interval_80=(108.0, 116.0)),
        automatic(130.0, 144.0),
    ]
    result = course(readings, Sex.MALE, shipped_reference())
    assert [one.bone_age_months for one in result.readings] == [96, 112, 130, 195]
    assert [one.verdict for one in result.changes] == [Verdict.FASTER, Verdict.FASTER, None]
    assert result.overall is not None
    assert result.overall.reason is ChangeReason.NEAR_MATURITY
    assert [one.sds for one in result.sds] == [-2.45, -1.98, -1.35, None]
    assert result.sds[1].determination is Determination.BORDERLINE
    assert result.sds[3].reason is WithheldReason.NEAR_MATURITY


def test_course_of_one_reading_or_none() -> None:
    assert course([], None, shipped_reference()).overall is None
    result = course([automatic(100, 96)], None, shipped_reference())
    assert (result.changes, result.overall) == ((), None)
    assert result.sds[0].reason is WithheldReason.SEX_UNKNOWN


def test_in_order_prefers_dates() -> None:
    first, second = automatic(100, 130, date(2019, 1, 1)), automatic(110, 120, date(2020, 1, 1))
    assert in_order([second, first]) == (first, second)
    with pytest.raises(ClinicalError) as error:
        in_order([automatic(100, 130), automatic(100, None, date(2020, 1, 1))])
    assert error.value.code == "reading_order"


def test_serial_reading_not_finite() -> None:
    with pytest.raises(ClinicalError):
        automatic(math.nan)
