"""Letterhead of the institution on reports: a folder with lines of text and, if there is one, a logo."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from boneage.errors import ConfigurationError
from boneage.explain import encode_picture

TEXT_NAME = "letterhead.txt"
LOGO_NAMES = ("logo.png", "logo.jpg")

MOST_LINES, LONGEST_LINE = 6, 100
LARGEST_LOGO_BYTES = 2 * 2**20
_LOGO_SIDE = 1200
"""Longest side of the logo in a report, pixels."""


@dataclass(frozen=True)
class Letterhead:
    """Content of a letterhead.

    Attributes:
        lines: lines of text, the name of the institution first.
        logo_jpeg: the logo on white as JPEG; empty without one.
        logo_shape: (h, w) of the logo, pixels.
    """

    lines: tuple[str, ...] = ()
    logo_jpeg: bytes = b""
    logo_shape: tuple[int, int] = (0, 0)

    @property
    def logo_uri(self) -> str:
        """Address that holds the logo itself, for a page; empty without one."""
        if not self.logo_jpeg:
            return ""
        return "data:image/jpeg;base64," + base64.b64encode(self.logo_jpeg).decode("ascii")


@cache
def read_letterhead(folder: Path) -> Letterhead:
    """Read a letterhead once per process: ``letterhead.txt`` in UTF-8, and ``logo.png`` or ``logo.jpg``.

    Raises:
        ConfigurationError: ``setting_invalid`` if a file is missing, too long or unreadable.
    """
    path = folder / TEXT_NAME
    try:
        lines = tuple(line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise _invalid(f"{path} cannot be read as text in UTF-8 ({error}).") from error
    if not 1 <= len(lines) <= MOST_LINES or max(map(len, lines)) > LONGEST_LINE:
        raise _invalid(f"{path} must have 1 to {MOST_LINES} lines of at most {LONGEST_LINE} characters.")
    logo = next((folder / name for name in LOGO_NAMES if (folder / name).exists()), None)
    return Letterhead(lines) if logo is None else Letterhead(lines, *_read_logo(logo))


def _read_logo(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Return a logo on white as JPEG, and its shape (h, w)."""
    data = path.read_bytes() if path.stat().st_size <= LARGEST_LOGO_BYTES else b""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if picture is None:
        raise _invalid(f"{path} must be a PNG or JPEG of at most {LARGEST_LOGO_BYTES // 2**20} MiB.")
    largest = 65535.0 if picture.dtype == np.uint16 else 255.0
    levels = np.asarray(picture, dtype=np.float64) / largest
    channels = 1 if levels.ndim == 2 else levels.shape[2]
    if channels in {2, 4}:  # the last one is the opacity
        opacity = levels[..., -1:]
        levels = levels[..., :-1] * opacity + (1 - opacity)
    colours = np.dstack([levels] * 3) if channels <= 2 else levels[..., 2::-1]
    zoom = min(1.0, _LOGO_SIDE / max(colours.shape[:2]))
    size = (max(1, round(zoom * colours.shape[1])), max(1, round(zoom * colours.shape[0])))
    small = cv2.resize(np.ascontiguousarray(colours), size, interpolation=cv2.INTER_AREA)
    return encode_picture(".jpg", np.rint(255 * small).astype(np.uint8)), (size[1], size[0])


def _invalid(reason: str) -> ConfigurationError:
    return ConfigurationError("setting_invalid", f"BONEAGE_LETTERHEAD: {reason}")
