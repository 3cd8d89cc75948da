"""Curves of training: validation error by epoch (Souza & Oliveira, Fig. 6), and learning curves.

A learning curve shows the final error of runs by what differs between them: the number of training radiographs or the
resolution of the views.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneage.errors import RecipeError, TableError
from boneage.files import atomic_write, write_text

MEASURES: Mapping[str, str] = {
    "mad_months": "validation MAD, months",
    "jaccard_distance": "1 - mean IoU of held-out masks",
    "dice_distance": "1 - mean Dice of held-out masks",
    "error_percent": "median error of held-out points, % of the hand's length",
    "missed_percent": "disturbances missed, %",
}
"""Columns of ``metrics.csv`` by which epochs are compared (smaller is better), and their labels."""


def read_history(run: Path) -> list[dict[str, float]]:
    """Read the rows of a run's ``metrics.csv``.

    Raises:
        TableError: ``table_not_found``, ``table_value`` or ``table_columns``.
    """
    try:
        with (run / "metrics.csv").open(newline="", encoding="utf-8") as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise TableError("table_not_found", f"{run} holds no metrics.csv.") from error
    except (TypeError, ValueError) as error:
        raise TableError("table_value", f"{run / 'metrics.csv'} holds a value that is not a number.") from error
    if not rows or "epoch" not in rows[0] or not any(measure in rows[0] for measure in MEASURES):
        wanted = " or ".join(MEASURES)
        raise TableError("table_columns", f"{run / 'metrics.csv'} needs epochs with epoch and {wanted}.")
    return rows


def measure_of(rows: Sequence[Mapping[str, float]]) -> str:
    """Return the column by which the epochs of a run are compared."""
    return next(measure for measure in MEASURES if measure in rows[0])


_USUAL_TOP: Mapping[str, float] = {"mad_months": 45.0}
"""Upper end of the axis of errors, by measure.

Errors of untrained networks lie above this; the MAD of RSNA's labels about their mean is 34.
"""


def _top(histories: Mapping[str, Sequence[Mapping[str, float]]], measure: str) -> float:
    """Return the upper end of the axis of errors. Every run has epochs below it."""
    runs = [[row[measure] for row in rows] for rows in histories.values()]
    highest, worst_best = max(map(max, runs)), max(map(min, runs))
    return min(highest * 1.05, max(_USUAL_TOP.get(measure, 0.0), worst_best * 1.1)) or 1.0


def draw_curve(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Draw the validation error against the epoch into a PNG.

    The axis of MAD ends at 45 months, or slightly above the best epoch of the worst run if that is higher. The first
    epochs of a run would otherwise compress the rest.

    Args:
        histories: rows with ``epoch`` and one of `MEASURES`, the same for all, by the run's name.
        path: path of the PNG to write.

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
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


# --- learning curves ---

Abscissa = Literal["radiographs", "resolution"]
"""Quantity on the horizontal axis of a learning curve."""

ABSCISSAE: Mapping[Abscissa, str] = {"radiographs": "training radiographs", "resolution": "height of the view, pixels"}
"""Labels of these quantities."""

FEWEST_TO_FIT = 4
"""Smallest number of different dataset sizes to which a law is fitted, one more than its three constants."""

FARTHER = (2, 4)
"""Multiples of the largest run's radiographs to which the law is extrapolated."""

_EXPONENTS = np.linspace(0.02, 2.0, 199)


@dataclass(frozen=True)
class EndOfRun:
    """Final error of a finished run.

    Attributes:
        place: number of training radiographs, or height of the view in pixels.
        error: measure after the last epoch.
        measure: key of `MEASURES`.
    """

    place: float
    error: float
    measure: str


@dataclass(frozen=True)
class PowerLaw:
    """Power law ``floor + scale * radiographs ** -exponent`` of errors by training radiographs (Hestness et al. 2017).

    None of the three is negative. The floor is the error that no number of radiographs would lower. A small number of
    points determines it poorly.
    """

    floor: float
    scale: float
    exponent: float

    def __call__(self, radiographs: ArrayLike) -> NDArray[np.float64]:
        """Return the errors at these numbers of radiographs, in their shape."""
        return self.floor + self.scale * np.asarray(radiographs, np.float64) ** -self.exponent


def end_of_run(rows: Sequence[Mapping[str, float]], facts: Mapping[str, Any], against: Abscissa, name: str) -> EndOfRun:
    """Return the final error of a run.

    Args:
        rows: history of the run (`read_history`).
        facts: contents of its ``recipe.json``.
        against: quantity on the horizontal axis.
        name: name of the run in messages.

    Raises:
        RecipeError: ``recipe_invalid`` if the run is not finished, or its record lacks the quantity.
    """
    try:
        schedule, view = facts["recipe"]["train"], facts["recipe"]["view"]
        place = len(facts["train"]) if against == "radiographs" else view["height"]
        epochs, patience = int(schedule["epochs"]), int(schedule.get("patience", 0))
    except (KeyError, TypeError, ValueError) as error:
        raise RecipeError("recipe_invalid", f"The record of the run {name} lacks {error}.") from error
    if len(rows) < epochs and not patience:
        raise RecipeError("recipe_invalid", f"The run {name} is not finished: {len(rows)} of {epochs} epochs.")
    measure = measure_of(rows)
    return EndOfRun(float(place), rows[-1][measure], measure)


def fit_power_law(radiographs: ArrayLike, errors: ArrayLike) -> PowerLaw | None:
    """Fit the power law by least squares; None with fewer than `FEWEST_TO_FIT` different numbers of radiographs.

    For each exponent of a fine grid, 0.02 to 2, floor and scale are a linear fit without negative values.

    Args:
        radiographs: (N,), above 0.
        errors: (N,).
    """
    n, y = np.asarray(radiographs, np.float64), np.asarray(errors, np.float64)
    if len(np.unique(n)) < FEWEST_TO_FIT:
        return None
    fits = [_fit_at(exponent, n, y) for exponent in _EXPONENTS]
    return min(fits, key=lambda law: float(np.square(law(n) - y).sum()))


def _fit_at(exponent: float, radiographs: NDArray[np.float64], errors: NDArray[np.float64]) -> PowerLaw:
    falling = radiographs**-exponent
    away = falling - falling.mean()
    scale = max(float(away @ (errors - errors.mean()) / (away @ away)), 0.0)
    floor = float(errors.mean() - scale * falling.mean())
    if floor < 0:
        floor, scale = 0.0, float(falling @ errors / (falling @ falling))
    return PowerLaw(floor, scale, float(exponent))


def extrapolate(radiographs: ArrayLike, errors: ArrayLike, to: float) -> tuple[float, float, float] | None:
    """Extrapolate the error to a number of radiographs by the power law.

    Args:
        radiographs: (N,), above 0.
        errors: (N,).
        to: number of radiographs.

    Returns:
        Error, and its lowest and highest value if one dataset size is left out; None without a law (`fit_power_law`).
        Lowest and highest are NaN if no size can be left out.
    """
    n, y = np.asarray(radiographs, np.float64), np.asarray(errors, np.float64)
    law = fit_power_law(n, y)
    if law is None:
        return None
    others = [other for place in np.unique(n) if (other := fit_power_law(n[n != place], y[n != place])) is not None]
    estimates = [float(other(to)) for other in others] or [float("nan")]
    return float(law(to)), min(estimates), max(estimates)


def draw_learning_curve(ends: Sequence[EndOfRun], against: Abscissa, path: Path) -> Path:
    """Draw the errors of finished runs against their radiographs or views, and write them as a table.

    Runs of one abscissa are joined by a bar from the best to the worst, and the line connects their means. Against
    radiographs a power law is fitted and drawn on a logarithmic axis, dashed
    beyond the largest run.

    Args:
        ends: runs, at least one.
        against: quantity on the horizontal axis.
        path: path of the PNG; the table lies beside it, as Markdown.

    Returns:
        Path of the table.

    Raises:
        TableError: ``table_columns`` if the runs have different measures.
    """
    measures = {end.measure for end in ends}
    if len(measures) != 1:
        raise TableError("table_columns", f"Runs of different tasks share no axis: {', '.join(sorted(measures))}.")
    (measure,) = measures
    import matplotlib.figure  # noqa: PLC0415 - drawing is slow to import and not always wanted
    from matplotlib.ticker import ScalarFormatter  # noqa: PLC0415

    groups = _by_place(ends)
    places = np.array(list(groups))
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    means = np.array([np.mean(errors) for errors in groups.values()])
    reach = [means - [min(one) for one in groups.values()], [max(one) for one in groups.values()] - means]
    axes.errorbar(places, means, yerr=reach, fmt="o", capsize=3, color="C0", label="runs, mean and range")
    law = fit_power_law(*_points(ends)) if against == "radiographs" else None
    if law is None:
        axes.plot(places, means, linewidth=1.5, color="C0")
    else:
        for begin, end, style, label in (
            (places[0], places[-1], "-", _in_words(law)),
            (places[-1], FARTHER[-1] * places[-1], "--", "extrapolated"),
        ):
            along = np.geomspace(begin, end, 100)
            axes.plot(along, law(along), style, color="C1", label=label)
    if against == "radiographs":
        axes.set_xscale("log")
        ticks = [*places, *(times * places[-1] for times in FARTHER if law is not None)]
        axes.set_xticks(ticks)
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.minorticks_off()
    axes.set(xlabel=ABSCISSAE[against], ylabel=MEASURES[measure])
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    table = path.with_suffix(".md")
    write_text(table, _table(ends, against))
    return table


def _by_place(ends: Sequence[EndOfRun]) -> dict[float, list[float]]:
    groups: dict[float, list[float]] = {}
    for end in sorted(ends, key=lambda one: one.place):
        groups.setdefault(end.place, []).append(end.error)
    return groups


def _points(ends: Sequence[EndOfRun]) -> tuple[list[float], list[float]]:
    return [end.place for end in ends], [end.error for end in ends]


def _in_words(law: PowerLaw) -> str:
    return f"{law.floor:.3g} + {law.scale:.3g} n^-{law.exponent:.2f}"


def _table(ends: Sequence[EndOfRun], against: Abscissa) -> str:
    """Return the runs as Markdown, with the extrapolation of the power law."""
    lines = [
        f"| {ABSCISSAE[against]} | runs | {MEASURES[ends[0].measure]} | least | greatest |",
        "|---:|---:|---:|---:|---:|",
    ]
    for place, errors in _by_place(ends).items():
        figures = f"{np.mean(errors):.3g} | {min(errors):.3g} | {max(errors):.3g}"
        lines.append(f"| {place:,.0f} | {len(errors)} | {figures} |")
    radiographs, errors = _points(ends)
    law = fit_power_law(radiographs, errors) if against == "radiographs" else None
    if law is not None:
        lines += ["", f"Power law of n radiographs by least squares: {_in_words(law)}.", ""]
        for times in FARTHER:
            error, least, greatest = extrapolate(radiographs, errors, times * max(radiographs)) or (0.0, 0.0, 0.0)
            spread = (
                f" ({least:.3g} to {greatest:.3g} with one number of radiographs left out)"
                if np.isfinite(least)
                else ""
            )
            lines.append(
                f"* at {times} times the radiographs, {times * max(radiographs):,.0f}, it gives {error:.3g}{spread}"
            )
    return "\n".join(lines) + "\n"
