"""Plans: a whole bundle as TOML, with the recipe and the folds of each of its networks. They are read strictly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from boneage import strict
from boneage.bundle.manifest import Name
from boneage.errors import RecipeError
from boneage.strict import Count, InvalidValueError, Length, Positive
from boneage.train.recipe import Recipe, load_recipe, read_table


@dataclass(frozen=True)
class PlannedNetwork:
    """A recipe's place in a bundle.

    Attributes:
        name: name of its member, such as ``a``; with folds the members are ``a-fold-1`` to ``a-fold-5``.
        recipe: name of a shipped recipe, or a path relative to the plan's folder.
        changes: changes of the recipe, such as ``train.epochs=40``; see `boneage.train.recipe.load_recipe`.
        folds: number of networks, each trained on all but one part of the training radiographs; 0 for one network on
            all of them.
        weight: weight of all its folds together in the mean over the bundle's networks, above 0.
        kept_folds: number of folds that are trained and become the bundle's, the first ones; 0 for all. With one, the
            bundle is small and has estimates out of fold nonetheless. Radiographs have them in the folds of all
            networks.
    """

    name: Name
    recipe: str
    changes: tuple[str, ...] = ()
    folds: Count = 0
    weight: Positive = 1.0
    kept_folds: Count = 0

    @property
    def kept(self) -> tuple[int, ...]:
        """Its folds that are trained, from 1; (0,) for one network on all radiographs."""
        return tuple(range(1, (self.kept_folds or self.folds) + 1)) or (0,)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.folds == 1:
            yield "folds", "must be at least 2, or 0 for none"
        if self.kept_folds > self.folds:
            yield "kept_folds", "must be at most the folds, or 0 for all"


@dataclass(frozen=True)
class Plan:
    """A whole bundle.

    Attributes:
        name, title, version, data, licence: same as in `boneage.bundle.manifest.Manifest`.
        networks: at least one. All that have folds have the same number of them.
        hands: bundle, by name or folder, whose hand networks register the radiographs and become part of this bundle;
            empty if all networks read whole radiographs.
        outlines: True if the network for outlines of the bundle `hands` becomes part of this bundle.
        weight_bits: bits of a stored weight; see `boneage.train.bundle.export.export_graph`.
    """

    name: Name
    title: str
    networks: Annotated[tuple[PlannedNetwork, ...], Length(1)]
    version: str = "1"
    data: str = ""
    licence: str = ""
    hands: str = ""
    outlines: bool = False
    weight_bits: Literal[8, 16] = 16

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        members: set[str] = set()
        with_folds = [network for network in self.networks if network.folds]
        for number, network in enumerate(self.networks):
            names = {member_name(network, fold) for fold in network.kept}
            if names & members:
                yield f"networks[{number}].name", f"gives a second member the name {min(names & members)!r}"
            members |= names
            if network.folds and network.folds != with_folds[0].folds:
                yield f"networks[{number}].folds", "must be the same for all networks that have folds"


@dataclass(frozen=True)
class PlannedRun:
    """One training of a plan: a network, or one of its folds, and the recipe for it."""

    network: PlannedNetwork
    recipe: Recipe

    @property
    def fold(self) -> int:
        """Number of the fold, from 1; 0 for a network without folds."""
        return self.recipe.data.fold

    @property
    def name(self) -> str:
        """Name of the run's folder and of the member."""
        return member_name(self.network, self.fold)

    @property
    def weight(self) -> float:
        """Weight of the member in the bundle's mean."""
        return self.network.weight / len(self.network.kept)


def member_name(network: PlannedNetwork, fold: int) -> str:
    """Return the name of a network's member for a fold, from 1, or for the whole network if that is 0."""
    return f"{network.name}-fold-{fold}" if fold else network.name


def shipped_plans() -> dict[str, Path]:
    """Return the paths of the plans inside the package, by name."""
    folder = Path(str(resources.files("boneage.train") / "plans"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_plan(name_or_path: str | Path) -> Plan:
    """Read a plan by its name in the package or its path.

    Recipes that it names by a path are relative to its own folder.

    Raises:
        RecipeError: ``recipe_invalid``, with the place of the first fault.
    """
    path, table = read_table(name_or_path, shipped_plans(), "plan")
    try:
        plan = strict.read(Plan, table)
    except InvalidValueError as error:
        raise RecipeError("recipe_invalid", f"The plan is not valid: {error}.") from error
    return replace(plan, networks=tuple(_placed(network, path.parent) for network in plan.networks))


def planned_runs(plan: Plan, changes: tuple[str, ...] = ()) -> list[PlannedRun]:
    """Return all training runs of a plan, in its order, the folds of a network one after the other.

    Args:
        plan: the whole bundle.
        changes: changes of all recipes, after the plan's own.

    Raises:
        RecipeError: ``recipe_invalid`` if a recipe is not valid, is not for ages, or splits the radiographs in another
            way than the others.
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
    """Return a network with its recipe's path relative to the working folder."""
    path = folder / network.recipe
    return replace(network, recipe=str(path)) if path.is_file() else network
