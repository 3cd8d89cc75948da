"""From trained runs to a bundle with its figures: validate the nets, export them, hold the graphs against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from boneage.bundle import Bundle
from boneage.errors import RecipeError, TableError
from boneage.evaluate.metrics import concordance, mean_absolute_difference, root_mean_square_error
from boneage.films import LabelledFilm
from boneage.sex import Sex
from boneage.train.cache import FilmCache, build_cache
from boneage.train.data import validation_batches
from boneage.train.export import BundleFacts, NetMember, parity, write_bundle
from boneage.train.loop import AgeUnit, load_run, run_facts
from boneage.train.nets.layers import AgeNet
from boneage.train.recipe import Recipe

PARITY_FILMS = 200
"""Films on which torch and ONNX Runtime are held against each other."""


@dataclass(frozen=True)
class ReleaseOptions:
    """What a bundle is to say of itself.

    Attributes:
        name, version, title: see `boneage.bundle.Manifest`; without a title the first run's recipe gives it.
        weights: ``last`` epoch, which no validation film has chosen, or ``best`` by validation MAD.
        data, licence: what the nets learnt from, and the terms of the weights.
    """

    name: str
    version: str = "1"
    title: str = ""
    weights: Literal["last", "best"] = "last"
    data: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Released:
    """The bundle, and by how many months its graphs differ at most from the nets on real films (None without films)."""

    bundle: Bundle
    parity_months: float | None


@dataclass(frozen=True)
class _Trained:
    recipe: Recipe
    net: AgeNet
    unit: AgeUnit


def release(
    runs: Sequence[Path],
    directory: Path,
    options: ReleaseOptions,
    *,
    films: Sequence[LabelledFilm] = (),
    cache_folder: Path | None = None,
    overwrite: bool = False,
) -> Released:
    """Make a bundle of trained runs, one member each, of equal weight.

    Args:
        runs: folders of `boneage.train.loop.train`.
        directory: of the bundle.
        options: what it says of itself.
        films: those that the runs were trained on; the ones that all runs hold for validation give the bundle's
            figures.
        cache_folder: of decoded films.
        overwrite: put it in the place of a bundle that is there.

    Raises:
        RecipeError: a run is missing, or the runs' ages have different units.
        TableError: ``table_empty`` if the runs have no validation film in common among `films`.
        BundleError: see `boneage.train.export.write_bundle`.
    """
    trained = [_Trained(*load_run(run, options.weights)[:3]) for run in runs]
    unit = trained[0].unit
    if any(other.unit != unit for other in trained):
        raise RecipeError("recipe_invalid", "Runs in one bundle must have been trained on the same films.")
    validation: list[LabelledFilm] = []
    metrics: dict[str, Any] = {}
    if films:
        validation = _common_validation(runs, films)
        side = max(one.recipe.data.longest_side for one in trained)
        cache = build_cache(validation, cache_folder or runs[0].parent / "cache", longest_side=side)
        validation = [film for film in validation if film.id in cache]
        metrics = measure_release(trained, validation, cache)
    members = [NetMember(run.name.lower(), one.net, one.recipe.view) for run, one in zip(runs, trained, strict=True)]
    facts = BundleFacts(
        name=options.name,
        version=options.version,
        title=options.title or trained[0].recipe.title,
        created=datetime.now(UTC).date().isoformat(),
        age_mean_months=unit.mean_months,
        age_spread_months=unit.spread_months,
        recipe={run.name: one.recipe.to_dict() for run, one in zip(runs, trained, strict=True)},
        metrics=metrics,
        data=options.data,
        licence=options.licence,
    )
    bundle = write_bundle(members, facts, directory, overwrite=overwrite)
    if not films:
        return Released(bundle, None)
    differences = []
    for member, one in zip(members, trained, strict=True):
        views = _views(validation[:PARITY_FILMS], cache, one.recipe)
        differences.append(parity(one.net, bundle, views, member=member.name))
    return Released(bundle, max(differences))


def measure_release(trained: Sequence[_Trained], films: Sequence[LabelledFilm], cache: FilmCache) -> dict[str, Any]:
    """The figures of the nets' mean on these films, with the keys of `boneage.bundle.METRIC_TYPES`."""
    months = np.mean([_predict(one, films, cache) for one in trained], axis=0)
    labels = np.array([film.boneage_months for film in films])
    sexes = np.array([film.sex.value for film in films])
    return {
        "mad_months": round(float(mean_absolute_difference(labels, months)), 3),
        "ccc": round(float(concordance(labels, months)), 4),
        "rmse_months": round(float(root_mean_square_error(labels, months)), 3),
        "split": "validation",
        "films": len(films),
        "mad_months_by_sex": {
            sex.value: round(float(mean_absolute_difference(labels[sexes == sex], months[sexes == sex])), 3)
            for sex in Sex
            if (sexes == sex).any()
        },
    }


def _common_validation(runs: Sequence[Path], films: Sequence[LabelledFilm]) -> list[LabelledFilm]:
    common = set.intersection(*(set(run_facts(run)["validation"]) for run in runs))
    chosen = [film for film in films if film.id in common]
    if not chosen:
        raise TableError("table_empty", "None of these films was kept for validation by all runs.")
    return chosen


def _predict(one: _Trained, films: Sequence[LabelledFilm], cache: FilmCache) -> NDArray[np.float64]:
    batches = validation_batches(films, cache, one.recipe.view, batch_size=64, workers=0)
    with torch.no_grad():
        ages = torch.cat([one.net(views, sexes) for views, sexes, _ in batches])
    return one.unit.to_months(ages).double().numpy()


def _views(films: Sequence[LabelledFilm], cache: FilmCache, recipe: Recipe) -> NDArray[np.float32]:
    batches = validation_batches(films, cache, recipe.view, batch_size=64, workers=0)
    return torch.cat([views[:, 0] for views, _, _ in batches]).numpy()
