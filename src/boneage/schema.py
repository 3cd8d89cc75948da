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
from typing import Any, ClassVar, Literal

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
    """Date of the study; in the service, the one that was entered counts."""
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
    repeat_sd_months: float | None
    """Standard deviation of its repeated readings of one hand, months; null if it was not measured."""


@dataclass(frozen=True, kw_only=True)
class PlateDocument(Document):
    """A plate of an atlas with its probability."""

    key: str
    """Name of the plate in the atlas."""
    age_months: float
    """Bone age that it represents, months."""
    probability: float
    """Probability that one reader's bone age is nearest to this plate, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class NearestPlatesDocument(Document):
    """Plates that are most probably the nearest to the bone age."""

    atlas: str
    """Name of the atlas."""
    plates: tuple[PlateDocument, ...]
    """At most three plates, the most probable first."""


@dataclass(frozen=True, kw_only=True)
class ChronologicalAgeDocument(Document):
    """Chronological age at the study, exact or as an interval."""

    months: float
    """The age in months; the middle of the interval where it is known to the month or the year only."""
    lower_months: float
    """Lowest possible age, months."""
    upper_months: float
    """Upper bound of the age, months; equal to `lower_months` for an age that is exact to the day."""
    years: int
    """Completed years."""
    completed_months: int | None
    """Completed months beside the years, 0 to 11; null for an age that is known to the year only."""
    precision: Literal["days", "weeks", "months", "years"]
    """Unit to which the age is known."""
    source: Literal["dates", "patient_age", "entered"]
    """Origin: birth and study date, DICOM's Patient's Age, or a person or a table that gave the age."""


@dataclass(frozen=True, kw_only=True)
class ReferenceDocument(Document):
    """Reference of healthy children, by which SDS and normal range are computed."""

    id: str
    """Short stable identifier."""
    name: str
    """Name for people, in English."""
    population: str
    """Children that were studied; empty if unknown."""
    citation: str
    """Publication; empty if unknown."""
    sha256: str
    """SHA-256 of the file with the numbers, 64 hexadecimal digits."""
    range_months: tuple[float, float] | None
    """Youngest and oldest chronological age that it covers for this sex, months; null if it does not cover the sex."""


@dataclass(frozen=True, kw_only=True)
class NormalRangeDocument(Document):
    """Normal range of bone age at the chronological age: mean ± 2 SD of the reference."""

    lower_months: float
    """Lower bound, months."""
    upper_months: float
    """Upper bound, months, at most the end of the scale."""
    is_open_above: bool
    """True if the mean + 2 SD lies beyond the end of the scale."""


@dataclass(frozen=True, kw_only=True)
class DifferenceDocument(Document):
    """Estimated bone age minus chronological age."""

    months: float | None
    """The difference, months; null where the age is known to the year only."""
    range_months: tuple[float, float]
    """Lowest and highest difference that the interval of the chronological age allows, months."""


@dataclass(frozen=True, kw_only=True)
class NearMaturityDocument(Document):
    """Result of the rule for skeletal maturity."""

    is_near: bool
    """True if the hand is at or near skeletal maturity. The intervals are then open above."""
    reasons: tuple[Literal["estimate", "distribution"], ...]
    """Conditions that hold: the estimate itself, or the distribution of the age."""
    probability_mature: float | None
    """Probability of a bone age above 17 (girls) or 18 years (boys), 0 to 1; null without a distribution."""


@dataclass(frozen=True, kw_only=True)
class CarpalDiscordanceDocument(Document):
    """Bone age of the carpal bones against the other regions."""

    carpal_months: float
    """Bone age of the carpal bones, months."""
    others_months: float
    """Mean bone age of metacarpals, phalanges, radius and ulna, months."""
    difference_months: float
    """Carpal bones minus the others, months."""
    direction: Literal["older", "younger", "equal"]
    """Side to which the carpal bones differ."""
    limits_months: tuple[float, float] | None
    """Usual differences at this sex and age, months; null if they were not measured for the bundle."""
    is_beyond: bool | None
    """True if the difference lies outside the limits; null without limits."""


DeterminationCode = Literal["delayed", "normal", "advanced", "borderline"]
WithheldCode = Literal[
    "no_estimate",
    "meaningless",
    "critical_warning",
    "beyond_scale",
    "under_two_years",
    "sex_unknown",
    "near_maturity",
    "age_unknown",
    "age_in_whole_years",
    "over_reference_age",
    "outside_reference",
]
"""Reasons for a missing difference, SDS or determination (`boneage.clinical.sds.WithheldReason`)."""


@dataclass(frozen=True, kw_only=True)
class ClinicalDocument(Document):
    """The clinical reading: what the bone age means for a child of this age and sex."""

    method: str
    """Standard by which the bone age is read."""
    chronological_age: ChronologicalAgeDocument | None
    """Chronological age at the study: by dates or age as given, else as the file states; null if it is unknown."""
    difference: DifferenceDocument | None
    """Estimated bone age minus chronological age; null with `difference_reason`."""
    difference_reason: WithheldCode | None
    """Reason for a missing difference."""
    reference: ReferenceDocument
    """Reference of healthy children."""
    normal_range: NormalRangeDocument | None
    """Normal range of bone age at the chronological age; null where no SDS is possible by age and sex."""
    sds: float | None
    """Standard deviation score (SDS) of the bone age; null with `determination_reason`."""
    sds_interval_80: tuple[float, float] | None
    """SDS at both ends of the 80 % interval for the mean of several readers."""
    sds_range: tuple[float, float] | None
    """Lowest and highest SDS that an age in whole years allows; it is no prediction interval."""
    determination: DeterminationCode | None
    """`delayed` (SDS of -2 or below), `normal`, `advanced` (SDS of +2 or above), or `borderline` where
    `sds_interval_80` holds more than one of these; null with `determination_reason`."""
    determination_candidates: tuple[Literal["delayed", "normal", "advanced"], ...]
    """Classes that `sds_interval_80` holds, from delayed to advanced."""
    determination_reason: WithheldCode | None
    """Reason for a missing SDS and determination."""
    near_maturity: NearMaturityDocument | None
    """Rule for skeletal maturity; null without a meaningful bone age."""
    carpal_discordance: CarpalDiscordanceDocument | None
    """Carpal bones against the other regions; null unless the bundle reads them."""


@dataclass(frozen=True, kw_only=True)
class EstimateDocument(Document):
    """The radiograph's name, and the estimate with its error."""

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
    """95 % prediction interval of one reader's bone age, months, cut at the ends of bone age; open above if
    `near_maturity.is_near`."""
    interval_80_months: tuple[float, float] | None
    """80 % prediction interval of one reader's bone age, months, cut likewise."""
    consensus_interval_months: tuple[float, float] | None
    """95 % prediction interval of the mean of several readers, months, cut likewise. It assumes a standard deviation of
    one reader about that mean."""
    consensus_interval_80_months: tuple[float, float] | None
    """80 % prediction interval of the mean of several readers, months, cut likewise."""
    interval_calibrated: bool
    """True if the intervals are calibrated by sex and age; false if they are 1.96 and 1.28 times the root mean square
    error of all validation radiographs on either side."""
    interval_coverage: float | None
    """Share of the validation radiographs whose label lay within the 95 % interval of one reader, 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class BoneDocument(Document):
    """One bone or joint."""

    name: str
    """Name: `radius`, `ulna`, `carpals`, `metacarpal_1`, or a joint with its ray, such as `mcp_3` (the ends of the
    metacarpal and the proximal phalanx), `pip_3`, `dip_3`, `ip_1`."""
    age_months: float | None
    """Bone age by this bone alone, months; null if it could not be read."""
    interval_months: tuple[float, float] | None
    """95 % prediction interval of one reader's bone age by this bone alone, months; null without a calibration."""
    weight: float
    """Share of the bone in the age by single bones, 0 to 1."""
    unreadable: Literal["cut_off", "joints_uncertain", "no_contrast", "implausible"] | None
    """Reason why the bone could not be read. It lies beyond the edge of the radiograph, its joints were not found with
    certainty, or this part of the radiograph shows one even grey. The age of an implausible bone was uncertain and far
    from that of the others, as under plaster; such a bone keeps its weight."""
    corners: tuple[Point, ...]
    """Corners of the part that was read, on the radiograph, pixels."""
    outlines: tuple[tuple[Point, ...], ...] = ()
    """Closed outlines of the epiphyses, or of the carpal bones, on the radiograph, pixels, the largest first; the last
    point is not the first. Empty where there is none yet, where the network is uncertain, for a bone that could not be
    read, and from a bundle without a network for outlines."""


@dataclass(frozen=True, kw_only=True)
class AssessmentDocument(ClinicalDocument, EstimateDocument):
    """The assessment of one radiograph. Numbers of months have two decimals."""

    member_ages_months: Mapping[str, float]
    """Bone age by each network of the bundle, months."""
    region_ages_months: Mapping[str, float]
    """Bone age by each region of the hand alone, months; empty for a bundle that reads one region."""
    bones: tuple[BoneDocument, ...] = ()
    """Single bones; empty unless the bundle reads them."""
    age_distribution: tuple[float, ...] | None
    """Probability of each bone age in whole months from 0, 240 values; null if no network gives a distribution."""
    nearest_plates: NearestPlatesDocument | None
    """Most probable plates of the atlas in use; null without an atlas or a distribution."""
    regions: tuple[str, ...]
    """Regions that the networks read."""
    hand: HandDocument | None
    """Position of the hand; null if the bundle does not locate it."""
    warnings: tuple[WarningDocument, ...]
    """Warnings, the gravest first."""
    facts: FactsDocument
    """Facts that the file states."""
    age_in_file: ChronologicalAgeDocument | None
    """Chronological age at the study by the file alone; null if it states none, or contradicts itself."""
    radiograph: RadiographDocument
    """Size and checksum of the radiograph."""
    bundle: BundleDocument
    """The model bundle."""
    timings_ms: Mapping[str, float]
    """Wall time of each step, milliseconds."""
    notice: str
    """Statement that this is not a medical device."""


@dataclass(frozen=True, kw_only=True)
class BySexDocument(Document):
    """Both readings of one radiograph, side by side and without an SDS."""

    F: AssessmentDocument
    """Reading by the networks for girls."""
    M: AssessmentDocument
    """Reading by the networks for boys."""


@dataclass(frozen=True, kw_only=True)
class BothSexesDocument(Document):
    """One radiograph read for both sexes: what takes the place of an `AssessmentDocument` if the sex is unknown, or
    neither female nor male.
    """

    schema: int
    """Version of this schema."""
    image: str | None
    """Name of the file, like that of an `AssessmentDocument`."""
    sex: Literal["both"] = "both"
    """Always `both`."""
    radiograph: RadiographDocument
    """Size and checksum of the radiograph."""
    by_sex: BySexDocument
    """Both readings. Neither of them counts until a physician has decided."""


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


def values_of(document: Document) -> dict[str, Any]:
    """Return the values of a document by key, from which a document that extends it is built."""
    return {field.name: getattr(document, field.name) for field in fields(document)}


def two_decimals(months: float | None) -> float | None:
    """Return a number of months as documents state it, or None."""
    return None if months is None else round(months, 2)
