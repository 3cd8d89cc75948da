"""Small ONNX graphs that locate the drawn phantom's hand in a millisecond, for tests without torch.

The graphs are not trained. Pixels that differ from the view's median belong to the hand. The moments of the hand give
an origin, a length and two directions, which rotate, mirror and scale with it. The positions of the phantom's key
points on this basis are fitted once. The phantom is therefore located at any angle, mirrored, and dark on bright.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from boneage.bundle.session import import_onnxruntime
from boneage.hand.joints import JOINT_NAMES, Joints
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec, cut_view, frame_to_view, view_transform
from boneage.phantom import draw_hand, phantom_points

MASK_VIEW = ViewSpec("radiograph", 128, 96, "percentile")
LOCATE_VIEW = ViewSpec("radiograph", 128, 96, "percentile")
REFINE_VIEW = ViewSpec("surroundings", 96, 88, "percentile")
JOINT_VIEW = ViewSpec("A", 64, 48, "hand")

_FROM_MEDIAN = 0.2
"""Least difference of the hand's pixels from the median, as a share of the largest difference."""

_EMPTY_SHARE = 0.06
"""Least share of a view that a hand fills."""

Weights = Mapping[str, NDArray[np.generic]]


def picture_without_hand(height: int, width: int) -> NDArray[np.uint8]:
    """Return an image (height, width) of grey dots, none of which fills enough of a view to be a hand."""
    y, x = np.mgrid[:height, :width]
    return np.where((x % 24 < 3) & (y % 24 < 3), 150 + (x + y) % 100, 20).astype(np.uint8)


def mask_graph(view: ViewSpec = MASK_VIEW) -> onnx.ModelProto:
    """Return a graph from ``view`` (N, 1, h, w) to ``hand`` (N, h, w), the probability of each pixel."""
    nodes = [*_hand_nodes(), _node("Identity", ["soft"], "hand")]
    return _model(view, nodes, _hand_weights(view), {"hand": ["batch", view.height, view.width]})


def points_graph(view: ViewSpec, *, spread_pixels: float = 0.05, hands: int = 1) -> onnx.ModelProto:
    """Return a graph from ``view`` to the phantom's ``points`` (N, 3, 2), ``spread`` (N, 3) and ``hands`` (N, 3).

    Args:
        view: View of the graph, the whole radiograph or the surroundings of a registered hand.
        spread_pixels: Uncertainty of the points that the graph reports.
        hands: Number of hands that the graph reports for a radiograph that is not empty; 2 stands for several.
    """
    along, across = _places_on_basis(view)
    nodes = [
        *_hand_nodes(),
        *_basis_nodes(),
        _node("Mul", ["along", "places_along"], "step_along"),
        _node("Mul", ["across", "places_across"], "step_across"),
        _node("Add", ["step_along", "step_across"], "step"),
        _node("Add", ["origin", "step"], "points"),
        *_answer_nodes(),
    ]
    weights = {
        **_hand_weights(view),
        **_basis_weights(view),
        **_answer_weights(spread_pixels, hands),
        "places_along": along.reshape(1, 3, 1),
        "places_across": across.reshape(1, 3, 1),
    }
    return _model(view, nodes, weights, _POINT_OUTPUTS)


def joints_graph(view: ViewSpec = JOINT_VIEW) -> onnx.ModelProto:
    """Return a graph from ``view`` to the joints of a typical hand, ``points`` (N, J, 2) and ``spread`` (N, J)."""
    count = len(JOINT_NAMES)
    typical = np.asarray(frame_to_view(view).points(Joints.typical().frame_xy), np.float32)
    nodes = [
        _node("ReduceMean", ["view"], "grey", axes=[1, 2, 3], keepdims=0),
        _node("Mul", ["grey", "nothing"], "zero"),
        _node("Unsqueeze", ["zero", "last"], "column"),
        _node("Add", ["column", "spreads"], "spread"),
        _node("Unsqueeze", ["spread", "axis"], "spread_by_axis"),
        _node("Mul", ["spread_by_axis", "nothing"], "zeros"),
        _node("Add", ["zeros", "typical"], "points"),
    ]
    weights: Weights = {
        "nothing": np.array(0, np.float32),
        "last": np.array([1], np.int64),
        "axis": np.array([2], np.int64),
        "spreads": np.full((1, count), 0.1, np.float32),
        "typical": typical[None],
    }
    return _model(view, nodes, weights, {"points": ["batch", count, 2], "spread": ["batch", count]})


_POINT_OUTPUTS: dict[str, list[str | int]] = {"points": ["batch", 3, 2], "spread": ["batch", 3], "hands": ["batch", 3]}


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, list(inputs), [output], **attributes)


def _model(
    view: ViewSpec, nodes: Sequence[NodeProto], weights: Weights, outputs: Mapping[str, list[str | int]]
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("view", TensorProto.FLOAT, ["batch", 1, view.height, view.width])]
    declared = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    constants = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "hand", inputs, declared, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _hand_nodes() -> list[NodeProto]:
    """Return the nodes of ``soft`` (N, h, w) and of ``area`` (N, 1, 1), the share of the view that it fills."""
    return [
        _node("Flatten", ["view"], "flat"),
        helper.make_node("TopK", ["flat", "half"], ["upper", "places"]),
        _node("ReduceMin", ["upper"], "median", axes=[1], keepdims=1),
        _node("Reshape", ["median", "column"], "median_of_view"),
        _node("Sub", ["view", "median_of_view"], "difference"),
        _node("Abs", ["difference"], "distance"),
        _node("AveragePool", ["distance"], "smooth", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=0),
        _node("ReduceMax", ["smooth"], "farthest", axes=[1, 2, 3], keepdims=1),
        _node("Add", ["farthest", "tiny"], "farthest_or_tiny"),  # an empty view has no farthest
        _node("Div", ["smooth", "farthest_or_tiny"], "relative"),
        _node("Sub", ["relative", "threshold"], "over"),
        _node("Mul", ["over", "steepness"], "logit"),
        _node("Sigmoid", ["logit"], "probability"),
        _node("Squeeze", ["probability", "channel"], "anywhere"),
        _node("Mul", ["anywhere", "window"], "soft"),
        _node("ReduceMean", ["soft"], "area", axes=[1, 2], keepdims=1),
    ]


def _hand_weights(view: ViewSpec) -> dict[str, NDArray[np.generic]]:
    return {
        "half": np.array([view.height * view.width // 2], np.int64),
        "column": np.array([-1, 1, 1, 1], np.int64),
        "channel": np.array([1], np.int64),
        "window": _window(view),
        "tiny": np.array(1e-6, np.float32),
        "threshold": np.array(_FROM_MEDIAN, np.float32),
        "steepness": np.array(60, np.float32),
    }


def _window(view: ViewSpec) -> NDArray[np.float32]:
    """Return the mask of the pixels that the graph reads, float32 (1, h, w).

    It is a disk on a registered hand, because a rotation does not change what a disk shows.
    """
    if view.region == "radiograph":
        return np.ones((1, view.height, view.width), np.float32)
    y, x = np.mgrid[: view.height, : view.width] + 0.5
    from_middle = np.hypot(y - view.height / 2, x - view.width / 2)
    return np.asarray(np.clip(min(view.height, view.width) / 2 - from_middle, 0, 1)[None], np.float32)


def _basis_nodes() -> list[NodeProto]:
    """Return the nodes of ``origin``, ``along`` and ``across``: the hand's centre and half axes, (N, 1, 2)."""

    def moment(name: str, *factors: str) -> list[NodeProto]:
        products = [f"{name}_{number}" for number in range(len(factors))]
        terms = zip(["soft", *products], factors, [*products], strict=False)
        steps = [_node("Mul", [before, factor], product) for before, factor, product in terms]
        summed = _node("ReduceSum", [products[-1], "plane"], f"{name}_sum", keepdims=1)
        return [*steps, summed, _node("Div", [f"{name}_sum", "mass"], name)]

    def axis(name: str, x: str, y: str) -> list[NodeProto]:
        """Return the nodes of a half axis that points to the side on which the hand reaches farther."""
        return [
            _node("Mul", ["dx", x], f"{name}_x"),
            _node("Mul", ["dy", y], f"{name}_y"),
            _node("Add", [f"{name}_x", f"{name}_y"], f"{name}_at"),
            *moment(f"{name}_skew", *[f"{name}_at"] * 3),
            _node("Sign", [f"{name}_skew"], f"{name}_sign"),
            _node("Mul", [f"{name}_sign", "length"], f"{name}_length"),
            _node("Concat", [x, y], f"{name}_unit", axis=2),
            _node("Mul", [f"{name}_unit", f"{name}_length"], name),
        ]

    return [
        _node("ReduceSum", ["soft", "plane"], "mass", keepdims=1),
        *moment("x", "columns"),
        *moment("y", "rows"),
        _node("Concat", ["x", "y"], "origin", axis=2),
        _node("Sub", ["columns", "x"], "dx"),
        _node("Sub", ["rows", "y"], "dy"),
        *moment("xx", "dx", "dx"),
        *moment("yy", "dy", "dy"),
        *moment("xy", "dx", "dy"),
        _node("Sub", ["xx", "yy"], "unlike"),
        _node("Mul", ["unlike", "one_half"], "h"),
        _node("Mul", ["h", "h"], "hh"),
        _node("Mul", ["xy", "xy"], "xyxy"),
        _node("Add", ["hh", "xyxy"], "rr"),
        _node("Sqrt", ["rr"], "r"),
        _node("Add", ["xx", "yy"], "trace"),
        _node("Mul", ["trace", "one_half"], "mean_variance"),
        _node("Add", ["mean_variance", "r"], "variance"),
        _node("Sqrt", ["variance"], "length"),
        # The first principal direction: (h + r, xy), or where that vanishes (xy, r - h).
        _node("Greater", ["h", "zero"], "lies"),
        _node("Add", ["h", "r"], "h_plus_r"),
        _node("Sub", ["r", "h"], "r_minus_h"),
        _node("Where", ["lies", "h_plus_r", "xy"], "vx"),
        _node("Where", ["lies", "xy", "r_minus_h"], "vy"),
        _node("Concat", ["vx", "vy"], "v", axis=2),
        _node("ReduceL2", ["v"], "norm", axes=[2], keepdims=1),
        _node("Add", ["norm", "tiny"], "norm_or_tiny"),
        _node("Div", ["vx", "norm_or_tiny"], "ux"),
        _node("Div", ["vy", "norm_or_tiny"], "uy"),
        _node("Neg", ["uy"], "minus_uy"),
        *axis("along", "ux", "uy"),
        *axis("across", "minus_uy", "ux"),
    ]


def _basis_weights(view: ViewSpec) -> dict[str, NDArray[np.generic]]:
    return {
        "plane": np.array([1, 2], np.int64),
        "columns": (np.arange(view.width, dtype=np.float32) + np.float32(0.5)).reshape(1, 1, -1),
        "rows": (np.arange(view.height, dtype=np.float32) + np.float32(0.5)).reshape(1, -1, 1),
        "one_half": np.array(0.5, np.float32),
        "zero": np.array(0, np.float32),
    }


def _answer_nodes() -> list[NodeProto]:
    """Return the nodes of ``spread`` (N, 3) and ``hands`` (N, 3), with no hand if the view is nearly empty."""
    return [
        _node("Squeeze", ["area", "last"], "share"),
        _node("Sub", ["share", "share"], "zeros"),
        _node("Add", ["zeros", "spread_if_any"], "spread"),
        _node("Sub", ["share", "empty_share"], "filled"),
        _node("Mul", ["filled", "sharpness"], "filled_logit"),
        _node("Sigmoid", ["filled_logit"], "some"),
        _node("Mul", ["some", "hands_if_some"], "some_hands"),
        _node("Sub", ["unity", "some"], "none"),
        _node("Mul", ["none", "hands_if_none"], "no_hands"),
        _node("Add", ["some_hands", "no_hands"], "hands"),
    ]


def _answer_weights(spread_pixels: float, hands: int) -> dict[str, NDArray[np.generic]]:
    return {
        "last": np.array([2], np.int64),
        "spread_if_any": np.full((1, 3), spread_pixels, np.float32),
        "empty_share": np.array(_EMPTY_SHARE, np.float32),
        "sharpness": np.array(500, np.float32),
        "unity": np.array(1, np.float32),
        "hands_if_some": np.eye(3, dtype=np.float32)[[hands]],
        "hands_if_none": np.eye(3, dtype=np.float32)[[0]],
    }


@lru_cache(maxsize=8)
def _places_on_basis(view: ViewSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the positions of the phantom's key points on its own basis, along and across, (3,) each."""
    outputs: dict[str, list[str | int]] = {name: ["batch", 1, 2] for name in ("origin", "along", "across")}
    weights = {**_hand_weights(view), **_basis_weights(view)}
    graph = _model(view, [*_hand_nodes(), *_basis_nodes()], weights, outputs)
    session = import_onnxruntime().InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    radiograph = draw_hand()
    hand = Hand.at(phantom_points())
    basis = session.run(list(outputs), {"view": cut_view(radiograph, view, hand=hand)[None, None]})
    origin, along, across = (np.asarray(value, np.float64).reshape(2) for value in basis)
    points_xy = view_transform((radiograph.shape[0], radiograph.shape[1]), view, hand).points(phantom_points())
    places = np.linalg.solve(np.column_stack([along, across]), (points_xy - origin).T)
    return places[0].astype(np.float32), places[1].astype(np.float32)
