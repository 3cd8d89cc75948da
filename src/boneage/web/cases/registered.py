"""Radiographs of a child side by side, each hand in the same place, size and orientation.

The browser draws the stored picture of a radiograph through the transform into the registered frame
(`boneage.hand.registration`). No further picture of a patient is made or stored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from boneage.hand.registration import register
from boneage.schema import HandDocument
from boneage.web.models import Assessment

VIEW_BOX = "-100 -60 1800 2200"
"""Part of the registered frame that is shown: left, top, width and height, frame pixels."""


@dataclass(frozen=True)
class RegisteredRadiograph:
    """A radiograph that is drawn in the registered frame.

    Attributes:
        assessment: its assessment.
        width, height: pixels of the radiograph.
        matrix: transform from its pixels to the frame, in the notation of SVG.
        is_mirrored: the radiograph is shown as its mirror image, as a right hand is.
    """

    assessment: Assessment
    width: int
    height: int
    matrix: str
    is_mirrored: bool


def registered(assessment: Assessment) -> RegisteredRadiograph | None:
    """Return a radiograph for the registered frame; None if the hand was not located on it."""
    if not assessment.readings:
        return None
    document = assessment.readings[0]
    if document.hand is None:
        return None
    return RegisteredRadiograph(
        assessment,
        document.radiograph.width_pixels,
        document.radiograph.height_pixels,
        _matrix(document.hand),
        document.hand.mirrored,
    )


def _matrix(hand: HandDocument) -> str:
    points = np.array([hand.points.middle_tip, hand.points.thumb_tip, hand.points.capitate])
    to_frame = register(points)
    values = (to_frame.a, to_frame.d, to_frame.b, to_frame.e, to_frame.c, to_frame.f)
    return f"matrix({' '.join(f'{value:.6g}' for value in values)})"
