"""The position of a hand by the project's schema."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from boneage.hand.registration import POINT_NAMES, Hand, Region, box_corners
from boneage.schema import HandDocument, PointsDocument


def hand_document(hand: Hand, regions: Sequence[Region]) -> HandDocument:
    """Return the position of a hand on its radiograph, with the boxes of the regions that were read."""
    points = {name: _point(point, 2) for name, point in zip(POINT_NAMES, hand.points_xy, strict=True)}
    to_radiograph = hand.radiograph_to_frame.inverse()
    boxes: dict[str, tuple[tuple[float, float], ...]] = {
        region: tuple(_point(corner, 1) for corner in to_radiograph.points(box_corners(region)))
        for region in regions
        if region != "radiograph"
    }
    return HandDocument(
        points=PointsDocument(
            middle_tip=points["middle_tip"], thumb_tip=points["thumb_tip"], capitate=points["capitate"]
        ),
        mirrored=hand.mirrored,
        inverted=hand.inverted,
        rotation_degrees=round(hand.rotation_degrees, 2),
        length_pixels=round(hand.length_pixels, 2),
        spread=round(hand.spread, 5),
        side_certain=hand.side_certain,
        outline_xy=tuple(_point(point, 1) for point in hand.outline()),
        boxes_xy=boxes,
    )


def _point(xy: NDArray[np.float64], decimals: int) -> tuple[float, float]:
    return round(float(xy[0]), decimals), round(float(xy[1]), decimals)
