"""Runs on regions locate the hands, and leave out radiographs without one."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.recipe import Recipe, load_recipe
from boneage.train.run import loop
from boneage.train.run.engine import Engine
from boneage.train.run.loop import TrainingResult
from tests.bundles import tiny_bundle
from tests.error_codes import code_of
from tests.hand_graphs import picture_without_hand
from tests.train.drawn_radiographs import draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)


CPU = Engine(accelerator="cpu", devices=1)


def fit(recipe: Recipe, radiographs: list[LabelledRadiograph], folder: Path) -> TrainingResult:
    return loop.train(recipe, radiographs, folder, engine=CPU, quiet=True)


@pytest.fixture(scope="module")
def finder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that finds the phantom's hand, and has no members."""
    return tiny_bundle(tmp_path_factory.mktemp("bundles") / "finder", name="finder", views=(), hand=True, metrics={})


def test_region_run_locates_hands_and_rejects(tmp_path: Path, tiny: Path, finder: Path) -> None:
    """A run on a region finds the hands and names radiographs without one."""
    table = draw_folder(tmp_path / "phantoms", count=8, side=400)
    cv2.imwrite(str(tmp_path / "phantoms" / "radiographs" / "3.png"), picture_without_hand(300, 240))
    changes = (
        *('view.region="A"', 'view.grey="hand"', f'data.hands="{finder}"', 'train.age_unit="range"'),
        *("train.epochs=1", "train.resize=[]", "data.validation_share=0.25"),
    )
    recipe = load_recipe(tiny, changes)
    radiographs = read_radiographs(table, tmp_path / "phantoms" / "radiographs")
    finished = fit(recipe, radiographs, tmp_path / "run")
    assert finished.rejected == {"3": "no_hand"}
    facts = json.loads((tmp_path / "run" / "recipe.json").read_text(encoding="utf-8"))
    assert facts["age_unit"] == {"mean_months": 120.0, "spread_months": 120.0}
    assert "3" not in facts["labels"]
    assert "3" not in [*facts["train"], *facts["validation"]]
    assert len(facts["labels"]) == 7
    # The other cohort's run on the same table takes the same radiographs and hands.
    girls = load_recipe(tiny, (*changes, 'data.sexes="F"'))
    before = sorted(path.name for path in (tmp_path / "cache").iterdir())
    fit(girls, radiographs, tmp_path / "girls")
    boys = load_recipe(tiny, (*changes, 'data.sexes="M"'))
    between = sorted(path.name for path in (tmp_path / "cache").iterdir())
    fit(boys, radiographs, tmp_path / "boys")
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == between == before


def test_region_run_needs_hand_networks(radiographs: list[LabelledRadiograph], tmp_path: Path, tiny: Path) -> None:
    """A run on a region needs a bundle with hand networks."""
    plain = tiny_bundle(tmp_path / "plain")
    recipe = load_recipe(tiny, ('view.region="B"', f'data.hands="{plain}"'))
    assert code_of(lambda: fit(recipe, radiographs, tmp_path / "run")) == "bundle_mismatch"
    assert not (tmp_path / "run").exists()
