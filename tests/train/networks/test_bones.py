"""The network for single bones: what it leaves out, its closed-form map, its loss and its graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from boneage.bundle.session import import_onnxruntime
from boneage.hand.bones import BONES, TILE_COLUMNS, TILE_ROWS
from boneage.train.bundle.export import export_graph
from boneage.train.networks.bones import BoneNetwork

TILE = 16
HEIGHT, WIDTH = TILE * TILE_ROWS, TILE * TILE_COLUMNS
BATCH = 3


@pytest.fixture(scope="module")
def network() -> BoneNetwork:
    torch.manual_seed(1)
    built = BoneNetwork(HEIGHT, WIDTH, stem=4, widths=(6, 8), depths=(1, 2), hidden=8, heads=2)
    for parameter in built.parameters():  # scales and shifts begin as zeros
        parameter.data += 0.1 * torch.randn_like(parameter)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    built.train().log_distributions(*inputs())
    return built.eval()


def inputs(absent: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
    views = torch.randn(BATCH, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))
    for index in absent:
        row, column = index // TILE_COLUMNS * TILE, index % TILE_COLUMNS * TILE
        views[:, :, row : row + TILE, column : column + TILE] = 0.7
    return views, torch.eye(2)[torch.arange(BATCH) % 2]


def test_absent_bones_have_no_weight(network: BoneNetwork) -> None:
    explained = network.explain(*inputs(absent=(0, 7)))
    assert explained.bone_weights is not None
    assert explained.bone_weights[:, [0, 7]].max() == 0
    torch.testing.assert_close(explained.bone_weights.sum(dim=1), torch.ones(BATCH))
    assert not torch.equal(explained.age, network(*inputs()))


def test_view_without_bones_has_finite_outputs(network: BoneNetwork) -> None:
    explained = network.explain(*inputs(absent=tuple(range(len(BONES)))))
    assert all(bool(output.isfinite().all()) for output in explained if output is not None)


def test_exposure_does_not_count(network: BoneNetwork) -> None:
    """Each tile is standardised, so that brightness and contrast of the whole view do not move the age."""
    views, sex = inputs()
    torch.testing.assert_close(network(2.5 * views + 1.0, sex), network(views, sex), atol=1e-3, rtol=0)


def test_present_tiles_alone_give_the_same_result(network: BoneNetwork) -> None:
    """Only `explain` computes all tiles; others compute those that are present, with the same result."""
    views, sex = inputs(absent=(2, 3, 11))
    explained = network.explain(views, sex)
    hand, bones, present = network.log_distributions(views, sex)
    assert explained.distribution is not None and explained.bones is not None
    torch.testing.assert_close(hand.exp(), explained.distribution, atol=1e-6, rtol=0)
    torch.testing.assert_close(bones.exp()[present], explained.bones[present], atol=1e-6, rtol=0)
    torch.testing.assert_close(network(views, sex), explained.age, atol=1e-5, rtol=0)


def test_evaluation_computes_present_tiles_alone(network: BoneNetwork) -> None:
    """Statistics that are measured in evaluation, as for a fine-tuning, are those of training: without even tiles."""
    counts: list[int] = []
    stem = network.features.stem
    hook = stem.register_forward_hook(lambda _layer, inputs, _output: counts.append(len(inputs[0])))
    network(*inputs(absent=(2, 3, 11)))
    hook.remove()
    assert counts == [BATCH * (len(BONES) - 3)]


def test_distributions_sum_to_one(network: BoneNetwork) -> None:
    explained = network.explain(*inputs())
    assert explained.distribution is not None and explained.bones is not None
    torch.testing.assert_close(explained.distribution.sum(dim=1), torch.ones(BATCH))
    torch.testing.assert_close(explained.bones.sum(dim=2), torch.ones(BATCH, len(BONES)))
    torch.testing.assert_close(explained.age, network(*inputs()))


def test_activation_equals_autograd_for_fixed_weights(network: BoneNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    views, sex = inputs(absent=(4,))
    activation = network.explain(views, sex).activation.detach()
    shares = network._read(views, sex).shares.detach()
    kept: list[Tensor] = []

    def features_of_all(tiles: Tensor) -> tuple[Tensor, Tensor]:
        features, _ = BoneNetwork._features_of_all(network, tiles)
        kept.append(features.detach().requires_grad_())
        return kept[0], kept[0].mean(dim=(3, 4))

    monkeypatch.setattr(network, "_features_of_all", features_of_all)
    read = network._read(views, sex, all_tiles=True)._replace(shares=shares)
    age = network.head(network._combined(read), sex)
    (gradient,) = torch.autograd.grad(age.sum(), kept[0])
    cells = (gradient.mean(dim=(3, 4), keepdim=True) * kept[0]).sum(dim=2).detach()
    rows, columns = cells.shape[2:]
    expected = cells.reshape(BATCH, TILE_ROWS, TILE_COLUMNS, rows, columns).permute(0, 1, 3, 2, 4)
    expected = expected.reshape(BATCH, TILE_ROWS * rows, TILE_COLUMNS * columns)
    torch.testing.assert_close(activation, expected, atol=1e-6, rtol=1e-4)


def test_exported_graph_equals_network(network: BoneNetwork, tmp_path: Path) -> None:
    path = tmp_path / "bones.onnx"
    export_graph(network, path, height=HEIGHT, width=WIDTH, age_mean_months=120.0, age_spread_months=120.0)
    session = import_onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    views, sex = inputs(absent=(1, 9))
    names = ["age_months", "age_distribution", "bone_distribution", "bone_weight", "activation"]
    outputs = dict(zip(names, session.run(names, {"view": views.numpy(), "sex": sex.numpy()}), strict=True))
    explained = network.explain(views, sex)
    np.testing.assert_allclose(outputs["age_months"], explained.age.detach() * 120 + 120, atol=0.05)
    assert outputs["bone_distribution"].shape == (BATCH, len(BONES), 240)
    assert outputs["bone_weight"][:, [1, 9]].max() == 0
    assert outputs["activation"].shape == tuple(explained.activation.shape)
