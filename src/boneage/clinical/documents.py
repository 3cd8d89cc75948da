"""Clinical readings as documents of the project's schema, and with the warnings of a result.

`clinical_document` states a reading by the schema. `result_warnings` puts its codes into sentences. `read_again` reads
a stored assessment by another chronological age, as when a birth date is corrected.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

from boneage.clinical.ages import (
    TOLERANCE_MONTHS,
    AgeIssue,
    AgePrecision,
    AgeSource,
    ChronologicalAge,
    gap_months,
)
from boneage.clinical.discordance import CarpalDiscordance, DiscordanceLimit, DiscordanceLimits
from boneage.clinical.intended_use import METHOD
from boneage.clinical.maturity import AgeDistribution, NearMaturity
from boneage.clinical.reading import BoneAgeEstimate, ClinicalReading, ClinicalWarningCode, clinical_reading
from boneage.clinical.references import SHIPPED_REFERENCES, Reference, configured_reference, shipped_reference
from boneage.schema import (
    AssessmentDocument,
    ChronologicalAgeDocument,
    ClinicalDocument,
    ReferenceDocument,
    WarningDocument,
)
from boneage.severity import Severity, highest_severity
from boneage.sex import Sex
from boneage.strict import read, to_plain
from boneage.warnings_ import ResultWarning, WarningCode, by_severity

NOT_RAISED = ClinicalWarningCode.AGE_UNKNOWN
"""Code that becomes no warning: most image files give no age, and `determination_reason` states it."""

_CODES_BY_AGE = frozenset((*(code.value for code in ClinicalWarningCode), WarningCode.AGE_DIFFERS_FROM_FILE.value))
"""Warnings that follow from the chronological age, among others."""

_KEYS = tuple(field.name for field in fields(ClinicalDocument))

AnyAssessment = TypeVar("AnyAssessment", bound=AssessmentDocument)


def clinical_document(reading: ClinicalReading) -> ClinicalDocument:
    """Return a reading by the project's schema: months and scores with two decimals, a probability with three."""
    age, sds = reading.chronological_age, reading.sds
    maturity, discordance = reading.near_maturity, reading.carpal_discordance
    values = {
        "method": METHOD,
        "chronological_age": None if age is None else _age_values(age),
        "difference": reading.difference,
        "difference_reason": reading.difference_reason,
        "reference": _reference_values(reading.reference, reading.sex),
        "normal_range": reading.normal_range,
        "sds": sds.sds,
        "sds_interval_80": sds.interval_80,
        "sds_range": sds.range,
        "determination": sds.determination,
        "determination_candidates": sds.candidates,
        "determination_reason": sds.reason,
        "carpal_discordance": None if discordance is None else _carpal_values(discordance),
    }
    near_maturity = None if maturity is None else _maturity_values(maturity)
    return read(ClinicalDocument, to_plain({**_with_two_decimals(to_plain(values)), "near_maturity": near_maturity}))


def _age_values(age: ChronologicalAge) -> dict[str, Any]:
    years, months = age.completed
    return {
        "months": age.middle_months,
        "lower_months": age.lower_months,
        "upper_months": age.upper_months,
        "years": years,
        "completed_months": months if age.is_known_to_the_month else None,
        "precision": age.precision,
        "source": age.source,
    }


def _reference_values(reference: Reference, sex: Sex | None) -> dict[str, Any]:
    return {
        "id": reference.id,
        "name": reference.name,
        "population": reference.population,
        "citation": reference.citation,
        "sha256": reference.sha256,
        "range_months": None if sex is None else reference.range_months(sex),
    }


def _maturity_values(maturity: NearMaturity) -> dict[str, Any]:
    probability = maturity.probability_mature
    return {
        "is_near": maturity.is_near,
        "reasons": maturity.reasons,
        "probability_mature": None if probability is None else round(probability, 3),
    }


def _carpal_values(discordance: CarpalDiscordance) -> dict[str, Any]:
    return {
        "carpal_months": discordance.carpal_months,
        "others_months": discordance.others_months,
        "difference_months": discordance.difference_months,
        "direction": discordance.direction,
        "limits_months": discordance.limits,
        "is_beyond": discordance.is_beyond,
    }


def _with_two_decimals(value: Any) -> Any:
    """Return plain values with two decimals."""
    match value:
        case dict():
            return {key: _with_two_decimals(one) for key, one in value.items()}
        case list():
            return [_with_two_decimals(one) for one in value]
        case float():
            return round(value, 2) + 0.0  # without a negative zero
        case _:
            return value


def clinical_values(document: ClinicalDocument) -> dict[str, Any]:
    """Return the keys of a clinical reading, by which documents that hold it are made."""
    return {key: getattr(document, key) for key in _KEYS}


def result_warnings(reading: ClinicalReading) -> Iterator[ResultWarning]:
    """Yield the warnings of a reading with their sentences."""
    for warning in reading.warnings:
        if warning.code is not NOT_RAISED:
            yield _result_warning(warning.code, reading)


def _result_warning(code: ClinicalWarningCode, reading: ClinicalReading) -> ResultWarning:
    discordance = reading.carpal_discordance
    if code is ClinicalWarningCode.CARPAL_DISCORDANCE and discordance is not None:
        months = discordance.difference_months
        direction = "younger" if months < 0 else None
        return ResultWarning.of(WarningCode.CARPAL_DISCORDANCE, direction, months=abs(months))
    return ResultWarning.of(WarningCode(code.value))


def age_document(age: ChronologicalAge | None) -> ChronologicalAgeDocument | None:
    """Return the document of a chronological age."""
    return None if age is None else read(ChronologicalAgeDocument, to_plain(_with_two_decimals(_age_values(age))))


def file_difference(age: ChronologicalAge | None, in_file: ChronologicalAge | None) -> Iterator[ResultWarning]:
    """Yield a warning if the age by what is given is another than by the file: it may be another child's radiograph."""
    if age is not None and in_file is not None and gap_months(age, in_file) > TOLERANCE_MONTHS:
        yield ResultWarning.of(WarningCode.AGE_DIFFERS_FROM_FILE, given_age=_written(age), file_age=_written(in_file))


def _written(age: ChronologicalAge) -> str:
    """Return an age in English with both numbers, as `boneage.words` reads it: ``8 years``, ``11 years 0 months``."""
    years = f"{age.completed.years} years"
    return f"{years} {age.completed.months} months" if age.is_known_to_the_month else years


def chronological_age(document: ChronologicalAgeDocument | None) -> ChronologicalAge | None:
    """Return the chronological age of a document."""
    if document is None:
        return None
    return ChronologicalAge(
        document.lower_months, document.upper_months, AgePrecision(document.precision), AgeSource(document.source)
    )


def reference_of(document: ReferenceDocument) -> Reference:
    """Return the reference that is stored with a result; the configured one if the stored one is no longer available.

    Raises:
        ClinicalError: the reference of the setting cannot be read.
    """
    configured = configured_reference()
    if document.id != configured.id and document.id in SHIPPED_REFERENCES:
        return shipped_reference(document.id)
    return configured


def bone_age_estimate(document: AssessmentDocument) -> BoneAgeEstimate:
    """Return the estimate of a stored assessment, as a clinical reading takes it."""
    distribution = document.age_distribution
    return BoneAgeEstimate(
        months=document.age_months,
        interval_80=document.interval_80_months,
        interval_95=document.interval_months,
        consensus_80=document.consensus_interval_80_months,
        distribution=None if distribution is None else AgeDistribution.by_month(distribution),
        region_ages_months=document.region_ages_months,
    )


def carpal_limits(document: AssessmentDocument) -> DiscordanceLimits | None:
    """Return the usual differences of the carpal bones at the bone age of a stored assessment."""
    stored = document.carpal_discordance
    if stored is None or stored.limits_months is None:
        return None
    months = document.age_months
    limit = DiscordanceLimit(months, math.nextafter(months, math.inf), *stored.limits_months)
    return DiscordanceLimits({Sex(document.sex): (limit,)})


def counted_reading(
    document: AssessmentDocument, decided_months: float | None, *, is_corrected: bool
) -> ClinicalDocument:
    """Return the clinical reading of the bone age that counts, by the reference that is stored with the estimate.

    Args:
        document: the assessment.
        decided_months: bone age on which a physician decided; None without a decision, where the estimate counts.
        is_corrected: True if the physician gave another bone age than the estimate. It has no prediction interval.

    Raises:
        ClinicalError: the reference of the setting cannot be read.
    """
    if decided_months is None:
        return document
    reading = clinical_reading(
        BoneAgeEstimate(decided_months) if is_corrected else bone_age_estimate(document),
        sex=Sex(document.sex),
        age=chronological_age(document.chronological_age),
        reference=reference_of(document.reference),
    )
    return clinical_document(reading)


def counted_warnings(document: AssessmentDocument, counted: ClinicalDocument) -> tuple[WarningDocument, ...]:
    """Return the warnings beside the bone age that counts: near maturity is that of a corrected bone age, too.

    Args:
        document: the assessment.
        counted: clinical reading of the bone age that counts (`counted_reading`).
    """
    warnings = [one for one in document.warnings if one.code != WarningCode.NEAR_MATURITY]
    if counted.near_maturity is not None and counted.near_maturity.is_near:
        warnings.append(ResultWarning.of(WarningCode.NEAR_MATURITY).document())
    return by_severity(warnings)


def read_again(
    document: AnyAssessment,
    age: ChronologicalAge | None,
    *,
    age_issue: AgeIssue | None = None,
    reference: Reference | None = None,
) -> AnyAssessment:
    """Return a stored assessment, read by another chronological age.

    Args:
        document: the assessment.
        age: the child's age at the study, or None.
        age_issue: fault of the age in the file, for a warning.
        reference: reference of healthy children; the one that is stored with the assessment if None.

    Raises:
        ClinicalError: the reference of the setting cannot be read.
    """
    kept = [one for one in document.warnings if one.code not in _CODES_BY_AGE]
    reading = clinical_reading(
        bone_age_estimate(document),
        sex=Sex(document.sex),
        age=age,
        reference=reference or reference_of(document.reference),
        age_issue=age_issue,
        is_meaningless=document.is_meaningless,
        has_critical_warning=highest_severity(one.severity for one in kept) is Severity.CRITICAL,
        carpal_limits=carpal_limits(document),
        sex_is_known=_sex_is_known(document),
    )
    raised = (*result_warnings(reading), *file_difference(age, chronological_age(document.age_in_file)))
    warnings = (*kept, *(warning.document() for warning in raised))
    return replace(document, warnings=by_severity(warnings), **clinical_values(clinical_document(reading)))


def _sex_is_known(document: AssessmentDocument) -> bool:
    return all(one.code != ClinicalWarningCode.SEX_UNKNOWN.value for one in document.warnings)


def with_critical_warning(document: AnyAssessment, warning: ResultWarning) -> AnyAssessment:
    """Return a stored assessment with a further critical warning, which withholds difference, SDS and determination.

    Args:
        document: the assessment.
        warning: a critical warning that does not follow from the radiograph.

    Raises:
        ClinicalError: the reference of the setting cannot be read.
    """
    reading = clinical_reading(
        bone_age_estimate(document),
        sex=Sex(document.sex),
        age=chronological_age(document.chronological_age),
        reference=reference_of(document.reference),
        is_meaningless=document.is_meaningless,
        has_critical_warning=True,
        carpal_limits=carpal_limits(document),
        sex_is_known=_sex_is_known(document),
    )
    warnings = by_severity((warning.document(), *document.warnings))
    return replace(document, warnings=warnings, **clinical_values(clinical_document(reading)))
