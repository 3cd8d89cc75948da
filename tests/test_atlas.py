"""The reference atlas: the shipped one, a user's own, their descriptions, plates and similarity."""

from __future__ import annotations

import csv
import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from boneage.atlas import SHIPPED_ATLASES, Atlas, contact_sheet, list_atlases, similarity_distance, similarity_member
from boneage.atlas_index import AtlasDescription, Plate
from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.errors import AtlasError, BundleError
from boneage.hand.views import ViewSpec
from boneage.sex import Sex
from tests.atlases import AGES_MONTHS, draw_atlas
from tests.bundles import REGION_VIEWS, TINY_VIEW, tiny_bundle
from tests.hand_graphs import picture_without_hand

SHIPPED = Atlas.open()
LARGEST_BYTES = 3e6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_atlas(tmp_path_factory.mktemp("atlases") / "own")


@pytest.fixture(scope="module")
def atlas(folder: Path) -> Atlas:
    return Atlas.open(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With hand networks, whose member on region A is not the first."""
    views = (REGION_VIEWS[1], REGION_VIEWS[0], REGION_VIEWS[2])
    path = tiny_bundle(tmp_path_factory.mktemp("bundles") / "regions", views=views, hand=True)
    return Bundle.open(path, threads=1)


# --- the shipped atlas ---


def test_open_default_is_the_shipped_atlas() -> None:
    assert (SHIPPED.name, SHIPPED.is_own) == ("open", False)
    assert [one.name for one in list_atlases()] == ["open"]
    assert [plate.key for plate in Atlas.open("open").plates] == [plate.key for plate in SHIPPED.plates]
    about = SHIPPED.about
    assert min(map(len, (about.title, about.made, about.licence))) > 20


def test_shipped_plates_average_20_radiographs_or_more() -> None:
    rows = list(csv.DictReader((SHIPPED.directory / "index.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(SHIPPED.plates) > 40
    for row, plate in zip(rows, SHIPPED.plates, strict=True):
        assert row["file"] == f"{plate.key}.webp"
        assert min(int(row["count"]), float(row["effective_count"])) >= 20, plate.key
        assert 0 < float(row["highest_correlation"]) < 0.98, plate.key
        assert abs(float(row["mean_age_months"]) - plate.age_months) <= 0.5, plate.key
        assert float(row["youngest_months"]) <= plate.age_months <= float(row["oldest_months"])


def test_shipped_plates_cover_two_to_seventeen_years() -> None:
    for sex in Sex:
        ages = [plate.age_months for plate in SHIPPED.for_sex(sex)]
        assert ages[0] <= 24
        assert ages[-1] >= 204
        assert max(np.diff(ages)) <= 14
    for key, reason in SHIPPED.about.left_out.items():
        assert key not in {plate.key for plate in SHIPPED.plates}
        assert reason


def test_shipped_folder_is_small_and_has_named_files_only() -> None:
    files = list(SHIPPED.directory.iterdir())
    assert sum(file.stat().st_size for file in files) < LARGEST_BYTES
    named = {plate.file for plate in SHIPPED.plates} | {"index.csv", "atlas.json", "embeddings.npz"}
    assert {file.name for file in files} == named


def test_picture_shipped_is_a_bright_hand_on_black() -> None:
    for plate in SHIPPED.plates:
        picture = SHIPPED.picture(plate)
        assert picture.shape == (512, 462)
        assert picture[:8].max() <= 2, plate.key  # air
        assert np.median(picture[:200, [0, -1]]) == 0
        assert 0.2 < (picture > 8).mean() < 0.7
        assert picture.max() > 230


def test_shipped_plates_are_assessed_near_their_age() -> None:
    """A sample of the plates; `boneage atlas check` assesses all."""
    bundle = Bundle.open(threads=1)
    off = []
    for sex in Sex:
        judged = [plate for plate in SHIPPED.for_sex(sex) if 24 <= plate.age_months <= 204]
        for plate in judged[2::6]:
            assessment = assess(SHIPPED.directory / plate.file, sex, bundle)
            off.append(abs(assessment.age_months - plate.age_months))
    assert np.mean(off) <= 6


def test_embeddings_shipped_are_those_of_the_default_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(threads=1)
    plate = SHIPPED.for_sex(Sex.MALE)[20]
    computed = assess(SHIPPED.directory / plate.file, plate.sex, bundle).embeddings[
        similarity_member(bundle, plate.sex).name
    ]
    monkeypatch.setattr(bundle, "run", None)  # reading them takes no network
    kept = Atlas.open().embeddings(bundle)
    assert set(kept) == {plate.key for plate in SHIPPED.plates}
    np.testing.assert_allclose(kept[plate.key], computed, atol=1e-3)


# --- probabilities ---


@given(seed=st.integers(0, 10**6), sex=st.sampled_from(Sex))
def test_most_probable_plates(seed: int, sex: Sex) -> None:
    """The months of the distribution are divided among the plates of a sex, each to the nearest one."""
    distribution = np.random.default_rng(seed).dirichlet(np.full(240, 0.1))
    shares: dict[str, float] = {}
    for month, probability in enumerate(distribution.tolist()):
        key = SHIPPED.nearest_by_age(sex, month).key
        shares[key] = shares.get(key, 0.0) + probability
    plates = SHIPPED.most_probable(sex, distribution, len(SHIPPED.plates))
    assert sum(share for _, share in plates) == pytest.approx(1)
    assert {plate.key: share for plate, share in plates if share} == pytest.approx(shares)
    assert [share for _, share in plates] == sorted((share for _, share in plates), reverse=True)
    assert SHIPPED.most_probable(sex, distribution) == plates[:3]


def test_most_probable_plates_of_a_missing_sex(tmp_path: Path) -> None:
    girls = Atlas.open(draw_atlas(tmp_path / "girls", sexes="F"))
    with pytest.raises(AtlasError) as caught:
        girls.most_probable(Sex.MALE, np.full(240, 1 / 240))
    assert caught.value.code == "atlas_not_found"


# --- opening ---


def test_open_own_plates(folder: Path, atlas: Atlas) -> None:
    assert (atlas.name, atlas.title, atlas.is_own) == ("own", "own", True)
    assert [plate.key for plate in atlas.plates] == [f"{sex}-{age:03d}" for sex in "FM" for age in AGES_MONTHS]
    assert atlas.plate("M-096") == Plate(Sex.MALE, 96, "96.png")
    assert {plate.count for plate in atlas.plates} == {None}


@pytest.mark.parametrize(
    ("header", "age"), [("age_months", "94"), ("age", "94"), ("age_years", "7.8333"), ("AGE_YEARS", "7.83")]
)
def test_open_ages_in_months_or_years(tmp_path: Path, header: str, age: str) -> None:
    draw_atlas(tmp_path / "own", (94,))
    (tmp_path / "own" / "index.csv").write_text(f"file,sex,{header},count\n94.png,girl,{age},\n", encoding="utf-8")
    (plate,) = Atlas.open(tmp_path / "own").plates
    assert (plate.key, plate.sex, plate.age_months) == ("F-094", Sex.FEMALE, 94)


def test_open_description(tmp_path: Path) -> None:
    folder = draw_atlas(tmp_path / "own", (94,))
    (folder / "atlas.json").write_text('{"name": "gp", "title": "Our plates"}', encoding="utf-8")
    opened = Atlas.open(folder)
    assert (opened.name, opened.title, opened.is_own) == ("gp", "Our plates", True)
    (folder / "atlas.json").unlink()
    assert Atlas.open(folder).about == AtlasDescription()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[]", "the value as a whole must be an object"),
        ("{", "cannot be read"),
        ('{"name": "a", "name": "b"}', "a key occurs twice"),
        ('{"nmae": "gp"}', "nmae is unknown"),
        ('{"title": 3}', "title must be a text, not 3"),
        ('{"frame_box": [1, 2, 3, "4"]}', r"frame_box\[3\] must be a number"),
        ('{"format": 2}', "format must be one of 1, not 2"),
    ],
)
def test_open_invalid_description(tmp_path: Path, text: str, fault: str) -> None:
    folder = draw_atlas(tmp_path / "own", (94,))
    (folder / "atlas.json").write_text(text, encoding="utf-8")
    with pytest.raises(AtlasError, match=fault) as caught:
        Atlas.open(folder)
    assert caught.value.code == "atlas_invalid"


def test_open_invalid_index_names_line_and_column(tmp_path: Path) -> None:
    folder = draw_atlas(tmp_path / "own", (94,))
    for cells, fault in (
        ("F,241,94.png,1", "line 3: age_months must be at most 240, not 241.0"),
        ("F,,94.png,1", "line 3: age_months must not be empty"),
        ("X,94,94.png,1", "line 3: sex must be one of 'F', 'M', not 'X'"),
        ("F,94,94.png,2.5", "line 3: count must be a whole number, not '2.5'"),
        ("F,94,95.png,1", "line 3: file must be a picture in the atlas's folder"),
    ):
        (folder / "index.csv").write_text(f"sex,age_months,file,count\nM,94,94.png,\n{cells}\n", encoding="utf-8")
        with pytest.raises(AtlasError, match=re.escape(fault)):
            Atlas.open(folder)


@pytest.mark.parametrize(
    "index",
    [
        "",
        "sex,age_months\nF,94\n",
        "sex,file\nF,94.png\n",
        "sex,age_months,file\n",
        "sex,age_months,file\nX,94,94.png\n",
        "sex,age_months,file\nF,-1,94.png\n",
        "sex,age_months,file\nF,241,94.png\n",
        "sex,age_years,file\nF,94,94.png\n",
        "sex,age_months,file\nF,94,95.png\n",
        "sex,age_months,file\nF,94,../94.png\n",
        "sex,age_months,file\nF,94,.\n",
        "sex,age_months,file\nF,94,\n",
        "sex,age_months,file,count\nF,94,94.png,many\n",
        "sex,age_months,file\nF,94,94.png\nF,94.04,94.png\n",
        "sex,age_months,file\n" + "".join(f"F,{age},94.png\n" for age in range(12)),
    ],
)
def test_open_invalid_index(tmp_path: Path, index: str) -> None:
    folder = draw_atlas(tmp_path / "own", (94,))
    cv2.imwrite(str(tmp_path / "94.png"), np.zeros((8, 8), np.uint8))
    (folder / "index.csv").write_text(index, encoding="utf-8")
    with pytest.raises(AtlasError) as raised:
        Atlas.open(folder)
    assert raised.value.code == "atlas_invalid"


@pytest.mark.parametrize("name", ["nowhere", Path("open"), "../open"])
def test_open_not_found(name: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AtlasError) as raised:
        Atlas.open(name)
    assert raised.value.code == "atlas_not_found"


def test_open_folder_without_index(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="atlas_invalid"):
        Atlas.open(tmp_path)


# --- plates ---


@given(st.sampled_from(Sex), st.floats(0, 240))
def test_plate_key_has_a_tenth_of_a_month(sex: Sex, age_months: float) -> None:
    key = Plate(sex, age_months, "").key
    sex_part, age_part = key.split("-")
    assert sex_part == sex.value
    assert abs(float(age_part) - age_months) <= 0.05 + 1e-9
    assert len(age_part.split(".")[0]) == 3


@given(st.sampled_from(Sex), st.floats(-50, 400))
def test_nearest_by_age_is_nearest(sex: Sex, age_months: float) -> None:
    nearest = SHIPPED.nearest_by_age(sex, age_months)
    assert nearest.sex is sex
    assert all(abs(nearest.age_months - age_months) <= abs(one.age_months - age_months) for one in SHIPPED.for_sex(sex))


def test_neighbours_in_order_of_age() -> None:
    for sex in Sex:
        plates = SHIPPED.for_sex(sex)
        assert list(plates) == sorted(plates, key=lambda plate: plate.age_months)
        pairs = [SHIPPED.neighbours(plate) for plate in plates]
        assert [before for before, _ in pairs] == [None, *plates[:-1]]
        assert [after for _, after in pairs] == [*plates[1:], None]


def test_plate_not_found(tmp_path: Path) -> None:
    girls = Atlas.open(draw_atlas(tmp_path / "girls", (94,), "F"))
    for ask in (
        lambda: girls.plate("F-095"),
        lambda: girls.nearest_by_age(Sex.MALE, 94),
        lambda: girls.neighbours(Plate(Sex.MALE, 94, "94.png")),
    ):
        with pytest.raises(AtlasError) as raised:
            ask()
        assert raised.value.code == "atlas_not_found"
    assert girls.for_sex(Sex.MALE) == ()
    with pytest.raises(ValueError, match="not a number"):
        girls.nearest_by_age(Sex.FEMALE, float("nan"))


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [(".png", "image/png"), (".jpg", "image/jpeg"), (".webp", "image/webp"), (".tif", None)],
)
def test_picture_bytes_unchanged_or_png(tmp_path: Path, suffix: str, media_type: str | None) -> None:
    folder = draw_atlas(tmp_path / "own", (94,), "F")
    picture = cv2.imread(str(folder / "94.png"), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    file = folder / f"plate{suffix}"
    cv2.imwrite(str(file), picture)
    (folder / "index.csv").write_text(f"sex,age_months,file\nF,94,{file.name}\n", encoding="utf-8")
    atlas = Atlas.open(folder)
    (plate,) = atlas.plates
    coded, given_type = atlas.picture_bytes(plate)
    assert given_type == (media_type or "image/png")
    assert (coded == file.read_bytes()) is (media_type is not None)
    decoded = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_GRAYSCALE)
    seen = atlas.picture(plate)
    assert seen.dtype == np.uint8
    assert np.abs(seen.astype(int) - decoded).max() <= 1
    assert np.abs(seen.astype(int) - picture).mean() < 3


def test_picture_damaged(tmp_path: Path) -> None:
    folder = draw_atlas(tmp_path / "own", (94,), "F")
    coded = (folder / "94.png").read_bytes()
    atlas = Atlas.open(folder)
    (plate,) = atlas.plates
    for damaged in (coded[:400], b"", b"text"):
        (folder / "94.png").write_bytes(damaged)
        for ask in (atlas.picture, atlas.picture_bytes):
            with pytest.raises(AtlasError) as raised:
                ask(plate)
            assert raised.value.code == "atlas_invalid"
    (folder / "94.png").unlink()
    with pytest.raises(AtlasError, match="atlas_invalid"):
        atlas.picture(plate)


def test_contact_sheet_shows_every_plate(atlas: Atlas) -> None:
    sheet = contact_sheet(atlas, columns=3, height=100)
    assert sheet.shape == (4 * 118, 3 * 75)  # two rows for each sex
    tiles = sheet.reshape(4, 118, 3, 75).transpose(0, 2, 1, 3).reshape(12, 118, 75)
    filled = [tile.max() > 150 for tile in tiles]
    assert filled == [True] * 5 + [False] + [True] * 5 + [False]


# --- similarity ---


def test_similarity_member_reads_the_whole_hand(bundle: Bundle, tmp_path: Path) -> None:
    assert similarity_member(bundle, Sex.FEMALE).view.region == "A"
    other = Bundle.open(tiny_bundle(tmp_path / "plain", members=2), threads=1)
    assert similarity_member(other, Sex.MALE) == other.members[0]
    hands = Bundle.open(tiny_bundle(tmp_path / "hands", views=(), hand=True, metrics={}), threads=1)
    with pytest.raises(BundleError, match="bundle_mismatch"):
        similarity_member(hands, Sex.MALE)


def test_embeddings_equal_those_of_radiographs(atlas: Atlas, bundle: Bundle) -> None:
    embeddings = atlas.embeddings(bundle)
    assert set(embeddings) == {plate.key for plate in atlas.plates}
    for plate in atlas.plates[::3]:
        assessment = assess(atlas.directory / plate.file, plate.sex, bundle)
        assert np.array_equal(embeddings[plate.key], assessment.embeddings[similarity_member(bundle, plate.sex).name])


def test_embeddings_without_hand_networks(atlas: Atlas, tmp_path: Path) -> None:
    plain = Bundle.open(tiny_bundle(tmp_path / "plain", view=TINY_VIEW), threads=1)
    embeddings = atlas.embeddings(plain)
    for plate in atlas.plates[::4]:
        assessment = assess(atlas.directory / plate.file, plate.sex, plain)
        assert np.array_equal(embeddings[plate.key], assessment.embeddings["member-0"])


def test_nearest_by_similarity_of_a_plate_is_itself(atlas: Atlas, bundle: Bundle) -> None:
    embeddings = atlas.embeddings(bundle)
    for plate in atlas.plates:
        ranked = atlas.nearest_by_similarity(plate.sex, embeddings[plate.key], bundle, count=4)
        assert len(ranked) == 4
        assert ranked[0][0] == plate
        assert ranked[0][1] == pytest.approx(0, abs=1e-6)
        distances = [distance for _, distance in ranked]
        assert distances == sorted(distances)
        assert {one.sex for one, _ in ranked} == {plate.sex}


def test_nearest_by_similarity_of_another_network(atlas: Atlas, bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="bundle_mismatch"):
        atlas.nearest_by_similarity(Sex.FEMALE, np.zeros(5, np.float32), bundle)


VECTORS = st.lists(st.floats(-10, 10, width=16), min_size=4, max_size=4).map(lambda row: np.array(row, np.float32))


@given(VECTORS, VECTORS, VECTORS)
def test_similarity_distance_is_a_metric(
    one: NDArray[np.float32], other: NDArray[np.float32], third: NDArray[np.float32]
) -> None:
    distance = similarity_distance(one, other)
    assert (distance == 0) == np.array_equal(one, other)
    assert similarity_distance(other, one) == distance
    assert distance <= similarity_distance(one, third) + similarity_distance(third, other) + 1e-9
    # It does not grow with the number of places.
    assert similarity_distance(np.tile(one, 3), np.tile(other, 3)) == pytest.approx(distance)


def test_embeddings_leave_out_plates_without_a_hand(
    tmp_path: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    folder = draw_atlas(tmp_path / "own", (72, 94))
    cv2.imwrite(str(folder / "94.png"), picture_without_hand(320, 240))
    with caplog.at_level(logging.WARNING):
        embeddings = Atlas.open(folder).embeddings(bundle)
    assert set(embeddings) == {"F-072", "M-072"}
    assert "F-094" in caplog.text
    assert "no_hand" in caplog.text


# --- embeddings that are kept ---


def test_store_embeddings_keyed_by_images_and_networks(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw_atlas(tmp_path / "own", (72, 94))
    computed = dict(Atlas.open(folder).embeddings(bundle))
    path = Atlas.open(folder).store_embeddings([bundle])
    other = Bundle.open(tiny_bundle(tmp_path / "other", view=ViewSpec("A", 32, 24, "hand"), hand=True), threads=1)
    with monkeypatch.context() as patch:
        patch.setattr(Bundle, "run", None)
        read = Atlas.open(folder).embeddings(bundle)
        assert {key: row.tolist() for key, row in read.items()} == {key: row.tolist() for key, row in computed.items()}
        cv2.imwrite(str(folder / "94.png"), 255 - Atlas.open(folder).picture(Atlas.open(folder).plate("F-094")))
        with pytest.raises(TypeError):  # another picture: computed again
            Atlas.open(folder).embeddings(bundle)
        with pytest.raises(TypeError):  # another network: computed again
            Atlas.open(folder).embeddings(other)
    assert path.parent == folder


def test_embeddings_damaged_file_is_computed_again(
    tmp_path: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    folder = draw_atlas(tmp_path / "own", (72,))
    path = Atlas.open(folder).store_embeddings([bundle])
    path.write_bytes(path.read_bytes()[:60])
    assert len(Atlas.open(folder).embeddings(bundle)) == 2
    assert "computed again" in caplog.text


def test_shipped_atlases_folder() -> None:
    assert SHIPPED.directory == SHIPPED_ATLASES / "open"
