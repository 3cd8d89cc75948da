"""The age head: the closed-form Grad-CAM against autograd's, and what `explain` promises."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from boneage.train.networks import build_network
from boneage.train.networks.layers import Activation, AgeHead, Answer, Pooling, memory_format

GRID = (4, 6)


def head(
    pooling: Pooling, *, hidden: tuple[int, ...] = (7, 5), grid: tuple[int, int] = GRID, dropout: float = 0.0
) -> AgeHead:
    torch.manual_seed(1)
    return AgeHead(3, grid=grid, hidden=hidden, pooling=pooling, dropout=dropout).eval()


def inputs(grid: tuple[int, int] = GRID, radiographs: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(radiographs, 3, *grid, generator=generator)
    return features, torch.eye(2)[torch.arange(radiographs) % 2]


def gradcam(of: AgeHead, features: Tensor, sex: Tensor) -> Tensor:
    """Grad-CAM by its definition: channels weighted by the mean gradient of the age over places."""
    features = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(of(features, sex).sum(), features)
    return (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).detach()


@given(
    pooling=st.sampled_from(["average", "flatten"]),
    hidden=st.lists(st.integers(1, 9), min_size=0, max_size=3).map(tuple),
    grid=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    activation=st.sampled_from(["relu", "elu"]),
    answer=st.sampled_from(["number", "distribution"]),
    sex_input=st.booleans(),
    seed=st.integers(0, 2**31 - 1),
)
@settings(deadline=None, max_examples=100)
def test_explain_activation_is_gradient(
    pooling: Pooling,
    hidden: tuple[int, ...],
    grid: tuple[int, int],
    activation: Activation,
    answer: Answer,
    sex_input: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    network = AgeHead(
        3, grid=grid, hidden=hidden, pooling=pooling, activation=activation, answer=answer, sex_input=sex_input
    )
    network = network.double().eval()
    features = torch.randn(2, 3, *grid, dtype=torch.double)
    sex = torch.eye(2, dtype=torch.double)
    torch.testing.assert_close(
        network.explain(features, sex).activation, gradcam(network, features, sex), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("pooling", ["average", "flatten"])
def test_explain_age_equals_forward(pooling: Pooling) -> None:
    network = head(pooling)
    explained = network.explain(*inputs())
    torch.testing.assert_close(explained.age, network(*inputs()))
    assert explained.age.shape == (4,)
    assert explained.embedding.shape == (4, 5)
    assert explained.activation.shape == (4, *GRID)


def test_explain_average_map_sums_to_linear_part() -> None:
    """Without hidden layers the age is linear, and the map's sum is all of it but the share of sex and bias."""
    network = head("average", hidden=())
    features, sex = inputs()
    last = network.dense[-1]
    assert isinstance(last, nn.Linear)
    rest = sex @ last.weight[0, -2:] + last.bias
    torch.testing.assert_close(network.explain(features, sex).activation.sum(dim=(1, 2)) + rest, network(features, sex))


@pytest.mark.parametrize("pooling", ["average", "flatten"])
def test_explain_map_keeps_sign(pooling: Pooling) -> None:
    activation = head(pooling).explain(*inputs()).activation
    assert bool((activation < 0).any())
    assert bool((activation > 0).any())


def test_pool_flatten_odd_row_and_column() -> None:
    features, _ = inputs((3, 5))
    pooled = head("flatten", grid=(3, 5)).pool(features).reshape(4, 3, 2, 3)
    assert float(pooled[1, 2, 1, 1]) == float(features[1, 2, 2, 2:4].max())
    assert float(pooled[1, 2, 1, 2]) == float(features[1, 2, 2, 4])


def test_pool_flatten_maximum_of_2_by_2() -> None:
    features, _ = inputs()
    pooled = head("flatten").pool(features).reshape(4, 3, 2, 3)
    assert float(pooled[1, 2, 1, 2]) == float(features[1, 2, 2:4, 4:6].max())


def test_explain_without_dropout() -> None:
    network = head("average", dropout=0.9).train()
    first, second = (network.explain(*inputs()).age for _ in range(2))
    torch.testing.assert_close(first, second)
    assert not torch.allclose(network(*inputs()), first)


@pytest.mark.parametrize(("where", "alive_age"), [("inputs", 101.0), ("outputs", 202.0)])
def test_dropout_position(where: Literal["inputs", "outputs"], alive_age: float) -> None:
    """Before the first layer it takes from the map, never from the sex; behind the last hidden one from that."""
    network = AgeHead(1000, grid=(1, 1), hidden=(1,), pooling="average", dropout=0.5, dropout_of=where)
    first, last = (layer for layer in network.dense if isinstance(layer, nn.Linear))
    with torch.no_grad():
        first.weight.fill_(0.0)
        first.weight[0, :1000] = 1 / 1000
        first.weight[0, -2] = 100.0
        first.bias.zero_()
        last.weight.fill_(1.0)
        last.bias.zero_()
    torch.manual_seed(0)
    ages = network.train()(torch.ones(64, 1000, 1, 1), torch.tensor([[1.0, 0.0]]).expand(64, -1)).detach()
    dropped = ages == 0
    assert bool(dropped.any()) == (where == "outputs")
    alive = ages[~dropped]
    assert bool(alive.std() > 1e-3) == (where == "inputs")
    assert float(alive.mean()) == pytest.approx(alive_age, abs=0.1)


# --- answers by a distribution ---


def test_distribution_expectation_is_age() -> None:
    """A distribution is one and its expectation is the age."""
    torch.manual_seed(1)
    network = AgeHead(3, grid=GRID, hidden=(5,), pooling="average", answer="distribution").eval()
    explained = network.explain(*inputs())
    assert explained.distribution is not None
    assert explained.distribution.shape == (4, 240)
    assert bool((explained.distribution >= 0).all())
    torch.testing.assert_close(explained.distribution.sum(dim=1), torch.ones(4))
    months = (explained.distribution * torch.arange(240.0)).sum(dim=1)
    torch.testing.assert_close(explained.age * 120 + 120, months)
    assert head("average").explain(*inputs()).distribution is None


def test_log_distribution_equals_answer() -> None:
    """`log_distribution` is the logarithm of `explain`'s distribution, and its expectation `forward`'s age."""
    network = AgeHead(3, grid=GRID, hidden=(5,), pooling="average", answer="distribution").eval()
    logarithms = network.log_distribution(*inputs())
    torch.testing.assert_close(logarithms.exp(), network.explain(*inputs()).distribution)
    torch.testing.assert_close(network.expectation_of(logarithms), network(*inputs()))


@pytest.mark.parametrize("months", [0, 131, 239])
def test_distribution_of_certain_network(months: int) -> None:
    """Also in mixed precision, where a matrix product would round 239 to 240."""
    network = AgeHead(3, grid=GRID, hidden=(5,), pooling="average", answer="distribution").eval()
    last = network.dense[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.zero_()
        last.bias[months] = 50.0
    for half in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            age = network(*inputs())
        torch.testing.assert_close(age * 120 + 120, torch.full((4,), float(months)), atol=1e-3, rtol=0)


def test_months_are_not_weights() -> None:
    """Else a checkpoint of another head would not be one of this."""
    assert not [name for name in head("average").state_dict() if "months" in name]


def test_sex_input_off_ignores_sex() -> None:
    network = AgeHead(3, grid=GRID, hidden=(5,), pooling="average", sex_input=False).eval()
    features, sex = inputs()
    torch.testing.assert_close(network(features, sex), network(features, sex.flip(1)), rtol=0, atol=0)
    assert network.dense[0].in_features == 3


def test_memory_format_by_normalisation() -> None:
    """Networks with instance normalisation are contiguous on a CPU, and estimate the same in both layouts."""
    batch, instance = (build_network(f"souza-{column}", 32, 32, hidden=[8]).eval() for column in "cd")
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [memory_format(network, cpu) for network in (batch, instance)] == [
        torch.channels_last,
        torch.contiguous_format,
    ]
    assert memory_format(instance, gpu) is torch.channels_last
    view, sex = torch.randn(3, 1, 32, 32), torch.eye(2)[[0, 1, 0]]
    with torch.no_grad():
        ages = instance(view.to(memory_format=torch.channels_last), sex)
        torch.testing.assert_close(instance(view, sex), ages, rtol=1e-4, atol=1e-5)
