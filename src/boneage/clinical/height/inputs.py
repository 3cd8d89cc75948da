"""The inputs of adult height prediction, checked for units and plausibility."""

from __future__ import annotations

import math
from dataclasses import dataclass

from boneage.clinical.height.codes import Contraindication, HeightSource
from boneage.clinical.height.errors import HeightInputError
from boneage.clinical.height.who_2007 import height_sds
from boneage.sex import Sex

DAYS_PER_MONTH = 30.4375
"""Mean length of a month in days (365.25 / 12)."""

MANUAL_READING_SD_MONTHS = 7.0
"""Assumed standard deviation of one reader's bone age in months, where no interval is given.

Two readers of 1,389 radiographs of the Digital Hand Atlas differ with a standard deviation of 6.97 months. The value is
cautious: it is the spread of a difference of two readings, not of one.
"""

Z_80 = 1.2815515655446004
"""Half-width of the central 80 % of a normal distribution in standard deviations."""

_CHILD_CM = (40.0, 230.0)
_PARENT_CM = (100.0, 230.0)
_TALLEST_UNDER_TWO_CM = 115.0
_MOST_SDS = 10.0


@dataclass(frozen=True)
class ParentHeight:
    """Height of one parent.

    Attributes:
        cm: standing height in cm, from 100 to 230.
        source: origin of the height, measured or reported.
    """

    cm: float
    source: HeightSource = HeightSource.REPORTED


@dataclass(frozen=True)
class HeightInputs:
    """Measurements of a child for adult height prediction. Every value but sex and age may be missing.

    Attributes:
        sex: sex of the child.
        age_months: chronological age in months at the radiograph, from exact dates; above 0 and at most 300.
        age_exact: False where the age is known in whole years only. No prediction is made then.
        bone_age_months: Greulich & Pyle bone age in months, from 0 to 240.
        bone_age_interval_80: lower and upper end of its 80 % interval in months. The upper end may be infinite.
        height_cm: standing height in cm without shoes, from 40 to 230.
        height_days_from_radiograph: date of the height minus date of the radiograph in days; negative where the height
            was measured before. None where unknown.
        recumbent_length_cm: length in cm, measured lying on the same day as the height.
        weight_kg: weight in kg, measured with the height, from 2 to 300.
        mother: height of the biological mother.
        father: height of the biological father.
        menarche: True where menarche has occurred, False where not, None where unknown or for boys. No method offered
            here uses it; it is checked and kept.
        menarche_age_months: age at menarche in months.
        contraindications: conditions under which no prediction is valid; an empty set where the physician has excluded
            them, None where this is not recorded.

    Raises:
        HeightInputError: a value cannot be right. The codes are listed there.
    """

    sex: Sex
    age_months: float
    age_exact: bool = True
    bone_age_months: float | None = None
    bone_age_interval_80: tuple[float, float] | None = None
    height_cm: float | None = None
    height_days_from_radiograph: int | None = None
    recumbent_length_cm: float | None = None
    weight_kg: float | None = None
    mother: ParentHeight | None = None
    father: ParentHeight | None = None
    menarche: bool | None = None
    menarche_age_months: float | None = None
    contraindications: frozenset[Contraindication] | None = None

    def __post_init__(self) -> None:
        """Check every value for its unit, its range and its agreement with the others."""
        self._check_ages()
        self._check_heights()
        self._check_weight()
        self._check_menarche()

    @property
    def age_at_height_months(self) -> float:
        """Chronological age in months on the day of the height; that of the radiograph where the date is unknown."""
        return self.age_months + (self.height_days_from_radiograph or 0) / DAYS_PER_MONTH

    @property
    def reading_half_width_80(self) -> float:
        """Half-width in months of the 80 % interval of the bone age, from a manual reading's SD where none is given."""
        if self.bone_age_months is None or self.bone_age_interval_80 is None:
            return MANUAL_READING_SD_MONTHS * Z_80
        low, high = self.bone_age_interval_80
        return (high - low) / 2 if math.isfinite(high) else self.bone_age_months - low

    @property
    def bone_age_range_80(self) -> tuple[float, float] | None:
        """Lower and upper end in months of the 80 % interval of the bone age, assumed where none is given."""
        if self.bone_age_months is None:
            return None
        half = self.reading_half_width_80
        return self.bone_age_interval_80 or (self.bone_age_months - half, self.bone_age_months + half)

    @property
    def midparent_cm(self) -> float | None:
        """Mean of the parents' heights in cm, not adjusted for sex; None where one of them is missing."""
        return None if self.mother is None or self.father is None else (self.mother.cm + self.father.cm) / 2

    @property
    def parents_reported(self) -> bool:
        """True where the height of at least one parent was reported and not measured."""
        return any(parent and parent.source is HeightSource.REPORTED for parent in (self.mother, self.father))

    def _check_ages(self) -> None:
        if not _finite(self.age_months, "age_months", "The age") or not 0 < self.age_months <= 300:
            raise HeightInputError(
                "age_out_of_range",
                f"The age must be above 0 and at most 300 months, not {self.age_months:g}.",
                "age_months",
            )
        if self.bone_age_months is None:
            if self.bone_age_interval_80 is not None:
                raise HeightInputError(
                    "bone_age_interval", "An interval was given without a bone age.", "bone_age_interval_80"
                )
            return
        if not _finite(self.bone_age_months, "bone_age_months", "The bone age") or not 0 <= self.bone_age_months <= 240:
            raise HeightInputError(
                "bone_age_out_of_range",
                f"The bone age must be from 0 to 240 months, not {self.bone_age_months:g}.",
                "bone_age_months",
            )
        if self.bone_age_interval_80 is not None:
            low, high = self.bone_age_interval_80
            if not (math.isfinite(low) and low <= self.bone_age_months <= high):
                raise HeightInputError(
                    "bone_age_interval",
                    f"The 80 % interval from {low:g} to {high:g} months does not contain the bone age "
                    f"{self.bone_age_months:g}.",
                    "bone_age_interval_80",
                )

    def _check_heights(self) -> None:
        for field, parent in (("mother", self.mother), ("father", self.father)):
            if parent is not None:
                _check_cm(parent.cm, field, f"The {field}'s height", _PARENT_CM)
        if self.height_cm is None:
            if self.recumbent_length_cm is not None:
                raise HeightInputError(
                    "length_without_height",
                    "A recumbent length was given without a standing height; enter the height too.",
                    "recumbent_length_cm",
                )
            return
        _check_cm(self.height_cm, "height_cm", "The child's height", _CHILD_CM)
        if self.age_months <= 20 and self.height_cm > _TALLEST_UNDER_TWO_CM:
            raise HeightInputError(
                "age_in_years",
                f"A child of {self.age_months:g} months cannot be {self.height_cm:g} cm tall; enter the age in months.",
                "age_months",
            )
        sds = height_sds(self.sex, self.age_at_height_months, self.height_cm)
        if sds is not None and abs(sds) > _MOST_SDS:
            raise HeightInputError(
                "height_implausible",
                f"A height of {self.height_cm:g} cm is not plausible at {self.age_at_height_months:.0f} months; "
                "check height, age and units.",
                "height_cm",
            )
        if self.recumbent_length_cm is not None:
            _check_cm(self.recumbent_length_cm, "recumbent_length_cm", "The recumbent length", _CHILD_CM)
            if not -1 <= self.recumbent_length_cm - self.height_cm <= 5:
                raise HeightInputError(
                    "length_and_height_disagree",
                    f"The recumbent length {self.recumbent_length_cm:g} cm does not agree with the height "
                    f"{self.height_cm:g} cm.",
                    "recumbent_length_cm",
                )

    def _check_weight(self) -> None:
        if self.weight_kg is None:
            return
        _finite(self.weight_kg, "weight_kg", "The weight")
        if self.weight_kg >= 1000:
            raise HeightInputError(
                "weight_in_grams", f"The weight {self.weight_kg:g} looks like grams; enter kilograms.", "weight_kg"
            )
        if not 2 <= self.weight_kg <= 300:
            raise HeightInputError(
                "weight_out_of_range", f"The weight must be from 2 to 300 kg, not {self.weight_kg:g}.", "weight_kg"
            )

    def _check_menarche(self) -> None:
        if self.sex is Sex.MALE and (self.menarche or self.menarche_age_months is not None):
            raise HeightInputError("menarche_of_boy", "Menarche was entered for a boy; check the sex.", "menarche")
        if self.menarche_age_months is None:
            return
        _finite(self.menarche_age_months, "menarche_age_months", "The age at menarche")
        if self.menarche is False or not 60 <= self.menarche_age_months <= self.age_at_latest_visit_months:
            raise HeightInputError(
                "menarche_age",
                f"An age at menarche of {self.menarche_age_months:g} months does not agree with the other entries.",
                "menarche_age_months",
            )

    @property
    def age_at_latest_visit_months(self) -> float:
        """Chronological age in months at the radiograph or at the height, whichever is later."""
        return max(self.age_months, self.age_at_height_months)


def _finite(value: float, field: str, name: str) -> bool:
    if not math.isfinite(value):
        raise HeightInputError("not_a_number", f"{name} must be a finite number.", field)
    return True


def _check_cm(value: float, field: str, name: str, limits: tuple[float, float]) -> None:
    _finite(value, field, name)
    low, high = limits
    if low / 100 <= value <= high / 100:
        raise HeightInputError("height_in_metres", f"{name} {value:g} looks like metres; enter centimetres.", field)
    if low * 10 <= value <= high * 10:
        raise HeightInputError(
            "height_in_millimetres", f"{name} {value:g} looks like millimetres; enter centimetres.", field
        )
    if not low <= value <= high:
        raise HeightInputError(
            "height_out_of_range", f"{name} must be from {low:g} to {high:g} cm, not {value:g}.", field
        )
