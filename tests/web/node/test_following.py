"""Corrections elsewhere in the service: results that state something else by now are withdrawn and made again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from io import BytesIO

import pydicom
import pytest
from pydicom import Dataset

from boneage.web.cases.cases import change_birth_date, delete_case
from boneage.web.cases.corrections import assess_again, move
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import Assessment, Case, Role, User, Verdict
from boneage.web.node import results
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import OTHER_PATIENT, Delivery, DeliveryState, Instance, InstanceState
from boneage.web.node.summary import Whereabouts, delivery_lines
from boneage.web.queue.answer import Answer
from tests.dicom.sources import number_of
from tests.web.conftest import answer_of_phantom
from tests.web.node.arrivals import radiograph, received
from tests.web.node.test_results import assessed, objects, reviewer

pytest.importorskip("highdicom")
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("node")]

ALL = {"due": 3}
"""Deliveries of a Secondary Capture to two receivers and of a report to one."""


def accepted(instance: Instance, user: User) -> Assessment:
    """Let a physician accept the estimate, and make the results of the decision."""
    assessment = assessment_of(instance)
    decide(assessment, DecisionInput(Verdict.ACCEPTED, confirms_critical=True), user)
    make_all()
    return assessment_of(instance)


def assessment_of(instance: Instance) -> Assessment:
    return Assessment.objects.select_related("case").get(instances=instance)


def case_of(instance: Instance) -> Case:
    return Case.objects.get(assessments__instances=instance)


def make_all() -> int:
    """Make all results that are to be made. Return the number of instances."""
    number = 0
    while results.advance("dispatcher"):
        number += 1
    return number


def deliveries(instance: Instance) -> dict[str, int]:
    """Return the number of deliveries in each state."""
    rows = Delivery.objects.filter(result__instance=instance).values_list("state", flat=True)
    return {state: list(rows).count(state) for state in sorted(set(rows))}


def reports(instance: Instance) -> list[Dataset]:
    return [one for one in objects(instance) if one.Modality == "SR"]


def predecessor_of(report: Dataset) -> str:
    series = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    return str(series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def same_pixels() -> Answer:
    return replace(answer_of_phantom(), pixels_sha256="a" * 64)


# --- date of birth ----------------------------------------------------------------------------------------------------


def test_corrected_birth_date_gives_new_report(make_user: Callable[..., User]) -> None:
    """The report of a decision is made again by the corrected age, and the old one is not sent any more."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    accepted(instance, user)
    verified_at = reports(instance)[-1].VerifyingObserverSequence[0].VerificationDateTime
    assert deliveries(instance) == {"due": 6}
    change_birth_date(case_of(instance), date(2016, 9, 6), user)
    assert deliveries(instance) == {"given_up": 6}, "nothing is sent before the new results are made"
    assert make_all() == 1
    old, new = reports(instance)[-2:]
    assert (number_of(old, "Subject Age"), number_of(new, "Subject Age")) == (90.0, 92.0)
    assert (new.VerificationFlag, predecessor_of(new)) == ("VERIFIED", old.SOPInstanceUID)
    assert new.VerifyingObserverSequence[0].VerificationDateTime == verified_at
    assert deliveries(instance) == {"given_up": 6, **ALL}


def test_birth_date_corrected_back_gives_third_report(make_user: Callable[..., User]) -> None:
    """The PACS holds the second report as the last one: a third one replaces it, with another UID than the first."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    for birth_date in (date(2016, 9, 6), date(2016, 11, 6), date(2016, 9, 6)):
        change_birth_date(case_of(instance), birth_date, user)
        make_all()
    made = reports(instance)
    assert [number_of(one, "Subject Age") for one in made] == [90.0, 92.0, 90.0, 92.0]
    assert [predecessor_of(one) for one in made[1:]] == [one.SOPInstanceUID for one in made[:-1]]
    assert len({one.SOPInstanceUID for one in objects(instance)}) == 8


def test_sent_results_get_a_successor(make_user: Callable[..., User]) -> None:
    """Deliveries that a receiver has stay as they are, and a dead one cannot be sent again."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    Delivery.objects.update(state=DeliveryState.STORED)
    Delivery.objects.filter(peer="archive").update(state=DeliveryState.DEAD)
    change_birth_date(case_of(instance), date(2016, 9, 6), user)
    make_all()
    assert deliveries(instance) == {"given_up": 1, "stored": 2, **ALL}


def test_rendering_again_gives_equal_bytes_after_correction(make_user: Callable[..., User]) -> None:
    """The results of a later revision are repeated to the bit, too."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    accepted(instance, user)
    change_birth_date(case_of(instance), date(2016, 9, 6), user)
    make_all()
    instance = Instance.objects.select_related("assessment__case").get(pk=instance.pk)
    stored = list(instance.results.filter(revision=1).order_by("pk").values_list("file", flat=True))
    assert [one.file for one in results.render(instance)] == [bytes(one) for one in stored]


def test_correction_during_rendering_counts(make_user: Callable[..., User]) -> None:
    """Objects that were being made from the old age are dropped."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    Instance.objects.update(state=InstanceState.QUEUED)
    claimed = results.claim("dispatcher")
    assert claimed is not None
    made = list(results.render(claimed))
    change_birth_date(case_of(instance), date(2016, 9, 6), user)
    assert not results.finish(claimed, made)
    make_all()
    assert number_of(reports(instance)[-1], "Subject Age") == 92.0


# --- the same radiograph of another patient ---------------------------------------------------------------------------


def test_radiograph_of_another_patient_withdraws_report() -> None:
    """The report of the first patient is not sent any more; the page that follows states the critical warning."""
    first = assessed(radiograph(), answer=same_pixels)
    assert deliveries(first) == ALL
    second = assessed(radiograph(2, study="1.2.3", PatientID="4712"), answer=same_pixels)
    assert [one.Modality for one in objects(first)] == ["OT", "SR", "OT"]
    assert deliveries(first) == {"due": 2, "given_up": 3}
    assert [one.Modality for one in objects(second)] == ["OT"]


def test_report_returns_when_other_patient_is_gone(make_user: Callable[..., User]) -> None:
    """Once the wrong case is deleted, the report is made again and names the first one."""
    first, user = assessed(radiograph(), answer=same_pixels), reviewer(make_user)
    second = assessed(radiograph(2, study="1.2.3", PatientID="4712"), answer=same_pixels)
    delete_case(case_of(second), user)
    make_all()
    old, new = reports(first)
    assert predecessor_of(new) == old.SOPInstanceUID
    assert deliveries(first) == {"given_up": 5, **ALL}


# --- decisions --------------------------------------------------------------------------------------------------------


def test_decision_that_no_longer_counts(make_user: Callable[..., User]) -> None:
    """A decision whose assessment no longer has it verifies no report, although it stays in the history."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    assessment = accepted(instance, user)
    assessment.decision, assessment.decided_months = "", None
    columns = assessment.take_age(91.0)
    assessment.save(update_fields=["decision", "decided_months", *columns])
    assert deliveries(instance) == {"given_up": 6}
    make_all()
    assert [one.VerificationFlag for one in reports(instance)] == ["UNVERIFIED", "VERIFIED", "UNVERIFIED"]
    assert deliveries(instance) == {"given_up": 6, **ALL}


def test_deleted_decision(make_user: Callable[..., User]) -> None:
    """The report without the decision is a new one, although it states the same as the first."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    assessment = accepted(instance, user)
    Assessment.objects.update(decision="", decided_months=None)
    assessment.decisions.get().delete()
    make_all()
    assert [one.VerificationFlag for one in reports(instance)] == ["UNVERIFIED", "VERIFIED", "UNVERIFIED"]


def test_decision_withdraws_nothing(make_user: Callable[..., User]) -> None:
    """The report of the estimate is sent before that of the decision, which names it."""
    instance = assessed(radiograph())
    accepted(instance, reviewer(make_user))
    assert deliveries(instance) == {"due": 6}


def test_superseded_results_are_withdrawn_at_once(make_user: Callable[..., User]) -> None:
    """Results by the wrong sex are not sent while the radiograph is being assessed again."""
    instance = assessed(radiograph())
    assess_again(assessment_of(instance), reviewer(make_user), "M")
    assert deliveries(instance) == {"given_up": 3}


# --- another case -----------------------------------------------------------------------------------------------------


def test_moved_radiograph_is_withheld(make_user: Callable[..., User]) -> None:
    """Nothing is sent under the patient of the file, also after a decision, and the page states why."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    key = assessment_of(instance).pk
    move(assessment_of(instance), "OTHER", user)
    assert deliveries(instance) == {"given_up": 3}
    make_all()
    accepted(instance, user)
    instance.refresh_from_db()
    assert (instance.state, instance.reason) == (InstanceState.RENDERED, OTHER_PATIENT)
    assert deliveries(instance) == {"given_up": 3}
    line = delivery_lines([key])[key]
    assert line.whereabouts is Whereabouts.NOT_DELIVERED
    assert line.text == "not delivered to pacs, archive (another patient in the file)"
    Delivery.objects.filter(peer="pacs").update(state=DeliveryState.STORED)
    assert delivery_lines([key])[key].text.endswith("in the file); waits for pacs")


def test_radiograph_that_is_moved_back(make_user: Callable[..., User]) -> None:
    """In the case of its patient again, its results are sent."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    for reference in ("OTHER", "4711^^^HOSPITAL"):
        move(assessment_of(instance), reference, user)
        make_all()
    instance.refresh_from_db()
    assert (instance.reason, deliveries(instance)) == ("", {"given_up": 3, **ALL})


def test_corrected_patient_of_file(make_user: Callable[..., User]) -> None:
    """Once the PACS sends the file with the patient of the case, the results are sent under that patient."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    move(assessment_of(instance), "4712^^^HOSPITAL", user)
    make_all()
    DatabaseIntake().take(*received(radiograph(PatientID="4712")))
    make_all()
    assert deliveries(instance) == {"given_up": 3, **ALL}
    assert {one.PatientID for one in objects(instance)[-2:]} == {"4712"}


def test_other_patient_in_corrected_file() -> None:
    """A corrected Patient ID withholds what was not sent, until the radiograph is in the case of that patient."""
    instance = assessed(radiograph())
    DatabaseIntake().take(*received(radiograph(PatientID="4712")))
    make_all()
    instance.refresh_from_db()
    assert (instance.reason, deliveries(instance)) == (OTHER_PATIENT, {"given_up": 3})


def test_radiograph_without_patient_is_sent(make_user: Callable[..., User]) -> None:
    """A file without a Patient ID contradicts no case: its results go into its study."""
    instance = assessed(radiograph(PatientID=""))
    move(assessment_of(instance), "OTHER", make_user(Role.REVIEWER))
    make_all()
    assert deliveries(instance) == {"given_up": 3, **ALL}


def test_new_uids_of_each_revision(make_user: Callable[..., User]) -> None:
    """No UID is used again with other bytes, however often the radiograph is moved."""
    instance, user = assessed(radiograph()), reviewer(make_user)
    read = partial(pydicom.dcmread, stop_before_pixels=True)
    for reference in ("OTHER", "4711^^^HOSPITAL", "OTHER", "4711^^^HOSPITAL"):
        move(assessment_of(instance), reference, user)
        make_all()
    uids = [str(read(BytesIO(bytes(one.file))).SOPInstanceUID) for one in instance.results.all()]
    assert len(uids) == len(set(uids)) == 6
