"""Sources of results for tests of messages."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from boneage.messages.result import ResultSource
from boneage.report.comparison import Decided
from boneage.schema import AssessmentDocument
from boneage.warnings_ import ResultWarning, WarningCode
from tests.documents import assessment_document

PRELIMINARY = ResultSource("5f0a", "4711", "A-99", datetime(2024, 5, 6, 12, 30, tzinfo=UTC))
FINAL = replace(PRELIMINARY, decided=Decided(100.0, True), reader="Curie & Sons | ^Marie~")


def document(**changes: Any) -> AssessmentDocument:
    """Return an assessment at a known chronological age, with the date of its study."""
    made = assessment_document(94.26, chronological_months=100.5, **changes)
    return replace(made, facts=replace(made.facts, study_date=date(2024, 5, 4)))


def unusable() -> AssessmentDocument:
    """Return an assessment whose number must not be used."""
    phantom = ResultWarning.of(WarningCode.PHANTOM).document()
    return document(is_meaningless=True, warnings=(phantom,))
