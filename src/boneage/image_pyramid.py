"""Reduced copies of a picture, each half as wide and high as the one before: an image pyramid (Burt & Adelson 1983).

Some fifty views of a radiograph are cut in one assessment. Each of them reads the smallest copy that is fine enough,
and not all pixels of a large radiograph again.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np

from boneage.arrays import Image

_LEAST_SIDE = 64
"""Shorter side of a picture, pixels, from which on it is halved. The sides of a copy are whole pixels, so that those of
a narrow picture would not shrink alike."""


class ImagePyramid:
    """A picture and its reduced copies, each made by area averaging when it is first needed. Threads may share it.

    Attributes:
        pixels: the picture, float32 (H, W); it must not be changed.
    """

    def __init__(self, pixels: Image) -> None:
        self.pixels = pixels
        self._copies = [pixels]
        self._lock = threading.Lock()

    @classmethod
    def of(cls, source: ImageSource) -> ImagePyramid:
        """Return the pyramid of a picture, or the pyramid itself."""
        return source if isinstance(source, ImagePyramid) else cls(source)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (H, W) of the picture."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def copy_for(self, zoom: float) -> Image:
        """Return the smallest copy from which the picture can be reduced by a factor, or the picture itself.

        Args:
            zoom: factor by which lengths are multiplied.
        """
        halvings = 0
        while zoom <= 0.5 ** (halvings + 1) and min(self.shape) >= _LEAST_SIDE << halvings:
            halvings += 1
        return self._copy(halvings)

    def halved(self, halvings: int) -> ImagePyramid:
        """Return the pyramid of the picture whose sides were halved this number of times; it shares the copies."""
        self._copy(halvings)
        other = ImagePyramid(self._copies[halvings])
        other._copies = self._copies[halvings:]
        return other

    def _copy(self, halvings: int) -> Image:
        with self._lock:
            while len(self._copies) <= halvings:
                height, width = self._copies[-1].shape
                size = (max(1, round(width / 2)), max(1, round(height / 2)))
                half = cv2.resize(self._copies[-1], size, interpolation=cv2.INTER_AREA)
                self._copies.append(np.asarray(half, dtype=np.float32))
            return self._copies[halvings]


ImageSource = Image | ImagePyramid
"""A picture, float32 (H, W), or its pyramid, with which several views of it are cut faster."""
