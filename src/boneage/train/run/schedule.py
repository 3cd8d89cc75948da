"""Learning rate and weight average as functions of the training step."""

from __future__ import annotations

import math

import torch
from torch import nn

from boneage.train.recipe import Schedule


def learning_rate_at(schedule: Schedule, progress: float) -> float:
    """Return the learning rate after a share of all steps, 0..1."""
    if schedule.learning_rate_curve == "constant":
        return schedule.learning_rate
    if progress < schedule.warm_up:
        return schedule.learning_rate * (0.05 + 0.95 * progress / schedule.warm_up)
    falling = (progress - schedule.warm_up) / (1 - schedule.warm_up)
    return schedule.learning_rate * (0.001 + 0.999 * (1 + math.cos(math.pi * falling)) / 2)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the average towards the network.

    The first steps weigh more, so that the average does not keep the random initial weights.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(new, 1 - decay)
        else:
            mean.copy_(new)
