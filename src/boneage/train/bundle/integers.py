"""Networks that compute with 8-bit integers: half of the time, with hardly another result.

The range of each layer's output is measured on radiographs. The graph then holds integer kernels, and ONNX Runtime
computes its convolutions with integers (static quantization; Jacob et al., CVPR 2018). The first and the last
convolution of each network and all layers behind it stay in float32, since most of the change comes from them. The
quality network, which is small, stays in float32 as a whole.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process  # type: ignore[import-untyped]

from boneage.arrays import Image
from boneage.bundle.bundle import Bundle
from boneage.bundle.hand_networks import OnnxHandNetworks
from boneage.bundle.session import Graph
from boneage.errors import BundleError, Rejection
from boneage.hand.find import find_hand
from boneage.hand.member_views import cut_member_view
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec
from boneage.image_pyramid import ImagePyramid
from boneage.train.bundle.weight_bits import (
    computes_in_integers,
    decode_weights,
    encode_integers,
    exchange,
    stored_bits,
    with_origin,
)

RANGE_RADIOGRAPHS = 120
"""Number of radiographs on which ranges are measured, each also with random sides cut off."""

_MOST_FEEDS = 240
"""Largest number of inputs from which the ranges of one network are measured; the refining one reads four of a hand."""

_LARGEST_CUT = 0.3
"""Largest part that is cut off at a side, as a share of the radiograph's height or width."""

_FEWEST_CONVOLUTIONS = 3

_OPERATORS = ["Conv", "Add", "Concat", "MaxPool", "AveragePool", "Resize"]
"""Operators whose inputs become integers, so that a chain of layers stays in integers."""

SELF_TEST_TOLERANCE_MONTHS = 3.0
"""Accepted difference of the drawn phantom's ages on another machine.

The phantom leaves the ranges, so that a change of its grey by 1e-5 moves a network of `standard` by up to 1.5 months.
"""

Feed: TypeAlias = Mapping[str, Image]
"""Inputs of a graph by their names, each with a first axis of length 1."""


def feeds_of(bundle: Bundle, radiographs: Iterable[Image]) -> dict[str, list[Feed]]:
    """Return what the networks for hand, outlines and ages read on radiographs, by the file names of their graphs.

    Each radiograph is also read with random sides cut off. Ranges of whole hands alone are too narrow for cut ones:
    missing wrists and thumbs are then located where there are none, and the warnings about them fail.

    Args:
        bundle: bundle with hand networks.
        radiographs: radiographs, float32 (H, W), 0..1. Those that are rejected count as far as they were read.

    Raises:
        BundleError: ``bundle_mismatch`` if the bundle has no hand networks, or one of the networks read nothing.
    """
    networks, generator = _RecordedNetworks(bundle), np.random.default_rng(0)
    for whole in radiographs:
        for pixels in (whole, _cut(whole, generator)):
            try:
                hand = find_hand(pixels, networks, networks.graphs.limits)
                hand = replace(hand, joints=networks.joints(pixels, hand))
                for graph, feed in _feeds_of_hand(bundle, pixels, hand):
                    networks.feeds[graph].append(feed)
            except Rejection:
                continue
    read: list[Graph] = [graph for graph in bundle.graphs().values() if graph != bundle.manifest.quality]
    unread = sorted({graph.graph for graph in read} - set(networks.feeds))
    if unread:
        raise BundleError("bundle_mismatch", f"No radiograph was read by the network {unread[0]}.")
    return {
        graph: [feeds[place] for place in generator.permutation(len(feeds))[:_MOST_FEEDS]]
        for graph, feeds in networks.feeds.items()
    }


class _RecordedNetworks(OnnxHandNetworks):
    """Hand networks that keep the views that they read, by the file names of the graphs."""

    def __init__(self, bundle: Bundle) -> None:
        if bundle.manifest.hand is None:
            raise BundleError("bundle_mismatch", f"The bundle {bundle.manifest.name} has no networks for the hand.")
        super().__init__(bundle.directory, bundle.manifest.hand, bundle.threads)
        self.feeds: dict[str, list[Feed]] = defaultdict(list)

    def _run(self, name: str, views: Image, shapes: dict[str, tuple[int, ...]]) -> list[Image]:
        self.feeds[self.graphs.by_name()[name].graph].extend(_feed(np.array(view)) for view in views)
        return super()._run(name, views, shapes)


def _feeds_of_hand(bundle: Bundle, pixels: Image, hand: Hand) -> Iterator[tuple[str, Feed]]:
    """Yield the graphs for outlines and ages, and what they read on a located hand."""
    pyramid = ImagePyramid(pixels)
    if bundle.outline_spec is not None:
        yield bundle.outline_graph().graph, _feed(cut_member_view(pyramid, bundle.outline_spec, hand=hand))
    views: dict[ViewSpec, Image] = {}
    for member in bundle.members:
        if member.view not in views:
            views[member.view] = cut_member_view(pyramid, member.view, hand=hand)
        for sex in member.sexes:
            yield member.graph, _feed(views[member.view]) | {"sex": sex.one_hot()[None]}


def _feed(view: Image) -> dict[str, Image]:
    """Return a view, float32 (h, w), as a graph's input."""
    return {"view": np.asarray(view[None, None], np.float32)}


def _cut(pixels: Image, generator: np.random.Generator) -> Image:
    """Return a radiograph without a part at some of its sides."""
    height, width = pixels.shape
    shares = generator.uniform(0, _LARGEST_CUT, 4) * (generator.random(4) < 0.5)
    top, bottom, left, right = (shares * (height, height, width, width)).astype(int).tolist()
    return np.ascontiguousarray(pixels[top : height - bottom, left : width - right])


class _Feeds(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Inputs in the form in which ONNX Runtime asks for them."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.left = iter(feeds)

    def get_next(self) -> Feed | None:
        """Return the next input of the graph, or None after the last one."""
        return next(self.left, None)


def in_integers(stored: bytes, feeds: Sequence[Feed], origin: str) -> bytes:
    """Return a graph that computes with 8-bit integers from its second convolution to its last but one.

    A graph that computes with integers already, or has fewer than three convolutions, is returned as it is. Weights
    have 7 bits, since processors without instructions for neural networks would overflow with 8 and give another
    result. The nodes keep their order, by which `boneage.train.bundle.from_bundle` finds the weights.

    Args:
        stored: graph, whose weights may be encoded (`boneage.train.bundle.weight_bits`).
        feeds: inputs from which the ranges are measured.
        origin: checksum of that graph, which the new one keeps: runs on hands that it located are accepted.
    """
    kinds = [node.op_type for node in onnx.ModelProto.FromString(stored).graph.node]
    if computes_in_integers(stored) or kinds.count("Conv") < _FEWEST_CONVOLUTIONS:
        return stored
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, integers = (Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "integers"))
        whole.write_bytes(decode_weights(stored))
        # The optimizer of ONNX Runtime is left out: it sorts the nodes and the graph is optimized when it is loaded.
        quant_pre_process(whole, prepared, skip_symbolic_shape=True, skip_optimization=True)
        model = onnx.load(prepared)
        for place, node in enumerate(model.graph.node):
            node.name = f"{node.op_type}_{place}"  # nodes are left out and sorted by their names
        onnx.save(model, prepared)
        names = [node.name for node in model.graph.node]
        convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
        quantize_static(
            prepared,
            integers,
            _Feeds(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[convolutions[0], *names[names.index(convolutions[-1]) :]],
        )
        made = _sorted(onnx.load(integers), names)
    bits = stored_bits(stored)  # layers that stay in float32 are stored as before
    return with_origin(made if bits == 32 else encode_integers(made, bits), origin)


def in_floats(stored: bytes) -> bytes:
    """Return a graph of `in_integers` without the rounding of its layers' outputs; any other graph as it is.

    Its weights stay the rounded ones.
    """
    model = onnx.ModelProto.FromString(stored)
    rounded = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    exact = {
        node.output[0]: rounded[node.input[0]]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded
    }
    nodes = [node for node in model.graph.node if not {*node.output} & {*rounded, *exact}]
    for node in nodes:
        node.input[:] = [exact.get(source, source) for source in node.input]
    read = {source for node in nodes for source in node.input}
    constants = [constant for constant in model.graph.initializer if constant.name in read]
    exchange(model.graph.node, nodes)
    exchange(model.graph.initializer, constants)
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def _sorted(model: onnx.ModelProto, names: Sequence[str]) -> bytes:
    """Return a graph whose named nodes are in the given order, and any other just before the first that needs it."""
    named = {node.name: node for node in model.graph.node}
    makers = {output: node for node in model.graph.node for output in node.output}
    ordered: dict[str, onnx.NodeProto] = {}

    def append(node: onnx.NodeProto) -> None:
        if node.name not in ordered:
            for source in node.input:
                if source in makers:
                    append(makers[source])
            ordered[node.name] = node

    for name in (*(name for name in names if name in named), *named):
        append(named[name])
    exchange(model.graph.node, list(ordered.values()))
    made: bytes = model.SerializeToString(deterministic=True)
    return made
