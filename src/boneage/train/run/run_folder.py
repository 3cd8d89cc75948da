"""Folder of a run: its record, checkpoints and lock.

A folder holds these files:

* ``recipe.json``: the record, which is the recipe as run, the unit of ages, the radiographs' ids by split, their
  labels, and the number of processes;
* ``last.ckpt``, ``best.ckpt``: the state after the last epoch and after the one with the lowest validation error;
* ``metrics.csv``, ``curve.png``, ``tensorboard/``: the curves (Souza & Oliveira, Fig. 6).
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock, Timeout

from boneage.errors import RecipeError
from boneage.files import atomic_write, write_text
from boneage.train.recipe import Schedule
from boneage.train.run.tasks import Task

EpochRow = dict[str, float]
"""Row of ``metrics.csv``: epoch (from 1), loss, learning_rate, the task's figures, processor_seconds, seconds."""


@dataclass
class RunState:
    """State that an epoch changes and a checkpoint stores.

    Attributes:
        epoch: number of finished epochs.
        best: lowest validation error of an epoch on full-size views.
        stale_epochs: epochs on full-size views since then.
        history: rows of ``metrics.csv``.
    """

    epoch: int = 0
    best: float = math.inf
    stale_epochs: int = 0
    history: list[EpochRow] = field(default_factory=list)

    def add(self, row: EpochRow, measure: str, *, full_size: bool) -> bool:
        """Count an epoch, and return True if it is the best one so far by the task's measure.

        Only an epoch on full-size views can be the best.
        """
        better = full_size and row[measure] < self.best
        self.epoch += 1
        self.history.append(row)
        if better:
            self.best = row[measure]
        if full_size:
            self.stale_epochs = 0 if better else self.stale_epochs + 1
        return better

    def finished(self, schedule: Schedule) -> bool:
        """Return True if all epochs are done, or the validation error has not fallen for ``patience`` epochs."""
        return self.epoch >= schedule.epochs or 0 < schedule.patience <= self.stale_epochs


def read_run_record(folder: Path) -> dict[str, Any]:
    """Read a run's ``recipe.json``.

    The keys are ``recipe``, ``processes``, and the radiographs' ids by ``train``, ``validation`` and ``rejected``; runs
    of earlier versions lack the last. The record of a
    network for ages also has ``age_unit`` and ``labels`` (see `boneage.train.run.age_tasks.radiograph_labels`), and, if
    the network reads registered hands, ``hands`` (see `boneage.train.data.hands.hand_fingerprint`).

    Raises:
        RecipeError: ``recipe_invalid`` if there is no such run.
    """
    try:
        record: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError("recipe_invalid", f"{folder} holds no run (recipe.json).") from error
    except ValueError as error:
        raise RecipeError("recipe_invalid", f"{folder / 'recipe.json'} is damaged: {error}.") from error
    return record


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the checkpoint of an epoch, as the training loop stores it.

    Raises:
        RecipeError: ``recipe_invalid`` if the file is missing or damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise RecipeError("recipe_invalid", f"{path.parent} holds no trained network ({path.name}).") from error
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise RecipeError("recipe_invalid", f"{path} is damaged.") from error
    return checkpoint


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write the checkpoint of an epoch in one step."""
    with atomic_write(path) as temporary:
        torch.save(dict(checkpoint), temporary)


def run_record(task: Task, processes: int, rejected: Collection[str]) -> dict[str, Any]:
    """Return the record of a run, as JSON stores it.

    Args:
        task: task of the run.
        processes: number of processes.
        rejected: ids of chosen radiographs that the run leaves out, since it cannot use them.
    """
    record = {
        "recipe": task.recipe.to_dict(),
        **task.record(),
        "train": [radiograph.id for radiograph in task.training],
        "validation": [radiograph.id for radiograph in task.validation],
        "rejected": sorted(rejected),
        "processes": processes,
    }
    return cast("dict[str, Any]", json.loads(json.dumps(record)))


def claim_folder(folder: Path, record: dict[str, Any]) -> None:
    """Write the record of a run, or check that the folder holds the same run already.

    Raises:
        RecipeError: ``recipe_changed`` if the folder holds another run.
    """
    if not (folder / "recipe.json").exists():
        write_text(folder / "recipe.json", json.dumps(record))
        return
    stored, new = map(_decisive, (read_run_record(folder), record))
    differing = _differences(stored, new)
    if differing:
        shown = f"{', '.join(differing[:5])}{', ...' if len(differing) > 5 else ''}"
        raise RecipeError(
            "recipe_changed",
            f"{folder} holds a run that differs in {shown}. Choose another folder, or repeat the run's options.",
        )


def _decisive(record: dict[str, Any]) -> dict[str, Any]:
    """Return what decides a run, without what follows from it.

    Runs of earlier versions have no rejected radiographs in their record; a change of these changes the others, too.
    So do the limits of the hand's search, the last part of ``hands``, which decide only what is rejected.
    """
    return {**record, "rejected": None, "hands": record.get("hands", [])[:-1]}


@contextmanager
def locked_folder(folder: Path, *, is_first: bool) -> Iterator[None]:
    """Hold the folder's lock in the first process of a run: two training runs would overwrite each other's epochs.

    Raises:
        RecipeError: ``recipe_busy`` if another process holds the lock.
    """
    if not is_first:
        yield
        return
    lock = FileLock(folder / "run.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout as error:
        raise RecipeError("recipe_busy", f"Another process trains in {folder}. Wait for it, or end it.") from error
    with held:
        yield


def _differences(stored: Any, new: Any, place: str = "") -> list[str]:
    """Return the dotted names of the keys in which two nested dictionaries differ."""
    if not (isinstance(stored, dict) and isinstance(new, dict)):
        return [] if stored == new else [place]
    return [
        name
        for key in dict.fromkeys([*stored, *new])
        for name in _differences(stored.get(key), new.get(key), f"{place}.{key}" if place else key)
    ]
