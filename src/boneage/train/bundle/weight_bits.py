"""Storage of a graph's weights as integers of 8 or 16 bits, as far as its outputs stay within limits."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from boneage.bundle.session import import_onnxruntime
from boneage.files import atomic_write
from boneage.hand.views import ViewSpec, cut_view
from boneage.phantom import draw_hand

WeightBits = Literal[8, 16, 32]

WEIGHT_LIMITS: Mapping[WeightBits, Mapping[str, float]] = MappingProxyType(
    {
        16: {
            "age_months": 0.05,
            "activation": 1e-3,  # relative to its largest value
            "age_distribution": 1e-3,
            "bone_distribution": 1e-3,
            "bone_weight": 1e-3,
            "hand": 0.01,
            "outlines": 0.01,
            "points": 0.05,
            "spread": 0.05,
            "hands": 0.005,
            "quality": 0.005,
        },
        8: {
            "age_months": 2.0,
            "activation": 0.1,
            "age_distribution": 0.005,
            "bone_distribution": 0.02,
            "bone_weight": 0.05,
            "hand": 0.1,
            "outlines": 0.2,
            "points": 0.15,
            "spread": 0.2,
            "hands": 0.02,
            "quality": 0.02,
        },
    }
)
"""Largest change of each output for a drawn phantom, by the bits of the weights.

Weights take more bits if an output changes by more. Networks were not trained on phantoms, and 8 bits change their
outputs for phantoms several times as much as for radiographs: in the networks of the bundle ``standard`` by up to 1.3
months, and on 100 radiographs by at most 0.5.
"""

_RELATIVE = {"activation"}

_PHANTOM_YEARS = (1.0, 4.0, 7.0, 10.0, 13.0, 16.0)

_FLOAT = onnx.TensorProto.FLOAT

_SHORT, _STEP, _CAST = ".short", ".step", ".cast"
"""Suffixes of a weight's name: its integers, the size of their steps, and their values as float32."""

_FEWEST, _SMALL_SHARE = 4096, 0.01
"""Limits below which weights take 16 bits where others take 8: number of values, and share of the graph's values.

Such weights are few, and most of the change by 8 bits comes from the first layers.
"""

_ENCODED_FROM = "boneage.encoded_from"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportedGraph:
    """Graph file.

    Attributes:
        path: path of the file.
        weight_bits: bits of its weights.
    """

    path: Path
    weight_bits: WeightBits


def write_graph(
    whole: bytes, path: Path, feed: Mapping[str, NDArray[np.float32]], *, weight_bits: WeightBits
) -> ExportedGraph:
    """Write a graph with the fewest bits per weight that its outputs allow, but not fewer than `weight_bits`."""
    written, reached = encode_weights(whole, path.name, feed, weight_bits)
    with atomic_write(path) as temporary:
        temporary.write_bytes(written)
    return ExportedGraph(path, reached)


def encode_weights(
    whole: bytes, name: str, feed: Mapping[str, NDArray[np.float32]], wanted: WeightBits
) -> tuple[bytes, WeightBits]:
    """Encode a graph's weights in the fewest bits that change its outputs for `feed` within the limits.

    Args:
        whole: graph with weights of 32 bits.
        name: name of the graph in the log.
        feed: inputs of the graph.
        wanted: bits to begin with.

    Returns:
        Encoded graph, and the bits of its weights.
    """
    tried: tuple[Literal[8, 16], ...] = (8, 16)
    expected = run_graph(whole, feed)
    for bits in tried[tried.index(wanted) :] if wanted in tried else ():
        smaller = encode_integers(whole, bits)
        moved = _beyond_limits(expected, run_graph(smaller, feed), WEIGHT_LIMITS[bits])
        if not moved:
            return smaller, bits
        _log.warning("%s: weights take more than %d bits, because %d bits change %s", name, bits, bits, moved)
    return whole, 32


def encode_integers(whole: bytes, bits: Literal[8, 16]) -> bytes:
    """Encode matrices and kernels as integers, which the graph scales back to float32 at its start.

    ONNX Runtime folds cast and scaling when it loads a graph. Biases stay as they are, because they are small.
    """
    model = onnx.ModelProto.FromString(whole)
    graph = model.graph
    weights = [weight for weight in graph.initializer if weight.data_type == _FLOAT and len(weight.dims) >= 2]
    fewest = max(_FEWEST, _SMALL_SHARE * sum(math.prod(weight.dims) for weight in weights))
    nodes: list[onnx.NodeProto] = []
    for weight in weights:
        name, values = weight.name, numpy_helper.to_array(weight)
        kind = np.int8 if bits == 8 and values.size >= fewest else np.int16
        steps = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / np.float32(np.iinfo(kind).max)
        steps = np.where(steps > 0, steps, np.float32(1))
        short = (_shaped if kind is np.int8 else np.rint)(values / steps).astype(kind)
        weight.CopyFrom(numpy_helper.from_array(short, name + _SHORT))
        graph.initializer.append(numpy_helper.from_array(steps, name + _STEP))
        nodes.append(onnx.helper.make_node("Cast", [name + _SHORT], [name + _CAST], to=_FLOAT))
        nodes.append(onnx.helper.make_node("Mul", [name + _CAST, name + _STEP], [name]))
    nodes.extend(graph.node)
    exchange(graph.node, nodes)
    smaller: bytes = model.SerializeToString(deterministic=True)
    return smaller


def _shaped(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Round so that the errors within a kernel cancel: each place takes over the error of the place before it.

    The input of a kernel hardly changes from one place to the next. The output therefore changes much less than by
    random errors (noise shaping): in a large network a third to a half as much.

    Args:
        values: (channels out, channels in, places...), in steps.
    """
    wanted = values.reshape(*values.shape[:2], -1)
    rounded = np.empty_like(wanted)
    lost = np.zeros_like(wanted[..., 0])
    for place in range(wanted.shape[2]):
        due = wanted[..., place] + lost
        rounded[..., place] = np.clip(np.rint(due), -np.iinfo(np.int8).max, np.iinfo(np.int8).max)
        lost = due - rounded[..., place]
    return rounded.reshape(values.shape)


def decode_weights(stored: bytes) -> bytes:
    """Invert `encode_integers`, except for the rounding."""
    model = onnx.ModelProto.FromString(stored)
    graph = model.graph
    values = {weight.name: weight for weight in graph.initializer}
    names = [name.removesuffix(_SHORT) for name in values if name.endswith(_SHORT) and _integers(values[name])]
    steps = {name: numpy_helper.to_array(values[name + _STEP]) for name in names}
    for name, step in steps.items():
        short = values[name + _SHORT]
        short.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(short).astype(np.float32) * step, name))
        graph.initializer.remove(values[name + _STEP])
    left = [node for node in graph.node if not {output.removesuffix(_CAST) for output in node.output} & set(names)]
    exchange(graph.node, left)
    whole: bytes = model.SerializeToString(deterministic=True)
    return whole


def exchange(held: Any, others: Sequence[Any]) -> None:
    """Exchange what a repeated field of a graph holds, such as its nodes."""
    del held[:]
    held.extend(others)


def _integers(weight: onnx.TensorProto) -> bool:
    return weight.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.INT16)


def computes_in_integers(stored: bytes) -> bool:
    """Return True if a graph computes with integers (`boneage.train.bundle.integers`)."""
    return any(node.op_type == "QuantizeLinear" for node in onnx.ModelProto.FromString(stored).graph.node)


def stored_bits(stored: bytes) -> WeightBits:
    """Return the bits in which most of a graph's weights are stored: 8 for one that computes with integers, too."""
    if computes_in_integers(stored):
        return 8
    weights = onnx.ModelProto.FromString(stored).graph.initializer
    kinds = {weight.data_type for weight in weights if weight.name.endswith(_SHORT)}
    return 8 if onnx.TensorProto.INT8 in kinds else 16 if onnx.TensorProto.INT16 in kinds else 32


def with_origin(model: bytes, sha256: str) -> bytes:
    """Return the graph with the checksum of the graph from which it was encoded."""
    noted = onnx.ModelProto.FromString(model)
    onnx.helper.set_model_props(noted, {_ENCODED_FROM: sha256})
    model_bytes: bytes = noted.SerializeToString(deterministic=True)
    return model_bytes


def encoded_from(graph: Path) -> str | None:
    """Return the SHA-256 of the graph from which this one was encoded in fewer bits; None for any other graph."""
    model = onnx.load(graph, load_external_data=False)
    return {note.key: note.value for note in model.metadata_props}.get(_ENCODED_FROM)


def run_graph(model: bytes, feed: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Run a graph, and return its outputs by name.

    Rows of the feed are run one at a time, which limits memory with large views.
    """
    options = import_onnxruntime().SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")  # a second copy of the weights, for speed
    session = import_onnxruntime().InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    rows = range(len(feed["view"]))
    answered = [session.run(names, {name: values[row : row + 1] for name, values in feed.items()}) for row in rows]
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*answered, strict=True), strict=True)}


def _beyond_limits(
    expected: Mapping[str, NDArray[np.float32]], actual: Mapping[str, NDArray[np.float32]], limits: Mapping[str, float]
) -> str:
    """Return a text with the outputs that differ by more than the limits; empty if there is none."""
    differences = {name: float(np.abs(actual[name] - expected[name]).max()) for name in limits if name in expected}
    for name in _RELATIVE & set(differences):
        differences[name] /= max(float(np.abs(expected[name]).max()), 1e-6)
    beyond = {name: moved for name, moved in differences.items() if not moved <= limits[name]}
    return ", ".join(f"{name} by {moved:.4f}" for name, moved in beyond.items())


def phantom_views(height: int, width: int) -> NDArray[np.float32]:
    """Return views of drawn hands of several ages, float32 (n, 1, height, width)."""
    spec = ViewSpec(height=height, width=width)
    return np.stack([cut_view(radiograph, spec)[None] for radiograph in _phantoms()])


@cache
def _phantoms() -> tuple[NDArray[np.float32], ...]:
    """Return the drawn hands. They are drawn once: callers must not change them."""
    return tuple(draw_hand(years, height=1000, width=750) for years in _PHANTOM_YEARS)
