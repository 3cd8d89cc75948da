"""Headers of JPEG 2000 codestreams and JP2 files (ITU-T T.800, annexes A and I)."""

from __future__ import annotations

import logging
import struct

from boneage.reading.headers.codestream import CodestreamHeader, check_coded_size
from boneage.reading.headers.header import ImageHeader
from boneage.reading.rejections import damaged, unsupported

logger = logging.getLogger(__name__)

JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_START_OF_TILE_PART = b"\xff\x90"
_END_OF_CODESTREAM = b"\xff\xd9"
_COD, _COC, _SOT, _SOD = 0xFF52, 0xFF53, 0xFF90, 0xFF93
_MOST_BOXES = 256
_MOST_TILES = 4096
MOST_BLOCKS = 200_000
"""Code blocks and precincts, for each of which the decoder keeps a record.

An image of 64 million pixels has 62,500 blocks of 32 x 32.
"""
_MOST_PACKETS = 4_000_000
"""Product of precincts and layers."""
_MOST_TILE_PARTS = 65_536


def read_jpeg2000(data: bytes) -> ImageHeader:
    """Read the header of a JP2 file or of a bare codestream.

    Raises:
        Rejection: ``unreadable`` or ``unsupported_format``.
    """
    codestream = _jp2_codestream(data) if data.startswith(JP2_SIGNATURE) else data
    header = read_jpeg2000_codestream(codestream)
    decoded = (1 if header.components == 1 else 4) * (1 if header.bits <= 8 else 2)
    return ImageHeader("jpeg2000", header.height, header.width, header.bits, decoded, codestream, codestream=header)


def _jp2_codestream(data: bytes) -> bytes:
    """Return the codestream from the boxes around it (T.800, annex I)."""
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


def read_jpeg2000_codestream(data: bytes) -> CodestreamHeader:
    """Read the header (SIZ segment) of a JPEG 2000 codestream.

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
    check_coded_size(header, len(data))
    try:
        _check_coding(data, header)
    except (struct.error, IndexError) as error:
        raise damaged("the JPEG 2000 header ends too early") from error
    return header


def _check_coding(data: bytes, header: CodestreamHeader) -> None:
    """Reject an image that is divided into millions of blocks, precincts or layers (T.800, A.6.1 and A.6.2)."""
    position = 2
    while (marker := struct.unpack_from(">H", data, position)[0]) != _SOT:
        if marker == _COD:
            _, layers = struct.unpack_from(">BH", data, position + 5)
            _check_blocks(data[position + 9 :], data[position + 4], header, layers)
        elif marker == _COC:
            _check_blocks(data[position + 6 :], data[position + 5], header, 1)
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    _check_tile_parts(data, position)


def _check_blocks(content: bytes, style: int, header: CodestreamHeader, layers: int) -> None:
    """Check the content of a COD or COC segment, from its number of decomposition levels on."""
    levels, block_width, block_height = content[0], (content[1] & 15) + 2, (content[2] & 15) + 2
    blocks = precincts = 0
    for resolution in range(levels + 1):
        width, height = (_halved(side, levels - resolution) for side in (header.width, header.height))
        size = content[5 + resolution] if style & 1 else 0xFF
        across, down = size & 15, size >> 4
        precincts += _halved(width, across) * _halved(height, down)
        blocks += _halved(width, min(block_width, across)) * _halved(height, min(block_height, down))
    if max(precincts, blocks) * header.components > MOST_BLOCKS or precincts * layers > _MOST_PACKETS:
        raise damaged("the JPEG 2000 picture is cut into too many pieces")


def _halved(count: int, times: int) -> int:
    """Return a count after `times` halvings, rounded up."""
    return -(-count >> times)


def _check_tile_parts(data: bytes, position: int) -> None:
    """Reject tiles that are coded differently from the main header."""
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


def whole_jpeg2000_codestream(data: bytes) -> bytes:
    """Return a JPEG 2000 codestream up to its end marker, which is added if nothing else is missing (T.800, A.4).

    Raises:
        Rejection: ``unreadable`` if a part of the image is missing too.
    """
    if data.rstrip(b"\0").endswith(_END_OF_CODESTREAM):
        return data
    position, tiles, parts_to_come = _tile_parts_begin(data), set(), 0
    while data[position : position + 2] == _START_OF_TILE_PART:
        tile, length, part, parts = struct.unpack_from(">HIBB", data, position + 4)
        if length < 14:  # 0 stands for all the rest, whose end is not stated
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
    """Return the offset at which the main header ends."""
    position = 2
    while position + 4 <= len(data) and data[position : position + 2] != _START_OF_TILE_PART:
        position += 2 + max(2, int(struct.unpack_from(">H", data, position + 2)[0]))
    return position


def _tile_count(data: bytes) -> int:
    """Return the number of tiles, from the SIZ segment."""
    right, bottom, _, _, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(">8I", data, 8)
    return int(-(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height))
