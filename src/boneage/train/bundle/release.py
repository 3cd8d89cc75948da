"""From trained runs to a bundle with its figures: export the networks, measure the bundle, hold its graphs against
them.

The figures are those of the finished bundle, by the walk that serves (`boneage.assessment.assess`): reading, cutting,
the exported graphs and their mean. So nothing is claimed that a user would not get.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boneage.assessment import Assessment, assess
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import DISAGREEMENT_RADIOGRAPHS, Calibration, Disagreement, fit_disagreement
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.estimate import Z_95, region_spread
from boneage.bundle.manifest import FORMAT, NAME, Manifest, Member
from boneage.bundle.member_output import MemberOutput
from boneage.bundle.quality import QUALITY_LABELS, QualityLimit
from boneage.errors import BundleError, RecipeError, Rejection, TableError
from boneage.evaluate.metrics import concordance, mean_absolute_difference, root_mean_square_error
from boneage.hand.views import ViewSpec, cut_view
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split
from boneage.train.bundle.export import (
    NetworkMember,
    TrainedHandNetwork,
    TrainedHandNetworks,
    TrainedQualityNetwork,
    WeightBits,
    encoded_from,
    parity,
    rewrite_bundle,
    write_bundle,
)
from boneage.train.data.cache import Progress
from boneage.train.data.hands import found_by
from boneage.train.networks.layers import AgeNetwork
from boneage.train.recipe import Recipe, without_folders
from boneage.train.run.loop import load_hand_run, load_run, run_facts
from boneage.train.run.predict import set_aside
from boneage.train.run.tasks import AgeUnit, radiograph_labels

PARITY_RADIOGRAPHS = 200
"""Radiographs on which torch and ONNX Runtime are held against each other."""

PARITY_LIMITS_MONTHS: Mapping[WeightBits, float] = MappingProxyType({8: 1.0, 16: 0.05})
"""By the weights' bits: a larger difference of one network is rejected, since they, or the exporter, then cost more
than they should."""

EMBEDDING_STATS_RADIOGRAPHS = 100
"""With fewer validation radiographs nothing is said of what is familiar to a network, nor of how far regions usually
lie apart: both limits are extreme percentiles."""

REGION_SPREAD_PERCENTILE = 97.5
"""Of the validation radiographs, for the figures."""

_FOLDS = 5

_QUALITY_TITLE = "quality network"
"""Its key among a manifest's recipes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleaseOptions:
    """What a bundle is to say of itself.

    Attributes:
        name, version, title: see `boneage.bundle.manifest.Manifest`; without a title the first run's recipe gives it.
        weights: ``last`` epoch, which no validation radiograph has chosen, or ``best`` by validation MAD.
        data, licence: what the networks learnt from, and the terms of the weights.
        weight_bits: in which the weights are stored, also those of hand networks that a bundle gives: 8 of them cost up
            to some tenths of a month a network, and halve the files.
        member_weights: in the mean, by the runs' folders' names in small letters; 1 of those that are not named.
        calibration: of the bundle, learnt from estimates out of fold; its figures are then those of corrected ages.
        mirror: each network that reads whole radiographs is asked about the mirror image of a view too. Views of a
            registered hand have the thumb on the right, and networks that read them never saw it on the left.
    """

    name: str
    version: str = "1"
    title: str = ""
    weights: Literal["last", "best"] = "last"
    data: str = ""
    licence: str = ""
    mirror: bool = True
    weight_bits: Literal[8, 16] = 16
    member_weights: Mapping[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Released:
    """What `release` made.

    Attributes:
        bundle: opened where it lies.
        parity_months: by how much its graphs differ at most from the networks on real radiographs; None without
            radiographs.
        validation_radiographs: how many radiographs the runs kept for validation in common, whether they were given or
            not.
    """

    bundle: Bundle
    parity_months: float | None
    validation_radiographs: int


@dataclass(frozen=True)
class HandRuns:
    """Folders of the runs that find the hand: tasks ``mask``, ``points`` on whole radiographs, ``points`` on hands."""

    mask: Path
    locate: Path
    refine: Path


@dataclass(frozen=True)
class _Trained:
    """A run's network, and the name of the member that it becomes."""

    name: str
    recipe: Recipe
    network: AgeNetwork
    unit: AgeUnit

    @property
    def sexes(self) -> tuple[Sex, ...]:
        """Whom the network was trained on."""
        only = self.recipe.data.sexes
        return (Sex.FEMALE, Sex.MALE) if only == "both" else (Sex(only),)


def release(
    runs: Sequence[Path],
    directory: Path,
    options: ReleaseOptions,
    *,
    hand: Bundle | HandRuns | None = None,
    quality: Path | None = None,
    radiographs: Sequence[LabelledRadiograph] = (),
    overwrite: bool = False,
    progress: Progress = iter,
) -> Released:
    """Make a bundle of trained runs, one member each, named after the run's folder.

    Args:
        runs: folders of `boneage.train.run.loop.train` for the task ``age``; none for a bundle that only finds hands.
        directory: of the bundle; it appears there whole, with its figures.
        options: what it says of itself.
        hand: the networks that find the hand, or a bundle whose networks are taken over. Views of a registered hand
            need the bundle that they were trained with. A bundle's quality network is taken over too.
        quality: folder of a run for the task ``quality``, whose network takes that one's place.
        radiographs: those that the runs were trained on; the ones that all runs hold for validation, or folds have set
            aside, give the bundle's figures, and what is familiar to its networks. Without radiographs it has neither.
        overwrite: put it in the place of a bundle that is there.
        progress: wraps the radiographs while they are assessed.

    Raises:
        RecipeError: ``recipe_changed`` if a run learnt on hands that other networks found; ``recipe_invalid`` if a run
            is missing, or the runs' folders' names cannot be those of members;
            ``recipe_changed`` if a radiograph has another label or sex than a run learnt.
        TableError: ``table_empty`` if the runs have no validation radiograph in common among `radiographs`, or none
            that can be read.
        BundleError: ``bundle_output`` if a graph answers otherwise than its network; see also
            `boneage.train.bundle.export.write_bundle`.
    """
    trained = _load_runs(runs, options.weights)
    networks = _load_hand_runs(hand, options.weights) if isinstance(hand, HandRuns) else hand
    if isinstance(hand, Bundle):
        reject_other_hands(runs, hand)
    common = _common_validation(runs, trained, radiographs)
    finish = None
    if radiographs and runs:
        for run in runs:
            _reject_other_labels(run, radiographs)
        finish = _Finish(trained, _chosen(radiographs, common), options, progress)
    facts = Manifest(
        name=options.name,
        version=options.version,
        title=options.title or (trained[0].recipe.title if trained else "Finds the hand"),
        created=datetime.now(UTC).date().isoformat(),
        recipe=without_folders(
            {one.name: one.recipe.to_dict() for one in trained} | _hand_recipes(hand) | _quality_recipe(quality)
        ),
        data=options.data,
        licence=options.licence,
        calibration=options.calibration,
    )
    members = [
        NetworkMember(
            *(one.name, one.network, one.recipe.view, one.unit.mean_months, one.unit.spread_months),
            mirror=options.mirror and one.recipe.view.region == "radiograph",
            sexes=one.sexes,
            weight=options.member_weights.get(one.name, 1.0),
        )
        for one in trained
    ]
    bits = options.weight_bits
    judge = None if quality is None else _load_quality_run(quality, options.weights)
    bundle = write_bundle(
        members, facts, directory, hand=networks, quality=judge, weight_bits=bits, overwrite=overwrite, finish=finish
    )
    return Released(bundle, finish.parity_months if finish else None, len(common))


class _Finish:
    """Gives a new bundle its figures, and rejects one whose graphs answer otherwise than the networks."""

    def __init__(
        self,
        trained: Sequence[_Trained],
        radiographs: Sequence[LabelledRadiograph],
        options: ReleaseOptions,
        progress: Progress,
    ) -> None:
        self.trained, self.radiographs, self.options, self.progress = trained, radiographs, options, progress
        self.parity_months = 0.0

    def __call__(self, bundle: Bundle) -> Manifest:
        """The manifest with its figures and what is familiar to each member."""
        watched = _Watched(bundle.directory, bundle.manifest, threads=bundle.threads)
        metrics, disagreement = measure_bundle(watched, self.radiographs, progress=self.progress)
        limit = PARITY_LIMITS_MONTHS[self.options.weight_bits]
        self.parity_months = _largest_parity(self.trained, bundle, self.radiographs, limit)
        members = tuple(replace(member, embedding_stats=watched.embedding_stats(member)) for member in bundle.members)
        metrics |= {"weights": self.options.weights}
        return replace(bundle.manifest, metrics=metrics, members=members, disagreement=disagreement)


class _Watched(Bundle):
    """A bundle that remembers the embeddings of all that it was asked about."""

    def __init__(self, directory: Path, manifest: Manifest, *, threads: int) -> None:
        super().__init__(directory, manifest, threads=threads)
        self._embeddings: dict[str, list[NDArray[np.float32]]] = {member.name: [] for member in manifest.members}

    def run_batch(
        self, member: Member, views: NDArray[np.float32], sexes: Sequence[Sex], *, plain: bool = False
    ) -> list[MemberOutput]:
        """As of any bundle."""
        outputs = super().run_batch(member, views, sexes, plain=plain)
        self._embeddings[member.name] += [output.embedding for output in outputs]
        return outputs

    def embedding_stats(self, member: Member) -> EmbeddingStats | None:
        """What is familiar to a member after what it was asked; None after too little."""
        embeddings = self._embeddings[member.name]
        return EmbeddingStats.of(np.stack(embeddings)) if len(embeddings) >= EMBEDDING_STATS_RADIOGRAPHS else None


def measure_bundle(
    bundle: Bundle, radiographs: Sequence[LabelledRadiograph], *, progress: Progress = iter
) -> tuple[dict[str, Any], Disagreement | None]:
    """Measure a bundle on validation radiographs, and fit how its error there grows with its regions' disagreement.

    Radiographs that are rejected are left out and named in the log. Figures that the radiographs do not give are left
    out too: the concordance without any variation, and those by sex where one sex is missing.

    Returns:
        The figures, with the keys of `boneage.bundle.manifest.Metrics`, and
        `boneage.bundle.calibration.Disagreement`; that is None of a bundle of one region, and on fewer than
        `DISAGREEMENT_RADIOGRAPHS`. The coverage is that of intervals widened by a scale that was fitted to other
        radiographs (five folds).

    Raises:
        TableError: ``table_empty`` if no radiograph is left.
        BundleError: the bundle failed.
    """
    plain = Bundle(bundle.directory, replace(bundle.manifest, disagreement=None), threads=bundle.threads)
    plain = bundle if bundle.manifest.disagreement is None else plain
    answers = list(_answers(plain, progress(radiographs)))
    if not answers:
        raise TableError("table_empty", "None of the validation radiographs can be read.")
    labels = np.array([radiograph.boneage_months for radiograph, _ in answers])
    months = np.array([assessment.age_months for _, assessment in answers])
    figures: dict[str, Any] = {
        "mad_months": round(float(mean_absolute_difference(labels, months)), 3),
        "rmse_months": round(float(root_mean_square_error(labels, months)), 3),
        "split": "validation",
        "radiographs": len(answers),
    }
    widths = _half_widths(bundle.manifest, answers, figures["rmse_months"])
    errors = np.abs(months - labels) / widths
    spreads = np.array([region_spread(one.region_ages_months) or 0.0 for _, one in answers])
    disagreement, widenings = None, np.ones(len(answers))
    if spreads.any() and len(spreads) >= DISAGREEMENT_RADIOGRAPHS:
        disagreement, widenings = fit_disagreement(spreads, errors), _widenings_out_of_fold(spreads, errors)
        figures["region_spread_months"] = round(float(np.percentile(spreads, REGION_SPREAD_PERCENTILE)), 2)
    figures["interval_coverage"] = round(float(np.mean(errors <= widenings)), 3)
    agreement = float(concordance(labels, months))
    if math.isfinite(agreement):
        figures["ccc"] = round(agreement, 4)
    by_sex = _mad_by_sex([radiograph.sex for radiograph, _ in answers], labels, months)
    if len(by_sex) == len(Sex):
        figures["mad_months_by_sex"] = by_sex
    return figures, disagreement


def _half_widths(
    manifest: Manifest, answers: Sequence[tuple[LabelledRadiograph, Assessment]], rmse_months: float
) -> NDArray[np.float64]:
    """Half of each 95 % interval, months, before disagreement widens it.

    That is the calibration's, or the one that follows from the error that was measured just now.
    """
    calibration = manifest.calibration
    if calibration is None:
        widths = np.full(len(answers), Z_95 * rmse_months)
    else:
        bands = [calibration.by_sex[radiograph.sex].band(one.age_months) for radiograph, one in answers]
        widths = np.array([band.half_width_95_months for band in bands])
    return np.asarray(np.maximum(widths, 1e-6))  # of estimates without any error


def _widenings_out_of_fold(spreads: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much wider each radiograph's interval is by a scale that the other folds gave."""
    fold = np.arange(len(spreads)) % _FOLDS
    widenings = np.ones(len(spreads))
    for held in range(_FOLDS):
        others = fold != held
        if np.count_nonzero(others) >= DISAGREEMENT_RADIOGRAPHS:
            fitted = fit_disagreement(spreads[others], errors[others])
            widenings[~others] = [fitted.widening(spread) for spread in spreads[~others]]
    return widenings


def _load_runs(runs: Sequence[Path], weights: str) -> list[_Trained]:
    names = [run.resolve().name.lower() for run in runs]
    if not all(NAME.fullmatch(name) for name in names) or len(set(names)) != len(names):
        raise RecipeError(
            "recipe_invalid",
            f"Members are named after their runs' folders, which need different names of letters and digits: {names}.",
        )
    return [_Trained(name, *load_run(run, weights)[:3]) for name, run in zip(names, runs, strict=True)]


def _load_hand_runs(runs: HandRuns, weights: str) -> TrainedHandNetworks:
    """The networks of three runs, of the tasks and views that they must have."""
    wanted = {"mask": ("mask", "radiograph"), "locate": ("points", "radiograph"), "refine": ("points", "surroundings")}
    networks: dict[str, TrainedHandNetwork] = {}
    for name, (task, region) in wanted.items():
        recipe, network, _ = load_hand_run(getattr(runs, name), weights)
        view = recipe.view
        if (recipe.task, view.region, view.grey) != (task, region, "percentile"):
            raise RecipeError(
                "recipe_invalid",
                f"{getattr(runs, name)} cannot be the hand network {name}: that is of the task {task}, on the "
                f"view {region}"
                " with the grey rule percentile.",
            )
        networks[name] = TrainedHandNetwork(network, view.height, view.width)
    return TrainedHandNetworks(networks["mask"], networks["locate"], networks["refine"])


def reject_other_hands(runs: Sequence[Path], hand: Bundle) -> None:
    """Reject runs whose radiographs were registered by other networks, or by another version of what uses them.

    Networks whose weights were re-encoded in 8 bits count as those that they were made from: the points move by less
    than the smallest change in training.

    Raises:
        RecipeError: ``recipe_changed``.
    """
    known = found_by(hand)
    origins = {graph.sha256: encoded_from(hand.directory / graph.graph) or graph.sha256
               for graph in hand.hand_networks().graphs.by_name().values()}  # fmt: skip
    accepted = [known, [origins.get(each, each) for each in known]]
    others = [run for run in runs if run_facts(run).get("hands", known) not in accepted]
    if others:
        raise RecipeError(
            "recipe_changed",
            f"{others[0]} was trained on hands that other networks found than those of {hand.manifest.name}: "
            f"train it anew"
            " with them, or take the bundle that it was trained with.",
        )


def _hand_recipes(hand: Bundle | HandRuns | None) -> dict[str, Any]:
    """The hand networks' recipes, for the manifest."""
    names = {name: f"hand network {name}" for name in ("mask", "locate", "refine")}
    if isinstance(hand, HandRuns):
        return {title: run_facts(getattr(hand, name))["recipe"] for name, title in names.items()}
    said = {} if hand is None else hand.manifest.recipe
    return {title: said[title] for title in (*names.values(), _QUALITY_TITLE) if title in said}


def _quality_recipe(quality: Path | None) -> dict[str, Any]:
    """The quality network's recipe, for the manifest."""
    return {} if quality is None else {_QUALITY_TITLE: run_facts(quality)["recipe"]}


def _load_quality_run(run: Path, weights: str) -> TrainedQualityNetwork:
    """The network of a run for the task ``quality``, with the limits that its last validation set.

    Raises:
        RecipeError: ``recipe_invalid`` if it is a run for another task, or was not validated.
    """
    recipe, network, state = load_hand_run(run, weights)
    if recipe.task != "quality" or not state.history:
        raise RecipeError("recipe_invalid", f"{run} holds a run for the task {recipe.task}, not for quality.")
    figures = state.history[-1]
    limits = {
        label: QualityLimit(figures[f"{label}_caution"], figures.get(f"{label}_critical")) for label in QUALITY_LABELS
    }
    return TrainedQualityNetwork(network, recipe.view.height, recipe.view.width, limits)


def renew(
    bundle: Bundle,
    directory: Path,
    *,
    version: str,
    quality: Path | None = None,
    radiographs: Sequence[LabelledRadiograph] = (),
    weight_bits: WeightBits = 16,
    overwrite: bool = False,
    progress: Progress = iter,
) -> Bundle:
    """Make a new version of a bundle with its networks as they are: measured anew, with a quality network, or both.

    Args:
        bundle: to renew.
        directory: of the new bundle.
        version: of the new bundle.
        quality: folder of a run for the task ``quality``; without one the bundle keeps the network that it has.
        radiographs: those of the split ``validation`` measure it, from which none of its networks for ages may have
            learnt. Without radiographs it keeps its figures, which a quality network does not change.
        weight_bits: of the quality network.
        overwrite: put it in the place of a bundle that is there.
        progress: wraps the radiographs while they are assessed.

    Raises:
        TableError: ``table_split`` if no radiograph is of the split ``validation``; ``table_empty`` if none can be
            read.
        RecipeError: ``recipe_invalid`` if `quality` is no such run.
        BundleError: as `boneage.train.bundle.export.write_bundle`.
    """
    judge = None if quality is None else _load_quality_run(quality, "last")
    validation = radiographs_of_split(radiographs, "validation") if radiographs else []
    manifest = replace(
        bundle.manifest,
        version=version,
        created=datetime.now(UTC).date().isoformat(),
        recipe={**bundle.manifest.recipe, **without_folders(_quality_recipe(quality))},
        format=FORMAT,
    )

    def finish(renewed: Bundle) -> Manifest:
        metrics, disagreement = measure_bundle(renewed, validation, progress=progress)
        kept = {key: value for key, value in bundle.manifest.metrics.items() if key == "weights"}
        return replace(renewed.manifest, metrics=metrics | kept, disagreement=disagreement)

    return rewrite_bundle(
        bundle,
        manifest,
        directory,
        quality=judge,
        weight_bits=weight_bits,
        overwrite=overwrite,
        finish=finish if validation else None,
    )


def _common_validation(
    runs: Sequence[Path], trained: Sequence[_Trained], radiographs: Sequence[LabelledRadiograph]
) -> set[str]:
    """Radiographs that validate every run that serves their sex: networks of one sex hold radiographs of that sex
    only.
    """
    facts = [run_facts(run) for run in runs]
    held = [_held(said, one.recipe, radiographs) for said, one in zip(facts, trained, strict=True)]
    common: set[str] = set()
    for sex in Sex:
        serving = [kept for kept, one in zip(held, trained, strict=True) if sex in one.sexes]
        kept = set.intersection(*serving) if serving else set()
        # Early runs kept no labels, and were for both sexes.
        labels = [said.get("labels", {}) for said in facts]
        common |= {
            radiograph
            for radiograph in kept
            if all(known.get(radiograph, (0, sex.value))[1] == sex.value for known in labels)
        }
    return common


def _held(facts: Mapping[str, Any], recipe: Recipe, radiographs: Sequence[LabelledRadiograph]) -> set[str]:
    """What validates a run, or would without its folds: the part that these hold out trains the other folds'
    networks.
    """
    if not recipe.data.folds:
        return set(facts["validation"])
    aside = {radiograph.id for radiograph in set_aside(recipe, radiographs)} if radiographs else set()
    return aside.difference(facts["train"], facts["validation"])


def _reject_other_labels(run: Path, radiographs: Sequence[LabelledRadiograph]) -> None:
    """Radiographs are matched by their ids: reject those that are not what the run learnt under the same ids."""
    learnt = run_facts(run).get("labels", {})  # early runs did not keep them
    differing = [id_ for id_, label in radiograph_labels(radiographs).items() if learnt.get(id_, label) != label]
    if differing:
        raise RecipeError(
            "recipe_changed",
            f"{len(differing)} of the radiographs have another bone age or sex than {run} was trained with,"
            f" {', '.join(differing[:3])} among them.",
        )


def _chosen(radiographs: Sequence[LabelledRadiograph], common: Collection[str]) -> list[LabelledRadiograph]:
    chosen = [radiograph for radiograph in radiographs if radiograph.id in common]
    if not chosen:
        raise TableError("table_empty", "None of these radiographs was kept for validation by all runs.")
    if len(chosen) < len(common):
        log.warning(
            "only %d of the %d radiographs that the runs kept for validation were given", len(chosen), len(common)
        )
    return chosen


def _answers(
    bundle: Bundle, radiographs: Iterable[LabelledRadiograph]
) -> Iterator[tuple[LabelledRadiograph, Assessment]]:
    """The radiographs that can be read, each as a user would get it assessed."""
    for radiograph in radiographs:
        try:
            yield radiograph, assess(radiograph.image, radiograph.sex, bundle)
        except Rejection as rejection:
            log.warning("the radiograph %s is left out of the figures: %s", radiograph.id, rejection)


def _mad_by_sex(sexes: Sequence[Sex], labels: NDArray[np.float64], months: NDArray[np.float64]) -> Mapping[str, float]:
    by_sex = {sex: np.array([one == sex for one in sexes]) for sex in Sex if sex in sexes}
    return {
        sex.value: round(float(mean_absolute_difference(labels[chosen], months[chosen])), 3)
        for sex, chosen in by_sex.items()
    }


def _largest_parity(
    trained: Sequence[_Trained], bundle: Bundle, radiographs: Sequence[LabelledRadiograph], limit_months: float
) -> float:
    views = _views(radiographs, {one.recipe.view for one in trained}, bundle)
    largest = max(parity(one.network, bundle, views[one.recipe.view], member=one.name) for one in trained)
    if not largest <= limit_months:
        raise BundleError(
            "bundle_output",
            f"The graphs answer otherwise than the networks: by {largest:.3f} months, more than {limit_months:g}.",
        )
    return largest


def _views(
    radiographs: Sequence[LabelledRadiograph], specs: Iterable[ViewSpec], bundle: Bundle
) -> dict[ViewSpec, NDArray[np.float32]]:
    """Views (N, h, w) of the first radiographs that can be read, and whose hand is found; each radiograph is read
    once.
    """
    cut: dict[ViewSpec, list[NDArray[np.float32]]] = {spec: [] for spec in specs}
    for radiograph in islice(_cut_each(radiographs, cut, bundle), PARITY_RADIOGRAPHS):
        for spec, view in radiograph.items():
            cut[spec].append(view)
    return {spec: np.stack(views) for spec, views in cut.items()}


def _cut_each(
    radiographs: Iterable[LabelledRadiograph], specs: Iterable[ViewSpec], bundle: Bundle
) -> Iterator[dict[ViewSpec, NDArray[np.float32]]]:
    for radiograph in radiographs:
        try:
            pixels = read_radiograph(radiograph.image).pixels
            hand = bundle.find_hand(pixels) if bundle.finds_hands else None
            yield {spec: cut_view(pixels, spec, hand=hand) for spec in specs}
        except Rejection:
            continue  # told when the bundle was measured
