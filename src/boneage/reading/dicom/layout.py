"""Storage of the pixels in a DICOM object (PS3.3, C.7.6.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from boneage.reading.dicom.tags import integer, text
from boneage.reading.dicom.uids import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    NATIVE,
    NEW_SYNTAXES,
    RLE,
    STANDARD_ROOT,
)
from boneage.reading.facts import ReadLimits
from boneage.reading.images import check_bits
from boneage.reading.rejections import damaged, unsupported

if TYPE_CHECKING:
    from pydicom import Dataset

PALETTE = "PALETTE COLOR"
_GREY = {"MONOCHROME1", "MONOCHROME2", PALETTE}
_COLOURS = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}


@dataclass(frozen=True)
class Layout:
    """Storage of the pixels (PS3.3, C.7.6.3).

    Attributes:
        rows: Rows of the radiograph.
        columns: Columns of the radiograph.
        samples: Samples per Pixel, 1 or 3.
        photometric: Photometric Interpretation.
        bits_allocated: 8 or 16.
        bits_stored: Bits of a sample, at most `bits_allocated`.
        high_bit: Most significant bit of a sample.
        signed: Samples are in two's complement.
        by_plane: Colour planes follow one another.
        syntax: Transfer syntax.
    """

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
        """Bytes of an uncompressed pixel."""
        return self.samples * self.bits_allocated // 8

    @property
    def stored_range(self) -> tuple[float, float]:
        """Lowest and highest value that can be stored."""
        half = 2.0 ** (self.bits_stored - 1)
        return (-half, half - 1) if self.signed else (0.0, 2 * half - 1)


def read_layout(dataset: Dataset, limits: ReadLimits) -> Layout:
    """Read the layout of the pixels from the header, and check it.

    Args:
        dataset: The DICOM object.
        limits: Bounds on the size of a radiograph.

    Raises:
        Rejection: ``unreadable``, ``unsupported_format`` (another compression), ``too_large``, ``too_small``,
            ``no_contrast`` or ``not_a_radiograph``.
    """
    bits_allocated = integer(dataset, "BitsAllocated")
    bits_stored = integer(dataset, "BitsStored", bits_allocated)
    layout = Layout(
        rows=integer(dataset, "Rows"),
        columns=integer(dataset, "Columns"),
        samples=integer(dataset, "SamplesPerPixel", 1),
        photometric=(text(dataset, "PhotometricInterpretation") or "").upper(),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=integer(dataset, "HighBit", bits_stored - 1),
        signed=integer(dataset, "PixelRepresentation", 0) == 1,
        by_plane=integer(dataset, "PlanarConfiguration", 0) == 1,
        syntax=_transfer_syntax(dataset),
    )
    _check_layout(layout)
    _check_syntax(layout.syntax)
    limits.check_size(layout.rows, layout.columns, layout.bytes_per_pixel)
    check_bits(layout.bits_stored)
    return layout


def _check_layout(layout: Layout) -> None:
    if layout.photometric not in (_GREY if layout.samples == 1 else _COLOURS):
        raise damaged("the DICOM object does not declare the meaning of its grey levels (Photometric Interpretation)")
    if layout.samples not in {1, 3} or layout.bits_allocated not in {8, 16}:
        raise damaged("the DICOM object has a kind of pixels that is not supported (8 and 16 bits allocated are)")
    if not 1 <= layout.bits_stored <= layout.high_bit + 1 <= layout.bits_allocated:
        raise damaged("the DICOM object contradicts itself on the bits of a pixel")


def _check_syntax(syntax: str) -> None:
    """Reject any other compression, by name."""
    if syntax in NATIVE | JPEG | JPEG_LS | JPEG_2000 | {RLE}:
        return
    from pydicom.uid import UID  # noqa: PLC0415  # slow to import

    uid = UID(syntax)
    name = NEW_SYNTAXES.get(syntax) or (uid.name if syntax.startswith(STANDARD_ROOT) else syntax)
    if any(word in name for word in ("MPEG", "HEVC", "SMPTE")) and "JPEG" not in name:
        raise unsupported(f"a DICOM video ({name})", "Give the DICOM object of the radiograph itself.")
    method = "in an unknown way" if name == syntax else f"as {name}{', retired' if uid.is_retired else ''}"
    raise unsupported(
        f"a DICOM object compressed {method}", "Export it uncompressed, or as JPEG 2000 or lossless JPEG."
    )


def _transfer_syntax(dataset: Dataset) -> str:
    meta = getattr(dataset, "file_meta", None)
    stated = text(meta, "TransferSyntaxUID") if meta is not None else None
    if stated:
        return stated
    _, little = getattr(dataset, "original_encoding", (None, None))
    return EXPLICIT_BIG if little is False else EXPLICIT_LITTLE
