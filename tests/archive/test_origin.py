"""Headers and tables of patients."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from boneage.archive.origin import Origin, Patient, origin_of, read_patients
from boneage.errors import TableError
from tests.archive.parts import BIRTH, PATIENT, dicom_radiograph


def test_origin_of_header() -> None:
    origin = origin_of(dicom_radiograph(1, IssuerOfPatientID="CLINIC"))
    assert (origin.patient_id, origin.issuer, origin.sex) == (PATIENT, "CLINIC", "F")
    assert origin.birth_date is not None
    assert origin.birth_date.strftime("%Y%m%d") == BIRTH
    assert origin.study_date == date(2016, 5, 6)
    assert PATIENT not in repr(origin)


@pytest.mark.parametrize("data", [b"", b"no header", bytes(128) + b"DICM" + b"\xff" * 40])
def test_origin_of_other_files_is_empty(data: bytes) -> None:
    assert origin_of(data) == Origin()


def test_table_of_patients(tmp_path: Path) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("patient_id,sex,birth_date\n1,F,2010-02-03\n2,,\n")
    assert read_patients(table) == {
        ("", "1"): Patient("F", date(2010, 2, 3)),
        ("", "2"): Patient("", None),
    }
    table.write_text("patient_id,issuer,sex,birth_date\n1,A,F,\n1,B,M,\n1,,,2010-02-03\n")
    assert {key: patient.sex_text for key, patient in read_patients(table).items()} == {
        ("A", "1"): "F",
        ("B", "1"): "M",
        ("", "1"): "",
    }
    table.write_text("patient_id,issuer,sex,birth_date\n1,A,F,\n1,A,M,\n")
    with pytest.raises(TableError, match="line 3"):
        read_patients(table)


@pytest.mark.parametrize(("rows", "code"), [("1,F,\n1,M,\n", "table_duplicate"), ("1,F,3.2.2010\n", "table_value")])
def test_bad_table_of_patients(tmp_path: Path, rows: str, code: str) -> None:
    (tmp_path / "patients.csv").write_text(f"patient_id,sex,birth_date\n{rows}")
    with pytest.raises(TableError) as caught:
        read_patients(tmp_path / "patients.csv")
    assert caught.value.code == code
