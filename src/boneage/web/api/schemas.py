"""Documents that the REST API takes and gives; its description is generated from them."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from django.utils import timezone
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from boneage.bundle.estimate import OLDEST_MONTHS
from boneage.schema import two_decimals
from boneage.severity import Severity
from boneage.web.cases.decisions import LONGEST_REASON
from boneage.web.cases.exports import result_of
from boneage.web.cases.forms import OLDEST_YEARS
from boneage.web.documents import Result
from boneage.web.models import Assessment, State

WITHOUT_NUL = r"^[^\x00]*$"
"""Texts are kept in databases that do not take U+0000."""

NOT_BLANK = r"^[^\x00]*[^\x00\s\x1c-\x1f\x85][^\x00]*$"

Months = Annotated[float, Field(description="Months.")]
Decided = Literal["accepted", "corrected"]
StateName = Literal["queued", "running", "done", "rejected", "failed"]
Sex = Literal["F", "M"]


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 2.0 is 2."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


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
    sex: Sex = Field(description="Of the child. It is required, and never taken from the file.")
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
        max_length=64,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="Of the patient, one line: the radiograph joins the case of this reference, or begins it.",
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
        str | None, Field(max_length=64, pattern=WITHOUT_NUL, description="A patient's, whole; case matters.")
    ] = None
    states: Annotated[list[StateName], Field(max_length=5, description="Any of these.")] = []
    decided: Annotated[bool | None, Field(description="Only those that somebody, or nobody, has decided on.")] = None
    page: Annotated[int, Field(ge=1, le=100_000), BeforeValidator(_whole)] = 1
    page_size: Annotated[int, Field(ge=1, le=200), BeforeValidator(_whole)] = 50


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
    reference: str | None = Field(description="Of the patient, in the mode clinic.")
    sex: Sex
    code: str | None = Field(description="Why it was rejected or failed; docs/codes.md lists the codes.")
    message: str | None = Field(description="The same for people, in English.")
    age_months: Months | None = Field(description="The estimated bone age, months.")
    severity: Severity | None = Field(description="The gravest of the warnings; critical: do not use the number.")
    chronological_age_months: Months | None = Field(
        description="At the radiograph; the middle of the interval where it is known to the month or the year only."
    )
    chronological_age_precision: Literal["days", "weeks", "months", "years"] | None = Field(
        description="Unit to which the chronological age is known."
    )
    decision: Decided | None
    decided_age_months: Months | None

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
            "reference": assessment.case.reference if assessment.case else None,
            "sex": assessment.sex,
            "code": assessment.code or None,
            "message": assessment.message or None,
            "age_months": two_decimals(assessment.age_months),
            "severity": assessment.severity,
            "chronological_age_months": two_decimals(assessment.chronological_age_months),
            "chronological_age_precision": None if age is None else age.precision.value,
            "decision": assessment.decision or None,
            "decided_age_months": two_decimals(assessment.decided_months),
        }


class AssessmentOut(Row):
    """An assessment: where it stands, and its result once it is done."""

    result: Result | None
    same_file_as: UUID | None = Field(
        description="The first assessment of the same file in the same case, if there was one before this."
    )

    @classmethod
    def of(cls, assessment: Assessment) -> AssessmentOut:
        """Return the document of an assessment in its present state."""
        result = result_of(assessment) if assessment.state == State.DONE else None
        earlier = assessment.same_file_earlier
        same = earlier.pk if earlier is not None else None
        return cls.model_validate({**cls.values_of(assessment), "result": result, "same_file_as": same})


class Rows(BaseModel):
    """A page of a list, newest first."""

    items: list[Row]
    total: int = Field(description="On all pages.")
    page: int
    page_size: int


class Plate(BaseModel):
    """A reference plate."""

    key: str
    sex: Sex
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
