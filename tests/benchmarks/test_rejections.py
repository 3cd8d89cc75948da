"""Images of benchmarks/rejections.py match their descriptions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from boneage.evaluate.perturbations import to_png
from boneage.phantom import draw_hand, phantom_points
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from tests.bundles import tiny_bundle
from tests.programs import load_program


@pytest.fixture(scope="module")
def rejections() -> ModuleType:
    return load_program("benchmarks/rejections.py")


@pytest.fixture
def radiographs(tmp_path: Path) -> list[LabelledRadiograph]:
    labelled = []
    for number in range(4):
        pixels = draw_hand(5.0 + number, height=400, width=300, seed=number)
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.rint(255 * pixels).astype(np.uint8))
        labelled.append(LabelledRadiograph(str(number), tmp_path / f"{number}.png", Sex.MALE, 60.0, "validation"))
    return labelled


@pytest.mark.parametrize("kind", ["_noise", "_blank", "_scene", "_page"])
def test_drawn_images_reach_the_networks(rejections: ModuleType, kind: str) -> None:
    """Images that the reader rejects would not test the networks."""
    draw: Callable[[np.random.Generator], np.ndarray] = getattr(rejections, kind)
    pictures = [draw(np.random.default_rng(seed)) for seed in range(6)]
    for picture in pictures:
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert read_radiograph(to_png(picture)).pixels.shape == picture.shape
    assert (pictures[0] != pictures[1]).any()
    assert np.array_equal(pictures[0], draw(np.random.default_rng(0)))


def test_photographs_are_crops_of_given_ones(rejections: ModuleType) -> None:
    whole = np.linspace(0, 1, 300 * 200, dtype=np.float32).reshape(300, 200)
    for seed in range(10):
        picture = rejections._photograph(np.random.default_rng(seed), [whole])
        assert 540 == min(picture.shape) <= max(picture.shape) <= 1081
        assert read_radiograph(to_png(picture)).pixels.shape == picture.shape


def test_arranged_pairs_show_both_radiographs(rejections: ModuleType, radiographs: list[LabelledRadiograph]) -> None:
    """Each has what is bright of either: more than the larger radiograph alone."""
    alone = float(np.count_nonzero(read_radiograph(radiographs[0].image).pixels > 0.4)) * (720 / 400) ** 2
    assert len(rejections.ARRANGEMENTS) == 6
    for name, arrange in rejections.ARRANGEMENTS.items():
        pairs = list(rejections._arranged_pairs(np.random.default_rng(1), radiographs, arrange))
        assert len(pairs) == 2
        for picture in pairs:
            assert read_radiograph(to_png(picture)).pixels.shape == picture.shape
            assert np.count_nonzero((picture > 0.4) & (picture < 1)) > 1.1 * alone, name


def test_two_hands_combines_two_radiographs(rejections: ModuleType, radiographs: list[LabelledRadiograph]) -> None:
    pairs = list(rejections._pairs(np.random.default_rng(0), radiographs))
    assert len(pairs) == 2
    above, beside = pairs
    assert above.shape[0] > 2 * 700 > above.shape[1]
    assert beside.shape[0] == 720
    assert beside.shape[1] >= 2 * 540
    half = beside[:, -540:]
    second = cv2.resize(read_radiograph(radiographs[3].image).pixels[:, ::-1], (540, 720), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(half.ravel(), second.ravel())[0, 1] > 0.98
    assert (half.min(), half.max()) == pytest.approx((0, 1), abs=0.02)  # both in the whole range of greys


def test_forearms_begin_beyond_the_wrist(rejections: ModuleType, tmp_path: Path) -> None:
    """All above the cut is made white: no white may be seen."""
    points_xy = phantom_points(height=400, width=300)
    length = points_xy[2, 1] - points_xy[0, 1]
    pixels = np.broadcast_to(np.linspace(20, 110, 300).astype(np.uint8), (400, 300)).copy()
    pixels[: round(points_xy[2, 1] + 0.34 * length)] = 255
    cv2.imwrite(str(tmp_path / "0.png"), pixels)
    radiograph = LabelledRadiograph("0", tmp_path / "0.png", Sex.MALE, 60.0)
    (crop,) = rejections._forearms([radiograph], lambda radiograph, pixels: points_xy)
    assert crop.max() < 0.5
    assert min(crop.shape) >= 400
    read_radiograph(to_png(crop))
    lower = points_xy + np.array([0, 0.2 * length])  # little forearm is left
    assert not list(rejections._forearms([radiograph], lambda radiograph, pixels: lower))
    assert not list(
        rejections._forearms([radiograph], lambda radiograph, pixels: points_xy[:, ::-1])
    )  # the hand lies on its side
    assert not list(rejections._forearms([radiograph], lambda radiograph, pixels: None))


def test_points_come_from_a_table_of_fractions(
    rejections: ModuleType, tmp_path: Path, radiographs: list[LabelledRadiograph]
) -> None:
    table = tmp_path / "points.csv"
    table.write_text(
        "id,middle_tip_x,middle_tip_y,thumb_tip_x,thumb_tip_y,capitate_x,capitate_y\n0,0.5,0.1,0.9,0.4,0.5,0.7\n"
    )
    find = rejections._by_table(table, lambda radiograph, pixels: None)
    pixels = np.zeros((400, 300), np.float32)
    np.testing.assert_allclose(find(radiographs[0], pixels), [[150, 40], [270, 160], [150, 280]])
    assert find(radiographs[1], pixels) is None


def test_rejections_table_has_each_kind(
    rejections: ModuleType,
    tmp_path: Path,
    radiographs: list[LabelledRadiograph],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [f"{radiograph.id},60,True,validation,{radiograph.image.name}" for radiograph in radiographs]
    (tmp_path / "radiographs.csv").write_text("id,boneage,male,split,image\n" + "\n".join(rows) + "\n")
    bundle = tiny_bundle(tmp_path / "bundle")
    given = ["--bundle", str(bundle), "--radiographs", str(tmp_path / "radiographs.csv"), "--each", "2"]
    monkeypatch.setattr(sys, "argv", ["rejections.py", *given, "--keep", str(tmp_path / "kept")])
    rejections.main()
    lines = capsys.readouterr().out.splitlines()
    kinds = [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:]
    assert kinds[:4] == ["noise", "blank", "computed scene", "page"]
    pairs = ["two hands", *(f"two hands, {name}" for name in rejections.ARRANGEMENTS)]
    assert kinds[-10:] == [*pairs, "forearm", "**all that are not one hand**", "radiographs, validation"]
    forearm, real = lines[-3], lines[-1]
    assert "| 0 | none made |" in forearm  # neither a table of points nor networks that find them
    assert "| 4 | 0.0% |" in real
    assert len(list((tmp_path / "kept").iterdir())) >= 8  # this bundle takes anything for a hand
