"""Augmentation: random changes of a view that leave the bone age unchanged (Souza & Oliveira, section IV-A).

The geometric part is a `Transform` that is composed with the view's own. A radiograph is therefore sampled once,
however it is changed. The change of a radiograph in an epoch follows from (seed, epoch, index) only: a resumed run has
the same views as an uninterrupted one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.geometry import Transform
from boneage.hand.views import GreyScale
from boneage.train.recipe import Augmentation


@dataclass(frozen=True)
class Change:
    """Random change: `jitter` in the view's coordinates, then ``gain * x + offset`` on standardised grey levels."""

    jitter: Transform
    gain: float
    offset: float

    def shade(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        """Apply the change of grey levels."""
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
    return Change(jitter, math.exp(gain * math.log1p(options.gain)), offset * options.offset)


def draw_exponent(options: Augmentation, generator: np.random.Generator) -> float:
    """Draw the exponent of the grey levels."""
    return math.exp(generator.uniform(-1.0, 1.0) * math.log1p(options.gamma))


def with_gamma(view: Image, grey: GreyScale, exponent: float) -> Image:
    """Return a view whose levels between the bounds of the grey scale, as 0..1, are raised to a power."""
    low, span = np.float32((grey.low - grey.mean) / grey.spread), np.float32((grey.high - grey.low) / grey.spread)
    raised = np.clip((view - low) / span, 0.0, 1.0) ** np.float32(exponent)
    return np.asarray(raised * span + low, dtype=np.float32)
