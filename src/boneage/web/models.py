"""Stored data of the service. Radiographs and pictures are rows too: a change of state is one transaction, deletion
takes everything with it, and workers on other machines need nothing but the database.
"""

from __future__ import annotations

import secrets
import uuid
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, NoReturn

from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from boneage.clinical.ages import AgePrecision, ChronologicalAge
from boneage.clinical.documents import read_again, with_critical_warning
from boneage.files import sha256_of
from boneage.severity import Severity
from boneage.sex import BOTH_SEXES
from boneage.warnings_ import ResultWarning, WarningCode
from boneage.web.chronological_age import age_of_columns
from boneage.web.configuration import Configuration
from boneage.web.departments import LONGEST_NAME, NO_DEPARTMENT
from boneage.web.documents import StoredResult, read_stored, stored_value
from boneage.web.reading_columns import reading_columns
from boneage.web.user_names import appearance_of


def configuration() -> Configuration:
    """Return the settings of the installation."""
    current: Configuration = settings.CONFIGURATION
    return current


class Role(models.TextChoices):
    """Roles of users of the mode ``clinic``. Each role includes the rights of those before it."""

    READER = "reader", _("Reader")
    """Submits radiographs, reads the results, decides on estimates without a decision."""
    REVIEWER = "reviewer", _("Reviewer")
    """Changes the decisions of others, exports the worklist, deletes cases."""
    ADMINISTRATOR = "administrator", _("Administrator")
    """Manages users, the tokens of others, and the audit log."""


FROM_PROXY = "proxy "
"""Beginning of the identity of a user whom a proxy has checked; an issuer of OpenID Connect begins with ``https``."""


class User(AbstractUser):
    """An account of the mode ``clinic``."""

    role = models.CharField(max_length=16, choices=Role.choices, default=Role.READER)
    password_is_temporary = models.BooleanField(default=False)
    """An administrator knows the password: the user must choose another one first."""
    password_expires_at = models.DateTimeField(null=True, editable=False)
    """End of validity of a one-time password; None for a password chosen by the user."""
    appearance = models.CharField(max_length=150, unique=True, editable=False)
    """Result of `boneage.web.user_names.appearance_of` for the name, so that no two users have names that look alike.
    """
    sign_on = models.CharField(max_length=512, null=True, unique=True, editable=False)
    """Identity at the provider of single sign-on (`boneage.web.accounts.sign_on`) or at a proxy
    (`boneage.web.accounts.header_login`); None for a local account."""
    credential = models.CharField(max_length=64, blank=True, default="")
    """Qualification that stands behind the name on reports, such as "MD, paediatric radiologist"."""

    departments = models.JSONField(default=list, blank=True)
    """Names of the departments whose cases the user sees (`boneage.web.departments`)."""

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save the user; a new user's name gets its appearance."""
        self.appearance = self.appearance or appearance_of(self.username)
        super().save(*args, **kwargs)

    def may(self, role: Role) -> bool:
        """Return True if this user has this role or a higher one."""
        order = list(Role)
        return self.is_active and order.index(Role(self.role)) >= order.index(role)

    @property
    def own_departments(self) -> list[str]:
        """Departments for which the user may submit a radiograph, at least one; `NO_DEPARTMENT` stands for none."""
        names = configuration().department_list.names
        if not names:
            return [NO_DEPARTMENT]
        if self.may(Role.ADMINISTRATOR):
            return [NO_DEPARTMENT, *names]
        return [name for name in names if name in self.departments] or [NO_DEPARTMENT]

    @property
    def sees_departments(self) -> bool:
        """Return whether the user sees the cases of several departments."""
        has_several = self.may(Role.ADMINISTRATOR) or len(self.departments) > 1
        return bool(configuration().department_list) and has_several

    @property
    def signature(self) -> str:
        """Return the name on reports: the full name, or the name of the account, with the credential."""
        return ", ".join(filter(None, (self.get_full_name() or self.username, self.credential)))

    @property
    def is_local(self) -> bool:
        """Return whether the user logs in with a password of this service."""
        return self.sign_on is None

    @property
    def is_from_proxy(self) -> bool:
        """Return whether a proxy logs the user in, which checks each request."""
        return self.sign_on is not None and self.sign_on.startswith(FROM_PROXY)

    @property
    def has_second_factor(self) -> bool:
        """Return whether a login requires a one-time code besides the password."""
        return SecondFactor.objects.filter(user=self).exists()

    @property
    def needs_second_factor(self) -> bool:
        """Return whether the role requires a second factor that the user has not set up yet."""
        return self.is_local and self.role in configuration().second_factor and not self.has_second_factor


class SecondFactor(models.Model):
    """The authenticator app of a user (`boneage.web.accounts.second_factor`)."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="+")
    secret = models.CharField(max_length=255)
    """Shared secret, encrypted with a key that is not in the database."""
    last_step = models.BigIntegerField(default=0)
    """Time step of the last accepted code: no code is accepted twice."""
    set_up_at = models.DateTimeField(default=timezone.now)


class RecoveryCode(models.Model):
    """A code that replaces the authenticator app once. Only its keyed digest is stored; a used code is deleted."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64, unique=True)


class BrowserSession(AbstractBaseSession):
    """A browser session (`boneage.web.accounts.sessions`). Its key is a secret and is never shown."""

    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="sessions")
    begun_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now, db_index=True)
    """Time of the last request of its user, to the minute; polling pages do not count."""
    address = models.GenericIPAddressField(null=True)
    agent = models.CharField(max_length=200, blank=True)
    """Name of the browser, as sent by it."""


def in_departments_of(user: User | None, column: str) -> Q:
    """Return the condition under which a user sees a row. It is the only place that decides on this.

    Administrators see everything, and so does everybody in an installation without departments. A user without a
    department sees what belongs to no department. Nobody sees nothing.

    Args:
        user: the user; None for nobody, or in the mode ``open``, which has no departments.
        column: column of the row that holds the name of its department.
    """
    if not configuration().department_list:
        return Q()
    if user is None:
        return Q(pk__in=[])
    if user.may(Role.ADMINISTRATOR):
        return Q()
    return Q(**{f"{column}__in": user.departments or [NO_DEPARTMENT]})


BOTH = BOTH_SEXES
"""Sex of a child whose sex is unknown, or neither female nor male: the radiograph is read for both."""

SEXES = [("F", _("Female")), ("M", _("Male")), (BOTH, _("Unknown or other"))]
"""Choices of a form field."""


class CaseQuerySet(models.QuerySet["Case"]):
    """Cases."""

    def visible_to(self, user: User | None) -> CaseQuerySet:
        """Return the cases that a user may see (`in_departments_of`)."""
        return self.filter(in_departments_of(user, "department"))


class Case(models.Model):
    """A child in the mode ``clinic``. The patient reference is case-sensitive, and unique in a department: two
    departments that have radiographs of one child have a case each.
    """

    objects = CaseQuerySet.as_manager()

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    reference = models.CharField(max_length=160)
    department = models.CharField(max_length=LONGEST_NAME, blank=True, default=NO_DEPARTMENT)
    """Name of the department that sees the case."""
    sex = models.CharField(max_length=4, choices=SEXES)
    birth_date = models.DateField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["reference", "department"], name="one_case_of_a_child_in_a_department")
        ]

    @property
    def department_label(self) -> str:
        """Name of the department on pages; empty without one."""
        return configuration().department_list.label(self.department)


class Measurements(models.Model):
    """Measurements of a child and its parents from which the adult height is predicted; a case has one set."""

    case = models.OneToOneField(Case, on_delete=models.CASCADE, related_name="measurements", primary_key=True)
    height_cm = models.FloatField(null=True)
    height_date = models.DateField(null=True)
    weight_kg = models.FloatField(null=True)
    """Weight, measured with the height."""
    mother_cm = models.FloatField(null=True)
    mother_source = models.CharField(max_length=8, blank=True, default="")
    """Origin of that height (`boneage.clinical.height.HeightSource`); empty without a height."""
    father_cm = models.FloatField(null=True)
    father_source = models.CharField(max_length=8, blank=True, default="")
    menarche = models.BooleanField(null=True)
    """None if unknown, and for boys."""
    menarche_age_months = models.FloatField(null=True)
    contraindications = models.JSONField(null=True)
    """List of codes (`boneage.clinical.height.Contraindication`), empty if none is present; None if not recorded."""
    changed_at = models.DateTimeField(default=timezone.now)


class State(models.TextChoices):
    """States of an assessment. The last three are final."""

    QUEUED = "queued", _("Waiting")
    RUNNING = "running", _("Being assessed")
    DONE = "done", _("Assessed")
    REJECTED = "rejected", _("Rejected")
    FAILED = "failed", _("Failed")


FINAL = (State.DONE, State.REJECTED, State.FAILED)


class Verdict(models.TextChoices):
    """A physician's decision on an estimate."""

    ACCEPTED = "accepted", _("Accepted")
    CORRECTED = "corrected", _("Corrected")


class AssessmentQuerySet(models.QuerySet["Assessment"]):
    """Assessments."""

    def visible_to(self, user: User | None) -> AssessmentQuerySet:
        """Return the assessments that a user may see (`in_departments_of`)."""
        return self.filter(in_departments_of(user, "department"))


class Assessment(models.Model):
    """A submitted radiograph and its result.

    Only `boneage.web.queue.jobs` changes `state` and the fields that a worker writes.
    """

    objects = AssessmentQuerySet.as_manager()

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    state = models.CharField(max_length=8, choices=State.choices, default=State.QUEUED)
    case = models.ForeignKey(Case, null=True, blank=True, on_delete=models.CASCADE, related_name="assessments")
    department = models.CharField(max_length=LONGEST_NAME, blank=True, default=NO_DEPARTMENT, db_index=True)
    """Name of the department that sees it: always that of its case, if it has one."""

    # Submitted values
    submitted_at = models.DateTimeField(default=timezone.now, db_index=True, editable=False)
    submitted_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    client = models.CharField(max_length=64, blank=True, db_index=True)
    """Keyed hash of the client's address in the mode ``open`` (`boneage.web.accounts.access.client_of`)."""
    radiograph_name = models.CharField(max_length=255, blank=True)
    """Name of the user's file; it may identify the patient."""
    radiograph_bytes = models.PositiveBigIntegerField()
    radiograph_sha256 = models.CharField(max_length=64)
    pixels_sha256 = models.CharField(max_length=64, blank=True, default="", db_index=True)
    """Checksum of the pixels as they were read (`boneage.web.queue.work.pixels_sha256`), whatever the header of the
    file and its compression; empty before the result, and without one."""
    sex = models.CharField(max_length=4, choices=SEXES)
    birth_date = models.DateField(null=True, blank=True)
    study_date = models.DateField(null=True, blank=True)
    given_age_months = models.FloatField(null=True, blank=True)
    """Chronological age from the user, if no dates were given."""
    given_age_precision = models.CharField(max_length=6, blank=True, default="")
    """Unit to which the user knows the age (`boneage.clinical.ages.AgePrecision`); empty for an exact age."""
    note = models.TextField(blank=True, max_length=2000)

    # Job, see `boneage.web.queue.jobs`
    task_id = models.UUIDField(null=True, editable=False)
    attempt = models.PositiveIntegerField(default=0, editable=False)
    hangs = models.PositiveSmallIntegerField(default=0, editable=False)
    """Number of attempts that ran out of their lease."""
    worker = models.CharField(max_length=64, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)

    # Result
    finished_at = models.DateTimeField(null=True, editable=False)
    expires_at = models.DateTimeField(null=True, db_index=True, editable=False)
    """Time of deletion; set in the mode ``open``."""
    code = models.CharField(max_length=64, blank=True)
    """Reason for a rejection or failure: a code of docs/codes.md, or ``worker_lost``."""
    message = models.TextField(blank=True)
    """The same as one English sentence."""
    age_months = models.FloatField(null=True)
    chronological_age_months = models.FloatField(null=True)
    """Age at the study: from the given dates, otherwise the given age, otherwise from the file. It is the middle of the
    interval where the age is known to the month or the year only.
    """
    chronological_age_precision = models.CharField(max_length=6, blank=True, default="")
    """Unit to which that age is known; empty for an exact age."""
    result = models.JSONField(null=True)
    """`boneage.web.documents.StoredResult` as JSON, or `StoredBothSexes` if the sex is `BOTH`; `readings` reads it."""

    superseded_by = models.ForeignKey("self", null=True, on_delete=models.CASCADE, related_name="supersedes")
    """Assessment of the same radiograph with a corrected sex or date, which replaces this one (`boneage.web.cases.
    corrections`, `boneage.web.node.studies`). This one is deleted with it, so that it never counts again.
    """

    same_radiograph_elsewhere = models.BooleanField(default=False, editable=False)
    """Another patient has the same radiograph (`boneage.web.queue.same_radiograph`)."""

    # Decision: the last of `decisions`
    decision = models.CharField(max_length=16, blank=True, default="")
    decided_months = models.FloatField(null=True)

    # Derived from result and decision by `boneage.web.reading_columns`
    severity = models.CharField(max_length=8, blank=True, default="")
    """Highest severity among the warnings; empty without any."""
    is_meaningless = models.BooleanField(default=False)
    """The estimate is not a bone age (`boneage.assessment.Assessment.is_meaningless`)."""
    difference_months = models.FloatField(null=True)
    """Bone age that counts minus chronological age; None where the clinical reading withholds it."""
    sds = models.FloatField(null=True)
    """SDS of the bone age that counts."""
    determination = models.CharField(max_length=10, blank=True, default="")
    """Class of the bone age that counts (`boneage.clinical.sds.Determination`); empty without one."""
    determination_reason = models.CharField(max_length=24, blank=True, default="")
    """Reason for a missing class (`boneage.clinical.sds.WithheldReason`)."""

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["state", "lease_until"])]

    _read: tuple[Any, tuple[StoredResult, ...]] | None = None
    """The value of `result` that was read last, and what it holds, without the warning of `readings`."""

    @property
    def radiograph_key(self) -> str:
        """Checksum that is the same for the same radiograph: of its pixels, or of its file before there is a result."""
        return self.pixels_sha256 or self.radiograph_sha256

    @property
    def same_radiograph_earlier(self) -> Assessment | None:
        """Return the first assessment of the same radiograph in the same case, if it was submitted before this one. The
        file may be another one.
        """
        if self.case_id is None:
            return None
        is_same = Q(radiograph_sha256=self.radiograph_sha256)
        if self.pixels_sha256:
            is_same |= Q(pixels_sha256=self.pixels_sha256)
        same = Assessment.objects.filter(is_same, case=self.case_id, superseded_by=None)
        return same.filter(submitted_at__lt=self.submitted_at).only("submitted_at").order_by("submitted_at").first()

    @property
    def is_final(self) -> bool:
        """Return whether the state is final."""
        return self.state in FINAL

    @property
    def current_months(self) -> float | None:
        """Return the bone age that counts: the decided one, otherwise the estimate."""
        return self.age_months if self.decided_months is None else self.decided_months

    @property
    def given_age(self) -> ChronologicalAge | None:
        """The age that the user gave; None without one."""
        return age_of_columns(self.given_age_months, self.given_age_precision, is_middle=False)

    @property
    def chronological_age(self) -> ChronologicalAge | None:
        """The age at the study, exact or as an interval; None if it is unknown."""
        return age_of_columns(self.chronological_age_months, self.chronological_age_precision)

    @property
    def readings(self) -> tuple[StoredResult, ...]:
        """The results, typed: one, or those for girls and for boys if the sex is `BOTH`; none unless the assessment is
        done. They have the date of the radiograph that was entered, if one was, and a warning if another patient has
        the same radiograph.
        """
        stored = tuple(map(self._dated, self._stored_readings))
        if not self.same_radiograph_elsewhere:
            return stored
        warning = ResultWarning.of(WarningCode.SAME_RADIOGRAPH_OTHER_PATIENT)
        return tuple(with_critical_warning(one, warning) for one in stored)

    def _dated(self, reading: StoredResult) -> StoredResult:
        """Return a reading with the date of the radiograph that counts, which the file need not state."""
        if self.study_date is None or self.study_date == reading.facts.study_date:
            return reading
        return replace(reading, facts=replace(reading.facts, study_date=self.study_date))

    @property
    def _stored_readings(self) -> tuple[StoredResult, ...]:
        if self.result is None:
            return ()
        if self._read is None or self._read[0] is not self.result:
            self._read = self.result, read_stored(self.result)
        return self._read[1]

    @property
    def stored(self) -> StoredResult | None:
        """The result; None unless the assessment is done and the sex is known."""
        return self.readings[0] if len(self.readings) == 1 else None

    @property
    def finished(self) -> StoredResult:
        """Result of a finished assessment with a known sex.

        Raises:
            ValueError: the assessment has no such result.
        """
        stored = self.stored
        if stored is None:
            raise ValueError(f"assessment {self.pk} has no result by one sex")
        return stored

    def take_age(self, months: float) -> list[str]:
        """Set the chronological age at the study, exact to the day, and read the results by it. A critical warning that
        arises withdraws the decision. Return the names of the columns for `save`.
        """
        before = _critical_codes(self._stored_readings)
        self.chronological_age_months = months
        self.chronological_age_precision = AgePrecision.DAYS.value
        self.result = stored_value([read_again(reading, self.chronological_age) for reading in self._stored_readings])
        columns = ["chronological_age_months", "chronological_age_precision", "result", *self.derive()]
        if _critical_codes(self._stored_readings) - before:
            columns += self.withdraw_decision()
        return columns

    def withdraw_decision(self) -> list[str]:
        """Make the assessment undecided again, since the decision did not know of a critical warning. `decisions`
        remain. Return the names of the columns for `save`.
        """
        self.decision, self.decided_months = "", None
        return ["decision", "decided_months", *self.derive()]

    def derive(self) -> list[str]:
        """Set the columns that are derived from result and decision, and return their names for `save`."""
        columns = asdict(
            reading_columns(self.readings, self.decided_months, is_corrected=self.decision == Verdict.CORRECTED)
        )
        for name, value in columns.items():
            setattr(self, name, value)
        return list(columns)

    @property
    def is_unusable(self) -> bool:
        """Return whether the estimate must not be used: it is not a bone age, or carries a critical warning."""
        return self.is_meaningless or self.severity == Severity.CRITICAL

    @property
    def is_void(self) -> bool:
        """Return whether the number that counts must not be used: the estimate is unusable, and nobody has decided on
        it.
        """
        return self.is_unusable and self.decided_months is None


def _critical_codes(readings: tuple[StoredResult, ...]) -> set[str]:
    return {one.code for reading in readings for one in reading.warnings if one.severity == Severity.CRITICAL}


class Sending(models.Model):
    """A submission by a client in the mode ``open``, stored for an hour. Radiographs themselves are deleted earlier and
    cannot be counted.
    """

    client = models.CharField(max_length=64)
    """Client like `Assessment.client`."""
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["client", "at"])]


class SubmissionKey(models.Model):
    """The ``Idempotency-Key`` of a submission (`boneage.web.cases.idempotency`), stored for a day."""

    digest = models.CharField(max_length=64, unique=True)
    """Digest of the key and its owner."""
    request_digest = models.CharField(max_length=64)
    """Digest of the submission."""
    assessment = models.ForeignKey(Assessment, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(default=timezone.now, db_index=True)


class PictureKind(models.TextChoices):
    """Kinds of stored pictures."""

    UPLOAD = "upload"
    """The uploaded file; in the mode ``open`` it is deleted as soon as there is a result."""
    RADIOGRAPH = "radiograph"
    """JPEG, 8 bit grey, in the pixels of the radiograph (at most 4,096 a side), bone bright."""
    GREY = "grey"
    """PNG, 16 bit grey with `GREY_LEVELS` levels, bone bright: the radiograph's own grey levels for window and level in
    the browser. Only for files with more than 8 bits per pixel; at most 2,048 pixels a side."""
    THUMBNAIL = "thumbnail"
    """JPEG, 8 bit grey: the radiograph, at most 160 pixels a side, for lists."""
    HEAT = "heat"
    """PNG, 8 bit grey: the heat map (`boneage.explain.HeatMap.levels`) over the whole radiograph, at most 512 pixels a
    side."""


class Picture(models.Model):
    """Bytes of a picture that belongs to an assessment."""

    assessment = models.ForeignKey(Assessment, on_delete=models.CASCADE, related_name="pictures")
    kind = models.CharField(max_length=16, choices=PictureKind.choices)
    media_type = models.CharField(max_length=64)
    data = models.BinaryField()

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["assessment", "kind"], name="one_picture_of_a_kind")
        ]


class Decision(models.Model):
    """A stored decision. Decisions are added, never changed; the last one counts."""

    assessment = models.ForeignKey(Assessment, on_delete=models.CASCADE, related_name="decisions")
    verdict = models.CharField(max_length=16, choices=Verdict.choices)
    age_months = models.FloatField()
    """Accepted or corrected bone age."""
    reason = models.TextField(blank=True, max_length=2000)
    decided_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, related_name="+")
    decided_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering: ClassVar[list[str]] = ["decided_at", "pk"]


class AppendOnlyError(TypeError):
    """An attempt to change the audit log."""


class AuditEvent(models.Model):
    """An event of the audit log. Events are never changed nor deleted; triggers in the database enforce this as well.

    Events refer to objects only by their ids: when a case is deleted on request, the log holds no patient data.
    """

    at = models.DateTimeField(default=timezone.now, db_index=True)
    user_name = models.CharField(max_length=150)
    """Name of the account, also where a token acted (named in `detail`); ``system`` for retention."""
    account = models.BigIntegerField(null=True)
    """Number of the account; None where no user acted, whatever `user_name` is."""
    address = models.GenericIPAddressField(null=True)
    """Address of the client (`boneage.web.accounts.access.address_of`); None without a request."""
    action = models.CharField(max_length=32, db_index=True)
    object_type = models.CharField(max_length=16, blank=True)
    object_id = models.CharField(max_length=64, blank=True, db_index=True)
    detail = models.JSONField(default=dict)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the event.

        Raises:
            AppendOnlyError: it is there already.
        """
        if self.pk is not None:
            raise AppendOnlyError("audit events are never changed")
        super().save(*args, **kwargs)

    def delete(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Reject the deletion.

        Raises:
            AppendOnlyError: always.
        """
        raise AppendOnlyError("audit events are never deleted")


class AuditExport(models.Model):
    """Place in the audit log up to which a destination has received it (`boneage.web.accounts.audit_export`)."""

    destination = models.CharField(max_length=255, unique=True)
    last_event = models.BigIntegerField(default=0)
    """Number of the last event that was sent."""
    at = models.DateTimeField(default=timezone.now)


class Scope(models.TextChoices):
    """Scopes of a token. Each scope includes those before it; the user's role limits it further."""

    READ = "read", _("Read")
    SUBMIT = "submit", _("Read and submit")
    FULL = "full", _("Everything your role allows")


TOKEN_DAYS = 365
"""Maximum validity of a token, days."""


def latest_token_end() -> datetime:
    """Return the latest end of validity of a token that is issued now."""
    return timezone.now() + timedelta(days=TOKEN_DAYS)


class ApiToken(models.Model):
    """A token of the REST API in the mode ``clinic``, which acts for its user. Only its digest is stored."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=64)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scope = models.CharField(max_length=8, choices=Scope.choices, default=Scope.FULL)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(default=latest_token_end)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    @classmethod
    def issue(cls, user: User, name: str, scope: Scope = Scope.FULL, days: int = TOKEN_DAYS) -> tuple[ApiToken, str]:
        """Return a new token and its text, which is shown only once."""
        text = f"ba_{secrets.token_urlsafe(32)}"
        end = timezone.now() + timedelta(days=days)
        return cls.objects.create(user=user, name=name, scope=scope, expires_at=end, digest=cls.digest_of(text)), text

    def may(self, scope: Scope) -> bool:
        """Return whether this token has this scope or a wider one."""
        order = list(Scope)
        return order.index(Scope(self.scope)) >= order.index(scope)

    @staticmethod
    def digest_of(text: str) -> str:
        """Return the digest by which a token is looked up. It is random enough that no slow hash is needed."""
        return sha256_of(text.encode())
