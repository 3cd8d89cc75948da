"""A bundle adapted to films of one's own: another population, another atlas, other apparatus.

Three ways are compared by cross-validation on the films that may be learnt from, and the best is taken: the bundle's
nets as they are; their answers through one straight line for each net, which needs few films; and nets that learn on,
from that line, for some epochs. What the way chosen says out of fold also calibrates the new bundle
(`boneage.bundle.calibration`). Other films are held out from all of this, and tell whether it helped.

Nets come back from their graphs (`boneage.train.bundle.from_bundle`), and are trained by `boneage.train.run.loop`: each
is a run, with its record, which goes on where it was if it is killed.
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
from numpy.typing import NDArray
from torch import Tensor

from boneage.bundle.bundle import Bundle, MemberOutput
from boneage.bundle.calibration import SLOPES, Calibration, calibrate
from boneage.bundle.estimate import combine
from boneage.bundle.manifest import Familiar, Manifest, Member
from boneage.errors import BundleError, Refusal, TableError
from boneage.evaluate.metrics import Figure, mean_absolute_difference, measure
from boneage.evaluate.predictions import Predictions, write_predictions
from boneage.files import written_whole
from boneage.tables.radiographs import LabelledFilm, films_of_split
from boneage.train.bundle.export import NetMember, parity, refuse_taken, write_bundle
from boneage.train.bundle.from_bundle import PARITY_LIMIT_MONTHS, member_recipe, restore_net
from boneage.train.bundle.release import FAMILIAR_FILMS, PARITY_FILMS, measure_bundle
from boneage.train.data.cache import FilmCache, Progress, build_cache
from boneage.train.data.epochs import training_batches, validation_batches
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.networks import AgeNet
from boneage.train.recipe import Recipe
from boneage.train.run.loop import Engine, load_run, train
from boneage.train.run.tasks import AgeTask, AgeUnit, choose_films, predict

Way = Literal["unchanged", "line", "nets"]
"""``unchanged`` nets, their answers through a ``line``, or ``nets`` that have learnt on."""

FEWEST_FILMS = 12
"""To learn from; fewer are refused."""

FEWEST_TO_CALIBRATE = 100
"""With fewer films to learn from, the new bundle has no calibration: the intervals are those of its held-out films."""

_AVERAGE_DECAY = 0.99
_WARM_UP = 0.1
_BATCH = 32
_WATCHED = 100
"""Of the films held out, so many are looked at after each epoch: enough for a curve, from which nothing is chosen."""

Months = NDArray[np.float64]

_ONE_DEVICE = Engine(devices=1)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuningOptions:
    """How a bundle is adapted.

    Attributes:
        epochs: of the nets that learn on.
        learning_rate: their highest: a one-cycle's, of AdamW.
        seed: of the films held out, the folds, order and augmentation.
        folds: of the cross-validation that chooses between the ways; 0 to let the nets learn on without asking, which
            takes 1 / folds of the time and leaves the bundle without a calibration.
        held_out_share: of the films, above 0 and below 1, drawn by sex, where the table has no column ``split``.
        name: of the new bundle; its own with ``-tuned`` if empty.
        data: what the films are, for the manifest.
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
        out_of_fold: MAD, months, on the films learnt from, each by nets that did not learn from it; by way. Empty
            without folds.
        training_films, held_out_films: how many.
        before, after: MAD on the films held out, months.
        difference: after less before, with the 95 % interval of a bootstrap over films: below 0 if it helped.
        refused: films that could not be read, or show no hand, by id, with the code.
    """

    bundle: Bundle
    way: Way
    out_of_fold: Mapping[Way, float]
    training_films: int
    held_out_films: int
    before: float
    after: float
    difference: Figure
    refused: Mapping[str, str]

    @property
    def helped(self) -> bool:
        """Whether the films held out leave no doubt of it."""
        return self.difference.high < 0


def finetune(
    bundle: Bundle,
    films: Sequence[LabelledFilm],
    directory: Path,
    options: TuningOptions = TuningOptions(),
    *,
    cache_folder: Path | None = None,
    engine: Engine = _ONE_DEVICE,
    overwrite: bool = False,
    quiet: bool = False,
    progress: Progress = iter,
) -> Tuned:
    """Adapt a bundle to labelled films, and write it anew.

    Args:
        bundle: whose manifest holds its members' recipes.
        films: some hundreds. If the table has a column ``split``, those of ``train`` are learnt from and those of
            ``validation`` held out; else a share is drawn.
        directory: of the new bundle, which appears there whole. Runs lie beside it, in ``<directory>.runs``, and go on
            from there if this is called again; so does the table ``held-out.csv`` of what both bundles say.
        options: how.
        cache_folder: of decoded films; ``cache`` among the runs if not given.
        engine: where runs compute.
        overwrite: put it in the place of a bundle that is there.
        quiet: no progress bars of training.
        progress: wraps films while the new bundle is measured.

    Raises:
        BundleError: ``bundle_exists`` if there is something at `directory`; ``bundle_mismatch`` or ``bundle_output`` if
            a member cannot be brought back from its graph (`boneage.train.bundle.from_bundle`).
        TableError: ``table_split`` if there are too few films to learn from, or none held out; see also
            `boneage.train.data.cache.build_cache`.
        RecipeError: as `boneage.train.run.loop.train`; ``recipe_changed`` if the runs there are of other films or
        options. KeyboardInterrupt: as there.
    """
    refuse_taken(directory, overwrite=overwrite)
    runs = directory.with_name(f"{directory.name}.runs")
    reader = _Reader.open(bundle, _split(films, options), cache_folder or runs / "cache", progress)
    tuning = _Tuning(bundle, reader, options, partial(_trained, reader, runs, engine, quiet))
    out_of_fold = tuning.out_of_fold() if options.folds else {}
    labels = _labels(reader.training)
    scores = {way: float(mean_absolute_difference(labels, ages)) for way, ages in out_of_fold.items()}
    way: Way = min(scores, key=lambda one: scores[one]) if scores else "nets"
    calibration = None
    if scores and len(labels) >= FEWEST_TO_CALIBRATE:
        calibration = calibrate([film.sex for film in reader.training], labels, out_of_fold[way])
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
        training_films=len(reader.training),
        held_out_films=len(held),
        before=float(mean_absolute_difference(held, before)),
        after=float(mean_absolute_difference(held, finish.after)),
        difference=paired_difference(held, before, finish.after),
        refused=reader.refused,
    )


def paired_difference(labels: Months, before: Months, after: Months) -> Figure:
    """By how much the mean absolute difference has changed, months, with the interval of a bootstrap over films.

    Args:
        labels: (N,) months.
        before: (N,), the films' ages by one bundle.
        after: (N,), by another.
    """

    def change(one: Months, other: Months) -> Months:
        return np.asarray((other - one).mean(axis=-1))

    return measure(np.abs(before - labels), np.abs(after - labels), {"change": change})["change"]


# --- films ---


def _split(films: Sequence[LabelledFilm], options: TuningOptions) -> list[LabelledFilm]:
    """The films, each of the split ``train``, ``validation`` (held out) or what else the table says."""
    if any(film.split is not None for film in films):
        films_of_split(films, "train")
        films_of_split(films, "validation")
        return list(films)
    held_out: set[str] = set()
    for sex in sorted({film.sex for film in films}):
        ids = sorted(film.id for film in films if film.sex == sex)
        order = np.random.default_rng(options.seed).permutation(len(ids))
        held_out |= {ids[place] for place in order[: round(len(ids) * options.held_out_share)]}
    return [replace(film, split="validation" if film.id in held_out else "train") for film in films]


class _Reader:
    """The films that can be read, their views, and what bundles say of them.

    Attributes:
        films: all, those that cannot be read of the split ``refused``: whoever trains on them finds the same cache.
        training, held_out: parts of them.
        refused: by id, with the code.
    """

    def __init__(
        self,
        films: Sequence[LabelledFilm],
        cache: FilmCache,
        hands: HandTable | None,
        refused: Mapping[str, str],
        hand_nets: str,
        longest_side: int,
    ) -> None:
        self.cache, self.hands, self.refused = cache, hands, refused
        self.hand_nets, self.longest_side = hand_nets, longest_side
        self.films = [replace(film, split="refused") if film.id in refused else film for film in films]
        self.training = [film for film in self.films if film.split == "train"]
        self.held_out = [film for film in self.films if film.split == "validation"]
        if len(self.training) < FEWEST_FILMS or not self.held_out:
            raise TableError(
                "table_split",
                f"{len(self.training)} films to learn from and {len(self.held_out)} held out that can be read are too"
                f" few: at least {FEWEST_FILMS} and 1 are needed.",
            )

    @classmethod
    def open(cls, bundle: Bundle, films: Sequence[LabelledFilm], cache_folder: Path, progress: Progress) -> _Reader:
        """Decode the films and find the hands on them, or open what was decoded and found before."""
        recipes = [member_recipe(bundle, member) for member in bundle.members]
        if not recipes:
            raise BundleError("bundle_mismatch", f"The bundle {bundle.manifest.name} holds no net that gives an age.")
        longest_side = max(recipe.data.longest_side for recipe in recipes)
        cache = build_cache(films, cache_folder, longest_side=longest_side, progress=progress)
        refused = dict(cache.refused)
        hands, hand_nets = None, str(bundle.directory.resolve())
        if any(member.view.needs_hand for member in bundle.members):
            hands = open_hands(hand_nets, films, cache, progress=progress)
            refused |= hands.refused
        readable = [film for film in films if film.id not in refused]
        for rule in {member.view.grey for member in bundle.members}:
            for film in readable:
                try:
                    cache.grey(film.id, rule, None if hands is None else hands.hand(film.id))
                except Refusal as refusal:
                    refused[film.id] = refusal.code
        return cls(films, cache, hands, refused, hand_nets, longest_side)

    def views(self, member: Member, films: Sequence[LabelledFilm]) -> Any:
        """Batches of a member's views of some films, as serving cuts them: (N, 1, H, W), sexes, ages."""
        return validation_batches(films, self.cache, member.view, hands=self.hands, batch_size=_BATCH, workers=0)

    def outputs(self, bundle: Bundle, member: Member, films: Sequence[LabelledFilm]) -> list[MemberOutput]:
        """What a bundle's member says of films, all of sexes that it serves."""
        sexes = iter([film.sex for film in films])
        answers: list[MemberOutput] = []
        for views, *_ in self.views(member, films):
            batch = [next(sexes) for _ in range(len(views))]
            answers += [_without_map(one) for one in bundle.run_batch(member, views[:, 0].numpy(), batch)]
        return answers

    def estimates(self, bundle: Bundle, films: Sequence[LabelledFilm]) -> Months:
        """The ages (N,) that a bundle gives these films, as in an assessment."""
        by_film: dict[str, dict[str, MemberOutput]] = {film.id: {} for film in films}
        for member in bundle.members:
            served = [film for film in films if film.sex in member.sexes]
            for film, output in zip(served, self.outputs(bundle, member, served), strict=True):
                by_film[film.id][member.name] = output
        ages = [combine(by_film[film.id], bundle.manifest, sex=film.sex).age_months for film in films]
        return np.array(ages)


def _without_map(output: MemberOutput) -> MemberOutput:
    """Thousands are kept: without the activation maps, which nobody asks for."""
    nothing = np.zeros((1, 1), np.float32)
    return replace(output, activation=nothing, mirror_activation=None)


def _labels(films: Sequence[LabelledFilm]) -> Months:
    return np.array([film.boneage_months for film in films])


def _table(films: Sequence[LabelledFilm], before: Months, after: Months) -> Predictions:
    return Predictions(
        ids=tuple(film.id for film in films),
        sexes=tuple(film.sex for film in films),
        boneage_months=_labels(films),
        age_months=np.round(after, 3),
        groups={"before": tuple(f"{age:.3f}" for age in before)},
    )


# --- lines ---


@dataclass(frozen=True)
class Line:
    """From what a net says to what it should have said: months are ``intercept_months + slope * months``."""

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


def bend(net: AgeNet, unit: AgeUnit, line: Line, to: AgeUnit) -> None:
    """Make a net answer through a line, in another unit. The net is changed in place.

    Of a net that answers by a number its last layer says just that. One that answers by a distribution over months
    gets the logits of the months from where they come, between two months in parts of both: nearly the same.

    Args:
        net: in `unit`.
        unit: of its training, months.
        line: of months.
        to: the unit wanted; of a distribution there is but one.
    """
    last: Any = net.head.dense[-1]
    with torch.no_grad():
        if net.gives_distribution:
            months = net.head.months.double()
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

Train = Callable[[Recipe, AgeNet, str], Path]
"""Trains a recipe from a net's weights as the run of this name. Gives the run's folder."""


class _Tuning:
    """The members of a bundle, and what becomes of them by each way."""

    def __init__(self, bundle: Bundle, reader: _Reader, options: TuningOptions, learn: Train) -> None:
        self.bundle, self.reader, self.options, self.learn = bundle, reader, options, learn
        self._said: dict[str, dict[str, float]] = {}
        self._nets: dict[str, AgeNet] = {}

    def recipe(self, member: Member, fold: int = 0) -> Recipe:
        """By which a member learns on: its own, but for what decides how long and how fast. 0 is no fold."""
        own, options = member_recipe(self.bundle, member), self.options
        return replace(
            own,
            net=replace(own.net, imagenet_weights=""),
            data=replace(
                own.data,
                folds=options.folds if fold else 0,
                fold=fold,
                split_seed=options.seed,
                train_limit=0,
                validation_limit=0,
                longest_side=self.reader.longest_side,
                hands=self.reader.hand_nets if member.view.needs_hand else "",
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
                watched_films=_WATCHED,
                patience=0,
                seed=options.seed,
                resize=(),
            ),
        )

    def out_of_fold(self) -> dict[Way, Months]:
        """By each way the ages (N,) of the films learnt from, each by nets that did not learn from it."""
        by_way: dict[Way, dict[str, dict[str, float]]] = {"unchanged": {}, "line": {}, "nets": {}}
        for member in self.bundle.members:
            said = self.said(member)
            by_way["unchanged"][member.name] = said
            lines, nets = by_way["line"].setdefault(member.name, {}), by_way["nets"].setdefault(member.name, {})
            for fold in range(1, self.options.folds + 1):
                recipe = self.recipe(member, fold)
                kept, left_out = choose_films(recipe, self.reader.films)
                line = self.line(member, kept)
                lines.update({film.id: float(line(np.array(said[film.id]))) for film in left_out})
                run = self.learn_on(member, recipe, line, f"fold-{fold}")
                nets.update(zip((film.id for film in left_out), _ask(run, member, left_out, self.reader), strict=True))
        return {way: self._mean(said) for way, said in by_way.items()}

    def said(self, member: Member) -> dict[str, float]:
        """What a member, as it is, says of the films learnt from that it serves, months by id."""
        if member.name not in self._said:
            films = [film for film in self.reader.training if film.sex in member.sexes]
            outputs = self.reader.outputs(self.bundle, member, films)
            self._said[member.name] = {film.id: one.age_months for film, one in zip(films, outputs, strict=True)}
        return self._said[member.name]

    def line(self, member: Member, films: Sequence[LabelledFilm]) -> Line:
        """A member's line by these of the films."""
        said = self.said(member)
        return Line.fitted(np.array([said[film.id] for film in films]), _labels(films))

    def net(self, member: Member) -> AgeNet:
        """A member brought back. Asked for again, a fresh copy."""
        if member.name not in self._nets:
            torch.manual_seed(self.options.seed)
            recipe = self.recipe(member)
            films, _ = choose_films(recipe, self.reader.films)
            batches = training_batches(films, self.reader.cache, recipe, 0, hands=self.reader.hands)
            self._nets[member.name] = restore_net(self.bundle, member, batches)
        return copy.deepcopy(self._nets[member.name])

    def learn_on(self, member: Member, recipe: Recipe, line: Line, name: str) -> Path:
        """Train a member from its line. Gives the run's folder."""
        task = AgeTask(recipe, *choose_films(recipe, self.reader.films), self.reader.cache, self.reader.hands)
        net = self.net(member)
        bend(net, _unit(member), line, task.unit)
        return self.learn(recipe, net, f"{name}/{member.name}")

    def members(self, way: Way) -> list[NetMember]:
        """The members of the new bundle."""
        return [self._member(member, way) for member in self.bundle.members]

    def _member(self, member: Member, way: Way) -> NetMember:
        recipe = self.recipe(member)
        films, _ = choose_films(recipe, self.reader.films)
        line = Line() if way == "unchanged" else self.line(member, films)
        if way == "nets":
            _, net, unit, _ = load_run(self.learn_on(member, recipe, line, "tuned"), "last")
        else:
            net, unit = self.net(member), _unit(member)
            bend(net, unit, line, unit)
        return NetMember(
            *(member.name, net, member.view, unit.mean_months, unit.spread_months),
            mirror=member.mirror,
            sexes=member.sexes,
            weight=member.weight,
        )

    def _mean(self, said: Mapping[str, Mapping[str, float]]) -> Months:
        """The members' weighted mean (N,) of the films learnt from."""
        ages = []
        for film in self.reader.training:
            serving = self.bundle.members_for(film.sex)
            total = sum(member.weight for member in serving)
            ages.append(sum(member.weight * said[member.name][film.id] for member in serving) / total)
        return np.array(ages)


def _unit(member: Member) -> AgeUnit:
    return AgeUnit(member.age_mean_months, member.age_spread_months)


def _trained(reader: _Reader, runs: Path, engine: Engine, quiet: bool, recipe: Recipe, net: AgeNet, name: str) -> Path:
    """A `Train`: the start's weights are laid down where `boneage.train.run.loop` looks for them."""
    start = runs / "start" / name
    with written_whole(start / "last.ckpt") as temporary:
        torch.save({"net": net.state_dict(), "average": None}, temporary)
    begun = replace(recipe, train=replace(recipe.train, initial_weights=str(start)))
    log.info("%s", name)
    train(begun, reader.films, runs / name, cache_folder=reader.cache.folder.parent, engine=engine, quiet=quiet)
    return runs / name


def _ask(run: Path, member: Member, films: Sequence[LabelledFilm], reader: _Reader) -> list[float]:
    """What a run's net says of films, months, as the member that it shall be would be asked."""
    _, net, unit, _ = load_run(run, "last")
    ages = predict(net, reader.views(member, films), unit)
    if member.mirror:
        ages = (ages + predict(net, _mirrored(reader.views(member, films)), unit)) / 2
    return [float(age) for age in ages]


def _mirrored(batches: Iterable[Sequence[Tensor]]) -> Iterator[Sequence[Tensor]]:
    for view, *rest in batches:
        yield [view.flip(3), *rest]


# --- the new bundle ---


class _Finish:
    """Gives the new bundle its calibration and figures, and refuses one whose graphs answer otherwise than its nets."""

    def __init__(
        self,
        reader: _Reader,
        members: Sequence[NetMember],
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
        films = self.reader.held_out
        for made, member in zip(self.members, calibrated.members, strict=True):
            self._refuse_difference(calibrated, made, member)
        self.after = self.reader.estimates(calibrated, films)
        difference = paired_difference(_labels(films), self.before, self.after)
        told = f"{len(films)} of these films were held out: {_said_of(difference)}."
        metrics, disagreement = measure_bundle(calibrated, films, progress=self.progress)
        return replace(
            manifest,
            members=tuple(replace(member, familiar=self._familiar(calibrated, member)) for member in bundle.members),
            metrics=metrics | {"weights": "last"},
            disagreement=disagreement,
            data=f"{manifest.data} {told}",
        )

    def _familiar(self, bundle: Bundle, member: Member) -> Familiar | None:
        """What is familiar to a member: the films held out, or all, if those are too few."""
        for films in (self.reader.held_out, [*self.reader.held_out, *self.reader.training]):
            served = [film for film in films if film.sex in member.sexes]
            if len(served) >= FAMILIAR_FILMS:
                outputs = self.reader.outputs(bundle, member, served)
                return Familiar.of(np.stack([output.embedding for output in outputs]))
        return None

    def _refuse_difference(self, bundle: Bundle, made: NetMember, member: Member) -> None:
        served = [film for film in self.reader.held_out if film.sex in member.sexes][:PARITY_FILMS]
        if not served:
            return
        views = torch.cat([batch[0] for batch in self.reader.views(member, served)])[:, 0].numpy()
        difference = parity(made.net, bundle, views, member=member.name)
        if not difference <= PARITY_LIMIT_MONTHS:
            raise BundleError(
                "bundle_output", f"The graph of {member.name} answers otherwise: by {difference:.3f} months."
            )


def _said_of(difference: Figure) -> str:
    """The change on the films held out, in words."""
    change = f"the mean absolute difference changed by {difference.value:+.2f} months"
    interval = f"95 % interval {difference.low:+.2f} to {difference.high:+.2f}"
    verdict = "" if difference.high < 0 else "; no gain is shown"
    return f"{change} ({interval}{verdict})"


_IN_WORDS: Mapping[Way, str] = {
    "unchanged": "Nets as they were, calibrated",
    "line": "Answers of the nets through a line fitted",
    "nets": "Fine-tuned",
}


def _facts(bundle: Bundle, tuning: _Tuning, options: TuningOptions, way: Way) -> Manifest:
    old, reader = bundle.manifest, tuning.reader
    origin = f"{old.name} {old.version}"
    recipes: dict[str, Any] = dict(old.recipe)
    if way == "nets":
        for member in bundle.members:
            # Without this machine's paths: what they were of.
            run = tuning.recipe(member)
            hands = old.name if run.data.hands else ""
            told = replace(run, data=replace(run.data, hands=hands), train=replace(run.train, initial_weights=origin))
            recipes[member.name] = told.to_dict()
    films = options.data or "films of one's own"
    return Manifest(
        name=options.name or f"{old.name}-tuned"[:64],
        version="1",
        title=f"{old.title}, adapted",
        created=datetime.now(UTC).date().isoformat(),
        recipe=recipes,
        data=f"{old.data or origin}. {_IN_WORDS[way]} on {len(reader.training)} more: {films}.",
        licence=options.licence or old.licence,
    )
