"""A rejection note retracts our own objects, under their patient and study."""

from __future__ import annotations

import shutil
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import UID

from boneage.dicom.objects import KINDS, ResultObject, result_objects
from boneage.dicom.rejection_note import DESCRIPTION, by_study, rejection_note
from tests.dicom.sources import NOW, PICTURE, content_items, document, source
from tests.dicom.test_objects import errors
from tests.programs import skip_without

SIMPLER = "1.2.840.10008.5.1.4.1.1.88.22"


def sent(**elements: Any) -> list[Dataset]:
    """Return all objects of an assessment as they are read from their files."""
    made = result_objects(
        source(**elements), document(), PICTURE, now=NOW, kinds=KINDS, pdf=lambda: b"%PDF-1.7 a report"
    )
    return [pydicom.dcmread(BytesIO(one.to_bytes()), stop_before_pixels=True) for one in made]


def written(note: Dataset) -> bytes:
    return ResultObject("ko", note).to_bytes()


def references(note: Dataset) -> set[tuple[str, str, str]]:
    """Return series, SOP class and SOP instance of all evidence of a note."""
    (study,) = note.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == note.StudyInstanceUID
    return {
        (str(series.SeriesInstanceUID), str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
        for series in study.ReferencedSeriesSequence
        for one in series.ReferencedSOPSequence
    }


def test_rejection_note_refers_to_results_alone() -> None:
    """The note names each object as it was sent, and never the radiograph; content and evidence agree."""
    objects = sent()
    report = objects[-1]
    report.SOPClassUID, report.SOPInstanceUID = UID(SIMPLER), UID("2.25.7")
    note = pydicom.dcmread(BytesIO(written(rejection_note(objects, cause="pacs", now=NOW))))
    named = {(str(one.SeriesInstanceUID), str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in objects}
    assert references(note) == named
    items = [item.ReferencedSOPSequence[0] for item in note.ContentSequence if "ReferencedSOPSequence" in item]
    assert [item.ReferencedSOPInstanceUID for item in items] == [one.SOPInstanceUID for one in objects]
    assert str(source().SOPInstanceUID) not in str(note)
    assert (note.Modality, note.SOPClassUID) == ("KO", "1.2.840.10008.5.1.4.1.1.88.59")
    title = note.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113037", "DCM")
    assert content_items(note, "Key Object Description")[0].TextValue == DESCRIPTION
    assert note.SeriesInstanceUID not in {one.SeriesInstanceUID for one in objects}


def test_rejection_note_has_patient_of_results() -> None:
    objects = sent(PatientID="4712", PatientName="Müller^Anna")
    note = pydicom.dcmread(BytesIO(written(rejection_note(objects, cause="pacs", now=NOW))))
    for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "AccessionNumber"):
        assert str(note[keyword].value) == str(objects[0][keyword].value), keyword


def test_rejection_note_is_reproducible() -> None:
    """Equal arguments give equal bytes; another cause or another object gives another note."""
    objects = sent()
    first = rejection_note(objects, cause="pacs revision 1", now=NOW)
    assert written(rejection_note(sent(), cause="pacs revision 1", now=NOW)) == written(first)
    others = [
        rejection_note(objects, cause="archive revision 1", now=NOW),
        rejection_note(objects[1:], cause="pacs revision 1", now=NOW),
    ]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({str(one[keyword].value) for one in (first, *others)}) == 3
    later = rejection_note(objects, cause="pacs revision 1", now=NOW + timedelta(hours=1))
    assert later.SOPInstanceUID == first.SOPInstanceUID


@pytest.mark.parametrize(
    ("elements", "message"),
    [({"StudyInstanceUID": "1.2.3"}, "one patient and study"), ({"PatientID": "4712"}, "one patient and study")],
)
def test_rejection_note_of_several_studies(elements: dict[str, str], message: str) -> None:
    """Objects of several studies or patients are groups of their own."""
    first, second = sent(), sent(**elements)
    with pytest.raises(ValueError, match=message):
        rejection_note([*first, *second], cause="pacs", now=NOW)
    assert by_study([first[0], second[0], first[1]]) == [[first[0], first[1]], [second[0]]]


def test_rejection_note_of_foreign_object() -> None:
    """The radiograph cannot be retracted by mistake: an archive would hide it."""
    with pytest.raises(ValueError, match="of this program"):
        rejection_note([*sent(), source()], cause="pacs", now=NOW)
    with pytest.raises(ValueError, match="one patient"):
        rejection_note([], cause="pacs", now=NOW)


@pytest.mark.parametrize(
    "elements", [{}, {"ImageLaterality": None, "PatientSex": "", "PatientBirthDate": ""}], ids=["full", "sparse"]
)
def test_rejection_note_is_valid(elements: dict[str, str | None], tmp_path: Path) -> None:
    """David Clunie's validator finds no error in the note, and none between it, the results and the radiograph."""
    if shutil.which("dciodvfy") is None:
        skip_without("dciodvfy is not installed: `make system-packages` installs it")
    given = source(SpecificCharacterSet="ISO_IR 192", **elements)
    made = list(result_objects(given, document(), PICTURE, now=NOW, kinds=["sc", "sr"]))
    files = [tmp_path / name for name in ("source.dcm", "sc.dcm", "sr.dcm", "ko.dcm")]
    given.save_as(files[0], enforce_file_format=True)
    for file, one in zip(files[1:], made, strict=False):
        file.write_bytes(one.to_bytes())
    note = rejection_note([pydicom.dcmread(file) for file in files[1:3]], cause="pacs", now=NOW)
    files[3].write_bytes(written(note))
    assert errors("dciodvfy", "-new", files[3]) == []
    assert errors("dcentvfy", *files) == []
