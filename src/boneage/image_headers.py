"""Headers of PNG, JPEG, TIFF, WebP, JPEG 2000 and JPEG-LS, read before anything is decoded.

Each parser answers what the picture will cost (size, bits, channels), refuses what is not one whole still picture, and
hands back bytes from which the decoder cannot be led astray: no metadata, nothing that it would apply on its own.
"""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boneage.errors import Refusal, RefusalCode

logger = logging.getLogger(__name__)

PictureFormat = Literal["png", "jpeg", "tiff", "webp"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_SCANS = 10
"""Passes over a picture of full size that a progressive JPEG may make; smaller ones may make more (`_check_scans`)."""
_LARGEST_PIXELS = 64_000_000
_CHEAP_PIXELS = 16_000_000
"""JPEG 2000 and JPEG-LS may code an even picture in next to nothing; up to this size that is harmless."""
_MOST_PIXELS_PER_BYTE = 1000
"""Larger films that are compressed more are refused; diagnostic quality takes a byte for at most 50 pixels."""
_ORIENTATION_TAG = 274
_MOST_TIFF_PAGES = 16
_MOST_TIFF_ENTRIES = 4096


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
        check: raises a Refusal if the content would take the decoder longer than the header promises. Called once the
            size is known to be allowed.
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
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class CodestreamHeader:
    """Size of a JPEG, JPEG-LS or JPEG 2000 codestream inside a DICOM object.

    Attributes:
        process: the second byte of JPEG's start-of-frame marker (0xC0 baseline, 0xC1 extended, 0xC3 lossless, 0xF7
            JPEG-LS), or 0x51 for JPEG 2000.
        height, width: pixels.
        bits: of one sample.
        components: grey 1, colour 3.
        signed: samples have a sign (JPEG 2000 only).
    """

    process: int
    height: int
    width: int
    bits: int
    components: int
    signed: bool = False


def damaged(what: str) -> Refusal:
    """The refusal of a file that is broken or not supported; `what` completes a sentence."""
    return Refusal(RefusalCode.UNREADABLE, f"The file cannot be read: {what}.")


def several_frames(what: str) -> Refusal:
    """The refusal of a file with more than one picture."""
    return Refusal(RefusalCode.SEVERAL_FRAMES, f"The file holds several pictures ({what}); one radiograph is needed.")


def read_picture_header(data: bytes) -> PictureHeader | None:
    """Header of a PNG, JPEG, TIFF or WebP file.

    Returns:
        None if the file is none of these.

    Raises:
        Refusal: ``unreadable`` (damaged, or a kind that is not supported) or ``several_frames``.
    """
    try:
        if data.startswith(PNG_SIGNATURE):
            return _read_png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _read_jpeg(data)
        if data[:4] in {b"II*\0", b"MM\0*"}:
            return _read_tiff(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data)
    except (struct.error, IndexError) as error:
        raise damaged("its header ends too early") from error
    return None


# PNG (ISO/IEC 15948)


_MOST_PARTS = 65_536
"""Chunks of a PNG or WebP, and segments of a JPEG. The most usual is a PNG chunk for each row."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_PASSES = ((8, 8, 0, 0), (8, 8, 0, 4), (8, 4, 4, 0), (4, 4, 0, 2), (4, 2, 2, 0), (2, 2, 0, 1), (2, 1, 1, 0))
"""Of an interlaced PNG: distance between rows and columns, and the first of each."""
_CHEAP_INFLATION = 256 * 2**20
"""Bytes that surplus pixels of a PNG may inflate to at most, by their compressed size, without being counted."""
_INFLATED_AT_ONCE = 1 << 18
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
    coded = [(start + 8, end - 4) for name, start, end in chunks if name == b"IDAT"]
    found = {name: data[start + 8 : end - 4] for name, start, end in chunks if name in {b"eXIf", b"tRNS"}}
    # Text, colour profiles and the like may be compressed bombs, and the decoder would only skip them.
    kept = [data[start:end] for name, start, end in chunks if name in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}]
    grey = colour == 0
    transparent = found.get(b"tRNS") if grey else None
    return PictureHeader(
        "png",
        height,
        width,
        bits,
        (1 if grey else 4) * (2 if bits == 16 else 1),
        data if len(kept) == len(chunks) else PNG_SIGNATURE + b"".join(kept),
        orientation=_exif_orientation(found.get(b"eXIf", b"")),
        transparent_grey=struct.unpack(">H", transparent[:2])[0] if transparent is not None else None,
        check=lambda: _check_png_inflation(data, coded, row_bytes),
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


def _check_png_inflation(data: bytes, coded: list[tuple[int, int]], row_bytes: int) -> None:
    """Reject a PNG whose pixels inflate to more bytes than its rows have: the decoder would inflate them all.

    Args:
        data: the file.
        coded: start and end of the content of each IDAT chunk.
        row_bytes: of all rows.
    """
    if sum(end - start for start, end in coded) * _MOST_INFLATION <= row_bytes + _CHEAP_INFLATION:
        return
    inflater, left, view = zlib.decompressobj(), row_bytes, memoryview(data)
    for start, end in coded:
        rest: bytes | memoryview = view[start:end]
        while len(rest) and not inflater.eof:
            try:
                left -= len(inflater.decompress(rest, _INFLATED_AT_ONCE))
            except zlib.error as error:
                raise damaged("the pixels of the PNG are damaged") from error
            if left < 0:
                raise damaged("the PNG holds more pixels than its header names")
            rest = inflater.unconsumed_tail


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
    """All marker segments of a JPEG or JPEG-LS stream up to its end marker; entropy-coded data are skipped.

    Raises:
        Refusal: ``unreadable`` if there is no end marker: the rest of the picture would be missing.
    """
    segments: list[JpegSegment] = []
    position = 2
    jpeg_ls = False
    while len(segments) < _MOST_SEGMENTS:
        # JPEG-LS stuffs a bit, not a byte, so that there a marker is FF and anything with its top bit set.
        match = (_NEXT_JPEG_LS_MARKER if jpeg_ls else _NEXT_MARKER).search(data, position)
        if match is None:
            raise damaged("the JPEG data are cut off")
        marker = data[match.start() + 1]
        if marker == 0xD9:
            return segments
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
    """A few bytes that claim a huge film cost memory and time, and would come out as one even grey."""
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
    header = CodestreamHeader(frames[0].marker, height, width, bits, components)
    _check_amount(header, len(data), progressive=header.process == 0xC2)
    return header


def _check_scans(scans: int, pixels: int) -> None:
    """Progressive files may pass over so many pixels thousands of times: bound the work, not the number."""
    if scans > _MOST_SCANS and scans * pixels > _MOST_SCANS * _LARGEST_PIXELS:
        raise Refusal(RefusalCode.TOO_LARGE, f"The JPEG passes over its picture {scans} times.")


def _count_scans(segments: list[JpegSegment]) -> int:
    return sum(segment.marker == 0xDA for segment in segments)


def read_jpeg_codestream(data: bytes) -> CodestreamHeader:
    """Header of a JPEG or JPEG-LS stream.

    Raises:
        Refusal: ``unreadable``, or ``too_large`` for a progressive picture with too many scans.
    """
    if not data.startswith(b"\xff\xd8"):
        raise damaged("the compressed pixels are not JPEG")
    try:
        segments = jpeg_segments(data)
        frame = _jpeg_frame(data, segments)
    except (struct.error, IndexError) as error:
        raise damaged("the JPEG header ends too early") from error
    _check_scans(_count_scans(segments), frame.height * frame.width)
    return frame


def _read_jpeg(data: bytes) -> PictureHeader:
    segments = jpeg_segments(data)
    frame = _jpeg_frame(data, segments)
    _check_scans(_count_scans(segments), frame.height * frame.width)
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
        max(1, frame.components),
        data,
        orientation=_exif_orientation(exif),
    )


# JPEG 2000 (ITU-T T.800, A.5.1)

_MOST_TILES = 4096


def read_jpeg2000_codestream(data: bytes) -> CodestreamHeader:
    """Header (SIZ segment) of a JPEG 2000 codestream.

    Raises:
        Refusal: ``unreadable``.
    """
    if not data.startswith(b"\xff\x4f\xff\x51") or len(data) < 64:
        raise damaged("the compressed pixels are not JPEG 2000")
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8I", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    width, height = right - left, bottom - top
    if not (width > 0 and height > 0 and components in {1, 3} and tile_width and tile_height):
        raise damaged("the JPEG 2000 header is not that of a grey or colour picture")
    if -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height) > _MOST_TILES:
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


# TIFF 6.0, and EXIF, which is TIFF inside other files

_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_JPEG = 7
_TIFF_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits"}


@dataclass(frozen=True)
class _Tag:
    """An entry of a TIFF directory: type, number of values, where the first stands, and the values if whole numbers."""

    kind: int
    count: int
    at: int
    values: tuple[int, ...]


def _tiff_directory(data: bytes, order: str, at: int) -> tuple[dict[int, _Tag], int]:
    """Entries by tag of the directory at this offset, and the offset of the next (0: none)."""
    (entries,) = struct.unpack_from(order + "H", data, at)
    if entries > _MOST_TIFF_ENTRIES:
        raise damaged("a TIFF directory has too many entries")
    tags: dict[int, _Tag] = {}
    for index in range(entries):
        entry = at + 2 + 12 * index
        tag, kind, count = struct.unpack_from(order + "HHI", data, entry)
        start = entry + 8
        if _TIFF_SIZES.get(kind, 1) * count > 4:
            (start,) = struct.unpack_from(order + "I", data, start)
        letter = {1: "B", 3: "H", 4: "I"}.get(kind)
        # More values than any tag that is looked at has (bits of each sample) are not read.
        values = struct.unpack_from(f"{order}{count}{letter}", data, start) if letter and 0 < count <= 8 else ()
        tags[tag] = _Tag(kind, count, start, values)
    (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * entries)
    return tags, following


def _tiff_order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _exif_orientation(exif: bytes) -> int:
    """Orientation in an EXIF block; 1, upright, if there is none. Damaged EXIF is logged and not used."""
    exif = exif.removeprefix(b"Exif\0\0")
    if exif[:4] not in {b"II*\0", b"MM\0*"}:
        return 1
    order = _tiff_order(exif)
    try:
        tags, _ = _tiff_directory(exif, order, struct.unpack_from(order + "I", exif, 4)[0])
    except struct.error:
        logger.warning("damaged EXIF block: its orientation is not used")
        return 1
    return _orientation(tags)


def _orientation(tags: dict[int, _Tag]) -> int:
    tag = tags.get(_ORIENTATION_TAG)
    value = tag.values[0] if tag and tag.values else 1
    return value if 1 <= value <= 8 else 1


def _check_tiff_pages(data: bytes, order: str, following: int) -> None:
    """One picture only; reduced copies of it (NewSubfileType, bit 0) do not count."""
    for _ in range(_MOST_TIFF_PAGES):
        if following == 0:
            return
        tags, following = _tiff_directory(data, order, following)
        kind = tags.get(254)
        if not (kind and kind.values and kind.values[0] & 1):
            break
    raise several_frames("a TIFF with several pages")


def _tiff_value(tags: dict[int, _Tag], tag: int, default: int | None = None) -> int:
    found = tags.get(tag)
    if found is not None and found.values:
        return found.values[0]
    if default is None:
        raise damaged("the TIFF lacks a tag that it must have")
    return default


def _check_tiff_kind(tags: dict[int, _Tag], bits: tuple[int, ...], samples: int) -> None:
    if _tiff_value(tags, 259, 1) not in _TIFF_COMPRESSIONS:
        raise damaged("the TIFF is compressed in a way that is not supported")
    if not (1 <= samples <= 4) or len(set(bits)) != 1 or bits[0] not in {1, 4, 8, 16} or _tiff_value(tags, 339, 1) != 1:
        raise damaged("the TIFF has a kind of pixels that is not supported (8 and 16 bit whole numbers are)")
    if _tiff_value(tags, 262) not in {0, 1, 2, 3, 5, 6}:
        raise damaged("the TIFF has a kind of colours that is not supported")


def _tiff_array(data: bytes, order: str, tag: _Tag | None) -> NDArray[np.int64]:
    letter = {3: "u2", 4: "u4"}.get(tag.kind) if tag else None
    if tag is None or letter is None or tag.at + tag.count * int(letter[1]) > len(data):
        raise damaged("the TIFF does not say where its pixels are")
    return np.frombuffer(data, order + letter, tag.count, tag.at).astype(np.int64)


def _check_tiff_parts(data: bytes, order: str, tags: dict[int, _Tag], height: int, width: int) -> None:
    """Tiles far larger than the picture would be allocated whole; strips beyond the file's end would come out black."""
    tiled = 324 in tags
    offsets, counts = (_tiff_array(data, order, tags.get(tag)) for tag in ((324, 325) if tiled else (273, 279)))
    if len(offsets) != len(counts) or (len(offsets) and (offsets + counts).max() > len(data)):
        raise damaged("the TIFF is cut off")
    part_pixels = width * min(height, _tiff_value(tags, 278, height))
    if 322 in tags or 323 in tags:
        tile_width, tile_height = _tiff_value(tags, 322), _tiff_value(tags, 323)
        if not (0 < tile_width <= width + 1024 and 0 < tile_height <= height + 1024):
            raise damaged("the TIFF has tiles of an impossible size")
        part_pixels = tile_width * tile_height
    if _tiff_value(tags, 259, 1) == _TIFF_JPEG:
        _check_scans(_count_tiff_scans(data, offsets, counts), part_pixels)


def _count_tiff_scans(data: bytes, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> int:
    """Scans of all JPEG parts together. Parts may be one and the same, but lie across one another only by ill will."""
    parts = Counter(zip(offsets.tolist(), counts.tolist(), strict=True))
    if sum(count for _, count in parts) > 2 * len(data):
        raise damaged("the parts of the TIFF lie across one another")
    return sum(data.count(b"\xff\xda", offset, offset + count) * uses for (offset, count), uses in parts.items())


def _read_tiff(data: bytes) -> PictureHeader:
    order = _tiff_order(data)
    tags, following = _tiff_directory(data, order, struct.unpack_from(order + "I", data, 4)[0])
    _check_tiff_pages(data, order, following)
    width, height = _tiff_value(tags, 256), _tiff_value(tags, 257)
    samples = _tiff_value(tags, 277, 1)
    bits = tags[258].values if 258 in tags else (1,)
    _check_tiff_kind(tags, bits, samples)
    _check_tiff_parts(data, order, tags, height, width)
    photometric = _tiff_value(tags, 262)
    # OpenCV applies orientation and white-is-zero for some TIFF files and not for others: both are hidden from it.
    body = _set_tiff_value(data, order, tags.get(_ORIENTATION_TAG), 1)
    if photometric == 0:
        body = _set_tiff_value(body, order, tags[262], 1)
    decoded = (1 if photometric in {0, 1} and samples == 1 else 4) * (2 if bits[0] == 16 else 1)
    return PictureHeader(
        "tiff",
        height,
        width,
        bits[0],
        decoded,
        body,
        orientation=_orientation(tags),
        white_is_zero=photometric == 0,
    )


def _set_tiff_value(data: bytes, order: str, tag: _Tag | None, value: int) -> bytes:
    """A copy of the file in which the first value of a tag is another."""
    if tag is None or not tag.values or tag.values[0] == value:
        return data
    packed = struct.pack(order + {1: "B", 3: "H", 4: "I"}[tag.kind], value)
    return data[: tag.at] + packed + data[tag.at + len(packed) :]


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
