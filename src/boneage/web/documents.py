"""Documents of the service: the core's schema (`boneage.schema`) with what the service adds, stored and given out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from pydantic import TypeAdapter

from boneage.schema import (
    AssessmentDocument,
    BothSexesDocument,
    BySexDocument,
    DeterminationCode,
    Document,
    WithheldCode,
    key_descriptions,
)
from boneage.strict import to_plain


@dataclass(frozen=True, kw_only=True)
class SimilarPlate(Document):
    """A reference plate that looks like the radiograph."""

    key: str
    """Key of the plate."""
    distance: float
    """Distance between embeddings: 0 for the same image."""


@dataclass(frozen=True, kw_only=True)
class PlatesDocument(Document):
    """Plates of the atlas to compare with: the nearest by age, and the most similar ones."""

    atlas: str
    """Name of the atlas."""
    by_age: str
    """Key of the plate nearest by age."""
    by_similarity: tuple[SimilarPlate, ...]
    """The most similar plates, the most similar first."""


@dataclass(frozen=True, kw_only=True)
class StoredResult(AssessmentDocument):
    """Document of a finished assessment, as the database stores it."""

    plates: PlatesDocument | None = None
    """Reference plates to compare with; null without an atlas for this sex."""


@dataclass(frozen=True, kw_only=True)
class ResultsBySex(BySexDocument):
    """Results of one radiograph for girls and for boys, side by side and without an SDS."""

    F: StoredResult
    """Result by the networks for girls."""
    M: StoredResult
    """Result by the networks for boys."""


@dataclass(frozen=True, kw_only=True)
class StoredBothSexes(BothSexesDocument):
    """Document of a radiograph that was read for both sexes, as the database stores it."""

    by_sex: ResultsBySex
    """Both results. Neither of them counts until a physician has decided."""


@dataclass(frozen=True, kw_only=True)
class DecisionDocument(Document):
    """A physician's decision about the estimate, with the clinical reading of the decided bone age; the last decision
    counts. Keys of the same name outside the decision are those of the estimate.
    """

    verdict: Literal["accepted", "corrected"]
    """`accepted` or `corrected`."""
    age_months: float | None
    """Bone age that counts, months."""
    difference_months: float | None
    """Bone age that counts minus chronological age, months; null where the clinical reading withholds it."""
    sds: float | None
    """Standard deviation score (SDS) of the bone age that counts; null with `determination_reason`."""
    determination: DeterminationCode | None
    """Class of the bone age that counts; null with `determination_reason`."""
    determination_reason: WithheldCode | None
    """Reason for a missing SDS and determination of the bone age that counts."""
    reason: str
    """Reason of a correction."""
    decided_by: str | None
    """Name of the account."""
    decided_at: datetime
    """Date and time of the decision."""


@dataclass(frozen=True, kw_only=True)
class Result(StoredResult):
    """A finished assessment; `boneage assess --json` writes the same, without id, state, plates and decision.

    Difference, SDS and determination are those of the estimate; those of the decided bone age are in the decision.
    """

    id: UUID
    """Identifier of the assessment."""
    state: Literal["done"] = "done"
    """Always `done`."""
    decision: DecisionDocument | None = None
    """The decision that counts, with the clinical reading of the decided bone age; null if nobody has decided. All keys
    outside it are those of the estimate."""
    superseded_by: UUID | None = None
    """Assessment of the same radiograph with a corrected sex or date, which replaces this one; null if none does."""


@dataclass(frozen=True, kw_only=True)
class BothSexesResult(StoredBothSexes):
    """A finished assessment of a child whose sex is unknown, or neither female nor male; `boneage assess --sex both
    --json` writes the same, without id, state, plates and decision.
    """

    id: UUID
    """Identifier of the assessment."""
    state: Literal["done"] = "done"
    """Always `done`."""
    decision: DecisionDocument | None = None
    """The decision that counts; null if nobody has decided. It has no SDS, because the sex is unknown."""
    superseded_by: UUID | None = None
    """Assessment of the same radiograph that replaces this one; null if none does."""


for _document in (StoredResult, Result, ResultsBySex, StoredBothSexes, BothSexesResult):
    # Pydantic reads the docstrings of a class's own fields only, and descriptions of inherited ones from here.
    for _field in fields(_document):
        _field.metadata = MappingProxyType({"description": key_descriptions(_document)[_field.name]})

_STORED: TypeAdapter[StoredResult] = TypeAdapter(StoredResult)
_BOTH: TypeAdapter[StoredBothSexes] = TypeAdapter(StoredBothSexes)


def read_stored(value: dict[str, Any]) -> tuple[StoredResult, ...]:
    """Return what the database stores of a finished assessment, typed: one result, or those for girls and for boys.

    Raises:
        pydantic.ValidationError: it is not as this version writes it.
    """
    if "by_sex" not in value:
        return (_STORED.validate_python(value),)
    both = _BOTH.validate_python(value).by_sex
    return both.F, both.M


def stored_value(readings: Sequence[StoredResult]) -> dict[str, Any] | None:
    """Return what the database stores of results: the opposite of `read_stored`; None without any."""
    if not readings:
        return None
    value: dict[str, Any] = to_plain(readings[0] if len(readings) == 1 else both_sexes(readings))
    return value


def both_sexes(readings: Sequence[StoredResult]) -> StoredBothSexes:
    """Return the document of results for girls and for boys, in this order."""
    girls, boys = readings
    return StoredBothSexes(
        schema=girls.schema, image=girls.image, radiograph=girls.radiograph, by_sex=ResultsBySex(F=girls, M=boys)
    )
