from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from boneage.errors import RecipeError
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.candidates import CandidatePlan
from boneage.train.grid import GridPlan
from boneage.train.recipe import load_recipe
from boneage.train.series import SeriesPlan, has_other_radiographs, is_finished, plain_recipe, reject_changed


def radiographs_of(splits: Mapping[str, str], months: float = 100.0) -> list[LabelledRadiograph]:
    return [LabelledRadiograph(name, Path(f"{name}.png"), Sex.FEMALE, months, split) for name, split in splits.items()]


SPLITS = {"1": "train", "2": "train", "3": "validation", "4": "train", "5": "test"}
"""Splits of a table of which the run could not use radiograph 4."""


def write_run(folder: Path, **changes: object) -> None:
    """Write the record and weights of a run."""
    folder.mkdir(parents=True)
    record = {
        "recipe": plain_recipe(load_recipe("souza-a")),
        "labels": {name: [100.0, "F"] for name in ("1", "2", "3")},
        "train": ["1", "2"],
        "validation": ["3"],
        "rejected": ["4"],
        **changes,
    }
    (folder / "recipe.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "last.ckpt").write_bytes(b"weights")


def test_reject_changed_names_a_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    table, recipe = radiographs_of(SPLITS), load_recipe("souza-a")
    reject_changed(tmp_path, {tmp_path / "a": (recipe, table), tmp_path / "b": (load_recipe("souza-b"), table)})
    with pytest.raises(RecipeError, match="another recipe, such as a") as caught:
        reject_changed(tmp_path, {tmp_path / "a": (load_recipe("souza-a", ("train.epochs=3",)), table)})
    assert caught.value.code == "recipe_changed"
    with pytest.raises(RecipeError, match="other radiographs, labels or splits, such as a") as caught:
        reject_changed(tmp_path, {tmp_path / "a": (recipe, radiographs_of(SPLITS | {"6": "train"}))})
    assert caught.value.code == "recipe_changed"


@pytest.mark.parametrize(
    ("splits", "months", "is_other"),
    [
        (SPLITS, 100.0, False),
        (dict(reversed(SPLITS.items())), 100.0, False),
        (SPLITS | {"6": "test"}, 100.0, False),
        (SPLITS | {"6": "train"}, 100.0, True),
        (SPLITS | {"6": "validation"}, 100.0, True),
        (SPLITS | {"5": "train"}, 100.0, True),
        (SPLITS | {"2": "validation"}, 100.0, True),
        ({name: split for name, split in SPLITS.items() if name != "2"}, 100.0, True),
        ({name: split for name, split in SPLITS.items() if name != "4"}, 100.0, False),
        (SPLITS, 101.0, True),
    ],
)
def test_has_other_radiographs(splits: Mapping[str, str], months: float, is_other: bool) -> None:
    """A grown table, a moved split and a new label are others; another order, other tests and moved files are not."""
    record = {
        "labels": {name: [100.0, "F"] for name in ("1", "2", "3")},
        "train": ["1", "2"],
        "validation": ["3"],
        "rejected": ["4"],
    }
    recipe = load_recipe("souza-a")
    table = [replace(one, image=Path("elsewhere") / one.image) for one in radiographs_of(splits, months)]
    assert has_other_radiographs(record, recipe, table) is is_other


def test_has_other_radiographs_of_earlier_versions(tmp_path: Path) -> None:
    """A record without the rejected radiographs is judged by its labels, so that finished runs stay valid."""
    record = {"labels": {"1": [100.0, "F"], "3": [100.0, "F"]}, "train": ["1"], "validation": ["3"]}
    recipe = load_recipe("souza-a")
    assert not has_other_radiographs(record, recipe, radiographs_of(SPLITS))
    assert has_other_radiographs(record, recipe, radiographs_of(SPLITS, 101.0))
    assert has_other_radiographs(record, recipe, radiographs_of({"1": "train"}))


def test_is_finished_needs_newer_table(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    write_run(tmp_path / "a")
    assert not is_finished(tmp_path / "a", table)
    table.write_text("id", encoding="utf-8")
    os.utime(tmp_path / "a" / "last.ckpt", (10, 10))
    os.utime(table, (20, 20))
    assert is_finished(tmp_path / "a", table)
    os.utime(table, (5, 5))
    assert not is_finished(tmp_path / "a", table)


@pytest.mark.parametrize("images", [None, Path("images")])
@pytest.mark.parametrize(
    "plan",
    [
        SeriesPlan(Path("a.csv"), Path("out"), changes=("train.epochs=1",), threads=3),
        CandidatePlan(Path("a.csv"), Path("out"), names=("souza-a",), side=64, epochs={"shallow": 2, "deep": 1}),
        GridPlan(Path("a.csv"), Path("out"), cache=Path("cache"), cells=(), epochs={"mixed": 2}, accelerator="cpu"),
    ],
    ids=lambda plan: type(plan).__name__,
)
def test_plan_survives_json(plan: SeriesPlan, images: Path | None) -> None:
    """The process of a run gets the plan that the command made."""
    plan = replace(plan, images=images)
    assert type(plan).from_plain(json.loads(json.dumps(plan.to_plain()))) == plan


def test_cache_stands_beside_the_series() -> None:
    """Several series share the decoded radiographs."""
    plan = SeriesPlan(Path("a.csv"), Path("runs/grid"))
    assert plan.cache_folder == Path("runs/cache")
    assert replace(plan, cache=Path("other")).cache_folder == Path("other")
