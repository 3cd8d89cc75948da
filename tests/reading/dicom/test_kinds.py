"""DICOM files against the standard or at its edges, as they occur: read where that is safe, else named."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from boneage.checks.radiograph import file_warnings
from boneage.clinical.ages import age_in_file
from boneage.errors import Rejection
from boneage.reading.radiograph import Radiograph, read_radiograph
from boneage.sex import Sex
from boneage.warnings_ import WarningCode
from tests import radiograph_files as files

TWELVE: NDArray[np.uint16] = files.drawn_radiograph(bits=12)
GREY = files.drawn_radiograph(bits=8).astype(np.uint8)
DEEP = files.drawn_radiograph(bits=16)
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
JPEG = "1.2.840.10008.1.2.4."
BIG_ENDIAN = "1.2.840.10008.1.2.2"


def read(pixels: NDArray[Any] = TWELVE, bits: int = 12, **elements: Any) -> Radiograph:
    return read_radiograph(files.dicom_file(files.dicom_dataset(pixels, bits, **elements)))


def rejection(source: Any) -> Rejection:
    with pytest.raises(Rejection) as caught:
        read_radiograph(source)
    assert caught.value.message.count(". ") <= 1, "two sentences at most"
    return caught.value


def warned(radiograph: Radiograph) -> set[WarningCode]:
    return {warning.code for warning in file_warnings(radiograph.facts, Sex.FEMALE, None)}


def is_radiograph(radiograph: Radiograph, levels: NDArray[Any], tolerance: float = 1e-6) -> bool:
    return bool(np.allclose(radiograph.pixels, levels, atol=tolerance))


# frames and classes


@pytest.mark.parametrize("frames", [0, -1, None, 1])
def test_number_of_frames_below_two(frames: int | None) -> None:
    assert is_radiograph(read(NumberOfFrames=frames), TWELVE / 4095)


def test_undeclared_frames() -> None:
    """Undeclared frames are counted by the length of the pixels."""
    dataset = files.dicom_dataset(TWELVE, 12)
    dataset.PixelData = TWELVE.tobytes() * 3
    assert rejection(files.dicom_file(dataset)).code == "several_frames"


@pytest.mark.parametrize("sop_class", ["1.2.392.200036.9125.1.1.2", "1.3.12.2.1107.5.9.1", "1.2.840.113619.4.2"])
@pytest.mark.parametrize("modality", ["CR", "DX", "RG", "RF"])
def test_private_class_projection_modality(sop_class: str, modality: str) -> None:
    """A private class of a projection modality is read."""
    assert is_radiograph(read(SOPClassUID=sop_class, Modality=modality), TWELVE / 4095)


@pytest.mark.parametrize("modality", ["", "OT", "MR", "SR"])
def test_private_class_other_modality(modality: str) -> None:
    """An object of another private class is not a radiograph."""
    dataset = files.dicom_dataset(TWELVE, 12, SOPClassUID="1.3.12.2.1107.5.9.1", Modality=modality)
    assert rejection(files.dicom_file(dataset)).code == "not_a_radiograph"


def test_fluoroscope_radiograph() -> None:
    """A radiograph of a fluoroscope is read."""
    assert is_radiograph(read(SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1", Modality="RF"), TWELVE / 4095)


def test_other_class_named() -> None:
    """An object of another class is named."""
    dataset = files.dicom_dataset(TWELVE, 12, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", Modality="DOC")
    assert "Encapsulated PDF" in rejection(files.dicom_file(dataset)).message


def test_dicomdir_named() -> None:
    directory = Dataset()
    directory.FileSetID = "CD"
    directory.DirectoryRecordSequence = Sequence([])
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
    directory.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    directory.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1")
    error = rejection(files.dicom_file(directory))
    assert error.code == "not_a_radiograph"
    assert "DICOMDIR" in error.message and "files that it lists" in error.message


# numbers and ages


@pytest.mark.parametrize(("centre", "width"), [("511,5", "1024,0"), ("+511,5", " 1024,0 "), ("5,115E2", "1024")])
def test_decimal_comma_in_window(centre: str, width: str) -> None:
    """A decimal comma counts as a point."""
    data = files.dicom_file(files.dicom_dataset(TWELVE, 12, WindowCenter="1111111", WindowWidth="22222222"))
    data = data.replace(b"1111111 ", centre.ljust(8).encode()).replace(b"22222222", width.ljust(8).encode())
    expected = read(WindowCenter=511.5, WindowWidth=1024).pixels
    assert is_radiograph(read_radiograph(data), expected)


def test_decimal_comma_in_spacing() -> None:
    data = files.dicom_file(files.dicom_dataset(TWELVE, 12)).replace(b"0.15\\0.15", b"0,15\\0,15")
    assert read_radiograph(data).facts.spacing_mm == (0.15, 0.15)


@pytest.mark.filterwarnings("ignore:Invalid value for VR AS")
@pytest.mark.parametrize(("stated", "months"), [("10Y", 120), (" 010Y", 120), ("10 Y", 120), ("120M", 120)])
def test_age_of_a_file(stated: str, months: float) -> None:
    data = files.dicom_file(files.dicom_dataset(TWELVE, 12, PatientAge="999999"))
    facts = read_radiograph(data.replace(b"999999", stated.ljust(6).encode())).facts
    age = age_in_file(facts.patient_age, facts.birth_date, facts.study_date).age
    assert age is not None
    assert age.lower_months == months


# declarations


@pytest.mark.parametrize(
    ("elements", "side", "both"),
    [
        ({"ImageLaterality": "B"}, None, True),
        ({"ImageLaterality": "", "Laterality": "b"}, None, True),
        ({"ImageLaterality": "BILATERAL"}, None, True),
        ({"ImageLaterality": "", "Laterality": ["L", "R"]}, None, True),
        ({"ImageLaterality": "L", "Laterality": "B"}, "L", False),
        ({"ImageLaterality": "R"}, "R", False),
        ({"ImageLaterality": "U"}, None, False),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_both_sides_declared(elements: dict[str, Any], side: str | None, both: bool) -> None:
    radiograph = read(**elements)
    assert (radiograph.facts.side, radiograph.facts.both_sides) == (side, both)
    assert (WarningCode.BOTH_HANDS_DECLARED in warned(radiograph)) == both


@pytest.mark.parametrize(
    ("species", "warns"),
    [
        ("CANINE", True),
        ("Felis catus", True),
        ("Homo sapiens", False),
        ("human", False),
        ("", False),
        ("Unknown", False),
    ],
)
def test_other_species_warning(species: str, warns: bool) -> None:
    """Another species causes a warning."""
    assert (WarningCode.NOT_HUMAN_DECLARED in warned(read(PatientSpeciesDescription=species))) == warns


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(("annotation", "warns"), [("YES", True), ("yes", True), ("NO", False), ("", False)])
def test_burned_in_annotation_warning(annotation: str, warns: bool) -> None:
    """Burned In Annotation causes a warning."""
    assert (WarningCode.BURNED_IN_ANNOTATION in warned(read(BurnedInAnnotation=annotation))) == warns


# the bits of a pixel


@settings(max_examples=30, deadline=None)
@given(st.integers(9, 16), st.integers(1, 4), st.booleans(), st.integers(0, 20))
def test_bits_beyond_stored_carry_image(bits: int, fewer: int, signed: bool, noise: int) -> None:
    """Bits Stored is too small, with or without a sign: the values do not wrap."""
    stored = max(8, bits - fewer)
    levels = (DEEP >> np.uint16(16 - bits)).astype(np.int64)
    levels += np.random.default_rng(noise).integers(0, 1 + noise * 2 ** max(0, bits - 12) // 4, levels.shape)
    levels = np.clip(levels, 0, 2**bits - 1)
    pixels = (levels - 2 ** (bits - 1)).astype(np.int16) if signed else levels.astype(np.uint16)
    radiograph = read(pixels, stored)
    assert is_radiograph(radiograph, (levels - levels.min()) / np.ptp(levels))
    assert radiograph.facts.bits_differ == (stored < bits)
    assert (WarningCode.PIXEL_BITS_DIFFER in warned(radiograph)) == (stored < bits)


@settings(max_examples=40, deadline=None)
@given(st.integers(12, 15), st.integers(0, 200), st.integers(0, 60), st.booleans())
def test_bits_beyond_stored_carry_overlay(bit: int, noise: int, size: int, drawn: bool) -> None:
    """An overlay in the bits beyond those stored is removed."""
    rng = np.random.default_rng(size)
    levels = np.clip(TWELVE + rng.integers(0, 1 + noise, TWELVE.shape), 0, 4095).astype(np.uint16)
    overlay = np.zeros(levels.shape, np.uint8)
    if drawn:
        cv2.putText(overlay, "L 12", (5, 60), cv2.FONT_HERSHEY_SIMPLEX, 0.5 + size / 60, 1, 2)
    else:
        overlay[20 : 20 + size, 10:70] = 1
    radiograph = read(levels | (overlay.astype(np.uint16) << np.uint16(bit)))
    assert is_radiograph(radiograph, (levels - levels.min()) / np.ptp(levels))
    assert not warned(radiograph)


# number of pixels


def test_excess_padding(caplog: pytest.LogCaptureFixture) -> None:
    """Excess padding is not used."""
    for excess in (bytes(90 * 40 * 2), b"\x0f\xff" * 90 * 30):
        dataset = files.dicom_dataset(TWELVE, 12)
        dataset.PixelData = TWELVE.tobytes() + excess
        radiograph = read_radiograph(files.dicom_file(dataset))
        assert is_radiograph(radiograph, TWELVE / 4095)
        assert not warned(radiograph)
        assert "bytes more than its pixels need" in caplog.text


def test_excess_pixels_warning() -> None:
    """Excess pixels cause a warning."""
    assert warned(read(Rows=80)) == {WarningCode.PIXEL_SIZE_DIFFERS}


CODED: dict[str, tuple[NDArray[Any], int, Callable[[], bytes], float]] = {
    "50": (GREY, 8, lambda: files.coded(".jpg", GREY, cv2.IMWRITE_JPEG_QUALITY, 95), 0.06),
    "51": (TWELVE, 12, lambda: files.jpeg_12_bit(TWELVE, 1), 0.01),
    "57": (TWELVE, 12, lambda: files.jpeg_lossless(TWELVE, 12, 4), 1e-6),
    "70": (TWELVE, 12, lambda: files.jpeg_lossless(TWELVE, 12), 1e-6),
    "80": (TWELVE, 12, lambda: files.jpeg_ls(TWELVE, 12), 1e-6),
    "90": (TWELVE, 12, lambda: files.jpeg_2000(TWELVE), 1e-6),
}
"""Pixels, their bits, the codestream, and how far it is off, by the last part of the transfer syntax."""


@pytest.mark.parametrize("syntax", CODED)
def test_rows_and_columns_exchanged(syntax: str) -> None:
    """Rows and columns that are exchanged are corrected."""
    pixels, bits, encode, tolerance = CODED[syntax]
    dataset = files.dicom_dataset(pixels.T, bits)
    radiograph = read_radiograph(files.dicom_file(dataset, JPEG + syntax, encode()))
    assert is_radiograph(radiograph, pixels / (2**bits - 1), tolerance)
    assert warned(radiograph) == {WarningCode.PIXEL_SIZE_DIFFERS}


# missing ends


@pytest.mark.parametrize("syntax", CODED)
@pytest.mark.parametrize("tail", [b"", b"\0", b"\0\0", b"\xff"], ids=["", "padded", "padded twice", "half"])
def test_codestream_without_end_marker(syntax: str, tail: bytes, caplog: pytest.LogCaptureFixture) -> None:
    pixels, bits, encode, _ = CODED[syntax]
    whole = encode()
    assert whole.endswith(b"\xff\xd9")
    if syntax in {"80", "90"} and tail == b"\xff":
        tail = b""  # there FF is a byte of the picture
    expected = read_radiograph(files.dicom_file(files.dicom_dataset(pixels, bits), JPEG + syntax, whole)).pixels
    data = files.dicom_file(files.dicom_dataset(pixels, bits), JPEG + syntax, whole[:-2] + tail)
    assert is_radiograph(read_radiograph(data), expected)
    assert "no end marker" in caplog.text


@pytest.mark.parametrize("syntax", CODED)
@settings(max_examples=8, deadline=None)
@given(st.integers(2, 200))
def test_codestream_cut_off(syntax: str, missing: int) -> None:
    """The length is even: the byte 0 that would make it so may stand for the end of the last block."""
    pixels, bits, encode, _ = CODED[syntax]
    whole = encode()
    cut = whole[: len(whole) // 2 * 2 - 2 * missing]
    error = rejection(files.dicom_file(files.dicom_dataset(pixels, bits), JPEG + syntax, cut))
    assert error.code == "unreadable"


def jpeg(*options: int, colour: bool = False) -> bytes:
    return files.coded(".jpg", np.dstack([GREY] * 3) if colour else GREY, cv2.IMWRITE_JPEG_QUALITY, 90, *options)


RESTART, PROGRESSIVE = (cv2.IMWRITE_JPEG_RST_INTERVAL, 6), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


@pytest.mark.parametrize("options", [(), RESTART, PROGRESSIVE, RESTART + PROGRESSIVE])
@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_file_without_end_marker(options: tuple[int, ...], colour: bool) -> None:
    whole = jpeg(*options, colour=colour)
    assert np.array_equal(read_radiograph(whole[:-2]).pixels, read_radiograph(whole).pixels)
    for missing in (3, 4, 10, 50, 333, 1000):
        assert rejection(whole[:-missing]).code == "unreadable"


@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_cut_off_between_restarts(colour: bool) -> None:
    """A JPEG that is cut off between restarts is rejected."""
    whole = jpeg(*RESTART, colour=colour)
    restarts = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", whole)]
    assert len(restarts) > 5
    for at in restarts[-9:]:
        assert rejection(whole[:at]).code == "unreadable"
        assert rejection(whole[: at + 2]).code == "unreadable"


@pytest.mark.parametrize("syntax", CODED)
def test_compressed_pixels_without_sequence_delimiter(syntax: str, caplog: pytest.LogCaptureFixture) -> None:
    pixels, bits, encode, _ = CODED[syntax]
    data = files.dicom_file(files.dicom_dataset(pixels, bits), JPEG + syntax, encode())
    delimiter = b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert data.endswith(delimiter)
    assert is_radiograph(read_radiograph(data[: -len(delimiter)]), read_radiograph(data).pixels)
    assert "has no end" in caplog.text
    assert rejection(data[: -len(delimiter) - 40]).code == "unreadable"


# colour


def test_ybr_422_not_subsampled() -> None:
    neutral = np.full_like(GREY, 128)
    stored = np.dstack([GREY, neutral, neutral])
    elements: dict[str, Any] = {"photometric": "YBR_FULL_422", "SamplesPerPixel": 3}
    for planar in (0, 1):
        dataset = files.dicom_dataset(stored, 8, PlanarConfiguration=planar, **elements)
        if planar:
            dataset.PixelData = np.ascontiguousarray(stored.transpose(2, 0, 1)).tobytes()
        assert is_radiograph(read_radiograph(files.dicom_file(dataset)), GREY / 255)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("tinted", [False, True])
def test_lossless_jpeg_colour(interleaved: bool, photometric: str, tinted: bool) -> None:
    planes = [GREY] * 3 if photometric == "RGB" else [GREY, np.full_like(GREY, 128), np.full_like(GREY, 128)]
    if tinted:
        planes[2] = planes[2] // 2
    stream = files.jpeg_lossless_colour(np.stack(planes).astype(np.uint16), 8, interleaved=interleaved)
    dataset = files.dicom_dataset(np.dstack(planes), 8, photometric=photometric, SamplesPerPixel=3)
    data = files.dicom_file(dataset, JPEG + "70", stream)
    if tinted:
        assert rejection(data).code == "not_grayscale"
    else:
        assert is_radiograph(read_radiograph(data), GREY / 255)


def test_lossless_jpeg_colour_lacks_scan() -> None:
    """Lossless JPEG in colour that lacks a scan is cut off."""
    stream = files.jpeg_lossless_colour(np.stack([GREY] * 3).astype(np.uint16), 8, interleaved=False)
    last = stream.rindex(b"\xff\xda")
    dataset = files.dicom_dataset(np.dstack([GREY] * 3), 8, photometric="RGB", SamplesPerPixel=3)
    assert rejection(files.dicom_file(dataset, JPEG + "70", stream[:last] + b"\xff\xd9")).code == "unreadable"


# byte order


@pytest.mark.parametrize("words", [True, False])
def test_big_endian_without_meta_group(words: bool) -> None:
    pixels = TWELVE.astype(">u2") if words else GREY
    dataset = files.dicom_dataset(TWELVE if words else GREY, 12 if words else 8)
    dataset.PixelData = pixels.tobytes()
    del dataset.file_meta
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=False, enforce_file_format=False)
    assert buffer.getvalue().startswith(b"\0\x08")
    assert is_radiograph(read_radiograph(buffer.getvalue()), TWELVE / 4095 if words else GREY / 255)
