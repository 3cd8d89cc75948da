"""Drawn radiographs as DICOM objects."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneage.reading.radiograph import Radiograph, read_radiograph
from tests import radiograph_files as files

TWELVE: NDArray[np.uint16] = files.drawn_radiograph(bits=12)
GREY = files.drawn_radiograph(bits=8).astype(np.uint8)
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
"""Every 12-bit value once."""


def read(pixels: NDArray[Any] = RAMP, bits: int = 12, **elements: Any) -> Radiograph:
    """Read pixels as a DICOM object with changed elements."""
    return read_radiograph(files.dicom_file(files.dicom_dataset(pixels, bits, **elements)))
