"""Tables of the node: received instances, result objects, and their deliveries."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from pydantic import TypeAdapter

from boneage.node.instance import InstanceHeader
from boneage.web.departments import LONGEST_NAME, NO_DEPARTMENT
from boneage.web.models import Assessment, User, in_departments_of
from boneage.web.node.patients import reference_of

_HEADER: TypeAdapter[InstanceHeader] = TypeAdapter(InstanceHeader)
_UID, _SHA256 = 64, 64


RENDERING_FAILED = "rendering_failed"
"""Reason of an instance whose result objects could not be made."""
OTHER_PATIENT = "other_patient"
"""Reason of an instance whose results are withheld: the patient of its file is not the patient of its case."""


class InstanceState(models.TextChoices):
    """States of a received instance. The last two are final until a new header or a decision arrives."""

    WAITING = "waiting", _("Waiting for the rest of its study")
    RESERVE = "reserve", _("Read only if another radiograph is rejected")
    NEEDS_SEX = "needs_sex", _("Waiting for the sex")
    QUEUED = "queued", _("Being assessed")
    RENDERED = "rendered", _("Assessed")
    SKIPPED = "skipped", _("Not read")


class InstanceQuerySet(models.QuerySet["Instance"]):
    """Received instances."""

    def visible_to(self, user: User | None) -> InstanceQuerySet:
        """Return the instances that a user may see: by the department of the assessment, or before it by their own."""
        before = Q(assessment=None) & in_departments_of(user, "department")
        return self.filter(before | Q(assessment__isnull=False) & in_departments_of(user, "assessment__department"))

    def make_again(self) -> None:
        """Let the results of these instances be made again, in the open transaction. Results that are present already
        stay, and so does an instance whose results were not made yet.
        """
        states = (InstanceState.QUEUED, InstanceState.RENDERED)
        # The attempt rises, so that a rendering that is under way no longer counts.
        self.filter(state__in=states).update(
            state=InstanceState.QUEUED, attempt=F("attempt") + 1, failures=0, worker="", lease_until=None
        )


class Instance(models.Model):
    """An instance that a peer sent. `intake`, `studies` and `results` change its state, each in its stretch."""

    objects = InstanceQuerySet.as_manager()

    sop_instance_uid = models.CharField(max_length=_UID, unique=True)
    sop_class_uid = models.CharField(max_length=_UID)
    peer = models.CharField(max_length=32)
    """Name of the peer in the configuration of the node."""
    department = models.CharField(max_length=LONGEST_NAME, blank=True, default=NO_DEPARTMENT)
    """Name of the department to which its radiograph is submitted; afterwards, that of the assessment counts."""
    state = models.CharField(max_length=9, choices=InstanceState.choices, default=InstanceState.WAITING)
    reason = models.CharField(max_length=32, blank=True)
    """Reason for skipping (`boneage.node.selection.SkipReason`), or for the need of the sex."""
    uid_conflicts = models.PositiveIntegerField(default=0)
    """Number of times that other pixels arrived under the same SOP Instance UID. The first pixels are kept."""

    # Identity, for the search of the worklist. Skipped instances keep the accession number only.
    study_uid = models.CharField(max_length=_UID, blank=True, db_index=True)
    patient_id = models.CharField(max_length=64, blank=True)
    issuer = models.CharField(max_length=64, blank=True)
    accession = models.CharField(max_length=64, blank=True, db_index=True)
    header_values = models.JSONField(null=True)
    """`boneage.node.instance.InstanceHeader` as JSON; `header` reads it. Skipped instances have none."""
    data_sha256 = models.CharField(max_length=_SHA256, blank=True)
    pixels_sha256 = models.CharField(max_length=_SHA256, blank=True)
    file = models.BinaryField(null=True)
    """The DICOM file until it is submitted: then the assessment keeps it. A file that differs from the assessed one in
    its header only is kept here."""
    received_at = models.DateTimeField(db_default=Now())
    changed_at = models.DateTimeField(db_default=Now())
    """Time at which the present header arrived."""

    assessment = models.ForeignKey(Assessment, null=True, on_delete=models.CASCADE, related_name="instances")
    """Assessment that counts; None before the submission."""
    revision = models.PositiveIntegerField(default=0)
    """Number of changes that altered what the results state, other than decisions. Results of an earlier revision no
    longer count (`boneage.web.node.following`)."""
    revised_at = models.DateTimeField(null=True)
    """Time of the last of these changes; None without one."""
    worker = models.CharField(max_length=64, blank=True)
    attempt = models.PositiveIntegerField(default=0)
    """Number of the present attempt to make the result objects. Only its outcome counts."""
    failures = models.PositiveSmallIntegerField(default=0)
    """Attempts in a row that brought no outcome."""
    lease_until = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["state", "changed_at"])]

    @property
    def header(self) -> InstanceHeader:
        """The header. Skipped instances have none.

        Raises:
            pydantic.ValidationError: there is none.
        """
        return _HEADER.validate_python(self.header_values)

    @property
    def is_of_other_patient(self) -> bool:
        """Return whether the radiograph is in the case of another patient than its file states. A file without a
        Patient ID contradicts no case.
        """
        reference = reference_of(self.patient_id, self.issuer)
        case = None if self.assessment is None else self.assessment.case
        return case is not None and reference not in {"", case.reference}

    def take_header(self, header: InstanceHeader) -> None:
        """Set the header and all columns that follow from it."""
        values: dict[str, Any] = _HEADER.dump_python(header, mode="json")
        self.header_values = values
        self.sop_class_uid, self.study_uid = header.sop_class_uid, header.study_uid
        self.patient_id, self.issuer, self.accession = header.patient_id, header.issuer, header.accession
        self.data_sha256, self.pixels_sha256 = header.data_sha256, header.pixels_sha256

    def skip(self, reason: str) -> None:
        """Set the state `SKIPPED`, and forget the bytes and the patient. The checksums stay, for duplicates, and the
        accession number, by which the instance can be looked up.
        """
        self.state, self.reason, self.file, self.header_values = InstanceState.SKIPPED, reason, None, None
        self.patient_id = self.issuer = ""


class ResultFile(models.Model):
    """A result as it is sent: a DICOM file, or a message to one destination. These very bytes go out, however often
    they are sent. The retraction of results that were sent is one, too (`boneage.web.node.retraction`).
    """

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="results")
    assessment = models.ForeignKey(Assessment, on_delete=models.CASCADE, related_name="+")
    decision = models.BigIntegerField(null=True)
    """Number of the physician's decision (`boneage.web.models.Decision`); None before one."""
    revision = models.PositiveIntegerField(default=0)
    """Revision of the instance (`Instance.revision`) from which it was made."""
    kind = models.CharField(max_length=4)
    """Kind of object (`boneage.dicom.objects.Kind`, or its ``NoteKind`` for a retraction) or of message
    (`boneage.node.destinations.MessageKind`)."""
    sop_class_uid = models.CharField(max_length=_UID, blank=True)
    """Empty for a message."""
    sop_instance_uid = models.CharField(max_length=_UID, unique=True)
    """For a message: a UID derived from its cause and destination, by which it is made only once."""
    study_uid = models.CharField(max_length=_UID, blank=True)
    """Study to which the object belongs, also if a later header names another one. Empty for a message."""
    series_uid = models.CharField(max_length=_UID, blank=True)
    """Empty for a message."""
    file = models.BinaryField()
    sha256 = models.CharField(max_length=_SHA256)
    made_at = models.DateTimeField(db_default=Now())


class DeliveryState(models.TextChoices):
    """States of a delivery. `STORED` is final for receivers without storage commitment."""

    DUE = "due", _("Not yet sent")
    SENDING = "sending", _("Being sent")
    STORED = "stored", _("Stored")
    COMMITTED = "committed", _("Stored and confirmed")
    DEAD = "dead", _("Not delivered")
    GIVEN_UP = "given_up", _("Given up")


class Delivery(models.Model):
    """A result on its way to one receiver. `boneage.web.node.outbox` changes its state."""

    result = models.ForeignKey(ResultFile, on_delete=models.CASCADE, related_name="deliveries")
    peer = models.CharField(max_length=32)
    state = models.CharField(max_length=9, choices=DeliveryState.choices, default=DeliveryState.DUE)
    created_at = models.DateTimeField(db_default=Now())
    begun_at = models.DateTimeField(db_default=Now())
    """Time from which attempts count; an administrator's retry renews it."""
    due_at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0)
    """Number of the present attempt. Only its outcome counts."""
    failures = models.PositiveIntegerField(default=0)
    """Failed attempts since `begun_at`."""
    worker = models.CharField(max_length=64, blank=True)
    lease_until = models.DateTimeField(null=True)
    code = models.CharField(max_length=64, blank=True)
    """Code of the last outcome, if it was no plain success."""
    status = models.CharField(max_length=32, blank=True)
    """Status of the last outcome, as its protocol writes it: ``0xA700`` (PS3.7, annex C), ``HTTP 503``, ``AE 207``."""
    stored_at = models.DateTimeField(null=True)
    sent_class_uid = models.CharField(max_length=_UID, blank=True)
    sent_instance_uid = models.CharField(max_length=_UID, blank=True, db_index=True)
    """UIDs as they were sent last: those of the file, or of a simpler class of report
    (`boneage.node.result_classes`); empty before the first answer."""
    receipt_unknown = models.BooleanField(default=False)
    """True after an attempt that the receiver did not answer: it may have the result."""

    retraction = models.ForeignKey(ResultFile, null=True, on_delete=models.SET_NULL, related_name="retracts")
    """Object or message that retracts this result at this receiver; None as long as it holds. A retraction whose own
    delivery was given up has retracted nothing."""

    # Storage commitment
    commit_due_at = models.DateTimeField(null=True)
    """Time of the request; None where none is due."""
    transaction_uid = models.CharField(max_length=_UID, blank=True, db_index=True)
    commit_requested_at = models.DateTimeField(null=True)
    committed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["result", "peer"], name="one_delivery_to_a_peer")
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["peer", "state", "due_at"])]


class Contact(models.Model):
    """Last contact with a peer."""

    peer = models.CharField(max_length=32, primary_key=True)
    received_at = models.DateTimeField(null=True)
    """Last instance that it sent."""
    reached_at = models.DateTimeField(null=True)
    """Last answer that it gave."""
    failed_at = models.DateTimeField(null=True)
    """Last failure of a connection to it."""
    code = models.CharField(max_length=64, blank=True)
    """Code of that failure."""


class Tally(models.Model):
    """Number of events of a kind since the installation, for `boneage.web.node.metrics`."""

    kind = models.CharField(max_length=16)
    code = models.CharField(max_length=64, blank=True)
    count = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["kind", "code"], name="one_tally_of_a_kind_and_code")
        ]
