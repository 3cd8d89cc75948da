"""The third stretch: the result objects of a final assessment are made once, and their bytes are kept.

They are made from stored values alone: file, result, pictures and decision. Making them again gives equal bytes.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version
from io import BytesIO

import cv2
import numpy as np
import pydicom
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone, translation
from django.utils.translation import to_language
from numpy.typing import NDArray
from pydicom import Dataset

from boneage.dicom.identity import ResultKey
from boneage.dicom.objects import KINDS, Kind, ResultObject, rejection_object, result_objects
from boneage.dicom.structured_report import Verification
from boneage.explain import overlay
from boneage.messages.fhir import fhir_transaction
from boneage.messages.hl7 import oru_r01
from boneage.node.configuration import Destination
from boneage.node.destinations import FhirServer, Hl7Receiver
from boneage.reading.dicom.object import parse_object
from boneage.reading.facts import ReadLimits
from boneage.web import texts
from boneage.web.cases.earlier import decided
from boneage.web.cases.exports import last_decision
from boneage.web.installation import bundle
from boneage.web.models import BOTH, FINAL, Assessment, Decision, PictureKind, State, User, configuration
from boneage.web.node import outbox, retraction
from boneage.web.node.models import OTHER_PATIENT, RENDERING_FAILED, Instance, InstanceState, ResultFile
from boneage.web.node.pacs import node_configuration
from boneage.web.node.studies import file_of
from boneage.web.queue import jobs
from boneage.web.queue.pictures import reduced, stored_picture
from boneage.web.report.figures import heat_map_of
from boneage.web.report.messages import issued_at, source_of
from boneage.web.report.pdf import pdf_bytes

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 5
"""Attempts in a row without an outcome, after which the result objects of an instance are given up."""

_PAUSE_SECONDS = 10
"""Time between a failed attempt and the next one."""

_PICTURE_SIDE = 1600
"""Longest side of the radiograph on the page of a result, pixels; the page shows at most 640 by its height."""

_OUTLINE = (90, 200, 250)
"""Colour of the hand's outline, RGB."""


@dataclass(frozen=True, kw_only=True)
class Rendered(outbox.Outgoing):
    """A result object or message.

    Attributes:
        receiver: name of the only destination of a message; empty for an object, which all destinations share.
    """

    receiver: str = ""

    @classmethod
    def of(cls, made: ResultObject) -> Rendered:
        """Return an object with its bytes."""
        data = made.dataset
        return cls(
            kind=made.kind,
            sop_class_uid=str(data.SOPClassUID),
            sop_instance_uid=str(data.SOPInstanceUID),
            series_uid=str(data.SeriesInstanceUID),
            study_uid=str(data.StudyInstanceUID),
            file=made.to_bytes(),
        )

    def is_for(self, destination: Destination) -> bool:
        """Return whether a destination receives it."""
        return self.receiver == destination.name if self.receiver else self.kind in destination.kinds


def advance(worker: str) -> bool:
    """Make the result objects of one instance whose assessment is final. Return False if there is none.

    Args:
        worker: name of the process that makes them.
    """
    claimed = claim(worker)
    if claimed is None:
        return False
    if claimed.failures > MOST_ATTEMPTS:
        log.error("the result objects of instance %d could not be made", claimed.pk)
        finish(claimed, [], reason=RENDERING_FAILED)
        return True
    try:
        finish(claimed, list(render(claimed)), reason=OTHER_PATIENT if claimed.is_of_other_patient else "")
    except Exception:
        log.exception("the result objects of instance %d could not be made", claimed.pk)
        Instance.objects.filter(pk=claimed.pk, attempt=claimed.attempt).update(
            lease_until=Now() + timedelta(seconds=_PAUSE_SECONDS)
        )
    return True


def claim(worker: str) -> Instance | None:
    """Take an instance whose assessment is final under a lease; None without one, and then without a lock.

    Args:
        worker: name of the process that makes the result objects.
    """
    is_free = Q(lease_until=None) | Q(lease_until__lt=Now())
    rows = Instance.objects.filter(is_free, state=InstanceState.QUEUED, assessment__state__in=FINAL)
    return _claim(rows, worker) if rows.exists() else None


@transaction.atomic
def _claim(rows: QuerySet[Instance], worker: str) -> Instance | None:
    first = rows.select_for_update(of=("self",), skip_locked=True).order_by("changed_at").only("pk").first()
    if first is None:
        return None
    Instance.objects.filter(pk=first.pk).update(
        attempt=F("attempt") + 1,
        failures=F("failures") + 1,
        worker=worker,
        lease_until=Now() + timedelta(seconds=configuration().lease_seconds),
    )
    return Instance.objects.select_related("assessment__case").get(pk=first.pk)


@transaction.atomic
def finish(claimed: Instance, made: list[Rendered], reason: str = "") -> bool:
    """Store result objects with their deliveries, if the attempt still counts. Return whether it does.

    What receivers have of kinds that are not made any more is retracted, unless the objects could not be made.

    Args:
        claimed: an instance from `claim`.
        made: its result objects.
        reason: reason for missing objects.
    """
    jobs.locked(Assessment.objects.filter(instances=claimed))  # first, as everywhere: see `jobs.locked`
    rows = Instance.objects.filter(pk=claimed.pk, state=InstanceState.QUEUED, attempt=claimed.attempt)
    rows = rows.filter(assessment=claimed.assessment_id, revision=claimed.revision)
    if not rows.update(state=InstanceState.RENDERED, reason=reason, failures=0, worker="", lease_until=None):
        return False
    assert claimed.assessment is not None  # noqa: S101  # narrows the type
    last = last_decision(claimed.assessment)
    decision = None if last is None else last.pk
    present = set(
        ResultFile.objects.filter(sop_instance_uid__in=[one.sop_instance_uid for one in made]).values_list(
            "sop_instance_uid", flat=True
        )
    )
    outbox.withdraw(Instance.objects.filter(pk=claimed.pk))
    if reason != RENDERING_FAILED:
        retraction.retract(claimed, decision, lambda kind, to: any(one.kind == kind and one.is_for(to) for one in made))
    receivers = node_configuration().receivers()
    for one in made:
        if one.sop_instance_uid in present:  # its first bytes are kept, and were sent
            continue
        outbox.store(one, claimed, decision, [peer.name for peer in receivers if one.is_for(peer)])
    return True


# --- rendering --------------------------------------------------------------------------------------------------------


def render(instance: Instance) -> Iterator[Rendered]:
    """Yield the result objects and messages of an instance, in the order in which they are sent.

    Nothing is sent of a radiograph that was read for both sexes, since no number of it counts, nor before a
    decision if the configuration has ``when = "decided"``. Nothing is sent either of a radiograph that was moved to the
    case of another patient: its study belongs to the wrong patient, and so would the result.

    Args:
        instance: an instance whose assessment is final.

    Raises:
        ValueError: the file of the radiograph is not stored.
    """
    assessment = instance.assessment
    kinds = wanted_kinds()
    if assessment is None or assessment.sex == BOTH or instance.is_of_other_patient:
        return
    file = file_of(instance)
    if file is None:  # nothing to send would mean that what was sent no longer holds
        raise ValueError(f"instance {instance.pk} has no file")
    deliver = node_configuration().deliver
    source = parse_object(file, ReadLimits(max_bytes=max(len(file), configuration().radiograph_bytes)))
    with translation.override(to_language(deliver.language)):
        if assessment.state == State.DONE:
            if deliver.when == "decided" and last_decision(assessment) is None:
                return
            if kinds:
                yield from map(Rendered.of, _results(instance, assessment, source, kinds))
            yield from messages_of(assessment, instance.revision)
        elif "sc" in kinds and deliver.on_rejection == "picture" and _is_last(instance):
            yield Rendered.of(_rejection(assessment, source))


def _results(instance: Instance, assessment: Assessment, source: Dataset, kinds: list[Kind]) -> Iterator[ResultObject]:
    """Yield the result objects of a finished assessment."""
    decision = last_decision(assessment)
    deliver = node_configuration().deliver
    yield from result_objects(
        source,
        assessment.finished,
        picture_of(assessment),
        now=issued_at(assessment, decision, instance.revised_at),
        kinds=kinds,
        language=deliver.language,
        verification=None if decision is None else _verification(assessment, decision),
        predecessor=_predecessor(instance, assessment, decision),
        decision=_cause("" if decision is None else str(decision.pk), instance.revision),
        pdf=lambda: pdf_bytes(assessment),
    )


def _cause(text: str, revision: int) -> str:
    """Return the cause of a result, from which its UID follows, with the revision if it is not the first one."""
    return f"{text} revision {revision}".strip() if revision else text


def _rejection(assessment: Assessment, source: Dataset) -> ResultObject:
    """Return the page which states why a radiograph was not assessed."""
    language, manifest = node_configuration().deliver.language, bundle().manifest
    reason = texts.rejection(assessment.code)
    key = ResultKey(
        source_uid=str(source.SOPInstanceUID),
        source_sha256=assessment.radiograph_sha256,
        bundle=f"{manifest.name} {manifest.version}",
        program=version("boneage"),
        sex=assessment.sex,
        age_months=None,
        decision=assessment.code,
        language=language,
    )
    now = timezone.localtime(assessment.finished_at or assessment.submitted_at)
    return rejection_object(source, key, reason["title"], reason["advice"], now=now, language=language)


def _is_last(instance: Instance) -> bool:
    """Return whether no other radiograph of the study was read, or may be read instead."""
    others = Instance.objects.filter(study_uid=instance.study_uid).exclude(pk=instance.pk)
    others = others.exclude(state=InstanceState.SKIPPED).exclude(assessment__state__in=[State.REJECTED, State.FAILED])
    return not others.exists()


def wanted_kinds() -> list[Kind]:
    """Return the kinds of objects that at least one receiver wants, in the order of sending."""
    wanted = {kind for peer in node_configuration().receivers() for kind in peer.kinds}
    return [kind for kind in KINDS if kind in wanted]


def messages_of(assessment: Assessment, revision: int = 0) -> Iterator[Rendered]:
    """Yield the messages of a finished assessment, one for each FHIR server and HL7 receiver.

    All messages about a radiograph have one identifier, that of its first assessment, so that a later result takes the
    place of an earlier one.

    Args:
        assessment: a finished one, of a known sex.
        revision: revision of the instance (`Instance.revision`).
    """
    document, source = assessment.finished, replace(source_of(assessment), id=str(_first(assessment).pk))
    decision = last_decision(assessment)
    for one in node_configuration().receivers():
        if isinstance(one, FhirServer):
            finds = one.find_patient and bool(source.patient)
            made = fhir_transaction(
                document, source, one.version, patient_system=one.patient_system, find_patient=finds
            )
            content = json.dumps(made, ensure_ascii=False).encode()
        elif isinstance(one, Hl7Receiver):
            content = oru_r01(document, source, one.application, one.facility).encode()
        else:
            continue
        cause = f"{assessment.pk} {None if decision is None else decision.pk} {one.kinds[0]} {one.name}"
        uid = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, _cause(cause, revision)).int}"
        yield Rendered(kind=one.kinds[0], sop_instance_uid=uid, file=content, receiver=one.name)


def _first(assessment: Assessment) -> Assessment:
    """Return the first assessment of a radiograph that was assessed again, for another sex for example."""
    first = assessment
    while (earlier := first.supersedes.order_by("submitted_at").first()) is not None:
        first = earlier
    return first


def picture_of(assessment: Assessment) -> NDArray[np.uint8]:
    """Return the radiograph with heat map and outline of the hand, uint8 (h, w, 3), RGB.

    Args:
        assessment: a finished one.

    Raises:
        ValueError: the picture of the radiograph is not stored.
    """
    radiograph = stored_picture(assessment, PictureKind.RADIOGRAPH)
    if radiograph is None:
        raise ValueError(f"assessment {assessment.pk} has no picture")
    heat = heat_map_of(assessment)
    shown = reduced(radiograph, _PICTURE_SIDE)
    picture = np.repeat(shown[..., None], 3, axis=2) if heat is None else overlay(shown, heat, scale_bar=False)
    document = assessment.finished
    if document.hand is not None and document.hand.outline_xy:
        zoom = np.array([picture.shape[1], picture.shape[0]]) / [
            document.radiograph.width_pixels,
            document.radiograph.height_pixels,
        ]
        # OpenCV puts the first pixel's centre at 0, the outline has it at 0.5.
        corners = np.rint(np.asarray(document.hand.outline_xy, dtype=np.float64) * zoom - 0.5).astype(np.int32)
        picture = np.ascontiguousarray(picture)
        cv2.polylines(picture, [corners], True, _OUTLINE, max(1, max(picture.shape) // 500), cv2.LINE_AA)
    return np.asarray(picture, dtype=np.uint8)


def _verification(assessment: Assessment, decision: Decision) -> Verification | None:
    values = decided(assessment)
    if values is None:
        return None
    lines = configuration().letterhead_content.lines
    return Verification(
        decided=values,
        reader=person_name(decision.decided_by),
        organization=lines[0] if lines else "Not stated",
        at=timezone.localtime(decision.decided_at),
    )


def _predecessor(instance: Instance, assessment: Assessment, decision: Decision | None) -> Dataset | None:
    """Return the report that the new one replaces: that before the decision, or before a correction."""
    number = None if decision is None else decision.pk
    own = Q(assessment=assessment, decision=number, revision=instance.revision)
    before = instance.results.filter(kind="sr").exclude(own)
    last = before.order_by("-pk").first()
    return None if last is None else pydicom.dcmread(BytesIO(bytes(last.file)))


def person_name(user: User | None) -> str:
    """Return the name of a physician as DICOM writes it, ``Family^Given^^^Credential``; the name of the account without
    a full one.

    Args:
        user: the physician; None if the account was deleted, whose name is ``Unknown^``.
    """
    if user is None:
        return "Unknown^"
    *given, family = _component(user.get_full_name() or user.username).split() or [user.username]
    return f"{family}^{' '.join(given)}" + (f"^^^{_component(user.credential)}" if user.credential else "")


def _component(text: str) -> str:
    """Return a text without the characters that separate the parts of a person name (PS3.5, 6.2)."""
    return text.translate(str.maketrans("^=\\", "   "))
