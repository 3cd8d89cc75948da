"""Plans: a whole bundle as TOML, its nets by recipe, with the folds of each. Read as strictly as recipes are."""

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
class PlannedNet:
    """A recipe's place in a bundle.

    Attributes:
        name: of its members, lower case: ``a``, or of folds ``a-fold-1`` to ``a-fold-5``.
        recipe: a shipped one's name, or a path, relative to the plan's folder.
        changes: of the recipe, as ``train.epochs=40``; see `boneage.train.recipe.load_recipe`.
        folds: so many nets, each trained on all but one part of the training films; 0 for one net on all of them.
        weight: in the mean over the bundle's nets, above 0, of all its folds together.
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
        """Its folds that are trained, from 1; (0,) for one net on all films."""
        return tuple(range(1, (self.kept_folds or self.folds) + 1)) or (0,)


@dataclass(frozen=True)
class Plan:
    """A whole bundle.

    Attributes:
        name, title, version, data, licence: what it says of itself; see `boneage.bundle.manifest.Manifest`.
        nets: at least one. All that have folds have as many.
        hands: bundle, by name or folder, whose hand nets register the films, and go into this bundle; empty if all nets
            read whole films.
        weight_bits: in which weights are stored; see `boneage.train.bundle.export.export_graph`.
    """

    name: str
    title: str
    nets: tuple[PlannedNet, ...]
    version: str = "1"
    data: str = ""
    licence: str = ""
    hands: str = ""
    weight_bits: Literal[8, 16] = 16


@dataclass(frozen=True)
class PlannedRun:
    """One training of a plan: a net, or one of its folds, counted from 1. `weight` is that of its member."""

    net: PlannedNet
    recipe: Recipe

    @property
    def fold(self) -> int:
        """Which it is, from 1; 0 of a net without folds."""
        return self.recipe.data.fold

    @property
    def name(self) -> str:
        """Of the run's folder and of the member."""
        return member_name(self.net, self.fold)

    @property
    def weight(self) -> float:
        """Of the member in the bundle's mean."""
        return self.net.weight / len(self.net.kept)


def member_name(net: PlannedNet, fold: int) -> str:
    """Of a net's fold, from 1, or of the net if that is 0."""
    return f"{net.name}-fold-{fold}" if fold else net.name


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
    return replace(plan, nets=tuple(_placed(net, path.parent) for net in plan.nets))


def planned_runs(plan: Plan, changes: tuple[str, ...] = ()) -> list[PlannedRun]:
    """All trainings of a plan, in its order, the folds of a net one after the other.

    Args:
        plan: what to train.
        changes: of all recipes, after the plan's own.

    Raises:
        RecipeError: ``recipe_invalid`` if a recipe cannot be used, is none for ages, or parts the films otherwise than
            the others.
    """
    hands = (f"data.hands={json.dumps(plan.hands)}",) if plan.hands else ()
    runs: list[PlannedRun] = []
    for net in plan.nets:
        own = (*net.changes, *changes, *hands)
        recipe = load_recipe(net.recipe, own)
        if recipe.task != "age" or recipe.data.folds:
            raise RecipeError(
                "recipe_invalid", f"The net {net.name} needs a recipe for ages without folds: the plan has the folds."
            )
        for fold in net.kept:
            part = replace(recipe.data, folds=net.folds, fold=fold)
            runs.append(PlannedRun(net, replace(recipe, data=part)))
    if len({(run.recipe.data.split_seed, run.recipe.data.validation_share) for run in runs}) > 1:
        raise RecipeError(
            "recipe_invalid", "All nets of a plan need one data.split_seed and one data.validation_share."
        )
    return runs


def _placed(net: PlannedNet, folder: Path) -> PlannedNet:
    """With a recipe's path as it is from here."""
    path = folder / net.recipe
    return replace(net, recipe=str(path)) if path.is_file() else net


def _check(plan: Plan) -> None:
    """Refuse what cannot be meant."""
    names = [plan.name, *(net.name for net in plan.nets)]
    members = [member_name(net, fold) for net in plan.nets for fold in net.kept]
    demands = {
        "a plan needs nets": bool(plan.nets),
        f"names are of small letters, digits and . _ -: {', '.join(names)}": all(map(NAME.fullmatch, names)),
        f"two nets would have one name among {', '.join(members)}": len(set(members)) == len(members),
        "a net's folds are at least 2, or 0; and as many for all nets that have some": all(
            net.folds == 0 or net.folds >= 2 for net in plan.nets
        )
        and len({net.folds for net in plan.nets if net.folds}) <= 1,
        "kept_folds are at most the folds, or 0 for all; and as many for all nets that have folds": all(
            0 <= net.kept_folds <= net.folds for net in plan.nets
        )
        and len({net.kept for net in plan.nets if net.folds}) <= 1,
        "weights must be positive": all(net.weight > 0 for net in plan.nets),
    }
    for demand, holds in demands.items():
        if not holds:
            raise RecipeError("recipe_invalid", f"The plan cannot be used: {demand}.")
