"""Export: what ONNX Runtime says of a graph is what torch says of the network."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle
from boneage.bundle.manifest import Manifest
from boneage.errors import BundleError
from boneage.hand.search import HandLimits
from boneage.hand.views import CellGrid, ViewSpec, cut_view
from boneage.phantom import draw_hand
from boneage.sex import Sex
from boneage.train.bundle import export as exporting
from boneage.train.bundle import weight_bits
from boneage.train.bundle.export import export_graph, export_hand_graph, parity
from boneage.train.bundle.weight_bits import ExportedGraph, WeightBits, encoded_from
from boneage.train.bundle.write import NetworkMember, TrainedHandNetwork, TrainedHandNetworks, write_bundle
from boneage.train.networks.layers import AgeHead, AgeNetwork, Pooling
from boneage.train.networks.residual import ResidualNetwork
from boneage.train.networks.vgg import VggNetwork

VIEW = ViewSpec(height=64, width=48)
MEAN, SPREAD = 127.0, 41.0
LIMITS = weight_bits.WEIGHT_LIMITS
FACTS = Manifest("tiny", "1", "Tiny networks", "2025-01-01", recipe={"network": {"name": "residual"}})


class InstanceNetwork(AgeNetwork):
    """Convolutions with instance normalisation, as Souza & Oliveira's Table I has them."""

    def __init__(self, pooling: Pooling, *, track: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1),
            nn.InstanceNorm2d(8, affine=True, track_running_stats=track),
            nn.ReLU(),
            nn.Conv2d(8, 12, 5, 2, 2, bias=False),
            nn.InstanceNorm2d(12, affine=True, track_running_stats=track),
            nn.ELU(),
        )
        self.cells = CellGrid(4.0, 0.5)
        self.head = AgeHead(12, grid=(16, 12), hidden=(16, 8), pooling=pooling, dropout=0.5)


def residual() -> AgeNetwork:
    return ResidualNetwork("number", VIEW.height, VIEW.width, widths=(16, 32), depths=(1, 1), hidden=16, dropout=0.5)


NETWORKS: dict[str, Callable[[], AgeNetwork]] = {
    "residual": residual,
    "instance, average": lambda: InstanceNetwork("average"),
    "instance, flatten": lambda: InstanceNetwork("flatten"),
    "instance, tracked": lambda: InstanceNetwork("average", track=True),
}


def random_network(name: str = "residual") -> AgeNetwork:
    """A network whose every parameter and statistic is random, and whose answers differ from radiograph to
    radiograph."""
    torch.manual_seed(3)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            if module.running_mean is not None and module.running_var is not None:
                nn.init.normal_(module.running_mean, 0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    for layer in dense(network):
        nn.init.normal_(layer.weight, 0, 2 / layer.in_features**0.5)
    return network


def dense(network: AgeNetwork) -> list[nn.Linear]:
    return [layer for layer in network.head.dense if isinstance(layer, nn.Linear)]


def views(count: int) -> NDArray[np.float32]:
    radiographs = (draw_hand((4.0 + 3 * number) % 19, height=400, width=300, seed=number) for number in range(count))
    return np.stack([cut_view(radiograph, VIEW) for radiograph in radiographs])


def export(network: AgeNetwork, path: Path, *, bits: WeightBits = 16) -> ExportedGraph:
    size = {"height": VIEW.height, "width": VIEW.width}
    return export_graph(network, path, **size, age_mean_months=MEAN, age_spread_months=SPREAD, weight_bits=bits)


def one_hot(count: int) -> NDArray[np.float32]:
    return np.eye(2, dtype=np.float32)[np.arange(count) % 2]


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


def test_export_graph_16_bits_halve_file(tmp_path: Path, written: Bundle) -> None:
    whole = export(random_network(), tmp_path / "whole.onnx", bits=32).path.stat().st_size
    half = (written.directory / "residual.onnx").stat().st_size
    weights = 4 * sum(tensor.numel() for tensor in random_network().state_dict().values())
    # The rest of the graph counts in networks as tiny as this one.
    assert half < whole - 0.45 * weights
    assert [path.name for path in tmp_path.iterdir()] == ["whole.onnx"]


INTEGERS = (onnx.TensorProto.INT16, onnx.TensorProto.INT8)


@pytest.mark.parametrize("bits", [8, 16])
def test_export_graph_weights_decoded_on_load(tmp_path: Path, traced: bytes, bits: Literal[8, 16]) -> None:
    """Weights are unpacked when a graph is loaded not when it runs."""
    path = tmp_path / "stored.onnx"
    path.write_bytes(weight_bits.encode_integers(traced, bits))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    stored, loaded = onnx.load(path).graph, onnx.load(tmp_path / "loaded.onnx").graph
    assert any(weight.data_type in INTEGERS for weight in stored.initializer)
    assert not any(weight.data_type in INTEGERS for weight in loaded.initializer)
    assert {node.op_type for node in loaded.node}.isdisjoint({"DequantizeLinear"})


def test_export_graph_8_bits_change_little(tmp_path: Path, quick: NetworkMember, traced: bytes) -> None:
    sixteen = export(quick.network, tmp_path / "sixteen.onnx")
    eight = export(quick.network, tmp_path / "eight.onnx", bits=8)
    assert (sixteen.weight_bits, eight.weight_bits) == (16, 8)
    large = [weight for weight in onnx.load_from_string(traced).graph.initializer if np.prod(weight.dims) >= 4096]
    saved = sixteen.path.stat().st_size - eight.path.stat().st_size
    assert saved == pytest.approx(sum(np.prod(weight.dims) for weight in large), abs=100)
    views_of_both = {"view": views(6)[:, None], "sex": one_hot(6)}
    answers = [weight_bits.run_graph(path.read_bytes(), views_of_both) for path in (sixteen.path, eight.path)]
    moved = np.abs(answers[1]["age_months"] - answers[0]["age_months"])
    assert 0.01 < moved.max() < 0.5


def stored_and_back(values: NDArray[np.float32], bits: Literal[8, 16]) -> NDArray[np.float32]:
    """A kernel as it comes back from a graph that stores it in few bits."""
    weight = onnx.numpy_helper.from_array(values, "kernel")
    node = onnx.helper.make_node("Conv", ["view", "kernel"], ["raw"])
    float_of = partial(onnx.helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT)
    first, last = (float_of(name, shape=None) for name in ("view", "raw"))
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "tiny", [first], [last], [weight]))
    stored = weight_bits.encode_integers(model.SerializeToString(), bits)
    whole = onnx.load_from_string(weight_bits.decode_weights(stored)).graph
    (unpacked,), (left,) = whole.initializer, whole.node
    assert (unpacked.name, left) == ("kernel", node)
    return onnx.numpy_helper.to_array(unpacked)


@given(st.integers(1, 5), st.integers(1, 200), st.sampled_from([1, 3]), st.sampled_from([8, 16]), st.integers(0, 99))
def test_encode_integers_error_within_step(
    channels: int, inputs: int, side: int, bits: Literal[8, 16], seed: int
) -> None:
    """Stored weights are off by a step at most and kernels by half of one."""
    rng = np.random.default_rng(seed)
    values = rng.standard_cauchy((channels, inputs, side, side)).clip(-50, 50).astype(np.float32)
    off = stored_and_back(values, bits) - values
    is_short = bits == 8 and values.size >= 4096
    steps = np.abs(values).max(axis=(1, 2, 3)) / (127 if is_short else 32767)
    assert (np.abs(off).max(axis=(1, 2, 3)) <= steps * (1.001 if is_short else 0.501)).all()
    if is_short:
        assert (np.abs(off.sum(axis=(2, 3))).max(axis=1) <= steps * 0.501).all()


def test_export_graph_takes_more_bits_beyond_limits(
    tmp_path: Path, quick: NetworkMember, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for blocked, reached in (([8], 16), ([8, 16], 32)):
        limits = {bits: {**values, "age_months": 0.0} if bits in blocked else values for bits, values in LIMITS.items()}
        monkeypatch.setattr(weight_bits, "WEIGHT_LIMITS", limits)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "boneage"):
            exported = export(quick.network, tmp_path / "network.onnx", bits=8)
        assert exported.weight_bits == reached
        assert [f"because {bits} bits change age_months by" in caplog.text for bits in blocked] == [True] * len(blocked)


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


def sure_network() -> VggNetwork:
    """A network whose distributions have one broad hump, elsewhere for each radiograph, as a trained network's have."""
    torch.manual_seed(3)
    network = VggNetwork("distribution", VIEW.height, VIEW.width, widths=(8, 12), hidden=(16, 16))
    last = dense(network)[-1]
    with torch.no_grad():
        network.train()(torch.from_numpy(views(8)[:, None]), torch.from_numpy(one_hot(8)))
        months = torch.linspace(-1, 1, 240)
        last.weight.copy_(torch.outer(months, torch.randn(16)) * 40)
        last.bias.copy_(-20 * months.square())
    return network.eval()


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


def test_write_bundle_with_distribution_runs(tmp_path: Path) -> None:
    member = NetworkMember("classes", sure_network(), VIEW, 120.0, 120.0, mirror=True)
    bundle = write_bundle([member], FACTS, tmp_path / "tiny")
    output = bundle.run(bundle.members[0], views(1)[0], Sex.MALE)
    assert output.age_distribution is not None
    assert output.age_months == pytest.approx(float(output.age_distribution @ np.arange(240)), abs=0.01)
    assert parity(member.network, bundle, views(3)) < 0.05


# --- networks that find the hand ---


class MaskNetwork(nn.Module):
    """Logits of every pixel, as a U-Net gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 1, 1))

    def forward(self, view: Tensor) -> Tensor:
        logits: Tensor = self.layers(view)
        return logits


class PointsNetwork(nn.Module):
    """Points, spreads and hands from the pooled view, and something that training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(12, 12)

    def explain(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        values = self.dense(nn.functional.adaptive_avg_pool2d(view, (4, 3)).flatten(1))
        points, spread, hands = values[:, :6].reshape(-1, 3, 2), values[:, 6:9].exp(), values[:, 9:]
        return points * 20, spread, torch.softmax(hands, dim=1), None


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


@pytest.mark.parametrize("moved", ["points", "spread", "hands"])
def test_export_hand_graph_keeps_bits_beyond_limits(
    tmp_path: Path, moved: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Hand networks stay whole where 16 bits would show."""
    monkeypatch.setattr(weight_bits, "WEIGHT_LIMITS", {16: {**LIMITS[16], moved: 0.0}})
    torch.manual_seed(3)
    with caplog.at_level(logging.WARNING, "boneage"):
        exported = export_hand_graph(PointsNetwork(), tmp_path / "points.onnx", kind="points", height=64, width=48)
    assert exported.weight_bits == 32
    assert f"16 bits change {moved} by" in caplog.text


def test_export_hand_graph_rejects_failed_network(tmp_path: Path) -> None:
    network = PointsNetwork()
    with torch.no_grad():
        network.dense.bias[0] = torch.inf
    with pytest.raises(BundleError) as caught:
        export_hand_graph(network, tmp_path / "points.onnx", kind="points", height=64, width=48)
    assert caught.value.code == "bundle_output"
    assert list(tmp_path.iterdir()) == []


# --- bundles ---


@pytest.fixture(scope="module")
def traced() -> bytes:
    """The graph of `random_network()`, traced once: that takes most of an export's time."""
    graph = exporting.AgeGraph(random_network(), MEAN, SPREAD)
    inputs = {"view": torch.rand(2, 1, VIEW.height, VIEW.width), "sex": torch.eye(2)}
    return exporting.trace_graph(graph, inputs, ["age_months", "embedding", "activation"], 20)


@pytest.fixture
def quick(traced: bytes, monkeypatch: pytest.MonkeyPatch) -> NetworkMember:
    """A member whose export takes its graph from `traced`."""
    monkeypatch.setattr(exporting, "trace_graph", lambda *_: traced)
    return NetworkMember("only", random_network(), VIEW, MEAN, SPREAD)


@pytest.fixture(scope="module")
def networks() -> list[AgeNetwork]:
    return [random_network(), random_network("instance, flatten")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, networks: list[AgeNetwork]) -> Bundle:
    members = [
        NetworkMember("residual", networks[0], VIEW, MEAN, SPREAD, mirror=True, weight=2.0),
        NetworkMember("girls", networks[1], VIEW, 100.0, 30.0, sexes=(Sex.FEMALE,)),
    ]
    return write_bundle(members, FACTS, tmp_path_factory.mktemp("parent") / "new" / "tiny")


def test_write_bundle_is_complete(written: Bundle) -> None:
    assert [path.name for path in written.directory.parent.iterdir()] == ["tiny"]
    opened = Bundle.open(written.directory)
    assert all(result.passed for result in check_bundle(opened))
    assert opened.manifest.recipe == FACTS.recipe
    assert [(member.name, member.weight, member.view) for member in opened.members] == [
        ("residual", 2.0, VIEW),
        ("girls", 1.0, VIEW),
    ]
    assert [member.name for member in opened.members_for(Sex.MALE)] == ["residual"]
    units = [(member.age_mean_months, member.age_spread_months, member.mirror) for member in opened.members]
    assert units == [(MEAN, SPREAD, True), (100.0, 30.0, False)]


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


def test_write_bundle_overwrites_only_on_request(tmp_path: Path, quick: NetworkMember) -> None:
    place = tmp_path / "tiny"
    write_bundle([quick], FACTS, place)
    with pytest.raises(BundleError) as caught:
        write_bundle([quick], replace(FACTS, version="2"), place)
    assert caught.value.code == "bundle_exists"
    assert Bundle.open(place).manifest.version == "1"
    assert write_bundle([quick], replace(FACTS, version="2"), place, overwrite=True).manifest.version == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_write_bundle_never_overwrites_other_folder(tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(BundleError) as caught:
        write_bundle(
            [NetworkMember("only", random_network(), VIEW, MEAN, SPREAD)], FACTS, tmp_path / "letters", overwrite=True
        )
    assert caught.value.code == "bundle_exists"
    assert (tmp_path / "letters" / "dear.txt").read_text() == "keep me"


def test_write_bundle_failure_leaves_nothing(tmp_path: Path, quick: NetworkMember) -> None:
    with pytest.raises(BundleError) as caught:
        write_bundle([replace(quick, sexes=(Sex.FEMALE,))], FACTS, tmp_path / "tiny")
    assert caught.value.code == "bundle_invalid"
    assert list(tmp_path.iterdir()) == []


def test_write_bundle_restores_former_on_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: NetworkMember
) -> None:
    """A former bundle comes back when the new one cannot be put."""
    place = tmp_path / "tiny"
    write_bundle([quick], FACTS, place)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".tiny.") and self.name == "tiny":
            raise OSError("the disk is full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="the disk is full"):
        write_bundle([quick], replace(FACTS, version="2"), place, overwrite=True)
    assert Bundle.open(place).manifest.version == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


# --- bundles that find the hand ---


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of hand networks, without members."""
    torch.manual_seed(3)
    networks = TrainedHandNetworks(
        TrainedHandNetwork(MaskNetwork(), 64, 64),
        TrainedHandNetwork(PointsNetwork(), 64, 48),
        TrainedHandNetwork(PointsNetwork(), 48, 64),
        replace(HandLimits(), largest_spread=0.25),
    )
    return write_bundle([], FACTS, tmp_path_factory.mktemp("finder") / "hands", hand=networks)


def test_write_bundle_with_hand_networks_only(finder: Bundle) -> None:
    opened = Bundle.open(finder.directory)
    assert all(result.passed for result in check_bundle(opened))
    assert (opened.members, opened.finds_hands) == ((), True)
    hand = opened.manifest.hand
    assert hand is not None
    assert [(name, graph.height, graph.width) for name, graph in hand.by_name().items()] == [
        ("mask", 64, 64),
        ("locate", 64, 48),
        ("refine", 48, 64),
    ]
    assert hand.limits.largest_spread == 0.25
    assert opened.hand_networks().mask(np.zeros((2, 64, 64), np.float32)).shape == (2, 64, 64)
    assert len(opened.hand_networks().refine(np.zeros((2, 48, 64), np.float32))) == 2


def test_write_bundle_takes_over_hand_graphs(tmp_path: Path, finder: Bundle, quick: NetworkMember) -> None:
    """Hand graphs are taken over for members that need a hand."""
    region = replace(VIEW, region="A")
    bundle = write_bundle([replace(quick, view=region)], FACTS, tmp_path / "tiny", hand=finder)
    assert bundle.manifest.hand == finder.manifest.hand
    assert bundle.members[0].view == region
    assert all(result.passed for result in check_bundle(bundle))
    assert finder.manifest.hand is not None
    for graph in finder.manifest.hand.by_name().values():
        assert (bundle.directory / graph.graph).read_bytes() == (finder.directory / graph.graph).read_bytes()


def test_write_bundle_takes_over_hand_graphs_in_8_bits(
    tmp_path: Path, finder: Bundle, quick: NetworkMember, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hand graphs are taken over in 8 bits and say from which."""
    monkeypatch.setattr(weight_bits, "_FEWEST", 10)  # these networks are tiny
    bundle = write_bundle([quick], FACTS, tmp_path / "eight", hand=finder, weight_bits=8)
    assert all(result.passed for result in check_bundle(bundle))
    again = write_bundle([], FACTS, tmp_path / "again", hand=bundle, weight_bits=8)
    former, mine, next_ones = (one.hand_networks().graphs for one in (finder, bundle, again))
    assert (mine.limits, next_ones) == (former.limits, mine)  # graphs of 8 bits are copied
    for name, graph in mine.by_name().items():
        assert encoded_from(bundle.directory / graph.graph) == former.by_name()[name].sha256
        assert encoded_from(finder.directory / graph.graph) is None
    empty = np.stack([cut_view(draw_hand(), ViewSpec(height=64, width=64))])
    np.testing.assert_allclose(bundle.hand_networks().mask(empty), finder.hand_networks().mask(empty), atol=0.1)
    # Where 8 bits would show, a network is taken over as it is.
    monkeypatch.setattr(weight_bits, "WEIGHT_LIMITS", {**LIMITS, 8: {**LIMITS[8], "hand": 0.0}})
    whole = write_bundle([], FACTS, tmp_path / "whole", hand=finder, weight_bits=8).hand_networks().graphs
    assert (whole.mask, whole.locate) == (former.mask, mine.locate)


def test_write_bundle_rejects_region_without_hand_networks(
    tmp_path: Path, quick: NetworkMember, written: Bundle
) -> None:
    member = replace(quick, view=replace(VIEW, region="A"))
    for hand, code in ((None, "bundle_invalid"), (written, "bundle_mismatch")):
        with pytest.raises(BundleError) as caught:
            write_bundle([member], FACTS, tmp_path / "tiny", hand=hand)
        assert caught.value.code == code
    with pytest.raises(BundleError, match="must have a network for the sex"):
        write_bundle([], FACTS, tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_write_bundle_rejects_damaged_hand_graph(tmp_path: Path, finder: Bundle, quick: NetworkMember) -> None:
    shutil.copytree(finder.directory, tmp_path / "damaged")
    damaged = Bundle.open(tmp_path / "damaged")
    (damaged.directory / "hand-refine.onnx").write_bytes(b"something else")
    for bits in (8, 16):
        with pytest.raises(BundleError, match="checksum"):
            write_bundle([quick], FACTS, tmp_path / "tiny", hand=damaged, weight_bits=bits)
    assert [path.name for path in tmp_path.iterdir()] == ["damaged"]


def test_write_bundle_rejects_member_named_as_hand_graph(tmp_path: Path, finder: Bundle, quick: NetworkMember) -> None:
    with pytest.raises(BundleError, match="the name hand-mask") as caught:
        write_bundle([replace(quick, name="hand-mask")], FACTS, tmp_path / "tiny", hand=finder)
    assert caught.value.code == "bundle_invalid"
