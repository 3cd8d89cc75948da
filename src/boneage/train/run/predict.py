"""What a trained run says of films, as a predictions table: of those that it validates on, or that folds set aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from boneage.errors import RecipeError, Refusal, TableError
from boneage.evaluate.predictions import Predictions
from boneage.tables.radiographs import LabelledFilm
from boneage.train.data.cache import FilmCache, build_cache
from boneage.train.data.epochs import validation_batches
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.recipe import Recipe
from boneage.train.run.loop import load_run, run_facts
from boneage.train.run.tasks import choose_films, predict


def predict_validation(
    run: Path, films: Sequence[LabelledFilm], cache_folder: Path, *, weights: str = "last", device: str = "cpu"
) -> Predictions:
    """Estimates of a run's net on its own validation films; of a fold's those that it holds out.

    Views are unchanged and computed in single precision, as the exported net's; no mirror images.

    Args:
        run: folder of `boneage.train.run.loop.train`.
        films: the table that it was trained on.
        cache_folder: of decoded films and found hands.
        weights: ``last``, which no validation film has chosen, or ``best``.
        device: of torch.

    Returns:
        In the order in which the run keeps its validation films, with their groups.

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such run of a net for ages; ``recipe_diverged`` if an estimate
            is no number.
        TableError: ``table_value`` if the table lacks one of the run's films; see also
            `boneage.train.data.cache.build_cache`.
        BundleError: the bundle with the hand nets cannot be used.
    """
    return predict_films(run, _find(run_facts(run)["validation"], films, run), films, cache_folder,
                         weights=weights, device=device)  # fmt: skip


def predict_films(
    run: Path,
    chosen: Sequence[LabelledFilm],
    films: Sequence[LabelledFilm],
    cache_folder: Path,
    *,
    weights: str = "last",
    device: str = "cpu",
) -> Predictions:
    """As `predict_validation`, of some films of the table that the run was trained on.

    Those that cannot be read, or show no hand that is needed, are left out.

    Raises:
        TableError: ``table_empty`` if none is left; else as `predict_validation`.
    """
    recipe, net, unit, _ = load_run(run, weights)
    # As in training: of one table there is one cache; of a few films only theirs.
    table = chosen if recipe.data.train_limit or recipe.data.validation_limit else films
    cache = build_cache(table, cache_folder, longest_side=recipe.data.longest_side)
    hands = open_hands(recipe.data.hands, table, cache) if recipe.view.needs_hand else None
    chosen = [film for film in chosen if _is_readable(film, recipe, cache, hands)]
    if not chosen:
        raise TableError("table_empty", f"None of the films that {run} shall estimate can be read.")
    batches = validation_batches(chosen, cache, recipe.view, hands=hands, batch_size=64, workers=recipe.train.workers)
    months = predict(net.to(device), batches, unit, device)
    if not np.isfinite(months).all():
        raise RecipeError("recipe_diverged", f"{run} gives ages that are no numbers.")
    return Predictions(
        ids=tuple(film.id for film in chosen),
        sexes=tuple(film.sex for film in chosen),
        boneage_months=np.array([film.boneage_months for film in chosen]),
        age_months=np.round(months, 3),
        groups={column: tuple(film.groups[column] for film in chosen) for column in chosen[0].groups},
    )


def set_aside(recipe: Recipe, films: Sequence[LabelledFilm]) -> list[LabelledFilm]:
    """The films that validate a recipe without folds, and that the nets of no fold have seen.

    Raises:
        TableError: as `boneage.train.run.tasks.choose_films`.
    """
    return choose_films(replace(recipe, data=replace(recipe.data, folds=0, fold=0)), films)[1]


def _is_readable(film: LabelledFilm, recipe: Recipe, cache: FilmCache, hands: HandTable | None) -> bool:
    if film.id not in cache or (hands is not None and film.id not in hands):
        return False
    try:
        cache.grey(film.id, recipe.view.grey, None if hands is None else hands.hand(film.id))
    except Refusal:
        return False
    return True


def _find(ids: Sequence[str], films: Sequence[LabelledFilm], run: Path) -> list[LabelledFilm]:
    by_id = {film.id: film for film in films}
    missing = [each for each in ids if each not in by_id]
    if missing:
        raise TableError("table_value", f"The table lacks {len(missing)} films of {run}, such as {missing[0]!r}.")
    return [by_id[each] for each in ids]
