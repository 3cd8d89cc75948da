"""Orientation of an image, from its EXIF block or TIFF directory."""

from __future__ import annotations

import logging
import struct

from boneage.errors import Rejection
from boneage.reading.headers.tiff_file import TiffFile, TiffTag

logger = logging.getLogger(__name__)

ORIENTATION_TAG = 274


def exif_orientation(exif: bytes) -> int:
    """Return the orientation from an EXIF block, 1..8, or 1 (upright) if there is none.

    A damaged block is logged and not used.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    if exif[:4] not in {b"II*\0", b"MM\0*"}:
        return 1
    tiff = TiffFile.of(exif)
    try:
        return orientation_of(tiff.directory(tiff.offset(tiff.first_at)).tags)
    except (struct.error, Rejection):
        logger.warning("damaged EXIF block: its orientation is not used")
        return 1


def orientation_of(tags: dict[int, TiffTag]) -> int:
    """Return the orientation from the tags of a directory, 1..8, or 1 (upright) if it is missing or out of range."""
    tag = tags.get(ORIENTATION_TAG)
    value = tag.values[0] if tag and tag.values else 1
    return value if 1 <= value <= 8 else 1
