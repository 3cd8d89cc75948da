"""The outcome of one attempt at one radiograph, which the worker's code returns to the queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from boneage.web.documents import StoredResult
from boneage.web.models import PictureKind, State


@dataclass(frozen=True)
class Answer:
    """The outcome of an attempt: a result, or the reason why there is none.

    Attributes:
        state: a final state.
        code: code of a rejection or failure.
        message: the same as a sentence.
        age_months: estimated bone age of a result; None if the sex is unknown or other.
        chronological_age_months: age of the child at the study, if known; the middle of an interval.
        chronological_age_precision: unit to which that age is known; empty for an exact age.
        study_date: study date from the file; stored if the user gave none.
        pixels_sha256: checksum of the pixels of an assessed radiograph (`boneage.web.queue.work.pixels_sha256`).
        results: result of a finished assessment; those for girls and for boys if the sex is unknown or other; none
            otherwise.
        pictures: (media type, bytes) by kind.
    """

    state: State
    code: str = ""
    message: str = ""
    age_months: float | None = None
    chronological_age_months: float | None = None
    chronological_age_precision: str = ""
    study_date: date | None = None
    pixels_sha256: str = ""
    results: tuple[StoredResult, ...] = ()
    pictures: dict[PictureKind, tuple[str, bytes]] = field(default_factory=dict)


class PutOffError(Exception):
    """A radiograph takes longer than its first attempt may: it is tried again after the others."""
