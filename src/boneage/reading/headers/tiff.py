"""Headers of TIFF 6.0 and BigTIFF files."""

from __future__ import annotations

import struct
from collections import Counter
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boneage.reading.headers.exif import ORIENTATION_TAG, orientation_of
from boneage.reading.headers.header import ImageHeader, Patch, patched
from boneage.reading.headers.jpeg import check_scans
from boneage.reading.headers.tiff_file import TiffDirectory, TiffFile
from boneage.reading.rejections import damaged, several_frames, unsupported

_MOST_PAGES = 16
_JPEG = 7
_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
_BITS = {"unsigned": {1, 4, 8, 16, 32}, "signed": {8, 16, 32}, "float": {16, 32, 64}}
_RAW_PHOTOGRAPH = (32803, 34892)
"""Photometric interpretations of a camera's sensor."""
_DNG_VERSION = 50706
_THUMBNAIL_SIDE = 0.75
"""Largest side of a thumbnail, relative to the full image, if the file does not declare it a reduced copy."""
_SAME_SHAPE = 0.02
"""Largest relative difference between the shape of a thumbnail and that of the full image."""


def read_tiff(data: bytes) -> ImageHeader:
    """Read the header of a TIFF file.

    Raises:
        Rejection: ``unreadable``, ``unsupported_format``, ``several_frames``, or ``too_large`` for too many JPEG scans.
    """
    if data[8:10] == b"CR":
        raise unsupported("a raw photograph", "Develop it to TIFF, PNG or JPEG; the original DICOM file is better.")
    tiff = TiffFile.of(data)
    pages = _read_pages(tiff)
    page = _full_page(pages)
    height, width = page.size
    samples, photometric = page.value(277, 1), page.value(262)
    bits = page.tags[258].values if 258 in page.tags else (1,)
    _check_kind(page, bits, samples)
    _check_parts(tiff, page)
    patches = _patches(tiff, page, alone=len(pages) == 1)
    decoded = (1 if photometric in {0, 1} and samples == 1 else 4) * max(1, bits[0] // 8)
    return ImageHeader(
        "tiff",
        height,
        width,
        bits[0],
        decoded,
        patched(data, patches),
        orientation=orientation_of(page.tags),
        white_is_zero=photometric == 0,
        sample_type=_sample_type(page),
        planes=_planes(tiff, page) if page.value(284, 1) == 2 and samples == 3 else (),
    )


def _read_pages(tiff: TiffFile) -> list[TiffDirectory]:
    """Return all pages. If the first page is a reduced copy, they include those that it points to (SubIFDs)."""
    pages: list[TiffDirectory] = []
    following = tiff.offset(tiff.first_at)
    while following:
        if len(pages) == _MOST_PAGES:
            raise several_frames("a TIFF with many pages")
        pages.append(tiff.directory(following))
        following = pages[-1].following
    if not pages:
        raise damaged("the TIFF holds no picture")
    below = pages[0].tags.get(330)
    if pages[0].reduced and below is not None:
        pages.extend(tiff.directory(at) for at in below.values)
    return pages


def _full_page(pages: list[TiffDirectory]) -> TiffDirectory:
    """Return the one image of which all other pages are reduced copies."""
    if any(page.value(262, 1) in _RAW_PHOTOGRAPH or _DNG_VERSION in page.tags for page in pages):
        raise unsupported("a raw photograph", "Develop it to TIFF, PNG or JPEG; the original DICOM file is better.")
    full = [page for page in pages if not page.reduced] or pages
    largest = max(full, key=lambda page: page.size[0] * page.size[1])
    if any(page is not largest and not _is_thumbnail(page.size, largest.size) for page in full):
        raise several_frames("a TIFF with several pages")
    return largest


def _is_thumbnail(size: tuple[int, int], full: tuple[int, int]) -> bool:
    height, width = size
    expected = height * full[1] / max(1, full[0])
    same_shape = abs(width - expected) <= max(1.5, _SAME_SHAPE * expected)
    return same_shape and height <= _THUMBNAIL_SIDE * full[0]


def _check_kind(page: TiffDirectory, bits: tuple[int, ...], samples: int) -> None:
    if page.value(259, 1) not in _COMPRESSIONS:
        raise damaged("the TIFF is compressed in a way that is not supported", "Save it without compression.")
    if not (1 <= samples <= 4) or len(set(bits)) != 1 or bits[0] not in _BITS[_sample_type(page)]:
        raise damaged("the TIFF has a rare kind of pixels", "Save it with 8 or 16 bits.")
    if samples > 1 and (bits[0] > 16 or _sample_type(page) != "unsigned"):
        raise damaged("the TIFF is in colour of a rare kind", "Save it in shades of grey.")
    if page.value(262) not in {0, 1, 2, 3, 5, 6}:
        raise damaged("the TIFF has a rare kind of colours", "Save it in shades of grey.")
    if page.value(284, 1) == 2 and samples > 1 and (samples, page.value(262)) != (3, 2):
        raise damaged("the TIFF has a rare kind of colours", "Save it in shades of grey.")


def _sample_type(page: TiffDirectory) -> Literal["unsigned", "signed", "float"]:
    """Return the type of a sample (Sample Format). An undefined type is read as unsigned, as it always was."""
    kind = page.value(339, 1)
    if kind not in {1, 2, 3, 4}:
        raise damaged("the TIFF has a rare kind of pixels", "Save it with 8 or 16 bits.")
    return "signed" if kind == 2 else "float" if kind == 3 else "unsigned"


def _check_parts(tiff: TiffFile, page: TiffDirectory) -> None:
    """Check the tiles or strips of a page.

    Tiles far larger than the image would be allocated whole. Strips beyond the end of the file would come out black.
    """
    offsets, counts = (tiff.array(page.tags.get(tag)) for tag in _part_tags(page))
    if len(offsets) != len(counts) or (len(offsets) and (offsets + counts).max() > len(tiff.data)):
        raise damaged("the TIFF is cut off")
    height, width = page.size
    part_pixels = width * min(height, page.value(278, height))
    if 322 in page.tags or 323 in page.tags:
        tile_width, tile_height = page.value(322), page.value(323)
        if not (0 < tile_width <= width + 1024 and 0 < tile_height <= height + 1024):
            raise damaged("the TIFF has tiles of an impossible size")
        part_pixels = tile_width * tile_height
    if page.value(259, 1) == _JPEG:
        check_scans(_count_scans(tiff.data, offsets, counts), part_pixels)


def _count_scans(data: bytes, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    """Return the number of scans of all JPEG parts together.

    Parts may be identical, but they overlap only in a file made with ill will.
    """
    parts = Counter(zip(offsets.tolist(), counts.tolist(), strict=True))
    if sum(count for _, count in parts) > 2 * len(data):
        raise damaged("the parts of the TIFF overlap")
    return sum(data.count(b"\xff\xda", offset, offset + count) * uses for (offset, count), uses in parts.items())


def _part_tags(page: TiffDirectory) -> tuple[int, int]:
    """Return the tags for the offsets and for the byte counts of the parts, which are tiles or strips."""
    return (324, 325) if 324 in page.tags else (273, 279)


def _patches(tiff: TiffFile, page: TiffDirectory, *, alone: bool) -> tuple[Patch, ...]:
    """Return the patches that make the decoder treat all TIFF files alike.

    OpenCV applies orientation and white-is-zero for some TIFF files and not for others. It reads the first page, and
    knows no number below 32 bits that is signed (in older versions) or has a fraction.
    """
    patches = tiff.new_value(page.tags.get(ORIENTATION_TAG), 1)
    if page.value(262) == 0:
        patches += tiff.new_value(page.tags[262], 1)
    if page.tags[258].values[0] <= 16 if 258 in page.tags else False:
        patches += tiff.new_value(page.tags.get(339), 1)
    if not alone:
        letter = tiff.order + tiff.offset_letter
        patches += ((tiff.first_at, struct.pack(letter, page.at)), (page.next_at, struct.pack(letter, 0)))
    return patches


def _planes(tiff: TiffFile, page: TiffDirectory) -> tuple[tuple[Patch, ...], ...]:
    """Return the patches that turn each colour plane of a planar TIFF into a grey image of its own."""
    parts = [page.tags[tag] for tag in _part_tags(page)]
    if any(tag.count % 3 for tag in parts):
        raise damaged("the TIFF lacks a part")
    grey = tiff.new_value(page.tags[277], 1) + tiff.new_value(page.tags[262], 1) + tiff.new_value(page.tags[284], 1)
    return tuple((*grey, *(patch for tag in parts for patch in tiff.third(tag, which))) for which in range(3))
