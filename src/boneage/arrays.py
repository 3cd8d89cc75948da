"""Names for the array types that pass between modules.

An alias names the type of the elements. Shape, units and range stand in the docstring of the function that takes or
returns the array.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
"""Grey levels, (H, W), usually 0..1 with bone bright."""
ByteImage = NDArray[np.uint8]
"""A drawn or displayed image, (H, W) or (H, W, 3), 0..255."""
Samples = NDArray[np.uint8] | NDArray[np.uint16]
"""Samples of an image as they are stored, (H, W) or (H, W, channels)."""
Mask = NDArray[np.bool_]
"""Membership of each pixel, (H, W)."""
Embedding = NDArray[np.float32]
"""Feature vector of a network, (n,)."""
Months = NDArray[np.float64]
"""Ages or differences of ages in months, (n,)."""
Vector = NDArray[np.float64]
"""Real numbers, (n,)."""
FloatArray = NDArray[np.floating]
"""Real numbers of either precision and any shape."""
