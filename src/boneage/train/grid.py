"""Training of the grid of 18 networks (Iglovikov et al., section 4.4), with recipes derived from a single one.

A grid's folder holds these files:

* ``runs/<cell>`` and ``logs/<cell>.log``: the runs and their logs;
* ``predictions/<cell>.csv``: predictions for the validation radiographs by the last weights;
* with folds, ``folds/<cell>-fold-<k>-of-<K>`` and ``out_of_fold/<cell>.csv``: predictions for the training radiographs,
  each by a network that was not trained on it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from boneage.evaluate.grid import CELLS, COHORTS, REGIONS, SEXES_OF, Cell, Cohort, GridRegion
from boneage.evaluate.predictions import Predictions, read_predictions, write_predictions
from boneage.hand.registration import BOXES
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.cache import Progress, build_cache
from boneage.train.data.hands import open_hands
from boneage.train.data.splits import choose_radiographs
from boneage.train.recipe import Recipe, load_recipe, parse_recipe
from boneage.train.run.processes import Job, Report, fulfil, run_jobs
from boneage.train.run.run_folder import read_run_record
from boneage.train.series import SeriesPlan, is_finished, plain_recipe, reject_changed, train_and_predict

log = logging.getLogger(__name__)

RECIPE = "iglovikov"
"""Name of the family's shipped recipe."""

SCALE = 1 / 16
"""Default scale of the registered frame, which two cores can train."""

CLASSIFICATION_RATE = 1 / 3
"""Learning rate of the classification networks, relative to the recipe's.

At higher rates their softmax soon gives all probability to one month, through which no gradient passes, and they return
a constant (docs/log.md).
"""

_MULTIPLE = 4
"""Number of pixels of which the sides of views are multiples."""


@dataclass(frozen=True)
class GridPlan(SeriesPlan):
    """Plan of a grid.

    Attributes:
        hands: bundle whose hand networks register the radiographs; empty for the recipe's.
        scales: scales of the frame by region.
        epochs: epochs by cohort; without a key, the recipe's. A cohort of one sex has half the radiographs and so half
            the steps.
        cells: cells to train, out of 18.
        folds: number of further networks per cell for out-of-fold predictions; 0 for none.
        recipe: name or path of the family's recipe.
    """

    hands: str = ""
    scales: Mapping[GridRegion, float] = field(default_factory=lambda: dict.fromkeys(REGIONS, SCALE))
    epochs: Mapping[Cohort, int] = field(default_factory=dict)
    cells: tuple[Cell, ...] = CELLS
    folds: int = 0
    recipe: str = RECIPE


@dataclass(frozen=True)
class Run:
    """One network to train: a cell's own, or that of one of its folds (counted from 0)."""

    cell: Cell
    recipe: Recipe
    fold: int | None = None
    folds: int = 0

    @property
    def name(self) -> str:
        """Name of its folders and files."""
        return self.cell.name if self.fold is None else f"{self.cell.name}-fold-{self.fold + 1}-of-{self.folds}"

    def folder(self, out: Path) -> Path:
        """Return the folder of the run."""
        return out / ("runs" if self.fold is None else "folds") / self.name

    def table(self, out: Path) -> Path:
        """Return the path of its predictions."""
        if self.fold is None:
            return out / "predictions" / f"{self.name}.csv"
        return out / "folds" / f"{self.name}.csv"


def view_size(region: GridRegion, scale: float) -> tuple[int, int]:
    """Return height and width, pixels, of a region's view at a scale of the frame, in multiples of 4."""
    box = BOXES[region]
    height, width = (max(1, round(side * scale / _MULTIPLE)) * _MULTIPLE for side in (box.height, box.width))
    return height, width


def cell_recipe(plan: GridPlan, cell: Cell) -> Recipe:
    """Return the recipe of one cell. Its seed is the recipe's plus the cell's number, so that errors differ.

    Raises:
        RecipeError: ``recipe_invalid``.
    """
    table = _family(plan).to_dict()
    height, width = view_size(cell.region, plan.scales[cell.region])
    table["title"] = f"Iglovikov et al., {cell.type} on region {cell.region}, {cell.cohort}"
    table["network"]["name"] = f"vgg-{cell.type}"
    table["view"] |= {"region": cell.region, "height": height, "width": width}
    sexes = SEXES_OF[cell.cohort]
    table["data"] |= {
        "sexes": "both" if len(sexes) > 1 else next(iter(sexes)).value,
        "train_limit": 0,  # `grid_radiographs` has limited them, for all cells alike
        "validation_limit": 0,
    }
    table["train"]["seed"] += CELLS.index(cell)
    if cell.type == "classification":
        table["train"]["learning_rate"] *= CLASSIFICATION_RATE
    if cell.cohort in plan.epochs:
        table["train"]["epochs"] = plan.epochs[cell.cohort]
    return parse_recipe(table)


def _family(plan: GridPlan) -> Recipe:
    hands = (f"data.hands={json.dumps(plan.hands)}",) if plan.hands else ()
    return load_recipe(plan.recipe, (*plan.changes, *hands))


def grid_radiographs(plan: GridPlan) -> list[LabelledRadiograph]:
    """Return the radiographs of all cells in the table's order, with one split for all cells.

    Raises:
        TableError: see `read_radiographs` and `choose_radiographs`.
    """
    radiographs = read_radiographs(plan.radiographs, plan.images)
    parts = zip(("train", "validation"), choose_radiographs(_family(plan), radiographs), strict=True)
    split_of = {radiograph.id: split for split, part in parts for radiograph in part}
    return [
        replace(radiograph, split=split_of[radiograph.id]) for radiograph in radiographs if radiograph.id in split_of
    ]


def fold_radiographs(
    radiographs: Sequence[LabelledRadiograph], folds: int, fold: int, seed: int
) -> list[LabelledRadiograph]:
    """Return the radiographs with those of one fold for validation, and the validation radiographs set aside.

    The parts depend on the ids and the seed, not on the cell.

    Args:
        radiographs: result of `grid_radiographs`.
        folds: number of parts.
        fold: number of the part, from 0.
        seed: seed of the draw.
    """
    ids = sorted(radiograph.id for radiograph in radiographs if radiograph.split == "train")
    order = np.random.default_rng(seed).permutation(len(ids))
    chosen = {ids[place] for place in order[fold::folds]}

    def split(radiograph: LabelledRadiograph) -> str:
        if radiograph.split != "train":
            return "set aside"
        return "validation" if radiograph.id in chosen else "train"

    return [replace(radiograph, split=split(radiograph)) for radiograph in radiographs]


def run_radiographs(plan: GridPlan, run: Run, radiographs: Sequence[LabelledRadiograph]) -> list[LabelledRadiograph]:
    """Return the radiographs of `grid_radiographs` with the splits of one run."""
    if run.fold is None:
        return list(radiographs)
    return fold_radiographs(radiographs, plan.folds, run.fold, run.recipe.data.split_seed)


def runs_of(plan: GridPlan) -> list[Run]:
    """Return all networks to train, the most expensive first, those of folds after the cells' own."""
    recipes = {cell: cell_recipe(plan, cell) for cell in plan.cells}
    own = [Run(cell, recipe) for cell, recipe in recipes.items()]
    own.sort(key=lambda run: -run.recipe.view.height * run.recipe.view.width * len(SEXES_OF[run.cell.cohort]))
    return own + [replace(run, fold=fold, folds=plan.folds) for fold in range(plan.folds) for run in own]


def train_grid(plan: GridPlan, *, jobs: int, report: Report, progress: Progress = iter) -> dict[str, int]:
    """Train unfinished networks, skip finished ones, and predict with each network.

    Radiographs are decoded and hands located once, before the first run starts.

    Args:
        plan: plan of the grid.
        jobs: number of runs at a time, each in its process.
        report: receives each line of the report.
        progress: wraps the radiographs while they are decoded and registered.

    Returns:
        Exit status of failed runs by name.

    Raises:
        RecipeError: ``recipe_invalid``; ``recipe_changed``, before training starts, if an existing run has another
            recipe or other radiographs.
        TableError: The radiographs cannot be used.
        BundleError: The hand networks cannot be used.
        KeyboardInterrupt: All runs were stopped. The same call continues them.
    """
    radiographs, runs = grid_radiographs(plan), runs_of(plan)
    chosen = {run.folder(plan.out): (run.recipe, run_radiographs(plan, run, radiographs)) for run in runs}
    reject_changed(plan.out, chosen)
    left = [run for run in runs if not is_finished(run.folder(plan.out), run.table(plan.out))]
    if done := len(runs) - len(left):
        report(f"{done} of {len(runs)} networks are done already")
    if left:
        prepare(plan, radiographs, left[0].recipe, progress)
    failed = run_jobs([_job(plan, run) for run in left], jobs, report)
    if plan.folds:
        _join_folds(plan, runs)
    return failed


def prepare(plan: GridPlan, radiographs: Sequence[LabelledRadiograph], recipe: Recipe, progress: Progress) -> None:
    """Decode the radiographs and locate the hands once, before several runs would do so at the same time."""
    cache = build_cache(radiographs, plan.cache_folder, longest_side=recipe.data.longest_side, progress=progress)
    if recipe.view.needs_hand:
        open_hands(recipe.data.hands, radiographs, cache, progress=progress)


def _job(plan: GridPlan, run: Run) -> Job:
    facts = {
        "plan": plan.to_plain() | {"cells": []},  # the run names its own
        "cell": list(run.cell),
        "recipe": plain_recipe(run.recipe),  # the recipe's file may change before this network's turn comes
        "fold": run.fold,
    }
    return Job(run.name, "boneage.train.grid", facts, plan.out / "logs" / f"{run.name}.log", plan.threads)


def run_one(plan: GridPlan, run: Run) -> None:
    """Train one network, or continue its training, and write its predictions.

    Raises:
        BoneageError: see `boneage.train.series.train_and_predict`.
    """
    radiographs = run_radiographs(plan, run, grid_radiographs(plan))
    train_and_predict(plan, run.recipe, radiographs, run.folder(plan.out), run.table(plan.out))


def _join_folds(plan: GridPlan, runs: Sequence[Run]) -> None:
    """Join the tables of each cell's folds, once all exist."""
    for cell in plan.cells:
        tables = [run.table(plan.out) for run in runs if run.cell == cell and run.fold is not None]
        if all(table.exists() for table in tables):
            write_predictions(plan.out / "out_of_fold" / f"{cell.name}.csv", _joined(map(read_predictions, tables)))


def _joined(tables: Any) -> Predictions:
    parts = list(tables)
    return Predictions(
        ids=tuple(radiograph_id for part in parts for radiograph_id in part.ids),
        sexes=tuple(sex for part in parts for sex in part.sexes),
        boneage_months=np.concatenate([part.boneage_months for part in parts]),
        age_months=np.concatenate([part.age_months for part in parts]),
        groups={column: tuple(text for part in parts for text in part.groups[column]) for column in parts[0].groups},
    )


def grid_notes(out: Path) -> list[str]:
    """Return notes on the existing runs for the table: scale of the views, epochs, number of radiographs."""
    records = {cell: read_run_record(folder) for cell in CELLS if (folder := out / "runs" / cell.name).is_dir()}
    if not records:
        return []
    notes = [f"Region {region}: {_sizes(records, region)}" for region in REGIONS]
    for cohort in COHORTS:
        of_cohort = [record for cell, record in records.items() if cell.cohort == cohort]
        if of_cohort:
            counts = {(len(record["train"]), record["recipe"]["train"]["epochs"]) for record in of_cohort}
            texts = [f"{radiographs} radiographs for {epochs} epochs" for radiographs, epochs in sorted(counts)]
            notes.append(f"Networks of the cohort {cohort}: trained on {', '.join(texts)}")
    return [*notes, "Weights are those after the last epoch, which is independent of the validation radiographs"]


def _sizes(records: Mapping[Cell, Mapping[str, Any]], region: GridRegion) -> str:
    views = [record["recipe"]["view"] for cell, record in records.items() if cell.region == region]
    sizes = sorted({(view["height"], view["width"]) for view in views})
    parts = [
        f"views of {height} x {width} px, 1/{BOXES[region].height / height:.3g} of the frame" for height, width in sizes
    ]
    return ", ".join(parts) or "no network"


def _fulfil(order: Mapping[str, Any]) -> None:
    plan = GridPlan.from_plain(order["plan"])
    run_one(plan, Run(Cell(*order["cell"]), parse_recipe(order["recipe"]), order["fold"], plan.folds))


if __name__ == "__main__":
    sys.exit(fulfil(_fulfil))
