"""Optimizers: Adam, AdamW, and Muon for convolution kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from boneage.train.recipe import Schedule

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that brings singular values near 1 (Jordan 2024).

They give the steepest rise of small singular values.
"""

_ITERATIONS = 5

_ADAM_STEP = 0.2
"""Root mean square of AdamW's usual step, in learning rates.

Muon's step is scaled to it (Liu et al. 2025, section 2.2).
"""


def build_optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Build Adam (Souza & Oliveira, section IV-B), AdamW or Muon.

    Weights of normalisation and biases are not decayed.
    """
    if schedule.optimizer == "muon":
        return Muon(network, schedule)
    kind = torch.optim.Adam if schedule.optimizer == "adam" else torch.optim.AdamW
    return kind(_adam_groups(list(network.parameters()), schedule), lr=schedule.learning_rate, fused=True)


class Muon(torch.optim.AdamW):
    """Muon (Jordan 2024) for kernels between feature maps, and AdamW for stem, dense layers, normalisation and biases.

    The momentum of each kernel, as a matrix (channels out, channels in x places), is made nearly orthogonal before it
    becomes a step. Directions with small gradients are therefore trained as fast as others. Steps have the size of
    AdamW's and share its learning rate.

    Args:
        network: network to train.
        schedule: learning rate and decay.
        momentum: momentum of the kernels' gradients.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, *, momentum: float = 0.95) -> None:
        kernels = [weights for weights in network.parameters() if weights.ndim == 4 and weights.shape[1] > 1]
        others = [weights for weights in network.parameters() if weights.ndim != 4 or weights.shape[1] == 1]
        plain = [{**group, "momentum": 0.0} for group in _adam_groups(others, schedule)]
        straight = {"params": kernels, "weight_decay": schedule.weight_decay, "momentum": momentum}
        groups = [group for group in [*plain, straight] if group["params"]]
        super().__init__(groups, lr=schedule.learning_rate, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step of both kinds."""
        everything = self.param_groups
        self.param_groups = [group for group in everything if not group["momentum"]]
        try:
            loss: float | None = super().step(closure)
        finally:
            self.param_groups = everything
        for group in everything:
            if group["momentum"]:
                self._step_kernels(group)
        return loss

    def _step_kernels(self, group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, int], list[Tensor]] = {}
        for weights in group["params"]:
            if weights.grad is not None:
                by_shape.setdefault((weights.shape[0], weights[0].numel()), []).append(weights)
        for (rows, columns), kernels in by_shape.items():
            steps = orthogonal(torch.stack([self._direction(weights, group["momentum"]) for weights in kernels]))
            size = group["lr"] * _ADAM_STEP * math.sqrt(max(rows, columns))
            for weights, step in zip(kernels, steps, strict=True):
                places = weights.shape[2:]
                weights.mul_(1 - group["lr"] * group["weight_decay"])
                weights.sub_(step.reshape(rows, *places, -1).movedim(-1, 1), alpha=size)

    def _direction(self, weights: Tensor, momentum: float) -> Tensor:
        """Return Nesterov's momentum as a matrix, with columns by place first, as the channels lie in memory."""
        gradient, state = weights.grad, self.state[weights]
        assert gradient is not None  # noqa: S101 - for the type checker; the caller leaves those without gradient out
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weights)
            state["step"] = torch.tensor(0.0)  # AdamW expects it in every state that is loaded
        state["momentum"].lerp_(gradient, 1 - momentum)
        ahead: Tensor = gradient.lerp(state["momentum"], momentum)
        return ahead.movedim(1, -1).reshape(weights.shape[0], -1)


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (N, m, n) with the same singular vectors, and singular values brought to about 0.7 to 1.2.

    They are computed in bfloat16, because the iteration corrects its own rounding.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    straight: Tensor = x.mT if tall else x
    return straight.to(matrices.dtype)


def _adam_groups(parameters: list[nn.Parameter], schedule: Schedule) -> list[dict[str, Any]]:
    decayed = [weights for weights in parameters if weights.ndim > 1]
    plain = [weights for weights in parameters if weights.ndim <= 1]
    return [
        {"params": decayed, "weight_decay": schedule.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
