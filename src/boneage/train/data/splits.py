"""Choice of the radiographs that train and validate a recipe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from boneage.errors import TableError
from boneage.tables.radiographs import LabelledRadiograph, split_radiographs
from boneage.train.data.annotations import read_joints, read_key_points, read_masks
from boneage.train.recipe import DataOptions, Recipe

_TARGETS: Mapping[str, Callable[[Path], Collection[str]]] = {
    "mask": read_masks,
    "points": read_key_points,
    "joints": read_joints,
    "outlines": read_masks,
}
"""Readers of the annotations of each task that needs them."""

ANNOTATED_TASKS = frozenset(_TARGETS)
"""Tasks of the hand networks, whose radiographs need annotations."""


def choose_radiographs(
    recipe: Recipe, radiographs: Sequence[LabelledRadiograph]
) -> tuple[list[LabelledRadiograph], list[LabelledRadiograph]]:
    """Return training and validation radiographs by the table's split, or by a random draw without a split.

    With folds, the training radiographs are divided into those of one fold, which validate, and the others. For the
    hand networks only annotated radiographs count, and `DataOptions.held_out` of them validate.

    Raises:
        TableError: ``table_split`` if either part is empty.
    """
    data = recipe.data
    if recipe.task in ANNOTATED_TASKS:
        targets = _TARGETS[recipe.task](Path(data.targets))
        return _hold_out([radiograph for radiograph in radiographs if radiograph.id in targets], recipe)
    if data.sexes != "both":
        radiographs = [radiograph for radiograph in radiographs if radiograph.sex == data.sexes]
    training, validation = split_radiographs(radiographs, data.validation_share, data.split_seed)
    if data.folds:
        training, validation = _split_fold(training, data)
    training = draw_radiographs(training, data.train_limit, data.split_seed)
    validation = draw_radiographs(validation, data.validation_limit, data.split_seed)
    return training, validation


def _split_fold(
    radiographs: Sequence[LabelledRadiograph], data: DataOptions
) -> tuple[list[LabelledRadiograph], list[LabelledRadiograph]]:
    """Return the radiographs outside and inside of a fold, which depends on the ids and the seed only."""
    ids = sorted(radiograph.id for radiograph in radiographs)
    if len(ids) < data.folds:
        raise TableError("table_split", f"{len(ids)} radiographs cannot be divided into {data.folds} folds.")
    order = np.random.default_rng(data.split_seed).permutation(len(ids))
    inside = {ids[place] for place in order[data.fold - 1 :: data.folds]}
    return [radiograph for radiograph in radiographs if radiograph.id not in inside], [
        radiograph for radiograph in radiographs if radiograph.id in inside
    ]


def _hold_out(
    radiographs: Sequence[LabelledRadiograph], recipe: Recipe
) -> tuple[list[LabelledRadiograph], list[LabelledRadiograph]]:
    """Return training and validation radiographs of a hand network.

    Radiographs of the split ``validation`` validate, together with others drawn with the seed up to the wanted number.
    """
    data = recipe.data
    radiographs = [radiograph for radiograph in radiographs if radiograph.split in (None, "train", "validation")]
    order = [radiographs[index] for index in np.random.default_rng(data.split_seed).permutation(len(radiographs))]
    order.sort(
        key=lambda radiograph: radiograph.split != "validation"
    )  # stable: within each group the order stays random
    fixed = sum(radiograph.split == "validation" for radiograph in radiographs)
    count = max(fixed, data.held_out) or round(len(radiographs) * data.validation_share)
    validation, training = order[:count], order[count:]
    if not validation or not training:
        raise TableError(
            "table_split", f"{len(radiographs)} annotated radiographs leave none for training or none for validation."
        )
    return training, validation


def draw_radiographs(radiographs: Sequence[LabelledRadiograph], limit: int, seed: int) -> list[LabelledRadiograph]:
    """Return at most `limit` radiographs, drawn with the seed; all if the limit is 0."""
    if not 0 < limit < len(radiographs):
        return list(radiographs)
    return [radiographs[index] for index in sorted(np.random.default_rng(seed).permutation(len(radiographs))[:limit])]
