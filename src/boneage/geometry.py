"""Affine transforms of pixels and points, and the function that samples a picture through one.

Coordinates are continuous, (x, y), with x to the right and y down. A picture of width W covers 0..W, and the centre of
its first pixel lies at 0.5. Arrays are (H, W). A point given as a fraction of width and height is therefore
``fraction * (W, H)``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray

OVERSAMPLING = 1.5
"""Maximum number of picture pixels for one target pixel before a picture is averaged down by area."""


@dataclass(frozen=True)
class Transform:
    """An affine map of the plane, from source coordinates to target coordinates.

    Attributes:
        a, b, c, d, e, f: x' = a x + b y + c and y' = d x + e y + f.
    """

    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    e: float = 1.0
    f: float = 0.0

    @classmethod
    def scale(cls, x: float, y: float | None = None) -> Transform:
        """Return a scaling about the origin, by the same factor in both directions unless `y` is given."""
        return cls(a=x, e=x if y is None else y)

    @classmethod
    def shift(cls, x: float, y: float) -> Transform:
        """Return the translation by (x, y)."""
        return cls(c=x, f=y)

    @classmethod
    def rotation(cls, degrees: float) -> Transform:
        """Return a rotation about the origin, clockwise on a screen (y points down)."""
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return cls(a=cosine, b=-sine, d=sine, e=cosine)

    @classmethod
    def mirror(cls, width: float) -> Transform:
        """Return the map that exchanges left and right in a picture of this width."""
        return cls(a=-1.0, c=width)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The homogeneous matrix, (3, 3)."""
        return np.array([[self.a, self.b, self.c], [self.d, self.e, self.f], [0.0, 0.0, 1.0]])

    @classmethod
    def from_matrix(cls, matrix: FloatArray) -> Transform:
        """Return the transform of a (2, 3) or (3, 3) matrix."""
        return cls(*(float(value) for value in np.asarray(matrix)[:2].ravel()))

    def then(self, following: Transform) -> Transform:
        """Return the map that applies `self` first and then `following`."""
        return Transform.from_matrix(following.matrix @ self.matrix)

    def about(self, x: float, y: float) -> Transform:
        """Return the same map with (x, y) as its origin."""
        return Transform.shift(-x, -y).then(self).then(Transform.shift(x, y))

    def inverse(self) -> Transform:
        """Return the inverse map.

        Raises:
            ValueError: If the map reduces the plane to a line.
        """
        if abs(self.determinant) < 1e-12:
            raise ValueError("the transform has no inverse")
        return Transform.from_matrix(np.linalg.inv(self.matrix))

    @property
    def determinant(self) -> float:
        """Signed factor by which areas grow; negative if the map mirrors."""
        return self.a * self.e - self.b * self.d

    @property
    def zoom(self) -> float:
        """Factor by which lengths grow (geometric mean over directions)."""
        return math.sqrt(abs(self.determinant))

    def points(self, points_xy: FloatArray) -> NDArray[np.float64]:
        """Map points (..., 2)."""
        points_xy = np.asarray(points_xy, dtype=np.float64)
        return points_xy @ self.matrix[:2, :2].T + self.matrix[:2, 2]


def fit_inside(height: int, width: int, target_height: int, target_width: int) -> Transform:
    """Return the largest uniform scaling of a (height, width) picture that fits into the target, centred."""
    zoom = min(target_height / height, target_width / width)
    return Transform.scale(zoom).then(
        Transform.shift((target_width - zoom * width) / 2, (target_height - zoom * height) / 2)
    )


def downsample_area(pixels: NDArray[np.float32], zoom: float) -> NDArray[np.float32]:
    """Return a picture (H, W) reduced by this factor by area averaging, or unchanged if `zoom` is 1 or more."""
    if zoom >= 1.0:
        return pixels
    rows, columns = pixels.shape
    size = (max(1, round(columns * zoom)), max(1, round(rows * zoom)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def sample(
    pixels: NDArray[np.float32], transform: Transform, height: int, width: int, *, fill: float = 0.0
) -> NDArray[np.float32]:
    """Sample a picture once, through `transform`, into a new (height, width) array.

    Resolutions of radiographs differ tenfold. Bilinear sampling alone would alias the fine ones, so that they would
    look different to a network. A picture with more than `OVERSAMPLING` pixels for one of the target's is therefore
    averaged down by area first.

    Args:
        pixels: Picture, float32 (H, W).
        transform: Transform from the picture's coordinates to the target's.
        height: Height of the target, pixels.
        width: Width of the target, pixels.
        fill: Value outside the picture.
    """
    rows, columns = pixels.shape
    pixels = downsample_area(pixels, OVERSAMPLING * transform.zoom)
    transform = Transform.scale(columns / pixels.shape[1], rows / pixels.shape[0]).then(transform)
    # OpenCV places the centre of the first pixel at 0, this module at 0.5.
    to_index = Transform.shift(0.5, 0.5).then(transform).then(Transform.shift(-0.5, -0.5))
    sampled = cv2.warpAffine(
        pixels,
        to_index.matrix[:2],
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=fill,
    )
    return np.asarray(sampled, dtype=np.float32)


def lies_inside(transform: Transform, shape: tuple[int, int], height: int, width: int) -> NDArray[np.bool_]:
    """Return a mask of the target pixels whose centre lies on the sampled picture, bool (height, width).

    Args:
        transform: Transform from the picture's coordinates to the target's.
        shape: Shape (H, W) of the picture, pixels.
        height: Height of the target, pixels.
        width: Width of the target, pixels.
    """
    rows, columns = np.indices((height, width)) + 0.5
    on_picture = transform.inverse().points(np.stack([columns, rows], axis=2))
    return np.asarray(((on_picture > 0) & (on_picture < (shape[1], shape[0]))).all(axis=2), dtype=np.bool_)
