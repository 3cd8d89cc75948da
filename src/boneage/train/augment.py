"""Augmentation: random changes of a view that do not change the bone age (Souza & Oliveira, section IV-A).

The geometric part is a `Transform` that is composed with the view's own, so that a film is sampled once however it is
changed. Each film's change in each epoch follows from (seed, epoch, index) alone: a resumed run sees the same pictures
as an unbroken one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.geometry import Transform
from boneage.train.recipe import Augmentation

_LEAST_BLUR = 0.2
"""A smaller one changes nothing that can be seen."""


@dataclass(frozen=True)
class Change:
    """One drawn change of a view.

    Attributes:
        jitter: in the view's coordinates.
        gain, offset: of standardised grey levels, ``gain * x + offset``.
        blur: standard deviation of a Gaussian, pixels of the view; 0 for none.
    """

    jitter: Transform
    gain: float
    offset: float
    blur: float = 0.0

    def shade(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the change of grey levels; what is blanked about a hand keeps its border."""
        if self.blur >= _LEAST_BLUR:
            blurred = cv2.GaussianBlur(view, (0, 0), self.blur)
            view = np.where(view > view.min(), blurred, view)
        return view * np.float32(self.gain) + np.float32(self.offset)


def draw_change(options: Augmentation, height: int, width: int, generator: np.random.Generator) -> Change:
    """Draw a change for a view of this size."""
    rotation, zoom, shift_x, shift_y, gain, offset = generator.uniform(-1.0, 1.0, 6)
    flip = generator.random() < options.flip
    jitter = Transform.mirror(width) if flip else Transform()
    turn = Transform.rotation(rotation * options.rotation_degrees)
    scale = Transform.scale(math.exp(zoom * math.log1p(options.zoom)))
    jitter = jitter.then(turn.then(scale).about(width / 2, height / 2))
    jitter = jitter.then(Transform.shift(shift_x * options.shift * width, shift_y * options.shift * height))
    # Drawn last, and only where it is asked for, so that recipes without it draw as ever. Half of the views stay sharp.
    blur = max(generator.uniform(-1.0, 1.0), 0.0) * options.blur if options.blur else 0.0
    return Change(jitter, math.exp(gain * math.log1p(options.gain)), offset * options.offset, blur)
