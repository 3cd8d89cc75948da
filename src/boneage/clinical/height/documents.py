"""Adult height as a document of the project's schema, for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from boneage.clinical.height.prediction import CITATIONS, SDS_CITATION, AdultHeightTable, HeightPrediction, HeightSds
from boneage.schema import Document, two_decimals

MethodCode = Literal[
    "bayley_pinneau", "rwt_1975", "rwt_adjusted_1993", "khamis_roche_1995", "reinehr_2019", "target_height"
]


@dataclass(frozen=True, kw_only=True)
class HeightRowDocument(Document):
    """Prediction of one method with its range, or the reason why there is none."""

    method: MethodCode
    """The method."""
    group: str | None
    """Group of the method's table; null where the method has one table."""
    prediction_cm: float | None
    """Predicted adult height, or target height, cm; null with `reason`."""
    range_cm: tuple[float, float] | None
    """Lower and upper end of the range, cm."""
    range_meaning: str | None
    """Meaning of the range: `printed_90`, `assumed_90`, `least` or `target_range`."""
    reason: str | None
    """Reason for a missing prediction, such as `no_table` or `needs_weight`."""
    notes: tuple[str, ...]
    """Codes of remarks."""
    citation: str
    """Publication of the method."""


@dataclass(frozen=True, kw_only=True)
class HeightSdsDocument(Document):
    """Height SDS at one age, or the reason why there is none."""

    sds: float | None
    """Standard deviation score."""
    reason: str | None
    """Reason for a missing score."""


@dataclass(frozen=True, kw_only=True)
class AdultHeightDocument(Document):
    """Adult height by all methods side by side. No row is preferred over another."""

    rows: tuple[HeightRowDocument, ...]
    """At least one row for each method; several where the 80 % interval of the bone age crosses a bound."""
    sds_reference: str
    """Publication of the height reference."""
    sds_for_age: HeightSdsDocument
    """Height SDS for the chronological age on the day of the height."""
    sds_for_bone_age: HeightSdsDocument
    """Height SDS for the bone age."""
    contraindications: tuple[str, ...]
    """Conditions present, for which no prediction is valid."""
    notes: tuple[str, ...]
    """Codes of remarks that concern all rows."""


def adult_height_document(table: AdultHeightTable) -> AdultHeightDocument:
    """Return the table by the project's schema: heights with one decimal, scores with two."""
    return AdultHeightDocument(
        rows=tuple(_row(row) for row in table.rows),
        sds_reference=SDS_CITATION,
        sds_for_age=_sds(table.sds_for_age),
        sds_for_bone_age=_sds(table.sds_for_bone_age),
        contraindications=tuple(condition.value for condition in table.contraindications),
        notes=tuple(note.value for note in table.notes),
    )


def _row(row: HeightPrediction) -> HeightRowDocument:
    has_range = row.lower_cm is not None and row.upper_cm is not None
    return HeightRowDocument(
        method=row.method.value,
        group=row.variant,
        prediction_cm=None if row.prediction_cm is None else round(row.prediction_cm, 1),
        range_cm=(round(row.lower_cm or 0.0, 1), round(row.upper_cm or 0.0, 1)) if has_range else None,
        range_meaning=None if row.band is None else row.band.value,
        reason=None if row.reason is None else row.reason.value,
        notes=tuple(note.value for note in row.notes),
        citation=CITATIONS[row.method],
    )


def _sds(score: HeightSds) -> HeightSdsDocument:
    return HeightSdsDocument(sds=two_decimals(score.sds), reason=None if score.reason is None else score.reason.value)
