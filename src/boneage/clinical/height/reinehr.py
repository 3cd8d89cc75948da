"""Reinehr et al. 2019: adult height of boys with constitutional delay of growth and puberty.

Horm Res Paediatr 2019;91:186-194, Table 2. The percents were derived in boys of at least 12 years whose bone age was
more than one year behind, and apply to such boys only. Two parts of the table are left out: bone ages from 14 years
6 months on, which the authors extrapolated, and 10 years 6 months, where two transcriptions disagree.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from boneage.clinical.height.bayley_pinneau import predict_by_percent
from boneage.clinical.height.tables import AgeTable, age_tables, read_table

YOUNGEST_MONTHS = 144.0
"""Lowest chronological age in months of the boys in whom the table was derived."""
LEAST_DELAY_MONTHS = 12.0
"""The delay of the bone age must be above this, in months."""
LARGE_DELAY_MONTHS = 24.0
"""Delay in months from which the second column of the table is used, this bound included."""


class DelayGroup(StrEnum):
    """The column of the table by the delay of the bone age."""

    ONE_TO_TWO_YEARS = "delay_1_to_2_years"
    """More than 12 and less than 24 months."""
    TWO_YEARS_OR_MORE = "delay_2_years_or_more"
    """24 months or more."""


@cache
def percent_tables() -> dict[tuple[str, ...], AgeTable]:
    """Return percent of adult height by bone age in months (132 to 168), keyed by group."""
    return age_tables(read_table("reinehr_2019.csv"), ("group",), "bone_age_months", ("percent",))


def group_of(age_months: float, bone_age_months: float) -> DelayGroup | None:
    """Return the group by age minus bone age in months, or None where the delay is 12 months or less."""
    delay = age_months - bone_age_months
    if delay <= LEAST_DELAY_MONTHS:
        return None
    return DelayGroup.TWO_YEARS_OR_MORE if delay >= LARGE_DELAY_MONTHS else DelayGroup.ONE_TO_TWO_YEARS


def predict(group: DelayGroup, age_months: float, bone_age_months: float, height_cm: float) -> float | None:
    """Return the adult height in cm of a boy, or None outside the table or under 12 years of age.

    Percents are linear between the bone ages of the table, which are 6 months apart.
    """
    if age_months < YOUNGEST_MONTHS:
        return None
    return predict_by_percent(percent_tables()[(group.value,)], bone_age_months, height_cm)
