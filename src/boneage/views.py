"""The views that nets see: which part of a film, at which size, with which grey scale. Training and serving both cut
here.

A view is cut straight from the film's own pixels through one composed transform, sampled once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boneage.errors import Refusal, RefusalCode
from boneage.geometry import Transform, averaged_down, fit_inside, sample

Region = Literal["radiograph"]
GreyRule = Literal["minmax", "percentile"]

_OVERVIEW_SIDE = 256
"""Longest side of the reduced film from which grey levels are measured, pixels."""


@dataclass(frozen=True)
class ViewSpec:
    """What a member of a bundle takes as input.

    Attributes:
        region: ``radiograph``, the whole film, its aspect ratio kept and padded (Souza & Oliveira, section IV-A).
        height, width: of the view, pixels.
        grey: how grey levels become the net's input: ``minmax`` (feature scaling over the whole range, as the paper) or
            ``percentile`` (over the 0.5th to 99.5th percentile, so that a lead marker does not set the scale).
    """

    region: Region = "radiograph"
    height: int = 256
    width: int = 256
    grey: GreyRule = "minmax"


@dataclass(frozen=True)
class CellGrid:
    """Where the cells of a net's last feature map lie on its view, by the strides and paddings of the convolutions.

    Attributes:
        pixels: from one cell's centre to the next, in pixels of the view.
        first: centre of the first cell, in the view's coordinates; half of `pixels` if cells divide the view evenly.
    """

    pixels: float
    first: float

    def to_view(self) -> Transform:
        """From the map's own coordinates (first centre at 0.5) to the view's."""
        offset = self.first - self.pixels / 2
        return Transform(a=self.pixels, c=offset, e=self.pixels, f=offset)


@dataclass(frozen=True)
class GreyScale:
    """Grey levels of one film: `low` and `high` bound it, `mean` and `spread` are of the levels clipped to that."""

    low: float
    high: float
    mean: float
    spread: float

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Clip to the bounds, then to zero mean and unit variance over the film."""
        clipped = np.clip(pixels, np.float32(self.low), np.float32(self.high))
        return (clipped - np.float32(self.mean)) / np.float32(self.spread)


def measure_grey(pixels: NDArray[np.float32], rule: GreyRule) -> GreyScale:
    """Grey levels of a film, from a copy reduced to 256 px so that single hot pixels do not count.

    Raises:
        Refusal: ``no_contrast`` if the film is of one grey.
    """
    pixels = averaged_down(pixels, _OVERVIEW_SIDE / max(pixels.shape))
    bounds = (0.0, 100.0) if rule == "minmax" else (0.5, 99.5)
    low, high = (float(value) for value in np.percentile(pixels, bounds))
    if not high - low > 1e-4:
        raise Refusal(RefusalCode.NO_CONTRAST, "The film shows one even grey: there is nothing to read on it.")
    clipped = np.clip(pixels, low, high)
    return GreyScale(low, high, float(clipped.mean()), float(clipped.std()))


def view_transform(film_shape: tuple[int, int], spec: ViewSpec) -> Transform:
    """From the coordinates of a film of shape (H, W) to those of the view."""
    return fit_inside(*film_shape, spec.height, spec.width)


def cut_view(
    pixels: NDArray[np.float32],
    spec: ViewSpec,
    *,
    grey: GreyScale | None = None,
    jitter: Transform | None = None,
) -> NDArray[np.float32]:
    """Cut a view.

    Args:
        pixels: the film, float32 (H, W), 0..1, bone bright.
        spec: which view.
        grey: the film's grey levels; measured by `spec.grey` if not given.
        jitter: a change of the view in its own coordinates (augmentation); none when serving.

    Returns:
        float32 (spec.height, spec.width), zero mean and unit variance over the film; outside the film as its darkest
        level.

    Raises:
        Refusal: ``no_contrast``.
    """
    grey = grey or measure_grey(pixels, spec.grey)
    height, width = pixels.shape
    transform = view_transform((height, width), spec)
    if jitter is not None:
        transform = transform.then(jitter)
    return grey.apply(sample(pixels, transform, spec.height, spec.width, fill=grey.low))
