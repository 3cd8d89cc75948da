"""DICOM objects to grey levels: CR, DX and Secondary Capture, in the transfer syntaxes that these come in.

The grey scale is built as PS3.4, N.2 has it: stored values, modality LUT (or slope and intercept), VOI LUT (or window),
presentation LUT (or its shape; MONOCHROME1 is turned). All of it is a function of the stored value alone, so it is
worked out once for each of the at most 65,536 stored values, and the radiograph is mapped through that table.
"""

from __future__ import annotations

import logging
import struct
import sys
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Samples
from boneage.errors import Rejection, RejectionCode
from boneage.reading.dicom.bounds import BYTES, BoundedBytes, bounded_value, quiet_pydicom
from boneage.reading.dicom.facts import DIGITAL_XRAY_FOR_PROCESSING, number, numbers, read_facts, text
from boneage.reading.dicom.geometry import Shape, pixel_aspect, read_shutter, shuttered, with_square_pixels
from boneage.reading.dicom.luts import Lut, Palette, read_lut, read_palette
from boneage.reading.facts import RadiographFacts, ReadLimits
from boneage.reading.image_headers import (
    CodestreamHeader,
    damaged,
    read_jpeg2000_codestream,
    read_jpeg_codestream,
    several_frames,
    unsupported,
)
from boneage.reading.images import (
    FEWEST_LEVELS,
    check_bits,
    check_coloured,
    check_levels,
    check_samples,
    decode_jpeg,
    decode_jpeg_2000,
    grey_samples,
)

if TYPE_CHECKING:
    from pydicom import Dataset

logger = logging.getLogger(__name__)

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"
_NATIVE = {IMPLICIT_LITTLE, EXPLICIT_LITTLE, DEFLATED, EXPLICIT_BIG}
_JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)}
_JPEG_LS = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
_JPEG_2000 = {f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203)}

_RADIOGRAPH_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
    "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
    DIGITAL_XRAY_FOR_PROCESSING,
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.7.2",  # Multi-frame Grayscale Byte Secondary Capture (of one frame)
    "1.2.840.10008.5.1.4.1.1.7.3",  # Multi-frame Grayscale Word Secondary Capture (of one frame)
    "1.2.840.10008.5.1.4.1.1.7.4",  # Multi-frame True Color Secondary Capture (of one frame)
}
_PROJECTION_MODALITIES = {"CR", "DX", "RG", "RF", "XR", "DR"}
"""CR, DX, RG (digitised radiograph) and RF (taken at a fluoroscope); XR and DR are not defined terms but are
written."""
_RADIOGRAPH_MODALITIES = _PROJECTION_MODALITIES | {"SC", "OT"}
"""OT is for Secondary Capture; SC is not a defined term but is written."""
_STANDARD_UIDS = "1.2.840.10008."
"""Root of DICOM's own identifiers; makers' private storage classes stand under others."""
_DICOMDIR = "1.2.840.10008.1.3.10"

_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_NEW_SYNTAXES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
}
"""Transfer syntaxes that pydicom does not name yet."""

_ITEM = b"\xfe\xff\x00\xe0"
_MOST_FRAGMENTS = 65_536
_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"

_PALETTE = "PALETTE COLOR"
_GREY = {"MONOCHROME1", "MONOCHROME2", _PALETTE}
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_ROWS_AT_ONCE = 256
_MOST_WINDOWS = 8
_PIXELS_FOR_BITS = 2_000_000
_FEWEST_WRAPS = 16
_PICTURE_SHARE = 0.2
"""Of neighbours that differ in a bit of the picture, so many lie equally far apart without it: 0.45 to 0.99 on 40
radiographs of the RSNA challenge, for each of their four highest bits. For an overlay on them it is 0.00."""
_EVEN = 1e-4
"""A radiograph whose levels, of 0..1, reach no further is even (as for `boneage.hand.views.measure_grey`)."""


@dataclass(frozen=True)
class _Layout:
    """How pixels are stored (PS3.3, C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    by_plane: bool
    syntax: str

    @property
    def bytes_per_pixel(self) -> int:
        return self.samples * self.bits_allocated // 8

    @property
    def stored_range(self) -> tuple[float, float]:
        """Lowest and highest value that may be stored."""
        half = 2.0 ** (self.bits_stored - 1)
        return (-half, half - 1) if self.signed else (0.0, 2 * half - 1)


@dataclass(frozen=True)
class _Coded:
    """Stored samples: unsigned codes of `bits` bits, right-justified; two's complement if the layout is signed."""

    samples: Samples
    bits: int
    ybr: bool = False
    bits_differ: bool = False
    size_differs: bool = False


def read_dicom(source: bytes | Dataset, limits: ReadLimits) -> tuple[NDArray[np.float32], RadiographFacts]:
    """Read a DICOM file, or a data set that was read before.

    Returns:
        Pixels float32 (H, W), 0..1, bone bright, and the facts. The range 0..1 is that of the window's or VOI LUT's
        output: a VOI LUT goes before a window, and of several windows the first is used that does not lie beside the
        radiograph's values. Without any it is the range of these values after the modality LUT. Pixel padding, and what
        the display shutter hides, is 0 and has no part in that range. A grey radiograph stored in colour is 0..1 over
        all of its bits, one with a palette over the bits of its entries. Pixels that are not square are made so
        (`boneage.reading.dicom.geometry.with_square_pixels`).

    Raises:
        Rejection: ``unreadable``, ``unsupported_format`` (another compression), ``too_large``, ``too_small``,
            ``not_grayscale``, ``several_frames``, ``not_a_radiograph``, or ``no_contrast`` if the radiograph is even
            or its window makes it so.
    """
    try:
        header = _read_header(source, limits)
        pixels, facts = header.levels()
        return with_square_pixels(pixels, facts, header.aspect, limits.max_pixels)
    except Rejection:
        raise
    except RecursionError:
        raise damaged("the sequences of the DICOM object are nested too deeply") from None
    # A damaged file makes pydicom, pyjpegls and NumPy raise nearly every kind of error there is. Its text may quote
    # patient data, so only its kind is told.
    except Exception as error:
        raise damaged(f"the DICOM object is damaged ({type(error).__name__})") from None


@dataclass
class _Header:
    """All that the header says, and the bytes of the radiograph."""

    layout: _Layout
    grey_scale: _GreyScale
    facts: RadiographFacts
    aspect: float
    shutter: tuple[Shape, ...]
    codestream: CodestreamHeader | None
    content: bytes = field(repr=False)

    def levels(self) -> tuple[NDArray[np.float32], RadiographFacts]:
        """The radiograph as stored, (H, W), 0..1, bone bright, and its facts; what the shutter hides is 0.

        Lets go of the bytes.
        """
        coded, self.content = _decode(self.content, self.layout, self.codestream), b""
        hidden = shuttered(self.shutter, self.layout.rows, self.layout.columns, self.aspect)
        if self.layout.samples == 3:
            pixels = _colour_to_grey(coded, self.layout)
        else:
            pixels = self.grey_scale.apply(coded, self.layout, hidden)
        if hidden is not None:
            pixels[hidden] = 0.0
        facts = self.facts
        if coded.bits_differ:
            facts = replace(facts, bits_differ=True, bits_stored=coded.bits)
        return pixels, replace(facts, size_differs=facts.size_differs or coded.size_differs)


def _read_header(source: bytes | Dataset, limits: ReadLimits) -> _Header:
    with quiet_pydicom():
        dataset = _parse(source, limits) if isinstance(source, bytes) else source
        _check_kind(dataset)
        layout = _read_layout(dataset, limits)
        content = _pixel_bytes(dataset, layout)
        codestream = _read_codestream(content, layout)
        layout, size_differs = _of_one_size(layout, codestream, limits)
        grey_scale = _read_grey_scale(dataset, layout)
        facts = read_facts(
            dataset, bits_stored=layout.bits_stored, photometric=layout.photometric, inverted=grey_scale.inverted
        )
        facts = replace(facts, size_differs=size_differs)
        aspect = pixel_aspect(dataset, facts)
        limits.check_shape(layout.rows * aspect, layout.columns)
        shutter = read_shutter(dataset)
    return _Header(layout, grey_scale, facts, aspect, shutter, codestream, content)


# the file


def _parse(data: bytes, limits: ReadLimits) -> Dataset:
    dataset = _parse_once(data, limits)
    if "PixelData" not in dataset and _PIXEL_DATA in data:
        # pydicom drops compressed pixels whose sequence ends with the file. Whether they are whole, the decoder finds.
        again = _parse_once(data + _SEQUENCE_DELIMITER, limits)
        if "PixelData" in again:
            logger.warning("the sequence of the DICOM object's compressed pixels has no end: the file's end is taken")
            return again
    return dataset


def _parse_once(data: bytes, limits: ReadLimits) -> Dataset:
    import pydicom  # noqa: PLC0415  # slow to import, and not needed for other files
    from pydicom.filereader import read_dataset  # noqa: PLC0415

    body = data[132:] if data[128:132] == b"DICM" else data
    if not body.startswith(b"\x02\x00"):
        return pydicom.dcmread(BoundedBytes(data), force=True)
    stream = BoundedBytes(body)
    meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if text(meta, "TransferSyntaxUID") != DEFLATED:
        # The preamble was optional for long, but pydicom takes what has none for a data set without file meta.
        return pydicom.dcmread(BoundedBytes(data if body is not data else bytes(128) + b"DICM" + data), force=True)
    # pydicom would inflate without any bound.
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(body[_meta_end(body) :], limits.max_bytes + 1)
    limits.check_bytes(len(inflated))
    if not inflater.eof:
        raise damaged("the deflated DICOM object is cut off")
    dataset = read_dataset(BoundedBytes(inflated), False, True)
    dataset.file_meta = pydicom.dataset.FileMetaDataset(meta)
    return dataset


def _meta_end(body: bytes) -> int:
    """Where the file meta group ends, from File Meta Information Group Length (PS3.10, 7.1)."""
    if body[:8] != b"\x02\x00\x00\x00UL\x04\x00":
        raise damaged("the DICOM file meta group has no length")
    return 12 + int(struct.unpack_from("<I", body, 8)[0])


def _check_kind(dataset: Dataset) -> None:
    modality = (text(dataset, "Modality") or "").upper()
    sop_class = text(dataset, "SOPClassUID")
    if _is_directory(dataset):
        raise Rejection(
            RejectionCode.NOT_A_RADIOGRAPH,
            "The file is a DICOMDIR, the index of a CD or folder. Give the image files that it lists.",
        )
    if sop_class and sop_class not in _RADIOGRAPH_CLASSES and not _is_private_radiograph(sop_class, modality):
        raise _not_a_radiograph(_class_name(sop_class))
    if modality and modality not in _RADIOGRAPH_MODALITIES:
        raise _not_a_radiograph(f"its modality is {modality[:16]}")
    if "PixelData" not in dataset:
        if sop_class or modality:
            raise _not_a_radiograph("it holds no pixels")
        raise damaged("it is neither a picture nor a DICOM object with pixels")
    frames = number(dataset, "NumberOfFrames")
    if frames is not None and frames < 1:
        logger.warning("the DICOM object says that it holds %.0f frames: read as one", frames)
    elif frames is not None and frames != 1:
        raise several_frames(f"{frames:.0f} frames")


def _not_a_radiograph(why: str) -> Rejection:
    return Rejection(
        RejectionCode.NOT_A_RADIOGRAPH,
        f"The DICOM object is not a radiograph: {why}. Choose the object that holds the radiograph of the hand.",
    )


def _is_directory(dataset: Dataset) -> bool:
    meta = getattr(dataset, "file_meta", None)
    stated = text(meta, "MediaStorageSOPClassUID") if meta is not None else None
    return stated == _DICOMDIR or "DirectoryRecordSequence" in dataset


def _is_private_radiograph(sop_class: str, modality: str) -> bool:
    """Makers store radiographs under classes of their own, with the pixel module of CR."""
    return not sop_class.startswith(_STANDARD_UIDS) and modality in _PROJECTION_MODALITIES


def _class_name(sop_class: str) -> str:
    from pydicom.uid import UID  # noqa: PLC0415  # slow to import

    name = UID(sop_class).name if sop_class.startswith(_STANDARD_UIDS) else sop_class
    return "it is of another SOP class" if name == sop_class else f"it is of the class {name}"


def _integer(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value = number(dataset, keyword)
    if value is None:
        if default is None:
            raise damaged(f"the DICOM object has no proper {keyword}")
        return default
    return int(value)


def _read_layout(dataset: Dataset, limits: ReadLimits) -> _Layout:
    bits_allocated = _integer(dataset, "BitsAllocated")
    bits_stored = _integer(dataset, "BitsStored", bits_allocated)
    layout = _Layout(
        rows=_integer(dataset, "Rows"),
        columns=_integer(dataset, "Columns"),
        samples=_integer(dataset, "SamplesPerPixel", 1),
        photometric=(text(dataset, "PhotometricInterpretation") or "").upper(),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=_integer(dataset, "HighBit", bits_stored - 1),
        signed=_integer(dataset, "PixelRepresentation", 0) == 1,
        by_plane=_integer(dataset, "PlanarConfiguration", 0) == 1,
        syntax=_transfer_syntax(dataset),
    )
    _check_layout(layout)
    _check_syntax(layout.syntax)
    limits.check_size(layout.rows, layout.columns, layout.bytes_per_pixel)
    check_bits(layout.bits_stored)
    return layout


def _check_layout(layout: _Layout) -> None:
    if layout.photometric not in (_GREY if layout.samples == 1 else _COLOURS):
        raise damaged("the DICOM object does not say how its grey levels are meant (Photometric Interpretation)")
    if layout.samples not in {1, 3} or layout.bits_allocated not in {8, 16}:
        raise damaged("the DICOM object has a kind of pixels that is not supported (8 and 16 bits allocated are)")
    if not 1 <= layout.bits_stored <= layout.high_bit + 1 <= layout.bits_allocated:
        raise damaged("the DICOM object contradicts itself on the bits of a pixel")


def _transfer_syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    stated = text(meta, "TransferSyntaxUID") if meta is not None else None
    if stated:
        return stated
    _, little = getattr(dataset, "original_encoding", (None, None))
    return EXPLICIT_BIG if little is False else EXPLICIT_LITTLE


def _pixel_bytes(dataset: Dataset, layout: _Layout) -> bytes:
    """The stored pixels of the one frame: raw, or one codestream, its fragments joined (PS3.5, A.4)."""
    content, vr = bounded_value(dataset, "PixelData", BYTES, longest=sys.maxsize) or (None, "")
    if not isinstance(content, bytes):
        raise damaged("the DICOM object's pixels are not bytes")
    if layout.syntax in _NATIVE:
        if layout.syntax == EXPLICIT_BIG and layout.bits_allocated == 8 and vr == "OW":
            return np.frombuffer(content[: len(content) // 2 * 2], ">u2").astype("<u2").tobytes()
        return content
    return _joined_fragments(content)


def _check_syntax(syntax: str) -> None:
    """Reject what is compressed in another way, by name."""
    if syntax in _NATIVE | _JPEG | _JPEG_LS | _JPEG_2000 | {RLE}:
        return
    from pydicom.uid import UID  # noqa: PLC0415  # slow to import

    uid = UID(syntax)
    name = _NEW_SYNTAXES.get(syntax) or (uid.name if syntax.startswith(_STANDARD_UIDS) else syntax)
    if any(word in name for word in ("MPEG", "HEVC", "SMPTE")) and "JPEG" not in name:
        raise unsupported(f"a DICOM video ({name})", "Give the DICOM object of the radiograph itself.")
    known = "in an unknown way" if name == syntax else f"as {name}{', retired' if uid.is_retired else ''}"
    raise unsupported(f"a DICOM object compressed {known}", "Export it uncompressed, or as JPEG 2000 or lossless JPEG.")


def _joined_fragments(content: bytes) -> bytes:
    """One codestream from its fragments (PS3.5, A.4); the first item is the offset table.

    A last fragment that is shorter than it says is taken as it is: whether the codestream is whole, its decoder finds.
    """
    fragments: list[bytes] = []
    position = 0
    while position + 8 <= len(content) and content[position : position + 4] == _ITEM:
        if len(fragments) == _MOST_FRAGMENTS:
            raise damaged("the DICOM object's compressed pixels are cut into too many pieces")
        (length,) = struct.unpack_from("<I", content, position + 4)
        fragments.append(content[position + 8 : position + 8 + length])
        position += 8 + length
    if len(fragments) < 2:
        raise damaged("the DICOM object's compressed pixels are cut off")
    return b"".join(fragments[1:])


# stored values


def _decode(content: bytes, layout: _Layout, codestream: CodestreamHeader | None) -> _Coded:
    if codestream is None:
        return _decode_rle(content, layout) if layout.syntax == RLE else _decode_native(content, layout)
    if layout.syntax in _JPEG_2000:
        coded = _decode_jpeg_2000(content, codestream, layout)
    else:
        coded = _codes(decode_jpeg(content, codestream), codestream, layout)
    if coded.samples.shape[:2] != (layout.rows, layout.columns):
        raise damaged("its pixels do not have the size that its header names")
    return coded


def _decode_native(content: bytes, layout: _Layout) -> _Coded:
    samples = layout.samples
    if layout.photometric == "YBR_FULL_422" and len(content) < layout.rows * layout.columns * 3:
        samples = 2  # else it is called subsampled, but is not
    dtype = np.dtype(f"{'>' if layout.syntax == EXPLICIT_BIG else '<'}u{layout.bits_allocated // 8}")
    count = layout.rows * layout.columns * samples
    size_differs = _check_native_length(content, count * dtype.itemsize, layout)
    stored = np.frombuffer(content, dtype, count)
    native: Samples = stored.astype(dtype.newbyteorder("="), copy=False)
    coded = _stored_bits(_shape(native, layout, samples == 2), layout)
    return replace(coded, size_differs=size_differs)


def _check_native_length(content: bytes, size: int, layout: _Layout) -> bool:
    """Whether so much more is stored than one picture of `size` bytes that the header may be another picture's."""
    if len(content) < size:
        raise damaged("the DICOM object has fewer pixels than its header names")
    if len(content) >= 2 * size:
        if len(content) // size * size == len(content):
            raise several_frames(f"{len(content) // size} frames' pixels")
        raise damaged("the DICOM object has far more pixels than its header names")
    excess = content[size:]
    if len(excess) <= layout.columns * layout.bytes_per_pixel:
        return False
    logger.warning("the DICOM object has %d bytes more than its pixels need: not used", len(excess))
    unit = layout.bits_allocated // 8
    return excess[:-unit] != excess[unit:]  # padding is even


def _shape(native: Samples, layout: _Layout, subsampled: bool) -> Samples:
    if layout.samples == 1:
        return native.reshape(layout.rows, layout.columns)
    if subsampled:  # two luminances, then the two chrominances that they share (PS3.3, C.7.6.3.1.2)
        four = native.reshape(layout.rows, layout.columns // 2, 4)
        chroma = np.repeat(four[:, :, 2:], 2, axis=1)
        both: Samples = np.dstack([four[:, :, :2].reshape(layout.rows, -1), chroma])
        return both
    if layout.by_plane:
        planes: Samples = native.reshape(3, layout.rows, layout.columns)
        return planes.transpose(1, 2, 0).copy()
    return native.reshape(layout.rows, layout.columns, 3)


def _decode_rle(content: bytes, layout: _Layout) -> _Coded:
    """PS3.5, annex G: a segment for each byte of each sample, the high byte first."""
    count, *offsets = struct.unpack_from("<16I", content)
    if count != layout.bytes_per_pixel or offsets[0] != 64:
        raise damaged("the run-length coded pixels have the wrong number of segments")
    ends = [*offsets[1:count], len(content)]
    size = layout.rows * layout.columns
    planes = [_run_length_segment(content[start:end], size) for start, end in zip(offsets, ends, strict=False)]
    stacked = np.stack(planes, axis=1)
    native: Samples = stacked.view(">u2").astype(np.uint16) if layout.bits_allocated == 16 else stacked
    samples = (
        native[:, 0].reshape(layout.rows, layout.columns)
        if layout.samples == 1
        else native.reshape(layout.rows, layout.columns, 3)
    )
    return _stored_bits(samples, layout)


def _stored_bits(samples: Samples, layout: _Layout) -> _Coded:
    """Samples right-justified and without the bits beyond those stored, which may be an old overlay (PS3.5, 8.1.1)."""
    ybr = layout.photometric.startswith("YBR")
    if layout.bits_stored == layout.bits_allocated:
        return _Coded(samples, layout.bits_stored, ybr)
    shift = layout.high_bit + 1 - layout.bits_stored
    codes: Samples = samples >> samples.dtype.type(shift)
    bits = _used_bits(codes, layout) if layout.samples == 1 else layout.bits_stored
    codes &= codes.dtype.type(2**bits - 1)
    return _Coded(codes, bits, ybr, bits_differ=bits != layout.bits_stored)


def _used_bits(codes: Samples, layout: _Layout) -> int:
    """Bits of a pixel that carry picture, at least as many as are stored by the header.

    A bit above these belongs to the picture if it goes on where the bits below it wrap: where two neighbours differ in
    it, they lie equally far apart with it and without it, as on a clock. An overlay's bit stands alone.
    """
    stored, highest = layout.bits_stored, layout.bits_allocated - (layout.high_bit + 1 - layout.bits_stored)
    if codes.max() < 2**stored:
        return stored
    rows = codes[:: 1 + codes.size // _PIXELS_FOR_BITS].astype(np.int32)
    sign = (rows >> (stored - 1)) & 1
    if layout.signed and np.array_equal(rows >> stored, sign * (2 ** (highest - stored) - 1)):
        return stored  # the sign, extended to all bits
    used = stored
    for bits in range(stored + 1, highest + 1):
        differing = ((rows[:, 1:] ^ rows[:, :-1]) >> (bits - 1) & 1).astype(bool)
        steps = np.diff(rows, axis=1)[differing]
        if len(steps) < _FEWEST_WRAPS:
            continue
        if np.mean(_on_clock(steps, bits) == _on_clock(steps, bits - 1)) <= _PICTURE_SHARE:
            break
        used = bits
    return used


def _on_clock(steps: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    """Differences modulo 2 to the power of `bits`, the nearer way round."""
    half = 1 << (bits - 1)
    wrapped: NDArray[np.int32] = ((steps + half) & (2 * half - 1)) - half
    return wrapped


_RUN = np.arange(256)
_RUN_STEPS = np.where(_RUN < 128, 2 + _RUN, np.where(_RUN > 128, 2, 1)).astype(np.uint8)
"""Bytes from one head of a run to the next, by the head; 128 stands for nothing."""
_RUN_LENGTHS = np.where(_RUN < 128, 1 + _RUN, np.where(_RUN > 128, 257 - _RUN, 0))
"""Bytes that a run stands for, by its head."""
_RUNS_AT_ONCE = 1 << 14


def _run_length_segment(coded: bytes, size: int) -> NDArray[np.uint8]:
    """Exactly `size` bytes; what would go on after them is left coded."""
    coded = coded[: 2 * size + _RUNS_AT_ONCE]  # a byte takes two at most; the rest would stand for nothing
    content = np.frombuffer(coded, np.uint8)
    steps = _RUN_STEPS[content].tobytes()
    out = np.empty(size, np.uint8)
    position, done = 0, 0
    while done < size and position < len(coded):
        heads: list[int] = []
        for _ in range(_RUNS_AT_ONCE):
            if position >= len(coded):
                break
            heads.append(position)
            position += steps[position]
        part = _runs(content, np.array(heads), size - done)
        out[done : done + len(part)] = part
        done += len(part)
    if done < size:
        raise damaged("the run-length coded pixels are cut off")
    return out


def _runs(content: NDArray[np.uint8], heads: NDArray[np.int64], most: int) -> NDArray[np.uint8]:
    """What the runs with these heads stand for, at most so many bytes."""
    lengths = _RUN_LENGTHS[content[heads]]
    ends = np.cumsum(lengths)
    literal = content[heads] < 128
    within = np.arange(min(most, int(ends[-1])))
    run = np.repeat(np.arange(len(heads)), lengths)[: len(within)]
    place = heads[run] + 1 + np.where(literal[run], within - (ends - lengths)[run], 0)
    if len(place) and place.max() >= len(content):
        raise damaged("the run-length coded pixels are cut off")
    return content[place]


def _read_codestream(content: bytes, layout: _Layout) -> CodestreamHeader | None:
    """The header that the compressed pixels have themselves; None for native and run-length coded ones."""
    if layout.syntax in _JPEG_2000:
        return read_jpeg2000_codestream(_without_boxes(content))
    if layout.syntax not in _JPEG | _JPEG_LS:
        return None
    header = read_jpeg_codestream(content)
    if (header.process == 0xF7) != (layout.syntax in _JPEG_LS):
        raise damaged("the compressed pixels are not of the kind that the DICOM header names")
    return header


def _of_one_size(layout: _Layout, codestream: CodestreamHeader | None, limits: ReadLimits) -> tuple[_Layout, bool]:
    """The layout with the codestream's own size, and whether it contradicts the header: only turned over it may be."""
    if codestream is None:
        return layout, False
    height, width = codestream.height, codestream.width
    limits.check_size(height, width, codestream.components * (1 if codestream.bits <= 8 else 2))
    differs = (height, width) != (layout.rows, layout.columns)
    if codestream.components != layout.samples or (differs and (width, height) != (layout.rows, layout.columns)):
        raise damaged("the DICOM header and its compressed pixels differ in size")
    if codestream.bits > layout.bits_allocated:
        raise damaged("the DICOM header and its compressed pixels differ in depth")
    if differs:
        logger.warning("Rows and Columns are those of the compressed pixels the other way round: theirs are used")
    return replace(layout, rows=height, columns=width), differs


def _codes(samples: Samples, header: CodestreamHeader, layout: _Layout) -> _Coded:
    """Decoded samples as codes. Signed radiographs are coded in two's complement, which some writers extend to 16
    bits.
    """
    # OpenCV makes it RGB
    ybr = layout.photometric.startswith("YBR") and (layout.syntax in _JPEG_LS or header.process == 0xC3)
    if not layout.signed:
        return _Coded(samples, max(header.bits, layout.bits_stored), ybr)
    bits = min(header.bits, layout.bits_stored)
    return _Coded(samples & samples.dtype.type(2**bits - 1), bits, ybr)


def _without_boxes(content: bytes) -> bytes:
    """A JPEG 2000 codestream; some writers leave the boxes of a JP2 file around it."""
    return content[max(0, content.find(b"\xff\x4f\xff\x51")) :]


def _decode_jpeg_2000(content: bytes, header: CodestreamHeader, layout: _Layout) -> _Coded:
    samples = decode_jpeg_2000(_without_boxes(content), header)
    if header.signed:
        samples = samples ^ samples.dtype.type(1 << (header.bits - 1))  # to two's complement
    return _codes(samples, header, layout)


def _colour_to_grey(coded: _Coded, layout: _Layout) -> NDArray[np.float32]:
    samples = coded.samples
    full = 2**coded.bits - 1
    if samples.ndim == 3:
        if coded.bits not in {8, 16} or layout.signed:
            raise damaged("the DICOM object is in colour of an unusual depth")
        samples = grey_samples(_ybr_to_rgb(samples) if coded.ybr else samples)
    check_samples(samples)
    return np.divide(samples, np.float32(full), dtype=np.float32)


def _ybr_to_rgb(samples: Samples) -> Samples:
    """PS3.3, C.7.6.3.1.2, close enough to tell grey from colour; grey itself is exact."""
    if samples.dtype != np.uint8:
        raise damaged("the DICOM object is in YBR colour of an unusual depth")
    import cv2  # noqa: PLC0415

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(samples[:, :, [0, 2, 1]]), cv2.COLOR_YCrCb2BGR), np.uint8)


# grey scale


@dataclass(frozen=True)
class _GreyScale:
    """What the header says about grey levels."""

    slope: float
    intercept: float
    modality: Lut | None
    voi: Lut | None
    windows: tuple[tuple[float, float], ...]
    window_function: str
    presentation: Lut | None
    inverted: bool
    padding: tuple[int, int] | None
    palette: Palette | None

    def apply(self, coded: _Coded, layout: _Layout, hidden: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        """Map stored values, (H, W), to 0..1, bone bright; those that are hidden, (H, W), set no range."""
        codes = coded.samples
        if codes.ndim != 2:
            raise damaged("the DICOM object is in colour but says it is grey")
        table = self.table(coded.bits, layout.signed, _counts(codes, 2**coded.bits, hidden))
        out = np.empty(codes.shape, np.float32)
        for top in range(0, len(codes), _ROWS_AT_ONCE):
            np.take(table, codes[top : top + _ROWS_AT_ONCE], out=out[top : top + _ROWS_AT_ONCE], mode="clip")
        return out

    def table(self, bits: int, signed: bool, counts: NDArray[np.int64]) -> NDArray[np.float32]:
        """The level of every stored value, by its code; `counts` says how often each occurs in the radiograph."""
        codes = np.arange(2**bits)
        stored = np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes) if signed else codes
        padding = self._padding(stored, signed)
        counts = np.where(padding, 0, counts)
        check_levels(int(np.count_nonzero(counts)))
        if self.palette is not None:
            levels = _palette_levels(self.palette, stored.astype(float), counts)
        else:
            values = self.modality.at(stored.astype(float)) if self.modality else stored * self.slope + self.intercept
            levels = self._levels(values, counts)
        if self.presentation is not None:
            levels = self.presentation.at(levels * (len(self.presentation.entries) - 1)) / self.presentation.full
        elif self.inverted:
            levels = 1.0 - levels
        levels[padding] = 0.0
        if not np.all(np.isfinite(levels)):
            raise damaged("the DICOM object's grey scale has values that are not numbers")
        _check_contrast(stored, levels, counts)
        return levels.astype(np.float32)

    def _padding(self, stored: NDArray[np.int64], signed: bool) -> NDArray[np.bool_]:
        """Pixel Padding Value, up to its Range Limit (PS3.3, C.7.5.1.1.2)."""
        if self.padding is None:
            return np.zeros(len(stored), bool)
        # Its value representation, US or SS, is often not that of the pixels.
        low, high = sorted((value + 32768) % 65536 - 32768 if signed else value % 65536 for value in self.padding)
        return (stored >= low) & (stored <= high)

    def _levels(self, values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The VOI table, else the first window, that has anything to do with the radiograph's values; else their range.

        A window or table that lies beside nearly all of them was meant for another picture, and would leave nothing.
        """
        low, high = _middle_range(values, counts)
        if self.voi is not None:
            if self.voi.first <= high and self.voi.last >= low:
                return self.voi.at(values) / self.voi.full
            logger.warning("the VOI look-up table lies beside the radiograph's values: not used")
        for centre, width in self.windows:
            if centre - width / 2 <= high and centre + width / 2 >= low:
                return _windowed(values, centre, width, self.window_function)
            logger.warning("the window lies beside the radiograph's values: not used")
        occurring = values[counts > 0]
        low, high = float(occurring.min()), float(occurring.max())
        return np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)


def _palette_levels(palette: Palette, stored: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Grey levels of all stored values; a palette of whose colours the radiograph uses any is rejected."""
    check_coloured(float((palette.coloured.at(stored) * counts).sum() / counts.sum()))
    return palette.grey.at(stored) / palette.grey.full


def _counts(codes: Samples, size: int, hidden: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """How often each code below `size` occurs among the pixels (H, W) that are not hidden."""
    counts = np.zeros(size, np.int64)
    for top in range(0, len(codes), _ROWS_AT_ONCE):
        rows = codes[top : top + _ROWS_AT_ONCE]
        seen = rows.ravel() if hidden is None else rows[~hidden[top : top + _ROWS_AT_ONCE]]
        counts += np.bincount(seen, minlength=size)[:size]
    return counts


def _check_contrast(stored: NDArray[np.int64], levels: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    """Reject a radiograph of which window and tables leave nothing: it would be taken for one that was badly
    exposed.
    """
    few = len(np.unique(levels[counts > 0])) < FEWEST_LEVELS
    if few or (_spread(levels, counts) <= _EVEN < _spread(stored, counts)):
        raise Rejection(
            RejectionCode.NO_CONTRAST,
            "The DICOM window (or look-up table) leaves no contrast on this radiograph, though its stored pixels have"
            " some. Send it again with another window.",
        )


def _spread(values: NDArray[Any], counts: NDArray[np.int64]) -> float:
    """Range of values that occur so often, without the half per cent at either end (as views are cut)."""
    low, high = _middle_range(values, counts)
    return high - low


def _middle_range(values: NDArray[Any], counts: NDArray[np.int64]) -> tuple[float, float]:
    """Lowest and highest of values that occur so often, without the half per cent at either end."""
    order = np.argsort(values)
    share = np.cumsum(counts[order]) / counts.sum()
    low, high = values[order[np.searchsorted(share, (0.005, 0.995))]]
    return float(low), float(high)


def _windowed(values: NDArray[np.float64], centre: float, width: float, function: str) -> NDArray[np.float64]:
    """PS3.3, C.11.2.1.2 and C.11.2.1.3, to 0..1."""
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0))))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return np.where(values > centre - 0.5, 1.0, 0.0)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0.0, 1.0)


def _read_grey_scale(dataset: Dataset, layout: _Layout) -> _GreyScale:
    big_endian = layout.syntax == EXPLICIT_BIG
    inputs = layout.stored_range
    presentation = read_lut(dataset, "PresentationLUTSequence", inputs=(0, 65535), signed=False, big_endian=big_endian)
    inverse = (text(dataset, "PresentationLUTShape") or "").upper() == "INVERSE"
    # A DX object says both or neither (PS3.3, C.8.11.3). Others contradict themselves; then one of them is enough, as
    # viewers have it.
    inverted = layout.photometric == "MONOCHROME1" or (inverse and layout.photometric == "MONOCHROME2")
    if inverse and layout.photometric != "MONOCHROME1":
        logger.warning(
            "Presentation LUT Shape is INVERSE, but the photometric interpretation is not MONOCHROME1: turned"
        )
    slope, intercept = _or(number(dataset, "RescaleSlope"), 1.0), _or(number(dataset, "RescaleIntercept"), 0.0)
    modality = read_lut(dataset, "ModalityLUTSequence", inputs=inputs, signed=layout.signed, big_endian=big_endian)
    if modality is None:
        ends = slope * inputs[0] + intercept, slope * inputs[1] + intercept
        inputs = min(ends), max(ends)
    else:
        inputs = (float(modality.entries.min()), float(modality.entries.max()))
    return _GreyScale(
        slope=slope,
        intercept=intercept,
        modality=modality,
        voi=read_lut(
            dataset, "VOILUTSequence", inputs=inputs, signed=layout.signed or intercept < 0, big_endian=big_endian
        ),
        windows=_read_windows(dataset),
        window_function=(text(dataset, "VOILUTFunction") or "LINEAR").upper(),
        presentation=presentation,
        inverted=inverted and presentation is None,
        padding=_read_padding(dataset),
        palette=(
            read_palette(dataset, inputs=layout.stored_range, big_endian=big_endian)
            if layout.photometric == _PALETTE
            else None
        ),
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _read_windows(dataset: Dataset) -> tuple[tuple[float, float], ...]:
    """Centre and width of each window."""
    centres, widths = numbers(dataset, "WindowCenter") or [], numbers(dataset, "WindowWidth") or []
    linear = (text(dataset, "VOILUTFunction") or "LINEAR").upper() == "LINEAR"
    windows = tuple(
        (centre, width)
        for centre, width in list(zip(centres, widths, strict=False))[:_MOST_WINDOWS]
        if width > 0 and not (linear and width < 1)
    )
    if centres and widths and not windows:
        logger.warning("the window has no width, so the range of the radiograph's own values is used")
    return windows


def _read_padding(dataset: Dataset) -> tuple[int, int] | None:
    value = number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = number(dataset, "PixelPaddingRangeLimit")
    return int(value), int(value if limit is None else limit)
