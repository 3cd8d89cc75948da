"""Bayley & Pinneau 1952: adult height from the percent of mature height that belongs to a bone age.

J Pediatr 1952;40:423-441, revised for the Greulich & Pyle standards. Each sex has three tables. The bone age is within
one year of the age (average), ahead by one year or more (accelerated), or behind by one year or more (retarded; the
codes keep this word of the article). At the same bone age, two tables differ by several centimetres in childhood and
hardly near maturity.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from boneage.clinical.height.tables import AgeTable, age_tables, read_table
from boneage.sex import Sex

GROUP_BOUND_MONTHS = 12.0
"""Difference of bone age and age in months from which a child is accelerated or retarded, this bound included."""


class Group(StrEnum):
    """The group whose table is used."""

    AVERAGE = "average"
    """Bone age less than 12 months ahead or behind."""
    ACCELERATED = "accelerated"
    """Bone age 12 months or more ahead."""
    RETARDED = "retarded"
    """Bone age 12 months or more behind."""


@cache
def percent_tables() -> dict[tuple[str, ...], AgeTable]:
    """Return percent of mature height by bone age in months, keyed by sex and group (``("M", "average")``)."""
    return age_tables(read_table("bayley_pinneau_1952.csv"), ("sex", "group"), "skeletal_age_months", ("percent",))


def group_of(age_months: float, bone_age_months: float) -> Group:
    """Return the group of a child by bone age minus age, in months."""
    difference = bone_age_months - age_months
    if difference >= GROUP_BOUND_MONTHS:
        return Group.ACCELERATED
    return Group.RETARDED if difference <= -GROUP_BOUND_MONTHS else Group.AVERAGE


def groups_within(age_months: float, low_months: float, high_months: float) -> tuple[Group, ...]:
    """Return every group that an interval of the bone age touches, from the lowest bone age to the highest."""
    ordered = (Group.RETARDED, Group.AVERAGE, Group.ACCELERATED)
    first, last = (ordered.index(group_of(age_months, end)) for end in (low_months, high_months))
    return ordered[first : last + 1]


def predict(sex: Sex, group: Group, bone_age_months: float, height_cm: float) -> float | None:
    """Return the adult height in cm, or None where the table of the group does not hold the bone age.

    Percents are linear between the bone ages of the table, which are 3 months apart, rarely 6.
    """
    table = percent_tables()[(sex.value, group.value)]
    return predict_by_percent(table, bone_age_months, height_cm)


def predict_by_percent(table: AgeTable, bone_age_months: float, height_cm: float) -> float | None:
    """Return height divided by the fraction of adult height that a table gives, or None outside the table."""
    return height_cm / (table.at(bone_age_months)[0] / 100) if table.holds(bone_age_months) else None


def slope_by_percent(table: AgeTable, bone_age_months: float, height_cm: float, half_width_months: float) -> float:
    """Return by how many cm the prediction falls for each month of bone age, at least 0.

    The slope is the mean over the interval of the bone age, as far as the table reaches, and over at least 3 months.

    Args:
        table: percent of adult height by bone age.
        bone_age_months: bone age within the table, in months.
        height_cm: present height in cm.
        half_width_months: half-width of the interval of the bone age in months.
    """
    half = max(half_width_months, 3.0)
    low = max(table.first_month, bone_age_months - half)
    high = min(table.last_month, bone_age_months + half)
    fall = height_cm / (table.at(low)[0] / 100) - height_cm / (table.at(high)[0] / 100)
    return max(0.0, fall / (high - low))
