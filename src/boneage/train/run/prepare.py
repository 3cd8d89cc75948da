"""Preparation of a run: radiographs decoded, hands located, unreadable radiographs left out, task built."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from lightning.fabric import Fabric

from boneage.errors import Rejection, TableError
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.data.splits import ANNOTATED_TASKS, choose_radiographs
from boneage.train.recipe import Recipe
from boneage.train.run.age_tasks import AgeTask, BoneAgeTask
from boneage.train.run.hand_tasks import HAND_TASKS
from boneage.train.run.located_tasks import JointsTask, OutlinesTask, QualityTask
from boneage.train.run.progress import progress_bar
from boneage.train.run.tasks import Task


def prepare_task(
    fabric: Fabric, recipe: Recipe, radiographs: Sequence[LabelledRadiograph], cache_folder: Path, *, quiet: bool
) -> tuple[Task, dict[str, str]]:
    """Decode the radiographs of a run, locate their hands where its views need them, and build its task.

    Returns:
        The task, and the codes of the rejected radiographs by id.
    """
    training, validation = choose_radiographs(recipe, radiographs)
    chosen = {radiograph.id for radiograph in [*training, *validation]}
    # Recipes that take any part of a table share one cache. A small number of radiographs has a cache of its own.
    shared = not (recipe.data.train_limit or recipe.data.validation_limit)
    table = [radiograph for radiograph in radiographs if shared or radiograph.id in chosen]
    cache = _open_cache(fabric, recipe, table, cache_folder, quiet=quiet)
    rejected = {radiograph_id: code for radiograph_id, code in cache.rejected.items() if radiograph_id in chosen}
    training, validation = _present(training, cache, "train"), _present(validation, cache, "validation")
    hands = None
    if recipe.task in ("joints", "outlines") or (recipe.task not in ANNOTATED_TASKS and recipe.view.needs_hand):
        hands = _open_hands(fabric, recipe, table, cache, quiet=quiet)
        rejected |= {radiograph_id: code for radiograph_id, code in hands.rejected.items() if radiograph_id in chosen}
        training, validation = _present(training, hands, "train"), _present(validation, hands, "validation")
    if recipe.task == "quality" and hands is not None:  # a radiograph with a hand has more than one grey level
        return QualityTask(recipe, training, validation, cache, hands), rejected
    uniform = _uniform_radiographs([*training, *validation], recipe, cache, hands)
    rejected |= uniform
    training, validation = _without(training, uniform, "train"), _without(validation, uniform, "validation")
    if recipe.task == "joints" and hands is not None:
        return JointsTask(recipe, training, validation, cache, hands), rejected
    if recipe.task == "outlines" and hands is not None:
        return OutlinesTask(recipe, training, validation, cache, hands), rejected
    if recipe.task == "age":
        task = BoneAgeTask if recipe.view.region == "bones" else AgeTask
        return task(recipe, training, validation, cache, hands), rejected
    return HAND_TASKS[recipe.task](recipe, training, validation, cache), rejected


def _uniform_radiographs(
    radiographs: Sequence[LabelledRadiograph], recipe: Recipe, cache: RadiographCache, hands: HandTable | None
) -> dict[str, str]:
    """Measure all grey levels before worker processes would each do so.

    Returns:
        The codes of radiographs with a single grey level, by id.
    """
    uniform: dict[str, str] = {}
    for radiograph in radiographs:
        try:
            cache.grey(radiograph.id, recipe.view.grey, None if hands is None else hands.hand(radiograph.id))
        except Rejection as rejection:
            uniform[radiograph.id] = rejection.code
    return uniform


def _open_cache(
    fabric: Fabric, recipe: Recipe, radiographs: Sequence[LabelledRadiograph], folder: Path, *, quiet: bool
) -> RadiographCache:
    """Build the cache in the first process, then open it in all."""
    if not fabric.is_global_zero:
        fabric.barrier()
    cache = build_cache(
        radiographs,
        folder,
        longest_side=recipe.data.longest_side,
        progress=lambda items: progress_bar(items, "decoding", quiet=quiet),
    )
    if fabric.is_global_zero:
        fabric.barrier()
    return cache


def _open_hands(
    fabric: Fabric, recipe: Recipe, radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, *, quiet: bool
) -> HandTable:
    """Locate the hands in the first process, then open their table in all."""
    if not fabric.is_global_zero:
        fabric.barrier()
    table = open_hands(
        recipe.data.hands,
        radiographs,
        cache,
        progress=lambda items: progress_bar(items, "locating hands", quiet=quiet),
    )
    if fabric.is_global_zero:
        fabric.barrier()
    return table


def _present(
    radiographs: Sequence[LabelledRadiograph], table: RadiographCache | HandTable, split: str
) -> list[LabelledRadiograph]:
    return _without(radiographs, {one.id for one in radiographs if one.id not in table}, split)


def _without(
    radiographs: Sequence[LabelledRadiograph], rejected: Collection[str], split: str
) -> list[LabelledRadiograph]:
    """Return the radiographs that were not rejected.

    Raises:
        TableError: ``table_empty`` if none is left.
    """
    left = [radiograph for radiograph in radiographs if radiograph.id not in rejected]
    if not left:
        raise TableError("table_empty", f"None of the {len(radiographs)} radiographs of the split {split} can be read.")
    return left
