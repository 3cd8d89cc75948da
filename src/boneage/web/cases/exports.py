"""A finished assessment as programs read it: JSON and rows of a table, with what was decided."""

from __future__ import annotations

from typing import Any

from boneage.report.report import CSV_COLUMNS
from boneage.web.models import Assessment, Decision

DECISION_COLUMNS = ("decision", "decided_age_months", "decision_reason", "decided_by", "decided_at")

COLUMNS = (*(name for name in CSV_COLUMNS if name != "report"), *DECISION_COLUMNS)
"""Of a table of assessments: those of the command line's tables (which also name files), and the decision that counts,
its cells empty where nobody has decided."""


def json_value(assessment: Assessment) -> dict[str, Any]:
    """An assessment by its one schema (`boneage.assessment.Assessment.to_json`), with what the service adds.

    That is ``id`` of the assessment; ``chronological_age_months`` and ``difference_months`` by the dates or the age
    that the user gave, else as the file says; ``decision``: null, or {``verdict``, ``age_months``, ``reason``,
    ``decided_by``, ``decided_at``}, the last one.

    Args:
        assessment: a finished one.
    """
    said = {key: value for key, value in (assessment.result or {}).items() if key != "web"}
    decision = last_decision(assessment)
    return {
        "id": str(assessment.pk),
        **said,
        "chronological_age_months": _rounded(assessment.chronological_age_months),
        "difference_months": _rounded(assessment.estimated_difference_months),
        "decision": None if decision is None else _decision_json(decision),
    }


def csv_row(assessment: Assessment) -> list[object]:
    """The row of a finished assessment, as `COLUMNS`; None for what is not known."""
    said = json_value(assessment)
    cells: dict[str, object] = {name: said[name] for name in CSV_COLUMNS if name in said}
    cells |= {
        "image": said["image"],
        "warnings": " ".join(warning["code"] for warning in said["warnings"]),
        "severity": assessment.severity,
        "bundle": said["bundle"]["name"],
        "bundle_version": said["bundle"]["version"],
    }
    if said["decision"] is not None:
        decision = said["decision"]
        cells |= {
            "decision": decision["verdict"],
            "decided_age_months": decision["age_months"],
            "decision_reason": decision["reason"],
            "decided_by": decision["decided_by"],
            "decided_at": decision["decided_at"],
        }
    return [cells.get(name) for name in COLUMNS]


def last_decision(assessment: Assessment) -> Decision | None:
    """The one that counts; None if nobody has decided."""
    return assessment.decisions.select_related("decided_by").last()


def region_ages(result: dict[str, Any]) -> list[tuple[str, float]]:
    """(region, bone age by it alone, months), at least 0: a single region's network may say less."""
    return [(name, max(float(months), 0.0)) for name, months in result.get("region_ages_months", {}).items()]


def _decision_json(decision: Decision) -> dict[str, Any]:
    return {
        "verdict": decision.verdict,
        "age_months": _rounded(decision.age_months),
        "reason": decision.reason,
        "decided_by": None if decision.decided_by is None else decision.decided_by.username,
        "decided_at": decision.decided_at.isoformat(timespec="seconds"),
    }


def _rounded(count: float | None) -> float | None:
    return None if count is None else round(count, 2)
