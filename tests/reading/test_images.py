"""Images of less usual kinds: TIFF in its varieties, BMP, JPEG 2000, JPEG-LS."""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.errors import Rejection
from boneage.reading.radiograph import ReadLimits, read_radiograph
from tests import radiograph_files as files

DEEP = files.drawn_radiograph()
GREY = files.drawn_radiograph(bits=8).astype(np.uint8)
NUMBERS = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]


def rejection(data: bytes, limits: ReadLimits | None = None) -> Rejection:
    with pytest.raises(Rejection) as caught:
        read_radiograph(data, limits or ReadLimits())
    assert caught.value.message.count(". ") <= 1, "two sentences at most"
    return caught.value


def stretched(numbers: NDArray[Any]) -> NDArray[np.float64]:
    exact = numbers.astype(np.float64)
    return np.asarray((exact - exact.min()) / np.ptp(exact))


def small(pixels: NDArray[Any], share: float) -> NDArray[Any]:
    height, width = pixels.shape
    reduced: NDArray[Any] = cv2.resize(pixels, (round(width * share), round(height * share)))
    return reduced


# TIFF


@pytest.mark.parametrize("kind", NUMBERS)
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_tiff_every_sample_type(kind: str, order: str, big: bool) -> None:
    """Unsigned numbers of 8 and 16 bits are scaled by the full range of their type, all others by their own range."""
    middle = 32768 if kind.startswith("i") else 0
    numbers = DEEP.astype(np.int64) - middle
    scaled = numbers // 256 if kind.endswith("1") else numbers / 65536 if kind == "f2" else numbers
    pixels = np.asarray(scaled).astype(kind)
    expected = pixels / np.iinfo(kind).max if kind in {"u1", "u2"} else stretched(pixels)
    radiograph = read_radiograph(files.tiff(pixels, order=order, big=big))
    assert np.abs(radiograph.pixels - expected).max() < 2e-5
    assert radiograph.facts.format == "tiff"
    assert radiograph.facts.bits_stored == 8 * pixels.itemsize


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["i2", "f4", "f8", "u4"]), st.floats(-1e4, 1e4), st.floats(0.01, 1000), st.booleans())
def test_tiff_any_scale(kind: str, shift: float, scale: float, white_is_zero: bool) -> None:
    """A TIFF of any scale gives the same radiograph."""
    levels = DEEP / 65535
    numbers = np.rint(levels * 20000 - 10000) if kind == "i2" else levels * 1000 * scale + shift
    if kind == "u4":
        numbers = np.rint(levels * 1e6 * scale)
    pixels = numbers.astype(kind)
    radiograph = read_radiograph(files.tiff(pixels, more={262: 0 if white_is_zero else 1}))
    expected = stretched(pixels)
    assert np.abs(radiograph.pixels - (1 - expected if white_is_zero else expected)).max() < 2e-5
    assert radiograph.facts.inverted == white_is_zero


def test_tiff_not_a_number() -> None:
    """Pixels that are not numbers are black."""
    pixels = (DEEP / 65535).astype(np.float32)
    pixels[:3] = np.nan
    pixels[3:5] = np.inf
    radiograph = read_radiograph(files.tiff(pixels))
    assert radiograph.pixels[:5].max() == 0
    assert np.abs(radiograph.pixels[5:] - stretched(pixels[5:])).max() < 0.01
    assert rejection(files.tiff(np.full((100, 100), np.nan, np.float32))).code == "unreadable"
    assert rejection(files.tiff(np.full((100, 100), 5.0, np.float32))).code == "no_contrast"
    wide = pixels.astype(np.float64)
    wide[0, :2] = 1.7e308, -1.7e308
    assert rejection(files.tiff(wide)).code == "unreadable"


@pytest.mark.parametrize("pixels", [GREY, DEEP], ids=["8 bit", "16 bit"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", "<>")
def test_tiff_planar_colour(pixels: NDArray[Any], big: bool, order: str) -> None:
    """Colour planes that follow one another are joined."""
    full = np.iinfo(pixels.dtype).max
    data = files.tiff(np.dstack([pixels] * 3), by_plane=True, big=big, order=order)
    assert np.abs(read_radiograph(data).pixels - pixels / np.float32(full)).max() < 1e-6
    tinted = files.tiff(np.dstack([pixels, pixels, pixels // 2]), by_plane=True, big=big, order=order)
    assert rejection(tinted).code == "not_grayscale"


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("marked", [{}, {254: 1}, {255: 2}, {254: 4}])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_with_thumbnails(place: int, marked: dict[int, int], big: bool) -> None:
    """A TIFF with thumbnails is read at full size."""
    pages: list[tuple[NDArray[Any], dict[int, int]]] = [(small(DEEP, 0.5), marked), (small(DEEP, 0.25), marked)]
    pages.insert(place, (DEEP, {}))
    radiograph = read_radiograph(files.tiff_pages(pages, big=big))
    assert np.array_equal(radiograph.pixels, DEEP / np.float32(65535))


@pytest.mark.parametrize(
    "other",
    [DEEP, small(DEEP, 0.9), small(DEEP, 0.5)[:, ::2], small(DEEP, 0.5)[:40]],
    ids=["equal", "90 %", "narrow", "cut"],
)
def test_tiff_several_images(other: NDArray[Any]) -> None:
    both: list[tuple[NDArray[Any], dict[int, int]]] = [(DEEP, {}), (other, {})]
    for pages in (both, both[::-1]):
        assert rejection(files.tiff_pages(pages)).code == "several_frames"


@pytest.mark.parametrize(
    ("pixels", "more"),
    [
        (DEEP, {259: 34712}),
        (DEEP, {262: 8}),
        (DEEP, {339: 6}),
        (np.dstack([DEEP] * 3).astype(np.float32), {}),
        (np.dstack([DEEP] * 4), {}),
    ],
    ids=["compression", "colour", "complex", "float colour", "four"],
)
def test_tiff_rare_kind(pixels: NDArray[Any], more: dict[int, int]) -> None:
    assert rejection(files.tiff(pixels, more=more, by_plane=pixels.ndim == 3)).code == "unreadable"


@pytest.mark.parametrize("big", [False, True])
def test_tiff_impossible_numbers(big: bool) -> None:
    data = bytearray(files.tiff(DEEP, big=big))
    for at in (4, 8, *range(len(data) - 260, len(data) - 4)):
        changed = data.copy()
        changed[at : at + 8] = b"\xff" * min(8, len(data) - at)
        try:
            read_radiograph(bytes(changed))
        except Rejection as rejection:
            assert rejection.code


# BMP


@pytest.mark.parametrize("bits", [8, 24, 32])
@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("width", [87, 88, 89, 90])
def test_bmp_every_depth(bits: int, top_down: bool, width: int) -> None:
    grey = np.ascontiguousarray(GREY[:, :width])
    radiograph = read_radiograph(files.bmp(grey, bits=bits, top_down=top_down))
    assert np.array_equal(radiograph.pixels, grey / np.float32(255))
    assert (radiograph.facts.format, radiograph.facts.bits_stored) == ("bmp", 8)


@pytest.mark.parametrize("bits", [8, 24])
def test_bmp_oldest_header(bits: int) -> None:
    assert np.array_equal(read_radiograph(files.bmp(GREY, bits=bits, core=True)).pixels, GREY / np.float32(255))


def test_bmp_cut_off_or_rare_kind() -> None:
    data = files.bmp(GREY)
    assert rejection(data[:-1]).code == "unreadable"
    for compression in (1, 2, 4, 5):
        packed = data[:30] + struct.pack("<I", compression) + data[34:]
        assert rejection(packed).code == "unsupported_format"
    wide = data[:18] + struct.pack("<ii", 2**31 - 1, -(2**31)) + data[26:]
    assert rejection(wide).code == "unreadable"
    assert rejection(data[:18] + struct.pack("<ii", 0, 110) + data[26:]).code == "unreadable"


def test_bmp_in_colour() -> None:
    data = files.bmp(GREY)
    green = bytearray(data)
    green[54 + 1 : 54 + 1024 : 4] = bytes(256)
    assert rejection(bytes(green)).code == "not_grayscale"


# JPEG 2000 and JPEG-LS


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("boxed", [False, True])
@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_2000_every_depth(bits: int, boxed: bool, colour: bool) -> None:
    levels = files.drawn_radiograph(bits=bits)
    pixels = levels.astype(np.uint8) if bits == 8 else levels
    stored = np.dstack([pixels] * 3) if colour else pixels
    data = files.coded(".jp2", stored, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    radiograph = read_radiograph(data if boxed else data[data.index(b"\xff\x4f\xff\x51") :])
    assert np.abs(radiograph.pixels - levels / (2**bits - 1)).max() < (0.01 if colour else 1e-6)
    assert (radiograph.facts.format, radiograph.facts.bits_stored) == ("jpeg2000", bits)


def test_jpeg_2000_without_end_marker() -> None:
    """JPEG 2000 may lack its end marker, but nothing else."""
    data = files.coded(".jp2", DEEP, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    assert np.array_equal(read_radiograph(data[:-2]).pixels, read_radiograph(data).pixels)
    for missing in (3, 4, 50, 1000):
        assert rejection(data[:-missing]).code == "unreadable"


def test_jpeg_2000_with_palette() -> None:
    """The rejection names JPEG 2000 with a palette."""
    data = files.coded(".jp2", DEEP, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    at = data.index(b"jp2h") + 4
    length = struct.unpack_from(">I", data, at - 8)[0]
    box = struct.pack(">I4sHBB", 12, b"pclr", 1, 1, 7)
    palette = data[: at - 8] + struct.pack(">I", length + len(box)) + b"jp2h" + box + data[at:]
    assert rejection(palette).code == "unsupported_format"


def test_jpeg_ls_and_lossless_jpeg() -> None:
    twelve = files.drawn_radiograph(bits=12)
    for data in (files.jpeg_ls(twelve, 12), files.jpeg_lossless(twelve, 12)):
        assert np.abs(read_radiograph(data).pixels - twelve / 4095).max() < 1e-6
    eight = files.jpeg_lossless(GREY.astype(np.uint16), 8)
    assert np.array_equal(read_radiograph(eight).pixels, GREY / np.float32(255))


@pytest.mark.parametrize("data", [files.bmp(GREY), files.tiff(DEEP, big=True), files.coded(".jp2", DEEP)])
def test_read_limits_hold(data: bytes) -> None:
    assert rejection(data, ReadLimits(max_pixels=DEEP.size - 1)).code == "too_large"
    assert rejection(data, ReadLimits(min_side=91)).code == "too_small"
