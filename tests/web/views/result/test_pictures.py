"""Plates, pictures and what the viewer draws on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from boneage.hand.registration import TIP_IN_FRAME_XY
from boneage.schema import NearestPlatesDocument, PlateDocument
from boneage.web.documents import PlatesDocument, SimilarPlate
from boneage.web.models import PictureKind
from tests.documents import bone_documents
from tests.web.conftest import answer_of_phantom, with_result
from tests.web.views.result.result_pages import MakeAssessment, address, plates_of, submitted, text_of, viewer_data

pytestmark = pytest.mark.django_db


# --- plates -----------------------------------------------------------------------------------------------------------


def test_plates_by_age_and_similarity(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Plates of the sex by age and by similarity."""
    shown = plates_of(client, done_assessment())
    assert [plate["key"] for plate in shown["plates"]] == ["F-082", "F-094", "F-106"]
    assert [plate["compared"] for plate in shown["plates"]] == [
        "1 year younger than the estimate",
        "same age as the estimate",
        "1 year older than the estimate",
    ]
    assert shown["by_age"] == "F-094"
    assert shown["by_similarity"] == ["F-094", "F-082"]


def test_plates_have_probabilities(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The most probable plates of the atlas in use have their probabilities."""
    plates = (PlateDocument(key="F-094", age_months=94.0, probability=0.42),)
    probable = NearestPlatesDocument(atlas="open", plates=plates)
    shown = plates_of(client, done_assessment(with_result(answer_of_phantom(), nearest_plates=probable)))["plates"]
    assert [plate["compared"] for plate in shown[:2]] == [
        "1 year younger than the estimate",
        "same age as the estimate · probability 42 %",
    ]


def test_plates_of_another_atlas(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Similarity within another atlas is not shown."""
    similar = (SimilarPlate(key="F-094", distance=0.1),)
    other = PlatesDocument(atlas="another", by_age="F-001", by_similarity=similar)
    plates_shown = plates_of(client, done_assessment(with_result(answer_of_phantom(), plates=other)))
    assert (plates_shown["by_age"], plates_shown["by_similarity"]) == ("F-094", [])


def test_done_page_without_atlas(
    open_mode: None, done_assessment: MakeAssessment, settings: Settings, tmp_path: Path, client: Client
) -> None:
    """Without an atlas the answer still shows."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, atlas=str(tmp_path / "nowhere"))
    assert "No atlas is available" in text_of(client, address(done_assessment()))


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [("radiograph.jpg", "radiograph"), ("heat.png", "heat"), ("grey.png", "grey"), ("thumbnail.jpg", "thumbnail")],
)
def test_pictures_are_not_cached(
    open_mode: None, done_assessment: MakeAssessment, client: Client, name: str, kind: str
) -> None:
    """Browsers keep no pictures of patients."""
    assessment = done_assessment()
    kept = assessment.pictures.get(kind=kind)
    answer = client.get(address(assessment, name))
    assert (answer.content, answer["Content-Type"]) == (bytes(kept.data), kept.media_type)
    assert (answer["Cache-Control"], "ETag" in answer) == ("no-store", False)
    assessment.delete()
    assert client.get(address(assessment, name)).status_code == 404


def test_waiting_radiograph_has_no_pictures(open_mode: None, client: Client) -> None:
    """A waiting radiograph has no pictures."""
    assert client.get(address(submitted(), "radiograph.jpg")).status_code == 404


def test_picture_kinds_match_viewer(done_assessment: MakeAssessment, clinic: None) -> None:
    """The clinic keeps the upload, but no address of the result gives it away."""
    assessment = done_assessment()
    assert set(assessment.pictures.values_list("kind", flat=True)) == set(PictureKind.values)


# --- viewer -----------------------------------------------------------------------------------------------------------


def test_viewer_data(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The viewer gets its lines."""
    assessment = done_assessment()
    document = viewer_data(client, assessment)
    hand = assessment.finished.hand
    assert hand is not None
    assert document["outline"] == [list(point) for point in hand.outline_xy]
    assert {point["name"] for point in document["points"]} == {
        "tip of the middle finger",
        "tip of the thumb",
        "capitate",
    }
    assert [box["name"] for box in document["boxes"]] == ["carpal bones"]
    assert set(document["scales"]) == {"orange", "green"}


def test_viewer_data_has_outlines_of_epiphyses(
    open_mode: None, done_assessment: MakeAssessment, client: Client
) -> None:
    """The viewer gets the outlines of all bones, and none from a bundle without their network."""
    triangle = [[20.0, 30.0], [40.5, 30.0], [30.0, 45.0]]
    bones = bone_documents()
    answer = with_result(answer_of_phantom(), bones=bones)
    assert viewer_data(client, done_assessment(answer))["epiphyses"] == [triangle] * (len(bones) - 1)
    assert viewer_data(client, done_assessment())["epiphyses"] == []


def test_registration_for_viewer(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The viewer gets the similarity from the registered frame to the radiograph, and so the plate's place."""
    assessment = done_assessment()
    viewer = viewer_data(client, assessment)
    hand = assessment.finished.hand
    assert hand is not None
    tip = np.asarray(viewer["frame"]) @ [*TIP_IN_FRAME_XY, 1.0]
    assert tip == pytest.approx(hand.points.middle_tip)
    assert (viewer["spacing"], viewer["turns"], viewer["grey"]) == (None, 0, address(assessment, "grey.png"))
