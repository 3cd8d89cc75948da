"""The numbers of a result, as DICOM objects and messages of hospital systems hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from boneage.report.comparison import Decided
from boneage.schema import AssessmentDocument, ClinicalDocument

Unit = Literal["mo", "1"]
"""UCUM unit of a number: months, or none."""
NumberCode = Literal["BA95L", "BA95U", "CA", "BAMINUSCA", "SDS"]
NAMES: Mapping[NumberCode, str] = MappingProxyType(
    {
        "BA95L": "95 % interval, lower bound",
        "BA95U": "95 % interval, upper bound",
        "CA": "Chronological age",
        "BAMINUSCA": "Bone age minus chronological age",
        "SDS": "Standard deviation score of the bone age",
    }
)
"""Meanings of the codes, which are private to this program: no public scheme has them. They are short, because viewers
write them onto the radiograph beside the bone age."""


@dataclass(frozen=True)
class Number:
    """A number beside the bone age.

    Attributes:
        code: code of the number.
        value: months with one decimal, or a score with two.
        unit: UCUM unit.
    """

    code: NumberCode
    value: float
    unit: Unit

    @property
    def name(self) -> str:
        """Meaning of the code, in English."""
        return NAMES[self.code]


def result_numbers(
    document: AssessmentDocument, clinical: ClinicalDocument, decided: Decided | None
) -> Iterator[Number]:
    """Yield the numbers of a result; those that are unknown or withheld are left out.

    A corrected bone age has no prediction interval, and near maturity the interval is open above.

    Args:
        document: the assessment.
        clinical: clinical reading of the bone age that counts.
        decided: the physician's decision, if there is one.
    """
    is_corrected = decided is not None and decided.is_corrected
    if document.interval_months is not None and not is_corrected:
        low, high = document.interval_months
        yield Number("BA95L", round(low, 1), "mo")
        if document.near_maturity is None or not document.near_maturity.is_near:
            yield Number("BA95U", round(high, 1), "mo")
    age = clinical.chronological_age
    if age is not None and age.completed_months is not None:
        yield Number("CA", round(age.months, 1), "mo")
    if clinical.difference is not None and clinical.difference.months is not None:
        yield Number("BAMINUSCA", round(clinical.difference.months, 1) + 0.0, "mo")
    if clinical.sds is not None:
        yield Number("SDS", round(clinical.sds, 2), "1")
