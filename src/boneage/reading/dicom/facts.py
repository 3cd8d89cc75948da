"""Facts about patient and radiograph from a DICOM header.

A malformed value is no value. It is logged by its keyword, never by its content: that may be a patient's.
"""

from __future__ import annotations

import logging
import math
import re
from datetime import date
from typing import TYPE_CHECKING, Any

from boneage.errors import Rejection
from boneage.reading.dicom.bounds import NUMBERS, TEXTS, bounded_value
from boneage.reading.facts import RadiographFacts, Side
from boneage.sex import Sex

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

DIGITAL_XRAY_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
DAYS_PER_MONTH = 365.25 / 12
_MONTHS_BY_UNIT = {"Y": 12.0, "M": 1.0, "W": 7 / DAYS_PER_MONTH, "D": 1 / DAYS_PER_MONTH}
_AGE = re.compile(r"0*(\d{1,3}) *([DWMY])")
"""Three digits and a unit are the rule (PS3.5, 6.2, AS); fewer, more zeros before or a space between are written."""
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_DECIMAL_COMMA = re.compile(r" *[+-]?\d*,\d+(?:[eE][+-]?\d+)? *")
_BOTH = {"B", "BOTH", "BILATERAL", "LR", "L/R", "RL", "R/L"}
"""B is the defined term; the others are written."""
_HUMAN = ("HUMAN", "HOMO", "SAPIENS")
_SPECIES_UNKNOWN = {"UNKNOWN", "N/A", "NA", "NONE", "-", "OTHER", "UNSPECIFIED", "U", "O"}
_STUDY_DATES = ("StudyDate", "AcquisitionDate", "ContentDate")


def _value(dataset: Dataset, keyword: str) -> Any:
    try:
        found = bounded_value(dataset, keyword, TEXTS | NUMBERS)
    # pydicom converts values on access, and a damaged one can raise nearly any error.
    except Exception:
        _log_malformed(keyword)
        return None
    return found[0] if found is not None else None


def text(dataset: Dataset, keyword: str) -> str | None:
    """The first value as text, stripped; None if absent or empty."""
    return next(iter(texts(dataset, keyword)), None)


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """All values as texts, stripped; empty if absent."""
    value = _value(dataset, keyword)
    if value is None or isinstance(value, bytes):
        return []
    parts = [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)
    return [part for part in (str(part).strip(" \0") for part in parts) if part]


def numbers(dataset: Dataset, keyword: str) -> list[float] | None:
    """All values as finite numbers; None if absent or malformed."""
    value = _value(dataset, keyword)
    if value is None or value == "" or isinstance(value, bytes):
        return None
    try:
        found = [
            _as_number(part)
            for part in (value if hasattr(value, "__iter__") and not isinstance(value, str) else [value])
        ]
    except (TypeError, ValueError, OverflowError):
        found = []
    if not found or not all(math.isfinite(part) for part in found):
        _log_malformed(keyword)
        return None
    return found


def _as_number(part: Any) -> float:
    """A number; also one whose decimals stand after a comma, as some makers of other languages write them."""
    if isinstance(part, str) and _DECIMAL_COMMA.fullmatch(part):
        part = part.replace(",", ".")
    return float(part)


def number(dataset: Dataset, keyword: str) -> float | None:
    """The (first) value as a finite number; None if absent or malformed."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def read_facts(dataset: Dataset, *, bits_stored: int, photometric: str, inverted: bool) -> RadiographFacts:
    """All facts that the header gives."""
    birth_date = _date(dataset, "PatientBirthDate")
    study_date = next(filter(None, (_date(dataset, keyword) for keyword in _STUDY_DATES)), None)
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
    """Chronological age at the study, months; and whether the file contradicts itself on it, so that there is none.

    Args:
        stated: Patient's Age (PS3.5, 6.2, AS: ``012Y``, ``018M``, ``003W``, ``010D``), which counts whole units.
        birth_date: the patient's.
        study_date: if both dates are given and agree with the stated age within its unit (or none is stated), the age
            is by the day.
    """
    months, unit = _stated_age(stated)
    if birth_date is None or study_date is None:
        return months, False
    exact = (study_date - birth_date).days / DAYS_PER_MONTH
    if months is None:
        return (exact if exact >= 0 else None), False
    # A week's grace: months and years have no fixed number of days.
    agree = exact >= 0 and months - 0.25 <= exact < months + unit + 0.25
    return (exact, False) if agree else (None, True)


def _stated_age(stated: str | None) -> tuple[float | None, float]:
    """Months, and months in the unit it was counted in."""
    if stated is None:
        return None, 0.0
    match = _AGE.fullmatch(stated.upper())
    if match is None:
        _log_malformed("PatientAge")
        return None, 0.0
    unit = _MONTHS_BY_UNIT[match[2]]
    return int(match[1]) * unit, unit


def _date(dataset: Dataset, keyword: str) -> date | None:
    found = text(dataset, keyword)
    if found is None:
        return None
    match = _DATE.fullmatch(found)
    if match is not None:
        try:
            return date(int(match[1]), int(match[2]), int(match[3]))
        except ValueError:  # the 31st of February
            pass
    _log_malformed(keyword)
    return None


def _log_malformed(keyword: str) -> None:
    logger.warning("the DICOM header has a malformed %s: not used", keyword)


def _spacing(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    found = numbers(dataset, keyword)
    if found is None:
        return None
    if len(found) != 2 or min(found) <= 0:
        _log_malformed(keyword)
        return None
    return found[0], found[1]


def _side(dataset: Dataset) -> Side | None:
    if _both_sides(dataset):
        return None
    for keyword in ("ImageLaterality", "Laterality"):
        found = (text(dataset, keyword) or "").upper()
        if found == "L":
            return "L"
        if found == "R":
            return "R"
    return None


def _both_sides(dataset: Dataset) -> bool:
    """Whether both hands are declared: the one element that is used says B, or names both."""
    for keyword in ("ImageLaterality", "Laterality"):
        found = {one.upper() for one in texts(dataset, keyword)}
        if found:
            return bool(found & _BOTH) or {"L", "R"} <= found
    return False


def _not_human(dataset: Dataset) -> bool:
    """Whether Patient Species Description (PS3.3, C.7.1.1) names another species.

    It is a reason for a warning and not for a rejection: a field so rarely used may hold anything.
    """
    found = (text(dataset, "PatientSpeciesDescription") or "").upper()
    return bool(found) and found not in _SPECIES_UNKNOWN and not any(word in found for word in _HUMAN)


def _for_processing(dataset: Dataset) -> bool:
    intent = (text(dataset, "PresentationIntentType") or "").upper()
    return text(dataset, "SOPClassUID") == DIGITAL_XRAY_FOR_PROCESSING or intent == "FOR PROCESSING"


def _sex(dataset: Dataset) -> Sex | None:
    try:
        return Sex.parse(text(dataset, "PatientSex"))
    except Rejection:
        return None
