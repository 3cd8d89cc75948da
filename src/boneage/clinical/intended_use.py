"""Intended use and contra-indications, as data for page, report, model card and documentation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from boneage.clinical.maturity import YOUNGEST_MONTHS
from boneage.clinical.sds import OLDEST_MONTHS
from boneage.sex import Sex


class Contraindication(StrEnum):
    """Situation in which the product must not be used, or its number must not be relied on."""

    UNKNOWN_AGE = "unknown_age"
    """The chronological age is unknown or disputed and is to be estimated, as in asylum or forensic cases."""
    FUSED = "fused"
    """The growth plates of the hand are closed: the hand is skeletally mature."""
    SKELETAL_DYSPLASIA = "skeletal_dysplasia"
    """A skeletal dysplasia or another disorder of bone changes the shape of the bones."""
    TURNER_SYNDROME = "turner_syndrome"
    """Turner syndrome can change the shape of carpal bones, metacarpals and wrist."""
    MADELUNG_DEFORMITY = "madelung_deformity"
    """Madelung deformity changes radius, ulna and the arrangement of the carpal bones."""
    FRACTURE = "fracture"
    """A fracture of hand or wrist is present or has changed the bones."""
    CAST = "cast"
    """A cast, a splint or a bandage covers a part of the hand."""


@dataclass(frozen=True)
class IntendedUse:
    """Radiographs, patients and users that the product is made for.

    Attributes:
        method: standard by which bone age is read.
        projection: view of the radiograph, ``PA`` for posteroanterior.
        hands: number of hands on the radiograph.
        youngest_months: lowest chronological age in months.
        oldest_months: highest chronological age in months by sex.
        user: profession of the person who reads the result.
        contraindications: situations that are excluded.
    """

    method: str
    projection: str
    hands: int
    youngest_months: float
    oldest_months: Mapping[Sex, float]
    user: str
    contraindications: tuple[Contraindication, ...]


METHOD = "Greulich & Pyle"
"""Standard by which every bone age of the product is read."""

INTENDED_USE = IntendedUse(
    method=METHOD,
    projection="PA",
    hands=1,
    youngest_months=YOUNGEST_MONTHS,
    oldest_months=OLDEST_MONTHS,
    user="physician",
    contraindications=tuple(Contraindication),
)
"""One posteroanterior radiograph of one hand, age 2 to 16 (girls) or 17 (boys) years, read by a physician."""
