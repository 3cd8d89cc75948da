"""Ages, ranges and warnings in words."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest
from django.template import engines
from django.utils.translation import override
from hypothesis import given
from hypothesis import strategies as st

from boneage import words
from boneage.errors import RejectionCode
from boneage.hand.registration import REGION_TITLES
from boneage.schema import WarningDocument
from boneage.severity import Severity
from boneage.warnings_ import WARNING_TEXTS, ResultWarning, WarningCode
from boneage.web import texts
from boneage.words import age_in_words
from tests.web.warned import WARNING_VALUES


@given(st.floats(0, 240))
def test_age_matches_command_line(months: float) -> None:
    """An age reads as on the command line."""
    with override("en"):
        assert words.age(months) == age_in_words(months)


@given(st.floats(-240, 240))
def test_difference_direction_and_size(months: float) -> None:
    """A difference is ahead or behind and its size has tenths of a month."""
    with override("en"):
        text = words.difference(months)
    if round(months, 1) == 0:
        assert text == "the same as the chronological age"
    else:
        word = "ahead of" if months > 0 else "behind"
        assert text == f"{round(abs(months), 1):.1f} months {word} the chronological age"


@given(st.floats(-1000, 1000), st.integers(1, 3))
def test_number_rounds_and_localises(value: float, decimals: int) -> None:
    """Numbers are rounded and written as the language does."""
    with override("de"):
        text = words.number(value, decimals)
    assert text.replace(".", "").replace(",", ".") == f"{round(value, decimals) + 0.0:.{decimals}f}"


@pytest.mark.parametrize(
    "filled",
    [
        words.age,
        words.months,
        words.difference,
        words.ages_between,
        words.sex,
        words.day,
        texts.moment,
        texts.wide_range,
        texts.narrow_range,
    ],
)
def test_texts_of_none_are_empty(filled: object) -> None:
    """A missing value gives an empty text."""
    assert callable(filled)
    assert filled(None) == ""


OF_COMMANDS = {RejectionCode.NOT_FOUND, RejectionCode.ALL_REJECTED}
"""Codes that a radiograph in memory never gets."""


@pytest.mark.parametrize("code", sorted({code.value for code in RejectionCode} - OF_COMMANDS))
def test_rejection_has_title_and_advice(code: str) -> None:
    """Every rejection has its sentence and advice."""
    assert code in texts.REJECTIONS
    rejection = texts.rejection(code)
    assert rejection["title"].endswith(".")
    assert rejection["advice"].endswith(".")


def test_rejection_of_unknown_code() -> None:
    """An unknown failure has one too."""
    assert texts.rejection("bundle_output")["title"].endswith("because of an internal error.")


@given(st.text(), st.sampled_from(sorted(WARNING_TEXTS)))
def test_warning_matches_core(part: str, key: str) -> None:
    """A warning has the sentence of the core."""
    values = {**WARNING_VALUES, "part": part}
    code, _, reason = key.partition(".")
    warning = ResultWarning.of(WarningCode(code), reason or None, **values)
    with override("en"):
        shown = words.warning(warning.document())
    if key == "sex_differs_from_file":
        assert shown == warning.message.replace("as F,", "as female,").replace("says M.", "says male.")
    else:
        assert shown == warning.message


def test_warning_of_another_version() -> None:
    """A warning of another version still has a text."""
    unknown = WarningDocument(code="two_thumbs", severity=Severity.INFO, message="", template="", values={})
    assert words.warning(unknown) == "two thumbs"


def test_region_with_letter() -> None:
    """Regions are called by their letter where they have one."""
    assert words.region_with_letter("B") == f"B · {REGION_TITLES['B']}"
    assert words.region_with_letter("radiograph") == REGION_TITLES["radiograph"]
    assert words.region("thumb") == "thumb"


@given(st.dates(date(1990, 1, 1), date(2050, 12, 31)))
def test_day_writes_month_in_letters(when: date) -> None:
    """Nobody takes the month for the day."""
    with override("en"):
        text = words.day(when)
    assert re.search("[a-zA-Z]{3}", text)
    assert str(when.year) in text


def test_moment_names_time_zone() -> None:
    """A moment names its time zone."""
    with override("en"):
        assert texts.moment(datetime(2026, 3, 4, 15, 6, tzinfo=UTC)) == "March 4, 2026, 15:06 UTC"


def test_filters_in_templates() -> None:
    """The filters say it in templates."""
    source = (
        "{{ months|age }}, {{ months|months }}, {{ months|months:0 }}, {{ range|ages_between }}, {{ 'F'|sex }},"
        " {{ 'C'|region }}{% rejection 'no_hand' as reason %}, {{ reason.title }}"
    )
    with override("en"):
        text = engines["django"].from_string(source).render({"months": 13.26, "range": [12, 24.4]})
    assert text == (
        "1 year 1 month, 13.3 months, 13 months, 1 year to 2 years, female, metacarpals and proximal phalanges,"
        " No hand was found on this radiograph."
    )
