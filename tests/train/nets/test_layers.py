"""The age head: the closed-form Grad-CAM against autograd's, and what `explain` promises."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from boneage.train.nets.layers import AgeHead, Pooling

GRID = (4, 6)


def head(
    pooling: Pooling, *, hidden: tuple[int, ...] = (7, 5), grid: tuple[int, int] = GRID, dropout: float = 0.0
) -> AgeHead:
    torch.manual_seed(1)
    return AgeHead(3, grid=grid, hidden=hidden, pooling=pooling, dropout=dropout).eval()


def inputs(grid: tuple[int, int] = GRID, films: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(films, 3, *grid, generator=generator)
    return features, torch.eye(2)[torch.arange(films) % 2]


def gradcam(of: AgeHead, features: Tensor, sex: Tensor) -> Tensor:
    """Grad-CAM by its definition: channels weighted by the mean gradient of the age over places."""
    features = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(of(features, sex).sum(), features)
    return (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).detach()


@given(
    pooling=st.sampled_from(["average", "flatten"]),
    hidden=st.lists(st.integers(1, 9), min_size=0, max_size=3).map(tuple),
    grid=st.tuples(st.integers(2, 7), st.integers(2, 7)),
    seed=st.integers(0, 2**31 - 1),
)
@settings(deadline=None, max_examples=60)
def test_closed_form_is_the_gradient(
    pooling: Pooling, hidden: tuple[int, ...], grid: tuple[int, int], seed: int
) -> None:
    torch.manual_seed(seed)
    net = AgeHead(3, grid=grid, hidden=hidden, pooling=pooling).double().eval()
    features = torch.randn(2, 3, *grid, dtype=torch.double)
    sex = torch.eye(2, dtype=torch.double)
    torch.testing.assert_close(
        net.explain(features, sex).activation, gradcam(net, features, sex), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("pooling", ["average", "flatten"])
def test_explain_gives_the_age_of_forward(pooling: Pooling) -> None:
    net = head(pooling)
    explained = net.explain(*inputs())
    torch.testing.assert_close(explained.age, net(*inputs()))
    assert explained.age.shape == (4,)
    assert explained.embedding.shape == (4, 5)
    assert explained.activation.shape == (4, *GRID)


def test_average_pooling_makes_the_map_add_up_to_the_linear_part_of_the_age() -> None:
    """Without hidden layers the age is linear, and the map's sum is all of it but the share of sex and bias."""
    net = head("average", hidden=())
    features, sex = inputs()
    last = net.dense[-1]
    assert isinstance(last, nn.Linear)
    rest = sex @ last.weight[0, -2:] + last.bias
    torch.testing.assert_close(net.explain(features, sex).activation.sum(dim=(1, 2)) + rest, net(features, sex))


@pytest.mark.parametrize("pooling", ["average", "flatten"])
def test_the_map_keeps_its_sign(pooling: Pooling) -> None:
    activation = head(pooling).explain(*inputs()).activation
    assert bool((activation < 0).any())
    assert bool((activation > 0).any())


def test_flatten_takes_the_maximum_of_each_two_by_two() -> None:
    features, _ = inputs()
    pooled = head("flatten").pool(features).reshape(4, 3, 2, 3)
    assert float(pooled[1, 2, 1, 2]) == float(features[1, 2, 2:4, 4:6].max())


def test_explain_leaves_dropout_out() -> None:
    net = head("average", dropout=0.9).train()
    first, second = (net.explain(*inputs()).age for _ in range(2))
    torch.testing.assert_close(first, second)
    assert not torch.allclose(net(*inputs()), first)
