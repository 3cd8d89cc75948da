"""Estimates of a trained run as a predictions table, on its validation radiographs or on others of its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from boneage.errors import RecipeError, Rejection, TableError
from boneage.evaluate.predictions import Predictions, further_columns
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.epochs import validation_batches
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.data.splits import choose_radiographs
from boneage.train.recipe import Recipe
from boneage.train.run.age_tasks import predict
from boneage.train.run.run_folder import read_run_record
from boneage.train.run.weights import load_run


def predict_validation(
    run: Path,
    radiographs: Sequence[LabelledRadiograph],
    cache_folder: Path,
    *,
    weights: str = "last",
    device: str = "cpu",
) -> Predictions:
    """Return the estimates of a run's network on its own validation radiographs.

    A fold's validation radiographs are those that it holds out. Views are unchanged, without mirror images, and
    computed in single precision as by the exported network.

    Args:
        run: folder of `boneage.train.run.loop.train`.
        radiographs: table on which the run was trained.
        cache_folder: folder of decoded radiographs and located hands.
        weights: ``last``, which is independent of the validation radiographs, or ``best``.
        device: device of torch.

    Returns:
        Predictions in the order in which the run lists its validation radiographs, with their further columns.

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such run of a network for ages; ``recipe_diverged`` if an
            estimate is not finite.
        TableError: ``table_value`` if the table lacks one of the run's radiographs; see also
            `boneage.train.data.cache.build_cache`.
        BundleError: The bundle with the hand networks cannot be used.
    """
    chosen = _select(read_run_record(run)["validation"], radiographs, run)
    return predict_radiographs(run, chosen, radiographs, cache_folder, weights=weights, device=device)


def predict_radiographs(
    run: Path,
    chosen: Sequence[LabelledRadiograph],
    radiographs: Sequence[LabelledRadiograph],
    cache_folder: Path,
    *,
    weights: str = "last",
    device: str = "cpu",
) -> Predictions:
    """Return the estimates of a run's network on radiographs of its table. See `predict_validation`.

    Radiographs that cannot be read, or that lack a hand where one is needed, are left out.

    Raises:
        TableError: ``table_empty`` if no radiograph is left. Other errors are those of `predict_validation`.
    """
    recipe, network, unit, _ = load_run(run, weights)
    # Same caches as in training: one for a whole table, and a separate one for a small number of radiographs.
    table = chosen if recipe.data.train_limit or recipe.data.validation_limit else radiographs
    cache = build_cache(table, cache_folder, longest_side=recipe.data.longest_side)
    hands = open_hands(recipe.data.hands, table, cache) if recipe.view.needs_hand else None
    chosen = [radiograph for radiograph in chosen if is_readable(radiograph, recipe, cache, hands)]
    if not chosen:
        raise TableError("table_empty", f"None of the radiographs to estimate with {run} can be read.")
    batches = validation_batches(chosen, cache, recipe.view, hands=hands, batch_size=64, workers=recipe.train.workers)
    months = predict(network.to(device), batches, unit, device)
    if not np.isfinite(months).all():
        raise RecipeError(
            "recipe_diverged",
            f"The network of {run} returns ages that are not finite. Train it again with a lower learning rate.",
        )
    return Predictions(
        ids=tuple(radiograph.id for radiograph in chosen),
        sexes=tuple(radiograph.sex for radiograph in chosen),
        boneage_months=np.array([radiograph.boneage_months for radiograph in chosen]),
        age_months=np.round(months, 3),
        groups=further_columns(chosen),
    )


def set_aside(recipe: Recipe, radiographs: Sequence[LabelledRadiograph]) -> list[LabelledRadiograph]:
    """Return the validation radiographs of a recipe without its folds, which no fold's network was trained on.

    Raises:
        TableError: See `boneage.train.data.splits.choose_radiographs`.
    """
    return choose_radiographs(replace(recipe, data=replace(recipe.data, folds=0, fold=0)), radiographs)[1]


def is_readable(
    radiograph: LabelledRadiograph, recipe: Recipe, cache: RadiographCache, hands: HandTable | None
) -> bool:
    """Return True if a radiograph has the view of a recipe: it was read, and has a hand and contrast where needed."""
    if radiograph.id not in cache or (hands is not None and radiograph.id not in hands):
        return False
    try:
        cache.grey(radiograph.id, recipe.view.grey, None if hands is None else hands.hand(radiograph.id))
    except Rejection:
        return False
    return True


def _select(ids: Sequence[str], radiographs: Sequence[LabelledRadiograph], run: Path) -> list[LabelledRadiograph]:
    by_id = {radiograph.id: radiograph for radiograph in radiographs}
    missing = [radiograph_id for radiograph_id in ids if radiograph_id not in by_id]
    if missing:
        raise TableError("table_value", f"The table lacks {len(missing)} radiographs of {run}, such as {missing[0]!r}.")
    return [by_id[radiograph_id] for radiograph_id in ids]
