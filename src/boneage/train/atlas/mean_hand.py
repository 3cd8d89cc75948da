"""Mean of many hands: each is deformed smoothly onto the running mean until bones lie on bones.

Groupwise registration in the manner of A. Guimond et al. ("Average brain models: a convergence study", Computer Vision
and Image Understanding 2000;77:192-210). Every hand, registered by its key points, is brought to the running mean by
dense optical flow (T. Kroeger et al., "Fast optical flow using dense inverse search", ECCV 2016), smoothed. The mean of
all deformations is removed, so that the mean's shape is the mean of the shapes, and the rounds are repeated.

Outlines come first, since fingers are spread differently. Single typical hands follow, since the mean is blurred at
first, and the best of each result is taken place by place; then the mean itself. Radiographs are sampled once, through
the composed map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image
from boneage.geometry import OVERSAMPLING, Transform, downsample_area
from boneage.hand.mask import widened
from boneage.hand.registration import Box, Hand
from boneage.hand.views import GreyScale

Weigh = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Function from each hand's agreement with the mean (N,), -1..1, to its weight (N,), with sum 1."""

PLATE_BOX = Box(-20, 40, 1840, 2040)
"""Part of the registered frame that a mean shows: region A leaves out widely spread thumbs."""

PLATE_HEIGHT, PLATE_WIDTH = 512, 462

_BRIGHTEST = 1.3
"""Upper limit of grey levels, in the hand's range (`boneage.hand.views`); markers on the hand do not count more."""

_MASK_MARGIN = 0.01
"""Margin of a hand's mask, as a share of the hand's length, so that skin is complete."""

_EDGE_PIXELS = (4.0, 20.0)
"""Distance from its edge within which a radiograph counts less, pixels of the plate: edges have lines and shutters."""

_COVERED = 0.5
"""Share of the radiographs with pixels below which the mean ends at the forearm."""

_FADE_PIXELS = 16
"""Number of rows over which it fades out there."""

_LOCAL_PIXELS = 10.0
"""Range about a pixel over which the agreement that weighs it is measured, pixels of the plate."""

_LOCAL_FLOOR = 0.15
"""Least weight of a hand where it does not agree with the mean, as a share of the largest."""

_LOCAL_STEEPNESS = 1.5

_ERRORS_FACTOR = 4
"""Reduction of images on which local agreement is measured."""

_WHOLE = 0.98
"""Share of the commonly visible hand that a typical hand shows."""

_ELASTIC_PIXELS, _MEAN_SMOOTH_PIXELS = 2.0, 10.0
"""Smoothing of deformations, and of their mean before it is removed, pixels of the plate."""


_LEAST_AREA = 0.3
"""Ratio of areas below which a deformation is smoothed."""

_MOST_UNFOLDINGS = 12


class _Step(NamedTuple):
    """One round: the target of the hands, on an image reduced by `factor`.

    The flow is smoothed by `smooth` pixels of that image.
    """

    target: Literal["typical outline", "outline", "typical", "mean"]
    factor: int
    smooth: float


_OUTLINES = (_Step("typical outline", 2, 6.0), _Step("outline", 2, 5.0))
_TYPICAL = (_Step("typical", 2, 5.0), _Step("typical", 2, 4.0), _Step("mean", 2, 4.0))
_MEAN = (
    _Step("mean", 2, 3.5),
    _Step("mean", 2, 3.0),
    _Step("mean", 2, 3.0),
    _Step("mean", 1, 5.0),
    _Step("mean", 1, 4.0),
)
"""Rounds of registration: outlines, then one typical hand, then the mean."""

_STARTS = 4
"""Number of typical hands that are tried.

Each is atypical somewhere, such as at the wrist, and would mislead others there.
"""

_MIX_BLUR, _MIX_STEEPNESS = 4.0, 6.0
"""Parameters that mix their results by local agreement, blurred by this number of pixels of a quarter of the plate."""


def frame_to_plate(factor: int = 1) -> Transform:
    """Return the transform from the registered frame to a mean, or to one reduced by `factor`."""
    return Transform.shift(-PLATE_BOX.left, -PLATE_BOX.top).then(
        Transform.scale(PLATE_HEIGHT / PLATE_BOX.height / factor)
    )


class RegisteredRadiograph:
    """Radiograph for a mean: reduced to about the mean's resolution, with the grey levels of the hand.

    Args:
        pixels: the radiograph, float32 (H, W), 0..1.
        hand: hand on it.
        grey: its levels by the rule ``hand``.
    """

    def __init__(self, pixels: Image, hand: Hand, grey: GreyScale) -> None:
        if hand.inverted:
            pixels = np.float32(1.0) - pixels
        to_plate = hand.radiograph_to_frame.then(frame_to_plate())
        small = downsample_area(pixels, OVERSAMPLING * to_plate.zoom)
        to_small = Transform.scale(small.shape[1] / pixels.shape[1], small.shape[0] / pixels.shape[0])
        self._from_plate = to_plate.inverse().then(to_small)
        self._pixels = np.clip((small - np.float32(grey.low)) / np.float32(grey.high - grey.low), 0, _BRIGHTEST)
        mask = widened(hand.mask, _MASK_MARGIN * hand.length_pixels * hand.radiograph_to_mask.zoom)
        self._mask = np.asarray(cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.7), np.float32)
        self._plate_to_mask = to_plate.inverse().then(hand.radiograph_to_mask)
        self._on_radiograph = _inner_share(small.shape, self._from_plate.zoom)

    def on_plate(self, moved: NDArray[np.float32], factor: int) -> tuple[Image, Image, Image]:
        """Sample the radiograph through a deformation.

        Args:
            moved: float32 (h, w, 2), displacement of each pixel of the reduced plate to its place on the registered
                hand, in pixels of the reduced plate.
            factor: factor of the reduction.

        Returns:
            Grey levels inside the hand, 0..1.3; each pixel's membership of it, 0..1; its membership of the radiograph,
            0..1. Each (h, w).
        """
        plate_xy = (_grid(moved.shape) + moved) * np.float32(factor)
        radiograph_xy = self._from_plate.points(plate_xy)
        mask_xy = self._plate_to_mask.points(plate_xy)
        inside = _taken(self._mask, mask_xy, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)  # a forearm goes on below it
        grey = np.clip(_taken(self._pixels, radiograph_xy, cv2.INTER_CUBIC), 0, _BRIGHTEST) * inside
        return grey, inside, _taken(self._on_radiograph, radiograph_xy, cv2.INTER_LINEAR)


@dataclass(frozen=True)
class MeanHand:
    """Mean of hands.

    Attributes:
        grey: float32 (PLATE_HEIGHT, PLATE_WIDTH), 0..1.3 of the hands' range; 0 outside the hand.
        inside: float32, same shape, each pixel's membership of the hand, 0..1.
        weights: float64 (N,), weights of the radiographs, with sum 1.
        agreement: float64 (N,), correlation of each radiograph's local contrast with the mean's.
        local_count: effective number of radiographs (1 / sum of squared weights) at a pixel, the median over the hand.
    """

    grey: Image
    inside: Image
    weights: NDArray[np.float64]
    agreement: NDArray[np.float64]
    local_count: float


def mean_hand(radiographs: Sequence[RegisteredRadiograph], weigh: Weigh) -> MeanHand:
    """Return the mean of registered hands.

    Args:
        radiographs: at least two.
        weigh: returns the weights after every round.
    """
    at = _State(
        [np.zeros((*_shape(_OUTLINES[0].factor), 2), np.float32) for _ in radiographs],
        weigh(np.zeros(len(radiographs))),
    )
    for step in _OUTLINES:
        at = _moved_on(at, step, radiographs, weigh)
    starts = []
    for typical in _typical_hands(at, radiographs):
        tried = at
        for step in _TYPICAL:
            tried = _moved_on(tried, step, radiographs, weigh, typical)
        starts.append(tried)
    at = _best_of_each(starts, radiographs, weigh)
    for step in _MEAN:
        at = _moved_on(at, step, radiographs, weigh)
    stack = _Stack.of(radiographs, at.moved, 1)
    weights = weigh(stack.mean(at.weights, 1, local=True).agreement(stack))
    mean = stack.mean(weights, 1, local=True)
    shown = mean.inside > 0.5
    return MeanHand(
        grey=mean.grey * _above_end(mean.covered, mean.inside),
        inside=mean.inside,
        weights=weights,
        agreement=mean.agreement(stack),
        local_count=float(np.median(mean.local_count[shown])) if shown.any() else 0.0,
    )


class _State(NamedTuple):
    """State of a mean: the deformation of each radiograph, and its weight (N,)."""

    moved: list[NDArray[np.float32]]
    weights: NDArray[np.float64]


def _moved_on(
    at: _State, step: _Step, radiographs: Sequence[RegisteredRadiograph], weigh: Weigh, typical: int | None = None
) -> _State:
    """Return the state after one more round; `typical` is the radiograph for a step to a typical one."""
    flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # its stub does not allow for no flow yet
    moved = [_resized(one, _shape(step.factor)) for one in at.moved]
    stack = _Stack.of(radiographs, moved, step.factor)
    mean = stack.mean(at.weights, step.factor, local=step.target == "mean")
    weights = weigh(mean.agreement(stack)) if step.target == "mean" else at.weights
    target, pictures = _to_match(step, mean, stack, typical)
    flows = [_blurred(flow.calc(target, picture, None), step.smooth) for picture in pictures]
    moved = [_blurred(_after(one, by), _ELASTIC_PIXELS / step.factor) for one, by in zip(moved, flows, strict=True)]
    back = _inverse(_unfolded(_blurred(_weighted(moved, weights), _MEAN_SMOOTH_PIXELS / step.factor)))
    return _State([_unfolded(_after(one, back)) for one in moved], weights)


def _typical_hands(at: _State, radiographs: Sequence[RegisteredRadiograph]) -> list[int]:
    """Return the radiographs that agree best with the mean, those first that show the commonly visible hand."""
    factor = _TYPICAL[0].factor
    stack = _Stack.of(radiographs, at.moved, factor)
    mean = stack.mean(at.weights, factor, local=False)
    shown = (mean.inside > 0.5) & (mean.covered > _COVERED)
    whole = np.array([float(on_radiograph[shown].mean()) > _WHOLE for on_radiograph in stack.on_radiograph])
    return [int(place) for place in np.argsort(-(mean.agreement(stack) + whole))[:_STARTS]]


def _best_of_each(starts: Sequence[_State], radiographs: Sequence[RegisteredRadiograph], weigh: Weigh) -> _State:
    """Combine several starts: each place takes the deformations of the start with the best agreement there.

    All starts are in the mean shape, so that their deformations may be mixed.
    """
    factor = _TYPICAL[0].factor
    misfits, agreements = [], []
    for start in starts:
        stack = _Stack.of(radiographs, start.moved, factor)
        mean = stack.mean(start.weights, factor, local=False)
        misfits.append(cv2.GaussianBlur(np.tensordot(start.weights, stack.errors(mean.feature), 1), (0, 0), _MIX_BLUR))
        agreements.append(mean.agreement(stack))
    relative = np.stack(misfits) / (np.min(misfits, axis=0) + 10.0)
    shares = np.exp(-_MIX_STEEPNESS * (relative - 1))
    height, width = _shape(factor)
    mixing = [cv2.resize(share.astype(np.float32), (width, height))[..., None] for share in shares / shares.sum(axis=0)]
    moved = []
    for radiograph in range(len(radiographs)):
        parts = [share * start.moved[radiograph] for share, start in zip(mixing, starts, strict=True)]
        moved.append(_unfolded(np.sum(parts, axis=0, dtype=np.float32)))
    return _State(moved, weigh(np.mean(agreements, axis=0)))


@dataclass(frozen=True)
class _Mean:
    """Running mean: grey, inside and covered as in `RegisteredRadiograph.on_plate`, each (h, w).

    Its `feature` is the local contrast, and its count the effective number of radiographs of each pixel.
    """

    grey: Image
    inside: Image
    covered: Image
    feature: NDArray[np.uint8]
    local_count: Image

    def agreement(self, stack: _Stack) -> NDArray[np.float64]:
        """Return the correlation of each radiograph's local contrast with the mean's, over the hand, (N,)."""
        where = (self.inside > 0.5) & (self.covered > 0.5)
        if np.count_nonzero(where) < 2:
            return np.zeros(len(stack.features))
        own = _standard(self.feature[where])
        return np.array([float(np.mean(_standard(feature[where]) * own)) for feature in stack.features])


@dataclass(frozen=True)
class _Stack:
    """All radiographs on the plate: grey, inside and on radiograph (N, h, w), and local contrast (h, w) of each."""

    grey: Image
    inside: Image
    on_radiograph: Image
    features: list[NDArray[np.uint8]]

    @classmethod
    def of(
        cls, radiographs: Sequence[RegisteredRadiograph], moved: Sequence[NDArray[np.float32]], factor: int
    ) -> _Stack:
        parts = [radiograph.on_plate(by, factor) for radiograph, by in zip(radiographs, moved, strict=True)]
        grey, inside, on_radiograph = (np.stack(part) for part in zip(*parts, strict=True))
        features = [_local_contrast(*pair, factor) for pair in zip(grey, inside, strict=True)]
        return cls(grey, inside, on_radiograph, features)

    def mean(self, weights: NDArray[np.float64], factor: int, *, local: bool) -> _Mean:
        """Return the weighted mean. With `local`, a radiograph counts less where it differs from the others."""
        by_radiograph = weights.astype(np.float32)[:, None, None]
        share = by_radiograph * self.on_radiograph + np.float32(1e-9)
        covered = (by_radiograph * self.on_radiograph).sum(axis=0)
        inside = (share * self.inside).sum(axis=0) / share.sum(axis=0)
        grey = (share * self.grey).sum(axis=0) / share.sum(axis=0)
        feature = _local_contrast(grey, inside, factor)
        if local:
            for _ in range(2):
                trusted = share * self._local_trust(feature, weights)
                grey = (trusted * self.grey).sum(axis=0) / trusted.sum(axis=0)
                feature = _local_contrast(grey, inside, factor)
            share = trusted
        count = 1 / ((share / share.sum(axis=0)) ** 2).sum(axis=0)
        return _Mean(grey, inside, covered, feature, count)

    def errors(self, feature: NDArray[np.uint8]) -> Image:
        """Return the blurred squared difference of each radiograph's local contrast from a mean's, (N, h, w).

        It is computed on the plate reduced by `_ERRORS_FACTOR`, which takes less time.
        """
        seen = _small(feature)
        blur = _LOCAL_PIXELS / _ERRORS_FACTOR
        return np.stack([cv2.GaussianBlur((_small(one) - seen) ** 2, (0, 0), blur) for one in self.features])

    def _local_trust(self, feature: NDArray[np.uint8], weights: NDArray[np.float64]) -> Image:
        """Return the weight of each radiograph at each pixel, (N, h, w), from the floor to 1."""
        height, width = feature.shape
        errors = self.errors(feature)
        counting = errors[weights > 0]
        usual = np.median(counting, axis=0) + 10.0
        trust = _LOCAL_FLOOR + (1 - _LOCAL_FLOOR) * np.exp(-_LOCAL_STEEPNESS * errors / usual)
        return np.stack([cv2.resize(one, (width, height)) for one in trust.astype(np.float32)])


def _to_match(
    step: _Step, mean: _Mean, stack: _Stack, typical: int | None
) -> tuple[NDArray[np.uint8], Sequence[NDArray[np.uint8]]]:
    """Return the image that is the target of the flow, and the radiographs' images."""
    if "outline" in step.target:
        outlines = [_outline(inside) for inside in stack.inside]
        if step.target == "outline":
            return _outline(mean.inside), outlines
        unlike = [float(np.abs(inside - mean.inside).mean()) for inside in stack.inside]
        return outlines[int(np.argmin(unlike))], outlines
    if typical is not None and step.target == "typical":
        return stack.features[typical], stack.features
    return mean.feature, stack.features


# --- pictures ---


def _local_contrast(grey: Image, inside: Image, factor: int) -> NDArray[np.uint8]:
    """Return the image for the flow, uint8 (h, w): grey minus its local mean, in units of its local spread.

    The hand is brighter than the air.
    """
    near, far = 20 / factor, 28 / factor
    level = _widely_blurred(grey, near) / (_widely_blurred(inside, near) + 1e-3)
    detail = (grey - level) * inside
    spread = np.sqrt(_widely_blurred(detail**2, far) / (_widely_blurred(inside, far) + 1e-3))
    return np.clip(60 + 60 * inside + 35 * detail / (spread + 0.02) * inside, 0, 255).astype(np.uint8)


def _widely_blurred(picture: Image, pixels: float) -> Image:
    """Blur by a Gaussian of at least 8 pixels on a reduced copy, which is nearly identical and much faster."""
    height, width = picture.shape
    small = cv2.resize(picture, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(cv2.GaussianBlur(small, (0, 0), pixels / 4), (width, height)), np.float32)


def _outline(inside: Image) -> NDArray[np.uint8]:
    """Return the signed distance from a hand's outline, uint8 (h, w)."""
    mask = (inside > 0.5).astype(np.uint8)
    inwards = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    outwards = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    return np.asarray(np.clip(128 + 5 * (inwards - outwards), 0, 255), np.uint8)


def _inner_share(shape: tuple[int, ...], zoom: float) -> Image:
    """Return each pixel's membership of the radiograph, 0..1; `zoom` is radiograph pixels per plate pixel."""
    height, width = shape
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    from_edge = np.minimum(np.minimum(rows, height - rows)[:, None], np.minimum(columns, width - columns)[None])
    return _ramp(np.asarray(from_edge / zoom, np.float32), *_EDGE_PIXELS)


def _above_end(covered: Image, inside: Image) -> Image:
    """Return 1 above the row where too few radiographs continue, 0 below it, float32 (h, 1)."""
    height = len(covered)
    wrist = height * 3 // 4  # fingertips that some radiographs cut off are no forearm
    forearm = (inside[wrist:] > 0.5).any(axis=0)
    poor = (covered[wrist:, forearm] < _COVERED).any(axis=1)
    end = wrist + int(np.argmax(poor)) if poor.any() else height + _FADE_PIXELS
    return _ramp(end - np.arange(height, dtype=np.float32)[:, None], 0.0, _FADE_PIXELS)


def _ramp(values: Image, low: float, high: float) -> Image:
    return np.asarray(np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)


def _small(picture: NDArray[np.uint8] | Image) -> Image:
    """Reduce an image of the plate, of any size, by `_ERRORS_FACTOR`."""
    height, width = _shape(_ERRORS_FACTOR)
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _standard(values: NDArray[np.uint8]) -> NDArray[np.float64]:
    levels = values.astype(np.float64)
    return np.asarray((levels - levels.mean()) / max(float(levels.std()), 1e-9))


# --- deformations: float32 (h, w, 2), by how much each pixel is moved ---


def _shape(factor: int) -> tuple[int, int]:
    return PLATE_HEIGHT // factor, PLATE_WIDTH // factor


def _grid(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the centres of all pixels, (h, w, 2)."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return np.stack([x, y], axis=2) + np.float32(0.5)


def _taken(
    picture: NDArray[np.floating], places_xy: NDArray[np.floating], how: int, border: int = cv2.BORDER_CONSTANT
) -> Image:
    """Return an image's values at places (h, w, 2); 0 outside unless `border` selects another mode."""
    index = (places_xy - 0.5).astype(np.float32)  # OpenCV puts the centre of the first pixel at 0, we at 0.5
    return np.asarray(cv2.remap(picture, index[..., 0], index[..., 1], how, borderMode=border), np.float32)


def _after(moved: NDArray[np.float32], first: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compose deformations: first `first`, then `moved`."""
    places = _grid(moved.shape) + first
    displaced = [
        _taken(np.ascontiguousarray(moved[..., axis]), places, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
        for axis in (0, 1)
    ]
    return first + np.stack(displaced, axis=2)


def _inverse(moved: NDArray[np.float32], rounds: int = 10) -> NDArray[np.float32]:
    """Invert a smooth deformation by fixed point iteration."""
    back = -moved
    for _ in range(rounds):
        back = back - _after(moved, back)
    return back


def _unfolded(moved: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth a deformation where it compresses or folds the plane, so that it can be inverted."""
    for _ in range(_MOST_UNFOLDINGS):
        along_x, along_y = np.diff(moved, axis=1)[1:], np.diff(moved, axis=0)[:, 1:]
        area = (1 + along_x[..., 0]) * (1 + along_y[..., 1]) - along_x[..., 1] * along_y[..., 0]
        tight = (area < _LEAST_AREA).astype(np.float32)
        if not tight.any():
            break
        near = cv2.dilate(np.pad(tight, ((1, 0), (1, 0))), np.ones((9, 9), np.uint8))
        share = cv2.GaussianBlur(near, (0, 0), 4)[..., None]
        moved = moved + share * (_blurred(moved, 6.0) - moved)
    return moved


def _weighted(moved: Sequence[NDArray[np.float32]], weights: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(np.tensordot(weights.astype(np.float32), np.stack(moved), axes=1), np.float32)


def _blurred(moved: NDArray[np.float32], pixels: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(moved, (0, 0), pixels), np.float32)


def _resized(moved: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the same deformation on a grid of another size, in its pixels."""
    if moved.shape[:2] == shape:
        return moved
    factor = np.float32(shape[0] / moved.shape[0])
    return np.asarray(cv2.resize(moved, shape[::-1], interpolation=cv2.INTER_LINEAR) * factor, np.float32)
