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

from boneage.arrays import FloatArray, Image
from boneage.image_pyramid import ImagePyramid, ImageSource

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
        # The product of the matrices, written out: a radiograph takes hundreds, and NumPy's calls cost far more.
        return Transform(
            a=float(following.a * self.a + following.b * self.d),
            b=float(following.a * self.b + following.b * self.e),
            c=float(following.a * self.c + following.b * self.f + following.c),
            d=float(following.d * self.a + following.e * self.d),
            e=float(following.d * self.b + following.e * self.e),
            f=float(following.d * self.c + following.e * self.f + following.f),
        )

    def about(self, x: float, y: float) -> Transform:
        """Return the same map with (x, y) as its origin."""
        return Transform.shift(-x, -y).then(self).then(Transform.shift(x, y))

    def inverse(self) -> Transform:
        """Return the inverse map.

        Raises:
            ValueError: If the map reduces the plane to a line.
        """
        determinant = float(self.determinant)
        if abs(determinant) < 1e-12:
            raise ValueError("the transform has no inverse")
        return Transform(
            a=self.e / determinant,
            b=-self.b / determinant,
            c=(self.b * self.f - self.c * self.e) / determinant,
            d=-self.d / determinant,
            e=self.a / determinant,
            f=(self.c * self.d - self.a * self.f) / determinant,
        )

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
        mapped: NDArray[np.float64] = points_xy @ np.array([[self.a, self.d], [self.b, self.e]]) + (self.c, self.f)
        return mapped


def fit_inside(height: int, width: int, target_height: int, target_width: int) -> Transform:
    """Return the largest uniform scaling of a (height, width) picture that fits into the target, centred."""
    zoom = min(target_height / height, target_width / width)
    return Transform.scale(zoom).then(
        Transform.shift((target_width - zoom * width) / 2, (target_height - zoom * height) / 2)
    )


def reduced_shape(shape: tuple[int, int], zoom: float) -> tuple[int, int]:
    """Return the shape (H, W) of a picture after `downsample_area`."""
    return shape if zoom >= 1.0 else (max(1, round(shape[0] * zoom)), max(1, round(shape[1] * zoom)))


def downsample_area(source: ImageSource, zoom: float) -> Image:
    """Return a picture (H, W) reduced by this factor by area averaging, or unchanged if `zoom` is 1 or more."""
    pyramid = ImagePyramid.of(source)
    return pyramid.pixels if zoom >= 1.0 else _resized(pyramid.copy_for(zoom), reduced_shape(pyramid.shape, zoom))


def _resized(pixels: Image, shape: tuple[int, int]) -> Image:
    return np.asarray(cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA), dtype=np.float32)


def sample(source: ImageSource, transform: Transform, height: int, width: int, *, fill: float = 0.0) -> Image:
    """Sample a picture once, through `transform`, into a new (height, width) array.

    Resolutions of radiographs differ tenfold. Bilinear sampling alone would alias the fine ones, so that they would
    look different to a network. The part shown of a picture with more than `OVERSAMPLING` pixels for one of the
    target's is therefore averaged down by area first.

    Args:
        source: Picture, float32 (H, W), or its pyramid, if it is sampled often.
        transform: Transform from the picture's coordinates to the target's.
        height: Height of the target, pixels.
        width: Width of the target, pixels.
        fill: Value outside the picture.
    """
    pyramid = ImagePyramid.of(source)
    pixels = pyramid.pixels
    zoom = OVERSAMPLING * transform.zoom
    if zoom < 1.0:
        pixels = pyramid.copy_for(zoom)
        across, down = pyramid.shape[1] / pixels.shape[1], pyramid.shape[0] / pixels.shape[0]
        transform = Transform.scale(across, down).then(transform)
        part = _shown_part(transform, pixels.shape, height, width)
        pixels = pixels[part]
        transform = Transform.shift(part[1].start, part[0].start).then(transform)
        shape = max(1, round(pixels.shape[0] * down * zoom)), max(1, round(pixels.shape[1] * across * zoom))
        transform = Transform.scale(pixels.shape[1] / shape[1], pixels.shape[0] / shape[0]).then(transform)
        pixels = _resized(pixels, shape)
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


def _shown_part(transform: Transform, shape: tuple[int, int], height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of a picture of shape (H, W) that a target (height, width) is interpolated from.

    There is one pixel at least, even if the target shows nothing of the picture.
    """
    corners = transform.inverse().points(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))
    margin = 2.0 / min(1.0, transform.zoom)  # two pixels after the reduction
    low, high = np.floor(corners.min(axis=0) - margin), np.ceil(corners.max(axis=0) + margin)
    return _within(low[1], high[1], shape[0]), _within(low[0], high[0], shape[1])


def _within(first: float, last: float, length: int) -> slice:
    start = min(max(int(first), 0), length - 1)
    return slice(start, min(max(int(last), start + 1), length))


def lies_inside(transform: Transform, shape: tuple[int, int], height: int, width: int) -> NDArray[np.bool_]:
    """Return a mask of the target pixels whose centre lies on the sampled picture, bool (height, width).

    Args:
        transform: Transform from the picture's coordinates to the target's.
        shape: Shape (H, W) of the picture, pixels.
        height: Height of the target, pixels.
        width: Width of the target, pixels.
    """
    back = transform.inverse()
    columns, rows = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
    x, y = back.a * columns + back.b * rows + back.c, back.d * columns + back.e * rows + back.f
    return np.asarray((x > 0) & (x < shape[1]) & (y > 0) & (y < shape[0]), dtype=np.bool_)
