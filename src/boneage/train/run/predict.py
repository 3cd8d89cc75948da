"""What a trained run says of radiographs, as a predictions table: of those that it validates on, or that folds set
aside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from boneage.errors import RecipeError, Rejection, TableError
from boneage.evaluate.predictions import Predictions
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.epochs import validation_batches
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.recipe import Recipe
from boneage.train.run.loop import load_run, run_facts
from boneage.train.run.tasks import choose_radiographs, predict


def predict_validation(
    run: Path,
    radiographs: Sequence[LabelledRadiograph],
    cache_folder: Path,
    *,
    weights: str = "last",
    device: str = "cpu",
) -> Predictions:
    """Estimates of a run's network on its own validation radiographs; of a fold's those that it holds out.

    Views are unchanged and computed in single precision, as the exported network's; no mirror images.

    Args:
        run: folder of `boneage.train.run.loop.train`.
        radiographs: the table that it was trained on.
        cache_folder: of decoded radiographs and found hands.
        weights: ``last``, which no validation radiograph has chosen, or ``best``.
        device: of torch.

    Returns:
        In the order in which the run keeps its validation radiographs, with their groups.

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such run of a network for ages; ``recipe_diverged`` if an
            estimate is no number.
        TableError: ``table_value`` if the table lacks one of the run's radiographs; see also
            `boneage.train.data.cache.build_cache`.
        BundleError: the bundle with the hand networks cannot be used.
    """
    return predict_radiographs(run, _find(run_facts(run)["validation"], radiographs, run), radiographs, cache_folder,
                         weights=weights, device=device)  # fmt: skip


def predict_radiographs(
    run: Path,
    chosen: Sequence[LabelledRadiograph],
    radiographs: Sequence[LabelledRadiograph],
    cache_folder: Path,
    *,
    weights: str = "last",
    device: str = "cpu",
) -> Predictions:
    """As `predict_validation`, of some radiographs of the table that the run was trained on.

    Those that cannot be read, or show no hand that is needed, are left out.

    Raises:
        TableError: ``table_empty`` if none is left; else as `predict_validation`.
    """
    recipe, network, unit, _ = load_run(run, weights)
    # As in training: of one table there is one cache; of a few radiographs only theirs.
    table = chosen if recipe.data.train_limit or recipe.data.validation_limit else radiographs
    cache = build_cache(table, cache_folder, longest_side=recipe.data.longest_side)
    hands = open_hands(recipe.data.hands, table, cache) if recipe.view.needs_hand else None
    chosen = [radiograph for radiograph in chosen if _is_readable(radiograph, recipe, cache, hands)]
    if not chosen:
        raise TableError("table_empty", f"None of the radiographs that {run} shall estimate can be read.")
    batches = validation_batches(chosen, cache, recipe.view, hands=hands, batch_size=64, workers=recipe.train.workers)
    months = predict(network.to(device), batches, unit, device)
    if not np.isfinite(months).all():
        raise RecipeError("recipe_diverged", f"{run} gives ages that are no numbers.")
    return Predictions(
        ids=tuple(radiograph.id for radiograph in chosen),
        sexes=tuple(radiograph.sex for radiograph in chosen),
        boneage_months=np.array([radiograph.boneage_months for radiograph in chosen]),
        age_months=np.round(months, 3),
        groups={column: tuple(radiograph.groups[column] for radiograph in chosen) for column in chosen[0].groups},
    )


def set_aside(recipe: Recipe, radiographs: Sequence[LabelledRadiograph]) -> list[LabelledRadiograph]:
    """The radiographs that validate a recipe without folds, and that the networks of no fold have seen.

    Raises:
        TableError: as `boneage.train.run.tasks.choose_radiographs`.
    """
    return choose_radiographs(replace(recipe, data=replace(recipe.data, folds=0, fold=0)), radiographs)[1]


def _is_readable(
    radiograph: LabelledRadiograph, recipe: Recipe, cache: RadiographCache, hands: HandTable | None
) -> bool:
    if radiograph.id not in cache or (hands is not None and radiograph.id not in hands):
        return False
    try:
        cache.grey(radiograph.id, recipe.view.grey, None if hands is None else hands.hand(radiograph.id))
    except Rejection:
        return False
    return True


def _find(ids: Sequence[str], radiographs: Sequence[LabelledRadiograph], run: Path) -> list[LabelledRadiograph]:
    by_id = {radiograph.id: radiograph for radiograph in radiographs}
    missing = [each for each in ids if each not in by_id]
    if missing:
        raise TableError("table_value", f"The table lacks {len(missing)} radiographs of {run}, such as {missing[0]!r}.")
    return [by_id[each] for each in ids]
