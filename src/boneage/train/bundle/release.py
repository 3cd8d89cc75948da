"""Release of trained runs as a bundle: export of the networks, figures, and comparison of graphs and networks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import Calibration
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.manifest import FORMAT, Manifest, Member
from boneage.bundle.member_output import MemberOutput
from boneage.errors import BundleError, RecipeError, Rejection, TableError
from boneage.hand.member_views import cut_member_view
from boneage.hand.views import ViewSpec
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split
from boneage.train.bundle.export import parity
from boneage.train.bundle.integers import RANGE_RADIOGRAPHS, Feed, feeds_of
from boneage.train.bundle.measure import measure_bundle
from boneage.train.bundle.runs import (
    HandRuns,
    TrainedRun,
    hand_recipes,
    joint_recipe,
    load_hand_runs,
    load_located_run,
    load_quality_run,
    load_runs,
    outline_recipe,
    quality_recipe,
    reject_other_hands,
)
from boneage.train.bundle.weight_bits import WeightBits
from boneage.train.bundle.write import (
    NetworkMember,
    rewrite_bundle,
    write_bundle,
)
from boneage.train.data.cache import Progress
from boneage.train.recipe import Recipe, without_folders
from boneage.train.run.age_tasks import radiograph_labels
from boneage.train.run.predict import set_aside
from boneage.train.run.run_folder import read_run_record

PARITY_RADIOGRAPHS = 200
"""Number of radiographs on which torch and ONNX Runtime are compared."""

PARITY_LIMITS_MONTHS: Mapping[WeightBits, float] = MappingProxyType({8: 1.0, 16: 0.05})
"""Largest accepted difference between a network and its graph, by the bits of the weights.

A larger difference shows that the bits, or the exporter, cost more than they should.
"""

EMBEDDING_STATS_RADIOGRAPHS = 100
"""Smallest number of validation radiographs with which a member has embedding statistics.

The statistics are extreme percentiles, which fewer radiographs do not determine.
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleaseOptions:
    """Options of a release, most of which become part of the manifest.

    Attributes:
        name, version, title: see `boneage.bundle.manifest.Manifest`; the default title is that of the first run's
            recipe.
        weights: ``last`` epoch, which is independent of the validation radiographs, or ``best`` by validation MAD.
        data, licence: description of the training data, and licence of the weights.
        weight_bits: bits of the weights, also of hand networks that a bundle provides. With 8 bits, files have half the
            size and estimates of a network change by up to some tenths of a month.
        member_weights: weights in the mean, by the names of the runs' folders in lower case; 1 for other runs.
        calibration: calibration of the bundle, fitted to out-of-fold estimates. The figures are then those of corrected
            ages.
        repeat_sd_months: standard deviation of repeated readings of one hand; None if it was not measured.
        mirror: True to compute the mirror image of each view of a whole radiograph too. Views of a registered hand have
            the thumb on the right, and networks for them were not trained on mirror images.
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
    repeat_sd_months: float | None = None


@dataclass(frozen=True)
class ReleaseResult:
    """Outcome of a release.

    Attributes:
        bundle: bundle, opened at its destination.
        parity_months: largest difference between its graphs and the networks on radiographs; None without radiographs.
        validation_radiographs: number of radiographs that all runs used for validation, provided or not.
    """

    bundle: Bundle
    parity_months: float | None
    validation_radiographs: int


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
) -> ReleaseResult:
    """Make a bundle of trained runs, with one member for each, named after the run's folder.

    Args:
        runs: folders of `boneage.train.run.loop.train` for the task ``age``; none for a bundle that only locates hands.
        directory: folder of the bundle, which appears there complete, with its figures.
        options: options of the release.
        hand: hand networks, or a bundle whose networks are taken over. Views of a registered hand need the bundle with
            which they were trained. A bundle's networks for quality and outlines are taken over too.
        quality: folder of a run for the task ``quality``, whose network replaces that of the bundle.
        radiographs: radiographs on which the runs were trained. Those that all runs use for validation, or that folds
            set aside, determine the bundle's figures and embedding statistics. Without radiographs it has neither.
        overwrite: True to replace an existing bundle.
        progress: wraps the radiographs while they are assessed.

    Raises:
        RecipeError: ``recipe_changed`` if a run was trained on hands located by other networks, or a radiograph has
            another label or sex than in a run. ``recipe_invalid`` if a run is missing, or the names of the runs'
            folders cannot be those of members.
        TableError: ``table_empty`` if the runs have no validation radiograph in common among `radiographs`, or none of
            them can be read.
        BundleError: ``bundle_output`` if a graph differs from its network; see also
            `boneage.train.bundle.write.write_bundle`.
    """
    trained = load_runs(runs, options.weights)
    networks = load_hand_runs(hand, options.weights) if isinstance(hand, HandRuns) else hand
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
        title=options.title or (trained[0].recipe.title if trained else "Hand networks"),
        created=datetime.now(UTC).date().isoformat(),
        recipe=without_folders(
            {one.name: one.recipe.to_dict() for one in trained} | hand_recipes(hand) | quality_recipe(quality)
        ),
        data=options.data,
        licence=options.licence,
        calibration=options.calibration,
        repeat_sd_months=options.repeat_sd_months,
    )
    members = [_member(one, options.member_weights.get(one.name, 1.0), mirror=options.mirror) for one in trained]
    bits = options.weight_bits
    judge = None if quality is None else load_quality_run(quality, options.weights)
    bundle = write_bundle(
        members, facts, directory, hand=networks, quality=judge, weight_bits=bits, overwrite=overwrite, finish=finish
    )
    return ReleaseResult(bundle, finish.parity_months if finish else None, len(common))


class _Finish:
    """Final step of a new bundle: its figures, and the comparison of its graphs with the networks."""

    def __init__(
        self,
        trained: Sequence[TrainedRun],
        radiographs: Sequence[LabelledRadiograph],
        options: ReleaseOptions,
        progress: Progress,
    ) -> None:
        self.trained, self.radiographs, self.options, self.progress = trained, radiographs, options, progress
        self.parity_months = 0.0

    def __call__(self, bundle: Bundle) -> Manifest:
        """Return the manifest with figures and embedding statistics."""
        watched = _Watched(bundle.directory, bundle.manifest, threads=bundle.threads)
        measured = measure_bundle(watched, self.radiographs, progress=self.progress)
        limit = PARITY_LIMITS_MONTHS[self.options.weight_bits]
        self.parity_months = largest_parity(self.trained, bundle, self.radiographs, limit)
        members = tuple(replace(member, embedding_stats=watched.embedding_stats(member)) for member in bundle.members)
        return measured.into(replace(bundle.manifest, members=members), weights=self.options.weights)


class _Watched(Bundle):
    """Bundle that collects the embeddings of everything that it computes."""

    def __init__(self, directory: Path, manifest: Manifest, *, threads: int) -> None:
        super().__init__(directory, manifest, threads=threads)
        self._embeddings: dict[str, list[NDArray[np.float32]]] = {member.name: [] for member in manifest.members}

    def run_batch(
        self, member: Member, views: NDArray[np.float32], sexes: Sequence[Sex], *, plain: bool = False
    ) -> list[MemberOutput]:
        """Run a batch like any bundle, and collect the embeddings."""
        outputs = super().run_batch(member, views, sexes, plain=plain)
        self._embeddings[member.name] += [output.embedding for output in outputs]
        return outputs

    def embedding_stats(self, member: Member) -> EmbeddingStats | None:
        """Return a member's embedding statistics; None if it has computed too little."""
        embeddings = self._embeddings[member.name]
        return EmbeddingStats.of(np.stack(embeddings)) if len(embeddings) >= EMBEDDING_STATS_RADIOGRAPHS else None


def renew(
    bundle: Bundle,
    directory: Path,
    *,
    version: str,
    title: str = "",
    repeat_sd_months: float | None = None,
    calibration: Calibration | None = None,
    runs: Sequence[Path] = (),
    weights: Mapping[str, float] = MappingProxyType({}),
    joints: Path | None = None,
    outlines: Path | None = None,
    quality: Path | None = None,
    radiographs: Sequence[LabelledRadiograph] = (),
    integers: bool = False,
    weight_bits: WeightBits = 16,
    overwrite: bool = False,
    progress: Progress = iter,
) -> Bundle:
    """Make a new version of a bundle with the same networks for ages: measured again, or with further networks.

    Args:
        bundle: bundle to renew.
        directory: folder of the new bundle.
        version: version of the new bundle.
        title: title of the new bundle; by default the bundle's own.
        repeat_sd_months: standard deviation of repeated readings, above 0; by default the bundle's own.
        calibration: calibration of the new bundle; by default the bundle's own, which does not fit one with further
            networks for ages.
        runs: folders of runs whose networks for ages the new bundle has, too. They replace the networks of these names.
        weights: weights in the mean by the members' names; others keep theirs. Those of `runs` have the weight of the
            network that they replace, or 1.
        joints: folder of a run for the task ``joints``; the default is the bundle's own network.
        outlines: folder of a run for the task ``outlines``; the default is the bundle's own network.
        quality: folder of a run for the task ``quality``; the default is the bundle's own network.
        radiographs: radiographs whose split ``validation`` measures the bundle; none of its networks for ages may have
            been trained on it. Without radiographs the bundle keeps its figures, which networks for joints, outlines
            and quality do not change.
        integers: True for networks that compute with integers (`boneage.train.bundle.integers`), except for those of
            `runs`, `joints`, `outlines` and `quality`. Ranges are measured on some radiographs of the split ``train``.
        weight_bits: bits of the weights of the new networks.
        overwrite: True to replace an existing bundle.
        progress: wraps the radiographs while they are assessed.

    Raises:
        TableError: ``table_split`` if no radiograph has the split ``validation``, or ``train`` for `integers`;
            ``table_empty`` if none can be read.
        RecipeError: ``recipe_invalid`` if `joints`, `outlines` or `quality` is no such run; ``recipe_changed`` if one
            of `runs` was trained on hands located by other networks.
        BundleError: see `boneage.train.bundle.write.write_bundle`.
    """
    trained = load_runs(runs, "last")
    if runs and bundle.finds_hands:
        reject_other_hands(runs, bundle)
    located = None if joints is None else load_located_run(joints, "joints", "last")
    outlining = None if outlines is None else load_located_run(outlines, "outlines", "last")
    judge = None if quality is None else load_quality_run(quality, "last")
    validation = radiographs_of_split(radiographs, "validation") if radiographs else []
    recipes = {one.name: one.recipe.to_dict() for one in trained}
    recipes |= joint_recipe(joints) | outline_recipe(outlines) | quality_recipe(quality)
    feeds = _feeds_for_ranges(bundle, radiographs) if integers else {}
    manifest = replace(
        bundle.manifest,
        version=version,
        title=title or bundle.manifest.title,
        created=datetime.now(UTC).date().isoformat(),
        repeat_sd_months=repeat_sd_months or bundle.manifest.repeat_sd_months,
        calibration=calibration or bundle.manifest.calibration,
        members=tuple(
            replace(one, weight=weights.get(one.name, one.weight))
            for one in bundle.manifest.members
            if one.name not in {run.name for run in trained}
        ),
        recipe={**bundle.manifest.recipe, **without_folders(recipes)},
        format=FORMAT,
    )

    kept: Mapping[str, float] = {one.name: one.weight for one in bundle.members}

    def finish(renewed: Bundle) -> Manifest:
        figures = {key: value for key, value in bundle.manifest.metrics.items() if key == "weights"}
        # Without the limits that are yet to be measured, the bundle itself is measured, and collects its embeddings.
        plain = replace(renewed.manifest, curve=None, disagreement=None, bone_powers={})
        watched = _Watched(renewed.directory, plain, threads=renewed.threads)
        measured = measure_bundle(watched, validation, progress=progress)
        names = {one.name for one in trained} | {one.name for one in bundle.members if one.graph in feeds}
        members = tuple(
            replace(member, embedding_stats=watched.embedding_stats(member)) if member.name in names else member
            for member in renewed.members
        )
        return measured.into(replace(renewed.manifest, members=members), **figures)

    return rewrite_bundle(
        bundle,
        manifest,
        directory,
        members=[_member(one, weights.get(one.name, kept.get(one.name, 1.0))) for one in trained],
        joints=located,
        outlines=outlining,
        quality=judge,
        feeds=feeds,
        weight_bits=weight_bits,
        overwrite=overwrite,
        finish=finish if validation else None,
    )


def _feeds_for_ranges(bundle: Bundle, radiographs: Sequence[LabelledRadiograph]) -> dict[str, list[Feed]]:
    """Return what a bundle's networks read on some training radiographs, by the file names of their graphs.

    The radiographs are spread evenly over the bone ages. Of a random choice, hardly any are of infants, whose networks'
    values then leave the ranges: one estimate in a hundred moved by 9 months.
    """
    training = sorted(radiographs_of_split(radiographs, "train"), key=lambda one: (one.boneage_months, one.id))
    months = np.array([one.boneage_months for one in training])
    places = np.unique(np.searchsorted(months, np.linspace(months[0], months[-1], RANGE_RADIOGRAPHS)))
    return feeds_of(bundle, (read_radiograph(training[place].image).pixels for place in places))


def _member(trained: TrainedRun, weight: float, *, mirror: bool = False) -> NetworkMember:
    """Return the member that a run becomes."""
    return NetworkMember(
        name=trained.name,
        network=trained.network,
        view=trained.recipe.view,
        age_mean_months=trained.unit.mean_months,
        age_spread_months=trained.unit.spread_months,
        mirror=mirror and trained.recipe.view.region == "radiograph",
        sexes=trained.sexes,
        weight=weight,
        robust=trained.recipe.augment.lost_detail > 0,
    )


def _common_validation(
    runs: Sequence[Path], trained: Sequence[TrainedRun], radiographs: Sequence[LabelledRadiograph]
) -> set[str]:
    """Return the ids of the radiographs that validate every run for their sex."""
    records = [read_run_record(run) for run in runs]
    held = [_held(record, one.recipe, radiographs) for record, one in zip(records, trained, strict=True)]
    common: set[str] = set()
    for sex in Sex:
        serving = [kept for kept, one in zip(held, trained, strict=True) if sex in one.sexes]
        kept = set.intersection(*serving) if serving else set()
        labels = [record["labels"] for record in records]
        common |= {
            radiograph
            for radiograph in kept
            if all(of_run.get(radiograph, (0, sex.value))[1] == sex.value for of_run in labels)
        }
    return common


def _held(facts: Mapping[str, Any], recipe: Recipe, radiographs: Sequence[LabelledRadiograph]) -> set[str]:
    """Return the ids of the radiographs that validate a run, or would validate it without its folds.

    The radiographs that a fold holds out train the networks of the other folds.
    """
    if not recipe.data.folds:
        return set(facts["validation"])
    aside = {radiograph.id for radiograph in set_aside(recipe, radiographs)} if radiographs else set()
    return aside.difference(facts["train"], facts["validation"])


def _reject_other_labels(run: Path, radiographs: Sequence[LabelledRadiograph]) -> None:
    """Reject radiographs whose label or sex differs from that of the run's radiograph with the same id.

    Raises:
        RecipeError: ``recipe_changed``.
    """
    trained = read_run_record(run)["labels"]
    differing = [id_ for id_, label in radiograph_labels(radiographs).items() if trained.get(id_, label) != label]
    if differing:
        raise RecipeError(
            "recipe_changed",
            f"{len(differing)} radiographs, such as {', '.join(differing[:3])}, have another bone age or sex than in"
            f" {run}. Provide the table of the training.",
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


def largest_parity(
    trained: Sequence[TrainedRun], bundle: Bundle, radiographs: Sequence[LabelledRadiograph], limit_months: float
) -> float:
    """Return the largest difference between graphs and networks on the first radiographs, months.

    Raises:
        BundleError: ``bundle_output`` if it exceeds the limit.
    """
    views = _views(radiographs, {one.recipe.view for one in trained}, bundle)
    largest = max(parity(one.network, bundle, views[one.recipe.view], member=one.name) for one in trained)
    if not largest <= limit_months:
        raise BundleError(
            "bundle_output",
            f"The graphs differ from the networks by {largest:.3f} months, which is more than {limit_months:g}.",
        )
    return largest


def _views(
    radiographs: Sequence[LabelledRadiograph], specs: Iterable[ViewSpec], bundle: Bundle
) -> dict[ViewSpec, NDArray[np.float32]]:
    """Return views (N, h, w) of the first radiographs that can be read and show a hand.

    Each radiograph is read once.
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
            yield {spec: cut_member_view(pixels, spec, hand=hand) for spec in specs}
        except Rejection:
            continue  # the log has listed it when the bundle was measured
