"""A worker turns items into rows that name nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from boneage.archive.folders import folder_source
from boneage.archive.items import ArchiveItem, Selection, SourceUnavailableError
from boneage.archive.origin import Patient
from boneage.archive.rows import ARCHIVE_COLUMNS, IDENTIFYING
from boneage.archive.work import Outcome, Worker
from boneage.clinical.ages import StatedAge
from tests.archive.parts import BIRTH, NAME, PATIENT, dicom_radiograph, settings


class OneFile:
    """A source of one content."""

    description, expected = "a test", 1

    def __init__(self, content: bytes | Exception) -> None:
        self._content = content

    def items(self) -> Any:
        """Yield the item."""
        yield ArchiveItem(f"/archive/{NAME}/1.dcm", "1:2")

    def read(self, item: ArchiveItem) -> bytes:
        """Return the content."""
        if isinstance(self._content, Exception):
            raise self._content
        return self._content


def outcome_of(content: bytes, bundle: Path, item: ArchiveItem | None = None, **changes: Any) -> Outcome:
    """Return the outcome of one content."""
    source = OneFile(content)
    (outcome,) = Worker(source, settings(bundle, **changes)).run([item or next(source.items())]).outcomes
    return outcome


def test_row_holds_assessment_and_origin(bundle_folder: Path) -> None:
    outcome = outcome_of(dicom_radiograph(1), bundle_folder)
    row = outcome.row
    assert row is not None
    assert row.keys() <= ARCHIVE_COLUMNS.keys()
    assert row["sex"] == "F"
    assert row["sex_source"] == "header"
    assert row["study_year"] == 2016
    assert row["manufacturer"] == "Rays & Sons"
    assert row["chronological_age_months"] == pytest.approx(74.17, abs=0.02)
    assert isinstance(row["age_months"], float)
    assert row.get("error") is None
    assert outcome.thumbnail.startswith(b"\xff\xd8")


def test_pseudonymous_row_names_nobody(bundle_folder: Path) -> None:
    """No identifier, UID, checksum or exact date is in the outcome, whether assessed or rejected."""
    for content in (dicom_radiograph(1), dicom_radiograph(1, PatientSex="O"), dicom_radiograph(1)[:900]):
        outcome = outcome_of(content, bundle_folder)
        text = repr((outcome, outcome.row))
        for secret in (NAME, "Quincey", PATIENT, BIRTH, "2010-03-01", "ACC-0815", "ROOM-1", "1.2.3.1", "20160506"):
            assert secret not in text
        assert "2016-05-06" not in text
        assert outcome.row is not None
        assert not any(outcome.row.get(column) for column in IDENTIFYING)


def test_identifiers_on_request(bundle_folder: Path) -> None:
    row = outcome_of(dicom_radiograph(1), bundle_folder, identifiers=True).row
    assert row is not None
    assert (row["patient"], row["birth_date"], row["study_date"]) == (PATIENT, "2010-03-01", "2016-05-06")
    assert (row["accession"], row["instance"]) == ("ACC-0815", "1.2.3.1.9")


def test_sex_and_birth_date_by_precedence(bundle_folder: Path) -> None:
    """A list precedes the table of patients, and that the header."""
    content = dicom_radiograph(1)
    patients = {("", PATIENT): Patient("male", date(2009, 3, 1))}
    row = outcome_of(content, bundle_folder, patients=patients).row
    assert row is not None
    assert (row["sex"], row["sex_source"]) == ("M", "patients")
    assert row["chronological_age_months"] == pytest.approx(86.17, abs=0.02)
    item = ArchiveItem("x", "", "F", StatedAge(birth_date=date(2008, 3, 1)))
    row = outcome_of(content, bundle_folder, item, patients=patients).row
    assert row is not None
    assert (row["sex"], row["sex_source"]) == ("F", "list")
    assert row["chronological_age_months"] == pytest.approx(98.17, abs=0.02)


def test_patients_of_two_issuers_are_two(bundle_folder: Path) -> None:
    """A row of the table with an issuer is about his patient only, and precedes a row without one."""
    patients = {(issuer, PATIENT): Patient(sex, None) for issuer, sex in (("A", "F"), ("B", "M"), ("", "O"))}
    for issuer, sex in (("A", "F"), ("B", "M"), ("C", None)):
        content = dicom_radiograph(1, IssuerOfPatientID=issuer, PatientSex="")
        row = outcome_of(content, bundle_folder, patients=patients).row
        assert row is not None
        assert row.get("sex") == sex


def test_dates_of_a_list_precede_the_header(bundle_folder: Path) -> None:
    """The dates by which the age counts stand in the row, give the year of study, and decide the selection."""
    stated = StatedAge(birth_date=date(2004, 3, 1), study_date=date(2012, 3, 1))
    item = ArchiveItem("x", "", "F", stated)
    for written in ("", "20160506"):
        row = outcome_of(dicom_radiograph(1, StudyDate=written), bundle_folder, item, identifiers=True).row
        assert row is not None
        assert (row["study_year"], row["study_date"], row["birth_date"]) == (2012, "2012-03-01", "2004-03-01")
        assert row["chronological_age_months"] == pytest.approx(96, abs=0.1)
    row = outcome_of(b"no radiograph", bundle_folder, item).row
    assert row is not None
    assert row["study_year"] == 2012
    selection = Selection(first_date=date(2013, 1, 1))
    outcome = outcome_of(dicom_radiograph(1, StudyDate="20160506"), bundle_folder, item, selection=selection)
    assert outcome.skipped == "study_date"


def test_texts_of_the_header_are_escaped(bundle_folder: Path) -> None:
    content = dicom_radiograph(1, BodyPartExamined="HANDS").replace(b"HANDS", b"HAND\x1b")
    row = outcome_of(content, bundle_folder).row
    assert row is not None
    assert row["facts_body_part"] == "HAND\\x1b"


def test_stamp_of_a_file_is_a_pseudonym(bundle_folder: Path) -> None:
    """Size and time of a file identify it for whoever sees the archive."""
    stamp = outcome_of(dicom_radiograph(1), bundle_folder, ArchiveItem("x", "296362:1796093802539981578")).stamp
    assert "296362" not in stamp
    assert len(stamp) == 32


def test_study_date_in_the_future_gives_neither_age_nor_year(bundle_folder: Path) -> None:
    study = datetime.now(UTC).date() + timedelta(days=400)
    content = dicom_radiograph(1, StudyDate=study.strftime("%Y%m%d"))
    row = outcome_of(content, bundle_folder).row
    assert row is not None
    assert (row.get("chronological_age_months"), row.get("study_year")) == (None, None)
    assert "dates_impossible" in str(row["warnings"])
    row = outcome_of(content, bundle_folder, identifiers=True).row
    assert row is not None
    assert row["study_date"] == study.isoformat()


def test_equal_content_has_one_identity(bundle_folder: Path) -> None:
    """It depends on the content and on what a list states, and not on the place."""
    first, second = (outcome_of(dicom_radiograph(1), bundle_folder, ArchiveItem(name, "1")) for name in "ab")
    assert first.row_id == second.row_id
    assert first.item != second.item
    assert replace(first, item="", image="") == replace(second, item="", image="")
    assert outcome_of(dicom_radiograph(2), bundle_folder).row_id != first.row_id
    assert outcome_of(dicom_radiograph(1), bundle_folder, ArchiveItem("a", "1", "M")).row_id != first.row_id
    again = outcome_of(dicom_radiograph(1), bundle_folder, existing_rows=frozenset({first.row_id}))
    assert again.row is None
    assert again.row_id == first.row_id


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection(modalities=("DX",)), "modality"),
        (Selection(body_parts=("FOOT",)), "body_part"),
        (Selection(first_date=date(2017, 1, 1)), "study_date"),
        (Selection(last_date=date(2016, 5, 5)), "study_date"),
        (Selection(("CR",), ("HAND", "FOOT"), date(2016, 5, 6), date(2016, 5, 6)), ""),
    ],
)
def test_selection_by_header(bundle_folder: Path, selection: Selection, reason: str) -> None:
    outcome = outcome_of(dicom_radiograph(1, Modality="CR"), bundle_folder, selection=selection)
    assert outcome.skipped == reason
    assert (outcome.row is None) is bool(reason)


def test_rejections_are_rows(bundle_folder: Path, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.txt").write_text("no radiograph")
    source = folder_source(tmp_path)
    worker = Worker(source, settings(bundle_folder))
    (item,) = source.items()
    (outcome,) = worker.run([item]).outcomes
    assert outcome.row is not None
    assert (outcome.row["error"], outcome.row["sex"]) == ("unreadable", None)
    (tmp_path / f"{NAME}.txt").unlink()
    (outcome,) = worker.run([item]).outcomes
    assert outcome.row is not None
    assert (outcome.row["error"], outcome.row["message"]) == ("not_found", "The file cannot be opened.")
    row = outcome_of(dicom_radiograph(1, PatientSex="O"), bundle_folder).row
    assert row is not None
    assert row["error"] == "sex_missing"


def test_unexpected_error_is_a_row(bundle_folder: Path) -> None:
    """Its text may quote a patient, so that only identifying results have it."""
    for identifiers in (False, True):
        worker = Worker(OneFile(ValueError(f"about {NAME}")), settings(bundle_folder, identifiers=identifiers))
        (outcome,) = worker.run(list(worker.source.items())).outcomes
        assert outcome.row is not None
        assert outcome.row["error"] == "internal_error"
        assert (NAME in str(outcome.row["message"])) is identifiers


def test_failures_that_concern_all(bundle_folder: Path, tmp_path: Path) -> None:
    """A damaged bundle and a silent source end the run, and are no rows."""
    item = ArchiveItem("a")
    silent = Worker(OneFile(SourceUnavailableError("The PACS is away.")), settings(bundle_folder)).run([item])
    assert (silent.outcomes, silent.unavailable) == ([], "The PACS is away.")
    broken = Worker(OneFile(dicom_radiograph(1)), settings(tmp_path / "none")).run([item])
    assert broken.failure is not None
    assert broken.failure.code == "bundle_not_found"


def test_thumbnail_shows_the_hand_only(bundle_folder: Path) -> None:
    """Text at the border of the radiograph is black in a pseudonymous picture, and there is none of a burned-in one."""
    sizes = []
    for identifiers in (False, True):
        data = outcome_of(dicom_radiograph(1), bundle_folder, identifiers=identifiers).thumbnail
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        sizes.append(picture.shape)
    assert sizes[1] == (320, 240)  # the whole radiograph
    assert sizes[0][0] < sizes[1][0]
    assert sizes[0][1] < sizes[1][1]
    assert outcome_of(dicom_radiograph(1, BurnedInAnnotation="YES"), bundle_folder).thumbnail == b""
