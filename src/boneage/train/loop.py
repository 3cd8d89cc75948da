"""Training: epochs, validation, checkpoints. Devices, precision and processes are Lightning Fabric's.

Everything random follows from (seed, epoch), so a run that was killed goes on from its last whole epoch with the curve
that the unbroken run would have had. A run's folder holds:

* ``recipe.json``: the recipe as run, with the ages' mean and spread, the films' ids by split, their labels, and the
  number of processes;
* ``last.ckpt``, ``best.ckpt``: state after the last epoch and after the one with the lowest validation MAD;
* ``metrics.csv``, ``curve.png``, ``tensorboard/``: the curves (Souza & Oliveira, Fig. 6).
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from boneage.csv_table import write_rows
from boneage.errors import RecipeError, TableError
from boneage.evaluate.metrics import concordance, mean_absolute_difference
from boneage.files import write_text, written_whole
from boneage.films import LabelledFilm, split_films
from boneage.train.cache import FilmCache, build_cache
from boneage.train.curve import draw_curve
from boneage.train.data import training_batches, validation_batches
from boneage.train.nets import build_net
from boneage.train.nets.inception import load_imagenet_weights
from boneage.train.nets.layers import AgeNet
from boneage.train.recipe import Recipe, Schedule, parse_recipe

log = logging.getLogger(__name__)

T = TypeVar("T")

EpochRow = dict[str, float]
"""One row of ``metrics.csv``: epoch (from 1), loss, learning_rate, mad_months, ccc, seconds."""

_LOSSES = {"mae": nn.functional.l1_loss, "mse": nn.functional.mse_loss}


@dataclass(frozen=True)
class Engine:
    """Where a run computes; passed to Fabric. Under ``torchrun``, ``auto`` devices mean its processes.

    Attributes:
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        devices: how many on each node, or ``auto``.
        nodes: how many machines.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1


@dataclass(frozen=True)
class AgeUnit:
    """The unit in which nets are trained: mean and spread of the training ages, months."""

    mean_months: float
    spread_months: float

    @classmethod
    def of(cls, films: Sequence[LabelledFilm]) -> AgeUnit:
        """Mean and spread of these films' ages."""
        ages = np.array([film.boneage_months for film in films])
        return cls(float(ages.mean()), float(ages.std()) or 1.0)

    def to_months(self, ages: Tensor) -> Tensor:
        """From the net's unit to months."""
        return ages * self.spread_months + self.mean_months

    def from_months(self, months: Tensor) -> Tensor:
        """From months to the net's unit."""
        return (months - self.mean_months) / self.spread_months


@dataclass
class RunState:
    """What an epoch changes, and a checkpoint keeps."""

    epoch: int = 0
    best_mad_months: float = math.inf
    stale_epochs: int = 0
    history: list[EpochRow] = field(default_factory=list)

    def add(self, row: EpochRow, *, full_size: bool) -> bool:
        """Count an epoch; whether it is the best so far. Only epochs on views of full size can be."""
        better = full_size and row["mad_months"] < self.best_mad_months
        self.epoch += 1
        self.history.append(row)
        if better:
            self.best_mad_months = row["mad_months"]
        if full_size:
            self.stale_epochs = 0 if better else self.stale_epochs + 1
        return better

    def finished(self, schedule: Schedule) -> bool:
        """Whether all epochs are done, or none has helped for long enough."""
        return self.epoch >= schedule.epochs or 0 < schedule.patience <= self.stale_epochs


@dataclass(frozen=True)
class Finished:
    """A run that has come to its end.

    Attributes:
        state: after the last epoch.
        refused: films that could not be read, by id, with the code.
        rank: of this process, 0 for the one that keeps the record.
    """

    state: RunState
    refused: Mapping[str, str]
    rank: int


def train(
    recipe: Recipe,
    films: Sequence[LabelledFilm],
    folder: Path,
    *,
    cache_folder: Path | None = None,
    engine: Engine = Engine(),
    quiet: bool = False,
) -> Finished:
    """Train a recipe in `folder`, or go on with the run that is there.

    Args:
        recipe: what to train.
        films: labelled films; those of the splits ``train`` and ``validation`` are used, or a random split is drawn.
        folder: of the run; created if missing.
        cache_folder: of decoded films; by default ``cache`` beside the run's folder, shared by runs on the same films.
        engine: devices and processes.
        quiet: no progress bars.

    Raises:
        RecipeError: the folder holds a run of another recipe, of other films or on another number of processes
            (``recipe_changed``), the recipe or engine cannot be had (``recipe_invalid``), or the loss became infinite
            (``recipe_diverged``).
        TableError: ``table_split`` if either split has no films, ``table_empty`` if none of its films can be read,
            ``table_image_missing`` if one cannot be opened.
        KeyboardInterrupt: the process was interrupted; the run goes on from its last whole epoch when it is started
            again.
    """
    fabric = _launch(engine, recipe.train.precision)
    quiet = quiet or not fabric.is_global_zero
    training, validation = choose_films(recipe, films)
    cache = _open_cache(fabric, recipe, [*training, *validation], cache_folder or folder.parent / "cache", quiet=quiet)
    training, validation = _readable(training, cache, "train"), _readable(validation, cache, "validation")
    unit = AgeUnit.of(training)
    if fabric.is_global_zero:
        _claim_folder(folder, _facts_of(recipe, unit, training, validation, fabric.world_size))
    fabric.barrier()
    with _Interruption() as interruption:
        run = _Run(fabric, recipe, training, validation, cache, unit, folder, interruption, quiet=quiet)
        return Finished(run.fit(), cache.refused, fabric.global_rank)


def _launch(engine: Engine, precision: Literal["32-true", "bf16-mixed"]) -> Fabric:
    """Fabric, with all its processes there.

    Raises:
        RecipeError: ``recipe_invalid`` if the devices are not there, or ``torchrun`` made another number of processes.
    """
    if engine.accelerator == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise RecipeError("recipe_invalid", "There is no GPU that torch can use; take the accelerator cpu.")
    devices, nodes = engine.devices, engine.nodes
    expected = _torchrun_processes()
    if expected is not None and devices == "auto":  # else Lightning would take one device in each process by itself
        local, world = expected
        devices, nodes = local, world // local
    try:
        fabric = Fabric(accelerator=engine.accelerator, devices=devices, num_nodes=nodes, precision=precision)
        fabric.launch()
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise RecipeError("recipe_invalid", f"These devices cannot be had: {error}") from error
    if expected is not None and fabric.world_size != expected[1]:
        raise RecipeError(
            "recipe_invalid",
            f"torchrun started {expected[1]} processes, but the devices and nodes given make {fabric.world_size}:"
            " leave out both.",
        )
    return fabric


def _torchrun_processes() -> tuple[int, int] | None:
    """How many processes ``torchrun`` started on this machine and altogether; None without it."""
    try:
        return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return None


class _Interruption:
    """Takes notice of Ctrl-C, and stops the run after the batch under way.

    A `KeyboardInterrupt` raised at any place may be lost: Python drops those that come while it forks or collects. A
    second Ctrl-C is not waited with.
    """

    def __init__(self) -> None:
        self._asked = False
        self._former: Any = None

    def __enter__(self) -> _Interruption:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._former = signal.signal(signal.SIGINT, self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        if self._former is not None:
            signal.signal(signal.SIGINT, self._former)

    def _notice(self, *_: object) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def watched(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until there was a Ctrl-C.

        Raises:
            KeyboardInterrupt: there was one.
        """
        for item in items:
            yield item
            if self._asked:
                raise KeyboardInterrupt


def choose_films(recipe: Recipe, films: Sequence[LabelledFilm]) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """Training and validation films by the table's split, or by a random draw where it has none.

    Raises:
        TableError: ``table_split`` if either part is empty.
    """
    data = recipe.data
    training, validation = split_films(films, data.validation_share, data.split_seed)
    training = _limited(training, data.train_limit, data.split_seed)
    validation = _limited(validation, data.validation_limit, data.split_seed)
    return training, validation


def new_net(recipe: Recipe) -> AgeNet:
    """The recipe's net with fresh, or ImageNet's, weights."""
    net = build_net(recipe.net.name, recipe.view.height, recipe.view.width, **recipe.net.options)
    if recipe.train.resize and net.head.pooling == "flatten":
        raise RecipeError("recipe_invalid", f"{recipe.net.name} takes views of one size only: leave out train.resize.")
    if recipe.net.imagenet_weights:
        load_imagenet_weights(net, Path(recipe.net.imagenet_weights))
    return net


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the net. Early steps count more, so that it does not remember the random start."""
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new, 1 - decay)
        else:
            kept.copy_(new)


def learning_rate_at(schedule: Schedule, progress: float) -> float:
    """Learning rate after this share of all steps, 0..1."""
    if schedule.learning_rate_curve == "constant":
        return schedule.learning_rate
    if progress < schedule.warm_up:
        return schedule.learning_rate * (0.05 + 0.95 * progress / schedule.warm_up)
    falling = (progress - schedule.warm_up) / (1 - schedule.warm_up)
    return schedule.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * falling)) / 2)


def run_facts(folder: Path) -> dict[str, Any]:
    """What a run's ``recipe.json`` says.

    Its keys are ``recipe``, ``age_unit``, the films' ids by ``train`` and ``validation`` and, but for early runs,
    ``labels`` (see `film_labels`) and ``processes``.

    Raises:
        RecipeError: there is no such run.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError("recipe_invalid", f"{folder} holds no run (recipe.json).") from error
    except ValueError as error:
        raise RecipeError("recipe_invalid", f"{folder / 'recipe.json'} is damaged: {error}.") from error
    return facts


def film_labels(films: Sequence[LabelledFilm]) -> dict[str, list[float | str]]:
    """Bone age, months, and sex by the film's id, as ``recipe.json`` holds them."""
    return {film.id: [float(film.boneage_months), film.sex.value] for film in films}


def load_run(folder: Path, weights: str = "best") -> tuple[Recipe, AgeNet, AgeUnit, RunState]:
    """A trained net, ready to predict: with the averaged weights, if the run kept them.

    Args:
        folder: of the run.
        weights: ``best`` by validation MAD, or ``last``.

    Raises:
        RecipeError: there is no such run.
    """
    facts = run_facts(folder)
    checkpoint = _read_checkpoint(folder / f"{weights}.ckpt")
    recipe = parse_recipe(facts["recipe"])
    net = build_net(recipe.net.name, recipe.view.height, recipe.view.width, **recipe.net.options)
    net.load_state_dict(checkpoint["average"] or checkpoint["net"])
    return recipe, net.eval(), AgeUnit(**facts["age_unit"]), RunState(**checkpoint["state"])


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """What `_Run` keeps of an epoch.

    Raises:
        RecipeError: the file is missing or damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError("recipe_invalid", f"{path.parent} holds no trained net ({path.name}).") from error
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise RecipeError("recipe_invalid", f"{path} is damaged.") from error
    return checkpoint


class _Run:
    """A run under way: the net, what trains it, and where its record goes."""

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        training: Sequence[LabelledFilm],
        validation: Sequence[LabelledFilm],
        cache: FilmCache,
        unit: AgeUnit,
        folder: Path,
        interruption: _Interruption,
        *,
        quiet: bool,
    ) -> None:
        self.interruption = interruption
        self.fabric, self.recipe, self.cache, self.unit = fabric, recipe, cache, unit
        self.training, self.validation = training, validation
        self.folder, self.quiet = folder, quiet
        for film in [*training, *validation]:
            cache.grey(film.id, recipe.view.grey)  # measured here once, so that the workers of each epoch inherit it
        torch.manual_seed(recipe.train.seed)
        self.net = new_net(recipe)
        nn.Module.to(self.net, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stub
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False) if recipe.train.average_decay else None
        optimizer = _optimizer(self.net, recipe.train)
        self.wrapped, self.optimizer = fabric.setup(self.net, optimizer)
        if self.average is not None:
            self.average.to(fabric.device)
        self.state = self._restore()
        self._refuse_discord()

    def fit(self) -> RunState:
        """All epochs that are left."""
        board = None
        if self.fabric.is_global_zero:
            board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.state.epoch + 1)
        while not self.state.finished(self.recipe.train):
            began = time.perf_counter()
            loss, rate = self._fit_epoch()
            if board is not None:
                row = {"epoch": self.state.epoch + 1.0, "loss": loss, "learning_rate": rate, **self._validate()}
                self._keep({**row, "seconds": time.perf_counter() - began}, board)
            self.state = self.fabric.broadcast(self.state)
        if board is not None:
            board.close()
        return self.state

    def _fit_epoch(self) -> tuple[float, float]:
        """One pass over the training films. Returns the mean loss, over all processes, and the last learning rate."""
        fabric, schedule, epoch = self.fabric, self.recipe.train, self.state.epoch
        batches = training_batches(
            self.training, self.cache, self.recipe, epoch, rank=fabric.global_rank, world=fabric.world_size
        )
        torch.manual_seed(schedule.seed * 1_000_003 + epoch * 1_009 + fabric.global_rank)  # of dropout
        self.wrapped.train()
        total, rate, steps = 0.0, schedule.learning_rate, len(batches)
        bar = _bar(batches, f"epoch {epoch + 1}/{schedule.epochs}", quiet=self.quiet)
        for step, (views, sexes, months) in enumerate(self.interruption.watched(bar)):
            rate = learning_rate_at(schedule, (epoch + step / steps) / schedule.epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            total += self._step(views, sexes, months)
            if self.average is not None:
                update_average(self.average, self.net, schedule.average_decay, epoch * steps + step + 1)
        mean = fabric.all_reduce(torch.tensor(total / steps, device=fabric.device), reduce_op="mean")
        return float(cast("Tensor", mean)), rate

    def _step(self, views: Tensor, sexes: Tensor, months: Tensor) -> float:
        device, schedule = self.fabric.device, self.recipe.train
        ages = self.wrapped(views.to(device, memory_format=torch.channels_last), sexes.to(device))
        loss = _LOSSES[schedule.loss](ages.float(), self.unit.from_months(months.to(device))) + self.net.penalty()
        if not torch.isfinite(loss):
            raise RecipeError(
                "recipe_diverged", f"The loss is no number in epoch {self.state.epoch + 1}: lower the learning rate."
            )
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if schedule.gradient_norm:
            self.fabric.clip_gradients(self.wrapped, self.optimizer, max_norm=schedule.gradient_norm)
        self.optimizer.step()
        return float(loss.detach())

    def _validate(self) -> dict[str, float]:
        """MAD (months) and CCC on unchanged views of the validation films, at this epoch's size.

        In single precision whatever the training's, as the exported net computes.
        """
        height, width = self.recipe.size_at(self.state.epoch)
        spec = replace(self.recipe.view, height=height, width=width)
        batches = validation_batches(
            self.validation, self.cache, spec, batch_size=64, workers=self.recipe.train.workers
        )
        net = self.net if self.average is None else self.average
        net.eval()
        months = predict(net, self.interruption.watched(batches), self.unit, self.fabric.device)
        labels = np.array([film.boneage_months for film in self.validation])
        return {
            "mad_months": float(mean_absolute_difference(labels, months)),
            "ccc": float(concordance(labels, months)),
        }

    def _keep(self, row: EpochRow, board: SummaryWriter) -> None:
        """Write all that is kept of an epoch; the checkpoint last, for it is what a resumed run believes."""
        view = self.recipe.view
        better = self.state.add(row, full_size=self.recipe.size_at(self.state.epoch) == (view.height, view.width))
        write_rows(self.folder / "metrics.csv", list(row), [list(entry.values()) for entry in self.state.history])
        draw_curve({self.folder.name: self.state.history}, self.folder / "curve.png")
        for key in ("loss", "learning_rate", "mad_months", "ccc"):
            board.add_scalar(key, row[key], self.state.epoch)
        board.flush()
        checkpoint = {
            "net": self.net.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": asdict(self.state),
        }
        for name in ["best", "last"] if better else ["last"]:
            with written_whole(self.folder / f"{name}.ckpt") as temporary:
                torch.save(checkpoint, temporary)
        log.info(
            "epoch %d: loss %.4f, validation MAD %.2f months, CCC %.3f, %.0f s",
            *(self.state.epoch, row["loss"], row["mad_months"], row["ccc"], row["seconds"]),
        )

    def _refuse_discord(self) -> None:
        """All processes must go on from the same epoch."""
        epochs = cast("Tensor", self.fabric.all_gather(torch.tensor(self.state.epoch, device=self.fabric.device)))
        if epochs.min() != epochs.max():
            raise RecipeError(
                "recipe_invalid",
                f"The processes found {self.folder} after different epochs, {epochs.tolist()}: all machines must see"
                " the run in one shared folder.",
            )

    def _restore(self) -> RunState:
        path = self.folder / "last.ckpt"
        if not path.exists():
            return RunState()
        checkpoint = _read_checkpoint(path)
        self.net.load_state_dict(checkpoint["net"])
        if self.average is not None:
            self.average.load_state_dict(checkpoint["average"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        state = RunState(**checkpoint["state"])
        log.info("going on after epoch %d", state.epoch)
        return state


@torch.no_grad()
def predict(
    net: AgeNet, batches: Iterable[tuple[Tensor, Tensor, Tensor]], unit: AgeUnit, device: torch.device | str = "cpu"
) -> NDArray[np.float64]:
    """Ages in months, (N,), for the views of all batches; the net in the mode it is in."""
    ages = [
        net(views.to(device, memory_format=torch.channels_last), sexes.to(device)).float().cpu()
        for views, sexes, _ in batches
    ]
    return unit.to_months(torch.cat(ages)).double().numpy()


def _limited(films: list[LabelledFilm], limit: int, seed: int) -> list[LabelledFilm]:
    """At most `limit` films, drawn with the seed; all if it is 0."""
    if not 0 < limit < len(films):
        return films
    return [films[index] for index in sorted(np.random.default_rng(seed).permutation(len(films))[:limit])]


def _open_cache(
    fabric: Fabric, recipe: Recipe, films: Sequence[LabelledFilm], folder: Path, *, quiet: bool
) -> FilmCache:
    """Build the cache in one process, open it in all."""
    if not fabric.is_global_zero:
        fabric.barrier()
    cache = build_cache(
        films,
        folder,
        longest_side=recipe.data.longest_side,
        progress=lambda items: _bar(items, "decoding", quiet=quiet),
    )
    if fabric.is_global_zero:
        fabric.barrier()
    return cache


def _readable(films: Sequence[LabelledFilm], cache: FilmCache, split: str) -> list[LabelledFilm]:
    readable = [film for film in films if film.id in cache]
    if not readable:
        raise TableError("table_empty", f"None of the {len(films)} films of the split {split} can be read.")
    return readable


def _facts_of(
    recipe: Recipe,
    unit: AgeUnit,
    training: Sequence[LabelledFilm],
    validation: Sequence[LabelledFilm],
    processes: int,
) -> dict[str, Any]:
    """What ``recipe.json`` says of a run, as it comes back from there."""
    facts = {
        "recipe": recipe.to_dict(),
        "age_unit": asdict(unit),
        "train": [film.id for film in training],
        "validation": [film.id for film in validation],
        "labels": film_labels([*training, *validation]),
        "processes": processes,
    }
    return cast("dict[str, Any]", json.loads(json.dumps(facts)))


def _claim_folder(folder: Path, facts: dict[str, Any]) -> None:
    """Write what the run is, or check that the run that is there is the same."""
    if not (folder / "recipe.json").exists():
        write_text(folder / "recipe.json", json.dumps(facts))
        return
    # Early runs kept neither labels nor the number of their processes, which was 1.
    there = {"labels": facts["labels"], "processes": 1, **run_facts(folder)}
    differing = _differences(there, facts)
    if differing:
        shown = f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''}"
        raise RecipeError(
            "recipe_changed",
            f"{folder} holds a run that differs in {shown}; choose another folder, or start it as it was.",
        )


def _differences(there: Any, here: Any, place: str = "") -> list[str]:
    """Dotted names of the keys in which two nested dictionaries differ."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return [] if there == here else [place]
    return [
        found
        for key in dict.fromkeys([*there, *here])
        for found in _differences(there.get(key), here.get(key), f"{place}.{key}" if place else key)
    ]


def _optimizer(net: AgeNet, schedule: Schedule) -> torch.optim.Optimizer:
    """Adam (section IV-B) or AdamW; weights of normalisation and biases are not decayed."""
    kind = torch.optim.Adam if schedule.optimizer == "adam" else torch.optim.AdamW
    decayed = [weights for weights in net.parameters() if weights.ndim > 1]
    plain = [weights for weights in net.parameters() if weights.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return kind(groups, lr=schedule.learning_rate, fused=True)


def _bar(items: Any, title: str, *, quiet: bool) -> Any:
    return tqdm(items, desc=title, leave=False, disable=quiet or None)
