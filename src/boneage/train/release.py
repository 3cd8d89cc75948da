"""From trained runs to a bundle with its figures: export the nets, measure the bundle, hold its graphs against them.

The figures are those of the finished bundle, by the walk that serves (`boneage.assessment.assess`): reading, cutting,
the exported graphs and their mean. So nothing is claimed that a user would not get.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boneage.assessment import assess
from boneage.bundle import Bundle
from boneage.errors import RecipeError, Refusal, TableError
from boneage.evaluate.metrics import concordance, mean_absolute_difference, root_mean_square_error
from boneage.films import LabelledFilm
from boneage.manifest import NAME
from boneage.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.train.cache import Progress
from boneage.train.export import BundleFacts, NetMember, parity, write_bundle
from boneage.train.loop import AgeUnit, load_run, run_facts
from boneage.train.nets.layers import AgeNet
from boneage.train.recipe import Recipe
from boneage.views import ViewSpec, cut_view

PARITY_FILMS = 200
"""Films on which torch and ONNX Runtime are held against each other."""

PARITY_LIMIT_MONTHS = 0.05
"""A larger difference is told in the log: weights of 16 bits, or the exporter, then cost more than they should."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleaseOptions:
    """What a bundle is to say of itself.

    Attributes:
        name, version, title: see `boneage.manifest.Manifest`; without a title the first run's recipe gives it.
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
    """A run's net, and the name of the member that it becomes."""

    name: str
    recipe: Recipe
    net: AgeNet
    unit: AgeUnit


def release(
    runs: Sequence[Path],
    directory: Path,
    options: ReleaseOptions,
    *,
    films: Sequence[LabelledFilm] = (),
    overwrite: bool = False,
    progress: Progress = iter,
) -> Released:
    """Make a bundle of trained runs, one member each, of equal weight, named after the run's folder.

    Args:
        runs: folders of `boneage.train.loop.train`, at least one.
        directory: of the bundle; it appears there whole, with its figures.
        options: what it says of itself.
        films: those that the runs were trained on; the ones that all runs hold for validation give the bundle's
            figures. Without films it has none.
        overwrite: put it in the place of a bundle that is there.
        progress: wraps the films while they are assessed.

    Raises:
        RecipeError: ``recipe_invalid`` if a run is missing, the runs were trained on different films, or their
            folders' names cannot be those of members.
        TableError: ``table_empty`` if the runs have no validation film in common among `films`, or none that can be
            read.
        BundleError: see `boneage.train.export.write_bundle`.
    """
    trained = _load_runs(runs, options.weights)
    validation = _common_validation(runs, films) if films else []
    first = trained[0]
    facts = BundleFacts(
        name=options.name,
        version=options.version,
        title=options.title or first.recipe.title,
        created=datetime.now(UTC).date().isoformat(),
        age_mean_months=first.unit.mean_months,
        age_spread_months=first.unit.spread_months,
        recipe={one.name: one.recipe.to_dict() for one in trained},
        data=options.data,
        licence=options.licence,
    )
    bundle = write_bundle(
        [NetMember(one.name, one.net, one.recipe.view) for one in trained],
        facts,
        directory,
        overwrite=overwrite,
        measure=partial(measure_bundle, films=validation, progress=progress) if films else None,
    )
    return Released(bundle, _largest_parity(trained, bundle, validation) if films else None)


def measure_bundle(bundle: Bundle, films: Sequence[LabelledFilm], *, progress: Progress = iter) -> dict[str, Any]:
    """The bundle's figures on validation films, with the keys of `boneage.manifest.METRIC_TYPES`.

    Films that are refused are left out and named in the log. Figures that the films do not give are left out too: the
    concordance without any variation, and those by sex where one sex is missing.

    Raises:
        TableError: ``table_empty`` if no film is left.
        BundleError: the bundle failed.
    """
    answers = list(_answers(bundle, progress(films)))
    if not answers:
        raise TableError("table_empty", "None of the validation films can be read.")
    labels = np.array([film.boneage_months for film, _ in answers])
    months = np.array([age_months for _, age_months in answers])
    figures: dict[str, Any] = {
        "mad_months": round(float(mean_absolute_difference(labels, months)), 3),
        "rmse_months": round(float(root_mean_square_error(labels, months)), 3),
        "split": "validation",
        "films": len(answers),
    }
    agreement = float(concordance(labels, months))
    if math.isfinite(agreement):
        figures["ccc"] = round(agreement, 4)
    by_sex = _mad_by_sex([film.sex for film, _ in answers], labels, months)
    if len(by_sex) == len(Sex):
        figures["mad_months_by_sex"] = by_sex
    return figures


def _load_runs(runs: Sequence[Path], weights: str) -> list[_Trained]:
    names = [run.resolve().name.lower() for run in runs]
    if not all(NAME.fullmatch(name) for name in names) or len(set(names)) != len(names):
        raise RecipeError(
            "recipe_invalid",
            f"Members are named after their runs' folders, which need different names of letters and digits: {names}.",
        )
    trained = [_Trained(name, *load_run(run, weights)[:3]) for name, run in zip(names, runs, strict=True)]
    if len({one.unit for one in trained}) != 1:
        raise RecipeError("recipe_invalid", "Runs in one bundle must have been trained on the same films.")
    return trained


def _common_validation(runs: Sequence[Path], films: Sequence[LabelledFilm]) -> list[LabelledFilm]:
    common = set.intersection(*(set(run_facts(run)["validation"]) for run in runs))
    chosen = [film for film in films if film.id in common]
    if not chosen:
        raise TableError("table_empty", "None of these films was kept for validation by all runs.")
    return chosen


def _answers(bundle: Bundle, films: Iterable[LabelledFilm]) -> Iterator[tuple[LabelledFilm, float]]:
    """The films that can be read, each with its bone age, months, as a user would get it."""
    for film in films:
        try:
            yield film, assess(film.image, film.sex, bundle).age_months
        except Refusal as refusal:
            log.warning("the film %s is left out of the figures: %s", film.id, refusal)


def _mad_by_sex(sexes: Sequence[Sex], labels: NDArray[np.float64], months: NDArray[np.float64]) -> Mapping[str, float]:
    by_sex = {sex: np.array([one == sex for one in sexes]) for sex in Sex if sex in sexes}
    return {
        sex.value: round(float(mean_absolute_difference(labels[chosen], months[chosen])), 3)
        for sex, chosen in by_sex.items()
    }


def _largest_parity(trained: Sequence[_Trained], bundle: Bundle, films: Sequence[LabelledFilm]) -> float:
    views = _views(films, {one.recipe.view for one in trained})
    largest = max(parity(one.net, bundle, views[one.recipe.view], member=one.name) for one in trained)
    if largest > PARITY_LIMIT_MONTHS:
        log.warning("torch and ONNX Runtime differ by %.3f months, more than %g", largest, PARITY_LIMIT_MONTHS)
    return largest


def _views(films: Sequence[LabelledFilm], specs: Iterable[ViewSpec]) -> dict[ViewSpec, NDArray[np.float32]]:
    """Views (N, h, w) of the first films that can be read; each film is read once."""
    cut: dict[ViewSpec, list[NDArray[np.float32]]] = {spec: [] for spec in specs}
    for pixels in islice(_readable(films), PARITY_FILMS):
        for spec, views in cut.items():
            views.append(cut_view(pixels, spec))
    return {spec: np.stack(views) for spec, views in cut.items()}


def _readable(films: Iterable[LabelledFilm]) -> Iterator[NDArray[np.float32]]:
    for film in films:
        try:
            yield read_radiograph(film.image).pixels
        except Refusal:
            continue  # told when the bundle was measured
