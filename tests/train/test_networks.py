"""Properties of every network of the registry, and the arguments that `build_network` rejects."""

from __future__ import annotations

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest
import torch
from torch import Tensor, nn

from boneage.errors import RecipeError
from boneage.train.networks import NETWORKS, AgeNetwork, build_network, network_options
from boneage.train.networks.layers import Explained

SIDES = {"inception-v3": 128, **{f"souza-{letter}": 32 for letter in "abcdefgh"}}
"""Sides of views, pixels; 64 for other networks. The smaller a view, the less time a network takes."""

RADIOGRAPHS = 4


@lru_cache
def network(name: str) -> AgeNetwork:
    torch.manual_seed(0)
    side = SIDES.get(name, 64)
    built = build_network(name, side, side)
    for module in built.modules():  # fresh running statistics (0, 1) would make batch normalisation next to nothing
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    built.train()(*inputs(name))
    return built.eval()


def inputs(name: str) -> tuple[Tensor, Tensor]:
    side = SIDES.get(name, 64)
    views = torch.randn(RADIOGRAPHS, 1, side, side, generator=torch.Generator().manual_seed(5))
    return views, torch.eye(2)[torch.arange(RADIOGRAPHS) % 2]


every_network = pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"bones"}))
"""Networks of one view; `tests/train/networks/test_bones.py` has that of many tiles."""


def test_names() -> None:
    souza = [f"souza-{letter}" for letter in "abcdefgh"]
    assert sorted(NETWORKS) == [
        "bones",
        "inception-v3",
        "residual",
        "residual-distribution",
        *souza,
        "vgg-classification",
        "vgg-regression",
    ]


@every_network
def test_explain_activation_equals_autograd(name: str) -> None:
    views, sex = inputs(name)
    built = network(name)
    features = built.features(views).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(built.head(features, sex).sum(), features)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).detach()
    with torch.no_grad():
        activation = built.explain(views, sex).activation
    scale = expected.abs().amax(dim=(1, 2))
    assert bool((scale > 0).all())
    error = (activation - expected).abs().amax(dim=(1, 2)) / scale
    assert float(error.max()) < 1e-4


@pytest.mark.parametrize("name", ["inception-v3", "residual", "souza-a", "souza-c", "vgg-regression"])
def test_cells_lie_where_input_does(name: str) -> None:
    """The centre of what a cell responds to is where the heat map draws it."""
    side = 128 if name.startswith("souza") else 320
    built = build_network(name, side, side).eval()
    view = torch.randn(2, 1, side, side, generator=torch.Generator().manual_seed(5)).requires_grad_()
    features = built.features(view)
    row = features.shape[2] // 2 - 1
    features[:, :, row, row].sum().backward()
    assert view.grad is not None
    strength = view.grad.square().sum(dim=(0, 1))
    places = torch.arange(side) + 0.5
    for axis in (0, 1):
        centroid = float((strength.sum(dim=1 - axis) * places).sum() / strength.sum())
        expected = built.cells.first + row * built.cells.pixels
        assert abs(centroid - expected) < max(0.2 * built.cells.pixels, 2.0)  # random kernels lean a little


@every_network
def test_explain_agrees_with_forward(name: str) -> None:
    views, sex = inputs(name)
    with torch.no_grad():
        age, explained = network(name)(views, sex), network(name).explain(views, sex)
        grid = network(name).features(views).shape[2:]
    assert age.shape == (RADIOGRAPHS,)
    torch.testing.assert_close(explained.age, age)
    assert explained.embedding.shape == (RADIOGRAPHS, network(name).head.dense[-1].in_features)
    assert explained.activation.shape == (RADIOGRAPHS, *grid)


@every_network
def test_sex_changes_age(name: str) -> None:
    views, sex = inputs(name)
    with torch.no_grad():
        assert bool((network(name)(views, sex) != network(name)(views, sex.flip(1))).all())


@every_network
def test_batch_neighbours_have_no_effect(name: str) -> None:
    views, sex = inputs(name)
    with torch.no_grad():
        together = network(name).explain(views, sex)
        alone = network(name).explain(views[1:2], sex[1:2])
    for one, many in zip(_given(alone), _given(together), strict=True):
        torch.testing.assert_close(one, many[1:2], atol=1e-4, rtol=1e-3)


@every_network
def test_bfloat16_training_step(name: str) -> None:
    """One step of mixed precision leaves every weight a finite gradient."""
    views, sex = inputs(name)
    torch.manual_seed(0)
    built = copy.deepcopy(network(name)).train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        age = built(views.to(memory_format=torch.channels_last), sex)
    loss = age.float().abs().mean() + built.penalty()
    loss.backward()
    assert torch.isfinite(loss)
    for each in built.parameters():
        assert each.grad is not None
        assert bool(torch.isfinite(each.grad).all())


class _Exported(nn.Module):
    def __init__(self, inner: AgeNetwork) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, view: Tensor, sex: Tensor) -> tuple[Tensor, ...]:
        return _given(self.inner.explain(view, sex))


def _given(explained: Explained) -> tuple[Tensor, ...]:
    return tuple(each for each in explained if each is not None)


@pytest.mark.parametrize("name", ["souza-a", "souza-c", "souza-d", "vgg-classification"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # the exporter's own libraries
def test_onnx_runtime_equals_torch(name: str, tmp_path: Path) -> None:
    """The networks have each kind of normalisation and answer. The batch has another size than that of the trace."""
    views, sex = inputs(name)
    graph = tmp_path / "network.onnx"
    batch = {0: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        _Exported(network(name)).eval(),
        (views[:2], sex[:2]),
        dynamo=True,
        dynamic_shapes=(batch, batch),
        input_names=["view", "sex"],
        verbose=False,
    )
    assert program is not None
    program.save(graph)
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"view": views.numpy(), "sex": sex.numpy()})
    with torch.no_grad():
        expected = _given(network(name).explain(views, sex))
    for got, wanted in zip(outputs, expected, strict=True):
        scale = float(wanted.abs().max())
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-4 * scale, rtol=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "souza-i",
            {},
            "no network 'souza-i'; there are bones, inception-v3, residual, residual-distribution, souza-a",
        ),
        ("souza-h", {"dropout": 0.5}, "no option 'dropout'; its options are: hidden"),
        ("residual", {"width_": 3}, "its options are: depths, dropout, hidden, widths"),
        ("residual", {"dropout": 1.0}, "'dropout' something like 0.0, not 1.0"),
        ("residual", {"dropout": -0.1}, "not -0.1"),
        ("residual", {"dropout": True}, "not True"),
        ("residual", {"hidden": "64"}, "'hidden' something like 256, not '64'"),
        ("residual", {"hidden": 0}, "not 0"),
        ("residual", {"widths": [], "depths": []}, "'widths' something like"),
        ("residual", {"widths": [8, 16.0], "depths": [1, 1]}, r"not \[8, 16.0\]"),
        ("residual", {"widths": [8, 16]}, "as many widths as depths"),
        ("vgg-regression", {"sex_input": 1}, "'sex_input' something like True, not 1"),
        ("souza-a", {"hidden": [16, -1]}, r"not \[16, -1\]"),
    ],
)
def test_build_network_checks_options(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        build_network(name, 64, 64, **options)
    assert caught.value.code == "recipe_invalid"


@every_network
@pytest.mark.parametrize(("height", "width"), [(0, 64), (64, -64), (64.0, 64), (True, 64)])
def test_build_network_checks_sizes(name: str, height: Any, width: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        build_network(name, height, width)
    assert caught.value.code == "recipe_invalid"


def test_build_network_takes_lists() -> None:
    built = build_network("residual", 64, 64, widths=[4, 8], depths=[1, 1], hidden=6, dropout=0)
    assert [layer.in_features for layer in built.head.dense] == [8 + 2, 6]
    assert build_network("souza-b", 16, 16, hidden=[5]).head.dense[-1].in_features == 5


@every_network
def test_build_network_follows_seed_with_default_options(name: str) -> None:
    """The default options are accepted, and make the network that is built without any."""
    torch.manual_seed(0)
    side = SIDES.get(name, 64)
    again = build_network(name, side, side, **network_options(name))
    assert isinstance(again, AgeNetwork)
    for one, other in zip(network(name).parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
