"""The shipped tables: sizes, checksums, ends and the order of their cells."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from boneage.clinical import height
from boneage.clinical.height import bayley_pinneau, khamis_roche, reinehr, rwt
from boneage.clinical.height.tables import AgeTable, age_tables, read_table
from boneage.clinical.height.who_2007 import who_table
from boneage.sex import Sex

FOLDER = Path(height.__file__).parent

SUMS = {
    "bayley_pinneau_1952.csv": (251, "df51635e196f5380"),
    "khamis_roche_1995.csv": (56, "7349e940c7fbbdba"),
    "reinehr_2019.csv": (14, "6ee5add6a08baf48"),
    "rwt_1975.csv": (113, "2c6761c5ef8e870d"),
    "rwt_adjusted_1993.csv": (60, "9c99ac46e75efab4"),
    "who_2007_height.csv": (336, "543c4fd4c10340b6"),
}


def _digest(rows: list[dict[str, str]]) -> str:
    return hashlib.sha256("\n".join(",".join(row.values()) for row in rows).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", SUMS)
def test_rows_have_the_compared_numbers(name: str) -> None:
    rows = read_table(name)
    assert (len(rows), _digest(rows)) == SUMS[name]


def test_every_table_is_listed_with_its_source() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in FOLDER.glob("*.csv")} == set(SUMS)
    for name in SUMS:
        assert f"`{name}`" in readme
        head = [line for line in (FOLDER / name).read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        assert any(line.startswith("# Source:") for line in head), name
        assert any(line.startswith("# Comparison:") for line in head), name


@pytest.mark.parametrize(
    ("sex", "group", "first", "last"),
    [
        ("M", "average", 84, 222),
        ("M", "accelerated", 84, 204),
        ("M", "retarded", 72, 156),
        ("F", "average", 72, 216),
        ("F", "accelerated", 84, 210),
        ("F", "retarded", 72, 204),
    ],
)
def test_bayley_pinneau_ends_and_rises(sex: str, group: str, first: int, last: int) -> None:
    table = bayley_pinneau.percent_tables()[(sex, group)]
    assert (table.first_month, table.last_month) == (first, last)
    assert np.all(np.diff(table.values[:, 0]) >= 0)
    assert 65 < table.values[0, 0] < table.values[-1, 0] <= 100
    assert set(np.diff(table.ages_months)) <= {2, 3, 4, 6}


@pytest.mark.parametrize("sex", ["M", "F"])
def test_bayley_pinneau_groups_are_ordered_at_each_bone_age(sex: str) -> None:
    tables = [bayley_pinneau.percent_tables()[(sex, group)] for group in ("accelerated", "average", "retarded")]
    for lower, higher in itertools.pairwise(tables):
        for age, percent in zip(lower.ages_months, lower.values[:, 0], strict=True):
            if higher.holds(age):
                assert percent <= higher.at(age)[0] + 1e-9, age


def test_reinehr_starts_at_11_and_ends_before_the_extrapolation() -> None:
    tables = reinehr.percent_tables()
    for table in tables.values():
        assert (table.first_month, table.last_month) == (132, 168)
        assert np.all(np.diff(table.values[:, 0]) > 0)
    small, large = (tables[(group.value,)].values for group in reinehr.DelayGroup)
    assert np.all(large >= small)


@pytest.mark.parametrize(
    ("table", "first", "last", "step", "largest_bend_cm"),
    [
        (rwt.table_1975(Sex.MALE), 12, 189, 3, 0.4),
        (rwt.table_1975(Sex.FEMALE), 12, 168, 3, 0.4),
        (rwt.table_1993(Sex.MALE), 36, 210, 6, 0.7),
        (rwt.table_1993(Sex.FEMALE), 36, 210, 6, 1.2),
        (khamis_roche.table(Sex.MALE), 48, 210, 6, 0.5),
        (khamis_roche.table(Sex.FEMALE), 48, 210, 6, 0.5),
    ],
)
def test_regression_tables_are_complete_and_smooth(
    table: AgeTable, first: int, last: int, step: int, largest_bend_cm: float
) -> None:
    """A slip in one cell would put a typical child's prediction off the line between the neighbouring rows."""
    inches = table.values.shape[1] == 4
    assert (table.first_month, table.last_month) == (first, last)
    assert set(np.diff(table.ages_months)) == {step}
    assert np.all(table.values[:, 1] > 0)
    for number in range(1, len(table.values) - 1):
        bend = table.values[number] - (table.values[number - 1] + table.values[number + 1]) / 2
        age = float(table.ages_months[number])
        height_cm = who_table(Sex.FEMALE).at(max(61.0, age))[1] - 0.6 * max(0.0, 61 - age)
        weight_kg = 16.5 * (height_cm / 100) ** 2
        if inches:
            inch_child = np.asarray((1.0, height_cm / 2.54, weight_kg / 0.45359237, 170 / 2.54))
            assert abs(float(bend @ inch_child)) * 2.54 < largest_bend_cm, age
        else:
            child = np.asarray((1.0, height_cm, weight_kg, 170.0, age / 12))
            assert abs(float(bend[:5] @ child)) < largest_bend_cm, age


def test_rwt_1975_misprint_is_corrected_and_uncertain_row_marked() -> None:
    assert rwt.table_1975(Sex.FEMALE).at(135)[0] == 64.136
    assert [rwt.is_uncertain_1975(Sex.FEMALE, age) for age in (162, 163, 165, 167.9, 168)] == [
        False,
        True,
        True,
        True,
        False,
    ]
    assert not rwt.table_1975(Sex.MALE).holds(192)


def test_rwt_1975_constant_of_girls_has_no_jump() -> None:
    """The misprinted constant would bend the sequence of constants by 40 cm."""
    constants = rwt.table_1975(Sex.FEMALE).values[:, 0]
    assert np.abs(np.diff(constants, 2)).max() < 1.5


@pytest.mark.parametrize("sex", list(Sex))
def test_who_reference_is_complete(sex: Sex) -> None:
    table = who_table(sex)
    assert list(table.ages_months) == list(range(61, 229))
    power, median, spread = table.values.T
    assert np.all(power == 1)
    assert np.all(np.diff(median) > 0)
    assert np.all((spread > 0.03) & (spread < 0.06))


def test_age_table_rejects_ages_outside() -> None:
    table = rwt.table_1993(Sex.MALE)
    with pytest.raises(ValueError, match="outside the table"):
        table.at(table.last_month + 0.01)


def test_age_tables_rejects_ages_that_do_not_increase() -> None:
    rows = [{"sex": "F", "age": "3", "x": "1"}, {"sex": "F", "age": "3", "x": "2"}]
    with pytest.raises(ValueError, match="do not increase"):
        age_tables(rows, ("sex",), "age", ("x",))
