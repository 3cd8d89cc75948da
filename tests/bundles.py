"""Tiny bundles for tests: a whole manifest and small graphs that ONNX Runtime runs in a millisecond, without torch.

The network is a caricature of the real ones: four fixed 4 x 4 kernels of stride 4, ReLU, mean over places, one output.
Its map is true Grad-CAM: it sums, over places, to the age less the constant and the sex's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import Band, Calibration, Disagreement, SexCalibration
from boneage.bundle.check import predict_phantom
from boneage.bundle.curve import CurveBand, CurveCalibration, SexCurve
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.manifest import HandGraph, HandGraphs, Manifest, Member, QualityGraph, SelfTest, write_manifest
from boneage.bundle.quality import QUALITY_LABELS, QualityLimit
from boneage.clinical.discordance import DiscordanceLimit, DiscordanceLimits
from boneage.files import sha256_of
from boneage.hand.views import CellGrid, ViewSpec
from boneage.sex import Sex
from tests.hand_graphs import (
    JOINT_VIEW,
    LOCATE_VIEW,
    MASK_VIEW,
    REFINE_VIEW,
    joints_graph,
    mask_graph,
    points_graph,
)

TINY_VIEW = ViewSpec(height=64, width=48)
REGION_VIEWS = (ViewSpec("A", 64, 48, "hand"), ViewSpec("B", 48, 48, "hand"), ViewSpec("C", 24, 56, "hand"))
STRIDE = 4
EVEN_CELLS = CellGrid(STRIDE, STRIDE / 2)
"""The activation map is (h / STRIDE, w / STRIDE)."""

METRICS = {
    "mad_months": 8.5,
    "ccc": 0.94,
    "rmse_months": 11.0,
    "split": "validation",
    "radiographs": 999,
    "mad_months_by_sex": {"F": 8.0, "M": 9.0},
}


CALIBRATION = Calibration(
    {
        Sex.FEMALE: SexCalibration(4.0, 0.95, (Band(100.0, 400, 8.25, 14.5, 5.5), Band(None, 401, 10.0, 18.0, 6.5))),
        Sex.MALE: SexCalibration(0.0, 1.0, (Band(None, 350, 9.0, 16.0, 6.0),)),
    }
)


CURVE = CurveCalibration(
    {
        Sex.FEMALE: SexCurve((CurveBand(100.0, 400, 1.5), CurveBand(None, 401, 2.0))),
        Sex.MALE: SexCurve((CurveBand(None, 350, 2.5),)),
    }
)

DISAGREEMENT = Disagreement(caution_months=30.0, critical_months=45.0)

CARPAL_LIMITS = DiscordanceLimits(
    {sex: (DiscordanceLimit(24.0, 120.0, -12.0, 14.0), DiscordanceLimit(120.0, 216.0, -10.0, 9.0)) for sex in Sex}
)


def tiny_bundle(
    directory: str | Path,
    *,
    name: str = "tiny",
    members: int = 1,
    view: ViewSpec = TINY_VIEW,
    views: Sequence[ViewSpec] | None = None,
    metrics: dict[str, object] | None = None,
    distribution: bool = False,
    mirror: bool = False,
    embedding_stats: EmbeddingStats | None = None,
    hand: bool = False,
    joints: bool = False,
) -> Path:
    """Write a bundle into a new folder and return the folder.

    Args:
        directory: folder to make; its parents must exist.
        name: in the manifest.
        members: number of members; each gives 6 months more than the one before. Their weights are 1, 2, ...
        view: view of all members; height and width are multiples of 4.
        views: views of the members, one each, instead of `members` and `view`.
        metrics: `METRICS` if not given; ``{}`` for a bundle that was never validated.
        distribution: the graphs also have an age distribution.
        mirror: the members also read mirror images.
        embedding_stats: statistics of all members; the embedding has 4 components.
        hand: it has networks that find the phantom's hand (`tests.hand_graphs`).
        joints: they locate the joints of a typical hand, too.
    """
    directory = Path(directory)
    directory.mkdir()
    entries = tuple(
        _write_member(
            directory,
            f"member-{number}",
            tiny_graph(spec, shift_months=6.0 * number, distribution=distribution),
            spec,
            1.0 + number,
            mirror=mirror,
            embedding_stats=embedding_stats,
        )
        for number, spec in enumerate([view] * members if views is None else views)
    )
    manifest = Manifest(
        name=name,
        version="1.0",
        title="A tiny bundle for tests",
        created="2025-01-01",
        members=entries,
        hand=write_hand_networks(directory, joints=joints) if hand else None,
        recipe={"network": {"name": "tiny"}},
        metrics=dict(METRICS) if metrics is None else metrics,
        curve=CURVE if distribution else None,
        carpal_limits=CARPAL_LIMITS,
        repeat_sd_months=1.3,
        data="drawn phantoms",
        licence="Apache-2.0",
    )
    write_manifest(replace(manifest, self_test=expected_ages(directory, manifest)), directory)
    return directory


def expected_ages(directory: Path, manifest: Manifest) -> SelfTest:
    """Return the self-test that a bundle passes as it is."""
    bundle = Bundle(directory, manifest, threads=1)
    ages: dict[Sex, dict[str, float]] = {sex: {} for sex in Sex}
    for member in manifest.members:
        for sex, age_months in predict_phantom(bundle, member).items():
            ages[sex][member.name] = age_months
    return SelfTest(ages)


def write_hand_networks(
    directory: Path, *, spread_pixels: float = 0.05, hands: int = 1, joints: bool = False
) -> HandGraphs:
    """Write the graphs that find the phantom's hand into a folder, as `tests.hand_graphs.points_graph`."""
    locate, refine = (
        points_graph(view, spread_pixels=spread_pixels, hands=hands) for view in (LOCATE_VIEW, REFINE_VIEW)
    )
    return HandGraphs(
        mask=_write_hand_network(directory, "mask", MASK_VIEW, mask_graph(MASK_VIEW)),
        locate=_write_hand_network(directory, "locate", LOCATE_VIEW, locate),
        refine=_write_hand_network(directory, "refine", REFINE_VIEW, refine),
        joints=_write_hand_network(directory, "joints", JOINT_VIEW, joints_graph()) if joints else None,
    )


def write_quality_network(
    directory: Path, probabilities: Sequence[float] = (0.1,) * len(QUALITY_LABELS)
) -> QualityGraph:
    """Write a quality network into a folder that gives these probabilities for every view."""
    height, width = 40, 36
    nodes = [
        helper.make_node("ReduceMean", ["view"], ["grey"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["grey", "nothing"], ["zero"]),
        helper.make_node("Unsqueeze", ["zero", "axis"], ["column"]),
        helper.make_node("Add", ["column", "probabilities"], ["quality"]),
    ]
    weights = {
        "nothing": np.float32(0).reshape(()),
        "axis": np.array([1], np.int64),
        "probabilities": np.array([probabilities], np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "quality",
        [helper.make_tensor_value_info("view", TensorProto.FLOAT, ["batch", 1, height, width])],
        [helper.make_tensor_value_info("quality", TensorProto.FLOAT, ["batch", len(QUALITY_LABELS)])],
        [numpy_helper.from_array(np.asarray(values), key) for key, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = directory / "quality.onnx"
    path.write_bytes(model.SerializeToString())
    limits = {label: QualityLimit(0.5, 0.9 if label == "plaster" else None) for label in QUALITY_LABELS}
    return QualityGraph(path.name, sha256_of(path), height, width, limits)


def _write_hand_network(directory: Path, name: str, view: ViewSpec, graph: onnx.ModelProto) -> HandGraph:
    path = directory / f"hand-{name}.onnx"
    path.write_bytes(graph.SerializeToString())
    return HandGraph(path.name, sha256_of(path), view.height, view.width)


def _write_member(
    directory: Path,
    name: str,
    graph: onnx.ModelProto,
    view: ViewSpec,
    weight: float,
    *,
    mirror: bool,
    embedding_stats: EmbeddingStats | None,
) -> Member:
    path = directory / f"{name}.onnx"
    path.write_bytes(graph.SerializeToString())
    return Member(
        name=name,
        graph=path.name,
        sha256=sha256_of(path),
        view=view,
        cells=EVEN_CELLS,
        age_mean_months=127.0,
        age_spread_months=41.0,
        mirror=mirror,
        embedding_stats=embedding_stats,
        weight=weight,
    )


def tiny_graph(
    view: ViewSpec = TINY_VIEW,
    *,
    shift_months: float = 0.0,
    gain: float = 1.0,
    batch: str | int = "batch",
    distribution: bool = False,
) -> onnx.ModelProto:
    """A graph that fulfils a bundle's contract.

    Args:
        view: view that it reads.
        shift_months: added to every age.
        gain: on the kernels; not a number makes every output so.
        batch: name of the free axis, or a fixed batch size (which the contract forbids).
        distribution: there is an output ``age_distribution``.
    """
    channels, height, width = 4, view.height // STRIDE, view.width // STRIDE
    months = np.array([18.0, -9.0, 12.0, 6.0], np.float32)
    nodes = [
        helper.make_node("Conv", ["view", "kernels"], ["raw"], kernel_shape=[4, 4], strides=[STRIDE, STRIDE]),
        helper.make_node("Relu", ["raw"], ["features"]),
        helper.make_node("ReduceMean", ["features"], ["embedding"], axes=[2, 3], keepdims=0),
        helper.make_node("Concat", ["embedding", "sex"], ["seen"], axis=1),
        helper.make_node("MatMul", ["seen", "months_of_all"], ["part"]),
        helper.make_node("Add", ["part", "constant"], ["age_months"]),
        helper.make_node("Mul", ["features", "months_of_places"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "channel_axis"], ["activation"], keepdims=0),
    ]
    weights = {
        "kernels": np.float32(gain) * _kernels(),
        "months_of_all": np.concatenate([months, np.array([-4.0, 4.0], np.float32)]),
        "constant": np.float32(100.0 + shift_months).reshape(()),
        "months_of_places": months.reshape(1, channels, 1, 1) / np.float32(height * width),
        "channel_axis": np.array([1], np.int64),
    }
    outputs = {"age_months": [batch], "embedding": [batch, channels], "activation": [batch, height, width]}
    if distribution:
        nodes.append(helper.make_node("MatMul", ["sex", "even"], ["age_distribution"]))
        weights["even"] = np.full((2, 240), 1 / 240, np.float32)
        outputs["age_distribution"] = [batch, 240]
    inputs = {"view": [batch, 1, view.height, view.width], "sex": [batch, 2]}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in inputs.items()],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(values), key) for key, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _kernels() -> NDArray[np.float32]:
    """Brightness, darkness, and the two edges: (4, 1, 4, 4), each summing its places to about 1."""
    ramp = np.linspace(-1, 1, 4, dtype=np.float32) / 8
    even = np.full((4, 4), 1 / 16, np.float32)
    across, down = np.tile(ramp, (4, 1)), np.tile(ramp[:, None], (1, 4))
    return np.stack([even, -even, across, down])[:, None]
