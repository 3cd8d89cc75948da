"""The hand networks of a bundle, run with ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.manifest import HandGraphs
from boneage.bundle.session import open_session, run_on_views
from boneage.hand.joints import JOINT_NAMES, Joints
from boneage.hand.registration import HAND_LENGTH, Hand
from boneage.hand.search import LocatedPoints
from boneage.hand.views import ViewSpec, cut_view, frame_to_view
from boneage.image_pyramid import ImageSource


class OnnxHandNetworks:
    """The hand networks' sessions, which fulfil `boneage.hand.search.HandNetworks`. Safe to use from several threads.

    Attributes:
        graphs: entries of the manifest.
        mask_spec, locate_spec, refine_spec: views that the networks read.
        joint_spec: view that the network for joints reads; None without one.
    """

    def __init__(self, directory: Path, graphs: HandGraphs, threads: int) -> None:
        self.graphs = graphs
        self.mask_spec = ViewSpec("radiograph", graphs.mask.height, graphs.mask.width, "percentile")
        self.locate_spec = ViewSpec("radiograph", graphs.locate.height, graphs.locate.width, "percentile")
        self.refine_spec = ViewSpec("surroundings", graphs.refine.height, graphs.refine.width, "percentile")
        joints = graphs.joints
        self.joint_spec = None if joints is None else ViewSpec("A", joints.height, joints.width, "hand")
        self._sessions = {name: open_session(directory, graph, threads) for name, graph in graphs.by_name().items()}

    @property
    def mask_shape(self) -> tuple[int, int]:
        """Height and width of the masks."""
        return self.mask_spec.height, self.mask_spec.width

    def fingerprint(self) -> list[str]:
        """Return all that decides where a hand is found: the graphs' checksums and the limits."""
        return [*(graph.sha256 for graph in self.graphs.by_name().values()), repr(self.graphs.limits)]

    def mask(self, views: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each pixel to lie in the hand (N, h, w) for views (N, h, w)."""
        (probabilities,) = self._run("mask", views, {"hand": self.mask_shape})
        return probabilities

    def locate(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        """Return the key points of each of the views (N, h, w) of whole radiographs."""
        return self._points("locate", views)

    def refine(self, views: NDArray[np.float32]) -> list[LocatedPoints]:
        """Return the key points of each of the views (N, h, w) of registered hands."""
        return self._points("refine", views)

    def joints(self, source: ImageSource, hand: Hand) -> Joints | None:
        """Return the joints of a hand on a radiograph, float32 (H, W); None without a network for joints.

        Raises:
            Rejection: ``no_contrast``.
            BundleError: ``bundle_mismatch`` or ``bundle_output`` if the graph does not fit.
        """
        if self.joint_spec is None:
            return None
        view = cut_view(source, self.joint_spec, hand=hand)
        count = len(JOINT_NAMES)
        points, spread = self._run("joints", view[None], {"points": (count, 2), "spread": (count,)})
        frame_to_joints = frame_to_view(self.joint_spec)
        length = frame_to_joints.zoom * HAND_LENGTH
        return Joints(frame_to_joints.inverse().points(points[0]), spread[0].astype(np.float64) / length)

    def _points(self, name: str, views: NDArray[np.float32]) -> list[LocatedPoints]:
        arrays = self._run(name, views, {"points": (3, 2), "spread": (3,), "hands": (3,)})
        return [LocatedPoints(*located) for located in zip(*arrays, strict=True)]

    def _run(
        self, name: str, views: NDArray[np.float32], shapes: dict[str, tuple[int, ...]]
    ) -> list[NDArray[np.float32]]:
        # One view after another: three in one run leave the processor's cache and take a quarter more time, and dozens
        # take a lot of memory.
        session, graph = self._sessions[name], self.graphs.by_name()[name].graph
        runs = [run_on_views(session, graph, views[at : at + 1], shapes) for at in range(len(views))]
        return [np.concatenate(arrays) for arrays in zip(*runs, strict=True)]
