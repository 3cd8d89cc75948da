"""From trained nets to a bundle: ONNX graphs that give months, embedding and activation map in one forward pass, and
those that find the hand.
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

from boneage.bundle import Bundle, import_onnxruntime
from boneage.errors import BundleError
from boneage.files import written_whole
from boneage.hand.find import HandLimits
from boneage.manifest import (
    MANIFEST_NAME,
    HandGraph,
    HandGraphs,
    Manifest,
    Member,
    SelfTest,
    file_sha256,
    write_manifest,
)
from boneage.phantom import draw_hand
from boneage.sex import Sex
from boneage.train.nets.layers import RANGE_MEAN_MONTHS, RANGE_SPREAD_MONTHS, AgeNet
from boneage.views import ViewSpec, cut_view

OPSET = 20
"""Version of ONNX's operators; ONNX Runtime reads it since 1.17."""

HALF_LIMITS: Mapping[str, float] = MappingProxyType(
    {
        "age_months": 0.02,
        "activation": 1e-3,  # of its largest value
        "age_distribution": 1e-3,
        "hand": 0.01,
        "points": 0.05,
        "spread": 0.05,
        "hands": 0.005,
    }
)
"""Weights are only stored in 16 bits if no output for a drawn phantom moves by more than this."""

HandGraphKind = Literal["mask", "points"]

_HAND_OUTPUTS: dict[HandGraphKind, list[str]] = {"mask": ["hand"], "points": ["points", "spread", "hands"]}
_RELATIVE = {"activation"}
_PHANTOM_YEARS = (1.0, 4.0, 7.0, 10.0, 13.0, 16.0)
_BATCH = 16
_FLOAT = onnx.TensorProto.FLOAT
_LARGEST = np.iinfo(np.int16).max
_REGISTRATION_LOG = "torch.onnx._internal.exporter._registration"

_log = logging.getLogger(__name__)

NetT = TypeVar("NetT", bound=nn.Module)


@dataclass(frozen=True)
class NetMember:
    """A trained net on its way into a bundle.

    Attributes:
        name: of the member, lower case; the graph's file is named after it.
        net: with its trained weights, on any device; it is not changed.
        view: what it was trained on.
        age_mean_months, age_spread_months: of the ages that it was trained on, the net's unit.
        mirror, sexes, weight: see `boneage.manifest.Member`.
    """

    name: str
    net: AgeNet
    view: ViewSpec
    age_mean_months: float
    age_spread_months: float
    mirror: bool = False
    sexes: tuple[Sex, ...] = (Sex.FEMALE, Sex.MALE)
    weight: float = 1.0


@dataclass(frozen=True)
class TrainedHandNet:
    """A trained net that finds the hand or its points: see `export_hand_graph`.

    Attributes:
        net: with its trained weights, on any device; it is not changed.
        height, width: of its view, pixels.
    """

    net: nn.Module
    height: int
    width: int


@dataclass(frozen=True)
class TrainedHandNets:
    """Trained nets that find the hand, on their way into a bundle.

    Attributes:
        mask: gives logits of the pixels' lying in the hand, on the whole film.
        locate: gives key points on the whole film.
        refine: gives key points on the hand as `locate` registers it.
        limits: beyond which a film is refused.
    """

    mask: TrainedHandNet
    locate: TrainedHandNet
    refine: TrainedHandNet
    limits: HandLimits = field(default_factory=HandLimits)


@dataclass(frozen=True)
class ExportedGraph:
    """A graph that was written.

    Attributes:
        path: of the file.
        half: whether its weights are stored in 16 bits.
    """

    path: Path
    half: bool


class _AgeGraph(nn.Module):
    """A net as a bundle's contract wants it: months instead of the training's unit."""

    def __init__(self, net: AgeNet, age_mean_months: float, age_spread_months: float) -> None:
        super().__init__()
        self.net, self.mean, self.spread = net, age_mean_months, age_spread_months

    def forward(self, view: Tensor, sex: Tensor) -> tuple[Tensor, ...]:
        explained = self.net.explain(view, sex)
        outputs = (explained.age * self.spread + self.mean, explained.embedding, explained.activation * self.spread)
        return outputs if explained.distribution is None else (*outputs, explained.distribution)


class _MaskGraph(nn.Module):
    """A net that gives logits (N, 1, h, w), as the contract of ``hand`` wants it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        return (torch.sigmoid(self.net(view))[:, 0],)


class _PointsGraph(nn.Module):
    """A net whose `explain` gives points, spread and hands, as the contract wants it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, view: Tensor) -> tuple[Tensor, ...]:
        explain = cast("Callable[[Tensor], Sequence[Tensor]]", self.net.explain)
        return tuple(explain(view)[:3])


def export_graph(
    net: AgeNet,
    path: str | Path,
    *,
    height: int,
    width: int,
    age_mean_months: float,
    age_spread_months: float,
    half: bool = True,
    opset: int = OPSET,
) -> ExportedGraph:
    """Write a net as an ONNX graph with the inputs and outputs of a bundle; any batch size.

    Args:
        net: on any device, in either mode; it is not changed.
        path: the file to write, in one piece.
        height: of the view, pixels.
        width: of the view, pixels.
        age_mean_months: of the ages in training.
        age_spread_months: of the ages in training.
        half: store weights in 16 bits, which halves the file: integers with one step for each output channel, which
            hold a trained net's weights about ten times as precisely as float16 does. They become float32 again when
            the graph is loaded, and computing stays in single precision. Weights stay float32, with a warning in the
            log, if an output moved by more than `HALF_LIMITS`.
        opset: version of ONNX's operators.

    Raises:
        BundleError: ``bundle_output`` if the net holds weights that are not finite; ``bundle_mismatch`` if it answers
            by a distribution over months and was trained in another unit than that of such nets.
        ValueError: mean or spread are no usable numbers.
    """
    if not (math.isfinite(age_mean_months) and math.isfinite(age_spread_months) and age_spread_months > 0):
        raise ValueError(f"an age mean of {age_mean_months} and spread of {age_spread_months} cannot be used")
    unit = (RANGE_MEAN_MONTHS, RANGE_SPREAD_MONTHS)
    if net.gives_distribution and (age_mean_months, age_spread_months) != unit:
        raise BundleError(
            "bundle_mismatch",
            f"A net that answers by a distribution over months has the unit {unit}, not "
            f"{(age_mean_months, age_spread_months)}: its ages would not be its distribution's.",
        )
    outputs = ["age_months", "embedding", "activation", *(["age_distribution"] if net.gives_distribution else [])]
    inputs = {"view": _noise(height, width), "sex": torch.eye(2)}
    model = _to_onnx(_AgeGraph(_plain(net), float(age_mean_months), float(age_spread_months)), inputs, outputs, opset)
    views = _phantom_views(height, width)
    feed = {
        "view": np.repeat(views, len(Sex), axis=0),
        "sex": np.stack([sex.one_hot() for sex in Sex] * len(views)),
    }
    return _write_smallest(model, Path(path), feed, half=half)


def export_hand_graph(
    net: nn.Module,
    path: str | Path,
    *,
    kind: HandGraphKind,
    height: int,
    width: int,
    half: bool = True,
    opset: int = OPSET,
) -> ExportedGraph:
    """Write a net that finds the hand, or its points, as an ONNX graph with the contract's outputs; any batch size.

    The graph reads ``view`` (N, 1, height, width). That of a mask gives ``hand`` (N, height, width), probabilities;
    that of points gives ``points`` (N, 3, 2) and ``spread`` (N, 3) in pixels of the view, and ``hands`` (N, 3),
    probabilities of no hand, one, several.

    Args:
        net: for ``mask``, one whose `forward` gives logits (N, 1, height, width); for ``points``, one whose `explain`
            gives at least those three, in that order. On any device, in either mode; it is not changed.
        path: the file to write, in one piece.
        kind: of graph.
        height: of the view, pixels.
        width: of the view, pixels.
        half: see `export_graph`.
        opset: version of ONNX's operators.

    Raises:
        BundleError: ``bundle_output`` if the net holds weights that are not finite.
    """
    graph = _MaskGraph if kind == "mask" else _PointsGraph
    model = _to_onnx(graph(_plain(net)), {"view": _noise(height, width)}, _HAND_OUTPUTS[kind], opset)
    return _write_smallest(model, Path(path), {"view": _phantom_views(height, width)}, half=half)


def write_bundle(
    members: Sequence[NetMember],
    facts: Manifest,
    directory: str | Path,
    *,
    hand: Bundle | TrainedHandNets | None = None,
    half: bool = True,
    overwrite: bool = False,
    finish: Callable[[Bundle], Manifest] | None = None,
) -> Bundle:
    """Write a bundle whole: graphs, checksums, self-test through ONNX Runtime, manifest.

    It is built beside its place, checked, and moved there by renaming.

    Args:
        members: at least one for each sex; or none, with hand nets, for a bundle that only finds hands.
        facts: the manifest, but for its members, hand nets and the answers of its self-test, which are filled in here.
        directory: the bundle's folder; never seen half-written.
        hand: the hand nets: trained ones, or a bundle whose hand graphs and limits are taken over as they are.
        half: see `export_graph`.
        overwrite: put it in the place of a bundle that is there.
        finish: asked about the checked bundle before it is moved to its place; what it gives becomes the manifest. An
            error of it leaves nothing behind.

    Returns:
        The bundle, opened where it now lies.

    Raises:
        BundleError: ``bundle_exists`` if there is something at `directory`; ``bundle_invalid`` if the facts make no
            valid manifest, or two graphs have one name; ``bundle_mismatch`` if hand nets are to be taken from a bundle
            that has none; ``bundle_output`` if a net gives no finite numbers.
    """
    directory = Path(directory)
    if isinstance(hand, Bundle) and hand.manifest.hand is None:
        raise BundleError("bundle_mismatch", f"The bundle {hand.manifest.name} has no hand nets to take over.")
    if directory.exists() and not (overwrite and (directory / MANIFEST_NAME).is_file()):
        raise BundleError("bundle_exists", f"There is something at {directory} already.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        built = workplace / directory.name
        built.mkdir()
        _fill(built, members, facts, hand, half)
        if finish is not None:
            write_manifest(finish(Bundle.open(built)), built)
        _move(built, directory, workplace / "former")
    finally:
        shutil.rmtree(workplace)
    return Bundle.open(directory)


def parity(net: AgeNet, bundle: Bundle, views: NDArray[np.float32], *, member: str | None = None) -> float:
    """How far a net and its exported graph disagree, each asked about the views themselves, not their mirror images.

    Args:
        net: the one that the member was made from, on any device; it is not changed.
        bundle: which holds it.
        views: float32 (N, h, w), asked about for every sex that the member serves.
        member: its name; may be left out where the bundle has one.

    Returns:
        The largest absolute difference, months.

    Raises:
        BundleError: ``bundle_mismatch`` if there is no such member.
    """
    chosen = _choose(bundle, member)
    graph = _AgeGraph(_plain(net), chosen.age_mean_months, chosen.age_spread_months).eval()
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
    directory: Path, members: Sequence[NetMember], facts: Manifest, hand: Bundle | TrainedHandNets | None, half: bool
) -> None:
    """Write everything that belongs to a bundle into an empty folder, and check it."""
    graphs = _copy_hand(directory, hand) if isinstance(hand, Bundle) else _export_hand(directory, hand, half)
    entries = tuple(_export_member(directory, member, half) for member in members)
    manifest = replace(facts, members=entries, hand=graphs)
    ages: dict[Sex, dict[str, float]] = {sex: {} for sex in Sex}
    asked = Bundle(directory, manifest)
    for member in entries:
        for sex, age_months in asked.ask_phantom(member).items():
            ages[sex][member.name] = age_months
    write_manifest(replace(manifest, self_test=SelfTest(ages, facts.self_test.tolerance_months)), directory)
    failed = [result for result in Bundle.open(directory).check() if not result.passed]
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


def _copy_hand(directory: Path, bundle: Bundle) -> HandGraphs | None:
    """Take over a bundle's hand graphs. Their checksums go with them, and the new bundle's check compares them."""
    graphs = bundle.manifest.hand
    if graphs is None:
        return None
    renamed: dict[str, HandGraph] = {}
    for name, graph in graphs.by_name().items():
        renamed[name] = replace(graph, graph=_hand_graph_name(name))
        shutil.copyfile(bundle.directory / graph.graph, directory / renamed[name].graph)
    return HandGraphs(**renamed, limits=graphs.limits)


def _export_hand(directory: Path, nets: TrainedHandNets | None, half: bool) -> HandGraphs | None:
    if nets is None:
        return None
    mask = _export_hand_net(directory, "mask", nets.mask, "mask", half)
    locate = _export_hand_net(directory, "locate", nets.locate, "points", half)
    refine = _export_hand_net(directory, "refine", nets.refine, "points", half)
    return HandGraphs(mask, locate, refine, nets.limits)


def _export_hand_net(directory: Path, name: str, hand: TrainedHandNet, kind: HandGraphKind, half: bool) -> HandGraph:
    path = directory / _hand_graph_name(name)
    export_hand_graph(hand.net, path, kind=kind, height=hand.height, width=hand.width, half=half)
    return HandGraph(path.name, file_sha256(path), hand.height, hand.width)


def _export_member(directory: Path, member: NetMember, half: bool) -> Member:
    path = directory / f"{member.name}.onnx"
    if path.exists():
        raise BundleError("bundle_invalid", f"Two nets of the new bundle have the name {member.name}.")
    exported = export_graph(
        member.net,
        path,
        height=member.view.height,
        width=member.view.width,
        age_mean_months=member.age_mean_months,
        age_spread_months=member.age_spread_months,
        half=half,
    )
    return Member(
        name=member.name,
        graph=exported.path.name,
        sha256=file_sha256(exported.path),
        view=member.view,
        cells=member.net.cells,
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
    registration.setLevel(logging.ERROR)  # "torchvision is not installed": none of our nets needs it
    with warnings.catch_warnings():
        # torch 2.13 calls its own deprecated function while copying
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        # view and sex share their first axis, which is what is meant
        warnings.filterwarnings("ignore", r"# The axis name: batch will not be used", UserWarning)
        try:
            yield
        finally:
            registration.setLevel(level)


def _plain(net: NetT) -> NetT:
    """A copy on the CPU, in single precision and evaluating.

    Raises:
        BundleError: ``bundle_output`` if it holds weights that are not finite.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in net.state_dict().values()):
        raise BundleError("bundle_output", "The net holds weights that are not finite: its training failed.")
    return copy.deepcopy(net).cpu().float().eval()


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


def _write_smallest(whole: bytes, path: Path, feed: Mapping[str, NDArray[np.float32]], *, half: bool) -> ExportedGraph:
    """Write a graph, with its weights in 16 bits if that moves its answers to `feed` no farther than `HALF_LIMITS`."""
    written, is_half = whole, False
    if half:
        smaller = _with_half_weights(whole)
        moved = _beyond_limits(_answers(whole, feed), _answers(smaller, feed))
        if moved:
            _log.warning("%s: weights stay in 32 bits: 16 moved %s", path.name, moved)
        else:
            written, is_half = smaller, True
    with written_whole(path) as temporary:
        temporary.write_bytes(written)
    return ExportedGraph(path, is_half)


def _with_half_weights(whole: bytes) -> bytes:
    """A graph whose matrices and kernels are 16-bit integers, scaled back to float32 at its start.

    ONNX Runtime folds cast and scaling when it loads a graph. Biases stay as they are: they weigh little.
    """
    model = onnx.ModelProto.FromString(whole)
    graph = model.graph
    weights = [weight for weight in graph.initializer if weight.data_type == _FLOAT and len(weight.dims) >= 2]
    nodes: list[onnx.NodeProto] = []
    for weight in weights:
        name, values = weight.name, numpy_helper.to_array(weight)
        steps = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True) / np.float32(_LARGEST)
        steps = np.where(steps > 0, steps, np.float32(1))
        weight.CopyFrom(numpy_helper.from_array(np.rint(values / steps).astype(np.int16), f"{name}.short"))
        graph.initializer.append(numpy_helper.from_array(steps, f"{name}.step"))
        nodes.append(onnx.helper.make_node("Cast", [f"{name}.short"], [f"{name}.cast"], to=_FLOAT))
        nodes.append(onnx.helper.make_node("Mul", [f"{name}.cast", f"{name}.step"], [name]))
    nodes.extend(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    smaller: bytes = model.SerializeToString(deterministic=True)
    return smaller


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


def _beyond_limits(expected: Mapping[str, NDArray[np.float32]], found: Mapping[str, NDArray[np.float32]]) -> str:
    """Which outputs differ by more than `HALF_LIMITS`, and by how much; empty if none does."""
    differences = {name: float(np.abs(found[name] - expected[name]).max()) for name in HALF_LIMITS if name in expected}
    for name in _RELATIVE & set(differences):
        differences[name] /= max(float(np.abs(expected[name]).max()), 1e-6)
    beyond = {name: moved for name, moved in differences.items() if not moved <= HALF_LIMITS[name]}
    return ", ".join(f"{name} by {moved:.4f}" for name, moved in beyond.items())


def _phantom_views(height: int, width: int) -> NDArray[np.float32]:
    """Drawn hands of several ages, float32 (n, 1, height, width)."""
    spec = ViewSpec(height=height, width=width)
    films = (draw_hand(years, height=1000, width=750) for years in _PHANTOM_YEARS)
    return np.stack([cut_view(film, spec)[None] for film in films])
