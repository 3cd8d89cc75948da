"""The values that every message holds, taken once from an assessment and the physician's decision."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from boneage.clinical.change import SerialReading
from boneage.report.comparison import Decided, counted_months
from boneage.report.content import ReportContent, clinical_of, report_content
from boneage.report.numbers import Number, result_numbers
from boneage.schema import AssessmentDocument, BoneDocument, ClinicalDocument

Interpretation = Literal["L", "N", "H", "IND"]
"""Code of HL7 table 0078: below, within or above the normal range, or undetermined for a borderline class."""

BONE_AGE_BY_BONE = "BABONE"
"""Code of the bone age by a single bone, to which a message adds the bone's name."""

_INTERPRETATIONS: dict[str, Interpretation] = {"delayed": "L", "normal": "N", "advanced": "H", "borderline": "IND"}


@dataclass(frozen=True)
class StudyReference:
    """The radiograph of a result, as a PACS holds it.

    Attributes:
        study_uid, series_uid, instance_uid: its UIDs.
        sop_class_uid: its SOP class.
        modality: its modality, such as ``DX``.
    """

    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    modality: str


@dataclass(frozen=True)
class ResultSource:
    """The origin of a result, beyond the assessment itself.

    Attributes:
        id: identifier of the assessment.
        patient: identifier of the patient in the hospital; empty if it is unknown.
        accession: accession number of the study; empty if it is unknown.
        issued: moment of the result or of the physician's decision, with a time zone.
        decided: the physician's decision, if there is one.
        reader: name of the physician who decided; empty before a decision.
        earlier: reading of an earlier radiograph of the child, with which the text compares this one.
        issuer: authority that issued the patient's identifier; empty if it is unknown.
        study: the radiograph in the PACS; None for an upload.
    """

    id: str
    patient: str
    accession: str
    issued: datetime
    decided: Decided | None = None
    reader: str = ""
    earlier: SerialReading | None = None
    issuer: str = ""
    study: StudyReference | None = None

    @property
    def is_final(self) -> bool:
        """True after a physician's decision."""
        return self.decided is not None


@dataclass(frozen=True)
class ResultValues:
    """Values of a result.

    Attributes:
        months: bone age, months with one decimal; None if the number must not be used.
        normal_range: normal range at the chronological age, months with one decimal; None without one.
        interpretation: class of the bone age; None if it was withheld.
        determination: the same as the schema's code.
        numbers: the other numbers.
        bones: single bones with a bone age or the reason why they have none; none beside a corrected bone age, or one
            that must not be used.
        sex: ``F`` or ``M``, by which the radiograph was read.
        study_date: date of the study, if the file states it.
        content: words in the current language.
        clinical: clinical reading of the bone age that counts.
    """

    months: float | None
    normal_range: tuple[float, float] | None
    interpretation: Interpretation | None
    determination: str
    numbers: tuple[Number, ...]
    bones: tuple[BoneDocument, ...]
    sex: str
    study_date: date | None
    content: ReportContent
    clinical: ClinicalDocument


def result_values(document: AssessmentDocument, source: ResultSource) -> ResultValues:
    """Return the values of a result in the current language (`boneage.words.use_language`).

    Args:
        document: the assessment.
        source: its origin.

    Raises:
        ClinicalError: the reference of the setting ``BONEAGE_REFERENCE`` cannot be read.
    """
    decided = source.decided
    clinical, content = clinical_of(document, decided), report_content(document, decided, earlier=source.earlier)
    normal = clinical.normal_range
    return ResultValues(
        months=None if content.is_void else round(counted_months(document, decided), 1),
        normal_range=None if normal is None else (round(normal.lower_months, 1), round(normal.upper_months, 1)),
        interpretation=None if clinical.determination is None else _INTERPRETATIONS[clinical.determination],
        determination=clinical.determination or "",
        numbers=() if content.is_void else tuple(result_numbers(document, clinical, decided)),
        bones=() if content.is_void or (decided is not None and decided.is_corrected) else _stated(document.bones),
        sex=document.sex,
        study_date=document.facts.study_date,
        content=content,
        clinical=clinical,
    )


def _stated(bones: Iterable[BoneDocument]) -> tuple[BoneDocument, ...]:
    return tuple(bone for bone in bones if bone.age_months is not None or bone.unreadable is not None)


def bone_code(bone: BoneDocument) -> str:
    """Return the code of a single bone's age in the private scheme of codes."""
    return f"{BONE_AGE_BY_BONE}.{bone.name}"


def bone_label(bone: BoneDocument) -> str:
    """Return the name that belongs to `bone_code`."""
    return f"Bone age by one bone or joint: {bone.name}"
