"""From a plan and a table of radiographs to a bundle: train every network and fold, estimate, calibrate, export,
measure.

Below the folder of the runs each network or fold has a run, with what it said to people in ``log.txt``, and its
estimates of radiographs that it did not learn from in ``predictions.csv``: of those that it holds out (part ``fold``)
and of those that no network has seen (part ``validation``). Beside them lies ``PLAN.out_of_fold.csv``, each radiograph
as the networks of its fold together see it. What is done is kept, and what is half done goes on.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import FEWEST_RADIOGRAPHS, Calibration, calibrate, disagreement
from boneage.errors import RecipeError
from boneage.evaluate.metrics import mean_absolute_difference
from boneage.evaluate.predictions import Predictions, read_predictions, write_predictions
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.bundle.export import reject_taken
from boneage.train.bundle.plan import Plan, PlannedRun, planned_runs
from boneage.train.bundle.release import Released, ReleaseOptions, reject_other_hands, release
from boneage.train.data.cache import Progress, build_cache
from boneage.train.data.hands import open_hands
from boneage.train.recipe import Recipe, parse_recipe
from boneage.train.run.loop import Engine, run_facts, train
from boneage.train.run.predict import predict_radiographs, set_aside
from boneage.train.run.processes import Job, Tell, fulfil, run_jobs
from boneage.train.run.tasks import choose_radiographs, radiograph_labels

log = logging.getLogger(__name__)

_PREDICTIONS = "predictions.csv"


@dataclass(frozen=True)
class Build:
    """What to build, and where.

    Attributes:
        plan: of the bundle.
        radiographs: table of radiographs.
        runs: folder below which the runs lie.
        images: folder of the radiographs' images; see `boneage.tables.radiographs.read_radiographs`.
        changes: of all recipes, ``key=value``.
        cache: folder of decoded radiographs and found hands; by default beside `runs`.
        accelerator: see `boneage.train.run.loop.Engine`.
        jobs: runs at a time, each a process; of several GPUs, each takes the next.
        threads: of each run.
    """

    plan: Plan
    radiographs: Path
    runs: Path
    images: Path | None = None
    changes: tuple[str, ...] = ()
    cache: Path | None = None
    accelerator: str = "auto"
    jobs: int = 1
    threads: int = 1

    @property
    def cache_folder(self) -> Path:
        """Of decoded radiographs and found hands."""
        return self.cache or self.runs.parent / "cache"

    @property
    def out_of_fold(self) -> Path:
        """The table of the estimates out of fold. Two plans may share runs, so it has the plan's name."""
        return self.runs / f"{self.plan.name}.out_of_fold.csv"

    def folder(self, run: PlannedRun) -> Path:
        """Of a run."""
        return self.runs / run.name


@dataclass(frozen=True)
class Built:
    """What came of it.

    Attributes:
        released: the bundle; None if a training failed, and in all processes of ``torchrun`` but the first.
        failed: exit status by name of the runs that failed.
    """

    released: Released | None = None
    failed: Mapping[str, int] = field(default_factory=dict)


def build_bundle(
    build: Build, directory: Path, *, tell: Tell, overwrite: bool = False, progress: Progress = iter
) -> Built:
    """Train a plan's networks, put their estimates together, and make the bundle.

    Under ``torchrun`` all its processes train each network in turn, and the first makes the bundle.

    Args:
        build: what, from which radiographs.
        directory: of the bundle; it appears there whole, with its figures.
        tell: takes lines for people.
        overwrite: put it in the place of a bundle that is there.
        progress: wraps the radiographs while they are decoded, while hands are looked for, and while they are assessed.

    Raises:
        RecipeError: ``recipe_invalid``; ``recipe_changed``, before anything is trained, if a run that is there has
            another recipe, or its radiographs were registered by other networks.
        TableError: the radiographs cannot be used.
        BundleError: ``bundle_exists``; the hand networks cannot be used; or as `boneage.train.bundle.release.release`.
        KeyboardInterrupt: all trainings were stopped; the same call goes on.
    """
    reject_taken(directory, overwrite=overwrite)
    radiographs, runs = read_radiographs(build.radiographs, build.images), planned_runs(build.plan, build.changes)
    hand = Bundle.open(build.plan.hands, threads=build.threads) if build.plan.hands else None
    _reject_changed(build, runs, radiographs, hand)
    if torch.distributed.is_torchelastic_launched():
        if not _train_together(build, runs, radiographs):
            return Built()
    elif failed := _train_each(build, runs, radiographs, tell, progress):
        return Built(failed=failed)
    plan = build.plan
    options = ReleaseOptions(
        plan.name,
        plan.version,
        plan.title,
        data=plan.data,
        licence=plan.licence,
        mirror=False,  # estimates out of fold are of single views, and calibrate the same
        weight_bits=plan.weight_bits,
        member_weights={run.name: run.weight for run in runs},
        calibration=_calibrated(build, runs, radiographs, tell),
    )
    folders = [build.folder(run) for run in runs]
    return Built(
        release(folders, directory, options, hand=hand, radiographs=radiographs, overwrite=overwrite, progress=progress)
    )


# --- training ---


def _reject_changed(
    build: Build, runs: Sequence[PlannedRun], radiographs: Sequence[LabelledRadiograph], hand: Bundle | None
) -> None:
    """Reject, before anything is trained, what could not go on or be joined at the end."""
    there = [run for run in runs if (build.folder(run) / "recipe.json").exists()]
    changed = [run.name for run in there if parse_recipe(run_facts(build.folder(run))["recipe"]) != run.recipe]
    if changed:
        raise RecipeError(
            "recipe_changed",
            f"{build.runs} holds {len(changed)} run(s) of another recipe, such as {changed[0]}: choose another folder,"
            " or start them as they were.",
        )
    if hand is not None:
        reject_other_hands([build.folder(run) for run in there], hand)
    for run in runs:
        choose_radiographs(run.recipe, radiographs)


def _train_each(
    build: Build, runs: Sequence[PlannedRun], radiographs: Sequence[LabelledRadiograph], tell: Tell, progress: Progress
) -> dict[str, int]:
    """A process for each run that is not done; exit status by name of those that failed."""
    left = [run for run in runs if not _is_done(build.folder(run), radiographs)]
    if done := len(runs) - len(left):
        tell(f"{done} of {len(runs)} networks are done already")
    _prepare(build, left, radiographs, progress)
    return run_jobs([_job(build, run, number) for number, run in enumerate(left)], build.jobs, tell)


def _train_together(build: Build, runs: Sequence[PlannedRun], radiographs: Sequence[LabelledRadiograph]) -> bool:
    """All processes of ``torchrun`` train each run. Whether this is the first, which then makes the bundle."""
    for run in runs:
        train(
            run.recipe,
            radiographs,
            build.folder(run),
            cache_folder=build.cache_folder,
            engine=Engine(build.accelerator),
            quiet=True,
        )
    is_first = os.environ.get("RANK", "0") == "0"
    if is_first:
        for run in runs:
            if not _is_done(build.folder(run), radiographs):
                _estimate(build.folder(run), radiographs, build.cache_folder, _device(build.accelerator, 0))
    return is_first


def _prepare(
    build: Build, runs: Sequence[PlannedRun], radiographs: Sequence[LabelledRadiograph], progress: Progress
) -> None:
    """Decode the radiographs and find the hands, so that no two runs do it at once. Runs on a few radiographs have
    their own.
    """
    recipes = [run.recipe for run in runs if not (run.recipe.data.train_limit or run.recipe.data.validation_limit)]
    for side in sorted({recipe.data.longest_side for recipe in recipes}):
        cache = build_cache(radiographs, build.cache_folder, longest_side=side, progress=progress)
        if any(recipe.view.needs_hand for recipe in recipes if recipe.data.longest_side == side):
            open_hands(build.plan.hands, radiographs, cache, progress=progress)


def _is_done(folder: Path, radiographs: Sequence[LabelledRadiograph]) -> bool:
    """Whether a run's estimates are there, no older than its weights, and its labels still those of the radiographs."""
    table, weights = folder / _PREDICTIONS, folder / "last.ckpt"
    if not (table.exists() and weights.exists() and table.stat().st_mtime >= weights.stat().st_mtime):
        return False
    learnt, labels = run_facts(folder)["labels"], radiograph_labels(radiographs)
    return all(labels.get(radiograph_id) == label for radiograph_id, label in learnt.items())


def _job(build: Build, run: PlannedRun, number: int) -> Job:
    order = {
        "radiographs": str(build.radiographs),
        "images": None if build.images is None else str(build.images),
        "folder": str(build.folder(run)),
        "cache": str(build.cache_folder),
        "recipe": run.recipe.to_dict(),  # the recipe's file may change before this network's turn comes
        "accelerator": build.accelerator,
        "number": number,
    }
    return Job(run.name, "boneage.train.bundle.build", order, build.folder(run) / "log.txt", build.threads)


def train_and_estimate(
    recipe: Recipe,
    radiographs: Sequence[LabelledRadiograph],
    folder: Path,
    cache_folder: Path,
    *,
    accelerator: str,
    number: int,
) -> None:
    """Train a network, or go on with it, and write its estimates.

    Args:
        recipe: of the network.
        radiographs: the whole table.
        folder: of the run.
        cache_folder: of decoded radiographs and found hands.
        accelerator: see `boneage.train.run.loop.Engine`.
        number: of the job; of several GPUs it takes the one whose turn it is.

    Raises:
        BoneageError: as `boneage.train.run.loop.train` and `boneage.train.run.predict.predict_radiographs`.
    """
    device = _device(accelerator, number)
    devices = f"{torch.device(device).index}," if device.startswith("cuda") else 1
    train(recipe, radiographs, folder, cache_folder=cache_folder, engine=Engine(accelerator, devices), quiet=True)
    _estimate(folder, radiographs, cache_folder, device)


def _device(accelerator: str, number: int) -> str:
    count = torch.cuda.device_count() if accelerator != "cpu" else 0
    return f"cuda:{number % count}" if count else "cpu"


def _estimate(folder: Path, radiographs: Sequence[LabelledRadiograph], cache_folder: Path, device: str) -> None:
    """Write what a run says of the radiographs that it holds out, and of those that no fold has seen."""
    facts = run_facts(folder)
    recipe = parse_recipe(facts["recipe"])
    held = set(facts["validation"]) if recipe.data.folds else set()
    aside = {radiograph.id for radiograph in set_aside(recipe, radiographs)}.difference(held, facts["train"])
    chosen = [radiograph for radiograph in radiographs if radiograph.id in held | aside]
    said = predict_radiographs(folder, chosen, radiographs, cache_folder, device=device)
    parts = tuple("fold" if radiograph_id in held else "validation" for radiograph_id in said.ids)
    write_predictions(folder / _PREDICTIONS, replace(said, groups={"part": parts}))


# --- estimates out of fold ---


def _calibrated(
    build: Build, runs: Sequence[PlannedRun], radiographs: Sequence[LabelledRadiograph], tell: Tell
) -> Calibration | None:
    """Writes the table out of fold, and learns the calibration from it; None, told why, where there is none."""
    if not all(run.fold and run.recipe.data.sexes == "both" for run in runs):
        tell("no estimates out of fold and no calibration: they need networks for both sexes that all have folds")
        return None
    tables = {run.name: read_predictions(build.folder(run) / _PREDICTIONS) for run in runs}
    table, left_out = out_of_fold(runs, tables, radiographs)
    write_predictions(build.out_of_fold, table)
    if len(table) < FEWEST_RADIOGRAPHS:
        tell(f"no calibration: {len(table)} radiographs have estimates out of fold, and it needs {FEWEST_RADIOGRAPHS}")
        return None
    mad = float(mean_absolute_difference(table.boneage_months, table.age_months))
    tell(f"out of fold: MAD {mad:.2f} months, {len(table)} radiographs; {left_out} left out, which a network lacks")
    try:
        return calibrate(
            table.sexes, table.boneage_months, table.age_months, fold_disagreement(runs, tables, radiographs)
        )
    except ValueError as error:  # networks that have learnt nothing, as after a trial's one epoch
        tell(f"no calibration: {error}")
        return None


def out_of_fold(
    runs: Sequence[PlannedRun], tables: Mapping[str, Predictions], radiographs: Sequence[LabelledRadiograph]
) -> tuple[Predictions, int]:
    """Each radiograph as the networks that did not learn from it see it: their mean, weighted as in the bundle.

    Args:
        runs: all folds of all networks.
        tables: estimates by the run's name, their part in the column ``part``.
        radiographs: whose order the table has, with their labels.

    Returns:
        The table, with a column for each network besides, and how many radiographs are left out since a network lacks
        them.
    """
    said: dict[str, dict[str, float]] = {run.network.name: {} for run in runs}
    for run in runs:
        said[run.network.name] |= _of_part(tables[run.name], "fold")
    weights = [run.network.weight for run in runs if run.fold == 1]
    chosen = [radiograph for radiograph in radiographs if all(radiograph.id in ages for ages in said.values())]
    each = {network: np.array([ages[radiograph.id] for radiograph in chosen]) for network, ages in said.items()}
    known = {radiograph_id for ages in said.values() for radiograph_id in ages}
    mean = np.average(list(each.values()), axis=0, weights=weights) if chosen else np.zeros(0)
    table = Predictions(
        ids=tuple(radiograph.id for radiograph in chosen),
        sexes=tuple(radiograph.sex for radiograph in chosen),
        boneage_months=np.array([radiograph.boneage_months for radiograph in chosen]),
        age_months=np.round(mean, 3),
        groups={network: tuple(f"{age:g}" for age in ages.tolist()) for network, ages in each.items()},
    )
    return table, len(known) - len(chosen)


def fold_disagreement(
    runs: Sequence[PlannedRun], tables: Mapping[str, Predictions], radiographs: Sequence[LabelledRadiograph]
) -> dict[Sex, float]:
    """By how much the folds' ensembles differ on the radiographs that none has seen, months squared, by sex.

    Args: as `out_of_fold`.

    Returns:
        `boneage.bundle.calibration.disagreement`, without the sexes that have no such radiographs; empty if one fold
        was kept, whose estimates are the bundle's own.
    """
    ages = {run.name: _of_part(tables[run.name], "validation") for run in runs}
    folds = sorted({run.fold for run in runs})
    found: dict[Sex, float] = {}
    if len(folds) < 2:
        return found
    for sex in Sex:
        chosen = [
            radiograph.id
            for radiograph in radiographs
            if radiograph.sex == sex and all(radiograph.id in each for each in ages.values())
        ]
        if not chosen:
            continue
        means = []
        for fold in folds:
            of_fold = [run for run in runs if run.fold == fold]
            rows = [[ages[run.name][radiograph_id] for radiograph_id in chosen] for run in of_fold]
            means.append(np.average(rows, axis=0, weights=[run.weight for run in of_fold]))
        found[sex] = disagreement(np.stack(means))
    return found


def _of_part(table: Predictions, part: str) -> dict[str, float]:
    """Estimates, months, by the radiograph's id."""
    said = zip(table.ids, table.group("part"), table.age_months.tolist(), strict=True)
    return {radiograph_id: age for radiograph_id, of, age in said if of == part}


def _fulfil(order: Mapping[str, Any]) -> None:
    train_and_estimate(
        parse_recipe(order["recipe"]),
        read_radiographs(Path(order["radiographs"]), None if order["images"] is None else Path(order["images"])),
        Path(order["folder"]),
        Path(order["cache"]),
        accelerator=order["accelerator"],
        number=order["number"],
    )


if __name__ == "__main__":
    sys.exit(fulfil(_fulfil))
