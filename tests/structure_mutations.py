"""Damage that respects the format: parts of a file changed in kind, repeated, nested, moved, or of a false size.

Random changes of bytes keep the structure of a file or destroy it. These changes keep it, and make it declare what it
never should.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from boneage.reading.headers.png import PNG_SIGNATURE
from tests.hostile_files import (
    ITEM_END,
    SEQUENCE_END,
    chunk,
    element,
    implicit_element,
    item,
    nested,
    nested_mixed,
)

Rng = np.random.Generator

_UNDEFINED = 0xFFFFFFFF
_COUNTS = (2, 3, 10, 100, 1000)
_LARGEST = 1_000_000
"""Largest size of a repeated part, in bytes."""


def _pick(rng: Rng, choices: tuple[bytes, ...] | tuple[int, ...] | list[bytes] | list[int]) -> bytes | int:
    return choices[int(rng.integers(len(choices)))]


def _index(rng: Rng, count: int) -> int:
    return int(rng.integers(max(1, count)))


def _count(rng: Rng, size: int = 1) -> int:
    """Draw the number of repetitions of a part of `size` bytes."""
    return min(_COUNTS[_index(rng, len(_COUNTS))], max(1, _LARGEST // max(1, size)))


def rearranged(parts: list[bytes], rng: Rng) -> list[bytes]:
    """Return the parts of a file with one of them repeated, left out, or moved."""
    parts = list(parts)
    at = _index(rng, len(parts))
    match _index(rng, 4):
        case 0:
            parts[at:at] = [parts[at]] * _count(rng, len(parts[at]))
        case 1:
            del parts[at]
        case 2:
            parts.insert(_index(rng, len(parts)), parts.pop(at))
        case _:
            parts.insert(_index(rng, len(parts)), parts[at])
    return parts


# DICOM

_VRS: tuple[str, ...] = (
    "AE",
    "AS",
    "AT",
    "CS",
    "DA",
    "DS",
    "DT",
    "FD",
    "FL",
    "IS",
    "LO",
    "LT",
    "OB",
    "OD",
    "OF",
    "OL",
    "OV",
    "OW",
)
_VRS += ("PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV", "XX")
_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_TAGS = (
    (0x0008, 0x0005),
    (0x0008, 0x0016),
    (0x0008, 0x0060),
    (0x0010, 0x1010),
    (0x0018, 0x0015),
    (0x0018, 0x1164),
    (0x0018, 0x1600),
    (0x0018, 0x1602),
    (0x0018, 0x1610),
    (0x0018, 0x1620),
    (0x0020, 0x0062),
    (0x0028, 0x0002),
    (0x0028, 0x0004),
    (0x0028, 0x0008),
    (0x0028, 0x0010),
    (0x0028, 0x0011),
    (0x0028, 0x0034),
    (0x0028, 0x0100),
    (0x0028, 0x0101),
    (0x0028, 0x0103),
    (0x0028, 0x0120),
    (0x0028, 0x1050),
    (0x0028, 0x1051),
    (0x0028, 0x1052),
    (0x0028, 0x1053),
    (0x0028, 0x1101),
    (0x0028, 0x1201),
    (0x0028, 0x3000),
    (0x0028, 0x3002),
    (0x0028, 0x3006),
    (0x0028, 0x3010),
    (0x2050, 0x0010),
    (0x2050, 0x0020),
    (0x0029, 0x1010),
    (0x7FE0, 0x0010),
)
_VALUES = (
    b"",
    b"\0",
    b"1",
    b"-1\\1e308\\nan\\inf\\ ",
    b"POLYGONAL\\CIRCULAR\\RECTANGULAR\\X ",
    b"\xff\xff\xff\xff",
    b"\xdc\x1e\x40\x1f",
    b"\0\0\0\0\x10\0",
    b"INVERSE ",
    b"MONOCHROME1 ",
    b"PALETTE COLOR ",
    b"999999999999999999999999\\",
)


@dataclass(frozen=True)
class Element:
    """An element of a data set. A value of undefined length stays as it stands."""

    tag: tuple[int, int]
    vr: str
    value: bytes
    undefined: bool = False

    def coded(self, *, implicit: bool) -> bytes:
        """Return its bytes, little-endian."""
        length = _UNDEFINED if self.undefined else len(self.value)
        if implicit:
            return implicit_element(self.tag, self.value, length)
        if self.vr in _LONG_VRS:
            return struct.pack("<HH2sHI", *self.tag, self.vr.encode(), 0, length & _UNDEFINED) + self.value
        return struct.pack("<HH2sH", *self.tag, self.vr.encode(), min(length, 0xFFFF)) + self.value[:0xFFFF]


@functools.lru_cache(maxsize=256)
def _elements(data: bytes) -> tuple[int, bool, tuple[Element, ...]]:
    """Return the start of the data set, True if it is implicit, and its elements as far as they can be parsed."""
    position, start, implicit, elements = 132, 0, False, []
    while position + 12 <= len(data):
        group, number, vr, short = struct.unpack_from("<HH2sH", data, position)
        if group > 2 and not start:
            start, implicit = position, not vr.isalpha()
        name = vr.decode("latin-1")
        if implicit:
            head, length = 8, struct.unpack_from("<I", data, position + 4)[0]
        elif name in _LONG_VRS:
            head, length = 12, struct.unpack_from("<I", data, position + 8)[0]
        else:
            head, length = 8, short
        undefined = length == _UNDEFINED
        end = len(data) if undefined else position + head + length
        if start:
            elements.append(Element((group, number), name, data[position + head : end], undefined))
        position = end
    return start, implicit, tuple(elements)


def _nested_value(rng: Rng, tag: tuple[int, int]) -> bytes:
    """Return items of a sequence, with another in each, and so on."""
    depth = int(2 ** (11 * rng.random()))
    inner = tag if rng.random() < 0.3 else _TAGS[_index(rng, len(_TAGS))]
    match _index(rng, 4):
        case 0:
            return item(_nested_mixed(depth, inner))
        case 1:
            return item(nested(depth, inner, defined=True))
        case 2:
            return item(nested(depth, inner, defined=False))
        case _:
            return item(element(inner, "LO", b"x")) * depth


@functools.lru_cache(maxsize=512)
def _nested_mixed(depth: int, tag: tuple[int, int]) -> bytes:
    return nested_mixed(depth, tag)


def _other_element(one: Element, rng: Rng) -> Element:
    action = _index(rng, 7)
    tag, vr, value, undefined = one.tag, one.vr, one.value, False
    if action == 0:
        vr = _VRS[_index(rng, len(_VRS))]
    elif action <= 2:
        vr, value, undefined = "SQ", _nested_value(rng, one.tag), action == 2
        value += SEQUENCE_END if undefined else b""
    elif action == 3:
        value = (value + b"\\") * _count(rng, len(value))
    elif action == 4:
        value = _VALUES[_index(rng, len(_VALUES))]
    elif action == 5:
        tag = _TAGS[_index(rng, len(_TAGS))]
    else:
        value = value[: _index(rng, len(value) + 1)]
    return Element(tag, vr, value, undefined)


def mutate_dicom(data: bytes, rng: Rng) -> bytes:
    """Change the kinds, values, lengths and numbers of elements."""
    start, implicit, original = _elements(data)
    if len(original) < 2:
        return data
    elements = list(original)
    for _ in range(1 + _index(rng, 3)):
        at = _index(rng, len(elements))
        action = rng.random()
        if action < 0.55:
            elements[at] = _other_element(elements[at], rng)
        elif action < 0.7:
            other = _other_element(elements[at], rng)
            elements[at:at] = [other] * (1 if rng.random() < 0.5 else _count(rng, len(other.value)))
        elif action < 0.8:
            tag, vr = _TAGS[_index(rng, len(_TAGS))], _VRS[_index(rng, len(_VRS))]
            elements.insert(at, Element(tag, vr, _VALUES[_index(rng, len(_VALUES))]))
        elif action < 0.9:
            elements = _with_shutter(elements, rng)
        else:
            elements = _with_other_fragments(elements, rng)
    return data[:start] + b"".join(one.coded(implicit=implicit) for one in elements)


def _with_shutter(elements: list[Element], rng: Rng) -> list[Element]:
    """Add a display shutter of many shapes, and another size."""
    shapes = b"POLYGONAL\\CIRCULAR\\RECTANGULAR\\" * _count(rng)
    changed = {
        (0x0018, 0x1600): ("CS", shapes),
        (0x0018, 0x1620): ("IS", b"1\\1\\1\\8000\\8000\\8000\\" * _count(rng) + b"8000\\1"),
        (0x0028, 0x0010): ("US", struct.pack("<H", int(2 ** (6 + 7 * rng.random())))),
        (0x0028, 0x0011): ("US", struct.pack("<H", int(2 ** (6 + 7 * rng.random())))),
    }
    kept = [one for one in elements if one.tag not in changed]
    kept += [Element(tag, vr, value) for tag, (vr, value) in changed.items() if rng.random() < 0.8]
    return sorted(kept, key=lambda one: one.tag)


def _with_other_fragments(elements: list[Element], rng: Rng) -> list[Element]:
    """Damage compressed pixels in their own way, or divide them into many pieces."""
    last = elements[-1]
    if not last.undefined or last.tag != (0x7FE0, 0x0010) or len(last.value) < 24:
        return elements
    codestream = last.value[16:-8]
    if rng.random() < 0.7:
        codestream = _mutate_codestream(codestream, rng)
        value = item() + item(codestream)
    else:
        cut = 1 + _index(rng, len(codestream))
        value = item() + item(codestream[:cut]) + item() * _count(rng) + item(codestream[cut:])
        value += item(length=_UNDEFINED) + ITEM_END if rng.random() < 0.2 else b""
    return [*elements[:-1], Element(last.tag, last.vr, value + SEQUENCE_END, undefined=True)]


def _mutate_codestream(codestream: bytes, rng: Rng) -> bytes:
    if codestream.startswith(b"\xff\x4f"):
        return mutate_jpeg_2000(codestream, rng)
    if codestream.startswith(b"\xff\xd8"):
        return mutate_jpeg(codestream, rng)
    return mutate_rle(codestream, rng)


def mutate_rle(data: bytes, rng: Rng) -> bytes:
    """Change the numbers and places of segments, and add runs that expand to nothing or to one byte."""
    header = list(struct.unpack_from("<16I", data))
    header[_index(rng, 4)] = int(_pick(rng, (0, 1, 2, 3, 15, 16, 64, len(data), 0x7FFFFFFF, _UNDEFINED)))
    fill = bytes([int(_pick(rng, (0x80, 0x00, 0x81, 0xFF, 0x7F)))]) * _count(rng)
    at = 64 + _index(rng, len(data) - 64)
    return struct.pack("<16I", *header) + data[64:at] + fill + data[at:]


# PNG


@functools.lru_cache(maxsize=8)
def _bomb(blocks: int) -> bytes:
    """Return raw deflate blocks that expand to `blocks` MiB of zeros, about a thousandfold, without an end."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return (deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)) * blocks


@functools.lru_cache(maxsize=64)
def _png_chunks(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
    position, chunks = len(PNG_SIGNATURE), []
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        chunks.append((name, data[position + 8 : position + 8 + length]))
        position += 12 + length
    return tuple(chunks)


def _surplus_stream(stream: bytes, rng: Rng) -> bytes:
    """Return a zlib stream that continues with up to some GiB of zeros."""
    blocks = 6000 if rng.random() < 0.03 else _count(rng)
    try:
        content = zlib.decompress(stream)
    except zlib.error:
        return stream
    deflater = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    return (
        b"\x78\x01" + deflater.compress(content) + deflater.flush(zlib.Z_FULL_FLUSH) + _bomb(blocks) + b"\3\0\0\0\0\0"
    )


def mutate_png(data: bytes, rng: Rng) -> bytes:
    """Change the numbers, orders and contents of chunks, with correct checksums."""
    chunks = list(_png_chunks(data))
    if not chunks:
        return data
    at = _index(rng, len(chunks))
    name, content = chunks[at]
    match _index(rng, 6):
        case 0:
            parts = rearranged([chunk(*one) for one in chunks], rng)
            return PNG_SIGNATURE + b"".join(parts)
        case 1 if len(data) < _LARGEST:
            chunks = [(one, _surplus_stream(body, rng) if one == b"IDAT" else body) for one, body in chunks]
        case 2:
            kinds = (b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"tRNS", b"PLTE", b"sPLT")
            kind = kinds[_index(rng, len(kinds))]
            body = b"x\0\0\x78\xda" + _bomb(_count(rng)) if rng.random() < 0.5 else rng.bytes(_index(rng, 40))
            chunks[at:at] = [(kind, body)] * (1 if len(body) > 1000 else _count(rng))
        case 3:
            header = bytearray(chunks[0][1])
            place = _index(rng, len(header) or 1)
            header[place : place + 1] = bytes([int(_pick(rng, (0, 1, 2, 3, 4, 6, 8, 16, 32, 255)))])
            chunks[0] = (chunks[0][0], bytes(header))
        case 4:
            cut = _index(rng, len(content) + 1)
            chunks[at : at + 1] = [(name, content[:cut]), (name, content[cut:])]
        case _:
            chunks[at] = (name, content + rng.bytes(_index(rng, 30)) + content * (_index(rng, 3)))
    return PNG_SIGNATURE + b"".join(chunk(*one) for one in chunks)


# JPEG and JPEG-LS


@functools.lru_cache(maxsize=256)
def _jpeg_parts(data: bytes) -> tuple[bytes, ...]:
    """Return each marker segment with the bytes that follow it up to the next marker."""
    starts = [0]
    position = 2
    while (position := data.find(b"\xff", position)) >= 0 and position + 1 < len(data):
        marker = data[position + 1]
        if marker in {0x00, 0xFF} or 0xD0 <= marker <= 0xD7 or (marker < 0x80):
            position += 1
            continue
        starts.append(position)
        position += 2
        if marker != 0xD9 and position + 2 <= len(data):
            position += struct.unpack_from(">H", data, position)[0]
    return tuple(data[start:end] for start, end in zip(starts, [*starts[1:], len(data)], strict=True))


def mutate_jpeg(data: bytes, rng: Rng) -> bytes:
    """Change the numbers, orders, lengths and sizes of segments."""
    parts = list(_jpeg_parts(data))
    if len(parts) < 3:
        return data
    at = 1 + _index(rng, len(parts) - 1)
    match _index(rng, 7):
        case 0:
            parts = parts[:1] + rearranged(parts[1:], rng)
        case 1:
            scans = [part for part in parts if part[1:2] == b"\xda"] or parts[-1:]
            scan = scans[_index(rng, len(scans))]
            parts[-1:-1] = [scan] * _count(rng, len(scan))
        case 2:
            parts = [_other_frame(part, rng) if part[1] in {0xC0, 0xC1, 0xC2, 0xC3, 0xF7} else part for part in parts]
        case 3:
            parts[at] = parts[at][:2] + struct.pack(">H", _index(rng, 65536)) + parts[at][4:]
        case 4:
            parts.insert(at, b"\xff\xdd\0\4" + struct.pack(">H", int(2 ** (16 * rng.random())) - 1))
        case 5:
            parts.insert(at, b"\xff" * _count(rng))
        case _:
            part = bytearray(parts[at])
            for _ in range(1 + _index(rng, 3)):
                place = min(len(part) - 1, 2 + _index(rng, 24))
                part[place] = int(_pick(rng, (0, 1, 2, 8, 12, 16, 63, 64, 127, 128, 255)))
            parts[at] = bytes(part)
    return b"".join(parts)


def _other_frame(part: bytes, rng: Rng) -> bytes:
    """Return a start of frame of another size, kind, or number of components."""
    frame = bytearray(part)
    if len(frame) < 10:
        return part
    match _index(rng, 4):
        case 0:
            struct.pack_into(">HH", frame, 5, *(int(2 ** (4 + 9.5 * rng.random())) for _ in range(2)))
        case 1:
            frame[1] = int(_pick(rng, (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA, 0xF7)))
        case 2:
            frame[4] = _index(rng, 20)
        case _:
            frame[9] = _index(rng, 6)
    return bytes(frame)


def mutate_jpeg_2000(data: bytes, rng: Rng) -> bytes:
    """Change the sizes and the numbers of tiles, layers, precincts and blocks."""
    stream = bytearray(data)
    cod = stream.find(b"\xff\x52")
    if cod < 0 or len(stream) < 80:
        return data
    match _index(rng, 6):
        case 0:
            place = 8 + 4 * _index(rng, 8)
            struct.pack_into(">I", stream, place, int(2 ** (32 * rng.random())) - 1)
        case 1:
            struct.pack_into(">H", stream, cod + 6, int(2 ** (16 * rng.random())) - 1)
        case 2:
            stream[cod + 10 + _index(rng, 4)] = int(_pick(rng, (0, 1, 2, 4, 6, 8, 15, 31, 32, 33, 255)))
        case 3:
            levels = stream[cod + 9]
            stream[cod + 4] |= 1
            struct.pack_into(">H", stream, cod + 2, min(65535, 12 + levels + 1))
            stream[cod + 14 : cod + 14] = bytes([int(_pick(rng, (0x00, 0x11, 0x22, 0x44, 0x88, 0xFF)))] * (levels + 1))
        case 4:
            tile = stream.find(b"\xff\x90")
            if tile >= 0:
                stream[tile:tile] = stream[tile:-2] * _count(rng, len(stream))
        case _:
            struct.pack_into(">II", stream, 8, *(int(2 ** (6 + 7 * rng.random())) for _ in range(2)))
            stream[24:32] = stream[8:16]
    return bytes(stream)


def mutate_jp2(data: bytes, rng: Rng) -> bytes:
    """Damage a codestream in its boxes, or change the boxes."""
    at = data.find(b"\xff\x4f\xff\x51")
    if rng.random() < 0.7:
        return data[:at] + mutate_jpeg_2000(data[at:], rng)
    box = struct.pack(">I", int(_pick(rng, (0, 1, 8, 9, 0x7FFFFFFF, 0xFFFFFFFF)))) + b"free"
    place = _index(rng, at)
    return data[:place] + box * _count(rng) + data[place:]


# TIFF

_TIFF_TAGS: tuple[int, ...] = (
    254,
    256,
    257,
    258,
    259,
    262,
    266,
    273,
    274,
    277,
    278,
    279,
    284,
    292,
    317,
    320,
    322,
    323,
    324,
    325,
)
_TIFF_TAGS += (330, 338, 339, 340, 341, 347, 512, 513, 514, 529, 530, 700, 33550, 34377, 34665, 34675, 65000)
_TIFF_VALUES = (0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 32, 64, 110, 1000, 8000, 32773, 65535, 0x7FFFFFFF, 0xFFFFFFFF)


def mutate_tiff(data: bytes, rng: Rng) -> bytes:
    """Change the tags, types, counts and values of entries; repeat, move or loop directories."""
    if data[:4] != b"II*\0" or len(data) < 8:
        return data
    (start,) = struct.unpack_from("<I", data, 4)
    if start + 2 > len(data):
        return data
    (count,) = struct.unpack_from("<H", data, start)
    entries = [data[start + 2 + 12 * index : start + 14 + 12 * index] for index in range(count)]
    following = 0
    for _ in range(1 + _index(rng, 3)):
        if not entries or len(entries[-1]) < 12:
            return data
        at = _index(rng, len(entries))
        tag, kind, values, value = struct.unpack("<HHII", entries[at])
        match _index(rng, 6):
            case 0:
                entries = rearranged(entries, rng)
            case 1:
                entries[at] = struct.pack("<HHII", tag, _index(rng, 20), values, value)
            case 2:
                entries[at] = struct.pack("<HHII", tag, kind, int(2 ** (32 * rng.random())) - 1, value)
            case 3:
                entries[at] = struct.pack("<HHII", tag, kind, values, int(_pick(rng, _TIFF_VALUES)))
            case 4:
                new = int(_pick(rng, _TIFF_TAGS)), 1 + _index(rng, 5), int(2 ** (8 * rng.random()))
                entries += [struct.pack("<HHII", *new, int(_pick(rng, _TIFF_VALUES)))] * _count(rng)
            case _:
                following = int(_pick(rng, (8, start, len(data), len(data) + 6 + 12 * len(entries), _UNDEFINED)))
    directory = struct.pack("<H", len(entries) & 0xFFFF) + b"".join(entries) + struct.pack("<I", following)
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory * (1 + _index(rng, 3))


# WebP


def mutate_webp(data: bytes, rng: Rng) -> bytes:
    """Change the numbers, orders, names and sizes of chunks."""
    position, parts = 12, []
    while position + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, position + 4)
        end = position + 8 + length + length % 2
        parts.append(data[position:end])
        position = end
    if not parts:
        return data
    match _index(rng, 4):
        case 0:
            parts = rearranged(parts, rng)
        case 1:
            names = (b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ", b"VP8 ", b"VP8L", b"abcd")
            body = rng.bytes(2 * _index(rng, 10))
            new = names[_index(rng, len(names))] + struct.pack("<I", len(body)) + body
            at = _index(rng, len(parts) + 1)
            parts[at:at] = [new] * _count(rng)
        case 2:
            first = bytearray(parts[0])
            place = min(len(first) - 4, 8 + _index(rng, 12))
            struct.pack_into("<H", first, place, int(2 ** (16 * rng.random())) - 1)
            parts[0] = bytes(first)
        case _:
            at = _index(rng, len(parts))
            parts[at] = parts[at][:4] + struct.pack("<I", int(2 ** (32 * rng.random())) - 1) + parts[at][8:]
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


_KINDS: tuple[tuple[bytes, int, Callable[[bytes, Rng], bytes]], ...] = (
    (PNG_SIGNATURE, 0, mutate_png),
    (b"\xff\xd8\xff", 0, mutate_jpeg),
    (b"II", 0, mutate_tiff),
    (b"WEBP", 8, mutate_webp),
    (b"jP  ", 4, mutate_jp2),
    (b"DICM", 128, mutate_dicom),
)


def mutate_structure(data: bytes, rng: Rng) -> bytes:
    """Return a file damaged as its format allows. It is unchanged if its format is unknown here, or damaged beyond
    that.
    """
    for signature, at, mutate in _KINDS:
        if data[at : at + len(signature)] == signature:
            try:
                return mutate(data, rng)
            except (struct.error, IndexError):
                return data
    return data
