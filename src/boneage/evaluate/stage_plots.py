"""Plots of the grid of networks as PNG: MAD by column and region, and by stage (Iglovikov et al., Fig. 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneage.evaluate.grid import COLUMNS, PAPER_MONTHS, ROWS, TOGETHER, FieldFigures, Place, StageFigures
from boneage.evaluate.grid_report import GridReport
from boneage.evaluate.metrics import Figure
from boneage.evaluate.plots import bar_lengths, drawing
from boneage.evaluate.stages import Stage
from boneage.evaluate.tables import SEX_LABELS
from boneage.sex import Sex

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The regions differ in hue, lightness and marker, for colour-blind readers and for grey print.
_STYLES = {"A": ("#1f77a4", "o"), "B": ("#d98c1f", "s"), "C": ("#3d8b4f", "^"), "ensemble": ("#22272e", "D")}
_NAMES = {"A": "A whole hand", "B": "B carpal bones", "C": "C metacarpals, phalanges", "ensemble": "mean of A, B, C"}
_APART = {row: (place - 1.5) * 0.17 for place, row in enumerate(ROWS)}


def draw_grid_plots(folder: Path, report: GridReport) -> list[Path]:
    """Draw ``grid.png`` and, for each column of the table that has figures by stage, ``stages-<column>.png``.

    Raises:
        BoneageError: ``extra_missing`` without matplotlib.
    """
    paths = [folder / "grid.png"]
    draw_fields(paths[0], report.fields)
    for column in COLUMNS:
        figures = [each for each in report.stages if each.place.column == column and each.mad is not None]
        if figures:
            paths.append(folder / f"stages-{column}.png")
            draw_stages(paths[-1], figures)
    return paths


def draw_fields(path: Path, fields: Mapping[Place, FieldFigures]) -> None:
    """Draw the MAD of every field with its interval by column and region, and the paper's figures (Fig. 8)."""
    columns = [column for column in COLUMNS if any(place.column == column for place in fields)]
    with drawing(path, 10.0, 5.0) as figure:
        axes = figure.add_subplot()
        for row in ROWS:
            here = [n for n, column in enumerate(columns) if Place(column, row) in fields]
            mads = [fields[Place(columns[n], row)].mad for n in here]
            _points(axes, row, [n + _APART[row] for n in here], mads, joined=False)
        paper = [
            (number + _APART[row], PAPER_MONTHS[Place(column, row)])
            for number, column in enumerate(columns)
            for row in ROWS
            if Place(column, row) in PAPER_MONTHS
        ]
        if paper:
            axes.plot(
                *zip(*paper, strict=True),
                linestyle="none",
                marker="_",
                markersize=13,
                color="#8a929c",
                markeredgewidth=2,
                label="the paper's text",
            )
        names = ["regression and\nclassification" if c == TOGETHER else c.replace("-", "\n") for c in columns]
        axes.set_xticks(range(len(columns)), names)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        axes.set(ylabel="MAD (months)", ylim=(0, None))
        axes.set_title("Error by network, cohort and region, with 95 % confidence intervals")
        figure.legend(loc="outside lower center", ncols=5, handletextpad=0.3)


def draw_stages(path: Path, figures: Sequence[StageFigures]) -> None:
    """Draw the MAD with its interval by stage, with one line for each region and one panel for each sex (Fig. 9).

    Args:
        path: Path of the PNG file.
        figures: Figures of one column, without empty ones.
    """
    sexes = [sex for sex in Sex if any(each.sex is sex for each in figures)]
    with drawing(path, 5.2 * len(sexes) + 0.6, 4.8) as figure:
        panels = figure.subplots(1, len(sexes), sharey=True, squeeze=False)[0]
        for axes, sex in zip(panels, sexes, strict=True):
            _draw_sex(axes, sex, [each for each in figures if each.sex is sex])
        panels[0].set(ylabel="MAD (months)", ylim=(0, None))  # once all panels, which share the axis, are drawn
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2 * len(sexes), handletextpad=0.3)


def _draw_sex(axes: Axes, sex: Sex, figures: Sequence[StageFigures]) -> None:
    stages = [stage for stage in Stage if any(each.stage is stage for each in figures)]
    counts = {each.stage: each.radiographs for each in figures}
    for row in ROWS:
        of_row = {each.stage: each.mad for each in figures if each.place.row == row and each.mad is not None}
        places = [n + 0.6 * _APART[row] for n, stage in enumerate(stages) if stage in of_row]
        _points(axes, row, places, [of_row[stage] for stage in stages if stage in of_row], joined=True)
    column = figures[0].place.column
    networks = "mean of both types" if column == TOGETHER else column.replace("-", " ")
    axes.set_title(f"{SEX_LABELS[sex]}: {networks}")
    names = [stage.label.replace(" and ", " and\n").replace("Late ", "Late\n") for stage in stages]
    axes.set_xticks(
        range(len(stages)), [f"{name}\nn = {counts[stage]}" for name, stage in zip(names, stages, strict=True)]
    )
    axes.set_xlim(-0.5, len(stages) - 0.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")


def _points(axes: Axes, row: str, places: Sequence[float], figures: Sequence[Figure], *, joined: bool) -> None:
    if not figures:
        return
    colour, marker = _STYLES[row]
    values = np.array([figure.value for figure in figures])
    axes.errorbar(
        places,
        values,
        yerr=bar_lengths(figures),
        fmt=marker,
        linestyle="-" if joined else "none",
        linewidth=1.2,
        color=colour,
        markersize=6,
        markeredgecolor="white",
        elinewidth=1.4,
        label=_NAMES[row],
    )
