"""The candidates' recipes; and runs that are trained, resumed or skipped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from boneage.errors import RecipeError
from boneage.evaluate.predictions import read_predictions
from boneage.tables.radiographs import read_radiographs, split_radiographs
from boneage.train.candidates import (
    CANDIDATES,
    CandidatePlan,
    _fulfil,
    candidate_recipe,
    draw_curves,
    finished_candidates,
    program_version,
    train_candidates,
)
from boneage.train.networks.souza import TABLE_I
from boneage.train.run.processes import Job
from tests.train.drawn_radiographs import draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

SMALL = ("network.options.hidden=[8]", "train.batch_size=8", "train.precision=32-true", "train.workers=0")


def test_candidate_recipe_of_the_paper(tmp_path: Path) -> None:
    """Without changes every column has the paper's size, epochs and augmentation."""
    plan = CandidatePlan(tmp_path / "radiographs.csv", tmp_path)
    for name, title in CANDIDATES.items():
        recipe = candidate_recipe(plan, name)
        assert (recipe.view.height, recipe.view.width, recipe.train.batch_size) == (256, 256, 32)
        if title in TABLE_I:
            assert recipe.network.name == name
            assert recipe.train.epochs == TABLE_I[title].paper_epochs
            assert (recipe.augment.flip > 0) == TABLE_I[title].augment


def test_candidate_recipe_keeps_epochs_of_depths_not_named(tmp_path: Path) -> None:
    plan = CandidatePlan(tmp_path / "x.csv", tmp_path, epochs={"deep": 10})
    assert candidate_recipe(plan, "souza-f").train.epochs == 10
    assert candidate_recipe(plan, "souza-a").train.epochs == TABLE_I["A"].paper_epochs


def test_candidate_recipe_at_another_scale(tmp_path: Path) -> None:
    epochs = {"shallow": 15, "deep": 6}
    plan = CandidatePlan(tmp_path / "x.csv", tmp_path, side=128, epochs=epochs, changes=("train.learning_rate=2e-4",))  # type: ignore[arg-type]
    recipes = {name: candidate_recipe(plan, name) for name in CANDIDATES}
    assert (
        {recipe.view.height for recipe in recipes.values()}
        == {recipe.view.width for recipe in recipes.values()}
        == {128}
    )
    assert [recipe.train.epochs for recipe in recipes.values()] == [15] * 4 + [6] * 5
    assert {recipe.train.learning_rate for recipe in recipes.values()} == {2e-4}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("radiographs"))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs jobs in this process, and lists their names."""
    names: list[str] = []

    def run_jobs(jobs: Sequence[Job], _at_once: int, _report: Callable[[str], None]) -> dict[str, int]:
        for job in jobs:
            names.append(job.name)
            _fulfil(json.loads(json.dumps(job.order)))
        return {}

    monkeypatch.setattr("boneage.train.candidates.run_jobs", run_jobs)
    return names


def _plan(table: Path, out: Path, **more: object) -> CandidatePlan:
    plan = CandidatePlan(
        table,
        out,
        images=table.parent / "radiographs",
        names=("souza-a", "souza-d"),
        side=32,
        epochs={"shallow": 2, "deep": 1},
        changes=SMALL,
        cache=table.parent / "cache",
        accelerator="cpu",
    )
    return replace(plan, **more)  # type: ignore[arg-type]  # fields by name


def test_train_candidates_once(table: Path, tmp_path: Path, in_process: list[str]) -> None:
    """The deepest network starts first, finished ones are skipped, and a lost table is predicted again."""
    messages: list[str] = []
    plan = _plan(table, tmp_path)
    assert train_candidates(plan, jobs=1, report=messages.append) == {}
    assert in_process == ["souza-d", "souza-a"]
    _, validation = split_radiographs(read_radiographs(table, plan.images), 0.2, 0)
    first = tmp_path / "predictions" / "souza-a.csv"
    assert set(read_predictions(first).ids) == {radiograph.id for radiograph in validation}
    estimates = first.read_bytes()
    first.unlink()
    assert [candidate.name for candidate in finished_candidates(tmp_path)] == ["D"]
    assert train_candidates(plan, jobs=1, report=messages.append) == {}
    assert in_process == ["souza-d", "souza-a", "souza-a"]
    assert first.read_bytes() == estimates
    assert messages[-1] == "1 of 2 networks are done already"
    a, d = finished_candidates(tmp_path)
    assert (a.name, a.epochs, a.view, a.radiographs) == ("A", 2, (32, 32), 24 - len(validation))
    assert (a.paper_mad_months, d.paper_mad_months) == (20.47, 12.0)
    assert a.processor_hours > 0
    assert a.program == program_version()
    assert [path.name for path in draw_curves(tmp_path)] == ["curves.png", "figure-6.png"]
    with pytest.raises(RecipeError, match="souza"):
        train_candidates(replace(plan, side=64), jobs=1, report=messages.append)
    grown = tmp_path / "grown.csv"
    grown.write_text(table.read_text() + "24,100,True\n")
    images = tmp_path / "images"
    shutil.copytree(table.parent / "radiographs", images)
    shutil.copy(images / "3.png", images / "24.png")
    in_process.clear()
    with pytest.raises(RecipeError, match="2 run\\(s\\) of other radiographs") as caught:
        train_candidates(replace(plan, radiographs=grown, images=images), jobs=1, report=messages.append)
    assert caught.value.code == "recipe_changed"
    moved = replace(plan, images=images, cache=tmp_path / "elsewhere")
    assert train_candidates(moved, jobs=1, report=messages.append) == {}
    assert in_process == []


def test_draw_curves_without_runs(tmp_path: Path) -> None:
    assert draw_curves(tmp_path) == []
    assert list(finished_candidates(tmp_path)) == []
