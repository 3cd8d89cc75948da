"""Build of a bundle by a plan: training of all networks and folds, estimates, calibration, export and figures.

Each network or fold has a run below the folder of the runs. Beside the run's own files it holds ``log.txt`` and the
estimates for radiographs on which it was not trained, ``predictions.csv``: those that it holds out (part ``fold``) and
those on which no network was trained (part ``validation``). ``PLAN.out_of_fold.csv`` beside the runs holds the mean
estimate of each radiograph by the networks of its fold. Finished runs are not repeated, and unfinished ones continue.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from boneage.bundle.bundle import Bundle
from boneage.evaluate.predictions import write_predictions
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.bundle.estimates import PREDICTIONS, write_member_estimates
from boneage.train.bundle.out_of_fold import fit_calibration
from boneage.train.bundle.plan import Plan, PlannedRun, planned_runs
from boneage.train.bundle.release import ReleaseOptions, ReleaseResult, release, renew
from boneage.train.bundle.runs import reject_other_hands
from boneage.train.bundle.write import reject_taken
from boneage.train.data.cache import Progress, build_cache
from boneage.train.data.hands import open_hands
from boneage.train.data.splits import choose_radiographs
from boneage.train.data.unpack import unpacked_table
from boneage.train.recipe import Recipe, parse_recipe
from boneage.train.run.engine import Engine
from boneage.train.run.loop import train
from boneage.train.run.predict import predict_radiographs, set_aside
from boneage.train.run.processes import Job, Report, fulfil, run_jobs
from boneage.train.run.run_folder import read_run_record
from boneage.train.series import is_finished, reject_changed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
    """Task of a build.

    Attributes:
        plan: plan of the bundle.
        radiographs: table of radiographs, or an archive of them (`boneage.train.data.unpack`).
        runs: folder below which the runs lie.
        images: folder of the radiographs' images; see `boneage.tables.radiographs.read_radiographs`.
        changes: changes of all recipes, ``key=value``.
        cache: folder of decoded radiographs and located hands; by default beside `runs`.
        accelerator: see `boneage.train.run.engine.Engine`.
        jobs: number of runs at a time, each in its process; each takes the next of several GPUs.
        threads: threads of each run.
        kept: bundle, by name or folder, whose networks are not trained again where the plan has networks of their
            names; empty to train all. Its hand networks are those of the new bundle.
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
    kept: str = ""

    @property
    def cache_folder(self) -> Path:
        """Folder of decoded radiographs and located hands."""
        return self.cache or self.runs.parent / "cache"

    @property
    def out_of_fold(self) -> Path:
        """Path of the table of out-of-fold estimates. It has the plan's name, because two plans may share runs."""
        return self.runs / f"{self.plan.name}.out_of_fold.csv"

    def folder(self, run: PlannedRun) -> Path:
        """Return the folder of a run."""
        return self.runs / run.name


@dataclass(frozen=True)
class Built:
    """Outcome of a build.

    Attributes:
        released: the bundle; None if a training failed, and in all processes of ``torchrun`` but the first.
        failed: exit status of failed runs by name.
    """

    released: ReleaseResult | None = None
    failed: Mapping[str, int] = field(default_factory=dict)


def build_bundle(
    build: Build, directory: Path, *, report: Report, overwrite: bool = False, progress: Progress = iter
) -> Built:
    """Train a plan's networks, combine their estimates, and make the bundle.

    Under ``torchrun`` all its processes train each network in turn, and the first makes the bundle.

    Args:
        build: task of the build.
        directory: folder of the bundle, which appears there complete, with its figures.
        report: receives each line of the report.
        overwrite: True to replace an existing bundle.
        progress: wraps the radiographs while they are decoded, registered and assessed.

    Raises:
        RecipeError: ``recipe_invalid``; ``recipe_changed``, before training starts, if an existing run has another
            recipe or other radiographs, or its radiographs were registered by other networks.
        TableError: The radiographs cannot be used.
        BundleError: ``bundle_exists``; the hand networks cannot be used; see also
            `boneage.train.bundle.release.release`.
        KeyboardInterrupt: All training runs were stopped. The same call continues them.
    """
    reject_taken(directory, overwrite=overwrite)
    if build.kept:
        build = replace(build, plan=replace(build.plan, hands=build.kept))
    runs = planned_runs(build.plan, build.changes)
    build = replace(build, radiographs=unpacked_table(build.radiographs, build.cache_folder))
    radiographs = read_radiographs(build.radiographs, build.images)
    hand = _open_hands_bundle(build) if build.plan.hands else None
    kept = {member.name for member in hand.members} if hand is not None and build.kept else set()
    new = [run for run in runs if run.name not in kept]
    _reject_changed(build, new, radiographs, hand)
    if torch.distributed.is_torchelastic_launched():
        if not _train_together(build, new, radiographs):
            return Built()
    elif failed := _train_each(build, new, radiographs, report, progress):
        return Built(failed=failed)
    if hand is not None and build.kept:
        return _add_to(hand, build, runs, radiographs, directory, report, overwrite=overwrite, progress=progress)
    plan = build.plan
    options = ReleaseOptions(
        plan.name,
        plan.version,
        plan.title,
        data=plan.data,
        licence=plan.licence,
        mirror=False,  # out-of-fold estimates are of single views, and so must be those that they calibrate
        weight_bits=plan.weight_bits,
        member_weights={run.name: run.weight for run in runs},
        calibration=fit_calibration(runs, build.folder, radiographs, build.out_of_fold, report),
    )
    folders = [build.folder(run) for run in runs]
    return Built(
        release(folders, directory, options, hand=hand, radiographs=radiographs, overwrite=overwrite, progress=progress)
    )


def _open_hands_bundle(build: Build) -> Bundle:
    """Open the bundle with the hand networks; without its network for outlines, if the plan has none."""
    bundle = Bundle.open(build.plan.hands, threads=build.threads)
    if build.plan.outlines:
        return bundle
    return Bundle(bundle.directory, replace(bundle.manifest, outlines=None), threads=build.threads)


def _add_to(
    kept: Bundle,
    build: Build,
    runs: Sequence[PlannedRun],
    radiographs: Sequence[LabelledRadiograph],
    directory: Path,
    report: Report,
    *,
    overwrite: bool,
    progress: Progress,
) -> Built:
    """Make a new version of a bundle of the plan's networks, of which it has some, with a calibration of its own."""
    names = {run.name for run in runs}
    members = tuple(member for member in kept.members if member.name in names)
    manifest = replace(kept.manifest, name=build.plan.name, members=members)
    planned = Bundle(kept.directory, manifest, threads=kept.threads)
    aside = [replace(one, split="validation") for one in set_aside(runs[0].recipe, radiographs)]
    write_member_estimates(planned, radiographs, build.runs, build.cache_folder, report=report)
    bundle = renew(
        planned,
        directory,
        version=build.plan.version,
        title=build.plan.title,
        calibration=fit_calibration(runs, build.folder, radiographs, build.out_of_fold, report),
        runs=[build.folder(run) for run in runs if run.name not in {member.name for member in members}],
        weights={run.name: run.weight for run in runs},
        radiographs=aside,
        weight_bits=build.plan.weight_bits,
        overwrite=overwrite,
        progress=progress,
    )
    return Built(ReleaseResult(bundle, None, len(aside)))


def _reject_changed(
    build: Build, runs: Sequence[PlannedRun], radiographs: Sequence[LabelledRadiograph], hand: Bundle | None
) -> None:
    """Reject, before training starts, runs that could not continue or be combined at the end."""
    existing = [run for run in runs if (build.folder(run) / "recipe.json").exists()]
    reject_changed(build.runs, {build.folder(run): (run.recipe, radiographs) for run in existing})
    if hand is not None:
        reject_other_hands([build.folder(run) for run in existing], hand)
    for run in runs:
        choose_radiographs(run.recipe, radiographs)


def _train_each(
    build: Build,
    runs: Sequence[PlannedRun],
    radiographs: Sequence[LabelledRadiograph],
    report: Report,
    progress: Progress,
) -> dict[str, int]:
    """Train each unfinished run in its own process.

    Returns:
        Exit status of failed runs by name.
    """
    left = [run for run in runs if not _is_done(build.folder(run))]
    if done := len(runs) - len(left):
        report(f"{done} of {len(runs)} networks are done already")
    _prepare(build, left, radiographs, progress)
    return run_jobs([_job(build, run, number) for number, run in enumerate(left)], build.jobs, report)


def _train_together(build: Build, runs: Sequence[PlannedRun], radiographs: Sequence[LabelledRadiograph]) -> bool:
    """Train each run in all processes of ``torchrun``.

    Returns:
        True in the first process, which then makes the bundle.
    """
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
            if not _is_done(build.folder(run)):
                _estimate(build.folder(run), radiographs, build.cache_folder, _device(build.accelerator, 0))
    return is_first


def _prepare(
    build: Build, runs: Sequence[PlannedRun], radiographs: Sequence[LabelledRadiograph], progress: Progress
) -> None:
    """Decode the radiographs and locate the hands once, before several runs would do so at the same time.

    Runs on a small number of radiographs have a cache of their own.
    """
    recipes = [run.recipe for run in runs if not (run.recipe.data.train_limit or run.recipe.data.validation_limit)]
    for side in sorted({recipe.data.longest_side for recipe in recipes}):
        cache = build_cache(radiographs, build.cache_folder, longest_side=side, progress=progress)
        if any(recipe.view.needs_hand for recipe in recipes if recipe.data.longest_side == side):
            open_hands(build.plan.hands, radiographs, cache, progress=progress)


def _is_done(folder: Path) -> bool:
    """Return True if a run's estimates are no older than its weights."""
    return is_finished(folder, folder / PREDICTIONS)


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
    """Train a network, or continue its training, and write its estimates.

    Args:
        recipe: recipe of the network.
        radiographs: the whole table.
        folder: folder of the run.
        cache_folder: folder of decoded radiographs and located hands.
        accelerator: see `boneage.train.run.engine.Engine`.
        number: number of the job, which selects one of several GPUs.

    Raises:
        BoneageError: see `boneage.train.run.loop.train` and `boneage.train.run.predict.predict_radiographs`.
    """
    device = _device(accelerator, number)
    devices = f"{torch.device(device).index}," if device.startswith("cuda") else 1
    train(recipe, radiographs, folder, cache_folder=cache_folder, engine=Engine(accelerator, devices), quiet=True)
    _estimate(folder, radiographs, cache_folder, device)


def _device(accelerator: str, number: int) -> str:
    count = torch.cuda.device_count() if accelerator != "cpu" else 0
    return f"cuda:{number % count}" if count else "cpu"


def _estimate(folder: Path, radiographs: Sequence[LabelledRadiograph], cache_folder: Path, device: str) -> None:
    """Write a run's estimates for the radiographs that it holds out, and for those on which no fold was trained."""
    record = read_run_record(folder)
    recipe = parse_recipe(record["recipe"])
    held = set(record["validation"]) if recipe.data.folds else set()
    aside = {radiograph.id for radiograph in set_aside(recipe, radiographs)}.difference(held, record["train"])
    chosen = [radiograph for radiograph in radiographs if radiograph.id in held | aside]
    estimates = predict_radiographs(folder, chosen, radiographs, cache_folder, device=device)
    parts = tuple("fold" if radiograph_id in held else "validation" for radiograph_id in estimates.ids)
    write_predictions(folder / PREDICTIONS, replace(estimates, groups={"part": parts}))


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
