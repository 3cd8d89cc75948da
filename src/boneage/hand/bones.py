"""Single bones of the hand: their frames, and the view that shows each in a tile of its own.

A tile is cut straight from the radiograph through one similarity transform, which follows from the joints
(`boneage.hand.joints`): the bone lies in the middle and points upwards. Fingers that are spread or bent sideways are
therefore registered one by one. All tiles together form one view, so that a network for bones reads its input as every
other network does. A bone that cannot be read has an even tile, which the network leaves out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from boneage.geometry import Transform, sample
from boneage.hand.joints import JOINT_ROWS, Joints
from boneage.hand.registration import BOXES, CAPITATE_IN_FRAME_XY, Hand
from boneage.hand.views import GreyScale, ViewSpec
from boneage.image_pyramid import ImageSource

Unreadable = Literal["cut_off", "joints_uncertain", "no_contrast", "implausible"]
"""Reason why a bone is not read: it lies beyond the radiograph's edge, its joints were not found with certainty, its
part of the radiograph shows one even grey, or its age was implausible (`boneage.bundle.bone_ages.are_implausible`)."""


class Bone(NamedTuple):
    """A bone's end with its growth plate, or a joint with the ends of both bones.

    Attributes:
        name: name in documents.
        centre: joint at the middle of the tile; empty for the capitate.
        along: two joints that give the bone's direction, which points up on the tile; empty for that of the hand.
        shift: shift of the middle from `centre` in this direction, frame pixels.
        side: side of the tile, frame pixels.
    """

    name: str
    centre: str
    along: tuple[str, str] | tuple[()]
    shift: float
    side: float


def _joint(name: str, start: str, end: str, side: float) -> Bone:
    return Bone(name, name, (start, end), 0.0, side)


BONES: tuple[Bone, ...] = (
    Bone("radius", "radius", (), 0.0, 380.0),
    Bone("ulna", "ulna", (), 0.0, 320.0),
    Bone("carpals", "", (), -20.0, 600.0),
    Bone("metacarpal_1", "cmc_1", ("cmc_1", "mcp_1"), 40.0, 280.0),
    _joint("mcp_1", "mcp_1", "ip_1", 290.0),
    _joint("ip_1", "mcp_1", "ip_1", 240.0),  # the tip of a thumb is often outside of the view of the joints
    *(_joint(f"mcp_{finger}", f"mcp_{finger}", f"pip_{finger}", 290.0) for finger in (2, 3, 4, 5)),
    *(_joint(f"pip_{finger}", f"pip_{finger}", f"dip_{finger}", 230.0) for finger in (2, 3, 4, 5)),
    *(_joint(f"dip_{finger}", f"dip_{finger}", f"tip_{finger}", 200.0) for finger in (2, 3, 4, 5)),
)
"""Bones in the order of their tiles, from the upper left, row by row.

Sides are about 1.5 times as long as the widest bone of the kind in the training radiographs.
"""

TILE_ROWS, TILE_COLUMNS = 3, 6
"""Rows and columns of tiles of a view."""

_LEAST_ON_RADIOGRAPH = 0.85
"""Least share of the middle of a tile that the radiograph must show."""

_MIDDLE = 0.6
"""Side of the middle of a tile, as a share of the tile's."""

_LARGEST_SPREAD = 0.1
"""Largest standard deviation of a joint's heat map, as a share of the hand's length. On 12,570 radiographs 99 % have at
most 0.085, but for the tip of the thumb, which no bone needs."""

_VIEW_MARGIN = 15.0
"""Distance from the edge of the view of the joints, frame pixels, within which a joint may lie beyond it."""

_LEAST_CONTRAST = 0.05
"""Least standard deviation of the greys in the middle of a tile, in those of the hand."""

_LEAST_DIRECTION = 30.0
"""Least distance between the two joints that give a bone's direction, frame pixels."""


@dataclass(frozen=True, eq=False)
class BoneViews:
    """View of all bones.

    Attributes:
        view: float32 (H, W), `TILE_ROWS` x `TILE_COLUMNS` tiles; even where a bone is unreadable.
        unreadable: reason by the bone's name, of unreadable bones that were to be shown only.
    """

    view: NDArray[np.float32]
    unreadable: dict[str, Unreadable]


def tile_sides(spec: ViewSpec) -> tuple[int, int]:
    """Return height and width of a tile of a view.

    Raises:
        ValueError: The view does not divide evenly into tiles.
    """
    if spec.height % TILE_ROWS or spec.width % TILE_COLUMNS:
        raise ValueError(
            f"a view of bones has {TILE_ROWS} x {TILE_COLUMNS} even tiles, not {spec.height} x {spec.width} pixels"
        )
    return spec.height // TILE_ROWS, spec.width // TILE_COLUMNS


def tile_corner(index: int, spec: ViewSpec) -> tuple[int, int]:
    """Return the first row and column of the tile of a bone, by its place in `BONES`."""
    height, width = tile_sides(spec)
    return index // TILE_COLUMNS * height, index % TILE_COLUMNS * width


def frame_to_tile(bone: Bone, joints: Joints, height: int, width: int) -> Transform:
    """Return the transform from the registered frame to a bone's tile (height, width), in the tile's coordinates."""
    centre = joints.at(bone.centre) if bone.centre else np.array(CAPITATE_IN_FRAME_XY)
    upwards = np.array([0.0, -1.0])
    if bone.along:
        along = joints.at(bone.along[1]) - joints.at(bone.along[0])
        length = float(np.linalg.norm(along))
        upwards = along / length if length >= _LEAST_DIRECTION else upwards
    middle = centre + bone.shift * upwards
    zoom = min(height, width) / bone.side
    # The rotation that maps `upwards` to (0, -1), with y pointing down.
    turn = Transform(a=-upwards[1], b=upwards[0], d=-upwards[0], e=-upwards[1])
    to_middle = Transform.shift(-float(middle[0]), -float(middle[1]))
    return to_middle.then(turn).then(Transform.scale(zoom)).then(Transform.shift(width / 2, height / 2))


def cut_bones(
    source: ImageSource,
    spec: ViewSpec,
    hand: Hand,
    grey: GreyScale,
    *,
    jitters: Sequence[Transform] | None = None,
    shown: NDArray[np.bool_] | None = None,
) -> BoneViews:
    """Cut the view of all bones from a radiograph.

    Args:
        source: radiograph, float32 (H, W), 0..1, with bright bone (dark bone if `hand.inverted` is true); or its
            pyramid.
        spec: specification of the view.
        hand: hand on the radiograph, with its joints.
        grey: grey scale of the radiograph.
        jitters: change of each tile in its own coordinates (augmentation); none in serving.
        shown: bool (B,), False for bones that are left out although they can be read (augmentation).

    Raises:
        ValueError: The hand has no joints, or the view does not divide evenly into tiles.
    """
    if hand.joints is None:
        raise ValueError("a view of bones needs the joints of the hand")
    height, width = tile_sides(spec)
    even = grey.apply(np.full((1, 1), grey.low, np.float32))[0, 0]
    view = np.full((spec.height, spec.width), even, np.float32)
    from_mask = hand.radiograph_to_mask.inverse()
    unreadable: dict[str, Unreadable] = {}
    for index, bone in enumerate(BONES):
        if shown is not None and not shown[index]:
            continue
        to_tile = hand.radiograph_to_frame.then(frame_to_tile(bone, hand.joints, height, width))
        reason = _unreadable(bone, hand.joints, to_tile, source.shape, (height, width))
        if reason is None:
            changed = to_tile if jitters is None else to_tile.then(jitters[index])
            tile = sample(source, changed, height, width, fill=1.0 - grey.low if hand.inverted else grey.low)
            tile = np.float32(1.0) - tile if hand.inverted else tile
            inside = sample(hand.widened_mask, from_mask.then(changed), height, width)
            tile = grey.apply(np.float32(grey.low) + (tile - np.float32(grey.low)) * inside)
            if _middle_of(tile).std() < _LEAST_CONTRAST:
                reason = "no_contrast"
            else:
                row, column = tile_corner(index, spec)
                view[row : row + height, column : column + width] = tile
        if reason is not None:
            unreadable[bone.name] = reason
    return BoneViews(view, unreadable)


def _unreadable(
    bone: Bone, joints: Joints, to_tile: Transform, shape: tuple[int, ...], sides: tuple[int, int]
) -> Unreadable | None:
    """Return the reason why a bone cannot be read by its place alone, or None."""
    named = {name for name in (bone.centre, *bone.along) if name}
    if any(joints.spread[JOINT_ROWS[name]] > _LARGEST_SPREAD for name in named):
        return "joints_uncertain"
    if bone.centre and not _lies_on_view(joints.at(bone.centre)):
        return "joints_uncertain"
    steps = (np.arange(8) + 0.5) / 8 * _MIDDLE + (1 - _MIDDLE) / 2
    grid = np.stack(np.meshgrid(steps * sides[1], steps * sides[0]), axis=2)
    on_radiograph = to_tile.inverse().points(grid)
    inside = ((on_radiograph > 0) & (on_radiograph < (shape[1], shape[0]))).all(axis=2)
    return None if inside.mean() >= _LEAST_ON_RADIOGRAPH else "cut_off"


def _lies_on_view(place: NDArray[np.float64]) -> bool:
    """Return True if a joint lies well inside the view in which it was sought."""
    box = BOXES["A"]
    low = np.array([box.left, box.top]) + _VIEW_MARGIN
    high = np.array([box.left + box.width, box.top + box.height]) - _VIEW_MARGIN
    return bool((place > low).all() and (place < high).all())


def _middle_of(tile: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = tile.shape
    rows, columns = round(height * (1 - _MIDDLE) / 2), round(width * (1 - _MIDDLE) / 2)
    return tile[rows : height - rows, columns : width - columns]


def tile_to_radiograph(hand: Hand, index: int, spec: ViewSpec) -> Transform:
    """Return the transform from a view's own coordinates within the tile of a bone to the radiograph.

    Raises:
        ValueError: as `cut_bones`.
    """
    row, column = tile_corner(index, spec)
    return Transform.shift(-column, -row).then(own_tile_to_radiograph(hand, index, spec))


def own_tile_to_radiograph(hand: Hand, index: int, spec: ViewSpec) -> Transform:
    """Return the transform from the coordinates of a bone's tile itself to the radiograph.

    Raises:
        ValueError: as `cut_bones`.
    """
    if hand.joints is None:
        raise ValueError("a view of bones needs the joints of the hand")
    height, width = tile_sides(spec)
    return hand.radiograph_to_frame.then(frame_to_tile(BONES[index], hand.joints, height, width)).inverse()
