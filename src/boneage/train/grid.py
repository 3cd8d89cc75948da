"""Training the grid of 18 networks (Iglovikov et al., section 4.4): recipes derived from one, runs, and their
predictions.

A grid's folder holds ``runs/<cell>`` and ``logs/<cell>.log``, ``predictions/<cell>.csv`` on the validation radiographs
by the last weights and, with folds, ``folds/<cell>-fold-<k>-of-<K>`` and ``out_of_fold/<cell>.csv`` on the training
radiographs, each by a network that has not seen it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boneage.errors import RecipeError
from boneage.evaluate.grid import CELLS, COHORTS, REGIONS, SEXES_OF, Cell, Cohort, GridRegion
from boneage.evaluate.predictions import Predictions, read_predictions, write_predictions
from boneage.hand.registration import BOXES
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.cache import Progress, build_cache
from boneage.train.data.hands import open_hands
from boneage.train.recipe import Recipe, load_recipe, parse_recipe
from boneage.train.run.loop import Engine, run_facts, train
from boneage.train.run.predict import predict_validation
from boneage.train.run.processes import Job, Tell, fulfil, run_jobs
from boneage.train.run.tasks import choose_radiographs, radiograph_labels

log = logging.getLogger(__name__)

RECIPE = "iglovikov"
"""The shipped recipe of the family."""

SCALE = 1 / 16
"""Of the registered frame, if nothing else is said: what two cores allow."""

CLASSIFICATION_RATE = 1 / 3
"""Learning rate of the classification networks in that of the recipe. Faster, their softmax soon gives all probability
to one month, through which no gradient passes, and they answer with a constant (docs/log.md)."""

_MULTIPLE = 4
"""Sides of views are multiples of this many pixels."""


@dataclass(frozen=True)
class GridPlan:
    """What to train.

    Attributes:
        radiographs: table of radiographs.
        out: the grid's folder.
        images: folder of the radiographs' images; see `boneage.tables.radiographs.read_radiographs`.
        hands: bundle whose hand networks register the radiographs; empty for the recipe's.
        scales: of the frame, by region.
        epochs: by cohort; empty for the recipe's. A cohort of one sex has half the radiographs and so half the steps.
        changes: of the recipe, ``key=value``.
        cells: which of the 18.
        folds: so many further networks a cell for out-of-fold predictions; 0 for none.
        recipe: name or path of the family's.
        cache: folder of decoded radiographs; by default beside `out`.
        accelerator: see `boneage.train.run.loop.Engine`.
        threads: of each run.
    """

    radiographs: Path
    out: Path
    images: Path | None = None
    hands: str = ""
    scales: Mapping[GridRegion, float] = field(default_factory=lambda: dict.fromkeys(REGIONS, SCALE))
    epochs: Mapping[Cohort, int] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = CELLS
    folds: int = 0
    recipe: str = RECIPE
    cache: Path | None = None
    accelerator: str = "auto"
    threads: int = 1

    @property
    def cache_folder(self) -> Path:
        """Of decoded radiographs and found hands."""
        return self.cache or self.out.parent / "cache"


@dataclass(frozen=True)
class Run:
    """One network to train: a cell's own, or that of one of its folds (from 0) of so many."""

    cell: Cell
    recipe: Recipe
    fold: int | None = None
    folds: int = 0

    @property
    def name(self) -> str:
        """Of its folders and files."""
        return self.cell.name if self.fold is None else f"{self.cell.name}-fold-{self.fold + 1}-of-{self.folds}"

    def folder(self, out: Path) -> Path:
        """Of the run."""
        return out / ("runs" if self.fold is None else "folds") / self.name

    def table(self, out: Path) -> Path:
        """Of its predictions."""
        if self.fold is None:
            return out / "predictions" / f"{self.name}.csv"
        return out / "folds" / f"{self.name}.csv"


def view_size(region: GridRegion, scale: float) -> tuple[int, int]:
    """Height and width, pixels, of a region's view at a scale of the frame, in multiples of 4."""
    box = BOXES[region]
    height, width = (max(1, round(side * scale / _MULTIPLE)) * _MULTIPLE for side in (box.height, box.width))
    return height, width


def cell_recipe(plan: GridPlan, cell: Cell) -> Recipe:
    """The recipe of one cell. Each has a seed of its own, the recipe's plus its number, so that errors differ.

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
    if plan.epochs:
        table["train"]["epochs"] = plan.epochs[cell.cohort]
    return parse_recipe(table)


def _family(plan: GridPlan) -> Recipe:
    hands = (f"data.hands={json.dumps(plan.hands)}",) if plan.hands else ()
    return load_recipe(plan.recipe, (*plan.changes, *hands))


def grid_radiographs(plan: GridPlan) -> list[LabelledRadiograph]:
    """The radiographs of all cells in the table's order, each with its split; one split for all, also where it is
    drawn.

    Raises:
        TableError: as `read_radiographs` and `choose_radiographs`.
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
    """The same radiographs, the training radiographs of one fold now validating and the validation radiographs set
    aside.

    The parts depend on the ids and the seed, not on the cell.

    Args:
        radiographs: of `grid_radiographs`.
        folds: how many parts.
        fold: which, from 0.
        seed: of the draw.
    """
    ids = sorted(radiograph.id for radiograph in radiographs if radiograph.split == "train")
    order = np.random.default_rng(seed).permutation(len(ids))
    chosen = {ids[place] for place in order[fold::folds]}

    def split(radiograph: LabelledRadiograph) -> str:
        if radiograph.split != "train":
            return "set aside"
        return "validation" if radiograph.id in chosen else "train"

    return [replace(radiograph, split=split(radiograph)) for radiograph in radiographs]


def runs_of(plan: GridPlan) -> list[Run]:
    """All networks to train, the costliest first, those of folds after the cells' own."""
    recipes = {cell: cell_recipe(plan, cell) for cell in plan.cells}
    own = [Run(cell, recipe) for cell, recipe in recipes.items()]
    own.sort(key=lambda run: -run.recipe.view.height * run.recipe.view.width * len(SEXES_OF[run.cell.cohort]))
    return own + [replace(run, fold=fold, folds=plan.folds) for fold in range(plan.folds) for run in own]


def train_grid(plan: GridPlan, *, jobs: int, tell: Tell, progress: Progress = iter) -> dict[str, int]:
    """Train what is not done, go on with what is half done, skip what is done; predict with each network.

    Radiographs are decoded and hands found once, before the first run begins.

    Args:
        plan: what to train.
        jobs: runs at a time, each a process.
        tell: takes lines for people.
        progress: wraps the radiographs while they are decoded, and while hands are looked for.

    Returns:
        Exit status by name of the runs that failed.

    Raises:
        RecipeError: ``recipe_invalid``; ``recipe_changed``, before anything is trained, if a run that is there has
            another recipe.
        TableError: the radiographs cannot be used.
        BundleError: the hand networks cannot be used.
        KeyboardInterrupt: all runs were stopped; the same call goes on.
    """
    radiographs, runs = grid_radiographs(plan), runs_of(plan)
    _reject_changed(plan, runs)
    left = [run for run in runs if not _is_done(plan.out, run, radiographs)]
    if done := len(runs) - len(left):
        tell(f"{done} of {len(runs)} networks are done already")
    if left:
        prepare(plan, radiographs, left[0].recipe, progress)
    failed = run_jobs([_job(plan, run) for run in left], jobs, tell)
    if plan.folds:
        _join_folds(plan, runs)
    return failed


def prepare(plan: GridPlan, radiographs: Sequence[LabelledRadiograph], recipe: Recipe, progress: Progress) -> None:
    """Decode the radiographs and find the hands, so that no two runs do it at once."""
    cache = build_cache(radiographs, plan.cache_folder, longest_side=recipe.data.longest_side, progress=progress)
    if recipe.view.needs_hand:
        open_hands(recipe.data.hands, radiographs, cache, progress=progress)


def _reject_changed(plan: GridPlan, runs: Sequence[Run]) -> None:
    changed = [run.name for run in runs if _kept_recipe(run.folder(plan.out)) not in (None, _plain(run.recipe))]
    if changed:
        raise RecipeError(
            "recipe_changed",
            f"{plan.out} holds {len(changed)} run(s) of another recipe, such as {changed[0]}: choose another folder, or"
            " start them as they were.",
        )


def _kept_recipe(folder: Path) -> Any:
    """The recipe of a run that is there, else None."""
    return run_facts(folder)["recipe"] if (folder / "recipe.json").exists() else None


def _plain(recipe: Recipe) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(recipe.to_dict()))


def _is_done(out: Path, run: Run, radiographs: Sequence[LabelledRadiograph]) -> bool:
    """Whether a run's table is there, is not older than its weights, and its labels are still those of the
    radiographs.
    """
    table, weights = run.table(out), run.folder(out) / "last.ckpt"
    if not (table.exists() and weights.exists() and table.stat().st_mtime >= weights.stat().st_mtime):
        return False
    learnt, labels = run_facts(run.folder(out))["labels"], radiograph_labels(radiographs)
    return all(labels.get(radiograph_id) == label for radiograph_id, label in learnt.items())


def _job(plan: GridPlan, run: Run) -> Job:
    facts = {
        "plan": {**asdict(plan), "cells": [], "radiographs": str(plan.radiographs), "out": str(plan.out)}
        | {key: None if path is None else str(path) for key, path in (("images", plan.images), ("cache", plan.cache))},
        "cell": list(run.cell),
        "recipe": _plain(run.recipe),  # the recipe's file may change before this network's turn comes
        "fold": run.fold,
    }
    return Job(run.name, "boneage.train.grid", facts, plan.out / "logs" / f"{run.name}.log", plan.threads)


def _plan_of(facts: Mapping[str, Any]) -> GridPlan:
    paths = {key: None if facts[key] is None else Path(facts[key]) for key in ("radiographs", "out", "images", "cache")}
    return GridPlan(**{**facts, **paths, "changes": tuple(facts["changes"])})


def run_one(plan: GridPlan, run: Run) -> None:
    """Train one network, or go on with it, and write its predictions.

    Raises:
        BoneageError: as `boneage.train.run.loop.train` and `predict_validation`.
    """
    radiographs = grid_radiographs(plan)
    if run.fold is not None:
        radiographs = fold_radiographs(radiographs, plan.folds, run.fold, run.recipe.data.split_seed)
    engine = Engine(plan.accelerator, devices=1)
    folder = run.folder(plan.out)
    train(run.recipe, radiographs, folder, cache_folder=plan.cache_folder, engine=engine, quiet=True)
    device = "cuda" if plan.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    write_predictions(run.table(plan.out), predict_validation(folder, radiographs, plan.cache_folder, device=device))


def _join_folds(plan: GridPlan, runs: Sequence[Run]) -> None:
    """Put the tables of each cell's folds together, where all are there."""
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
    """What was trained, as lines for the table: scale of the views, epochs, radiographs, by the runs that are there."""
    facts = {cell: run_facts(folder) for cell in CELLS if (folder := out / "runs" / cell.name).is_dir()}
    if not facts:
        return []
    notes = [f"Region {region}: {_sizes(facts, region)}" for region in REGIONS]
    for cohort in COHORTS:
        of_cohort = [each for cell, each in facts.items() if cell.cohort == cohort]
        if of_cohort:
            counts = {(len(each["train"]), each["recipe"]["train"]["epochs"]) for each in of_cohort}
            said = ", ".join(f"{radiographs} radiographs for {epochs} epochs" for radiographs, epochs in sorted(counts))
            notes.append(f"Networks of the cohort {cohort}: trained on {said}")
    return [*notes, "Weights are those after the last epoch, which no validation radiograph has chosen"]


def _sizes(facts: Mapping[Cell, Mapping[str, Any]], region: GridRegion) -> str:
    views = {(each["recipe"]["view"]["height"], each["recipe"]["view"]["width"]) for cell, each in facts.items()
             if cell.region == region}  # fmt: skip
    parts = [f"views of {height} x {width} px, 1/{BOXES[region].height / height:.3g} of the frame" for height, width in
             sorted(views)]  # fmt: skip
    return ", ".join(parts) or "no network"


def _fulfil(order: Mapping[str, Any]) -> None:
    plan = _plan_of(order["plan"])
    run_one(plan, Run(Cell(*order["cell"]), parse_recipe(order["recipe"]), order["fold"], plan.folds))


if __name__ == "__main__":
    sys.exit(fulfil(_fulfil))
