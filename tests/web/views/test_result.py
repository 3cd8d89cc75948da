"""The page of one assessment in its states and modes, its pictures, decisions, deletion."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.hand.registration import TIP_IN_FRAME_XY
from boneage.phantom import sample_png
from boneage.schema import NearestPlatesDocument, PlateDocument
from boneage.sex import Sex
from boneage.web.cases import decisions
from boneage.web.cases.decisions import CorrectionForm, DecisionInput
from boneage.web.documents import PlatesDocument, SimilarPlate
from boneage.web.models import Assessment, AuditEvent, Case, Decision, Picture, PictureKind, Role, State, User, Verdict
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer
from boneage.web.queue.jobs import Submission
from tests.documents import bone_documents
from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with, with_result

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
PLATES = [("F", 82), ("F", 94), ("F", 106), ("M", 94)]

MakeAssessment = Callable[..., Assessment]
LogIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def _plates(tmp_path: Path, settings: Settings) -> None:
    """An atlas of a few drawn plates, of the name that results of `answer_of_phantom` say."""
    (tmp_path / "plate.png").write_bytes(sample_png())
    rows = [f"{sex},{months},plate.png,25" for sex, months in PLATES]
    (tmp_path / "index.csv").write_text("\n".join(["sex,age_months,file,count", *rows, ""]))
    (tmp_path / "atlas.json").write_text(json.dumps({"name": "open", "title": "Drawn plates"}))
    settings.CONFIGURATION = replace(settings.CONFIGURATION, atlas=str(tmp_path))


def submitted() -> Assessment:
    return jobs.submit(Submission(radiograph=sample_png(), radiograph_name="radiograph.png", sex=Sex.FEMALE))


def address(assessment: Assessment, rest: str = "") -> str:
    return f"/assessments/{assessment.pk}/{rest}"


def text_of(client: Client, path: str, **kwargs: Any) -> str:
    answer = client.get(path, **kwargs)
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", answer.content.decode())


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_waiting_page_shows_position(open_mode: None, client: Client) -> None:
    """A radiograph waits with its place in the queue."""
    first, second = submitted(), submitted()
    Assessment.objects.filter(pk=second.pk).update(submitted_at=timezone.now() + timedelta(minutes=1))
    assert "It is next in the queue" in text_of(client, address(first))
    body = text_of(client, address(second))
    assert "1 radiograph is ahead of it" in body
    assert '<noscript><meta http-equiv="refresh"' in body
    assert 'hx-trigger="every 250ms"' in body


def test_old_radiograph_polls_less_often(open_mode: None, client: Client) -> None:
    """The page polls an old radiograph less often."""
    old = submitted()
    Assessment.objects.filter(pk=old.pk).update(submitted_at=timezone.now() - timedelta(seconds=6))
    assert 'hx-trigger="every 1000ms"' in text_of(client, address(old))


def test_state_is_silent_without_change(open_mode: None, client: Client) -> None:
    """Polling says nothing until something changes."""
    waiting = submitted()
    seen = re.search(r'hx-get="([^"]+)"', text_of(client, address(waiting)))
    assert seen is not None
    assert client.get(seen[1], headers=HTMX).status_code == 204
    assert jobs.begin(str(waiting.pk), "worker") is not None
    answer = client.get(seen[1], headers=HTMX)
    assert answer.status_code == 200
    assert "is being assessed" in answer.content.decode()


def test_state_ends_polling_with_result(open_mode: None, client: Client) -> None:
    """Polling ends with the answer."""
    waiting = submitted()
    jobs.run(str(waiting.pk), worker="worker", assess=lambda *_: answer_of_phantom())
    body = text_of(client, address(waiting, "state?seen=queued-0-250"), headers=HTMX)
    assert "7 years 10 months" in body
    assert "hx-trigger" not in body.split('id="decision"')[0]
    assert 'hx-swap-oob="innerHTML:#announcement"' in body
    assert "<html" not in body


def test_state_of_deleted_radiograph(open_mode: None, client: Client) -> None:
    """Polling a deleted radiograph stops."""
    deleted_one = submitted()
    path = address(deleted_one, "state")
    deleted_one.delete()
    assert client.get(path, headers=HTMX).status_code == 286
    assert client.get(path).status_code == 404


def test_state_without_htmx_redirects(open_mode: None, client: Client) -> None:
    """The state by itself leads to the page."""
    waiting = submitted()
    answer = client.get(address(waiting, "state"))
    assert (answer.status_code, answer["Location"]) == (302, address(waiting))


# --- rejected and failed
# -----------------------------------------------------------------------------------------------


def test_rejected_page_gives_advice(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """A rejected radiograph says what and what to do."""
    rejected = done_assessment(Answer(State.REJECTED, "no_hand", "No hand is to be seen."))
    body = text_of(client, address(rejected))
    assert "No hand was found on this radiograph." in body
    assert "whole left hand" in body
    assert "No hand is to be seen." in body
    assert "Try another radiograph" in body
    assert 'id="decision"' not in body


def test_failed_page(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The page of a failed radiograph states the failure."""
    failed = done_assessment(Answer(State.FAILED, "internal_error", "A fault of the program."))
    assert "tell the administrator" in text_of(client, address(failed))


# --- done -------------------------------------------------------------------------------------------------------------


def test_done_page(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The answer with all that belongs to it."""
    body = text_of(client, address(done_assessment(answer_of_phantom(chronological=90.0))))
    for text in (
        '<p class="age">7 years 10 months</p>',
        "Likely range of this reading: 6 years 10 months to 8 years 10 months (80 % prediction interval)",
        "95 % prediction interval of the estimate: 6 years 3 months to 9 years 5 months (contained 94.5 %",
        'class="plot ruler"',
        "SDS +0.40",
        "Mean absolute difference (MAD) of the estimate: 7.5 months",
        "Normal range at this age",
        "Copy text",
        "Comparison: no earlier radiograph was compared.",
        "It is the same for every radiograph.",
        "7 years 6 months",
        "4.0 months ahead of the chronological age",
        "The radiograph has only",
        "<td>B · carpal bones</td>",
        'class="plot age-plot"',
        "this result will be deleted in",
        "Delete now",
        "copy.png",
    ):
        assert text in body, text


def test_page_has_no_inline_code(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The content security policy would forbid it."""
    body = text_of(client, address(done_assessment()))
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", body)
    scripts = re.findall(r"<script[^>]*>", body)
    assert scripts
    assert all("src=" in script or 'type="application/json"' in script for script in scripts)


@pytest.mark.parametrize(
    ("codes", "text"),
    [(["phantom"], "this number has no meaning"), (["outside_training_range"], "outside 0 to 19 years")],
)
def test_meaningless_number_is_struck_through(
    open_mode: None, done_assessment: MakeAssessment, client: Client, codes: list[str], text: str
) -> None:
    """A meaningless number is struck through."""
    answer = with_result(answer_with(*codes), is_meaningless=True)
    body = text_of(client, address(done_assessment(answer)))
    assert "<s>7 years 10 months</s>" in body
    assert "7 years" not in body.partition("</title>")[0]
    assert text in body
    assert "Accept 7" not in body
    assert "age-plot" not in body
    assert "Mean absolute difference (MAD)" not in body


def test_warnings_by_severity(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Warnings stand by severity the gravest first."""
    assessment = done_assessment(answer_with(CRITICAL, "saturated", "read_mirrored"))
    body = text_of(client, address(assessment))
    assert body.index("note critical") < body.index("note caution") < body.index("info-warnings")
    assert "<s>7 years 10 months</s>" in body
    for word in ("Do not use this number", "Please check", "For information", "Accept 7 years 10 months…"):
        assert word in body
    assert "Mean absolute difference (MAD)" not in body
    assert "ahead of the chronological age" not in body
    assert "7 years" not in body.partition("</title>")[0]
    assert "do not use the number" in text_of(client, address(assessment, "state"), headers={"HX-Request": "true"})


def test_information_is_no_concern(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Information alone is no concern."""
    body = text_of(client, address(done_assessment(answer_with("read_mirrored"))))
    assert "info-warnings" in body
    assert not any(word in body for word in ("note critical", "note caution", "<s>"))


@pytest.mark.parametrize("by_htmx", [True, False])
def test_accept_critical_needs_second_click(
    clinic: None, done_assessment: MakeAssessment, log_in: LogIn, by_htmx: bool
) -> None:
    """Accepting a critical number takes a second click."""
    assessment, client = done_assessment(answer_with(CRITICAL)), log_in()
    headers = {"HX-Request": "true"} if by_htmx else {}
    path = address(assessment, "decide")
    question = client.post(path, {"verdict": "accepted"}, headers=headers)
    body = question.content.decode()
    assert (question.status_code, "<html" in body) == (422, not by_htmx)
    assert "Not accepted yet" in body
    panel = body[body.index('id="confirm-critical"') :]
    assert "not human" in panel  # why
    assert 'name="confirm_critical" value="1"' in panel
    assert "Accept 7 years 10 months anyway" in panel
    assert not Decision.objects.exists()
    done = client.post(path, {"verdict": "accepted", "confirm_critical": "1"}, headers=headers)
    assert done.status_code == (200 if by_htmx else 302)
    assert Decision.objects.get().age_months == 94.0


def test_file_names_are_escaped(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Names of files are escaped."""
    body = text_of(client, address(done_assessment(radiograph_name='<img src=x onerror="1">.png', note="<b>note</b>")))
    assert "<img src=x" not in body
    assert "<b>note</b>" not in body


def viewer_data(client: Client, assessment: Assessment) -> Any:
    """Return the data that the page of a result hands to the viewer."""
    body = client.get(address(assessment)).content.decode()
    match = re.search(r'<script id="viewer-data" type="application/json">(.*?)</script>', body)
    assert match is not None
    return json.loads(match[1])


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


def test_bundle_without_hands(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """A bundle that finds no hands."""
    bare = with_result(answer_of_phantom(), hand=None, region_ages_months={})
    unknown = dict.fromkeys(
        ("typical_error_months", "interval_months", "interval_80_months", "interval_coverage"), None
    )
    body = text_of(client, address(done_assessment(with_result(bare, **unknown))))
    assert "7 years 10 months" in body
    for missing in ("Bone age by region", "age-plot", "% range"):
        assert missing not in body


@pytest.mark.parametrize(("coverage", "held"), [(0.951, True), (None, False)])
def test_calibrated_bundle_texts(
    open_mode: None, done_assessment: MakeAssessment, client: Client, coverage: float | None, held: bool
) -> None:
    """A calibrated bundle speaks of radiographs of the sex and near the age."""
    answer = with_result(answer_of_phantom(), interval_calibrated=True, interval_coverage=coverage)
    body = text_of(client, address(done_assessment(answer)))
    assert "with readers on radiographs of this sex and near this age." in body
    assert ("(contained 95.1 % of the readings of the validation radiographs)" in body) is held
    assert "Distribution of the errors on radiographs of this sex and near this age" in body
    assert "the same for every radiograph" not in body


def test_result_without_80_percent_interval(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """An answer from before there were 80 percent ranges is shown."""
    page = address(
        done_assessment(with_result(answer_of_phantom(), interval_80_months=None, consensus_interval_80_months=None))
    )
    body = text_of(client, page)
    assert "95 % prediction interval of the estimate: 6 years 3 months to 9 years 5 months" in body
    assert "80 % prediction interval" not in body
    report = text_of(client, f"{page}report/")
    assert "95 % prediction interval of the estimate: 6 years 3 months to 9 years 5 months (contained 94.5 %" in report
    assert "80 % prediction interval" not in report


# --- plates -----------------------------------------------------------------------------------------------------------


def plates_of(client: Client, assessment: Assessment) -> dict[str, Any]:
    body = client.get(address(assessment)).content.decode()
    match = re.search(r'<script id="plates-data" type="application/json">(.*?)</script>', body)
    assert match is not None
    document: dict[str, Any] = json.loads(match[1])
    return document


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


def test_expired_result_is_gone(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Expired answers are gone."""
    assessment = done_assessment()
    Assessment.objects.filter(pk=assessment.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    for rest in ("", "state", "radiograph.jpg", "heat.png", "grey.png", "thumbnail.jpg"):
        assert client.get(address(assessment, rest)).status_code == 404


# --- decisions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("years", "months", "total"), [("0", "0", 0.0), ("7", "", 84.0), ("18", "11", 227.0), ("19", "0", 228.0)]
)
def test_correction_form_valid_ages(years: str, months: str, total: float) -> None:
    """Possible ages are accepted."""
    form = CorrectionForm({"years": years, "months": months, "reason": "epiphyses"})
    assert form.is_valid()
    assert form.decision_input() == DecisionInput(Verdict.CORRECTED, total, "epiphyses")


@pytest.mark.parametrize(
    ("years", "months", "reason", "wrong"),
    [
        ("19", "1", "r", "months"),
        ("20", "0", "r", "years"),
        ("-1", "0", "r", "years"),
        ("7", "12", "r", "months"),
        ("", "3", "r", "years"),
        ("7.5", "0", "r", "years"),
        ("nan", "0", "r", "years"),
        ("7", "0", "  ", "reason"),
        ("7", "0", "x" * 2001, "reason"),
    ],
)
def test_correction_form_invalid_ages(years: str, months: str, reason: str, wrong: str) -> None:
    """Impossible ages are rejected."""
    form = CorrectionForm({"years": years, "months": months, "reason": reason})
    assert not form.is_valid()
    assert list(form.errors) == [wrong]
    assert "aria-invalid" in str(form[wrong])


def test_accept_in_open_mode(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Accepting in the open mode."""
    assessment = done_assessment()
    answer = client.post(address(assessment, "decide"), {"verdict": "accepted"})
    assert (answer.status_code, answer["Location"]) == (302, address(assessment) + "#decision")
    assessment.refresh_from_db()
    assert (assessment.decision, assessment.decided_months) == ("accepted", 94.0)
    assert "Accepted" in text_of(client, address(assessment))


def test_correct_keeps_estimate_and_decisions(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Correcting keeps the estimate and every decision."""
    assessment = done_assessment()
    client.post(address(assessment, "decide"), {"verdict": "accepted"})
    form = {"verdict": "corrected", "years": "8", "months": "2", "reason": "<capitate> & hamate"}
    answer = client.post(address(assessment, "decide"), form, headers=HTMX)
    assert answer.status_code == 200
    body = answer.content.decode()
    assert "8 years 2 months" in body
    assert "&lt;capitate&gt; &amp; hamate" in body
    assessment.refresh_from_db()
    assert (assessment.age_months, assessment.decided_months, assessment.decision) == (94.0, 98.0, "corrected")
    assert [one.verdict for one in assessment.decisions.all()] == ["accepted", "corrected"]


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_correct_invalid_comes_back(
    open_mode: None, done_assessment: MakeAssessment, client: Client, headers: dict[str, str]
) -> None:
    """A wrong correction comes back."""
    assessment = done_assessment()
    answer = client.post(address(assessment, "decide"), {"verdict": "corrected", "years": "30"}, headers=headers)
    assert answer.status_code == 422
    body = answer.content.decode()
    assert "Enter the reason for the correction." in body
    assert 'value="30"' in body
    assert "<details data-correct open>" in body
    assert not Decision.objects.exists()


def test_decide_without_estimate(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Nothing is decided on a radiograph without an estimate."""
    rejected = done_assessment(Answer(State.REJECTED, "no_hand", "No hand."))
    correction = {"verdict": "corrected", "years": "8", "reason": "r"}
    for assessment in (rejected, submitted()):
        for form in ({"verdict": "accepted"}, correction, {}):
            assert client.post(address(assessment, "decide"), form).status_code == 409
    assert not Decision.objects.exists()


def test_meaningless_number_can_only_be_corrected(
    open_mode: None, done_assessment: MakeAssessment, client: Client
) -> None:
    """A meaningless number cannot be accepted but corrected."""
    assessment = done_assessment(with_result(answer_of_phantom(), is_meaningless=True))
    assert client.post(address(assessment, "decide"), {"verdict": "accepted"}).status_code == 409
    form = {"verdict": "corrected", "years": "8", "reason": "read by eye"}
    assert client.post(address(assessment, "decide"), form).status_code == 302


def test_decide_again_needs_reviewer(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """Only reviewers decide again."""
    assessment = done_assessment(case=Case.objects.create(reference="P1", sex="F"))
    before = Case.objects.get().changed_at
    reader, reviewer = log_in(Role.READER), log_in(Role.REVIEWER)
    accepted, correction = {"verdict": "accepted"}, {"verdict": "corrected", "years": "8", "reason": "r"}
    path = address(assessment, "decide")
    assert reader.post(path, accepted).status_code == 302
    assert Case.objects.get().changed_at > before
    assert reader.post(path, correction).status_code == 403
    assert "Only a reviewer" in text_of(reader, address(assessment))
    assert "Only a reviewer" not in text_of(reviewer, address(assessment))
    assert reviewer.post(path, correction).status_code == 302
    assert [str(one.decided_by) for one in assessment.decisions.all()] == ["reader", "reviewer"]
    logged = AuditEvent.objects.filter(action="decide", object_id=str(assessment.pk)).order_by("pk")
    assert [event.detail for event in logged] == [
        {"verdict": "accepted", "age_months": 94.0},
        {"verdict": "corrected", "age_months": 96.0},
    ]


def test_decide_after_another_decision(
    clinic: None, done_assessment: MakeAssessment, make_user: Callable[..., User]
) -> None:
    """The state that the page showed when it was loaded does not count."""
    assessment = done_assessment()
    stale = Assessment.objects.get(pk=assessment.pk)
    decisions.decide(assessment, DecisionInput(Verdict.ACCEPTED), make_user(Role.READER, "one"))
    with pytest.raises(PermissionDenied):
        decisions.decide(stale, DecisionInput(Verdict.ACCEPTED), make_user(Role.READER, "two"))
    assert Decision.objects.count() == 1


# --- deletion ---------------------------------------------------------------------------------------------------------


def test_delete_in_open_mode(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Deleting in the open mode."""
    assessment = done_assessment()
    client.post(address(assessment, "decide"), {"verdict": "accepted"})
    answer = client.post(address(assessment, "delete"))
    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert not (Assessment.objects.exists() or Picture.objects.exists() or Decision.objects.exists())


def test_delete_in_clinic_needs_reviewer(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """Deleting in the clinic is for reviewers."""
    case = Case.objects.create(reference="P1", sex="F")
    assessment = done_assessment(case=case)
    path, key = address(assessment, "delete"), str(assessment.pk)
    reader = log_in(Role.READER)
    assert "Delete this assessment" not in text_of(reader, address(assessment))
    assert reader.post(path).status_code == 403
    assert Assessment.objects.exists()
    answer = log_in(Role.REVIEWER).post(path)
    assert (answer.status_code, answer["Location"]) == (302, f"/cases/{case.pk}/")
    assert not Assessment.objects.exists()
    assert AuditEvent.objects.filter(action="delete", object_id=key, user_name="reviewer").count() == 1


def test_changes_need_post(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Changes need POST."""
    assessment = done_assessment()
    for rest in ("decide", "delete"):
        assert client.get(address(assessment, rest)).status_code == 405


def test_changes_need_csrf_token(open_mode: None, done_assessment: MakeAssessment) -> None:
    """Changes need a CSRF token."""
    assessment, strict = done_assessment(), Client(enforce_csrf_checks=True)
    for rest in ("decide", "delete"):
        assert strict.post(address(assessment, rest), {"verdict": "accepted"}).status_code == 403
    assert Assessment.objects.get().decision == ""


# --- clinic -----------------------------------------------------------------------------------------------------------


def test_pages_need_login(clinic: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Nothing without a login."""
    assessment = done_assessment()
    for rest in ("", "state", "radiograph.jpg", "heat.png"):
        answer = client.get(address(assessment, rest))
        assert answer.status_code == 302
        assert answer["Location"].startswith("/account/login")
    assert client.post(address(assessment, "decide"), {"verdict": "accepted"}).status_code == 302
    assert not Decision.objects.exists()


def test_view_is_logged_once(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """A view is logged once a page."""
    assessment = done_assessment(case=Case.objects.create(reference="P1", sex="F"))
    reader = log_in()
    body = text_of(reader, address(assessment))
    assert "Case P1" in body
    assert "Nothing is kept" not in body
    for rest in ("radiograph.jpg", "heat.png"):
        reader.get(address(assessment, rest))
    views = AuditEvent.objects.filter(action="view", object_id=str(assessment.pk))
    assert [event.user_name for event in views] == ["reader"]


def test_view_after_waiting_is_logged(clinic: None, log_in: LogIn) -> None:
    """A view that waited is logged with its answer."""
    waiting, reader = submitted(), log_in()
    reader.get(address(waiting))
    assert not AuditEvent.objects.filter(action="view").exists()
    jobs.run(str(waiting.pk), worker="worker", assess=lambda *_: answer_of_phantom())
    reader.get(address(waiting, "state"), headers=HTMX)
    assert AuditEvent.objects.filter(action="view").count() == 1


def test_picture_kinds_match_viewer(done_assessment: MakeAssessment, clinic: None) -> None:
    """The clinic keeps the upload, but no address of the result gives it away."""
    assessment = done_assessment()
    assert set(assessment.pictures.values_list("kind", flat=True)) == set(PictureKind.values)


# --- the card ---------------------------------------------------------------------------------------------------------


def test_card_states_why_numbers_are_withheld(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Without a chronological age there is neither ruler nor SDS, and the card names the reason."""
    body = text_of(client, address(done_assessment(answer_of_phantom(chronological=None))))
    assert "No SDS: the chronological age is unknown" in body
    assert 'class="plot ruler"' not in body


def test_card_follows_correction(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """A correction brings the card with its own SDS and without the estimate's range."""
    assessment, client = done_assessment(), log_in()
    correction = {"verdict": "corrected", "years": "9", "months": "6", "reason": "r"}
    body = client.post(address(assessment, "decide"), correction, headers=HTMX).content.decode()
    card = body[body.index('id="answer"') :]
    assert 'hx-swap-oob="true"' in card
    assert '<p class="age">9 years 6 months</p>' in card
    assert "Estimated bone age: 7 years 10 months" in card
    assert "Likely range" not in card
    assert "SDS +2.42: advanced" in card
    assert "corrected by a physician" in card


def test_card_shows_previous_radiograph(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """The child's radiograph before this one, with a link and for the viewer."""
    case = Case.objects.create(reference="P1", sex="F")
    earlier = done_assessment(
        answer_of_phantom(70.0, chronological=70.0), case=case, study_date=date(2020, 5, 1), radiograph_sha256="1" * 64
    )
    later = done_assessment(case=case, study_date=date(2022, 5, 1))
    client = log_in()
    body = text_of(client, address(later))
    assert "Previous radiograph, May 1, 2020: <b>5 years 10 months</b>" in body
    assert "Comparison with the radiograph of May 1, 2020" in body
    shown = plates_of(client, later)["earlier"]
    assert (shown["url"], shown["age"]) == (address(earlier, "radiograph.jpg"), "5 years 10 months")


def test_place_in_worklist(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """The page counts along the worklist's last filter, and names the next radiograph; before, it counts nothing."""
    first, second = (done_assessment(radiograph_name=name) for name in ("a1.png", "a2.png"))
    done_assessment(radiograph_name="b.png")
    client = log_in()
    assert "1 of 2" not in text_of(client, address(first))
    client.post("/cases/", {"search": "a", "sort": "date"})
    body = text_of(client, address(first))
    assert "1 of 2" in body
    assert f'href="{address(second)}" data-next' in body
    body = text_of(client, address(second))
    assert "2 of 2" in body
    assert "data-next" not in body


def test_registration_for_viewer(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The viewer gets the similarity from the registered frame to the radiograph, and so the plate's place."""
    assessment = done_assessment()
    viewer = viewer_data(client, assessment)
    hand = assessment.finished.hand
    assert hand is not None
    tip = np.asarray(viewer["frame"]) @ [*TIP_IN_FRAME_XY, 1.0]
    assert tip == pytest.approx(hand.points.middle_tip)
    assert (viewer["spacing"], viewer["turns"], viewer["grey"]) == (None, 0, address(assessment, "grey.png"))
