from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.errors import Rejection, TableError
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import (
    LabelledRadiograph,
    radiographs_of_split,
    read_list,
    read_radiographs,
    split_radiographs,
)


def _official(folder: Path, rows: str, header: str = "id,boneage,male", images: tuple[str, ...] = ("1", "2")) -> Path:
    table = folder / "boneage-training-dataset.csv"
    table.write_text(f"{header}\n{rows}")
    (folder / "boneage-training-dataset").mkdir(exist_ok=True)
    for name in images:
        (folder / "boneage-training-dataset" / f"{name}.png").touch()
    return table


def _rejected(table: Path, code: str) -> str:
    with pytest.raises(TableError) as caught:
        read_radiographs(table)
    assert caught.value.code == code
    return caught.value.message


def test_the_official_layout_is_read(tmp_path: Path) -> None:
    table = _official(tmp_path, "1,180,False\n2,12.5,TRUE\n")
    folder = tmp_path / "boneage-training-dataset"
    assert read_radiographs(table) == [
        LabelledRadiograph("1", folder / "1.png", Sex.FEMALE, 180.0),
        LabelledRadiograph("2", folder / "2.png", Sex.MALE, 12.5),
    ]


def test_the_folder_of_the_official_layout_may_be_elsewhere(tmp_path: Path) -> None:
    table = _official(tmp_path, "7,180,False\n")
    (tmp_path / "radiographs").mkdir()
    (tmp_path / "radiographs" / "7.png").touch()
    assert read_radiographs(table, tmp_path / "radiographs")[0].image == tmp_path / "radiographs" / "7.png"


def test_a_column_of_paths_splits_and_groups_is_read(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "a.webp").touch()
    table = tmp_path / "radiographs.csv"
    table.write_text("id,boneage,male,split,resolution,image\na,3,True,train,half,half/a.webp\n")
    (radiograph,) = read_radiographs(table)
    assert radiograph.image == tmp_path / "half" / "a.webp"
    assert (radiograph.split, radiograph.groups) == ("train", {"resolution": "half"})


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("2,180,female", "male"),
        ("2,180,1", "male"),
        ("2,180,", "male"),
        ("2,,True", "boneage"),
        ("2,fifteen,True", "boneage"),
        ("2,-1,True", "boneage"),
        ("2,241,True", "boneage"),
        ("2,nan,True", "boneage"),
        (",180,True", "id"),
    ],
)
def test_a_bad_cell_is_named_with_its_line(tmp_path: Path, row: str, column: str) -> None:
    table = _official(tmp_path, f"1,180,False\n{row}\n")
    assert f"line 3: {column}" in _rejected(table, "table_value")


def test_an_id_that_comes_twice_is_rejected(tmp_path: Path) -> None:
    message = _rejected(_official(tmp_path, "1,180,False\n2,3,True\n1,180,False\n"), "table_duplicate")
    assert "line 2" in message
    assert "line 4" in message


def test_missing_images_are_counted_and_the_first_named(tmp_path: Path) -> None:
    rows = "".join(f"{number},180,False\n" for number in range(1, 8))
    message = _rejected(_official(tmp_path, rows), "table_image_missing")
    assert "5 of the 7" in message
    assert "3.png, 4.png, 5.png, ..." in message


def test_missing_tables_and_columns_are_rejected(tmp_path: Path) -> None:
    _rejected(tmp_path / "none.csv", "table_not_found")
    assert "male" in _rejected(_official(tmp_path, "1,2\n", header="id,boneage"), "table_columns")


def test_an_empty_split_is_rejected(tmp_path: Path) -> None:
    table = _official(tmp_path, "1,180,False,train\n2,180,False,\n", header="id,boneage,male,split")
    assert "split" in _rejected(table, "table_value")


def test_lists_keep_a_bad_sex_and_resolve_paths(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("image,sex,note\na.png,F,x\n/abs/b.dcm,unknown,\nc.png,,\n")
    radiographs = read_list(table)
    assert [radiograph.image for radiograph in radiographs] == [
        tmp_path / "a.png",
        Path("/abs/b.dcm"),
        tmp_path / "c.png",
    ]
    assert [radiograph.sex_text for radiograph in radiographs] == ["F", "unknown", ""]


def test_a_list_row_without_a_path_is_kept_and_rejected_on_its_own(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("Image,Sex\n,F\nhalf/a.png,M\n")
    radiographs = read_list(table)
    assert [(radiograph.image_text, radiograph.sex_text) for radiograph in radiographs] == [
        ("", "F"),
        ("half/a.png", "M"),
    ]
    with pytest.raises(Rejection) as caught:
        read_radiograph(radiographs[0].image)
    assert caught.value.code == "not_found"


def test_a_table_in_years_is_rejected(tmp_path: Path) -> None:
    names = tuple(map(str, range(12)))
    table = _official(tmp_path, "".join(f"{name},{name}.5,True\n" for name in names), images=names)
    assert "years" in _rejected(table, "table_units")


def test_column_names_are_compared_without_case(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    table = tmp_path / "t.csv"
    table.write_text("ID,BoneAge,Male,Image,Split,Site\na,30,True,a.png,train,Here\n")
    (radiograph,) = read_radiographs(table)
    assert radiograph == LabelledRadiograph("a", tmp_path / "a.png", Sex.MALE, 30.0, "train", {"Site": "Here"})


def _radiographs(count: int, splits: tuple[str | None, ...] = (None,)) -> list[LabelledRadiograph]:
    return [
        LabelledRadiograph(str(number), Path(f"{number}.png"), Sex.MALE, 100.0, splits[number % len(splits)])
        for number in range(count)
    ]


@given(count=st.integers(3, 200), share=st.floats(0.2, 0.8), seed=st.integers(0, 99))
def test_a_random_split_parts_all_radiographs_whatever_their_order(count: int, share: float, seed: int) -> None:
    radiographs = _radiographs(count)
    train, validation = split_radiographs(radiographs, share, seed)
    assert len(validation) == round(count * share)
    assert sorted(radiograph.id for radiograph in train + validation) == sorted(
        radiograph.id for radiograph in radiographs
    )
    turned = split_radiographs(radiographs[::-1], share, seed)
    assert {radiograph.id for radiograph in turned[1]} == {radiograph.id for radiograph in validation}


def test_seeds_give_different_splits() -> None:
    assert split_radiographs(_radiographs(100), seed=0)[1] != split_radiographs(_radiographs(100), seed=1)[1]
    assert len(split_radiographs(_radiographs(100))[1]) == 20


def test_a_split_column_goes_before_chance_and_keeps_other_parts_out() -> None:
    radiographs = _radiographs(30, ("train", "validation", "test"))
    train, validation = split_radiographs(radiographs, 0.5, 3)
    assert {radiograph.split for radiograph in train} == {"train"}
    assert {radiograph.split for radiograph in validation} == {"validation"}
    assert len(train) == len(validation) == 10


@pytest.mark.parametrize("radiographs", [_radiographs(1), _radiographs(2), _radiographs(4, ("train",))])
def test_a_split_with_an_empty_part_is_rejected(radiographs: list[LabelledRadiograph]) -> None:
    with pytest.raises(TableError) as caught:
        split_radiographs(radiographs)
    assert caught.value.code == "table_split"


def test_an_unknown_split_names_those_there_are() -> None:
    with pytest.raises(TableError, match="train, validation"):
        radiographs_of_split(_radiographs(4, ("train", "validation")), "test")


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_out_of_range_is_a_mistake(share: float) -> None:
    with pytest.raises(ValueError, match="validation_share"):
        split_radiographs(_radiographs(10), share)


@pytest.mark.data
def test_the_rsna_table_is_read_whole(data_folder: Path) -> None:
    radiographs = read_radiographs(data_folder / "rsna" / "radiographs.csv")
    assert len(radiographs) == 12_611
    train, validation = split_radiographs(radiographs)
    assert (len(train), len(validation)) == (11_612, 999)
    assert sum(radiograph.groups["resolution"] == "half" for radiograph in validation) == 200
