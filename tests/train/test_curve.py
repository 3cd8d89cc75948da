"""The curve of training shows every run, however bad it is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.errors import TableError
from boneage.train.curve import MEASURES, draw_curve, measure_of, read_history


def _history(*errors_months: float) -> list[dict[str, float]]:
    return [{"epoch": float(epoch), "mad_months": error} for epoch, error in enumerate(errors_months, start=1)]


def _seen(path: Path, run: int) -> int:
    """Pixels of the line of the first (blue) or second (orange) run, left of the legend."""
    blue, _, red = np.moveaxis(np.asarray(cv2.imread(str(path))).astype(int), 2, 0)
    line = (blue - red > 60) if run == 0 else (red - blue > 60)
    return int(np.count_nonzero(line[:, : line.shape[1] * 3 // 5]))


@pytest.mark.parametrize(
    "errors_months",
    [(20.0, 12.0, 9.0), (130.0, 30.0, 12.0), (130.0, 90.0, 80.0), (800.0, 700.0, 650.0), (0.0, 0.0)],
    ids=["good", "bad at first", "bad", "very bad", "perfect"],
)
def test_a_run_is_seen_whatever_its_errors(tmp_path: Path, errors_months: tuple[float, ...]) -> None:
    draw_curve({"run": _history(*errors_months)}, tmp_path / "curve.png")
    assert _seen(tmp_path / "curve.png", 0) > 50


def test_the_worst_of_several_runs_is_seen(tmp_path: Path) -> None:
    draw_curve({"good": _history(9.0, 8.0), "bad": _history(200.0, 150.0)}, tmp_path / "two.png")
    assert min(_seen(tmp_path / "two.png", run) for run in (0, 1)) > 50


@pytest.mark.parametrize("measure", MEASURES)
def test_a_run_of_any_task_is_read_and_seen(tmp_path: Path, measure: str) -> None:
    (tmp_path / "metrics.csv").write_text(f"epoch,loss,{measure}\n1,3,20\n2,1,10\n", encoding="utf-8")
    rows = read_history(tmp_path)
    assert measure_of(rows) == measure
    assert [row[measure] for row in rows] == [20.0, 10.0]
    draw_curve({"run": rows}, tmp_path / "curve.png")
    assert _seen(tmp_path / "curve.png", 0) > 50


def test_runs_of_different_tasks_share_no_axis(tmp_path: Path) -> None:
    histories = {"ages": _history(9.0, 8.0), "masks": [{"epoch": 1.0, "jaccard_distance": 0.1}]}
    with pytest.raises(TableError, match="share no axis") as caught:
        draw_curve(histories, tmp_path / "both.png")
    assert caught.value.code == "table_columns"
    assert not (tmp_path / "both.png").exists()


@pytest.mark.parametrize("text", ["epoch,loss\n1,2\n", "loss,mad_months\n1,2\n", "epoch,mad_months\n"])
def test_a_history_without_a_measure_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_text(text, encoding="utf-8")
    with pytest.raises(TableError) as caught:
        read_history(tmp_path)
    assert caught.value.code == "table_columns"
