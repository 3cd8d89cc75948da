"""Disturbances of a radiograph: plaster, metal, cut fingertips, altered greys, a photograph of a screen or light-box.

One small network reads the registered hand and its surroundings, and gives a probability for each label. The bundle's
manifest has the limit from which each label counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from boneage.geometry import lies_inside, sample
from boneage.hand.borders import Window, inner_window
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec, grey_scale, view_transform
from boneage.image_pyramid import ImagePyramid, ImageSource
from boneage.strict import Share

QualityLabel = Literal["plaster", "metal", "fingertips_cut", "altered_grey", "photographed"]

QUALITY_LABELS: tuple[QualityLabel, ...] = get_args(QualityLabel)
"""All labels, in the order of the network's outputs."""

CAUTION_SHARES: Mapping[QualityLabel, float] = MappingProxyType(
    {"plaster": 0.002, "metal": 0.002, "fingertips_cut": 0.002, "photographed": 0.002}
)
"""Shares of ordinary radiographs on which each label may give a warning.

Together they are a third of the share for all warnings about a radiograph, 3 %. The label ``altered_grey`` gives no
warning, since a measure (`boneage.checks.radiograph`) detects more of it with fewer false alarms. The network is
trained on it so that it does not take it for another label."""

CRITICAL_SHARES: Mapping[QualityLabel, float] = MappingProxyType({"plaster": 0.001})
"""Shares of ordinary radiographs on which a label may make the estimate unusable; the other labels never do."""

_LEAST_LIMIT = 0.1
"""Smallest limit. For a label that is easy to detect, extreme percentiles of ordinary radiographs lie near 0, and a
probability a little above them is no evidence."""


@dataclass(frozen=True)
class QualityLimit:
    """Limits of a label's probability.

    Attributes:
        caution: probability, 0..1, above which there is a warning.
        critical: probability above which the estimate must not be used, at least `caution`; None for a label that only
            gives warnings.
    """

    caution: Share
    critical: Share | None = None

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.critical is not None and self.critical < self.caution:
            yield "critical", "must not lie below caution"

    @classmethod
    def of(cls, label: QualityLabel, probabilities: NDArray[np.floating]) -> QualityLimit:
        """Set a label's limits by its probabilities (N,) on ordinary radiographs that did not train the network.

        A limit is the smallest of these probabilities that at most the allowed share exceeds, rounded up to 4 decimals.
        """
        ranked = np.sort(np.asarray(probabilities, np.float64))[::-1]

        def limit(share: float) -> float:
            highest = float(ranked[min(int(share * len(ranked)), len(ranked) - 1)])
            return max(math.ceil(highest * 1e4) / 1e4, _LEAST_LIMIT)

        critical = CRITICAL_SHARES.get(label)
        caution = CAUTION_SHARES.get(label)
        return cls(1.0 if caution is None else limit(caution), None if critical is None else limit(critical))


def quality_view(
    source: ImageSource, hand: Hand, height: int, width: int, window: Window | None = None
) -> NDArray[np.float32]:
    """Cut the quality network's view: the registered hand with the air around it.

    Wide even borders around the radiograph are cut off first, since their edges look like those of a photographed
    screen. Grey levels are those of the view's own pixels. Pixels outside the radiograph have its darkest level.

    Args:
        source: the radiograph, float32 (H, W), 0..1, or its pyramid.
        hand: the hand on it.
        height: height of the view, pixels.
        width: width of the view, pixels.
        window: window within the radiograph's even borders, if `boneage.hand.borders.inner_window` was already run.

    Returns:
        float32 (height, width), bone bright.

    Raises:
        Rejection: ``no_contrast``.
    """
    pyramid = ImagePyramid.of(source)
    window = window or inner_window(pyramid)
    inner = pyramid if window == Window.of(pyramid.shape) else ImagePyramid(window.cut(pyramid.pixels))
    radiograph_to_view = view_transform(pyramid.shape, ViewSpec("surroundings", height, width), hand)
    to_view = window.to_window().inverse().then(radiograph_to_view)
    seen = sample(inner, to_view, height, width, fill=1.0 if hand.inverted else 0.0)
    if hand.inverted:
        seen = np.float32(1.0) - seen
    inside = lies_inside(to_view, inner.shape, height, width)
    grey = grey_scale(seen[inside], "percentile")
    return grey.apply(np.where(inside, seen, np.float32(grey.low)))
