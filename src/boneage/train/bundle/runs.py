"""Networks and recipes of training runs, loaded for a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import NAME
from boneage.bundle.quality import QUALITY_LABELS, QualityLimit
from boneage.errors import RecipeError
from boneage.sex import Sex
from boneage.train.bundle.weight_bits import encoded_from
from boneage.train.bundle.write import (
    TrainedHandNetwork,
    TrainedHandNetworks,
    TrainedQualityNetwork,
)
from boneage.train.data.hands import hand_fingerprint
from boneage.train.networks.layers import AgeNetwork
from boneage.train.recipe import Recipe
from boneage.train.run.age_tasks import AgeUnit
from boneage.train.run.run_folder import read_run_record
from boneage.train.run.weights import load_hand_run, load_run

_QUALITY_TITLE = "quality network"
"""Key of the quality network among a manifest's recipes."""

_JOINTS_TITLE = "hand network joints"
"""Key of the network for joints among a manifest's recipes."""


_OUTLINES_TITLE = "network for outlines"
"""Key of the network for outlines among a manifest's recipes."""


@dataclass(frozen=True)
class HandRuns:
    """Folders of the runs of hand networks.

    Attributes:
        mask: run for the task ``mask``.
        locate: run for the task ``points`` on whole radiographs.
        refine: run for the task ``points`` on registered hands.
    """

    mask: Path
    locate: Path
    refine: Path


@dataclass(frozen=True)
class TrainedRun:
    """Network of a run, with the name of the member that it becomes."""

    name: str
    recipe: Recipe
    network: AgeNetwork
    unit: AgeUnit

    @property
    def sexes(self) -> tuple[Sex, ...]:
        """Sexes on which the network was trained."""
        only = self.recipe.data.sexes
        return (Sex.FEMALE, Sex.MALE) if only == "both" else (Sex(only),)


def load_runs(runs: Sequence[Path], weights: str) -> list[TrainedRun]:
    """Load the networks for ages of runs, named after their folders in lower case.

    Raises:
        RecipeError: ``recipe_invalid`` if a run is missing, or the folders' names cannot be those of members.
    """
    names = [run.resolve().name.lower() for run in runs]
    if not all(NAME.fullmatch(name) for name in names) or len(set(names)) != len(names):
        raise RecipeError(
            "recipe_invalid",
            f"Members are named after their runs' folders, and {names} are not different names of letters and digits."
            " Rename the folders.",
        )
    return [TrainedRun(name, *load_run(run, weights)[:3]) for name, run in zip(names, runs, strict=True)]


def load_hand_runs(runs: HandRuns, weights: str) -> TrainedHandNetworks:
    """Load the networks of three runs, and check their tasks and views.

    Raises:
        RecipeError: ``recipe_invalid`` if a run has another task, view or grey rule than needed.
    """
    wanted = {"mask": ("mask", "radiograph"), "locate": ("points", "radiograph"), "refine": ("points", "surroundings")}
    networks: dict[str, TrainedHandNetwork] = {}
    for name, (task, region) in wanted.items():
        recipe, network, _ = load_hand_run(getattr(runs, name), weights)
        view = recipe.view
        if (recipe.task, view.region, view.grey) != (task, region, "percentile"):
            raise RecipeError(
                "recipe_invalid",
                f"{getattr(runs, name)} cannot be the hand network {name}."
                f" Choose a run for the task {task} on the view {region} with the grey rule percentile.",
            )
        networks[name] = TrainedHandNetwork(network, view.height, view.width)
    return TrainedHandNetworks(networks["mask"], networks["locate"], networks["refine"])


def reject_other_hands(runs: Sequence[Path], hand: Bundle) -> None:
    """Reject runs whose radiographs were registered by other networks, or by another version of the code around them.

    Networks whose weights were re-encoded in 8 bits count as their originals: the points move by less than the smallest
    change in training. So do other limits, which decide what is rejected, and not where a hand lies.

    Raises:
        RecipeError: ``recipe_changed``.
    """
    fingerprint = hand_fingerprint(hand)
    origins = {
        graph.sha256: encoded_from(hand.directory / graph.graph) or graph.sha256
        for graph in hand.hand_networks().graphs.by_name().values()
    }
    *located_by, _limits = fingerprint
    accepted = [located_by, [origins.get(part, part) for part in located_by]]
    others = [run for run in runs if read_run_record(run).get("hands", fingerprint)[:-1] not in accepted]
    if others:
        raise RecipeError(
            "recipe_changed",
            f"{others[0]} was trained on hands located by other networks than those of {hand.manifest.name}."
            " Train it again with them, or choose the bundle that it was trained with.",
        )


def hand_recipes(hand: Bundle | HandRuns | None) -> dict[str, Any]:
    """Return the recipes of the hand networks for the manifest."""
    names = {name: f"hand network {name}" for name in ("mask", "locate", "refine")}
    if isinstance(hand, HandRuns):
        return {title: read_run_record(getattr(hand, name))["recipe"] for name, title in names.items()}
    recipes = {} if hand is None else dict(hand.manifest.recipe)
    if hand is not None and hand.manifest.outlines is None:
        recipes.pop(_OUTLINES_TITLE, None)
    return {
        title: recipes[title]
        for title in (*names.values(), _JOINTS_TITLE, _QUALITY_TITLE, _OUTLINES_TITLE)
        if title in recipes
    }


def quality_recipe(quality: Path | None) -> dict[str, Any]:
    """Return the recipe of the quality network for the manifest."""
    return {} if quality is None else {_QUALITY_TITLE: read_run_record(quality)["recipe"]}


def load_located_run(run: Path, task: Literal["joints", "outlines"], weights: str) -> TrainedHandNetwork:
    """Load the network of a run for a task on located hands.

    Raises:
        RecipeError: ``recipe_invalid`` if it is a run for another task.
    """
    recipe, network, _ = load_hand_run(run, weights)
    if recipe.task != task:
        raise RecipeError(
            "recipe_invalid", f"{run} holds a run for the task {recipe.task}. Choose a run for the task {task}."
        )
    return TrainedHandNetwork(network, recipe.view.height, recipe.view.width)


def joint_recipe(joints: Path | None) -> dict[str, Any]:
    """Return the recipe of the network for joints for the manifest."""
    return {} if joints is None else {_JOINTS_TITLE: read_run_record(joints)["recipe"]}


def outline_recipe(outlines: Path | None) -> dict[str, Any]:
    """Return the recipe of the network for outlines for the manifest."""
    return {} if outlines is None else {_OUTLINES_TITLE: read_run_record(outlines)["recipe"]}


def load_quality_run(run: Path, weights: str) -> TrainedQualityNetwork:
    """Load the network of a run for the task ``quality``, with the limits that its last validation set.

    Raises:
        RecipeError: ``recipe_invalid`` if it is a run for another task, or was not validated.
    """
    recipe, network, state = load_hand_run(run, weights)
    if recipe.task != "quality" or not state.history:
        raise RecipeError(
            "recipe_invalid",
            f"{run} holds a run for the task {recipe.task}. Choose a validated run for the task quality.",
        )
    figures = state.history[-1]
    limits = {
        label: QualityLimit(figures[f"{label}_caution"], figures.get(f"{label}_critical")) for label in QUALITY_LABELS
    }
    return TrainedQualityNetwork(network, recipe.view.height, recipe.view.width, limits)
