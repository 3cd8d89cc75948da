"""Header of an image file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from boneage.reading.headers.codestream import CodestreamHeader

ImageFormat = Literal["png", "jpeg", "jpeg2000", "tiff", "webp", "bmp"]
"""Kinds of image file that are read."""
Patch = tuple[int, bytes]
"""Offset in a file, and the bytes to put there."""


@dataclass(frozen=True)
class ImageHeader:
    """Header of an image file.

    Attributes:
        format: Kind of file.
        height: Pixels, as stored, before the orientation is applied.
        width: Pixels, as stored, before the orientation is applied.
        bits: Bits of one sample.
        decoded_bytes_per_pixel: Memory that the decoder fills, in bytes per pixel.
        body: Bytes for the decoder.
        orientation: EXIF orientation, 1..8.
        white_is_zero: Low values are bright.
        transparent_grey: The one grey level that is transparent (PNG tRNS), in the samples' own range.
        codestream: Header of the codestream (JPEG and JPEG 2000).
        sample_type: Type of a sample: an unsigned or signed integer, or a floating-point number (TIFF).
        planes: Patches that turn each colour plane of a planar TIFF into a grey image of its own.
        bounded_body: Returns a `body` that the decoder can read in the time that the size promises, or raises a
            Rejection. It is called once the size is known to be allowed. None if `body` is bounded already.
    """

    format: ImageFormat
    height: int
    width: int
    bits: int
    decoded_bytes_per_pixel: int
    body: bytes
    orientation: int = 1
    white_is_zero: bool = False
    transparent_grey: int | None = None
    codestream: CodestreamHeader | None = None
    sample_type: Literal["unsigned", "signed", "float"] = "unsigned"
    planes: tuple[tuple[Patch, ...], ...] = ()
    bounded_body: Callable[[], bytes] | None = None


def patched(data: bytes, patches: Iterable[Patch]) -> bytes:
    """Return a copy of a file with the patches applied, or the file itself if there are none."""
    changed: bytearray | None = None
    for at, new in patches:
        changed = bytearray(data) if changed is None else changed
        changed[at : at + len(new)] = new
    return data if changed is None else bytes(changed)
