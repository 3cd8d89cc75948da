from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from boneage.errors import RecipeError
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.candidates import CandidatePlan
from boneage.train.grid import GridPlan
from boneage.train.recipe import load_recipe
from boneage.train.series import SeriesPlan, is_finished, plain_recipe, reject_changed


def _run(folder: Path, months: float = 100.0) -> list[LabelledRadiograph]:
    """Write the record and weights of a run of one radiograph, and return the radiograph."""
    folder.mkdir(parents=True)
    record = {"recipe": plain_recipe(load_recipe("souza-a")), "labels": {"1": [months, "F"]}}
    (folder / "recipe.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "last.ckpt").write_bytes(b"weights")
    return [LabelledRadiograph("1", Path("1.png"), Sex.FEMALE, months, "validation")]


def test_reject_changed_names_a_run(tmp_path: Path) -> None:
    _run(tmp_path / "a")
    reject_changed(tmp_path, {tmp_path / "a": load_recipe("souza-a"), tmp_path / "b": load_recipe("souza-b")})
    with pytest.raises(RecipeError, match="such as a") as caught:
        reject_changed(tmp_path, {tmp_path / "a": load_recipe("souza-a", ("train.epochs=3",))})
    assert caught.value.code == "recipe_changed"


def test_is_finished_needs_newer_table(tmp_path: Path) -> None:
    radiographs, table = _run(tmp_path / "a"), tmp_path / "a.csv"
    assert not is_finished(tmp_path / "a", table, radiographs)
    table.write_text("id", encoding="utf-8")
    os.utime(tmp_path / "a" / "last.ckpt", (10, 10))
    os.utime(table, (20, 20))
    assert is_finished(tmp_path / "a", table, radiographs)
    os.utime(table, (5, 5))
    assert not is_finished(tmp_path / "a", table, radiographs)


def test_is_finished_needs_the_same_labels(tmp_path: Path) -> None:
    radiographs, table = _run(tmp_path / "a"), tmp_path / "a.csv"
    table.write_text("id", encoding="utf-8")
    os.utime(tmp_path / "a" / "last.ckpt", (10, 10))
    older = [LabelledRadiograph("1", Path("1.png"), Sex.FEMALE, 101.0, "validation")]
    assert is_finished(tmp_path / "a", table, radiographs)
    assert not is_finished(tmp_path / "a", table, older)


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
