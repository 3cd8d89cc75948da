"""Plans: a whole bundle as TOML, its networks by recipe, with the folds of each. Read as strictly as recipes are."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Literal

from boneage.bundle.manifest import NAME
from boneage.errors import RecipeError
from boneage.train.recipe import Recipe, build_strictly, load_recipe, read_table


@dataclass(frozen=True)
class PlannedNetwork:
    """A recipe's place in a bundle.

    Attributes:
        name: of its members, lower case: ``a``, or of folds ``a-fold-1`` to ``a-fold-5``.
        recipe: a shipped one's name, or a path, relative to the plan's folder.
        changes: of the recipe, as ``train.epochs=40``; see `boneage.train.recipe.load_recipe`.
        folds: so many networks, each trained on all but one part of the training radiographs; 0 for one network on all
            of them.
        weight: in the mean over the bundle's networks, above 0, of all its folds together.
        kept_folds: only the first so many are trained, and are the bundle's; 0 for all. With one, the bundle is small
            and has estimates out of fold nonetheless.
    """

    name: str
    recipe: str
    changes: tuple[str, ...] = ()
    folds: int = 0
    weight: float = 1.0
    kept_folds: int = 0

    @property
    def kept(self) -> tuple[int, ...]:
        """Its folds that are trained, from 1; (0,) for one network on all radiographs."""
        return tuple(range(1, (self.kept_folds or self.folds) + 1)) or (0,)


@dataclass(frozen=True)
class Plan:
    """A whole bundle.

    Attributes:
        name, title, version, data, licence: what it says of itself; see `boneage.bundle.manifest.Manifest`.
        networks: at least one. All that have folds have as many.
        hands: bundle, by name or folder, whose hand networks register the radiographs, and go into this bundle; empty
            if all networks read whole radiographs.
        weight_bits: in which weights are stored; see `boneage.train.bundle.export.export_graph`.
    """

    name: str
    title: str
    networks: tuple[PlannedNetwork, ...]
    version: str = "1"
    data: str = ""
    licence: str = ""
    hands: str = ""
    weight_bits: Literal[8, 16] = 16


@dataclass(frozen=True)
class PlannedRun:
    """One training of a plan: a network, or one of its folds, counted from 1. `weight` is that of its member."""

    network: PlannedNetwork
    recipe: Recipe

    @property
    def fold(self) -> int:
        """Which it is, from 1; 0 of a network without folds."""
        return self.recipe.data.fold

    @property
    def name(self) -> str:
        """Of the run's folder and of the member."""
        return member_name(self.network, self.fold)

    @property
    def weight(self) -> float:
        """Of the member in the bundle's mean."""
        return self.network.weight / len(self.network.kept)


def member_name(network: PlannedNetwork, fold: int) -> str:
    """Of a network's fold, from 1, or of the network if that is 0."""
    return f"{network.name}-fold-{fold}" if fold else network.name


def shipped_plans() -> dict[str, Path]:
    """Plans inside the package, by name."""
    folder = Path(str(resources.files("boneage.train") / "plans"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_plan(name_or_path: str | Path) -> Plan:
    """Read a plan by its name in the package or its path.

    Recipes that it names by a path are taken relative to its own folder.

    Raises:
        RecipeError: ``recipe_invalid``, with the place of the fault.
    """
    path, table = read_table(name_or_path, shipped_plans(), "plan")
    plan = build_strictly(Plan, table, "plan")
    _check(plan)
    return replace(plan, networks=tuple(_placed(network, path.parent) for network in plan.networks))


def planned_runs(plan: Plan, changes: tuple[str, ...] = ()) -> list[PlannedRun]:
    """All trainings of a plan, in its order, the folds of a network one after the other.

    Args:
        plan: what to train.
        changes: of all recipes, after the plan's own.

    Raises:
        RecipeError: ``recipe_invalid`` if a recipe cannot be used, is none for ages, or parts the radiographs otherwise
            than the others.
    """
    hands = (f"data.hands={json.dumps(plan.hands)}",) if plan.hands else ()
    runs: list[PlannedRun] = []
    for network in plan.networks:
        own = (*network.changes, *changes, *hands)
        recipe = load_recipe(network.recipe, own)
        if recipe.task != "age" or recipe.data.folds:
            raise RecipeError(
                "recipe_invalid",
                f"The network {network.name} needs a recipe for ages without folds: the plan has the folds.",
            )
        for fold in network.kept:
            part = replace(recipe.data, folds=network.folds, fold=fold)
            runs.append(PlannedRun(network, replace(recipe, data=part)))
    if len({(run.recipe.data.split_seed, run.recipe.data.validation_share) for run in runs}) > 1:
        raise RecipeError(
            "recipe_invalid", "All networks of a plan need one data.split_seed and one data.validation_share."
        )
    return runs


def _placed(network: PlannedNetwork, folder: Path) -> PlannedNetwork:
    """With a recipe's path as it is from here."""
    path = folder / network.recipe
    return replace(network, recipe=str(path)) if path.is_file() else network


def _check(plan: Plan) -> None:
    """Reject what cannot be meant."""
    names = [plan.name, *(network.name for network in plan.networks)]
    members = [member_name(network, fold) for network in plan.networks for fold in network.kept]
    demands = {
        "a plan needs networks": bool(plan.networks),
        f"names are of small letters, digits and . _ -: {', '.join(names)}": all(map(NAME.fullmatch, names)),
        f"two networks would have one name among {', '.join(members)}": len(set(members)) == len(members),
        "a network's folds are at least 2, or 0; and as many for all networks that have some": all(
            network.folds == 0 or network.folds >= 2 for network in plan.networks
        )
        and len({network.folds for network in plan.networks if network.folds}) <= 1,
        "kept_folds are at most the folds, or 0 for all; and as many for all networks that have folds": all(
            0 <= network.kept_folds <= network.folds for network in plan.networks
        )
        and len({network.kept for network in plan.networks if network.folds}) <= 1,
        "weights must be positive": all(network.weight > 0 for network in plan.networks),
    }
    for demand, holds in demands.items():
        if not holds:
            raise RecipeError("recipe_invalid", f"The plan cannot be used: {demand}.")
