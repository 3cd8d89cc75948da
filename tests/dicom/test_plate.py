"""A plate as a DICOM radiograph: valid, of an invented child of the plate's age, and the same every time."""

from __future__ import annotations

import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest

from boneage.atlas import Atlas
from boneage.dicom.plate import plate_file
from boneage.reading.radiograph import read_radiograph
from tests.programs import skip_without

PLATES = Atlas.open().plates


@pytest.mark.parametrize("plate", PLATES[::6], ids=lambda plate: plate.key)
def test_child_is_as_old_as_the_plate(plate: object) -> None:
    """The age is that of the calendar, to the month."""
    grey = np.full((300, 240), 90, np.uint8)
    grey[100:200, 80:160] = 220
    read = pydicom.dcmread(BytesIO(plate_file(plate.key, grey, plate.sex.value, plate.age_months)))  # type: ignore[attr-defined]
    born, study = read.PatientBirthDate, read.StudyDate
    months = 12 * (int(study[:4]) - int(born[:4])) + int(study[4:6]) - int(born[4:6])
    assert months == round(plate.age_months)  # type: ignore[attr-defined]
    assert int(born[6:]) <= int(study[6:])


def test_file_is_read_as_the_plate() -> None:
    """The pixels are those of the plate to a step of 12 bits, and the same call gives the same bytes."""
    atlas = Atlas.open()
    plate = atlas.plate("M-120")
    grey = atlas.picture(plate)
    file = plate_file(plate.key, grey, plate.sex.value, plate.age_months)
    radiograph = read_radiograph(file)
    np.testing.assert_allclose(radiograph.pixels, grey / 255, atol=1e-3)
    assert radiograph.facts.sex is plate.sex
    assert file == plate_file(plate.key, grey, plate.sex.value, plate.age_months)


def test_file_is_valid(tmp_path: Path) -> None:
    """dciodvfy finds no error."""
    if shutil.which("dciodvfy") is None:
        skip_without("dciodvfy is not installed: `make system-packages` installs it")
    path = tmp_path / "plate.dcm"
    path.write_bytes(plate_file("F-132", np.tile(np.arange(240, dtype=np.uint8), (300, 1)), "F", 132))
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert "Error" not in done.stdout + done.stderr
