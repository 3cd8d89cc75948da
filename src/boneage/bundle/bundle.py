"""Bundles: a manifest, the graphs it names, their checksums and a self-test; run with ONNX Runtime, without torch.

A bundle is a folder with ``bundle.json`` and ONNX files. It is data: no pickle, no code. Every graph has the inputs
``view`` float32 (N, 1, H, W) and ``sex`` float32 (N, 2), one-hot, female first, and the outputs ``age_months`` (N,),
``embedding`` (N, E), ``activation`` (N, h, w) in months and, if the network has one, ``age_distribution`` (N, 240).

Bundles with hand networks (`boneage.hand.find`) have three graphs more. All have the input ``view``. That of the mask
has the output ``hand`` (N, H, W), probabilities; the two for key points have ``points`` (N, 3, 2) and ``spread`` (N, 3)
in pixels of the view, and ``hands`` (N, 3), probabilities of no hand, one, and several.

Such bundles may have a quality network (`boneage.bundle.quality`) besides, with the input ``view`` and the output
``quality`` (N, labels), probabilities.

Whatever does not fit is rejected by a :class:`~boneage.errors.BundleError` with one of the codes

- ``bundle_not_found``;
- ``bundle_invalid``: the manifest or a graph cannot be read;
- ``bundle_checksum``: a graph is not the one that the manifest was written for;
- ``bundle_mismatch``: an input or a graph is not what the manifest says;
- ``bundle_output``: a network gave no usable number.

Writing one adds ``bundle_exists`` (see `boneage.train.bundle.export`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.calibration import Calibration
from boneage.bundle.manifest import (
    AGES,
    MANIFEST_NAME,
    HandGraph,
    HandGraphs,
    Manifest,
    Member,
    QualityGraph,
    read_manifest,
    shipped_or_folder,
    write_manifest,
)
from boneage.bundle.quality import QUALITY_LABELS, QualityLabel, QualityLimit, quality_view
from boneage.errors import BundleError
from boneage.files import sha256_of
from boneage.geometry import Transform, downsample_area
from boneage.hand.find import LocatedPoints, find_hand
from boneage.hand.mask import components, filled
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec, cut_view
from boneage.phantom import draw_hand, phantom_points
from boneage.sex import Sex

DEFAULT_BUNDLE = "standard"
"""The shipped bundle that ``default`` stands for."""

SHIPPED = Path(__file__).parents[1] / "bundles"
"""Where the bundles lie that come with the package."""

_PHANTOM_FLESH = 0.12
"""Brighter than this, of 1, is the drawn phantom's hand."""

_OUTPUTS = ("age_months", "embedding", "activation")
_DISTRIBUTION = "age_distribution"


@dataclass(frozen=True)
class MemberOutput:
    """What one network says of one view.

    A member that is asked about the mirror image too (`Member.mirror`) gives the means of both answers as age,
    embedding and distribution.

    Attributes:
        age_months: its estimate.
        embedding: float32 (E,), its last hidden layer.
        activation: float32 (h, w) on the network's last feature map, in months: Grad-CAM's weighted sum before its
            ReLU. Of the view itself.
        age_distribution: float32 (240,), probability of each month of age; None if the network has no such output.
        mirror_activation: float32 (h, w), the same map of the mirror image, on the mirror image's own grid; None for a
            member that is not asked about it.
        mirror_difference_months: by how much the two ages differ, at least 0; None likewise.
    """

    age_months: float
    embedding: NDArray[np.float32]
    activation: NDArray[np.float32]
    age_distribution: NDArray[np.float32] | None = None
    mirror_activation: NDArray[np.float32] | None = None
    mirror_difference_months: float | None = None


@dataclass(frozen=True)
class CheckResult:
    """One thing that `Bundle.check` looked at. `detail` says what was found."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class BundleSummary:
    """A shipped bundle as a list shows it. `mad_months` is None where the manifest has no metrics."""

    name: str
    version: str
    title: str
    created: str
    members: int
    mad_months: float | None
    is_default: bool
    directory: Path


class _Node(Protocol):
    """An input or output of a session."""

    name: str
    type: str
    shape: list[int | str | None]


class _Session(Protocol):
    """The part of ``onnxruntime.InferenceSession`` that is used."""

    def get_inputs(self) -> list[_Node]: ...

    def get_outputs(self) -> list[_Node]: ...

    def run(self, names: list[str], feed: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]: ...


class Bundle:
    """An opened bundle. May be used from several threads at once.

    Attributes:
        directory: where it lies.
        manifest: what it says of itself.
        threads: that ONNX Runtime uses for one run.
    """

    def __init__(self, directory: Path, manifest: Manifest, *, threads: int = 2) -> None:
        self.directory = directory
        self.manifest = manifest
        self.threads = threads
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        self._hand_networks: _HandNetworks | None = None
        self._quality_session: _Session | None = None

    @classmethod
    def open(cls, name_or_dir: str | Path = "default", *, threads: int = 2) -> Bundle:
        """Open a bundle and verify its checksums once. Graphs are loaded when they are first run.

        Args:
            name_or_dir: ``default``, the name of a shipped bundle, or a folder. A text that names a shipped bundle
                means that one, whatever folder of this name lies about; a `Path` is always a folder.
            threads: for one run, at least 1.

        Raises:
            BundleError: ``bundle_not_found``, ``bundle_invalid``, ``bundle_checksum``.
        """
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        directory = _find(name_or_dir)
        bundle = cls(directory, read_manifest(directory), threads=threads)
        for graph in bundle._graphs().values():
            _read_graph(directory, graph)
        return bundle

    @property
    def members(self) -> tuple[Member, ...]:
        """All networks."""
        return self.manifest.members

    def members_for(self, sex: Sex) -> tuple[Member, ...]:
        """The networks that may be asked about this sex; at least one."""
        return tuple(member for member in self.members if sex in member.sexes)

    @property
    def finds_hands(self) -> bool:
        """Whether it has hand networks."""
        return self.manifest.hand is not None

    def hand_networks(self) -> _HandNetworks:
        """The networks that find the hand, loaded once.

        Raises:
            BundleError: ``bundle_mismatch`` if the bundle has none; see also `run_batch`.
        """
        with self._lock:
            if self._hand_networks is None:
                if self.manifest.hand is None:
                    raise BundleError("bundle_mismatch", f"The bundle {self.manifest.name} has no hand networks.")
                self._hand_networks = _HandNetworks(self.directory, self.manifest.hand, self.threads)
            return self._hand_networks

    def find_hand(self, pixels: NDArray[np.float32]) -> Hand:
        """Find the hand on a radiograph, float32 (H, W), 0..1.

        Raises:
            Rejection: ``no_hand``, ``several_hands``, ``points_uncertain``, ``no_contrast``.
            BundleError: as `hand_networks`; ``bundle_output`` if a network's answer is none.
        """
        networks = self.hand_networks()
        return find_hand(pixels, networks, networks.graphs.limits)

    @property
    def quality_limits(self) -> Mapping[QualityLabel, QualityLimit]:
        """The limits of the quality network's labels; empty without one."""
        return {} if self.manifest.quality is None else self.manifest.quality.limits

    def judge_quality(self, pixels: NDArray[np.float32], hand: Hand) -> dict[QualityLabel, float]:
        """Return the probability, 0..1, of each thing that disturbs a radiograph.

        Args:
            pixels: the radiograph, float32 (H, W), 0..1.
            hand: as `find_hand` found it there.

        Raises:
            Rejection: ``no_contrast``.
            BundleError: ``bundle_mismatch`` if the bundle has no quality network, or its graph does not fit; see also
                `run_batch`.
        """
        graph = self._quality_graph()
        view = quality_view(pixels, hand, graph.height, graph.width)
        return dict(zip(QUALITY_LABELS, self._ask_quality(graph, view), strict=True))

    def _quality_graph(self) -> QualityGraph:
        if self.manifest.quality is None:
            raise BundleError("bundle_mismatch", f"The bundle {self.manifest.name} has no quality network.")
        return self.manifest.quality

    def _ask_quality(self, graph: QualityGraph, view: NDArray[np.float32]) -> list[float]:
        with self._lock:
            if self._quality_session is None:
                self._quality_session = _load(_read_graph(self.directory, graph), graph.graph, self.threads)
            session = self._quality_session
        arrays = _run_graph(session, graph.graph, view[None], {"quality": (len(QUALITY_LABELS),)})
        return [float(probability) for probability in arrays[0][0]]

    def run(self, member: Member, view: NDArray[np.float32], sex: Sex) -> MemberOutput:
        """Ask one network about one view.

        Args:
            member: of this bundle.
            view: float32 (h, w) as `boneage.hand.views.cut_view` makes it by the member's own spec.
            sex: of the patient.

        Raises:
            BundleError: see `run_batch`.
        """
        return self.run_batch(member, view[None], [sex])[0]

    def run_batch(
        self, member: Member, views: NDArray[np.float32], sexes: Sequence[Sex], *, plain: bool = False
    ) -> list[MemberOutput]:
        """Ask one network about several views in one pass, and about their mirror images if the member says so.

        Args:
            member: of this bundle.
            views: float32 (N, h, w), N at least 1.
            sexes: N of them.
            plain: what the graph itself says: never ask about mirror images.

        Raises:
            BundleError: ``bundle_mismatch`` if an input does not fit the member or the graph not its manifest;
                ``bundle_output`` if an output is not finite; ``bundle_checksum`` if the graph was exchanged since
                opening; ``bundle_invalid`` if it cannot be loaded.
        """
        self._reject_misfits(member, views, sexes)
        if plain or not member.mirror:
            return self._ask(member, views, sexes)
        both = self._ask(member, np.concatenate([views, views[:, :, ::-1]]), [*sexes, *sexes])
        return [_mean_output(*pair) for pair in zip(both[: len(views)], both[len(views) :], strict=True)]

    def _ask(self, member: Member, views: NDArray[np.float32], sexes: Sequence[Sex]) -> list[MemberOutput]:
        session = self._session(member)
        names = [node.name for node in session.get_outputs()]
        one_hot = np.stack([sex.one_hot() for sex in sexes])
        try:
            arrays = session.run(names, {"view": np.ascontiguousarray(views[:, None]), "sex": one_hot})
        except Exception as error:  # ONNX Runtime's errors have no common base but this
            raise BundleError("bundle_mismatch", f"The graph {member.graph} cannot run: {error}") from error
        return _split_outputs(member, dict(zip(names, arrays, strict=True)), len(views))

    def check(self) -> list[CheckResult]:
        """Look at everything: checksums, signatures, self-test on the drawn phantom, files that nothing names."""
        tests: list[tuple[str, Callable[[], str]]] = [("files", self._check_files)]
        for name, graph in self._graphs().items():
            tests.append((f"checksum {name}", partial(_check_graph, self.directory, graph)))
        if self.finds_hands:
            tests.append(("signature of the hand networks", self._check_hand_networks))
        if self.manifest.quality is not None:
            tests.append(("signature of the quality network", self._check_quality))
        for member in self.members:
            tests += [
                (f"signature {member.name}", partial(self._check_signature, member)),
                (f"self-test {member.name}", partial(self._check_answer, member)),
            ]
        return [_attempt(name, test) for name, test in tests]

    def predict_phantom(self, member: Member) -> dict[Sex, float]:
        """What a member says of the drawn phantom, months, for each sex it serves. The self-test holds these.

        Where the phantom's hand lies is known, so that this does not hang on the hand networks, which never saw a
        drawing.
        """
        view = cut_view(draw_hand(), member.view, hand=_phantom_hand() if member.view.needs_hand else None)
        return {sex: self.run(member, view, sex).age_months for sex in member.sexes}

    def _reject_misfits(self, member: Member, views: NDArray[np.float32], sexes: Sequence[Sex]) -> None:
        if member not in self.members:
            raise BundleError("bundle_mismatch", f"{member.name} is no member of the bundle {self.manifest.name}.")
        size = (member.view.height, member.view.width)
        if views.dtype != np.float32 or views.ndim != 3 or views.shape[1:] != size or not len(views):
            raise BundleError(
                "bundle_mismatch",
                f"The member {member.name} reads float32 views of {size}, not {views.dtype} of {views.shape[1:]}.",
            )
        if len(sexes) != len(views):
            raise BundleError("bundle_mismatch", f"{len(views)} views were given with {len(sexes)} sexes.")
        foreign = set(sexes) - set(member.sexes)
        if foreign:
            raise BundleError("bundle_mismatch", f"The member {member.name} does not serve {sorted(foreign)}.")

    def _session(self, member: Member) -> _Session:
        """The member's graph, loaded once and kept."""
        with self._lock:
            if member.name not in self._sessions:
                session = _load(_read_graph(self.directory, member), member.graph, self.threads)
                _reject_signature(session, member)
                self._sessions[member.name] = session
            return self._sessions[member.name]

    def _check_files(self) -> str:
        named = {MANIFEST_NAME, *(graph.graph for graph in self._graphs().values())}
        strange = sorted(path.name for path in self.directory.iterdir() if path.name not in named)
        if strange:
            raise BundleError("bundle_invalid", f"The manifest does not name {', '.join(strange)}.")
        return f"{len(named)} files, all named"

    def _graphs(self) -> dict[str, Member | HandGraph | QualityGraph]:
        """All graphs by what they are called."""
        hand, quality = self.manifest.hand, self.manifest.quality
        named: dict[str, Member | HandGraph | QualityGraph] = {member.name: member for member in self.members}
        named |= {} if hand is None else {f"hand network {name}": graph for name, graph in hand.by_name().items()}
        return named | ({} if quality is None else {"quality network": quality})

    def _check_hand_networks(self) -> str:
        """Whether each gives what it must of an empty view."""
        networks = self.hand_networks()
        networks.mask(np.zeros((2, *networks.mask_shape), np.float32))
        networks.locate(np.zeros((2, networks.locate_spec.height, networks.locate_spec.width), np.float32))
        networks.refine(np.zeros((2, networks.refine_spec.height, networks.refine_spec.width), np.float32))
        return "mask, locate, refine"

    def _check_quality(self) -> str:
        """Whether it gives probabilities of an empty view."""
        graph = self._quality_graph()
        self._ask_quality(graph, np.zeros((graph.height, graph.width), np.float32))
        return ", ".join(QUALITY_LABELS)

    def _check_signature(self, member: Member) -> str:
        session = self._session(member)
        return ", ".join(f"{node.name} {tuple(node.shape)}" for node in session.get_inputs() + session.get_outputs())

    def _check_answer(self, member: Member) -> str:
        expected = self.manifest.self_test
        answers = self.predict_phantom(member)
        off = max(abs(age - expected.age_months[sex][member.name]) for sex, age in answers.items())
        if not off <= expected.tolerance_months:
            raise BundleError("bundle_output", f"The answers for the drawn phantom are off by {off:.3f} months.")
        return f"off by {off:.4f} months, {expected.tolerance_months:g} allowed"


class _HandNetworks:
    """The hand networks' sessions, as `boneage.hand.find.HandNetworks`. May be used from several threads at once."""

    def __init__(self, directory: Path, graphs: HandGraphs, threads: int) -> None:
        self.graphs = graphs
        self.mask_spec = ViewSpec("radiograph", graphs.mask.height, graphs.mask.width, "percentile")
        self.locate_spec = ViewSpec("radiograph", graphs.locate.height, graphs.locate.width, "percentile")
        self.refine_spec = ViewSpec("surroundings", graphs.refine.height, graphs.refine.width, "percentile")
        self._sessions = {
            name: _load(_read_graph(directory, graph), graph.graph, threads) for name, graph in graphs.by_name().items()
        }

    @property
    def mask_shape(self) -> tuple[int, int]:
        """(h, w) of the masks."""
        return self.mask_spec.height, self.mask_spec.width

    def fingerprint(self) -> list[str]:
        """What decides where a hand is found."""
        return [*(graph.sha256 for graph in self.graphs.by_name().values()), repr(self.graphs.limits)]

    def mask(self, views: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities of lying in the hand (N, h, w)."""
        (probabilities,) = self._ask("mask", views, {"hand": self.mask_shape})
        return probabilities

    def locate(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        """Key points on whole radiographs."""
        return self._points("locate", views)

    def refine(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        """Key points on registered hands."""
        return self._points("refine", views)

    def _points(self, name: str, views: NDArray[np.float32]) -> list[LocatedPoints]:
        arrays = self._ask(name, views, {"points": (3, 2), "spread": (3,), "hands": (3,)})
        return [LocatedPoints(*answer) for answer in zip(*arrays, strict=True)]

    def _ask(
        self, name: str, views: NDArray[np.float32], shapes: dict[str, tuple[int, ...]]
    ) -> list[NDArray[np.float32]]:
        return _run_graph(self._sessions[name], self.graphs.by_name()[name].graph, views, shapes)


def _run_graph(
    session: _Session, graph: str, views: NDArray[np.float32], shapes: Mapping[str, tuple[int, ...]]
) -> list[NDArray[np.float32]]:
    """Ask a graph that reads views (N, h, w) alone; reject answers of another shape than these, or that are unsound."""
    feed = {"view": np.ascontiguousarray(views[:, None], dtype=np.float32)}
    try:
        arrays = session.run(list(shapes), feed)
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise BundleError("bundle_mismatch", f"The graph {graph} cannot run: {error}") from error
    for (output, shape), array in zip(shapes.items(), arrays, strict=True):
        if array.shape != (len(views), *shape):
            raise BundleError("bundle_mismatch", f"The graph {graph} gave {output} of shape {array.shape}.")
        if not (np.isfinite(array).all() and _is_sound(output, array)):
            raise BundleError("bundle_output", f"The graph {graph} gave {output} that is none.")
    return arrays


def _is_sound(output: str, array: NDArray[np.float32]) -> bool:
    """Whether an output of `_run_graph` can be what it is called: probabilities, or spreads."""
    if output == "spread":
        return bool((array >= 0).all())
    if output == "points":
        return True
    in_range = bool((array >= 0).all() and (array <= 1 + 1e-4).all())
    return in_range and (output != "hands" or bool(np.abs(array.sum(axis=1) - 1).max() < 1e-3))


def _phantom_hand() -> Hand:
    """Where the drawn phantom's hand lies, as it is drawn without arguments."""
    drawn = draw_hand()
    small = downsample_area(drawn, 1 / 10)
    return Hand(
        points_xy=phantom_points(height=drawn.shape[0], width=drawn.shape[1]),
        mask=filled(components(small > _PHANTOM_FLESH)[0]),
        radiograph_to_mask=Transform.scale(small.shape[1] / drawn.shape[1], small.shape[0] / drawn.shape[0]),
    )


def list_bundles(directory: Path = SHIPPED) -> list[BundleSummary]:
    """The bundles in a folder, by default those that come with the package, by name. Graphs are not read.

    Raises:
        BundleError: ``bundle_invalid`` for a folder whose manifest cannot be read.
    """
    folders = sorted(path.parent for path in directory.glob(f"*/{MANIFEST_NAME}"))
    return [_summary(folder, read_manifest(folder)) for folder in folders]


def with_calibration(
    directory: Path, calibration: Calibration | None, *, metrics: Mapping[str, Any] = MappingProxyType({})
) -> Bundle:
    """Calibrate a bundle where it lies, or take its calibration away: its manifest is written anew, whole.

    Its answers are others then, so that the metrics that it had go.

    Args:
        directory: of the bundle.
        calibration: of the mean of its members (`boneage.bundle.calibration.calibrate`).
        metrics: of the bundle with this calibration, if they were measured.

    Returns:
        The bundle, opened anew.

    Raises:
        BundleError: as `Bundle.open`; ``bundle_invalid`` also for a calibration or metrics that are none.
    """
    manifest = Bundle.open(directory).manifest
    write_manifest(replace(manifest, calibration=calibration, metrics=dict(metrics)), directory)
    return Bundle.open(directory)


# --- finding and loading ---


def _find(name_or_dir: str | Path) -> Path:
    """The folder that a name or a path means."""
    directory = shipped_or_folder(name_or_dir, SHIPPED, MANIFEST_NAME, DEFAULT_BUNDLE)
    if directory is None:
        raise BundleError("bundle_not_found", f"{name_or_dir} is neither a shipped bundle nor a folder.")
    return directory


def _read_graph(directory: Path, member: Member | HandGraph | QualityGraph) -> bytes:
    """The bytes of a member's graph, verified. These bytes are loaded, so nobody can exchange them in between."""
    try:
        graph = (directory / member.graph).read_bytes()
    except OSError as error:
        raise BundleError("bundle_invalid", f"The graph {member.graph} cannot be read: {error}.") from error
    if sha256_of(graph) != member.sha256:
        raise BundleError(
            "bundle_checksum", f"The graph {member.graph} is damaged or was exchanged: its checksum is another."
        )
    return graph


def import_onnxruntime() -> Any:
    """ONNX Runtime, imported so that it sends nothing anywhere and keeps no files of its own.

    Some of its builds count their use, under the user's cache folder, and look up a host of their maker's. Both ends
    with a variable that it reads while it is imported, and with a call. It is imported late, since that takes a good
    part of the time to start.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415  # it ships no types

    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def _load(graph: bytes, name: str, threads: int) -> _Session:
    """A session on the CPU."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Of a dozen graphs that wait for their turn, each would keep its threads busy with waiting.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session: _Session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise BundleError("bundle_invalid", f"The graph {name} cannot be loaded: {error}") from error
    return session


def _reject_signature(session: _Session, member: Member) -> None:
    """Reject a graph whose inputs or outputs are not those of the contract."""
    view = member.view
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    wanted: dict[str, tuple[int | None, ...]] = {"view": (None, 1, view.height, view.width), "sex": (None, 2)}
    if set(inputs) != set(wanted):
        raise _mismatch(member, f"has the inputs {sorted(inputs)}, not {sorted(wanted)}")
    if not set(_OUTPUTS) <= set(outputs) <= {*_OUTPUTS, _DISTRIBUTION}:
        raise _mismatch(member, f"has the outputs {sorted(outputs)}, not {sorted(_OUTPUTS)}")
    wanted |= {"age_months": (None,), "embedding": (None, None), "activation": (None, None, None)}
    wanted |= {_DISTRIBUTION: (None, AGES)}
    for name, node in (inputs | outputs).items():
        if node.type != "tensor(float)" or not _fits(node.shape, wanted[name]):
            raise _mismatch(member, f"has {name} as {node.type} {node.shape}, not float32 {wanted[name]}")


def _fits(shape: list[int | str | None], wanted: tuple[int | None, ...]) -> bool:
    """Whether a declared shape allows the wanted one, and any batch size (the first axis)."""
    if len(shape) != len(wanted) or isinstance(shape[0], int):
        return False
    pairs = zip(shape, wanted, strict=True)
    return all(size is None or not isinstance(declared, int) or declared == size for declared, size in pairs)


def _split_outputs(member: Member, arrays: dict[str, NDArray[np.float32]], count: int) -> list[MemberOutput]:
    """One output for each view, rejected unless every number is finite and every shape right."""
    for name, rank in {"age_months": 1, "embedding": 2, "activation": 3, _DISTRIBUTION: 2}.items():
        array = arrays.get(name)
        if array is None:
            continue
        if array.ndim != rank or len(array) != count or not array.size:
            raise _mismatch(member, f"gave {name} of shape {array.shape} for {count} views")
        if not np.isfinite(array).all():
            raise BundleError("bundle_output", f"The member {member.name} gave {name} that is not finite.")
    if member.embedding_stats is not None and arrays["embedding"].shape[1] != len(member.embedding_stats.mean):
        raise _mismatch(member, "gave an embedding of another length than those that the manifest calls familiar")
    spreads = arrays.get(_DISTRIBUTION)
    if spreads is not None and (spreads.min() < 0 or np.abs(spreads.sum(axis=1) - 1).max() > 1e-3):
        raise BundleError("bundle_output", f"The member {member.name} gave an age distribution that is none.")
    return [
        MemberOutput(
            age_months=float(arrays["age_months"][row]),
            embedding=arrays["embedding"][row],
            activation=arrays["activation"][row],
            age_distribution=None if spreads is None else spreads[row],
        )
        for row in range(count)
    ]


def _mean_output(plain: MemberOutput, mirror: MemberOutput) -> MemberOutput:
    """What a member says that was asked about a view and about its mirror image."""
    distribution = plain.age_distribution
    if distribution is not None and mirror.age_distribution is not None:
        distribution = _middle(distribution, mirror.age_distribution)
    return MemberOutput(
        age_months=(plain.age_months + mirror.age_months) / 2,
        embedding=_middle(plain.embedding, mirror.embedding),
        activation=plain.activation,
        age_distribution=distribution,
        mirror_activation=mirror.activation,
        mirror_difference_months=abs(plain.age_months - mirror.age_months),
    )


def _middle(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    return (first + second) * np.float32(0.5)


def _check_graph(directory: Path, member: Member | HandGraph | QualityGraph) -> str:
    return f"{len(_read_graph(directory, member)) / 1e6:.2f} MB, sha256 {member.sha256[:12]}…"


def _attempt(name: str, test: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, True, test())
    except BundleError as error:
        return CheckResult(name, False, str(error))


def _summary(directory: Path, manifest: Manifest) -> BundleSummary:
    return BundleSummary(
        name=manifest.name,
        version=manifest.version,
        title=manifest.title,
        created=manifest.created,
        members=len(manifest.members),
        mad_months=manifest.metrics.get("mad_months"),
        is_default=directory == SHIPPED / DEFAULT_BUNDLE,
        directory=directory,
    )


def _mismatch(member: Member, message: str) -> BundleError:
    return BundleError("bundle_mismatch", f"The graph {member.graph} {message}.")
