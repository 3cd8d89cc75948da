"""The grid's recipes, radiographs and folds; and runs that are trained, resumed or skipped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.errors import BoneageError, RecipeError
from boneage.evaluate.grid import CELLS, REGIONS, SEXES_OF, Cell, GridRegion, read_grid
from boneage.evaluate.predictions import read_predictions
from boneage.hand.registration import BOXES
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.grid import (
    GridPlan,
    Run,
    cell_recipe,
    fold_radiographs,
    grid_notes,
    grid_radiographs,
    run_one,
    runs_of,
    train_grid,
    view_size,
)
from boneage.train.recipe import parse_recipe
from boneage.train.run.processes import Job
from tests.bundles import tiny_bundle
from tests.train.drawn_radiographs import draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

SMALL = ("network.options.widths=[4, 8]", "network.options.hidden=[8]", "train.batch_size=4", "train.precision=32-true")
MALES_A, MIXED_B = Cell("regression", "males", "A"), Cell("classification", "mixed", "B")


# --- recipes ---


def test_view_size_at_a_sixteenth() -> None:
    assert {region: view_size(region, 1 / 16) for region in REGIONS} == {"A": (124, 92), "B": (48, 48), "C": (36, 88)}


@given(st.sampled_from(REGIONS), st.floats(0.05, 1.0))
def test_view_size_multiples_of_4(region: GridRegion, scale: float) -> None:
    box = BOXES[region]
    for side, whole in zip(view_size(region, scale), (box.height, box.width), strict=True):
        assert side % 4 == 0
        assert abs(side - whole * scale) <= 2 + 1e-9


def test_cell_recipe_of_all_18(tmp_path: Path) -> None:
    plan = GridPlan(
        tmp_path / "radiographs.csv",
        tmp_path / "grid",
        hands="my hands/bundle",
        scales={"A": 1 / 16, "B": 1 / 8, "C": 1 / 4},
        epochs={"mixed": 3, "males": 6, "females": 7},
        changes=("train.learning_rate=3e-4", "data.validation_limit=5"),
    )
    recipes = {cell: cell_recipe(plan, cell) for cell in CELLS}
    assert len({recipe.title for recipe in recipes.values()}) == len({r.train.seed for r in recipes.values()}) == 18
    for cell, recipe in recipes.items():
        assert recipe.network.name == f"vgg-{cell.type}"
        assert recipe.view.region == cell.region
        assert (recipe.view.height, recipe.view.width) == view_size(cell.region, plan.scales[cell.region])
        assert recipe.data.sexes == {"mixed": "both", "males": "M", "females": "F"}[cell.cohort]
        rate = 3e-4 if cell.type == "regression" else 1e-4
        assert recipe.train.epochs == plan.epochs[cell.cohort]
        assert recipe.train.learning_rate == pytest.approx(rate)
        assert (recipe.data.hands, recipe.data.validation_limit) == ("my hands/bundle", 0)
        assert (recipe.train.age_unit, recipe.train.loss, recipe.train.optimizer) == ("range", "mae", "adam")


def test_runs_of_most_expensive_first(tmp_path: Path) -> None:
    runs = runs_of(GridPlan(tmp_path / "radiographs.csv", tmp_path, folds=2))
    assert len(runs) == 18 * 3
    assert {run.name for run in runs[:2]} == {"regression-mixed-a", "classification-mixed-a"}
    assert all(run.fold is None for run in runs[:18])
    assert {run.name for run in runs[18:20]} == {"regression-mixed-a-fold-1-of-2", "classification-mixed-a-fold-1-of-2"}


# --- radiographs ---


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The radiographs; beside them a bundle that finds their hands."""
    folder = tmp_path_factory.mktemp("radiographs")
    tiny_bundle(folder / "hands", hand=True)
    return draw_folder(folder)


def test_grid_radiographs_share_one_split(table: Path, tmp_path: Path) -> None:
    plan = GridPlan(table, tmp_path, images=table.parent / "radiographs", changes=("data.train_limit=9",))
    radiographs = grid_radiographs(plan)
    assert Counter(radiograph.split for radiograph in radiographs) == {"train": 9, "validation": 5}  # 20 % of 24
    order = [radiograph.id for radiograph in read_radiographs(table, table.parent / "radiographs")]
    assert [radiograph.id for radiograph in radiographs] == sorted(
        (radiograph.id for radiograph in radiographs), key=order.index
    )
    assert grid_radiographs(plan) == radiographs


@given(st.integers(2, 5), st.integers(0, 9), st.randoms(use_true_random=False))
def test_fold_radiographs_set_validation_aside(folds: int, seed: int, random: object) -> None:
    """Folds part the training radiographs and set the validation radiographs aside."""
    radiographs = [
        LabelledRadiograph(str(n), Path("x"), Sex.MALE, 100.0, "train" if n % 4 else "validation") for n in range(23)
    ]
    seen: Counter[str] = Counter()
    for fold in range(folds):
        parts = fold_radiographs(radiographs, folds, fold, seed)
        assert [radiograph.id for radiograph in parts] == [radiograph.id for radiograph in radiographs]
        held = {radiograph.id for radiograph in parts if radiograph.split == "validation"}
        turned = fold_radiographs(radiographs[::-1], folds, fold, seed)
        assert held == {radiograph.id for radiograph in turned if radiograph.split == "validation"}
        assert {radiograph.id for radiograph in parts if radiograph.split == "set aside"} == {
            str(n) for n in range(0, 23, 4)
        }
        seen.update(held)
    assert set(seen) == {radiograph.id for radiograph in radiographs if radiograph.split == "train"}
    assert set(seen.values()) == {1}


# --- runs ---


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs jobs in this process, and lists their names."""
    names: list[str] = []

    def run_jobs(jobs: Sequence[Job], _at_once: int, _report: Callable[[str], None]) -> dict[str, int]:
        failed = {}
        for job in jobs:
            names.append(job.name)
            order = json.loads(json.dumps(job.order))
            try:
                run_one(
                    GridPlan.from_plain(order["plan"]),
                    Run(Cell(*order["cell"]), parse_recipe(order["recipe"]), order["fold"], order["plan"]["folds"]),
                )
            except BoneageError as error:
                failed[job.name] = error.exit_status
        return failed

    monkeypatch.setattr("boneage.train.grid.run_jobs", run_jobs)
    return names


def _plan(table: Path, out: Path, *cells: Cell, **more: object) -> GridPlan:
    plan = GridPlan(
        table,
        out,
        images=table.parent / "radiographs",
        hands=str(table.parent / "hands"),
        epochs={"mixed": 1, "males": 2, "females": 2},
        changes=SMALL,
        cells=cells,
        cache=table.parent / "cache",
        accelerator="cpu",
    )
    return replace(plan, **more)  # type: ignore[arg-type]  # fields by name


def test_train_grid_trains_once_and_predicts(table: Path, tmp_path: Path, in_process: list[str]) -> None:
    """Networks are trained once and predict the validation radiographs of their cohort."""
    messages: list[str] = []
    plan = _plan(table, tmp_path / "grid", MALES_A, MIXED_B, cache=tmp_path / "cache")
    assert train_grid(plan, jobs=1, report=messages.append) == {}
    assert sorted(in_process) == ["classification-mixed-b", "regression-males-a"]
    radiographs = {
        radiograph.id: radiograph for radiograph in grid_radiographs(plan) if radiograph.split == "validation"
    }
    for cell in (MALES_A, MIXED_B):
        predictions = read_predictions(tmp_path / "grid" / "predictions" / f"{cell.name}.csv")
        expected = {name for name, radiograph in radiographs.items() if radiograph.sex in SEXES_OF[cell.cohort]}
        assert set(predictions.ids) == expected
        for name, label in zip(predictions.ids, predictions.boneage_months, strict=True):
            assert label == radiographs[name].boneage_months
    caches = [path.name.partition("-")[0] for path in (tmp_path / "cache").iterdir()]
    assert sorted(caches) == ["hands", "radiographs"]  # one of each for all cohorts
    in_process.clear()
    assert train_grid(plan, jobs=1, report=messages.append) == {}
    assert in_process == []
    assert messages[-1] == "2 of 2 networks are done already"
    notes = grid_notes(tmp_path / "grid")
    assert notes[0] == "Region A: views of 124 x 92 px, 1/16.1 of the frame"
    assert "Region C: no network" in notes
    males = sum(radiograph.sex is Sex.MALE and radiograph.split == "train" for radiograph in grid_radiographs(plan))
    assert f"Networks of the cohort males: trained on {males} radiographs for 2 epochs" in notes


def test_train_grid_repeats_run_without_predictions(table: Path, tmp_path: Path, in_process: list[str]) -> None:
    plan = _plan(table, tmp_path, MALES_A)
    train_grid(plan, jobs=1, report=print)
    predictions = tmp_path / "predictions" / f"{MALES_A.name}.csv"
    first = predictions.read_bytes()
    predictions.unlink()
    weights = (tmp_path / "runs" / MALES_A.name / "last.ckpt").stat().st_mtime_ns
    train_grid(plan, jobs=1, report=print)
    assert in_process == [MALES_A.name] * 2
    assert predictions.read_bytes() == first
    assert (tmp_path / "runs" / MALES_A.name / "last.ckpt").stat().st_mtime_ns == weights


def test_train_grid_rejects_other_recipe_first(table: Path, tmp_path: Path, in_process: list[str]) -> None:
    """Another recipe is rejected before anything is trained."""
    plan = _plan(table, tmp_path, MALES_A)
    train_grid(plan, jobs=1, report=print)
    in_process.clear()
    with pytest.raises(RecipeError, match=MALES_A.name) as caught:
        train_grid(replace(plan, cells=(MIXED_B, MALES_A), epochs={}), jobs=1, report=print)
    assert caught.value.code == "recipe_changed"
    assert in_process == []


def test_train_grid_rejects_other_labels_first(table: Path, tmp_path: Path, in_process: list[str]) -> None:
    train_grid(_plan(table, tmp_path, MALES_A), jobs=1, report=print)
    header, *rows = table.read_text().splitlines()
    changed = tmp_path / "radiographs.csv"
    older = [f"{name},{int(age) + 1},{male}" for name, age, male in (row.split(",") for row in rows)]
    changed.write_text("\n".join([header, *older]) + "\n")
    plan = replace(_plan(table, tmp_path, MALES_A), radiographs=changed)
    in_process.clear()
    with pytest.raises(RecipeError, match="other radiographs, labels or splits") as caught:
        train_grid(plan, jobs=1, report=print)
    assert caught.value.code == "recipe_changed"
    assert in_process == []


def test_train_grid_folds_predict_out_of_fold(table: Path, tmp_path: Path, in_process: list[str]) -> None:
    """Folds give out of fold predictions of every training radiograph."""
    plan = _plan(table, tmp_path, MALES_A, folds=2)
    assert train_grid(plan, jobs=1, report=print) == {}
    assert in_process == [MALES_A.name, f"{MALES_A.name}-fold-1-of-2", f"{MALES_A.name}-fold-2-of-2"]
    grid = read_grid(tmp_path / "out_of_fold")
    males = [
        radiograph
        for radiograph in grid_radiographs(plan)
        if radiograph.split == "train" and radiograph.sex is Sex.MALE
    ]
    assert len(grid) == len(males)
    in_process.clear()
    assert train_grid(plan, jobs=1, report=print) == {}
    assert in_process == []
    for fold in (1, 2):
        facts = json.loads((tmp_path / "folds" / f"{MALES_A.name}-fold-{fold}-of-2" / "recipe.json").read_text())
        assert not set(facts["train"]) & set(facts["validation"])


def test_grid_notes_without_runs(tmp_path: Path) -> None:
    assert grid_notes(tmp_path) == []


def test_grid_radiographs_all_used(table: Path, tmp_path: Path) -> None:
    plan = _plan(table, tmp_path)
    assert len(grid_radiographs(plan)) == len(read_radiographs(table, table.parent / "radiographs"))
