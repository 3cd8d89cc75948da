"""The worklist of the mode ``clinic``: its rows, their order, and the number of rows of each status.

A row is a child, represented by the radiograph submitted last, or a single radiograph without a case. A child also
counts as undecided if an older radiograph is, so that none is forgotten. A search finds a child by any of its
radiographs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, cast
from uuid import UUID

from django import forms
from django.core.validators import MinValueValidator
from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextChoices,
    When,
)
from django.db.models.functions import Coalesce, Lower
from django.http import QueryDict
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from boneage import words
from boneage.clinical.sds import Determination
from boneage.report.content import DETERMINATIONS, NO_SDS
from boneage.schema import DeterminationCode, WithheldCode
from boneage.severity import Severity
from boneage.web.accounts.access import assessments
from boneage.web.chronological_age import FIRST_DAY, midnight, midnight_after
from boneage.web.day_range import DayRangeForm
from boneage.web.models import SEXES, Assessment, Decision, State, User, Verdict, configuration
from boneage.web.models import Case as Child

ROWS_A_PAGE = 50

WORKLIST = "worklist"
"""Key of the session under which the values of the filter last shown are kept (`WorklistQuery.values`)."""

_ROWS_AT_ONCE = 500

NEWEST_FIRST = "-date"


class Status(TextChoices):
    """Status of a radiograph: its state and, if it was assessed, the decision."""

    WAITING = "waiting", _("Waiting")
    DECIDE = "decide", _("Undecided")
    ACCEPTED = "accepted", _("Accepted")
    CORRECTED = "corrected", _("Corrected")
    REJECTED = "rejected", _("Rejected")
    FAILED = "failed", _("Failed")


_IN_STATUS: Mapping[Status, Q] = {
    Status.WAITING: Q(state__in=[State.QUEUED, State.RUNNING]),
    Status.DECIDE: Q(state=State.DONE, decision=""),
    Status.ACCEPTED: Q(state=State.DONE, decision=Verdict.ACCEPTED),
    Status.CORRECTED: Q(state=State.DONE, decision=Verdict.CORRECTED),
    Status.REJECTED: Q(state=State.REJECTED),
    Status.FAILED: Q(state=State.FAILED),
}

_OF_STATE = {
    State.QUEUED: Status.WAITING,
    State.RUNNING: Status.WAITING,
    State.REJECTED: Status.REJECTED,
    State.FAILED: Status.FAILED,
}

AT_LEAST = {
    Severity.CAUTION: Q(severity__in=[Severity.CAUTION, Severity.CRITICAL]),
    Severity.CRITICAL: Q(severity=Severity.CRITICAL),
}
"""Conditions of a least severity among the warnings."""

NO_CLASS = "none"
"""Value of the filter for radiographs that were assessed and have no determination."""

_DETERMINATIONS = [
    ("", _("Any")),
    (Determination.DELAYED.value, _("Delayed")),
    (Determination.NORMAL.value, _("Within normal limits")),
    (Determination.ADVANCED.value, _("Advanced")),
    (Determination.BORDERLINE.value, _("Borderline")),
    (NO_CLASS, _("None")),
]

_CURRENT = Coalesce("decided_months", "age_months")

_ORDERS: Mapping[str, tuple[Any, ...]] = {
    "reference": (Lower("case__reference"), Lower("radiograph_name")),
    "sex": (F("sex"),),
    "age": (F("chronological_age_months"),),
    "bone": (_CURRENT,),
    "difference": (F("difference_months"),),
    "sds": (F("sds"),),
    "status": (Case(*(When(q, then=i) for i, q in enumerate(_IN_STATUS.values())), output_field=IntegerField()),),
    "warnings": (
        Case(
            *(When(q, then=severity.rank) for severity, q in reversed(AT_LEAST.items())),
            default=0,
            output_field=IntegerField(),
        ),
    ),
    "date": (),
    "who": (Lower("submitted_by__username"),),
}
"""Sort keys by column, before the date. Unknown values come last in either direction."""

_FALLING_FIRST = ("date", "warnings")
"""Columns that the first click sorts in descending order: the latest, and the most severe."""


def status_of(assessment: Assessment) -> Status:
    """Return the status of a radiograph."""
    if assessment.state == State.DONE:
        return Status(assessment.decision) if assessment.decision else Status.DECIDE
    return _OF_STATE[State(assessment.state)]


def sort_or_default(query: str) -> str:
    """Return a column's name, with ``-`` before it for descending order; newest first for anything else."""
    return query if query.removeprefix("-") in _ORDERS else NEWEST_FIRST


def next_sort(column: str, sort: str) -> str:
    """Return the order that a click on a column head selects: ascending first (dates and warnings descending), then
    reversed.
    """
    if sort.removeprefix("-") != column:
        return f"-{column}" if column in _FALLING_FIRST else column
    return column if sort.startswith("-") else f"-{column}"


class FilterForm(DayRangeForm):
    """Filter of the worklist. Every field is optional."""

    search = forms.CharField(max_length=200, required=False, label=_("Search references, notes and file names"))
    status = forms.ChoiceField(choices=[("", _("All")), *Status.choices], required=False, label=_("Status"))
    sex = forms.ChoiceField(choices=[("", _("Any")), *SEXES], required=False, label=_("Sex"))
    since = forms.DateField(
        required=False,
        label=_("Submitted from"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        validators=[MinValueValidator(FIRST_DAY)],
    )
    until = forms.DateField(
        required=False,
        label=_("Submitted to"),
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        validators=[MinValueValidator(FIRST_DAY)],
    )
    mine = forms.BooleanField(required=False, label=_("Submitted by me"))
    severity = forms.ChoiceField(
        choices=[
            ("", _("All")),
            (Severity.CAUTION.value, _("Caution or critical")),
            (Severity.CRITICAL.value, _("Critical")),
        ],
        required=False,
        label=_("Warnings"),
    )
    determination = forms.ChoiceField(choices=_DETERMINATIONS, required=False, label=_("Determination"))
    department = forms.ChoiceField(required=False, label=_("Department"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        departments = [(one.name, one.label) for one in configuration().department_list.department]
        cast(forms.ChoiceField, self.fields["department"]).choices = [("", _("All")), *departments]


@dataclass(frozen=True)
class WorklistQuery:
    """A valid filter and order.

    Attributes:
        search: text in a reference, a note or a file name; empty for any.
        status: status; None for any.
        sex: ``F``, ``M`` or empty for any.
        since: first day of submission.
        until: last day of submission.
        mine: only radiographs that the user submitted.
        severity: minimum severity of a warning; None for any.
        determination: class of the bone age that counts, or `NO_CLASS`; empty for any.
        department: name of a department; empty for any.
        sort: a column's name, with ``-`` for descending order.
    """

    search: str = ""
    status: Status | None = None
    sex: str = ""
    since: date | None = None
    until: date | None = None
    mine: bool = False
    severity: Severity | None = None
    determination: str = ""
    department: str = ""
    sort: str = NEWEST_FIRST

    @classmethod
    def of(cls, form: FilterForm, sort: str) -> WorklistQuery:
        """Return the valid part of a form.

        Args:
            form: a bound form.
            sort: order as sent; see `sort_or_default`.
        """
        form.is_valid()
        values = form.cleaned_data
        return cls(
            search=values.get("search", ""),
            status=Status(values["status"]) if values.get("status") else None,
            sex=values.get("sex", ""),
            since=values.get("since"),
            until=values.get("until"),
            mine=values.get("mine", False),
            severity=Severity(values["severity"]) if values.get("severity") else None,
            determination=values.get("determination", ""),
            department=values.get("department", ""),
            sort=sort_or_default(sort),
        )

    @classmethod
    def kept(cls, values: Mapping[str, str]) -> WorklistQuery:
        """Return the query whose `values` were kept."""
        return cls.of(FilterForm(values), values.get("sort", ""))

    @property
    def is_plain(self) -> bool:
        """Return whether only a search and a sex restrict the rows."""
        narrowed = (self.status, self.since, self.until, self.mine, self.severity, self.determination, self.department)
        return not any(narrowed)

    def values(self) -> dict[str, str]:
        """Return the form fields that differ from the default."""
        fields = {
            "search": self.search,
            "status": self.status.value if self.status else "",
            "sex": self.sex,
            "since": self.since.isoformat() if self.since else "",
            "until": self.until.isoformat() if self.until else "",
            "mine": "on" if self.mine else "",
            "severity": self.severity or "",
            "determination": self.determination,
            "department": self.department,
            "sort": self.sort if self.sort != NEWEST_FIRST else "",
        }
        return {name: value for name, value in fields.items() if value}

    def query(self) -> str:
        """Return the query string of an address: all but the search, which may name a patient."""
        address = QueryDict(mutable=True)
        address.update({name: value for name, value in self.values().items() if name != "search"})
        return address.urlencode()


@dataclass(frozen=True)
class Row:
    """A row of the worklist.

    Attributes:
        radiograph: the only radiograph, or the child's last; without `result`.
        status: status of the radiograph.
        submitter: name of the user, or empty.
        decider: name of the user who decided last, or empty.
        radiographs: number of radiographs of the child, this one included.
        older_to_decide: number of the others without a decision.
    """

    radiograph: Assessment
    status: Status
    submitter: str
    decider: str
    radiographs: int
    older_to_decide: int

    @property
    def bone_months(self) -> float | None:
        """Return the decided bone age, otherwise the estimate; None if there is none, or it must not be used."""
        return None if self.radiograph.is_void else self.radiograph.current_months

    @property
    def severity(self) -> Severity | None:
        """Return the highest severity of the warnings; None without any."""
        return Severity(self.radiograph.severity) if self.radiograph.severity else None

    @property
    def determination(self) -> str:
        """Return the class of the bone age in words; empty without one."""
        code = self.radiograph.determination
        return words.gettext(DETERMINATIONS[cast(DeterminationCode, code)]) if code else ""

    @property
    def no_sds(self) -> str:
        """Return the reason for a missing SDS as a sentence; empty if there is one, or nothing was assessed."""
        code = self.radiograph.determination_reason
        return words.gettext(NO_SDS[cast(WithheldCode, code)]) if code else ""

    @property
    def sds_text(self) -> str:
        """Return the SDS with its sign, in the notation of the language; empty for None."""
        return "" if self.radiograph.sds is None else words.signed(self.radiograph.sds, 2)

    @property
    def difference_months(self) -> float | None:
        """Return the bone age minus the chronological age, months; None if one of them is unknown."""
        return None if self.bone_months is None else self.radiograph.difference_months

    @property
    def difference_text(self) -> str:
        """Return the difference with its sign, in the notation of the language; empty for None."""
        return "" if self.difference_months is None else words.signed(self.difference_months)

    @property
    def department(self) -> str:
        """Return the name of the department on pages; empty without one."""
        return configuration().department_list.label(self.radiograph.department)

    @property
    def is_waiting(self) -> bool:
        """Return whether the status will change by itself."""
        return self.status is Status.WAITING


@dataclass(frozen=True)
class Place:
    """Place of a radiograph in the worklist.

    Attributes:
        number: its number from 1; None if it has no row, as a child's earlier radiograph.
        count: number of rows.
        next: radiograph of the next row; the first row's for one without a row; None at the end.
    """

    number: int | None
    count: int
    next: UUID | None


class Worklist:
    """The rows that match a filter, in its order."""

    def __init__(self, query: WorklistQuery, user: User) -> None:
        self._query = query
        self._user = user

    @cached_property
    def counts(self) -> dict[str, int]:
        """Return the number of rows for each status, and ``all``. A row may count in two (an older radiograph is
        undecided).
        """
        by_status = {status.value: Count("pk", filter=_in_status(status)) for status in Status}
        return self._of_any_status().aggregate(all=Count("pk"), **by_status)

    @property
    def count(self) -> int:
        """Return the number of rows."""
        return self.counts[self._query.status.value if self._query.status else "all"]

    def page(self, number: int) -> list[Row]:
        """Return the rows of a page, from 1."""
        first = (number - 1) * ROWS_A_PAGE
        # Two steps, since a database that sorts whole rows carries along all that was query of each.
        return detailed(list(self._keys()[first : first + ROWS_A_PAGE]), self._user)

    def all_rows(self) -> Iterator[Row]:
        """Yield every row, in order; a few hundred are read at a time."""
        keys = list(self._keys())
        for first in range(0, len(keys), _ROWS_AT_ONCE):
            yield from detailed(keys[first : first + _ROWS_AT_ONCE], self._user)

    def place(self, key: UUID) -> Place:
        """Return the place of a radiograph in the filter's order."""
        keys = list(self._keys())
        number = keys.index(key) + 1 if key in keys else None
        following = keys[number or 0 :]
        return Place(number, len(keys), following[0] if following else None)

    def empty_children(self) -> QuerySet[Child]:
        """Return children without a radiograph, so that they can still be found and deleted; at most 20."""
        children = Child.objects.visible_to(self._user).filter(
            assessments=None, reference__icontains=self._query.search
        )
        return children.filter(**({"sex": self._query.sex} if self._query.sex else {})).order_by("-changed_at")[:20]

    def _keys(self) -> QuerySet[Assessment, UUID]:
        rows = self._of_any_status()
        if self._query.status is not None:
            rows = rows.filter(_in_status(self._query.status))
        falling = self._query.sort.startswith("-")
        columns = _ORDERS[self._query.sort.removeprefix("-")]
        if not columns:  # along the index, without sorting
            return rows.order_by("-submitted_at" if falling else "submitted_at").values_list("pk", flat=True)
        by = [c.desc(nulls_last=True) if falling else c.asc(nulls_last=True) for c in columns]
        return rows.order_by(*by, "-submitted_at", "pk").values_list("pk", flat=True)

    def _of_any_status(self) -> QuerySet[Assessment]:
        query = self._query
        rows = assessments(self._user).filter(superseded_by=None)
        rows = rows.filter(~Exists(_of_same_child(Q(submitted_at__gt=OuterRef("submitted_at")))))
        if query.search:
            rows = rows.filter(_found_by(query.search))
        if query.sex:
            rows = rows.filter(sex=query.sex)
        if query.since:
            rows = rows.filter(submitted_at__gte=midnight(query.since))
        if query.until:
            rows = rows.filter(submitted_at__lt=midnight_after(query.until))
        if query.mine:
            rows = rows.filter(submitted_by=self._user)
        if query.department:
            rows = rows.filter(department=query.department)
        if query.severity:
            rows = rows.filter(AT_LEAST[query.severity])
        return of_determination(rows, query.determination) if query.determination else rows


def of_determination(assessments: QuerySet[Assessment], determination: str) -> QuerySet[Assessment]:
    """Return the assessments of a class, or with `NO_CLASS` the finished ones without a class."""
    return assessments.filter(state=State.DONE, determination="" if determination == NO_CLASS else determination)


def detailed(keys: Sequence[UUID], user: User) -> list[Row]:
    """Return the rows of these assessments, in this order, without those that no longer exist, and without those that
    the user may not see.
    """
    last = Decision.objects.filter(assessment=OuterRef("pk")).order_by("-decided_at", "-pk")
    assessments_by_key = {
        radiograph.pk: radiograph
        for radiograph in assessments(user)
        .filter(pk__in=keys)
        .select_related("case")
        .defer("result", "message")
        .annotate(
            submitter=F("submitted_by__username"),
            decider=Subquery(last.values("decided_by__username")[:1]),
        )
    }
    radiographs, to_decide = _of_children(
        {radiograph.case_id for radiograph in assessments_by_key.values() if radiograph.case_id is not None}
    )
    return [
        Row(
            radiograph=radiograph,
            status=status_of(radiograph),
            submitter=radiograph.submitter or "",
            decider=(radiograph.decider or "") if radiograph.decision else "",
            radiographs=radiographs.get(radiograph.case_id, 1),
            older_to_decide=to_decide[radiograph.case_id] - (status_of(radiograph) is Status.DECIDE)
            if radiograph.case_id
            else 0,
        )
        for radiograph in (assessments_by_key[key] for key in keys if key in assessments_by_key)
    ]


def _of_children(children: Collection[UUID]) -> tuple[Counter[UUID | None], Counter[UUID | None]]:
    """Return the number of radiographs of each child, and the number of those without a decision."""
    radiographs: Counter[UUID | None] = Counter()
    to_decide: Counter[UUID | None] = Counter()
    of_children = Assessment.objects.filter(case__in=children, superseded_by=None)
    for radiograph in of_children.only("case_id", "state", "decision"):
        radiographs[radiograph.case_id] += 1
        to_decide[radiograph.case_id] += status_of(radiograph) is Status.DECIDE
    return radiographs, to_decide


def _of_same_child(q: Q) -> QuerySet[Assessment]:
    return Assessment.objects.filter(q, case=OuterRef("case"), superseded_by=None)


def _in_status(status: Status) -> Q:
    own = _IN_STATUS[status]
    return own | Q(Exists(_of_same_child(own))) if status is Status.DECIDE else own


def _found_by(search: str) -> Q:
    # Identifiers of the DICOM node (`boneage.web.node`), which is above this room.
    of_node = Q(instances__accession__icontains=search) | Q(instances__patient_id__icontains=search)
    from_pacs = Assessment.objects.filter(of_node).values("pk")
    texts = Q(radiograph_name__icontains=search) | Q(note__icontains=search) | Q(pk__in=from_pacs)
    of_child = Assessment.objects.filter(texts, case__isnull=False).values("case")
    return texts | Q(case__reference__icontains=search) | Q(case__in=of_child)
