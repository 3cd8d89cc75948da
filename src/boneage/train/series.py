"""Series of trainings in one folder: finished ones are kept, unfinished ones resume, and changed ones are rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from boneage.errors import RecipeError
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.recipe import Recipe
from boneage.train.run.age_tasks import radiograph_labels
from boneage.train.run.run_folder import read_run_record


def plain_recipe(recipe: Recipe) -> Any:
    """Return a recipe as it is read from JSON."""
    return json.loads(json.dumps(recipe.to_dict()))


def reject_changed(out: Path, recipes: Mapping[Path, Recipe]) -> None:
    """Check that the existing runs of a series have the recipes of now, before anything is trained.

    Args:
        out: folder of the series, for the message.
        recipes: recipes by the folders of the runs.

    Raises:
        RecipeError: ``recipe_changed``.
    """
    changed = [
        folder.name
        for folder, recipe in recipes.items()
        if (folder / "recipe.json").exists() and read_run_record(folder)["recipe"] != plain_recipe(recipe)
    ]
    if changed:
        raise RecipeError(
            "recipe_changed",
            f"{out} holds {len(changed)} run(s) of another recipe, such as {changed[0]}."
            " Choose another folder, or repeat their options.",
        )


def is_finished(folder: Path, table: Path, radiographs: Sequence[LabelledRadiograph]) -> bool:
    """Return True if a run's predictions are no older than its weights, and its labels are those of the radiographs.

    Args:
        folder: folder of the run.
        table: predictions table of the run, which is written after the last epoch.
        radiographs: labelled radiographs of now.
    """
    weights = folder / "last.ckpt"
    if not (table.exists() and weights.exists() and table.stat().st_mtime >= weights.stat().st_mtime):
        return False
    trained, labels = read_run_record(folder)["labels"], radiograph_labels(radiographs)
    return all(labels.get(radiograph_id) == label for radiograph_id, label in trained.items())
