"""Expired data are deleted in time, everything else stays, and the files hold nothing of a deleted radiograph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dj_database_url
import pytest
from axes.models import AccessAttempt
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.sex import Sex
from boneage.web.cases import retention
from boneage.web.cases.retention import Swept, sweep
from boneage.web.configuration import Configuration
from boneage.web.models import (
    Assessment,
    AuditEvent,
    BrowserSession,
    Case,
    Decision,
    Picture,
    PictureKind,
    State,
    Verdict,
)
from boneage.web.queue.answer import Answer
from boneage.web.queue.jobs import Submission, run, submit
from boneage.web.settings import database_of
from tests.web.conftest import answer_of_phantom
from tests.web.postgres import default_database

MARKER = b"SMITH^JOHN\x00a marker that stands in the radiograph"
RADIOGRAPH = MARKER * 4000
NOW = timezone.now()


@pytest.fixture
def kept_10_days(settings: Settings) -> None:
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", retention_days=10)


def days_ago(count: float) -> Any:
    return NOW - timedelta(days=count)


@pytest.mark.django_db
def test_sweep_deletes_expired_open_results(
    open_mode: None, done_assessment: Callable[..., Assessment], client: Client
) -> None:
    """Answers of the open mode go when their time is over."""
    first = done_assessment(client="hash")
    assert sweep() == Swept()
    Assessment.objects.filter(pk=first.pk).update(expires_at=timezone.now() + timedelta(hours=1))
    second = done_assessment(client="hash")
    assert sweep(timezone.now() + timedelta(minutes=31)) == Swept(expired=1)
    assert [stored.pk for stored in Assessment.objects.all()] == [first.pk]
    assert not Picture.objects.filter(assessment=second.pk).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["open", "clinic"])
def test_sweep_deletes_unassessed_open_radiograph(settings: Settings, mode: Any) -> None:
    """A radiograph of the open mode that nobody assessed goes after a day."""
    submit(Submission(RADIOGRAPH, "radiograph.png", Sex.FEMALE, client="hash"))
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode=mode)
    assert sweep(timezone.now() + timedelta(hours=23)).expired == 0
    assert sweep(timezone.now() + timedelta(hours=25)).expired == 1


@pytest.mark.django_db
def test_sweep_deletes_counts_of_clients(open_mode: None) -> None:
    """The number of radiographs that a client sent is deleted after an hour."""
    submit(Submission(RADIOGRAPH, "radiograph.png", Sex.FEMALE, client="hash"))
    assert sweep(timezone.now() + timedelta(minutes=59)).sendings == 0
    assert sweep(timezone.now() + timedelta(minutes=61)).sendings == 1


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["open", "clinic"])
def test_sweep_keeps_clinic_data(
    settings: Settings, clinic: None, done_assessment: Callable[..., Assessment], mode: Any
) -> None:
    """A clinics data stay without a retention time and when it is run as open."""
    done_assessment(case=Case.objects.create(reference="a", sex="F"))
    done_assessment()
    days = 0 if mode == "clinic" else 1
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode=mode, retention_days=days)
    assert sweep(NOW + timedelta(days=10_000)) == Swept()


CHANGES: dict[str, Callable[[Case, Assessment], object]] = {
    "the case": lambda case, _: Case.objects.filter(pk=case.pk).update(changed_at=days_ago(9)),
    "a submission": lambda _, stored: Assessment.objects.filter(pk=stored.pk).update(submitted_at=days_ago(9)),
    "an answer": lambda _, stored: Assessment.objects.filter(pk=stored.pk).update(finished_at=days_ago(9)),
    "a radiograph that waits": lambda _, stored: Assessment.objects.filter(pk=stored.pk).update(state=State.QUEUED),
    "a decision": lambda _, stored: Decision.objects.create(
        assessment=stored, verdict=Verdict.ACCEPTED, age_months=90, decided_at=days_ago(9)
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("change", [None, *CHANGES])
def test_sweep_deletes_unchanged_case(
    kept_10_days: None, done_assessment: Callable[..., Assessment], change: str | None
) -> None:
    """A case goes when nothing of it has changed for the retention time."""
    case = Case.objects.create(reference="SMITH", sex="F", changed_at=days_ago(11))
    old = [done_assessment(case=case, submitted_at=days_ago(12)) for _ in range(2)]
    loose = done_assessment(submitted_at=days_ago(12))
    Assessment.objects.update(finished_at=days_ago(12))
    Decision.objects.create(assessment=old[0], verdict=Verdict.ACCEPTED, age_months=90, decided_at=days_ago(11))
    if change is not None:
        CHANGES[change](case, old[1])
        if change != "the case":
            CHANGES[change](case, loose)
    swept = sweep(NOW)
    goes_loose = change in (None, "the case")
    assert swept == Swept(cases=int(change is None), assessments=int(goes_loose))
    assert Case.objects.count() == int(change is not None)
    assert Assessment.objects.count() == (2 if change else 0) + (0 if goes_loose else 1)
    assert Picture.objects.count() == len(PictureKind) * Assessment.objects.count()
    events = {(event.user_name, event.action, event.object_id): event.detail for event in AuditEvent.objects.all()}
    expected: dict[Any, Any] = {} if change else {("system", "retention", str(case.pk)): {"assessments": 2}}
    if goes_loose:
        expected["system", "retention", str(loose.pk)] = {"assessments": 1}
    assert events == expected


@pytest.mark.django_db
def test_sweep_uses_small_transactions(kept_10_days: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many cases go in small transactions."""
    monkeypatch.setattr(retention, "AT_ONCE", 3)
    Case.objects.bulk_create(Case(reference=str(number), sex="F", changed_at=days_ago(11)) for number in range(10))
    Case.objects.create(reference="new", sex="F")
    assert sweep(NOW).cases == 10
    assert [case.reference for case in Case.objects.all()] == ["new"]


@pytest.mark.django_db
def test_sweep_deletes_sessions_and_failures(clinic: None) -> None:
    """Ended sessions and failures that count no more go."""
    for number, days in enumerate((-1, 0.5, 2)):
        BrowserSession.objects.create(session_key=str(number), session_data="", seen_at=NOW, expire_date=days_ago(days))
        attempt = AccessAttempt.objects.create(username=str(number), failures_since_start=1)
        AccessAttempt.objects.filter(pk=attempt.pk).update(attempt_time=days_ago(days))
    assert sweep(NOW) == Swept(sessions=2, attempts=2)


def test_swept_total() -> None:
    """Its total counts everything."""
    assert Swept(**{field.name: 1 for field in fields(Swept)}).total == len(fields(Swept))


# --- on disk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, django_db_blocker: Any, settings: Settings) -> Iterator[Path]:
    """A service's own SQLite file as it is set up in earnest."""
    described = Configuration(store=tmp_path)
    settings.CONFIGURATION = replace(described, mode="open")
    with default_database(django_db_blocker, database_of(described)):
        yield tmp_path


def on_disk(store: Path) -> bytes:
    return b"".join(path.read_bytes() for path in store.iterdir())


def assess(submitted: Assessment, radiograph: bytes) -> Answer:
    assert radiograph == RADIOGRAPH
    answer = answer_of_phantom()
    return replace(answer, pictures={PictureKind.RADIOGRAPH: ("image/jpeg", b"the radiograph " + MARKER)})


def test_deleted_radiograph_leaves_no_bytes(store: Path) -> None:
    """No byte of a radiograph is left in the files."""
    submitted = submit(Submission(RADIOGRAPH, "Smith-John.dcm", Sex.FEMALE, note="of John Smith", client="hash"))
    assert MARKER in on_disk(store)
    assert run(str(submitted.pk), worker="w", assess=assess)
    assert sweep().expired == 0  # the radiograph goes with the answer, the answer later
    assert on_disk(store).count(MARKER) == 1
    assert sweep(timezone.now() + timedelta(minutes=31)).expired == 1
    left = on_disk(store)
    for personal in (MARKER[:10], b"Smith-John", b"of John Smith", b"the radiograph"):
        assert personal not in left
    assert str(submitted.pk).encode() in left  # the finished task has the id, and nothing else


def test_wipe_journal_waits_for_other_transaction(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A transaction of somebody else puts the wiping off."""
    import sqlite3

    submitted = submit(Submission(RADIOGRAPH, "radiograph.dcm", Sex.FEMALE, client="hash"))
    reader = sqlite3.connect(store / "boneage.sqlite3", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM web_assessment").fetchall()
    run(str(submitted.pk), worker="w", assess=assess)
    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(retention, "CHECKPOINT_WAIT_MS", 50)
        sweep()
    assert "next sweep" in caplog.text
    assert on_disk(store).count(MARKER) > 1
    reader.execute("COMMIT")
    reader.close()
    sweep()
    assert on_disk(store).count(MARKER) == 1


def test_sweep_on_postgresql(new_postgres: Callable[[], str], django_db_blocker: Any, settings: Settings) -> None:
    """It works on postgresql."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", retention_days=10)
    with default_database(django_db_blocker, {**dj_database_url.parse(new_postgres())}):
        case = Case.objects.create(reference="SMITH", sex="F", changed_at=days_ago(11))
        submitted = submit(Submission(RADIOGRAPH, "radiograph.dcm", Sex.FEMALE, case=case))
        assert sweep(NOW) == Swept()
        assert run(str(submitted.pk), worker="w", assess=assess)
        assert sweep(timezone.now() + timedelta(days=11)).cases == 1
        assert not Picture.objects.exists()
        assert AuditEvent.objects.get().detail == {"assessments": 1}
