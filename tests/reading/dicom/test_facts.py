"""DICOM: the facts of the header."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from tests import radiograph_files as files
from tests.radiograph_files import VALID
from tests.reading.dicom.drawn import RAMP, read


def test_read_facts_complete_header() -> None:
    facts = read(
        PatientSex="M", PatientBirthDate="20100115", PatientAge="", Laterality="R", ImageLaterality="L", Modality="DX"
    ).facts
    assert facts.format == "dicom"
    assert facts.modality == "DX"
    assert facts.body_part == "HAND"
    assert facts.side == "L"
    assert facts.sex is Sex.MALE
    assert facts.birth_date == date(2010, 1, 15)
    assert facts.study_date == date(2020, 6, 15)
    assert facts.patient_age is None
    assert facts.spacing_mm == (0.15, 0.15)


def test_read_facts_missing() -> None:
    dataset = files.dicom_dataset(RAMP, 12)
    for keyword in ("PatientSex", "PatientAge", "StudyDate", "BodyPartExamined", "ImageLaterality"):
        del dataset[keyword]
    del dataset.ImagerPixelSpacing
    facts = read_radiograph(dataset).facts
    assert (facts.sex, facts.patient_age, facts.study_date, facts.body_part, facts.side, facts.spacing_mm) == (
        None,
    ) * 6


@pytest.mark.parametrize("sex", ["O", "", "X", "U"])
def test_read_facts_other_sex(sex: str) -> None:
    """Another sex is never guessed."""
    assert read(PatientSex=sex).facts.sex is None


def test_read_facts_pixel_spacing_first() -> None:
    """Pixel Spacing precedes the detector's spacing."""
    assert read(PixelSpacing=[0.14, 0.141], ImagerPixelSpacing=[0.15, 0.15]).facts.spacing_mm == (0.14, 0.141)
    assert read(PixelSpacing=[0, 0], ImagerPixelSpacing=[0.15, 0.151]).facts.spacing_mm == (0.15, 0.151)


def test_read_facts_acquisition_date() -> None:
    """An acquisition date replaces a missing study date."""
    assert read(StudyDate="", AcquisitionDate="20190304").facts.study_date == date(2019, 3, 4)


def test_birth_date_not_in_repr() -> None:
    """The birth date never appears in a representation."""
    radiograph = read(PatientAge="", PatientBirthDate="20110203")
    assert radiograph.facts.birth_date == date(2011, 2, 3)
    assert "2011" not in repr(radiograph)
    assert "birth_date" not in repr(radiograph.facts)


@pytest.mark.parametrize(
    ("elements", "raw"),
    [
        ({}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "PresentationIntentType": "FOR PRESENTATION"}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1.1", "Modality": "DX"}, True),
        ({"PresentationIntentType": "FOR PROCESSING"}, True),
    ],
)
def test_read_facts_for_processing(elements: dict[str, Any], raw: bool) -> None:
    """Raw radiographs are recognised."""
    assert read(**elements).facts.for_processing is raw
    assert not read_radiograph(VALID["png 8"]).facts.for_processing
