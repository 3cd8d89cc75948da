"""Views and task of the quality network, on phantoms, and a bundle that gets one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import boneage
from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle
from boneage.bundle.quality import CAUTION_SHARES, QUALITY_LABELS, quality_view
from boneage.errors import BoneageError
from boneage.reading.radiograph import read_radiograph
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.bundle.release import renew
from boneage.train.data.cache import build_cache
from boneage.train.data.hands import open_hands
from boneage.train.data.quality_views import QualityViews, Scenes
from boneage.train.recipe import Recipe, parse_recipe, shipped_recipes
from boneage.train.run.engine import Engine
from boneage.train.run.located_tasks import QualityTask
from boneage.train.run.loop import train
from boneage.train.run.weights import new_network
from boneage.warnings_ import WarningCode
from tests.bundles import REGION_VIEWS, tiny_bundle
from tests.train.drawn_radiographs import draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

CPU = Engine(accelerator="cpu", devices=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return Bundle.open(tiny_bundle(folder / "tiny", views=REGION_VIEWS, hand=True), threads=1)


@pytest.fixture(scope="module")
def radiographs(folder: Path) -> list[LabelledRadiograph]:
    table = draw_folder(folder / "phantoms", 12)
    return read_radiographs(table, table.parent / "radiographs")


@pytest.fixture(scope="module")
def recipe(bundle: Bundle) -> Recipe:
    return parse_recipe(
        {
            "title": "tiny quality",
            "task": "quality",
            "network": {"name": "quality", "options": {"widths": [4, 8]}},
            "view": {"region": "surroundings", "height": 40, "width": 36, "grey": "percentile"},
            "data": {"hands": str(bundle.directory), "validation_share": 0.5},
            "train": {"epochs": 2, "views_per_epoch": 24, "batch_size": 6, "watched_radiographs": 2, "workers": 0},
        }
    )


@pytest.fixture(scope="module")
def scenes(radiographs: list[LabelledRadiograph], bundle: Bundle, folder: Path) -> Scenes:
    cache = build_cache(radiographs, folder / "cache", longest_side=512)
    return Scenes(cache, open_hands(str(bundle.directory), radiographs, cache))


@pytest.fixture(scope="module")
def run(radiographs: list[LabelledRadiograph], recipe: Recipe, folder: Path) -> Path:
    """Trained for two epochs; tests only read it."""
    train(recipe, radiographs, folder / "quality", engine=CPU, quiet=True)
    return folder / "quality"


def test_quality_views_without_epoch_equal_serving(
    radiographs: list[LabelledRadiograph], scenes: Scenes, recipe: Recipe, bundle: Bundle
) -> None:
    view, labels = QualityViews(radiographs, scenes, recipe, epoch=None)[3]
    pixels = read_radiograph(radiographs[3].image).pixels
    np.testing.assert_allclose(view[0], quality_view(pixels, bundle.find_hand(pixels), 40, 36), atol=1e-5)
    assert labels.tolist() == [0.0] * len(QUALITY_LABELS)


def test_quality_views_follow_epoch_and_index(
    radiographs: list[LabelledRadiograph], scenes: Scenes, recipe: Recipe
) -> None:
    first, again, other = (QualityViews(radiographs, scenes, recipe, epoch=epoch, count=40) for epoch in (1, 1, 2))
    assert len(first) == 40
    for index in (0, 17, 39):
        assert torch.equal(first[index][0], again[index][0])
        assert not torch.equal(first[index][0], other[index][0])
    assert {float(value) for index in range(40) for value in first[index][1]} == {0.0, 1.0}


def test_quality_limits_from_unchanged_validation(
    radiographs: list[LabelledRadiograph], scenes: Scenes, recipe: Recipe
) -> None:
    """Limits are set on validation radiographs as they are."""

    def watched(items: Iterable[Any]) -> Iterable[Any]:
        return items

    torch.manual_seed(0)
    task = QualityTask(recipe, radiographs[:6], radiographs[6:], scenes.cache, scenes.hands)
    network = new_network(recipe).eval()
    figures = task.validate(network, 1, torch.device("cpu"), watched)
    with torch.no_grad():
        views = torch.stack([QualityViews(radiographs[6:], scenes, recipe, epoch=None)[index][0] for index in range(6)])
        highest = torch.sigmoid(network(views)).max(dim=0).values.numpy()
    for label, probability in zip(QUALITY_LABELS, highest, strict=True):
        limit = max(float(probability), 0.1) if label in CAUTION_SHARES else 1.0
        assert figures[f"{label}_caution"] == pytest.approx(limit, abs=2e-4)
        assert 0 <= figures[f"{label}_missed_percent"] <= 100
    assert ("plaster_critical" in figures, "metal_critical" in figures) == (True, False)


def test_renew_with_quality_network_warns(
    run: Path, bundle: Bundle, radiographs: list[LabelledRadiograph], tmp_path: Path
) -> None:
    """A renewed bundle has the network and gives its warnings."""
    made = renew(bundle, tmp_path / "renewed", version="8", quality=run, weight_bits=16)
    assert all(result.passed for result in check_bundle(made))
    manifest = made.manifest
    assert (manifest.version, manifest.members, manifest.metrics) == ("8", bundle.members, bundle.manifest.metrics)
    assert manifest.quality is not None
    assert set(manifest.quality.limits) == set(QUALITY_LABELS)
    assert "quality network" in manifest.recipe
    assert str(tmp_path) not in (made.directory / "bundle.json").read_text(encoding="utf-8")
    before, after = (boneage.assess(radiographs[0].image, "F", one) for one in (bundle, made))
    assert before.age_months == after.age_months
    codes = {WarningCode(label) for label in QUALITY_LABELS}
    assert not codes & {warning.code for warning in before.warnings}
    # The bundle keeps its quality network when it is measured again, on radiographs that trained no network.
    split = [LabelledRadiograph(**{**vars(radiograph), "split": "validation"}) for radiograph in radiographs]
    measured = renew(made, tmp_path / "measured", version="9", radiographs=split)
    assert measured.manifest.metrics["radiographs"] == len(radiographs)
    assert measured.manifest.quality == manifest.quality


def test_renew_rejects_run_for_other_task(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BoneageError) as caught:
        renew(bundle, tmp_path / "renewed", version="8", quality=tmp_path / "nothing")
    assert caught.value.code == "recipe_invalid"
    assert not (tmp_path / "renewed").exists()


def test_load_recipe_quality_is_usable() -> None:
    from boneage.train.recipe import load_recipe

    assert "quality" in shipped_recipes()
    network = new_network(load_recipe("quality"))
    assert sum(parameter.numel() for parameter in network.parameters()) < 300_000
