"""Figures of joints by hand, and the record of tasks on located hands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from boneage.hand.bones import BONES
from boneage.hand.joints import JOINT_NAMES
from boneage.hand.registration import HAND_LENGTH
from boneage.hand.views import frame_to_view
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import build_cache
from boneage.train.data.hands import HandTable, write_hands
from boneage.train.networks.points import LocatedPoints
from boneage.train.networks.tiles import join_tiles
from boneage.train.recipe import load_recipe
from boneage.train.run.located_tasks import JointsTask, OutlinesTask, QualityTask


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> HandTable:
    """A table without hands."""
    folder = tmp_path_factory.mktemp("hands")
    write_hands(folder, {}, {}, mask_shape=(8, 8), found_by=["version 0", "some networks"])
    return HandTable(folder)


@pytest.mark.parametrize(
    ("task", "recipe"), [(JointsTask, "hand-joints"), (OutlinesTask, "hand-outlines"), (QualityTask, "quality")]
)
def test_record_has_fingerprint_of_hands(
    task: type[JointsTask | OutlinesTask | QualityTask],
    recipe: str,
    hands: HandTable,
    radiographs: list[LabelledRadiograph],
    tmp_path: Path,
) -> None:
    cache = build_cache(radiographs[:2], tmp_path, longest_side=2048)
    assert task(load_recipe(recipe), radiographs[:1], radiographs[1:2], cache, hands).record() == {
        "hands": ["version 0", "some networks"]
    }


def test_joints_figures_by_hand(hands: HandTable, radiographs: list[LabelledRadiograph], tmp_path: Path) -> None:
    """Errors are in % of the hand's length on the view. Joints that no radiograph shows are left out."""
    recipe = load_recipe("hand-joints")
    task = JointsTask(recipe, (), (), build_cache(radiographs[:1], tmp_path, longest_side=2048), hands)
    length = HAND_LENGTH * frame_to_view(recipe.view).zoom
    count = len(JOINT_NAMES)
    truth = torch.zeros(2, count, 2)
    points = truth.clone()
    points[0, :, 0], points[1, :, 0] = 0.01 * length, 0.03 * length
    on_view = torch.ones(2, count)
    on_view[:, 0], on_view[0, 1] = 0, 0
    located = LocatedPoints(points, torch.ones(2, count), torch.zeros(2, 3))
    figures = task.figures([(located, (truth, on_view))])
    assert f"{JOINT_NAMES[0]}_median_percent" not in figures
    assert figures[f"{JOINT_NAMES[1]}_median_percent"] == pytest.approx(3.0)
    assert figures[f"{JOINT_NAMES[2]}_median_percent"] == pytest.approx(2.0)
    percent = [1.0] * (count - 2) + [3.0] * (count - 1)
    assert figures["error_percent"] == pytest.approx(np.median(percent))
    assert figures["p95_percent"] == pytest.approx(np.percentile(percent, 95))


def test_outlines_figures_by_hand(hands: HandTable, radiographs: list[LabelledRadiograph], tmp_path: Path) -> None:
    """Tiles count by the area of the hand that they show, and those that do not show their bone not at all."""
    task = OutlinesTask(
        load_recipe("hand-outlines"), (), (), build_cache(radiographs[:1], tmp_path, longest_side=2048), hands
    )
    drawn, masked = (torch.zeros(2, len(BONES), 2, 2) for _ in range(2))
    present = torch.ones(2, len(BONES))
    drawn[:, :2, 0], masked[0, :2, 0], masked[1, :2] = 1, 1, 1
    present[0, 2], drawn[0, 2] = 0, 1

    def view(tiles: torch.Tensor) -> torch.Tensor:
        return join_tiles(tiles)[:, None]

    figures = task.figures([(20 * view(drawn) - 10, (view(masked), present))])
    # The first radiograph agrees. In the second, half of each tile's mask is drawn: 2 * 2 / (2 + 4).
    assert figures["dice"] == pytest.approx((1 + 2 / 3) / 2)
    assert figures["dice_distance"] == pytest.approx(1 - figures["dice"])
    assert figures["radius_dice"] == pytest.approx(2 * 4 / (4 + 6))
    assert figures["carpals_dice"] == 0
