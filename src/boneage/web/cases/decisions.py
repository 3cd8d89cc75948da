"""Decisions on assessments (accept, or correct with a reason; both remain) and their deletion. Pages and REST API share
these rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy

from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.errors import BoneageError
from boneage.web.accounts.audit import Action, by_token, record
from boneage.web.models import Assessment, Case, Decision, Role, State, User, Verdict, configuration
from boneage.web.queue import jobs

LONGEST_REASON = 2000
"""Maximum number of characters of a reason."""


class DecisionError(BoneageError):
    """A decision that cannot be stored.

    ``not_decidable``: there is no estimate to decide on, or it is not a bone age and cannot be accepted.
    ``critical_unconfirmed``: the estimate carries a critical warning, and its acceptance was not confirmed.
    """


@dataclass(frozen=True)
class DecisionInput:
    """A decision that is valid in itself.

    Attributes:
        verdict: accepted or corrected.
        age_months: the corrected bone age, 0 to 228 months; None if accepted.
        reason: the reason for a correction, never empty; empty if accepted.
        confirms_critical: the user confirms accepting an estimate with a critical warning.
    """

    verdict: Verdict
    age_months: float | None = None
    reason: str = ""
    confirms_critical: bool = False


class CorrectionForm(forms.Form):
    """A corrected age in years and months, and the reason."""

    years = forms.IntegerField(label=gettext_lazy("Years"), min_value=0, max_value=int(OLDEST_MONTHS // 12))
    months = forms.IntegerField(label=gettext_lazy("Months"), min_value=0, max_value=11, required=False)
    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        max_length=LONGEST_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": gettext_lazy("Enter the reason for the correction.")},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            self._describe(name, field)

    def _describe(self, name: str, field: forms.Field) -> None:
        """Link the errors to their field, for screen readers."""
        if self.is_bound and self.errors.get(name):
            field.widget.attrs |= {"aria-invalid": "true", "aria-describedby": f"{self[name].auto_id}-errors"}

    def clean(self) -> dict[str, Any]:
        """Combine years and months into one age."""
        cleaned = super().clean() or self.cleaned_data
        if "years" in cleaned and "months" in cleaned:
            cleaned["age_months"] = 12.0 * cleaned["years"] + (cleaned["months"] or 0)
            if cleaned["age_months"] > OLDEST_MONTHS:
                self.add_error("months", gettext("Bone age ends at 19 years."))
        return cleaned

    def decision_input(self) -> DecisionInput:
        """Return the decision of a valid form."""
        return DecisionInput(Verdict.CORRECTED, self.cleaned_data["age_months"], self.cleaned_data["reason"])


def may_decide(assessment: Assessment, user: User | None) -> bool:
    """Return whether this user may decide now: in the mode ``clinic``, only reviewers may change a decision. Nobody
    decides on a superseded assessment.
    """
    if assessment.state != State.DONE or assessment.superseded_by_id is not None:
        return False
    if configuration().is_open:
        return True
    return user is not None and user.may(Role.REVIEWER if assessment.decision else Role.READER)


def can_be_accepted(assessment: Assessment) -> bool:
    """Return whether there is one estimate, and it is a bone age at all."""
    return assessment.age_months is not None and not assessment.is_meaningless


@transaction.atomic
def decide(assessment: Assessment, decision: DecisionInput, user: User | None, *, via: str = "") -> Decision:
    """Store a decision; `assessment` is brought up to date.

    Args:
        assessment: a finished one.
        decision: the decision.
        user: the user; None in the mode ``open``.
        via: name of the API token that was used, for the audit log.

    Raises:
        Http404: it was deleted meanwhile.
        PermissionDenied: this user may not, or not any more: somebody else has just decided.
        DecisionError: ``not_decidable``, ``critical_unconfirmed``.
    """
    current = Assessment.objects.select_for_update().filter(pk=assessment.pk).first()
    if current is None:
        raise Http404
    if current.state != State.DONE:
        raise DecisionError("not_decidable", "There is no estimate to decide on.")
    if not may_decide(current, user):
        raise PermissionDenied
    if decision.verdict == Verdict.ACCEPTED and not can_be_accepted(current):
        raise DecisionError("not_decidable", "This number is no bone age: it cannot be accepted.")
    accepted = decision.verdict == Verdict.ACCEPTED
    detail = {"confirmed": "critical"} if accepted and current.is_unusable else {}
    if detail and not decision.confirms_critical:
        raise DecisionError("critical_unconfirmed", "The estimate carries a critical warning: confirm accepting it.")
    age_months = current.age_months if accepted else decision.age_months
    if age_months is None:
        raise DecisionError("not_decidable", "There is no estimate to decide on.")
    made = Decision.objects.create(
        assessment=current, verdict=decision.verdict, age_months=age_months, reason=decision.reason, decided_by=user
    )
    current.decision, current.decided_months = decision.verdict, age_months
    current.save(update_fields=["decision", "decided_months", *current.derive()])
    if current.case_id is not None:
        Case.objects.filter(pk=current.case_id).update(changed_at=timezone.now())
    record(
        user,
        Action.DECIDE,
        current,
        verdict=str(decision.verdict),
        age_months=round(age_months, 2),
        **detail,
        **by_token(via),
    )
    assessment.decision, assessment.decided_months = current.decision, current.decided_months
    assessment.derive()
    return made


def may_delete(user: User | None) -> bool:
    """Return whether this user may delete assessments: reviewers in the mode ``clinic``, otherwise anyone with the
    address.
    """
    return configuration().is_open or (user is not None and user.may(Role.REVIEWER))


@transaction.atomic
def delete_assessment(assessment: Assessment, user: User | None, *, via: str = "") -> None:
    """Delete an assessment with its radiograph, pictures and decisions, in any state.

    The superseded results that it replaced are deleted with it. Otherwise a result of the wrong sex would count again.

    Args:
        assessment: any.
        user: the user; None in the mode ``open``.
        via: name of the API token that was used, for the audit log.

    Raises:
        Http404: it was deleted meanwhile.
        PermissionDenied: this user may not.
    """
    if not may_delete(user):
        raise PermissionDenied
    replaced = _replaced_by(assessment)
    if not jobs.delete(Assessment.objects.filter(pk__in=[assessment.pk, *(one.pk for one in replaced)])):
        raise Http404
    if assessment.case_id is not None:
        Case.objects.filter(pk=assessment.case_id).update(changed_at=timezone.now())
    record(user, Action.DELETE, assessment, **by_token(via))
    for one in replaced:
        record(user, Action.DELETE, one, replaced_by=str(assessment.pk), **by_token(via))


def _replaced_by(assessment: Assessment) -> list[Assessment]:
    """Return the superseded results that an assessment replaced, directly or through others."""
    replaced: list[Assessment] = []
    latest = [assessment.pk]
    while latest:
        earlier = list(Assessment.objects.filter(superseded_by__in=latest).only("pk").order_by("submitted_at"))
        replaced += earlier
        latest = [one.pk for one in earlier]
    return replaced
