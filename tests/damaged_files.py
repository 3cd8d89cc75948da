"""Valid radiographs damaged in many ways, all from a seed, and the outcome of reading each."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from boneage.errors import Rejection
from boneage.reading.headers.png import PNG_SIGNATURE
from boneage.reading.radiograph import Radiograph, read_radiograph
from tests.radiograph_files import RADIOGRAPH_SHAPE, VALID
from tests.structure_mutations import mutate_structure

Mutation = Callable[[bytearray, np.random.Generator, list[bytes]], bytearray]
_EXTREMES = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0",
    b"\xff\xff",
    b"\x7f\xff",
    b"\xff\x7f",
    b"\0\x80",
    b"\x80\0",
    b"\x01\0",
)
_WIDE_EXTREMES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x10",
    b"\0\0\x27\x10",
)
_CLAIMED_SIZES = (
    (7900, 8000),
    (9999, 9999),
    (4600, 13700),
    (64, 65535),
    (1, 65535),
    (65535, 65535),
    (110, 60000),
    (3000, 2500),
)
_SIGNATURES = (
    PNG_SIGNATURE,
    b"\xff\xd8\xff\xe0",
    b"II*\0",
    b"MM\0*",
    b"RIFF\xff\xff\0\0WEBPVP8 ",
    bytes(128) + b"DICM",
    b"GIF89a",
)


def flip_bits(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Flip 1 to 30 bits anywhere."""
    for _ in range(int(rng.integers(1, 31))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def flip_header_bits(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Flip 1 to 4 bits in the first 1,200 bytes."""
    for _ in range(int(rng.integers(1, 5))):
        data[int(rng.integers(min(len(data), 1200)))] ^= 1 << int(rng.integers(8))
    return data


def truncate(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Cut the file off anywhere, rather often in the header."""
    return data[: int(len(data) * rng.random() ** 2)]


def set_extremes(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Set fields of the header to their extremes."""
    for _ in range(int(rng.integers(1, 4))):
        choice = _EXTREMES if rng.random() < 0.5 else _WIDE_EXTREMES
        value = choice[int(rng.integers(len(choice)))]
        at = int(rng.integers(min(len(data), 1200)))
        data[at : at + len(value)] = value
    return data


def set_dicom_geometry(data: bytearray, rng: np.random.Generator, others: list[bytes]) -> bytearray:
    """Set Rows, Columns, bits and the like (group 0028) to extremes, or header fields of other files."""
    places = []
    at = data.find(b"\x28\x00")
    while at >= 0:
        places.append(at)
        at = data.find(b"\x28\x00", at + 1)
    if not places or data[128:132] != b"DICM":
        return set_extremes(data, rng, others)
    for _ in range(int(rng.integers(1, 3))):
        at = places[int(rng.integers(len(places)))] + 8
        value = _EXTREMES[int(rng.integers(4, len(_EXTREMES)))]
        data[at : at + 2] = value if rng.random() < 0.7 else rng.bytes(2)
    return data


def claim_size(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Replace the size of the radiograph wherever it stands, so that headers agree with one another but not with the
    pixels.
    """
    (old_height, old_width), (height, width) = RADIOGRAPH_SHAPE, _CLAIMED_SIZES[int(rng.integers(len(_CLAIMED_SIZES)))]
    replaced = bytes(data)
    for order, kind in ((">", "HH"), ("<", "HH"), (">", "II"), ("<", "II")):
        pack = struct.Struct(order + kind).pack
        replaced = replaced.replace(pack(old_height, old_width), pack(height, width))
        replaced = replaced.replace(pack(old_width, old_height), pack(width, height))
    for tag, old, new in ((b"\x10\0", old_height, height), (b"\x11\0", old_width, width)):
        for length in (b"US\x02\0", b"\x02\0\0\0"):
            element = b"\x28\0" + tag + length
            replaced = replaced.replace(element + struct.pack("<H", old), element + struct.pack("<H", new))
    for entry_tag, old_side, new_side in (
        (256, old_width, width),
        (257, old_height, height),
        (278, old_height, height),
    ):
        for type_code in (3, 4):
            head = struct.pack("<HHI", entry_tag, type_code, 1)
            replaced = replaced.replace(head + struct.pack("<I", old_side), head + struct.pack("<I", new_side))
    return bytearray(replaced)


def wrong_header(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Put the signature of another format over the file's own or before it."""
    signature = _SIGNATURES[int(rng.integers(len(_SIGNATURES)))]
    keep = len(signature) if rng.random() < 0.5 else 0
    return bytearray(signature) + data[keep:]


def splice(data: bytearray, rng: np.random.Generator, others: list[bytes]) -> bytearray:
    """Join the beginning of this file and the end of another."""
    other = others[int(rng.integers(len(others)))]
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def shuffle_parts(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Remove, double or overwrite a stretch."""
    start = int(rng.integers(len(data)))
    end = start + int(rng.integers(1, 400))
    kind = int(rng.integers(3))
    if kind == 0:
        return data[:start] + data[end:]
    if kind == 1:
        return data[:end] + data[start:]
    return data[:start] + bytearray(rng.bytes(end - start)) + data[end:]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_header_bits,
    truncate,
    set_extremes,
    set_dicom_geometry,
    claim_size,
    wrong_header,
    splice,
    shuffle_parts,
)


def repair_png(data: bytearray) -> bytearray:
    """Correct the checksums, so that the damage reaches the decoder."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        struct.pack_into(">I", data, end - 4, zlib.crc32(data[position + 4 : end - 4]))
        position = end
    return data


def mutated_files(count: int, seed: int, start: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield the format and a damaged file for each index from `start` on. They depend on seed and index only."""
    for index in range(start, start + count):
        yield mutated_file(seed, index)


_NAMES = list(VALID)
_CONTENTS = list(VALID.values())
_STRUCTURED = 0.6
"""Share of files that are damaged as their format allows. A quarter of them have bytes changed as well."""


def format_of(index: int) -> str:
    """Return the format of the file of this index, for any seed."""
    return _NAMES[index % len(_NAMES)]


def mutated_file(seed: int, index: int) -> tuple[str, bytes]:
    """Return one of `mutated_files`."""
    rng = np.random.default_rng([seed, index])
    name = format_of(index)
    data = VALID[name]
    structured = rng.random() < _STRUCTURED
    if structured:
        for _ in range(1 if rng.random() < 0.7 else 2):
            data = mutate_structure(data, rng)
    if not structured or rng.random() < 0.25:
        data = _bytes_changed(data, rng)
    return name, data or b"\0"


def _bytes_changed(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(1 if rng.random() < 0.8 else 2):
        changed = MUTATIONS[int(rng.integers(len(MUTATIONS)))](changed, rng, _CONTENTS) or bytearray(b"\0")
    if changed.startswith(PNG_SIGNATURE) and rng.random() < 0.7:
        changed = repair_png(changed)
    return bytes(changed)


# reading


def outcome_of(data: bytes) -> str:
    """Return ``readable``, the code of a rejection, or ``exception: `` and its kind."""
    try:
        radiograph = read_radiograph(data)
    except Rejection as rejection:
        return rejection.code
    except Exception as error:  # counted as a failure
        return f"exception: {type(error).__name__}: {error}"
    return "readable" if is_sound(radiograph) else "exception: pixels break the contract"


def is_sound(radiograph: Radiograph) -> bool:
    """Return True if the pixels keep the promises of `Radiograph`."""
    pixels = radiograph.pixels
    return bool(
        pixels.dtype == np.float32
        and pixels.ndim == 2
        and pixels.flags.c_contiguous
        and np.isfinite(pixels).all()
        and pixels.min() >= 0
        and pixels.max() <= 1
    )
