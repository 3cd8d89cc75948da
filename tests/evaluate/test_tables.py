from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from boneage.errors import TableError
from boneage.evaluate.metrics import Figure
from boneage.evaluate.predictions import Predictions
from boneage.evaluate.tables import SMALLEST_GROUP, make_tables, overall_lines, to_markdown, with_interval, write_tidy
from boneage.sex import Sex
from tests.evaluate.drawn_predictions import drawn_predictions


def test_make_tables_criteria_cover_all_radiographs() -> None:
    tables = make_tables(drawn_predictions(150), ["resolution"], resamples=20)
    assert [table.criterion for table in tables] == [
        "overall",
        "sex",
        "age_band",
        "stage",
        "sex_and_stage",
        "estimated_stage",
        "resolution",
    ]
    for table in tables:
        assert sum(group.n for group in table.groups) == 150
        assert len({group.group for group in table.groups}) == len(table.groups)


def test_make_tables_figures_of_own_radiographs() -> None:
    radiographs = drawn_predictions(150)
    girls = np.array([sex is Sex.FEMALE for sex in radiographs.sexes])
    by_sex = make_tables(radiographs, resamples=20)[1]
    assert by_sex.groups[0].group == "Girls"
    assert by_sex.groups[0].n == girls.sum()
    assert by_sex.groups[0].figures["mad"].value == pytest.approx(np.abs(radiographs.error_months[girls]).mean())


def test_make_tables_age_bands_by_label() -> None:
    radiographs = Predictions(
        ("a", "b", "c"), (Sex.MALE,) * 3, np.array([23.9, 24.0, 240.0]), np.array([90.0, 90.0, 90.0])
    )
    bands = make_tables(radiographs, resamples=2)[2]
    assert [group.group for group in bands.groups] == ["0 to 2 years", "2 to 4 years", "20 to 22 years"]


def test_make_tables_label_scatter_biases_groups_by_label() -> None:
    """The table's note holds for estimates equal to the true ages and labels that scatter about them."""
    rng = np.random.default_rng(0)
    true = rng.normal(130, 40, 20_000).clip(1, 228)
    radiographs = Predictions(
        tuple(map(str, range(len(true)))), (Sex.MALE,) * len(true), true + rng.normal(0, 8, 20_000), true
    )
    tables = {table.criterion: table for table in make_tables(radiographs, resamples=2)}
    by_label, by_estimate = (
        {group.group: group.figures["bias"].value for group in tables[criterion].groups}
        for criterion in ("stage", "estimated_stage")
    )
    assert by_label["Pre-puberty"] > 1 > -1 > by_label["Post-puberty"]
    assert all(abs(by_estimate[name]) < 0.5 for name in ("Pre-puberty", "Early and mid-puberty", "Post-puberty"))


@pytest.mark.parametrize(("count", "shown"), [(SMALLEST_GROUP - 1, False), (SMALLEST_GROUP, True)])
def test_small_groups_are_only_counted(tmp_path: Path, count: int, shown: bool) -> None:
    tables = make_tables(drawn_predictions(count), resamples=5)
    assert bool(tables[0].groups[0].figures) is shown
    assert ("MAD, months" in "\n".join(overall_lines(tables))) is shown
    write_tidy(tmp_path / "t.csv", tables)
    overall = [
        row for row in csv.DictReader((tmp_path / "t.csv").read_text().splitlines()) if row["criterion"] == "overall"
    ]
    assert [row["metric"] for row in overall] == (list(tables[0].groups[0].figures) if shown else [""])
    assert all(row["n"] == str(count) for row in overall)


@pytest.mark.parametrize(("count", "words"), [(1, "1 radiograph"), (2, "2 radiographs"), (150, "150 radiographs")])
def test_overall_lines_singular(count: int, words: str) -> None:
    assert f"| {words} |" in overall_lines(make_tables(drawn_predictions(count), resamples=2))[0]


def test_markdown_and_tidy_csv_agree(tmp_path: Path) -> None:
    tables = make_tables(drawn_predictions(150), ["resolution"], resamples=50)
    text = to_markdown(tables, "Evaluation", ["Split: validation"])
    assert text.startswith("# Evaluation\n\n- Split: validation\n\n|")
    write_tidy(tmp_path / "t.csv", tables)
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    (half,) = (row for row in rows if row["group"] == "half" and row["metric"] == "mad")
    written = (
        f"| half | {half['n']} | {float(half['value']):.2f} [{float(half['low']):.2f}, {float(half['high']):.2f}] |"
    )
    assert written in text


def test_markdown_rows_have_all_columns() -> None:
    radiographs = drawn_predictions(60)
    piped = Predictions(
        radiographs.ids,
        radiographs.sexes,
        radiographs.boneage_months,
        radiographs.age_months,
        {"site": ("a|b",) * 30 + ("",) * 30},
    )
    text = to_markdown(make_tables(piped, ["site"], resamples=5), "E")
    for block in text.split("\n\n"):
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1
    assert "| (empty) | 30 |" in text


def test_interval_section(tmp_path: Path) -> None:
    radiographs = drawn_predictions(300, intervals=True)
    tables = make_tables(radiographs, resamples=30)
    lines = to_markdown(tables, "E").split("## Intervals\n\n")[1].splitlines()
    assert (
        lines[0]
        == "|  | radiographs | within 80 % [95 % interval] | mean width | within 95 % [95 % interval] | mean width |"
    )
    rows = {cells[1]: cells[2:-1] for line in lines[2:] if (cells := [cell.strip() for cell in line.split("|")])[1:]}
    boys = np.array([sex is Sex.MALE for sex in radiographs.sexes])
    held = np.abs(radiographs.error_months[boys]) <= 1.96 * 9.0
    assert rows["Boys"][0] == str(boys.sum())
    assert rows["Boys"][3].startswith(f"{100 * held.mean():.1f} % [")
    assert [rows[group][place] for group in ("All radiographs", "Boys") for place in (2, 4)] == ["23.04", "35.28"] * 2
    stages = [group.group for table in tables if table.criterion == "stage" for group in table.groups]
    assert list(rows) == ["All radiographs", "Girls", "Boys", *stages]
    small = next(group.group for group in tables[3].groups if group.n < SMALLEST_GROUP)
    assert rows[small][1:] == [""] * 4
    write_tidy(tmp_path / "t.csv", tables)
    tidy = {
        (row["criterion"], row["group"], row["metric"]): row["value"]
        for row in csv.DictReader((tmp_path / "t.csv").read_text().splitlines())
    }
    assert float(tidy["sex", "Boys", "coverage_95"]) == pytest.approx(held.mean(), abs=1e-5)
    assert any(line.startswith("| Within the 95 % interval | ") for line in overall_lines(tables))
    assert "## Intervals" not in to_markdown(make_tables(drawn_predictions(300), resamples=5), "E")


def test_undefined_figure_is_no_number(tmp_path: Path) -> None:
    radiographs = Predictions(tuple("abcde"), (Sex.MALE,) * 5, np.full(5, 100.0), np.full(5, 100.0))
    tables = make_tables(radiographs, resamples=5)
    assert "| CCC | undefined | undefined to undefined |" in overall_lines(tables)
    assert "+0.00" in to_markdown(tables, "E")
    write_tidy(tmp_path / "t.csv", tables)
    assert "nan" not in (tmp_path / "t.csv").read_text()


def test_zero_has_no_direction() -> None:
    assert with_interval(Figure(-0.004, -1.5, 0.004)) == "0.00 [-1.50, 0.00]"
    assert with_interval(Figure(0.004, -0.004, 1.5), "+") == "+0.00 [+0.00, +1.50]"


def test_make_tables_rejects_unknown_column() -> None:
    with pytest.raises(TableError) as caught:
        make_tables(drawn_predictions(10), ["reader"])
    assert caught.value.code == "table_columns"
