"""Networks that compute with integers: nearly the same outputs, from integer kernels."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from boneage.bundle.bundle import Bundle
from boneage.errors import BundleError
from boneage.hand.views import ViewSpec
from boneage.phantom import draw_hand
from boneage.sex import Sex
from boneage.train.bundle.integers import Feed, feeds_of, in_floats, in_integers
from boneage.train.bundle.weight_bits import encode_integers, encoded_from, run_graph, stored_bits
from tests.bundles import tiny_bundle

SIDE, CHANNELS = 32, 8


def convolutions(count: int = 4) -> bytes:
    """Return a graph of convolutions from ``view`` (N, 1, 32, 32) to ``hand`` (N, 32, 32), with random kernels."""
    generator = np.random.default_rng(0)
    nodes, kernels, channels = [], [], 1
    for place in range(count):
        out = 1 if place == count - 1 else CHANNELS
        kernel = generator.normal(0, (2 / (9 * channels)) ** 0.5, (out, channels, 3, 3)).astype(np.float32)
        kernels.append(numpy_helper.from_array(kernel, f"kernel{place}"))
        source = "view" if place == 0 else f"active{place - 1}"
        nodes.append(helper.make_node("Conv", [source, f"kernel{place}"], [f"out{place}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"out{place}"], [f"active{place}"]))
        channels = out
    kernels.append(numpy_helper.from_array(np.array([1], np.int64), "axis"))
    nodes[-1] = helper.make_node("Sigmoid", [f"out{count - 1}"], ["probability"])
    nodes.append(helper.make_node("Squeeze", ["probability", "axis"], ["hand"]))
    view = helper.make_tensor_value_info("view", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])
    hand = helper.make_tensor_value_info("hand", TensorProto.FLOAT, ["batch", SIDE, SIDE])
    graph = helper.make_graph(nodes, "convolutions", [view], [hand], kernels)
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()
    return model


def feeds(views: NDArray[np.float32]) -> list[Feed]:
    """Return views (N, h, w) as inputs of a graph."""
    return [{"view": view[None, None]} for view in views]


@pytest.mark.parametrize("bits", [None, 8, 16])
def test_in_integers_changes_outputs_little(tmp_path: Path, bits: int | None) -> None:
    """The graph holds integers, keeps the checksum that it came from, and its outputs move by a hundredth or so."""
    whole = convolutions()
    stored = whole if bits is None else encode_integers(whole, 8 if bits == 8 else 16)
    views = np.random.default_rng(1).normal(0, 1, (12, SIDE, SIDE)).astype(np.float32)
    integers = in_integers(stored, feeds(views[:8]), "a" * 64)
    path = tmp_path / "graph.onnx"
    path.write_bytes(integers)
    assert encoded_from(path) == "a" * 64
    assert stored_bits(integers) == 8
    constants = onnx.ModelProto.FromString(integers).graph.initializer
    kernels = [each for each in constants if len(each.dims) == 4 and not each.name.endswith(".step")]
    exact = {None: TensorProto.FLOAT, 8: TensorProto.INT16, 16: TensorProto.INT16}[bits]  # few values take 16 bits
    assert Counter(each.data_type for each in kernels) == {TensorProto.INT8: 2, exact: 2}  # first and last stay exact
    feed = {"view": views[8:, None]}
    moved = np.abs(run_graph(integers, feed)["hand"] - run_graph(whole, feed)["hand"])
    assert 0 < moved.max() < 0.1
    assert moved.mean() < 0.02
    assert in_integers(integers, feeds(views[:8]), "b" * 64) == integers


def test_in_floats_leaves_out_the_rounding_between_layers() -> None:
    whole = convolutions(6)
    views = np.random.default_rng(1).normal(0, 1, (12, SIDE, SIDE)).astype(np.float32)
    integers, feed = in_integers(whole, feeds(views[:8]), ""), {"view": views[8:, None]}
    expected, rounded, exact = (run_graph(one, feed)["hand"] for one in (whole, integers, in_floats(integers)))
    assert 0 < np.abs(exact - expected).mean() < 0.8 * np.abs(rounded - expected).mean()
    graph = onnx.ModelProto.FromString(in_floats(integers)).graph
    assert "QuantizeLinear" not in {node.op_type for node in graph.node}
    read = {source for node in graph.node for source in node.input}
    assert {constant.name for constant in graph.initializer} <= read
    assert run_graph(in_floats(whole), feed)["hand"].tobytes() == expected.tobytes()


def test_in_integers_takes_ranges_from_views() -> None:
    """With ranges of views that are too dark by far, bright views are cut off."""
    whole = convolutions()
    views = np.random.default_rng(1).normal(0, 1, (8, SIDE, SIDE)).astype(np.float32)
    feed = {"view": views[4:, None]}
    expected = run_graph(whole, feed)["hand"]
    fitting, dark = (
        np.abs(run_graph(in_integers(whole, feeds(factor * views[:4]), ""), feed)["hand"] - expected).mean()
        for factor in (np.float32(1), np.float32(0.05))
    )
    assert dark > 5 * fitting


def test_feeds_are_those_of_each_network(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "hand", views=(ViewSpec("B", 64, 48),), hand=True))
    read = feeds_of(bundle, [draw_hand(10.0, height=400, width=300)] * 3)
    assert bundle.manifest.hand is not None
    graphs = bundle.manifest.hand.by_name()
    assert set(read) == {graph.graph for graph in graphs.values()} | {member.graph for member in bundle.members}
    for graph in graphs.values():
        assert {feed["view"].shape for feed in read[graph.graph]} == {(1, 1, graph.height, graph.width)}
    assert len(read[graphs["refine"].graph]) > len(read[graphs["locate"].graph]) >= 4  # those of the cut ones, too
    middle = {tuple(np.round(feed["view"][0, 0].mean(axis=0)[::8], 2)) for feed in read[graphs["locate"].graph]}
    assert len(middle) > 1
    (member,) = bundle.members
    assert {feed["view"].shape for feed in read[member.graph]} == {(1, 1, 64, 48)}
    assert {tuple(feed["sex"][0]) for feed in read[member.graph]} == {tuple(sex.one_hot()) for sex in Sex}


def test_feeds_without_hand_networks(tmp_path: Path) -> None:
    with pytest.raises(BundleError) as caught:
        feeds_of(Bundle.open(tiny_bundle(tmp_path / "plain")), [])
    assert caught.value.code == "bundle_mismatch"


def test_feeds_of_no_hand(tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle(tmp_path / "hand", hand=True))
    with pytest.raises(BundleError) as caught:
        feeds_of(bundle, [np.zeros((200, 200), np.float32)])
    assert "was read" in caught.value.message
