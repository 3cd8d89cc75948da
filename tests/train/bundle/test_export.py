"""Export: what ONNX Runtime says of a graph is what torch says of the network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest
import torch

from boneage.bundle.bundle import Bundle
from boneage.errors import BundleError
from boneage.train.bundle.export import export_graph, export_hand_graph, parity
from boneage.train.bundle.weight_bits import WeightBits
from boneage.train.networks.layers import AgeNetwork
from tests.train.bundle.tiny_networks import (
    MEAN,
    NETWORKS,
    SPREAD,
    MaskNetwork,
    PointsNetwork,
    dense,
    export,
    one_hot,
    random_network,
    sure_network,
    views,
)


@pytest.mark.parametrize(("name", "bits"), [*((name, 16) for name in NETWORKS), ("residual", 32)])
def test_export_graph_agrees_with_torch(tmp_path: Path, name: str, bits: WeightBits) -> None:
    network = random_network(name)
    exported = export(network, tmp_path / "network.onnx", bits=bits)
    assert exported.weight_bits == bits
    session = onnxruntime.InferenceSession(exported.path.read_bytes(), providers=["CPUExecutionProvider"])
    network.eval()
    for count in (1, 3):
        with torch.no_grad():
            expected = network.explain(torch.from_numpy(views(count)[:, None]), torch.from_numpy(one_hot(count)))
        age, embedding, activation = session.run(
            ["age_months", "embedding", "activation"], {"view": views(count)[:, None], "sex": one_hot(count)}
        )
        np.testing.assert_allclose(age, expected.age.numpy() * SPREAD + MEAN, atol=0.05)
        np.testing.assert_allclose(embedding, expected.embedding.numpy(), atol=1e-3 * float(expected.embedding.max()))
        months = expected.activation.numpy() * SPREAD
        np.testing.assert_allclose(activation, months, atol=1e-3 * float(np.abs(months).max()))
    assert np.ptp(age) > 1  # else the agreement would say nothing


def test_export_graph_leaves_network_unchanged(tmp_path: Path) -> None:
    network = random_network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    export(network, tmp_path / "network.onnx")
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_export_graph_without_paths_and_deterministic(tmp_path: Path) -> None:
    """Graphs hold no paths of the machine and come out the same."""
    first = export(random_network(), tmp_path / "first.onnx").path.read_bytes()
    second = export(random_network(), tmp_path / "second.onnx").path.read_bytes()
    assert first == second
    for path in (Path(__file__).parents[3], Path(torch.__file__).parent, tmp_path):
        assert str(path).encode() not in first
    assert b".py" not in first


def test_export_graph_rejects_failed_network(tmp_path: Path) -> None:
    network = random_network()
    with torch.no_grad():
        dense(network)[0].weight[0, 0] = torch.nan
    with pytest.raises(BundleError) as caught:
        export(network, tmp_path / "network.onnx")
    assert caught.value.code == "bundle_output"
    with pytest.raises(ValueError, match="spread"):
        export_graph(
            random_network(), tmp_path / "n.onnx", height=64, width=48, age_mean_months=127, age_spread_months=0
        )
    assert list(tmp_path.iterdir()) == []


# --- networks that answer by a distribution ---


def test_export_graph_distribution_fits_age(tmp_path: Path) -> None:
    network = sure_network()
    exported = export_graph(
        network, tmp_path / "network.onnx", height=64, width=48, age_mean_months=120, age_spread_months=120
    )
    assert exported.weight_bits == 16
    session = onnxruntime.InferenceSession(exported.path.read_bytes(), providers=["CPUExecutionProvider"])
    age, distribution = session.run(["age_months", "age_distribution"], {"view": views(5)[:, None], "sex": one_hot(5)})
    assert distribution.shape == (5, 240)
    np.testing.assert_allclose(distribution @ np.arange(240), age, atol=1e-3)
    assert np.ptp(age) > 1
    with torch.no_grad():
        expected = network.explain(torch.from_numpy(views(5)[:, None]), torch.from_numpy(one_hot(5)))
    assert expected.distribution is not None
    np.testing.assert_allclose(distribution, expected.distribution.numpy(), atol=1e-3)


def test_export_graph_rejects_distribution_in_other_unit(tmp_path: Path) -> None:
    """Its age would not be the expectation of what the graph gives beside it."""
    with pytest.raises(BundleError) as caught:
        export(sure_network(), tmp_path / "network.onnx")
    assert caught.value.code == "bundle_mismatch"
    assert list(tmp_path.iterdir()) == []


# --- networks that find the hand ---


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_export_hand_graph_mask_probabilities(tmp_path: Path, bits: WeightBits) -> None:
    torch.manual_seed(3)
    network = MaskNetwork().train()
    exported = export_hand_graph(network, tmp_path / "mask.onnx", kind="mask", height=64, width=48, weight_bits=bits)
    assert exported.weight_bits == bits
    assert network.training
    session = onnxruntime.InferenceSession(exported.path.read_bytes(), providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == ["view"]
    (hand,) = session.run(["hand"], {"view": views(3)[:, None]})
    with torch.no_grad():
        expected = torch.sigmoid(network.eval()(torch.from_numpy(views(3)[:, None])))
    np.testing.assert_allclose(hand, expected[:, 0].numpy(), atol=1e-3)
    assert np.ptp(hand) > 0.05


def test_export_hand_graph_points_spread_hands(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = PointsNetwork()
    exported = export_hand_graph(network, tmp_path / "points.onnx", kind="points", height=64, width=48)
    assert exported.weight_bits == 16
    session = onnxruntime.InferenceSession(exported.path.read_bytes(), providers=["CPUExecutionProvider"])
    outputs = session.run(["points", "spread", "hands"], {"view": views(3)[:, None]})
    with torch.no_grad():
        expected = network.explain(torch.from_numpy(views(3)[:, None]))[:3]
    assert [each.shape for each in outputs] == [(3, 3, 2), (3, 3), (3, 3)]
    for got, wanted in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=0.01)


def test_export_hand_graph_rejects_failed_network(tmp_path: Path) -> None:
    network = PointsNetwork()
    with torch.no_grad():
        network.dense.bias[0] = torch.inf
    with pytest.raises(BundleError) as caught:
        export_hand_graph(network, tmp_path / "points.onnx", kind="points", height=64, width=48)
    assert caught.value.code == "bundle_output"
    assert list(tmp_path.iterdir()) == []


# --- comparison with the network ---


def test_parity_is_largest_difference(written: Bundle, networks: list[AgeNetwork]) -> None:
    assert parity(networks[0], written, views(20), member="residual") < 0.05
    assert parity(networks[1], written, views(3), member="girls") < 0.05
    # Another network than the exported one is detected.
    moved = random_network()
    with torch.no_grad():
        dense(moved)[-1].bias.add_(1 / SPREAD)
    assert parity(moved, written, views(3), member="residual") == pytest.approx(1.0, abs=0.05)


def test_parity_rejects_unclear_member(written: Bundle, networks: list[AgeNetwork]) -> None:
    for name in (None, "nobody"):
        with pytest.raises(BundleError) as caught:
            parity(networks[0], written, views(1), member=name)
        assert caught.value.code == "bundle_mismatch"
