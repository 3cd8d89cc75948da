"""Facts about patient and radiograph from a DICOM header."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from boneage.errors import Rejection
from boneage.reading.dicom.tags import day, log_malformed, numbers, text, texts
from boneage.reading.dicom.uids import DIGITAL_XRAY_FOR_PROCESSING
from boneage.reading.facts import RadiographFacts, Side
from boneage.sex import Sex

if TYPE_CHECKING:
    from pydicom import Dataset

_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_BOTH = {"B", "BOTH", "BILATERAL", "LR", "L/R", "RL", "R/L"}
"""Values for both sides. B is the defined term; the others occur in files."""
_HUMAN = ("HUMAN", "HOMO", "SAPIENS")
_SPECIES_UNKNOWN = {"UNKNOWN", "N/A", "NA", "NONE", "-", "OTHER", "UNSPECIFIED", "U", "O"}
_STUDY_DATES = ("StudyDate", "AcquisitionDate", "ContentDate")


def read_facts(dataset: Dataset, *, bits_stored: int, photometric: str, inverted: bool) -> RadiographFacts:
    """Read all facts that the header gives.

    Args:
        dataset: The DICOM object.
        bits_stored: Bits in which a grey level is stored.
        photometric: Photometric Interpretation.
        inverted: True if the header declares low values bright.
    """
    return RadiographFacts(
        format="dicom",
        bits_stored=bits_stored,
        photometric=photometric,
        inverted=inverted,
        spacing_mm=next(filter(None, (_spacing(dataset, keyword) for keyword in _SPACINGS)), None),
        side=stated_side(dataset),
        both_sides=has_both_sides(dataset),
        body_part=text(dataset, "BodyPartExamined"),
        sex=_sex(dataset),
        patient_age=text(dataset, "PatientAge"),
        birth_date=day(dataset, "PatientBirthDate"),
        study_date=study_day(dataset),
        modality=text(dataset, "Modality"),
        for_processing=is_for_processing(dataset),
        burned_in=(text(dataset, "BurnedInAnnotation") or "").upper() == "YES",
        not_human=_not_human(dataset),
    )


def _spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    spacing = numbers(dataset, keyword)
    if spacing is None:
        return None
    if len(spacing) != 2 or min(spacing) <= 0:
        log_malformed(keyword)
        return None
    return spacing[0], spacing[1]


def stated_side(dataset: Dataset) -> Side | None:
    """Return the side of the hand, from Image Laterality, else Laterality; None if it is not stated, or both are."""
    if has_both_sides(dataset):
        return None
    for keyword in ("ImageLaterality", "Laterality"):
        side = (text(dataset, keyword) or "").upper()
        if side == "L":
            return "L"
        if side == "R":
            return "R"
    return None


def has_both_sides(dataset: Dataset) -> bool:
    """Return whether both hands are declared: the element that is used has the value B, or names both sides."""
    for keyword in ("ImageLaterality", "Laterality"):
        sides = {side.upper() for side in texts(dataset, keyword)}
        if sides:
            return bool(sides & _BOTH) or {"L", "R"} <= sides
    return False


def _not_human(dataset: Dataset) -> bool:
    """Return whether Patient Species Description (PS3.3, C.7.1.1) names another species.

    It is a reason for a warning and not for a rejection: a field so rarely used may hold anything.
    """
    species = (text(dataset, "PatientSpeciesDescription") or "").upper()
    return bool(species) and species not in _SPECIES_UNKNOWN and not any(word in species for word in _HUMAN)


def study_day(dataset: Dataset) -> date | None:
    """Return Study Date, else Acquisition Date, else Content Date; None without any of them."""
    return next(filter(None, (day(dataset, keyword) for keyword in _STUDY_DATES)), None)


def is_for_processing(dataset: Dataset) -> bool:
    """Return whether the radiograph is raw: its SOP class or Presentation Intent Type is FOR PROCESSING."""
    intent = (text(dataset, "PresentationIntentType") or "").upper()
    return text(dataset, "SOPClassUID") == DIGITAL_XRAY_FOR_PROCESSING or intent == "FOR PROCESSING"


def _sex(dataset: Dataset) -> Sex | None:
    try:
        return Sex.parse(text(dataset, "PatientSex"))
    except Rejection:
        return None
