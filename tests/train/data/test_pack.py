"""Packed radiographs keep their labels and hands, and views of them are near those of the originals."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.errors import BoneageError
from boneage.geometry import Transform, sample
from boneage.hand.borders import Window
from boneage.hand.mask import whole_hand
from boneage.hand.registration import HAND_REGIONS, Hand
from boneage.hand.views import GreyScale, ViewSpec, cut_view
from boneage.phantom import draw_hand, phantom_points
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.hands import HandTable, open_hands
from boneage.train.data.pack import (
    GREY_MARGIN,
    LEAST_QUALITY,
    MOST_QUALITY,
    Crop,
    hand_crop,
    needed_hand_pixels,
    whole_crop,
)
from boneage.train.data.unpack import RECORD, unpacked_table
from boneage.train.recipe import load_recipe
from tests.bundles import REGION_VIEWS
from tests.train.packed_radiographs import HAND_PIXELS, DrawnTable, draw_table, files_of

VIEWS = (*REGION_VIEWS, ViewSpec("D", 48, 64, "hand"), ViewSpec("E", 40, 64, "hand"))

TOLERANCE = 0.08
"""Largest mean difference of a view, in standard deviations of the grey levels of the hand.

Most of it is the grey scale: it is measured on a copy of 256 pixels, which averages less of the phantoms' strong noise
if the radiograph is cut."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> DrawnTable:
    return draw_table(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def archive(drawn: DrawnTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drawn.pack(tmp_path_factory.mktemp("archive") / "training.zip")


@pytest.fixture(scope="module")
def unpacked(
    archive: Path, drawn: DrawnTable, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[LabelledRadiograph], RadiographCache, HandTable]:
    """The radiographs on another machine."""
    folder = tmp_path_factory.mktemp("elsewhere")
    radiographs = read_radiographs(unpacked_table(archive, folder))
    cache = build_cache(radiographs, folder, longest_side=2048)
    return radiographs, cache, open_hands(str(drawn.finder), radiographs, cache)


def test_pack_keeps_table(
    drawn: DrawnTable, unpacked: tuple[list[LabelledRadiograph], RadiographCache, HandTable]
) -> None:
    """Rows, order, labels, splits and groups are those of the table, so that folds stay the same."""
    radiographs, cache, hands = unpacked
    place = Path()
    assert [replace(one, image=place) for one in radiographs] == [
        replace(one, image=place) for one in drawn.radiographs
    ]
    assert hands.ids == drawn.hands.ids
    assert len(hands.ids) == 6
    assert hands.rejected == drawn.hands.rejected == {"none": "no_hand"}
    assert cache.rejected == drawn.cache.rejected == {"broken": "unreadable"}


def test_pack_keeps_hands(
    drawn: DrawnTable, unpacked: tuple[list[LabelledRadiograph], RadiographCache, HandTable]
) -> None:
    """Key points lie at the same place of the original, and masks are equal."""
    _, cache, hands = unpacked
    for radiograph_id in hands.ids:
        original, packed = drawn.hands.hand(radiograph_id), hands.hand(radiograph_id)
        crop = hand_crop(original, drawn.cache.shape(radiograph_id), HAND_PIXELS)
        assert cache.shape(radiograph_id) == crop.shape
        assert crop.shape < drawn.cache.shape(radiograph_id)
        assert np.allclose(crop.to_radiograph.points(packed.points_xy), original.points_xy, rtol=0, atol=1e-9)
        assert packed.length_pixels == pytest.approx(HAND_PIXELS, rel=0.005)
        assert np.array_equal(packed.mask, original.mask)
        assert (packed.inverted, packed.mirrored, packed.spread) == (
            original.inverted,
            original.mirrored,
            original.spread,
        )
        corner = np.zeros((1, 2))
        on_original = original.radiograph_to_mask.points(crop.to_radiograph.points(corner))
        assert np.allclose(packed.radiograph_to_mask.points(corner), on_original, rtol=0, atol=1e-9)


@pytest.mark.parametrize("spec", VIEWS, ids=lambda spec: spec.region)
def test_pack_views_near_originals(
    spec: ViewSpec, drawn: DrawnTable, unpacked: tuple[list[LabelledRadiograph], RadiographCache, HandTable]
) -> None:
    _, cache, hands = unpacked
    for radiograph_id in hands.ids:
        original = cut_view(drawn.cache.pixels(radiograph_id), spec, hand=drawn.hands.hand(radiograph_id))
        packed = cut_view(cache.pixels(radiograph_id), spec, hand=hands.hand(radiograph_id))
        assert np.abs(packed - original).mean() < TOLERANCE
        assert np.corrcoef(packed.ravel(), original.ravel())[0, 1] > 0.99


def test_open_hands_takes_packed_hands(
    drawn: DrawnTable,
    unpacked: tuple[list[LabelledRadiograph], RadiographCache, HandTable],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hands of the same networks are not located again, on any part of the table."""
    radiographs, cache, hands = unpacked
    monkeypatch.setattr(Bundle, "find_hand", None)
    assert hands.folder == open_hands(str(drawn.finder), radiographs[:2], cache).folder
    assert hands.folder.parent == radiographs[0].image.parent.parent


def test_open_hands_locates_again_by_other_networks(
    drawn: DrawnTable,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    radiographs = read_radiographs(unpacked_table(archive, tmp_path))[:3]
    cache = build_cache(radiographs, tmp_path, longest_side=2048)
    monkeypatch.setattr("boneage.train.data.hands.HANDS_VERSION", 1000)
    located = open_hands(str(drawn.finder), radiographs, cache)
    assert located.folder.parent == tmp_path
    assert "other networks than those of finder" in caplog.text
    for radiograph_id in located.ids:  # the hand is found at the same place on the packed radiograph
        crop = hand_crop(drawn.hands.hand(radiograph_id), drawn.cache.shape(radiograph_id), HAND_PIXELS)
        moved = drawn.hands.hand(radiograph_id).on(crop.to_radiograph)
        assert np.abs(located.hand(radiograph_id).points_xy - moved.points_xy).max() < 0.03 * HAND_PIXELS


def test_open_hands_locates_again_on_reduced_radiographs(
    drawn: DrawnTable, archive: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Packed hands lie in the pixels of the packed radiographs, and not in those of a smaller copy."""
    radiographs = read_radiographs(unpacked_table(archive, tmp_path))[:2]
    cache = build_cache(radiographs, tmp_path, longest_side=200)
    located = open_hands(str(drawn.finder), radiographs, cache)
    assert located.folder.parent == tmp_path
    assert "reduced further" in caplog.text
    assert located.hand(radiographs[0].id).length_pixels < 0.9 * HAND_PIXELS


def test_pack_same_bytes(drawn: DrawnTable, archive: Path, tmp_path: Path) -> None:
    """The bytes do not depend on the file's own name either."""
    again = drawn.pack(tmp_path / "another name.zip")
    assert again.read_bytes() == archive.read_bytes()


def test_pack_finds_quality_that_fits(drawn: DrawnTable, archive: Path, tmp_path: Path) -> None:
    """A smaller file has a lower quality, and one too small is rejected and not written."""
    assert json.loads(files_of(archive)[RECORD])["quality"] == MOST_QUALITY
    size = 0.8 * archive.stat().st_size
    smaller = drawn.pack(tmp_path / "smaller.zip", megabytes=size / 1e6)
    assert 0.9 * size < smaller.stat().st_size <= size
    assert LEAST_QUALITY <= json.loads(files_of(smaller)[RECORD])["quality"] < MOST_QUALITY
    with pytest.raises(BoneageError, match=r"need 0\.0[1-9] MB at the lowest quality, more than 0\.01 MB") as caught:
        drawn.pack(tmp_path / "none.zip", megabytes=0.01)
    assert caught.value.code == "table_archive_size"
    assert [path.name for path in tmp_path.iterdir()] == ["smaller.zip"]


def test_pack_opens_with_any_program(archive: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert b"boneage build small --radiographs ARCHIVE.zip" in opened.read("README.txt")
        assert {member.date_time for member in opened.infolist()} == {(1980, 1, 1, 0, 0, 0)}


# --- crops ---


@cache
def upright_phantom() -> NDArray[np.float32]:
    return draw_hand(9.0, height=400, width=300)


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(degrees=st.floats(0, 360), zoom=st.floats(0.4, 1.0), x=st.floats(-60, 60), y=st.floats(-60, 60))
def test_hand_crop_holds_all_views(degrees: float, zoom: float, x: float, y: float) -> None:
    """No view of a region depends on a pixel outside of the crop, wherever the hand lies."""
    upright = upright_phantom()
    place = Transform.shift(100, 50).then(Transform.scale(zoom)).then(Transform.rotation(degrees).about(250, 250))
    place = place.then(Transform.shift(x, y))
    pixels = sample(upright, place, 500, 500, fill=0.03)
    hand = Hand(
        points_xy=place.points(phantom_points(height=400, width=300)),
        mask=whole_hand(sample(upright, place, 500, 500) * 2),
        radiograph_to_mask=Transform(),
    )
    window = hand_crop(hand, (500, 500), 1000.0).window
    blotted = np.random.default_rng(1).random((500, 500)).astype(np.float32)
    window.cut(blotted)[:] = window.cut(pixels)
    for region in HAND_REGIONS:
        spec = ViewSpec(region, 96, 80, "hand")
        assert np.allclose(cut_view(blotted, spec, hand=hand), cut_view(pixels, spec, hand=hand), atol=1e-4), region


@given(low=st.floats(0.05, 0.4), span=st.floats(0.05, 0.5), inverted=st.booleans())
def test_with_greys_stretches_those_of_the_hand(low: float, span: float, inverted: bool) -> None:
    """A dark hand fills most of the range, and grey levels keep their order and distances."""
    levels = np.linspace(low, low + span, 40, dtype=np.float32)[None]
    pixels = 1 - levels if inverted else levels
    crop = Crop(Window.of(pixels.shape), 1.0).with_greys(GreyScale(low, low + span, 0.0, 1.0), inverted=inverted)
    cut = crop.cut(pixels)[0].astype(np.float64)
    steps = np.diff(cut[::-1] if inverted else cut)
    assert steps.sum() == pytest.approx(255 / (1 + 2 * GREY_MARGIN), abs=2)
    assert np.allclose(steps, steps.mean(), atol=1.01)
    outside = np.array([[pixels.min() - span, pixels.max() + span]], np.float32)
    assert crop.cut(np.repeat(outside, 20, axis=1))[0, [0, -1]].tolist() == [0, 255]


def test_whole_crop_reduces_large_radiographs_only() -> None:
    assert whole_crop((200, 150), 130.0).shape == (200, 150)
    assert whole_crop((3000, 2000), 130.0).shape == (208, 139)


@pytest.mark.parametrize(
    ("recipe", "pixels"),
    [
        ("distribution-a", 1500 * 192 / 2000 * 1.5 * 1.12),
        ("distribution-b", 1500 * 96 / 750 * 1.5 * 1.12),
        ("distribution-bones", 1500 * 96 / 200 * 1.5 * 1.1),
    ],
)
def test_needed_hand_pixels_by_hand(recipe: str, pixels: float) -> None:
    assert needed_hand_pixels(load_recipe(recipe)) == pytest.approx(pixels)


def test_needed_hand_pixels_rejects_whole_radiographs() -> None:
    with pytest.raises(BoneageError) as caught:
        needed_hand_pixels(load_recipe("residual"))
    assert caught.value.code == "recipe_invalid"
