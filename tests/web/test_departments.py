"""Departments: the file, and that nobody sees a case of another department, whatever the address."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from boneage.errors import ConfigurationError
from boneage.node.intake import Caller
from boneage.phantom import sample_png
from boneage.web.cases.corrections import move
from boneage.web.cases.forms import RadiographForm
from boneage.web.cases.worklist import Worklist, WorklistQuery
from boneage.web.departments import NO_DEPARTMENT, Departments, read_departments
from boneage.web.models import ApiToken, Assessment, Case, Role, User
from boneage.web.node import studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Instance, InstanceState
from tests.web.departments import configured, with_departments
from tests.web.node import arrivals

REFERENCE = "SECRET-4711"
"""Reference of the child of the one department; it must not appear for the other."""


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "department is missing"),
        ('[[department]]\nname = "A"\n', r"department\[0\].name"),
        ('[[department]]\nname = "a"\n[[department]]\nname = "a"\n', r"department\[1\].name"),
        ('[[department]]\nname = "a"\ngroup = ["x"]\n', r"department\[0\].group"),
        (
            '[[department]]\nname = "a"\ngroups = ["x"]\n[[department]]\nname = "b"\ngroups = ["X"]\n',
            r"department\[1\].groups names 'X'",
        ),
        ("[[department", "is not TOML"),
    ],
)
def test_faults_of_file_have_a_place(tmp_path: Path, text: str, place: str) -> None:
    """A file that cannot be followed stops the start, with the place of the fault."""
    with pytest.raises(ConfigurationError, match=place):
        read_departments(configured(tmp_path, text))


def test_missing_file_stops_the_start(tmp_path: Path) -> None:
    """Nobody sees everything because a file is missing."""
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_departments(tmp_path / "none.toml")


@pytest.fixture(scope="module")
def departments(tmp_path_factory: pytest.TempPathFactory) -> Departments:
    """The two departments."""
    return read_departments(configured(tmp_path_factory.mktemp("departments")))


@pytest.mark.parametrize(
    ("stated", "called", "sender", "name"),
    [
        ("Kinderradiologie", "BONEAGE_TRAUMA", "DXROOM1", "paediatrics"),
        (" UNFALLCHIRURGIE ", "BONEAGE", "PACS", "trauma"),
        ("", "BONEAGE_KIDS", "DXROOM1", "paediatrics"),
        ("", "BONEAGE_TRAUMA ", "PACS", "trauma"),
        ("", "BONEAGE", "DXROOM1", "trauma"),
        ("Augenklinik", "", "DXROOM1 ", "trauma"),
        ("", "", "PACS", NO_DEPARTMENT),
    ],
)
def test_department_of_received_radiograph(
    departments: Departments, stated: str, called: str, sender: str, name: str
) -> None:
    """The object's own statement precedes the called AE title, and that the sender; an unknown one says nothing."""
    assert departments.of_instance(stated, called, sender) == name


@given(groups=st.lists(st.sampled_from(["kids-radiology", "trauma-radiology", "trauma-nurses", "others"])))
def test_departments_of_groups(departments: Departments, groups: list[str]) -> None:
    """Each group gives its department once, in the order of the file."""
    names = departments.of_groups(groups)
    wanted = {"paediatrics": {"kids-radiology"}, "trauma": {"trauma-radiology", "trauma-nurses"}}
    assert list(names) == [name for name, members in wanted.items() if members & set(groups)]


# --- who sees what ----------------------------------------------------------------------------------------------------


@pytest.fixture
def two(settings: Settings, tmp_path: Path, db: None) -> None:
    """A clinic with two departments that is a DICOM node, too."""
    with_departments(settings, tmp_path)
    settings.CONFIGURATION = replace(settings.CONFIGURATION, pacs=str(arrivals.configured(tmp_path, arrivals.HOSPITAL)))


@dataclass
class Things:
    """One of each thing that belongs to the department of paediatrics."""

    case: Case
    assessment: Assessment
    single: Assessment
    asking: Instance


@pytest.fixture
def things(two: None, done_assessment: Callable[..., Assessment]) -> Things:
    """A child with two radiographs, a single radiograph, and one that asks for the sex."""
    department = "paediatrics"
    case = Case.objects.create(reference=REFERENCE, department=department, sex="F", birth_date=date(2015, 1, 1))
    common = {"case": case, "department": department, "birth_date": case.birth_date, "note": REFERENCE}
    done_assessment(**common, study_date=date(2022, 1, 1), radiograph_sha256="1" * 64)
    assessment = done_assessment(**common, study_date=date(2023, 1, 1))
    single = done_assessment(department=department, radiograph_name=REFERENCE)
    of = arrivals.header(sex="", patient_id=REFERENCE, accession=REFERENCE, department="Kinderradiologie")
    DatabaseIntake().take(arrivals.instance(of), of)
    studies.advance()
    return Things(case, assessment, single, Instance.objects.get())


@pytest.fixture
def member(db: None) -> Callable[..., User]:
    """A user of departments, ``member("trauma")``."""

    def make(*departments: str, role: Role = Role.REVIEWER) -> User:
        name = "-".join([role.value, *departments])
        return User.objects.create(username=name, role=role, departments=list(departments))

    return make


def client_of(user: User) -> Client:
    """Return a browser in which a user is logged in, and whose token programs use."""
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def addresses(patterns: Any = None, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield all addresses of the service, with their patterns."""
    for one in get_resolver().url_patterns if patterns is None else patterns:
        path = before + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from addresses(one.url_patterns, path)
        else:
            yield path, one


_NAME_NO_CASE = ("atlas/<", "api/atlas/<", "api/<path:rest>")
"""Beginnings of patterns with a part that is no id of a case, an assessment or an instance."""

_UUID = re.compile(r"<uuid(str)?:\w+>")


def requests(things: Things) -> Iterator[str]:
    """Yield the address of each thing under each pattern that names one, and all addresses that name none."""
    for pattern, _ in addresses():
        if pattern.startswith(_NAME_NO_CASE):
            continue
        is_single = pattern in {"assessments/<uuid:pk>/", "assessments/<uuid:pk>/report.pdf"}
        uuids = [things.case.pk] if "cases/" in pattern else [things.assessment.pk, things.single.pk][: 1 + is_single]
        for key in uuids:
            path = _UUID.sub(str(key), pattern).replace("<int:pk>", str(things.asking.pk))
            assert "<" not in path, f"the test does not know what {pattern} names"
            yield f"/{path}"


_BODIES: dict[str, dict[str, Any]] = {
    "decide": {"verdict": "accepted", "confirm_critical": "1"},
    "again": {"sex": "M"},
    "move": {"reference": "another"},
    "asking": {"sex": "F"},
    "cases": {"search": REFERENCE},
}


_PUBLIC = ("/account/", "/administration/", "/atlas/", "/about/", "/api/docs", "/language", "/health", "/metrics")
"""Beginnings of addresses that show no case, or are for administrators only, who see all of them."""


def answers(things: Things, user: User, *, only_reading: bool = False) -> Iterator[tuple[str, str, int, bytes]]:
    """Yield the answer to every request that a user can send: method, address, status and content."""
    token = ApiToken.issue(user, "all")[1]
    client = client_of(user)
    own = (str(things.case.pk), str(things.assessment.pk), str(things.single.pk))
    for path in dict.fromkeys(requests(things)):
        if path.startswith(_PUBLIC):
            continue
        changing = ("post", "put", "delete") if path.startswith("/api/") else ("post",)
        for method in ("get", *(() if only_reading else changing)):
            options: dict[str, Any] = {}
            if path.startswith("/api/"):
                options = {"headers": {"Authorization": f"Bearer {token}"}}
                if method in {"post", "put"}:
                    body = {"verdict": "accepted"} if path.endswith("decision") else {}
                    options |= {"data": body, "content_type": "application/json"}
            elif method == "post":
                name = next((key for key in _BODIES if key in path.split("/")), "")
                watch = {"watch": " ".join(own)} if path == "/cases/" else {}
                options = {"data": _BODIES.get(name, {}) | watch}
            response = getattr(client, method)(path, **options)
            content = b"".join(response) if response.streaming else response.content
            yield method, path, response.status_code, content


def test_no_address_shows_another_department(things: Things, member: Callable[..., User]) -> None:
    """Whatever a reviewer of another department requests, no answer holds or changes anything of this one.

    Every pattern of the service is walked, so that a new view is tested without being listed here.
    """
    before = [
        list(Case.objects.values()),
        list(Assessment.objects.order_by("pk").values()),
        list(Instance.objects.values("state", "department")),
    ]
    keys = [str(key) for key in (things.case.pk, things.assessment.pk, things.single.pk)]
    for method, path, status, content in answers(things, member("trauma")):
        case = f"{method} {path} ({status})"
        names_one = any(key in path for key in keys)
        if names_one or "/asking/" in path:
            assert status in {403, 404, 405}, case
        assert REFERENCE.encode() not in content, case
        assert status < 500, case
        assert names_one or not any(key.encode() in content for key in keys), case
    after = [
        list(Case.objects.values()),
        list(Assessment.objects.order_by("pk").values()),
        list(Instance.objects.values("state", "department")),
    ]
    assert before == after


def test_addresses_show_own_department(things: Things, member: Callable[..., User]) -> None:
    """The same requests reach a reviewer of this department, so that the test above can fail."""
    reached = {
        path.replace(str(things.assessment.pk), "ID").replace(str(things.case.pk), "ID")
        for _, path, status, _ in answers(things, member("paediatrics"), only_reading=True)
        if status == 200
    }
    pages = {"", "radiograph.jpg", "heat.png", "thumbnail.jpg", "report/", "report.pdf", "result.json", "result.csv"}
    assert {f"/assessments/ID/{one}" for one in pages} <= reached
    assert {"/cases/", "/cases/ID/", "/cases/ID/compare", "/cases/export.csv"} <= reached
    operations = {"", "/result", "/radiograph.jpg", "/report.pdf", "/fhir", "/hl7"}
    assert {f"/api/assessments/ID{one}" for one in operations} <= reached


@pytest.mark.parametrize(
    ("departments", "role", "is_seen"),
    [
        (["paediatrics"], Role.READER, True),
        (["trauma", "paediatrics"], Role.READER, True),
        (["trauma"], Role.REVIEWER, False),
        ([], Role.REVIEWER, False),
        ([], Role.ADMINISTRATOR, True),
    ],
)
def test_visible_to(
    things: Things, member: Callable[..., User], departments: list[str], role: Role, is_seen: bool
) -> None:
    """Cases, radiographs and received instances are seen by their department and by administrators."""
    user = member(*departments, role=role)
    assert Case.objects.visible_to(user).exists() == is_seen
    assert Assessment.objects.visible_to(user).count() == (3 if is_seen else 0)
    assert Instance.objects.visible_to(user).exists() == is_seen
    assert Worklist(WorklistQuery(), user).count == (2 if is_seen else 0)


def test_nobody_sees_nothing(things: Things) -> None:
    """A program fault that loses the user shows nothing."""
    assert not Case.objects.visible_to(None).exists()
    assert not Assessment.objects.visible_to(None).exists()


def test_without_file_everybody_sees_everything(
    things: Things, member: Callable[..., User], settings: Settings
) -> None:
    """An installation without departments has no walls, whatever its rows hold."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, departments="")
    for user in (member("trauma"), member()):
        assert Worklist(WorklistQuery(), user).count == 2
        assert Instance.objects.visible_to(user).exists()


def test_without_department_sees_what_has_none(
    two: None, member: Callable[..., User], done_assessment: Callable[..., Assessment]
) -> None:
    """Users without a department see the cases without one."""
    done_assessment(case=Case.objects.create(reference="P", sex="F"))
    assert Worklist(WorklistQuery(), member()).count == 1
    assert Worklist(WorklistQuery(), member("trauma")).count == 0


# --- where radiographs come from --------------------------------------------------------------------------------------


def submitted(user: User, **fields: str) -> RadiographForm:
    """Return the form of a submission by a user."""
    file = SimpleUploadedFile("radiograph.png", sample_png())
    return RadiographForm({"sex": "F", "reference": "P-1", **fields}, {"radiograph": file}, user=user)


def test_upload_takes_department_of_user(two: None, member: Callable[..., User]) -> None:
    """A user of one department need not name it."""
    form = submitted(member("trauma"))
    assert form.is_valid()
    assessment = form.submit(user=None)
    assert assessment.case is not None
    assert (assessment.department, assessment.case.department) == ("trauma", "trauma")


@pytest.mark.parametrize(
    ("own", "stated", "status"),
    [
        (["trauma"], "trauma", 202),
        (["trauma"], "paediatrics", 422),
        (["trauma"], "cardiology", 422),
        ([], "trauma", 422),
        (["trauma", "paediatrics"], "paediatrics", 202),
    ],
)
def test_api_rejects_foreign_department(
    two: None, member: Callable[..., User], own: list[str], stated: str, status: int
) -> None:
    """A department that the user does not belong to is never replaced silently by another one."""
    token = ApiToken.issue(member(*own), "submitter")[1]
    data = {"sex": "F", "department": stated, "radiograph": SimpleUploadedFile("radiograph.png", sample_png())}
    answer = Client().post("/api/assessments", data, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == status
    if status == 422:
        assert "department_invalid" in answer.content.decode()
    assert Assessment.objects.filter(department=stated).exists() == (status == 202)


def test_page_offers_departments_to_users_of_several(two: None, member: Callable[..., User]) -> None:
    """The page has the choice for users who belong to several departments only."""
    for user, is_offered in ((member("trauma"), False), (member("trauma", "paediatrics"), True)):
        page = client_of(user).get("/").content.decode()
        assert ('name="department"' in page) == is_offered


def test_upload_asks_user_of_several_departments(two: None, member: Callable[..., User]) -> None:
    """The department is never guessed."""
    user = member("trauma", "paediatrics")
    assert submitted(user).problems()[0]["code"] == "department_missing"
    assert submitted(user, department="cardiology").problems()[0]["code"] == "department_invalid"
    form = submitted(user, department="paediatrics")
    assert form.is_valid()
    assert form.submit(user=user).department == "paediatrics"


def test_same_reference_in_two_departments(two: None, member: Callable[..., User]) -> None:
    """Two departments have a case each, and nothing of the other one's shows, not even that it contradicts."""
    for name, sex in (("trauma", "F"), ("paediatrics", "M")):
        form = submitted(member(name), sex=sex)
        assert form.is_valid(), form.errors
        form.submit(user=None)
    assert set(Case.objects.values_list("department", "sex")) == {("trauma", "F"), ("paediatrics", "M")}


def test_received_radiograph_takes_mapped_department(two: None) -> None:
    """Case and radiograph of a received instance belong to the department that the file of departments gives."""
    of = arrivals.header(department="Unfallchirurgie")
    DatabaseIntake().take(arrivals.instance(of), of)
    studies.advance()
    assessment = Assessment.objects.get()
    assert assessment.case is not None
    assert (assessment.department, assessment.case.department) == ("trauma", "trauma")
    assert Instance.objects.get().state == InstanceState.QUEUED


@pytest.mark.parametrize(("called", "name"), [("BONEAGE_KIDS", "paediatrics"), ("BONEAGE", NO_DEPARTMENT)])
def test_received_radiograph_takes_department_of_called_title(two: None, called: str, name: str) -> None:
    """The AE title that the sender calls gives the department of what is read, and of what is only noted."""
    of = arrivals.header()
    DatabaseIntake().take(arrivals.instance(of, called=called), of)
    DatabaseIntake().skip("1.2.840.10008.5.1.4.1.1.2", "1.2.3", Caller("PACS", "127.0.0.1", "pacs", called))
    assert set(Instance.objects.values_list("department", flat=True)) == {name}


def test_department_of_header_is_read() -> None:
    """The header holds the Institutional Department Name of the object."""
    file = arrivals.radiograph(InstitutionalDepartmentName="Kinderradiologie")
    assert arrivals.received(file)[1].department == "Kinderradiologie"


def test_move_stays_in_department(things: Things, member: Callable[..., User]) -> None:
    """A radiograph is moved to a case of its own department, although another one has that reference, too."""
    Case.objects.create(reference="P-9", department="trauma", sex="F")
    target = move(things.single, "P-9", member("paediatrics"))
    assert target.department == "paediatrics"


def test_administrator_hands_case_over(things: Things, member: Callable[..., User]) -> None:
    """The case goes with its radiographs and received instances; a reviewer may not."""
    address = f"/cases/{things.case.pk}/department"
    assert client_of(member("paediatrics")).post(address, {"department": "trauma"}).status_code == 403
    client = client_of(member(role=Role.ADMINISTRATOR))
    assert "Paediatric radiology" in client.get(f"/cases/{things.case.pk}/").content.decode()
    assert client.post(address, {"department": "trauma"}).status_code == 302
    assert set(Assessment.objects.filter(case=things.case).values_list("department", flat=True)) == {"trauma"}
    user = member("trauma")
    assert client_of(user).get(f"/assessments/{things.assessment.pk}/").status_code == 200
    Case.objects.create(reference=REFERENCE, department="paediatrics", sex="F")
    answer = client.post(address, {"department": "paediatrics"}, follow=True)
    assert "already" in answer.content.decode()


def test_administrator_sets_departments(two: None, member: Callable[..., User]) -> None:
    """Departments of a user are chosen on the page of the user; an unknown one is not taken."""
    client, user = client_of(member(role=Role.ADMINISTRATOR)), member()
    session = client.session
    address = f"/administration/users/{user.pk}/"
    from boneage.web.accounts import sessions

    session[sessions._CONFIRMED] = "2999-01-01T00:00:00+00:00"
    session.save()
    assert "Paediatric radiology" in client.get(address).content.decode()
    client.post(address, {"do": "departments", "departments": ["trauma", "paediatrics"]})
    user.refresh_from_db()
    assert user.departments == ["paediatrics", "trauma"]
    client.post(address, {"do": "departments", "departments": ["cardiology"]})
    user.refresh_from_db()
    assert user.departments == ["paediatrics", "trauma"]
