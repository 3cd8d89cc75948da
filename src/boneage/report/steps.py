"""Pictures of the steps from a radiograph to an age, for one radiograph: what Iglovikov et al. show in Fig. 6, and the
maps.

Original, mask, normalised and masked, registered, the views as the networks see them, and where the networks looked; as
numbered pictures and on one sheet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.activations import ViewActivation
from boneage.assessment import Assessment
from boneage.explain import (
    Evidence,
    HeatMap,
    display_picture,
    display_size,
    encode_picture,
    mark_hand,
    overlay,
    paint,
)
from boneage.files import atomic_write
from boneage.geometry import Transform, sample
from boneage.hand.bones import (
    BONES,
    TILE_COLUMNS,
    TILE_ROWS,
    cut_bones,
    own_tile_to_radiograph,
    tile_corner,
)
from boneage.hand.mask import THRESHOLD
from boneage.hand.registration import FRAME_HEIGHT, FRAME_WIDTH, Hand
from boneage.hand.search import HandNetworks
from boneage.hand.views import GreyScale, ViewSpec, cut_view, mask_through, measure_grey, view_transform
from boneage.words import region_in_words

STEP_FILE = re.compile(r"\d\d_(original|mask|normalised|registered|view_\w+|map_\w+|map)\.png|steps\.png")
"""Names of the files of `write_steps`. Those of an earlier radiograph are removed."""

SHEET_NAME = "steps.png"

_FRAME_ZOOM = 0.5
"""Scale of the drawn registered frame, pixels of the picture for one of the frame's."""

_VIEW_SIDE = 640
"""Longest side to which small views are enlarged, pixels."""

_DIMMED = 0.3
"""Brightness that is left outside the mask."""

_COLUMNS = 4
_TILE_HEIGHT, _TILE_WIDTH, _CAPTION_HEIGHT, _GAP = 420, 330, 34, 8
_PAPER, _INK = (24, 24, 28), (228, 228, 228)


@dataclass(frozen=True, eq=False)
class Step:
    """A picture of one step.

    Attributes:
        name: name of its file, after the number.
        title: a caption.
        picture: uint8, grey (h, w) or RGB (h, w, 3).
    """

    name: str
    title: str
    picture: NDArray[np.uint8]


def draw_original(pixels: NDArray[np.float32]) -> Step:
    """Draw the first step: the radiograph (H, W) as it was read, 0..1."""
    return Step("original", "original", display_picture(pixels))


def draw_rejected(pixels: NDArray[np.float32], networks: HandNetworks) -> list[Step]:
    """Draw the steps of a radiograph on which no hand, or not one for certain, was found.

    They are the radiograph, and all that passed for hand.

    Args:
        pixels: float32 (H, W), 0..1.
        networks: networks that searched for the hand.

    Raises:
        Rejection: ``no_contrast``.
    """
    spec = networks.mask_spec
    mask = (networks.mask(cut_view(pixels, spec)[None])[0] > THRESHOLD).astype(np.float32)
    original = draw_original(pixels)
    height, width = original.picture.shape
    picture_to_radiograph = Transform.scale(pixels.shape[1] / width, pixels.shape[0] / height)
    radiograph_to_mask = view_transform((pixels.shape[0], pixels.shape[1]), spec)
    inside = sample(mask, picture_to_radiograph.then(radiograph_to_mask).inverse(), height, width)
    return [original, Step("mask", "taken for hand", _dimmed_outside(original.picture, inside))]


def draw_mask(pixels: NDArray[np.float32], hand: Hand) -> Step:
    """Draw the radiograph with the mask's outline and the key points, darkened outside the hand.

    Args:
        pixels: float32 (H, W), 0..1.
        hand: hand on it.
    """
    picture = display_picture(pixels)
    if hand.inverted:
        picture = np.uint8(255) - picture
    radiograph_to_picture = Transform.scale(picture.shape[1] / pixels.shape[1], picture.shape[0] / pixels.shape[0])
    dimmed = _dimmed_outside(picture, mask_through(hand, radiograph_to_picture, picture.shape))
    return Step("mask", "mask and key points", mark_hand(dimmed, hand, radiograph_to_picture))


def _dimmed_outside(picture: NDArray[np.uint8], inside: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Darken a radiograph's picture (h, w) outside a mask of the same shape, 0..1."""
    return np.asarray(np.rint(picture * (_DIMMED + (1 - _DIMMED) * inside)), dtype=np.uint8)


def draw_steps(pixels: NDArray[np.float32], assessment: Assessment, evidence: Evidence = "both") -> list[Step]:
    """Draw all steps of a radiograph on which the hand was found.

    Args:
        pixels: the radiograph that was assessed, float32 (H, W), 0..1.
        assessment: assessment of it.
        evidence: evidence of the maps; see `boneage.explain.HeatMap.of`.

    Raises:
        ValueError: the bundle did not look for the hand, or the radiograph is of another size than the assessed one.
        Rejection: ``no_contrast`` if the hand is of one grey.
    """
    hand = assessment.hand
    if hand is None or pixels.shape != assessment.radiograph_shape:
        raise ValueError("steps are drawn of the radiograph that was assessed, and of one on which the hand was found")
    views = list(_draw_views(pixels, assessment, hand))
    drawn = {step.name.removeprefix("view_"): step.picture for step in views}
    whole = overlay(assessment.picture, assessment.heat_map(evidence=evidence))
    width = assessment.picture.shape[1]  # the colour scale stands beside the radiograph
    whole[:, :width] = mark_hand(whole[:, :width], hand, assessment.radiograph_to_picture, assessment.regions)
    return [
        draw_original(pixels),
        draw_mask(pixels, hand),
        *_draw_normalised(pixels, hand, assessment),
        *views,
        *_draw_maps(assessment, hand, drawn, evidence),
        Step("map", "where the networks looked", whole),
    ]


def write_steps(directory: Path, steps: Sequence[Step]) -> list[Path]:
    """Write ``01_original.png`` and so on, and all on one sheet, ``steps.png``; each in one piece. Returns the paths.

    Pictures of steps that an earlier call left in the folder are removed.

    Args:
        directory: made if it is missing.
        steps: at least one.

    Raises:
        OSError: the folder cannot be written to.
        ValueError: there is no step.
    """
    if not steps:
        raise ValueError("there is no step to write")
    pictures = {f"{number:02d}_{step.name}.png": step.picture for number, step in enumerate(steps, start=1)}
    pictures[SHEET_NAME] = draw_sheet(steps)
    directory.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        if STEP_FILE.fullmatch(path.name) and path.name not in pictures:
            path.unlink()
    for name, picture in pictures.items():
        with atomic_write(directory / name) as temporary:
            temporary.write_bytes(encode_picture(".png", picture))
    return [directory / name for name in pictures]


def draw_sheet(steps: Sequence[Step]) -> NDArray[np.uint8]:
    """All steps with their captions on one sheet, RGB, uint8 (h, w, 3)."""
    tiles = [_tile(number, step) for number, step in enumerate(steps, start=1)]
    columns = min(_COLUMNS, len(tiles))
    empty = np.full_like(tiles[0], _PAPER)
    tiles += [empty] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    return np.vstack(rows)


def _tile(number: int, step: Step) -> NDArray[np.uint8]:
    """Fit a picture into its place on the sheet, its caption above."""
    tile = np.full((_CAPTION_HEIGHT + _TILE_HEIGHT + _GAP, _TILE_WIDTH + 2 * _GAP, 3), _PAPER, dtype=np.uint8)
    rgb = step.picture if step.picture.ndim == 3 else np.repeat(step.picture[..., None], 3, axis=2)
    zoom = min(_TILE_HEIGHT / rgb.shape[0], _TILE_WIDTH / rgb.shape[1])
    size = (max(1, round(rgb.shape[1] * zoom)), max(1, round(rgb.shape[0] * zoom)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    left = _GAP + (_TILE_WIDTH - size[0]) // 2
    tile[_CAPTION_HEIGHT : _CAPTION_HEIGHT + size[1], left : left + size[0]] = small
    caption = f"{number} {step.title}"
    place = (_GAP, _CAPTION_HEIGHT - 11)
    cv2.putText(tile, caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.48, _INK, 1, cv2.LINE_AA)
    return tile


# --- the hand, normalised and registered ------------------------------------------------------------------------------


def _draw_normalised(pixels: NDArray[np.float32], hand: Hand, assessment: Assessment) -> Iterator[Step]:
    """Draw the masked hand on the grey scale of its own levels: on the radiograph, and in the frame with what is read
    of it.
    """
    grey = measure_grey(pixels, "hand", hand)
    height, width = display_size((pixels.shape[0], pixels.shape[1]))
    radiograph_to_picture = Transform.scale(width / pixels.shape[1], height / pixels.shape[0])
    yield Step(
        "normalised", "normalised and masked", _masked(pixels, hand, grey, radiograph_to_picture, (height, width))
    )
    radiograph_to_drawn = hand.radiograph_to_frame.then(Transform.scale(_FRAME_ZOOM))
    shape = (round(FRAME_HEIGHT * _FRAME_ZOOM), round(FRAME_WIDTH * _FRAME_ZOOM))
    registered = _masked(pixels, hand, grey, radiograph_to_drawn, shape)
    tiles = [one.corners_xy for one in assessment.bones]
    marked = mark_hand(registered, hand, radiograph_to_drawn, assessment.regions, tiles)
    parts = ["regions"] * bool(assessment.boxed_regions) + ["tiles of bones"] * bool(assessment.bones)
    yield Step("registered", f"registered, with {' and '.join(parts)}" if parts else "registered", marked)


def _masked(
    pixels: NDArray[np.float32], hand: Hand, grey: GreyScale, radiograph_to_picture: Transform, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return the hand through a transform, black around it, uint8 of this shape."""
    sampled = sample(pixels, radiograph_to_picture, *shape, fill=1.0 - grey.low if hand.inverted else grey.low)
    levels = np.float32(1.0) - sampled if hand.inverted else sampled
    return _as_picture((levels - np.float32(grey.low)) * mask_through(hand, radiograph_to_picture, shape), grey)


def _as_picture(above_low: NDArray[np.float32], grey: GreyScale) -> NDArray[np.uint8]:
    """Return levels above the darkest of a grey scale as a picture, white at its brightest."""
    shares = above_low / np.float32(grey.high - grey.low)
    return np.asarray(np.rint(np.clip(shares, 0.0, 1.0) * np.float32(255.0)), dtype=np.uint8)


# --- views and maps ---------------------------------------------------------------------------------------------------


def _draw_views(pixels: NDArray[np.float32], assessment: Assessment, hand: Hand) -> Iterator[Step]:
    """Draw every view that a network reads. Single bones are tiles of one view."""
    for key, spec in _views(assessment):
        grey = measure_grey(pixels, spec.grey, hand)
        if spec.region == "bones":
            view = cut_bones(pixels, spec, hand, grey).view
        else:
            view = cut_view(pixels, spec, hand=hand, grey=grey)
        levels = view * np.float32(grey.spread) + np.float32(grey.mean)
        picture = _enlarged(_as_picture(levels - np.float32(grey.low), grey))
        yield Step(f"view_{key}", f"{region_in_words(spec.region)}, {spec.height} x {spec.width}", picture)


def _views(assessment: Assessment) -> Iterator[tuple[str, ViewSpec]]:
    """Yield the views that networks read, each with a name of its own."""
    specs = list(dict.fromkeys(_whole_view(one.spec) for one in assessment.activations))
    counts: dict[str, int] = {}
    for spec in sorted(specs, key=lambda one: one.region):
        counts[spec.region] = counts.get(spec.region, 0) + 1
        number = counts[spec.region]
        yield spec.region if number == 1 else f"{spec.region}_{number}", spec


def _whole_view(spec: ViewSpec) -> ViewSpec:
    """Return the view of an activation: its own, or that of all bones for the tile of a single one."""
    if spec.region != "bones":
        return spec
    return replace(spec, height=spec.height * TILE_ROWS, width=spec.width * TILE_COLUMNS)


def _draw_maps(
    assessment: Assessment, hand: Hand, drawn: dict[str, NDArray[np.uint8]], evidence: Evidence
) -> Iterator[Step]:
    """Draw the map of each view that a network reads, on its blanked surroundings, too."""
    for key, spec in _views(assessment):
        activations = [one for one in assessment.activations if _whole_view(one.spec) == spec]
        placed = [(one, _place(one, spec, hand, assessment.radiograph_shape)) for one in activations]
        yield Step(f"map_{key}", f"map of {region_in_words(spec.region)}", _tinted(drawn[key], spec, placed, evidence))


def _place(one: ViewActivation, spec: ViewSpec, hand: Hand, radiograph_shape: tuple[int, int]) -> Transform:
    """Return the transform from the coordinates of an activation to those of the view on which it was made."""
    if spec.region != "bones":
        return one.view_to_radiograph.then(view_transform(radiograph_shape, spec, hand))
    for index in range(len(BONES)):
        if own_tile_to_radiograph(hand, index, spec) == one.view_to_radiograph:
            row, column = tile_corner(index, spec)
            return Transform.shift(column, row)
    raise ValueError("an activation of a single bone lies on no tile")


def _tinted(
    picture: NDArray[np.uint8],
    spec: ViewSpec,
    placed: Sequence[tuple[ViewActivation, Transform]],
    evidence: Evidence,
) -> NDArray[np.uint8]:
    """Return a view's picture (h, w) under the mean of the maps that were made on it."""
    view_to_picture = Transform.scale(picture.shape[1] / spec.width, picture.shape[0] / spec.height)
    shape = (picture.shape[0], picture.shape[1])
    months = np.zeros(shape, np.float32)
    for one, to_view in placed:
        months += np.float32(one.share) * paint(one.grid, shape, to_view.then(view_to_picture), one.spec, one.cells)
    return overlay(picture, HeatMap.of(months, evidence), scale_bar=False)


def _enlarged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Enlarge a small view so far that it can be judged."""
    zoom = max(1.0, _VIEW_SIDE / max(picture.shape))
    size = (round(picture.shape[1] * zoom), round(picture.shape[0] * zoom))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
