"""Documents that the REST API takes and gives; its description is generated from them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from django.utils import timezone
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.clinical.change_documents import ChangeDocument
from boneage.clinical.height.documents import AdultHeightDocument
from boneage.schema import DeterminationCode, WithheldCode, two_decimals
from boneage.severity import Severity
from boneage.web.cases.decisions import LONGEST_REASON
from boneage.web.cases.exports import result_of
from boneage.web.cases.forms import LONGEST_REFERENCE, OLDEST_YEARS
from boneage.web.documents import BothSexesResult, Result
from boneage.web.models import Assessment, State

WITHOUT_NUL = r"^[^\x00]*$"
"""Texts are kept in databases that do not take U+0000."""

NOT_BLANK = r"^[^\x00]*[^\x00\s\x1c-\x1f\x85][^\x00]*$"

Months = Annotated[float, Field(description="Months.")]
Decided = Literal["accepted", "corrected"]
StateName = Literal["queued", "running", "done", "rejected", "failed"]
PlateSex = Literal["F", "M"]
Sex = Literal["F", "M", "both"]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 2.0 is 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _day(value: Any) -> Any:
    """Return the day of a text; JSON has no dates, and a number is rejected."""
    return date.fromisoformat(value) if isinstance(value, str) and len(value) == len("2025-03-10") else value


class Given(BaseModel):
    """JSON that comes in: no other keys, no values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """Why something was not done."""

    code: str = Field(description="Stable; see docs/codes.md.")
    message: str = Field(description="The same for people, in English.")


# --- coming in --------------------------------------------------------------------------------------------------------


class Submission(BaseModel):
    """A radiograph and what is known of the child. `boneage.web.cases.forms.RadiographForm` has the rules; this
    describes them.
    """

    radiograph: bytes = Field(
        description="The radiograph: DICOM, PNG, TIFF, JPEG, JPEG 2000, WebP or BMP.",
        min_length=1,
        json_schema_extra={"contentMediaType": "application/octet-stream"},
    )
    sex: Sex = Field(
        description="Of the child. It is required, and never taken from the file. `both` for a child whose sex is "
        "unknown, or neither female nor male: the radiograph is read for both, without an SDS."
    )
    birth_date: date | None = Field(None, description="Of the child. Not in the future.")
    study_date: date | None = Field(
        None, description=f"Of the radiograph. Not in the future, and 0 to {OLDEST_YEARS} years after the birth."
    )
    given_age_months: Months | None = Field(
        None,
        ge=0,
        le=12 * OLDEST_YEARS,
        description="Chronological age at the radiograph. Beside both"
        " dates it may differ from them by a month at most.",
    )
    reference: str | None = Field(
        None,
        max_length=LONGEST_REFERENCE,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Of the patient, one line: the radiograph joins the case of this reference, or begins it.",
    )
    department: str | None = Field(
        None,
        description="Name of the department that sees the radiograph, one of the user's. Needed from a user of several "
        "departments, and ignored in an installation without departments.",
    )
    note: str | None = Field(None, max_length=2000, pattern=WITHOUT_NUL, description="Free text.")


class Accept(Given):
    """The estimate is right."""

    verdict: Literal["accepted"]
    confirm_critical: Annotated[
        bool,
        Field(description="Needed where a warning is critical: it was read, and the estimate is right nevertheless."),
    ] = False


class Correct(Given):
    """The bone age is another."""

    verdict: Literal["corrected"]
    age_months: Annotated[float, Field(ge=0, le=OLDEST_MONTHS, description="The bone age, months.")]
    reason: Annotated[
        str, Field(min_length=1, max_length=LONGEST_REASON, pattern=NOT_BLANK, description="Why; not blank.")
    ]


DecisionIn = Annotated[Accept | Correct, Field(discriminator="verdict")]


class Search(Given):
    """Which assessments to list. Missing values do not narrow the list."""

    reference: Annotated[
        str | None,
        Field(max_length=LONGEST_REFERENCE, pattern=WITHOUT_NUL, description="A patient's, whole; case matters."),
    ] = None
    states: Annotated[list[StateName], Field(max_length=5, description="Any of these.")] = []
    decided: Annotated[bool | None, Field(description="Only those that somebody, or nobody, has decided on.")] = None
    severity: Annotated[
        Literal["caution", "critical"] | None, Field(description="Only those with a warning at least this severe.")
    ] = None
    determination: Annotated[
        Literal["delayed", "normal", "advanced", "borderline", "none"] | None,
        Field(description="Only those of this class by the bone age that counts; `none` for finished ones without."),
    ] = None
    sort: Annotated[
        Literal["newest", "sds", "-sds"],
        Field(description="Newest first, or by the SDS, rising or falling; those without an SDS come last."),
    ] = "newest"
    page: Annotated[int, Field(ge=1, le=100_000), BeforeValidator(_whole)] = 1
    page_size: Annotated[int, Field(ge=1, le=200), BeforeValidator(_whole)] = 50


Source = Literal["measured", "reported"]
Condition = Literal[
    "under_treatment", "precocious_puberty", "skeletal_dysplasia", "turner_syndrome", "small_for_gestational_age"
]
Centimetres = Annotated[float, Field(description="Centimetres.")]


class _Measurements(BaseModel):
    """Measurements of a child and its parents."""

    height_cm: Centimetres | None = Field(None, description="Standing height without shoes, cm.")
    height_date: Annotated[date, BeforeValidator(_day)] | None = Field(
        None, description="Day of the height and the weight."
    )
    weight_kg: float | None = Field(None, description="Weight, kg.")
    mother_cm: Centimetres | None = Field(None, description="Height of the mother, cm.")
    mother_source: Source | None = Field(None, description="Origin of that height; `reported` if left out.")
    father_cm: Centimetres | None = Field(None, description="Height of the father, cm.")
    father_source: Source | None = Field(None, description="Origin of that height; `reported` if left out.")
    menarche: bool | None = Field(None, description="Null if unknown, and for boys.")
    menarche_age_months: Months | None = Field(None, description="Age at menarche, months.")
    contraindications: list[Condition] | None = Field(
        None,
        description="Conditions for which no prediction is valid; empty if all are excluded, null if not recorded.",
    )


class MeasurementsIn(_Measurements):
    """Measurements to store."""

    model_config = ConfigDict(extra="forbid", strict=True)


# --- going out --------------------------------------------------------------------------------------------------------


Moment = Annotated[datetime, AfterValidator(timezone.localtime)]
"""Date and time in the service's time zone, with its offset."""


class Row(BaseModel):
    """An assessment in short."""

    id: UUID
    state: StateName
    submitted_at: Moment
    finished_at: Moment | None
    expires_at: Moment | None = Field(description="When it is deleted, in the mode open.")
    case: UUID | None = Field(description="Id of the case, in the mode clinic.")
    reference: str | None = Field(description="Of the patient, in the mode clinic.")
    department: str | None = Field(description="Name of the department that sees it, in the mode clinic.")
    sex: Sex
    code: str | None = Field(description="Why it was rejected or failed; docs/codes.md lists the codes.")
    message: str | None = Field(description="The same for people, in English.")
    age_months: Months | None = Field(
        description="The estimated bone age, months; null if the radiograph was read for both sexes."
    )
    severity: Severity | None = Field(description="The gravest of the warnings; critical: do not use the number.")
    chronological_age_months: Months | None = Field(
        description="At the radiograph; the middle of the interval where it is known to the month or the year only."
    )
    chronological_age_precision: Literal["days", "weeks", "months", "years"] | None = Field(
        description="Unit to which the chronological age is known."
    )
    decision: Decided | None
    decided_age_months: Months | None
    difference_months: Months | None = Field(description="Bone age that counts minus chronological age.")
    sds: float | None = Field(description="SDS of the bone age that counts: the decided one, otherwise the estimate.")
    determination: DeterminationCode | None = Field(description="Class of the bone age that counts.")
    determination_reason: WithheldCode | None = Field(description="Reason for a missing SDS and class.")

    @classmethod
    def values_of(cls, assessment: Assessment) -> dict[str, Any]:
        """Its values from what is kept. Reads the case."""
        age = assessment.chronological_age
        return {
            "id": assessment.pk,
            "state": assessment.state,
            "submitted_at": assessment.submitted_at,
            "finished_at": assessment.finished_at,
            "expires_at": assessment.expires_at,
            "case": assessment.case_id,
            "reference": assessment.case.reference if assessment.case else None,
            "department": assessment.department or None,
            "sex": assessment.sex,
            "code": assessment.code or None,
            "message": assessment.message or None,
            "age_months": two_decimals(assessment.age_months),
            "severity": assessment.severity or None,
            "chronological_age_months": two_decimals(assessment.chronological_age_months),
            "chronological_age_precision": None if age is None else age.precision.value,
            "decision": assessment.decision or None,
            "decided_age_months": two_decimals(assessment.decided_months),
            "difference_months": two_decimals(assessment.difference_months),
            "sds": assessment.sds,
            "determination": assessment.determination or None,
            "determination_reason": assessment.determination_reason or None,
        }


class AssessmentOut(Row):
    """An assessment: where it stands, and its result once it is done."""

    result: Result | BothSexesResult | None
    same_radiograph_as: UUID | None = Field(
        description="The first assessment of the same radiograph in the same case, if there was one before this. Its "
        "file may have another header."
    )

    @classmethod
    def of(cls, assessment: Assessment) -> AssessmentOut:
        """Return the document of an assessment in its present state."""
        result = result_of(assessment) if assessment.state == State.DONE else None
        earlier = assessment.same_radiograph_earlier
        same = earlier.pk if earlier is not None else None
        return cls.model_validate({**cls.values_of(assessment), "result": result, "same_radiograph_as": same})


class MeasurementsOut(_Measurements):
    """Measurements that are stored with a case."""


class CaseRadiograph(BaseModel):
    """A radiograph of a child whose bone age can be compared."""

    assessment: UUID
    study_date: date | None
    chronological_age_months: Months | None
    bone_age_months: Months = Field(description="The bone age that counts: the decided one, otherwise the estimate.")
    method: Literal["automatic", "manual"] = Field(description="`manual` if a physician corrected the estimate.")
    sds: float | None = Field(description="SDS by the present reference of the service.")
    sds_interval_80: tuple[float, float] | None


class CaseChange(BaseModel):
    """Change between two radiographs of a child."""

    earlier: UUID = Field(description="Assessment of the earlier radiograph.")
    later: UUID = Field(description="Assessment of the later radiograph.")
    change: ChangeDocument


class CaseOut(BaseModel):
    """A child: its radiographs over the years, and its adult height."""

    id: UUID
    reference: str
    department: str | None = Field(description="Name of the department that sees it.")
    sex: Sex
    birth_date: date | None
    radiographs: list[CaseRadiograph] = Field(
        description="Those whose bone age can be compared, in their order; of the same file only one."
    )
    changes: list[CaseChange] = Field(description="Changes between neighbouring radiographs.")
    overall: CaseChange | None = Field(description="Change from the first to the last of three or more radiographs.")
    measurements: MeasurementsOut
    adult_height: AdultHeightDocument | None = Field(
        description="Adult height by all methods; null if age or sex is unknown, or the measurements contradict them."
    )
    adult_height_radiograph: UUID | None = Field(description="Assessment whose bone age was used.")


class Rows(BaseModel):
    """A page of a list, newest first."""

    items: list[Row]
    total: int = Field(description="On all pages.")
    page: int
    page_size: int


class Plate(BaseModel):
    """A reference plate."""

    key: str
    sex: PlateSex
    age_months: Months
    count: int | None = Field(description="Over how many radiographs it is averaged; null if it is no average.")
    picture: str = Field(description="Where its picture is, on this server.")


class Atlas(BaseModel):
    """The reference plates, girls first, by age."""

    name: str
    title: str
    plates: list[Plate]


class Limits(BaseModel):
    """Limits of the service."""

    radiograph_bytes: int = Field(description="Of one radiograph.")
    waiting_radiographs: int = Field(description="That may wait; more are turned away with `busy`.")
    radiographs_an_hour: int | None = Field(
        description="That one client may submit in the mode open; null for any number."
    )
    wait_seconds: int = Field(description="The longest `wait`.")
    kept_minutes: int | None = Field(description="How long an answer is kept in the mode open; null: until deleted.")


class BundleOut(BaseModel):
    """The networks that answer."""

    name: str
    version: str
    title: str
    typical_error_months: Months | None


class Service(BaseModel):
    """Facts about this installation."""

    version: str = Field(description="Of the software.")
    mode: Literal["open", "clinic"] = Field(
        description="open: no accounts, answers are deleted; clinic: requests need a token."
    )
    bundle: BundleOut
    atlas: str | None = Field(description="Name of the reference plates; null if there are none.")
    limits: Limits
    notice: str
