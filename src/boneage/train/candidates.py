"""Training of the candidate networks of Souza & Oliveira: the columns of Table I, and Inception-V3 (section IV).

The folder of the candidates holds these files:

* ``runs/<network>`` and ``logs/<network>.log``: the runs and their logs;
* ``predictions/<network>.csv``: predictions for the validation radiographs by the last weights.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

from boneage.evaluate.candidates import Candidate
from boneage.evaluate.predictions import read_predictions
from boneage.files import write_text
from boneage.tables.radiographs import read_radiographs
from boneage.train.data.cache import Progress, build_cache
from boneage.train.networks.souza import TABLE_I
from boneage.train.recipe import Recipe, load_recipe, parse_recipe
from boneage.train.run.curve import draw_curve, read_history
from boneage.train.run.processes import Job, Report, fulfil, run_jobs
from boneage.train.run.run_folder import read_run_record
from boneage.train.run.weights import build_recipe_network
from boneage.train.series import SeriesPlan, is_finished, plain_recipe, reject_changed, train_and_predict

INCEPTION = "inception-v3"

CANDIDATES: Mapping[str, str] = {
    **{f"souza-{column.lower()}": column for column in TABLE_I},
    INCEPTION: "Inception-V3",
}
"""Names in tables and plots by the name of the recipe."""

FIGURE_6 = ("souza-b", "souza-d", "souza-f", "souza-h", INCEPTION)
"""Networks whose curves the paper shows in its Fig. 6."""

Depth = Literal["shallow", "deep"]
DEPTHS: tuple[Depth, ...] = get_args(Depth)

_SHALLOW = {f"souza-{column.lower()}" for column, facts in TABLE_I.items() if len(facts.filters) == 3}


@dataclass(frozen=True)
class CandidatePlan(SeriesPlan):
    """Plan of the trainings.

    Attributes:
        names: recipes of the networks to train.
        side: height and width of the views, pixels; 0 for the paper's 256.
        epochs: epochs of the columns A to D (``shallow``), and of E to H and Inception-V3 (``deep``); without a key,
            those of the paper.
    """

    names: tuple[str, ...] = tuple(CANDIDATES)
    side: int = 0
    epochs: Mapping[Depth, int] = field(default_factory=dict)


def _run_folder(out: Path, name: str) -> Path:
    return out / "runs" / name


def _table(out: Path, name: str) -> Path:
    return out / "predictions" / f"{name}.csv"


def candidate_recipe(plan: CandidatePlan, name: str) -> Recipe:
    """Return the recipe of one network: the shipped one with the changes of the plan.

    Raises:
        RecipeError: ``recipe_invalid``.
    """
    changes = [f"view.height={plan.side}", f"view.width={plan.side}"] if plan.side else []
    depth: Depth = "shallow" if name in _SHALLOW else "deep"
    if depth in plan.epochs:
        changes.append(f"train.epochs={plan.epochs[depth]}")
    return load_recipe(name, (*changes, *plan.changes))


def train_candidates(plan: CandidatePlan, *, jobs: int, report: Report, progress: Progress = iter) -> dict[str, int]:
    """Train unfinished networks, skip finished ones, and predict with each network.

    The deepest networks start first. Radiographs are decoded once, before the first run starts.

    Args:
        plan: plan of the trainings.
        jobs: number of runs at a time, each in its process.
        report: receives each line of the report.
        progress: wraps the radiographs while they are decoded.

    Returns:
        Exit status of failed runs by name.

    Raises:
        RecipeError: ``recipe_invalid``; ``recipe_changed``, before training starts, if an existing run has another
            recipe or other radiographs.
        TableError: The radiographs cannot be used.
        KeyboardInterrupt: All runs were stopped. The same call continues them.
    """
    recipes = {name: candidate_recipe(plan, name) for name in reversed(plan.names)}
    radiographs = read_radiographs(plan.radiographs, plan.images)
    reject_changed(plan.out, {_run_folder(plan.out, name): (recipe, radiographs) for name, recipe in recipes.items()})
    left = [name for name in recipes if not is_finished(_run_folder(plan.out, name), _table(plan.out, name))]
    if done := len(recipes) - len(left):
        report(f"{done} of {len(recipes)} networks are done already")
    whole_table = not any(recipe.data.train_limit or recipe.data.validation_limit for recipe in recipes.values())
    if left and whole_table:  # a small number of radiographs has a cache of its own
        longest_side = recipes[left[0]].data.longest_side
        build_cache(radiographs, plan.cache_folder, longest_side=longest_side, progress=progress)
    return run_jobs([_job(plan, name, recipes[name]) for name in left], jobs, report)


def _job(plan: CandidatePlan, name: str, recipe: Recipe) -> Job:
    order = {"plan": plan.to_plain(), "name": name, "recipe": plain_recipe(recipe)}
    return Job(name, "boneage.train.candidates", order, plan.out / "logs" / f"{name}.log", plan.threads)


def run_one(plan: CandidatePlan, name: str, recipe: Recipe) -> None:
    """Train one network, or continue its training, and write its predictions.

    Raises:
        BoneageError: see `boneage.train.series.train_and_predict`.
    """
    radiographs = read_radiographs(plan.radiographs, plan.images)
    folder = _run_folder(plan.out, name)
    program = folder / "program.txt"
    if not program.exists():
        write_text(program, f"{program_version()}\n")
    train_and_predict(plan, recipe, radiographs, folder, _table(plan.out, name))


def program_version() -> str:
    """Return the version of the program, and the commit if it runs from a work tree of git."""
    program = f"boneage {version('boneage')}"
    git = shutil.which("git")
    if git is None:
        return program
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude", "*"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    return f"{program}, commit {described.stdout.strip()}" if described.returncode == 0 else program


def finished_candidates(out: Path) -> Iterator[Candidate]:
    """Yield the networks of a folder whose training has ended, in the order of Table I.

    Raises:
        TableError: A predictions table or history is damaged.
        RecipeError: The record of a run is damaged.
    """
    for name, title in CANDIDATES.items():
        folder, table = _run_folder(out, name), _table(out, name)
        if table.exists():
            record, history = read_run_record(folder), read_history(folder)
            recipe, column = parse_recipe(record["recipe"]), TABLE_I.get(title)
            yield Candidate(
                name=title,
                predictions=read_predictions(table),
                parameters=sum(weights.numel() for weights in build_recipe_network(recipe).parameters()),
                view=(recipe.view.height, recipe.view.width),
                radiographs=len(record["train"]),
                epochs=len(history),
                best_mad_months=min(row["mad_months"] for row in history),
                processor_hours=sum(row["processor_seconds"] for row in history) / 3600,
                program=(folder / "program.txt").read_text(encoding="utf-8").strip(),
                paper_mad_months=None if column is None else column.paper_mad_months,
                paper_epochs=None if column is None else column.paper_epochs,
            )


def draw_curves(out: Path) -> list[Path]:
    """Draw the curves of all networks that have finished an epoch, and those of the paper's Fig. 6.

    Returns:
        Paths of ``plots/curves.png`` and, if any of its networks has a curve, ``plots/figure-6.png``.
    """
    histories = {
        name: read_history(folder)
        for name in CANDIDATES
        if ((folder := _run_folder(out, name)) / "metrics.csv").exists()
    }
    paths = []
    for file, names in (("curves", tuple(CANDIDATES)), ("figure-6", FIGURE_6)):
        shown = {CANDIDATES[name]: histories[name] for name in names if name in histories}
        if shown:
            paths.append(out / "plots" / f"{file}.png")
            draw_curve(shown, paths[-1])
    return paths


def _fulfil(order: Mapping[str, Any]) -> None:
    run_one(CandidatePlan.from_plain(order["plan"]), order["name"], parse_recipe(order["recipe"]))


if __name__ == "__main__":
    sys.exit(fulfil(_fulfil))
