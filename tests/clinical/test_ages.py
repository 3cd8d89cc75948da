"""Chronological age counts completed months, stays an interval where it is one, and never rounds up."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.clinical.ages import (
    DAYS_PER_MONTH,
    AgeIssue,
    AgePrecision,
    AgeSource,
    ChronologicalAge,
    FileAge,
    StatedAge,
    age_at_study,
    age_from_dates,
    age_in_file,
    calendar_months,
    completed_age,
    completed_months,
    day_of_completion,
    difference,
    entered_age,
    exact_age,
    gap_months,
    latest_study_day,
    parse_patient_age,
    parse_written_age,
)
from boneage.clinical.errors import ClinicalError

DAYS = st.dates(date(1900, 1, 1), date(2030, 12, 31))


@pytest.mark.parametrize(
    ("birth", "study", "months"),
    [
        (date(2010, 3, 1), date(2010, 3, 1), 0),
        (date(2010, 3, 1), date(2021, 2, 28), 131),
        (date(2010, 3, 1), date(2021, 3, 1), 132),
        (date(2010, 1, 10), date(2021, 7, 31), 138),
        (date(2012, 2, 29), date(2013, 2, 28), 11),
        (date(2012, 2, 29), date(2013, 3, 1), 12),
        (date(2012, 2, 29), date(2016, 2, 29), 48),
        (date(2020, 1, 31), date(2020, 2, 29), 0),
        (date(2020, 1, 31), date(2020, 3, 1), 1),
    ],
)
def test_completed_months(birth: date, study: date, months: int) -> None:
    assert completed_months(birth, study) == months


def test_completed_age_is_never_rounded_up() -> None:
    """11 y 6 m 21 d is 11 y 6 m."""
    age = age_from_dates(date(2010, 1, 10), date(2021, 7, 31))
    assert age.completed == (11, 6)
    assert age.lower_months == age.upper_months == age.middle_months == 138 + 21 / 31
    assert completed_age(143.999) == (11, 11)
    assert completed_age(144.0) == (12, 0)


@given(DAYS, DAYS)
def test_calendar_months_identity(one: date, other: date) -> None:
    """Adding the completed months leads to a day not after the study, and one month more to a day after it."""
    birth, study = min(one, other), max(one, other)
    months = completed_months(birth, study)
    assert day_of_completion(birth, months) <= study < day_of_completion(birth, months + 1)
    exact = calendar_months(birth, study)
    assert math.floor(exact) == months
    assert abs(exact - (study - birth).days / DAYS_PER_MONTH) < 0.1
    assert calendar_months(birth, study + timedelta(days=1)) > exact


@given(DAYS, st.integers(0, 1500))
def test_day_of_completion_inverse(birth: date, months: int) -> None:
    day = day_of_completion(birth, months)
    assert completed_months(birth, day) == months
    assert calendar_months(birth, day) == months


def test_calendar_months_takes_datetimes() -> None:
    assert calendar_months(datetime(2010, 1, 1, 23, tzinfo=UTC), date(2011, 1, 1)) == 12


@pytest.mark.parametrize(
    ("birth", "study", "last_day", "code"),
    [
        (date(2011, 1, 1), date(2010, 1, 1), None, "study_before_birth"),
        (date(1899, 12, 31), date(1910, 1, 1), None, "birth_too_early"),
        (date(2011, 1, 1), date(2020, 1, 2), date(2020, 1, 1), "study_in_future"),
        (date(1900, 1, 1), date(2031, 1, 1), None, "age_out_of_range"),
        (date(9998, 12, 1), date(9999, 12, 31), None, "age_out_of_range"),
    ],
)
def test_age_from_dates_impossible(birth: date, study: date, last_day: date | None, code: str) -> None:
    with pytest.raises(ClinicalError) as error:
        age_from_dates(birth, study, last_day=last_day)
    assert error.value.code == code


def test_latest_study_day_is_today_somewhere() -> None:
    """It is the day at 14 hours east of Greenwich, so never before the local one and at most one day after it."""
    before = datetime.now(UTC).date()
    assert before <= latest_study_day() <= datetime.now(UTC).date() + timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "lower", "upper", "precision"),
    [
        ("013Y", 156.0, 168.0, AgePrecision.YEARS),
        ("018M", 18.0, 19.0, AgePrecision.MONTHS),
        ("003W", 21 / DAYS_PER_MONTH, 28 / DAYS_PER_MONTH, AgePrecision.WEEKS),
        ("010D", 10 / DAYS_PER_MONTH, 11 / DAYS_PER_MONTH, AgePrecision.DAYS),
        ("13y", 156.0, 168.0, AgePrecision.YEARS),
        (" 0018 M ", 18.0, 19.0, AgePrecision.MONTHS),
        ("000Y", 0.0, 12.0, AgePrecision.YEARS),
    ],
)
def test_parse_patient_age(text: str, lower: float, upper: float, precision: AgePrecision) -> None:
    age = parse_patient_age(text)
    assert (age.lower_months, age.upper_months) == pytest.approx((lower, upper))
    assert (age.precision, age.source) == (precision, AgeSource.PATIENT_AGE)


@pytest.mark.parametrize("text", ["", "13", "Y", "013X", "-01Y", "1.5Y", "13Y 6M", "٠١٣Y"])
def test_parse_patient_age_malformed(text: str) -> None:
    with pytest.raises(ClinicalError) as error:
        parse_patient_age(text)
    assert error.value.code == "age_malformed"


def test_parse_patient_age_too_high() -> None:
    with pytest.raises(ClinicalError) as error:
        parse_patient_age("200Y")
    assert error.value.code == "age_out_of_range"


def test_whole_years_are_an_interval() -> None:
    """13 years are 13 y 0 m to 13 y 11 m."""
    age = entered_age(13)
    assert (age.completed, age.last_completed) == ((13, 0), (13, 11))
    assert not age.is_known_to_the_month
    assert (age.lower_months, age.middle_months, age.upper_months) == (156.0, 162.0, 168.0)
    assert (age.precision, age.source) == (AgePrecision.YEARS, AgeSource.ENTERED)


def test_entered_month_zero_is_known() -> None:
    age = entered_age(13, 0)
    assert (age.lower_months, age.upper_months, age.precision) == (156.0, 157.0, AgePrecision.MONTHS)
    assert (age.completed, age.last_completed) == ((13, 0), (13, 0))
    assert age.is_known_to_the_month


@pytest.mark.parametrize(
    ("years", "months", "code"), [(13, 12, "age_malformed"), (13, -1, "age_malformed"), (-1, 3, "age_out_of_range")]
)
def test_entered_age_invalid(years: int, months: int, code: str) -> None:
    with pytest.raises(ClinicalError) as error:
        entered_age(years, months)
    assert error.value.code == code


@pytest.mark.parametrize("months", [math.nan, math.inf, -0.1, 1560.1])
def test_exact_age_invalid(months: float) -> None:
    with pytest.raises(ClinicalError):
        exact_age(months)


def test_age_bounds_reversed() -> None:
    with pytest.raises(ClinicalError):
        ChronologicalAge(12.0, 11.0, AgePrecision.DAYS, AgeSource.ENTERED)


def test_exact_last_completed() -> None:
    assert exact_age(167.55).last_completed == (13, 11)
    assert parse_patient_age("010D").last_completed == (0, 0)


BIRTH, STUDY = date(2010, 1, 10), date(2021, 7, 31)


@pytest.mark.parametrize("stated", [None, "", "011Y", "138M", " 11Y "])
def test_age_in_file_dates_refine_the_stated_age(stated: str | None) -> None:
    file_age = age_in_file(stated, BIRTH, STUDY)
    assert file_age.age == age_from_dates(BIRTH, STUDY)
    assert file_age.issue is None


def test_age_in_file_tolerance() -> None:
    """The stated age may have been computed some days before the study."""
    birth = date(2010, 1, 10)
    assert age_in_file("010Y", birth, date(2021, 1, 15)).issue is None
    assert age_in_file("010Y", birth, date(2021, 1, 25)).issue is AgeIssue.AGES_DIFFER


@pytest.mark.parametrize(
    ("stated", "birth", "study", "issue"),
    [
        ("013Y", BIRTH, STUDY, AgeIssue.AGES_DIFFER),
        ("013Y", STUDY, BIRTH, AgeIssue.STUDY_BEFORE_BIRTH),
        (None, STUDY, BIRTH, AgeIssue.STUDY_BEFORE_BIRTH),
        (None, date(1850, 1, 1), STUDY, AgeIssue.DATES_IMPOSSIBLE),
        (None, BIRTH, date(2090, 1, 1), AgeIssue.DATES_IMPOSSIBLE),
    ],
)
def test_age_in_file_contradiction(stated: str | None, birth: date, study: date, issue: AgeIssue) -> None:
    file_age = age_in_file(stated, birth, study, last_day=date(2030, 1, 1))
    assert (file_age.age, file_age.issue) == (None, issue)


def test_age_in_file_malformed() -> None:
    assert age_in_file("thirteen", None, STUDY).issue is AgeIssue.PATIENT_AGE_MALFORMED
    file_age = age_in_file("thirteen", BIRTH, STUDY)
    assert file_age.age is not None
    assert file_age.issue is AgeIssue.PATIENT_AGE_MALFORMED


def test_age_in_file_without_dates() -> None:
    assert age_in_file("013Y", None, STUDY).age == parse_patient_age("013Y")
    assert age_in_file(None, BIRTH, None).age is None


def test_difference_exact() -> None:
    """A child of 13 y 11.55 m with a bone age of 171.2 months is 3.65 months ahead, not 15.2."""
    age_difference = difference(171.2, exact_age(167.55))
    assert age_difference.months == pytest.approx(3.65)
    assert age_difference.range_months == pytest.approx((3.65, 3.65))


def test_difference_of_whole_years_is_a_range() -> None:
    age_difference = difference(171.2, parse_patient_age("013Y"))
    assert age_difference.months is None
    assert age_difference.range_months == pytest.approx((3.2, 15.2))


@given(st.floats(0, 240), st.floats(0, 228))
def test_difference_contains_every_age(bone: float, age: float) -> None:
    """The range for whole years holds the difference at each exact age of that year."""
    low, high = difference(bone, entered_age(math.floor(age / 12))).range_months
    exact = difference(bone, exact_age(age)).months
    assert exact is not None
    assert low - 1e-9 <= exact <= high + 1e-9


BIRTHS = st.dates(date(2000, 1, 1), date(2010, 12, 31))
STUDIES = st.dates(date(2011, 1, 1), date(2020, 12, 31))


@given(birth=BIRTHS, file_birth=BIRTHS, study=STUDIES, file_study=STUDIES)
def test_age_at_study_prefers_stated_dates(birth: date, file_birth: date, study: date, file_study: date) -> None:
    """A stated date goes before the file's, and together with the file's other date."""

    def at_study(stated: StatedAge) -> ChronologicalAge | None:
        return age_at_study(stated, None, file_birth, file_study).age

    assert at_study(StatedAge()) == age_from_dates(file_birth, file_study)
    assert at_study(StatedAge(birth)) == age_from_dates(birth, file_study)
    assert at_study(StatedAge(study_date=study)) == age_from_dates(file_birth, study)
    exact = age_from_dates(birth, study)
    assert at_study(StatedAge(birth, study, exact_age(exact.middle_months + 0.9))) == exact
    assert at_study(StatedAge(birth, age=exact_age(77.0))) == exact_age(77.0)
    assert at_study(StatedAge(age=exact_age(77.0))) == exact_age(77.0)


def test_age_at_study_contradiction_of_stated_age_and_dates() -> None:
    stated = StatedAge(date(2010, 1, 1), date(2020, 1, 1), exact_age(130.0))
    assert age_at_study(stated) == FileAge(None, AgeIssue.AGES_DIFFER)
    assert age_at_study(StatedAge(date(2010, 1, 1), date(2020, 7, 1), entered_age(10))).issue is None


@given(birth=BIRTHS, study=STUDIES)
def test_age_at_study_unknown(birth: date, study: date) -> None:
    """A single date gives no age, and a birth date that Patient's Age contradicts is not used."""
    for stated in (StatedAge(), StatedAge(birth), StatedAge(study_date=study)):
        assert age_at_study(stated) == FileAge(None)
    assert age_at_study(StatedAge(birth), "010Y") == FileAge(None)
    before = age_at_study(StatedAge(birth), None, None, birth - timedelta(days=1))
    assert before == FileAge(None, AgeIssue.STUDY_BEFORE_BIRTH)
    contradictory = age_at_study(StatedAge(study_date=study), "090Y", birth, study)
    assert contradictory == FileAge(None, AgeIssue.AGES_DIFFER)


@pytest.mark.parametrize(
    ("first", "second", "gap"),
    [
        (exact_age(170.0), entered_age(13), 2.0),
        (exact_age(150.0), entered_age(13), 6.0),
        (entered_age(13, 6), entered_age(13), 0.0),
        (exact_age(10.0), exact_age(11.5), 1.5),
    ],
)
def test_gap_between_ages(first: ChronologicalAge, second: ChronologicalAge, gap: float) -> None:
    assert gap_months(first, second) == gap_months(second, first) == gap


@pytest.mark.parametrize(
    ("text", "lower", "upper"),
    [
        ("13", 156, 168),
        ("13y", 156, 168),
        ("13Y6M", 162, 163),
        (" 13 y 6 m ", 162, 163),
        ("13y0m", 156, 157),
        ("18m", 18, 19),
        ("162m", 162, 163),
    ],
)
def test_parse_written_age(text: str, lower: float, upper: float) -> None:
    age = parse_written_age(text)
    assert (age.lower_months, age.upper_months) == (lower, upper)
    assert age.is_known_to_the_month == (upper - lower == 1)


@pytest.mark.parametrize("text", ["", "y", "13.5", "-3", "13y12m", "13 6", "6m13y", "thirteen", "900y"])
def test_parse_written_age_malformed(text: str) -> None:
    with pytest.raises(ClinicalError):
        parse_written_age(text)
