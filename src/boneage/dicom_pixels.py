"""DICOM objects to grey levels: CR, DX and Secondary Capture, in the transfer syntaxes that these come in.

The grey scale is built as PS3.4, N.2 has it: stored values, modality LUT (or slope and intercept), VOI LUT (or window),
presentation LUT (or its shape; MONOCHROME1 is turned). All of it is a function of the stored value alone, so it is
worked out once for each of the at most 65,536 stored values, and the film is mapped through that table.
"""

from __future__ import annotations

import logging
import math
import struct
import sys
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from boneage.dicom_bounds import BYTES, NUMBERS, BoundedBytes, bounded_item, bounded_value, quiet_pydicom
from boneage.dicom_facts import DIGITAL_XRAY_FOR_PROCESSING, number, numbers, read_facts, text
from boneage.dicom_geometry import Shape, pixel_aspect, read_shutter, shuttered, with_square_pixels
from boneage.errors import Refusal, RefusalCode
from boneage.huffman_jpeg import decode_huffman_jpeg
from boneage.image_headers import (
    CodestreamHeader,
    damaged,
    read_jpeg2000_codestream,
    read_jpeg_codestream,
    several_frames,
)
from boneage.pictures import (
    FEWEST_LEVELS,
    Samples,
    check_bits,
    check_levels,
    check_samples,
    decode_with_opencv,
    grey_samples,
)
from boneage.radiograph_facts import RadiographFacts, ReadLimits

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
_RADIOGRAPH_MODALITIES = {"CR", "DX", "RG", "SC", "OT", "XR", "DR"}
"""CR, DX and RG (digitised film); OT for Secondary Capture; SC, XR and DR are not defined terms but are written."""

_GREY = {"MONOCHROME1", "MONOCHROME2"}
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_ROWS_AT_ONCE = 256
_LONGEST_TABLE = 2 * 65536 + 2
"""Bytes of a look-up table's entries."""
_EVEN = 1e-4
"""A film whose levels, of 0..1, reach no further is even (as for `boneage.views.measure_grey`)."""


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


@dataclass(frozen=True)
class _Coded:
    """Stored samples: unsigned codes of `bits` bits, right-justified; two's complement if the layout is signed."""

    samples: Samples
    bits: int
    ybr: bool = False


@dataclass(frozen=True)
class _Lut:
    """A LUT of PS3.3, C.11.1.1: its first stored value mapped, its entries, and the bits of an entry."""

    first: int
    entries: NDArray[np.float64] = field(repr=False)
    bits: int

    def at(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Entries at these values; beyond its ends the first and last."""
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: NDArray[np.float64] = self.entries[index.astype(np.int64)]
        return found

    @property
    def full(self) -> float:
        """Output that is white: of the bits it says it has, or more if it does not keep to them."""
        return max(float(2**self.bits - 1), float(self.entries.max()))


def read_dicom(source: bytes | Dataset, limits: ReadLimits) -> tuple[NDArray[np.float32], RadiographFacts]:
    """Read a DICOM file, or a data set that was read before.

    Returns:
        Pixels float32 (H, W), 0..1, bone bright, and the facts. The range 0..1 is that of the window's or VOI LUT's
        output (the first, if there are several; a VOI LUT goes before a window). Without any it is the range of the
        film's own values after the modality LUT. Pixel padding, and what the display shutter hides, is 0 and has no
        part in that range. A grey film stored in colour is 0..1 over all of its bits. Pixels that are not square are
        made so (`boneage.dicom_geometry.with_square_pixels`).

    Raises:
        Refusal: ``unreadable``, ``too_large``, ``too_small``, ``not_grayscale``, ``several_frames``,
            ``not_a_radiograph``, or ``no_contrast`` if the film is even or its window makes it so.
    """
    try:
        header = _read_header(source, limits)
        pixels = header.levels(limits)
        return with_square_pixels(pixels, header.facts, header.aspect, limits.max_pixels)
    except Refusal:
        raise
    # A damaged file makes pydicom, pyjpegls and NumPy raise nearly every kind of error there is. Its text may quote
    # patient data, so only its kind is told.
    except Exception as error:
        raise damaged(f"the DICOM object is damaged ({type(error).__name__})") from None


@dataclass
class _Header:
    """All that the header says, and the bytes of the film."""

    layout: _Layout
    grey_scale: _GreyScale
    facts: RadiographFacts
    aspect: float
    shutter: tuple[Shape, ...]
    content: bytes = field(repr=False)

    def levels(self, limits: ReadLimits) -> NDArray[np.float32]:
        """The film as stored, (H, W), 0..1, bone bright; what the shutter hides is 0. Lets go of the bytes."""
        coded, self.content = _decode(self.content, self.layout, limits), b""
        hidden = shuttered(self.shutter, self.layout.rows, self.layout.columns, self.aspect)
        if self.layout.samples == 3:
            pixels = _colour_to_grey(coded, self.layout)
        else:
            pixels = self.grey_scale.apply(coded, self.layout, hidden)
        if hidden is not None:
            pixels[hidden] = 0.0
        return pixels


def _read_header(source: bytes | Dataset, limits: ReadLimits) -> _Header:
    with quiet_pydicom():
        dataset = _parse(source, limits) if isinstance(source, bytes) else source
        _check_kind(dataset)
        layout = _read_layout(dataset, limits)
        content = _pixel_bytes(dataset, layout)
        grey_scale = _read_grey_scale(dataset, layout)
        facts = read_facts(
            dataset, bits_stored=layout.bits_stored, photometric=layout.photometric, inverted=grey_scale.inverted
        )
        aspect = pixel_aspect(dataset, facts)
        limits.check_shape(layout.rows * aspect, layout.columns)
        shutter = read_shutter(dataset)
    return _Header(layout, grey_scale, facts, aspect, shutter, content)


# the file


def _parse(data: bytes, limits: ReadLimits) -> Dataset:
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
    if modality and modality not in _RADIOGRAPH_MODALITIES:
        raise Refusal(
            RefusalCode.NOT_A_RADIOGRAPH, f"The DICOM object is not a radiograph: its modality is {modality[:16]}."
        )
    if sop_class and sop_class not in _RADIOGRAPH_CLASSES:
        raise Refusal(RefusalCode.NOT_A_RADIOGRAPH, "The DICOM object is not a radiograph, but of another SOP class.")
    if "PixelData" not in dataset:
        if sop_class or modality:
            raise Refusal(RefusalCode.NOT_A_RADIOGRAPH, "The DICOM object holds no pixels.")
        raise damaged("it is neither a picture nor a DICOM object with pixels")
    frames = number(dataset, "NumberOfFrames")
    if frames is not None and frames < 1:
        raise damaged(f"the DICOM object says that it holds {frames:.0f} pictures")
    if frames is not None and frames != 1:
        raise several_frames(f"{frames:.0f} frames")


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
    limits.check_size(layout.rows, layout.columns, layout.bytes_per_pixel)
    check_bits(layout.bits_stored)
    return layout


def _check_layout(layout: _Layout) -> None:
    if layout.photometric not in (_GREY if layout.samples == 1 else _COLOURS):
        if layout.photometric == "PALETTE COLOR":
            raise Refusal(RefusalCode.NOT_GRAYSCALE, "The DICOM object is in palette colours; a radiograph is grey.")
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
    if layout.syntax not in _JPEG | _JPEG_LS | _JPEG_2000 | {RLE}:
        raise damaged("the DICOM object is compressed in a way that is not supported (its transfer syntax)")
    from pydicom.encaps import generate_fragments  # noqa: PLC0415

    _, *fragments = generate_fragments(BoundedBytes(content))  # the first item is the offset table
    return b"".join(fragments)


# stored values


def _decode(content: bytes, layout: _Layout, limits: ReadLimits) -> _Coded:
    if layout.syntax in _NATIVE:
        return _decode_native(content, layout)
    if layout.syntax == RLE:
        return _decode_rle(content, layout)
    if layout.syntax in _JPEG_2000:
        coded = _decode_jpeg_2000(content, layout, limits)
    elif layout.syntax in _JPEG_LS:
        coded = _decode_jpeg_ls(content, layout, limits)
    else:
        coded = _decode_jpeg(content, layout, limits)
    if coded.samples.shape[:2] != (layout.rows, layout.columns):
        raise damaged("its pixels do not have the size that its header names")
    return coded


def _decode_native(content: bytes, layout: _Layout) -> _Coded:
    subsampled = layout.photometric == "YBR_FULL_422"
    dtype = np.dtype(f"{'>' if layout.syntax == EXPLICIT_BIG else '<'}u{layout.bits_allocated // 8}")
    count = layout.rows * layout.columns * (2 if subsampled else layout.samples)
    size = count * dtype.itemsize
    # A byte makes the length even. Much more, and the header is that of another picture.
    if not size <= len(content) <= size + layout.columns * layout.bytes_per_pixel:
        raise damaged("the DICOM object has more or fewer pixels than its header names")
    stored = np.frombuffer(content, dtype, count)
    native: Samples = stored.astype(dtype.newbyteorder("="), copy=False)
    native = _stored_bits(native, layout)
    return _Coded(_shape(native, layout, subsampled), layout.bits_stored, layout.photometric.startswith("YBR"))


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
    native = _stored_bits(native, layout)
    samples = (
        native[:, 0].reshape(layout.rows, layout.columns)
        if layout.samples == 1
        else native.reshape(layout.rows, layout.columns, 3)
    )
    return _Coded(samples, layout.bits_stored, layout.photometric.startswith("YBR"))


def _stored_bits(native: Samples, layout: _Layout) -> Samples:
    """Right-justified, and without the bits beyond those stored, which may be an old overlay (PS3.5, 8.1.1)."""
    shift = layout.high_bit + 1 - layout.bits_stored
    if layout.bits_stored == layout.bits_allocated:
        return native
    cut: Samples = (native >> native.dtype.type(shift)) & native.dtype.type(2**layout.bits_stored - 1)
    return cut


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


def _check_codestream(header: CodestreamHeader, layout: _Layout, limits: ReadLimits) -> None:
    """The codestream must be of the size that the DICOM header was checked for."""
    limits.check_size(header.height, header.width, header.components * (1 if header.bits <= 8 else 2))
    if (header.height, header.width, header.components) != (layout.rows, layout.columns, layout.samples):
        raise damaged("the DICOM header and its compressed pixels differ in size")
    if header.bits > layout.bits_allocated:
        raise damaged("the DICOM header and its compressed pixels differ in depth")


def _decode_jpeg(content: bytes, layout: _Layout, limits: ReadLimits) -> _Coded:
    header = read_jpeg_codestream(content)
    _check_codestream(header, layout, limits)
    if header.process == 0xC3 or header.bits > 8:
        return _codes(decode_huffman_jpeg(content), header, layout)
    return _codes(decode_with_opencv(content), header, layout)


def _codes(samples: Samples, header: CodestreamHeader, layout: _Layout) -> _Coded:
    """Decoded samples as codes. Signed films are coded in two's complement, which some writers extend to 16 bits."""
    ybr = layout.photometric.startswith("YBR") and layout.syntax in _JPEG_LS  # the other decoders make it RGB
    if not layout.signed:
        return _Coded(samples, max(header.bits, layout.bits_stored), ybr)
    bits = min(header.bits, layout.bits_stored)
    return _Coded(samples & samples.dtype.type(2**bits - 1), bits, ybr)


def _decode_jpeg_ls(content: bytes, layout: _Layout, limits: ReadLimits) -> _Coded:
    header = read_jpeg_codestream(content)
    if header.process != 0xF7:
        raise damaged("the compressed pixels are not JPEG-LS")
    _check_codestream(header, layout, limits)
    import jpeg_ls  # type: ignore[import-untyped]  # noqa: PLC0415  # ships no types; native, rarely needed

    return _codes(jpeg_ls.decode(np.frombuffer(content, np.uint8)), header, layout)


def _decode_jpeg_2000(content: bytes, layout: _Layout, limits: ReadLimits) -> _Coded:
    start = content.find(b"\xff\x4f\xff\x51")  # some writers leave the boxes of a JP2 file around the codestream
    codestream = content[max(0, start) :]
    header = read_jpeg2000_codestream(codestream)
    _check_codestream(header, layout, limits)
    if header.signed:
        # OpenCV refuses signed components. Called unsigned they come out higher by half the range (T.800, G.1).
        flags = bytearray(codestream)
        for component in range(header.components):
            flags[42 + 3 * component] &= 0x7F
        codestream = bytes(flags)
    samples = decode_with_opencv(codestream)
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
    modality: _Lut | None
    voi: _Lut | None
    window: tuple[float, float] | None
    window_function: str
    presentation: _Lut | None
    inverted: bool
    padding: tuple[int, int] | None

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
        """The level of every stored value, by its code; `counts` says how often each occurs in the film."""
        codes = np.arange(2**bits)
        stored = np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes) if signed else codes
        padding = self._padding(stored, signed)
        counts = np.where(padding, 0, counts)
        check_levels(int(np.count_nonzero(counts)))
        values = self.modality.at(stored.astype(float)) if self.modality else stored * self.slope + self.intercept
        levels = self._levels(values, counts > 0)
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

    def _levels(self, values: NDArray[np.float64], occurring: NDArray[np.bool_]) -> NDArray[np.float64]:
        if self.voi is not None:
            return self.voi.at(values) / self.voi.full
        if self.window is not None:
            return _windowed(values, *self.window, self.window_function)
        low, high = float(values[occurring].min()), float(values[occurring].max())
        return np.clip((values - low) / ((high - low) or 1.0), 0.0, 1.0)


def _counts(codes: Samples, size: int, hidden: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """How often each code below `size` occurs among the pixels (H, W) that are not hidden."""
    counts = np.zeros(size, np.int64)
    for top in range(0, len(codes), _ROWS_AT_ONCE):
        rows = codes[top : top + _ROWS_AT_ONCE]
        seen = rows.ravel() if hidden is None else rows[~hidden[top : top + _ROWS_AT_ONCE]]
        counts += np.bincount(seen, minlength=size)[:size]
    return counts


def _check_contrast(stored: NDArray[np.int64], levels: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    """Refuse a film of which window and tables leave nothing: it would be taken for one that was badly exposed."""
    few = len(np.unique(levels[counts > 0])) < FEWEST_LEVELS
    if few or (_spread(levels, counts) <= _EVEN < _spread(stored, counts)):
        raise Refusal(
            RefusalCode.NO_CONTRAST,
            "The DICOM window (or look-up table) leaves no contrast on this film, though its stored pixels have some.",
        )


def _spread(values: NDArray[Any], counts: NDArray[np.int64]) -> float:
    """Range of values that occur so often, without the half per cent at either end (as views are cut)."""
    order = np.argsort(values)
    share = np.cumsum(counts[order]) / counts.sum()
    low, high = values[order[np.searchsorted(share, (0.005, 0.995))]]
    return float(high - low)


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
    presentation = _read_lut(dataset, "PresentationLUTSequence", signed=False)
    inverse = (text(dataset, "PresentationLUTShape") or "").upper() == "INVERSE"
    # A DX object says both or neither (PS3.3, C.8.11.3). Others contradict themselves; then one of them is enough, as
    # viewers have it.
    inverted = layout.photometric == "MONOCHROME1" or (inverse and layout.samples == 1)
    if inverse and layout.photometric != "MONOCHROME1":
        logger.warning(
            "Presentation LUT Shape is INVERSE, but the photometric interpretation is not MONOCHROME1: turned"
        )
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    return _GreyScale(
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        modality=_read_lut(dataset, "ModalityLUTSequence", signed=layout.signed),
        voi=_read_lut(dataset, "VOILUTSequence", signed=layout.signed or (intercept or 0.0) < 0),
        window=_read_window(dataset),
        window_function=(text(dataset, "VOILUTFunction") or "LINEAR").upper(),
        presentation=presentation,
        inverted=inverted and presentation is None,
        padding=_read_padding(dataset),
    )


def _read_window(dataset: Dataset) -> tuple[float, float] | None:
    centres, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centres or not widths:
        return None
    linear = (text(dataset, "VOILUTFunction") or "LINEAR").upper() == "LINEAR"
    if widths[0] <= 0 or (linear and widths[0] < 1):
        logger.warning("the window has no width, so the range of the film's own values is used")
        return None
    return centres[0], widths[0]


def _read_padding(dataset: Dataset) -> tuple[int, int] | None:
    value = number(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = number(dataset, "PixelPaddingRangeLimit")
    return int(value), int(value if limit is None else limit)


def _read_lut(dataset: Dataset, keyword: str, *, signed: bool) -> _Lut | None:
    """First item of a LUT sequence; None if there is none."""
    item = bounded_item(dataset, keyword)
    if item is None:
        return None
    descriptor = numbers(item, "LUTDescriptor")
    if descriptor is None or len(descriptor) != 3:
        raise damaged("a look-up table of the DICOM object has no proper descriptor")
    count, first, bits = (int(value) for value in descriptor)
    count = (
        count % 65536 or 65536
    )  # 0 stands for 65,536, and a signed value representation shows the upper half negative
    entries = _lut_entries(item, count, bits)
    return _Lut(first - 65536 if signed and first >= 32768 else first, entries, bits)


def _lut_entries(item: Dataset, count: int, bits: int) -> NDArray[np.float64]:
    data, _ = bounded_value(item, "LUTData", BYTES | NUMBERS, longest=_LONGEST_TABLE) or (None, "")
    if isinstance(data, bytes):
        wide = len(data) >= 2 * count
        entries = np.frombuffer(data, "<u2" if wide else "u1")[:count].astype(float)
    else:
        entries = np.asarray(data, dtype=float).ravel()[:count] % 65536
    if len(entries) != count or not 1 <= bits <= 16 or not math.isfinite(float(entries.sum())):
        raise damaged("a look-up table of the DICOM object is damaged")
    return entries
