"""Khamis & Roche: adult stature without a radiograph, by the tables of the erratum of 1995.

Pediatrics 1994;94:504-507 with the erratum Pediatrics 1995;95:457. The tables printed in 1994 are wrong. The regression
was fitted to healthy white American children of the Fels Longitudinal Study, in inches and pounds.
"""

from __future__ import annotations

from functools import cache

from boneage.clinical.height.tables import AgeTable, age_tables, read_table
from boneage.sex import Sex

CM_PER_INCH = 2.54
"""Centimetres in one inch, exact."""
KG_PER_POUND = 0.45359237
"""Kilograms in one pound, exact."""


@cache
def table(sex: Sex) -> AgeTable:
    """Return the four coefficients of one sex by age in months (48 to 210): constant, stature, weight, midparent."""
    columns = ("constant", "stature", "weight", "midparent")
    return age_tables(read_table("khamis_roche_1995.csv"), ("sex",), "age_months", columns)[(sex.value,)]


def predict(sex: Sex, age_months: float, height_cm: float, weight_kg: float, midparent_cm: float) -> float | None:
    """Return the adult stature in cm, or None outside the ages of the table.

    The coefficients are linear between the ages of the table, which are 6 months apart.

    Args:
        sex: sex of the child.
        age_months: chronological age in months at the measurements.
        height_cm: standing height in cm.
        weight_kg: weight in kg.
        midparent_cm: mean of the parents' statures in cm, not adjusted for sex.
    """
    coefficients = table(sex)
    if not coefficients.holds(age_months):
        return None
    constant, stature, weight, midparent = coefficients.at(age_months)
    inches = (
        constant
        + stature * height_cm / CM_PER_INCH
        + weight * weight_kg / KG_PER_POUND
        + midparent * midparent_cm / CM_PER_INCH
    )
    return inches * CM_PER_INCH
