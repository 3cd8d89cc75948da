"""The whole assessment of one radiograph in many formats: the format does not change the result."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.phantom import draw_hand
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import radiographs_of_split, read_radiographs
from tests import radiograph_files as files
from tests.bundles import tiny_bundle

ALLOWED_MONTHS = 0.5
ALLOWED_MONTHS_TINY = 0.02
"""Tolerance for the tiny bundle, of whose estimate only 5 months come from the radiograph."""

ALLOWED_MONTHS_REAL = 1.0
"""Tolerance for real radiographs. Greys that are rounded otherwise may move a key point by 0.4 pixels, as its network
computes with 8-bit integers. A polarity or a window that was misread moves the estimate by years."""

ALLOWED_MONTHS_LOSSY = 2.0
"""Tolerance for JPEG, whose artefacts change the image. On real radiographs of 299 px they moved estimates by up to 0.7
months."""

LOSSY = "JPEG, quality 95"
REAL_RADIOGRAPHS = 10
JPEG_2000_LOSSLESS = "1.2.840.10008.1.2.4.90"

Radiograph = NDArray[np.float32]


def levels(radiograph: Radiograph, bits: int) -> NDArray[np.unsignedinteger]:
    """Return the radiograph in integer grey levels of `bits` bits."""
    whole = np.rint(radiograph * (2**bits - 1))
    return np.asarray(whole, dtype=np.uint8 if bits == 8 else np.uint16)


def forms_of(radiograph: Radiograph) -> dict[str, bytes]:
    """Return one radiograph, bone bright in 0..1, as files of every kind that hospitals and teachers pass on."""
    grey, twelve, deep = levels(radiograph, 8), levels(radiograph, 12), levels(radiograph, 16)
    return {
        "PNG, 8 bits": files.coded(".png", grey),
        "PNG, 16 bits": files.coded(".png", deep),
        LOSSY: files.coded(".jpg", grey, cv2.IMWRITE_JPEG_QUALITY, 95),
        "WebP, lossless": files.coded(".webp", grey, cv2.IMWRITE_WEBP_QUALITY, 101),
        "TIFF, 8 bits": files.coded(".tif", grey),
        "TIFF, 16 bits": files.coded(".tif", deep),
        "DICOM, MONOCHROME1": files.dicom_file(files.dicom_dataset(4095 - twelve, 12, photometric="MONOCHROME1")),
        "DICOM, MONOCHROME2": files.dicom_file(files.dicom_dataset(twelve, 12)),
        "DICOM, JPEG 2000 lossless": files.dicom_file(
            files.dicom_dataset(deep, 16), JPEG_2000_LOSSLESS, files.jpeg_2000(deep)
        ),
    }


@pytest.fixture(scope="module", params=["tiny", "residual"])
def judge(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, float]:
    """A bundle of fixed kernels, and a shipped one that reads whole radiographs; with the months that answers may
    differ by.

    Whole radiographs show all that a decoder does to them.
    """
    if request.param == "residual":
        return Bundle.open("residual", threads=1), ALLOWED_MONTHS
    folder = tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    return Bundle.open(folder, threads=1), ALLOWED_MONTHS_TINY


def ages_months(radiograph: Radiograph, sex: Sex, bundle: Bundle) -> dict[str, float]:
    return {form: assess(data, sex, bundle).age_months for form, data in forms_of(radiograph).items()}


def spread(ages: dict[str, float]) -> float:
    return max(ages.values()) - min(ages.values())


@pytest.fixture(scope="module")
def phantom() -> Radiograph:
    return draw_hand(8.0, height=1000, width=750)


@pytest.mark.parametrize("sex", list(Sex))
def test_assess_drawn_radiograph_every_format(judge: tuple[Bundle, float], phantom: Radiograph, sex: Sex) -> None:
    """A drawn radiograph gets one age in every format."""
    bundle, allowed = judge
    ages = ages_months(phantom, sex, bundle)
    assert spread(ages) < allowed, ages


def test_assess_inverted_radiograph_differs(judge: tuple[Bundle, float], phantom: Radiograph) -> None:
    """The tolerance does not hide MONOCHROME1 read as MONOCHROME2."""
    bundle, allowed = judge
    right, wrong = (
        assess(files.coded(".png", levels(radiograph, 8)), Sex.MALE, bundle).age_months
        for radiograph in (phantom, 1 - phantom)
    )
    assert abs(right - wrong) > 2 * allowed


@pytest.mark.data
def test_assess_real_radiographs_every_format(data_folder: Path) -> None:
    """Real radiographs get one age in every format."""
    bundle = Bundle.open("default", threads=1)
    validation = radiographs_of_split(read_radiographs(data_folder / "rsna" / "radiographs.csv"), "validation")
    for radiograph in validation[:: len(validation) // REAL_RADIOGRAPHS][:REAL_RADIOGRAPHS]:
        ages = ages_months(read_radiograph(radiograph.image).pixels, radiograph.sex, bundle)
        lossy = ages.pop(LOSSY)
        assert spread(ages) < ALLOWED_MONTHS_REAL, (radiograph.id, ages)
        assert abs(lossy - ages["PNG, 8 bits"]) < ALLOWED_MONTHS_LOSSY, (radiograph.id, lossy, ages)
