"""Radiographs from files: the one way in which they enter, whatever their format.

radiograph = read_radiograph("hand.dcm")
radiograph.pixels      # float32 (H, W), 0..1, bone bright
radiograph.facts       # facts that the file states: spacing, side, age at the study
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from boneage.arrays import Image
from boneage.errors import Rejection, RejectionCode
from boneage.reading.facts import DEFAULT_LIMITS, RadiographFacts, ReadLimits
from boneage.reading.foreign_formats import name_foreign_format
from boneage.reading.headers.formats import read_image_header
from boneage.reading.headers.header import ImageHeader
from boneage.reading.images import decode_image
from boneage.reading.pixel_arrays import is_pixels, png_of
from boneage.reading.rejections import damaged, unsupported

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as PillowImage
    from pydicom import Dataset

__all__ = [
    "READER_VERSION",
    "Radiograph",
    "RadiographFacts",
    "RadiographSource",
    "ReadLimits",
    "read_file",
    "read_radiograph",
]

READER_VERSION: int = 2
"""Version of the decoded pixels, on which caches of decoded radiographs depend.

It is raised when the pixels that this module gives for some file change.
"""


@dataclass(frozen=True)
class Radiograph:
    """A radiograph as it was read.

    Attributes:
        pixels: float32 (H, W), 0..1, finite, C-contiguous, bone bright, upright as the file declares, square. The
            darkest pixel is not always 0, nor the brightest 1.
        facts: Facts that the file states.
    """

    pixels: Image
    facts: RadiographFacts


RadiographSource: TypeAlias = "str | os.PathLike[str] | bytes | Dataset | NDArray[Any] | PillowImage"
"""Anything that a radiograph is read from: a path, a file's bytes, a DICOM data set, an array or a Pillow image."""


def read_radiograph(source: RadiographSource, limits: ReadLimits = DEFAULT_LIMITS) -> Radiograph:
    """Read a radiograph.

    The formats are PNG, TIFF and BigTIFF, JPEG, JPEG 2000, WebP, BMP, and DICOM: CR, DX and Secondary Capture,
    uncompressed, deflated, or as JPEG (baseline, 12-bit, lossless), JPEG-LS, JPEG 2000 or RLE. Grey radiographs stored
    in colour are read too.

    The levels of an image are divided by the full range of its bits. A TIFF of signed, floating-point or 32-bit numbers
    has no such range; its levels are divided by their own range. A DICOM object's levels go through its look-up tables
    and windows. Everything that its display shutter hides is 0, and pixels whose sides differ by more than 1 % are
    resampled to square ones (`boneage.reading.dicom.read.read_dicom`).

    Args:
        source: Path of a file, its content, a DICOM data set, or pixels (`boneage.reading.pixel_arrays.png_of`).
        limits: Limits on its size, checked before any pixel is decoded.

    Raises:
        Rejection: ``not_found``, ``unreadable``, ``unsupported_format``, ``too_large``, ``too_small``,
            ``not_grayscale``, ``several_frames``, ``not_a_radiograph`` or ``no_contrast``.
        TypeError: The source is none of these kinds.
    """
    if isinstance(source, str | os.PathLike):
        source = read_file(Path(source), limits)
    if is_pixels(source):
        source = png_of(source)
    if not isinstance(source, bytes):
        return _read_dataset(source, limits)
    limits.check_bytes(len(source))
    if is_dicom(source):
        return _read_dicom(source, limits)
    header = read_image_header(source)
    if header is None:
        raise _unknown(source)
    return _read_image(header, limits)


def _unknown(data: bytes) -> Rejection:
    """Return the rejection of a file that is neither an image of a known format nor DICOM."""
    if not data:
        return damaged("it is empty")
    foreign = name_foreign_format(data)
    return damaged("it is neither DICOM nor an image of a known format") if foreign is None else unsupported(*foreign)


def read_file(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> bytes:
    """Read the bytes of a file, once for decoding and checksum.

    Args:
        path: Path of a regular file.
        limits: Limits on its size, checked before it is read.

    Raises:
        Rejection: ``not_found`` if it is missing, may not be opened or is not a regular file; ``too_large``.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could block the reader
            raise Rejection(RejectionCode.NOT_FOUND, f"{path.name!r} is not a file.")
        limits.check_bytes(status.st_size)
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except (OSError, ValueError) as error:  # ValueError: the path is impossible
        reason = getattr(error, "strerror", None) or "not a path"
        raise Rejection(RejectionCode.NOT_FOUND, f"{path.name!r} cannot be opened: {reason}.") from error
    limits.check_bytes(len(data))  # it may have grown
    return data


def is_dicom(data: bytes) -> bool:
    """Return True if a file looks like a DICOM object, with or without a preamble, by its first bytes."""
    # The DICOM modules are not used here: their import would delay reading a PNG.
    # The first tag of a file without preamble is of group 2 or 8, in either byte order; big endian is always explicit.
    if data[:2] == b"\x00\x08":
        return data[4:6].isalpha()
    return data[128:132] == b"DICM" or data[:2] in {b"\x02\x00", b"\x08\x00"}


def _read_image(header: ImageHeader, limits: ReadLimits) -> Radiograph:
    limits.check_size(header.height, header.width, header.decoded_bytes_per_pixel)
    limits.check_shape(header.height, header.width)
    if header.bounded_body is not None:
        header = replace(header, body=header.bounded_body())
    facts = RadiographFacts(format=header.format, bits_stored=header.bits, inverted=header.white_is_zero)
    return Radiograph(decode_image(header), facts)


def _read_dicom(source: bytes | Dataset, limits: ReadLimits) -> Radiograph:
    from boneage.reading.dicom.read import read_dicom  # noqa: PLC0415  # pydicom is slow to import

    return Radiograph(*read_dicom(source, limits))


def _read_dataset(source: object, limits: ReadLimits) -> Radiograph:
    from pydicom import Dataset  # noqa: PLC0415  # as above

    if not isinstance(source, Dataset):
        raise TypeError(f"the source must be a path, bytes or a pydicom data set, not {type(source).__name__}")
    return _read_dicom(source, limits)
