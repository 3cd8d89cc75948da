"""Damaged files through `read_radiograph`: each gives a radiograph or a named refusal, in time and in bounded memory.

    python benchmarks/fuzz_radiograph.py --count 10000 --seed 0

Draws one phantom, stores it in every format and DICOM transfer syntax, damages these files in many ways (all from the
seed), and reads each in a worker process. Exit status 1 if a worker died, took over 5 s, grew over 1 GiB, or raised
anything but a Refusal.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import struct
import sys
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.errors import Refusal
from boneage.huffman_jpeg import ZIGZAG, dct_matrix
from boneage.image_headers import PNG_SIGNATURE
from boneage.phantom import draw_hand
from boneage.radiograph import Radiograph, read_radiograph

TIME_LIMIT_S = 5.0
MEMORY_LIMIT_MIB = 1024
ADDRESS_SPACE_GIB = 6
"""Keeps a runaway worker from taking the machine along; the limit that counts is that of resident memory."""
FILM_SHAPE = (110, 90)


# a drawn film, in every form


def drawn_film(shape: tuple[int, int] = FILM_SHAPE, bits: int = 16) -> NDArray[np.uint16]:
    """The phantom, from 0 to the highest level of so many bits: uint16 (H, W)."""
    film = draw_hand(10.0, height=shape[0], width=shape[1])
    film = (film - film.min()) / (film.max() - film.min())
    levels: NDArray[np.uint16] = np.rint(film * (2**bits - 1)).astype(np.uint16)
    return levels


def coded(suffix: str, pixels: NDArray[Any], *options: int) -> bytes:
    """A picture as OpenCV stores it."""
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise RuntimeError(f"OpenCV cannot write {suffix}")
    return data.tobytes()


def jpeg_2000(pixels: NDArray[Any]) -> bytes:
    """A lossless JPEG 2000 codestream."""
    file = coded(".jp2", pixels, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    return file[file.index(b"\xff\x4f\xff\x51") :]


def jpeg_ls(pixels: NDArray[Any], bits: int, error: int = 0) -> bytes:
    """A JPEG-LS stream, near-lossless if an error is allowed."""
    import jpeg_ls as charls  # type: ignore[import-untyped]  # noqa: PLC0415  # ships no types

    return bytes(charls.encode_buffer(pixels.tobytes(), *pixels.shape, 1, bits, lossy_error=error))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _bit_stream(values: NDArray[np.int64], lengths: NDArray[np.int64]) -> bytes:
    """Values of so many bits one after the other, filled with ones, zero bytes stuffed after FF."""
    owner = np.repeat(np.arange(len(values)), lengths)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    bits = (values[owner] >> (lengths[owner] - 1 - place)) & 1
    padded = np.concatenate([bits, np.ones(-len(bits) % 8, np.int64)]).astype(np.uint8)
    return np.packbits(padded).tobytes().replace(b"\xff", b"\xff\x00")


def _sizes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bits of the magnitude (T.81, table F.1)."""
    return np.ceil(np.log2(np.abs(values) + 1.0)).astype(np.int64)


def _extra(values: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(values < 0, values + (1 << sizes) - 1, values)


def _flat_table(identity: int, length: int, symbols: list[int]) -> bytes:
    """A Huffman table whose codes all have one length: the code is the symbol's place in the list."""
    counts = [len(symbols) if bits == length else 0 for bits in range(1, 17)]
    return _segment(0xC4, bytes([identity, *counts, *symbols]))


def _predicted(levels: NDArray[np.int64], predictor: int, middle: int) -> NDArray[np.int64]:
    """What each pixel is expected to be (T.81, table H.1)."""
    out = np.empty_like(levels)
    out[:, 1:], out[1:, 0], out[0, 0] = levels[:, :-1], levels[:-1, 0], middle  # first row and column are always so
    left, above, corner = levels[1:, :-1], levels[:-1, 1:], levels[:-1, :-1]
    out[1:, 1:] = (
        left,
        above,
        corner,
        left + above - corner,
        left + ((above - corner) >> 1),
        above + ((left - corner) >> 1),
        (left + above) >> 1,
    )[predictor - 1]
    return out


def jpeg_lossless(pixels: NDArray[np.uint16], bits: int, predictor: int = 1) -> bytes:
    """Lossless JPEG, process 14 (T.81, annex H)."""
    height, width = pixels.shape
    levels = pixels.astype(np.int64)
    differences = (levels - _predicted(levels, predictor, 1 << (bits - 1))).ravel()
    differences = (differences + 32768) % 65536 - 32768
    differences[differences == -32768] = 32768
    sizes = _sizes(differences)
    extra = np.where(sizes == 16, 0, sizes)
    values = (sizes << extra) | np.where(sizes == 16, 0, _extra(differences, sizes))
    return (
        b"\xff\xd8"
        + _segment(0xC3, struct.pack(">BHHBBBB", bits, height, width, 1, 1, 0x11, 0))
        + _flat_table(0, 5, list(range(17)))
        + _segment(0xDA, bytes([1, 1, 0, predictor, 0, 0]))
        + _bit_stream(values, extra + 5)
        + b"\xff\xd9"
    )


def jpeg_12_bit(pixels: NDArray[np.uint16], quantum: int = 4) -> bytes:
    """Sequential DCT JPEG of 12 bits (T.81, annex F)."""
    height, width = pixels.shape
    padded = np.pad(pixels.astype(np.float32), ((0, -height % 8), (0, -width % 8)), mode="edge") - 2048
    blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    matrix = dct_matrix()
    coefficients = np.rint((matrix @ blocks @ matrix.T).reshape(-1, 64)[:, ZIGZAG] / quantum).astype(np.int64)
    coefficients[1:, 0] = np.diff(coefficients[:, 0])
    ac_symbols = [0x00, 0xF0, *(run << 4 | size for run in range(16) for size in range(1, 15))]
    pieces = [piece for block in coefficients.tolist() for piece in _block_symbols(block, ac_symbols)]
    values, lengths = np.array(pieces, np.int64).T
    return (
        b"\xff\xd8"
        + _segment(0xDB, bytes([0]) + bytes([quantum] * 64))
        + _segment(0xC1, struct.pack(">BHHBBBB", 12, height, width, 1, 1, 0x11, 0))
        + _flat_table(0x00, 5, list(range(16)))
        + _flat_table(0x10, 9, ac_symbols)
        + _segment(0xDA, bytes([1, 1, 0, 0, 63, 0]))
        + _bit_stream(values, lengths)
        + b"\xff\xd9"
    )


def _block_symbols(block: list[int], ac_symbols: list[int]) -> Iterator[tuple[int, int]]:
    """Value and length of each piece of a block's code."""
    size = abs(block[0]).bit_length()
    yield size << size | (block[0] + (1 << size) - 1 if block[0] < 0 else block[0]), 5 + size
    run = 0
    for value in block[1:]:
        if value == 0:
            run += 1
            continue
        while run > 15:
            yield ac_symbols.index(0xF0), 9
            run -= 16
        size = abs(value).bit_length()
        code = ac_symbols.index(run << 4 | size)
        yield code << size | (value + (1 << size) - 1 if value < 0 else value), 9 + size
        run = 0
    if run:
        yield ac_symbols.index(0x00), 9


def dicom_dataset(pixels: NDArray[Any], bits: int, *, photometric: str = "MONOCHROME2", **elements: Any) -> Any:
    """A CR object around native grey pixels; more elements by keyword."""
    from pydicom.dataset import Dataset, FileMetaDataset  # noqa: PLC0415
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: PLC0415

    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["drawn film"])
    dataset.Modality = "CR"
    dataset.PatientSex, dataset.PatientAge = "F", "010Y"
    dataset.StudyDate, dataset.BodyPartExamined, dataset.ImageLaterality = "20200615", "HAND", "L"
    dataset.ImagerPixelSpacing = [0.15, 0.15]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def dicom_file(dataset: Any, syntax: str | None = None, codestream: bytes | None = None) -> bytes:
    """The bytes of a DICOM file, with another transfer syntax and a codestream if given."""
    from pydicom.encaps import encapsulate  # noqa: PLC0415
    from pydicom.uid import UID  # noqa: PLC0415

    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    if codestream is not None:
        dataset.PixelData = encapsulate([codestream])
        dataset["PixelData"].VR = "OB"
    buffer = BytesIO()
    uid = dataset.file_meta.TransferSyntaxUID
    dataset.save_as(
        buffer, enforce_file_format=True, implicit_vr=uid.is_implicit_VR, little_endian=uid.is_little_endian
    )
    return buffer.getvalue()


def _rle_file(pixels: NDArray[Any], bits: int) -> bytes:
    from pydicom.uid import RLELossless  # noqa: PLC0415

    dataset = dicom_dataset(pixels, bits)
    dataset.compress(RLELossless)
    return dicom_file(dataset)


def _big_endian_file(pixels: NDArray[np.uint16]) -> bytes:
    dataset = dicom_dataset(pixels, 12)
    dataset.PixelData = pixels.astype(">u2").tobytes()
    return dicom_file(dataset, "1.2.840.10008.1.2.2")


def _colour_file(grey: NDArray[np.uint8]) -> bytes:
    rgb = np.dstack([grey] * 3)
    return dicom_file(dicom_dataset(rgb, 8, photometric="RGB", SamplesPerPixel=3, PlanarConfiguration=0))


def _windowed_file(pixels: NDArray[np.uint16]) -> bytes:
    from pydicom.dataset import Dataset  # noqa: PLC0415
    from pydicom.sequence import Sequence  # noqa: PLC0415

    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [4096, 0, 12], np.arange(4096, dtype="<u2").tobytes()
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    return dicom_file(
        dicom_dataset(
            4095 - pixels,
            12,
            photometric="MONOCHROME1",
            PresentationLUTShape="INVERSE",
            RescaleSlope=1,
            RescaleIntercept=0,
            VOILUTSequence=Sequence([lut]),
            WindowCenter=2048,
            WindowWidth=4096,
        )
    )


def _with_exif(jpeg: bytes) -> bytes:
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHHI", 274, 3, 1, 6, 0, 0)
    return jpeg[:2] + _segment(0xE1, exif) + jpeg[2:]


def _header_first(pixels: NDArray[np.uint16]) -> bytes:
    """An uncompressed TIFF whose pixels come last, so that those are what cutting it off takes away."""
    height, width = pixels.shape
    tags = (
        (256, width),
        (257, height),
        (258, 16),
        (259, 1),
        (262, 1),
        (273, 8 + 2 + 9 * 12 + 4),
        (277, 1),
        (278, height),
    )
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in (*tags, (279, pixels.nbytes))]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4) + pixels.tobytes()


def valid_files() -> dict[str, bytes]:
    """The drawn film in every format and transfer syntax, by name."""
    deep, twelve = drawn_film(bits=16), drawn_film(bits=12)
    grey = drawn_film(bits=8).astype(np.uint8)
    signed = (twelve.astype(np.int32) - 2048).astype(np.int16)
    jpeg = coded(".jpg", grey, cv2.IMWRITE_JPEG_QUALITY, 90)

    def cr(syntax: str, codestream: bytes, pixels: NDArray[Any] = twelve, bits: int = 12) -> bytes:
        return dicom_file(dicom_dataset(pixels, bits), syntax, codestream)

    compressed = "1.2.840.10008.1.2.4."
    return {
        "png 8": coded(".png", grey),
        "png 16": coded(".png", deep),
        "png colour": coded(".png", np.dstack([grey] * 4)),
        "jpeg": _with_exif(jpeg),
        "jpeg colour": coded(".jpg", np.dstack([grey] * 3)),
        "jpeg progressive": coded(".jpg", grey, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "jpeg 12 bit": jpeg_12_bit(twelve),
        "tiff 8": coded(".tif", grey),
        "tiff 16": coded(".tif", deep, cv2.IMWRITE_TIFF_COMPRESSION, 1),
        "tiff header first": _header_first(deep),
        "tiff deflate": coded(".tif", deep, cv2.IMWRITE_TIFF_COMPRESSION, 8),
        "webp lossy": coded(".webp", grey, cv2.IMWRITE_WEBP_QUALITY, 90),
        "webp lossless": coded(".webp", grey, cv2.IMWRITE_WEBP_QUALITY, 101),
        "dicom implicit": dicom_file(dicom_dataset(twelve, 12), "1.2.840.10008.1.2"),
        "dicom explicit": _windowed_file(twelve),
        "dicom signed": dicom_file(dicom_dataset(signed, 12)),
        "dicom big endian": _big_endian_file(twelve),
        "dicom deflated": dicom_file(dicom_dataset(twelve, 12), "1.2.840.10008.1.2.1.99"),
        "dicom colour": _colour_file(grey),
        "dicom rle": _rle_file(twelve, 12),
        "dicom jpeg": cr(compressed + "50", jpeg, grey, 8),
        "dicom jpeg 12 bit": cr(compressed + "51", jpeg_12_bit(twelve)),
        "dicom jpeg lossless": cr(compressed + "57", jpeg_lossless(twelve, 12)),
        "dicom jpeg lossless 1": cr(compressed + "70", jpeg_lossless(deep, 16), deep, 16),
        "dicom jpeg-ls": cr(compressed + "80", jpeg_ls(twelve, 12)),
        "dicom jpeg-ls near": cr(compressed + "81", jpeg_ls(grey, 8, 2), grey, 8),
        "dicom jpeg 2000": cr(compressed + "90", jpeg_2000(deep), deep, 16),
        "dicom jpeg 2000 8": cr(compressed + "91", jpeg_2000(grey), grey, 8),
    }


# damage

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
    (9000, 11000),
    (9999, 9999),
    (65535, 1500),
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
    """1 to 30 bits anywhere."""
    for _ in range(int(rng.integers(1, 31))):
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    return data


def flip_header_bits(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """1 to 4 bits in the first 1,200 bytes."""
    for _ in range(int(rng.integers(1, 5))):
        data[int(rng.integers(min(len(data), 1200)))] ^= 1 << int(rng.integers(8))
    return data


def truncate(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Cut off anywhere, rather often in the header."""
    return data[: int(len(data) * rng.random() ** 2)]


def set_extremes(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """Fields of the header to their extremes."""
    for _ in range(int(rng.integers(1, 4))):
        choice = _EXTREMES if rng.random() < 0.5 else _WIDE_EXTREMES
        value = choice[int(rng.integers(len(choice)))]
        at = int(rng.integers(min(len(data), 1200)))
        data[at : at + len(value)] = value
    return data


def set_dicom_geometry(data: bytearray, rng: np.random.Generator, others: list[bytes]) -> bytearray:
    """Rows, Columns, bits and the like (group 0028) to extremes; header extremes in other files."""
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
    """Another size wherever the film's stands: headers that agree with one another, and pixels that do not."""
    (old_height, old_width), (height, width) = FILM_SHAPE, _CLAIMED_SIZES[int(rng.integers(len(_CLAIMED_SIZES)))]
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
    """The signature of another format, over the file's own or before it."""
    signature = _SIGNATURES[int(rng.integers(len(_SIGNATURES)))]
    keep = len(signature) if rng.random() < 0.5 else 0
    return bytearray(signature) + data[keep:]


def splice(data: bytearray, rng: np.random.Generator, others: list[bytes]) -> bytearray:
    """Beginning of this file, end of another."""
    other = others[int(rng.integers(len(others)))]
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(len(other))) :]


def shuffle_parts(data: bytearray, rng: np.random.Generator, _others: list[bytes]) -> bytearray:
    """A stretch removed, doubled or overwritten with noise."""
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
    """Right checksums, so that the damage reaches the decoder."""
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        struct.pack_into(">I", data, end - 4, zlib.crc32(data[position + 4 : end - 4]))
        position = end
    return data


def mutated_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Name of the format, and a damaged file, `count` times; the same for the same seed."""
    files = valid_files()
    names, contents = list(files), list(files.values())
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        name = names[index % len(names)]
        data = bytearray(files[name])
        for _ in range(1 if rng.random() < 0.8 else 2):
            data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng, contents) or bytearray(b"\0")
        if data.startswith(PNG_SIGNATURE) and rng.random() < 0.7:
            data = repair_png(data)
        yield name, bytes(data)


# reading


def outcome_of(data: bytes) -> str:
    """``readable``, the code of a refusal, or ``exception: `` and its kind."""
    try:
        radiograph = read_radiograph(data)
    except Refusal as refusal:
        return refusal.code
    except Exception as error:  # what must not happen is what is counted here
        return f"exception: {type(error).__name__}: {error}"
    return "readable" if is_sound(radiograph) else "exception: pixels break the contract"


def is_sound(radiograph: Radiograph) -> bool:
    """Whether the pixels are what `Radiograph` promises."""
    pixels = radiograph.pixels
    return bool(
        pixels.dtype == np.float32
        and pixels.ndim == 2
        and pixels.flags.c_contiguous
        and np.isfinite(pixels).all()
        and pixels.min() >= 0
        and pixels.max() <= 1
    )


def serve(connection: Connection) -> None:
    """Worker: files come in, (outcome, seconds, peak MiB) go out."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_GIB * 2**30,) * 2)
    cv2.setNumThreads(1)
    while data := connection.recv_bytes():
        start = time.perf_counter()
        outcome = outcome_of(data)
        seconds = time.perf_counter() - start
        connection.send((outcome, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


class Worker:
    """A process that reads, and is replaced when it dies, hangs or grows."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.send_bytes(bytes(128) + b"DICM")  # so that imports are not timed
        self._connection.recv()

    def _replace(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._start()

    def read(self, data: bytes) -> tuple[str, float, float]:
        """Outcome (also ``hang``, ``crash``, ``memory``), seconds, and the worker's peak memory so far, MiB."""
        try:
            self._connection.send_bytes(data)
            if not self._connection.poll(TIME_LIMIT_S):
                self._replace()
                return "hang", TIME_LIMIT_S, 0.0
            outcome, seconds, peak_mib = self._connection.recv()
        except (EOFError, OSError):
            self._replace()
            return "crash", 0.0, 0.0
        if peak_mib > MEMORY_LIMIT_MIB:
            self._replace()
            return "memory", seconds, peak_mib
        return outcome, seconds, peak_mib

    def close(self) -> None:
        """End the process."""
        self._connection.send_bytes(b"")
        self._process.join()


@dataclass
class Tally:
    """What became of the damaged files of one format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    peak_mib: float = 0.0

    def add(self, outcome: str, seconds: float, peak_mib: float) -> None:
        """Count one file."""
        self.outcomes[outcome.partition(":")[0]] += 1
        self.slowest_s = max(self.slowest_s, seconds)
        self.peak_mib = max(self.peak_mib, peak_mib)


FAILURES = ("crash", "hang", "memory", "exception")


def run(count: int, seed: int, keep: str | None) -> dict[str, Tally]:
    """Read `count` damaged files; those that fail are kept in a folder if one is given."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    worker = Worker()
    for index, (name, data) in enumerate(mutated_files(count, seed)):
        outcome, seconds, peak_mib = worker.read(data)
        tallies[name].add(outcome, seconds, peak_mib)
        if outcome.partition(":")[0] in FAILURES:
            print(f"file {index} ({name}): {outcome}", file=sys.stderr)
            if keep:
                with open(f"{keep}/{index}.bin", "wb") as file:  # noqa: PTH123  # a name, not a path, is at hand
                    file.write(data)
    worker.close()
    return tallies


def print_table(tallies: dict[str, Tally]) -> None:
    """A Markdown table, a row a format."""
    found = {outcome for tally in tallies.values() for outcome in tally.outcomes}
    columns = ["readable", *sorted(found - {"readable", *FAILURES}), *FAILURES]
    print("| format | files | " + " | ".join(columns) + " | slowest, s | peak, MiB |")
    print("|---" * (len(columns) + 4) + "|")
    for name, tally in tallies.items():
        counts = " | ".join(str(tally.outcomes[column]) for column in columns)
        print(f"| {name} | {tally.outcomes.total()} | {counts} | {tally.slowest_s:.3f} | {tally.peak_mib:.0f} |")
    total: Counter[str] = sum((tally.outcomes for tally in tallies.values()), Counter())
    slowest, peak = (max(getattr(tally, of) for tally in tallies.values()) for of in ("slowest_s", "peak_mib"))
    counts = " | ".join(str(total[column]) for column in columns)
    print(f"| **all** | {total.total()} | {counts} | {slowest:.3f} | {peak:.0f} |")


def main() -> int:
    """Run, print, and say by the exit status whether all went well."""
    parser = argparse.ArgumentParser(description="Damaged files through read_radiograph.")
    parser.add_argument("--count", type=int, default=10_000, help="how many damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="folder for the files that failed")
    arguments = parser.parse_args()
    start = time.perf_counter()
    tallies = run(arguments.count, arguments.seed, arguments.keep)
    print_table(tallies)
    failures = sum(tally.outcomes[outcome] for tally in tallies.values() for outcome in FAILURES)
    print(f"\n{arguments.count} files, seed {arguments.seed}, {time.perf_counter() - start:.0f} s: {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
