"""Classes of results agree with the objects, and a report in a simpler class is valid."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from boneage.dicom.objects import KINDS, result_objects
from boneage.dicom.rejection_note import rejection_note
from boneage.node.result_classes import RESULT_CLASSES, SR_CLASSES, in_accepted_class
from tests.dicom.sources import NOW, PICTURE, document, source
from tests.programs import skip_without


def test_result_classes_are_those_of_objects() -> None:
    made = list(result_objects(source(), document(), PICTURE, now=NOW, kinds=KINDS, pdf=lambda: b"%PDF-1.7 a report"))
    note = rejection_note([pydicom.dcmread(BytesIO(one.to_bytes())) for one in made], cause="pacs", now=NOW)
    assert {**{one.kind: str(one.dataset.SOPClassUID) for one in made}, "ko": str(note.SOPClassUID)} == {
        kind: classes[0] for kind, classes in RESULT_CLASSES.items()
    }


@pytest.mark.parametrize("sop_class", SR_CLASSES[1:])
def test_in_accepted_class_is_valid(sop_class: str, tmp_path: Path) -> None:
    """The validator finds no error in a report of a simpler class."""
    program = shutil.which("dciodvfy") or skip_without("dciodvfy is not installed: `make system-packages` installs it")
    (report,) = result_objects(source(), document(), PICTURE, now=NOW, kinds=["sr"])
    made = in_accepted_class(pydicom.dcmread(BytesIO(report.to_bytes())), [sop_class])
    assert made is not None
    path = tmp_path / "report.dcm"
    made.save_as(path, enforce_file_format=True)
    done = subprocess.run([program, "-new", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert "Error" not in done.stderr, done.stderr


def test_in_accepted_class_of_other_objects() -> None:
    (capture,) = result_objects(source(), document(), PICTURE, now=NOW, kinds=["sc"])
    assert in_accepted_class(capture.dataset, RESULT_CLASSES["sc"]) is capture.dataset
    assert in_accepted_class(capture.dataset, SR_CLASSES) is None
