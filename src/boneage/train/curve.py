"""The curve of training: validation MAD by epoch, of one run or of several side by side (Souza & Oliveira, Fig. 6)."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from boneage.errors import TableError
from boneage.files import written_whole


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
    if not rows or not {"epoch", "mad_months"} <= set(rows[0]):
        raise TableError("table_columns", f"{run / 'metrics.csv'} needs epochs with epoch and mad_months.")
    return rows


def draw_curve(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Draw validation MAD (months) against epoch into a PNG.

    Args:
        histories: by the run's name, its rows with ``epoch`` and ``mad_months``.
        path: of the picture.
    """
    import matplotlib.figure  # noqa: PLC0415 - drawing is slow to import and not always wanted

    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, rows in histories.items():
        axes.plot([row["epoch"] for row in rows], [row["mad_months"] for row in rows], label=name, linewidth=1.5)
    highest = max(row["mad_months"] for rows in histories.values() for row in rows)
    axes.set(xlabel="epoch", ylabel="validation MAD, months", ylim=(0, min(highest * 1.05, 45.0)))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
