"""Devices and processes of a run."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from lightning.fabric import Fabric

from boneage.errors import RecipeError
from boneage.train.run.engine import Engine, launch, reject_different_epochs


def test_launch_rejects_devices_unlike_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchrun with a number of devices that does not fit is rejected."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError) as caught:
        launch(Engine("cpu", 1), "32-true")
    assert caught.value.code == "recipe_invalid"


def test_reject_different_epochs_of_processes(tmp_path: Path) -> None:
    class Apart:
        """A fabric of two processes, the other of which found no checkpoint."""

        device = "cpu"

        def all_gather(self, epoch: torch.Tensor) -> torch.Tensor:
            return torch.stack([epoch, torch.zeros_like(epoch)])

    processes = cast("Fabric", Apart())
    reject_different_epochs(processes, 0, tmp_path)
    with pytest.raises(RecipeError, match="shared folder"):
        reject_different_epochs(processes, 3, tmp_path)
