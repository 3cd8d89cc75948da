"""The curve of training: validation error by epoch, of a run or of several side by side (Souza & Oliveira, Fig. 6)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from boneage.errors import TableError
from boneage.files import written_whole

MEASURES: Mapping[str, str] = {
    "mad_months": "validation MAD, months",
    "jaccard_distance": "1 - mean IoU of held-out masks",
    "error_percent": "median error of held-out points, % of the hand's length",
}
"""Columns of ``metrics.csv`` by which epochs are compared (smaller is better), and what to call them."""


def read_history(run: Path) -> list[dict[str, float]]:
    """Rows of a run's ``metrics.csv``.

    Raises:
        TableError: ``table_not_found``, ``table_value`` or ``table_columns``.
    """
    try:
        with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise TableError("table_not_found", f"{run} holds no metrics.csv.") from error
    except (TypeError, ValueError) as error:
        raise TableError("table_value", f"{run / 'metrics.csv'} holds what is no number.") from error
    if not rows or "epoch" not in rows[0] or not any(measure in rows[0] for measure in MEASURES):
        wanted = " or ".join(MEASURES)
        raise TableError("table_columns", f"{run / 'metrics.csv'} needs epochs with epoch and {wanted}.")
    return rows


def measure_of(rows: Sequence[Mapping[str, float]]) -> str:
    """The column by which the epochs of a run are compared."""
    return next(measure for measure in MEASURES if measure in rows[0])


_USUAL_TOP: Mapping[str, float] = {"mad_months": 45.0}
"""Errors of untrained nets lie above this; the MAD of RSNA's labels about their mean is 34."""


def _top(histories: Mapping[str, Sequence[Mapping[str, float]]], measure: str) -> float:
    """Where the axis of errors ends: every run has epochs below it."""
    runs = [[row[measure] for row in rows] for rows in histories.values()]
    highest, worst_best = max(map(max, runs)), max(map(min, runs))
    return min(highest * 1.05, max(_USUAL_TOP.get(measure, 0.0), worst_best * 1.1)) or 1.0


def draw_curve(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Draw the validation error against epoch into a PNG.

    The axis of MAD ends at 45 months, or a little above the best epoch of the worst run where that is worse: the first
    epochs of a run would otherwise press the rest together.

    Args:
        histories: by the run's name, its rows with ``epoch`` and one of `MEASURES`, the same for all.
        path: of the picture.

    Raises:
        TableError: ``table_columns`` if the runs have different measures.
    """
    measures = {measure_of(rows) for rows in histories.values()}
    if len(measures) != 1:
        raise TableError("table_columns", f"Runs of different tasks share no axis: {', '.join(sorted(measures))}.")
    (measure,) = measures
    import matplotlib.figure  # noqa: PLC0415 - drawing is slow to import and not always wanted

    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, rows in histories.items():
        axes.plot([row["epoch"] for row in rows], [row[measure] for row in rows], label=name, linewidth=1.5)
    axes.set(xlabel="epoch", ylabel=MEASURES[measure], ylim=(0, _top(histories, measure)))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
