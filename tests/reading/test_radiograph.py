"""Reading radiographs: every format gives the same pixels, and every damaged file is rejected by name."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.errors import Rejection
from boneage.reading.headers.formats import read_image_header
from boneage.reading.headers.png import PNG_SIGNATURE
from boneage.reading.radiograph import ReadLimits, read_file, read_radiograph
from tests import damaged_files
from tests import radiograph_files as files
from tests.radiograph_files import VALID

RADIOGRAPH = files.drawn_radiograph()
GREY = files.drawn_radiograph(bits=8).astype(np.uint8)
LEVELS = RADIOGRAPH / np.float32(65535)


def code_of(data: bytes, limits: ReadLimits | None = None) -> str:
    with pytest.raises(Rejection) as caught:
        read_radiograph(data, limits or ReadLimits())
    return caught.value.code


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    return PNG_SIGNATURE + b"".join(parts)


def png_header(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    return struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)


def exif(orientation: int) -> bytes:
    return b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 274, 3, 1, orientation, 0, 0)


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """Return a PNG with one more chunk after its header."""
    return data[:33] + png((name, content))[8:] + data[33:]


# formats


@pytest.mark.parametrize("name", [name for name in VALID if name != "png colour"])
def test_read_radiograph_same_in_every_format(name: str) -> None:
    """A 16-bit PNG is the reference. Lossy files may differ a little at the letters' edges, but not over the
    radiograph.
    """
    pixels = read_radiograph(VALID[name]).pixels
    if name == "jpeg":
        pixels = np.rot90(pixels)  # its EXIF says that it lies on its side
    assert pixels.dtype == np.float32
    assert pixels.shape == RADIOGRAPH.shape
    lossy = name in {"jpeg", "jpeg colour", "jpeg progressive", "webp lossy", "dicom jpeg"}
    assert np.abs(pixels - LEVELS).max() < (0.15 if lossy else 0.01)
    assert np.abs(pixels - LEVELS).mean() < (0.01 if lossy else 0.006)


def test_read_radiograph_sound_pixels_in_every_format() -> None:
    """Pixels are contiguous, finite and in range in every format."""
    for data in VALID.values():
        radiograph = read_radiograph(data)
        assert damaged_files.is_sound(radiograph)
        assert radiograph.pixels.max() > 0.5


@pytest.mark.parametrize(("pixels", "full"), [(GREY, 255), (RADIOGRAPH, 65535)])
def test_png_full_range(pixels: NDArray[Any], full: int) -> None:
    """PNG levels are divided by the full range of their type."""
    dark = pixels // 3
    read = read_radiograph(files.coded(".png", dark))
    assert np.array_equal(read.pixels, dark / np.float32(full))
    assert read.facts.format == "png"
    assert read.facts.bits_stored == (8 if full == 255 else 16)
    assert not read.facts.inverted


def test_read_radiograph_path(tmp_path: Path) -> None:
    """A path is read like its bytes."""
    path = tmp_path / "hand of a child.png"
    path.write_bytes(VALID["png 16"])
    for source in (path, str(path)):
        assert np.array_equal(read_radiograph(source).pixels, read_radiograph(VALID["png 16"]).pixels)


def test_read_radiograph_wrong_source_type() -> None:
    """Another type of source is a mistake of the programmer."""
    with pytest.raises(TypeError):
        read_radiograph(42)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_few_bits(bits: int) -> None:
    """A PNG of few bits is not a radiograph."""
    side, per_byte = 64, 8 // bits
    row = bytes([0]) + bytes([0b00011011] * (side // per_byte))
    data = png((b"IHDR", png_header(side, side, bits)), (b"IDAT", zlib.compress(row * side)), (b"IEND", b""))
    with pytest.raises(Rejection, match=rf"only {2**bits} grey levels: it looks like a drawing") as caught:
        read_radiograph(data)
    assert caught.value.code == "not_a_radiograph"


def few_levels(count: int) -> NDArray[np.uint8]:
    """Return the drawn radiograph in this many grey levels, over the whole range."""
    steps = np.minimum(GREY.astype(int) * count // 256, count - 1)
    return np.asarray(steps * 255 // max(1, count - 1), np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize(("levels", "code"), [(1, "no_contrast"), (2, "not_a_radiograph"), (23, "not_a_radiograph")])
def test_read_radiograph_few_grey_levels(suffix: str, levels: int, code: str) -> None:
    """An image of few grey levels is not a radiograph."""
    assert code_of(files.coded(suffix, few_levels(levels), *LOSSLESS.get(suffix, ()))) == code
    assert code_of(files.coded(suffix, np.dstack([few_levels(levels)] * 3), *LOSSLESS.get(suffix, ()))) == code


LOSSLESS = {".webp": (cv2.IMWRITE_WEBP_QUALITY, 101)}


def test_read_radiograph_dithered_image() -> None:
    """A dithered image is not a radiograph."""
    noise = np.random.default_rng(0).integers(0, 256, GREY.shape)
    assert code_of(files.coded(".png", np.where(noise < GREY, 255, 0).astype(np.uint8))) == "not_a_radiograph"


def test_read_radiograph_just_enough_levels() -> None:
    """A poor radiograph with enough levels is read."""
    assert np.array_equal(read_radiograph(files.coded(".png", few_levels(24))).pixels, few_levels(24) / np.float32(255))
    dark = (GREY // 5).astype(np.uint8)  # 52 levels; the poorest of the RSNA challenge has 46
    assert np.array_equal(read_radiograph(files.coded(".png", dark)).pixels, dark / np.float32(255))


def test_grey_levels_counted_over_all_rows() -> None:
    """Levels are counted over the whole radiograph."""
    radiograph = np.zeros((1000, 700), np.uint8)
    radiograph[900:960, 100:190] = GREY[:60]
    assert read_radiograph(files.coded(".png", radiograph)).pixels.max() > 0.5


@pytest.mark.parametrize("shape", [(100, 301), (301, 100), (64, 5000)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_read_radiograph_strip(shape: tuple[int, int], suffix: str) -> None:
    """A strip is not a radiograph."""
    assert code_of(files.coded(suffix, cv2.resize(GREY, shape[::-1]))) == "not_a_radiograph"
    assert code_of(files.dicom_file(files.dicom_dataset(cv2.resize(GREY, shape[::-1]), 8))) == "not_a_radiograph"


def test_read_radiograph_long_image() -> None:
    """A long radiograph is read."""
    assert read_radiograph(files.coded(".png", cv2.resize(GREY, (100, 300)))).pixels.shape == (300, 100)


def test_png_grey_palette() -> None:
    """A palette PNG of greys gives grey levels."""
    palette = bytes(level for value in range(256) for level in (value, value, value))
    rows = b"".join(b"\0" + row.tobytes() for row in GREY)
    data = png(
        (b"IHDR", png_header(GREY.shape[1], GREY.shape[0], 8, 3)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    assert np.array_equal(read_radiograph(data).pixels, GREY / np.float32(255))


# colour and transparency


def test_read_radiograph_grey_stored_in_colour() -> None:
    """Colour that is really grey is read."""
    noisy = np.dstack([GREY] * 3).astype(int) + np.random.default_rng(0).integers(-5, 6, (*GREY.shape, 3))
    pixels = read_radiograph(files.coded(".png", np.clip(noisy, 0, 255).astype(np.uint8))).pixels
    assert np.abs(pixels - GREY / 255).max() < 6 / 255


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_read_radiograph_colour(suffix: str) -> None:
    tinted = np.dstack([GREY, GREY, np.clip(GREY.astype(int) + 60, 0, 255).astype(np.uint8)])
    assert code_of(files.coded(suffix, tinted)) == "not_grayscale"


def test_png_alpha() -> None:
    """Opaque alpha is ignored and transparent parts are black."""
    alpha = np.full_like(GREY, 255)
    opaque = read_radiograph(files.coded(".png", np.dstack([GREY, GREY, GREY, alpha]))).pixels
    assert np.array_equal(opaque, GREY / np.float32(255))
    alpha[:, :40] = 0
    half = read_radiograph(files.coded(".png", np.dstack([GREY, GREY, GREY, alpha]))).pixels
    assert half[:, :40].max() == 0
    assert np.array_equal(half[:, 40:], opaque[:, 40:])


def test_png_transparent_grey() -> None:
    """The transparent grey of a PNG is black."""
    level = int(np.median(GREY))
    data = with_chunk(files.coded(".png", GREY), b"tRNS", struct.pack(">H", level))
    pixels = read_radiograph(data).pixels
    assert pixels[level == GREY].max() == 0
    assert np.array_equal(pixels[level != GREY], (GREY / np.float32(255))[level != GREY])


# orientation and photometric interpretation

TURNED = {
    1: GREY,
    2: GREY[:, ::-1],
    3: GREY[::-1, ::-1],
    4: GREY[::-1],
    5: GREY.T,
    6: np.rot90(GREY, -1),
    7: GREY.T[::-1, ::-1],
    8: np.rot90(GREY),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_read_radiograph_orientation(orientation: int) -> None:
    """Orientation is honoured in every format."""
    expected = TURNED[orientation] / np.float32(255)
    jpeg = files.coded(".jpg", GREY)
    segment = b"Exif\0\0" + exif(orientation)
    upright = read_radiograph(jpeg).pixels
    turned = read_radiograph(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]).pixels
    assert np.array_equal(turned, {**TURNED, orientation: _turn(upright, orientation)}[orientation])
    assert np.array_equal(
        read_radiograph(with_chunk(files.coded(".png", GREY), b"eXIf", exif(orientation))).pixels, expected
    )
    assert np.array_equal(read_radiograph(tiff(GREY, orientation=orientation)).pixels, expected)
    assert np.array_equal(read_radiograph(extended_webp(GREY, exif(orientation))).pixels, expected)


def _turn(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: pixels.T[::-1, ::-1],
        8: np.rot90(pixels),
    }[orientation]


def tiff(
    pixels: NDArray[Any], *, photometric: int = 1, orientation: int = 1, more: bytes = b"", pages: int = 1
) -> bytes:
    """Return an uncompressed TIFF, header first; all pages share the pixels."""
    height, width = pixels.shape
    size = 2 + 10 * 12 + 4
    start = 8 + pages * size
    data = b"II*\0\x08\0\0\0"
    for page in range(pages):
        tags = [(256, width), (257, height), (258, 8 * pixels.itemsize), (259, 1), (262, photometric), (273, start)]
        tags += [(274, orientation), (277, 1), (278, height), (279, pixels.nbytes)]
        data += struct.pack("<H", 10) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        data += struct.pack("<I", 8 + (page + 1) * size if page + 1 < pages else 0)
    return data + pixels.tobytes() + more


def extended_webp(pixels: NDArray[Any], block: bytes, flags: int = 8) -> bytes:
    """Return a lossless WebP with an EXIF chunk."""
    image = files.coded(".webp", pixels, cv2.IMWRITE_WEBP_QUALITY, 101)
    picture: bytes = image[image.index(b"VP8L") :]
    height, width = pixels.shape
    canvas: bytes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<IBBBB", 10, flags, 0, 0, 0) + canvas + picture
    body += b"EXIF" + struct.pack("<I", len(block)) + block + bytes(len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("pixels", [GREY, RADIOGRAPH], ids=["8 bit", "16 bit"])
def test_tiff_white_is_zero(pixels: NDArray[Any]) -> None:
    """A TIFF whose white is zero is inverted."""
    full = np.iinfo(pixels.dtype).max
    read = read_radiograph(tiff(full - pixels, photometric=0))
    assert read.facts.inverted
    assert np.abs(read.pixels - pixels / np.float32(full)).max() < 1e-6


def test_opencv_log_level_restored(capfd: pytest.CaptureFixture[str]) -> None:
    """The log level of OpenCV is restored."""
    logging: Any = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    before = logging.getLogLevel()
    read_radiograph(VALID["dicom jpeg 2000"])
    code_of(VALID["dicom jpeg 2000"][:-2000])
    assert logging.getLogLevel() == before
    assert capfd.readouterr().err == ""


def test_read_radiograph_damaged_exif(caplog: pytest.LogCaptureFixture) -> None:
    """A radiograph with damaged EXIF is read."""
    data = with_chunk(files.coded(".png", GREY), b"eXIf", exif(6)[:12])
    assert read_radiograph(data).pixels.shape == GREY.shape
    assert "EXIF" in caplog.text


# rejections


def test_read_file_limits(tmp_path: Path) -> None:
    """A file is read within the limits or not at all."""
    path = tmp_path / "radiograph.png"
    path.write_bytes(b"12345")
    assert read_file(path, ReadLimits(max_bytes=5)) == b"12345"
    with pytest.raises(Rejection) as caught:
        read_file(path, ReadLimits(max_bytes=4))
    assert caught.value.code == "too_large"


def test_read_file_not_found(tmp_path: Path) -> None:
    """A path without a file is not found."""
    for path in (tmp_path / "none.png", tmp_path, Path("nul\0byte"), tmp_path / "none.png" / "deeper"):
        with pytest.raises(Rejection) as caught:
            read_radiograph(path)
        assert caught.value.code == "not_found"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_read_file_pipe(tmp_path: Path) -> None:
    """A pipe does not block the reader."""
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Rejection) as caught:
        read_radiograph(tmp_path / "pipe.png")
    assert caught.value.code == "not_found"


@pytest.mark.parametrize("data", [b"", b"\0", b"no picture", bytes(1000), PNG_SIGNATURE])
def test_read_radiograph_no_image(data: bytes) -> None:
    """A file that is no image is unreadable."""
    assert code_of(data) == "unreadable"


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0.0, 0.995))
def test_read_radiograph_cut_off(name: str, share: float) -> None:
    """A file that is cut off is rejected."""
    data = VALID[name]
    assert code_of(data[: int(share * len(data))]) in {"unreadable", "not_a_radiograph"}


def test_read_file_too_large(tmp_path: Path) -> None:
    """A large file is rejected before it is read."""
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(300 * 2**20)  # sparse
    with pytest.raises(Rejection) as caught:
        read_radiograph(path)
    assert caught.value.code == "too_large"
    assert code_of(VALID["png 8"], ReadLimits(max_bytes=1000)) == "too_large"


@pytest.mark.parametrize("name", VALID)
def test_read_radiograph_pixel_limits(name: str) -> None:
    """Limits on pixels hold in every format."""
    height, width = RADIOGRAPH.shape
    assert code_of(VALID[name], ReadLimits(max_pixels=height * width - 1)) == "too_large"
    assert code_of(VALID[name], ReadLimits(min_side=min(height, width) + 1)) == "too_small"
    read_radiograph(VALID[name], ReadLimits(max_pixels=4 * height * width, min_side=min(height, width)))


def test_read_radiograph_decompression_bomb() -> None:
    """A decompression bomb is rejected by its header."""
    bomb = png((b"IHDR", png_header(30000, 30000, 16, 6)), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b""))
    assert code_of(bomb) == "too_large"
    wide = png((b"IHDR", png_header(9000, 9000, 16, 6)), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b""))
    assert code_of(wide) == "too_large", "8 bytes a pixel count double"


def test_jpeg_claims_too_many_pixels() -> None:
    """A few bytes that claim many pixels are not decoded. libjpeg would paint the rest grey, and report an image."""
    jpeg = bytearray(files.coded(".jpg", GREY))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 9000, 9000)
    assert code_of(bytes(jpeg)) == "unreadable"


def test_png_text_bomb() -> None:
    """A text bomb in a PNG is not inflated."""
    text = b"comment\0\0" + zlib.compress(bytes(50_000_000))
    header = read_image_header(with_chunk(files.coded(".png", GREY), b"zTXt", text))
    assert header is not None
    assert header.bounded_body is not None
    assert b"zTXt" not in header.bounded_body()
    assert np.array_equal(
        read_radiograph(with_chunk(files.coded(".png", GREY), b"zTXt", text)).pixels, GREY / np.float32(255)
    )


def test_read_radiograph_several_images() -> None:
    animated_png = with_chunk(files.coded(".png", GREY), b"acTL", struct.pack(">II", 2, 0))
    assert code_of(animated_png) == "several_frames"
    assert code_of(tiff(GREY, pages=2)) == "several_frames"
    assert code_of(extended_webp(GREY, b"", flags=2)) == "several_frames"


def test_png_wrong_checksum() -> None:
    """A wrong checksum in a PNG is rejected."""
    data = bytearray(VALID["png 16"])
    data[len(data) // 2] ^= 1
    assert code_of(bytes(data)) == "unreadable"


# damage in general


@pytest.mark.filterwarnings("default")
def test_read_radiograph_damaged_files() -> None:
    """A slice of benchmarks/fuzz_radiograph.py, in this process."""
    outcomes = [damaged_files.outcome_of(data) for _, data in damaged_files.mutated_files(600, seed=2026)]
    assert [outcome for outcome in outcomes if outcome.startswith("exception")] == []
    assert outcomes.count("readable") > 60
    assert outcomes.count("unreadable") > 200


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(VALID)), st.data())
def test_read_radiograph_overwritten_bytes(name: str, data: st.DataObject) -> None:
    """Overwritten bytes cause a rejection or sound pixels."""
    content = bytearray(VALID[name])
    at = data.draw(st.integers(0, min(len(content), 2000) - 1))
    content[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    outcome = damaged_files.outcome_of(bytes(content))
    assert not outcome.startswith("exception"), outcome


# start-up


def test_reading_images_imports_no_dicom() -> None:
    """Reading an image imports no DICOM module."""
    command = "import sys, boneage.reading.radiograph as r; print('pydicom' in sys.modules, 'jpeg_ls' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
