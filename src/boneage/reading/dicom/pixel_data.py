"""Bytes of the one frame of a DICOM object, and the header of its codestream."""

from __future__ import annotations

import logging
import struct
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from boneage.reading.dicom.bounds import BYTES, bounded_value
from boneage.reading.dicom.layout import Layout
from boneage.reading.dicom.uids import EXPLICIT_BIG, JPEG, JPEG_2000, JPEG_LS, NATIVE
from boneage.reading.facts import ReadLimits
from boneage.reading.headers.codestream import CodestreamHeader
from boneage.reading.headers.jpeg import read_jpeg_codestream
from boneage.reading.headers.jpeg2000 import read_jpeg2000_codestream
from boneage.reading.rejections import damaged

if TYPE_CHECKING:
    from pydicom import Dataset
logger = logging.getLogger(__name__)

_ITEM = b"\xfe\xff\x00\xe0"
_MOST_FRAGMENTS = 65_536


def pixel_bytes(dataset: Dataset, layout: Layout) -> bytes:
    """Return the stored pixels of the one frame: raw, or one codestream with its fragments joined (PS3.5, A.4).

    Raises:
        Rejection: ``unreadable``.
    """
    content, vr = bounded_value(dataset, "PixelData", BYTES, longest=sys.maxsize) or (None, "")
    if not isinstance(content, bytes):
        raise damaged("the DICOM object's pixels are not bytes")
    if layout.syntax in NATIVE:
        if layout.syntax == EXPLICIT_BIG and layout.bits_allocated == 8 and vr == "OW":
            return np.frombuffer(content[: len(content) // 2 * 2], ">u2").astype("<u2").tobytes()
        return content
    return _joined_fragments(content)


def _joined_fragments(content: bytes) -> bytes:
    """Join the fragments of one codestream (PS3.5, A.4). The first item is the offset table.

    A last fragment that is shorter than declared is taken as it is. The decoder finds out whether the codestream is
    whole.
    """
    fragments: list[bytes] = []
    position = 0
    while position + 8 <= len(content) and content[position : position + 4] == _ITEM:
        if len(fragments) == _MOST_FRAGMENTS:
            raise damaged("the DICOM object's compressed pixels are cut into too many pieces")
        (length,) = struct.unpack_from("<I", content, position + 4)
        fragments.append(content[position + 8 : position + 8 + length])
        position += 8 + length
    if len(fragments) < 2:
        raise damaged("the DICOM object's compressed pixels are cut off")
    return b"".join(fragments[1:])


def read_codestream(content: bytes, layout: Layout) -> CodestreamHeader | None:
    """Return the header of the codestream, or None for native and run-length coded pixels.

    Raises:
        Rejection: ``unreadable``, or ``too_large`` for too many scans.
    """
    if layout.syntax in JPEG_2000:
        return read_jpeg2000_codestream(without_boxes(content))
    if layout.syntax not in JPEG | JPEG_LS:
        return None
    header = read_jpeg_codestream(content)
    if (header.process == 0xF7) != (layout.syntax in JPEG_LS):
        raise damaged("the compressed pixels are not of the kind that the DICOM header names")
    return header


def with_codestream_size(
    layout: Layout, codestream: CodestreamHeader | None, limits: ReadLimits
) -> tuple[Layout, bool]:
    """Return the layout with the size of the codestream, and whether that contradicts the header.

    The two may differ only by height and width being exchanged.

    Raises:
        Rejection: ``unreadable`` if they differ in another way, ``too_large`` or ``too_small``.
    """
    if codestream is None:
        return layout, False
    height, width = codestream.height, codestream.width
    limits.check_size(height, width, codestream.components * (1 if codestream.bits <= 8 else 2))
    differs = (height, width) != (layout.rows, layout.columns)
    if codestream.components != layout.samples or (differs and (width, height) != (layout.rows, layout.columns)):
        raise damaged("the DICOM header and its compressed pixels differ in size")
    if codestream.bits > layout.bits_allocated:
        raise damaged("the DICOM header and its compressed pixels differ in depth")
    if differs:
        logger.warning("Rows and Columns are those of the compressed pixels the other way round: theirs are used")
    return replace(layout, rows=height, columns=width), differs


def without_boxes(content: bytes) -> bytes:
    """Return a JPEG 2000 codestream. Some writers leave the boxes of a JP2 file around it."""
    return content[max(0, content.find(b"\xff\x4f\xff\x51")) :]
