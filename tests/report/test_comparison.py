"""The comparison with an earlier radiograph in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from boneage.clinical.ages import exact_age
from boneage.clinical.change import MANUAL_REPEAT_SD_MONTHS, ReadingMethod, SerialReading
from boneage.clinical.errors import ClinicalError
from boneage.report.comparison import Decided, comparison, serial_reading
from boneage.report.content import report_content
from tests.documents import assessment_document


def reading(months: float, study: date | None, **changes: object) -> SerialReading:
    """Return an automatic reading."""
    values: dict[str, object] = {
        "method": ReadingMethod.AUTOMATIC,
        "version": "tiny 1",
        "repeat_sd_months": 1.3,
        **changes,
    }
    return SerialReading(months, study_date=study, **values)  # type: ignore[arg-type]


def test_comparison_gives_gain_with_band() -> None:
    """The band of 12 months in two years excludes 12 months per year."""
    text = comparison(reading(84.0, date(2022, 3, 1)), reading(96.0, date(2024, 3, 1)))
    assert text == (
        "Comparison with the radiograph of March 1, 2022: bone age 7 years. "
        "Change: +12.0 months (95 % interval +8.4 to +15.6) in 24.0 months. "
        "Gain: 6.0 months per year (95 % interval 4.2 to 7.8), slower than 12 months per year."
    )


def test_comparison_states_its_limits() -> None:
    """Close radiographs and a correction are stated; no gain is given."""
    later = reading(86.0, date(2022, 6, 1), method=ReadingMethod.MANUAL)
    text = comparison(reading(84.0, date(2022, 3, 1)), later)
    assert "less than 6 months apart" in text
    assert "automatic estimate, the other a physician's" in text
    assert "Gain: " not in text


def test_comparison_without_dates_uses_ages() -> None:
    """Ages give the distance where a date is unknown."""
    text = comparison(reading(84.0, None, age=exact_age(80.0)), reading(108.0, None, age=exact_age(104.0)))
    assert text.startswith("Comparison with an earlier radiograph: bone age 7 years.")
    assert "in 24.0 months" in text


def test_comparison_rejects_later_radiograph() -> None:
    """A comparison backwards in time is a mistake."""
    with pytest.raises(ClinicalError) as caught:
        comparison(reading(84.0, date(2024, 3, 1)), reading(96.0, date(2022, 3, 1)))
    assert caught.value.code == "reading_order"


def test_report_text_compares() -> None:
    """The fourth line of the report text is the comparison."""
    document = assessment_document(94.0, chronological_months=100.0)
    earlier = reading(70.0, None, age=exact_age(76.0))
    lines = report_content(document, earlier=earlier).report_text
    assert lines[3] == comparison(earlier, serial_reading(document))
    assert "no earlier radiograph" in report_content(document).report_text[3]


def test_serial_reading_of_correction_is_manual() -> None:
    """A corrected bone age has no interval and no bundle."""
    one = serial_reading(assessment_document(94.0), Decided(98.0, is_corrected=True))
    assert (one.bone_age_months, one.method, one.version, one.interval_80) == (98.0, ReadingMethod.MANUAL, None, None)
    assert one.repeat_sd_months == MANUAL_REPEAT_SD_MONTHS


def test_serial_reading_carries_interval_and_repeat_sd_of_its_bundle() -> None:
    document = assessment_document(94.0)
    one = serial_reading(document)
    assert (one.interval_80, one.repeat_sd_months) == (document.consensus_interval_80_months, 1.3)
    unmeasured = replace(document, bundle=replace(document.bundle, repeat_sd_months=None))
    assert serial_reading(unmeasured).repeat_sd_months == MANUAL_REPEAT_SD_MONTHS
