"""Pixels from a program instead of a file: NumPy arrays and Pillow images.

They become a lossless PNG file, so that they pass the same checks and the same reader as every radiograph.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.errors import Rejection, RejectionCode

_DIRECT_MODES = {"L", "I;16", "RGB"}
"""Modes of Pillow whose arrays hold grey levels as they are."""
_WIDE_MODES = {"I", "F"}
"""Modes of 32 bits, whose range is unknown."""


def is_pixels(source: object) -> TypeGuard[Any]:
    """Return whether a source is a NumPy array or a Pillow image."""
    return isinstance(source, np.ndarray) or (hasattr(source, "__array_interface__") and hasattr(source, "mode"))


def png_of(source: Any) -> bytes:
    """Return pixels as a PNG file.

    Args:
        source: NumPy array (H, W), or (H, W, 3) with three equal channels, bone bright: uint8 or uint16, whose full
            range is used, or floating-point numbers of 0..1, which are stored in 16 bits. A Pillow image is taken
            likewise; palettes and transparency are resolved.

    Raises:
        Rejection: ``unreadable`` for another shape, type or range.
    """
    if not isinstance(source, np.ndarray):
        if source.mode in _WIDE_MODES:
            raise _unusable(f"a Pillow image of the mode {source.mode} has no known range: convert it to an array")
        source = np.asarray(source if source.mode in _DIRECT_MODES else source.convert("RGB"))
    pixels: NDArray[Any] = source
    is_grey, is_colour = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[2] == 3
    if not (is_grey or is_colour) or pixels.size == 0:
        raise _unusable(f"an array must have the shape (H, W) or (H, W, 3), not {pixels.shape}")
    if np.issubdtype(pixels.dtype, np.floating):
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise _unusable("an array of floating-point numbers must lie within 0 and 1")
        pixels = np.rint(pixels.astype(np.float64) * 65535).astype(np.uint16)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise _unusable(f"an array must be uint8, uint16 or floating-point, not {pixels.dtype}")
    if is_colour:
        pixels = pixels[..., ::-1]
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    return encoded.tobytes()


def _unusable(reason: str) -> Rejection:
    return Rejection(RejectionCode.UNREADABLE, f"The pixels cannot be used: {reason}.")
