"""Headers of PNG, JPEG, TIFF, WebP, BMP, JPEG 2000 and JPEG-LS, read before anything is decoded.

Each parser answers what the picture will cost (size, bits, channels), rejects what is not one whole still picture, and
hands back bytes from which the decoder cannot be led astray: no metadata, nothing that it would apply on its own.
"""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boneage.errors import Rejection, RejectionCode

logger = logging.getLogger(__name__)

PictureFormat = Literal["png", "jpeg", "jpeg2000", "tiff", "webp", "bmp"]
Patch = tuple[int, bytes]
"""Bytes to be put at an offset of a file."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_SCANS = 10
"""Passes over a picture of full size that a progressive JPEG may make; smaller ones may make more (`_check_scans`)."""
_LARGEST_PIXELS = 64_000_000
_CHEAP_PIXELS = 16_000_000
"""JPEG 2000 and JPEG-LS may code an even picture in next to nothing; up to this size that is harmless."""
_MOST_PIXELS_PER_BYTE = 1000
"""Larger radiographs that are compressed more are rejected; diagnostic quality takes a byte for at most 50 pixels."""
_ORIENTATION_TAG = 274
_MOST_TIFF_PAGES = 16
_MOST_TIFF_ENTRIES = 4096


@dataclass(frozen=True)
class CodestreamHeader:
    """Size of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Attributes:
        process: the second byte of JPEG's start-of-frame marker (0xC0 baseline, 0xC1 extended, 0xC3 lossless, 0xF7
            JPEG-LS), or 0x51 for JPEG 2000.
        height, width: pixels.
        bits: of one sample.
        components: grey 1, colour 3.
        signed: samples have a sign (JPEG 2000 only).
        ended: there is an end marker (JPEG and JPEG-LS); without one the picture may be cut off.
    """

    process: int
    height: int
    width: int
    bits: int
    components: int
    signed: bool = False
    ended: bool = True


@dataclass(frozen=True)
class PictureHeader:
    """What the header of a picture says.

    Attributes:
        format: kind of file.
        height, width: as stored, before the orientation is applied, pixels.
        bits: of one sample.
        decoded_bytes_per_pixel: memory that the decoder fills, bytes a pixel.
        body: what to hand to the decoder.
        orientation: EXIF's, 1..8.
        white_is_zero: low values are bright.
        transparent_grey: the one grey level that is transparent (PNG tRNS), in the samples' own range.
        codestream: the header of JPEG and JPEG 2000.
        sample_type: what a sample is: an unsigned or signed whole number, or a floating-point number (TIFF).
        planes: of a TIFF whose colours lie one after the other, what makes each of them a grey picture of its own.
        bounded_body: makes of `body` what the decoder can read in the time that the size promises, or raises a
            Rejection; None if `body` is that already. To be called when the size is known to be allowed.
    """

    format: PictureFormat
    height: int
    width: int
    bits: int
    decoded_bytes_per_pixel: int
    body: bytes
    orientation: int = 1
    white_is_zero: bool = False
    transparent_grey: int | None = None
    codestream: CodestreamHeader | None = None
    sample_type: Literal["unsigned", "signed", "float"] = "unsigned"
    planes: tuple[tuple[Patch, ...], ...] = ()
    bounded_body: Callable[[], bytes] | None = None


def damaged(what: str, advice: str = "Copy or export it again, as DICOM, PNG or TIFF.") -> Rejection:
    """Return the rejection of a file that is broken or of a rare kind; `what` completes a sentence."""
    return Rejection(RejectionCode.UNREADABLE, f"The file cannot be read: {what}. {advice}")


def unsupported(what: str, advice: str) -> Rejection:
    """Return the rejection of a file of a format that is known but not read; `what` completes a sentence."""
    return Rejection(RejectionCode.UNSUPPORTED_FORMAT, f"The file is {what}, which is not read. {advice}")


def several_frames(what: str) -> Rejection:
    """Return the rejection of a file with more than one picture."""
    return Rejection(
        RejectionCode.SEVERAL_FRAMES,
        f"The file holds several pictures ({what}). Save the one radiograph of the hand as a file of its own.",
    )


def read_picture_header(data: bytes) -> PictureHeader | None:
    """Read the header of a PNG, JPEG, JPEG 2000, TIFF, WebP or BMP file.

    Returns:
        None if the file is none of these.

    Raises:
        Rejection: ``unreadable`` (damaged, or a rare kind), ``unsupported_format``, ``several_frames`` or
            ``too_large``.
    """
    read = next((read for start, read in _PARSERS if start.match(data)), None)
    try:
        return None if read is None else read(data)
    except (struct.error, IndexError) as error:
        raise damaged("its header ends too early") from error


# PNG (ISO/IEC 15948)


_MOST_PARTS = 65_536
"""Chunks of a PNG or WebP, and segments of a JPEG. The most usual is a PNG chunk for each row."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_PASSES = ((8, 8, 0, 0), (8, 8, 0, 4), (8, 4, 4, 0), (4, 4, 0, 2), (4, 2, 2, 0), (2, 2, 0, 1), (2, 1, 1, 0))
"""Of an interlaced PNG: distance between rows and columns, and the first of each."""
_CHEAP_INFLATION = 512 * 2**20
"""Bytes to which surplus pixels of a PNG may inflate, by their compressed size, and not be counted: a second's work."""
_STORED_BYTES = 64 * 2**20
"""Rows of a PNG that are kept in memory once more."""
_INFLATED_AT_ONCE = 1 << 15
_MOST_INFLATION = 1032
"""Times that deflate makes anything smaller at most."""


def _png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """Name, start and end (of the whole chunk) of each chunk up to IEND; checksums are verified."""
    chunks: list[tuple[bytes, int, int]] = []
    position, view = len(PNG_SIGNATURE), memoryview(data)
    while True:
        if len(chunks) == _MOST_PARTS:
            raise damaged("the PNG is cut into too many pieces")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise damaged("the PNG is cut off")
        if zlib.crc32(view[position + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise damaged("a checksum in the PNG is wrong")
        chunks.append((name, position, end))
        if name == b"IEND":
            return chunks
        position = end


def _read_png(data: bytes) -> PictureHeader:
    chunks = _png_chunks(data)
    names = [name for name, _, _ in chunks]
    if (
        names[0] != b"IHDR"
        or names.count(b"IHDR") != 1
        or chunks[0][2] != len(PNG_SIGNATURE) + 25
        or b"IDAT" not in names
    ):
        raise damaged("the PNG has no proper header")
    if b"acTL" in names:
        raise several_frames("an animated PNG")
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if colour not in _PNG_CHANNELS or bits not in {1, 2, 4, 8, 16}:
        raise damaged("the PNG has an unknown kind of pixels")
    row_bytes = _png_row_bytes(height, width, bits * _PNG_CHANNELS[colour], interlaced=bool(interlaced))
    found = {name: data[start + 8 : end - 4] for name, start, end in chunks if name in {b"eXIf", b"tRNS"}}
    # Text, colour profiles and the like may be compressed bombs, and the decoder would only skip them.
    kept = [part for part in chunks if part[0] in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}]
    grey = colour == 0
    transparent = found.get(b"tRNS") if grey else None
    return PictureHeader(
        "png",
        height,
        width,
        bits,
        (1 if grey else 4) * (2 if bits == 16 else 1),
        data,
        orientation=_exif_orientation(found.get(b"eXIf", b"")),
        transparent_grey=struct.unpack(">H", transparent[:2])[0] if transparent is not None else None,
        bounded_body=lambda: _png_body(data, kept, row_bytes),
    )


def _png_row_bytes(height: int, width: int, pixel_bits: int, *, interlaced: bool) -> int:
    """Bytes of all rows, each with the byte that names its filter."""
    passes = _PNG_PASSES if interlaced else ((1, 1, 0, 0),)
    total = 0
    for down, across, top, left in passes:
        rows, columns = -(-(height - top) // down), -(-(width - left) // across)
        if rows > 0 and columns > 0:
            total += rows * (1 + -(-columns * pixel_bits // 8))
    return total


def _png_body(data: bytes, chunks: list[tuple[bytes, int, int]], row_bytes: int) -> bytes:
    """Return a PNG for the decoder, which would inflate all that there is, whatever the header says.

    Inflating twice would cost half of the time of decoding. So what was inflated is handed on, stored, where memory
    allows it.

    Args:
        data: the file.
        chunks: those of its chunks that the decoder is to see.
        row_bytes: bytes of all rows.

    Raises:
        Rejection: ``unreadable`` if the pixels inflate to more than all rows.
    """
    coded = [(start + 8, end - 4) for name, start, end in chunks if name == b"IDAT"]
    if sum(end - start for start, end in coded) * _MOST_INFLATION > row_bytes + _CHEAP_INFLATION:
        rows = list(_inflated(data, coded, row_bytes, kept=row_bytes <= _STORED_BYTES))
        if row_bytes <= _STORED_BYTES:
            content = b"IDAT" + zlib.compress(b"".join(rows), 0)
            stored = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
            head = b"".join(data[start:end] for name, start, end in chunks if name not in {b"IDAT", b"IEND"})
            return PNG_SIGNATURE + head + stored + data[chunks[-1][1] : chunks[-1][2]]
    return PNG_SIGNATURE + b"".join(data[start:end] for _, start, end in chunks)


def _inflated(data: bytes, coded: list[tuple[int, int]], row_bytes: int, *, kept: bool) -> Iterator[bytes]:
    """All rows of a PNG, piece by piece if they are to be kept; `coded` are the places of its compressed stream."""
    inflater, left, view = zlib.decompressobj(), row_bytes, memoryview(data)
    for start, end in coded:
        for at in range(start, end, _INFLATED_AT_ONCE):
            try:
                piece = inflater.decompress(view[at : min(end, at + _INFLATED_AT_ONCE)], left + 1)
            except zlib.error as error:
                raise damaged("the pixels of the PNG are damaged") from error
            left -= len(piece)
            if left < 0:
                raise damaged("the PNG holds more pixels than its header names")
            if kept:
                yield piece
            if inflater.eof:
                return


# JPEG (ITU-T T.81)

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_SUPPORTED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True)
class JpegSegment:
    """A marker segment: second byte of the marker, and where its content (without the length) begins and ends."""

    marker: int
    start: int
    end: int


def jpeg_segments(data: bytes) -> list[JpegSegment]:
    """Return all marker segments of a JPEG or JPEG-LS stream up to its end marker; entropy-coded data are skipped.

    The end marker is the last of them. Only it may be missing, after entropy-coded data: then the picture may be cut
    off.

    Raises:
        Rejection: ``unreadable`` if the stream ends before.
    """
    segments: list[JpegSegment] = []
    position = 2
    jpeg_ls = False
    while len(segments) < _MOST_SEGMENTS:
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


_MOST_SEGMENTS = 8192
_FILL = re.compile(rb"\xff*")
_NEXT_JPEG_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")


def _fill(data: bytes, position: int) -> int:
    """Number of fill bytes (FF before the FF of a marker)."""
    match = _FILL.match(data, position)
    return max(0, match.end() - position - 1) if match else 0


def _check_amount(header: CodestreamHeader, coded_bytes: int, *, progressive: bool = False) -> None:
    """A few bytes that claim a huge radiograph cost memory and time, and would come out as one even grey."""
    pixels = header.height * header.width
    if header.process in {0xC0, 0xC1, 0xC2}:
        # Each block of 64 pixels takes one code for its mean, and unless it is progressive another for the rest.
        enough = 8 * coded_bytes * (64 if progressive else 32) >= pixels
    else:
        enough = pixels <= _CHEAP_PIXELS or coded_bytes * _MOST_PIXELS_PER_BYTE >= pixels
    if not enough:
        raise damaged(f"{coded_bytes} bytes cannot hold the {header.width} x {header.height} pixels that it claims")


def _jpeg_frame(data: bytes, segments: list[JpegSegment]) -> CodestreamHeader:
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
    _check_amount(header, len(data), progressive=header.process == 0xC2)
    return header


def _all_coefficients(data: bytes, segments: list[JpegSegment], frame: JpegSegment) -> bool:
    """Whether the passes of a progressive JPEG have brought each of the 64 coefficients to its last bit."""
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


def _check_scans(scans: int, pixels: int) -> None:
    """Progressive files may pass over so many pixels thousands of times: bound the work, not the number."""
    if scans > _MOST_SCANS and scans * pixels > _MOST_SCANS * _LARGEST_PIXELS:
        raise Rejection(
            RejectionCode.TOO_LARGE, f"The JPEG passes over its picture {scans} times. Save it as a plain JPEG or PNG."
        )


def _passes(segments: list[JpegSegment], frame: CodestreamHeader) -> int:
    """Scans that are decoded: those of a picture without an end marker thrice
    (`boneage.reading.images.decode_jpeg`).
    """
    return sum(segment.marker == 0xDA for segment in segments) * (1 if frame.ended else 3)


def read_jpeg_codestream(data: bytes) -> CodestreamHeader:
    """Header of a JPEG or JPEG-LS stream.

    Raises:
        Rejection: ``unreadable``, or ``too_large`` for a progressive picture with too many scans.
    """
    if not data.startswith(b"\xff\xd8"):
        raise damaged("the compressed pixels are not JPEG")
    try:
        segments = jpeg_segments(data)
        frame = _jpeg_frame(data, segments)
    except (struct.error, IndexError) as error:
        raise damaged("the JPEG header ends too early") from error
    _check_scans(_passes(segments, frame), frame.height * frame.width)
    return frame


def _read_jpeg(data: bytes) -> PictureHeader:
    segments = jpeg_segments(data)
    frame = _jpeg_frame(data, segments)
    _check_scans(_passes(segments, frame), frame.height * frame.width)
    exif = next(
        (
            data[segment.start + 6 : segment.end]
            for segment in segments
            if segment.marker == 0xE1 and data[segment.start : segment.start + 6] == b"Exif\0\0"
        ),
        b"",
    )
    return PictureHeader(
        "jpeg",
        frame.height,
        frame.width,
        frame.bits,
        max(1, frame.components) * (1 if frame.bits <= 8 else 2),
        data,
        orientation=_exif_orientation(exif),
        codestream=frame,
    )


# JPEG 2000 (ITU-T T.800, A.5.1)

_MOST_TILES = 4096


def read_jpeg2000_codestream(data: bytes) -> CodestreamHeader:
    """Header (SIZ segment) of a JPEG 2000 codestream.

    Raises:
        Rejection: ``unreadable``.
    """
    if not data.startswith(b"\xff\x4f\xff\x51") or len(data) < 64:
        raise damaged("the compressed pixels are not JPEG 2000")
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    width, height = right - left, bottom - top
    if not (width > 0 and height > 0 and components in {1, 3} and tile_width and tile_height):
        raise damaged("the JPEG 2000 header is not that of a grey or colour picture")
    if _tile_count(data) > _MOST_TILES:
        raise damaged("the JPEG 2000 picture is cut into too many tiles")
    samples = [tuple(data[42 + 3 * index : 45 + 3 * index]) for index in range(components)]
    depth = samples[0][0]
    bits = (depth & 0x7F) + 1
    if bits > 16 or any(sample != (depth, 1, 1) for sample in samples):
        raise damaged("the JPEG 2000 components differ in size or depth")
    header = CodestreamHeader(0x51, height, width, bits, components, signed=bool(depth & 0x80))
    _check_amount(header, len(data))
    try:
        _check_jpeg2000_coding(data, header)
    except (struct.error, IndexError) as error:
        raise damaged("the JPEG 2000 header ends too early") from error
    return header


_MOST_BLOCKS = 200_000
"""Code blocks and precincts, for each of which the decoder keeps a record; 64 million pixels have 62,500 of 32 x 32."""
_MOST_PACKETS = 4_000_000
"""Precincts times layers."""
_MOST_TILE_PARTS = 65_536
_COD, _COC, _SOT, _SOD = 0xFF52, 0xFF53, 0xFF90, 0xFF93


def _check_jpeg2000_coding(data: bytes, header: CodestreamHeader) -> None:
    """Reject a picture that is cut into blocks, precincts or layers by the million (T.800, A.6.1 and A.6.2)."""
    position = 2
    while (marker := struct.unpack_from(">H", data, position)[0]) != _SOT:
        if marker == _COD:
            _, layers = struct.unpack_from(">BH", data, position + 5)
            _check_jpeg2000_blocks(data[position + 9 :], data[position + 4], header, layers)
        elif marker == _COC:
            _check_jpeg2000_blocks(data[position + 6 :], data[position + 5], header, 1)
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    _check_jpeg2000_tile_parts(data, position)


def _check_jpeg2000_blocks(content: bytes, style: int, header: CodestreamHeader, layers: int) -> None:
    """Check what a COD or COC segment says, from its number of decomposition levels on."""
    levels, block_width, block_height = content[0], (content[1] & 15) + 2, (content[2] & 15) + 2
    blocks = precincts = 0
    for resolution in range(levels + 1):
        width, height = (_halved(side, levels - resolution) for side in (header.width, header.height))
        size = content[5 + resolution] if style & 1 else 0xFF
        across, down = size & 15, size >> 4
        precincts += _halved(width, across) * _halved(height, down)
        blocks += _halved(width, min(block_width, across)) * _halved(height, min(block_height, down))
    if max(precincts, blocks) * header.components > _MOST_BLOCKS or precincts * layers > _MOST_PACKETS:
        raise damaged("the JPEG 2000 picture is cut into too many pieces")


def _halved(count: int, times: int) -> int:
    """Divided by two so many times, rounded up."""
    return -(-count >> times)


def _check_jpeg2000_tile_parts(data: bytes, position: int) -> None:
    """Reject tiles that are coded in another way than the main header says."""
    for _ in range(_MOST_TILE_PARTS):
        if data[position : position + 2] != b"\xff\x90":
            return
        (length,) = struct.unpack_from(">I", data, position + 6)
        at = position + 12
        while (marker := struct.unpack_from(">H", data, at)[0]) != _SOD:
            if marker in {_COD, _COC}:
                raise damaged("the JPEG 2000 tiles are coded in different ways")
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
        if length < 14:  # 0: the last one
            return
        position += length
    raise damaged("the JPEG 2000 picture is cut into too many pieces")


_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_MOST_BOXES = 256


def _read_jpeg2000(data: bytes) -> PictureHeader:
    """Header of a JP2 file or of a bare codestream."""
    codestream = _jp2_codestream(data) if data.startswith(_JP2_SIGNATURE) else data
    header = read_jpeg2000_codestream(codestream)
    decoded = (1 if header.components == 1 else 4) * (1 if header.bits <= 8 else 2)
    return PictureHeader("jpeg2000", header.height, header.width, header.bits, decoded, codestream, codestream=header)


def _jp2_codestream(data: bytes) -> bytes:
    """The codestream from the boxes around it (T.800, annex I)."""
    position = 0
    for _ in range(_MOST_BOXES):
        length, name = struct.unpack_from(">I4s", data, position)
        start, end = position + 8, position + length
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
            start, end = position + 16, position + length
        if length == 0:
            end = len(data)
        if end < start:
            break
        if name == b"jp2h" and b"pclr" in data[start:end]:
            raise unsupported("a JPEG 2000 picture with a palette", "Save it in shades of grey, or as PNG.")
        if name == b"jp2c":
            return data[start:end]
        position = end
    raise damaged("the JPEG 2000 file holds no picture")


_START_OF_TILE_PART = b"\xff\x90"
_END_OF_CODESTREAM = b"\xff\xd9"


def whole_jpeg2000_codestream(data: bytes) -> bytes:
    """Return a JPEG 2000 codestream to its end marker, which is added where only it is missing (T.800, A.4).

    Raises:
        Rejection: ``unreadable`` if a part of the picture is missing too.
    """
    if data.rstrip(b"\0").endswith(_END_OF_CODESTREAM):
        return data
    position, tiles, parts_to_come = _tile_parts_begin(data), set(), 0
    while data[position : position + 2] == _START_OF_TILE_PART:
        tile, length, part, parts = struct.unpack_from(">HIBB", data, position + 4)
        if length < 14:  # 0 stands for all the rest, whose end nothing tells
            break
        tiles.add(tile)
        parts_to_come = max(0, parts - part - 1)
        position += length
    if data[position : position + 2] == _END_OF_CODESTREAM:
        return data[: position + 2]
    if position > len(data) or len(tiles) < _tile_count(data) or parts_to_come:
        raise damaged("the JPEG 2000 data are cut off")
    logger.warning("the JPEG 2000 data have no end marker, but all tiles: read")
    return data[:position] + _END_OF_CODESTREAM


def _tile_parts_begin(data: bytes) -> int:
    """Where the main header ends."""
    position = 2
    while position + 4 <= len(data) and data[position : position + 2] != _START_OF_TILE_PART:
        position += 2 + max(2, int(struct.unpack_from(">H", data, position + 2)[0]))
    return position


def _tile_count(data: bytes) -> int:
    """Number of tiles, from the SIZ segment."""
    right, bottom, _, _, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8I", data, 8)
    return int(-(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height))


# TIFF 6.0, and EXIF, which is TIFF inside other files

_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_TIFF_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""Types that hold whole numbers without a sign."""
_TIFF_JPEG = 7
_TIFF_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
_RAW_PHOTOGRAPH = (32803, 34892)
"""Photometric interpretations of a camera's sensor."""
_DNG_VERSION = 50706
_THUMBNAIL_SIDE = 0.75
"""A page that is called no reduced copy of another is one if it has the other's shape, and at most this of its side."""
_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class _Tag:
    """An entry of a TIFF directory.

    Attributes:
        kind: type of its values.
        count: their number.
        at: where the first of them stands.
        values: themselves, if they are a few whole numbers.
        entry: where the entry stands.
    """

    kind: int
    count: int
    at: int
    values: tuple[int, ...]
    entry: int


@dataclass(frozen=True)
class _Directory:
    """A TIFF directory: its offset, its entries by tag, where the offset of the next one stands, and that offset."""

    at: int
    tags: dict[int, _Tag] = field(repr=False)
    next_at: int
    following: int

    def value(self, tag: int, default: int | None = None) -> int:
        """First value of a tag; without a default it must be there."""
        found = self.tags.get(tag)
        if found is not None and found.values:
            return found.values[0]
        if default is None:
            raise damaged("the TIFF lacks a tag that it must have")
        return default

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.value(257), self.value(256)

    @property
    def reduced(self) -> bool:
        """Whether it is called a reduced copy or a mask of another page (NewSubfileType, or SubfileType)."""
        return bool(self.value(254, 0) & 5) or self.value(255, 1) == 2


@dataclass(frozen=True)
class _Tiff:
    """A TIFF or BigTIFF file, or the TIFF in an EXIF block."""

    data: bytes = field(repr=False)
    order: str
    big: bool

    @classmethod
    def of(cls, data: bytes) -> _Tiff:
        return cls(data, "<" if data[:2] == b"II" else ">", b"+" in data[2:4])

    @property
    def offset_letter(self) -> str:
        return "Q" if self.big else "I"

    @property
    def inline(self) -> int:
        """Bytes of an entry's values that stand in the entry itself."""
        return 8 if self.big else 4

    @property
    def first_at(self) -> int:
        """Where the offset of the first directory stands."""
        return 8 if self.big else 4

    def offset(self, at: int) -> int:
        """The offset that stands here, at most the file's end: one beyond 2^63 is no place that `struct` takes."""
        stated = int(struct.unpack_from(self.order + self.offset_letter, self.data, at)[0])
        return min(stated, len(self.data))

    def directory(self, at: int) -> _Directory:
        """The directory at this offset."""
        (entries,) = struct.unpack_from(self.order + ("Q" if self.big else "H"), self.data, at)
        if entries > _MOST_TIFF_ENTRIES:
            raise damaged("the TIFF has too many tags")
        start, step = at + (8 if self.big else 2), 12 + 2 * (self.inline - 4)
        tags = {}
        for entry in range(start, start + step * entries, step):
            tag, one = self._entry(entry)
            tags[tag] = one
        next_at = start + step * entries
        return _Directory(at, tags, next_at, self.offset(next_at))

    def _entry(self, entry: int) -> tuple[int, _Tag]:
        tag, kind, count = struct.unpack_from(f"{self.order}HH{self.offset_letter}", self.data, entry)
        at = entry + 4 + self.inline
        if _TIFF_SIZES.get(kind, 1) * count > self.inline:
            at = self.offset(at)
        letter = _TIFF_LETTERS.get(kind)
        # More values than any tag that is looked at has (bits of each sample) are not read.
        few = letter is not None and 0 < count <= 8
        values = struct.unpack_from(f"{self.order}{count}{letter}", self.data, at) if few else ()
        return tag, _Tag(kind, count, at, values, entry)

    def array(self, tag: _Tag | None) -> NDArray[np.int64]:
        """All values of a tag that says where pixels are, or how many bytes."""
        letter = {3: "u2", 4: "u4", 16: "u8"}.get(tag.kind) if tag else None
        if tag is None or letter is None or tag.at + tag.count * int(letter[1]) > len(self.data):
            raise damaged("the TIFF does not say where its pixels are")
        values = np.frombuffer(self.data, self.order + letter, tag.count, tag.at)
        if tag.count and values.max() > len(self.data):
            raise damaged("the TIFF is cut off")
        return values.astype(np.int64)

    def new_value(self, tag: _Tag | None, value: int) -> tuple[Patch, ...]:
        """What makes the first value of a tag another."""
        if tag is None or not tag.values or tag.values[0] == value:
            return ()
        return ((tag.at, struct.pack(self.order + _TIFF_LETTERS[tag.kind], value)),)

    def third(self, tag: _Tag, which: int) -> tuple[Patch, ...]:
        """What leaves a tag only the first, second or last third of its values."""
        each = tag.count // 3
        size = _TIFF_SIZES[tag.kind]
        at = tag.at + which * each * size
        if each * size <= self.inline:
            where = self.data[at : at + each * size].ljust(self.inline, b"\0")
        else:
            where = struct.pack(self.order + self.offset_letter, at)
        return ((tag.entry + 4, struct.pack(self.order + self.offset_letter, each) + where),)


def patched(data: bytes, patches: Iterable[Patch]) -> bytes:
    """Return a copy of a file with other bytes in some places; the file itself if there are none."""
    changed: bytearray | None = None
    for at, new in patches:
        changed = bytearray(data) if changed is None else changed
        changed[at : at + len(new)] = new
    return data if changed is None else bytes(changed)


def _exif_orientation(exif: bytes) -> int:
    """Orientation in an EXIF block; 1, upright, if there is none. Damaged EXIF is logged and not used."""
    exif = exif.removeprefix(b"Exif\0\0")
    if exif[:4] not in {b"II*\0", b"MM\0*"}:
        return 1
    tiff = _Tiff.of(exif)
    try:
        return _orientation(tiff.directory(tiff.offset(tiff.first_at)).tags)
    except (struct.error, Rejection):
        logger.warning("damaged EXIF block: its orientation is not used")
        return 1


def _orientation(tags: dict[int, _Tag]) -> int:
    tag = tags.get(_ORIENTATION_TAG)
    value = tag.values[0] if tag and tag.values else 1
    return value if 1 <= value <= 8 else 1


def _tiff_pages(tiff: _Tiff) -> list[_Directory]:
    """All pages; where the first is a reduced copy, also those that it points to (SubIFDs)."""
    pages: list[_Directory] = []
    following = tiff.offset(tiff.first_at)
    while following:
        if len(pages) == _MOST_TIFF_PAGES:
            raise several_frames("a TIFF with many pages")
        pages.append(tiff.directory(following))
        following = pages[-1].following
    if not pages:
        raise damaged("the TIFF holds no picture")
    below = pages[0].tags.get(330)
    if pages[0].reduced and below is not None:
        pages.extend(tiff.directory(at) for at in below.values)
    return pages


def _full_page(pages: list[_Directory]) -> _Directory:
    """The one picture of which all other pages are reduced copies."""
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


def _check_tiff_kind(page: _Directory, bits: tuple[int, ...], samples: int) -> None:
    if page.value(259, 1) not in _TIFF_COMPRESSIONS:
        raise damaged("the TIFF is compressed in a way that is not supported", "Save it without compression.")
    if not (1 <= samples <= 4) or len(set(bits)) != 1 or bits[0] not in _TIFF_BITS[_tiff_samples(page)]:
        raise damaged("the TIFF has a rare kind of pixels", "Save it with 8 or 16 bits.")
    if samples > 1 and (bits[0] > 16 or _tiff_samples(page) != "unsigned"):
        raise damaged("the TIFF is in colour of a rare kind", "Save it in shades of grey.")
    if page.value(262) not in {0, 1, 2, 3, 5, 6}:
        raise damaged("the TIFF has a rare kind of colours", "Save it in shades of grey.")
    if page.value(284, 1) == 2 and samples > 1 and (samples, page.value(262)) != (3, 2):
        raise damaged("the TIFF has a rare kind of colours", "Save it in shades of grey.")


_TIFF_BITS = {"unsigned": {1, 4, 8, 16, 32}, "signed": {8, 16, 32}, "float": {16, 32, 64}}


def _tiff_samples(page: _Directory) -> Literal["unsigned", "signed", "float"]:
    """Sample Format; undefined is what was always taken as unsigned."""
    kind = page.value(339, 1)
    if kind not in {1, 2, 3, 4}:
        raise damaged("the TIFF has a rare kind of pixels", "Save it with 8 or 16 bits.")
    return "signed" if kind == 2 else "float" if kind == 3 else "unsigned"


def _check_tiff_parts(tiff: _Tiff, page: _Directory) -> None:
    """Tiles far larger than the picture would be allocated whole; strips beyond the file's end would come out black."""
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
    if page.value(259, 1) == _TIFF_JPEG:
        _check_scans(_count_tiff_scans(tiff.data, offsets, counts), part_pixels)


def _count_tiff_scans(data: bytes, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    """Scans of all JPEG parts together. Parts may be one and the same, but lie across one another only by ill will."""
    parts = Counter(zip(offsets.tolist(), counts.tolist(), strict=True))
    if sum(count for _, count in parts) > 2 * len(data):
        raise damaged("the parts of the TIFF lie across one another")
    return sum(data.count(b"\xff\xda", offset, offset + count) * uses for (offset, count), uses in parts.items())


def _part_tags(page: _Directory) -> tuple[int, int]:
    """Tags of where the parts, tiles or strips, are, and of how many bytes each has."""
    return (324, 325) if 324 in page.tags else (273, 279)


def _read_tiff(data: bytes) -> PictureHeader:
    if data[8:10] == b"CR":
        raise unsupported("a raw photograph", "Develop it to TIFF, PNG or JPEG; the original DICOM file is better.")
    tiff = _Tiff.of(data)
    pages = _tiff_pages(tiff)
    page = _full_page(pages)
    height, width = page.size
    samples, photometric = page.value(277, 1), page.value(262)
    bits = page.tags[258].values if 258 in page.tags else (1,)
    _check_tiff_kind(page, bits, samples)
    _check_tiff_parts(tiff, page)
    patches = _tiff_patches(tiff, page, alone=len(pages) == 1)
    decoded = (1 if photometric in {0, 1} and samples == 1 else 4) * max(1, bits[0] // 8)
    return PictureHeader(
        "tiff",
        height,
        width,
        bits[0],
        decoded,
        patched(data, patches),
        orientation=_orientation(page.tags),
        white_is_zero=photometric == 0,
        sample_type=_tiff_samples(page),
        planes=_tiff_planes(tiff, page) if page.value(284, 1) == 2 and samples == 3 else (),
    )


def _tiff_patches(tiff: _Tiff, page: _Directory, *, alone: bool) -> tuple[Patch, ...]:
    """What keeps the decoder from what it would do differently from file to file.

    OpenCV applies orientation and white-is-zero for some TIFF files and not for others, reads the first page, and knows
    no number below 32 bits that is signed (in older versions) or has a fraction.
    """
    patches = tiff.new_value(page.tags.get(_ORIENTATION_TAG), 1)
    if page.value(262) == 0:
        patches += tiff.new_value(page.tags[262], 1)
    if page.tags[258].values[0] <= 16 if 258 in page.tags else False:
        patches += tiff.new_value(page.tags.get(339), 1)
    if not alone:
        letter = tiff.order + tiff.offset_letter
        patches += ((tiff.first_at, struct.pack(letter, page.at)), (page.next_at, struct.pack(letter, 0)))
    return patches


def _tiff_planes(tiff: _Tiff, page: _Directory) -> tuple[tuple[Patch, ...], ...]:
    """What makes each colour of a TIFF in which they lie one after the other a grey picture of its own."""
    parts = [page.tags[tag] for tag in _part_tags(page)]
    if any(tag.count % 3 for tag in parts):
        raise damaged("the TIFF lacks a part")
    grey = tiff.new_value(page.tags[277], 1) + tiff.new_value(page.tags[262], 1) + tiff.new_value(page.tags[284], 1)
    return tuple((*grey, *(patch for tag in parts for patch in tiff.third(tag, which))) for which in range(3))


# BMP

_BMP_MASKS = (0xFF0000, 0xFF00, 0xFF)


def _read_bmp(data: bytes) -> PictureHeader:
    start, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    usual = compression == 3 and bits == 32 and struct.unpack_from("<3I", data, 54) == _BMP_MASKS
    if bits not in {1, 4, 8, 24, 32} or not (compression == 0 or usual):
        raise unsupported(
            "a BMP picture of a rare kind", "Save it without compression and with 8 or 24 bits, or as PNG."
        )
    if width <= 0 or height == 0:
        raise damaged("the BMP header names no size")
    height = abs(height)  # below 0: the upper row comes first
    if start + (width * bits + 31) // 32 * 4 * height > len(data):
        raise damaged("the BMP is cut off")
    return PictureHeader("bmp", height, width, min(bits, 8), 4, data)


# WebP (RFC 9649)


def _webp_chunks(data: bytes) -> dict[bytes, bytes]:
    """First chunk of each name; the file must hold all the bytes that it says it has."""
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise damaged("the WebP is cut off")
    chunks: dict[bytes, bytes] = {}
    position = 12
    for _ in range(_MOST_PARTS):
        if position + 8 > size + 8:
            return chunks
        name, length = struct.unpack_from("<4sI", data, position)
        if position + 8 + length > len(data):
            raise damaged("the WebP is cut off")
        chunks.setdefault(name, data[position + 8 : position + 8 + length])
        position += 8 + length + length % 2
    raise damaged("the WebP is cut into too many pieces")


def _webp_size(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    """Width and height of the coded picture."""
    if b"VP8L" in chunks:
        (word,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
        return (word & 0x3FFF) + 1, (word >> 14 & 0x3FFF) + 1
    if b"VP8 " in chunks:
        width, height = struct.unpack_from("<HH", chunks[b"VP8 "], 6)
        return width & 0x3FFF, height & 0x3FFF
    raise damaged("the WebP holds no picture")


def _read_webp(data: bytes) -> PictureHeader:
    chunks = _webp_chunks(data)
    extended = chunks.get(b"VP8X")
    if b"ANIM" in chunks or b"ANMF" in chunks or (extended and extended[0] & 2):
        raise several_frames("an animated WebP")
    width, height = _webp_size(chunks)
    if extended is not None:
        canvas = tuple(int.from_bytes(extended[at : at + 3], "little") + 1 for at in (4, 7))
        if canvas != (width, height):
            raise damaged("the WebP names two sizes")
    return PictureHeader("webp", height, width, 8, 4, data, orientation=_exif_orientation(chunks.get(b"EXIF", b"")))


_PARSERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], PictureHeader]], ...] = (
    (re.compile(re.escape(PNG_SIGNATURE)), _read_png),
    (re.compile(rb"\xff\xd8\xff"), _read_jpeg),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), _read_tiff),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _read_webp),
    (re.compile(re.escape(_JP2_SIGNATURE) + rb"|\xff\x4f\xff\x51"), _read_jpeg2000),
    (re.compile(rb"BM....\0{4}", re.DOTALL), _read_bmp),
)
"""How each format begins, and what reads its header."""
