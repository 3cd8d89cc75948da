"""Training: epochs, validation, checkpoints. Devices, precision and processes are Lightning Fabric's. What is learnt,
from which radiographs and with which loss, is a task's (`boneage.train.run.tasks`).

Everything random follows from (seed, epoch), so a run that was killed goes on from its last whole epoch with the curve
that the unbroken run would have had. A run's folder holds:

* ``recipe.json``: the recipe as run, with the ages' unit, the radiographs' ids by split, their labels, and the number
of
  processes;
* ``last.ckpt``, ``best.ckpt``: state after the last epoch and after the one with the lowest validation error;
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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from filelock import FileLock, Timeout
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from boneage.errors import RecipeError, Rejection, TableError
from boneage.files import atomic_write, write_text
from boneage.tables.csv_table import write_rows
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.networks import build_hand_network, build_network
from boneage.train.networks.inception import load_imagenet_weights
from boneage.train.networks.layers import AgeNetwork
from boneage.train.recipe import Recipe, Schedule, parse_recipe
from boneage.train.run.curve import draw_curve
from boneage.train.run.optimizers import build_optimizer
from boneage.train.run.tasks import HAND_TASKS, AgeTask, AgeUnit, QualityTask, Task, choose_radiographs

log = logging.getLogger(__name__)

T = TypeVar("T")

EpochRow = dict[str, float]
"""One row of ``metrics.csv``: epoch (from 1), loss, learning_rate, the task's figures, seconds."""


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


@dataclass
class RunState:
    """What an epoch changes, and a checkpoint keeps."""

    epoch: int = 0
    best: float = math.inf
    stale_epochs: int = 0
    history: list[EpochRow] = field(default_factory=list)

    def add(self, row: EpochRow, measure: str, *, full_size: bool) -> bool:
        """Count an epoch; whether it is the best so far by the task's measure. Only one on full-size views can be."""
        better = full_size and row[measure] < self.best
        self.epoch += 1
        self.history.append(row)
        if better:
            self.best = row[measure]
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
        measure: the column of its history by which epochs are compared, a key of `boneage.train.run.curve.MEASURES`.
        rejected: radiographs that could not be read, or show no hand that is needed, by id, with the code.
        rank: of this process, 0 for the one that keeps the record.
    """

    state: RunState
    measure: str
    rejected: Mapping[str, str]
    rank: int


def train(
    recipe: Recipe,
    radiographs: Sequence[LabelledRadiograph],
    folder: Path,
    *,
    cache_folder: Path | None = None,
    engine: Engine = Engine(),
    quiet: bool = False,
) -> Finished:
    """Train a recipe in `folder`, or go on with the run that is there.

    Args:
        recipe: what to train.
        radiographs: labelled radiographs; those of the splits ``train`` and ``validation`` are used, or a random split
            is drawn.
        folder: of the run; created if missing.
        cache_folder: of decoded radiographs; by default ``cache`` beside the run's folder, shared by runs on the same
            radiographs.
        engine: devices and processes.
        quiet: no progress bars.

    Raises:
        RecipeError: the folder holds a run of another recipe, of other radiographs or on another number of processes
            (``recipe_changed``), another process trains there (``recipe_busy``), the recipe or engine cannot be had
            (``recipe_invalid``), or the loss became infinite (``recipe_diverged``).
        TableError: ``table_split`` if either split has no radiographs, ``table_empty`` if none of its radiographs can
            be read, ``table_image_missing`` if one cannot be opened.
        KeyboardInterrupt: the process was interrupted; the run goes on from its last whole epoch when it is started
            again.
    """
    fabric = _launch(engine, recipe.train.precision)
    if recipe.task == "mask" and fabric.device.type == "cpu":
        torch.set_num_threads(1)  # with more, training the U-Net ended in a corrupted heap (torch 2.13; docs/log.md)
    quiet = quiet or not fabric.is_global_zero
    task, rejected = _prepare(fabric, recipe, radiographs, cache_folder or folder.parent / "cache", quiet=quiet)
    torch.manual_seed(recipe.train.seed)
    network = new_network(recipe)  # what cannot be built is rejected before the folder is its run's
    if fabric.is_global_zero:
        _claim_folder(folder, _facts_of(task, fabric.world_size))
    with _alone_in(folder, is_first=fabric.is_global_zero), _Interruption() as interruption:
        fabric.barrier()
        run = _Run(fabric, task, network, folder, interruption, quiet=quiet)
        return Finished(run.fit(), task.measure, rejected, fabric.global_rank)


def _prepare(
    fabric: Fabric, recipe: Recipe, radiographs: Sequence[LabelledRadiograph], cache_folder: Path, *, quiet: bool
) -> tuple[Task, dict[str, str]]:
    """The task with its radiographs decoded and, where its views need it, their hands found; and the radiographs left
    out.
    """
    training, validation = choose_radiographs(recipe, radiographs)
    chosen = {radiograph.id for radiograph in [*training, *validation]}
    # Of one table there is one cache, whichever part of it a recipe takes; of a few radiographs only theirs.
    shared = not (recipe.data.train_limit or recipe.data.validation_limit)
    table = [radiograph for radiograph in radiographs if shared or radiograph.id in chosen]
    cache = _open_cache(fabric, recipe, table, cache_folder, quiet=quiet)
    rejected = {radiograph_id: code for radiograph_id, code in cache.rejected.items() if radiograph_id in chosen}
    training, validation = _readable(training, cache, "train"), _readable(validation, cache, "validation")
    hands = None
    if recipe.task not in HAND_TASKS and recipe.view.needs_hand:
        hands = _open_hands(fabric, recipe, table, cache, quiet=quiet)
        rejected |= {radiograph_id: code for radiograph_id, code in hands.rejected.items() if radiograph_id in chosen}
        training, validation = _readable(training, hands, "train"), _readable(validation, hands, "validation")
    if recipe.task == "quality" and hands is not None:  # where a hand was found there is no even grey
        return QualityTask(recipe, training, validation, cache, hands), rejected
    even = _measure_grey([*training, *validation], recipe, cache, hands)
    rejected |= even
    training, validation = _kept(training, even, "train"), _kept(validation, even, "validation")
    if recipe.task == "age":
        return AgeTask(recipe, training, validation, cache, hands), rejected
    return HAND_TASKS[recipe.task](recipe, training, validation, cache), rejected


def _measure_grey(
    radiographs: Sequence[LabelledRadiograph], recipe: Recipe, cache: RadiographCache, hands: HandTable | None
) -> dict[str, str]:
    """Measure grey levels once, before processes that would each do so. Returns radiographs of one grey, with the
    code.
    """
    even: dict[str, str] = {}
    for radiograph in radiographs:
        try:
            cache.grey(radiograph.id, recipe.view.grey, None if hands is None else hands.hand(radiograph.id))
        except Rejection as rejection:
            even[radiograph.id] = rejection.code
    return even


def _kept(radiographs: Sequence[LabelledRadiograph], rejected: Collection[str], split: str) -> list[LabelledRadiograph]:
    kept = [radiograph for radiograph in radiographs if radiograph.id not in rejected]
    if not kept:
        raise TableError("table_empty", f"None of the {len(radiographs)} radiographs of the split {split} can be read.")
    return kept


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


def new_network(recipe: Recipe) -> nn.Module:
    """The recipe's network with fresh weights, ImageNet's, or those of an earlier run.

    Raises:
        RecipeError: ``recipe_invalid`` if network and recipe do not go together.
    """
    network = _build(recipe)
    if recipe.train.resize and not (isinstance(network, AgeNetwork) and network.head.pooling == "average"):
        raise RecipeError(
            "recipe_invalid", f"{recipe.network.name} takes views of one size only: leave out train.resize."
        )
    if recipe.train.loss == "label-distribution" and not (
        isinstance(network, AgeNetwork) and network.gives_distribution
    ):
        raise RecipeError("recipe_invalid", f"{recipe.network.name} as it stands gives no distribution to learn by.")
    if recipe.network.imagenet_weights:
        if not isinstance(network, AgeNetwork):
            raise RecipeError("recipe_invalid", "ImageNet's weights are for networks for ages.")
        load_imagenet_weights(network, Path(recipe.network.imagenet_weights))
    if recipe.train.initial_weights:
        _take_weights(network, _read_checkpoint(Path(recipe.train.initial_weights) / "last.ckpt"))
    return network


def _build(recipe: Recipe) -> nn.Module:
    network, view = recipe.network, recipe.view
    if recipe.task == "age":
        return build_network(network.name, view.height, view.width, **network.options)
    return build_hand_network(recipe.task, network.name, view.height, view.width, **network.options)


def _take_weights(network: nn.Module, checkpoint: Mapping[str, Any]) -> None:
    """The averaged weights of a checkpoint, if it has some, else the plain ones."""
    try:
        network.load_state_dict(checkpoint["average"] or checkpoint["network"])
    except RuntimeError as error:
        raise RecipeError("recipe_invalid", f"The weights are those of another network: {error}") from error


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network. Early steps count more, so that it does not remember the random start."""
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
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

    Its keys are ``recipe``, the radiographs' ids by ``train`` and ``validation``, of a network for ages ``age_unit``
    and, but for early runs, ``labels`` (see `boneage.train.run.tasks.radiograph_labels`) and, if it reads registered
    hands, ``hands`` (see `boneage.train.data.hands.found_by`); and ``processes``.

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


def load_run(folder: Path, weights: str = "best") -> tuple[Recipe, AgeNetwork, AgeUnit, RunState]:
    """A trained network for ages, ready to predict: with the averaged weights, if the run kept them.

    Args:
        folder: of the run.
        weights: ``best`` by validation MAD, or ``last``.

    Raises:
        RecipeError: there is no such run.
    """
    recipe, network, state = load_hand_run(folder, weights)
    if not isinstance(network, AgeNetwork):
        raise RecipeError("recipe_invalid", f"{folder} holds a run for the task {recipe.task}, not for ages.")
    return recipe, network, AgeUnit(**run_facts(folder)["age_unit"]), state


def load_hand_run(folder: Path, weights: str = "best") -> tuple[Recipe, nn.Module, RunState]:
    """A trained network of any task, as `load_run`.

    Raises:
        RecipeError: there is no such run.
    """
    facts = run_facts(folder)
    checkpoint = _read_checkpoint(folder / f"{weights}.ckpt")
    recipe = parse_recipe(facts["recipe"])
    network = _build(recipe)
    _take_weights(network, checkpoint)
    return recipe, network.eval(), _state_of(checkpoint)


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """What `_Run` keeps of an epoch.

    Raises:
        RecipeError: the file is missing or damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError("recipe_invalid", f"{path.parent} holds no trained network ({path.name}).") from error
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise RecipeError("recipe_invalid", f"{path} is damaged.") from error
    return checkpoint


def _state_of(checkpoint: Mapping[str, Any]) -> RunState:
    """The state that a checkpoint keeps; those of early runs, all for ages, call the best error otherwise."""
    state = dict(checkpoint["state"])
    if "best_mad_months" in state:
        state["best"] = state.pop("best_mad_months")
    return RunState(**state)


class _Run:
    """A run under way: the network, what trains it, and where its record goes."""

    def __init__(
        self, fabric: Fabric, task: Task, network: nn.Module, folder: Path, interruption: _Interruption, *, quiet: bool
    ) -> None:
        self.fabric, self.task, self.network, self.folder = fabric, task, network, folder
        self.interruption, self.quiet = interruption, quiet
        self.recipe = task.recipe
        nn.Module.to(self.network, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stub
        decay = self.recipe.train.average_decay
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False) if decay else None
        self.wrapped, self.optimizer = fabric.setup(self.network, build_optimizer(self.network, self.recipe.train))
        if isinstance(self.network, AgeNetwork):
            self.wrapped.mark_forward_method("log_distribution")  # else processes would not share its gradients
        if self.average is not None:
            self.average.to(fabric.device)
        self.state = self._restore()
        self._reject_discord()

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
        """One pass over the training radiographs. Returns the mean loss, over all processes, and the last learning
        rate.
        """
        fabric, schedule, epoch = self.fabric, self.recipe.train, self.state.epoch
        batches = self.task.batches(epoch, rank=fabric.global_rank, world=fabric.world_size)
        torch.manual_seed(schedule.seed * 1_000_003 + epoch * 1_009 + fabric.global_rank)  # of dropout
        self.wrapped.train()
        total, rate, steps = 0.0, schedule.learning_rate, len(batches)
        bar = _bar(batches, f"epoch {epoch + 1}/{schedule.epochs}", quiet=self.quiet)
        for step, batch in enumerate(self.interruption.watched(bar)):
            rate = learning_rate_at(schedule, (epoch + step / steps) / schedule.epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            total += self._step(batch)
            if self.average is not None:
                update_average(self.average, self.network, schedule.average_decay, epoch * steps + step + 1)
        mean = fabric.all_reduce(torch.tensor(total / steps, device=fabric.device), reduce_op="mean")
        return float(cast("Tensor", mean)), rate

    def _step(self, batch: Sequence[Tensor]) -> float:
        device, schedule = self.fabric.device, self.recipe.train
        view, *rest = batch
        moved = [view.to(device, memory_format=torch.channels_last), *(tensor.to(device) for tensor in rest)]
        loss = self.task.loss(self.wrapped, moved)
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
        network = self.network if self.average is None else self.average
        network.eval()
        return self.task.validate(network, self.state.epoch, self.fabric.device, self.interruption.watched)

    def _keep(self, row: EpochRow, board: SummaryWriter) -> None:
        """Write all that is kept of an epoch; the checkpoint last, for it is what a resumed run believes."""
        view = self.recipe.view
        measure = self.task.measure
        better = self.state.add(
            row, measure, full_size=self.recipe.size_at(self.state.epoch) == (view.height, view.width)
        )
        write_rows(self.folder / "metrics.csv", list(row), [list(entry.values()) for entry in self.state.history])
        draw_curve({self.folder.name: self.state.history}, self.folder / "curve.png")
        for key, value in row.items():
            if key not in {"epoch", "seconds"}:
                board.add_scalar(key, value, self.state.epoch)
        board.flush()
        checkpoint = {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": asdict(self.state),
        }
        for name in ["best", "last"] if better else ["last"]:
            with atomic_write(self.folder / f"{name}.ckpt") as temporary:
                torch.save(checkpoint, temporary)
        figures = ", ".join(f"{key} {row[key]:.4g}" for key in row if key not in {"epoch", "seconds"})
        log.info("epoch %d: %s, %.0f s", self.state.epoch, figures, row["seconds"])

    def _reject_discord(self) -> None:
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
        self.network.load_state_dict(checkpoint["network"])
        if self.average is not None:
            self.average.load_state_dict(checkpoint["average"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        state = _state_of(checkpoint)
        log.info("going on after epoch %d", state.epoch)
        return state


def _open_cache(
    fabric: Fabric, recipe: Recipe, radiographs: Sequence[LabelledRadiograph], folder: Path, *, quiet: bool
) -> RadiographCache:
    """Build the cache in one process, open it in all."""
    if not fabric.is_global_zero:
        fabric.barrier()
    cache = build_cache(
        radiographs,
        folder,
        longest_side=recipe.data.longest_side,
        progress=lambda items: _bar(items, "decoding", quiet=quiet),
    )
    if fabric.is_global_zero:
        fabric.barrier()
    return cache


def _open_hands(
    fabric: Fabric, recipe: Recipe, radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, *, quiet: bool
) -> HandTable:
    """Find the hands in one process, open their table in all."""
    if not fabric.is_global_zero:
        fabric.barrier()
    table = open_hands(
        recipe.data.hands, radiographs, cache, progress=lambda items: _bar(items, "finding hands", quiet=quiet)
    )
    if fabric.is_global_zero:
        fabric.barrier()
    return table


def _readable(
    radiographs: Sequence[LabelledRadiograph], cache: RadiographCache | HandTable, split: str
) -> list[LabelledRadiograph]:
    missing = {radiograph.id for radiograph in radiographs if radiograph.id not in cache}
    return _kept(radiographs, missing, split)


def _facts_of(task: Task, processes: int) -> dict[str, Any]:
    """What ``recipe.json`` says of a run, as it comes back from there."""
    facts = {
        "recipe": task.recipe.to_dict(),
        **task.facts(),
        "train": [radiograph.id for radiograph in task.training],
        "validation": [radiograph.id for radiograph in task.validation],
        "processes": processes,
    }
    return cast("dict[str, Any]", json.loads(json.dumps(facts)))


def _claim_folder(folder: Path, facts: dict[str, Any]) -> None:
    """Write what the run is, or check that the run that is there is the same."""
    if not (folder / "recipe.json").exists():
        write_text(folder / "recipe.json", json.dumps(facts))
        return
    # Early runs kept neither labels nor the number of their processes, which was 1, nor what recipes have gained since.
    kept: dict[str, Any] = {key: facts[key] for key in ("labels", "hands") if key in facts}
    there = {**kept, "processes": 1, **run_facts(folder)}
    there["recipe"] = json.loads(json.dumps(parse_recipe(there.get("recipe", {})).to_dict()))
    differing = _differences(there, facts)
    if differing:
        shown = f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''}"
        raise RecipeError(
            "recipe_changed",
            f"{folder} holds a run that differs in {shown}; choose another folder, or start it as it was.",
        )


@contextmanager
def _alone_in(folder: Path, *, is_first: bool) -> Iterator[None]:
    """Two trainings in one folder would write over each other's epochs. The first process of a run holds its lock."""
    if not is_first:
        yield
        return
    lock = FileLock(folder / "run.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout as error:
        raise RecipeError("recipe_busy", f"Another process trains in {folder}; wait for it, or end it.") from error
    with held:
        yield


def _differences(there: Any, here: Any, place: str = "") -> list[str]:
    """Dotted names of the keys in which two nested dictionaries differ."""
    if not (isinstance(there, dict) and isinstance(here, dict)):
        return [] if there == here else [place]
    return [
        found
        for key in dict.fromkeys([*there, *here])
        for found in _differences(there.get(key), here.get(key), f"{place}.{key}" if place else key)
    ]


def _bar(items: Any, title: str, *, quiet: bool) -> Any:
    return tqdm(items, desc=title, leave=False, disable=quiet or None)
