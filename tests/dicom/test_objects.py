"""All objects of a result belong together, are valid, and none carries a number that must not be used."""

from __future__ import annotations

import os
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from boneage import words
from boneage.dicom.capture import draw_page
from boneage.dicom.objects import KINDS, ResultObject, result_objects
from boneage.dicom.structured_report import Verification
from boneage.errors import Rejection
from boneage.report.comparison import Decided
from boneage.report.content import report_content
from boneage.warnings_ import ResultWarning, WarningCode
from tests.dicom.sources import NOW, PICTURE, document, source

PDF = b"%PDF-1.7 a report"


def objects(given: Dataset, language: str = "en", **changes: object) -> list[ResultObject]:
    """Return all kinds of objects of an assessment."""
    return list(
        result_objects(given, document(**changes), PICTURE, now=NOW, kinds=KINDS, language=language, pdf=lambda: PDF)
    )


def test_result_objects_belong_to_the_radiograph() -> None:
    """All objects have the radiograph's patient and study, series and UIDs of their own, and are read again."""
    given = source()
    made = objects(given)
    assert [one.kind for one in made] == list(KINDS)
    read = [pydicom.dcmread(BytesIO(one.to_bytes())) for one in made]
    assert len({one.SOPInstanceUID for one in read}) == len({one.SeriesInstanceUID for one in read}) == len(KINDS)
    for one in read:
        for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "StudyInstanceUID", "AccessionNumber"):
            assert str(one[keyword].value) == str(given[keyword].value), keyword
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert one.ManufacturerModelName == "boneage"
    assert [one.dataset.SOPInstanceUID for one in objects(given)] == [one.SOPInstanceUID for one in read]


def test_result_objects_of_critical_result() -> None:
    """A number that must not be used is in no data: only pages exist, and state this."""
    phantom = ResultWarning.of(WarningCode.PHANTOM).document()
    made = objects(source(), is_meaningless=True, warnings=(phantom,))
    assert [one.kind for one in made] == ["sc", "pdf"]


def test_result_objects_with_decision_of_critical_result() -> None:
    """A physician's own bone age counts."""
    phantom = ResultWarning.of(WarningCode.PHANTOM).document()
    verification = Verification(Decided(100.0, True), "Curie^Marie", "Hospital")
    made = result_objects(
        source(),
        document(is_meaningless=True, warnings=(phantom,)),
        PICTURE,
        now=NOW,
        verification=verification,
        decision="1",
    )
    assert [one.kind for one in made] == ["sc", "sr"]


def test_result_objects_without_identifiers() -> None:
    """A radiograph without a study has no results."""
    with pytest.raises(Rejection, match="StudyInstanceUID"):
        objects(source(StudyInstanceUID=None))


def test_encapsulated_pdf_length() -> None:
    """The PDF is padded to an even length, and its own length is kept."""
    made = next(one.dataset for one in objects(source()) if one.kind == "pdf")
    assert made.EncapsulatedDocumentLength == len(PDF) == len(made.EncapsulatedDocument) - 1
    assert made.EncapsulatedDocument.startswith(PDF)


@pytest.mark.parametrize("language", words.languages())
def test_draw_page_languages(language: str) -> None:
    """The page is as wide as promised, differs by language, and holds picture and text in every one."""
    made = document()
    with words.use_language(language):
        page = draw_page(made, report_content(made), PICTURE, is_verified=False)
    assert page.shape[1:] == (1200, 3)
    assert page.shape[0] >= 900
    assert page[450, 320].tolist() == [90, 90, 90]
    assert (page[:, 640:] > 200).sum() > 5000


def test_draw_page_grows_with_its_text() -> None:
    """Many warnings make the page longer, and nothing is cut off."""
    warning = ResultWarning.of(WarningCode.LOW_RESOLUTION, width=1, height=1, view_width=1, view_height=1).document()
    made = document(warnings=(warning,) * 30)
    page = draw_page(made, report_content(made), PICTURE, is_verified=False)
    assert page.shape[0] > 1500
    assert (page[-28:, 640:] == 0).all()
    assert (page[-100:, 640:] > 100).any()


def test_secondary_capture_pixels() -> None:
    """The stored pixels are the page, and refer to the radiograph."""
    given, made = source(), document()
    capture = next(one.dataset for one in objects(given) if one.kind == "sc")
    with words.use_language("en"):
        page = draw_page(made, report_content(made), PICTURE, is_verified=False)
    np.testing.assert_array_equal(pydicom.dcmread(BytesIO(ResultObject("sc", capture).to_bytes())).pixel_array, page)
    assert (capture.Modality, capture.BurnedInAnnotation, capture.Laterality) == ("OT", "YES", "L")
    assert capture.SourceImageSequence[0].ReferencedSOPInstanceUID == given.SOPInstanceUID


def test_presentation_state_text() -> None:
    """The presentation state draws the outline, and says the bone age in the language of the page."""
    state = next(one.dataset for one in objects(source(), language="de") if one.kind == "pr")
    (annotation,) = state.GraphicAnnotationSequence
    assert annotation.TextObjectSequence[0].UnformattedTextValue.endswith("7 Jahre 10 Monate")
    assert annotation.GraphicObjectSequence[0].GraphicType == "POLYLINE"
    assert "pr" not in [one.kind for one in objects(source(), hand=None)]


@pytest.mark.parametrize(
    "elements", [{}, {"ImageLaterality": None, "PatientSex": "", "PatientBirthDate": ""}], ids=["full", "sparse"]
)
def test_objects_are_valid(elements: dict[str, str | None], tmp_path: Path) -> None:
    """David Clunie's validator finds no error in any object, and none between them and their radiograph."""
    if shutil.which("dciodvfy") is None and "CI" not in os.environ:
        pytest.skip("make system-packages installs dicom3tools")
    given = source(SpecificCharacterSet="ISO_IR 192", **elements)
    verification = Verification(Decided(100.0, True), "Curie^Marie", "Hospital")
    before = objects(given)[-1].dataset
    decided = result_objects(
        given, document(), PICTURE, now=NOW, verification=verification, predecessor=before, decision="1"
    )
    made = [*objects(given), *decided, *(one for one in objects(given, hand=None) if one.kind == "sr")]
    files = [tmp_path / f"{number}-{one.kind}.dcm" for number, one in enumerate(made)]
    for file, one in zip(files, made, strict=True):
        file.write_bytes(one.to_bytes())
        assert errors("dciodvfy", "-new", file) == [], one.kind
    first = tmp_path / "source.dcm"
    given.save_as(first, enforce_file_format=True)
    assert errors("dcentvfy", first, *files[:-1]) == []


def errors(*command: str | Path) -> list[str]:
    """Return the errors that a validator prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    return [line for line in done.stderr.splitlines() if line.startswith(("Error", "Abort"))]
