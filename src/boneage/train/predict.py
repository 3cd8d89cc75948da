"""What a trained run says of the films that it validates on, as a predictions table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from boneage.errors import RecipeError, TableError
from boneage.evaluate.predictions import Predictions
from boneage.films import LabelledFilm
from boneage.train.cache import build_cache
from boneage.train.data import validation_batches
from boneage.train.hands import open_hands
from boneage.train.loop import load_run, run_facts
from boneage.train.tasks import predict


def predict_validation(
    run: Path, films: Sequence[LabelledFilm], cache_folder: Path, *, weights: str = "last", device: str = "cpu"
) -> Predictions:
    """Estimates of a run's net on its own validation films.

    Views are unchanged and computed in single precision, as the exported net's; no mirror images.

    Args:
        run: folder of `boneage.train.loop.train`.
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
            `boneage.train.cache.build_cache`.
        BundleError: the bundle with the hand nets cannot be used.
    """
    recipe, net, unit, _ = load_run(run, weights)
    chosen = _find(run_facts(run)["validation"], films, run)
    cache = build_cache(films, cache_folder, longest_side=recipe.data.longest_side)
    hands = open_hands(recipe.data.hands, films, cache) if recipe.view.needs_hand else None
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


def _find(ids: Sequence[str], films: Sequence[LabelledFilm], run: Path) -> list[LabelledFilm]:
    by_id = {film.id: film for film in films}
    missing = [each for each in ids if each not in by_id]
    if missing:
        raise TableError("table_value", f"The table lacks {len(missing)} films of {run}, such as {missing[0]!r}.")
    return [by_id[each] for each in ids]
