"""Headers of instances: what identity and selection need, within bounds, whatever the file holds."""

from __future__ import annotations

import contextlib
import hashlib
import random
import warnings
from datetime import date
from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from boneage.errors import Rejection
from boneage.node.instance import dicom_file, is_uid, read_header, read_meta
from tests.node.parts import CR, instance_file


def test_read_header() -> None:
    file = instance_file(
        SOPInstanceUID="1.2.3",
        PatientSex="F",
        PatientAge="012Y",
        StudyDate="20240506",
        StudyDescription="Bone age\n",
        Laterality="L",
        ViewPosition="PA",
        BodyPartExamined="HAND",
        SeriesNumber="3",
    )
    header = read_header(file)
    assert (header.sop_class_uid, header.sop_instance_uid) == (CR, "1.2.3")
    assert (header.patient_id, header.issuer, header.accession) == ("4711", "HOSPITAL", "A-99")
    assert header.patient_name == "Müller^Anna"
    assert (header.birth_date, header.study_date) == (date(2012, 3, 10), date(2024, 5, 6))
    assert (header.sex, header.side, header.both_sides) == ("F", "L", False)
    assert header.descriptions == ("Bone age",)
    assert (header.series_number, header.instance_number, header.frames) == (3, None, 1)
    assert header.least_age_months is not None
    assert 145 < header.least_age_months < 146
    assert header.pixels_sha256 == hashlib.sha256(pydicom.dcmread(BytesIO(file)).PixelData).hexdigest()


def test_read_header_has_no_patient_in_repr() -> None:
    text = repr(read_header(instance_file(PatientID="P-4711-X")))  # digits alone may stand in a UID
    assert "Müller" not in text
    assert "P-4711-X" not in text
    assert "2012, 3, 10" not in text


def test_read_header_checksums() -> None:
    """Another header leaves the checksum of the pixels, and changes that of the data set."""
    first, second = (read_header(instance_file(SOPInstanceUID="1.2", PatientSex=sex)) for sex in "FM")
    assert first.pixels_sha256 == second.pixels_sha256
    assert first.data_sha256 != second.data_sha256


@pytest.mark.parametrize(
    ("region", "code"),
    [(("85562004", "SCT"), "85562004"), (("T-D8700", "SRT"), "T-D8700"), (("X1", "99LOCAL"), "")],
)
def test_read_header_region(region: tuple[str, str], code: str) -> None:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = region
    assert read_header(instance_file(AnatomicRegionSequence=[item])).anatomic_region == code


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("value", [None, "no uid", "1." * 40 + "1", "1..2"])
def test_read_header_needs_identifiers(keyword: str, value: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = instance_file(**{keyword: value})
    with pytest.raises(Rejection, match=keyword):
        read_header(file)


def test_read_header_long_identifier() -> None:
    """An identifier that is too long is never cut, since two patients could become one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = instance_file(PatientID="1" * 65)
    with pytest.raises(Rejection, match="PatientID"):
        read_header(file)


@pytest.mark.parametrize("character", ["\0", "\n", "\x1b", "\u2028"])
def test_read_header_control_characters(character: str) -> None:
    """Characters that a database rejects, or that break a line, do not reach texts."""
    file = instance_file(SpecificCharacterSet="ISO_IR 192", PatientName=f"A{character}B", SeriesDescription="ok")
    header = read_header(file)
    assert header.patient_name == "AB"
    header.patient_name.encode()


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "王^小东"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
    ],
)
def test_read_header_character_sets(charset: str | list[str], name: str) -> None:
    file = instance_file(SpecificCharacterSet=charset, PatientName=name, ReferringPhysicianName="")
    assert read_header(file).patient_name == name


def test_read_header_too_large() -> None:
    with pytest.raises(Rejection) as error:
        read_header(instance_file(), 1000)
    assert error.value.code == "too_large"


FILE = instance_file(SOPInstanceUID="1.2.3.4")


@given(st.integers(0, 2**32))
def test_read_header_damaged_file(seed: int) -> None:
    """A damaged file gives a header or a rejection, and nothing else."""
    chance = random.Random(seed)
    damaged = bytearray(FILE)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(len(damaged) if chance.random() < 0.1 else 1500)
        damaged[place] = chance.randrange(256)
    if chance.random() < 0.3:
        del damaged[chance.randrange(len(damaged)) :]
    with contextlib.suppress(Rejection):
        read_header(bytes(damaged))


@given(st.binary(max_size=400))
def test_read_header_any_data_set(data: bytes) -> None:
    with pytest.raises(Rejection):
        read_header(dicom_file(CR, "1.2", ExplicitVRLittleEndian, data))


def test_dicom_file_keeps_data_set() -> None:
    file = dicom_file(CR, "1.2", ExplicitVRLittleEndian, b"data set")
    assert file.endswith(b"data set")
    assert file[128:140] == b"DICM\x02\0\0\0UL\x04\0"
    assert all(uid.encode() in file[140:-8] for uid in (CR, "1.2\0", ExplicitVRLittleEndian))


@pytest.mark.parametrize(
    ("value", "valid"), [("1.2", True), ("1.02", True), ("1.2.", False), ("", False), ("1" * 65, False)]
)
def test_is_uid(value: str, valid: bool) -> None:
    assert is_uid(value) is valid


def test_read_meta() -> None:
    """The data set begins where the File Meta Information ends, and its UIDs are those of the file."""
    file = instance_file()
    meta = read_meta(file)
    dataset = pydicom.dcmread(BytesIO(file))
    assert meta.sop_instance_uid == dataset.SOPInstanceUID
    assert meta.transfer_syntax_uid == dataset.file_meta.TransferSyntaxUID
    rebuilt = dicom_file(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, file[meta.length :])
    assert read_header(rebuilt) == read_header(file)


@given(st.integers(0, 400), st.binary(max_size=8))
def test_read_meta_damaged(place: int, damage: bytes) -> None:
    """A damaged beginning is read or rejected, and nothing else."""
    file = _FILE[:place] + damage + _FILE[place + len(damage) :]
    for cut in (file, file[:place]):
        with contextlib.suppress(Rejection):
            assert 132 < read_meta(cut).length <= len(cut)


_FILE = instance_file()
