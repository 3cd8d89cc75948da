"""Tasks: which radiographs train and validate, what is measured, and whole small runs of each."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.errors import BoneageError
from boneage.hand.registration import POINT_NAMES
from boneage.hand.views import measure_grey
from boneage.phantom import phantom_points
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.cache import build_cache
from boneage.train.data.splits import choose_radiographs
from boneage.train.networks.points import KeyPointNetwork, LocatedPoints
from boneage.train.networks.unet import UNetwork
from boneage.train.recipe import Recipe, load_recipe
from boneage.train.run import loop
from boneage.train.run.engine import Engine
from boneage.train.run.loop import TrainingResult
from boneage.train.run.run_folder import write_checkpoint
from boneage.train.run.tasks import (
    AgeTask,
    AgeUnit,
    MaskTask,
    PointsTask,
    intersection_over_union,
    outline_distance,
    radiograph_labels,
)
from boneage.train.run.weights import load_hand_run, load_run, new_network
from tests.bundles import tiny_bundle
from tests.hand_graphs import picture_without_hand
from tests.train.drawn_radiographs import TINY, draw_folder
from tests.train.drawn_targets import EDGE, draw_targets, recipe_for

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

CPU = Engine(accelerator="cpu", devices=1)
SIDE = 96
"""Longer side of the phantoms, pixels; the other is 72."""


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(BoneageError) as caught:
        act()
    return caught.value.code


# --- measures ---


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


# --- units ---


@pytest.mark.parametrize("unit", [AgeUnit(127.0, 41.0), AgeUnit.of_range()])
def test_age_unit_round_trip(unit: AgeUnit) -> None:
    months = torch.tensor([0.0, 100.0, 228.0])
    assert torch.allclose(unit.to_months(unit.from_months(months)), months, atol=1e-4)


def test_age_unit_of_range() -> None:
    """Iglovikov et al., section 4.1."""
    assert AgeUnit.of_range().from_months(torch.tensor([0.0, 120.0, 240.0])).tolist() == [-1.0, 0.0, 1.0]


def test_age_unit_of_radiographs() -> None:
    radiographs = [LabelledRadiograph(str(age), Path("x"), Sex.MALE, age) for age in (90.0, 110.0)]
    assert AgeUnit.of(radiographs) == AgeUnit(100.0, 10.0)
    assert AgeUnit.of(radiographs[:1]) == AgeUnit(90.0, 1.0)  # one age has no spread to divide by
    assert radiograph_labels(radiographs) == {"90.0": [90.0, "M"], "110.0": [110.0, "M"]}


# --- which radiographs ---


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledRadiograph]:
    table = draw_folder(tmp_path_factory.mktemp("phantoms"), count=10, side=SIDE)
    return read_radiographs(table, table.parent / "radiographs")


@pytest.fixture(scope="module")
def targets(radiographs: list[LabelledRadiograph], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_targets(radiographs, tmp_path_factory.mktemp("targets"))


def with_splits(radiographs: Sequence[LabelledRadiograph], splits: Sequence[str | None]) -> list[LabelledRadiograph]:
    return [
        LabelledRadiograph(radiograph.id, radiograph.image, radiograph.sex, radiograph.boneage_months, split)
        for radiograph, split in zip(radiographs, splits, strict=True)
    ]


@settings(max_examples=40, deadline=None)
@given(
    splits=st.lists(st.sampled_from(["train", "validation", None]), min_size=10, max_size=10),
    held_out=st.integers(0, 9),
    seed=st.integers(0, 50),
)
def test_choose_radiographs_held_out_not_trained(
    radiographs: list[LabelledRadiograph],
    targets: dict[str, Path],
    splits: list[str | None],
    held_out: int,
    seed: int,
) -> None:
    recipe = recipe_for("points", targets["points"], data={"held_out": held_out, "split_seed": seed})
    chosen = with_splits(radiographs, splits)
    fixed = {radiograph.id for radiograph in chosen if radiograph.split == "validation"}
    if len(fixed) == 10:
        assert code_of(lambda: choose_radiographs(recipe, chosen)) == "table_split"
        return
    training, validation = ({radiograph.id for radiograph in part} for part in choose_radiographs(recipe, chosen))
    assert not training & validation
    assert training | validation == {radiograph.id for radiograph in radiographs}
    assert len(validation) == (max(len(fixed), held_out) or 2)  # 20 % of ten by default
    assert fixed <= validation


def test_choose_radiographs_needs_targets_and_follows_seed(
    radiographs: list[LabelledRadiograph], targets: dict[str, Path], tmp_path: Path
) -> None:
    """Only radiographs with targets count and the draw follows from its seed."""
    header, *rows = targets["points"].read_text(encoding="utf-8").splitlines()
    some = tmp_path / "some.csv"
    some.write_text("\n".join([header, *rows[:6]]) + "\n", encoding="utf-8")
    recipe = recipe_for("points", some)
    training, validation = choose_radiographs(recipe, radiographs)
    assert {radiograph.id for radiograph in [*training, *validation]} == {
        radiograph.id for radiograph in radiographs[:6]
    }
    assert (len(training), len(validation)) == (3, 3)
    assert choose_radiographs(recipe, radiographs) == (training, validation)
    others = [choose_radiographs(recipe_for("points", some, data={"split_seed": n}), radiographs)[1] for n in range(8)]
    assert any(other != validation for other in others)
    assert code_of(lambda: choose_radiographs(recipe, radiographs[6:])) == "table_split"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    return tmp_path / "tiny.toml"


def test_choose_radiographs_by_split_within_limits(radiographs: list[LabelledRadiograph], tiny: Path) -> None:
    """Ages are split by the tables or a drawn split within limits."""
    training, validation = choose_radiographs(load_recipe(tiny), radiographs)
    assert (len(training), len(validation)) == (8, 2)
    assert not {radiograph.id for radiograph in training} & {radiograph.id for radiograph in validation}
    limited = load_recipe(tiny, ("data.train_limit=5", "data.validation_limit=1"))
    assert [len(part) for part in choose_radiographs(limited, radiographs)] == [5, 1]
    fixed = with_splits(radiographs, ["validation"] * 4 + ["train"] * 6)
    assert [radiograph.id for radiograph in choose_radiographs(load_recipe(tiny), fixed)[1]] == ["0", "1", "2", "3"]
    assert code_of(lambda: choose_radiographs(load_recipe(tiny), [])) == "table_split"


@pytest.mark.parametrize("sex", list(Sex))
def test_choose_radiographs_of_one_sex(radiographs: list[LabelledRadiograph], tiny: Path, sex: Sex) -> None:
    recipe = load_recipe(tiny, (f"data.sexes={sex.value}",))
    training, validation = choose_radiographs(recipe, radiographs)
    assert {radiograph.sex for radiograph in [*training, *validation]} == {sex}
    assert len(training) + len(validation) == 5


@pytest.mark.parametrize("folds", [2, 3])
def test_choose_radiographs_folds_independent_of_order(
    radiographs: list[LabelledRadiograph], tiny: Path, folds: int
) -> None:
    """Folds part the training radiographs whatever the tables order."""
    fixed = with_splits(radiographs, ["validation"] * 4 + ["train"] * 6)
    inside: list[str] = []
    for fold in range(1, folds + 1):
        recipe = load_recipe(tiny, (f"data.folds={folds}", f"data.fold={fold}"))
        training, validation = (
            sorted(radiograph.id for radiograph in part) for part in choose_radiographs(recipe, fixed)
        )
        again = [sorted(radiograph.id for radiograph in part) for part in choose_radiographs(recipe, fixed[::-1])]
        assert again == [training, validation]
        assert sorted([*training, *validation]) == ["4", "5", "6", "7", "8", "9"]
        assert abs(len(validation) - 6 / folds) < 1
        inside += validation
    assert sorted(inside) == ["4", "5", "6", "7", "8", "9"]


def test_choose_radiographs_more_folds_than_radiographs(radiographs: list[LabelledRadiograph], tiny: Path) -> None:
    recipe = load_recipe(tiny, ("data.folds=11", "data.fold=1"))
    assert code_of(lambda: choose_radiographs(recipe, radiographs)) == "table_split"


def test_validate_watched_radiographs_until_last_epoch(
    radiographs: list[LabelledRadiograph], tiny: Path, tmp_path: Path
) -> None:
    """Few radiographs are watched until the last epoch which all measure."""
    recipe = load_recipe(tiny, ("train.epochs=3", "train.watched_radiographs=2"))
    cache = build_cache(radiographs, tmp_path, longest_side=2048)
    task = AgeTask(recipe, radiographs[:4], radiographs[4:], cache)
    network = new_network(recipe).eval()

    def seen(epoch: int) -> int:
        counts: list[int] = []

        def watched(batches: Iterable[Any]) -> Iterable[Any]:
            for batch in batches:
                counts.append(len(batch[0]))
                yield batch

        task.validate(network, epoch, torch.device("cpu"), watched)
        return sum(counts)

    assert [seen(epoch) for epoch in range(3)] == [2, 2, 6]


# --- whole runs ---


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
    assert set(facts) == {"recipe", "train", "validation", "processes"}
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
