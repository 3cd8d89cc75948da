"""The result of one attempt at one radiograph, as the worker's code returns it to the queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from boneage.web.documents import StoredResult
from boneage.web.models import PictureKind, State


@dataclass(frozen=True)
class Answer:
    """What a worker found: either an answer, or why there is none.

    Attributes:
        state: a final one.
        code: of a rejection or failure.
        message: the same as a sentence.
        age_months: of an answer.
        chronological_age_months: of the child at the study, as far as known.
        study_date: of the radiograph, as its file says; kept where the user gave none.
        result: of a finished assessment.
        pictures: (media type, bytes) by kind.
    """

    state: State
    code: str = ""
    message: str = ""
    age_months: float | None = None
    chronological_age_months: float | None = None
    study_date: date | None = None
    result: StoredResult | None = None
    pictures: dict[PictureKind, tuple[str, bytes]] = field(default_factory=dict)


class PutOffError(Exception):
    """A radiograph takes longer than its first attempt may: it is tried again when others have had their turn."""
