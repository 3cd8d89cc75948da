"""Model bundles: a manifest, the graphs that it names and their checksums, run with ONNX Runtime and without torch.

A bundle is a folder with ``bundle.json`` and ONNX files. It is data: no pickle, no code. Every member's graph has the
inputs ``view`` float32 (N, 1, H, W) and ``sex`` float32 (N, 2), one-hot, female first. Its outputs are ``age_months``
(N,), ``embedding`` (N, E), ``activation`` (N, h, w) in months and, if the network has one, ``age_distribution``
(N, 240). A network for single bones (`boneage.hand.bones`) also has ``bone_distribution`` (N, B, 240) and
``bone_weight`` (N, B).

Bundles with hand networks (`boneage.hand.find`) have three more graphs. All have the input ``view``. The mask network
has the output ``hand`` (N, H, W), probabilities. The two networks for key points have ``points`` (N, 3, 2) and
``spread`` (N, 3) in pixels of the view, and ``hands`` (N, 3), probabilities of no hand, one, and several.

Such bundles may also have a network for joints (`boneage.hand.joints`). Its input is ``view``, and its outputs are
``points`` (N, J, 2) and ``spread`` (N, J) in pixels of the view. They may have a quality network
(`boneage.bundle.quality`) with the input ``view`` and the output ``quality`` (N, labels), probabilities; and a network
for outlines (`boneage.hand.outlines`) with the input ``view`` and the output ``outlines`` (N, H, W), probabilities.

All that does not fit is rejected by a :class:`~boneage.errors.BundleError` with one of the codes

- ``bundle_not_found``;
- ``bundle_invalid``: the manifest or a graph cannot be read;
- ``bundle_checksum``: a graph is not the one for which the manifest was written;
- ``bundle_mismatch``: an input or a graph does not match the manifest;
- ``bundle_output``: a network's output is not a usable number.

Writing a bundle adds ``bundle_exists`` (see `boneage.train.bundle.export`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.calibration import Calibration
from boneage.bundle.hand_networks import OnnxHandNetworks
from boneage.bundle.manifest import HandGraph, Manifest, Member, QualityGraph, read_manifest, write_manifest
from boneage.bundle.member_output import MemberOutput, mean_output, reject_signature, split_outputs
from boneage.bundle.quality import QUALITY_LABELS, QualityLabel, QualityLimit, quality_view
from boneage.bundle.session import Graph, Session, open_session, read_graph, run_on_views, run_session
from boneage.bundle.shipped import find_bundle
from boneage.errors import BundleError
from boneage.hand.borders import InnerPicture, Window
from boneage.hand.find import find_hand
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec
from boneage.image_pyramid import ImageSource
from boneage.sex import Sex

T = TypeVar("T")

_LEAST_SPLIT = 8
"""Least number of views of one call that are divided among the bundle's threads."""


class Bundle:
    """An opened bundle. Safe to use from several threads.

    The hand networks use all of its threads for one run, since they run one after another. Those for ages,
    quality and outlines use one each, and several of them run at a time (`start`).

    Attributes:
        directory: folder of the bundle.
        manifest: content of its ``bundle.json``.
        threads: number of threads for one radiograph.
    """

    def __init__(self, directory: Path, manifest: Manifest, *, threads: int = 2) -> None:
        self.directory = directory
        self.manifest = manifest
        self.threads = threads
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._hand_networks: OnnxHandNetworks | None = None
        self._quality_session: Session | None = None
        self._outline_session: Session | None = None
        self._pool = ThreadPoolExecutor(threads, "boneage") if threads > 1 else None

    @classmethod
    def open(cls, name_or_dir: str | Path = "default", *, threads: int = 2) -> Bundle:
        """Open a bundle and verify its checksums once. Graphs are loaded when they are first run.

        Args:
            name_or_dir: ``default``, the name of a shipped bundle, or a folder. A text that names a shipped bundle
                means that one, whatever folder has the same name; a `Path` is always a folder.
            threads: number of threads for one radiograph, at least 1.

        Raises:
            BundleError: ``bundle_not_found``, ``bundle_invalid``, ``bundle_checksum``.
        """
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        directory = find_bundle(name_or_dir)
        bundle = cls(directory, read_manifest(directory), threads=threads)
        for graph in bundle.graphs().values():
            read_graph(directory, graph)
        return bundle

    def start(self, function: Callable[[], T]) -> Future[T]:
        """Run a function in one of the bundle's threads; now, if it has only one.

        The function must not start others and wait for them.
        """
        if self._pool is not None:
            return self._pool.submit(function)
        done: Future[T] = Future()
        try:
            done.set_result(function())
        except Exception as error:  # the future raises it, as it does that of a thread
            done.set_exception(error)
        return done

    @property
    def members(self) -> tuple[Member, ...]:
        """All networks for ages."""
        return self.manifest.members

    def members_for(self, sex: Sex, *, lost_detail: bool = False) -> tuple[Member, ...]:
        """Return the networks that serve a sex: at least one, unless the bundle only finds hands.

        Args:
            sex: sex of the patient.
            lost_detail: True for a radiograph that lost detail, which only `Manifest.stand_ins` read if there are any.
        """
        serving = tuple(member for member in self.members if sex in member.sexes)
        stand_ins = self.manifest.stand_ins
        return tuple(one for one in serving if (one.name in stand_ins) == lost_detail) or serving

    def graphs(self) -> dict[str, Graph]:
        """Return the entries of all graphs by their names for people."""
        hand, quality = self.manifest.hand, self.manifest.quality
        named: dict[str, Graph] = {member.name: member for member in self.members}
        named |= {} if hand is None else {f"hand network {name}": graph for name, graph in hand.by_name().items()}
        named |= {} if quality is None else {"quality network": quality}
        return named | ({} if self.manifest.outlines is None else {"network for outlines": self.manifest.outlines})

    # --- the hand and its quality ---

    @property
    def finds_hands(self) -> bool:
        """True if the bundle has hand networks."""
        return self.manifest.hand is not None

    def hand_networks(self) -> OnnxHandNetworks:
        """Return the networks that find the hand, loaded once.

        Raises:
            BundleError: ``bundle_mismatch`` if the bundle has none; see also `run_batch`.
        """
        with self._lock:
            if self._hand_networks is None:
                if self.manifest.hand is None:
                    raise BundleError("bundle_mismatch", f"The bundle {self.manifest.name} has no hand networks.")
                self._hand_networks = OnnxHandNetworks(self.directory, self.manifest.hand, self.threads)
            return self._hand_networks

    def find_hand(self, source: ImageSource, inner: InnerPicture | None = None) -> Hand:
        """Find the hand on a radiograph, and its joints if the bundle has a network for them.

        Args:
            source: the radiograph, float32 (H, W), 0..1, or its pyramid.
            inner: picture within its even borders, if it was already cut.

        Raises:
            Rejection: ``no_hand``, ``several_hands``, ``points_uncertain``, ``no_contrast``.
            BundleError: as `hand_networks`; ``bundle_output`` if a network's output is out of range.
        """
        networks = self.hand_networks()
        hand = find_hand(source, networks, networks.graphs.limits, inner)
        return replace(hand, joints=networks.joints(source, hand))

    @property
    def quality_limits(self) -> Mapping[QualityLabel, QualityLimit]:
        """The limits of the quality network's labels; empty without such a network."""
        return {} if self.manifest.quality is None else self.manifest.quality.limits

    def quality_graph(self) -> QualityGraph:
        """Return the entry of the quality network.

        Raises:
            BundleError: ``bundle_mismatch`` if the bundle has none.
        """
        if self.manifest.quality is None:
            raise BundleError("bundle_mismatch", f"The bundle {self.manifest.name} has no quality network.")
        return self.manifest.quality

    def judge_quality(self, source: ImageSource, hand: Hand, window: Window | None = None) -> dict[QualityLabel, float]:
        """Return the probability, 0..1, of each disturbance of a radiograph.

        Args:
            source: the radiograph, float32 (H, W), 0..1, or its pyramid.
            hand: the hand that `find_hand` found there.
            window: window within its even borders, if `boneage.hand.borders.inner_window` was already run.

        Raises:
            Rejection: ``no_contrast``.
            BundleError: ``bundle_mismatch`` if the bundle has no quality network, or its graph does not fit; see also
                `run_batch`.
        """
        graph = self.quality_graph()
        view = quality_view(source, hand, graph.height, graph.width, window)
        return dict(zip(QUALITY_LABELS, self.run_quality(view), strict=True))

    def run_quality(self, view: NDArray[np.float32]) -> list[float]:
        """Return the quality network's probabilities for one view, float32 (h, w), in the order of the labels.

        Raises:
            BundleError: as `judge_quality`.
        """
        graph = self.quality_graph()
        with self._lock:
            if self._quality_session is None:
                self._quality_session = open_session(self.directory, graph, threads=1)
            session = self._quality_session
        arrays = run_on_views(session, graph.graph, view[None], {"quality": (len(QUALITY_LABELS),)})
        return [float(probability) for probability in arrays[0][0]]

    def outline_graph(self) -> HandGraph:
        """Return the entry of the network for outlines.

        Raises:
            BundleError: ``bundle_mismatch`` if the bundle has none.
        """
        if self.manifest.outlines is None:
            raise BundleError("bundle_mismatch", f"The bundle {self.manifest.name} has no network for outlines.")
        return self.manifest.outlines

    @property
    def outline_spec(self) -> ViewSpec | None:
        """The view of single bones that the network for outlines reads; None without such a network."""
        graph = self.manifest.outlines
        return None if graph is None else ViewSpec("bones", graph.height, graph.width, "hand")

    def run_outlines(self, view: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each pixel to belong to an epiphysis or carpal bone of its tile's bone.

        Args:
            view: view `outline_spec`, float32 (H, W).

        Returns:
            float32 (H, W), 0..1 (`boneage.hand.outlines.trace_outlines`).

        Raises:
            BundleError: ``bundle_mismatch`` if the bundle has no such network, or its graph does not fit; see also
                `run_batch`.
        """
        graph = self.outline_graph()
        with self._lock:
            if self._outline_session is None:
                self._outline_session = open_session(self.directory, graph, threads=1)
            session = self._outline_session
        shapes = {"outlines": (graph.height, graph.width)}
        probabilities: NDArray[np.float32] = run_on_views(session, graph.graph, view[None], shapes)[0][0]
        return probabilities

    # --- ages ---

    def run(self, member: Member, view: NDArray[np.float32], sex: Sex) -> MemberOutput:
        """Run one network on one view.

        Args:
            member: a member of this bundle.
            view: float32 (h, w), made by `boneage.hand.views.cut_view` with the member's own spec.
            sex: sex of the patient.

        Raises:
            BundleError: see `run_batch`.
        """
        return self.run_batch(member, view[None], [sex])[0]

    def run_batch(
        self, member: Member, views: NDArray[np.float32], sexes: Sequence[Sex], *, plain: bool = False
    ) -> list[MemberOutput]:
        """Run one network on several views in one pass, and on their mirror images if the member reads these too.

        Args:
            member: a member of this bundle.
            views: float32 (N, h, w), N at least 1.
            sexes: N sexes.
            plain: return the output of the graph itself, without mirror images.

        Raises:
            BundleError: ``bundle_mismatch`` if an input does not fit the member, or the graph does not match the
                manifest; ``bundle_output`` if an output is not finite; ``bundle_checksum`` if the graph was exchanged
                since opening; ``bundle_invalid`` if it cannot be loaded.
        """
        self._reject_misfits(member, views, sexes)
        if len(views) >= _LEAST_SPLIT and self.threads > 1:
            size = -(-len(views) // self.threads)
            starts = range(0, len(views), size)
            parts = [
                self.start(partial(self._run_part, member, views[at : at + size], sexes[at : at + size], plain))
                for at in starts
            ]
            return [output for part in parts for output in part.result()]
        return self._run_part(member, views, sexes, plain)

    def _run_part(
        self, member: Member, views: NDArray[np.float32], sexes: Sequence[Sex], plain: bool
    ) -> list[MemberOutput]:
        """Run one network on views, which are not divided further."""
        if plain or not member.mirror:
            return self._run_graph(member, views, sexes)
        both = self._run_graph(member, np.concatenate([views, views[:, :, ::-1]]), [*sexes, *sexes])
        return [mean_output(*pair) for pair in zip(both[: len(views)], both[len(views) :], strict=True)]

    def session(self, member: Member) -> Session:
        """Return the session of a member's graph, loaded once and kept.

        Raises:
            BundleError: see `run_batch`.
        """
        with self._lock:
            if member.name not in self._sessions:
                session = open_session(self.directory, member, threads=1)
                reject_signature(session, member)
                self._sessions[member.name] = session
            return self._sessions[member.name]

    def _run_graph(self, member: Member, views: NDArray[np.float32], sexes: Sequence[Sex]) -> list[MemberOutput]:
        session = self.session(member)
        names = [node.name for node in session.get_outputs()]
        feed = {"view": np.ascontiguousarray(views[:, None]), "sex": np.stack([sex.one_hot() for sex in sexes])}
        arrays = run_session(session, member.graph, names, feed)
        return split_outputs(member, dict(zip(names, arrays, strict=True)), len(views))

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


def with_calibration(
    directory: Path, calibration: Calibration | None, *, metrics: Mapping[str, Any] = MappingProxyType({})
) -> Bundle:
    """Calibrate a bundle in place, or remove its calibration. The manifest is rewritten as a whole.

    The bundle's estimates change, so that its former metrics are removed.

    Args:
        directory: folder of the bundle.
        calibration: calibration of the mean of its members (`boneage.bundle.calibration.calibrate`).
        metrics: metrics of the bundle with this calibration, if they were measured.

    Returns:
        The bundle, opened again.

    Raises:
        BundleError: as `Bundle.open`; ``bundle_invalid`` also for an invalid calibration or metrics.
    """
    manifest = Bundle.open(directory).manifest
    write_manifest(replace(manifest, calibration=calibration, metrics=dict(metrics)), directory)
    return Bundle.open(directory)
