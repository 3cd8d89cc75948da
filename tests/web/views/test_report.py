"""The report, on the page and as PDF, and the result as files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pypdf
import pytest
from django.test import Client
from django.utils.html import escape
from pytest_django.fixtures import Settings

from boneage.atlas_index import AtlasDescription
from boneage.errors import AtlasError
from boneage.phantom import sample_png
from boneage.report.report import CSV_COLUMNS
from boneage.web import installation
from boneage.web.cases import decisions, exports
from boneage.web.models import Assessment, AuditEvent, Case, Decision, Role, State, User, Verdict
from boneage.web.report import pdf as report_pdf
from boneage.web.report.content import one_sex_content, report_of
from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with, with_result
from tests.web.pdf_text import pages_in, words_in_pdf

FORMS = {"report/": "page", "report.pdf": "pdf", "result.json": "json", "result.csv": "csv", "copy.png": "copy"}


class DrawnAtlas:
    """Plates that all show the phantom."""

    about = AtlasDescription()

    def nearest_by_age(self, _sex: object, age_months: float) -> SimpleNamespace:
        return SimpleNamespace(age_months=12.0 * round(age_months / 12), count=23)

    def picture_bytes(self, _plate: object) -> tuple[bytes, str]:
        return sample_png(), "image/png"


def no_atlas() -> None:
    raise AtlasError("atlas_not_found", "There is none.")


@pytest.fixture(autouse=True)
def atlas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "atlas", DrawnAtlas)


def decide(assessment: Assessment, verdict: str, months: float, reason: str = "", user: User | None = None) -> None:
    Decision.objects.create(assessment=assessment, verdict=verdict, age_months=months, reason=reason, decided_by=user)
    assessment.decision, assessment.decided_months = verdict, months
    assessment.save()


# --- who, and of what -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "form"), FORMS.items())
def test_exports_are_logged_and_need_login(
    clinic: None,
    client: Client,
    log_in: Callable[..., Client],
    done_assessment: Callable[..., Assessment],
    path: str,
    form: str,
) -> None:
    """Each export in the clinic is logged and needs a login."""
    address = f"/assessments/{done_assessment().pk}/{path}"
    assert client.get(address).status_code == 302
    assert not AuditEvent.objects.filter(action="export").exists()
    assert log_in(Role.READER).get(address).status_code == 200
    event = AuditEvent.objects.get(action="export")
    assert (event.user_name, event.detail) == ("reader", {"form": form})


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.REJECTED, State.FAILED])
def test_exports_need_result(clinic: None, log_in: Callable[..., Client], db: None, path: str, state: State) -> None:
    """There is nothing to export of a radiograph without an answer."""
    assessment = Assessment.objects.create(radiograph_bytes=1, radiograph_sha256="0" * 64, sex="F", state=state)
    response = log_in().get(f"/assessments/{assessment.pk}/{path}")
    assert response.status_code == 409
    assert "no bone age to report" in response.content.decode()
    assert not AuditEvent.objects.filter(action="export").exists()


@pytest.mark.parametrize("path", FORMS)
def test_file_names_and_caching(
    open_mode: None, client: Client, done_assessment: Callable[..., Assessment], path: str
) -> None:
    """Files are named by the assessment alone and are not kept."""
    assessment = done_assessment(radiograph_name="Doe_Jane.png")
    response = client.get(f"/assessments/{assessment.pk}/{path}")
    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    if path != "report/":
        assert re.fullmatch(
            rf'attachment; filename="bone-age-{str(assessment.pk)[:8]}(-hand)?\.(pdf|json|csv|png)"',
            response["Content-Disposition"],
        )
    assert client.post(f"/assessments/{assessment.pk}/{path}").status_code == 405


def test_times_are_in_the_services_zone(
    open_mode: None,
    client: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    done_assessment: Callable[..., Assessment],
) -> None:
    """Pages, PDF, JSON, table and API give times in the zone of the setting, with its offset."""
    monkeypatch.setattr(installation, "atlas", no_atlas)
    settings.TIME_ZONE = "America/Sao_Paulo"
    assessment = done_assessment()
    decide(assessment, "accepted", 94.0)
    Decision.objects.update(decided_at=datetime(2026, 5, 1, 1, 30, tzinfo=UTC))
    shown = "April 30, 2026, 22:30 UTC-03:00"
    assert shown in report_of(assessment).decision[0]
    assert "".join(shown.split()) in words_in_pdf(report_pdf.pdf_bytes(assessment))
    for address in ("", "report/"):
        assert shown in client.get(f"/assessments/{assessment.pk}/{address}").content.decode()
    stamped = "2026-04-30T22:30:00-03:00"
    assert exports.json_value(assessment)["decision"]["decided_at"] == stamped
    [row] = rows_of(client, assessment)
    assert row["decided_at"] == stamped
    answer = client.get(f"/api/assessments/{assessment.pk}").json()
    assert answer["submitted_at"].endswith("-03:00")


# --- page and PDF -----------------------------------------------------------------------------------------------------


def test_page_and_pdf_have_same_text(
    clinic: None,
    make_user: Callable[..., User],
    log_in: Callable[..., Client],
    done_assessment: Callable[..., Assessment],
) -> None:
    """Page and pdf say the same."""
    case = Case.objects.create(reference="K-17 <b>", sex="F")
    assessment = done_assessment(case=case, note="Short & slim")
    decide(assessment, "corrected", 101, "Sesamoid there", make_user(Role.REVIEWER, "Dr Weiß"))
    page = " ".join(log_in().get(f"/assessments/{assessment.pk}/report/").content.decode().split())
    pdf = report_pdf.pdf_bytes(assessment)
    assert pages_in(pdf) == 1
    drawn = words_in_pdf(pdf)
    report = report_of(assessment)
    assert "K-17 <b>" in dict(report.patient).values()
    assert len(report.figures) == 3
    for text in filter(None, report.texts()):
        assert " ".join(escape(text).split()) in page
        assert "".join(text.split()) in drawn
    for figure in report.figures:
        assert figure.data_uri in page
        assert figure.jpeg in pdf


def test_pdf_fields_name_no_patient(clinic: None, done_assessment: Callable[..., Assessment]) -> None:
    """The documents fields name no patient."""
    case = Case.objects.create(reference="PATIENT-0815", sex="F")
    pdf = report_pdf.pdf_bytes(done_assessment(case=case, radiograph_name="Doe_Jane.png"))
    assert "PATIENT-0815" in words_in_pdf(pdf)
    assert b"PATIENT-0815" not in pdf
    assert b"Doe_Jane" not in pdf
    fields = pypdf.PdfReader(io.BytesIO(pdf)).metadata
    assert fields is not None
    assert (fields.title, fields.author) == ("Bone age report", "boneage")


def test_decision_names_user_time_and_reason(
    clinic: None, make_user: Callable[..., User], done_assessment: Callable[..., Assessment]
) -> None:
    """A decision names who when and why."""
    assessment = done_assessment()
    assert report_of(assessment).decision == ("No physician has decided on this estimate yet.",)
    decide(assessment, "accepted", 94, user=make_user(Role.READER, "kim"))
    assert report_of(assessment).decision[0].startswith("Accepted by kim on ")
    User.objects.update(last_name="Dr. Kim Weiß")
    assert report_of(assessment).decision[0].startswith("Accepted by Dr. Kim Weiß on ")
    decide(assessment, "corrected", 101, "Sesamoid there")
    report = report_of(assessment)
    assert report.decision[0].startswith("Corrected on ")
    assert report.decision[1] == "Reason: Sesamoid there"
    content = one_sex_content(assessment)
    assert content.age == "8 years 5 months"
    assert "Estimated bone age: 7 years 10 months (94.0 months)" in content.answer
    assert "Difference: 11.0 months ahead of the chronological age" in content.answer
    assert any(line.startswith("SDS +1.1") for line in content.answer)


@pytest.mark.parametrize("warning", ["phantom", "outside_training_range"])
def test_meaningless_number_is_struck_out(
    open_mode: None, client: Client, done_assessment: Callable[..., Assessment], warning: str
) -> None:
    """A number that is no bone age is struck out."""
    answer = with_result(answer_with(warning), is_meaningless=True)
    assessment = done_assessment(answer)
    report = report_of(assessment)
    content = one_sex_content(assessment)
    assert content.stamp
    assert not content.regions
    assert len(report.figures) == 2
    assert not any("ifference" in line or "error" in line for line in content.answer)
    assert not any("range" in line or "interval" in line for line in content.answer)
    assert "age void" in client.get(f"/assessments/{assessment.pk}/report/").content.decode()
    assert report_pdf.draw(report).startswith(b"%PDF")
    assert exports.json_value(assessment)["difference"] is None


def test_critical_number_is_struck_out_until_decided(
    clinic: None, log_in: Callable[..., Client], done_assessment: Callable[..., Assessment]
) -> None:
    """A number with a critical warning is struck out until somebody decides."""
    assessment = done_assessment(answer_with(CRITICAL, "saturated", "read_mirrored"))
    content = one_sex_content(assessment)
    assert (content.is_void, content.stamp) == (True, "Do not use this number")
    assert not content.regions
    assert content.answer == (
        "Chronological age: 7 years 6 months",
        "No SDS: a critical warning excludes the bone age from use",
    )
    assert [group.title for group in content.warnings] == [
        "Do not use this number",
        "Please check",
        "For information",
    ]
    page = log_in().get(f"/assessments/{assessment.pk}/report/").content.decode()
    assert page.index("note critical") < page.index("note caution") < page.index("info-warnings")
    assert "age void" in page
    decide(assessment, "accepted", 94.0)
    content = one_sex_content(assessment)
    assert (content.is_void, content.stamp) == (False, "")
    assert content.answer[0] == "94.0 months by Greulich & Pyle, female"
    assert not any("rror" in line for line in content.answer)


def test_report_without_heat_map_or_plate(
    open_mode: None, monkeypatch: pytest.MonkeyPatch, done_assessment: Callable[..., Assessment]
) -> None:
    """A report without heat map or plate states this."""
    monkeypatch.setattr(installation, "atlas", no_atlas)
    assessment = done_assessment()
    assessment.pictures.filter(kind="heat").delete()
    report = report_of(assessment)
    assert len(report.figures) == 1
    assert report.map_note.startswith("There is no heat map")
    assessment.pictures.all().delete()
    assert not report_of(assessment).figures
    assert report_pdf.pdf_bytes(assessment).startswith(b"%PDF")


# --- JSON and CSV -----------------------------------------------------------------------------------------------------


def test_json_is_result_with_decision(
    clinic: None,
    make_user: Callable[..., User],
    log_in: Callable[..., Client],
    done_assessment: Callable[..., Assessment],
) -> None:
    """The json is the result with the decision."""
    assessment = done_assessment()
    decide(assessment, "corrected", 101.5, "Sesamoid there", make_user(Role.REVIEWER, "kim"))
    data = json.loads(log_in().get(f"/assessments/{assessment.pk}/result.json").content)
    assert "web" not in data
    result = assessment.result
    assert result is not None
    assert all(data[key] == value for key, value in result.items())
    assert (data["chronological_age"]["months"], data["difference"]["months"]) == (90.0, 4.0)
    decision = data["decision"]
    assert (decision["verdict"], decision["age_months"], decision["decided_by"]) == ("corrected", 101.5, "kim")


def rows_of(client: Client, assessment: Assessment) -> list[dict[str, str]]:
    text = client.get(f"/assessments/{assessment.pk}/result.csv").content.decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_columns(open_mode: None, client: Client, done_assessment: Callable[..., Assessment]) -> None:
    """The csv has the columns of the command line and the decision."""
    assessment = done_assessment()
    [row] = rows_of(client, assessment)
    assert tuple(row) == exports.COLUMNS
    assert set(CSV_COLUMNS) - set(row) == {"report"}
    assert (row["age_months"], row["chronological_age_months"], row["warnings"]) == ("94.0", "90.0", "low_resolution")
    assert (row["bundle"], row["bundle_version"], row["decision"]) == ("tiny", "1", "")
    decide(assessment, "accepted", 94)
    [row] = rows_of(client, assessment)
    assert (row["decision"], row["decided_age_months"]) == ("accepted", "94.0")


@pytest.mark.parametrize(
    ("estimate", "warnings", "verdict", "months", "by_estimate", "by_decision"),
    [
        (94.0, (), "corrected", 190.0, ("SDS", "normal", ""), ("", "", "near_maturity")),
        (190.0, (), "corrected", 90.0, ("", "", "near_maturity"), ("SDS", "normal", "")),
        (94.0, (CRITICAL,), "accepted", 94.0, ("", "", "critical_warning"), ("SDS", "normal", "")),
    ],
    ids=["corrected up", "corrected down", "accepted critical"],
)
def test_decision_states_reading_that_counts(
    clinic: None,
    log_in: Callable[..., Client],
    done_assessment: Callable[..., Assessment],
    estimate: float,
    warnings: tuple[str, ...],
    verdict: str,
    months: float,
    by_estimate: tuple[str, ...],
    by_decision: tuple[str, ...],
) -> None:
    """JSON and CSV state SDS and class of the decided bone age as pages and worklist do, beside the estimate's."""
    assessment = done_assessment(answer_with(*warnings, age_months=estimate))
    accepted = decisions.DecisionInput(Verdict(verdict), confirms_critical=True)
    corrected = decisions.DecisionInput(Verdict(verdict), months, "read again")
    client = log_in(Role.REVIEWER)
    decisions.decide(assessment, accepted if verdict == "accepted" else corrected, User.objects.get())
    [row] = rows_of(client, assessment)
    data = json.loads(client.get(f"/assessments/{assessment.pk}/result.json").content)
    decision = data["decision"]
    text = b"".join(client.get("/cases/export.csv")).decode("utf-8-sig")
    [listed] = csv.DictReader(io.StringIO(text, newline=""))

    def kinds(sds: object, *codes: str | None) -> tuple[str, ...]:
        return ("" if sds in (None, "") else "SDS", *(code or "" for code in codes))

    names = ("sds", "determination", "determination_reason")
    assert kinds(*(row[name] for name in names)) == kinds(*(data[name] for name in names)) == by_estimate
    assert kinds(*(row[f"decided_{name}"] for name in names)) == kinds(*(decision[name] for name in names))
    assert kinds(*(listed[name] for name in names)) == kinds(*(decision[name] for name in names)) == by_decision
    assert row["decided_sds"] == listed["sds"]
    assert (decision["sds"], decision["difference_months"]) == (assessment.sds, assessment.difference_months)


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1"])
def test_csv_runs_no_formula(
    open_mode: None, client: Client, done_assessment: Callable[..., Assessment], text: str
) -> None:
    """No spreadsheet runs what a user wrote."""
    answer: Any = answer_of_phantom()
    answer = with_result(answer, image=text)
    assessment = done_assessment(answer)
    decide(assessment, "corrected", 90, text)
    [row] = rows_of(client, assessment)
    assert row["image"] == row["decision_reason"] == f"'{text}"
    assert row["difference_months"] == "4.0"


def test_region_below_birth_is_birth(
    open_mode: None, client: Client, done_assessment: Callable[..., Assessment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region below birth is stated as birth everywhere."""
    monkeypatch.setattr(installation, "atlas", no_atlas)
    answer = answer_of_phantom()
    answer = with_result(answer, region_ages_months={"B": -3.2})
    assessment = done_assessment(answer)
    assert [text for _, text in one_sex_content(assessment).regions] == ["0 months (0.0 months)"]
    page = client.get(f"/assessments/{assessment.pk}/").content.decode()
    assert "<td>0 months</td>" in page
    assert "3 months</td>" not in page


def test_age_past_19_years_is_not_compared(
    open_mode: None, client: Client, done_assessment: Callable[..., Assessment], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chronological age past 19 years is compared nowhere."""
    monkeypatch.setattr(installation, "atlas", no_atlas)
    assessment = done_assessment(answer_of_phantom(200.0, chronological=240.0))
    assert not any("ifference:" in line for line in one_sex_content(assessment).answer)
    assert exports.json_value(assessment)["difference"] is None
    assert "behind the chronological" not in client.get(f"/assessments/{assessment.pk}/").content.decode()
