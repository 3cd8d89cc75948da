"""The same radiograph under two patients: a critical warning on both results, as long as it lasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.phantom import sample_png
from boneage.reading.radiograph import read_radiograph
from boneage.warnings_ import WarningCode
from boneage.web.cases import retention
from boneage.web.cases.cases import delete_case
from boneage.web.cases.corrections import move
from boneage.web.cases.decisions import DecisionError, DecisionInput, decide
from boneage.web.cases.exports import last_decision
from boneage.web.models import Assessment, AuditEvent, Case, Role, User, Verdict
from boneage.web.queue.work import pixels_sha256
from tests.radiograph_files import dicom_dataset, dicom_file, drawn_radiograph
from tests.web.conftest import answer_of_phantom

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clinic")]

CODE = WarningCode.SAME_RADIOGRAPH_OTHER_PATIENT


@pytest.fixture
def made(done_assessment: Callable[..., Assessment]) -> Callable[..., Assessment]:
    """A result of a patient with a reference, ``made("A")``; other pixels by ``pixels=``."""

    def make(reference: str, pixels: str = "a", **fields: Any) -> Assessment:
        case, _ = Case.objects.get_or_create(reference=reference, sex="F", **fields)
        department = {"department": case.department}
        answer = replace(answer_of_phantom(), pixels_sha256=pixels * 64)
        return done_assessment(answer, case=case, radiograph_sha256=f"{reference[0]}" * 64, **department)

    return make


def warned() -> set[str]:
    """Return the references of the patients whose results have the warning."""
    every = Assessment.objects.select_related("case")
    rows = [one for one in every if CODE in [warning.code for warning in one.finished.warnings]]
    for one in rows:
        assert one.severity == "critical" and one.is_void
        assert (one.sds, one.determination, one.determination_reason) == (None, "", "critical_warning")
        assert one.finished.sds is None and one.finished.difference is None
    return {one.case.reference for one in rows if one.case is not None}


def test_both_patients_are_warned(made: Callable[..., Assessment], log_in: Callable[..., Client]) -> None:
    """The second one warns, and so does the first one from then on, on every page."""
    first = made("A")
    assert warned() == set()
    assert first.sds is not None
    made("B")
    assert warned() == {"A", "B"}
    client = log_in(Role.READER)
    assert "stored for another patient" in client.get(f"/assessments/{first.pk}/").content.decode()
    assert "critical" in client.get("/cases/").content.decode()


def test_same_patient_and_other_pixels_are_not_warned(made: Callable[..., Assessment]) -> None:
    """The radiograph of one patient may come twice, also to two departments, and other pixels are another one."""
    made("A")
    made("A")
    made("A", department="trauma")
    made("B", pixels="b")
    assert warned() == set()


def test_estimate_needs_a_second_click(made: Callable[..., Assessment], make_user: Callable[..., User]) -> None:
    """Nobody accepts it in passing."""
    made("A")
    second = made("B")
    with pytest.raises(DecisionError) as caught:
        decide(second, DecisionInput(Verdict.ACCEPTED), make_user())
    assert caught.value.code == "critical_unconfirmed"
    decide(second, DecisionInput(Verdict.ACCEPTED, confirms_critical=True), make_user(Role.REVIEWER))
    assert second.sds is not None  # a physician has decided on it


def test_decision_before_the_warning_is_withdrawn(
    made: Callable[..., Assessment], make_user: Callable[..., User]
) -> None:
    """Who accepted the first one did not know of the second. A decision after the warning remains."""
    first, user = made("A"), make_user(Role.REVIEWER)
    decide(first, DecisionInput(Verdict.ACCEPTED), user)
    second = made("B")
    first.refresh_from_db()
    assert (first.decision, first.decided_months, last_decision(first)) == ("", None, None)
    assert first.decisions.count() == 1
    assert AuditEvent.objects.get(action="decision_withdrawn").object_id == str(first.pk)
    decide(first, DecisionInput(Verdict.ACCEPTED, confirms_critical=True), user)
    made("C")
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.decision, second.decision) == (Verdict.ACCEPTED, "")


def test_move_to_the_right_patient_ends_it(made: Callable[..., Assessment], make_user: Callable[..., User]) -> None:
    """A radiograph that is moved to its patient warns nobody any more, and moved away it warns again."""
    made("A")
    second, user = made("B"), make_user(Role.REVIEWER)
    move(second, "A", user)
    assert warned() == set()
    move(Assessment.objects.get(pk=second.pk), "C", user)
    assert warned() == {"A", "C"}


def test_deletion_ends_it(made: Callable[..., Assessment], make_user: Callable[..., User], settings: Settings) -> None:
    """The warning ends with the other patient's radiograph, whoever deletes it."""
    made("A")
    for number in range(2):
        other = made("B")
        assert warned() == {"A", "B"}
        assert other.case is not None
        if number == 0:
            delete_case(other.case, make_user(Role.REVIEWER))
        else:
            settings.CONFIGURATION = replace(settings.CONFIGURATION, retention_days=10)
            long_ago = timezone.now() - timedelta(days=11)
            Assessment.objects.filter(pk=other.pk).update(submitted_at=long_ago, finished_at=long_ago)
            Case.objects.filter(pk=other.case.pk).update(changed_at=long_ago)
            retention.sweep()
        assert warned() == set()


def test_corrected_date_of_birth_keeps_no_warning_in_the_result(made: Callable[..., Assessment]) -> None:
    """The stored result is read again without the warning, which is not a part of it."""
    first = made("A")
    second = made("B")
    first.refresh_from_db()
    first.take_age(100.0)
    first.save()
    second.delete()
    first.same_radiograph_elsewhere = False
    assert CODE not in [warning.code for warning in first.finished.warnings]


def test_checksum_is_of_pixels(tmp_path: Any) -> None:
    """Another header leaves it as it is, and a single grey level changes it."""
    pixels = np.asarray(drawn_radiograph(bits=12), dtype=np.uint16)
    changed = pixels.copy()
    changed[40, 40] ^= 1
    checksums = []
    for number, (patient, of) in enumerate((("4711", pixels), ("4712", pixels), ("4711", changed))):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(dicom_file(dicom_dataset(of, 12, PatientID=patient)))
        checksums.append(pixels_sha256(read_radiograph(path)))
    assert checksums[0] == checksums[1] != checksums[2]
    phantom = read_radiograph(sample_png())
    turned = replace(phantom, pixels=np.ascontiguousarray(phantom.pixels.T))
    assert pixels_sha256(turned) != pixels_sha256(phantom)
