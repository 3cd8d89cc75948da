"""A finished assessment for other programs: JSON and rows of a table, with the decision."""

from __future__ import annotations

from typing import Any, cast

from django.utils import timezone

from boneage.flat_row import flat_row
from boneage.report.report import CSV_COLUMNS
from boneage.schema import DeterminationCode, WithheldCode, two_decimals, values_of
from boneage.strict import to_plain
from boneage.web.documents import BothSexesResult, DecisionDocument, Result, StoredResult, both_sexes
from boneage.web.models import BOTH, Assessment, Decision, Verdict
from boneage.web.reading_columns import reading_columns
from boneage.web.texts import iso_moment

DECISION_COLUMNS = (
    "decision",
    "decided_age_months",
    "decided_difference_months",
    "decided_sds",
    "decided_determination",
    "decided_determination_reason",
    "decision_reason",
    "decided_by",
    "decided_at",
)

COLUMNS = (*(name for name in CSV_COLUMNS if name != "report"), *DECISION_COLUMNS)
"""Columns of a table of assessments: those of the command line's tables (which also name files), and the decision that
counts, its cells empty where nobody has decided. Columns without ``decided`` are those of the estimate."""


def result_of(assessment: Assessment) -> Result | BothSexesResult:
    """Return a finished assessment by the schema, with the child's age and the decision as they are now.

    Args:
        assessment: a finished one.
    """
    decision = _decision_that_counts(assessment)
    again = assessment.superseded_by_id
    if assessment.sex == BOTH:
        both = values_of(both_sexes(assessment.readings))
        return BothSexesResult(**both, id=assessment.pk, decision=decision, superseded_by=again)
    return Result(**values_of(assessment.finished), id=assessment.pk, decision=decision, superseded_by=again)


def json_value(assessment: Assessment) -> dict[str, Any]:
    """Return `result_of` as plain JSON."""
    value: dict[str, Any] = to_plain(result_of(assessment))
    return value


def csv_rows(assessment: Assessment) -> list[list[object]]:
    """Return the rows of a finished assessment, as `COLUMNS`; None for an empty cell.

    There is one row, or one for girls and one for boys if the sex is unknown or other.
    """
    decision = _decision_that_counts(assessment)
    return [_csv_row(reading, decision) for reading in assessment.readings]


def _csv_row(reading: StoredResult, decision: DecisionDocument | None) -> list[object]:
    cells = dict(flat_row(reading))
    if decision is not None:
        cells |= {
            "decision": decision.verdict,
            "decided_age_months": decision.age_months,
            "decided_difference_months": decision.difference_months,
            "decided_sds": decision.sds,
            "decided_determination": decision.determination,
            "decided_determination_reason": decision.determination_reason,
            "decision_reason": decision.reason,
            "decided_by": decision.decided_by,
            "decided_at": iso_moment(decision.decided_at),
        }
    return [cells.get(name) for name in COLUMNS]


def last_decision(assessment: Assessment) -> Decision | None:
    """Return the decision that counts; None if nobody has decided."""
    return assessment.decisions.select_related("decided_by").last() if assessment.decision else None


def region_ages(document: StoredResult) -> list[tuple[str, float]]:
    """Return each region with the bone age by it alone, months, at least 0: a single network may give less."""
    return [(name, max(months, 0.0)) for name, months in document.region_ages_months.items()]


def _decision_that_counts(assessment: Assessment) -> DecisionDocument | None:
    decision = last_decision(assessment)
    if decision is None:
        return None
    is_accepted = decision.verdict == Verdict.ACCEPTED
    reading = reading_columns(assessment.readings, decision.age_months, is_corrected=not is_accepted)
    return DecisionDocument(
        verdict="accepted" if is_accepted else "corrected",
        age_months=two_decimals(decision.age_months),
        difference_months=reading.difference_months,
        sds=reading.sds,
        determination=cast(DeterminationCode, reading.determination) if reading.determination else None,
        determination_reason=cast(WithheldCode, reading.determination_reason) if reading.determination_reason else None,
        reason=decision.reason,
        decided_by=None if decision.decided_by is None else decision.decided_by.username,
        decided_at=timezone.localtime(decision.decided_at).replace(microsecond=0),
    )
