"""Views with joints: where they lie on the view, and which radiographs are drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.hand.joints import JOINT_NAMES, Joints
from boneage.hand.views import view_transform
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.annotations import read_joints
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.data.joint_views import JointViews
from boneage.train.recipe import Recipe, parse_recipe
from tests.bundles import tiny_bundle
from tests.train.drawn_radiographs import draw_folder

Drawn = tuple[list[LabelledRadiograph], RadiographCache, HandTable, dict[str, NDArray[np.float64]]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Phantoms with the joints of a typical hand, of which the last has two annotated joints only."""
    folder = tmp_path_factory.mktemp("joints")
    radiographs = read_radiographs(draw_folder(folder, 4))
    cache = build_cache(radiographs, folder / "cache", longest_side=256)
    bundle = Bundle.open(tiny_bundle(folder / "tiny", hand=True), threads=1)
    hands = open_hands(str(bundle.directory), radiographs, cache)
    joints = {}
    for radiograph in radiographs:
        height, width = cache.pixels(radiograph.id).shape
        to_radiograph = hands.hand(radiograph.id).radiograph_to_frame.inverse()
        joints[radiograph.id] = to_radiograph.points(Joints.typical().frame_xy) / (width, height)
    joints[radiographs[-1].id][2:] = np.nan
    return radiographs, cache, hands, joints


def recipe(**train: int) -> Recipe:
    return parse_recipe(
        {
            "title": "tiny joints",
            "task": "joints",
            "view": {"region": "A", "height": 64, "width": 48, "grey": "hand"},
            "data": {"hands": "tiny", "targets": "joints.csv"},
            "augment": {"rotation_degrees": 10.0, "zoom": 0.1, "shift": 0.03, "gamma": 0.5},
            "train": {"workers": 0, **train},
        }
    )


def test_views_have_joints_where_the_frame_has_them(drawn: Drawn) -> None:
    radiographs, cache, hands, joints = drawn
    views = JointViews(radiographs, cache, hands, joints, recipe())
    view, points_xy, on_view = views[0]
    hand, spec = hands.hand(radiographs[0].id), recipe().view
    expected = view_transform(cache.pixels(radiographs[0].id).shape, spec, hand).points(
        joints[radiographs[0].id] * cache.pixels(radiographs[0].id).shape[::-1]
    )
    assert view.shape == (1, 64, 48)
    np.testing.assert_allclose(points_xy[on_view > 0], expected[on_view.numpy() > 0], atol=1e-3)
    assert on_view.sum() == len(JOINT_NAMES)


def test_missing_joints_do_not_count(drawn: Drawn) -> None:
    radiographs, cache, hands, joints = drawn
    _, points_xy, on_view = JointViews(radiographs, cache, hands, joints, recipe())[len(radiographs) - 1]
    assert on_view.sum() == 2
    assert np.isfinite(points_xy.numpy()).all()


def test_training_views_repeat_and_move(drawn: Drawn) -> None:
    radiographs, cache, hands, joints = drawn
    first, again, other = (
        JointViews(radiographs, cache, hands, joints, recipe(), epoch=epoch)[0] for epoch in (1, 1, 2)
    )
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[1], other[1])


def test_radiographs_are_drawn_by_number_of_joints(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    radiographs, cache, hands, joints = drawn
    views = JointViews(radiographs, cache, hands, joints, recipe(views_per_epoch=400), epoch=0)
    seen: Counter[str] = Counter()
    pixels = RadiographCache.pixels

    def noted(of: RadiographCache, radiograph_id: str) -> NDArray[np.float32]:
        seen[radiograph_id] += 1
        return pixels(of, radiograph_id)

    monkeypatch.setattr(RadiographCache, "pixels", noted)
    assert len(views) == 400
    for index in range(400):
        views[index]
    share = seen[radiographs[-1].id] / 400
    assert share < 0.08  # 2 of 71 annotated joints
    assert all(seen[one.id] > 80 for one in radiographs[:-1])


def test_read_joints_has_nan_for_empty_cells(tmp_path: Path) -> None:
    columns = [f"{name}_{axis}" for name in JOINT_NAMES for axis in "xy"]
    cells = ["0.5"] * len(columns)
    cells[4:6] = ["", ""]
    table = tmp_path / "joints.csv"
    table.write_text(",".join(["id", *columns]) + "\n" + ",".join(["7", *cells]) + "\n", encoding="utf-8")
    joints = read_joints(table)["7"]
    assert np.isnan(joints[2]).all()
    assert np.isfinite(np.delete(joints, 2, axis=0)).all()
