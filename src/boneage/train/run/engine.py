"""Devices and processes of a run, started through Lightning Fabric."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from boneage.errors import RecipeError


@dataclass(frozen=True)
class Engine:
    """Devices that a run computes on, passed to Fabric. Under ``torchrun``, ``auto`` devices are its processes.

    Attributes:
        accelerator: ``cpu``, ``gpu`` or ``auto``.
        devices: number of devices on each node, or ``auto``.
        nodes: number of machines.
    """

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1


DEFAULT_ENGINE = Engine()
"""All devices of this machine."""


def launch(engine: Engine, precision: Literal["32-true", "bf16-mixed"]) -> Fabric:
    """Start Fabric with all its processes.

    Raises:
        RecipeError: ``recipe_invalid`` if the devices are missing, or ``torchrun`` started another number of processes.
    """
    if engine.accelerator == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise RecipeError("recipe_invalid", "There is no GPU that torch can use; take the accelerator cpu.")
    devices, nodes = engine.devices, engine.nodes
    expected = _torchrun_processes()
    if expected is not None and devices == "auto":  # Lightning alone would take one device in each process
        local, world = expected
        devices, nodes = local, world // local
    try:
        fabric = Fabric(accelerator=engine.accelerator, devices=devices, num_nodes=nodes, precision=precision)
        fabric.launch()
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise RecipeError("recipe_invalid", f"These devices are not available: {error}") from error
    if expected is not None and fabric.world_size != expected[1]:
        raise RecipeError(
            "recipe_invalid",
            f"torchrun started {expected[1]} processes, but the given devices and nodes make {fabric.world_size}."
            " Leave out both options.",
        )
    return fabric


def reject_different_epochs(fabric: Fabric, epoch: int, folder: Path) -> None:
    """Reject processes that would continue from different epochs.

    Args:
        fabric: the processes.
        epoch: number of epochs that this process has read from the folder.
        folder: folder of the run.

    Raises:
        RecipeError: ``recipe_invalid`` if the processes differ.
    """
    epochs = cast("Tensor", fabric.all_gather(torch.tensor(epoch, device=fabric.device)))
    if epochs.min() != epochs.max():
        raise RecipeError(
            "recipe_invalid",
            f"The processes read {folder} after different epochs, {epochs.tolist()}."
            " Give all machines one shared folder for the run.",
        )


def _torchrun_processes() -> tuple[int, int] | None:
    """Return the processes that ``torchrun`` started on this machine and in total; None without ``torchrun``."""
    try:
        return int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    except (KeyError, ValueError):
        return None
