"""Words on the change from an earlier radiograph of the same child (`boneage.clinical.change`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from boneage import words
from boneage.clinical.change import (
    MANUAL_REPEAT_SD_MONTHS,
    Change,
    ChangeFlag,
    ChangeReason,
    ReadingMethod,
    SerialReading,
    Verdict,
    change,
)
from boneage.clinical.documents import chronological_age
from boneage.clinical.maturity import near_maturity
from boneage.schema import AssessmentDocument
from boneage.sex import Sex
from boneage.words import gettext, marked

_VERDICTS: Mapping[Verdict, str] = MappingProxyType(
    {
        Verdict.FASTER: marked("faster than 12 months per year"),
        Verdict.SLOWER: marked("slower than 12 months per year"),
        Verdict.AS_EXPECTED: marked("compatible with 12 months per year"),
    }
)

NO_VELOCITY: Mapping[ChangeReason, str] = MappingProxyType(
    {
        ChangeReason.TOO_CLOSE: marked("No gain per year is given: the radiographs are less than 6 months apart"),
        ChangeReason.AGE_IN_WHOLE_YEARS: marked("No gain per year is given: an age is known in whole years only"),
        ChangeReason.NEAR_MATURITY: marked("No gain per year is given: a hand is at or near skeletal maturity"),
        ChangeReason.AGE_UNKNOWN: marked("No gain per year is given: the time between the radiographs is unknown"),
    }
)
"""Sentences for a missing velocity, by reason."""

FLAGS: Mapping[ChangeFlag, str] = MappingProxyType(
    {
        ChangeFlag.MIXED_METHODS: marked("One of the bone ages is an automatic estimate, the other a physician's"),
        ChangeFlag.MIXED_VERSIONS: marked("The estimates are of different model bundles"),
    }
)
"""Sentences on the limits of a comparison. Maturity is stated by `NO_VELOCITY`."""


@dataclass(frozen=True)
class Decided:
    """A physician's decision on the estimate.

    Attributes:
        age_months: bone age that counts.
        is_corrected: False if the estimate was accepted as it is.
    """

    age_months: float
    is_corrected: bool


def counted_months(document: AssessmentDocument, decided: Decided | None) -> float:
    """Return the bone age that counts, months: the decided one, else the estimate."""
    return document.age_months if decided is None else decided.age_months


def serial_reading(document: AssessmentDocument, decided: Decided | None = None) -> SerialReading:
    """Return an assessment as one of several readings of a child.

    Args:
        document: the assessment.
        decided: the physician's decision, if there is one. A corrected bone age counts as read by a physician.
    """
    is_corrected = decided is not None and decided.is_corrected
    return SerialReading(
        bone_age_months=counted_months(document, decided),
        method=ReadingMethod.MANUAL if is_corrected else ReadingMethod.AUTOMATIC,
        age=chronological_age(document.chronological_age),
        study_date=document.facts.study_date,
        version=None if is_corrected else f"{document.bundle.name} {document.bundle.version}",
        is_near_maturity=_is_near_maturity(document, decided),
        interval_80=None if is_corrected else document.consensus_interval_80_months,
        repeat_sd_months=(None if is_corrected else document.bundle.repeat_sd_months) or MANUAL_REPEAT_SD_MONTHS,
    )


def _is_near_maturity(document: AssessmentDocument, decided: Decided | None) -> bool:
    if decided is not None and decided.is_corrected:
        return near_maturity(decided.age_months, Sex(document.sex)).is_near
    return document.near_maturity is not None and document.near_maturity.is_near


def comparison(earlier: SerialReading, later: SerialReading) -> str:
    """Return the sentences that compare a reading with an earlier one of the same child.

    Args:
        earlier: reading of the earlier radiograph.
        later: reading of the later radiograph.

    Raises:
        ClinicalError: ``reading_order`` if the later radiograph is known to be the earlier one.
    """
    return words.sentences(_earlier(earlier), *change_sentences(change(earlier, later)))


def _earlier(reading: SerialReading) -> str:
    age = words.age(reading.bone_age_months)
    if reading.study_date is None:
        return gettext("Comparison with an earlier radiograph: bone age %(age)s") % {"age": age}
    values = {"age": age, "date": words.day(reading.study_date)}
    return gettext("Comparison with the radiograph of %(date)s: bone age %(age)s") % values


def change_sentences(moved: Change) -> Iterator[str]:
    """Yield the difference, the gain per year or the reason for its absence, and the limits, without full stops."""
    low, high = (words.signed(end, 1) for end in moved.difference_interval)
    values = {"difference": words.signed(moved.difference_months, 1), "low": low, "high": high}
    if moved.distance_months is None:
        yield gettext("Change: %(difference)s months (95 %% interval %(low)s to %(high)s)") % values
    else:
        values["distance"] = words.months(moved.distance_months)
        yield gettext("Change: %(difference)s months (95 %% interval %(low)s to %(high)s) in %(distance)s") % values
    if moved.velocity is not None and moved.velocity_band is not None and moved.verdict is not None:
        low, high = (words.number(end, 1) for end in moved.velocity_band)
        yield gettext("Gain: %(months)s per year (95 %% interval %(low)s to %(high)s), %(verdict)s") % {
            "months": words.months(moved.velocity),
            "low": low,
            "high": high,
            "verdict": gettext(_VERDICTS[moved.verdict]),
        }
    elif moved.reason is not None:
        yield gettext(NO_VELOCITY[moved.reason])
    yield from (gettext(FLAGS[flag]) for flag in moved.flags if flag in FLAGS)
