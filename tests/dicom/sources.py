"""Sources for tests: a drawn radiograph as a hospital's object, with an assessment of it."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from boneage.schema import AssessmentDocument
from tests.documents import HEIGHT, WIDTH, assessment_document
from tests.radiograph_files import dicom_dataset, dicom_file, drawn_radiograph

NOW = datetime(2024, 5, 6, 12, 30, tzinfo=UTC)
PICTURE = np.full((400, 300, 3), 90, np.uint8)


def source(**elements: Any) -> Dataset:
    """Return a radiograph of the size of the assessment, as it is read from its file; None removes an element."""
    pixels = np.resize(drawn_radiograph(bits=12), (HEIGHT, WIDTH))
    usual = {
        "SpecificCharacterSet": "ISO_IR 100",
        "PatientName": "Müller^Anna",
        "PatientID": "4711",
        "IssuerOfPatientID": "HOSPITAL",
        "PatientBirthDate": "20120310",
        "StudyInstanceUID": "1.2.826.0.1.3680043.2.1125.1",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.2.1125.2",
        "StudyTime": "101500",
        "StudyID": "17",
        "AccessionNumber": "A-99",
        "ReferringPhysicianName": "Curie^Marie",
        "TimezoneOffsetFromUTC": "-0330",
    }
    given = {keyword: value for keyword, value in (usual | elements).items() if value is not None}
    dataset = dicom_dataset(pixels, 12, **given)
    for keyword, value in elements.items():
        if value is None and keyword in dataset:
            delattr(dataset, keyword)
    return pydicom.dcmread(BytesIO(dicom_file(dataset)))


def document(**changes: Any) -> AssessmentDocument:
    """Return an assessment of the radiograph, at a known chronological age."""
    return assessment_document(**{"age_months": 94.0, "chronological_months": 100.5, "warnings": (), **changes})


def content_items(dataset: Dataset, meaning: str) -> list[Dataset]:
    """Return all content items of a structured report whose concept has this meaning, however deep they lie."""
    items = []
    for item in dataset.get("ContentSequence", []):
        names = item.get("ConceptNameCodeSequence", [])
        items += [item] if names and names[0].CodeMeaning == meaning else []
        items += content_items(item, meaning)
    return items


def number_of(dataset: Dataset, meaning: str) -> float:
    """Return the one number of a concept in a structured report."""
    (item,) = content_items(dataset, meaning)
    return float(item.MeasuredValueSequence[0].NumericValue)
