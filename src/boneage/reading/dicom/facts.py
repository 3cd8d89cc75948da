"""Facts about patient and radiograph from a DICOM header."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING

from boneage.errors import Rejection
from boneage.reading.dicom.tags import day, log_malformed, numbers, text, texts
from boneage.reading.dicom.uids import DIGITAL_XRAY_FOR_PROCESSING
from boneage.reading.facts import RadiographFacts, Side
from boneage.sex import Sex

if TYPE_CHECKING:
    from pydicom import Dataset

DAYS_PER_MONTH = 365.25 / 12
_MONTHS_BY_UNIT = {"Y": 12.0, "M": 1.0, "W": 7 / DAYS_PER_MONTH, "D": 1 / DAYS_PER_MONTH}
_AGE = re.compile(r"0*(\d{1,3}) *([DWMY])")
"""Age String. The rule is three digits and a unit (PS3.5, 6.2, AS).

Files also have fewer digits, further leading zeros or a space before the unit.
"""
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
    birth_date = day(dataset, "PatientBirthDate")
    study_date = next(filter(None, (day(dataset, keyword) for keyword in _STUDY_DATES)), None)
    age_months, ages_differ = age_at_study(text(dataset, "PatientAge"), birth_date, study_date)
    return RadiographFacts(
        format="dicom",
        bits_stored=bits_stored,
        photometric=photometric,
        inverted=inverted,
        spacing_mm=next(filter(None, (_spacing(dataset, keyword) for keyword in _SPACINGS)), None),
        side=_side(dataset),
        both_sides=_both_sides(dataset),
        body_part=text(dataset, "BodyPartExamined"),
        sex=_sex(dataset),
        age_months=age_months,
        ages_differ=ages_differ,
        birth_date=birth_date,
        study_date=study_date,
        modality=text(dataset, "Modality"),
        for_processing=_for_processing(dataset),
        burned_in=(text(dataset, "BurnedInAnnotation") or "").upper() == "YES",
        not_human=_not_human(dataset),
    )


def age_at_study(stated: str | None, birth_date: date | None, study_date: date | None) -> tuple[float | None, bool]:
    """Return the chronological age at the study.

    Args:
        stated: Patient's Age (PS3.5, 6.2, AS: ``012Y``, ``018M``, ``003W``, ``010D``), which counts whole units.
        birth_date: Birth date of the patient.
        study_date: Date of the study.

    Returns:
        Age in months, and True if the file contradicts itself on it. The age is then
        None. The age is exact to the day if both dates are given and agree with a stated age within its unit.
    """
    months, unit = _stated_age(stated)
    if birth_date is None or study_date is None:
        return months, False
    exact = (study_date - birth_date).days / DAYS_PER_MONTH
    if months is None:
        return (exact if exact >= 0 else None), False
    # A week of tolerance, since months and years have no fixed number of days.
    agree = exact >= 0 and months - 0.25 <= exact < months + unit + 0.25
    return (exact, False) if agree else (None, True)


def _stated_age(stated: str | None) -> tuple[float | None, float]:
    """Return the age in months, and the unit in which it is counted, in months."""
    if stated is None:
        return None, 0.0
    match = _AGE.fullmatch(stated.upper())
    if match is None:
        log_malformed("PatientAge")
        return None, 0.0
    unit = _MONTHS_BY_UNIT[match[2]]
    return int(match[1]) * unit, unit


def _spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    spacing = numbers(dataset, keyword)
    if spacing is None:
        return None
    if len(spacing) != 2 or min(spacing) <= 0:
        log_malformed(keyword)
        return None
    return spacing[0], spacing[1]


def _side(dataset: Dataset) -> Side | None:
    if _both_sides(dataset):
        return None
    for keyword in ("ImageLaterality", "Laterality"):
        side = (text(dataset, keyword) or "").upper()
        if side == "L":
            return "L"
        if side == "R":
            return "R"
    return None


def _both_sides(dataset: Dataset) -> bool:
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


def _for_processing(dataset: Dataset) -> bool:
    intent = (text(dataset, "PresentationIntentType") or "").upper()
    return text(dataset, "SOPClassUID") == DIGITAL_XRAY_FOR_PROCESSING or intent == "FOR PROCESSING"


def _sex(dataset: Dataset) -> Sex | None:
    try:
        return Sex.parse(text(dataset, "PatientSex"))
    except Rejection:
        return None
