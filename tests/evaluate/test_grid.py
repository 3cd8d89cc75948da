from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.errors import TableError
from boneage.evaluate.grid import (
    CELLS,
    COLUMNS,
    ENSEMBLE,
    PAPER_MONTHS,
    ROWS,
    TOGETHER,
    Cell,
    Grid,
    Place,
    Resamples,
    align,
    field_figures,
    read_grid,
    sex_figures,
    stage_figures,
)
from boneage.evaluate.metrics import mean_absolute_difference, measure
from boneage.sex import Sex
from tests.evaluate.drawn_grid import drawn_grid, of_radiographs, write_tables


def test_cells_are_18_by_name() -> None:
    names = [cell.name for cell in CELLS]
    assert len(set(names)) == 18
    assert {"regression-mixed-a", "classification-females-c"} <= set(names)


def test_paper_values_are_fields_of_the_table() -> None:
    assert all(place.column in COLUMNS and place.row in ROWS for place in PAPER_MONTHS)
    assert PAPER_MONTHS[Place(TOGETHER, ENSEMBLE)] == min(PAPER_MONTHS.values())


def test_read_grid_independent_of_order(tmp_path: Path) -> None:
    tables = drawn_grid(50)
    cell = Cell("regression", "males", "B")
    turned = {**tables, cell: of_radiographs(tables[cell], list(range(len(tables[cell])))[::-1])}
    write_tables(tmp_path, turned)
    grid, plain = read_grid(tmp_path), align(tables)
    assert grid.sexes == plain.sexes
    assert not grid.missing
    assert grid.left_out == 0
    for each in CELLS:
        np.testing.assert_array_equal(grid.networks[each], plain.networks[each])


def test_grid_networks_of_one_sex_are_nan_for_the_other() -> None:
    grid = align(drawn_grid(50))
    for sex, other in ((Sex.MALE, "females"), (Sex.FEMALE, "males")):
        for cell in CELLS:
            predicted = np.isfinite(grid.networks[cell][grid.of_sex(sex)])
            assert predicted.any() == predicted.all() == (cell.cohort != other)


def test_grid_averages_match_section_4_4() -> None:
    grid = align(drawn_grid(60))
    boys = grid.of_sex(Sex.MALE)
    regions = [grid.networks[Cell("regression", "mixed", region)] for region in ("A", "B", "C")]
    np.testing.assert_allclose(grid.estimates[Place("regression-mixed", ENSEMBLE)], sum(regions) / 3)
    of_boys = [grid.networks[Cell(kind, "males", "B")][boys] for kind in ("regression", "classification")]
    np.testing.assert_allclose(grid.estimates[Place(TOGETHER, "B")][boys], sum(of_boys) / 2)
    six = [cell for cell in CELLS if cell.cohort == "females"]
    corner = grid.estimates[Place(TOGETHER, ENSEMBLE)][~boys]
    np.testing.assert_allclose(corner, np.mean([grid.networks[cell][~boys] for cell in six], axis=0))


def test_grid_table_is_complete() -> None:
    grid = align(drawn_grid(60))
    figures = field_figures(grid, Resamples(grid, count=50))
    assert set(figures) == {Place(column, row) for column in COLUMNS for row in ROWS}
    assert figures[Place("regression-males", "A")].radiographs == grid.of_sex(Sex.MALE).sum()
    assert figures[Place(TOGETHER, "A")].radiographs == len(grid) == 60
    for place, figure in figures.items():
        errors = grid.estimates[place] - grid.boneage_months
        assert figure.mad.value == pytest.approx(np.nanmean(np.abs(errors)))
        assert figure.mad.low < figure.mad.value < figure.mad.high


@settings(max_examples=20, deadline=None)
@given(st.sets(st.sampled_from(CELLS), min_size=1))
def test_field_figures_empty_for_missing_networks(present: set[Cell]) -> None:
    tables = {cell: table for cell, table in drawn_grid(40).items() if cell in present}
    grid = align(tables)
    figures = field_figures(grid, Resamples(grid, count=10))
    assert set(grid.missing) == set(CELLS) - present
    for cell in CELLS:
        assert (Place(f"{cell.type}-{cell.cohort}", cell.region) in figures) == (cell in present)
    for column in COLUMNS:
        needed = {
            cell
            for cell in CELLS
            if column == f"{cell.type}-{cell.cohort}" or (column == TOGETHER and cell.cohort != "mixed")
        }
        assert (Place(column, ENSEMBLE) in figures) == (needed <= present)


def test_align_uses_common_radiographs() -> None:
    tables = drawn_grid(50)
    cell = Cell("classification", "females", "C")
    tables[cell] = of_radiographs(tables[cell], list(range(1, len(tables[cell]))))
    grid = align(tables)
    assert (len(grid), grid.left_out) == (49, 1)
    assert all(np.isfinite(grid.networks[other]).sum() < 50 for other in CELLS)


def test_grid_compares_cohorts_on_same_radiographs() -> None:
    grid = align(drawn_grid(80))
    figures = sex_figures(grid, Resamples(grid, count=10))
    assert len(figures) == 2 * 2 * 2 * 4  # types, sexes, mixed or separate, rows
    for sex in Sex:
        radiographs = int(grid.of_sex(sex).sum())
        assert {figure.radiographs for (_, of_sex), figure in figures.items() if of_sex is sex} == {radiographs}


def test_stage_figures_partition_each_sex() -> None:
    grid = align(drawn_grid(300))
    figures = stage_figures(grid, Resamples(grid, count=10), smallest=5)
    for sex in Sex:
        counts = [
            figure.radiographs for figure in figures if figure.sex is sex and figure.place == Place(TOGETHER, "A")
        ]
        assert sum(counts) == grid.of_sex(sex).sum()
    assert all((figure.mad is None) == (figure.radiographs < 5) for figure in figures)
    assert any(figure.mad is None for figure in figures)


def test_grid_intervals_match_plain_bootstrap() -> None:
    grid = align(drawn_grid(400))
    place = Place("regression-males", "A")
    mad = field_figures(grid, Resamples(grid))[place].mad
    boys = grid.of_sex(Sex.MALE)
    plain = measure(grid.boneage_months[boys], grid.estimates[place][boys], {"mad": mean_absolute_difference}, seed=1)[
        "mad"
    ]
    assert mad.low == pytest.approx(plain.low, abs=0.15)
    assert mad.high == pytest.approx(plain.high, abs=0.15)
    assert field_figures(grid, Resamples(grid))[place].mad == mad
    assert field_figures(grid, Resamples(grid, seed=1))[place].mad != mad


def test_grid_mean_of_nothing_is_nan() -> None:
    grid = Grid((Sex.MALE,), np.array([100.0]), {})
    assert np.isnan(Resamples(grid, count=3).mean(np.array([np.nan])).value)


def test_read_grid_rejects_folder_without_tables(tmp_path: Path) -> None:
    with pytest.raises(TableError) as caught:
        read_grid(tmp_path)
    assert caught.value.code == "table_not_found"


def test_align_rejects_contradictory_tables() -> None:
    tables = drawn_grid(20)
    males, mixed = Cell("regression", "males", "A"), Cell("regression", "mixed", "A")
    relabelled = replace(tables[males], boneage_months=tables[males].boneage_months + 1)
    strangers = replace(tables[males], ids=tuple(f"x{name}" for name in tables[males].ids))
    for changed, code in (
        ({males: relabelled}, "table_value"),
        ({males: tables[mixed]}, "table_value"),
        ({males: strangers, mixed: of_radiographs(tables[mixed], [])}, "table_empty"),
    ):
        with pytest.raises(TableError) as caught:
            align({**tables, **changed} if code == "table_value" else changed)
        assert caught.value.code == code
