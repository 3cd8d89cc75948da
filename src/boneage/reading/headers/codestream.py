"""Header of a JPEG, JPEG-LS or JPEG 2000 codestream."""

from __future__ import annotations

from dataclasses import dataclass

from boneage.reading.rejections import damaged

_CHEAP_PIXELS = 16_000_000
"""Largest JPEG 2000 or JPEG-LS image, in pixels, that may be compressed without bound.

Both formats code an even image in next to nothing; up to this size that is harmless.
"""
_MOST_PIXELS_PER_BYTE = 1000
"""Highest compression of a larger image. Diagnostic quality takes a byte for at most 50 pixels."""


@dataclass(frozen=True)
class CodestreamHeader:
    """Size and kind of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Attributes:
        process: Second byte of JPEG's start-of-frame marker (0xC0 baseline, 0xC1 extended, 0xC3 lossless, 0xF7
            JPEG-LS), or 0x51 for JPEG 2000.
        height: Pixels.
        width: Pixels.
        bits: Bits of one sample.
        components: 1 for grey, 3 for colour.
        signed: The samples have a sign (JPEG 2000 only).
        ended: The stream has an end marker (JPEG and JPEG-LS). Without one the image may be cut off.
    """

    process: int
    height: int
    width: int
    bits: int
    components: int
    signed: bool = False
    ended: bool = True


def check_coded_size(header: CodestreamHeader, coded_bytes: int, *, progressive: bool = False) -> None:
    """Reject a codestream that claims far more pixels than its bytes can hold.

    A few bytes that claim a huge radiograph would cost memory and time, and decode to one even grey.

    Args:
        header: Header of the codestream.
        coded_bytes: Length of the codestream.
        progressive: The codestream is a progressive JPEG.

    Raises:
        Rejection: ``unreadable``.
    """
    pixels = header.height * header.width
    if header.process in {0xC0, 0xC1, 0xC2}:
        # Each block of 64 pixels takes one code for its mean, and unless it is progressive another for the rest.
        enough = 8 * coded_bytes * (64 if progressive else 32) >= pixels
    else:
        enough = pixels <= _CHEAP_PIXELS or coded_bytes * _MOST_PIXELS_PER_BYTE >= pixels
    if not enough:
        raise damaged(f"{coded_bytes} bytes cannot hold the {header.width} x {header.height} pixels that it claims")
