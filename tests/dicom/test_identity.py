"""Results belong to the patient and study of their radiograph, and have reproducible UIDs."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from boneage.dicom.identity import ResultKey, check_source, copy_patient_and_study, laterality, local_time
from boneage.errors import Rejection
from tests.dicom.sources import NOW, document, source

KEY = ResultKey("1.2.3", "a" * 64, "standard 3", "0.1.0", "F", 100.5, "", "en")


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Anna"),
        ("ISO_IR 192", "Müller^Anna"),
        ("ISO_IR 101", "Łukasz^Ćwik"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    ],
)
def test_copy_patient_and_study_character_sets(charset: str | list[str], name: str) -> None:
    """Names survive the change to UTF-8, whatever the character set of the source is."""
    copy = Dataset()
    copy_patient_and_study(source(SpecificCharacterSet=charset, PatientName=name), copy)
    buffer = BytesIO()
    copy.save_as(buffer, implicit_vr=False, little_endian=True)
    read = pydicom.dcmread(BytesIO(buffer.getvalue()), force=True)
    assert str(read.PatientName) == name
    assert read.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    "elements", [{}, {"PatientBirthDate": "", "PatientSex": "O"}, {"PatientSex": "", "IssuerOfPatientID": None}]
)
def test_copy_patient_and_study_equal(elements: dict[str, str | None]) -> None:
    """Every element of patient and study equals that of the source."""
    given, copy = source(**elements), Dataset()
    copy.PatientWeight = 30
    copy_patient_and_study(given, copy)
    keywords = {element.keyword for element in copy} - {"SpecificCharacterSet"}
    assert {"PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "TimezoneOffsetFromUTC"} <= keywords
    assert "PatientWeight" not in copy
    for keyword in keywords:
        assert str(copy.get(keyword)) == str(given.get(keyword, "")), keyword


def test_copy_patient_and_study_required_elements() -> None:
    """Elements of type 2 exist although the source lacks them."""
    copy = Dataset()
    copy_patient_and_study(source(StudyID=None, AccessionNumber=None, ReferringPhysicianName=None), copy)
    assert (copy.StudyID, copy.AccessionNumber, str(copy.ReferringPhysicianName)) == ("", "", "")


def test_result_key_of_each_field_counts() -> None:
    """Equal keys give equal UIDs; a difference in any field, or of the kind, gives another one."""
    others: dict[str, Any] = {"age_months": 101.0}
    changed = [replace(KEY, **{one.name: others.get(one.name, "other")}) for one in fields(KEY)]
    uids = [KEY.uid("sr"), KEY.uid("sc"), *(one.uid("sr") for one in changed)]
    assert len(set(uids)) == len(uids)
    assert KEY.uid("sr") == replace(KEY).uid("sr")
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


def test_result_key_of_data_set_from_memory() -> None:
    """Without a checksum of a file, the data set itself is what counts."""
    without = document()
    without = replace(without, radiograph=replace(without.radiograph, sha256=None))
    one, other = source(), source(PatientID="4712")
    other.SOPInstanceUID = one.SOPInstanceUID
    assert ResultKey.of(one, without) == ResultKey.of(one, without)
    assert ResultKey.of(one, without) != ResultKey.of(other, without)


def test_local_time_of_radiograph() -> None:
    """Times are in the zone that the radiograph states."""
    assert local_time(source(), NOW).utcoffset() == -timedelta(hours=3, minutes=30)
    assert local_time(source(TimezoneOffsetFromUTC="+0545"), NOW).strftime("%H%M") == "1815"
    assert local_time(source(TimezoneOffsetFromUTC=None), NOW) is NOW


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
def test_check_source_missing_uid(keyword: str) -> None:
    """A radiograph without identifiers is rejected by their names."""
    given = source()
    check_source(given)
    delattr(given, keyword)
    with pytest.raises(Rejection, match=keyword) as rejected:
        check_source(given)
    assert rejected.value.code == "unreadable"


@pytest.mark.parametrize(
    ("elements", "side"),
    [
        ({"ImageLaterality": "R"}, "R"),
        ({"ImageLaterality": None, "Laterality": "L"}, "L"),
        ({"ImageLaterality": "B"}, ""),
        ({"ImageLaterality": None}, ""),
    ],
)
def test_laterality(elements: dict[str, str | None], side: str) -> None:
    """The side is what the radiograph states, of one hand."""
    assert laterality(source(**elements)) == side
