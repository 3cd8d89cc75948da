"""Views of single bones with the masks of their epiphyses and carpal bones.

A mask of a radiograph shows all epiphyses and carpal bones alike. Each of its parts is given to the bone with the
nearest anchor (`bone_labels`), so that a tile's target shows what belongs to its own bone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from boneage.geometry import Transform, sample
from boneage.hand.bones import BONES, cut_bones, frame_to_tile, tile_corner, tile_sides
from boneage.hand.joints import Joints
from boneage.hand.registration import CAPITATE_IN_FRAME_XY, Hand
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.annotations import load_mask
from boneage.train.data.augment import draw_change, draw_exponent, with_gamma
from boneage.train.data.cache import RadiographCache
from boneage.train.data.hands import HandTable
from boneage.train.recipe import Recipe

_LEAST_SHARE = 0.25
_LEAST_AREA = 2500.0
"""Least share of a part of a mask, and least area, square frame pixels, of which either gives a bone its own share of a
part in which several bones are fused. Smaller ones are slivers beside the line between two bones. The epiphysis of a
radius has about 15,000 square frame pixels."""

_CARPALS_ABOUT_CAPITATE = ((0.0, 0.0), (-100.0, 60.0), (90.0, 60.0))
"""Anchors of the carpal bones, from the capitate, frame pixels: capitate and hamate, triquetrum, scaphoid."""

_STYLOID_FROM_RADIUS = (70.0, -30.0)
"""Second anchor of the radius, near its styloid process, from the middle of its end, frame pixels."""

_FROM_CMC = (-70.0, 40.0)
"""Anchors of trapezium and first metacarpal, from the joint between them along the metacarpal, frame pixels."""


class OutlineViews(Dataset[tuple[Tensor, ...]]):
    """Views (1, H, W) of single bones with masks (1, H, W), and whether each tile shows its bone (B,).

    Everything random follows from (seed, epoch, index), as for ages.

    Args:
        radiographs: radiographs with a mask and a hand.
        cache: decoded radiographs.
        hands: hands on the radiographs, with their joints.
        masks: paths of the masks by the radiograph's id.
        recipe: recipe with the view, and the augmentation of training.
        epoch: number that determines the augmentation; None for views of the unchanged radiographs.
    """

    def __init__(
        self,
        radiographs: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        hands: HandTable,
        masks: Mapping[str, Path],
        recipe: Recipe,
        *,
        epoch: int | None = None,
    ) -> None:
        self.radiographs, self.cache, self.hands, self.masks = radiographs, cache, hands, masks
        self.recipe, self.epoch = recipe, epoch

    def __len__(self) -> int:
        return len(self.radiographs)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        """Return the view, its mask, and 1 for each tile that shows its bone, 0 for the others."""
        spec, augment, radiograph = self.recipe.view, self.recipe.augment, self.radiographs[index]
        pixels, hand = self.cache.pixels(radiograph.id), self.hands.hand(radiograph.id)
        grey = self.cache.grey(radiograph.id, spec.grey, hand)
        height, width = tile_sides(spec)
        generator = np.random.default_rng((self.recipe.train.seed, self.epoch or 0, index))
        jitters = [Transform() for _ in BONES]
        if self.epoch is not None:
            jitters = [draw_change(augment, height, width, generator).jitter for _ in BONES]
        bones = cut_bones(pixels, spec, hand, grey, jitters=jitters)
        view = bones.view
        if self.epoch is not None:
            view = with_gamma(view, grey, draw_exponent(augment, generator))
        labels = bone_labels(load_mask(self.masks[radiograph.id]), (pixels.shape[0], pixels.shape[1]), hand)
        to_labels = Transform.scale(labels.shape[1] / pixels.shape[1], labels.shape[0] / pixels.shape[0])
        target = np.zeros((spec.height, spec.width), np.float32)
        present = np.ones(len(BONES), np.float32)
        assert hand.joints is not None  # noqa: S101 - `cut_bones` needs them; for the type checker
        for number, bone in enumerate(BONES):
            if bone.name in bones.unreadable:
                present[number] = 0
                continue
            to_tile = hand.radiograph_to_frame.then(frame_to_tile(bone, hand.joints, height, width))
            from_labels = to_labels.inverse().then(to_tile).then(jitters[number])
            row, column = tile_corner(number, spec)
            own = (labels == number + 1).astype(np.float32)
            target[row : row + height, column : column + width] = sample(own, from_labels, height, width)
        return torch.from_numpy(view)[None], torch.from_numpy(target)[None], torch.from_numpy(present)


def bone_labels(mask: NDArray[np.uint8], radiograph_shape: tuple[int, int], hand: Hand) -> NDArray[np.uint8]:
    """Return the bone of each pixel of a mask, uint8 (h, w): its place in `BONES` from 1, and 0 outside of the mask.

    A pixel belongs to the bone with the nearest anchor, among those that have enough of its part of the mask. So a part
    belongs to one bone as a whole, unless several bones are fused in it.

    Args:
        mask: epiphyses and carpal bones, uint8 (h, w) of 0 and 1, on the whole radiograph.
        radiograph_shape: shape (H, W) of the radiograph.
        hand: hand on the radiograph, with its joints.
    """
    assert hand.joints is not None  # noqa: S101 - the caller's views of bones need them
    bones, anchors_xy = _anchors(hand.joints)
    labels = np.zeros(mask.shape, np.uint8)
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return labels
    to_radiograph = Transform.scale(radiograph_shape[1] / mask.shape[1], radiograph_shape[0] / mask.shape[0])
    places_xy = np.column_stack([columns, rows]) + 0.5
    on_frame = to_radiograph.then(hand.radiograph_to_frame).points(places_xy)
    squares = ((on_frame[:, None] - anchors_xy) ** 2).sum(axis=2)
    nearest = bones[squares.argmin(axis=1)]
    count, parts = cv2.connectedComponents(mask, connectivity=4)
    part = np.asarray(parts)[rows, columns].astype(np.int64)
    votes = np.bincount(part * len(BONES) + nearest, minlength=count * len(BONES)).reshape(count, len(BONES))
    pixel_area = (to_radiograph.zoom * hand.radiograph_to_frame.zoom) ** 2
    shares = votes / np.maximum(votes.sum(axis=1, keepdims=True), 1)
    enough = (shares >= _LEAST_SHARE) | (votes * pixel_area >= _LEAST_AREA)
    enough[np.arange(count), votes.argmax(axis=1)] = True
    squares[~enough[part][:, bones]] = np.inf
    labels[rows, columns] = bones[squares.argmin(axis=1)] + 1
    return labels


def _anchors(joints: Joints) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the anchors of all bones: the bone of each (A,), by its place in `BONES`, and their places (A, 2)."""
    capitate, cmc = np.array(CAPITATE_IN_FRAME_XY), joints.at("cmc_1")
    along = joints.at("mcp_1") - cmc
    along = along / max(float(np.linalg.norm(along)), 1.0)
    places = {bone.name: [joints.at(bone.centre)] for bone in BONES if bone.centre}
    places["radius"].append(joints.at("radius") + _STYLOID_FROM_RADIUS)
    places["metacarpal_1"] = [cmc + _FROM_CMC[1] * along]
    places["carpals"] = [capitate + shift for shift in _CARPALS_ABOUT_CAPITATE]
    places["carpals"] += [(capitate + joints.at("wrist")) / 2, cmc + _FROM_CMC[0] * along]
    numbers = [number for number, bone in enumerate(BONES) for _ in places[bone.name]]
    return np.array(numbers), np.array([place for bone in BONES for place in places[bone.name]])
