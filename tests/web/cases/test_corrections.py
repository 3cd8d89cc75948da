"""Corrections of a radiograph's sex and case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from django.test import Client

from boneage.clinical.ages import exact_age
from boneage.clinical.documents import age_document
from boneage.web.cases.cases import delete_case
from boneage.web.cases.corrections import assess_again
from boneage.web.cases.decisions import delete_assessment
from boneage.web.cases.worklist import Worklist, WorklistQuery
from boneage.web.models import BOTH, Assessment, AuditEvent, Case, PictureKind, Role, State, User
from tests.web.conftest import answer_of_phantom

pytestmark = pytest.mark.django_db

MakeAssessment = Callable[..., Assessment]
LogIn = Callable[..., Client]


@pytest.fixture
def child(clinic: None) -> Case:
    """A girl."""
    return Case.objects.create(reference="P1", sex="F", birth_date=date(2015, 1, 1))


def address(assessment: Assessment, rest: str = "") -> str:
    return f"/assessments/{assessment.pk}/{rest}"


def test_assess_again_supersedes(
    child: Case, done_assessment: MakeAssessment, log_in: LogIn, make_user: Callable[..., User]
) -> None:
    """The other sex gives a new assessment of the same file, and the old one stays in the record only."""
    old, client = done_assessment(case=child, note="left"), log_in()
    answer = client.post(address(old, "again"), {"sex": "M"})
    old.refresh_from_db()
    again = old.superseded_by
    assert again is not None
    assert (answer.status_code, answer["Location"]) == (302, address(again))
    assert (again.sex, again.case, again.note, again.state) == ("M", child, "left", State.QUEUED)
    kinds = (PictureKind.UPLOAD, old.pictures), (PictureKind.UPLOAD, again.pictures)
    assert len({bytes(pictures.get(kind=kind).data) for kind, pictures in kinds}) == 1
    child.refresh_from_db()
    assert child.sex == "M"
    logged = AuditEvent.objects.filter(object_id=str(old.pk), action="superseded").get()
    assert logged.detail == {"by": str(again.pk), "sex": "M"}
    assert [row.radiograph for row in Worklist(WorklistQuery(), make_user(name="x")).page(1)] == [again]
    body = client.get(address(old)).content.decode()
    assert "This radiograph was assessed again" in body
    assert "data-accept" not in body
    assert client.post(address(old, "decide"), {"verdict": "accepted"}).status_code == 403
    assert client.post(address(old, "again"), {"sex": "M"}).status_code == 403
    assert client.get(address(old, "report.pdf")).status_code == 409


def test_deleted_case_of_replacement_revives_nothing(
    child: Case, done_assessment: MakeAssessment, make_user: Callable[..., User]
) -> None:
    """A replacement that is deleted with another case takes the result of the wrong sex with it."""
    other = Case.objects.create(reference="P2", sex="M")
    replacement = done_assessment(case=other, sex="M", answer=answer_of_phantom(sex="M"))
    old = done_assessment(case=child, superseded_by=replacement)
    delete_case(other, make_user(Role.REVIEWER))
    assert not Assessment.objects.filter(pk=old.pk).exists()


def test_assess_again_for_both_sexes(child: Case, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """The case's sex is unknown then, until somebody knows better."""
    old = done_assessment(case=child)
    assert log_in().post(address(old, "again"), {"sex": BOTH}).status_code == 302
    child.refresh_from_db()
    old.refresh_from_db()
    assert old.superseded_by is not None
    assert (child.sex, old.superseded_by.sex) == (BOTH, BOTH)


@pytest.mark.parametrize("deleted", ["last", "middle"])
def test_deletion_revives_no_superseded_result(
    child: Case, done_assessment: MakeAssessment, make_user: Callable[..., User], deleted: str
) -> None:
    """The wrong sex does not count again once its replacement is deleted; the audit log records both deletions."""
    reviewer, first = make_user(Role.REVIEWER), done_assessment(case=child)
    middle = assess_again(first, reviewer, "M")
    Assessment.objects.filter(pk=middle.pk).update(state=State.REJECTED)
    last = assess_again(middle, reviewer, BOTH)
    delete_assessment({"middle": middle, "last": last}[deleted], reviewer, via="ward")
    kept = [last] if deleted == "middle" else []
    assert list(Assessment.objects.all()) == kept
    logged = {event.object_id: event.detail for event in AuditEvent.objects.filter(action="delete")}
    assert set(logged) == {str(one.pk) for one in (first, middle, last) if one not in kept}
    replacement = str(middle.pk if deleted == "middle" else last.pk)
    assert logged[str(first.pk)] == {"replaced_by": replacement, "via": "token ward"}
    assert logged[replacement] == {"via": "token ward"}


@pytest.mark.parametrize("sex", ["F", "", "X"])
def test_assess_again_needs_another_sex(child: Case, done_assessment: MakeAssessment, log_in: LogIn, sex: str) -> None:
    """The present sex, none and an unknown one are mistakes of a program."""
    assert log_in().post(address(done_assessment(case=child), "again"), {"sex": sex}).status_code == 400
    assert Assessment.objects.count() == 1


def test_assess_again_keeps_sex_of_case(child: Case, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """A child with other radiographs does not change its sex by one of them."""
    one = done_assessment(case=child)
    done_assessment(case=child)
    answer = log_in().post(address(one, "again"), {"sex": "M"})
    assert answer.status_code == 422
    assert "Move this radiograph to another case first." in answer.content.decode()
    one.refresh_from_db()
    child.refresh_from_db()
    assert (one.superseded_by, child.sex, Assessment.objects.count()) == (None, "F", 2)


def test_move_takes_birth_date(child: Case, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """The radiograph's age and its clinical reading follow from the date of birth of the other case, and a warning
    states that its file has another one.
    """
    other = Case.objects.create(reference="P2", sex="F", birth_date=date(2013, 1, 1))
    answer = answer_of_phantom(94.0, chronological=96.0)
    answer = replace(answer, results=(replace(answer.results[0], age_in_file=age_document(exact_age(96.0))),))
    assessment = done_assessment(answer, case=child, birth_date=child.birth_date, study_date=date(2023, 1, 1))
    response = log_in().post(address(assessment, "move"), {"reference": "P2"})
    assert response.status_code == 302
    assessment.refresh_from_db()
    assert (assessment.case, assessment.birth_date) == (other, other.birth_date)
    assert assessment.chronological_age_months == 120.0
    assert assessment.finished.sds is not None
    assert assessment.finished.sds < 0
    assert "age_differs_from_file" in [one.code for one in assessment.finished.warnings]
    logged = AuditEvent.objects.get(object_id=str(assessment.pk), action="case_changed")
    assert logged.detail == {"changed": "case", "before": str(child.pk), "after": str(other.pk)}
    assert "P2" not in str(logged.detail)


@pytest.mark.parametrize(
    ("reference", "sex", "birth", "message"),
    [
        ("P1", "F", None, "in this case already"),
        ("P2", "M", None, "another sex"),
        ("P2", "F", date(2024, 1, 1), "dated before the birth"),
        ("", "F", None, "Enter the reference"),
        ("a\nb", "F", None, "single line"),
    ],
)
def test_move_is_rejected(
    child: Case,
    done_assessment: MakeAssessment,
    log_in: LogIn,
    reference: str,
    sex: str,
    birth: date | None,
    message: str,
) -> None:
    """Nothing changes, and the page names the reason."""
    if reference == "P2":
        Case.objects.create(reference=reference, sex=sex, birth_date=birth)
    assessment = done_assessment(case=child, study_date=date(2023, 1, 1))
    answer = log_in().post(address(assessment, "move"), {"reference": reference})
    assert answer.status_code == 422
    assert message in answer.content.decode()
    assessment.refresh_from_db()
    assert assessment.case == child


def test_decided_radiograph_needs_reviewer(child: Case, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """Only reviewers change what somebody has decided on."""
    assessment = done_assessment(case=child)
    reader = log_in(Role.READER)
    reader.post(address(assessment, "decide"), {"verdict": "accepted"})
    for path, data in (("again", {"sex": "M"}), ("move", {"reference": "P3"})):
        assert reader.post(address(assessment, path), data).status_code == 403
    assert "Wrong sex or wrong case" not in reader.get(address(assessment)).content.decode()
    assert log_in(Role.REVIEWER).post(address(assessment, "move"), {"reference": "P3"}).status_code == 302
    assert Case.objects.get(reference="P3").sex == "F"


def test_corrections_need_clinic(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The mode open keeps no file and has no cases."""
    assessment = done_assessment()
    assert client.post(address(assessment, "again"), {"sex": "M"}).status_code == 404
    assert client.post(address(assessment, "move"), {"reference": "P1"}).status_code == 404


def test_move_gives_birth_date_to_the_whole_case(child: Case, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """A case without a date of birth takes that of the radiograph, and its other radiographs do, too."""
    other = Case.objects.create(reference="P2", sex="F")
    answer = answer_of_phantom(94.0, chronological=None)
    without = done_assessment(answer, case=other, study_date=date(2022, 1, 1), radiograph_sha256="1" * 64)
    moved = done_assessment(case=child, birth_date=date(2014, 1, 1), study_date=date(2023, 1, 1))
    assert log_in().post(address(moved, "move"), {"reference": "P2"}).status_code == 302
    without.refresh_from_db()
    assert (without.birth_date, without.chronological_age_months) == (date(2014, 1, 1), 96.0)
    assert without.sds is not None
