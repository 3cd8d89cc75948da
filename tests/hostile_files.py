"""Small and large files made to keep a reader busy: each kind by name, of about a given number of bytes.

Most claim to be ordinary radiographs. The first line of each function names the attack.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np

from boneage.reading.headers.png import PNG_SIGNATURE
from tests.radiograph_files import (
    VALID,
    coded,
    dicom_dataset,
    dicom_file,
    drawn_radiograph,
    jpeg_12_bit,
    jpeg_2000,
    jpeg_lossless,
    jpeg_ls,
)

IMPLICIT, EXPLICIT, DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
_COMPRESSED = "1.2.840.10008.1.2.4."
_UNDEFINED = 0xFFFFFFFF
_BODY_PART, _PRIVATE, _WINDOW_CENTER, _CHARACTER_SET = (
    (0x0018, 0x0015),
    (0x0029, 0x1010),
    (0x0028, 0x1050),
    (0x0008, 0x0005),
)
_AFTER_BODY_PART = (0x0018, 0x0016)
"""Tag before which an element replaces Body Part Examined, since the last of equal elements counts."""
_VOI_LUT, _TRANSFER_SYNTAX, _PIXEL_DATA = (0x0028, 0x3010), (0x0002, 0x0010), (0x7FE0, 0x0010)
_LONG = {"SQ", "UT", "UN", "OB", "OW"}


# DICOM


def element(tag: tuple[int, int], vr: str, value: bytes = b"", length: int | None = None) -> bytes:
    """Encode an explicit little-endian element, with another length than the value's if given."""
    length = len(value) if length is None else length
    if vr in _LONG:
        return struct.pack("<HH2sHI", *tag, vr.encode(), 0, length) + value
    return struct.pack("<HH2sH", *tag, vr.encode(), length) + value


def implicit_element(tag: tuple[int, int], value: bytes = b"", length: int | None = None) -> bytes:
    """Encode an implicit little-endian element, with another length than the value's if given."""
    return struct.pack("<HHI", *tag, len(value) if length is None else length) + value


def item(content: bytes = b"", length: int | None = None) -> bytes:
    """Encode an item of a sequence."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content) if length is None else length) + content


SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


def nested(depth: int, tag: tuple[int, int], *, defined: bool) -> bytes:
    """Encode a sequence in a sequence in a sequence, of defined or undefined length."""
    if not defined:
        start = element(tag, "SQ", length=_UNDEFINED) + item(length=_UNDEFINED)
        return start * depth + (ITEM_END + SEQUENCE_END) * depth
    return b"".join(
        element(tag, "SQ", length=8 + 20 * (depth - 1 - level)) + item(length=20 * (depth - 1 - level))
        for level in range(depth)
    )


def nested_mixed(depth: int, tag: tuple[int, int]) -> bytes:
    """Encode sequences of defined length, every other item of undefined length. pydicom parses each on access."""
    content = b""
    for level in range(depth):
        part = item(content) if level % 2 else item(content, _UNDEFINED) + ITEM_END
        content = element(tag, "SQ", part)
    return content


def with_elements(extra: bytes, syntax: str = EXPLICIT, *, at: tuple[int, int] = (0x0009, 0x0000)) -> bytes:
    """Return the drawn radiograph with bytes put in before the first element from this tag on."""
    file = dicom_file(dicom_dataset(drawn_radiograph(bits=12), 12), syntax)
    place = _place(file, at, implicit=syntax == IMPLICIT)
    return file[:place] + extra + file[place:]


def _place(file: bytes, at: tuple[int, int], *, implicit: bool) -> int:
    """Return the offset of the first element of the data set that does not precede this tag."""
    position = 132
    while position < len(file):
        group, number, vr, length = struct.unpack_from("<HH2sH", file, position)
        if group > 2 and (group, number) >= at:
            return position
        if implicit and group > 2:
            position += 8 + struct.unpack_from("<I", file, position + 4)[0]
        elif vr.decode() in _LONG:
            position += 12 + struct.unpack_from("<I", file, position + 8)[0]
        else:
            position += 8 + length
    return len(file)


def _nested_undefined(size: int) -> bytes:
    """Make Body Part Examined a sequence within sequences of undefined length."""
    return with_elements(nested(size // 36, _BODY_PART, defined=False), at=_AFTER_BODY_PART)


def _nested_defined(size: int) -> bytes:
    """Make Body Part Examined a sequence within sequences of defined length."""
    return with_elements(nested(size // 20, _BODY_PART, defined=True), at=_AFTER_BODY_PART)


def _nested_mixed(size: int) -> bytes:
    """Make Body Part Examined a sequence within sequences, whose text form takes longer than anyone waits."""
    inner = nested_mixed(min(1200, size // 24), _VOI_LUT)
    return with_elements(element(_BODY_PART, "SQ", item(inner)), at=_AFTER_BODY_PART)


def _nested_shallow(size: int) -> bytes:
    """Make many of the used elements sequences, nested as deep as they can just be parsed."""
    tags = [(0x0008, 0x0060), (0x0008, 0x0020), (0x0018, 0x0015), (0x0028, 0x0004), (0x0028, 0x1050), (0x0020, 0x0060)]
    file = VALID["dicom explicit"]
    for tag in tags:
        place = _place(file, tag, implicit=False)
        file = file[:place] + nested(min(60, size // 36), tag, defined=False) + file[place:]
    return file


def _nested_private(size: int) -> bytes:
    """Add a private sequence within sequences."""
    return with_elements(nested(size // 36, _PRIVATE, defined=False), at=_PRIVATE)


def _nested_transfer_syntax(size: int) -> bytes:
    """Make the transfer syntax a sequence within sequences."""
    file = VALID["dicom explicit"]
    start = file.index(b"\x02\x00\x10\x00UI")
    end = start + 8 + struct.unpack_from("<H", file, start + 6)[0]
    return file[:start] + nested(min(60, size // 36), _TRANSFER_SYNTAX, defined=False) + file[end:]


def _many_elements(size: int) -> bytes:
    """Repeat an element."""
    return with_elements(element(_PRIVATE, "LO") * (size // 8), at=_PRIVATE)


def _many_meta_elements(size: int) -> bytes:
    """Repeat an element of the file meta group."""
    file = VALID["dicom explicit"]
    return file[:132] + element((0x0002, 0x0102), "UI") * (size // 8) + file[132:]


def _many_items(size: int) -> bytes:
    """Add a sequence of empty items."""
    return with_elements(element(_PRIVATE, "SQ", length=_UNDEFINED) + item() * (size // 8) + SEQUENCE_END, at=_PRIVATE)


def _many_looked_at_items(size: int) -> bytes:
    """Make a VOI LUT sequence, of defined length, of empty items."""
    return with_elements(element(_VOI_LUT, "SQ", item() * (size // 8)), at=_VOI_LUT)


def _many_lut_entries(size: int) -> bytes:
    """Give a look-up table far more entries than it declares."""
    content = implicit_element((0x0028, 0x3002), struct.pack("<3H", 256, 0, 8))
    content += implicit_element((0x0028, 0x3006), b"\1\0" * (size // 2))
    return with_elements(implicit_element(_VOI_LUT, item(content)), IMPLICIT, at=_VOI_LUT)


def _many_values(size: int) -> bytes:
    """Give the window as many centres as fit."""
    return with_elements(implicit_element(_WINDOW_CENTER, b"1\\" * (size // 2)), IMPLICIT, at=_WINDOW_CENTER)


def _many_character_sets(size: int) -> bytes:
    """Give Specific Character Set as many values as fit."""
    return with_elements(implicit_element(_CHARACTER_SET, b"x\\" * (size // 2)), IMPLICIT, at=_CHARACTER_SET)


def _many_character_set_elements(size: int) -> bytes:
    """Repeat Specific Character Set, each time with thousands of values."""
    one = element(_CHARACTER_SET, "CS", b"x\\" * min(30_000, size // 2))
    return with_elements(one * max(1, size // len(one)), at=_CHARACTER_SET)


def _many_fragments(size: int) -> bytes:
    """Put compressed pixels into empty fragments."""
    file = VALID["dicom jpeg"]
    place = file.index(struct.pack("<HH2s", *_PIXEL_DATA, b"OB"))
    return file[:place] + element(_PIXEL_DATA, "OB", item() * (size // 8) + SEQUENCE_END, _UNDEFINED)


def _fragments_of_defined_length(size: int) -> bytes:
    """Put compressed pixels into empty fragments, in an element that declares its length."""
    file = VALID["dicom jpeg"]
    place = file.index(struct.pack("<HH2s", *_PIXEL_DATA, b"OB"))
    return file[:place] + element(_PIXEL_DATA, "OB", item() * (size // 8) + SEQUENCE_END)


def _endless_elements(size: int) -> bytes:
    """Nest elements of undefined length, each without an end."""
    part = element(_PRIVATE, "OB", length=_UNDEFINED)
    sequence = element(_PRIVATE, "SQ", length=_UNDEFINED) + item(length=_UNDEFINED)
    return with_elements(sequence * 50 + part * (size // 12), at=_PRIVATE)


def _shutters(size: int) -> bytes:
    """Repeat the display shutter's shapes, at a claimed size whose pixels are missing."""
    dataset = dicom_dataset(
        drawn_radiograph(bits=12),
        12,
        ShutterShape=["POLYGONAL", "CIRCULAR", "RECTANGULAR", "OTHER"] * max(1, min(2000, size // 48)),
        ShutterLeftVerticalEdge=1,
        ShutterRightVerticalEdge=8000,
        ShutterUpperHorizontalEdge=1,
        ShutterLowerHorizontalEdge=8000,
        CenterOfCircularShutter=[4000, 4000],
        RadiusOfCircularShutter=8000,
        VerticesOfThePolygonalShutter=[1, 1, 1, 8000, 8000, 8000, 8000, 1] * 100,
    )
    dataset.Rows = dataset.Columns = 7900
    return dicom_file(dataset)


def _deflated_bomb(size: int) -> bytes:
    """Make a deflated object whose private element inflates a thousandfold."""
    file = VALID["dicom deflated"]
    place = file.index(b"1.2.840.10008.1.2.1.99") + 22
    place = 132 + 12 + struct.unpack_from("<I", file, 140)[0]
    inflated = zlib.decompress(file[place:], -zlib.MAX_WBITS)
    return file[:place] + _repeated_deflate(inflated, size)


def _repeated_deflate(start: bytes, size: int) -> bytes:
    """Return `start`, and zeros that deflate to about `size` bytes, as a raw deflate stream."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    out = [deflater.compress(start), deflater.flush(zlib.Z_FULL_FLUSH)]
    block = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)
    out += [block] * (size // len(block))
    out += [deflater.flush(zlib.Z_FINISH)]
    return b"".join(out)


def _rle(segments: list[bytes], side: int) -> bytes:
    offsets = [64]
    for segment in segments[:-1]:
        offsets.append(offsets[-1] + len(segment))
    header = struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(offsets)))
    dataset = dicom_dataset(np.zeros((8, 8), np.uint16), 16)
    dataset.Rows = dataset.Columns = side
    return dicom_file(dataset, "1.2.840.10008.1.2.5", header + b"".join(segments))


def _rle_short_runs(size: int) -> bytes:
    """Make run-length coded pixels, each in a run of its own."""
    side = max(64, int((size / 4) ** 0.5))
    return _rle([b"\0a" * (side * side), b"\0b" * (side * side)], side)


def _rle_nothing(size: int) -> bytes:
    """Make run-length coded pixels that begin with bytes that expand to nothing."""
    return _rle([b"\x80" * (size // 2), b"\x80" * (size // 2)], 64)


def _sequence_without_vrs(size: int) -> bytes:
    """Make items in the other kind of value representation, each of which pydicom would log."""
    inner = item(implicit_element((0x0029, 0x1011), b"ab"))
    return with_elements(
        element(_PRIVATE, "SQ", length=_UNDEFINED) + inner * (size // len(inner)) + SEQUENCE_END, at=_PRIVATE
    )


# PNG


def chunk(name: bytes, content: bytes) -> bytes:
    """Encode a PNG chunk."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(height: int, width: int, *chunks: bytes, bits: int = 8, colour: int = 0) -> bytes:
    """Encode a PNG file of these chunks between header and end."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def _png_rows() -> bytes:
    grey = drawn_radiograph(bits=8).astype(np.uint8)
    return np.pad(grey, ((0, 0), (1, 0))).tobytes()


def _png_surplus(size: int) -> bytes:
    """Continue the stream of pixels, a thousandfold compressed, after the last row."""
    stream = b"\x78\xda" + _repeated_deflate(_png_rows(), size) + b"\0\0\0\0"
    return png(110, 90, chunk(b"IDAT", stream))


def _png_surplus_chunks(size: int) -> bytes:
    """Put more streams of pixels into further IDAT chunks."""
    stream = chunk(b"IDAT", zlib.compress(bytes(1 << 22), 9))
    return png(110, 90, chunk(b"IDAT", zlib.compress(_png_rows())), stream * max(1, size // len(stream)))


def _png_text_bomb(size: int) -> bytes:
    """Add compressed text and a colour profile that inflate a thousandfold."""
    bomb = b"\x78\xda" + _repeated_deflate(b"", size // 3)
    kinds = (b"iCCP", b"x\0\0" + bomb), (b"zTXt", b"x\0\0" + bomb), (b"iTXt", b"x\0\1\0\0\0" + bomb)
    pixels = chunk(b"IDAT", zlib.compress(_png_rows()))
    return png(110, 90, *(chunk(name, content) for name, content in kinds), pixels)


def _png_many_chunks(size: int) -> bytes:
    """Add empty chunks."""
    return png(110, 90, chunk(b"IDAT", zlib.compress(_png_rows())), chunk(b"tEXt", b"") * (size // 12))


def _png_many_idats(size: int) -> bytes:
    """Add empty IDAT chunks."""
    return png(110, 90, chunk(b"IDAT", zlib.compress(_png_rows())), chunk(b"IDAT", b"") * (size // 12))


def _png_large_claim(size: int) -> bytes:
    """Make an image of the largest size, with all pixels present, of one grey in a few kilobytes."""
    side = 7900 if size > 100_000 else 700
    stream = zlib.compress(bytes((side + 1) * side), 9)
    return png(side, side, chunk(b"IDAT", stream))


# JPEG


def _jpeg_grey(side: int, *, progressive: bool = False) -> bytes:
    grey = np.zeros((side, side), np.uint8)
    options = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1) if progressive else ()
    return coded(".jpg", grey, *options)


def _jpeg_scans(size: int) -> bytes:
    """Make a progressive image that passes over its pixels again and again."""
    side = 2048 if size > 100_000 else 256
    file = _jpeg_grey(side, progressive=True)
    first, last = file.index(b"\xff\xda"), file.rindex(b"\xff\xda")
    scan = file[last : file.rindex(b"\xff\xd9")]
    return file[:first] + file[first:last] + scan * max(1, size // len(scan)) + b"\xff\xd9"


def _jpeg_sequential_scans(size: int) -> bytes:
    """Make a sequential image with its one scan repeated."""
    file = _jpeg_grey(2048 if size > 100_000 else 256)
    scan = file[file.index(b"\xff\xda") : -2]
    return file[:-2] + scan * max(1, size // len(scan)) + b"\xff\xd9"


def _jpeg_markers(size: int) -> bytes:
    """Add comments without content."""
    file = VALID["jpeg"]
    return file[:2] + b"\xff\xfe\0\2" * (size // 4) + file[2:]


def _jpeg_fill(size: int) -> bytes:
    """Add fill bytes before a marker."""
    file = VALID["jpeg"]
    return file[:2] + b"\xff" * size + file[2:]


def _jpeg_fill_in_scan(size: int) -> bytes:
    """Add fill bytes to the pixels of a lossless JPEG."""
    radiograph = drawn_radiograph(bits=12)
    file = jpeg_lossless(radiograph, 12)
    return dicom_file(dicom_dataset(radiograph, 12), _COMPRESSED + "70", file[:-20] + b"\xff" * size + file[-20:])


def _jpeg_tables(size: int) -> bytes:
    """Make a lossless JPEG with Huffman tables that are defined again and again."""
    radiograph = drawn_radiograph(bits=12)
    file = jpeg_lossless(radiograph, 12)
    place = file.index(b"\xff\xc4")
    table = bytes([0, 1, *[0] * 15, 0])
    many = struct.pack(">BBH", 0xFF, 0xC4, 2 + 3000 * len(table)) + table * 3000
    small = struct.pack(">BBH", 0xFF, 0xC4, 2 + len(table)) + table
    extra = many * (size // len(many)) or small * (size // len(small))
    return dicom_file(dicom_dataset(radiograph, 12), _COMPRESSED + "70", file[:place] + extra + file[place:])


def _jpeg_restarts(size: int) -> bytes:
    """Make a 12-bit JPEG with a restart marker after each block."""
    radiograph = drawn_radiograph(bits=12)
    file = jpeg_12_bit(radiograph)
    side = max(64, int((size * 64 / 3) ** 0.5) // 8 * 8)
    frame = file.index(b"\xff\xc1") + 5
    scan = file.index(b"\xff\xda")
    file = file[:frame] + struct.pack(">HH", side, side) + file[frame + 4 :]
    head = file[:scan] + b"\xff\xdd\0\4\0\1" + file[scan : scan + 10]
    blocks = (side // 8) ** 2
    return head + b"".join(b"\x00\xff" + bytes([0xD0 + index % 8]) for index in range(blocks)) + b"\xff\xd9"


# TIFF


def tiff(entries: list[tuple[int, int, int, int]], content: bytes = b"", following: int = 0) -> bytes:
    """Encode a little-endian TIFF file of one directory (tag, type, count, value). The content follows it directly."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0\x08\0\0\0" + directory + struct.pack("<I", following) + content


def tiff_entries(height: int, width: int, *, compression: int = 1) -> list[tuple[int, int, int, int]]:
    """Return the entries that every grey 8-bit image has, without those for the place of its pixels."""
    values = ((256, width), (257, height), (258, 8), (259, compression), (262, 1), (277, 1))
    return [(tag, 4, 1, value) for tag, value in values]


def _tiff_directories(size: int) -> bytes:
    """Add reduced copies, each with as many entries as a directory can have."""
    count = min(65534, size // 12 // 16)
    start = len(VALID["tiff header first"])
    file = bytearray(VALID["tiff header first"])
    file[8 + 2 + 9 * 12 : 8 + 2 + 9 * 12 + 4] = struct.pack("<I", start)
    for index in range(15):
        at = start + index * (6 + 12 * (count + 1))
        entries = struct.pack("<HHII", 254, 4, 1, 1) + struct.pack("<HHII", 700, 1, 1, 0) * count
        following = at + 6 + 12 * (count + 1) if index < 14 else 0
        file += struct.pack("<H", count + 1) + entries + struct.pack("<I", following)
    return bytes(file)


def _tiff_loop(_size: int) -> bytes:
    """Make a directory that is followed by itself."""
    file = bytearray(VALID["tiff header first"])
    file[8 + 2 + 9 * 12 : 8 + 2 + 9 * 12 + 4] = struct.pack("<I", 8)
    return bytes(file)


def _tiff_strips(size: int) -> bytes:
    """Add the largest number of strips that fits, all of them the same bytes."""
    count = max(64, min(60_000, size // 8))
    width = 1000 if size > 100_000 else 64
    entries = tiff_entries(count, width, compression=8)
    at = 8 + 2 + 12 * 9 + 4
    strip = zlib.compress(bytes(range(250)) * 4 if width == 1000 else bytes(range(64)))
    entries += [(273, 4, count, at), (278, 4, 1, 1), (279, 4, count, at + 4 * count)]
    offsets = np.full(count, at + 8 * count, "<u4").tobytes()
    return tiff(entries, offsets + np.full(count, len(strip), "<u4").tobytes() + strip)


def _tiff_surplus(size: int) -> bytes:
    """Make a strip whose stream continues, a thousandfold compressed, after its last row."""
    rows = drawn_radiograph(bits=8).astype(np.uint8).tobytes()
    strip = b"\x78\xda" + _repeated_deflate(rows, size) + b"\0\0\0\0"
    entries = tiff_entries(110, 90, compression=8)
    at = 8 + 2 + 12 * 9 + 4
    return tiff([*entries, (273, 4, 1, at), (278, 4, 1, 110), (279, 4, 1, len(strip))], strip)


def _tiff_jpeg_scans(size: int) -> bytes:
    """Make tiles that are one and the same progressive JPEG with many scans."""
    side, tile = (7168, 1024) if size > 100_000 else (512, 256)
    file = _jpeg_grey(tile, progressive=True)
    last = file.rindex(b"\xff\xda")
    scan = file[last:-2]
    file = file[:last] + scan * 80 + b"\xff\xd9"
    count = (side // tile) ** 2
    entries = tiff_entries(side, side, compression=7)
    at = 8 + 2 + 12 * 10 + 4
    entries += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, count, at), (325, 4, count, at + 4 * count)]
    offsets = np.full(count, at + 8 * count, "<u4").tobytes()
    return tiff(entries, offsets + np.full(count, len(file), "<u4").tobytes() + file)


def _tiff_huge_counts(size: int) -> bytes:
    """Make entries that claim billions of values."""
    file = bytearray(VALID["tiff header first"])
    count = min(60_000, size // 12)
    entries = file[10 : 10 + 9 * 12] + b"".join(
        struct.pack("<HHII", 700 + index, 12, 0x1FFFFFF0, 8) for index in range(count)
    )
    start = len(file)
    file += struct.pack("<H", 9 + count) + entries + bytes(4)
    file[4:8] = struct.pack("<I", start)
    return bytes(file)


# WebP


def _webp_chunks(size: int) -> bytes:
    """Add chunks without content."""
    file = VALID["webp lossless"] + b"abcd\0\0\0\0" * (size // 8)
    return file[:4] + struct.pack("<I", len(file) - 8) + file[8:]


def _webp_even(size: int) -> bytes:
    """Make an image of the largest size, of one grey."""
    side = 7900 if size > 100_000 else 700
    return coded(".webp", np.zeros((side, side), np.uint8), cv2.IMWRITE_WEBP_QUALITY, 101)


# JPEG 2000 and JPEG-LS, in DICOM


def _jpeg_2000(codestream: bytes, side: int) -> bytes:
    dataset = dicom_dataset(np.zeros((8, 8), np.uint8), 8)
    dataset.Rows = dataset.Columns = side
    return dicom_file(dataset, _COMPRESSED + "90", codestream)


def _patched_2000(side: int, patch: Callable[[bytearray, int], bytearray], size: int) -> bytes:
    """Return a codestream that claims a size, with its COD segment (from its content on) changed."""
    stream = bytearray(jpeg_2000(np.tile(np.arange(64, dtype=np.uint8), (64, 1))))
    struct.pack_into(">II", stream, 8, side, side)
    struct.pack_into(">II", stream, 24, side, side)
    stream = patch(stream, stream.index(b"\xff\x52") + 4)
    stream[-2:-2] = bytes(size)
    start = stream.index(b"\xff\x90")
    struct.pack_into(">I", stream, start + 6, len(stream) - 2 - start)
    return _jpeg_2000(bytes(stream), side)


def _side_2000(size: int) -> int:
    return 512 if size <= 100_000 else 7900


def _jpeg_2000_precincts(size: int) -> bytes:
    """Make millions of precincts of one pixel."""

    def patch(stream: bytearray, at: int) -> bytearray:
        levels = stream[at + 5]
        stream[at] |= 1
        struct.pack_into(">H", stream, at - 2, 12 + levels + 1)
        stream[at + 10 : at + 10] = bytes([0x00] + [0x11] * levels)
        return stream

    return _patched_2000(_side_2000(size), patch, size)


def _jpeg_2000_layers(size: int) -> bytes:
    """Make the largest possible number of layers."""

    def patch(stream: bytearray, at: int) -> bytearray:
        struct.pack_into(">H", stream, at + 2, 65535)
        return stream

    return _patched_2000(_side_2000(size), patch, size)


def _jpeg_2000_blocks(size: int) -> bytes:
    """Make code blocks of 4 x 4 pixels."""

    def patch(stream: bytearray, at: int) -> bytearray:
        stream[at + 6] = stream[at + 7] = 0
        return stream

    return _patched_2000(_side_2000(size), patch, size)


def _jpeg_2000_tiles(size: int) -> bytes:
    """Declare thousands of tiles, one of which is present."""
    side = _side_2000(size)
    stream = bytearray(jpeg_2000(np.tile(np.arange(64, dtype=np.uint8), (64, 1))))
    struct.pack_into(">II", stream, 8, side, side)
    struct.pack_into(">II", stream, 24, -(-side // 63), -(-side // 63))
    stream[-2:-2] = bytes(size)
    start = stream.index(b"\xff\x90")
    struct.pack_into(">I", stream, start + 6, len(stream) - 2 - start)
    return _jpeg_2000(bytes(stream), side)


def _jpeg_ls_even(size: int) -> bytes:
    """Make an image of one grey, of the largest size that next to no bytes may code."""
    side = 4000 if size > 100_000 else 700
    dataset = dicom_dataset(np.zeros((8, 8), np.uint8), 8)
    dataset.Rows = dataset.Columns = side
    return dicom_file(dataset, _COMPRESSED + "80", jpeg_ls(np.zeros((side, side), np.uint8), 8))


KINDS: dict[str, Callable[[int], bytes]] = {
    "dicom nested, undefined length": _nested_undefined,
    "dicom nested, defined length": _nested_defined,
    "dicom nested, to be put into words": _nested_mixed,
    "dicom nested, shallow": _nested_shallow,
    "dicom nested, private": _nested_private,
    "dicom nested transfer syntax": _nested_transfer_syntax,
    "dicom elements": _many_elements,
    "dicom meta elements": _many_meta_elements,
    "dicom items": _many_items,
    "dicom items of a table": _many_looked_at_items,
    "dicom entries of a table": _many_lut_entries,
    "dicom values": _many_values,
    "dicom character sets": _many_character_sets,
    "dicom character set elements": _many_character_set_elements,
    "dicom fragments": _many_fragments,
    "dicom fragments, defined length": _fragments_of_defined_length,
    "dicom elements without end": _endless_elements,
    "dicom sequence without VRs": _sequence_without_vrs,
    "dicom shutters": _shutters,
    "dicom deflated bomb": _deflated_bomb,
    "dicom rle, short runs": _rle_short_runs,
    "dicom rle, nothing": _rle_nothing,
    "dicom jpeg, fill bytes in scan": _jpeg_fill_in_scan,
    "dicom jpeg, huffman tables": _jpeg_tables,
    "dicom jpeg 2000, precincts": _jpeg_2000_precincts,
    "dicom jpeg 2000, layers": _jpeg_2000_layers,
    "dicom jpeg 2000, code blocks": _jpeg_2000_blocks,
    "dicom jpeg 2000, tiles": _jpeg_2000_tiles,
    "dicom jpeg-ls, even": _jpeg_ls_even,
    "png surplus stream": _png_surplus,
    "png surplus chunks": _png_surplus_chunks,
    "png text bombs": _png_text_bomb,
    "png chunks": _png_many_chunks,
    "png idat chunks": _png_many_idats,
    "png even": _png_large_claim,
    "jpeg progressive scans": _jpeg_scans,
    "jpeg sequential scans": _jpeg_sequential_scans,
    "jpeg markers": _jpeg_markers,
    "jpeg fill bytes": _jpeg_fill,
    "jpeg 12 bit, restarts": _jpeg_restarts,
    "tiff directories": _tiff_directories,
    "tiff loop": _tiff_loop,
    "tiff strips": _tiff_strips,
    "tiff surplus stream": _tiff_surplus,
    "tiff jpeg scans": _tiff_jpeg_scans,
    "tiff counts": _tiff_huge_counts,
    "webp chunks": _webp_chunks,
    "webp even": _webp_even,
}
