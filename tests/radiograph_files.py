"""A drawn film in every format and DICOM transfer syntax: what tests read, and what the fuzzer damages.

The encoders of lossless and 12-bit JPEG are written out here because the free libraries write neither.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.huffman_jpeg import ZIGZAG, dct_matrix
from boneage.phantom import draw_hand

FILM_SHAPE = (110, 90)


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
    import jpeg_ls as charls  # type: ignore[import-untyped]  # ships no types

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
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

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
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

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
    from pydicom.uid import RLELossless

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
    """All that changes how a film looks, set so that it looks the same."""
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    height, width = pixels.shape
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
            ShutterShape=["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
            ShutterLeftVerticalEdge=1,
            ShutterRightVerticalEdge=width,
            ShutterUpperHorizontalEdge=1,
            ShutterLowerHorizontalEdge=height,
            CenterOfCircularShutter=[height // 2, width // 2],
            RadiusOfCircularShutter=height,
            VerticesOfThePolygonalShutter=[1, 1, 1, width, height, width, height, 1],
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


VALID = valid_files()
