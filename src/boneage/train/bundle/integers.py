"""Networks for hand and outlines that compute with 8-bit integers: half of the time, with hardly another result.

The range of each layer's output is measured on radiographs. The graph then holds integer kernels, and ONNX Runtime
computes its convolutions with integers (static quantization; Jacob et al., CVPR 2018). The first and the last
convolution of each network stay in float32, since most of the change comes from them.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

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
from boneage.errors import BundleError, Rejection
from boneage.hand.bones import cut_bones
from boneage.hand.find import find_hand
from boneage.hand.views import measure_grey
from boneage.train.bundle.weight_bits import computes_in_integers, decode_weights, with_origin

RANGE_RADIOGRAPHS = 60
"""Number of radiographs on which ranges are measured, each also with random sides cut off."""

_MOST_VIEWS = 240
"""Largest number of views from which the ranges of one network are measured; the refining one reads four of a hand."""

_LARGEST_CUT = 0.3
"""Largest part that is cut off at a side, as a share of the radiograph's height or width."""

_OPERATORS = ["Conv", "Add", "Concat", "MaxPool", "Resize"]
"""Operators whose inputs become integers, so that a chain of layers stays in integers."""


class _RecordedNetworks(OnnxHandNetworks):
    """Hand networks that keep the views that they read, by the network's name."""

    def __init__(self, bundle: Bundle) -> None:
        if bundle.manifest.hand is None:
            raise BundleError("bundle_mismatch", f"The bundle {bundle.manifest.name} has no networks for the hand.")
        super().__init__(bundle.directory, bundle.manifest.hand, bundle.threads)
        self.views: dict[str, list[Image]] = defaultdict(list)

    def _run(self, name: str, views: Image, shapes: dict[str, tuple[int, ...]]) -> list[Image]:
        self.views[name].extend(np.array(view) for view in views)
        return super()._run(name, views, shapes)


OUTLINES = "outlines"
"""Name of the network for outlines beside those of the hand networks."""


def hand_views(bundle: Bundle, radiographs: Iterable[Image]) -> dict[str, list[Image]]:
    """Return the views that the networks for hand and outlines read on radiographs, float32 (h, w), by their names.

    Each radiograph is also read with random sides cut off. Ranges of whole hands alone are too narrow for cut ones:
    missing wrists and thumbs are then located where there are none, and the warnings about them fail.

    Args:
        bundle: bundle with hand networks.
        radiographs: radiographs, float32 (H, W), 0..1. Those that are rejected count as far as they were read.

    Raises:
        BundleError: ``bundle_mismatch`` if the bundle has no hand networks, or one of them read no view.
    """
    networks, generator = _RecordedNetworks(bundle), np.random.default_rng(0)
    for whole in radiographs:
        for pixels in (whole, _cut(whole, generator)):
            try:
                hand = find_hand(pixels, networks, networks.graphs.limits)
                hand = replace(hand, joints=networks.joints(pixels, hand))
            except Rejection:
                continue
            if bundle.outline_spec is not None:
                grey = measure_grey(pixels, bundle.outline_spec.grey, hand)
                networks.views[OUTLINES].append(cut_bones(pixels, bundle.outline_spec, hand, grey).view)
    unread = sorted(set(networks.graphs.by_name()) - set(networks.views))
    if unread:
        raise BundleError("bundle_mismatch", f"No radiograph was read by the hand's network {unread[0]}.")
    return {
        name: [views[place] for place in generator.permutation(len(views))[:_MOST_VIEWS]]
        for name, views in networks.views.items()
    }


def _cut(pixels: Image, generator: np.random.Generator) -> Image:
    """Return a radiograph without a part at some of its sides."""
    height, width = pixels.shape
    shares = generator.uniform(0, _LARGEST_CUT, 4) * (generator.random(4) < 0.5)
    top, bottom, left, right = (shares * (height, height, width, width)).astype(int).tolist()
    return np.ascontiguousarray(pixels[top : height - bottom, left : width - right])


class _Views(CalibrationDataReader):  # type: ignore[misc]  # it has no types
    """Views in the form in which ONNX Runtime asks for them."""

    def __init__(self, views: Sequence[Image]) -> None:
        self.left = iter(views)

    def get_next(self) -> Mapping[str, Image] | None:
        """Return the next input of the graph, or None after the last one."""
        view = next(self.left, None)
        return None if view is None else {"view": np.asarray(view[None, None], np.float32)}


def in_integers(stored: bytes, views: Sequence[Image], origin: str) -> bytes:
    """Return a graph that reads views alone, and computes with 8-bit integers.

    A graph that computes with integers already is returned as it is. Weights have 7 bits, since processors without
    instructions for neural networks would overflow with 8 and give another result.

    Args:
        stored: graph, whose weights may be encoded (`boneage.train.bundle.weight_bits`).
        views: views from which the ranges are measured, float32 (h, w).
        origin: checksum of that graph, which the new one keeps: runs on hands that it located are accepted.
    """
    if computes_in_integers(stored):
        return stored
    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, integers = (Path(folder) / f"{name}.onnx" for name in ("whole", "prepared", "integers"))
        whole.write_bytes(decode_weights(stored))
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        model = onnx.load(prepared)
        for place, node in enumerate(model.graph.node):
            node.name = node.name or f"{node.op_type}_{place}"  # nodes are left out by their names
        onnx.save(model, prepared)
        convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
        quantize_static(
            prepared,
            integers,
            _Views(views),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[convolutions[0], convolutions[-1]],
        )
        return with_origin(integers.read_bytes(), origin)
