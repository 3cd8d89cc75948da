"""From trained nets to a bundle: ONNX graphs that give months, embedding and activation map in one forward pass."""

from __future__ import annotations

import copy
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from boneage.bundle import Bundle, import_onnxruntime
from boneage.errors import BundleError
from boneage.files import written_whole
from boneage.manifest import MANIFEST_NAME, Manifest, Member, SelfTest, file_sha256, write_manifest
from boneage.phantom import draw_hand
from boneage.sex import Sex
from boneage.train.nets.layers import AgeNet
from boneage.views import ViewSpec, cut_view

OPSET = 20
"""Version of ONNX's operators; ONNX Runtime reads it since 1.17."""

HALF_LIMIT_MONTHS = 0.02
"""Weights are only stored in 16 bits if no answer for a drawn phantom moves by more than this."""

HALF_LIMIT_ACTIVATION = 1e-3
"""The same for the activation map, relative to its largest value."""

_OUTPUT_NAMES = ["age_months", "embedding", "activation"]
_PHANTOM_YEARS = (1.0, 4.0, 7.0, 10.0, 13.0, 16.0)
_BATCH = 16
_FLOAT = onnx.TensorProto.FLOAT
_LARGEST = np.iinfo(np.int16).max
_REGISTRATION_LOG = "torch.onnx._internal.exporter._registration"

_log = logging.getLogger(__name__)


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
class ExportedGraph:
    """A graph that was written.

    Attributes:
        path: of the file.
        half: whether its weights are stored in 16 bits.
    """

    path: Path
    half: bool


class _Graph(nn.Module):
    """A net as a bundle's contract wants it: months instead of the training's unit."""

    def __init__(self, net: AgeNet, age_mean_months: float, age_spread_months: float) -> None:
        super().__init__()
        self.net, self.mean, self.spread = net, age_mean_months, age_spread_months

    def forward(self, view: Tensor, sex: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        explained = self.net.explain(view, sex)
        return explained.age * self.spread + self.mean, explained.embedding, explained.activation * self.spread


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
            log, if an answer moved by more than `HALF_LIMIT_MONTHS` or a map by more than `HALF_LIMIT_ACTIVATION`.
        opset: version of ONNX's operators.

    Raises:
        BundleError: ``bundle_output`` if the net holds weights that are not finite.
        ValueError: mean or spread are no usable numbers.
    """
    if not (math.isfinite(age_mean_months) and math.isfinite(age_spread_months) and age_spread_months > 0):
        raise ValueError(f"an age mean of {age_mean_months} and spread of {age_spread_months} cannot be used")
    if not all(bool(tensor.isfinite().all()) for tensor in net.state_dict().values()):
        raise BundleError("bundle_output", "The net holds weights that are not finite: its training failed.")
    plain = copy.deepcopy(net).cpu().float()
    graph = _Graph(plain, float(age_mean_months), float(age_spread_months)).eval()
    model = _without_traces(_to_onnx(graph, height, width, opset))
    path = Path(path)
    is_half = False
    if half:
        smaller = _with_half_weights(model)
        difference, activation = _difference(model, smaller, height, width)
        is_half = difference <= HALF_LIMIT_MONTHS and activation <= HALF_LIMIT_ACTIVATION
        if is_half:
            model = smaller
        else:
            _log.warning("weights stay in 32 bits: 16 moved an answer by %.4f months", difference)
    _write_model(model, path)
    return ExportedGraph(path, is_half)


def write_bundle(
    members: Sequence[NetMember],
    facts: Manifest,
    directory: str | Path,
    *,
    half: bool = True,
    overwrite: bool = False,
    finish: Callable[[Bundle], Manifest] | None = None,
) -> Bundle:
    """Write a bundle whole: graphs, checksums, self-test through ONNX Runtime, manifest.

    It is built beside its place, checked, and moved there by renaming.

    Args:
        members: at least one for each sex.
        facts: the manifest, but for its members and the answers of its self-test, which are filled in here.
        directory: the bundle's folder; never seen half-written.
        half: see `export_graph`.
        overwrite: put it in the place of a bundle that is there.
        finish: asked about the checked bundle before it is moved to its place; what it gives becomes the manifest. An
            error of it leaves nothing behind.

    Returns:
        The bundle, opened where it now lies.

    Raises:
        BundleError: ``bundle_exists`` if there is something at `directory`; ``bundle_invalid`` if the facts make no
            valid manifest; ``bundle_output`` if a net gives no finite numbers.
    """
    directory = Path(directory)
    if directory.exists() and not (overwrite and (directory / MANIFEST_NAME).is_file()):
        raise BundleError("bundle_exists", f"There is something at {directory} already.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        built = workplace / directory.name
        built.mkdir()
        _fill(built, members, facts, half)
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
    graph = _Graph(copy.deepcopy(net).cpu().float(), chosen.age_mean_months, chosen.age_spread_months).eval()
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


def _fill(directory: Path, members: Sequence[NetMember], facts: Manifest, half: bool) -> None:
    """Write everything that belongs to a bundle into an empty folder, and check it."""
    entries = tuple(_export_member(directory, member, half) for member in members)
    manifest = replace(facts, members=entries)
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


def _export_member(directory: Path, member: NetMember, half: bool) -> Member:
    exported = export_graph(
        member.net,
        directory / f"{member.name}.onnx",
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


def _to_onnx(graph: _Graph, height: int, width: int, opset: int) -> onnx.ModelProto:
    batch = torch.export.Dim("batch")
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            graph,
            (torch.randn(2, 1, height, width, generator=torch.Generator().manual_seed(0)), torch.eye(2)),
            input_names=["view", "sex"],
            output_names=_OUTPUT_NAMES,
            dynamic_shapes={"view": {0: batch}, "sex": {0: batch}},
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    return program.model_proto


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's notes: they hold the source paths of the machine it ran on."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


def _with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose matrices and kernels are 16-bit integers, scaled back to float32 at the graph's start.

    ONNX Runtime folds cast and scaling when it loads a graph. Biases stay as they are: they weigh little.
    """
    smaller = onnx.ModelProto()
    smaller.CopyFrom(model)
    graph = smaller.graph
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
    onnx.checker.check_model(smaller, full_check=True)
    return smaller


def _difference(model: onnx.ModelProto, other: onnx.ModelProto, height: int, width: int) -> tuple[float, float]:
    """Largest difference of two graphs on phantoms: of the age, months, and of the map, relative to its maximum."""
    views = np.stack([_phantom_view(years, height, width) for years in _PHANTOM_YEARS])
    age, activation = 0.0, 0.0
    sessions = [_session(model), _session(other)]
    for sex in Sex:
        feed = {"view": views[:, None], "sex": np.repeat(sex.one_hot()[None], len(views), axis=0)}
        first, second = (session.run(["age_months", "activation"], feed) for session in sessions)
        age = max(age, float(np.abs(first[0] - second[0]).max()))
        scale = max(float(np.abs(first[1]).max()), 1e-6)
        activation = max(activation, float(np.abs(first[1] - second[1]).max()) / scale)
    return age, activation


def _phantom_view(age_years: float, height: int, width: int) -> NDArray[np.float32]:
    return cut_view(draw_hand(age_years, height=1000, width=750), ViewSpec(height=height, width=width))


def _session(model: onnx.ModelProto) -> Any:
    return import_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def _write_model(model: onnx.ModelProto, path: Path) -> None:
    with written_whole(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
