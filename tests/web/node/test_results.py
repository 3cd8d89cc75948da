"""Result objects of the service: made once from stored values, with the patient of the radiograph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import BytesIO

import pydicom
import pytest
from django.core.exceptions import ValidationError
from pydicom import Dataset

from boneage.web.cases.corrections import assess_again
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import Assessment, Picture, PictureKind, Role, State, User, Verdict
from boneage.web.node import pacs, results, studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Delivery, Instance, InstanceState, ResultFile
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer
from tests.dicom.sources import number_of
from tests.web.conftest import answer_of_phantom
from tests.web.node.arrivals import radiograph, received

pytest.importorskip("highdicom")
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("node")]


def assessed(*files: bytes, answer: Callable[[], Answer] | None = None) -> Instance:
    """Take the radiographs of a study, let a worker assess the preferred one, and return it with its result objects."""
    for file in files:
        DatabaseIntake().take(*received(file))
    studies.advance()
    instance = Instance.objects.get(sop_instance_uid=received(files[0])[1].sop_instance_uid)
    finish_assessments(answer)
    while results.advance("dispatcher"):
        pass
    instance.refresh_from_db()
    return instance


def finish_assessments(answer: Callable[[], Answer] | None = None) -> None:
    for waiting in Assessment.objects.filter(state=State.QUEUED):
        begun = jobs.begin(str(waiting.pk), "worker")
        assert begun is not None
        assert jobs.finish(begun, answer_of_phantom(sex=begun.sex) if answer is None else answer())


def objects(instance: Instance) -> list[Dataset]:
    """Return the stored objects of an instance, in the order of sending."""
    return [pydicom.dcmread(BytesIO(bytes(one.file))) for one in instance.results.order_by("pk")]


def reviewer(make_user: Callable[..., User]) -> User:
    user = make_user(Role.REVIEWER)
    user.first_name, user.last_name = "Marie", "Curie"
    user.save()
    return user


def test_results_belong_to_patient_and_study() -> None:
    """A PACS finds them beside the radiograph: patient, study and accession are those of the radiograph."""
    file = radiograph(PatientName="Doe^Jane")
    instance = assessed(file)
    source, made = pydicom.dcmread(BytesIO(file)), objects(instance)
    assert instance.state == InstanceState.RENDERED
    assert [one.Modality for one in made] == ["OT", "SR"]
    for one in made:
        for keyword in ("PatientID", "IssuerOfPatientID", "PatientName", "StudyInstanceUID", "AccessionNumber"):
            assert one[keyword].value == source[keyword].value
    assert number_of(made[1], "Bone age") == 94.0
    assert sorted(Delivery.objects.values_list("peer", "result__kind")) == [
        ("archive", "sc"),
        ("pacs", "sc"),
        ("pacs", "sr"),
    ]


def test_rendering_again_gives_equal_bytes() -> None:
    """A renderer that was interrupted repeats itself to the bit, at any later time."""
    instance = assessed(radiograph())
    stored = list(instance.results.order_by("pk").values_list("file", flat=True))
    assert [one.file for one in results.render(instance)] == [bytes(one) for one in stored]


def test_decision_gives_verified_report(make_user: Callable[..., User]) -> None:
    """A correction gives a new report, verified by the physician, which names the first one as its predecessor."""
    instance = assessed(radiograph())
    assert instance.assessment is not None
    decide(instance.assessment, DecisionInput(Verdict.CORRECTED, 100.0, "measured"), reviewer(make_user))
    instance.refresh_from_db()
    assert instance.state == InstanceState.QUEUED
    assert results.advance("dispatcher")
    first, second = (one for one in objects(instance) if one.Modality == "SR")
    assert (first.VerificationFlag, second.VerificationFlag) == ("UNVERIFIED", "VERIFIED")
    assert str(second.VerifyingObserverSequence[0].VerifyingObserverName) == "Curie^Marie"
    series = second.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == first.SOPInstanceUID
    assert number_of(second, "Bone age") == 100.0


def test_decision_during_rendering_counts(make_user: Callable[..., User]) -> None:
    """Objects of an estimate on which somebody has decided meanwhile are dropped; those of the decision are made."""
    DatabaseIntake().take(*received(radiograph()))
    studies.advance()
    finish_assessments()
    claimed = results.claim("dispatcher")
    assert claimed is not None
    assert claimed.assessment is not None
    made = list(results.render(claimed))
    decide(claimed.assessment, DecisionInput(Verdict.CORRECTED, 100.0, "measured"), reviewer(make_user))
    assert not results.finish(claimed, made)
    assert results.advance("dispatcher")
    assert [one.get("VerificationFlag") for one in objects(claimed)] == [None, "VERIFIED"]


def test_corrected_sex_on_page_gives_second_report(make_user: Callable[..., User]) -> None:
    """A correction on the page is followed: the results are those of the new assessment, and old ones are not sent."""
    instance = assessed(radiograph())
    assert instance.assessment is not None
    again = assess_again(instance.assessment, reviewer(make_user), "M")
    finish_assessments()
    while results.advance("dispatcher"):
        pass
    instance.refresh_from_db()
    assert instance.assessment_id == again.pk
    assert ResultFile.objects.filter(kind="sr").count() == 2
    assert set(Delivery.objects.filter(result__assessment=again).values_list("state", flat=True)) == {"due"}
    assert set(Delivery.objects.exclude(result__assessment=again).values_list("state", flat=True)) == {"given_up"}


def test_corrected_sex_in_header_gives_second_report() -> None:
    """The same radiograph with another sex is assessed again by the new one; the case follows."""
    first = assessed(radiograph())
    second = assessed(radiograph(PatientSex="M"))
    assert second.pk == first.pk
    assert second.assessment is not None
    assert second.assessment.case is not None
    assert (second.assessment.sex, second.assessment.case.sex) == ("M", "M")
    assert Assessment.objects.get(superseded_by=second.assessment).pk == first.assessment_id
    made = objects(second)
    assert [one.Modality for one in made] == ["OT", "SR", "OT", "SR"]
    (study,) = made[3].PredecessorDocumentsSequence
    replaced = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert replaced.ReferencedSOPInstanceUID == made[1].SOPInstanceUID


def test_header_does_not_replace_a_decision(make_user: Callable[..., User]) -> None:
    """A changed header after a decision waits for a reviewer; until then the decision counts."""
    instance = assessed(radiograph())
    assert instance.assessment is not None
    marie = reviewer(make_user)
    decide(instance.assessment, DecisionInput(Verdict.ACCEPTED), marie)
    held = assessed(radiograph(PatientSex="M"))
    assert held.pk == instance.pk
    assert (held.state, held.reason) == (InstanceState.NEEDS_SEX, studies.DECIDED)
    assert held.assessment_id == instance.assessment_id
    with pytest.raises(ValidationError, match="reviewer"):
        studies.set_sex(held, "M", make_user(Role.READER))
    studies.set_sex(held, "M", marie)
    held.refresh_from_db()
    assert held.state == InstanceState.QUEUED
    assert held.assessment_id != instance.assessment_id


def test_corrected_name_changes_no_assessment() -> None:
    """A corrected name is that of later objects, and nothing is assessed or sent again."""
    instance = assessed(radiograph(PatientName="Doe^Jane"))
    again = assessed(radiograph(PatientName="Roe^Jane"))
    assert again.assessment_id == instance.assessment_id
    assert again.results.count() == 2
    assert str(pydicom.dcmread(BytesIO(studies.file_of(again) or b"")).PatientName) == "Roe^Jane"


def test_bytes_are_stored_once() -> None:
    """After the submission, the radiograph is the upload of its assessment, and no longer a column of the instance."""
    file = radiograph()
    instance = assessed(file)
    upload = Picture.objects.get(assessment=instance.assessment, kind=PictureKind.UPLOAD)
    assert (bytes(upload.data), instance.file) == (file, None)


def delivering(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Change the delivery in the configuration of the node."""
    usual = pacs.node_configuration()
    changed = replace(usual, deliver=replace(usual.deliver, **changes))  # type: ignore[arg-type]
    monkeypatch.setattr(results, "node_configuration", lambda: changed)


def test_nothing_before_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """``when = "decided"`` makes no object of an estimate."""
    delivering(monkeypatch, when="decided")
    assert objects(assessed(radiograph())) == []


@pytest.mark.parametrize(("on_rejection", "modalities"), [("nothing", []), ("picture", ["OT"])])
def test_rejected_radiograph(monkeypatch: pytest.MonkeyPatch, on_rejection: str, modalities: list[str]) -> None:
    """A rejected radiograph gives nothing, or a page with the reason, if the study has no other radiograph."""
    delivering(monkeypatch, on_rejection=on_rejection)
    reject = partial(Answer, State.REJECTED, "no_hand", "There is no hand.")
    first = assessed(radiograph(ImageLaterality="L"), radiograph(2, level=1, ImageLaterality="R"), answer=reject)
    assert (first.state, objects(first)) == (InstanceState.RENDERED, [])
    studies.advance()
    finish_assessments(reject)
    while results.advance("dispatcher"):
        pass
    second = Instance.objects.exclude(pk=first.pk).get()
    made = objects(second)
    assert (second.state, [one.Modality for one in made]) == (InstanceState.RENDERED, modalities)
    assert all(one.ImageComments == "Not assessed" for one in made)


def test_words_in_language_of_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another language gives other objects."""
    english = list(results.render(assessed(radiograph())))
    delivering(monkeypatch, language="de")
    german = list(results.render(Instance.objects.select_related("assessment__case").get()))
    assert not {one.sop_instance_uid for one in english} & {one.sop_instance_uid for one in german}
