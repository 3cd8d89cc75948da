"""Members of a bundle, adapted to new radiographs by one of three methods."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from boneage.arrays import Months
from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import Manifest, Member
from boneage.bundle.stages import StageWeights
from boneage.errors import RecipeError
from boneage.evaluate.metrics import mean_absolute_difference
from boneage.files import atomic_write
from boneage.hand.registration import Region
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.bundle.correction import LinearCorrection, apply_correction
from boneage.train.bundle.from_bundle import member_recipe, restore_network
from boneage.train.bundle.tuning_data import BATCH_SIZE, TuningData, label_months
from boneage.train.bundle.write import NetworkMember
from boneage.train.data.epochs import training_batches
from boneage.train.data.splits import choose_radiographs
from boneage.train.networks import AgeNetwork
from boneage.train.recipe import Recipe
from boneage.train.run.age_tasks import AgeTask, AgeUnit, predict
from boneage.train.run.engine import Engine
from boneage.train.run.loop import train
from boneage.train.run.weights import load_run

Method = Literal["unchanged", "line", "networks"]
"""Method of adaptation: ``unchanged`` networks, estimates corrected by a ``line``, or fine-tuned ``networks``."""

_AVERAGE_DECAY = 0.99

_WARM_UP = 0.1

_WATCHED = 100
"""Number of held-out radiographs that are estimated after each epoch, for a curve from which nothing is chosen."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningOptions:
    """Options of fine-tuning.

    Attributes:
        epochs: epochs of the fine-tuned networks.
        learning_rate: highest learning rate of AdamW's one-cycle schedule.
        seed: seed of the held-out radiographs, the folds, the order and the augmentation.
        folds: folds of the cross-validation that chooses between the methods. With 0, the networks are fine-tuned
            without a comparison, which takes 1 / folds of the time and leaves the bundle without a calibration.
        held_out_share: share of the radiographs that is held out, above 0 and below 1, drawn by sex where the table has
            no column ``split``.
        name: name of the new bundle; its own with ``-tuned`` if empty.
        data: description of the radiographs for the manifest.
        licence: licence of the new weights; the old bundle's if empty.
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
class OutOfFold:
    """Ages of the training radiographs by one method, each by networks that were not trained on the radiograph.

    Attributes:
        age_months: (N,), in the order of the training radiographs.
        stages: weights by stage of maturity with which they were combined, of the sexes that have them.
    """

    age_months: Months
    stages: Mapping[Sex, StageWeights]


TrainFunction = Callable[[Recipe, AgeNetwork, str], Path]
"""Function that trains a recipe from a network's weights as the run of a name, and returns the run's folder."""


class Tuning:
    """Members of a bundle, and their adaptation by each method."""

    def __init__(self, bundle: Bundle, data: TuningData, options: TuningOptions, train_run: TrainFunction) -> None:
        self.bundle, self.data, self.options, self.train_run = bundle, data, options, train_run
        self._estimates: dict[str, dict[str, float]] = {}
        self._networks: dict[str, AgeNetwork] = {}

    def recipe(self, member: Member, fold: int = 0) -> Recipe:
        """Return the recipe for fine-tuning a member: its own with another schedule and data.

        Fold 0 stands for no fold.
        """
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
                longest_side=self.data.longest_side,
                hands=self.data.hand_networks if member.view.needs_hand else "",
            ),
            train=replace(
                own.train,
                epochs=options.epochs,
                batch_size=min(own.train.batch_size, BATCH_SIZE),
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

    def out_of_fold(self, *, stages: bool) -> dict[Method, OutOfFold]:
        """Return the out-of-fold ages of the training radiographs by method.

        Args:
            stages: True to keep the bundle's weights by stage of maturity where they lessen the error.
        """
        by_method: dict[Method, dict[str, dict[str, float]]] = {"unchanged": {}, "line": {}, "networks": {}}
        for member in self.bundle.members:
            estimates = self.estimates(member)
            by_method["unchanged"][member.name] = estimates
            lines, networks = (
                by_method["line"].setdefault(member.name, {}),
                by_method["networks"].setdefault(member.name, {}),
            )
            for fold in range(1, self.options.folds + 1):
                recipe = self.recipe(member, fold)
                kept, left_out = choose_radiographs(recipe, self.data.radiographs)
                line = self.line(member, kept)
                lines.update(
                    {radiograph.id: float(line(np.array(estimates[radiograph.id]))) for radiograph in left_out}
                )
                run = self.train_member(member, recipe, line, f"fold-{fold}")
                networks.update(
                    zip(
                        (radiograph.id for radiograph in left_out),
                        _predict(run, member, left_out, self.data),
                        strict=True,
                    )
                )
        return {
            method: combine_out_of_fold(self.bundle.manifest, self.data.training, estimates, method, stages=stages)
            for method, estimates in by_method.items()
        }

    def estimates(self, member: Member) -> dict[str, float]:
        """Return the estimates (months, by id) of an unchanged member for the training radiographs that it serves."""
        if member.name not in self._estimates:
            radiographs = [radiograph for radiograph in self.data.training if radiograph.sex in member.sexes]
            outputs = self.data.outputs(self.bundle, member, radiographs)
            self._estimates[member.name] = {
                radiograph.id: one.age_months for radiograph, one in zip(radiographs, outputs, strict=True)
            }
        return self._estimates[member.name]

    def line(self, member: Member, radiographs: Sequence[LabelledRadiograph]) -> LinearCorrection:
        """Fit a member's correction to some of the radiographs."""
        estimates = self.estimates(member)
        return LinearCorrection.fitted(
            np.array([estimates[radiograph.id] for radiograph in radiographs]), label_months(radiographs)
        )

    def network(self, member: Member) -> AgeNetwork:
        """Restore a member's network. Each call returns a fresh copy."""
        if member.name not in self._networks:
            torch.manual_seed(self.options.seed)
            recipe = self.recipe(member)
            radiographs, _ = choose_radiographs(recipe, self.data.radiographs)
            batches = training_batches(radiographs, self.data.cache, recipe, 0, hands=self.data.hands)
            self._networks[member.name] = restore_network(self.bundle, member, batches)
        return copy.deepcopy(self._networks[member.name])

    def train_member(self, member: Member, recipe: Recipe, line: LinearCorrection, name: str) -> Path:
        """Train a member from its corrected network, and return the run's folder."""
        task = AgeTask(recipe, *choose_radiographs(recipe, self.data.radiographs), self.data.cache, self.data.hands)
        network = self.network(member)
        apply_correction(network, _member_unit(member), line, task.unit)
        return self.train_run(recipe, network, f"{name}/{member.name}")

    def members(self, method: Method) -> list[NetworkMember]:
        """Return the members of the new bundle."""
        return [self._member(member, method) for member in self.bundle.members]

    def _member(self, member: Member, method: Method) -> NetworkMember:
        recipe = self.recipe(member)
        radiographs, _ = choose_radiographs(recipe, self.data.radiographs)
        line = LinearCorrection() if method == "unchanged" else self.line(member, radiographs)
        if method == "networks":
            _, network, unit, _ = load_run(self.train_member(member, recipe, line, "tuned"), "last")
        else:
            network, unit = self.network(member), _member_unit(member)
            apply_correction(network, unit, line, unit)
        return NetworkMember(
            name=member.name,
            network=network,
            view=member.view,
            age_mean_months=unit.mean_months,
            age_spread_months=unit.spread_months,
            mirror=member.mirror,
            sexes=member.sexes,
            weight=member.weight,
        )


def combine_out_of_fold(
    manifest: Manifest,
    radiographs: Sequence[LabelledRadiograph],
    estimates: Mapping[str, Mapping[str, float]],
    method: Method,
    *,
    stages: bool,
) -> OutOfFold:
    """Combine the members' out-of-fold estimates by their plain weights, or by the weights by stage of maturity.

    The weights by stage were fitted to the unchanged networks, on many more radiographs than these. A sex keeps them if
    its mean absolute difference is then smaller. The correction that belongs to them is that of the unchanged
    networks' bias. The other methods remove that themselves, and so leave the correction out.

    Args:
        manifest: manifest of the bundle that is adapted.
        radiographs: N labelled radiographs.
        estimates: estimates (months) by the member's name and the radiograph's id.
        method: method by which the estimates were made.
        stages: True to consider weights by stage.
    """
    ages, kept = np.zeros(len(radiographs)), dict[Sex, StageWeights]()
    for sex in {radiograph.sex for radiograph in radiographs}:
        chosen = np.array([radiograph.sex == sex for radiograph in radiographs])
        served = [radiograph for radiograph in radiographs if radiograph.sex == sex]
        labels = label_months(served)
        regions, plain = _by_region(manifest, sex, served, estimates)
        ages[chosen] = np.average(list(regions.values()), axis=0, weights=list(plain.values()))
        fitted = manifest.calibration.by_sex[sex].stages if stages and manifest.calibration is not None else None
        if fitted is None:
            continue
        if method != "unchanged":
            fitted = replace(fitted, correction_months=(0.0,) * len(fitted.correction_months))
        tried = fitted.ages(regions, plain)
        if mean_absolute_difference(labels, tried) < mean_absolute_difference(labels, ages[chosen]):
            ages[chosen], kept[sex] = tried, fitted
    return OutOfFold(ages, kept)


def _by_region(
    manifest: Manifest,
    sex: Sex,
    radiographs: Sequence[LabelledRadiograph],
    estimates: Mapping[str, Mapping[str, float]],
) -> tuple[dict[Region, Months], dict[Region, float]]:
    """Return the mean ages (N,) by each region's members for N radiographs of a sex, and its plain weight."""
    totals: dict[Region, Months] = {}
    weights: dict[Region, float] = {}
    for member in manifest.members:
        if sex in member.sexes:
            own = np.array([estimates[member.name][radiograph.id] for radiograph in radiographs])
            region = member.view.region
            totals[region] = totals.get(region, np.zeros(len(own))) + member.weight * own
            weights[region] = weights.get(region, 0.0) + member.weight
    return {region: total / weights[region] for region, total in totals.items()}, weights


def _member_unit(member: Member) -> AgeUnit:
    return AgeUnit(member.age_mean_months, member.age_spread_months)


def train_from_network(
    data: TuningData, runs: Path, engine: Engine, quiet: bool, recipe: Recipe, network: AgeNetwork, name: str
) -> Path:
    """Train a recipe from a network's weights. See `TrainFunction`.

    The initial weights are written where `boneage.train.run.loop` reads them.

    Raises:
        RecipeError: ``recipe_changed`` if `runs` holds a training with other options; see also
            `boneage.train.run.loop.train`.
    """
    start = runs / "start" / name
    with atomic_write(start / "last.ckpt") as temporary:
        torch.save({"network": network.state_dict(), "average": None}, temporary)
    started = replace(recipe, train=replace(recipe.train, initial_weights=str(start)))
    log.info("%s", name)
    try:
        train(started, data.radiographs, runs / name, cache_folder=data.cache.folder.parent, engine=engine, quiet=quiet)
    except RecipeError as error:
        if error.code != "recipe_changed":
            raise
        raise RecipeError(
            "recipe_changed",
            f"{runs} holds trainings with other options or radiographs, or of another bundle. Delete this folder, or"
            " repeat the former options.",
        ) from error
    return runs / name


def _predict(run: Path, member: Member, radiographs: Sequence[LabelledRadiograph], data: TuningData) -> list[float]:
    """Return the estimates (months) of a run's network for radiographs, computed as for a bundle's member."""
    _, network, unit, _ = load_run(run, "last")
    ages = predict(network, data.views(member, radiographs), unit)
    if member.mirror:
        ages = (ages + predict(network, _mirrored(data.views(member, radiographs)), unit)) / 2
    return [float(age) for age in ages]


def _mirrored(batches: Iterable[Sequence[Tensor]]) -> Iterator[Sequence[Tensor]]:
    for view, *rest in batches:
        yield [view.flip(3), *rest]
