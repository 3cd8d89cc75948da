"""The worklist of the mode ``clinic``: which rows it has, in which order, and how many there are of each status.

A row is a child, shown by the radiograph submitted last, or a single radiograph that belongs to no child. A child also
counts as to be decided if an older radiograph still is, so that none is forgotten; a search finds a child by any of the
radiographs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django import forms
from django.core.validators import MinValueValidator
from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextChoices,
    When,
)
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce, Lower
from django.http import QueryDict
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from boneage.warnings_ import Severity
from boneage.web import texts
from boneage.web.accounts.access import assessments
from boneage.web.chronological_age import FIRST_DAY, midnight, midnight_after
from boneage.web.models import SEXES, Assessment, Decision, State, User, Verdict
from boneage.web.models import Case as Child

ROWS_A_PAGE = 50

_ROWS_AT_ONCE = 500

NEWEST_FIRST = "-date"


class Status(TextChoices):
    """Where a radiograph stands: its state and, if it was assessed, what was decided."""

    WAITING = "waiting", _("Waiting")
    DECIDE = "decide", _("To decide")
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

_SEVERITY = KT("result__warnings__0__severity")
"""The first warning is the gravest."""

_AT_LEAST = {
    Severity.CAUTION: Q(result__warnings__0__severity__in=[Severity.CAUTION.value, Severity.CRITICAL.value]),
    Severity.CRITICAL: Q(result__warnings__0__severity=Severity.CRITICAL.value),
}

_CURRENT = Coalesce("decided_months", "age_months")

_ORDERS: Mapping[str, tuple[Any, ...]] = {
    "reference": (Lower("case__reference"), Lower("radiograph_name")),
    "sex": (F("sex"),),
    "age": (F("chronological_age_months"),),
    "bone": (_CURRENT,),
    "difference": (_CURRENT - F("chronological_age_months"),),
    "status": (Case(*(When(q, then=i) for i, q in enumerate(_IN_STATUS.values())), output_field=IntegerField()),),
    "warnings": (
        Case(
            *(When(q, then=severity.rank) for severity, q in reversed(_AT_LEAST.items())),
            default=0,
            output_field=IntegerField(),
        ),
    ),
    "date": (),
    "who": (Lower("submitted_by__username"),),
}
"""By column: what it is sorted by before the date. What is not known comes last in either direction."""

_FALLING_FIRST = ("date", "warnings")
"""Columns that a first click sorts falling: the latest, and the gravest."""


def status_of(assessment: Assessment) -> Status:
    """Where it stands."""
    if assessment.state == State.DONE:
        return Status(assessment.decision) if assessment.decision else Status.DECIDE
    return _OF_STATE[State(assessment.state)]


def sort_or_default(asked: str) -> str:
    """A column's name, with ``-`` before it for falling order; newest first for anything else."""
    return asked if asked.removeprefix("-") in _ORDERS else NEWEST_FIRST


def next_sort(column: str, sort: str) -> str:
    """What a click on a column's head asks for: rising at first (dates and warnings falling), then the other way."""
    if sort.removeprefix("-") != column:
        return f"-{column}" if column in _FALLING_FIRST else column
    return column if sort.startswith("-") else f"-{column}"


class FilterForm(forms.Form):
    """What the worklist is narrowed to. Everything may be left out."""

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


@dataclass(frozen=True)
class WorklistQuery:
    """A valid filter and order.

    Attributes:
        search: text that a reference, a note or a radiograph's name holds; empty for any.
        status: None for any.
        sex: ``F``, ``M`` or empty for any.
        since: first day of submission.
        until: last day of submission.
        mine: only what the user submitted.
        severity: only where a warning is at least as grave; None for any.
        sort: a column's name, with ``-`` for falling.
    """

    search: str = ""
    status: Status | None = None
    sex: str = ""
    since: date | None = None
    until: date | None = None
    mine: bool = False
    severity: Severity | None = None
    sort: str = NEWEST_FIRST

    @classmethod
    def of(cls, form: FilterForm, sort: str) -> WorklistQuery:
        """What a form says, as far as it is valid.

        Args:
            form: a bound one.
            sort: as it came; see `sort_or_default`.
        """
        form.is_valid()
        said = form.cleaned_data
        return cls(
            search=said.get("search", ""),
            status=Status(said["status"]) if said.get("status") else None,
            sex=said.get("sex", ""),
            since=said.get("since"),
            until=said.get("until"),
            mine=said.get("mine", False),
            severity=Severity(said["severity"]) if said.get("severity") else None,
            sort=sort_or_default(sort),
        )

    @property
    def is_plain(self) -> bool:
        """Whether nothing but a search and a sex narrows it down."""
        return not (self.status or self.since or self.until or self.mine or self.severity)

    def values(self) -> dict[str, str]:
        """As form fields, those that differ from the default."""
        said = {
            "search": self.search,
            "status": self.status.value if self.status else "",
            "sex": self.sex,
            "since": self.since.isoformat() if self.since else "",
            "until": self.until.isoformat() if self.until else "",
            "mine": "on" if self.mine else "",
            "severity": self.severity or "",
            "sort": self.sort if self.sort != NEWEST_FIRST else "",
        }
        return {name: value for name, value in said.items() if value}

    def query(self) -> str:
        """For an address: all but the search, which may name a patient."""
        address = QueryDict(mutable=True)
        address.update({name: value for name, value in self.values().items() if name != "search"})
        return address.urlencode()


@dataclass(frozen=True)
class Row:
    """A row of the worklist.

    Attributes:
        radiograph: the only one, or the child's last; without `result`.
        status: where it stands.
        severity: the gravest of the warnings; None without any.
        submitter: name of the user, or empty.
        decider: name of the user who decided last, or empty.
        radiographs: how many there are of the child, this one included.
        older_to_decide: how many of the others nobody has decided on.
        is_unusable: whether the estimate must not be used (`boneage.web.models.Assessment.is_unusable`).
    """

    radiograph: Assessment
    status: Status
    severity: Severity | None
    submitter: str
    decider: str
    radiographs: int
    older_to_decide: int
    is_unusable: bool

    @property
    def bone_months(self) -> float | None:
        """The bone age as decided, else as estimated; None if there is none, or it must not be used."""
        return None if self.is_unusable and not self.radiograph.decision else self.radiograph.current_months

    @property
    def difference_months(self) -> float | None:
        """The bone age less the chronological age, months; None if either is not known."""
        return None if self.bone_months is None else self.radiograph.difference_months

    @property
    def difference_text(self) -> str:
        """The same with its sign, as the language writes numbers; empty for None."""
        if self.difference_months is None:
            return ""
        rounded = round(self.difference_months, 1)
        sign = "+" if rounded > 0 else "\N{MINUS SIGN}" if rounded < 0 else ""
        return sign + texts.number(abs(rounded))

    @property
    def is_waiting(self) -> bool:
        """Whether it will change by itself."""
        return self.status is Status.WAITING


class Worklist:
    """The rows that a filter leaves, in its order."""

    def __init__(self, asked: WorklistQuery, user: User) -> None:
        self._asked = asked
        self._user = user

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many rows each status would leave, and ``all``; a row may count in two (to decide is an older
        radiograph).
        """
        by_status = {status.value: Count("pk", filter=_in_status(status)) for status in Status}
        return self._of_any_status().aggregate(all=Count("pk"), **by_status)

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.counts[self._asked.status.value if self._asked.status else "all"]

    def page(self, number: int) -> list[Row]:
        """The rows of a page, from 1."""
        first = (number - 1) * ROWS_A_PAGE
        # Two steps, since a database that sorts whole rows carries along all that was asked of each.
        return detailed(list(self._keys()[first : first + ROWS_A_PAGE]))

    def all_rows(self) -> Iterator[Row]:
        """Every row, in order; read a few hundred at a time."""
        keys = list(self._keys())
        for first in range(0, len(keys), _ROWS_AT_ONCE):
            yield from detailed(keys[first : first + _ROWS_AT_ONCE])

    def empty_children(self) -> QuerySet[Child]:
        """Children of whom there is no radiograph any more, so that they can still be found and deleted; at most 20."""
        children = Child.objects.filter(assessments=None, reference__icontains=self._asked.search)
        return children.filter(**({"sex": self._asked.sex} if self._asked.sex else {})).order_by("-changed_at")[:20]

    def _keys(self) -> QuerySet[Assessment, UUID]:
        rows = self._of_any_status()
        if self._asked.status is not None:
            rows = rows.filter(_in_status(self._asked.status))
        falling = self._asked.sort.startswith("-")
        columns = _ORDERS[self._asked.sort.removeprefix("-")]
        if not columns:  # along the index, without sorting
            return rows.order_by("-submitted_at" if falling else "submitted_at").values_list("pk", flat=True)
        by = [c.desc(nulls_last=True) if falling else c.asc(nulls_last=True) for c in columns]
        return rows.order_by(*by, "-submitted_at", "pk").values_list("pk", flat=True)

    def _of_any_status(self) -> QuerySet[Assessment]:
        asked = self._asked
        rows = assessments().filter(~Exists(_of_same_child(Q(submitted_at__gt=OuterRef("submitted_at")))))
        if asked.search:
            rows = rows.filter(_found_by(asked.search))
        if asked.sex:
            rows = rows.filter(sex=asked.sex)
        if asked.since:
            rows = rows.filter(submitted_at__gte=midnight(asked.since))
        if asked.until:
            rows = rows.filter(submitted_at__lt=midnight_after(asked.until))
        if asked.mine:
            rows = rows.filter(submitted_by=self._user)
        return rows.filter(_AT_LEAST[asked.severity]) if asked.severity else rows


def detailed(keys: Sequence[UUID]) -> list[Row]:
    """Rows of these assessments, in this order; those that are gone meanwhile are left out."""
    last = Decision.objects.filter(assessment=OuterRef("pk")).order_by("-decided_at", "-pk")
    found = {
        radiograph.pk: radiograph
        for radiograph in assessments()
        .filter(pk__in=keys)
        .select_related("case")
        .defer("result", "message")
        .annotate(
            gravest=_SEVERITY,
            meaningless=ExpressionWrapper(Q(result__web__is_meaningless=True), output_field=BooleanField()),
            submitter=F("submitted_by__username"),
            decider=Subquery(last.values("decided_by__username")[:1]),
        )
    }
    radiographs, to_decide = _of_children(
        {radiograph.case_id for radiograph in found.values() if radiograph.case_id is not None}
    )
    return [
        Row(
            radiograph=radiograph,
            status=status_of(radiograph),
            severity=Severity(radiograph.gravest) if radiograph.gravest else None,
            submitter=radiograph.submitter or "",
            decider=radiograph.decider or "",
            radiographs=radiographs.get(radiograph.case_id, 1),
            is_unusable=bool(radiograph.meaningless) or radiograph.gravest == Severity.CRITICAL,
            older_to_decide=to_decide[radiograph.case_id] - (status_of(radiograph) is Status.DECIDE)
            if radiograph.case_id
            else 0,
        )
        for radiograph in (found[key] for key in keys if key in found)
    ]


def _of_children(children: Collection[UUID]) -> tuple[Counter[UUID | None], Counter[UUID | None]]:
    """How many radiographs there are of each child, and how many of them nobody has decided on."""
    radiographs: Counter[UUID | None] = Counter()
    to_decide: Counter[UUID | None] = Counter()
    for radiograph in Assessment.objects.filter(case__in=children).only("case_id", "state", "decision"):
        radiographs[radiograph.case_id] += 1
        to_decide[radiograph.case_id] += status_of(radiograph) is Status.DECIDE
    return radiographs, to_decide


def _of_same_child(q: Q) -> QuerySet[Assessment]:
    return Assessment.objects.filter(q, case=OuterRef("case"))


def _in_status(status: Status) -> Q:
    own = _IN_STATUS[status]
    return own | Q(Exists(_of_same_child(own))) if status is Status.DECIDE else own


def _found_by(search: str) -> Q:
    texts = Q(radiograph_name__icontains=search) | Q(note__icontains=search)
    of_child = Assessment.objects.filter(texts, case__isnull=False).values("case")
    return texts | Q(case__reference__icontains=search) | Q(case__in=of_child)
