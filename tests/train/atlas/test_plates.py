"""The open atlas's maker: the rules on radiographs, weights and similarity to any one radiograph."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.errors import AtlasError, Rejection
from boneage.hand.views import measure_grey
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split, read_radiographs
from boneage.train.atlas.correlation import radiograph_correlations
from boneage.train.atlas.make_atlas import INDEX_COLUMNS, LARGEST_CORRELATION, PLATE_MONTHS, make_atlas
from boneage.train.atlas.mean_hand import PLATE_HEIGHT, PLATE_WIDTH, MeanHand, RegisteredRadiograph
from boneage.train.atlas.plates import make_plate, plate_picture, stored_as
from boneage.train.atlas.selection import (
    AGE_TOLERANCE_MONTHS,
    FEWEST_RADIOGRAPHS,
    age_weights,
    choose_radiographs,
    effective_count,
    trust_in,
    window_months,
)
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.hands import HandTable, find_hands
from tests.bundles import tiny_bundle
from tests.train.bent_hands import bent_radiographs

AGES = [90, 90, 91, 92, 92, 93, 94, 95, 95, 96, 96, 96, 96, 96, 97, 97, 98, 98, 99, 99, 100, 101, 102, 103, 104, 96]
Source = tuple[list[LabelledRadiograph], RadiographCache, HandTable]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "hands"
    return Bundle.open(tiny_bundle(folder, name="hands", views=(), hand=True, metrics={}), threads=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Source:
    folder = tmp_path_factory.mktemp("radiographs")
    radiographs = bent_radiographs(folder, AGES) + bent_radiographs(folder, [96.0, 97.0], Sex.MALE)
    cache = build_cache(radiographs, folder, longest_side=2048)
    return radiographs, cache, find_hands(radiographs, cache, bundle, folder)


# --- weights ---

RADIOGRAPH_AGES = st.lists(st.floats(60, 120), min_size=2, max_size=40).map(np.array)


@given(RADIOGRAPH_AGES, st.floats(70, 110), st.integers(0, 100))
def test_age_weights_bring_mean_label_to_age(ages: np.ndarray, age_months: float, seed: int) -> None:
    trust = np.random.default_rng(seed).uniform(0, 1, len(ages))
    trust[0] = 0
    weights = age_weights(ages, trust, age_months)
    if weights is None:
        return
    assert weights.sum() == pytest.approx(1)
    assert weights.min() >= 0
    assert weights[0] == 0
    one_sided = (ages[1:] >= age_months).all() or (ages[1:] <= age_months).all()  # the first does not count
    assert weights @ ages == pytest.approx(age_months, abs=AGE_TOLERANCE_MONTHS if one_sided else 1e-3)


@given(RADIOGRAPH_AGES, st.floats(1, 30))
def test_age_weights_beyond_labels_is_none(ages: np.ndarray, beyond: float) -> None:
    assert age_weights(ages, np.ones(len(ages)), float(ages.max() + beyond)) is None
    assert age_weights(ages, np.ones(len(ages)), float(ages.min() - beyond)) is None
    assert age_weights(ages, np.zeros(len(ages)), float(ages.mean())) is None


@given(st.lists(st.integers(-999, 999), min_size=2, max_size=80, unique=True).map(lambda row: np.array(row) / 1000))
def test_trust_in_drops_worst_of_many(agreement: np.ndarray) -> None:
    """The worst of many hands do not count and no few are dropped."""
    trust = trust_in(agreement)
    order = np.argsort(agreement)
    assert (np.diff(trust[order]) >= 0).all()
    assert trust.max() == 1
    dropped = np.count_nonzero(trust == 0) / len(agreement)
    assert dropped == pytest.approx(0.2 if len(agreement) >= 40 else 0.05 if len(agreement) >= 25 else 0, abs=0.04)


@given(st.integers(1, 50))
def test_effective_count_of_even_weights(count: int) -> None:
    assert effective_count(np.full(count, 1 / count)) == pytest.approx(count)


# --- radiographs ---


def test_choose_radiographs_by_sex_age_and_hand(source: Source) -> None:
    """Radiographs are of one sex near in age and have a hand."""
    radiographs, _, hands = source
    chosen = choose_radiographs(radiographs, hands, Sex.FEMALE, 96, seed=3)
    assert {radiograph.sex for radiograph in chosen} == {Sex.FEMALE}
    assert len({radiograph.id for radiograph in chosen}) == len(chosen) >= FEWEST_RADIOGRAPHS
    assert all(abs(radiograph.boneage_months - 96) <= window_months(96) for radiograph in chosen)
    assert {
        radiograph.id for radiograph in radiographs if radiograph.boneage_months == 96 and radiograph.sex is Sex.FEMALE
    } <= {f.id for f in chosen}
    assert chosen == choose_radiographs(radiographs, hands, Sex.FEMALE, 96, seed=3)
    assert len(choose_radiographs(radiographs, hands, Sex.MALE, 96)) == 2


@given(st.floats(0, 228))
def test_window_months_narrow_for_infants(age_months: float) -> None:
    assert 6 <= window_months(age_months) <= 12
    assert window_months(age_months) <= window_months(age_months + 1)


def test_plate_months_rise() -> None:
    for ages in PLATE_MONTHS.values():
        assert (np.diff(ages) > 0).all()
        assert ages[0] == 0


# --- plates ---


def test_make_atlas_of_radiographs_leaves_plates_out(source: Source, tmp_path: Path) -> None:
    """An atlas is made of radiographs and leaves out what it must."""
    radiographs, cache, hands = source
    assert hands.rejected == {}
    out = tmp_path / "made"
    ages = {Sex.FEMALE: (96, 104), Sex.MALE: (96,)}
    made = make_atlas(radiographs, cache, hands, out, name="drawn", processes=1, ages_months=ages)
    assert [one.plate.key for one in made] == ["F-096", "F-104", "M-096"]
    assert [bool(one.left_out) for one in made] == [False, True, True]
    assert "2 radiographs" in made[2].left_out
    atlas = Atlas.open(out)
    (plate,) = atlas.plates
    assert (plate.key, atlas.name) == ("F-096", "drawn")
    assert plate.count is not None
    assert FEWEST_RADIOGRAPHS <= plate.count <= len(radiographs) - 2
    (row,) = csv.DictReader((out / "index.csv").read_text(encoding="utf-8").splitlines())
    assert tuple(row) == INDEX_COLUMNS
    assert abs(float(row["mean_age_months"]) - 96) <= AGE_TOLERANCE_MONTHS
    assert float(row["effective_count"]) >= FEWEST_RADIOGRAPHS
    assert set(json.loads((out / "atlas.json").read_text(encoding="utf-8"))["left_out"]) == {"F-104", "M-096"}
    # The correlation that is kept is the highest of all radiographs of the sex, asked one by one.
    picture = atlas.picture(plate)
    one_by_one = [
        radiograph_correlations([picture], cache.pixels(radiograph.id), hands.hand(radiograph.id))[0]
        for radiograph in radiographs
        if radiograph.sex is Sex.FEMALE
    ]
    assert float(row["highest_correlation"]) == pytest.approx(max(one_by_one), abs=1e-4)
    assert max(one_by_one) < LARGEST_CORRELATION
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


def test_make_plate_of_few_radiographs_left_out(source: Source) -> None:
    radiographs, cache, hands = source
    few = make_plate(radiographs[: FEWEST_RADIOGRAPHS - 1], cache, hands, Sex.FEMALE, 96)
    assert few.picture is None
    assert few.left_out


def test_make_atlas_without_plates_rejected(source: Source, tmp_path: Path) -> None:
    radiographs, cache, hands = source
    with pytest.raises(AtlasError, match="atlas_invalid"):
        make_atlas(radiographs, cache, hands, tmp_path / "made", processes=1, ages_months={Sex.MALE: (96,)})
    assert list(tmp_path.iterdir()) == []


# --- how near a radiograph is ---


@pytest.mark.parametrize(("number", "gain"), [(0, 1.0), (7, 0.5), (26, 0.8)])
def test_radiograph_correlations_of_own_plate(source: Source, number: int, gain: float) -> None:
    radiographs, cache, hands = source
    radiograph = radiographs[number]
    pixels, hand = cache.pixels(radiograph.id), hands.hand(radiograph.id)
    registered = RegisteredRadiograph(pixels, hand, measure_grey(pixels, "hand", hand))
    grey, inside, _ = registered.on_plate(np.zeros((PLATE_HEIGHT, PLATE_WIDTH, 2), np.float32), 1)
    alone = MeanHand(np.float32(gain) * grey, inside, np.ones(1), np.ones(1), 1.0)
    picture = stored_as(plate_picture(alone))
    (own,) = radiograph_correlations([picture], pixels, hand)
    others = [
        radiograph_correlations([picture], cache.pixels(f.id), hands.hand(f.id))[0]
        for f in radiographs[:9]
        if f is not radiograph
    ]
    assert own > LARGEST_CORRELATION
    assert own > max(others)


def test_radiograph_correlations_off_plate(source: Source) -> None:
    radiographs, cache, hands = source
    picture = np.zeros((512, 462), np.uint8)
    assert radiograph_correlations([picture], cache.pixels(radiographs[0].id), hands.hand(radiographs[0].id)) == [0.0]


@pytest.mark.data
@pytest.mark.timeout(900)
def test_radiograph_correlations_of_shipped_plates(data_folder: Path) -> None:
    """Check two plates of each sex: that of the fewest radiographs, and the one with the highest correlation.

    Each is compared with the 40 radiographs that are nearest in age.
    """
    bundle = Bundle.open(threads=1)
    radiographs = radiographs_of_split(read_radiographs(data_folder / "rsna" / "radiographs.csv"), "train")
    atlas = Atlas.open()
    index = (atlas.directory / "index.csv").read_text(encoding="utf-8")
    rows = {row["file"]: row for row in csv.DictReader(index.splitlines())}
    for sex in Sex:
        plates = sorted(atlas.for_sex(sex), key=lambda plate: plate.count or 0)
        nearest = max(plates, key=lambda plate: float(rows[plate.file]["highest_correlation"]))
        for plate in {plates[0], nearest}:
            near = [f for f in radiographs if f.sex is sex and abs(f.boneage_months - plate.age_months) <= 12]
            near = sorted(near, key=lambda radiograph: abs(radiograph.boneage_months - plate.age_months))[:40]
            highest = max(_correlations(near, bundle, atlas.picture(plate)))
            assert highest < LARGEST_CORRELATION, plate.key
            assert highest <= float(rows[plate.file]["highest_correlation"]) + 2e-3


def _correlations(radiographs: list[LabelledRadiograph], bundle: Bundle, picture: np.ndarray) -> list[float]:
    correlations = []
    for radiograph in radiographs:
        pixels = read_radiograph(radiograph.image).pixels
        try:
            correlations.append(float(radiograph_correlations([picture], pixels, bundle.find_hand(pixels))[0]))
        except Rejection:
            continue  # no hand that could be registered went into a plate
    return correlations
