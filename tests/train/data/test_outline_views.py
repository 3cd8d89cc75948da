"""Views with masks of epiphyses and carpal bones: which bone a part of a mask belongs to, and where it lies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.geometry import Transform
from boneage.hand.bones import BONES, frame_to_tile, tile_corner, tile_sides
from boneage.hand.joints import Joints
from boneage.hand.registration import Hand
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.hands import HandTable, find_hands, write_hands
from boneage.train.data.outline_views import OutlineViews, bone_labels
from boneage.train.recipe import Recipe, parse_recipe
from tests.bundles import tiny_bundle
from tests.hand.test_bones import hand_on
from tests.train.drawn_radiographs import draw_folder

INDEX = {bone.name: number for number, bone in enumerate(BONES)}
SHAPE = (800, 600)

Drawn = tuple[list[LabelledRadiograph], RadiographCache, HandTable, dict[str, Path]]


def drawn_mask(
    hand: Hand, parts: dict[str, float], shape: tuple[int, int] = SHAPE, zoom: float = 0.5
) -> NDArray[np.uint8]:
    """Return a mask with a disc at the middle of each of these bones' tiles, of this radius in frame pixels."""
    assert hand.joints is not None
    mask = np.zeros((round(shape[0] * zoom), round(shape[1] * zoom)), np.uint8)
    to_mask = hand.radiograph_to_frame.inverse().then(Transform.scale(zoom))
    for name, radius in parts.items():
        to_frame = frame_to_tile(BONES[INDEX[name]], hand.joints, 64, 64).inverse().then(to_mask)
        x, y = to_frame.points(np.array([[32.0, 32.0]]))[0]
        cv2.circle(mask, (round(x), round(y)), max(2, round(radius * to_mask.zoom)), 1, -1)
    return mask


@pytest.mark.parametrize("name", sorted(INDEX))
def test_bone_labels_part_belongs_to_its_bone(name: str) -> None:
    hand = hand_on()
    mask = drawn_mask(hand, {name: 30.0})
    labels = bone_labels(mask, SHAPE, hand)
    assert set(np.unique(labels)) == {0, INDEX[name] + 1}
    np.testing.assert_array_equal(labels > 0, mask > 0)


def test_bone_labels_fused_parts_are_divided() -> None:
    """A part that spans two bones is divided, and one that hardly reaches the second bone is not."""
    hand = hand_on()
    assert hand.joints is not None
    ends = hand.radiograph_to_frame.inverse().points(np.stack([hand.joints.at("radius"), hand.joints.at("ulna")])) / 2
    (x1, y1), (x2, y2) = np.rint(ends).astype(int)
    fused = np.zeros((SHAPE[0] // 2, SHAPE[1] // 2), np.uint8)
    cv2.line(fused, (int(x1), int(y1)), (int(x2), int(y2)), 1, 5)
    labels = bone_labels(fused, SHAPE, hand)
    shares = [(labels == INDEX[bone] + 1).sum() / fused.sum() for bone in ("radius", "ulna")]
    assert shares == pytest.approx([0.5, 0.5], abs=0.05)
    middle = (round(0.55 * x1 + 0.45 * x2), round(0.55 * y1 + 0.45 * y2))
    mostly = np.zeros_like(fused)
    cv2.line(mostly, (int(x1), int(y1)), middle, 1, 5)
    cv2.circle(mostly, (int(x1), int(y1)), 6, 1, -1)
    assert set(np.unique(bone_labels(mostly, SHAPE, hand))) == {0, INDEX["radius"] + 1}


def test_bone_labels_empty_mask() -> None:
    assert not bone_labels(np.zeros((40, 30), np.uint8), SHAPE, hand_on()).any()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Phantoms with the joints of a typical hand, and masks of two bones."""
    folder = tmp_path_factory.mktemp("outlines")
    radiographs = read_radiographs(draw_folder(folder, 3))
    cache = build_cache(radiographs, folder / "cache", longest_side=256)
    bundle = Bundle.open(tiny_bundle(folder / "tiny", hand=True), threads=1)
    table = find_hands(radiographs, cache, bundle, folder / "located")
    located = {one.id: _with_joints(table.hand(one.id)) for one in radiographs}
    (folder / "hands").mkdir()
    write_hands(folder / "hands", located, {}, mask_shape=table.mask_shape, found_by=["version 0"])
    masks = {}
    for radiograph in radiographs:
        height, width = cache.shape(radiograph.id)
        mask = drawn_mask(located[radiograph.id], {"mcp_3": 40.0, "carpals": 90.0}, (height, width), zoom=4.0)
        masks[radiograph.id] = folder / f"{radiograph.id}-mask.png"
        cv2.imwrite(str(masks[radiograph.id]), mask * 255)
    return radiographs, cache, HandTable(folder / "hands"), masks


def _with_joints(hand: Hand) -> Hand:
    return Hand(hand.points_xy, hand.mask, hand.radiograph_to_mask, joints=Joints.typical())


def recipe() -> Recipe:
    return parse_recipe(
        {
            "title": "tiny outlines",
            "task": "outlines",
            "network": {"name": "outlines"},
            "view": {"region": "bones", "height": 96, "width": 192, "grey": "hand"},
            "data": {"hands": "tiny", "targets": "masks.csv"},
            "augment": {"rotation_degrees": 10.0, "zoom": 0.1, "shift": 0.03, "gamma": 0.5},
            "train": {"workers": 0},
        }
    )


def tile_of(target: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    (row, column), (height, width) = tile_corner(INDEX[name], recipe().view), tile_sides(recipe().view)
    return target[0, row : row + height, column : column + width]


def test_target_lies_on_the_tile_of_its_bone(drawn: Drawn) -> None:
    view, target, present = OutlineViews(*drawn[:3], drawn[3], recipe())[0]
    assert view.shape == target.shape == (1, 96, 192)
    for name in INDEX:
        tile = tile_of(target.numpy(), name)
        if name not in ("mcp_3", "carpals"):
            assert tile.max() == 0, name
            continue
        assert present[INDEX[name]] == 1
        rows, columns = np.nonzero(tile > 0.5)
        assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((16, 16), abs=1.5)


def test_training_views_repeat_and_move(drawn: Drawn) -> None:
    first, again, other = (OutlineViews(*drawn[:3], drawn[3], recipe(), epoch=epoch)[1] for epoch in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_unreadable_bones_do_not_count(drawn: Drawn) -> None:
    """The hand lies with its carpals beyond the edge: their tile has no target."""
    radiographs, cache, hands, masks = drawn
    _, target, present = OutlineViews(radiographs, cache, _Moved(hands.folder), masks, recipe())[0]
    assert present[INDEX["carpals"]] == 0
    assert tile_of(target.numpy(), "carpals").max() == 0


class _Moved(HandTable):
    """Hands that are moved down by most of the radiograph."""

    def hand(self, radiograph_id: str) -> Hand:
        return super().hand(radiograph_id).on(Transform.shift(0, -140))
