"""Weights that are stored as integers: graphs decode them on load, and outputs change within limits."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.train.bundle import weight_bits
from boneage.train.bundle.export import export_hand_graph
from boneage.train.bundle.write import NetworkMember
from tests.train.bundle.tiny_networks import PointsNetwork, export, one_hot, random_network, views

LIMITS = weight_bits.WEIGHT_LIMITS
INTEGERS = (onnx.TensorProto.INT16, onnx.TensorProto.INT8)


def test_export_graph_16_bits_halve_file(tmp_path: Path, written: Bundle) -> None:
    whole = export(random_network(), tmp_path / "whole.onnx", bits=32).path.stat().st_size
    half = (written.directory / "residual.onnx").stat().st_size
    weights = 4 * sum(tensor.numel() for tensor in random_network().state_dict().values())
    # The rest of the graph counts in networks as tiny as this one.
    assert half < whole - 0.45 * weights
    assert [path.name for path in tmp_path.iterdir()] == ["whole.onnx"]


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


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 200), st.sampled_from([1, 3]), st.sampled_from([8, 16]), st.integers(0, 99))
def test_encode_integers_error_within_step(
    channels: int, inputs: int, side: int, bits: Literal[8, 16], seed: int
) -> None:
    """Stored weights are off by a step at most and kernels by half of one, and by 0.005 more in float32."""
    rng = np.random.default_rng(seed)
    values = rng.standard_cauchy((channels, inputs, side, side)).clip(-50, 50).astype(np.float32)
    off = stored_and_back(values, bits) - values
    is_short = bits == 8 and values.size >= 4096
    steps = np.abs(values).max(axis=(1, 2, 3)) / (127 if is_short else 32767)
    assert (np.abs(off).max(axis=(1, 2, 3)) <= steps * (1.001 if is_short else 0.505)).all()
    if is_short:
        assert (np.abs(off.sum(axis=(2, 3))).max(axis=1) <= steps * 0.505).all()


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
