"""The log: JSON lines, the access log, and no patient in any line of any process."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import Settings

from boneage.phantom import draw_hand, sample_png
from boneage.sex import Sex
from boneage.web import privacy
from boneage.web.models import ApiToken, Assessment, AuditEvent, Case, Role, State, User
from boneage.web.queue import jobs, work
from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle
from tests.radiograph_files import dicom_dataset, dicom_file
from tests.web.conftest import PASSWORD

PATIENT = "ZYLBERSTEIN"
"""Part of every name, reference, note and file name that these tests send."""


@pytest.fixture(params=["text", "json"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """The log of a process with the access log, at the level of debugging for the package."""
    described = privacy.logging_settings(is_json=request.param == "json", with_access=True)
    described["loggers"]["boneage"]["level"] = "DEBUG"
    stream = io.StringIO()
    described["handlers"]["console"]["stream"] = stream
    root = logging.getLogger()
    usual = list(root.handlers)
    logging.config.dictConfig(described)
    stream.format = request.param  # type: ignore[attr-defined]
    yield stream
    logging.config.dictConfig(privacy.logging_settings(is_json=False, with_access=False))
    root.handlers[:] = usual


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """The lines of a log as JSON."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


@pytest.mark.parametrize("log", ["json"], indirect=True)
def test_json_lines(log: io.StringIO) -> None:
    """Each record is one line with a time and its zone; an exception has its place and type, not its message."""
    try:
        raise ValueError(PATIENT)
    except ValueError:
        logging.getLogger("boneage").exception("it failed\nforged line \u2028 %s", "é")
    logging.getLogger("other").warning("plain", extra={"event": {"peer": "PACS", "count": 3}})
    first, second = lines(log)
    assert datetime.fromisoformat(first["time"]).utcoffset() is not None
    assert (first["level"], first["logger"], first["message"]) == (
        "ERROR",
        "boneage",
        "it failed\nforged line \u2028 é",
    )
    assert "test_json_lines" in first["exception"]
    assert "ValueError" in first["exception"]
    assert PATIENT not in log.getvalue()
    assert (second["peer"], second["count"], second["message"]) == ("PACS", 3, "plain")
    assert log.getvalue().isascii()


@pytest.mark.django_db
@pytest.mark.parametrize("log", ["json"], indirect=True)
def test_access_log(clinic: None, log: io.StringIO, log_in: Callable[..., Client]) -> None:
    """A request is logged by pattern, status, duration and account, without ids and queries."""
    client = log_in(Role.REVIEWER)
    user = User.objects.get()
    case = Case.objects.create(reference=PATIENT, sex="F")
    client.get(reverse("case", args=[case.pk]), {"q": PATIENT})
    client.generic("SMITH", f"/nowhere/{PATIENT}")
    token = ApiToken.issue(user, "PACS")[1]
    Client().get(f"/api/cases/{case.pk}", headers={"Authorization": f"Bearer {token}"})
    page, nowhere, api = (line for line in lines(log) if line["logger"] == privacy.ACCESS)
    assert (page["method"], page["route"], page["status"], page["user"]) == ("GET", "/cases/<uuid:pk>/", 200, user.pk)
    assert page["milliseconds"] >= 0
    assert (nowhere["method"], nowhere["route"], nowhere["status"]) == ("other", "-", 404)
    assert (api["route"], api["status"], api["user"]) == ("/api/cases/<uuidstr:case_id>", 200, user.pk)
    assert str(case.pk) not in log.getvalue()


def test_uncaught_exceptions_are_logged(log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that ends a process is logged without its message."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", lambda _args: None)
    monkeypatch.setattr(logging, "captureWarnings", lambda **_options: None)
    privacy.log_uncaught()
    error = ValueError(PATIENT)
    sys.excepthook(ValueError, error, None)
    assert "the process ends" in log.getvalue()
    assert "ValueError" in log.getvalue()
    assert PATIENT not in log.getvalue()


@pytest.mark.django_db
def test_no_patient_in_any_log(
    clinic: None,
    log: io.StringIO,
    settings: Settings,
    tmp_path: Path,
    log_in: Callable[..., Client],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Names, references, notes and file names go through pages, API and a worker, rightly and wrongly; no line of the
    log, nothing on the output, and no audit event has any of them.
    """
    bundle, atlas = tiny_bundle(tmp_path / "tiny", hand=True), draw_atlas(tmp_path / "atlas")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, bundle=str(bundle), atlas=str(atlas))
    client = log_in(Role.ADMINISTRATOR)
    client.raise_request_exception = False
    token = {"Authorization": f"Bearer {ApiToken.issue(User.objects.get(), 'PACS')[1]}"}
    pixels = np.rint(draw_hand(height=640, width=480) * 255).astype(np.uint8)
    dicom = dicom_file(dicom_dataset(pixels, 8, PatientName=f"{PATIENT}^EVA", PatientID=PATIENT))
    form = {"sex": "F", "reference": f"{PATIENT} 1", "note": PATIENT, "birth_date": "2014-03-10"}
    for name, data in ((f"{PATIENT}.dcm", dicom), (f"{PATIENT}.png", sample_png()), (f"{PATIENT}.txt", b"no")):
        client.post(reverse("submit"), {**form, "radiograph": SimpleUploadedFile(name, data)})
        client.post("/api/assessments", {**form, "radiograph": SimpleUploadedFile(name, data)}, headers=token)
    assert Assessment.objects.count() >= 4
    damaged = jobs.submit(jobs.Submission(dicom[:900], f"{PATIENT}.dcm", Sex.FEMALE, birth_date=date(2012, 1, 5)))
    queued = Assessment.objects.filter(state=State.QUEUED)
    for assessment in (damaged, *(queued.filter(radiograph_bytes=len(one))[0] for one in (dicom, b"no"))):
        jobs.run(str(assessment.pk), worker="w", assess=work.assess_bytes)
    damaged.refresh_from_db()
    assert damaged.state == State.REJECTED
    done = Assessment.objects.filter(state=State.DONE).first()
    assert done is not None
    assert done.case is not None
    for name in ("result", "report", "report_pdf", "result_json", "result_csv", "state", "row", "grey"):
        client.get(reverse(name, args=[done.pk]), {"q": PATIENT})
    client.post(reverse("cases"), {"search": PATIENT})
    client.get(reverse("cases_export"), {"search": PATIENT})
    client.get(reverse("case", args=[done.case.pk]))
    client.post(reverse("measurements", args=[done.case.pk]), {"height_cm": PATIENT})
    client.post(reverse("move", args=[done.pk]), {"reference": f"{PATIENT} 2"})
    client.post(reverse("decide", args=[done.pk]), {"years": "9", "months": "1", "reason": PATIENT})
    for body in ({"reference": f"{PATIENT} 1"}, {PATIENT: 1}):
        client.post("/api/assessments/search", body, content_type="application/json", headers=token)
    client.put(f"/api/cases/{done.case.pk}/measurements", PATIENT, content_type="application/json", headers=token)
    client.get(f"/cases/{PATIENT}/")
    client.post(reverse("login"), {"username": PATIENT, "password": PASSWORD})
    Client(enforce_csrf_checks=True).post(reverse("login"), {"username": PATIENT}, headers={"Referer": PATIENT})
    Client(headers={"Host": PATIENT}).get("/")
    out = capfd.readouterr()
    written = log.getvalue() + out.out + out.err
    assert written.count("/assessments/<uuid:pk>/") >= 8  # the access log is on
    assert PATIENT.casefold() not in written.casefold()
    assert PATIENT not in str(list(AuditEvent.objects.values()))
