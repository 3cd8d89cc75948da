"""Radiographs come in: by the plain form and by the page's script, in both modes, and rows tell what became of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.atlas_index import Plate
from boneage.bundle.bundle import Bundle
from boneage.sex import Sex
from boneage.web import installation
from boneage.web.models import Assessment, AuditEvent, Case, Picture, Role, State
from boneage.web.queue.answer import Answer
from boneage.web.views import assess
from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with, with_result

pytestmark = pytest.mark.django_db

JSON = {"Accept": "application/json"}
PAGE = {"Accept": "text/html"}


class Plates:
    """An atlas of a plate each year."""

    def for_sex(self, sex: Sex) -> tuple[Plate, ...]:
        return tuple(Plate(sex, 12.0 * year, "plate.png", 20) for year in range(2, 18))

    def nearest_by_age(self, sex: Sex, months: float) -> Plate:
        return min(self.for_sex(sex), key=lambda plate: abs(plate.age_months - months))


@pytest.fixture(autouse=True)
def _some_atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "atlas", Plates)


def radiograph(content: bytes = b"radiograph", name: str = "hand.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def send(client: Client, headers: dict[str, str] = JSON, **fields: Any) -> Any:
    return client.post("/assessments/", {"sex": "F", "radiograph": radiograph(), **fields}, headers=headers)


def text_of(response: HttpResponse | Any) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


@pytest.mark.usefixtures("open_mode")
def test_home_works_without_script(client: Client) -> None:
    """The page works without script."""
    page = client.get("/").content.decode()
    plain = re.findall(r"<noscript>(.*?)</noscript>", page, re.S)[-1]
    assert 'enctype="multipart/form-data"' in plain
    for name in ("radiograph", "sex", "birth_date", "study_date", "given_age_years", "given_age_months", "note"):
        assert f'name="{name}"' in plain
    assert 'name="reference"' not in page


@pytest.mark.usefixtures("open_mode")
def test_plain_form_leads_to_result(client: Client) -> None:
    """The plain form leads to the result."""
    response = send(client, PAGE, note="left", given_age_years="7")
    assessment = Assessment.objects.get()
    assert (response.status_code, response["Location"]) == (303, f"/assessments/{assessment.pk}/")
    assert (assessment.state, assessment.note, assessment.given_age_months) == (State.QUEUED, "left", 84)
    assert assessment.submitted_by is None
    assert assessment.client


@pytest.mark.usefixtures("open_mode")
def test_plain_form_shows_problems(client: Client) -> None:
    """The plain form comes back with what is wrong."""
    response = send(client, PAGE, sex="", note="left <hand>", study_date="2999-01-01")
    page = response.content.decode()
    assert response.status_code == 422
    assert "<noscript>" not in page.split('<form class="card plain"')[0].rsplit("</header>", 1)[1]
    assert "girls and boys mature" in text_of(response)
    assert "This date is in the future" in text_of(response)
    assert "left &lt;hand&gt;" in page
    assert not Assessment.objects.exists()


@pytest.mark.usefixtures("open_mode")
def test_script_gets_addresses_or_codes(client: Client) -> None:
    """The script gets addresses or codes."""
    answer = send(client)
    assert answer.status_code == 201
    pk = answer.json()["id"]
    assert answer.json() == {"id": pk, "result": f"/assessments/{pk}/", "row": f"/assessments/{pk}/row"}
    wrong = send(client, sex="", birth_date="2020-01-01", study_date="2019-01-01")
    assert wrong.status_code == 422
    assert wrong.json()["code"] == "sex_missing"
    assert [problem["code"] for problem in wrong.json()["problems"]] == ["sex_missing", "study_before_birth"]
    assert [problem["field"] for problem in wrong.json()["problems"]] == ["sex", "study_date"]


@pytest.mark.usefixtures("open_mode")
@pytest.mark.parametrize("accept", [JSON, PAGE])
def test_too_large_is_not_missing(client: Client, settings: Settings, accept: dict[str, str]) -> None:
    """A radiograph that is too large is not called missing."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, radiograph_bytes=2000)
    response = send(client, accept, radiograph=radiograph(b"f" * 2001))
    assert response.status_code == 413
    text = response.content.decode()
    assert "larger than the limit" in text
    assert "Choose a file" not in text.replace("Choose files", "")
    assert send(client, accept, radiograph=radiograph(b"f" * 2000)).status_code in {201, 303}


@pytest.mark.usefixtures("open_mode")
@pytest.mark.parametrize(
    ("limit", "status", "code"), [({"waiting": 1}, 503, "busy"), ({"open_hourly": 1}, 429, "too_many")]
)
def test_limits_answer_retry_after(
    client: Client, settings: Settings, limit: dict[str, int], status: int, code: str
) -> None:
    """A client beyond the limit is informed when to try again."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, **limit)
    assert send(client).status_code == 201
    answer, page = send(client), send(client, PAGE)
    assert answer.status_code == page.status_code == status
    assert answer.json()["code"] == code
    assert int(answer["Retry-After"]) > 0
    assert answer.json()["message"] in page.content.decode()
    assert Assessment.objects.count() == Picture.objects.count() == 1
    if code == "too_many":  # another address is another client
        assert (
            Client(REMOTE_ADDR="192.0.2.7").post("/assessments/", {"sex": "F", "radiograph": radiograph()}).status_code
            == 303
        )


@pytest.mark.usefixtures("open_mode")
def test_submit_get_leads_to_home(client: Client) -> None:
    """After a login the address of submissions leads to the page."""
    assert client.get("/assessments/")["Location"] == "/"


@pytest.mark.usefixtures("clinic")
def test_submit_in_clinic_needs_login(client: Client) -> None:
    """A clinic asks who submits."""
    for response in (client.get("/"), send(client), client.get(reverse("row", args=[uuid4()]))):
        assert response.status_code == 302
        assert response["Location"].startswith("/account/login")
    assert not Assessment.objects.exists()


@pytest.mark.usefixtures("clinic")
def test_submit_in_clinic_stores_user_and_case(log_in: Callable[..., Client]) -> None:
    """A clinics radiograph has its reader case and event."""
    client = log_in(Role.READER)
    assert 'name="reference"' in client.get("/").content.decode()
    assert send(client, reference="A 17", birth_date="2012-03-04").status_code == 201
    assessment, case, event = Assessment.objects.get(), Case.objects.get(), AuditEvent.objects.get()
    assert assessment.submitted_by is not None
    assert (assessment.submitted_by.username, assessment.client, assessment.case) == ("reader", "", case)
    assert (event.user_name, event.action, event.object_id) == ("reader", "submit", str(assessment.pk))
    other = send(client, reference="A 17", sex="M")
    assert (other.status_code, other.json()["code"]) == (422, "case_differs")
    assert AuditEvent.objects.count() == 1


@pytest.mark.usefixtures("clinic")
def test_home_fills_in_case(log_in: Callable[..., Client]) -> None:
    """The case in the address is filled in."""
    client = log_in()
    case = Case.objects.create(reference="A <17>", sex="M", birth_date="2012-03-04")
    page = client.get(f"/?case={case.pk}").content.decode()
    assert page.count('value="A &lt;17&gt;"') == 2  # the form without script, and the template of rows
    assert page.count('value="2012-03-04"') == 2
    assert len(re.findall(r'value="M"[^>]*checked', page)) == 2
    for nothing in ("?case=", "?case=x", "?case=00000000-0000-4000-8000-000000000000"):
        assert "checked" not in client.get(f"/{nothing}").content.decode()
    [event] = AuditEvent.objects.all()
    assert (event.action, event.object_id) == ("view", str(case.pk))


@pytest.mark.usefixtures("open_mode")
def test_row_of_each_state(client: Client, done_assessment: Callable[..., Assessment]) -> None:
    """A row tells each state."""
    pk = send(client).json()["id"]
    waiting = client.get(f"/assessments/{pk}/row").content.decode()
    assert 'data-state="queued"' in waiting
    assert "data-final" not in waiting
    done = client.get(reverse("row", args=[done_assessment(radiograph_name="a <b>.png").pk]))
    assert 'data-state="done"' in done.content.decode()
    assert "data-final" in done.content.decode()
    assert "7 years 10 months" in text_of(done)
    assert "Caution" in text_of(done)
    assert "<b>.png" not in done.content.decode()
    rejected = done_assessment(Answer(State.REJECTED, "no_hand", "No hand."))
    text = text_of(client.get(reverse("row", args=[rejected.pk])))
    assert "No hand was found on this radiograph." in text
    assert "whole left hand" in text
    failed = done_assessment(Answer(State.FAILED, "internal_error", "secret"))
    text = text_of(client.get(reverse("row", args=[failed.pk])))
    assert "an internal error" in text
    assert "secret" not in text


@pytest.mark.usefixtures("open_mode")
def test_row_hides_meaningless_number(client: Client, done_assessment: Callable[..., Assessment]) -> None:
    """A number that is no bone age is not shown as one."""
    assessment = done_assessment(with_result(answer_of_phantom(), is_meaningless=True))
    response = client.get(reverse("row", args=[assessment.pk]))
    assert "7 years" not in response.content.decode()
    assert "not a bone age" in text_of(response)


@pytest.mark.usefixtures("open_mode")
def test_row_shows_severe_warnings_only(client: Client, done_assessment: Callable[..., Assessment]) -> None:
    """A row marks what is grave and is quiet on the rest."""
    quiet = text_of(client.get(reverse("row", args=[done_assessment(answer_with("read_mirrored")).pk])))
    assert "7 years 10 months" in quiet
    assert not any(word in quiet for word in ("Information", "Caution", "Critical"))
    grave = text_of(client.get(reverse("row", args=[done_assessment(answer_with(CRITICAL)).pk])))
    assert "7 years" not in grave
    assert "Critical" in grave
    assert "Do not use this number" in grave


@pytest.mark.usefixtures("open_mode")
def test_row_of_expired_result(client: Client, done_assessment: Callable[..., Assessment]) -> None:
    """An expired answer is not shown."""
    assessment = done_assessment()
    Assessment.objects.update(expires_at=timezone.now())
    assert client.get(reverse("row", args=[assessment.pk])).status_code == 404


@pytest.mark.usefixtures("clinic")
def test_row_view_is_logged(log_in: Callable[..., Client], done_assessment: Callable[..., Assessment]) -> None:
    """Who sees an answer in a row is logged."""
    client, assessment = log_in(), done_assessment()
    client.get(reverse("row", args=[assessment.pk]))
    assert [(event.action, event.object_id) for event in AuditEvent.objects.all()] == [("view", str(assessment.pk))]


@pytest.mark.usefixtures("open_mode")
def test_home_offers_plates_of_both_sexes(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plates of both sexes are offered if there are any."""
    page = client.get("/").content.decode()
    assert re.findall(r'data-plate-key="(F-[^"]+)"', page) == ["F-036", "F-084", "F-132", "F-168"]
    assert len(re.findall(r'data-plate-sex="M"', page)) == 4

    def none() -> None:
        from boneage.errors import BoneageError

        raise BoneageError("atlas_not_found", "There is none.")

    monkeypatch.setattr(installation, "atlas", none)
    assert "data-plate-key" not in client.get("/").content.decode()


@pytest.mark.usefixtures("open_mode")
def test_script_texts_exist(client: Client) -> None:
    """The page holds every text of the script."""
    page = client.get("/").content.decode()
    match = re.search(r'<script id="assess-settings" type="application/json">(.*?)</script>', page, re.S)
    assert match is not None
    data = json.loads(match[1])
    assert data["limit"] == django_settings.CONFIGURATION.radiograph_bytes
    assert data["keep"] is True
    script = (Path(assess.__file__).parents[1] / "static" / "web" / "assess.js").read_text(encoding="utf-8")
    used = set(re.findall(r'say\((?:[^()"]*\? )?"(\w+)"', script)) | set(re.findall(r'return "(\w+)";', script))
    assert used <= set(data["texts"])
    assert all(f'"{name}"' in script for name in data["texts"])


@pytest.mark.usefixtures("open_mode")
def test_about_shows_accuracy(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """About has the error that the bundle was measured with."""

    def loads_networks() -> None:
        raise AssertionError("the page loads the networks")

    monkeypatch.setattr("boneage.bundle.session.import_onnxruntime", loads_networks)
    metrics = Bundle.open("default").manifest.metrics
    text = text_of(client.get("/about/"))
    assert f"{metrics['mad_months']:.2f} months" in text
    assert f"{metrics['radiographs']} radiographs" in text
    assert "Not a medical device." in text
    assert "Model facts" in text
    assert "Not for the estimation of an unknown age" in text
    assert "It is not the normal range" in text
    assert "Souza" in text
    assert "Iglovikov" in text
    assert "30 minutes" in text


@pytest.mark.usefixtures("clinic")
def test_about_without_bundle(client: Client, settings: Settings) -> None:
    """About is there for everybody and without a bundle."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, bundle="/nowhere", retention_days=90)
    response = client.get("/about/")
    assert response.status_code == 200
    assert "has not been measured" in text_of(response)
    assert "after 90 days without a change" in text_of(response)
