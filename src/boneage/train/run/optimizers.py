"""What moves a network's weights: Adam, AdamW, or Muon for its kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from boneage.train.recipe import Schedule

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that brings singular values near 1, the quickest rise of small ones (Jordan 2024)."""

_ITERATIONS = 5

_ADAM_STEP = 0.2
"""Root mean square of AdamW's usual step, in learning rates: Muon's is scaled to it (Liu et al. 2025, section 2.2)."""


def build_optimizer(network: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """Adam (Souza & Oliveira, section IV-B), AdamW or Muon. Weights of normalisation and biases are not decayed."""
    if schedule.optimizer == "muon":
        return Muon(network, schedule)
    kind = torch.optim.Adam if schedule.optimizer == "adam" else torch.optim.AdamW
    return kind(_adam_groups(list(network.parameters()), schedule), lr=schedule.learning_rate, fused=True)


class Muon(torch.optim.AdamW):
    """Muon (Jordan 2024) for the kernels between feature maps, AdamW for stem, dense layers, norms and biases.

    Each kernel's momentum, as a matrix (channels out, channels in x places), is made nearly orthogonal before it is a
    step, so that no direction is learnt late because its gradient is small. Steps are as large as AdamW's, and share
    its learning rate.

    Args:
        network: whose parameters move.
        schedule: learning rate and decay.
        momentum: of the kernels' gradients.
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
        """One step of both kinds."""
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
            steps = orthogonal(torch.stack([self._direction(one, group["momentum"]) for one in kernels]))
            size = group["lr"] * _ADAM_STEP * math.sqrt(max(rows, columns))
            for weights, step in zip(kernels, steps, strict=True):
                places = weights.shape[2:]
                weights.mul_(1 - group["lr"] * group["weight_decay"])
                weights.sub_(step.reshape(rows, *places, -1).movedim(-1, 1), alpha=size)

    def _direction(self, weights: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum as a matrix, its columns by place first, as the channels lie in memory."""
        gradient, state = weights.grad, self.state[weights]
        assert gradient is not None  # noqa: S101 - the caller left such out; for the type checker
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weights)
            state["step"] = torch.tensor(0.0)  # AdamW looks for it in every state that it is given back
        state["momentum"].lerp_(gradient, 1 - momentum)
        ahead: Tensor = gradient.lerp(state["momentum"], momentum)
        return ahead.movedim(1, -1).reshape(weights.shape[0], -1)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, m, n) with singular vectors kept and singular values brought to about 0.7 to 1.2.

    In bfloat16: the iteration mends its own rounding.
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
