"""A bundle adapted to radiographs of one's own: another population, another atlas, other apparatus.

Three ways are compared by cross-validation on the radiographs that may be learnt from, and the best is taken: the
bundle's networks as they are; their answers through one straight line for each network, which needs few radiographs;
and networks that learn on, from that line, for some epochs. What the way chosen says out of fold also calibrates the
new bundle (`boneage.bundle.calibration`). Other radiographs are held out from all of this, and tell whether it helped.

Networks come back from their graphs (`boneage.train.bundle.from_bundle`), and are trained by `boneage.train.run.loop`:
each is a run, with its record, which goes on where it was if it is killed.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from boneage.arrays import Months
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import SLOPES, Calibration, calibrate
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.estimate import combine
from boneage.bundle.manifest import Manifest, Member
from boneage.bundle.member_output import MemberOutput
from boneage.errors import BundleError, Rejection, TableError
from boneage.evaluate.metrics import Figure, mean_absolute_difference, measure
from boneage.evaluate.predictions import Predictions, write_predictions
from boneage.files import atomic_write
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split
from boneage.train.bundle.export import NetworkMember, parity, reject_taken, write_bundle
from boneage.train.bundle.from_bundle import PARITY_LIMIT_MONTHS, member_recipe, restore_network
from boneage.train.bundle.release import EMBEDDING_STATS_RADIOGRAPHS, PARITY_RADIOGRAPHS, measure_bundle
from boneage.train.data.cache import Progress, RadiographCache, build_cache
from boneage.train.data.epochs import training_batches, validation_batches
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.networks import AgeNetwork
from boneage.train.recipe import Recipe
from boneage.train.run.loop import Engine, load_run, train
from boneage.train.run.tasks import AgeTask, AgeUnit, choose_radiographs, predict

Way = Literal["unchanged", "line", "networks"]
"""``unchanged`` networks, their answers through a ``line``, or ``networks`` that have learnt on."""

FEWEST_RADIOGRAPHS = 12
"""To learn from; fewer are rejected."""

FEWEST_TO_CALIBRATE = 100
"""With fewer radiographs to learn from, the new bundle has no calibration: the intervals are those of its held-out
radiographs."""

_AVERAGE_DECAY = 0.99
_WARM_UP = 0.1
_BATCH = 32
_WATCHED = 100
"""Of the radiographs held out, so many are looked at after each epoch: enough for a curve, from which nothing is
chosen."""


_ONE_DEVICE = Engine(devices=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningOptions:
    """How a bundle is adapted.

    Attributes:
        epochs: of the networks that learn on.
        learning_rate: their highest: a one-cycle's, of AdamW.
        seed: of the radiographs held out, the folds, order and augmentation.
        folds: of the cross-validation that chooses between the ways; 0 to let the networks learn on without asking,
            which takes 1 / folds of the time and leaves the bundle without a calibration.
        held_out_share: of the radiographs, above 0 and below 1, drawn by sex, where the table has no column ``split``.
        name: of the new bundle; its own with ``-tuned`` if empty.
        data: what the radiographs are, for the manifest.
        licence: of the new weights; the old bundle's if empty.
    """

    epochs: int = 8
    learning_rate: float = 1e-4
    seed: int = 0
    folds: int = 3
    held_out_share: float = 0.2
    name: str = ""
    data: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Tuned:
    """A bundle that was adapted.

    Attributes:
        bundle: where it lies.
        way: that was taken.
        out_of_fold: MAD, months, on the radiographs learnt from, each by networks that did not learn from it; by way.
            Empty without folds.
        training_radiographs, held_out_radiographs: how many.
        before, after: MAD on the radiographs held out, months.
        difference: after less before, with the 95 % interval of a bootstrap over radiographs: below 0 if it helped.
        rejected: radiographs that could not be read, or show no hand, by id, with the code.
    """

    bundle: Bundle
    way: Way
    out_of_fold: Mapping[Way, float]
    training_radiographs: int
    held_out_radiographs: int
    before: float
    after: float
    difference: Figure
    rejected: Mapping[str, str]

    @property
    def helped(self) -> bool:
        """Whether the radiographs held out leave no doubt of it."""
        return self.difference.high < 0


def finetune(
    bundle: Bundle,
    radiographs: Sequence[LabelledRadiograph],
    directory: Path,
    options: TuningOptions = TuningOptions(),
    *,
    cache_folder: Path | None = None,
    engine: Engine = _ONE_DEVICE,
    overwrite: bool = False,
    quiet: bool = False,
    progress: Progress = iter,
) -> Tuned:
    """Adapt a bundle to labelled radiographs, and write it anew.

    Args:
        bundle: whose manifest holds its members' recipes.
        radiographs: some hundreds. If the table has a column ``split``, those of ``train`` are learnt from and those of
            ``validation`` held out; else a share is drawn.
        directory: of the new bundle, which appears there whole. Runs lie beside it, in ``<directory>.runs``, and go on
            from there if this is called again; so does the table ``held-out.csv`` of what both bundles say.
        options: how.
        cache_folder: of decoded radiographs; ``cache`` among the runs if not given.
        engine: where runs compute.
        overwrite: put it in the place of a bundle that is there.
        quiet: no progress bars of training.
        progress: wraps radiographs while the new bundle is measured.

    Raises:
        BundleError: ``bundle_exists`` if there is something at `directory`; ``bundle_mismatch`` or ``bundle_output`` if
            a member cannot be brought back from its graph (`boneage.train.bundle.from_bundle`).
        TableError: ``table_split`` if there are too few radiographs to learn from, or none held out; see also
            `boneage.train.data.cache.build_cache`.
        RecipeError: as `boneage.train.run.loop.train`; ``recipe_changed`` if the runs there are of other radiographs or
        options. KeyboardInterrupt: as there.
    """
    reject_taken(directory, overwrite=overwrite)
    runs = directory.with_name(f"{directory.name}.runs")
    reader = _Reader.open(bundle, _split(radiographs, options), cache_folder or runs / "cache", progress)
    tuning = _Tuning(bundle, reader, options, partial(_trained, reader, runs, engine, quiet))
    out_of_fold = tuning.out_of_fold() if options.folds else {}
    labels = _labels(reader.training)
    scores = {way: float(mean_absolute_difference(labels, ages)) for way, ages in out_of_fold.items()}
    way: Way = min(scores, key=lambda one: scores[one]) if scores else "networks"
    calibration = None
    if scores and len(labels) >= FEWEST_TO_CALIBRATE:
        calibration = calibrate([radiograph.sex for radiograph in reader.training], labels, out_of_fold[way])
    members = tuning.members(way)
    before = reader.estimates(bundle, reader.held_out)
    finish = _Finish(reader, members, before, calibration, progress)
    facts = _facts(bundle, tuning, options, way)
    made = write_bundle(
        members, facts, directory, hand=bundle if bundle.finds_hands else None, overwrite=overwrite, finish=finish
    )
    write_predictions(runs / "held-out.csv", _table(reader.held_out, before, finish.after))
    held = _labels(reader.held_out)
    return Tuned(
        bundle=made,
        way=way,
        out_of_fold=scores,
        training_radiographs=len(reader.training),
        held_out_radiographs=len(held),
        before=float(mean_absolute_difference(held, before)),
        after=float(mean_absolute_difference(held, finish.after)),
        difference=paired_difference(held, before, finish.after),
        rejected=reader.rejected,
    )


def paired_difference(labels: Months, before: Months, after: Months) -> Figure:
    """By how much the mean absolute difference has changed, months, with the interval of a bootstrap over radiographs.

    Args:
        labels: (N,) months.
        before: (N,), the radiographs' ages by one bundle.
        after: (N,), by another.
    """

    def change(one: Months, other: Months) -> Months:
        return np.asarray((other - one).mean(axis=-1))

    return measure(np.abs(before - labels), np.abs(after - labels), {"change": change})["change"]


# --- radiographs ---


def _split(radiographs: Sequence[LabelledRadiograph], options: TuningOptions) -> list[LabelledRadiograph]:
    """The radiographs, each of the split ``train``, ``validation`` (held out) or what else the table says."""
    if any(radiograph.split is not None for radiograph in radiographs):
        radiographs_of_split(radiographs, "train")
        radiographs_of_split(radiographs, "validation")
        return list(radiographs)
    held_out: set[str] = set()
    for sex in sorted({radiograph.sex for radiograph in radiographs}):
        ids = sorted(radiograph.id for radiograph in radiographs if radiograph.sex == sex)
        order = np.random.default_rng(options.seed).permutation(len(ids))
        held_out |= {ids[place] for place in order[: round(len(ids) * options.held_out_share)]}
    return [
        replace(radiograph, split="validation" if radiograph.id in held_out else "train") for radiograph in radiographs
    ]


class _Reader:
    """The radiographs that can be read, their views, and what bundles say of them.

    Attributes:
        radiographs: all, those that cannot be read of the split ``rejected``: whoever trains on them finds the same
            cache.
        training, held_out: parts of them.
        rejected: by id, with the code.
    """

    def __init__(
        self,
        radiographs: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        hands: HandTable | None,
        rejected: Mapping[str, str],
        hand_networks: str,
        longest_side: int,
    ) -> None:
        self.cache, self.hands, self.rejected = cache, hands, rejected
        self.hand_networks, self.longest_side = hand_networks, longest_side
        self.radiographs = [
            replace(radiograph, split="rejected") if radiograph.id in rejected else radiograph
            for radiograph in radiographs
        ]
        self.training = [radiograph for radiograph in self.radiographs if radiograph.split == "train"]
        self.held_out = [radiograph for radiograph in self.radiographs if radiograph.split == "validation"]
        if len(self.training) < FEWEST_RADIOGRAPHS or not self.held_out:
            raise TableError(
                "table_split",
                f"{len(self.training)} radiographs to learn from and {len(self.held_out)} held out that can be "
                f"read are too"
                f" few: at least {FEWEST_RADIOGRAPHS} and 1 are needed.",
            )

    @classmethod
    def open(
        cls, bundle: Bundle, radiographs: Sequence[LabelledRadiograph], cache_folder: Path, progress: Progress
    ) -> _Reader:
        """Decode the radiographs and find the hands on them, or open what was decoded and found before."""
        recipes = [member_recipe(bundle, member) for member in bundle.members]
        if not recipes:
            raise BundleError(
                "bundle_mismatch", f"The bundle {bundle.manifest.name} holds no network that gives an age."
            )
        longest_side = max(recipe.data.longest_side for recipe in recipes)
        cache = build_cache(radiographs, cache_folder, longest_side=longest_side, progress=progress)
        rejected = dict(cache.rejected)
        hands, hand_networks = None, str(bundle.directory.resolve())
        if any(member.view.needs_hand for member in bundle.members):
            hands = open_hands(hand_networks, radiographs, cache, progress=progress)
            rejected |= hands.rejected
        readable = [radiograph for radiograph in radiographs if radiograph.id not in rejected]
        for rule in {member.view.grey for member in bundle.members}:
            for radiograph in readable:
                try:
                    cache.grey(radiograph.id, rule, None if hands is None else hands.hand(radiograph.id))
                except Rejection as rejection:
                    rejected[radiograph.id] = rejection.code
        return cls(radiographs, cache, hands, rejected, hand_networks, longest_side)

    def views(self, member: Member, radiographs: Sequence[LabelledRadiograph]) -> Any:
        """Batches of a member's views of some radiographs, as serving cuts them: (N, 1, H, W), sexes, ages."""
        return validation_batches(radiographs, self.cache, member.view, hands=self.hands, batch_size=_BATCH, workers=0)

    def outputs(self, bundle: Bundle, member: Member, radiographs: Sequence[LabelledRadiograph]) -> list[MemberOutput]:
        """What a bundle's member says of radiographs, all of sexes that it serves."""
        sexes = iter([radiograph.sex for radiograph in radiographs])
        answers: list[MemberOutput] = []
        for views, *_ in self.views(member, radiographs):
            batch = [next(sexes) for _ in range(len(views))]
            answers += [_without_map(one) for one in bundle.run_batch(member, views[:, 0].numpy(), batch)]
        return answers

    def estimates(self, bundle: Bundle, radiographs: Sequence[LabelledRadiograph]) -> Months:
        """The ages (N,) that a bundle gives these radiographs, as in an assessment."""
        by_radiograph: dict[str, dict[str, MemberOutput]] = {radiograph.id: {} for radiograph in radiographs}
        for member in bundle.members:
            served = [radiograph for radiograph in radiographs if radiograph.sex in member.sexes]
            for radiograph, output in zip(served, self.outputs(bundle, member, served), strict=True):
                by_radiograph[radiograph.id][member.name] = output
        ages = [
            combine(by_radiograph[radiograph.id], bundle.manifest, sex=radiograph.sex).age_months
            for radiograph in radiographs
        ]
        return np.array(ages)


def _without_map(output: MemberOutput) -> MemberOutput:
    """Thousands are kept: without the activation maps, which nobody asks for."""
    nothing = np.zeros((1, 1), np.float32)
    return replace(output, activation=nothing, mirror_activation=None)


def _labels(radiographs: Sequence[LabelledRadiograph]) -> Months:
    return np.array([radiograph.boneage_months for radiograph in radiographs])


def _table(radiographs: Sequence[LabelledRadiograph], before: Months, after: Months) -> Predictions:
    return Predictions(
        ids=tuple(radiograph.id for radiograph in radiographs),
        sexes=tuple(radiograph.sex for radiograph in radiographs),
        boneage_months=_labels(radiographs),
        age_months=np.round(after, 3),
        groups={"before": tuple(f"{age:.3f}" for age in before)},
    )


# --- lines ---


@dataclass(frozen=True)
class Line:
    """From what a network says to what it should have said: months are ``intercept_months + slope * months``."""

    intercept_months: float = 0.0
    slope: float = 1.0

    @classmethod
    def fitted(cls, said: Months, labels: Months) -> Line:
        """The line of least squares; a mere shift where that is steeper or flatter than a bundle may correct."""
        away = said - said.mean()
        square = float(away @ away)
        slope = float(away @ (labels - labels.mean())) / square if square > 0 else 1.0
        slope = slope if SLOPES[0] <= slope <= SLOPES[1] else 1.0
        return cls(float(labels.mean() - slope * said.mean()), slope)

    def __call__(self, months: Months) -> Months:
        """Corrected months, of the same shape."""
        return self.intercept_months + self.slope * months


def bend(network: AgeNetwork, unit: AgeUnit, line: Line, to: AgeUnit) -> None:
    """Make a network answer through a line, in another unit. The network is changed in place.

    Of a network that answers by a number its last layer says just that. One that answers by a distribution over months
    gets the logits of the months from where they come, between two months in parts of both: nearly the same.

    Args:
        network: in `unit`.
        unit: of its training, months.
        line: of months.
        to: the unit wanted; of a distribution there is but one.
    """
    last: Any = network.head.dense[-1]
    with torch.no_grad():
        if network.gives_distribution:
            months = network.head.months.double()
            source = ((months - line.intercept_months) / line.slope).clamp(0, len(months) - 1)
            low = source.floor().long().clamp(max=len(months) - 2)
            part = (source - low).to(last.weight.dtype)
            last.weight.copy_(last.weight[low] * (1 - part)[:, None] + last.weight[low + 1] * part[:, None])
            last.bias.copy_(last.bias[low] * (1 - part) + last.bias[low + 1] * part)
            return
        gain = line.slope * unit.spread_months / to.spread_months
        level = (line.slope * unit.mean_months + line.intercept_months - to.mean_months) / to.spread_months
        last.weight.mul_(gain)
        last.bias.mul_(gain).add_(level)


# --- ways ---

Train = Callable[[Recipe, AgeNetwork, str], Path]
"""Trains a recipe from a network's weights as the run of this name. Gives the run's folder."""


class _Tuning:
    """The members of a bundle, and what becomes of them by each way."""

    def __init__(self, bundle: Bundle, reader: _Reader, options: TuningOptions, learn: Train) -> None:
        self.bundle, self.reader, self.options, self.learn = bundle, reader, options, learn
        self._said: dict[str, dict[str, float]] = {}
        self._networks: dict[str, AgeNetwork] = {}

    def recipe(self, member: Member, fold: int = 0) -> Recipe:
        """By which a member learns on: its own, but for what decides how long and how fast. 0 is no fold."""
        own, options = member_recipe(self.bundle, member), self.options
        return replace(
            own,
            network=replace(own.network, imagenet_weights=""),
            data=replace(
                own.data,
                folds=options.folds if fold else 0,
                fold=fold,
                split_seed=options.seed,
                train_limit=0,
                validation_limit=0,
                longest_side=self.reader.longest_side,
                hands=self.reader.hand_networks if member.view.needs_hand else "",
            ),
            train=replace(
                own.train,
                epochs=options.epochs,
                batch_size=min(own.train.batch_size, _BATCH),
                optimizer="adamw",
                learning_rate=options.learning_rate,
                learning_rate_curve="one-cycle",
                warm_up=_WARM_UP,
                initial_weights="",
                average_decay=_AVERAGE_DECAY,
                watched_radiographs=_WATCHED,
                patience=0,
                seed=options.seed,
                resize=(),
            ),
        )

    def out_of_fold(self) -> dict[Way, Months]:
        """By each way the ages (N,) of the radiographs learnt from, each by networks that did not learn from it."""
        by_way: dict[Way, dict[str, dict[str, float]]] = {"unchanged": {}, "line": {}, "networks": {}}
        for member in self.bundle.members:
            said = self.said(member)
            by_way["unchanged"][member.name] = said
            lines, networks = by_way["line"].setdefault(member.name, {}), by_way["networks"].setdefault(member.name, {})
            for fold in range(1, self.options.folds + 1):
                recipe = self.recipe(member, fold)
                kept, left_out = choose_radiographs(recipe, self.reader.radiographs)
                line = self.line(member, kept)
                lines.update({radiograph.id: float(line(np.array(said[radiograph.id]))) for radiograph in left_out})
                run = self.learn_on(member, recipe, line, f"fold-{fold}")
                networks.update(
                    zip(
                        (radiograph.id for radiograph in left_out),
                        _ask(run, member, left_out, self.reader),
                        strict=True,
                    )
                )
        return {way: self._mean(said) for way, said in by_way.items()}

    def said(self, member: Member) -> dict[str, float]:
        """What a member, as it is, says of the radiographs learnt from that it serves, months by id."""
        if member.name not in self._said:
            radiographs = [radiograph for radiograph in self.reader.training if radiograph.sex in member.sexes]
            outputs = self.reader.outputs(self.bundle, member, radiographs)
            self._said[member.name] = {
                radiograph.id: one.age_months for radiograph, one in zip(radiographs, outputs, strict=True)
            }
        return self._said[member.name]

    def line(self, member: Member, radiographs: Sequence[LabelledRadiograph]) -> Line:
        """A member's line by these of the radiographs."""
        said = self.said(member)
        return Line.fitted(np.array([said[radiograph.id] for radiograph in radiographs]), _labels(radiographs))

    def network(self, member: Member) -> AgeNetwork:
        """A member brought back. Asked for again, a fresh copy."""
        if member.name not in self._networks:
            torch.manual_seed(self.options.seed)
            recipe = self.recipe(member)
            radiographs, _ = choose_radiographs(recipe, self.reader.radiographs)
            batches = training_batches(radiographs, self.reader.cache, recipe, 0, hands=self.reader.hands)
            self._networks[member.name] = restore_network(self.bundle, member, batches)
        return copy.deepcopy(self._networks[member.name])

    def learn_on(self, member: Member, recipe: Recipe, line: Line, name: str) -> Path:
        """Train a member from its line. Gives the run's folder."""
        task = AgeTask(
            recipe, *choose_radiographs(recipe, self.reader.radiographs), self.reader.cache, self.reader.hands
        )
        network = self.network(member)
        bend(network, _unit(member), line, task.unit)
        return self.learn(recipe, network, f"{name}/{member.name}")

    def members(self, way: Way) -> list[NetworkMember]:
        """The members of the new bundle."""
        return [self._member(member, way) for member in self.bundle.members]

    def _member(self, member: Member, way: Way) -> NetworkMember:
        recipe = self.recipe(member)
        radiographs, _ = choose_radiographs(recipe, self.reader.radiographs)
        line = Line() if way == "unchanged" else self.line(member, radiographs)
        if way == "networks":
            _, network, unit, _ = load_run(self.learn_on(member, recipe, line, "tuned"), "last")
        else:
            network, unit = self.network(member), _unit(member)
            bend(network, unit, line, unit)
        return NetworkMember(
            *(member.name, network, member.view, unit.mean_months, unit.spread_months),
            mirror=member.mirror,
            sexes=member.sexes,
            weight=member.weight,
        )

    def _mean(self, said: Mapping[str, Mapping[str, float]]) -> Months:
        """The members' weighted mean (N,) of the radiographs learnt from."""
        ages = []
        for radiograph in self.reader.training:
            serving = self.bundle.members_for(radiograph.sex)
            total = sum(member.weight for member in serving)
            ages.append(sum(member.weight * said[member.name][radiograph.id] for member in serving) / total)
        return np.array(ages)


def _unit(member: Member) -> AgeUnit:
    return AgeUnit(member.age_mean_months, member.age_spread_months)


def _trained(
    reader: _Reader, runs: Path, engine: Engine, quiet: bool, recipe: Recipe, network: AgeNetwork, name: str
) -> Path:
    """A `Train`: the start's weights are laid down where `boneage.train.run.loop` looks for them."""
    start = runs / "start" / name
    with atomic_write(start / "last.ckpt") as temporary:
        torch.save({"network": network.state_dict(), "average": None}, temporary)
    begun = replace(recipe, train=replace(recipe.train, initial_weights=str(start)))
    log.info("%s", name)
    train(begun, reader.radiographs, runs / name, cache_folder=reader.cache.folder.parent, engine=engine, quiet=quiet)
    return runs / name


def _ask(run: Path, member: Member, radiographs: Sequence[LabelledRadiograph], reader: _Reader) -> list[float]:
    """What a run's network says of radiographs, months, as the member that it shall be would be asked."""
    _, network, unit, _ = load_run(run, "last")
    ages = predict(network, reader.views(member, radiographs), unit)
    if member.mirror:
        ages = (ages + predict(network, _mirrored(reader.views(member, radiographs)), unit)) / 2
    return [float(age) for age in ages]


def _mirrored(batches: Iterable[Sequence[Tensor]]) -> Iterator[Sequence[Tensor]]:
    for view, *rest in batches:
        yield [view.flip(3), *rest]


# --- the new bundle ---


class _Finish:
    """Gives the new bundle its calibration and figures, and rejects one whose graphs answer otherwise than its
    networks.
    """

    def __init__(
        self,
        reader: _Reader,
        members: Sequence[NetworkMember],
        before: Months,
        calibration: Calibration | None,
        progress: Progress,
    ) -> None:
        self.reader, self.members, self.before = reader, members, before
        self.calibration, self.progress = calibration, progress
        self.after: Months = np.zeros(0)

    def __call__(self, bundle: Bundle) -> Manifest:
        """The manifest with everything that only the finished bundle can tell."""
        manifest = replace(bundle.manifest, calibration=self.calibration)
        calibrated = Bundle(bundle.directory, manifest, threads=bundle.threads)
        radiographs = self.reader.held_out
        for made, member in zip(self.members, calibrated.members, strict=True):
            self._reject_difference(calibrated, made, member)
        self.after = self.reader.estimates(calibrated, radiographs)
        difference = paired_difference(_labels(radiographs), self.before, self.after)
        told = f"{len(radiographs)} of these radiographs were held out: {_said_of(difference)}."
        metrics, disagreement = measure_bundle(calibrated, radiographs, progress=self.progress)
        return replace(
            manifest,
            members=tuple(
                replace(member, embedding_stats=self._embedding_stats(calibrated, member)) for member in bundle.members
            ),
            metrics=metrics | {"weights": "last"},
            disagreement=disagreement,
            data=f"{manifest.data} {told}",
        )

    def _embedding_stats(self, bundle: Bundle, member: Member) -> EmbeddingStats | None:
        """What is familiar to a member: the radiographs held out, or all, if those are too few."""
        for radiographs in (self.reader.held_out, [*self.reader.held_out, *self.reader.training]):
            served = [radiograph for radiograph in radiographs if radiograph.sex in member.sexes]
            if len(served) >= EMBEDDING_STATS_RADIOGRAPHS:
                outputs = self.reader.outputs(bundle, member, served)
                return EmbeddingStats.of(np.stack([output.embedding for output in outputs]))
        return None

    def _reject_difference(self, bundle: Bundle, made: NetworkMember, member: Member) -> None:
        served = [radiograph for radiograph in self.reader.held_out if radiograph.sex in member.sexes][
            :PARITY_RADIOGRAPHS
        ]
        if not served:
            return
        views = torch.cat([batch[0] for batch in self.reader.views(member, served)])[:, 0].numpy()
        difference = parity(made.network, bundle, views, member=member.name)
        if not difference <= PARITY_LIMIT_MONTHS:
            raise BundleError(
                "bundle_output", f"The graph of {member.name} answers otherwise: by {difference:.3f} months."
            )


def _said_of(difference: Figure) -> str:
    """The change on the radiographs held out, in words."""
    change = f"the mean absolute difference changed by {difference.value:+.2f} months"
    interval = f"95 % interval {difference.low:+.2f} to {difference.high:+.2f}"
    verdict = "" if difference.high < 0 else "; no gain is shown"
    return f"{change} ({interval}{verdict})"


_IN_WORDS: Mapping[Way, str] = {
    "unchanged": "Networks as they were, calibrated",
    "line": "Answers of the networks through a line fitted",
    "networks": "Fine-tuned",
}


def _facts(bundle: Bundle, tuning: _Tuning, options: TuningOptions, way: Way) -> Manifest:
    old, reader = bundle.manifest, tuning.reader
    origin = f"{old.name} {old.version}"
    recipes: dict[str, Any] = dict(old.recipe)
    if way == "networks":
        for member in bundle.members:
            # Without this machine's paths: what they were of.
            run = tuning.recipe(member)
            hands = old.name if run.data.hands else ""
            told = replace(run, data=replace(run.data, hands=hands), train=replace(run.train, initial_weights=origin))
            recipes[member.name] = told.to_dict()
    radiographs = options.data or "radiographs of one's own"
    return Manifest(
        name=options.name or f"{old.name}-tuned"[:64],
        version="1",
        title=f"{old.title}, adapted",
        created=datetime.now(UTC).date().isoformat(),
        recipe=recipes,
        data=f"{old.data or origin}. {_IN_WORDS[way]} on {len(reader.training)} more: {radiographs}.",
        licence=options.licence or old.licence,
    )
