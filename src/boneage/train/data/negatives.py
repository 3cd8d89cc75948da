"""Pictures without a hand, and radiographs with two: what the networks that look for a hand must learn to tell from one
hand.

Iglovikov et al. only ever show their networks a hand. Whoever serves users meets other files, and a network that was
never shown any answers with confidence. No collection of such files may be assumed on a user's machine, so they are
drawn, or made from the radiographs of hands that are being trained on: with the hand erased, or with the forearm only.

Everything is decided by the generator that is given: equal generators give equal pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import FloatArray, Image
from boneage.evaluate.perturbations import border_grey
from boneage.geometry import Transform, downsample_area, sample
from boneage.hand.registration import hand_length

DrawnKind = Literal["noise", "blank", "frame", "marker", "scene", "face", "pattern", "page", "bones", "chest"]
MadeKind = Literal["erased", "forearm"]
Kind = Literal[DrawnKind, MadeKind]

KINDS: tuple[Kind, ...] = (*get_args(DrawnKind), *get_args(MadeKind))
"""All kinds of picture without a hand; the last two are made from a radiograph."""

FOREARM_START = 0.35
"""How far beyond the capitate, away from the fingers, a crop of the forearm begins: a share of the hand's length. The
growth plates of radius and ulna lie at about 0.15 to 0.25, so no part of what is read for bone age is left."""

_SHORTEST_FOREARM = 0.1
"""Of the hand's length: less forearm than that on the radiograph is not cropped."""

_LEAST_CONTRAST = 0.02
"""Standard deviation of the greys of a forearm; under it the radiograph is blank there."""

_LEAST_GRAIN = 0.002
"""Standard deviation of the weakest grain: a radiograph of one grey would be rejected before any network saw it."""

_MADE_SHARE = 0.4
"""How often a picture is made from the radiograph, where there is one that serves."""


class MaskedRadiograph(NamedTuple):
    """A radiograph and its hand: float32 (H, W), 0..1; uint8 (h, w), 0 / non-zero, aligned by fractions of both
    sides.
    """

    pixels: Image
    mask: NDArray[np.uint8]


def draw_negative(
    generator: np.random.Generator,
    radiograph: Image | None = None,
    mask: NDArray[np.uint8] | None = None,
    *,
    points_xy: FloatArray | None = None,
    kind: Kind | None = None,
    longest_side: int = 256,
) -> Image:
    """A picture on which there is no hand.

    Args:
        generator: decides everything.
        radiograph: float32 (H, W), 0..1, a radiograph of one hand to make pictures from; drawn ones only if not given.
        mask: uint8 (h, w), 0 / non-zero, the hand on `radiograph`, aligned by fractions of width and height; needed for
            ``erased``.
        points_xy: (3, 2), key points on `radiograph`, its pixels, rows as `boneage.hand.registration.POINT_NAMES`;
            needed for ``forearm``.
        kind: what to draw; chosen by the generator if not given.
        longest_side: of the picture, pixels, at least 32.

    Returns:
        float32 (H, W), 0..1, contiguous; the longer side is `longest_side`.

    Raises:
        ValueError: a kind that needs a radiograph, mask or key points which are not given or do not serve (less forearm
            on the radiograph than a tenth of the hand's length, nothing to see there, an empty mask, a hand that leaves
            no background), or a side under 32 px.
    """
    if longest_side < 32:
        raise ValueError(f"a picture has at least 32 px a side, not {longest_side}")
    if kind is None:
        return _any_kind(generator, radiograph, mask, points_xy, longest_side)
    if kind == "erased" or kind == "forearm":  # noqa: PLR1714 - the type checker narrows only so
        made = _made(generator, kind, radiograph, mask, points_xy, longest_side)
        if made is None:
            raise ValueError(f"the radiograph does not serve to make the kind {kind}")
        return made
    return _drawn(generator, kind, longest_side)


def pair_radiographs(
    generator: np.random.Generator,
    first: tuple[Image, NDArray[np.uint8]],
    second: tuple[Image, NDArray[np.uint8]] | None = None,
    *,
    longest_side: int = 256,
) -> MaskedRadiograph:
    """Two hands on one radiograph, side by side or one above the other.

    Each radiograph is cut to about its hand or left whole, the hands are brought to about one size, their greys to
    about one range; there may be a gap or a border.

    Args:
        generator: decides everything.
        first: a radiograph of one hand and its mask, as `MaskedRadiograph`.
        second: another one; `first` beside its own mirror image if not given, as both hands of one child would look.
        longest_side: of the radiograph that results, pixels, at least 32.

    Returns:
        The radiograph and its joined masks: float32 (H, W), 0..1, and uint8 (H, W), 0 / 1, of one shape.

    Raises:
        ValueError: a mask is empty, or a side under 32 px.
    """
    if longest_side < 32:
        raise ValueError(f"a picture has at least 32 px a side, not {longest_side}")
    across = generator.random() < 0.75  # radiographs of both hands show them side by side
    tight = generator.random() < 0.6
    halves = [
        _half(generator, MaskedRadiograph(*radiograph), longest_side, tight=tight)
        for radiograph in (first, second or first)
    ]
    if second is None or generator.random() < 0.3:
        halves[1] = MaskedRadiograph(halves[1].pixels[:, ::-1], halves[1].mask[:, ::-1])
    alike = 1.0 if generator.random() < 0.5 else generator.uniform(0.5, 1.0)
    halves[1] = halves[1]._replace(pixels=_same_greys(halves[1].pixels, halves[0].pixels, alike))
    joined = _joined(generator, halves, across=across)
    return _bordered(generator, joined, longest_side)


def _any_kind(
    generator: np.random.Generator,
    radiograph: Image | None,
    mask: NDArray[np.uint8] | None,
    points_xy: FloatArray | None,
    longest_side: int,
) -> Image:
    if radiograph is not None and generator.random() < _MADE_SHARE:
        order = generator.permutation(len(get_args(MadeKind)))
        for kind in (get_args(MadeKind)[place] for place in order):
            made = _made(generator, kind, radiograph, mask, points_xy, longest_side)
            if made is not None:
                return made
    return _drawn(generator, get_args(DrawnKind)[generator.integers(len(get_args(DrawnKind)))], longest_side)


def _made(
    generator: np.random.Generator,
    kind: MadeKind,
    radiograph: Image | None,
    mask: NDArray[np.uint8] | None,
    points_xy: FloatArray | None,
    longest_side: int,
) -> Image | None:
    """The radiograph without its hand; None where it does not serve."""
    if radiograph is None:
        return None
    if kind == "forearm":
        return None if points_xy is None else _forearm(generator, radiograph, points_xy, longest_side)
    return None if mask is None else _erased(generator, MaskedRadiograph(radiograph, mask), longest_side)


def _erased(generator: np.random.Generator, radiograph: MaskedRadiograph, longest_side: int) -> Image | None:
    """The radiograph with its hand filled from the background around it, which keeps borders and markers."""
    pixels, mask = _reduced(radiograph, longest_side)
    reach = 2 * max(1, round(generator.uniform(0.025, 0.05) * longest_side)) + 1
    hole = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))) > 0
    if not 0.03 < hole.mean() < 0.9:  # no hand to erase, or nothing to fill it from
        return None
    filled = _filled_from_around(pixels, hole)
    rough = np.abs(pixels - cv2.GaussianBlur(pixels, (0, 0), 2.0))[~hole]
    grain = np.float32(
        max(1.48 * np.median(rough), _LEAST_GRAIN)
    )  # of the background alone: letters and borders do not count
    filled += grain * generator.standard_normal(pixels.shape, dtype=np.float32)
    share = cv2.GaussianBlur(hole.astype(np.float32), (0, 0), reach / 6)  # no edge that would show the hand's shape
    return np.asarray(np.clip(pixels + share * (filled - pixels), 0, 1), dtype=np.float32)


def _filled_from_around(pixels: Image, hole: NDArray[np.bool_]) -> Image:
    """Holes filled with ever wider means of what is known (an image pyramid down, and up again)."""
    known = (~hole).astype(np.float32)
    levels = [(pixels * known, known)]
    while min(levels[-1][0].shape) > 1 and not levels[-1][1].all():
        levels.append((_halved(levels[-1][0]), _halved(levels[-1][1])))
    total, weight = levels[-1]
    filled = total / np.maximum(weight, 1e-6)
    for total, weight in reversed(levels[:-1]):
        wide = cv2.resize(filled, (total.shape[1], total.shape[0]), interpolation=cv2.INTER_LINEAR)
        share = np.minimum(1.0, 4.0 * weight)  # what is nearly unknown here is taken from the wider mean
        filled = share * total / np.maximum(weight, 1e-6) + (1 - share) * wide
    return np.asarray(filled, dtype=np.float32)


def _halved(pixels: Image) -> Image:
    return np.asarray(cv2.pyrDown(pixels), dtype=np.float32)


def _forearm(
    generator: np.random.Generator, radiograph: Image, points_xy: FloatArray, longest_side: int
) -> Image | None:
    """What the radiograph shows from `FOREARM_START` beyond the capitate on, turned upright."""
    length = hand_length(points_xy)
    tip, _, capitate = np.asarray(points_xy, dtype=np.float64)
    if not length > 1.0:
        return None
    down = (capitate - tip) / length
    reach = _reach(capitate, down, radiograph.shape) / length
    start = FOREARM_START + generator.uniform(0, 0.5) * max(0.0, reach - FOREARM_START - 2 * _SHORTEST_FOREARM)
    if reach - start < _SHORTEST_FOREARM:
        return None
    height = (reach - start) * length
    width = min(max(height / generator.uniform(0.4, 1.6), 0.45 * length), 1.5 * length)
    across = np.array([down[1], -down[0]])
    corner = capitate + start * length * down - across * width * generator.uniform(0.4, 0.6)
    zoom = longest_side / max(height, width)
    turn = zoom * np.stack([across, down])
    upright = Transform.from_matrix(np.column_stack([turn, -turn @ corner]))
    fill = border_grey(radiograph)
    crop = sample(radiograph, upright, max(1, round(zoom * height)), max(1, round(zoom * width)), fill=fill)
    if float(crop.std()) < _LEAST_CONTRAST:
        return None
    if generator.random() < 0.5:  # on a radiograph that is longer, as if the hand had been left off
        free = int(generator.integers(longest_side - crop.shape[0] + 1))
        above = int(generator.integers(free + 1))
        crop = np.pad(crop, ((above, free - above), (0, 0)), constant_values=fill)
    return np.clip(crop, 0, 1)


def _reach(origin_xy: NDArray[np.float64], direction: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """How far a ray from a point runs on a radiograph of this shape, pixels; 0 if the point lies outside."""
    sides = np.array([shape[1], shape[0]], dtype=np.float64)
    if (origin_xy < 0).any() or (origin_xy > sides).any():
        return 0.0
    ends = np.where(direction > 0, sides - origin_xy, -origin_xy)
    turned = np.abs(direction) > 1e-9
    return float((ends[turned] / direction[turned]).min())


def _reduced(radiograph: MaskedRadiograph, longest_side: int) -> MaskedRadiograph:
    """Radiograph and mask on one grid whose longer side is `longest_side`; the mask 0 / 1."""
    zoom = longest_side / max(radiograph.pixels.shape)
    height, width = (max(1, round(zoom * side)) for side in radiograph.pixels.shape)
    pixels = downsample_area(radiograph.pixels, zoom)
    if pixels.shape != (height, width):
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    mask = cv2.resize((radiograph.mask > 0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return MaskedRadiograph(pixels, np.asarray(mask, dtype=np.uint8))


# --- two hands ---------------------------------------------------------------------------------------------------


def _half(
    generator: np.random.Generator, radiograph: MaskedRadiograph, longest_side: int, *, tight: bool
) -> MaskedRadiograph:
    """One radiograph brought to a size at which the diagonal of its hand is about `longest_side` / 2."""
    pixels, mask = _reduced(radiograph, longest_side)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        raise ValueError("the mask is empty: there is no hand to pair")
    tall, wide = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    if tight:
        margins = np.rint(generator.uniform(0.03, 0.2, 4) * max(tall, wide)).astype(int)
        top, left = max(0, rows[0] - margins[0]), max(0, columns[0] - margins[1])
        pixels = pixels[top : rows[-1] + 1 + margins[2], left : columns[-1] + 1 + margins[3]]
        mask = mask[top : rows[-1] + 1 + margins[2], left : columns[-1] + 1 + margins[3]]
    zoom = generator.uniform(0.85, 1.15) * 0.5 * longest_side / math.hypot(tall, wide)
    size = (max(8, round(zoom * mask.shape[1])), max(8, round(zoom * mask.shape[0])))
    return MaskedRadiograph(
        np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32),
        np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8),
    )


def _same_greys(pixels: Image, model: Image, share: float) -> Image:
    """Grey levels stretched so that their 2nd and 98th percentile come by `share` nearer to those of another
    radiograph.

    Hands on one radiograph were exposed as one; a hand that can hardly be seen beside another would not count.
    """
    low, high = np.percentile(pixels, (2, 98))
    model_low, model_high = np.percentile(model, (2, 98))
    aim_low, aim_high = low + share * (model_low - low), high + share * (model_high - high)
    stretched = (pixels - low) * ((aim_high - aim_low) / max(high - low, 1e-3)) + aim_low
    return np.asarray(np.clip(stretched, 0, 1), dtype=np.float32)


def _joined(generator: np.random.Generator, halves: list[MaskedRadiograph], *, across: bool) -> MaskedRadiograph:
    """Two radiographs on one canvas, in a row or a column, with their own background about each."""
    sizes = np.array([half.mask.shape for half in halves])
    along = 1 if across else 0
    gap = round(generator.choice([0.0, generator.uniform(0, 0.15)]) * float(sizes[:, along].mean()))
    other = int(sizes[:, 1 - along].max())
    shape = (other, int(sizes[:, 1].sum()) + gap) if across else (int(sizes[:, 0].sum()) + gap, other)
    canvas = np.full(
        shape, generator.choice([0.0, 1.0, border_grey(halves[0].pixels)], p=[0.3, 0.05, 0.65]), np.float32
    )
    mask = np.zeros(shape, np.uint8)
    start = 0
    for half in halves:
        height, width = half.mask.shape
        free = other - half.mask.shape[1 - along]
        aside = int(generator.integers(free + 1))
        top, left = (aside, start) if across else (start, aside)
        canvas[top : top + height, left : left + width] = half.pixels
        mask[top : top + height, left : left + width] = half.mask
        start += half.mask.shape[along] + gap
    return MaskedRadiograph(canvas, mask)


def _bordered(generator: np.random.Generator, radiograph: MaskedRadiograph, longest_side: int) -> MaskedRadiograph:
    """A border about a radiograph at times; then the size that was asked for."""
    if generator.random() < 0.4:
        top, bottom, left, right = np.rint(generator.uniform(0.01, 0.12, 4) * max(radiograph.mask.shape)).astype(int)
        grey = float(generator.choice([0.0, 1.0, border_grey(radiograph.pixels)], p=[0.5, 0.2, 0.3]))
        wide = ((top, bottom), (left, right))
        radiograph = MaskedRadiograph(
            np.pad(radiograph.pixels, wide, constant_values=grey), np.pad(radiograph.mask, wide)
        )
    reduced = _reduced(radiograph, longest_side)
    return MaskedRadiograph(np.ascontiguousarray(np.clip(reduced.pixels, 0, 1)), reduced.mask)


# --- drawn pictures ----------------------------------------------------------------------------------------------


def _drawn(generator: np.random.Generator, kind: DrawnKind, longest_side: int) -> Image:
    """A drawing of a kind, developed as radiographs are: blurred, grainy, in some range of greys, at times a
    negative.
    """
    short = max(24, round(longest_side * generator.uniform(0.6, 1.0)))
    shape = (longest_side, short) if generator.random() < 0.7 else (short, longest_side)
    picture = _DRAW[kind](generator, shape)
    if generator.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), generator.uniform(0.5, 2.5)), dtype=np.float32)
    if kind not in ("frame", "blank") and generator.random() < 0.2:
        picture = picture * _collimation(generator, shape)
    if kind != "marker" and generator.random() < 0.25:
        _write_letters(generator, picture, count=1)
    return _developed(generator, picture)


def _developed(generator: np.random.Generator, picture: Image) -> Image:
    """Gamma, range of greys, grain and negative, as chance has it."""
    picture = np.clip(picture, 0, 1) ** np.float32(math.exp(generator.normal(0, 0.35)))
    if generator.random() < 0.4:
        picture = 1 - picture
    low, high = generator.uniform(0, 0.3), generator.uniform(0.6, 1.0)
    picture = np.float32(low) + np.float32(high - low) * picture
    grain = _LEAST_GRAIN + (generator.exponential(0.015) if generator.random() < 0.6 else 0.0)
    picture = picture + np.float32(grain) * generator.standard_normal(picture.shape, dtype=np.float32)
    return np.ascontiguousarray(np.clip(picture, 0, 1), dtype=np.float32)


def _clouds(generator: np.random.Generator, shape: tuple[int, int], roughness: float = 0.5) -> Image:
    """Noise of many scales, each finer one weaker by `roughness`, stretched to 0..1; 0.5 is about 1/f."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    strength, side = 1.0, 3
    while side < 2 * max(shape):
        grid = (min(height, side), min(width, side))
        octave = generator.standard_normal(grid, dtype=np.float32)
        total += np.float32(strength) * cv2.resize(octave, (width, height), interpolation=cv2.INTER_LINEAR)
        strength, side = strength * roughness, 2 * side
    return _stretched(total)


def _stretched(picture: Image) -> Image:
    low, high = float(picture.min()), float(picture.max())
    return np.asarray((picture - low) / max(high - low, 1e-6), dtype=np.float32)


def _noise(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """White, of one scale, of many scales, speckled, or of lines."""
    colour = generator.integers(5)
    if colour == 0:
        return generator.random(shape, dtype=np.float32)
    if colour == 1:
        return _clouds(generator, shape, generator.uniform(0.3, 0.95))
    white = generator.standard_normal(shape, dtype=np.float32)
    if colour == 2:
        blurred = cv2.GaussianBlur(white, (0, 0), math.exp(generator.uniform(-0.5, 2.0)))
        return _stretched(np.asarray(blurred, dtype=np.float32))
    if colour == 3:
        return np.where(np.abs(white) > generator.uniform(1, 3), np.sign(white) / 2 + 0.5, 0.5).astype(np.float32)
    lines = generator.standard_normal((shape[0], 1), dtype=np.float32)
    return _stretched(lines + np.float32(generator.uniform(0, 0.5)) * white)


def _blank(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """One grey, a slope, or light falling off to the edges, nearly without grain."""
    height, width = shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    turn = generator.uniform(0, 2 * math.pi)
    slope = np.float32(math.cos(turn)) * x + np.float32(math.sin(turn)) * y
    centre = generator.uniform(-0.7, 0.7, 2).astype(np.float32)
    bowl = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    strength = generator.uniform(0, 0.4, 2).astype(np.float32) * generator.integers(0, 2, 2).astype(np.float32)
    level = np.float32(generator.uniform(0, 1))
    grain = np.float32(0.01) * generator.standard_normal(shape, dtype=np.float32)
    return np.asarray(level + strength[0] * slope + strength[1] * bowl + grain, dtype=np.float32)


def _collimation(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """1 inside the field of an X-ray tube's blades, nearly 0 outside: a turned rectangle, or a circle."""
    height, width = shape
    field = np.full(shape, generator.uniform(0, 0.15), np.float32)
    centre = (width * generator.uniform(0.4, 0.6), height * generator.uniform(0.4, 0.6))
    if generator.random() < 0.2:
        cv2.circle(field, (round(centre[0]), round(centre[1])), round(0.45 * min(shape)), 1.0, -1, cv2.LINE_AA)
        return field
    size = (width * generator.uniform(0.5, 0.95), height * generator.uniform(0.5, 0.95))
    box = cv2.boxPoints((centre, size, generator.normal(0, 6)))
    cv2.fillConvexPoly(field, np.rint(box).astype(np.int32), 1.0, cv2.LINE_AA)
    return field


def _frame(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Collimated fields and borders with nothing in them."""
    inside = np.float32(generator.uniform(0.2, 0.8)) + np.float32(0.3) * (_blank(generator, shape) - np.float32(0.5))
    picture = inside * _collimation(generator, shape)
    if generator.random() < 0.5:
        picture = picture * _collimation(generator, shape)
    if generator.random() < 0.5:
        wide = max(1, round(generator.uniform(0.01, 0.08) * max(shape)))
        cv2.rectangle(picture, (0, 0), (shape[1] - 1, shape[0] - 1), generator.uniform(0, 1), 2 * wide)
    return picture


def _marker(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Lead letters, arrows, rulers and steps on an empty radiograph."""
    picture = np.float32(0.35) * _blank(generator, shape)
    _write_letters(generator, picture, count=int(generator.integers(1, 6)))
    if generator.random() < 0.4:
        _draw_ruler(generator, picture)
    if generator.random() < 0.4:
        _draw_steps(generator, picture)
    return picture


def _write_letters(generator: np.random.Generator, picture: Image, count: int) -> None:
    """Words in lead, some in a frame, drawn onto the picture."""
    height, width = picture.shape
    lead = np.zeros(picture.shape, np.uint8)  # OpenCV writes on 8 bits only
    for _ in range(count):
        text = "".join(generator.choice(list("LRABCDEFGHPX0123456789"), generator.integers(1, 7)))
        size = max(height, width) * generator.uniform(0.0015, 0.006)
        place = (int(generator.integers(-10, width)), int(generator.integers(10, height + 10)))
        thick = max(1, round(max(height, width) * generator.uniform(0.004, 0.02)))
        font = int(generator.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
        cv2.putText(lead, text, place, font, size, 255, thick, cv2.LINE_AA)
        if generator.random() < 0.3:
            corner = (place[0] + round(size * 22 * len(text)), place[1] - round(size * 26))
            cv2.rectangle(lead, place, corner, 255, thick)
    share = lead.astype(np.float32) / np.float32(255)
    picture += share * (np.float32(generator.uniform(0.7, 1)) - picture)


def _draw_ruler(generator: np.random.Generator, picture: Image) -> None:
    height, width = picture.shape
    x, step = round(generator.uniform(0.05, 0.9) * width), max(3, round(generator.uniform(0.02, 0.06) * height))
    for number, y in enumerate(range(0, height, step)):
        long = round(width * (0.06 if number % 5 == 0 else 0.03))
        cv2.line(picture, (x, y), (x + long, y), 0.9, 1)


def _draw_steps(generator: np.random.Generator, picture: Image) -> None:
    height, width = picture.shape
    count = int(generator.integers(4, 10))
    left, top = generator.uniform(0, 0.5, 2) * (width, height)
    wide, tall = 0.5 * width / count, generator.uniform(0.05, 0.15) * height
    for number in range(count):
        corner = (round(left + number * wide), round(top))
        opposite = (round(left + (number + 1) * wide), round(top + tall))
        cv2.rectangle(picture, corner, opposite, 0.2 + 0.75 * number / count, -1)


def _scene(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Like a photograph: things of all sizes one before another (the model of dead leaves), at times in a room."""
    picture = _clouds(generator, shape, generator.uniform(0.4, 0.65))
    if generator.random() < 0.4:
        _draw_room(generator, picture)
    for _ in range(int(generator.integers(5, 60))):
        size = max(shape) * min(0.5, 0.02 / max(generator.random(), 0.03))  # many small ones, few large ones
        _draw_thing(generator, picture, size)
    return np.float32(0.75) * picture + np.float32(0.25) * _clouds(generator, shape, 0.7)


def _draw_thing(generator: np.random.Generator, picture: Image, size: float) -> None:
    height, width = picture.shape
    centre = (round(generator.uniform(0, width)), round(generator.uniform(0, height)))
    shade, form = float(generator.random()), generator.integers(3)
    axes = (max(1, round(size * generator.uniform(0.3, 1))), max(1, round(size * generator.uniform(0.3, 1))))
    turn = generator.uniform(0, 360)
    if form == 0:
        cv2.ellipse(picture, centre, axes, turn, 0, 360, shade, -1, cv2.LINE_AA)
    elif form == 1:
        box = cv2.boxPoints((centre, (2.0 * axes[0], 2.0 * axes[1]), turn))
        cv2.fillConvexPoly(picture, np.rint(box).astype(np.int32), shade, cv2.LINE_AA)
    else:
        corners = generator.normal(0, size, (int(generator.integers(3, 8)), 2)) + centre
        cv2.fillPoly(picture, [np.rint(corners).astype(np.int32)], shade, cv2.LINE_AA)


def _draw_room(generator: np.random.Generator, picture: Image) -> None:
    """Lines that run to one point, and a horizon."""
    height, width = picture.shape
    horizon = round(generator.uniform(0.3, 0.7) * height)
    picture[horizon:] = 0.5 * picture[horizon:] + 0.5 * np.float32(generator.random())
    vanishing = (round(generator.uniform(0, width)), horizon)
    for x in np.linspace(-width, 2 * width, int(generator.integers(4, 20))):
        cv2.line(picture, vanishing, (round(float(x)), height), float(generator.random()), 1, cv2.LINE_AA)


def _face(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Ellipses as in a face, before a blurred ground."""
    height, width = shape
    picture = np.float32(generator.uniform(0.3, 1)) * _clouds(generator, shape, 0.4)
    x, y, size = width * generator.uniform(0.35, 0.65), height * generator.uniform(0.4, 0.6), 0.3 * min(shape)
    size *= generator.uniform(0.7, 1.3)
    skin = generator.uniform(0.4, 0.9)

    def spot(dx: float, dy: float, wide: float, tall: float, shade: float) -> None:
        centre = (round(x + dx * size), round(y + dy * size))
        axes = (max(1, round(wide * size)), max(1, round(tall * size)))
        cv2.ellipse(picture, centre, axes, 0, 0, 360, shade, -1, cv2.LINE_AA)

    spot(0, 2.2, 1.6, 1.2, generator.random())  # shoulders
    spot(0, -0.25, 1.05, 1.25, generator.uniform(0, 0.5))  # hair
    spot(0, 0, 0.85, 1.15, skin)
    for side in (-1, 1):
        spot(0.36 * side, -0.15, 0.17, 0.1, min(1.0, skin + 0.25))
        spot(0.36 * side, -0.15, 0.08, 0.08, 0.1)
        spot(0.36 * side, -0.36, 0.2, 0.04, 0.2)
    spot(0, 0.2, 0.1, 0.2, 0.85 * skin)
    spot(0, 0.62, 0.32, generator.uniform(0.05, 0.15), 0.5 * skin)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), size / 30), dtype=np.float32)


def _pattern(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Gratings, checks, rings, and windows of a house: things with a period."""
    height, width = shape
    x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    turn, period = generator.uniform(0, math.pi), max(shape) * generator.uniform(0.02, 0.3)
    along = np.float32(math.cos(turn)) * x + np.float32(math.sin(turn)) * y
    across = np.float32(math.cos(turn)) * y - np.float32(math.sin(turn)) * x
    first = np.sin(np.float32(2 * math.pi / period) * along)
    form = generator.integers(4)
    if form == 0:
        picture = 0.5 + 0.5 * first
    elif form == 1:
        picture = 0.5 + 0.5 * first * np.sin(np.float32(2 * math.pi / period) * across)
    elif form == 2:
        centre = generator.uniform(0, 1, 2) * (width, height)
        radius = np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1]))
        picture = 0.5 + 0.5 * np.sin(np.float32(2 * math.pi / period) * radius)
    else:
        second = np.sin(np.float32(2 * math.pi / (period * generator.uniform(0.5, 2))) * across)
        picture = np.where((first > 0.3) & (second > 0.1), 0.85, 0.25)
    if generator.random() < 0.4:
        picture = (picture > 0.5).astype(np.float32)
    return np.asarray(0.85 * picture + 0.15 * _clouds(generator, shape), dtype=np.float32)


def _page(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """A page of text: words, lines, a heading, a table or a picture on paper."""
    height, width = shape
    picture = np.full(shape, generator.uniform(0.85, 1.0), np.float32)
    ink, margin = generator.uniform(0, 0.3), round(generator.uniform(0.03, 0.12) * width)
    size = max(3, round(height * generator.uniform(0.012, 0.05)))
    y = margin
    while y < height - margin:
        if generator.random() < 0.08:
            tall = round(generator.uniform(0.1, 0.3) * height)
            shade = float(generator.uniform(0.2, 0.9))
            cv2.rectangle(
                picture, (margin, y), (width - margin, y + tall), shade, -1 if generator.random() < 0.5 else 1
            )
            y += tall
        elif generator.random() > 0.1:
            _write_line(generator, picture, (margin, y), size, ink)
        y += round(1.8 * size) + 1
    return picture


def _write_line(
    generator: np.random.Generator, picture: Image, start_xy: tuple[int, int], size: int, ink: float
) -> None:
    """One line of words; letters are strokes, which at this size look like print."""
    x, y = start_xy
    end = picture.shape[1] - x
    if generator.random() < 0.2:
        end = round(end * generator.uniform(0.3, 0.9))
    letters = max(1, (end - x) // max(2, round(0.6 * size)))
    for number, kind in enumerate(generator.integers(0, 7, letters)):
        left = x + round(0.6 * size * number)
        if kind < 3:
            cv2.line(picture, (left, y), (left, y + size), ink, max(1, size // 6))
        elif kind < 5:
            cv2.rectangle(picture, (left, y + size // 3), (left + size // 3, y + size), ink, max(1, size // 6))
        elif kind == 5:
            cv2.line(picture, (left, y + size), (left + size // 3, y), ink, max(1, size // 6))


def _bones(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """One or two long bones in soft tissue, with or without a joint: arm, leg, knee, elbow."""
    height, width = shape
    picture = np.full(shape, 0.05, np.float32)
    middle = np.array([width / 2, height / 2]) + generator.normal(0, 0.05, 2) * (width, height)
    turn = generator.normal(math.pi / 2, 0.4)
    direction = np.array([math.cos(turn), math.sin(turn)])
    aside = np.array([-direction[1], direction[0]])
    half = 0.8 * max(shape)
    flesh = generator.uniform(0.12, 0.3) * min(shape)
    _draw_tube(picture, middle - half * direction, middle + half * direction, flesh, generator.uniform(0.2, 0.4))
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.02 * max(shape)), dtype=np.float32)
    two = generator.random() < 0.5
    thick = flesh * generator.uniform(0.2, 0.35) * (0.7 if two else 1.2)
    for offset in (-0.5, 0.5) if two else (0.0,):
        foot = middle + offset * flesh * aside
        if generator.random() < 0.5:  # a joint in the middle
            gap = thick * generator.uniform(0.2, 0.6) * direction
            _draw_bone(generator, picture, foot - gap, foot - half * direction, thick)
            _draw_bone(generator, picture, foot + gap, foot + half * direction, thick)
        else:
            _draw_bone(generator, picture, foot - half * direction, foot + half * direction, thick)
    return np.clip(picture + np.float32(0.06) * (_clouds(generator, shape) - np.float32(0.5)), 0, 1)


def _draw_tube(
    picture: Image, start_xy: NDArray[np.float64], end_xy: NDArray[np.float64], radius: float, grey: float
) -> None:
    first, last = np.rint(start_xy).astype(int), np.rint(end_xy).astype(int)
    thick = max(1, round(2 * radius))
    cv2.line(picture, (int(first[0]), int(first[1])), (int(last[0]), int(last[1])), grey, thick, cv2.LINE_AA)


def _draw_bone(
    generator: np.random.Generator,
    picture: Image,
    joint_xy: NDArray[np.float64],
    far_xy: NDArray[np.float64],
    radius: float,
) -> None:
    """A shaft with bright walls and a wider, softer end at the joint."""
    wall, marrow = generator.uniform(0.7, 0.95), generator.uniform(0.45, 0.65)
    _draw_tube(picture, joint_xy, far_xy, radius, wall)
    _draw_tube(picture, joint_xy, far_xy, radius * generator.uniform(0.4, 0.7), marrow)
    along = (far_xy - joint_xy) / max(float(np.linalg.norm(far_xy - joint_xy)), 1e-6)
    head = joint_xy + along * radius
    axes = (max(1, round(1.1 * radius)), max(1, round(radius * generator.uniform(1.3, 1.9))))
    turn = math.degrees(math.atan2(along[1], along[0]))
    cv2.ellipse(picture, (round(head[0]), round(head[1])), axes, turn, 0, 360, 0.5 * (wall + marrow), -1, cv2.LINE_AA)


def _chest(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Lungs, ribs, spine and heart; or a skull, a bright shell about clouds."""
    height, width = shape
    picture = np.full(shape, generator.uniform(0.5, 0.7), np.float32)
    if generator.random() < 0.3:
        centre, axes = (width // 2, height // 2), (round(0.36 * width), round(0.4 * height))
        picture = np.float32(0.1) + np.float32(0.2) * _clouds(generator, shape)
        cv2.ellipse(picture, centre, axes, 0, 0, 360, 0.55, -1, cv2.LINE_AA)
        cv2.ellipse(picture, centre, axes, 0, 0, 360, 0.95, max(2, round(0.03 * width)), cv2.LINE_AA)
        for side in (-1, 1):
            eye = (round(width * (0.5 + 0.15 * side)), round(0.58 * height))
            cv2.circle(picture, eye, round(0.09 * width), 0.3, -1, cv2.LINE_AA)
        return np.clip(picture + np.float32(0.15) * _clouds(generator, shape, 0.7), 0, 1)
    lungs = np.zeros(shape, np.float32)
    for side in (-1, 1):
        centre = (round(width * (0.5 + 0.22 * side)), round(0.48 * height))
        cv2.ellipse(lungs, centre, (round(0.16 * width), round(0.36 * height)), 6 * side, 0, 360, 1.0, -1, cv2.LINE_AA)
    picture = picture - np.float32(0.45) * cv2.GaussianBlur(lungs, (0, 0), 0.015 * max(shape))
    for number in range(int(generator.integers(6, 11))):
        y = round(height * (0.08 + 0.085 * number))
        for side, start, end in ((-1, 180, 280), (1, 260, 360)):
            centre = (round(width * (0.5 + 0.03 * side)), y + round(0.12 * height))
            axes = (round(0.37 * width), round(0.13 * height))
            thick = max(1, round(0.015 * height))
            cv2.ellipse(picture, centre, axes, 8 * side, start, end, generator.uniform(0.5, 0.7), thick, cv2.LINE_AA)
    _draw_tube(picture, np.array([width / 2, 0.0]), np.array([width / 2, height]), 0.05 * width, 0.85)
    heart = (round(0.56 * width), round(0.62 * height))
    cv2.ellipse(picture, heart, (round(0.14 * width), round(0.16 * height)), 30, 0, 360, 0.8, -1, cv2.LINE_AA)
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.006 * max(shape))
    return np.asarray(0.9 * blurred + 0.1 * _clouds(generator, shape), dtype=np.float32)


_DRAW: Mapping[DrawnKind, Callable[[np.random.Generator, tuple[int, int]], Image]] = MappingProxyType(
    {
        "noise": _noise,
        "blank": _blank,
        "frame": _frame,
        "marker": _marker,
        "scene": _scene,
        "face": _face,
        "pattern": _pattern,
        "page": _page,
        "bones": _bones,
        "chest": _chest,
    }
)
