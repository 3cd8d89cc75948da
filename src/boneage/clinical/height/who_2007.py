"""Height SDS by the WHO growth reference 2007 for children from 5 years 1 month to 19 years."""

from __future__ import annotations

from functools import cache

from boneage.clinical.height.tables import AgeTable, age_tables, read_table
from boneage.sex import Sex


@cache
def who_table(sex: Sex) -> AgeTable:
    """Return L, M (cm) and S of height of one sex by age in months (61 to 228)."""
    return age_tables(read_table("who_2007_height.csv"), ("sex",), "age_months", ("l", "m", "s"))[(sex.value,)]


def height_sds(sex: Sex, age_months: float, height_cm: float) -> float | None:
    """Return the height SDS by WHO 2007, or None outside the table.

    L, M and S are linear between the months of the table. The correction that the WHO prescribes beyond 3 SD concerns
    weight and body mass index. Height keeps the plain LMS formula; its L is 1 at every age.

    Args:
        sex: sex of the child.
        age_months: chronological age or bone age in months; the table holds 61 to 228.
        height_cm: standing height in cm.
    """
    table = who_table(sex)
    if not table.holds(age_months):
        return None
    power, median, spread = table.at(age_months)
    return float(((height_cm / median) ** power - 1.0) / (power * spread))
