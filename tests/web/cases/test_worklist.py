"""Which rows the worklist has: against a plain count in Python of what it should show."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.clinical.sds import Determination
from boneage.severity import Severity
from boneage.strict import to_plain
from boneage.web.cases.worklist import (
    NEWEST_FIRST,
    NO_CLASS,
    ROWS_A_PAGE,
    FilterForm,
    Status,
    Worklist,
    WorklistQuery,
    next_sort,
    sort_or_default,
    status_of,
)
from boneage.web.models import Assessment, Case, Decision, Role, State, User, Verdict
from tests.web.conftest import answer_of_phantom, with_result

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clinic")]

NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
COLUMNS = ("reference", "sex", "age", "bone", "difference", "sds", "status", "date", "who")


@pytest.fixture
def user(make_user: Callable[..., User]) -> User:
    return make_user(Role.READER, "anna")


def radiograph(case: Case | None = None, *, at: int = 0, **fields: Any) -> Assessment:
    """An assessment as it would be found, submitted ``at`` hours after noon."""
    state = fields.pop("state", State.DONE)
    values_of_state: dict[str, Any] = {"age_months": 90.0} if state == State.DONE else {}
    return Assessment.objects.create(
        **{
            "case": case,
            "state": state,
            "sex": case.sex if case else "F",
            "submitted_at": NOON + timedelta(hours=at),
            "radiograph_bytes": 1,
            "radiograph_sha256": "0" * 64,
            **values_of_state,
            **fields,
        }
    )


def child(reference: str = "P-1", sex: str = "F") -> Case:
    return Case.objects.create(reference=reference, sex=sex)


def shown(user: User, **query: Any) -> list[Any]:
    return [row.radiograph.pk for row in Worklist(WorklistQuery(**query), user).all_rows()]


def test_worklist_child_is_one_row(user: User) -> None:
    """The radiograph submitted last; single radiographs stand for themselves."""
    ann = child()
    radiograph(ann)
    last, single, other = (
        radiograph(ann, at=2),
        radiograph(at=1, radiograph_name="a.png"),
        radiograph(radiograph_name="a.png"),
    )
    assert shown(user) == [last.pk, single.pk, other.pk]
    rows = Worklist(WorklistQuery(), user).page(1)
    assert [(row.radiographs, row.older_to_decide) for row in rows] == [(2, 1), (1, 0), (1, 0)]


def test_worklist_older_radiograph_to_decide(user: User) -> None:
    """A child whose last radiograph is decided is still found among those to decide, but not as decided twice."""
    ann = child()
    radiograph(ann)
    last = radiograph(ann, at=1, decision=Verdict.ACCEPTED, decided_months=90.0)
    assert shown(user, status=Status.DECIDE) == shown(user, status=Status.ACCEPTED) == [last.pk]
    counts = Worklist(WorklistQuery(), user).counts
    assert (counts["all"], counts["decide"], counts["accepted"]) == (1, 1, 1)


@pytest.mark.parametrize("search", ["p-0042", "growth HORMONE", "hand_7", "%", "_7"])
def test_worklist_search_by_any_radiograph(user: User, search: str) -> None:
    """The search covers reference, note and radiograph's name in any case, and takes signs of patterns literally."""
    wanted = child("P-0042")
    radiograph(wanted, note="growth hormone 50%", radiograph_name="hand_7.dcm")
    last = radiograph(wanted, at=1)
    radiograph(child("P-0043"), radiograph_name="hand-8.dcm")
    assert shown(user, search=search) == [last.pk]


def test_worklist_search_single_radiographs(user: User) -> None:
    """Single radiographs do not find each other."""
    matching = radiograph(note="wanted")
    radiograph(note="other")
    assert shown(user, search="wanted") == [matching.pk]


_fields = st.fixed_dictionaries(
    {
        "child": st.sampled_from([None, 0, 1, 2]),
        "state": st.sampled_from(list(State)),
        "decision": st.sampled_from(["", *Verdict]),
        "severity": st.none() | st.sampled_from(list(Severity)),
        "mine": st.booleans(),
        "age": st.none() | st.integers(0, 228),
        "bone": st.integers(0, 228),
        "sds": st.none() | st.sampled_from([-2.5, 0.0, 1.8]),
        "determination": st.sampled_from(["", *Determination]),
    }
)


@given(
    radiographs=st.lists(_fields, max_size=8),
    query=st.builds(
        WorklistQuery,
        status=st.none() | st.sampled_from(list(Status)),
        sex=st.sampled_from(["", "F", "M"]),
        since=st.none() | st.just(date(2025, 3, 11)),
        until=st.none() | st.just(date(2025, 3, 11)),
        mine=st.booleans(),
        severity=st.none() | st.sampled_from([Severity.CAUTION, Severity.CRITICAL]),
        determination=st.sampled_from(["", *Determination, NO_CLASS]),
        sort=st.sampled_from([sign + name for name in COLUMNS for sign in ("", "-")]),
    ),
)
@settings(max_examples=40, deadline=None)
def test_worklist_filters(radiographs: list[dict[str, Any]], query: WorklistQuery) -> None:
    """The same rows as by counting in Python, each once, in the column's order, and as many as the counts say."""
    Assessment.objects.all().delete()
    Case.objects.all().delete()
    user, _ = User.objects.get_or_create(username="anna")
    children = [child(f"P-{i}", "FM"[i % 2]) for i in range(3)]
    made = []
    for at, fields in enumerate(radiographs):
        done = fields["state"] == State.DONE
        made.append(
            radiograph(
                None if fields["child"] is None else children[fields["child"]],
                at=9 * at,
                state=fields["state"],
                decision=fields["decision"] if done else "",
                submitted_by=user if fields["mine"] else None,
                chronological_age_months=fields["age"],
                **({"age_months": fields["bone"]} if done else {}),
                severity=(fields["severity"] or "") if done else "",
                sds=fields["sds"] if done else None,
                determination=fields["determination"] if done else "",
            )
        )
    last = [f for f in made if f.case is None or not any(g.case == f.case for g in made[made.index(f) + 1 :])]

    def wanted(one: Assessment) -> bool:
        fields = radiographs[made.index(one)]
        family = [one, *(f for f in made if f.case is not None and f.case == one.case)]
        day = one.submitted_at.date()
        return (
            (query.status is None or query.status == status_of(one) or query.status is Status.DECIDE)
            and (query.status is not Status.DECIDE or any(status_of(f) is Status.DECIDE for f in family))
            and query.sex in ("", one.sex)
            and (query.since is None or day >= query.since)
            and (query.until is None or day <= query.until)
            and (not query.mine or fields["mine"])
            and (query.severity is None or (_rank(one, fields["severity"]) >= query.severity.rank))
            and (not query.determination or _is_of(one, query.determination))
        )

    worklist = Worklist(query, user)
    rows = list(worklist.all_rows())
    assert sorted(row.radiograph.pk for row in rows) == sorted(f.pk for f in last if wanted(f))
    assert worklist.count == len(rows)
    assert [row.radiograph.pk for row in worklist.page(1)] == [row.radiograph.pk for row in rows[:ROWS_A_PAGE]]
    assert worklist.counts["all"] >= max(worklist.counts[status.value] for status in Status)
    _check_order(query.sort, rows)


def _rank(one: Assessment, severity: Severity | None) -> int:
    """Rank of the severity of a finished assessment's warnings, 0 without any."""
    return severity.rank if severity is not None and one.state == State.DONE else 0


def _is_of(one: Assessment, determination: str) -> bool:
    return one.state == State.DONE and (one.determination or NO_CLASS) == determination


def _check_order(sort: str, rows: list[Any]) -> None:
    """Values rise or fall, and missing ones come last."""
    keys: dict[str, Callable[[Any], Any]] = {
        "reference": lambda row: row.radiograph.case.reference if row.radiograph.case else None,
        "sex": lambda row: row.radiograph.sex,
        "age": lambda row: row.radiograph.chronological_age_months,
        "bone": lambda row: row.bone_months,
        "difference": lambda row: row.difference_months,
        "sds": lambda row: row.radiograph.sds,
        "status": lambda row: list(Status).index(row.status),
        "date": lambda row: row.radiograph.submitted_at,
        "who": lambda row: row.submitter or None,
    }
    values = [keys[sort.removeprefix("-")](row) for row in rows]
    present = [value for value in values if value is not None]
    assert values == present + [None] * (len(values) - len(present))
    assert present == sorted(present, reverse=sort.startswith("-"))


def test_worklist_page_takes_four_queries(user: User) -> None:
    """A page takes four queries however long."""
    ann = child()
    for at in range(ROWS_A_PAGE + 5):
        one = radiograph(child(f"Q-{at}"), at=at, decision=Verdict.ACCEPTED, decided_months=90)
        Decision.objects.create(assessment=one, verdict=Verdict.ACCEPTED, age_months=90, decided_by=user)
        radiograph(ann, at=at)
    worklist = Worklist(WorklistQuery(), user)
    with CaptureQueriesContext(connection) as queries:
        rows = worklist.page(1)
        count = worklist.count
    assert len(queries) == 4
    assert rows[0].radiograph.get_deferred_fields() == {"message", "result"}
    assert (len(rows), count) == (ROWS_A_PAGE, ROWS_A_PAGE + 6)
    assert len(worklist.page(2)) == 6
    assert {row.decider for row in rows} == {"", "anna"}
    Assessment.objects.update(decision="", decided_months=None)  # the decisions are withdrawn
    assert {row.decider for row in worklist.page(1)} == {""}


def test_row_hides_meaningless_number(user: User) -> None:
    """Until somebody corrects it."""
    answer = with_result(answer_of_phantom(chronological=80.0), is_meaningless=True, warnings=())
    one = radiograph(
        result=to_plain(answer.results[0]),
        chronological_age_months=80.0,
    )
    one.derive()
    one.save()
    row = Worklist(WorklistQuery(), user).page(1)[0]
    assert (row.bone_months, row.difference_months, row.difference_text) == (None, None, "")
    one.decision, one.decided_months = Verdict.CORRECTED, 84.04
    one.derive()
    one.save()
    row = Worklist(WorklistQuery(), user).page(1)[0]
    assert (row.bone_months, row.difference_text) == (84.04, "+4.0")


def test_row_hides_critical_number(user: User) -> None:
    """Until somebody accepts it nevertheless, or corrects it."""
    one = radiograph(severity=Severity.CRITICAL, chronological_age_months=80.0)
    row = Worklist(WorklistQuery(), user).page(1)[0]
    assert (row.severity, row.bone_months, row.difference_text) == (Severity.CRITICAL, None, "")
    Assessment.objects.filter(pk=one.pk).update(decision=Verdict.ACCEPTED, decided_months=90.0)
    assert Worklist(WorklistQuery(), user).page(1)[0].bone_months == 90.0


def test_worklist_sorts_by_severity(user: User) -> None:
    """The gravest come first at the first click."""
    graded = [Severity.CAUTION, None, Severity.CRITICAL, Severity.INFO]
    for severity in graded:
        radiograph(severity=severity or "")
    assert next_sort("warnings", "-date") == "-warnings"
    severities = [row.severity for row in Worklist(WorklistQuery(sort="-warnings"), user).all_rows()]
    assert severities[:2] == [Severity.CRITICAL, Severity.CAUTION]
    assert [row.severity for row in Worklist(WorklistQuery(sort="warnings"), user).all_rows()][-1] is Severity.CRITICAL
    assert WorklistQuery(severity=Severity.CRITICAL).query() == "severity=critical"


@pytest.mark.parametrize(("months", "text"), [(-4.0, "\N{MINUS SIGN}4.0"), (-0.04, "0.0"), (3.5, "+3.5")])
def test_row_difference_has_sign(user: User, months: float, text: str) -> None:
    """Differences have signs."""
    radiograph(difference_months=months)
    assert Worklist(WorklistQuery(), user).page(1)[0].difference_text == text


def test_worklist_empty_children(user: User) -> None:
    """Children without radiographs can be found."""
    empty, full = child("P-9"), child("P-8", "M")
    radiograph(full)
    assert list(Worklist(WorklistQuery(), user).empty_children()) == [empty]
    assert list(Worklist(WorklistQuery(search="p-8"), user).empty_children()) == []
    assert list(Worklist(WorklistQuery(sex="M"), user).empty_children()) == []


@pytest.mark.parametrize("column", COLUMNS)
def test_next_sort_toggles(column: str) -> None:
    """Clicks turn the order."""
    once = next_sort(column, "sex" if column != "sex" else NEWEST_FIRST)
    assert once.removeprefix("-") == column
    assert {once, next_sort(column, once)} == {column, f"-{column}"}
    assert next_sort(column, next_sort(column, once)) == once
    assert sort_or_default(once) == once


@pytest.mark.parametrize("text", ["", "-", "--date", "password", "date "])
def test_sort_or_default_unknown(text: str) -> None:
    """Unknown orders are newest first."""
    assert sort_or_default(text) == NEWEST_FIRST


def test_query_round_trip() -> None:
    """A query stays the same through the form."""
    criteria = WorklistQuery(
        "x", Status.FAILED, "M", date(2025, 1, 2), date(2025, 2, 3), True, Severity.CAUTION, "none", sort="bone"
    )
    assert WorklistQuery.of(FilterForm(criteria.values()), criteria.values()["sort"]) == criteria
    assert "x" not in WorklistQuery("x").query()
    assert "search" not in criteria.query()
    assert WorklistQuery().values() == {}


@pytest.mark.parametrize(
    "fields", [{"since": "yesterday"}, {"until": "0001-01-01"}, {"status": "x"}, {"sex": "O"}, {"search": "a\0"}]
)
def test_query_ignores_invalid_fields(fields: dict[str, str]) -> None:
    """Unreadable fields are left out and reported."""
    form = FilterForm({**fields, "mine": "on"})
    assert WorklistQuery.of(form, "") == WorklistQuery(mine=True)
    assert list(form.errors) == list(fields)


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.dates(date(2000, 1, 1), date(2100, 1, 1)))
def test_query_reports_reversed_days(first: date, last: date) -> None:
    """A range that ends before it begins is reported, and no table is empty without a reason."""
    form = FilterForm({"since": first.isoformat(), "until": last.isoformat()})
    query = WorklistQuery.of(form, "")
    codes = [error["code"] for error in form.errors.get_json_data().get("until", [])]
    assert codes == (["days_reversed"] if last < first else [])
    assert (query.since, query.until) == (first, None if last < first else last)
