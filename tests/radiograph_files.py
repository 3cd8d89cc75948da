"""A drawn radiograph in every format and DICOM transfer syntax, for the tests and for the fuzzer.

The encoders of lossless and 12-bit JPEG are our own because the free libraries write neither.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.phantom import draw_hand
from boneage.reading.huffman_jpeg.sequential import ZIGZAG, dct_matrix

RADIOGRAPH_SHAPE = (110, 90)


def drawn_radiograph(shape: tuple[int, int] = RADIOGRAPH_SHAPE, bits: int = 16) -> NDArray[np.uint16]:
    """Draw the phantom, from 0 to the highest level of `bits` bits: uint16 (H, W)."""
    radiograph = draw_hand(10.0, height=shape[0], width=shape[1])
    radiograph = (radiograph - radiograph.min()) / (radiograph.max() - radiograph.min())
    levels: NDArray[np.uint16] = np.rint(radiograph * (2**bits - 1)).astype(np.uint16)
    return levels


def coded(suffix: str, pixels: NDArray[Any], *options: int) -> bytes:
    """Encode an image with OpenCV."""
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise RuntimeError(f"OpenCV cannot write {suffix}")
    return data.tobytes()


def jpeg_2000(pixels: NDArray[Any]) -> bytes:
    """Encode a lossless JPEG 2000 codestream."""
    file = coded(".jp2", pixels, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000)
    return file[file.index(b"\xff\x4f\xff\x51") :]


def jpeg_ls(pixels: NDArray[Any], bits: int, error: int = 0) -> bytes:
    """Encode a JPEG-LS stream, near-lossless if `error` allows one."""
    import jpeg_ls as charls  # type: ignore[import-untyped]  # ships no types

    return bytes(charls.encode_buffer(pixels.tobytes(), *pixels.shape, 1, bits, lossy_error=error))


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _bit_stream(values: NDArray[np.int64], lengths: NDArray[np.int64]) -> bytes:
    """Concatenate values of these lengths in bits, fill up with ones, and stuff zero bytes after FF."""
    owner = np.repeat(np.arange(len(values)), lengths)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    bits = (values[owner] >> (lengths[owner] - 1 - place)) & 1
    padded = np.concatenate([bits, np.ones(-len(bits) % 8, np.int64)]).astype(np.uint8)
    return np.packbits(padded).tobytes().replace(b"\xff", b"\xff\x00")


def _sizes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bits of the magnitude (T.81, table F.1)."""
    return np.ceil(np.log2(np.abs(values) + 1.0)).astype(np.int64)


def _extra(values: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(values < 0, values + (1 << sizes) - 1, values)


def _flat_table(identity: int, length: int, symbols: list[int]) -> bytes:
    """Encode a Huffman table whose codes have one length: the code is the symbol's place in the list."""
    counts = [len(symbols) if bits == length else 0 for bits in range(1, 17)]
    return _segment(0xC4, bytes([identity, *counts, *symbols]))


def _predicted(levels: NDArray[np.int64], predictor: int, middle: int) -> NDArray[np.int64]:
    """Return the prediction of each pixel (T.81, table H.1)."""
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
    """Encode lossless JPEG, process 14 (T.81, annex H)."""
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


def jpeg_lossless_colour(planes: NDArray[np.uint16], bits: int, *, interleaved: bool = True) -> bytes:
    """Encode lossless JPEG of three planes (3, H, W), each with its own Huffman table, in one scan or in three."""
    _, height, width = planes.shape
    pieces = []
    for place, plane in enumerate(planes):
        levels = plane.astype(np.int64)
        differences = (levels - _predicted(levels, 1, 1 << (bits - 1))).ravel()
        sizes = _sizes(differences)
        pieces.append(((sizes << sizes) | _extra(differences, sizes), sizes + 5 + place))
    tables = b"".join(_flat_table(place, 5 + place, list(range(17))) for place in range(3))
    frame = struct.pack(">BHHB", bits, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0])
    head = b"\xff\xd8" + _segment(0xC3, frame) + tables
    if interleaved:
        scans = [
            (bytes([1, 0x00, 2, 0x10, 3, 0x20]), [np.stack(part, axis=1).ravel() for part in zip(*pieces, strict=True)])
        ]
    else:
        scans = [(bytes([place + 1, place << 4]), list(piece)) for place, piece in enumerate(pieces)]
    body = b"".join(
        _segment(0xDA, bytes([len(names) // 2]) + names + bytes([1, 0, 0])) + _bit_stream(*piece)
        for names, piece in scans
    )
    return head + body + b"\xff\xd9"


def jpeg_12_bit(pixels: NDArray[np.uint16], quantum: int = 4) -> bytes:
    """Encode sequential DCT JPEG of 12 bits (T.81, annex F)."""
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
    """Yield the value and length of each piece of a block's code."""
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
    """Return a CR object around native grey pixels, with more elements by keyword."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["drawn radiograph"])
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
    """Return the bytes of a DICOM file, with another transfer syntax and a codestream if given."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = UID(syntax)
    if codestream is not None:
        dataset.PixelData = encapsulate([codestream])
        dataset["PixelData"].VR = "OB"
    buffer = BytesIO()
    uid = str(dataset.file_meta.TransferSyntaxUID)
    implicit, little = uid == "1.2.840.10008.1.2", uid != "1.2.840.10008.1.2.2"
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=implicit, little_endian=little)
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
    """Return a file with every element that changes the grey levels, set so that the radiograph looks the same."""
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
    """Encode an uncompressed TIFF whose pixels come last, so that truncation removes them."""
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


def tiff(
    pixels: NDArray[Any],
    *,
    order: str = "<",
    big: bool = False,
    by_plane: bool = False,
    more: dict[int, int] | None = None,
) -> bytes:
    """Encode an uncompressed TIFF or BigTIFF of one strip, or of one for each plane. Tags in `more` replace others."""
    return tiff_pages([(pixels, more or {})], order=order, big=big, by_plane=by_plane)


def tiff_pages(
    pages: list[tuple[NDArray[Any], dict[int, int]]], *, order: str = "<", big: bool = False, by_plane: bool = False
) -> bytes:
    """Encode a TIFF like `tiff`, with several pages, each with its own tags."""
    count_letter, offset_letter, inline = ("Q", "Q", 8) if big else ("H", "I", 4)
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(order + "HHH", 43, 8, 0) if big else struct.pack(order + "H", 42))
    out = bytearray(head + bytes(inline))
    link = len(head)
    for pixels, more in pages:
        height, width = pixels.shape[:2]
        samples = pixels.shape[2] if pixels.ndim == 3 else 1
        stored = pixels.transpose(2, 0, 1) if by_plane else pixels
        kind: Any = pixels.dtype.newbyteorder("<" if order == "<" else ">")
        data = np.ascontiguousarray(stored, kind).tobytes()
        parts = samples if by_plane else 1
        start = len(out)
        out += data
        tags: dict[int, list[int]] = {
            256: [width],
            257: [height],
            258: [8 * pixels.itemsize] * samples,
            259: [1],
            262: [2 if samples == 3 else 1],
            273: [start + part * len(data) // parts for part in range(parts)],
            277: [samples],
            278: [height],
            279: [len(data) // parts] * parts,
            284: [2 if by_plane else 1],
            339: [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * samples,
        } | {tag: [value] for tag, value in more.items()}
        entries = b""
        for tag, values in sorted(tags.items()):
            content = struct.pack(f"{order}{len(values)}{'I' if tag in {273, 279} else 'H'}", *values)
            if len(content) > inline:
                at = len(out)
                out += content
                content = struct.pack(order + offset_letter, at)
            kind = 4 if tag in {273, 279} else 3
            entries += struct.pack(f"{order}HH{offset_letter}", tag, kind, len(values)) + content.ljust(inline, b"\0")
        out[link : link + inline] = struct.pack(order + offset_letter, len(out))
        out += struct.pack(order + count_letter, len(tags)) + entries
        link = len(out)
        out += bytes(inline)
    return bytes(out)


def bmp(pixels: NDArray[np.uint8], *, bits: int = 8, top_down: bool = False, core: bool = False) -> bytes:
    """Encode a BMP of a grey image: with a palette, or with 24 or 32 bits."""
    height, width = pixels.shape
    rows = pixels if top_down else pixels[::-1]
    if bits > 8:
        rows = np.dstack([rows] * 3 + ([np.zeros_like(rows)] if bits == 32 else [])).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    palette = b"".join(bytes([level] * 3 + ([] if core else [0])) for level in range(256)) if bits == 8 else b""
    if core:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        header = struct.pack("<IiiHHIIiiII", 40, width, -height if top_down else height, 1, bits, 0, 0, 0, 0, 0, 0)
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIII", b"BM", start + rows.size, 0, start) + header + palette + rows.tobytes()


def with_palette(dataset: Any, channels: NDArray[Any], bits: int, *, first: int = 0) -> Any:
    """Add a palette (3, n) for the codes of a data set, with 16-bit entries if there are more than 8 bits."""
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    for name, entries in zip(("Red", "Green", "Blue"), channels, strict=True):
        descriptor = [len(entries) % 65536, first % 65536, bits]
        dataset.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", descriptor)
        dataset.add_new(
            f"{name}PaletteColorLookupTableData", "OW", entries.astype("<u2" if bits > 8 else "u1").tobytes()
        )
    return dataset


def valid_files() -> dict[str, bytes]:
    """Return the drawn radiograph in every format and transfer syntax, by name."""
    deep, twelve = drawn_radiograph(bits=16), drawn_radiograph(bits=12)
    grey = drawn_radiograph(bits=8).astype(np.uint8)
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
        "tiff big": tiff(deep, big=True),
        "tiff signed": tiff((deep.astype(np.int32) - 32768).astype(np.int16), order=">"),
        "tiff float": tiff((deep / 65535).astype(np.float32)),
        "tiff by plane": tiff(np.dstack([deep] * 3), by_plane=True),
        "bmp": bmp(grey),
        "jp2": coded(".jp2", deep, cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000),
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
        "dicom jpeg lossless colour": dicom_file(
            dicom_dataset(np.dstack([grey] * 3), 8, photometric="RGB", SamplesPerPixel=3, PlanarConfiguration=0),
            compressed + "70",
            jpeg_lossless_colour(np.stack([grey] * 3).astype(np.uint16), 8),
        ),
        "dicom palette": dicom_file(with_palette(dicom_dataset(grey, 8), np.arange(256)[None].repeat(3, 0) * 257, 16)),
        "dicom jpeg-ls": cr(compressed + "80", jpeg_ls(twelve, 12)),
        "dicom jpeg-ls near": cr(compressed + "81", jpeg_ls(grey, 8, 2), grey, 8),
        "dicom jpeg 2000": cr(compressed + "90", jpeg_2000(deep), deep, 16),
        "dicom jpeg 2000 8": cr(compressed + "91", jpeg_2000(grey), grey, 8),
    }


VALID = valid_files()
