"""Restoration of a bundle's member as a network that can be trained.

A bundle holds a trained network as a graph only. The exporter has turned its weights into constants (integers that
nodes of the graph scale back), may have merged equal ones, and has folded each batch normalisation into the
convolution before it. Names are therefore of no use. The layers of the network that the recipe describes are called
once, and take their weights from the graph's nodes of the same kinds, which are in the same order. Matrices of which
the network takes rows follow their own order. Network and graph must then agree on drawn hands.

A folded normalisation cannot be recovered. Instead, `renormalise` gives each normalisation the mean and spread of its
input, and chooses scale and shift such that the network's outputs stay the same. The network can then be trained like
any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import Member
from boneage.bundle.session import import_onnxruntime, read_graph
from boneage.errors import BundleError, RecipeError
from boneage.files import sha256_of
from boneage.hand.views import ViewSpec
from boneage.train.bundle.export import bone_parity, parity
from boneage.train.bundle.integers import in_floats
from boneage.train.bundle.weight_bits import computes_in_integers, phantom_views
from boneage.train.networks import AgeNetwork, build_network
from boneage.train.recipe import Recipe, parse_recipe

PARITY_LIMIT_MONTHS = 0.2
"""Largest accepted difference between a restored network and its graph on drawn hands, months. Networks of the shipped
bundles differ by up to 0.1; one wrong matrix moves them by far more."""

STATISTICS_BATCHES = 16
"""Number of batches from which `renormalise` measures means and spreads."""

_NODES: Mapping[type[nn.Module], str] = {
    nn.Conv2d: "Conv",
    nn.Linear: "Gemm",
    nn.BatchNorm2d: "BatchNormalization",
    nn.InstanceNorm2d: "InstanceNormalization",
}
"""Layers with weights, and the operators that represent them.

A dense layer on maps of more than two axes is a product and a sum (`_weighted_nodes`).
"""

_ROWS = ("Gather", "GatherND")
"""Operators that take rows of a matrix."""

Folded = list[tuple[nn.BatchNorm2d, nn.Conv2d]]
"""Normalisations, and the convolutions into which they were folded."""


def member_recipe(bundle: Bundle, member: Member) -> Recipe:
    """Return the recipe with which a member was trained, with the view that it reads.

    Raises:
        BundleError: ``bundle_mismatch`` if the manifest lacks the recipe, or it has another view.
    """
    table = bundle.manifest.recipe.get(member.name)
    if not isinstance(table, Mapping):
        raise _not_restored(bundle, member, "the manifest lacks its recipe")
    try:
        recipe = parse_recipe(dict(table))
    except RecipeError as error:
        raise _not_restored(bundle, member, f"its recipe cannot be used: {error.message}") from error
    if recipe.view != member.view or recipe.task != "age":
        raise _not_restored(bundle, member, "its recipe is of another view or task")
    return recipe


def restore_network(bundle: Bundle, member: Member, batches: Iterable[Sequence[Tensor]] = ()) -> AgeNetwork:
    """Restore a member as a network with its graph's outputs, in evaluation mode and the member's unit.

    Args:
        bundle: bundle with the member, whose manifest must hold the member's recipe.
        member: member of the bundle.
        batches: views (N, 1, H, W) and sexes (N, 2) of radiographs for training, which may be augmented. `renormalise`
            measures the first `STATISTICS_BATCHES`. Without any, folded normalisations are the identity: such a network
            may estimate, but must not be trained.

    Raises:
        BundleError: ``bundle_mismatch`` if the recipe's network has other layers than the graph; ``bundle_output`` if
            the two differ by more than `PARITY_LIMIT_MONTHS`.
    """
    recipe = member_recipe(bundle, member)
    try:
        network = build_network(recipe.network.name, member.view.height, member.view.width, **recipe.network.options)
    except RecipeError as error:
        raise _not_restored(bundle, member, f"its network cannot be built: {error.message}") from error
    network.eval()
    order, normalised = _layers_as_called(network, member.view)
    rejection = partial(_not_restored, bundle, member)
    with _computing_in_floats(bundle, member) as exact:
        weights = _weights_of_graph(exact, member)
        _fill_tables(network.row_tables, weights.tables, rejection)
        folded = _fill(order, normalised, weights.layers, rejection)
        _reject_difference(network, exact, member)
        statistics = list(islice(batches, STATISTICS_BATCHES))
        if statistics and folded:
            renormalise(network, folded, statistics)
            _reject_difference(network, exact, member)
    return network


@contextmanager
def _computing_in_floats(bundle: Bundle, member: Member) -> Iterator[Bundle]:
    """Provide a bundle whose member computes with floating-point numbers: it itself, if it does.

    Graphs that round their layers' outputs differ from a network by months on drawn hands, which leave their ranges.
    """
    stored = read_graph(bundle.directory, member)
    if not computes_in_integers(stored):
        yield bundle
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / member.graph
        path.write_bytes(in_floats(stored))
        exact = replace(member, sha256=sha256_of(path))
        yield Bundle(path.parent, replace(bundle.manifest, members=(exact,)), threads=1)


def renormalise(network: AgeNetwork, folded: Folded, batches: Iterable[Sequence[Tensor]]) -> None:
    """Make folded normalisations effective again in a network whose outputs stay the same.

    Each kernel is scaled to length 1, as in a fresh network. Folding has made some kernels long and others short, and
    an optimizer's steps are of one size. The input of the normalisation then has some mean and variance over the
    batches. These become its running statistics, and its scale and shift undo them.

    Args:
        network: network in evaluation mode, changed in place.
        folded: normalisations that are the identity, each with the convolution before it.
        batches: views and sexes, at least one batch.
    """
    with torch.no_grad():
        lengths = [_to_unit_length(norm, convolution) for norm, convolution in folded]
        measured = [_Moments() for _ in folded]
        hooks = [
            norm.register_forward_pre_hook(moments.watch) for (norm, _), moments in zip(folded, measured, strict=True)
        ]
        try:
            for view, sex, *_ in batches:
                network(view, sex)
        finally:
            for hook in hooks:
                hook.remove()
        for (norm, _), moments, length in zip(folded, measured, lengths, strict=True):
            _take_statistics(norm, moments, length)


class _Moments:
    """Mean and variance of inputs by channel."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, torch.zeros(1), torch.zeros(1)

    def watch(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Add the input of a layer, (N, C, h, w), to the moments."""
        x = inputs[0].double()
        self.count += x.numel() // x.shape[1]
        self.total = self.total + x.sum(dim=(0, 2, 3))
        self.squares = self.squares + x.square().sum(dim=(0, 2, 3))

    @property
    def mean(self) -> Tensor:
        """Mean (C,), float64."""
        return self.total / self.count

    @property
    def variance(self) -> Tensor:
        """Variance (C,), float64, at least 0."""
        return (self.squares / self.count - self.mean.square()).clamp(min=0)


def _to_unit_length(norm: nn.BatchNorm2d, convolution: nn.Conv2d) -> Tensor:
    """Scale each kernel to length 1, and its normalisation by the inverse factor. Return the lengths (C,)."""
    lengths: Tensor = convolution.weight.flatten(1).norm(dim=1).clamp(min=1e-8)
    convolution.weight.div_(lengths[:, None, None, None])
    norm.weight.mul_(lengths)
    return lengths


def _take_statistics(norm: nn.BatchNorm2d, moments: _Moments, lengths: Tensor) -> None:
    """Set the running statistics of a normalisation that so far only scaled by `lengths` and shifted."""
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101 - for the type checker
    norm.running_mean.copy_(moments.mean)
    norm.running_var.copy_(moments.variance)
    norm.bias.add_(lengths * norm.running_mean)
    norm.weight.copy_(lengths * torch.sqrt(norm.running_var + norm.eps))


def _layers_as_called(network: AgeNetwork, view: ViewSpec) -> tuple[list[nn.Module], dict[nn.Module, nn.Module]]:
    """Return the layers with weights in the order of their calls, and the convolution before each normalisation."""
    called: list[nn.Module] = []
    made_by: dict[int, nn.Module] = {}
    before: dict[nn.Module, nn.Module] = {}
    kept: list[Tensor] = []  # keeps outputs alive, so that no two have one id

    def notice(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        called.append(layer)
        if isinstance(layer, nn.BatchNorm2d) and id(inputs[0]) in made_by:
            before[layer] = made_by[id(inputs[0])]
        if isinstance(layer, nn.Conv2d):
            made_by[id(output)] = layer
            kept.append(output)

    hooks = [layer.register_forward_hook(notice) for layer in network.modules() if type(layer) in _NODES]
    try:
        with torch.no_grad():  # the graph has the outputs of `explain`, in the order of its calls
            network.explain(torch.zeros(1, 1, view.height, view.width), torch.eye(2)[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return called, before


class _GraphWeights(NamedTuple):
    """Weights of a graph, in its order.

    Attributes:
        layers: operator of each node with weights, and its constant inputs; a matrix is (out, in).
        tables: matrices of which rows are taken.
    """

    layers: list[tuple[str, list[NDArray[np.float32]]]]
    tables: list[NDArray[np.float32]]


def _weights_of_graph(bundle: Bundle, member: Member) -> _GraphWeights:
    """Return the weights of a member's graph."""
    model = onnx.load_model_from_string((bundle.directory / member.graph).read_bytes())
    graph = model.graph
    constant = {each.name for each in graph.initializer}
    inner: list[onnx.NodeProto] = []
    for node in graph.node:
        if all(name in constant for name in node.input if name):
            inner.append(node)
            constant.update(node.output)
    computed = {name for node in inner for name in node.output}
    weighted = _weighted_nodes(graph, constant)
    tables = [node.input[0] for node in graph.node if node.op_type in _ROWS and node not in inner]
    tables = [name for name in tables if name in constant]
    wanted = list(dict.fromkeys([*(name for _, names in weighted for name in names), *tables]))
    values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer if each.name in set(wanted)}
    values |= _compute(model, inner, [name for name in wanted if name in computed])
    layers = [
        (
            "Gemm" if node.op_type == "MatMul" else node.op_type,
            [_matrix(node, values[name]) for name in names],
        )
        for node, names in weighted
    ]
    return _GraphWeights(layers, [values[name] for name in tables])


def _weighted_nodes(graph: onnx.GraphProto, constant: Collection[str]) -> list[tuple[onnx.NodeProto, list[str]]]:
    """Return the nodes that are layers with weights, with the names of their constant inputs.

    A product with a constant matrix is a dense layer if a constant bias is added to it. Other products belong to the
    gradient of the activation map.
    """
    biases = {
        product: bias
        for node in graph.node
        if node.op_type == "Add"
        for product, bias in (node.input, reversed(node.input))
        if bias in constant and product not in constant
    }
    weighted: list[tuple[onnx.NodeProto, list[str]]] = []
    for node in graph.node:
        names = [name for name in node.input if name in constant]
        if node.op_type in _NODES.values():
            weighted.append((node, names))
        elif node.op_type == "MatMul" and names == [node.input[1]] and node.output[0] in biases:
            weighted.append((node, [*names, biases[node.output[0]]]))
    return weighted


def _compute(
    model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Compute tensors that depend on constants only, through ONNX Runtime."""
    if not outputs:
        return {}
    needed = {name for node in nodes for name in node.input}
    initialisers = [each for each in model.graph.initializer if each.name in needed]
    declared = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    part = onnx.helper.make_model(
        onnx.helper.make_graph(list(nodes), "weights", [], declared, initialisers),
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
    )
    session: Any = import_onnxruntime().InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(outputs, session.run(list(outputs), {}), strict=True))


def _matrix(node: onnx.NodeProto, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a dense layer's matrix as (out, in), whichever way the graph multiplies by it; other values unchanged."""
    if node.op_type not in ("Gemm", "MatMul") or values.ndim != 2:
        return values
    transposed = any(each.name == "transB" and each.i for each in node.attribute)
    return values if transposed else values.T


def _fill_tables(
    tables: Sequence[nn.Parameter], values: Sequence[NDArray[np.float32]], rejection: Callable[[str], BundleError]
) -> None:
    """Give the matrices of which a network takes rows the values of the graph."""
    if [tuple(table.shape) for table in tables] != [value.shape for value in values]:
        raise rejection("its recipe's network takes rows of other matrices than the graph")
    with torch.no_grad():
        for table, value in zip(tables, values, strict=True):
            table.copy_(torch.from_numpy(np.array(value)))


def _fill(
    called: Sequence[nn.Module],
    before: Mapping[nn.Module, nn.Module],
    nodes: Sequence[tuple[str, list[NDArray[np.float32]]]],
    rejection: Callable[[str], BundleError],
) -> Folded:
    """Give the layers the weights of the graph's nodes.

    Returns:
        The normalisations without a node, which are made the identity.
    """
    operators = [operator for operator, _ in nodes]
    folded: Folded = []
    if "BatchNormalization" not in operators:
        for layer in called:
            if isinstance(layer, nn.BatchNorm2d):
                convolution = before.get(layer)
                if not isinstance(convolution, nn.Conv2d):
                    raise rejection("a normalisation of its network is neither in the graph nor behind a convolution")
                folded.append((layer, convolution))
    absorbed = {id(norm) for norm, _ in folded}
    weighted = [layer for layer in called if id(layer) not in absorbed]
    if [_NODES[type(layer)] for layer in weighted] != operators:
        raise rejection("its recipe's network has other layers than the graph")
    norm_of = {id(convolution): norm for norm, convolution in folded}
    with torch.no_grad():
        for layer, (_, values) in zip(weighted, nodes, strict=True):
            _set_weights(
                layer, [torch.from_numpy(np.array(each)) for each in values], norm_of.get(id(layer)), rejection
            )
    return folded


def _set_weights(
    layer: nn.Module, values: Sequence[Tensor], norm: nn.BatchNorm2d | None, rejection: Callable[[str], BundleError]
) -> None:
    """Set the weights of one layer. A normalisation that was folded into a convolution takes its bias."""
    slots: list[Any] = [layer.weight, layer.bias]
    if isinstance(layer, nn.BatchNorm2d):
        slots += [layer.running_mean, layer.running_var]
    if norm is not None:
        _make_neutral(norm)
        slots = [layer.weight, norm.bias]
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # a Parameter; modules' attributes are typed loosely
    slots = [slot for slot in slots if slot is not None]
    if [slot.shape for slot in slots[: len(values)]] != [value.shape for value in values] or not values:
        raise rejection("a layer of its recipe's network is of another size than in the graph")
    for slot, value in zip(slots, values, strict=False):
        slot.copy_(value)
    for slot in slots[len(values) :]:
        slot.zero_()  # a graph leaves out a bias of zero


def _make_neutral(norm: nn.BatchNorm2d) -> None:
    """Make a normalisation the identity, without a shift."""
    norm.reset_parameters()
    assert norm.running_var is not None  # noqa: S101 - for the type checker
    norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))


def _reject_difference(network: AgeNetwork, bundle: Bundle, member: Member) -> None:
    views = phantom_views(member.view.height, member.view.width)[:, 0]
    difference = parity(network, bundle, views, member=member.name)
    if network.gives_bones:
        difference = max(difference, bone_parity(network, bundle, views, member=member.name))
    if not difference <= PARITY_LIMIT_MONTHS:
        raise BundleError(
            "bundle_output",
            f"The network restored from {member.graph} differs from the graph by {difference:.3f} months,"
            f" which is more than {PARITY_LIMIT_MONTHS:g}.",
        )


def _not_restored(bundle: Bundle, member: Member, reason: str) -> BundleError:
    return BundleError(
        "bundle_mismatch", f"The member {member.name} of {bundle.manifest.name} cannot be restored: {reason}."
    )
