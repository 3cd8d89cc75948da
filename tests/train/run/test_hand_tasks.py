"""Measures of masks and key points, and whole small runs of hand networks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.hand.registration import POINT_NAMES
from boneage.hand.views import measure_grey
from boneage.phantom import phantom_points
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import build_cache
from boneage.train.networks.points import KeyPointNetwork, LocatedPoints
from boneage.train.networks.unet import UNetwork
from boneage.train.recipe import Recipe
from boneage.train.run import loop
from boneage.train.run.engine import Engine
from boneage.train.run.hand_tasks import MaskTask, PointsTask, intersection_over_union, outline_distance
from boneage.train.run.loop import TrainingResult
from boneage.train.run.run_folder import write_checkpoint
from boneage.train.run.weights import load_hand_run, load_run
from tests.error_codes import code_of
from tests.train.drawn_targets import EDGE, recipe_for

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)


CPU = Engine(accelerator="cpu", devices=1)

SIDE = 96
"""Longer side of the phantoms of `tests.train.conftest`, pixels; the other is 72."""


def square(side: int, *, at: tuple[int, int] = (50, 50), shape: tuple[int, int] = (100, 120)) -> NDArray[np.uint8]:
    """A square about a place (row, column)."""
    mask = np.zeros(shape, np.uint8)
    top, left = at[0] - side // 2, at[1] - side // 2
    mask[top : top + side, left : left + side] = 1
    return mask


def disk(radius: float, *, side: int = 120) -> NDArray[np.uint8]:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.asarray(np.hypot(x, y) < radius, np.uint8)


def test_intersection_over_union_by_hand() -> None:
    assert intersection_over_union(square(20), square(20)) == 1.0
    assert intersection_over_union(square(20), square(10)) == 100 / 400
    assert intersection_over_union(square(20), square(20, at=(50, 60))) == 200 / 600
    assert intersection_over_union(square(20), square(20, at=(50, 80))) == 0.0
    assert intersection_over_union(square(20), square(0)) == 0.0
    assert intersection_over_union(square(0), square(0)) == 1.0


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_intersection_over_union_symmetric(seed: int) -> None:
    one, other = np.random.default_rng(seed).random((2, 7, 9)) > 0.5
    assert intersection_over_union(one, other) == intersection_over_union(other, one)
    assert 0 <= intersection_over_union(one, other) <= 1


@pytest.mark.parametrize("apart", [0, 1, 3, 10])
def test_outline_distance_of_disks(apart: int) -> None:
    """Outlines of disks lie as far apart as their radii."""
    assert outline_distance(disk(35), disk(35 + apart)) == pytest.approx(apart, abs=0.4)  # outlines are whole pixels
    assert outline_distance(disk(35 + apart), disk(35)) == outline_distance(disk(35), disk(35 + apart))


def test_outline_distance_of_squares_by_hand() -> None:
    """Each pixel of the inner outline has one of the outer two beside it; the outer corners have none beside them."""
    inner, outer = square(20), square(24)
    to_outer = 2.0
    # Of the 92 pixels of the outer outline 80 lie two beside the inner one (18 between its corners and these, on each
    # of four sides), two on each side of a corner hypot(1, 2) from it, and the corners hypot(2, 2).
    beside, near, corner = 4 * 20, 8, 4
    to_inner = (beside * 2 + near * math.hypot(1, 2) + corner * math.hypot(2, 2)) / (beside + near + corner)
    assert outline_distance(inner, outer) == pytest.approx((to_outer + to_inner) / 2, abs=0.01)
    assert outline_distance(square(20), square(20, at=(50, 50))) == 0.0


def test_outline_distance_border_is_no_outline() -> None:
    """Where both masks run off the picture, only what lies on it counts."""
    left, farther = np.zeros((40, 50)), np.zeros((40, 50))
    left[:, :20], farther[:, :26] = 1, 1
    assert outline_distance(left, farther) == pytest.approx(6.0, abs=0.01)


@pytest.mark.parametrize("pair", [(square(0), square(20)), (square(20), square(0)), (square(0), square(0))])
def test_outline_distance_without_outline(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    """Without an outline the distance is the whole side."""
    assert outline_distance(*pair) == 120.0


def fit(recipe: Recipe, radiographs: list[LabelledRadiograph], folder: Path) -> TrainingResult:
    return loop.train(recipe, radiographs, folder, engine=CPU, quiet=True)


FIGURES = {
    "mask": {"jaccard_distance", "iou", "least_iou", "outline_distance_percent"},
    "points": {"error_percent", *(f"{name}_{kind}_percent" for name in POINT_NAMES for kind in ("median", "p95"))},
}


@pytest.mark.parametrize("task", ["mask", "points"])
def test_hand_network_run_trains_and_resumes(
    task: str,
    radiographs: list[LabelledRadiograph],
    targets: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run for a hand network learns resumes and comes back."""
    recipe = recipe_for(task, targets[task])
    whole = fit(recipe, radiographs, tmp_path / "whole")
    history = whole.state.history
    assert whole.rejected == {}
    assert set(history[0]) == {"epoch", "loss", "learning_rate", "processor_seconds", "seconds", *FIGURES[task]}
    assert history[-1]["loss"] < history[0]["loss"]
    assert whole.state.best == min(row[whole.measure] for row in history)
    facts = json.loads((tmp_path / "whole" / "recipe.json").read_text(encoding="utf-8"))
    assert set(facts) == {"recipe", "train", "validation", "processes", "rejected"}
    assert (len(facts["train"]), len(facts["validation"])) == (7, 3)

    def write_and_stop(path: Path, checkpoint: Mapping[str, Any]) -> None:
        write_checkpoint(path, checkpoint)
        if path.name == "last.ckpt":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "write_checkpoint", write_and_stop)
        fit(recipe, radiographs, tmp_path / "broken")
    resumed = fit(recipe, radiographs, tmp_path / "broken").state.history
    for one, other in zip(history, resumed, strict=True):
        assert {key: one[key] for key in one if not key.endswith("seconds")} == pytest.approx(
            {key: other[key] for key in other if not key.endswith("seconds")}, rel=1e-4, abs=1e-5
        )

    loaded, network, state = load_hand_run(tmp_path / "whole", "last")
    assert loaded == recipe
    assert isinstance(network, UNetwork if task == "mask" else KeyPointNetwork)
    assert not network.training
    assert state.history == history
    assert code_of(lambda: load_run(tmp_path / "whole")) == "recipe_invalid"


def test_validate_figures_of_perfect_and_blind_network(
    radiographs: list[LabelledRadiograph], targets: dict[str, Path], tmp_path: Path
) -> None:
    """Figures of masks and points are those of a perfect and a blind network."""
    cache = build_cache(radiographs, tmp_path, longest_side=2048)
    device = torch.device("cpu")
    greys = [measure_grey(cache.pixels(radiograph.id), "percentile") for radiograph in radiographs[7:]]
    edge = float(np.mean([(EDGE - grey.mean) / grey.spread for grey in greys]))

    class Bright(torch.nn.Module):
        """On these views the hand is what is brighter than its edge."""

        def forward(self, view: torch.Tensor) -> torch.Tensor:
            return 50 * (view - edge)

    class Dark(torch.nn.Module):
        def forward(self, view: torch.Tensor) -> torch.Tensor:
            return torch.full_like(view, -9.0)

    task = MaskTask(recipe_for("mask", targets["mask"]), radiographs[:7], radiographs[7:], cache)
    seen = task.validate(Bright(), 0, device, lambda items: items)
    assert seen["iou"] > 0.85
    assert seen["jaccard_distance"] == pytest.approx(1 - seen["iou"])
    assert seen["least_iou"] <= seen["iou"]
    assert seen["outline_distance_percent"] < 3
    unseen = task.validate(Dark(), 0, device, lambda items: items)
    assert (unseen["iou"], unseen["outline_distance_percent"]) == (0.0, 100.0)

    # On views of 32 x 32 a phantom of 96 x 72 is zoomed by a third, with 4 pixels on the left.
    truth = torch.from_numpy(phantom_points(height=SIDE, width=SIDE * 3 // 4) / 3 + (4, 0)).float()
    length = float((truth[0] - truth[2]).norm())

    class Off(torch.nn.Module):
        """Its tip is off by 2 % of the hand's length, its thumb by none, its capitate by 6 %."""

        def forward(self, view: torch.Tensor) -> LocatedPoints:
            off = torch.tensor([[0.02, 0.0], [0.0, 0.0], [0.0, -0.06]]) * length
            points = (truth + off).expand(len(view), -1, -1)
            return LocatedPoints(points, torch.ones(len(view), 3), torch.zeros(len(view), 3))

    points_task = PointsTask(recipe_for("points", targets["points"]), radiographs[:7], radiographs[7:], cache)
    figures = points_task.validate(Off(), 0, device, lambda items: items)
    for name, percent in zip(POINT_NAMES, (2.0, 0.0, 6.0), strict=True):
        assert figures[f"{name}_median_percent"] == pytest.approx(percent, abs=0.01)
        assert figures[f"{name}_p95_percent"] == pytest.approx(percent, abs=0.01)
    assert figures["error_percent"] == pytest.approx(8.0 / 3, abs=0.01)
