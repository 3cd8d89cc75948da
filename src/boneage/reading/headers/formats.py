"""Recognition of an image format by its first bytes."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from boneage.reading.headers.bmp import read_bmp
from boneage.reading.headers.header import ImageHeader
from boneage.reading.headers.jpeg import read_jpeg
from boneage.reading.headers.jpeg2000 import JP2_SIGNATURE, read_jpeg2000
from boneage.reading.headers.png import PNG_SIGNATURE, read_png
from boneage.reading.headers.tiff import read_tiff
from boneage.reading.headers.webp import read_webp
from boneage.reading.rejections import damaged

_PARSERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], ImageHeader]], ...] = (
    (re.compile(re.escape(PNG_SIGNATURE)), read_png),
    (re.compile(rb"\xff\xd8\xff"), read_jpeg),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), read_tiff),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), read_webp),
    (re.compile(re.escape(JP2_SIGNATURE) + rb"|\xff\x4f\xff\x51"), read_jpeg2000),
    (re.compile(rb"BM....\0{4}", re.DOTALL), read_bmp),
)
"""First bytes of each format, and the function that reads its header."""


def read_image_header(data: bytes) -> ImageHeader | None:
    """Read the header of a PNG, JPEG, JPEG 2000, TIFF, WebP or BMP file.

    Returns:
        The header, or None if the file is none of these.

    Raises:
        Rejection: ``unreadable`` (damaged, or a rare kind), ``unsupported_format``, ``several_frames`` or
            ``too_large``.
    """
    read = next((read for start, read in _PARSERS if start.match(data)), None)
    try:
        return None if read is None else read(data)
    except (struct.error, IndexError) as error:
        raise damaged("its header ends too early") from error
