"""Estimates of a bundle's members out of fold, by their graphs, as the runs that made them had written them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import Member
from boneage.errors import RecipeError
from boneage.evaluate.predictions import Predictions, write_predictions
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.epochs import EpochViews
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.data.splits import choose_radiographs
from boneage.train.recipe import Recipe, parse_recipe
from boneage.train.run.predict import is_readable, set_aside

PREDICTIONS = "predictions.csv"
"""Name of the table of a run's estimates, whose column ``part`` is ``fold`` or ``validation``."""

_BATCH = 64


def write_member_estimates(
    bundle: Bundle,
    radiographs: Sequence[LabelledRadiograph],
    runs: Path,
    cache_folder: Path,
    *,
    report: Callable[[str], None],
) -> None:
    """Write the estimates of each member that is a fold: of its held-out radiographs and of those for validation.

    The tables are those that `boneage.train.bundle.build` writes after a training, in folders of the members' names, so
    that further networks can be combined with a bundle whose runs are gone. Existing tables are kept.

    Args:
        bundle: bundle whose manifest has the recipes of its members.
        radiographs: the whole table of the training.
        runs: folder below which the tables lie.
        cache_folder: folder of decoded radiographs and located hands.
        report: receives a line for each member.

    Raises:
        RecipeError: ``recipe_invalid`` if a member has no recipe with folds.
        TableError, BundleError: The radiographs or the hand networks cannot be used.
    """
    cache: RadiographCache | None = None
    hands: HandTable | None = None
    for member in bundle.manifest.ordinary_members:
        path = runs / member.name / PREDICTIONS
        if path.exists():
            continue
        recipe = parse_recipe(dict(bundle.manifest.recipe.get(member.name, {"title": ""})))
        if not recipe.data.folds:
            raise RecipeError("recipe_invalid", f"The member {member.name} was not trained in folds.")
        cache = cache or build_cache(radiographs, cache_folder, longest_side=recipe.data.longest_side)
        hands = hands or open_hands(str(bundle.directory), radiographs, cache)
        held = choose_radiographs(recipe, radiographs)[1]
        aside = set_aside(recipe, radiographs)
        parts = {one.id: "fold" for one in held} | {one.id: "validation" for one in aside}
        chosen = [one for one in (*held, *aside) if is_readable(one, recipe, cache, hands)]
        table = _estimates(bundle, member, recipe, chosen, cache, hands)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(path, replace(table, groups={"part": tuple(parts[one] for one in table.ids)}))
        report(f"{member.name}: {len(table)} estimates")


def _estimates(
    bundle: Bundle,
    member: Member,
    recipe: Recipe,
    radiographs: Sequence[LabelledRadiograph],
    cache: RadiographCache,
    hands: HandTable,
) -> Predictions:
    views = EpochViews(radiographs, cache, recipe.view, hands=hands)
    months: list[float] = []
    for start in range(0, len(radiographs), _BATCH):
        rows = range(start, min(start + _BATCH, len(radiographs)))
        batch = np.stack([views[row][0][0].numpy() for row in rows])
        outputs = bundle.run_batch(member, batch, [radiographs[row].sex for row in rows], plain=True)
        months += [output.age_months for output in outputs]
    return Predictions(
        ids=tuple(one.id for one in radiographs),
        sexes=tuple(one.sex for one in radiographs),
        boneage_months=np.array([one.boneage_months for one in radiographs]),
        age_months=np.round(months, 3),
    )
