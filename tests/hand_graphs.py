"""Graphs of a few dozen nodes that find the drawn phantom's hand, for tests: no torch, a millisecond.

Nothing is learnt. What differs from the view's median is hand; its moments give an origin, a length and two directions,
which turn, mirror and grow with it; and where the phantom's key points lie on these is fitted once to the phantom. So
the phantom is found at any angle, mirrored, and dark on bright.
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
from boneage.hand.registration import Hand
from boneage.hand.views import ViewSpec, cut_view, view_transform
from boneage.phantom import draw_hand, phantom_points

MASK_VIEW = ViewSpec("radiograph", 128, 96, "percentile")
LOCATE_VIEW = ViewSpec("radiograph", 128, 96, "percentile")
REFINE_VIEW = ViewSpec("surroundings", 96, 88, "percentile")

_FROM_MEDIAN = 0.2
"""How far from the median, as a share of what is farthest, a pixel is hand."""

_EMPTY_SHARE = 0.06
"""Of a view: a smaller bright part is no hand."""

Weights = Mapping[str, NDArray[np.generic]]


def picture_without_hand(height: int, width: int) -> NDArray[np.uint8]:
    """Return grey dots (height, width): no dot covers enough of a view to be a hand, also from near."""
    y, x = np.mgrid[:height, :width]
    return np.where((x % 24 < 3) & (y % 24 < 3), 150 + (x + y) % 100, 20).astype(np.uint8)


def mask_graph(view: ViewSpec = MASK_VIEW) -> onnx.ModelProto:
    """``view`` (N, 1, h, w) to ``hand`` (N, h, w): the probability of being hand."""
    nodes = [*_hand_nodes(), _node("Identity", ["soft"], "hand")]
    return _model(view, nodes, _hand_weights(view), {"hand": ["batch", view.height, view.width]})


def points_graph(view: ViewSpec, *, spread_pixels: float = 0.05, hands: int = 1) -> onnx.ModelProto:
    """``view`` to ``points`` (N, 3, 2), ``spread`` (N, 3) and ``hands`` (N, 3), all of the phantom.

    Args:
        view: what it reads, the whole radiograph or the surroundings of a registered hand.
        spread_pixels: how uncertain it says that its points are.
        hands: how many it says that a radiograph shows that is not empty; 2 for several.
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
    """``soft`` (N, h, w), and ``area`` (N, 1, 1), the share of the view that it fills."""
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
    """1 where the graph looks, float32 (1, h, w): on a registered hand a disk, so that a turn cuts off nothing else."""
    if view.region == "radiograph":
        return np.ones((1, view.height, view.width), np.float32)
    y, x = np.mgrid[: view.height, : view.width] + 0.5
    from_middle = np.hypot(y - view.height / 2, x - view.width / 2)
    return np.asarray(np.clip(min(view.height, view.width) / 2 - from_middle, 0, 1)[None], np.float32)


def _basis_nodes() -> list[NodeProto]:
    """``origin``, ``along`` and ``across``, each (N, 1, 2): centre of the hand and its two half axes, pixels."""

    def moment(name: str, *factors: str) -> list[NodeProto]:
        products = [f"{name}_{number}" for number in range(len(factors))]
        terms = zip(["soft", *products], factors, [*products], strict=False)
        steps = [_node("Mul", [before, factor], product) for before, factor, product in terms]
        summed = _node("ReduceSum", [products[-1], "plane"], f"{name}_sum", keepdims=1)
        return [*steps, summed, _node("Div", [f"{name}_sum", "mass"], name)]

    def axis(name: str, x: str, y: str) -> list[NodeProto]:
        """Coordinates along a direction, its sign chosen so that the hand reaches farther that way."""
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
    """``spread`` (N, 3) and ``hands`` (N, 3): no hand if the view is all but empty, else what the weights say."""
    return [
        _node("Squeeze", ["area", "last"], "share"),
        _node("Sub", ["share", "share"], "zeros"),
        _node("Add", ["zeros", "told_spread"], "spread"),
        _node("Sub", ["share", "empty_share"], "filled"),
        _node("Mul", ["filled", "sharpness"], "filled_logit"),
        _node("Sigmoid", ["filled_logit"], "some"),
        _node("Mul", ["some", "told_hands"], "some_hands"),
        _node("Sub", ["unity", "some"], "none"),
        _node("Mul", ["none", "told_none"], "no_hands"),
        _node("Add", ["some_hands", "no_hands"], "hands"),
    ]


def _answer_weights(spread_pixels: float, hands: int) -> dict[str, NDArray[np.generic]]:
    return {
        "last": np.array([2], np.int64),
        "told_spread": np.full((1, 3), spread_pixels, np.float32),
        "empty_share": np.array(_EMPTY_SHARE, np.float32),
        "sharpness": np.array(500, np.float32),
        "unity": np.array(1, np.float32),
        "told_hands": np.eye(3, dtype=np.float32)[[hands]],
        "told_none": np.eye(3, dtype=np.float32)[[0]],
    }


@lru_cache(maxsize=8)
def _places_on_basis(view: ViewSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where the phantom's key points lie on its own basis: along and across, (3,) each."""
    outputs: dict[str, list[str | int]] = {name: ["batch", 1, 2] for name in ("origin", "along", "across")}
    weights = {**_hand_weights(view), **_basis_weights(view)}
    graph = _model(view, [*_hand_nodes(), *_basis_nodes()], weights, outputs)
    session = import_onnxruntime().InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    radiograph = draw_hand()
    hand = Hand.at(phantom_points())
    said = session.run(list(outputs), {"view": cut_view(radiograph, view, hand=hand)[None, None]})
    origin, along, across = (np.asarray(value, np.float64).reshape(2) for value in said)
    points_xy = view_transform((radiograph.shape[0], radiograph.shape[1]), view, hand).points(phantom_points())
    places = np.linalg.solve(np.column_stack([along, across]), (points_xy - origin).T)
    return places[0].astype(np.float32), places[1].astype(np.float32)
