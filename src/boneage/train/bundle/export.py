"""From trained networks to a bundle: ONNX graphs that give months, embedding and activation map in one forward pass,
and those that find the hand.
"""

from __future__ import annotations

import copy
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle, predict_phantom
from boneage.bundle.manifest import (
    MANIFEST_NAME,
    HandGraph,
    HandGraphs,
    Manifest,
    Member,
    QualityGraph,
    SelfTest,
    write_manifest,
)
from boneage.bundle.quality import QualityLabel, QualityLimit
from boneage.bundle.session import import_onnxruntime
from boneage.errors import BundleError
from boneage.files import atomic_write, sha256_of
from boneage.hand.find import HandLimits
from boneage.hand.views import ViewSpec, cut_view
from boneage.phantom import draw_hand
from boneage.sex import Sex
from boneage.train.networks.layers import RANGE_MEAN_MONTHS, RANGE_SPREAD_MONTHS, AgeNetwork

OPSET = 20
"""Version of ONNX's operators; ONNX Runtime reads it since 1.17."""

WeightBits = Literal[8, 16, 32]

WEIGHT_LIMITS: Mapping[WeightBits, Mapping[str, float]] = MappingProxyType(
    {
        16: {
            "age_months": 0.05,
            "activation": 1e-3,  # of its largest value
            "age_distribution": 1e-3,
            "hand": 0.01,
            "points": 0.05,
            "spread": 0.05,
            "hands": 0.005,
            "quality": 0.005,
        },
        8: {
            "age_months": 2.0,
            "activation": 0.1,
            "age_distribution": 0.005,
            "hand": 0.1,
            "points": 0.15,
            "spread": 0.2,
            "hands": 0.02,
            "quality": 0.02,
        },
    }
)
"""Weights are only stored in so few bits if no output for a drawn phantom moves by more than this. Networks never saw
phantoms, and 8 bits move their answers several times as far as those for radiographs: of the networks of the bundle
``standard`` up to 1.3 months, and on 100 radiographs at most 0.5."""

HandGraphKind = Literal["mask", "points", "quality"]

_HAND_OUTPUTS: dict[HandGraphKind, list[str]] = {
    "mask": ["hand"],
    "points": ["points", "spread", "hands"],
    "quality": ["quality"],
}
_QUALITY_NAME = "quality.onnx"
_RELATIVE = {"activation"}
_PHANTOM_YEARS = (1.0, 4.0, 7.0, 10.0, 13.0, 16.0)
_BATCH = 16
_FLOAT = onnx.TensorProto.FLOAT
_SHORT, _STEP, _CAST = ".short", ".step", ".cast"
"""What a weight's name is followed by: stored as integers, the size of their steps, and their values as float32."""
_FEWEST, _SMALL_SHARE = 4096, 0.01
"""Weights of fewer values, or of a smaller share of the graph's, take 16 bits where others take 8: there are few of
them, and most of what 8 bits would move comes from the first layers."""
_ENCODED_FROM = "boneage.encoded_from"
_REGISTRATION_LOG = "torch.onnx._internal.exporter._registration"

_log = logging.getLogger(__name__)

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class NetworkMember:
    """A trained network on its way into a bundle.

    Attributes:
        name: of the member, lower case; the graph's file is named after it.
        network: with its trained weights, on any device; it is not changed.
        view: what it was trained on.
        age_mean_months, age_spread_months: of the ages that it was trained on, the network's unit.
        mirror, sexes, weight: see `boneage.bundle.manifest.Member`.
    """

    name: str
    network: AgeNetwork
    view: ViewSpec
    age_mean_months: float
    age_spread_months: float
    mirror: bool = False
    sexes: tuple[Sex, ...] = (Sex.FEMALE, Sex.MALE)
    weight: float = 1.0


@dataclass(frozen=True)
class TrainedHandNetwork:
    """A trained network that finds the hand or its points: see `export_hand_graph`.

    Attributes:
        network: with its trained weights, on any device; it is not changed.
        height, width: of its view, pixels.
    """

    network: nn.Module
    height: int
    width: int


@dataclass(frozen=True)
class TrainedHandNetworks:
    """Trained networks that find the hand, on their way into a bundle.

    Attributes:
        mask: gives logits of the pixels' lying in the hand, on the whole radiograph.
        locate: gives key points on the whole radiograph.
        refine: gives key points on the hand as `locate` registers it.
        limits: beyond which a radiograph is rejected.
    """

    mask: TrainedHandNetwork
    locate: TrainedHandNetwork
    refine: TrainedHandNetwork
    limits: HandLimits = field(default_factory=HandLimits)


@dataclass(frozen=True)
class TrainedQualityNetwork(TrainedHandNetwork):
    """A trained quality network, on its way into a bundle.

    Attributes:
        limits: of its labels (`boneage.bundle.manifest.QualityGraph`).
    """

    limits: Mapping[QualityLabel, QualityLimit]


@dataclass(frozen=True)
class ExportedGraph:
    """A graph that was written.

    Attributes:
        path: of the file.
        weight_bits: in how many its weights are stored.
    """

    path: Path
    weight_bits: WeightBits


class _AgeGraph(nn.Module):
    """A network as a bundle's contract wants it: months instead of the training's unit."""

    def __init__(self, network: AgeNetwork, age_mean_months: float, age_spread_months: float) -> None:
        super().__init__()
        self.network, self.mean, self.spread = network, age_mean_months, age_spread_months

    def forward(self, view: Tensor, sex: Tensor) -> tuple[Tensor, ...]:
        explained = self.network.explain(view, sex)
        outputs = (explained.age * self.spread + self.mean, explained.embedding, explained.activation * self.spread)
        return outputs if explained.distribution is None else (*outputs, explained.distribution)


class _MaskGraph(nn.Module):
    """A network that gives logits (N, 1, h, w), as the contract of ``hand`` wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        return (torch.sigmoid(self.network(view))[:, 0],)


class _PointsGraph(nn.Module):
    """A network whose `explain` gives points, spread and hands, as the contract wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        explain = cast("Callable[[Tensor], Sequence[Tensor]]", self.network.explain)
        return tuple(explain(view)[:3])


class _QualityGraph(nn.Module):
    """A network that gives logits (N, labels), as the contract of ``quality`` wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        return (torch.sigmoid(self.network(view)),)


_HAND_GRAPHS: Mapping[HandGraphKind, Callable[[nn.Module], nn.Module]] = MappingProxyType(
    {"mask": _MaskGraph, "points": _PointsGraph, "quality": _QualityGraph}
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
    """Write a network as an ONNX graph with the inputs and outputs of a bundle; any batch size.

    Args:
        network: on any device, in either mode; it is not changed.
        path: the file to write, in one piece.
        height: of the view, pixels.
        width: of the view, pixels.
        age_mean_months: of the ages in training.
        age_spread_months: of the ages in training.
        weight_bits: in how many the weights are stored: as integers with one step for each output channel, 16 of
            which hold a trained network's weights about ten times as precisely as float16 does; or 32, as they are.
            They become float32 again when the graph is loaded, and computing stays in single precision. They take the
            next more, with a warning in the log, if an output moved by more than `WEIGHT_LIMITS`.
        opset: version of ONNX's operators.

    Raises:
        BundleError: ``bundle_output`` if the network holds weights that are not finite; ``bundle_mismatch`` if it
            answers by a distribution over months and was trained in another unit than that of such networks.
        ValueError: mean or spread are no usable numbers.
    """
    if not (math.isfinite(age_mean_months) and math.isfinite(age_spread_months) and age_spread_months > 0):
        raise ValueError(f"an age mean of {age_mean_months} and spread of {age_spread_months} cannot be used")
    unit = (RANGE_MEAN_MONTHS, RANGE_SPREAD_MONTHS)
    if network.gives_distribution and (age_mean_months, age_spread_months) != unit:
        raise BundleError(
            "bundle_mismatch",
            f"A network that answers by a distribution over months has the unit {unit}, not "
            f"{(age_mean_months, age_spread_months)}: its ages would not be its distribution's.",
        )
    outputs = ["age_months", "embedding", "activation", *(["age_distribution"] if network.gives_distribution else [])]
    inputs = {"view": _noise(height, width), "sex": torch.eye(2)}
    model = _to_onnx(
        _AgeGraph(_plain(network), float(age_mean_months), float(age_spread_months)), inputs, outputs, opset
    )
    views = _phantom_views(height, width)
    feed = {
        "view": np.repeat(views, len(Sex), axis=0),
        "sex": np.stack([sex.one_hot() for sex in Sex] * len(views)),
    }
    return _write_smallest(model, Path(path), feed, weight_bits=weight_bits)


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
    """Write a network that is not for ages as an ONNX graph with the contract's outputs; any batch size.

    The graph reads ``view`` (N, 1, height, width). That of a mask gives ``hand`` (N, height, width), probabilities;
    that of points gives ``points`` (N, 3, 2) and ``spread`` (N, 3) in pixels of the view, and ``hands`` (N, 3),
    probabilities of no hand, one, several. That of quality gives ``quality`` (N, labels), probabilities.

    Args:
        network: for ``mask``, one whose `forward` gives logits (N, 1, height, width); for ``points``, one whose
            `explain` gives at least those three, in that order; for ``quality``, one whose `forward` gives logits (N,
            labels). On any device, in either mode; it is not changed.
        path: the file to write, in one piece.
        kind: of graph.
        height: of the view, pixels.
        width: of the view, pixels.
        weight_bits: see `export_graph`.
        opset: version of ONNX's operators.

    Raises:
        BundleError: ``bundle_output`` if the network holds weights that are not finite.
    """
    model = _to_onnx(_HAND_GRAPHS[kind](_plain(network)), {"view": _noise(height, width)}, _HAND_OUTPUTS[kind], opset)
    return _write_smallest(model, Path(path), {"view": _phantom_views(height, width)}, weight_bits=weight_bits)


def write_bundle(
    members: Sequence[NetworkMember],
    facts: Manifest,
    directory: str | Path,
    *,
    hand: Bundle | TrainedHandNetworks | None = None,
    quality: TrainedQualityNetwork | None = None,
    weight_bits: WeightBits = 16,
    overwrite: bool = False,
    finish: Callable[[Bundle], Manifest] | None = None,
) -> Bundle:
    """Write a bundle whole: graphs, checksums, self-test through ONNX Runtime, manifest.

    It is built beside its place, checked, and moved there by renaming.

    Args:
        members: at least one for each sex; or none, with hand networks, for a bundle that only finds hands.
        facts: the manifest, but for its members, hand networks and the answers of its self-test, which are filled in
            here.
        directory: the bundle's folder; never seen half-written.
        hand: the hand networks: trained ones, or a bundle whose hand graphs and limits are taken over, as they are but
            for 8 bits; so is its quality network.
        quality: a trained quality network, which takes the place of one that the bundle `hand` has.
        weight_bits: see `export_graph`.
        overwrite: put it in the place of a bundle that is there.
        finish: asked about the checked bundle before it is moved to its place; what it gives becomes the manifest. An
            error of it leaves nothing behind.

    Returns:
        The bundle, opened where it now lies.

    Raises:
        BundleError: ``bundle_exists`` if there is something at `directory`; ``bundle_invalid`` if the facts make no
            valid manifest, or two graphs have one name; ``bundle_mismatch`` if hand networks are to be taken from a
            bundle that has none; ``bundle_output`` if a network gives no finite numbers.
    """
    directory = Path(directory)
    if isinstance(hand, Bundle) and hand.manifest.hand is None:
        raise BundleError("bundle_mismatch", f"The bundle {hand.manifest.name} has no hand networks to take over.")
    with _built_beside(directory, overwrite=overwrite) as built:
        _fill(built, members, facts, hand, quality, weight_bits)
        if finish is not None:
            write_manifest(finish(Bundle.open(built)), built)
    return Bundle.open(directory)


def rewrite_bundle(
    bundle: Bundle,
    manifest: Manifest,
    directory: str | Path,
    *,
    quality: TrainedQualityNetwork | None = None,
    weight_bits: WeightBits = 16,
    overwrite: bool = False,
    finish: Callable[[Bundle], Manifest] | None = None,
) -> Bundle:
    """Write a bundle anew with its graphs as they are, another manifest, and perhaps a new quality network.

    Args:
        bundle: whose graphs are copied.
        manifest: that names them, but for the quality network where a new one is given.
        directory: the new bundle's folder; never seen half-written.
        quality: a trained quality network, in the place of the bundle's.
        weight_bits: of that network, see `export_graph`.
        overwrite: put it in the place of a bundle that is there.
        finish: see `write_bundle`.

    Raises:
        BundleError: as `write_bundle`.
    """
    directory = Path(directory)
    with _built_beside(directory, overwrite=overwrite) as built:
        kept = [*manifest.members, *(manifest.hand.by_name().values() if manifest.hand else ())]
        if quality is not None:
            manifest = replace(manifest, quality=_export_quality(built, quality, weight_bits))
        elif manifest.quality is not None:
            kept.append(manifest.quality)
        for graph in kept:
            shutil.copyfile(bundle.directory / graph.graph, built / graph.graph)
        write_manifest(manifest, built)
        _reject_failing(built)
        if finish is not None:
            write_manifest(finish(Bundle.open(built)), built)
    return Bundle.open(directory)


@contextmanager
def _built_beside(directory: Path, *, overwrite: bool) -> Iterator[Path]:
    """An empty folder beside a bundle's place, which is moved there when all is done, and removed on an error."""
    reject_taken(directory, overwrite=overwrite)
    directory.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        built = workplace / directory.name
        built.mkdir()
        yield built
        _move(built, directory, workplace / "former")
    finally:
        shutil.rmtree(workplace)


def reject_taken(directory: Path, *, overwrite: bool) -> None:
    """Reject a folder where no new bundle may lie.

    Raises:
        BundleError: ``bundle_exists`` if something is there that is no bundle, or is not to be overwritten.
    """
    if directory.exists() and not (overwrite and (directory / MANIFEST_NAME).is_file()):
        raise BundleError("bundle_exists", f"There is something at {directory} already.")


def parity(network: AgeNetwork, bundle: Bundle, views: NDArray[np.float32], *, member: str | None = None) -> float:
    """How far a network and its exported graph disagree, each asked about the views themselves, not their mirror
    images.

    Args:
        network: the one that the member was made from, on any device; it is not changed.
        bundle: which holds it.
        views: float32 (N, h, w), asked about for every sex that the member serves.
        member: its name; may be left out where the bundle has one.

    Returns:
        The largest absolute difference, months.

    Raises:
        BundleError: ``bundle_mismatch`` if there is no such member.
    """
    chosen = _choose(bundle, member)
    graph = _AgeGraph(_plain(network), chosen.age_mean_months, chosen.age_spread_months).eval()
    largest = 0.0
    for start in range(0, len(views), _BATCH):
        batch = views[start : start + _BATCH]
        for sex in chosen.sexes:
            one_hot = torch.from_numpy(np.repeat(sex.one_hot()[None], len(batch), axis=0))
            with torch.no_grad():
                ages = graph(torch.from_numpy(batch[:, None]), one_hot)[0].numpy()
            outputs = bundle.run_batch(chosen, batch, [sex] * len(batch), plain=True)
            exported = np.array([output.age_months for output in outputs])
            largest = max(largest, float(np.abs(ages - exported).max()))
    return largest


def _choose(bundle: Bundle, name: str | None) -> Member:
    chosen = [member for member in bundle.members if name in (None, member.name)]
    if len(chosen) != 1:
        known = [member.name for member in bundle.members]
        raise BundleError("bundle_mismatch", f"Which of the members {known} is meant by {name!r}?")
    return chosen[0]


def _fill(
    directory: Path,
    members: Sequence[NetworkMember],
    facts: Manifest,
    hand: Bundle | TrainedHandNetworks | None,
    quality: TrainedQualityNetwork | None,
    bits: WeightBits,
) -> None:
    """Write everything that belongs to a bundle into an empty folder, and check it."""
    graphs = _take_over_hand(directory, hand, bits) if isinstance(hand, Bundle) else _export_hand(directory, hand, bits)
    entries = tuple(_export_member(directory, member, bits) for member in members)
    judge = _export_quality(directory, quality, bits) if quality else _take_over_quality(directory, hand, bits)
    manifest = replace(facts, members=entries, hand=graphs, quality=judge)
    ages: dict[Sex, dict[str, float]] = {sex: {} for sex in Sex}
    asked = Bundle(directory, manifest)
    for member in entries:
        for sex, age_months in predict_phantom(asked, member).items():
            ages[sex][member.name] = age_months
    write_manifest(replace(manifest, self_test=SelfTest(ages, facts.self_test.tolerance_months)), directory)
    _reject_failing(directory)


def _reject_failing(directory: Path) -> None:
    failed = [result for result in check_bundle(Bundle.open(directory)) if not result.passed]
    if failed:
        raise BundleError("bundle_invalid", f"The new bundle fails its check: {failed[0].name}: {failed[0].detail}")


def _move(built: Path, directory: Path, former: Path) -> None:
    """Rename `built` to `directory`, and what was there to `former`; back again if that fails."""
    if directory.exists():
        directory.rename(former)
    try:
        built.rename(directory)
    except OSError:
        if former.exists():
            former.rename(directory)
        raise


def _hand_graph_name(name: str) -> str:
    return f"hand-{name}.onnx"


def _take_over_hand(directory: Path, bundle: Bundle, bits: WeightBits) -> HandGraphs | None:
    """Take over a bundle's hand graphs, as they are unless 8 bits are wanted and they have more."""
    graphs = bundle.manifest.hand
    if graphs is None:
        return None
    renamed = {name: _take_over(bundle.directory, graph, directory / _hand_graph_name(name), bits)
               for name, graph in graphs.by_name().items()}  # fmt: skip
    return HandGraphs(**renamed, limits=graphs.limits)


_GraphT = TypeVar("_GraphT", HandGraph, QualityGraph)


def _take_over_quality(
    directory: Path, hand: Bundle | TrainedHandNetworks | None, bits: WeightBits
) -> QualityGraph | None:
    """Take over the quality network of the bundle that gives the hand networks, if it has one."""
    if not isinstance(hand, Bundle) or hand.manifest.quality is None:
        return None
    return _take_over(hand.directory, hand.manifest.quality, directory / _QUALITY_NAME, bits)


def _export_quality(directory: Path, quality: TrainedQualityNetwork, bits: WeightBits) -> QualityGraph:
    path = directory / _QUALITY_NAME
    height, width = quality.height, quality.width
    export_hand_graph(quality.network, path, kind="quality", height=height, width=width, weight_bits=bits)
    return QualityGraph(path.name, sha256_of(path), height, width, quality.limits)


def _take_over(former: Path, graph: _GraphT, path: Path, bits: WeightBits) -> _GraphT:
    """Copy a graph, or re-encode its weights. A copy's checksum goes with it; the new bundle's check compares it."""
    source = former / graph.graph
    stored = source.read_bytes()
    intact = sha256_of(stored) == graph.sha256
    if intact and bits == 8 < _bits_of(stored):
        whole = _with_note(_with_whole_weights(stored), encoded_from(source) or graph.sha256)
        smaller, reached = _smallest(whole, path.name, {"view": _phantom_views(graph.height, graph.width)}, bits)
        if reached < _bits_of(stored):
            path.write_bytes(smaller)
            return replace(graph, graph=path.name, sha256=sha256_of(path))
    path.write_bytes(stored)
    return replace(graph, graph=path.name)


def _export_hand(directory: Path, networks: TrainedHandNetworks | None, bits: WeightBits) -> HandGraphs | None:
    if networks is None:
        return None
    mask = _export_hand_network(directory, "mask", networks.mask, "mask", bits)
    locate = _export_hand_network(directory, "locate", networks.locate, "points", bits)
    refine = _export_hand_network(directory, "refine", networks.refine, "points", bits)
    return HandGraphs(mask, locate, refine, networks.limits)


def _export_hand_network(
    directory: Path, name: str, hand: TrainedHandNetwork, kind: HandGraphKind, bits: WeightBits
) -> HandGraph:
    path = directory / _hand_graph_name(name)
    export_hand_graph(hand.network, path, kind=kind, height=hand.height, width=hand.width, weight_bits=bits)
    return HandGraph(path.name, sha256_of(path), hand.height, hand.width)


def _export_member(directory: Path, member: NetworkMember, bits: WeightBits) -> Member:
    path = directory / f"{member.name}.onnx"
    if path.exists():
        raise BundleError("bundle_invalid", f"Two networks of the new bundle have the name {member.name}.")
    exported = export_graph(
        member.network,
        path,
        height=member.view.height,
        width=member.view.width,
        age_mean_months=member.age_mean_months,
        age_spread_months=member.age_spread_months,
        weight_bits=bits,
    )
    return Member(
        name=member.name,
        graph=exported.path.name,
        sha256=sha256_of(exported.path),
        view=member.view,
        cells=member.network.cells,
        age_mean_months=member.age_mean_months,
        age_spread_months=member.age_spread_months,
        mirror=member.mirror,
        sexes=member.sexes,
        weight=member.weight,
    )


# --- ONNX ---


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hold back what the exporter says on every call and what nobody can act upon; everything else is heard."""
    registration = logging.getLogger(_REGISTRATION_LOG)
    level = registration.level
    registration.setLevel(logging.ERROR)  # "torchvision is not installed": none of our networks needs it
    with warnings.catch_warnings():
        # torch 2.13 calls its own deprecated function while copying
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        # view and sex share their first axis, which is what is meant
        warnings.filterwarnings("ignore", r"# The axis name: batch will not be used", UserWarning)
        try:
            yield
        finally:
            registration.setLevel(level)


def _plain(network: NetworkT) -> NetworkT:
    """A copy on the CPU, in single precision and evaluating.

    Raises:
        BundleError: ``bundle_output`` if it holds weights that are not finite.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
        raise BundleError("bundle_output", "The network holds weights that are not finite: its training failed.")
    return copy.deepcopy(network).cpu().float().eval()


def _noise(height: int, width: int) -> Tensor:
    return torch.randn(2, 1, height, width, generator=torch.Generator().manual_seed(0))


def _to_onnx(graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str], opset: int) -> bytes:
    """Trace a graph, whose inputs' first axis becomes the batch, and serialise it. The graph's weights are given up."""
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
        parameter.data = torch.empty(0)  # the exporter keeps what it traced last alive
    return model


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes: they hold the source paths of the machine it ran on."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def _write_smallest(
    whole: bytes, path: Path, feed: Mapping[str, NDArray[np.float32]], *, weight_bits: WeightBits
) -> ExportedGraph:
    """Write a graph with its weights in as few bits as they may have, but no fewer than wanted."""
    written, reached = _smallest(whole, path.name, feed, weight_bits)
    with atomic_write(path) as temporary:
        temporary.write_bytes(written)
    return ExportedGraph(path, reached)


def _smallest(
    whole: bytes, name: str, feed: Mapping[str, NDArray[np.float32]], wanted: WeightBits
) -> tuple[bytes, WeightBits]:
    """A graph with its weights in the first bits, from those wanted, that move its answers to `feed` little enough."""
    tried: tuple[Literal[8, 16], ...] = (8, 16)
    expected = _answers(whole, feed)
    for bits in tried[tried.index(wanted) :] if wanted in tried else ():
        smaller = _with_short_weights(whole, bits)
        moved = _beyond_limits(expected, _answers(smaller, feed), WEIGHT_LIMITS[bits])
        if not moved:
            return smaller, bits
        _log.warning("%s: weights take more than %d bits: %d moved %s", name, bits, bits, moved)
    return whole, 32


def _with_short_weights(whole: bytes, bits: Literal[8, 16]) -> bytes:
    """A graph whose matrices and kernels are integers, scaled back to float32 at its start.

    ONNX Runtime folds cast and scaling when it loads a graph. Biases stay as they are: they weigh little.
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
    del graph.node[:]
    graph.node.extend(nodes)
    smaller: bytes = model.SerializeToString(deterministic=True)
    return smaller


def _shaped(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rounded so that the errors within a kernel cancel: each place takes over what was lost at the one before.

    What a kernel reads hardly changes from one place to the next, so that its answer moves much less than by errors
    of chance (noise shaping): of a large network a third to a half as far.

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


def _with_whole_weights(stored: bytes) -> bytes:
    """The opposite of `_with_short_weights`, but for what was rounded."""
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
    del graph.node[:]
    graph.node.extend(left)
    whole: bytes = model.SerializeToString(deterministic=True)
    return whole


def _integers(weight: onnx.TensorProto) -> bool:
    return weight.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.INT16)


def _bits_of(stored: bytes) -> WeightBits:
    """In how many bits most of a graph's weights are stored."""
    kinds = {weight.data_type for weight in onnx.ModelProto.FromString(stored).graph.initializer
             if weight.name.endswith(_SHORT)}  # fmt: skip
    return 8 if onnx.TensorProto.INT8 in kinds else 16 if onnx.TensorProto.INT16 in kinds else 32


def _with_note(model: bytes, sha256: str) -> bytes:
    """A graph that says from which one it was encoded."""
    noted = onnx.ModelProto.FromString(model)
    onnx.helper.set_model_props(noted, {_ENCODED_FROM: sha256})
    said: bytes = noted.SerializeToString(deterministic=True)
    return said


def encoded_from(graph: Path) -> str | None:
    """SHA-256 of the graph whose weights this one holds in fewer bits, as it says itself; None of any other."""
    model = onnx.load(graph, load_external_data=False)
    return {note.key: note.value for note in model.metadata_props}.get(_ENCODED_FROM)


def _answers(model: bytes, feed: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """What a graph says, by output. One row of the feed at a time, which keeps large views' memory small."""
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
    expected: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]], limits: Mapping[str, float]
) -> str:
    """Which outputs differ by more than the limits, and by how much; empty if none does."""
    differences = {name: float(np.abs(found[name] - expected[name]).max()) for name in limits if name in expected}
    for name in _RELATIVE & set(differences):
        differences[name] /= max(float(np.abs(expected[name]).max()), 1e-6)
    beyond = {name: moved for name, moved in differences.items() if not moved <= limits[name]}
    return ", ".join(f"{name} by {moved:.4f}" for name, moved in beyond.items())


def _phantom_views(height: int, width: int) -> NDArray[np.float32]:
    """Drawn hands of several ages, float32 (n, 1, height, width)."""
    spec = ViewSpec(height=height, width=width)
    radiographs = (draw_hand(years, height=1000, width=750) for years in _PHANTOM_YEARS)
    return np.stack([cut_view(radiograph, spec)[None] for radiograph in radiographs])
