"""Headers of JPEG (ITU-T T.81) and JPEG-LS (ITU-T T.87) streams."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from boneage.errors import Rejection, RejectionCode
from boneage.reading.headers.codestream import CodestreamHeader, check_coded_size
from boneage.reading.headers.exif import exif_orientation
from boneage.reading.headers.header import ImageHeader
from boneage.reading.rejections import damaged

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_SUPPORTED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_NEXT_JPEG_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_FILL = re.compile(rb"\xff*")
MOST_SEGMENTS = 8192
"""Marker segments of a JPEG."""
_MOST_SCANS = 10
"""Scans of a full-size image that a progressive JPEG may make. Smaller images may have more (`check_scans`)."""
LARGEST_PIXELS = 64_000_000
"""Size, in pixels, of the image that `_MOST_SCANS` refers to."""


@dataclass(frozen=True)
class JpegSegment:
    """A marker segment.

    Attributes:
        marker: Second byte of the marker.
        start: Start of its content, which does not include the length.
        end: End of its content.
    """

    marker: int
    start: int
    end: int


def read_jpeg(data: bytes) -> ImageHeader:
    """Read the header of a JPEG file.

    Raises:
        Rejection: ``unreadable``, or ``too_large`` for a progressive image with too many scans.
    """
    segments = jpeg_segments(data)
    frame = _read_frame(data, segments)
    check_scans(_passes(segments, frame), frame.height * frame.width)
    exif = next(
        (
            data[segment.start + 6 : segment.end]
            for segment in segments
            if segment.marker == 0xE1 and data[segment.start : segment.start + 6] == b"Exif\0\0"
        ),
        b"",
    )
    return ImageHeader(
        "jpeg",
        frame.height,
        frame.width,
        frame.bits,
        max(1, frame.components) * (1 if frame.bits <= 8 else 2),
        data,
        orientation=exif_orientation(exif),
        codestream=frame,
    )


def read_jpeg_codestream(data: bytes) -> CodestreamHeader:
    """Read the header of a JPEG or JPEG-LS codestream.

    Raises:
        Rejection: ``unreadable``, or ``too_large`` for a progressive image with too many scans.
    """
    if not data.startswith(b"\xff\xd8"):
        raise damaged("the compressed pixels are not JPEG")
    try:
        segments = jpeg_segments(data)
        frame = _read_frame(data, segments)
    except (struct.error, IndexError) as error:
        raise damaged("the JPEG header ends too early") from error
    check_scans(_passes(segments, frame), frame.height * frame.width)
    return frame


def jpeg_segments(data: bytes) -> list[JpegSegment]:
    """Return all marker segments of a JPEG or JPEG-LS stream up to its end marker, without the entropy-coded data.

    The end marker is the last segment. It may be missing after entropy-coded data; then the image may be cut off.

    Raises:
        Rejection: ``unreadable`` if the stream ends earlier.
    """
    segments: list[JpegSegment] = []
    position = 2
    jpeg_ls = False
    while len(segments) < MOST_SEGMENTS:
        # JPEG-LS stuffs a bit, not a byte, so that there a marker is FF and anything with its top bit set.
        match = (_NEXT_JPEG_LS_MARKER if jpeg_ls else _NEXT_MARKER).search(data, position)
        if match is None:
            if segments and segments[-1].marker == 0xDA:
                return segments
            raise damaged("the JPEG data are cut off")
        marker = data[match.start() + 1]
        if marker == 0xD9:
            return [*segments, JpegSegment(marker, match.end(), match.end())]
        if not (segments and segments[-1].marker == 0xDA) and match.start() != position + _fill(data, position):
            raise damaged("there are stray bytes in the JPEG header")
        (length,) = struct.unpack_from(">H", data, match.end())
        if length < 2:
            raise damaged("a JPEG segment has no length")
        position = match.end() + length
        if position > len(data):
            raise damaged("the JPEG data are cut off")
        segments.append(JpegSegment(marker, match.end() + 2, position))
        jpeg_ls = jpeg_ls or marker == 0xF7
    raise damaged("the JPEG is cut into too many pieces")


def _fill(data: bytes, position: int) -> int:
    """Return the number of fill bytes (FF before the FF of a marker)."""
    match = _FILL.match(data, position)
    return max(0, match.end() - position - 1) if match else 0


def _read_frame(data: bytes, segments: list[JpegSegment]) -> CodestreamHeader:
    frames = [segment for segment in segments if segment.marker in _FRAME_MARKERS]
    if len(frames) != 1 or not any(segment.marker == 0xDA for segment in segments):
        raise damaged("the JPEG data do not hold exactly one picture")
    bits, height, width, components = struct.unpack_from(">BHHB", data, frames[0].start)
    if height == 0 or width == 0:
        raise damaged("the JPEG header names no size")
    if frames[0].marker not in _SUPPORTED_FRAMES:
        raise damaged("the JPEG is hierarchical or arithmetically coded, which is not supported")
    ended = segments[-1].marker == 0xD9
    if not ended and frames[0].marker == 0xC2 and not _all_coefficients(data, segments, frames[0]):
        raise damaged("the JPEG data are cut off")
    header = CodestreamHeader(frames[0].marker, height, width, bits, components, ended=ended)
    check_coded_size(header, len(data), progressive=header.process == 0xC2)
    return header


def _all_coefficients(data: bytes, segments: list[JpegSegment], frame: JpegSegment) -> bool:
    """Return whether the scans of a progressive JPEG complete each of the 64 coefficients to its last bit."""
    missing = {
        (data[frame.start + 6 + 3 * index], place) for index in range(data[frame.start + 5]) for place in range(64)
    }
    for segment in segments:
        if segment.marker == 0xDA:
            count = data[segment.start]
            first, last, bits = data[segment.start + 1 + 2 * count : segment.start + 4 + 2 * count]
            if bits & 15 == 0:
                names = data[segment.start + 1 : segment.start + 1 + 2 * count : 2]
                missing -= {(name, place) for name in names for place in range(first, min(last, 63) + 1)}
    return not missing


def check_scans(scans: int, pixels: int) -> None:
    """Reject an image whose scans take too much work.

    A progressive file may pass over its pixels thousands of times. The bound is on the work and not on the number of
    scans.

    Args:
        scans: Number of scans.
        pixels: Pixels of one scan.

    Raises:
        Rejection: ``too_large``.
    """
    if scans > _MOST_SCANS and scans * pixels > _MOST_SCANS * LARGEST_PIXELS:
        raise Rejection(
            RejectionCode.TOO_LARGE, f"The JPEG passes over its picture {scans} times. Save it as a plain JPEG or PNG."
        )


def _passes(segments: list[JpegSegment], frame: CodestreamHeader) -> int:
    """Return the number of scans to decode. An image without an end marker is decoded three times
    (`boneage.reading.images.decode_jpeg`).
    """
    return sum(segment.marker == 0xDA for segment in segments) * (1 if frame.ended else 3)
