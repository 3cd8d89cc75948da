"""Figures of the candidate networks of Souza & Oliveira beside those of the paper's Table I.

Neighbouring columns of the table differ in one respect, so that the table makes seven claims about the use of
augmentation, normalisation, depth, filter size, dropout and L2. Each is tested by a paired bootstrap on our own
predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneage.evaluate.comparison import compare
from boneage.evaluate.grid_orders import Verdict
from boneage.evaluate.metrics import Figure, concordance, mean_absolute_difference, measure
from boneage.evaluate.predictions import Predictions
from boneage.evaluate.stages import Stage
from boneage.evaluate.tables import SMALLEST_GROUP, figure_cells, markdown_table, with_interval
from boneage.files import write_text
from boneage.tables.csv_table import write_rows

RESPECTS: Mapping[tuple[str, str], str] = {
    ("A", "B"): "augmentation",
    ("B", "C"): "batch normalisation",
    ("C", "D"): "instance instead of batch normalisation",
    ("D", "E"): "35 instead of 9 convolutional layers",
    ("E", "F"): "filters of 5 x 5 instead of 3 x 3",
    ("F", "G"): "dropout; 150 instead of 50 epochs",
    ("G", "H"): "L2 penalty",
}
"""Difference of neighbouring columns of Table I."""


@dataclass(frozen=True)
class Candidate:
    """Trained candidate network.

    Attributes:
        name: column of Table I, or ``Inception-V3``.
        predictions: estimates for the validation radiographs after the last epoch.
        parameters: number of trained weights.
        view: height and width of the views, pixels.
        radiographs: number of training radiographs.
        epochs: number of epochs.
        best_mad_months: lowest validation MAD of an epoch, months.
        processor_hours: processor time of the training with its validations, hours.
        program: version, and commit where it is recorded, of the program that trained it.
        paper_mad_months, paper_epochs: the paper's figures; None where its text gives none.
    """

    name: str
    predictions: Predictions
    parameters: int
    view: tuple[int, int]
    radiographs: int
    epochs: int
    best_mad_months: float
    processor_hours: float
    program: str
    paper_mad_months: float | None = None
    paper_epochs: int | None = None


@dataclass(frozen=True)
class Step:
    """Step from one column to the next.

    Attributes:
        first, second: names of the columns.
        paper_months: MAD of the second minus that of the first in the paper, months.
        ours: the same on our radiographs, with its paired 95 % confidence interval.
    """

    first: str
    second: str
    paper_months: float
    ours: Figure

    @property
    def verdict(self) -> Verdict:
        """Verdict on the sign of the difference, undecided if the interval contains 0."""
        if self.ours.low <= 0.0 <= self.ours.high:
            return Verdict.UNDECIDED
        return Verdict.CONFIRMED if (self.ours.value > 0) == (self.paper_months > 0) else Verdict.CONTRADICTED


def steps(candidates: Sequence[Candidate]) -> list[Step]:
    """Return the steps between neighbouring columns that were both trained.

    Raises:
        TableError: Same as in `boneage.evaluate.comparison.compare`.
    """
    by_name = {candidate.name: candidate for candidate in candidates}
    tested = []
    for first, second in RESPECTS:
        pair = [by_name[name] for name in (first, second) if name in by_name]
        papers = [candidate.paper_mad_months for candidate in pair]
        if len(pair) == 2 and papers[0] is not None and papers[1] is not None:
            gain = compare({candidate.name: candidate.predictions for candidate in pair}).rows[1].gain
            assert gain is not None  # noqa: S101 - the second row has one; for the type checker
            tested.append(Step(first, second, papers[1] - papers[0], gain))
    return tested


def candidate_lines(candidates: Sequence[Candidate]) -> list[str]:
    """Return Table I as lines of Markdown: our figures of each network, and the paper's."""
    heads = [
        *("column", "parameters", "epochs", "MAD, months [95 % interval]", "CCC", "best epoch's MAD"),
        *("processor time, h", "paper: MAD", "paper: epochs"),
    ]
    rows = []
    for candidate in candidates:
        figures = _figures(candidate.predictions)
        rows.append(
            [
                candidate.name,
                f"{candidate.parameters / 1e6:.2f} M",
                str(candidate.epochs),
                with_interval(figures["mad"]),
                f"{figures['ccc'].value:.3f}",
                f"{candidate.best_mad_months:.2f}",
                f"{candidate.processor_hours:.2f}",
                "" if candidate.paper_mad_months is None else f"{candidate.paper_mad_months:.2f}",
                "" if candidate.paper_epochs is None else str(candidate.paper_epochs),
            ]
        )
    return markdown_table(heads, rows)


def _figures(predictions: Predictions) -> Mapping[str, Figure]:
    metrics = {"mad": mean_absolute_difference, "ccc": concordance}
    return measure(predictions.boneage_months, predictions.age_months, metrics)


def stage_mads(predictions: Predictions) -> dict[Stage, tuple[int, Figure | None]]:
    """Return the number of radiographs and the MAD of each stage; None for fewer than `SMALLEST_GROUP`."""
    stages = np.array(predictions.stages(), dtype=object)
    mads: dict[Stage, tuple[int, Figure | None]] = {}
    for stage in Stage:
        chosen = stages == stage
        count = int(chosen.sum())
        if count:
            labels, estimates = predictions.boneage_months[chosen], predictions.age_months[chosen]
            figures = measure(labels, estimates, {"mad": mean_absolute_difference}) if count >= SMALLEST_GROUP else {}
            mads[stage] = (count, figures.get("mad"))
    return mads


def report_lines(candidates: Sequence[Candidate], notes: Sequence[str] = ()) -> list[str]:
    """Return all tables as lines of Markdown.

    Args:
        candidates: Networks in the order of the rows, at least one.
        notes: Lines of the list below the heading.
    """
    return [
        *("# The candidate networks of Souza & Oliveira", ""),
        *(f"- {note}" for note in [*_scale_notes(candidates), *notes]),
        *("", "## Table I", "", *candidate_lines(candidates)),
        *("", "## MAD by stage of development, months", "", *_stage_lines(candidates)),
        *("", "## Steps of Table I", "", *_step_lines(steps(candidates))),
        *("", _ABOUT),
    ]


_ABOUT = (
    "MAD and CCC are those after the last epoch on the validation radiographs, which have not chosen it. The lowest MAD"
    " of an epoch is given for the curve only. Intervals are percentile bootstrap intervals over radiographs; those of"
    " steps are paired. They cover the sampling of radiographs, not the variation between training runs. The paper's"
    " figures are those on its own random fifth of the training radiographs."
)


def _scale_notes(candidates: Sequence[Candidate]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for candidate in candidates:
        height, width = candidate.view
        scale = f"views of {height} x {width} px, {candidate.radiographs} training radiographs, {candidate.program}"
        groups.setdefault(scale, []).append(candidate.name)
    return [f"{', '.join(names)}: {scale}" for scale, names in groups.items()]


def _stage_lines(candidates: Sequence[Candidate]) -> list[str]:
    mads = {candidate.name: stage_mads(candidate.predictions) for candidate in candidates}
    stages = [stage for stage in Stage if any(stage in of_candidate for of_candidate in mads.values())]
    counts = {
        stage: max(of_candidate[stage][0] for of_candidate in mads.values() if stage in of_candidate)
        for stage in stages
    }
    heads = ["column", *(f"{stage.label} ({counts[stage]})" for stage in stages)]
    rows = []
    for name, of_candidate in mads.items():
        figures = [of_candidate.get(stage, (0, None))[1] for stage in stages]
        rows.append([name, *("" if figure is None else with_interval(figure) for figure in figures)])
    return markdown_table(heads, rows)


def _step_lines(tested: Sequence[Step]) -> list[str]:
    heads = ["step", "differs by", "paper: MAD changes by", "here, months [95 % interval]", "verdict"]
    rows = [
        [
            f"{step.first} to {step.second}",
            RESPECTS[step.first, step.second],
            f"{step.paper_months:+.2f}",
            with_interval(step.ours, "+"),
            step.verdict.value,
        ]
        for step in tested
    ]
    return markdown_table(heads, rows) if rows else ["No two neighbouring columns have been trained."]


REPORT_FILES = ("candidates.md", "candidates.csv", "stages.csv", "steps.csv")
"""Names of the files of `write_report`."""


def write_report(folder: Path, candidates: Sequence[Candidate], notes: Sequence[str] = ()) -> None:
    """Write ``candidates.md``, ``candidates.csv``, ``stages.csv`` and ``steps.csv``."""
    write_text(folder / "candidates.md", "\n".join(report_lines(candidates, notes)) + "\n")
    heads = ("column", "parameters", "height", "width", "radiographs", "epochs", "mad_months", "mad_low", "mad_high")
    further = ("ccc", "best_mad_months", "processor_hours", "program", "paper_mad_months", "paper_epochs")
    write_rows(folder / "candidates.csv", (*heads, *further), [_tidy(candidate) for candidate in candidates])
    write_rows(
        folder / "stages.csv",
        ("column", "stage", "count", "mad_months", "low", "high"),
        [
            (candidate.name, stage, count, *figure_cells(mad))
            for candidate in candidates
            for stage, (count, mad) in stage_mads(candidate.predictions).items()
        ],
    )
    write_rows(
        folder / "steps.csv",
        ("first", "second", "paper_months", "difference_months", "low", "high", "verdict"),
        [(s.first, s.second, f"{s.paper_months:.2f}", *figure_cells(s.ours), s.verdict) for s in steps(candidates)],
    )


def _tidy(candidate: Candidate) -> Sequence[object]:
    figures = _figures(candidate.predictions)
    papers = (candidate.paper_mad_months, candidate.paper_epochs)
    return [
        *(candidate.name, candidate.parameters, *candidate.view, candidate.radiographs, candidate.epochs),
        *figure_cells(figures["mad"]),
        *(f"{figures['ccc'].value:.4f}", f"{candidate.best_mad_months:.3f}", f"{candidate.processor_hours:.3f}"),
        *(candidate.program, *("" if number is None else number for number in papers)),
    ]
