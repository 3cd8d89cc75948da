"""Training: epochs, validation, checkpoints. Devices, precision and processes are Lightning Fabric's.

Everything random follows from (seed, epoch), so a run that was killed goes on from its last whole epoch with the curve that the
unbroken run would have had. A run's folder holds:

* ``recipe.json``: the recipe as run, with the ages' mean and spread and the films' ids by split;
* ``last.ckpt``, ``best.ckpt``: state after the last epoch and after the one with the lowest validation MAD;
* ``metrics.csv``, ``curve.png``, ``tensorboard/``: the curves (Souza & Oliveira, Fig. 6).
"""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from boneage.errors import RecipeError, TableError
from boneage.evaluate.metrics import concordance, mean_absolute_difference
from boneage.films import LabelledFilm, split_films
from boneage.train.cache import FilmCache, build_cache
from boneage.train.curve import draw_curve
from boneage.train.data import training_batches, validation_batches
from boneage.train.nets import build_net
from boneage.train.nets.inception import load_imagenet_weights
from boneage.train.nets.layers import AgeNet
from boneage.train.recipe import Recipe, Schedule, parse_recipe

log = logging.getLogger(__name__)

EpochRow = dict[str, float]
"""One row of ``metrics.csv``: epoch (from 1), loss, learning_rate, mad_months, ccc, seconds."""


@dataclass(frozen=True)
class Engine:
    """Where a run computes; passed to Fabric. Under ``torchrun`` the numbers of devices and nodes come from there."""

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    strategy: str = "auto"


@dataclass(frozen=True)
class AgeUnit:
    """The unit in which nets are trained: mean and spread of the training ages, months."""

    mean_months: float
    spread_months: float

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


def train(
    recipe: Recipe,
    films: Sequence[LabelledFilm],
    folder: Path,
    *,
    cache_folder: Path | None = None,
    engine: Engine = Engine(),
    quiet: bool = False,
) -> RunState:
    """Train a recipe in `folder`, or go on with the run that is there.

    Args:
        recipe: what to train.
        films: labelled films; those of the splits ``train`` and ``validation`` are used, or a random split is drawn.
        folder: of the run; created if missing.
        cache_folder: of decoded films; by default ``cache`` beside the run's folder, shared by runs on the same films.
        engine: devices and processes.
        quiet: no progress bars.

    Raises:
        RecipeError: the folder holds a run of another recipe, or the recipe cannot be built.
        TableError: ``table_empty`` if a split has no films.
    """
    schedule = recipe.train
    fabric = Fabric(
        accelerator=engine.accelerator,
        devices=engine.devices,
        num_nodes=engine.nodes,
        strategy=engine.strategy,
        precision=schedule.precision,
    )
    fabric.launch()
    training, validation = choose_films(recipe, films)
    cache = _open_cache(fabric, recipe, [*training, *validation], cache_folder or folder.parent / "cache", quiet)
    training = [film for film in training if film.id in cache]
    validation = [film for film in validation if film.id in cache]
    for film in [*training, *validation]:
        cache.grey(film.id, recipe.view.grey)  # measured here once, so that the workers of each epoch inherit it
    unit = age_unit(training)
    if fabric.is_global_zero:
        _claim_folder(folder, recipe, unit, training, validation)
    fabric.barrier()

    torch.manual_seed(schedule.seed)
    net = new_net(recipe)
    average = build_average(net, schedule)
    net.to(memory_format=torch.channels_last)
    optimizer = _optimizer(net, schedule)
    wrapped, wrapped_optimizer = fabric.setup(net, optimizer)
    state = RunState()
    if (folder / "last.ckpt").exists():
        state = _restore(folder / "last.ckpt", net, average, optimizer)
        log.info("going on after epoch %d", state.epoch)

    board = SummaryWriter(str(folder / "tensorboard"), purge_step=state.epoch + 1) if fabric.is_global_zero else None
    while state.epoch < schedule.epochs and not _exhausted(state, schedule):
        began = time.perf_counter()
        batches = training_batches(
            training, cache, recipe, state.epoch, rank=fabric.global_rank, world=fabric.world_size
        )
        torch.manual_seed(schedule.seed * 1_000_003 + state.epoch * 1_009 + fabric.global_rank)
        bar = _bar(batches, f"epoch {state.epoch + 1}/{schedule.epochs}", quiet or not fabric.is_global_zero)
        loss, rate = _fit_epoch(fabric, wrapped, net, average, wrapped_optimizer, bar, recipe, unit, state.epoch, len(batches))
        if fabric.is_global_zero:
            tested = average if average is not None else net
            months = predict(fabric, tested, validation, cache, recipe, unit, epoch=state.epoch)
            labels = np.array([film.boneage_months for film in validation])
            row = {
                "epoch": state.epoch + 1,
                "loss": loss,
                "learning_rate": rate,
                "mad_months": mean_absolute_difference(labels, months),
                "ccc": concordance(labels, months),
                "seconds": time.perf_counter() - began,
            }
            _finish_epoch(folder, state, row, net, average, optimizer, board, quiet)
        state = fabric.broadcast(state)
    if board is not None:
        board.close()
    return state


def choose_films(recipe: Recipe, films: Sequence[LabelledFilm]) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """Training and validation films by the table's split, or by a random draw where it has none; limited as the recipe says.

    Raises:
        TableError: ``table_empty``.
    """
    data = recipe.data
    if any(film.split for film in films):
        training = [film for film in films if film.split == "train"]
        validation = [film for film in films if film.split == "validation"]
    else:
        training, validation = split_films(list(films), data.validation_share, data.split_seed)
    chosen = []
    for part, limit, name in (
        (training, data.train_limit, "training"),
        (validation, data.validation_limit, "validation"),
    ):
        if limit and limit < len(part):
            order = np.random.default_rng(data.split_seed).permutation(len(part))[:limit]
            part = [part[index] for index in sorted(order)]  # noqa: PLW2901 - the limited part stands for the part
        if not part:
            raise TableError("table_empty", f"The table has no films for {name}.")
        chosen.append(part)
    return chosen[0], chosen[1]


def age_unit(films: Sequence[LabelledFilm]) -> AgeUnit:
    """Mean and spread of these films' ages."""
    ages = np.array([film.boneage_months for film in films])
    return AgeUnit(float(ages.mean()), float(ages.std()) or 1.0)


def new_net(recipe: Recipe) -> AgeNet:
    """The recipe's net with fresh, or ImageNet's, weights."""
    net = build_net(recipe.net.name, recipe.view.height, recipe.view.width, **recipe.net.options)
    if recipe.net.imagenet_weights:
        if recipe.net.name != "inception-v3":
            raise RecipeError("recipe_invalid", "net.imagenet_weights goes with inception-v3 only.")
        load_imagenet_weights(net, Path(recipe.net.imagenet_weights))
    return net


def build_average(net: AgeNet, schedule: Schedule) -> AgeNet | None:
    """A copy of the net to hold the running average of its weights, or None."""
    if not schedule.average_decay:
        return None
    import copy  # noqa: PLC0415

    average = copy.deepcopy(net).eval().requires_grad_(False)
    return average.to(memory_format=torch.channels_last)


@torch.no_grad()
def update_average(average: nn.Module, net: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the net. Early steps count more, so that it does not remember the random start."""
    decay = min(decay, (1 + step) / (10 + step))
    for kept, new in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(new.to(kept.device), 1 - decay)
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


def predict(
    fabric: Fabric,
    net: AgeNet,
    films: Sequence[LabelledFilm],
    cache: FilmCache,
    recipe: Recipe,
    unit: AgeUnit,
    *,
    epoch: int | None = None,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Ages in months, (N,), on unchanged views: of the size of that epoch, or of the full size."""
    height, width = (recipe.view.height, recipe.view.width) if epoch is None else recipe.size_at(epoch)
    import dataclasses  # noqa: PLC0415

    spec = dataclasses.replace(recipe.view, height=height, width=width)
    batches = validation_batches(films, cache, spec, batch_size=64, workers=recipe.train.workers)
    training = net.training
    net.eval()
    ages = []
    with torch.no_grad(), fabric.autocast():
        for views, sexes, _ in batches:
            views = views.to(fabric.device, memory_format=torch.channels_last)  # noqa: PLW2901
            ages.append(net(views, sexes.to(fabric.device)).float().cpu())
    net.train(training)
    return unit.to_months(torch.cat(ages)).double().numpy()


def load_run(folder: Path, weights: str = "best") -> tuple[Recipe, AgeNet, AgeUnit, RunState]:
    """A trained net, ready to predict: the averaged weights if the run kept them.

    Args:
        folder: of the run.
        weights: ``best`` by validation MAD, or ``last``.

    Raises:
        RecipeError: there is no such run.
    """
    try:
        facts = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        checkpoint = torch.load(folder / f"{weights}.ckpt", map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError("recipe_invalid", f"{folder} holds no trained run ({weights}.ckpt).") from error
    recipe = parse_recipe(facts["recipe"])
    net = build_net(recipe.net.name, recipe.view.height, recipe.view.width, **recipe.net.options)
    net.load_state_dict(checkpoint["average"] or checkpoint["net"])
    return recipe, net.eval(), AgeUnit(**facts["age_unit"]), RunState(**checkpoint["state"])


def _open_cache(
    fabric: Fabric, recipe: Recipe, films: Sequence[LabelledFilm], folder: Path, quiet: bool
) -> FilmCache:
    """Build the cache in one process, open it in all."""
    if fabric.is_global_zero:
        build_cache(
            films,
            folder,
            longest_side=recipe.data.longest_side,
            progress=lambda items: _bar(items, "decoding", quiet),
        )
    fabric.barrier()
    return build_cache(films, folder, longest_side=recipe.data.longest_side)


def _fit_epoch(
    fabric: Fabric,
    wrapped: nn.Module,
    net: AgeNet,
    average: AgeNet | None,
    optimizer: Any,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    recipe: Recipe,
    unit: AgeUnit,
    epoch: int,
    steps: int,
) -> tuple[float, float]:
    """One pass over the training films. Returns the mean loss and the last learning rate."""
    schedule = recipe.train
    distance = nn.functional.l1_loss if schedule.loss == "mae" else nn.functional.mse_loss
    wrapped.train()
    total, rate, step = 0.0, schedule.learning_rate, 0
    for step, (views, sexes, months) in enumerate(batches, start=1):
        rate = learning_rate_at(schedule, (epoch + (step - 1) / steps) / schedule.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        views = views.to(fabric.device, memory_format=torch.channels_last)  # noqa: PLW2901
        ages = wrapped(views, sexes.to(fabric.device))
        loss = distance(ages.float(), unit.from_months(months.to(fabric.device))) + net.penalty()
        if not torch.isfinite(loss):
            raise RecipeError(
                "recipe_diverged", f"The loss is no number in epoch {epoch + 1}: lower the learning rate."
            )
        optimizer.zero_grad()
        fabric.backward(loss)
        if schedule.gradient_norm:
            fabric.clip_gradients(wrapped, optimizer, max_norm=schedule.gradient_norm)
        optimizer.step()
        if average is not None:
            update_average(average, net, schedule.average_decay, epoch * steps + step)
        total += float(loss.detach())
    return total / step, rate


def _finish_epoch(
    folder: Path,
    state: RunState,
    row: EpochRow,
    net: AgeNet,
    average: AgeNet | None,
    optimizer: torch.optim.Optimizer,
    board: SummaryWriter | None,
    quiet: bool,
) -> None:
    """Count the epoch and write all that is kept of it; the checkpoint last, for it is what a resumed run believes."""
    state.epoch += 1
    state.history.append(row)
    better = row["mad_months"] < state.best_mad_months
    state.best_mad_months = min(state.best_mad_months, row["mad_months"])
    state.stale_epochs = 0 if better else state.stale_epochs + 1
    _write_history(folder, state.history)
    draw_curve({folder.name: state.history}, folder / "curve.png")
    if board is not None:
        for key in ("loss", "learning_rate", "mad_months", "ccc"):
            board.add_scalar(key, row[key], state.epoch)
        board.flush()
    checkpoint = {
        "net": net.state_dict(),
        "average": None if average is None else average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "state": {
            "epoch": state.epoch,
            "best_mad_months": state.best_mad_months,
            "stale_epochs": state.stale_epochs,
            "history": state.history,
        },
    }
    if better:
        _save(checkpoint, folder / "best.ckpt")
    _save(checkpoint, folder / "last.ckpt")
    log.info(
        "epoch %d: loss %.4f, validation MAD %.2f months, CCC %.3f, %.0f s",
        state.epoch,
        row["loss"],
        row["mad_months"],
        row["ccc"],
        row["seconds"],
    )


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    temporary = path.with_suffix(".partial")
    torch.save(checkpoint, temporary)
    os.replace(temporary, path)


def _restore(path: Path, net: AgeNet, average: AgeNet | None, optimizer: torch.optim.Optimizer) -> RunState:
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    net.load_state_dict(checkpoint["net"])
    if average is not None:
        average.load_state_dict(checkpoint["average"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    return RunState(**checkpoint["state"])


def _write_history(folder: Path, history: list[EpochRow]) -> None:
    temporary = folder / "metrics.csv.partial"
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
    os.replace(temporary, folder / "metrics.csv")


def _claim_folder(
    folder: Path, recipe: Recipe, unit: AgeUnit, training: list[LabelledFilm], validation: list[LabelledFilm]
) -> None:
    """Write what the run is, or check that the run that is there is the same."""
    facts = {
        "recipe": recipe.to_dict(),
        "age_unit": {"mean_months": unit.mean_months, "spread_months": unit.spread_months},
        "train": [film.id for film in training],
        "validation": [film.id for film in validation],
    }
    text = json.dumps(facts)
    path = folder / "recipe.json"
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8")) != json.loads(text):
            raise RecipeError(
                "recipe_changed", f"{folder} holds a run of another recipe or other films; choose another folder."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "recipe.json.partial"
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _optimizer(net: AgeNet, schedule: Schedule) -> torch.optim.Optimizer:
    """Adam (section IV-B) or AdamW, fused; weights of normalisation and biases are not decayed."""
    kind = torch.optim.Adam if schedule.optimizer == "adam" else torch.optim.AdamW
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return kind(groups, lr=schedule.learning_rate, fused=True)


def _exhausted(state: RunState, schedule: Schedule) -> bool:
    return bool(schedule.patience) and state.stale_epochs >= schedule.patience


def _bar(items: Any, title: str, quiet: bool) -> Any:
    return tqdm(items, desc=title, leave=False, disable=quiet or None)
