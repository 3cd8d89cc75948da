from __future__ import annotations

from dataclasses import replace
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
    write_radiographs,
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


def test_read_radiographs_rsna_layout(tmp_path: Path) -> None:
    """The official layout is read."""
    table = _official(tmp_path, "1,180,False\n2,12.5,TRUE\n")
    folder = tmp_path / "boneage-training-dataset"
    assert read_radiographs(table) == [
        LabelledRadiograph("1", folder / "1.png", Sex.FEMALE, 180.0),
        LabelledRadiograph("2", folder / "2.png", Sex.MALE, 12.5),
    ]


def test_read_radiographs_other_image_folder(tmp_path: Path) -> None:
    """The folder of the official layout may be elsewhere."""
    table = _official(tmp_path, "7,180,False\n")
    (tmp_path / "radiographs").mkdir()
    (tmp_path / "radiographs" / "7.png").touch()
    assert read_radiographs(table, tmp_path / "radiographs")[0].image == tmp_path / "radiographs" / "7.png"


def test_read_radiographs_image_column(tmp_path: Path) -> None:
    """Columns of paths, splits and groups are read."""
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
def test_read_radiographs_bad_cell(tmp_path: Path, row: str, column: str) -> None:
    """An error on a bad cell names its line."""
    table = _official(tmp_path, f"1,180,False\n{row}\n")
    assert f"line 3: {column}" in _rejected(table, "table_value")


def test_read_radiographs_duplicate_id(tmp_path: Path) -> None:
    """An id that occurs twice is rejected."""
    message = _rejected(_official(tmp_path, "1,180,False\n2,3,True\n1,180,False\n"), "table_duplicate")
    assert "line 2" in message
    assert "line 4" in message


def test_read_radiographs_missing_images(tmp_path: Path) -> None:
    """The error counts missing images and names the first."""
    rows = "".join(f"{number},180,False\n" for number in range(1, 8))
    message = _rejected(_official(tmp_path, rows), "table_image_missing")
    assert "5 of the 7" in message
    assert "3.png, 4.png, 5.png, ..." in message


def test_read_radiographs_missing_table_or_column(tmp_path: Path) -> None:
    """Missing tables and columns are rejected."""
    _rejected(tmp_path / "none.csv", "table_not_found")
    assert "male" in _rejected(_official(tmp_path, "1,2\n", header="id,boneage"), "table_columns")


def test_read_radiographs_empty_split(tmp_path: Path) -> None:
    """An empty split is rejected."""
    table = _official(tmp_path, "1,180,False,train\n2,180,False,\n", header="id,boneage,male,split")
    assert "split" in _rejected(table, "table_value")


def test_read_list_bad_sex_and_paths(tmp_path: Path) -> None:
    """Lists keep a bad sex and resolve paths."""
    table = tmp_path / "list.csv"
    table.write_text("image,sex,note\na.png,F,x\n/abs/b.dcm,unknown,\nc.png,,\n")
    radiographs = read_list(table).radiographs
    assert [radiograph.image for radiograph in radiographs] == [
        tmp_path / "a.png",
        Path("/abs/b.dcm"),
        tmp_path / "c.png",
    ]
    assert [radiograph.sex_text for radiograph in radiographs] == ["F", "unknown", ""]


def test_read_list_row_without_path(tmp_path: Path) -> None:
    """A row without a path is kept, and rejected on its own."""
    table = tmp_path / "list.csv"
    table.write_text("Image,Sex\n,F\nhalf/a.png,M\n")
    radiographs = read_list(table).radiographs
    assert [(radiograph.image_text, radiograph.sex_text) for radiograph in radiographs] == [
        ("", "F"),
        ("half/a.png", "M"),
    ]
    with pytest.raises(Rejection) as caught:
        read_radiograph(radiographs[0].image)
    assert caught.value.code == "not_found"


@pytest.mark.parametrize("has_folder", [True, False])
def test_read_list_rsna_layout(tmp_path: Path, has_folder: bool) -> None:
    """RSNA's own table is a list as it is: its labels are not used, and a bad sex is kept."""
    table = tmp_path / "test.csv"
    table.write_text("Case ID,id,male,boneage,birth_date\n7,1,True,90,2012-01-02\n8,2,False,,\n9,3,unknown,,\n")
    if has_folder:
        (tmp_path / "test").mkdir()
    folder = tmp_path / "test" if has_folder else tmp_path
    content = read_list(table)
    assert [(one.image, one.sex_text) for one in content.radiographs] == [
        (folder / "1.png", "M"),
        (folder / "2.png", "F"),
        (folder / "3.png", "unknown"),
    ]
    assert str(content.radiographs[0].birth_date) == "2012-01-02"
    assert content.unused_columns == ("Case ID",)


@pytest.mark.parametrize("cells", [("0", "1"), ("FALSCH", "WAHR")])
def test_read_list_rsna_layout_other_booleans(tmp_path: Path, cells: tuple[str, str]) -> None:
    """A column that is written in another way throughout is named with its values."""
    table = tmp_path / "test.csv"
    table.write_text("id,male\n1,\n" + "".join(f"2,{cell}\n" for cell in cells))
    with pytest.raises(TableError) as caught:
        read_list(table)
    assert caught.value.code == "table_value"
    assert caught.value.message.endswith(f"line 3: male must be True or False, not {cells[0]!r}.")


@pytest.mark.parametrize("header", ["image,male", "id,sex", "file,sex"])
def test_read_list_without_its_columns(tmp_path: Path, header: str) -> None:
    """Half of a layout is rejected, and the missing column is named."""
    table = tmp_path / "list.csv"
    table.write_text(f"{header}\na,F\n")
    with pytest.raises(TableError) as caught:
        read_list(table)
    assert caught.value.code == "table_columns"


def test_read_list_names_unused_columns(tmp_path: Path) -> None:
    """A misspelt column would otherwise be passed over in silence."""
    table = tmp_path / "list.csv"
    table.write_text("image,sex,birthdate,Age\na.png,F,2012-01-02,9y\n")
    assert read_list(table).unused_columns == ("birthdate",)


def test_read_radiographs_in_years(tmp_path: Path) -> None:
    """A table in years is rejected."""
    names = tuple(map(str, range(12)))
    table = _official(tmp_path, "".join(f"{name},{name}.5,True\n" for name in names), images=names)
    assert "years" in _rejected(table, "table_units")


def test_read_radiographs_column_case(tmp_path: Path) -> None:
    """Column names are compared without case."""
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
def test_split_radiographs_any_order(count: int, share: float, seed: int) -> None:
    """A random split divides all radiographs, in any order."""
    radiographs = _radiographs(count)
    train, validation = split_radiographs(radiographs, share, seed)
    assert len(validation) == round(count * share)
    assert sorted(radiograph.id for radiograph in train + validation) == sorted(
        radiograph.id for radiograph in radiographs
    )
    turned = split_radiographs(radiographs[::-1], share, seed)
    assert {radiograph.id for radiograph in turned[1]} == {radiograph.id for radiograph in validation}


def test_split_radiographs_seeds() -> None:
    assert split_radiographs(_radiographs(100), seed=0)[1] != split_radiographs(_radiographs(100), seed=1)[1]
    assert len(split_radiographs(_radiographs(100))[1]) == 20


def test_split_radiographs_split_column() -> None:
    """A split column replaces chance and excludes other parts."""
    radiographs = _radiographs(30, ("train", "validation", "test"))
    train, validation = split_radiographs(radiographs, 0.5, 3)
    assert {radiograph.split for radiograph in train} == {"train"}
    assert {radiograph.split for radiograph in validation} == {"validation"}
    assert len(train) == len(validation) == 10


@pytest.mark.parametrize("radiographs", [_radiographs(1), _radiographs(2), _radiographs(4, ("train",))])
def test_split_radiographs_empty_part(radiographs: list[LabelledRadiograph]) -> None:
    """A split with an empty part is rejected."""
    with pytest.raises(TableError) as caught:
        split_radiographs(radiographs)
    assert caught.value.code == "table_split"


def test_radiographs_of_split_unknown() -> None:
    """An unknown split is rejected with the names of the others."""
    with pytest.raises(TableError, match="train, validation"):
        radiographs_of_split(_radiographs(4, ("train", "validation")), "test")


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_split_radiographs_share_out_of_range(share: float) -> None:
    """A share out of range is a mistake of the programmer."""
    with pytest.raises(ValueError, match="validation_share"):
        split_radiographs(_radiographs(10), share)


@pytest.mark.parametrize("split", [None, "train"])
def test_write_radiographs_round_trip(split: str | None, tmp_path: Path) -> None:
    """A written table is read as it was, with texts that a spreadsheet would run, and ages that are no whole months."""
    (tmp_path / "images").mkdir()
    radiographs = []
    for number, (radiograph_id, age) in enumerate((("=1", 100.0), ('b, "c"', 7.25), ("ü", 1 / 3))):
        image = tmp_path / "images" / f"{number}.png"
        image.touch()
        groups = {"device": f"-{number}", "note": ""}
        radiographs.append(LabelledRadiograph(radiograph_id, image, list(Sex)[number % 2], age, split, groups))
    write_radiographs(tmp_path / "table.csv", radiographs)
    read = read_radiographs(tmp_path / "table.csv")
    assert [one.boneage_months for one in read] == pytest.approx([one.boneage_months for one in radiographs], rel=1e-14)
    assert [replace(one, boneage_months=0.0) for one in read] == [
        replace(one, boneage_months=0.0) for one in radiographs
    ]
    with pytest.raises(ValueError, match="subpath"):
        write_radiographs(tmp_path / "elsewhere" / "table.csv", radiographs)


@pytest.mark.data
def test_read_radiographs_whole_rsna_table(data_folder: Path) -> None:
    radiographs = read_radiographs(data_folder / "rsna" / "radiographs.csv")
    assert len(radiographs) == 12_611
    train, validation = split_radiographs(radiographs)
    assert (len(train), len(validation)) == (11_612, 999)
    assert sum(radiograph.groups["resolution"] == "half" for radiograph in validation) == 200
