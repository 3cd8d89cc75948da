"""Origin of a radiograph by its DICOM header: patient, study, device, and what the selection needs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from boneage.errors import TableError
from boneage.reading.dicom.bounds import quiet_pydicom
from boneage.reading.dicom.facts import study_day
from boneage.reading.dicom.object import parse_object
from boneage.reading.dicom.tags import day, text
from boneage.reading.facts import DEFAULT_LIMITS
from boneage.reading.radiograph import is_dicom
from boneage.tables.csv_table import Row, read_rows, reject_duplicates

logger = logging.getLogger(__name__)
_LONGEST = 256
"""Characters that are kept of a value."""


@dataclass(frozen=True)
class Origin:
    """Elements of a DICOM header; empty texts for other files and for absent elements.

    Attributes:
        patient_id, issuer: Patient ID and its issuer.
        study_uid, series_uid, instance_uid: UIDs of study, series and instance.
        accession: Accession Number.
        sex: Patient's Sex as it stands.
        birth_date: Patient's Birth Date.
        study_date: Study Date, else Acquisition Date, else Content Date.
        modality: Modality.
        body_part: Body Part Examined.
        manufacturer, model: manufacturer and model of the device.
        station, serial_number, institution: which device it is.
        burned_in: Text stands in the pixels, by Burned In Annotation.
    """

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    study_uid: str = ""
    series_uid: str = ""
    instance_uid: str = ""
    accession: str = field(default="", repr=False)
    sex: str = ""
    birth_date: date | None = field(default=None, repr=False)
    study_date: date | None = None
    modality: str = ""
    body_part: str = ""
    manufacturer: str = ""
    model: str = ""
    station: str = ""
    serial_number: str = ""
    institution: str = ""
    burned_in: bool = False


_KEYWORDS: Mapping[str, str] = {
    "patient_id": "PatientID",
    "issuer": "IssuerOfPatientID",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
    "instance_uid": "SOPInstanceUID",
    "accession": "AccessionNumber",
    "sex": "PatientSex",
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "station": "StationName",
    "serial_number": "DeviceSerialNumber",
    "institution": "InstitutionName",
}


def origin_of(data: bytes) -> Origin:
    """Return the origin of a file. It is empty for a file that is not DICOM, or whose header cannot be parsed."""
    if not is_dicom(data):
        return Origin()
    try:
        with quiet_pydicom():
            dataset = parse_object(data, DEFAULT_LIMITS)
            values = {name: (text(dataset, keyword) or "")[:_LONGEST] for name, keyword in _KEYWORDS.items()}
            return Origin(
                **values,
                birth_date=day(dataset, "PatientBirthDate"),
                study_date=study_day(dataset),
                burned_in=(text(dataset, "BurnedInAnnotation") or "").upper() == "YES",
            )
    except Exception:  # pydicom raises nearly any error for a damaged file; reading the radiograph reports it
        logger.debug("the header of a DICOM file cannot be parsed")
        return Origin()


@dataclass(frozen=True)
class Patient:
    """Sex and birth date of a patient by a table.

    Attributes:
        sex_text: Sex as written; empty if the table states none.
        birth_date: Day of birth; None if the table states none.
    """

    sex_text: str
    birth_date: date | None = field(repr=False)


def read_patients(table: Path) -> dict[tuple[str, str], Patient]:
    """Return sex and birth date by issuer and Patient ID, from a CSV table with ``patient_id,sex,birth_date``.

    Cells of sex and birth date may be empty; the header of the radiograph then gives the value. A column ``issuer``
    (Issuer of Patient ID) may be present. A row without an issuer stands for the Patient ID by any issuer.

    Raises:
        TableError: As in `boneage.tables.csv_table.read_rows`; ``table_duplicate`` for a patient with two rows;
            ``table_value`` for a date that cannot be read.
    """
    rows = read_rows(table, ("patient_id", "sex", "birth_date"), ("issuer",))
    if "issuer" not in rows[0].cells:
        reject_duplicates(rows, "patient_id")
    patients: dict[tuple[str, str], Patient] = {}
    for row in rows:
        key = (row.cells.get("issuer", ""), row.text("patient_id"))
        if key in patients:
            raise TableError("table_duplicate", f"{table}, line {row.line}: the patient has two rows with one issuer.")
        patients[key] = Patient(row.cells["sex"], _birth_date(row))
    return patients


def _birth_date(row: Row) -> date | None:
    written = row.cells["birth_date"]
    try:
        return date.fromisoformat(written) if written else None
    except ValueError:
        raise row.bad_value("birth_date", "must be a date such as 2014-03-10") from None
