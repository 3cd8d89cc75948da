"""Roche, Wainer & Thissen: adult stature by regression, in the version of 1975 and in the adjusted version of 1993.

The regressions were fitted to healthy white American children of the Fels Longitudinal Study. The skeletal age of 1975
is the median of Greulich & Pyle ages read bone by bone. The coefficients are linear between the ages of the tables,
which are 3 months apart (1975) or 6 months apart (1993).
"""

from __future__ import annotations

from functools import cache

from boneage.clinical.height.tables import AgeTable, age_tables, read_table
from boneage.sex import Sex

LENGTH_MINUS_STATURE_CM = 1.25
"""Recumbent length minus stature in cm, by which the authors of 1975 turn a stature into a length."""

INCREMENT_AFTER_18_CM = {Sex.MALE: 0.8, Sex.FEMALE: 0.6}
"""Mean growth in cm after 18 years by sex, which makes the adjusted version's stature at 18 years an adult stature."""


@cache
def table_1975(sex: Sex) -> AgeTable:
    """Return the five coefficients of 1975 of one sex by age (boys 12 to 189, girls 12 to 168 months) and a mark.

    The columns are constant, length, weight, midparent, skeletal age, and 1 where the row is uncertain in print.
    """
    columns = ("constant", "length", "weight", "midparent", "skeletal_age", "uncertain")
    return age_tables(read_table("rwt_1975.csv"), ("sex",), "age_months", columns)[(sex.value,)]


@cache
def table_1993(sex: Sex) -> AgeTable:
    """Return the five coefficients of 1993 of one sex by age in months (36 to 210).

    The columns are constant, stature, weight, midparent and skeletal age.
    """
    columns = ("constant", "stature", "weight", "midparent", "skeletal_age")
    return age_tables(read_table("rwt_adjusted_1993.csv"), ("sex",), "age_months", columns)[(sex.value,)]


def predict_1975(
    sex: Sex, age_months: float, length_cm: float, weight_kg: float, midparent_cm: float, bone_age_months: float
) -> float | None:
    """Return the adult stature in cm by the method of 1975, or None outside its ages.

    Args:
        sex: sex of the child.
        age_months: chronological age in months at the measurements.
        length_cm: recumbent length in cm, not stature.
        weight_kg: nude weight in kg.
        midparent_cm: mean of the parents' statures in cm, not adjusted for sex.
        bone_age_months: Greulich & Pyle bone age in months.
    """
    table = table_1975(sex)
    if not table.holds(age_months):
        return None
    constant, length, weight, midparent, skeletal_age, _ = table.at(age_months)
    return (
        constant
        + length * length_cm
        + weight * weight_kg
        + midparent * midparent_cm
        + skeletal_age * bone_age_months / 12
    )


def predict_1993_at_18(
    sex: Sex, age_months: float, height_cm: float, weight_kg: float, midparent_cm: float, bone_age_months: float
) -> float | None:
    """Return the stature in cm at 18 years by the adjusted method of 1993, or None outside its ages.

    Args:
        sex: sex of the child.
        age_months: chronological age in months at the measurements.
        height_cm: standing height in cm.
        weight_kg: weight in kg.
        midparent_cm: mean of the parents' statures in cm, not adjusted for sex.
        bone_age_months: bone age in months.
    """
    table = table_1993(sex)
    if not table.holds(age_months):
        return None
    constant, stature, weight, midparent, skeletal_age = table.at(age_months)
    return (
        constant
        + stature * height_cm
        + weight * weight_kg
        + midparent * midparent_cm
        + skeletal_age * bone_age_months / 12
    )


def is_uncertain_1975(sex: Sex, age_months: float) -> bool:
    """Return True where a row that is uncertain in print takes part in the coefficients of 1975 at an age."""
    return table_1975(sex).at(age_months)[-1] > 0
