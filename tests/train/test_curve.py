"""The curve of training shows every run, however bad it is."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.train.curve import draw_curve


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
