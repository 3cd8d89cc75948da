"""Activation maps of a bundle's members, averaged by view, and their heat map on a radiograph.

A network for single bones has a map for each tile, which is painted where the tile was cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.manifest import Member
from boneage.bundle.member_output import MemberOutput
from boneage.explain import Evidence, HeatMap, display_size, on_hand, paint
from boneage.geometry import Transform
from boneage.hand.bones import BONES, TILE_COLUMNS, TILE_ROWS, own_tile_to_radiograph, tile_sides
from boneage.hand.registration import Hand
from boneage.hand.views import CellGrid, ViewSpec

_THUMBNAIL_SIDE = 128
"""Longest side, in pixels, of the map that `shows_anything` searches for values."""


@dataclass(frozen=True)
class ViewActivation:
    """Mean activation map of the members that read one view on one grid of cells.

    A member that also reads the mirror image has two maps, each with half of its weight. A network for single bones has
    one for each bone that it read.

    Attributes:
        spec: View; of a single bone its tile.
        view_to_radiograph: Transform from the coordinates of the view, or of its mirror image, to the radiograph's.
        cells: Position of the grid on the view.
        grid: Weighted mean of the members' signed activation maps, months, float (h, w).
        share: Share of this map in the heat map, 0..1: the sum of its members' weights, halved where a member has two
            maps, by the sum of all members' weights.
    """

    spec: ViewSpec
    view_to_radiograph: Transform
    cells: CellGrid
    grid: NDArray[np.float32]
    share: float


def mean_activations(
    members: Sequence[Member],
    outputs: Mapping[str, MemberOutput],
    to_radiograph: Mapping[ViewSpec, Transform],
    hand: Hand | None = None,
) -> tuple[ViewActivation, ...]:
    """Return one weighted mean for each combination of a view or its mirror image with a grid of cells.

    Args:
        members: members of the estimate.
        outputs: their outputs by name.
        to_radiograph: transform from each view to the radiograph, but for views of single bones.
        hand: hand on the radiograph; members that read single bones need it, with its joints.
    """
    alike: dict[tuple[ViewSpec, Transform, CellGrid, tuple[int, ...]], list[tuple[NDArray[np.float32], float]]] = {}
    for member in members:
        if member.view.region == "bones":
            maps = _maps_of_bones(member, outputs[member.name], hand)
        else:
            maps = _maps_of(member, outputs[member.name], to_radiograph[member.view])
        for spec, view_to_radiograph, grid, weight in maps:
            alike.setdefault((spec, view_to_radiograph, member.cells, grid.shape), []).append((grid, weight))
    total = sum(member.weight for member in members)
    return tuple(
        ViewActivation(
            spec,
            view_to_radiograph,
            cells,
            np.average([grid for grid, _ in group], axis=0, weights=[weight for _, weight in group]),
            sum(weight for _, weight in group) / total,
        )
        for (spec, view_to_radiograph, cells, _), group in alike.items()
    )


_Map = tuple[ViewSpec, Transform, NDArray[np.float32], float]
"""View, its transform to the radiograph, grid, and weight."""


def _maps_of(member: Member, output: MemberOutput, view_to_radiograph: Transform) -> Iterator[_Map]:
    """Yield each map of a member, the mirror image's included."""
    if output.mirror_activation is None:
        yield member.view, view_to_radiograph, output.activation, member.weight
    else:
        yield member.view, view_to_radiograph, output.activation, member.weight / 2
        mirror_to_radiograph = Transform.mirror(member.view.width).then(view_to_radiograph)
        yield member.view, mirror_to_radiograph, output.mirror_activation, member.weight / 2


def _maps_of_bones(member: Member, output: MemberOutput, hand: Hand | None) -> Iterator[_Map]:
    """Yield the map of each bone that a member read, on its tile.

    The map of the view is made of those of the tiles, since the network reads each tile by itself.
    """
    if output.bones is None or hand is None or hand.joints is None:
        return
    height, width = tile_sides(member.view)
    tile = ViewSpec("bones", height, width, member.view.grey)
    rows, columns = output.activation.shape
    grids = output.activation.reshape(TILE_ROWS, rows // TILE_ROWS, TILE_COLUMNS, columns // TILE_COLUMNS)
    for index, weight in zip(range(len(BONES)), output.bones.weights, strict=True):
        if weight > 0:
            grid = grids[index // TILE_COLUMNS, :, index % TILE_COLUMNS]
            yield tile, own_tile_to_radiograph(hand, index, member.view), grid, member.weight


def heat_map_of(
    activations: Sequence[ViewActivation],
    radiograph_shape: tuple[int, int],
    shape: tuple[int, int],
    evidence: Evidence,
    hand: Hand | None = None,
) -> HeatMap:
    """Return the sum of all maps on a radiograph, each by its share, or on a copy of it of another shape (H, W).

    Args:
        activations: maps; the heat map is empty without any.
        radiograph_shape: shape (H, W) of the radiograph.
        shape: shape (H, W) of the map.
        evidence: evidence that is shown (`HeatMap.of`).
        hand: hand on the radiograph, to which the map is confined; None if it was not located.
    """
    radiograph_to_shape = to_shape(radiograph_shape, shape)
    months = np.zeros(shape, np.float32)
    for one in activations:
        to_target = one.view_to_radiograph.then(radiograph_to_shape)
        months += np.float32(one.share) * paint(one.grid, shape, to_target, one.spec, one.cells)
    if hand is not None and activations:
        months *= on_hand(hand, radiograph_to_shape, shape)
    return HeatMap.of(months, evidence)


def shows_anything(
    activations: Sequence[ViewActivation], radiograph_shape: tuple[int, int], hand: Hand | None = None
) -> bool:
    """Return True if the heat map of a radiograph of shape (H, W) has any value but zero."""
    small = display_size(radiograph_shape, _THUMBNAIL_SIDE)
    strongest_first = sorted(activations, key=lambda one: -one.share)
    return any(not heat_map_of([one], radiograph_shape, small, "both", hand).is_empty for one in strongest_first)


def to_shape(radiograph_shape: tuple[int, int], shape: tuple[int, ...]) -> Transform:
    """Return the transform from a radiograph of shape (H, W) to a copy of another shape."""
    return Transform.scale(shape[1] / radiograph_shape[1], shape[0] / radiograph_shape[0])
