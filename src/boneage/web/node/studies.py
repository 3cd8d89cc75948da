"""The second stretch: a study is quiet, its radiographs are selected, and each is submitted or asks for the sex."""

from __future__ import annotations

from datetime import date, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, Max, OuterRef
from django.db.models.functions import Now
from django.http import Http404
from django.utils.translation import gettext

from boneage.clinical.ages import latest_study_day
from boneage.node.instance import InstanceHeader
from boneage.node.selection import SkipReason, select
from boneage.web.accounts.audit import SYSTEM, Action, record
from boneage.web.models import Assessment, Case, PictureKind, Role, State, User
from boneage.web.node import tallies
from boneage.web.node.models import Instance, InstanceState
from boneage.web.node.pacs import node_configuration
from boneage.web.node.patients import complete, find_case, make_case, sex_of
from boneage.web.queue import jobs

SEX_MISSING = "sex_missing"
"""Reason for the need of the sex: neither the header nor the case states it."""
SEX_DIFFERS = "sex_differs"
"""Reason for the need of the sex: header and case contradict each other."""
DECIDED = "decided"
"""Reason for the need of the sex: the header of a radiograph changed after a physician's decision."""

_REJECTED = (State.REJECTED, State.FAILED)
_STUDIES_AT_ONCE = 50


def advance() -> int:
    """Bring each instance of some studies to its next state. Return the number of studies.

    These are studies that are quiet, and studies with radiographs in reserve of which nothing is being assessed: the
    preferred radiograph was rejected, and the next one is read, or it was read, and the others are not needed.

    Raises:
        BusyError: ``busy``: too many radiographs wait. The study stays as it was, and the next call tries again.
    """
    uids = _quiet_studies() or _studies_with_reserve()
    for uid in uids:
        for reason in _advance_study(uid):
            tallies.add(tallies.SKIPPED, reason)
    return len(uids)


def _quiet_studies() -> list[str]:
    quiet = timedelta(seconds=node_configuration().select.study_quiet_seconds)
    waiting = Instance.objects.filter(state=InstanceState.WAITING).values("study_uid")
    studies = waiting.annotate(last=Max("changed_at")).filter(last__lte=Now() - quiet).order_by("last")
    return [study["study_uid"] for study in studies[:_STUDIES_AT_ONCE]]


def _studies_with_reserve() -> list[str]:
    pending = (InstanceState.WAITING, InstanceState.QUEUED, InstanceState.NEEDS_SEX)
    pending_rows = Instance.objects.filter(study_uid=OuterRef("study_uid"), state__in=pending)
    rows = Instance.objects.filter(~Exists(pending_rows), state=InstanceState.RESERVE)
    return list(rows.order_by("study_uid").values_list("study_uid", flat=True).distinct()[:_STUDIES_AT_ONCE])


@transaction.atomic
def _advance_study(study_uid: str) -> list[str]:
    """Bring each instance of a study to its next state. Return the reasons of those that were skipped."""
    of_study = Instance.objects.filter(study_uid=study_uid)
    jobs.locked(Assessment.objects.filter(instances__in=of_study))  # first, as everywhere: see `jobs.locked`
    rows = list(of_study.exclude(state=InstanceState.SKIPPED).select_for_update(of=("self",)).order_by("pk"))
    _submit_again([row for row in rows if row.state == InstanceState.WAITING and row.assessment_id is not None])
    rejected = {row.pk for row in rows if _is_rejected(row)}
    candidates = {row.sop_instance_uid: row for row in rows if row.pk not in rejected}
    choice = select([row.header for row in candidates.values()], node_configuration().select)
    reasons = [
        _skip(candidates[uid], reason) for uid, reason in choice.skipped.items() if _is_undecided(candidates[uid])
    ]
    is_settled: dict[str, bool] = {}
    for uids in choice.candidates:
        group = [candidates[uid] for uid in uids]
        is_read = any(row.state == InstanceState.RENDERED for row in group)
        if not is_read and not any(row.state in {InstanceState.QUEUED, InstanceState.NEEDS_SEX} for row in group):
            _begin(next(row for row in group if _is_undecided(row)))
        for row in group:
            is_settled[row.sop_instance_uid] = is_settled.get(row.sop_instance_uid, True) and is_read
    for uid, settled in is_settled.items():
        row = candidates[uid]
        if settled and _is_undecided(row):
            reasons.append(_skip(row, SkipReason.ANOTHER_PREFERRED))
        elif row.state == InstanceState.WAITING:
            row.state = InstanceState.RESERVE
            row.save(update_fields=["state"])
    return reasons


def _is_undecided(row: Instance) -> bool:
    return row.state in {InstanceState.WAITING, InstanceState.RESERVE}


def _is_rejected(row: Instance) -> bool:
    return row.state == InstanceState.RENDERED and row.assessment is not None and row.assessment.state in _REJECTED


def _skip(row: Instance, reason: SkipReason) -> str:
    row.skip(reason.value)
    row.save()
    return reason.value


def _begin(row: Instance) -> None:
    """Submit a radiograph, or let it ask for the sex."""
    sex = sex_of(row.header, find_case(row.header, row.department))
    if sex:
        _submit(row, sex, None)
        return
    row.state = InstanceState.NEEDS_SEX
    row.reason = SEX_DIFFERS if row.header.sex in {"F", "M"} else SEX_MISSING
    row.save(update_fields=["state", "reason"])


def _submit_again(rows: list[Instance]) -> None:
    """Submit radiographs whose sex, birth date or study date changed in their header. A physician's decision is not
    replaced by a header: the radiograph asks for the sex instead.
    """
    for row in rows:
        assessment = row.assessment
        assert assessment is not None  # noqa: S101  # narrows the type
        if assessment.decision:
            row.state, row.reason = InstanceState.NEEDS_SEX, DECIDED
            row.save(update_fields=["state", "reason"])
            continue
        _submit(row, row.header.sex if row.header.sex in {"F", "M"} else assessment.sex, None)


@transaction.atomic
def set_sex(instance: Instance, sex: str, user: User) -> None:
    """Submit a radiograph that asks for the sex.

    Args:
        instance: an instance.
        sex: one of `boneage.web.models.SEXES`.
        user: the user who states it.

    Raises:
        Http404: it no longer asks for the sex.
        ValidationError: other radiographs of the case have another sex; or a decision exists, and the user is no
            reviewer.
        BusyError: ``busy``.
    """
    row = Instance.objects.select_for_update().filter(pk=instance.pk, state=InstanceState.NEEDS_SEX).first()
    if row is None:
        raise Http404
    if row.reason == DECIDED and not user.may(Role.REVIEWER):
        raise ValidationError(gettext("A decision exists: a reviewer must state the sex."), "reviewer_needed")
    _submit(row, sex, user)
    if row.state == InstanceState.NEEDS_SEX:
        raise ValidationError(
            gettext("Other radiographs of this patient were read for another sex. Correct them first."), "case_differs"
        )


def _submit(row: Instance, sex: str, user: User | None) -> None:
    """Submit a radiograph. If its case has radiographs of another sex, it asks for the sex instead."""
    header, replaced = row.header, row.assessment
    case = make_case(header, sex, row.department) if replaced is None else _locked_case(replaced)
    if case is not None and not complete(case, header, sex, replaced):
        row.state, row.reason = InstanceState.NEEDS_SEX, SEX_DIFFERS
        row.save(update_fields=["state", "reason"])
        return
    birth_date, study_date = _dates(header)
    made = jobs.submit(
        jobs.Submission(
            radiograph=bytes(row.file or b""),
            radiograph_name=header.accession,
            sex=sex,
            birth_date=birth_date,
            study_date=study_date,
            case=case,
            department=row.department if replaced is None else replaced.department,
            user=user,
        )
    )
    row.assessment, row.state, row.reason, row.file, row.failures = made, InstanceState.QUEUED, "", None, 0
    row.revision += 0 if replaced is None else 1  # new UIDs, also for a reading that there was before
    row.save(update_fields=["assessment", "state", "reason", "file", "failures", "revision"])
    if replaced is not None:
        replaced.superseded_by = made
        replaced.save(update_fields=["superseded_by"])
        record(SYSTEM if user is None else user, Action.SUPERSEDED, replaced, by=str(made.pk), sex=sex)
    record(SYSTEM if user is None else user, Action.SUBMIT, made, instance=row.pk, peer=row.peer)


def _locked_case(assessment: Assessment) -> Case | None:
    return Case.objects.select_for_update().filter(assessments=assessment).first()


def _dates(header: InstanceHeader) -> tuple[date | None, date | None]:
    """Return birth and study date, as far as they can be true together. The file's own warn of what cannot."""
    latest = latest_study_day()
    birth = header.birth_date if header.birth_date is not None and header.birth_date <= latest else None
    study = header.study_date if header.study_date is not None and header.study_date <= latest else None
    return (birth, study) if birth is None or study is None or birth <= study else (None, None)


def file_of(instance: Instance) -> bytes | None:
    """Return the DICOM file of an instance with its present header; None if it is no longer stored."""
    if instance.file is not None:
        return bytes(instance.file)
    if instance.assessment is None:
        return None
    upload = instance.assessment.pictures.filter(kind=PictureKind.UPLOAD).values_list("data", flat=True).first()
    return None if upload is None else bytes(upload)
