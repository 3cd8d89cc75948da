"""Warnings: order by severity, and the JSON of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage import words
from boneage.severity import Severity, highest_severity
from boneage.warnings_ import ResultWarning, WarningCode, by_severity, severities

WARNINGS = st.lists(st.sampled_from(WarningCode).map(lambda code: ResultWarning(code, "A sentence.")))


@given(WARNINGS)
def test_by_severity_puts_the_gravest_first(warnings: list[ResultWarning]) -> None:
    ordered = by_severity(warnings)
    ranks = [warning.severity.rank for warning in ordered]
    assert ranks == sorted(ranks, reverse=True)
    assert sorted(warnings, key=str) == sorted(ordered, key=str)
    assert highest_severity(warning.severity for warning in warnings) is (ordered[0].severity if ordered else None)


@pytest.mark.parametrize(
    ("code", "values"),
    [
        (WarningCode.REGION_LEFT_OUT, {"region": "carpal bones", "months": 100.0}),
        (WarningCode.REGION_CUT_OFF, {"regions": "carpal bones, radius and ulna"}),
        (
            WarningCode.REGIONS_DISAGREE,
            {"spread_months": 40.0, "limit_months": 30.0, "highest": "carpal bones", "lowest": "radius and ulna"},
        ),
    ],
)
def test_warning_names_regions_in_words(code: WarningCode, values: dict[str, str | float]) -> None:
    """A sentence names no letter of a region, in English and in the language of the reader."""
    warning = ResultWarning.of(code, **values)
    assert "carpal bones" in warning.message and words.warning(warning.document()) == warning.message
    german = next(iter(words.languages()[1:]))
    with words.use_language(german):
        assert words.region("B") in words.warning(warning.document())


def test_every_code_has_a_severity() -> None:
    assert all(severities(code) for code in WarningCode)
    assert Severity.INFO.rank < Severity.CAUTION.rank < Severity.CRITICAL.rank


def test_document_names_code_severity_and_message() -> None:
    warning = ResultWarning.of(WarningCode.READ_MIRRORED)
    document = warning.document()
    assert (document.code, document.severity, document.message) == ("read_mirrored", "info", warning.message)
    assert document.template == "read_mirrored" and not document.values
