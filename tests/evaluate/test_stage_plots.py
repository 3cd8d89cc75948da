from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from boneage.evaluate.grid import CELLS, COLUMNS, Cell, align
from boneage.evaluate.grid_report import report_grid
from boneage.evaluate.stage_plots import draw_grid_plots
from tests.evaluate.drawn_grid import drawn_grid


def test_draw_grid_plots_one_for_each_column(tmp_path: Path) -> None:
    report = report_grid(align(drawn_grid(150)))
    paths = draw_grid_plots(tmp_path, report)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert [path.stem for path in paths] == ["grid", *(f"stages-{column}" for column in COLUMNS)]
    for path in paths:
        picture = cv2.imread(str(path))
        assert picture is not None
        assert min(picture.shape[:2]) > 600
        assert picture.std() > 5


@pytest.mark.parametrize("cells", [CELLS[:1], [Cell("classification", "males", "B")], CELLS[3:9]])
def test_draw_grid_plots_of_partial_grid(tmp_path: Path, cells: list[Cell]) -> None:
    tables = drawn_grid(80)
    paths = draw_grid_plots(tmp_path, report_grid(align({cell: tables[cell] for cell in cells})))
    columns = dict.fromkeys(f"{cell.type}-{cell.cohort}" for cell in cells)
    assert [path.stem for path in paths][1:] == [f"stages-{column}" for column in columns]


def test_draw_grid_plots_is_deterministic(tmp_path: Path) -> None:
    pictures = []
    for number, seed in enumerate((1, 2, 1)):
        paths = draw_grid_plots(tmp_path / str(number), report_grid(align(drawn_grid(60, seed))))
        pictures.append([path.read_bytes() for path in paths])
    assert pictures[0] == pictures[2]
    assert all(one != other for one, other in zip(pictures[0], pictures[1], strict=True))
