from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import pytest

from boneage.errors import TableError
from boneage.evaluate.grid import CELLS, COLUMNS, Cell, align
from boneage.evaluate.grid_report import GridReport, field_lines, grid_markdown, report_grid, write_report
from boneage.sex import Sex
from tests.evaluate.drawn_grid import drawn_grid


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]]


def _rows(path: Path) -> Sequence[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report() -> GridReport:
    return report_grid(align(drawn_grid(200)), align(drawn_grid(300, seed=5)))


def test_grid_report_shows_fields_beside_the_paper(report: GridReport) -> None:
    lines = field_lines(report)
    assert len(lines) == 6
    assert all(len(_cells(line)) == 1 + len(COLUMNS) for line in lines)
    first, corner = _cells(lines[2])[1], _cells(lines[5])[-1]
    assert first.endswith("; paper 8.08")
    assert corner.endswith("; paper 6.10")
    assert "paper" not in _cells(lines[3])[1]  # B of mixed regression: only in the figure


def test_grid_report_has_mean_of_all_networks(report: GridReport) -> None:
    """Each radiograph is read by the mixed networks and by those of its sex, and all of these count alike."""
    grid = report.grid
    errors = []
    for number, (sex, months) in enumerate(zip(grid.sexes, grid.boneage_months, strict=True)):
        estimates = [grid.networks[cell][number] for cell in grid.members(sex)]
        assert len(estimates) == 12
        errors.append(abs(sum(estimates) / 12 - months))
    assert report.of_all.value == pytest.approx(sum(errors) / len(errors))
    assert report.weighted is not None
    assert report.of_all == report.weighted.plain
    assert f"mixed ones included: {report.of_all.value:.2f} [" in grid_markdown(report)


def test_grid_report_names_missing_networks() -> None:
    tables = drawn_grid(60)
    del tables[Cell("regression", "males", "B")]
    text = grid_markdown(report_grid(align(tables)), ["scale 1/16"])
    assert "- scale 1/16\n" in text
    assert "- Missing networks (1 of 18): regression-males-b\n" in text
    row = next(line for line in text.splitlines() if line.startswith("| B |"))
    assert [bool(cell) for cell in _cells(row)[1:]] == [True, False, True, True, True, True, False]
    assert "Weighted" not in text


def test_grid_report_files_match_report(report: GridReport, tmp_path: Path) -> None:
    write_report(tmp_path, report)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("grid.md", "grid.csv", "stages.csv", "orders.csv", "weights.csv"),
    }
    rows = {(row["column"], row["row"], row["radiographs"]): row for row in _rows(tmp_path / "grid.csv")}
    assert len(rows) == 7 * 4 + 2 * 2 * 2 * 4
    corner = rows["together", "ensemble", "all of its cohort"]
    assert corner["paper_months"] == "6.1"
    assert float(corner["low"]) < float(corner["mad_months"]) < float(corner["high"])
    boys = sum(sex is Sex.MALE for sex in report.grid.sexes)
    assert rows["regression-mixed", "A", "boys"]["count"] == str(boys)
    verdicts = {row["verdict"] for row in _rows(tmp_path / "orders.csv")}
    assert "confirmed" in verdicts
    assert len(_rows(tmp_path / "stages.csv")) == len(report.stages)


def test_grid_report_weights_sum_to_one(report: GridReport, tmp_path: Path) -> None:
    write_report(tmp_path, report)
    rows = _rows(tmp_path / "weights.csv")
    for sex in "FM":
        of_sex = {row["cell"]: float(row["weight"]) for row in rows if row["sex"] == sex}
        assert len(of_sex) == 12
        assert sum(of_sex.values()) == pytest.approx(1.0, abs=1e-4)
        by_region = [sum(of_sex[cell.name] for cell in CELLS if cell.name in of_sex and cell.region == r) for r in "AB"]
        assert by_region[0] > by_region[1]
    assert report.weighted is not None
    assert report.weighted.gain.value == pytest.approx(report.weighted.plain.value - report.weighted.weighted.value)


def test_report_grid_rejects_weights_of_other_networks() -> None:
    tables = drawn_grid(60)
    fewer = dict(list(tables.items())[1:])
    with pytest.raises(TableError, match="regression-mixed-a") as caught:
        report_grid(align(tables), align(fewer))
    assert caught.value.code == "table_value"


def test_grid_report_of_one_network(tmp_path: Path) -> None:
    cell = Cell("classification", "females", "C")
    tables = {cell: drawn_grid(60)[cell]}
    write_report(tmp_path, report_grid(align(tables), align(tables)))
    assert "1.000" in (tmp_path / "grid.md").read_text(encoding="utf-8")
