"""Activation maps of a bundle's members, averaged by view, and their heat map on a radiograph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.manifest import Member
from boneage.bundle.member_output import MemberOutput
from boneage.explain import Evidence, HeatMap, display_size, heat_map, mean_heat_map
from boneage.geometry import Transform
from boneage.hand.views import CellGrid, ViewSpec

_THUMBNAIL_SIDE = 128
"""Longest side, in pixels, of the map that `shows_anything` searches for values above zero."""


@dataclass(frozen=True)
class ViewActivation:
    """Mean activation map of the members that read one view on one grid of cells.

    A member that also reads the mirror image has two maps, each with half of its weight.

    Attributes:
        spec: View.
        view_to_radiograph: Transform from the coordinates of the view, or of its mirror image, to the radiograph's.
        cells: Position of the grid on the view.
        grid: Weighted mean of the members' signed activation maps, months, float (h, w).
        weight: Sum of the members' weights, halved where a member has two maps.
    """

    spec: ViewSpec
    view_to_radiograph: Transform
    cells: CellGrid
    grid: NDArray[np.float32]
    weight: float


def mean_activations(
    members: Sequence[Member], outputs: Mapping[str, MemberOutput], to_radiograph: Mapping[ViewSpec, Transform]
) -> tuple[ViewActivation, ...]:
    """Return one weighted mean for each combination of a view or its mirror image with a grid of cells.

    Members that read single bones have no part in the map: their view is no part of the radiograph.
    """
    alike: dict[tuple[ViewSpec, Transform, CellGrid, tuple[int, ...]], list[tuple[NDArray[np.float32], float]]] = {}
    for member in members:
        if member.view.region == "bones":
            continue
        for view_to_radiograph, grid, weight in _maps_of(member, outputs[member.name], to_radiograph[member.view]):
            alike.setdefault((member.view, view_to_radiograph, member.cells, grid.shape), []).append((grid, weight))
    return tuple(
        ViewActivation(
            spec,
            view_to_radiograph,
            cells,
            np.average([grid for grid, _ in group], axis=0, weights=[weight for _, weight in group]),
            sum(weight for _, weight in group),
        )
        for (spec, view_to_radiograph, cells, _), group in alike.items()
    )


def _maps_of(
    member: Member, output: MemberOutput, view_to_radiograph: Transform
) -> Iterator[tuple[Transform, NDArray[np.float32], float]]:
    """Yield each map of a member, the mirror image's included: its transform, its grid and its weight."""
    if output.mirror_activation is None:
        yield view_to_radiograph, output.activation, member.weight
    else:
        yield view_to_radiograph, output.activation, member.weight / 2
        mirror_to_radiograph = Transform.mirror(member.view.width).then(view_to_radiograph)
        yield mirror_to_radiograph, output.mirror_activation, member.weight / 2


def heat_map_of(
    activations: Sequence[ViewActivation], radiograph_shape: tuple[int, int], shape: tuple[int, int], evidence: Evidence
) -> HeatMap:
    """Return the mean of all maps on a radiograph, or on a copy of it of another shape (H, W); empty without maps."""
    if not activations:
        return HeatMap(np.zeros(shape, np.float32), 0.0)
    radiograph_to_shape = to_shape(radiograph_shape, shape)
    maps = [
        heat_map(one.grid, shape, one.view_to_radiograph.then(radiograph_to_shape), one.spec, one.cells, evidence)
        for one in activations
    ]
    return mean_heat_map(maps, [one.weight for one in activations])


def shows_anything(activations: Sequence[ViewActivation], radiograph_shape: tuple[int, int]) -> bool:
    """Return True if the heat map of a radiograph of shape (H, W) has any value above zero."""
    small = display_size(radiograph_shape, _THUMBNAIL_SIDE)
    return not heat_map_of(activations, radiograph_shape, small, "both").is_empty


def to_shape(radiograph_shape: tuple[int, int], shape: tuple[int, ...]) -> Transform:
    """Return the transform from a radiograph of shape (H, W) to a copy of another shape."""
    return Transform.scale(shape[1] / radiograph_shape[1], shape[0] / radiograph_shape[0])
