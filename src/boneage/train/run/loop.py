"""Training loop: epochs, validation and checkpoints, on the devices of Lightning Fabric.

A task (`boneage.train.run.tasks`) defines the views, the loss and the measure. Everything random follows from
(seed, epoch). A killed run therefore continues after its last complete epoch, with the curve that the uninterrupted
run would have had.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from boneage.errors import RecipeError
from boneage.tables.csv_table import write_rows
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.networks.layers import AgeNetwork, memory_format
from boneage.train.recipe import Recipe
from boneage.train.run.curve import draw_curve
from boneage.train.run.engine import DEFAULT_ENGINE, Engine, launch, reject_different_epochs
from boneage.train.run.interruption import Interruption
from boneage.train.run.optimizers import build_optimizer
from boneage.train.run.prepare import prepare_task
from boneage.train.run.progress import progress_bar
from boneage.train.run.run_folder import (
    EpochRow,
    RunState,
    claim_folder,
    locked_folder,
    read_checkpoint,
    run_record,
    write_checkpoint,
)
from boneage.train.run.schedule import learning_rate_at, update_average
from boneage.train.run.tasks import Task
from boneage.train.run.weights import new_network

log = logging.getLogger(__name__)

_NOT_FIGURES = {"epoch", "processor_seconds", "seconds"}
"""Columns of the history that are neither reported nor drawn as figures of an epoch."""


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of a finished run.

    Attributes:
        state: state after the last epoch.
        measure: column of the history by which epochs are compared, a key of `boneage.train.run.curve.MEASURES`.
        rejected: codes of the radiographs that could not be read, or that lack a hand where one is needed, by id.
        rank: rank of this process; 0 is the process that writes the record.
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
    engine: Engine = DEFAULT_ENGINE,
    quiet: bool = False,
) -> TrainingResult:
    """Train a recipe in `folder`, or continue the run in it.

    Args:
        recipe: recipe to train.
        radiographs: labelled radiographs. Those of the splits ``train`` and ``validation`` are used; a random split is
            drawn where the table has none.
        folder: folder of the run; created if missing.
        cache_folder: folder of decoded radiographs; by default ``cache`` beside the run's folder, which runs on the
            same radiographs share.
        engine: devices and processes.
        quiet: True to show no progress bars.

    Raises:
        RecipeError: ``recipe_changed`` if the folder holds a run of another recipe, of other radiographs or on another
            number of processes. ``recipe_busy`` if another process trains there. ``recipe_invalid`` if the recipe or
            the engine is not possible. ``recipe_diverged`` if the loss or the validation
            error is not finite.
        TableError: ``table_split`` if either split has no radiographs; ``table_empty`` if none of its radiographs can
            be read; ``table_image_missing`` if one cannot be opened.
        KeyboardInterrupt: The process was interrupted. The run continues after its last complete epoch when it is
            started again.
    """
    fabric = launch(engine, recipe.train.precision)
    if recipe.task in ("mask", "outlines") and fabric.device.type == "cpu":
        torch.set_num_threads(1)  # more threads corrupted the heap while the U-Net trained (torch 2.13; docs/log.md)
    quiet = quiet or not fabric.is_global_zero
    task, rejected = prepare_task(fabric, recipe, radiographs, cache_folder or folder.parent / "cache", quiet=quiet)
    torch.manual_seed(recipe.train.seed)
    network = new_network(recipe)  # an impossible network is rejected before the run claims the folder
    if fabric.is_global_zero:
        claim_folder(folder, run_record(task, fabric.world_size, rejected))
    with locked_folder(folder, is_first=fabric.is_global_zero), Interruption() as interruption:
        fabric.barrier()
        run = _Run(fabric, task, network, folder, interruption, quiet=quiet)
        return TrainingResult(run.fit(), task.measure, rejected, fabric.global_rank)


class _Run:
    """A run in progress: its network, its optimizer and its folder."""

    def __init__(
        self, fabric: Fabric, task: Task, network: nn.Module, folder: Path, interruption: Interruption, *, quiet: bool
    ) -> None:
        self.fabric, self.task, self.network, self.folder = fabric, task, network, folder
        self.interruption, self.quiet = interruption, quiet
        self.recipe = task.recipe
        self.layout = memory_format(self.network, fabric.device)
        nn.Module.to(self.network, memory_format=self.layout)  # type: ignore[call-overload]  # not in the stub
        decay = self.recipe.train.average_decay
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False) if decay else None
        self.wrapped, self.optimizer = fabric.setup(self.network, build_optimizer(self.network, self.recipe.train))
        if isinstance(self.network, AgeNetwork):
            for method in ("log_distribution", "log_distributions"):  # lets processes share their gradients
                if hasattr(self.network, method):
                    self.wrapped.mark_forward_method(method)
        if self.average is not None:
            self.average.to(fabric.device)
        self.state = self._restore()
        reject_different_epochs(fabric, self.state.epoch, folder)

    def fit(self) -> RunState:
        """Train all remaining epochs."""
        board = None
        if self.fabric.is_global_zero:
            board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.state.epoch + 1)
        while not self.state.finished(self.recipe.train):
            began, used = time.perf_counter(), _processor_seconds()
            loss, rate = self._fit_epoch()
            if board is not None:
                row = {"epoch": self.state.epoch + 1.0, "loss": loss, "learning_rate": rate, **self._validate()}
                if not math.isfinite(row[self.task.measure]):
                    raise self._diverged()
                times = {"processor_seconds": _processor_seconds() - used, "seconds": time.perf_counter() - began}
                self._record({**row, **times}, board)
            self.state = self.fabric.broadcast(self.state)
        if board is not None:
            board.close()
        return self.state

    def _fit_epoch(self) -> tuple[float, float]:
        """Train on all training radiographs once.

        Returns:
            The mean loss over all processes, and the last learning rate.
        """
        fabric, schedule, epoch = self.fabric, self.recipe.train, self.state.epoch
        batches = self.task.batches(epoch, rank=fabric.global_rank, world=fabric.world_size)
        torch.manual_seed(schedule.seed * 1_000_003 + epoch * 1_009 + fabric.global_rank)  # for dropout
        self.wrapped.train()
        total, rate, steps = 0.0, schedule.learning_rate, len(batches)
        bar = progress_bar(batches, f"epoch {epoch + 1}/{schedule.epochs}", quiet=self.quiet)
        for step, batch in enumerate(self.interruption.watch(bar)):
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
        moved = [view.to(device, memory_format=self.layout), *(tensor.to(device) for tensor in rest)]
        loss = self.task.loss(self.wrapped, moved)
        if not torch.isfinite(loss):
            raise self._diverged()
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if schedule.gradient_norm:
            self.fabric.clip_gradients(self.wrapped, self.optimizer, max_norm=schedule.gradient_norm)
        self.optimizer.step()
        return float(loss.detach())

    def _diverged(self) -> RecipeError:
        return RecipeError(
            "recipe_diverged",
            f"The loss or the validation error in epoch {self.state.epoch + 1} is not finite. Lower the learning rate.",
        )

    def _validate(self) -> dict[str, float]:
        network = self.network if self.average is None else self.average
        network.eval()
        return self.task.validate(network, self.state.epoch, self.fabric.device, self.interruption.watch)

    def _record(self, row: EpochRow, board: SummaryWriter) -> None:
        """Write the results of an epoch. The checkpoint comes last, because a resumed run starts from it."""
        view = self.recipe.view
        measure = self.task.measure
        better = self.state.add(
            row, measure, full_size=self.recipe.size_at(self.state.epoch) == (view.height, view.width)
        )
        write_rows(self.folder / "metrics.csv", list(row), [list(entry.values()) for entry in self.state.history])
        draw_curve({self.folder.name: self.state.history}, self.folder / "curve.png")
        for key, value in row.items():
            if key not in _NOT_FIGURES:
                board.add_scalar(key, value, self.state.epoch)
        board.flush()
        checkpoint = {
            "network": self.network.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "state": asdict(self.state),
        }
        for name in ["best", "last"] if better else ["last"]:
            write_checkpoint(self.folder / f"{name}.ckpt", checkpoint)
        figures = ", ".join(f"{key} {row[key]:.4g}" for key in row if key not in _NOT_FIGURES)
        log.info("epoch %d: %s, %.0f s", self.state.epoch, figures, row["seconds"])

    def _restore(self) -> RunState:
        path = self.folder / "last.ckpt"
        if not path.exists():
            return RunState()
        checkpoint = read_checkpoint(path)
        self.network.load_state_dict(checkpoint["network"])
        if self.average is not None:
            self.average.load_state_dict(checkpoint["average"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        state = RunState(**checkpoint["state"])
        log.info("continuing after epoch %d", state.epoch)
        return state


def _processor_seconds() -> float:
    """Return the processor time of this process and of its finished children, which cut views, in seconds."""
    return sum(os.times()[:4])
