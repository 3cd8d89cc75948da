"""DICOM: the display shutter, and pixels that are not square."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.errors import Rejection
from boneage.reading.dicom.geometry import with_square_pixels
from boneage.reading.radiograph import RadiographFacts, read_radiograph
from tests import radiograph_files as files
from tests.reading.dicom.drawn import GREY, TWELVE, read

# the display shutter (PS3.3, C.7.6.11)

ROW, COLUMN = np.mgrid[1:111, 1:91]
RECTANGLE = {
    "ShutterLeftVerticalEdge": 11,
    "ShutterRightVerticalEdge": 80,
    "ShutterUpperHorizontalEdge": 21,
    "ShutterLowerHorizontalEdge": 100,
}
CIRCLE: dict[str, Any] = {"CenterOfCircularShutter": [50, 40], "RadiusOfCircularShutter": 30}
POLYGON = {"VerticesOfThePolygonalShutter": [20, 10, 20, 60, 90, 60, 90, 10]}
IN_RECTANGLE = (COLUMN >= 11) & (COLUMN <= 80) & (ROW >= 21) & (ROW <= 100)
IN_CIRCLE = (ROW - 50) ** 2 + (COLUMN - 40) ** 2 <= 30**2
IN_POLYGON = (ROW >= 20) & (ROW <= 90) & (COLUMN >= 10) & (COLUMN <= 60)


@pytest.mark.parametrize(
    ("shape", "elements", "inside"),
    [
        ("RECTANGULAR", RECTANGLE, IN_RECTANGLE),
        ("CIRCULAR", CIRCLE, IN_CIRCLE),
        ("POLYGONAL", POLYGON, IN_POLYGON),
        (["RECTANGULAR", "CIRCULAR"], RECTANGLE | CIRCLE, IN_RECTANGLE & IN_CIRCLE),
        (["POLYGONAL", "CIRCULAR", "RECTANGULAR"], RECTANGLE | CIRCLE | POLYGON, IN_RECTANGLE & IN_CIRCLE & IN_POLYGON),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_shutter_black_and_outside_range(
    shape: Any, elements: dict[str, Any], inside: NDArray[np.bool_], photometric: str
) -> None:
    """Hidden pixels are darkest and have no part in the range."""
    radiograph = np.clip(TWELVE, 500, 2500)
    radiograph[~inside] = np.where(np.random.default_rng(0).random(int((~inside).sum())) < 0.5, 0, 4095)
    radiograph[60, 40], radiograph[61, 40] = 500, 2500
    pixels = read(radiograph, photometric=photometric, ShutterShape=shape, **elements).pixels
    expected = (radiograph - 500.0) / 2000
    expected = 1 - expected if photometric == "MONOCHROME1" else expected
    assert np.allclose(pixels, np.where(inside, expected, 0), atol=1e-6)


def test_shutter_colour_and_window() -> None:
    """A shutter hides colour and windowed radiographs as well."""
    colour = files.dicom_dataset(np.dstack([GREY] * 3), 8, photometric="RGB", SamplesPerPixel=3)
    windowed = files.dicom_dataset(TWELVE, 12, WindowCenter=2048, WindowWidth=4096)
    for dataset, radiograph in ((colour, GREY / 255), (windowed, TWELVE / 4095)):
        for keyword, value in (RECTANGLE | {"ShutterShape": "RECTANGULAR"}).items():
            setattr(dataset, keyword, value)
        assert np.allclose(read_radiograph(dataset).pixels, np.where(IN_RECTANGLE, radiograph, 0), atol=1e-6)


def test_shutter_circle_oblong_pixels() -> None:
    """The circle of a shutter is round where pixels are not square."""
    pixels = read(TWELVE + 1, 13, ShutterShape="CIRCULAR", PixelSpacing=[0.3, 0.15], **CIRCLE).pixels
    seen = pixels > 0
    assert np.ptp(np.flatnonzero(seen.any(axis=1))) == pytest.approx(np.ptp(np.flatnonzero(seen.any(axis=0))), abs=3)


@pytest.mark.parametrize(
    "elements",
    [
        {"ShutterShape": "SECRET"},
        {"ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 5},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [50, 40]},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": 5, "RadiusOfCircularShutter": 30},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [20, 10, 20, 60]},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [20, 10, 20, 2000000000, 90, 60]},
    ],
)
def test_shutter_unknown_shape_logged(elements: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """An unknown shutter is logged without its text."""
    data = files.dicom_file(files.dicom_dataset(TWELVE, 12, **elements)).replace(b"SECRET", b"Sara's")
    assert np.allclose(read_radiograph(data).pixels, TWELVE / 4095, atol=1e-6)
    assert "shutter" in caplog.text
    assert "Sara" not in caplog.text


@pytest.mark.parametrize("edges", [(200, 300), (60, 40), (0, 0)])
def test_shutter_hides_all(edges: tuple[int, int]) -> None:
    """A shutter that hides the whole radiograph is rejected."""
    left, right = edges
    moved = RECTANGLE | {"ShutterLeftVerticalEdge": left, "ShutterRightVerticalEdge": right}
    with pytest.raises(Rejection, match="shutter hides the whole radiograph") as caught:
        read(TWELVE, ShutterShape="RECTANGULAR", **moved)
    assert caught.value.code == "no_contrast"


# pixels that are not square


@pytest.mark.parametrize(
    ("elements", "shape", "spacing"),
    [
        ({"PixelSpacing": [0.3, 0.15]}, (220, 90), (0.15, 0.15)),
        ({"PixelSpacing": [0.15, 0.3]}, (110, 180), (0.15, 0.15)),
        ({"PixelSpacing": [0.15, 0.2]}, (110, 120), (0.15, 0.15)),
        ({"PixelSpacing": [0.15, 0.1514]}, (110, 90), (0.15, 0.1514)),
        ({"PixelAspectRatio": [2, 1]}, (220, 90), None),
        ({"PixelAspectRatio": [3, 4]}, (110, 120), None),
        ({"PixelAspectRatio": [1, 1]}, (110, 90), None),
        ({"PixelSpacing": [0.15, 0.15], "PixelAspectRatio": [2, 1]}, (110, 90), (0.15, 0.15)),
        ({"PixelAspectRatio": [0, 1]}, (110, 90), None),
    ],
)
def test_square_pixels_resampled(
    elements: dict[str, Any], shape: tuple[int, int], spacing: tuple[float, float] | None
) -> None:
    dataset = files.dicom_dataset(TWELVE, 12, **elements)
    del dataset.ImagerPixelSpacing
    radiograph = read_radiograph(dataset)
    assert radiograph.pixels.shape == shape
    assert radiograph.facts.spacing_mm == (None if spacing is None else pytest.approx(spacing))
    levels = TWELVE / np.float32(4095)
    back = cv2.resize(radiograph.pixels, levels.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(back - levels).mean() < 0.01


def test_square_pixels_circle_is_round() -> None:
    """A circle on oblong pixels is round again."""
    row, column = np.mgrid[:120, :200]
    disc = (2000 * ((2 * (row - 59.5)) ** 2 + (column - 99.5) ** 2 <= 60**2) + row + column).astype(np.uint16)
    seen = read(disc, PixelSpacing=[0.4, 0.2]).pixels > 0.6
    assert seen.shape == (240, 200)
    assert np.ptp(np.flatnonzero(seen.any(axis=1))) == pytest.approx(119, abs=2)
    assert np.ptp(np.flatnonzero(seen.any(axis=0))) == pytest.approx(119, abs=2)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 2.4), st.integers(64 * 64, 40_000))
def test_square_pixels_limit_and_size(aspect: float, most: int) -> None:
    """Resampling keeps the limit on pixels and the size of the hand."""
    facts = RadiographFacts("dicom", 12, spacing_mm=(0.2 * aspect, 0.2))
    radiograph = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    pixels, facts = with_square_pixels(radiograph, facts, aspect, most)
    assert pixels.size <= most or aspect == 1.0
    assert facts.spacing_mm is not None
    between_rows, between_columns = facts.spacing_mm
    assert pixels.shape[0] * between_rows == pytest.approx(64 * 0.2 * aspect)
    assert pixels.shape[1] * between_columns == pytest.approx(64 * 0.2)
    assert between_rows == pytest.approx(between_columns, rel=0.03)
    assert 0 <= pixels.min() <= pixels.max() <= 1
