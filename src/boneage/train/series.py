"""Series of trainings in one folder: finished ones are kept, unfinished ones resume, and changed ones are rejected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch

from boneage.errors import RecipeError
from boneage.evaluate.predictions import write_predictions
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.splits import choose_radiographs
from boneage.train.recipe import Recipe, parse_recipe
from boneage.train.run.age_tasks import radiograph_labels
from boneage.train.run.engine import Engine
from boneage.train.run.loop import train
from boneage.train.run.predict import predict_validation
from boneage.train.run.run_folder import read_run_record

_PATHS = ("radiographs", "out", "images", "cache")
"""Fields of a plan that are paths."""


@dataclass(frozen=True)
class SeriesPlan:
    """Plan of a series of trainings in one folder, each in a process of its own.

    Attributes:
        radiographs: table of radiographs.
        out: folder of the series.
        images: folder of the radiographs' images; see `boneage.tables.radiographs.read_radiographs`.
        changes: changes of all recipes, ``key=value``.
        cache: folder of decoded radiographs; by default beside `out`.
        accelerator: see `boneage.train.run.engine.Engine`.
        threads: threads of each run.
    """

    radiographs: Path
    out: Path
    images: Path | None = None
    changes: tuple[str, ...] = ()
    cache: Path | None = None
    accelerator: str = "auto"
    threads: int = 1

    @property
    def cache_folder(self) -> Path:
        """Folder of decoded radiographs and located hands."""
        return self.cache or self.out.parent / "cache"

    def to_plain(self) -> dict[str, Any]:
        """Return the plan as JSON has it, for the process of a run."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Self:
        """Return the plan that `to_plain` has written."""
        fields: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in values.items()}
        fields |= {key: Path(fields[key]) for key in _PATHS if fields[key] is not None}
        return cls(**fields)


def train_and_predict(
    plan: SeriesPlan, recipe: Recipe, radiographs: Sequence[LabelledRadiograph], folder: Path, table: Path
) -> None:
    """Train one network of a series, or continue its training, and write its predictions by the last weights.

    Args:
        plan: plan of the series.
        recipe: recipe of the network.
        radiographs: labelled radiographs; those of the split ``validation`` are predicted.
        folder: folder of the run.
        table: predictions table to write.

    Raises:
        BoneageError: see `boneage.train.run.loop.train` and `predict_validation`.
    """
    engine = Engine(plan.accelerator, devices=1)
    train(recipe, radiographs, folder, cache_folder=plan.cache_folder, engine=engine, quiet=True)
    device = "cuda" if plan.accelerator != "cpu" and torch.cuda.is_available() else "cpu"
    write_predictions(table, predict_validation(folder, radiographs, plan.cache_folder, device=device))


def plain_recipe(recipe: Recipe) -> Any:
    """Return a recipe as it is read from JSON."""
    return json.loads(json.dumps(recipe.to_dict()))


def reject_changed(out: Path, runs: Mapping[Path, tuple[Recipe, Sequence[LabelledRadiograph]]]) -> None:
    """Check that existing runs have the recipes and the radiographs of now, before anything is trained.

    Args:
        out: folder of the series, for the message.
        runs: recipes and labelled radiographs by the folders of the runs.

    Raises:
        RecipeError: ``recipe_changed``.
        TableError: see `boneage.train.data.splits.choose_radiographs`.
    """
    records = {folder: read_run_record(folder) for folder in runs if (folder / "recipe.json").exists()}
    changed = [folder.name for folder, record in records.items() if parse_recipe(record["recipe"]) != runs[folder][0]]
    if changed:
        raise RecipeError(
            "recipe_changed",
            f"{out} holds {len(changed)} run(s) of another recipe, such as {changed[0]}."
            " Choose another folder, or repeat their options.",
        )
    others = [folder.name for folder, record in records.items() if has_other_radiographs(record, *runs[folder])]
    if others:
        raise RecipeError(
            "recipe_changed",
            f"{out} holds {len(others)} run(s) of other radiographs, labels or splits, such as {others[0]}."
            " Choose another folder, or give the table with which they were trained.",
        )


def has_other_radiographs(record: Mapping[str, Any], recipe: Recipe, radiographs: Sequence[LabelledRadiograph]) -> bool:
    """Return True if a run is not of the radiographs, labels and splits that its recipe chooses from a table.

    Their files and caches may lie elsewhere than before. The record of a run by an earlier version does not tell a new
    radiograph from one that the run could not use. Its own radiographs must have the same labels then.

    Args:
        record: record of the run (`boneage.train.run.run_folder.read_run_record`).
        recipe: recipe of the run.
        radiographs: labelled radiographs of the table.

    Raises:
        TableError: see `boneage.train.data.splits.choose_radiographs`.
    """
    labels = radiograph_labels(radiographs)
    if any(labels.get(radiograph_id) != label for radiograph_id, label in record["labels"].items()):
        return True
    if "rejected" not in record:
        return False
    rejected = set(record["rejected"])
    parts = zip(("train", "validation"), choose_radiographs(recipe, radiographs), strict=True)
    return any({one.id for one in part} - rejected != set(record[split]) for split, part in parts)


def is_finished(folder: Path, table: Path) -> bool:
    """Return True if a run's predictions are no older than its weights.

    Args:
        folder: folder of the run, whose radiographs `reject_changed` has checked.
        table: predictions table of the run, which is written after the last epoch.
    """
    weights = folder / "last.ckpt"
    return table.exists() and weights.exists() and table.stat().st_mtime >= weights.stat().st_mtime
