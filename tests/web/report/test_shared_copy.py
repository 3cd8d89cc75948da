"""Nothing beside the hand gets into the copy for sharing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.explain import HeatMap
from boneage.phantom import draw_hand
from boneage.web.models import Assessment, AuditEvent, Role
from boneage.web.report.shared_copy import SEAM, blanked, hand_place
from tests.web.conftest import answer_of_phantom, with_result

RADIOGRAPH = (600, 450)
OUTLINE = [[90.0, 540.0], [90.0, 180.0], [225.0, 60.0], [405.0, 300.0], [315.0, 540.0]]
LENGTH = 390.0


def decoded(png: bytes) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return np.asarray(picture, dtype=np.uint8)


def distance_to(outline: list[list[float]], x: float, y: float) -> float:
    """Outside an outline; 0 inside."""
    inside = cv2.pointPolygonTest(np.array(outline, np.float32), (x, y), True)
    return max(0.0, -float(inside))


def is_wide(corners: list[tuple[float, float]]) -> bool:
    """True if a triangle is more than a line."""
    return cv2.contourArea(np.array(corners, np.float32)) > 1000


@settings(max_examples=25, deadline=None)
@given(
    zoom=st.floats(0.3, 2.0),
    corners=st.lists(st.tuples(st.floats(10, 440), st.floats(10, 590)), min_size=3, max_size=3).filter(is_wide),
    x=st.floats(0.5, 449.5),
    y=st.floats(0.5, 599.5),
    with_heat=st.booleans(),
)
def test_blanked_keeps_only_hand(
    zoom: float, corners: list[tuple[float, float]], x: float, y: float, with_heat: bool
) -> None:
    """Every pixel beside the hand is black and none on it is changed."""
    outline = [list(corner) for corner in corners]
    height, width = round(RADIOGRAPH[0] * zoom), round(RADIOGRAPH[1] * zoom)
    picture = np.full((height, width), 200, np.uint8)
    heat = HeatMap.from_levels(np.full((16, 12), 255, np.uint8)) if with_heat else None
    place = hand_place((height, width), RADIOGRAPH, outline, LENGTH)
    copy = decoded(blanked(picture, place, heat))
    assert not copy[~place].any()
    assert copy[place].any(axis=-1).all() if with_heat else (copy[place] == 200).all()
    column, row = min(int(x * width / RADIOGRAPH[1]), width - 1), min(int(y * height / RADIOGRAPH[0]), height - 1)
    away = distance_to(outline, (column + 0.5) * RADIOGRAPH[1] / width, (row + 0.5) * RADIOGRAPH[0] / height)
    slack = 2.0 / zoom  # the outline is drawn in whole pixels
    if away > SEAM * LENGTH + slack:
        assert not place[row, column]
    if away < SEAM * LENGTH - slack:
        assert place[row, column]


@pytest.mark.parametrize("where", [(30, 40), (380, 40), (30, 580), (380, 580), (25, 300), (420, 180), (300, 75)])
def test_blanked_removes_marker(where: tuple[int, int]) -> None:
    """A marker beside the hand is gone."""
    radiograph = np.rint(255 * draw_hand(height=RADIOGRAPH[0], width=RADIOGRAPH[1])).astype(np.uint8)
    marked = radiograph.copy()
    cv2.putText(marked, "DOE", where, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    assert (marked != radiograph).any()
    place = hand_place(RADIOGRAPH, RADIOGRAPH, OUTLINE, LENGTH)
    assert blanked(marked, place) == blanked(radiograph, place)


def test_blanked_png_has_no_metadata() -> None:
    """The png holds pixels and nothing else."""
    png = blanked(np.full(RADIOGRAPH, 90, np.uint8), hand_place(RADIOGRAPH, RADIOGRAPH, OUTLINE, LENGTH))
    names, at = [], 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        names.append(png[at + 4 : at + 8])
        at += 12 + length
    assert set(names) == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize(
    "outline",
    [[], [[1.0, 1.0], [5.0, 5.0]], [[-90.0, -90.0], [-50.0, -90.0], [-50.0, -50.0]], [[1.0, float("nan")]] * 3],
)
def test_hand_place_rejects_empty_outline(outline: list[list[float]]) -> None:
    """An outline that encloses nothing blanks nothing."""
    with pytest.raises(ValueError, match="outline"):
        hand_place(RADIOGRAPH, RADIOGRAPH, outline, LENGTH)


@pytest.mark.parametrize("query", ["", "?heat=1"])
def test_download_is_blanked(
    open_mode: None, client: Client, done_assessment: Callable[..., Assessment], query: str
) -> None:
    """The download is blanked."""
    assessment = done_assessment()
    response = client.get(f"/assessments/{assessment.pk}/copy.png{query}")
    assert response.status_code == 200
    assert response["Content-Type"] == "image/png"
    assert response["Content-Disposition"] == f'attachment; filename="bone-age-{str(assessment.pk)[:8]}-hand.png"'
    copy = decoded(response.content)
    height, width = copy.shape[:2]
    assert copy.ndim == (3 if query else 2)
    for corner in (
        copy[: height // 20],
        copy[-height // 20 :],
        copy[:, : width // 10],
        copy[: height // 5, -width // 5 :],
    ):
        assert not corner.any()  # the phantom's own label stands at the top
    assert copy[height // 2, width // 2].any()


@pytest.mark.parametrize("missing", ["outline", "area", "hand"])
def test_download_needs_outline(
    clinic: None,
    log_in: Callable[..., Client],
    done_assessment: Callable[..., Assessment],
    missing: str,
) -> None:
    """Without an outline nothing is handed out."""
    answer = answer_of_phantom()
    hand = answer.results[0].hand
    assert hand is not None
    outline = () if missing == "outline" else ((1.0, 1.0), (5.0, 5.0))
    changed = None if missing == "hand" else replace(hand, outline_xy=outline)
    assessment = done_assessment(with_result(answer, hand=changed))
    response = log_in(Role.READER).get(f"/assessments/{assessment.pk}/copy.png")
    assert response.status_code == 409
    assert response["Content-Type"].startswith("text/html")
    assert "cannot be blacked out" in response.content.decode()
    assert not AuditEvent.objects.filter(action="export").exists()
