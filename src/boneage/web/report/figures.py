"""Pictures of the report: the hand, its heat map and the reference plate, at one scale and on the same side.

The hand is shown upright through its registration (`boneage.hand.registration`), which is that of the plates, but not
mirrored: a right hand stays a right hand, and the plate beside it is mirrored. Its grey levels are stretched between
percentiles of the hand itself, so that neither the background nor a marker decides on the contrast.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from django.utils.translation import gettext
from numpy.typing import NDArray

from boneage import words
from boneage.atlas import Atlas
from boneage.errors import AtlasError
from boneage.explain import HeatMap, encode_picture, overlay
from boneage.geometry import Transform, sample
from boneage.hand.registration import Box, register
from boneage.schema import HandDocument
from boneage.sex import Sex
from boneage.web import installation, texts
from boneage.web.models import BOTH, Assessment, PictureKind
from boneage.web.queue.pictures import decoded, reduced, stored_picture

log = logging.getLogger(__name__)

PRINTED_SIDE = 1100
"""Longest side of a picture in the report, pixels: 300 to the inch at the height that it is printed at."""

_DARK, _BRIGHT = 1.0, 99.7
"""Percentiles of the hand's grey levels that are shown black and white."""

_MARGIN = 70.0
"""Margin around the hand, pixels of the registered frame: some 5 % of the hand's length."""

_PLATE_BACKGROUND = 24
"""Grey level up to which a plate shows no hand."""


@dataclass(frozen=True)
class Figure:
    """A picture of the report.

    Attributes:
        jpeg: its bytes.
        width, height: pixels.
        caption: below it.
        alternative: description for readers who cannot see it.
    """

    jpeg: bytes
    width: int
    height: int
    caption: str
    alternative: str

    @property
    def data_uri(self) -> str:
        """Address that holds the picture itself, for a page."""
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg).decode("ascii")


@dataclass(frozen=True)
class _ShownPlate:
    """The reference plate nearest by age.

    Attributes:
        picture: uint8 (h, w), bone bright.
        caption: below it.
        box: part of the registered frame that it shows; None if this is unknown, as for a user's own plates.
    """

    picture: NDArray[np.uint8]
    caption: str
    box: Box | None


def heat_map_of(assessment: Assessment) -> HeatMap | None:
    """Return the heat map of an assessment over its whole radiograph; None if there is nothing on it."""
    levels = stored_picture(assessment, PictureKind.HEAT)
    heat = None if levels is None else HeatMap.from_levels(levels)
    return None if heat is None or heat.is_empty else heat


def figures(assessment: Assessment, heat: HeatMap | None, *, is_void: bool) -> tuple[Figure, ...]:
    """Return the pictures of a finished assessment's report, from left to right.

    Args:
        assessment: a finished one.
        heat: its heat map (`heat_map_of`).
        is_void: True to leave the plate out, since the number must not be used.
    """
    radiograph = stored_picture(assessment, PictureKind.RADIOGRAPH)
    plates = [] if is_void else list(_nearest_plates(assessment))
    result = assessment.readings[0]
    hand = result.hand
    if radiograph is None:
        return tuple(_plate_figure(plate, hand) for plate in plates)
    if hand is not None:
        shape = (result.radiograph.height_pixels, result.radiograph.width_pixels)
        try:
            return tuple(_registered(radiograph, shape, hand, heat, plates))
        except ValueError as error:
            log.warning("the report of %s shows the whole radiograph: %s", assessment.pk, error)
    radiograph = reduced(radiograph, PRINTED_SIDE)
    whole = [_figure(radiograph, gettext("Radiograph (windowed for display)"), gettext("The radiograph"))]
    whole += [] if heat is None else [_heat_figure(radiograph, heat)]
    return (*whole, *(_plate_figure(plate, hand) for plate in plates))


def _registered(
    radiograph: NDArray[np.uint8],
    radiograph_shape: tuple[int, int],
    hand: HandDocument,
    heat: HeatMap | None,
    plates: Sequence[_ShownPlate],
) -> Iterator[Figure]:
    """Yield the figures of a radiograph with a hand, all through its registration.

    Args:
        radiograph: stored picture of the radiograph, uint8 (h, w).
        radiograph_shape: (H, W) of the radiograph, whose pixels `hand` counts.
        hand: position of the hand.
        heat: heat map over the radiograph, if there is one.
        plates: reference plates, one for each reading.

    Raises:
        ValueError: the key points or the outline enclose nothing.
    """
    to_frame = register(np.array([hand.points.middle_tip, hand.points.thumb_tip, hand.points.capitate]))
    outline = np.asarray(hand.outline_xy, dtype=np.float64).reshape(-1, 2)
    if len(outline) < 3:
        raise ValueError("the outline of the hand is unknown")
    boxes = [_box_around(to_frame.points(outline), _MARGIN)]
    boxes += [_hand_on_plate(plate.picture, plate.box) for plate in plates if plate.box is not None]
    box = _union(boxes)
    zoom = PRINTED_SIDE / max(box.height, box.width)
    shape = (round(zoom * box.height), round(zoom * box.width))
    from_frame = Transform.shift(-box.left, -box.top).then(Transform.scale(zoom))
    if hand.mirrored:  # the frame shows left hands: back to the side of the radiograph
        from_frame = from_frame.then(Transform.mirror(shape[1]))

    def through(picture: NDArray[np.float32], source_to_frame: Transform) -> NDArray[np.float32]:
        return sample(picture, source_to_frame.then(from_frame), *shape)

    def picture_to_radiograph(picture: NDArray[np.generic]) -> Transform:
        return Transform.scale(radiograph_shape[1] / picture.shape[1], radiograph_shape[0] / picture.shape[0])

    levels = _windowed(radiograph, picture_to_radiograph(radiograph).inverse().points(outline))
    shown = _as_picture(through(levels, picture_to_radiograph(radiograph).then(to_frame)))
    yield _figure(shown, gettext("The hand, upright (windowed to the hand)"), gettext("The hand"))
    if heat is not None:
        values = through(heat.values, picture_to_radiograph(heat.values).then(to_frame))
        yield _heat_figure(shown, HeatMap(values, heat.peak_months))
    for plate in plates:
        if plate.box is None:
            yield _plate_figure(plate, hand)
            continue
        plate_to_frame = Transform.scale(plate.box.width / plate.picture.shape[1]).then(
            Transform.shift(plate.box.left, plate.box.top)
        )
        drawn = _as_picture(through(plate.picture.astype(np.float32) / np.float32(255), plate_to_frame))
        yield _figure(drawn, _joined(plate.caption, gettext("same scale"), _mirrored(hand)), gettext("Reference plate"))


# --- grey levels and boxes --------------------------------------------------------------------------------------------


def _windowed(picture: NDArray[np.uint8], outline_xy: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a picture (h, w) with its levels stretched between percentiles inside an outline, float32 (h, w), 0..1.

    Raises:
        ValueError: the outline lies beside the picture.
    """
    inside = np.zeros(picture.shape, dtype=np.uint8)
    # OpenCV puts the first pixel's centre at 0, the outline has it at 0.5.
    cv2.fillPoly(inside, [np.rint(outline_xy - 0.5).astype(np.int32)], 1)
    hand = picture[inside == 1]
    if not hand.size:
        raise ValueError("the outline lies beside the radiograph")
    dark, bright = np.percentile(hand, (_DARK, _BRIGHT))
    levels = (picture.astype(np.float32) - np.float32(dark)) / np.float32(max(bright - dark, 1.0))
    return np.asarray(np.clip(levels, 0.0, 1.0), dtype=np.float32)


def _as_picture(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(np.rint(255 * np.clip(levels, 0.0, 1.0)), dtype=np.uint8)


def _box_around(points_xy: NDArray[np.float64], margin: float = 0.0) -> Box:
    left, top = points_xy.min(axis=0) - margin
    right, bottom = points_xy.max(axis=0) + margin
    return Box(float(left), float(top), float(right - left), float(bottom - top))


def _hand_on_plate(picture: NDArray[np.uint8], box: Box) -> Box:
    """Return the part of the frame on which a plate that shows `box` has a hand."""
    rows, columns = np.nonzero(picture > _PLATE_BACKGROUND)
    if not rows.size:
        return box
    zoom = box.width / picture.shape[1]
    return _box_around(np.column_stack([columns, rows]) * zoom + [box.left, box.top])


def _union(boxes: list[Box]) -> Box:
    corners = [(box.left, box.top) for box in boxes] + [(box.left + box.width, box.top + box.height) for box in boxes]
    return _box_around(np.array(corners))


# --- figures ----------------------------------------------------------------------------------------------------------


def _nearest_plates(assessment: Assessment) -> Iterator[_ShownPlate]:
    """Yield the reference plate nearest to the age that counts, or those nearest to both readings if the sex is unknown
    or other.
    """
    if assessment.sex == BOTH:
        ages = [(Sex(reading.sex), reading.age_months) for reading in assessment.readings if not reading.is_meaningless]
    else:
        ages = [] if assessment.current_months is None else [(Sex(assessment.sex), assessment.current_months)]
    for sex, months in ages:
        plate = _nearest_plate(sex, months, names_sex=len(ages) > 1)
        if plate is not None:
            yield plate


def _nearest_plate(sex: Sex, age_months: float, *, names_sex: bool) -> _ShownPlate | None:
    """Return the plate of a sex nearest to an age, months; None if the atlas has none. With `names_sex` the caption
    states the sex.
    """
    try:
        atlas: Atlas = installation.atlas()
        plate = atlas.nearest_by_age(sex, age_months)
        picture = decoded(atlas.picture_bytes(plate)[0])
    except AtlasError as error:
        log.warning("the report goes without a reference plate: %s", error)
        return None
    if picture is None:
        return None
    caption = gettext("Reference plate nearest by age: %(age)s") % {"age": words.age(plate.age_months)}
    averaged = texts.averaged(plate.count) if plate.count else ""
    box = atlas.about.frame_box
    caption = _joined(caption, words.sex(sex) if names_sex else "", averaged)
    return _ShownPlate(picture, caption, None if box is None else Box(*box))


def _heat_figure(picture: NDArray[np.uint8], heat: HeatMap) -> Figure:
    drawn = overlay(picture, heat, scale_bar=False)
    return _figure(drawn, words.heat_map(), gettext("The radiograph with the heat map"))


def _plate_figure(plate: _ShownPlate, hand: HandDocument | None) -> Figure:
    """Return a plate as it is, or mirrored beside a right hand."""
    is_mirrored = hand is not None and hand.mirrored
    picture = np.fliplr(plate.picture) if is_mirrored else plate.picture
    caption = _joined(plate.caption, _mirrored(hand))
    return _figure(reduced(np.ascontiguousarray(picture), PRINTED_SIDE), caption, gettext("Reference plate"))


def _mirrored(hand: HandDocument | None) -> str:
    return gettext("mirrored") if hand is not None and hand.mirrored else ""


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _figure(picture: NDArray[np.uint8], caption: str, alternative: str) -> Figure:
    height, width = picture.shape[:2]
    return Figure(encode_picture(".jpg", picture), width, height, caption, alternative)
