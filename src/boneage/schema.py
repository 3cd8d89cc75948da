"""The schema of an assessment: every key of its JSON, stated once and typed.

The command line, report files, the REST API and its OpenAPI description, CSV tables and the documentation derive from
these classes. The docstring below a field is the description of its key everywhere.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from enum import Enum
from typing import Any, ClassVar, Literal
from uuid import UUID

from boneage.severity import Severity

SCHEMA = 1
"""Version of the schema. It grows when a key changes its meaning or is removed, not when one is added."""

SexCode = Literal["F", "M"]
Point = tuple[float, float]
"""x and y in pixels of the radiograph; the centre of the first pixel is at 0.5."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """Base class of the schema's objects: all values are plain JSON or dates, and none is NaN."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"use_attribute_docstrings": True}
    """Descriptions of keys in OpenAPI are the docstrings below the fields (read by pydantic, in the service)."""


@dataclass(frozen=True, kw_only=True)
class WarningDocument(Document):
    """A warning on the result."""

    code: str
    """Stable code; docs/codes.md lists all."""
    severity: Severity
    """`critical`: do not use the number; `caution`: check it; `info`: nothing needs to be done."""
    message: str
    """The warning as one English sentence."""
    template: str
    """Key of the sentence's template (`boneage.warnings_.WARNING_TEXTS`), for translations; empty without one."""
    values: Mapping[str, str | float]
    """Values of the template."""


@dataclass(frozen=True, kw_only=True)
class PointsDocument(Document):
    """Key points of the hand on the radiograph: [x, y] in pixels, the centre of the first pixel at 0.5."""

    middle_tip: Point
    """Tip of the middle finger."""
    thumb_tip: Point
    """Tip of the thumb."""
    capitate: Point
    """Centre of the capitate."""


@dataclass(frozen=True, kw_only=True)
class HandDocument(Document):
    """Position of the hand on the radiograph."""

    points: PointsDocument
    """Key points."""
    mirrored: bool
    """True if the hand was read as a mirror image: a right hand, or a mirrored radiograph."""
    inverted: bool
    """True if bone is dark on the radiograph; the networks read it with bone bright."""
    rotation_degrees: float
    """Rotation of the hand on the radiograph, clockwise from fingers up, above -180 to 180."""
    length_pixels: float
    """Distance from the capitate to the tip of the middle finger, pixels."""
    spread: float
    """Uncertainty of fingertip and capitate, as a share of `length_pixels`."""
    side_certain: bool
    """False if the tip of the thumb was not detected, so that `mirrored` is a guess."""
    outline_xy: tuple[Point, ...]
    """Outline of the hand's largest part on the radiograph, pixels; empty if there is none."""
    boxes_xy: Mapping[str, tuple[Point, ...]]
    """Corners of each region that was read, on the radiograph, pixels."""


@dataclass(frozen=True, kw_only=True)
class FactsDocument(Document):
    """Facts that the file states. It holds no name, no number and no date of birth."""

    format: str
    """Kind of file."""
    bits_stored: int
    """Bits of a stored grey level."""
    photometric: str | None
    """DICOM Photometric Interpretation."""
    inverted: bool
    """True if low values are bright by the file's own statement."""
    spacing_mm: tuple[float, float] | None
    """Distance between rows and between columns, mm."""
    side: Literal["L", "R"] | None
    """Side of the hand."""
    body_part: str | None
    """DICOM Body Part Examined."""
    sex: SexCode | None
    """Sex of the patient."""
    study_date: date | None
    """Date of the study."""
    modality: str | None
    """DICOM Modality."""


@dataclass(frozen=True, kw_only=True)
class RadiographDocument(Document):
    """Size and checksum of the radiograph."""

    height_pixels: int
    """Rows."""
    width_pixels: int
    """Columns."""
    sha256: str | None
    """SHA-256 of the file, 64 hexadecimal digits; null for a data set from memory."""


@dataclass(frozen=True, kw_only=True)
class BundleDocument(Document):
    """The model bundle that made the estimate."""

    name: str
    """Name of the bundle."""
    version: str
    """Version of the bundle."""


@dataclass(frozen=True, kw_only=True)
class AssessmentDocument(Document):
    """The assessment of one radiograph. Numbers of months have two decimals."""

    schema: int
    """Version of this schema."""
    image: str | None
    """Name of the file without its folder; on standard output and in tables the path as the user gave it."""
    sex: SexCode
    """Sex as the user gave it."""
    age_months: float
    """Estimated bone age (Greulich & Pyle), months."""
    age_text: str
    """The estimated bone age in words, to the nearest month."""
    is_meaningless: bool
    """True if the number is no bone age: the drawn phantom's, or outside 0 to 19 years."""
    typical_error_months: float | None
    """Mean absolute difference from readers, months: on radiographs of this sex and near this age if
    `interval_calibrated`, else on all validation radiographs."""
    interval_months: tuple[float, float] | None
    """95 % prediction interval of this reading, months, cut at the ends of bone age."""
    interval_80_months: tuple[float, float] | None
    """80 % prediction interval of this reading, months, cut likewise."""
    interval_calibrated: bool
    """True if the intervals are calibrated by sex and age; false if they are 1.96 and 1.28 times the root mean square
    error of all validation radiographs on either side."""
    interval_coverage: float | None
    """Share of the validation radiographs whose label lay within the 95 % interval, 0 to 1."""
    chronological_age_months: float | None
    """Chronological age at the radiograph, months: by the dates given, else as given, else as the file states."""
    difference_months: float | None
    """Estimated bone age less chronological age, months; null without either, past 19 years, or if the estimate is no
    bone age."""
    member_ages_months: Mapping[str, float]
    """Bone age by each network of the bundle, months."""
    region_ages_months: Mapping[str, float]
    """Bone age by each region of the hand alone, months; empty for a bundle that reads one region."""
    age_distribution: tuple[float, ...] | None
    """Probability of each month of bone age from 0, 240 values; null if no network gives a distribution."""
    regions: tuple[str, ...]
    """Regions that the networks read."""
    hand: HandDocument | None
    """Position of the hand; null if the bundle does not locate it."""
    warnings: tuple[WarningDocument, ...]
    """Warnings, the gravest first."""
    facts: FactsDocument
    """Facts that the file states."""
    radiograph: RadiographDocument
    """Size and checksum of the radiograph."""
    bundle: BundleDocument
    """The model bundle."""
    timings_ms: Mapping[str, float]
    """Wall time of each step, milliseconds."""
    notice: str
    """Statement that this is not a medical device."""


@dataclass(frozen=True, kw_only=True)
class RejectionReason(Document):
    """Reason of a rejection."""

    code: str
    """Stable code; docs/codes.md lists all."""
    message: str
    """The reason as a sentence, and what to do."""


@dataclass(frozen=True, kw_only=True)
class RejectionDocument(Document):
    """A radiograph that was not assessed: what takes the place of an `AssessmentDocument`."""

    schema: int
    """Version of this schema."""
    image: str | None
    """Path or name of the file."""
    sex: str
    """Sex as the user wrote it."""
    age_months: None = None
    """Always null."""
    error: RejectionReason
    """Reason of the rejection."""
    radiograph: FileDocument
    """Checksum of the file."""


@dataclass(frozen=True, kw_only=True)
class FileDocument(Document):
    """Checksum of a file that was not assessed."""

    sha256: str | None
    """SHA-256 of the file; null if it could not be read."""


def key_descriptions(document: type[Document]) -> dict[str, str]:
    """Return the docstring below each field of a document, those of its base classes included, by the field's name."""
    descriptions: dict[str, str] = {}
    for cls in reversed(document.__mro__):
        if not is_dataclass(cls):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)  # noqa: S101  # for the type checker
        for statement, following in itertools.pairwise(body.body):
            match statement, following:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                    descriptions[name] = inspect.cleandoc(text)
    return descriptions


def to_json(value: Any) -> Any:
    """Return a document as plain JSON: objects, lists, texts, numbers, booleans and null.

    Args:
        value: a `Document`, or anything that one holds.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(one) for one in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, Enum) else value
