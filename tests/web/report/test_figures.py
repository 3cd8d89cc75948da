"""Pictures of the report: contrast, scale and side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.atlas_index import AtlasDescription
from boneage.explain import encode_picture
from boneage.geometry import Transform, sample
from boneage.hand.registration import Box, register
from boneage.phantom import sample_png
from boneage.schema import HandDocument, PointsDocument, values_of
from boneage.web import installation
from boneage.web.models import Assessment, PictureKind
from boneage.web.queue.answer import Answer
from boneage.web.queue.pictures import decoded
from boneage.web.report.content import report_of
from tests.web.conftest import answer_of_phantom, with_result

BOX = Box(-20, 40, 1840, 2040)


def phantom() -> NDArray[np.uint8]:
    picture = decoded(sample_png())
    assert picture is not None
    return picture


def with_radiograph(answer: Answer, picture: NDArray[np.uint8]) -> Answer:
    coded = encode_picture(".png", picture)
    return replace(answer, pictures={**answer.pictures, PictureKind.RADIOGRAPH: ("image/png", coded)})


def hand_of(answer: Answer) -> HandDocument:
    hand = answer.results[0].hand
    assert hand is not None
    return hand


def right_hand(answer: Answer, picture: NDArray[np.uint8]) -> tuple[Answer, NDArray[np.uint8]]:
    """The mirror image of the phantom, which is a left hand, and the answer on it."""
    hand, width = hand_of(answer), picture.shape[1]
    points = PointsDocument(**{name: (width - x, y) for name, (x, y) in values_of(hand.points).items()})
    outline = tuple((width - x, y) for x, y in hand.outline_xy)
    return (
        with_result(answer, hand=replace(hand, points=points, outline_xy=outline, mirrored=True)),
        np.ascontiguousarray(picture[:, ::-1]),
    )


class DrawnAtlas:
    """One plate."""

    def __init__(self, picture: NDArray[np.float32], box: Box | None) -> None:
        self.about = AtlasDescription(frame_box=box)
        self.coded = encode_picture(".png", picture.astype(np.uint8))

    def nearest_by_age(self, _sex: object, age_months: float) -> SimpleNamespace:
        return SimpleNamespace(age_months=age_months, count=23)

    def picture_bytes(self, _plate: object) -> tuple[bytes, str]:
        return self.coded, "image/png"


@pytest.mark.parametrize("is_right", [False, True])
def test_plate_has_scale_and_side_of_the_hand(
    open_mode: None, monkeypatch: pytest.MonkeyPatch, done_assessment: Callable[..., Assessment], is_right: bool
) -> None:
    """A plate that is the radiograph itself, registered, looks like the report's picture of the hand."""
    answer, radiograph = answer_of_phantom(), phantom()
    if is_right:
        answer, radiograph = right_hand(answer, radiograph)
    points = hand_of(answer).points
    to_frame = register(np.array([points.middle_tip, points.thumb_tip, points.capitate]))
    to_plate = to_frame.then(Transform.shift(-BOX.left, -BOX.top)).then(Transform.scale(0.4))
    plate = sample(radiograph.astype(np.float32), to_plate, 816, 736)
    monkeypatch.setattr(installation, "atlas", lambda: DrawnAtlas(plate, BOX))
    figures = report_of(done_assessment(with_radiograph(answer, radiograph))).figures
    shown, _, drawn = (decoded(figure.jpeg) for figure in figures)
    assert shown is not None
    assert drawn is not None
    assert shown.shape == drawn.shape
    assert np.corrcoef(shown.ravel(), drawn.ravel())[0, 1] > 0.97
    assert np.corrcoef(shown.ravel(), drawn[:, ::-1].ravel())[0, 1] < 0.9
    assert ("mirrored" in figures[2].caption, "same scale" in figures[2].caption) == (is_right, True)
    if is_right:
        left = decoded(report_of(done_assessment(with_radiograph(answer_of_phantom(), phantom()))).figures[0].jpeg)
        assert left is not None
        assert np.corrcoef(shown.ravel(), left[:, ::-1].ravel())[0, 1] > 0.97


@pytest.mark.parametrize("is_right", [False, True])
def test_plate_that_is_not_registered(
    open_mode: None, monkeypatch: pytest.MonkeyPatch, done_assessment: Callable[..., Assessment], is_right: bool
) -> None:
    """A user's own plate is shown as it is, on the side of the hand."""
    answer, radiograph = answer_of_phantom(), phantom()
    if is_right:
        answer, radiograph = right_hand(answer, radiograph)
    plate = np.zeros((80, 60), np.float32)
    plate[:, 40:] = 200
    monkeypatch.setattr(installation, "atlas", lambda: DrawnAtlas(plate, None))
    figure = report_of(done_assessment(with_radiograph(answer, radiograph))).figures[2]
    shown = decoded(figure.jpeg)
    assert shown is not None
    assert bool(shown[40, 5] > 100) is is_right
    assert "same scale" not in figure.caption


def test_grey_levels_are_stretched_within_the_hand(open_mode: None, done_assessment: Callable[..., Assessment]) -> None:
    """A bright marker beside the hand does not decide on the contrast of the hand."""
    dark = (phantom() // 4).astype(np.uint8)
    dark[:60, :200] = 255
    shown = decoded(report_of(done_assessment(with_radiograph(answer_of_phantom(), dark))).figures[0].jpeg)
    assert shown is not None
    assert np.percentile(shown[shown.shape[0] // 2 :], 99) > 200


def test_hand_without_outline_shows_whole_radiograph(
    open_mode: None, done_assessment: Callable[..., Assessment]
) -> None:
    """Without an outline nothing can be cropped."""
    answer = answer_of_phantom()
    answer = with_result(answer, hand=replace(hand_of(answer), outline_xy=()))
    figure = report_of(done_assessment(answer)).figures[0]
    height, width = phantom().shape
    assert figure.width / figure.height == pytest.approx(width / height, rel=0.01)
