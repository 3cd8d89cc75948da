"""Export of trained networks as ONNX graphs, and their comparison with the networks.

A graph for ages returns months, embedding and activation map in one forward pass. The other graphs locate the hand or
assess the image quality.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.bundle.bundle import Bundle
from boneage.bundle.curve import AGES
from boneage.bundle.manifest import Member
from boneage.bundle.member_output import MemberOutput
from boneage.errors import BundleError
from boneage.sex import Sex
from boneage.train.bundle.weight_bits import ExportedGraph, WeightBits, phantom_views, write_graph
from boneage.train.networks.layers import RANGE_MEAN_MONTHS, RANGE_SPREAD_MONTHS, AgeNetwork

OPSET = 20
"""Version of the ONNX operators, which ONNX Runtime supports since 1.17."""

HandGraphKind = Literal["mask", "points", "joints", "outlines", "quality"]

_HAND_OUTPUTS: dict[HandGraphKind, list[str]] = {
    "mask": ["hand"],
    "points": ["points", "spread", "hands"],
    "joints": ["points", "spread"],
    "outlines": ["outlines"],
    "quality": ["quality"],
}

_BATCH = 16

_REGISTRATION_LOG = "torch.onnx._internal.exporter._registration"

NetworkT = TypeVar("NetworkT", bound=nn.Module)


class AgeGraph(nn.Module):
    """Network with the outputs of a bundle's contract: ages in months instead of the unit of training."""

    def __init__(self, network: AgeNetwork, age_mean_months: float, age_spread_months: float) -> None:
        super().__init__()
        self.network, self.mean, self.spread = network, age_mean_months, age_spread_months

    def forward(self, view: Tensor, sex: Tensor) -> tuple[Tensor, ...]:
        """Return ages (months), embedding, activation map and, where the network has them, the distributions."""
        explained = self.network.explain(view, sex)
        outputs = (explained.age * self.spread + self.mean, explained.embedding, explained.activation * self.spread)
        further = (explained.distribution, explained.bones, explained.bone_weights)
        return (*outputs, *(output for output in further if output is not None))


class _MaskGraph(nn.Module):
    """Network with logits (N, 1, h, w), with the output of the contract: probabilities (N, h, w)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        return (torch.sigmoid(self.network(view))[:, 0],)


class _PointsGraph(nn.Module):
    """Network whose `explain` returns points, spread and hands, with the outputs of the contract."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        explain = cast("Callable[[Tensor], Sequence[Tensor]]", self.network.explain)
        return tuple(explain(view)[:3])


class _JointsGraph(nn.Module):
    """Network for joints, with the outputs of the contract."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        located = self.network(view)
        return located.points, located.spread


class _QualityGraph(nn.Module):
    """Network with logits (N, labels), with the output of the contract for ``quality``."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        return (torch.sigmoid(self.network(view)),)


_HAND_GRAPHS: Mapping[HandGraphKind, Callable[[nn.Module], nn.Module]] = MappingProxyType(
    {
        "mask": _MaskGraph,
        "points": _PointsGraph,
        "joints": _JointsGraph,
        "outlines": _MaskGraph,
        "quality": _QualityGraph,
    }
)


def export_graph(
    network: AgeNetwork,
    path: str | Path,
    *,
    height: int,
    width: int,
    age_mean_months: float,
    age_spread_months: float,
    weight_bits: WeightBits = 16,
    opset: int = OPSET,
) -> ExportedGraph:
    """Write a network for ages as an ONNX graph with a bundle's inputs and outputs, for any batch size.

    Args:
        network: network on any device, in either mode; it is not changed.
        path: path of the file, written in one step.
        height: height of the view, pixels.
        width: width of the view, pixels.
        age_mean_months: mean of the ages in training.
        age_spread_months: spread of the ages in training.
        weight_bits: bits of the weights. Integers have one step for each output channel; 16 bits hold a trained
            network's weights about ten times as precisely as float16. 32 bits keep them unchanged. Weights become
            float32 when the graph is loaded, and computation is in single precision. They take the next larger number
            of bits, with a warning in the log, if an output changes by more than `WEIGHT_LIMITS`.
        opset: version of the ONNX operators.

    Raises:
        BundleError: ``bundle_output`` if the network holds weights that are not finite; ``bundle_mismatch`` if it
            returns a distribution over months, but was trained in another unit than such networks have.
        ValueError: Mean or spread is not a usable number.
    """
    if not (math.isfinite(age_mean_months) and math.isfinite(age_spread_months) and age_spread_months > 0):
        raise ValueError(f"an age mean of {age_mean_months} and spread of {age_spread_months} cannot be used")
    unit = (RANGE_MEAN_MONTHS, RANGE_SPREAD_MONTHS)
    if network.gives_distribution and (age_mean_months, age_spread_months) != unit:
        raise BundleError(
            "bundle_mismatch",
            f"A network that returns a distribution over months has the unit {unit}, not"
            f" {(age_mean_months, age_spread_months)}. Train it with the age unit range.",
        )
    outputs = ["age_months", "embedding", "activation"]
    if network.gives_distribution:
        outputs.append("age_distribution")
    if network.gives_bones:
        outputs += ["bone_distribution", "bone_weight"]
    inputs = {"view": _noise(height, width), "sex": torch.eye(2)}
    model = trace_graph(
        AgeGraph(_plain(network), float(age_mean_months), float(age_spread_months)), inputs, outputs, opset
    )
    views = phantom_views(height, width)
    feed = {
        "view": np.repeat(views, len(Sex), axis=0),
        "sex": np.stack([sex.one_hot() for sex in Sex] * len(views)),
    }
    return write_graph(model, Path(path), feed, weight_bits=weight_bits)


def export_hand_graph(
    network: nn.Module,
    path: str | Path,
    *,
    kind: HandGraphKind,
    height: int,
    width: int,
    weight_bits: WeightBits = 16,
    opset: int = OPSET,
) -> ExportedGraph:
    """Write a network for another task than ages as an ONNX graph with the contract's outputs, for any batch size.

    The graph reads ``view`` (N, 1, height, width). Its outputs depend on the kind:

    * ``mask``: ``hand`` (N, height, width), probabilities.
    * ``points``: ``points`` (N, 3, 2) and ``spread`` (N, 3) in pixels of the view, and ``hands`` (N, 3), probabilities
      of no hand, one hand and several hands.
    * ``joints``: ``points`` (N, J, 2) and ``spread`` (N, J) in pixels of the view.
    * ``outlines``: ``outlines`` (N, height, width), probabilities.
    * ``quality``: ``quality`` (N, labels), probabilities.

    Args:
        network: network on any device, in either mode; it is not changed. For ``mask``, ``outlines`` and ``quality``,
            `forward` returns logits (N, 1, height, width) or (N, labels). For ``points``, `explain` returns at least
            the three outputs, in this order.
        path: path of the file, written in one step.
        kind: kind of graph.
        height: height of the view, pixels.
        width: width of the view, pixels.
        weight_bits: bits of the weights; see `export_graph`.
        opset: version of the ONNX operators.

    Raises:
        BundleError: ``bundle_output`` if the network holds weights that are not finite.
    """
    model = trace_graph(
        _HAND_GRAPHS[kind](_plain(network)), {"view": _noise(height, width)}, _HAND_OUTPUTS[kind], opset
    )
    return write_graph(model, Path(path), {"view": phantom_views(height, width)}, weight_bits=weight_bits)


def parity(network: AgeNetwork, bundle: Bundle, views: NDArray[np.float32], *, member: str | None = None) -> float:
    """Return the largest difference between a network and its exported graph, months.

    Both compute the views themselves, not their mirror images.

    Args:
        network: network from which the member was made, on any device; it is not changed.
        bundle: bundle with the member.
        views: float32 (N, h, w), computed for every sex that the member serves.
        member: name of the member; optional if the bundle has one member.

    Raises:
        BundleError: ``bundle_mismatch`` if there is no such member.
    """
    chosen = _choose(bundle, member)
    pairs = _outputs_of_both(network, bundle, views, chosen)
    return max(float(np.abs(outputs[0] - [one.age_months for one in exported]).max()) for outputs, exported in pairs)


def bone_parity(network: AgeNetwork, bundle: Bundle, views: NDArray[np.float32], *, member: str | None = None) -> float:
    """Return the largest difference between the ages of single bones by a network and by its exported graph, months.

    Bones without a weight are left out, since their ages have no meaning. `parity` compares the weights of the others
    through the age of the hand.

    Args:
        network: see `parity`; it returns single bones.
        bundle: see `parity`.
        views: see `parity`.
        member: see `parity`.

    Raises:
        BundleError: ``bundle_mismatch`` if there is no such member, or its graph has no output for single bones.
    """
    chosen = _choose(bundle, member)
    months, largest = np.arange(AGES), 0.0
    for (*_, curves, _weights), exported in _outputs_of_both(network, bundle, views, chosen):
        for curve, output in zip(curves, exported, strict=True):
            if output.bones is None:
                raise BundleError("bundle_mismatch", f"The graph of {chosen.name} has no output for single bones.")
            differences = np.abs((curve - output.bones.distributions) @ months)[output.bones.weights > 0]
            largest = max(largest, float(differences.max(initial=0)))
    return largest


def _outputs_of_both(
    network: AgeNetwork, bundle: Bundle, views: NDArray[np.float32], member: Member
) -> Iterator[tuple[list[NDArray[np.float32]], list[MemberOutput]]]:
    """Yield the outputs of `AgeGraph` and those of the exported graph, by batches, for every sex of the member."""
    graph = AgeGraph(_plain(network), member.age_mean_months, member.age_spread_months).eval()
    for start in range(0, len(views), _BATCH):
        batch = views[start : start + _BATCH]
        for sex in member.sexes:
            one_hot = torch.from_numpy(np.repeat(sex.one_hot()[None], len(batch), axis=0))
            with torch.no_grad():
                outputs = [output.numpy() for output in graph(torch.from_numpy(batch[:, None]), one_hot)]
            yield outputs, bundle.run_batch(member, batch, [sex] * len(batch), plain=True)


def _choose(bundle: Bundle, name: str | None) -> Member:
    chosen = [member for member in bundle.members if name in (None, member.name)]
    if len(chosen) != 1:
        names = ", ".join(member.name for member in bundle.members)
        raise BundleError("bundle_mismatch", f"There is no single member {name!r} among {names}. Name one of them.")
    return chosen[0]


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Suppress warnings that the exporter repeats on every call and that need no action; others are shown."""
    registration = logging.getLogger(_REGISTRATION_LOG)
    level = registration.level
    registration.setLevel(logging.ERROR)  # "torchvision is not installed": none of our networks needs it
    with warnings.catch_warnings():
        # torch 2.13 itself calls the deprecated function
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        # view and sex share their first axis on purpose
        warnings.filterwarnings("ignore", r"# The axis name: batch will not be used", UserWarning)
        try:
            yield
        finally:
            registration.setLevel(level)


def _plain(network: NetworkT) -> NetworkT:
    """Return a copy on the CPU, in single precision and evaluation mode.

    Raises:
        BundleError: ``bundle_output`` if it holds weights that are not finite.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise BundleError("bundle_output", "The network holds weights that are not finite. Train it again.")
    return copy.deepcopy(network).cpu().float().eval()


def _noise(height: int, width: int) -> Tensor:
    return torch.randn(2, 1, height, width, generator=torch.Generator().manual_seed(0))


def trace_graph(graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str], opset: int) -> bytes:
    """Trace a graph, with the batch as the inputs' first axis, and serialise it. The graph loses its weights."""
    batch = torch.export.Dim("batch")
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes={name: {0: batch} for name in inputs},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model: bytes = _without_traces(program.model_proto).SerializeToString(deterministic=True)
    for parameter in graph.parameters():
        parameter.data = torch.empty(0)  # the exporter keeps the last traced graph in memory
    return model


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's notes, which hold source paths of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model
