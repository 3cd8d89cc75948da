"""Muon: its steps are nearly orthogonal, and a network of any shape moves whole and comes back from its state."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.train.networks import build_network
from boneage.train.networks.layers import AgeNetwork
from boneage.train.recipe import Schedule
from boneage.train.run.optimizers import Muon, build_optimizer, orthogonal

SCHEDULE = Schedule(optimizer="muon", learning_rate=1e-2, weight_decay=0.1)


def tiny_network(seed: int = 0) -> AgeNetwork:
    torch.manual_seed(seed)
    return build_network("residual", 64, 48, widths=(8, 16), depths=(1, 1), hidden=8)


def push(network: AgeNetwork, optimizer: torch.optim.Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    views, sexes = torch.randn(4, 1, 64, 48, generator=generator), torch.eye(2).repeat(2, 1)
    for _ in range(steps):
        optimizer.zero_grad()
        network(views, sexes).square().mean().backward()
        optimizer.step()


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 24), columns=st.integers(2, 24), seed=st.integers(0, 99), size=st.floats(1e-6, 1e6))
def test_orthogonal_singular_values_near_one(rows: int, columns: int, seed: int, size: float) -> None:
    """Singular values come near one whatever the gradients size."""
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    count = min(rows, columns)
    values = 0.1 + 0.9 * torch.rand(count, generator=generator)
    matrix = size * left[:, :count] @ torch.diag(values) @ right[:, :count].T
    straight = orthogonal(matrix[None])[0]
    assert straight.shape == matrix.shape
    singular_values = torch.linalg.svdvals(straight)
    assert singular_values.min() > 0.5
    assert singular_values.max() < 1.35
    assert (left[:, :count].T @ straight @ right[:, :count]).diagonal().min() > 0.45  # the same singular vectors


def test_muon_moves_all_weights() -> None:
    """All weights move and kernels by steps of one size."""
    network = tiny_network()
    before = {name: weights.detach().clone() for name, weights in network.named_parameters()}
    push(network, build_optimizer(network, Schedule(optimizer="muon", learning_rate=1e-3)), 1)
    for name, weights in network.named_parameters():
        step = (weights.detach() - before[name]).square().mean().sqrt()
        if weights.grad is not None and weights.grad.abs().max() > 0:
            assert step > 0, name
            if weights.ndim == 4 and weights.shape[1] > 1:
                assert 0.5 < step / (0.2e-3) < 1.35, name


def test_muon_state_round_trip() -> None:
    network = tiny_network()
    optimizer = build_optimizer(network, SCHEDULE)
    push(network, optimizer, 2)
    other = copy.deepcopy(network)
    restored = build_optimizer(other, SCHEDULE)
    restored.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    push(network, optimizer, 3)
    push(other, restored, 3)
    for mine, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_muon_memory_order_has_no_effect() -> None:
    plain, last = tiny_network(), tiny_network()
    torch.nn.Module.to(last, memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in the stub
    for network in (plain, last):
        push(network, build_optimizer(network, SCHEDULE), 1)
    for mine, theirs in zip(plain.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=2e-3)


def test_muon_without_kernels_is_adamw() -> None:
    """A network without kernels is moved by adamw alone."""
    network = torch.nn.Linear(3, 2)
    assert all(not group["momentum"] for group in Muon(network, SCHEDULE).param_groups)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("muon", Muon)])
def test_build_optimizer_of_recipe(name: str, kind: type[torch.optim.Optimizer]) -> None:
    assert type(build_optimizer(tiny_network(), Schedule(optimizer=name))) is kind  # type: ignore[arg-type]
