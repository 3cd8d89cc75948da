"""References: the shipped numbers, interpolation up to both ends, and errors that name line and reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.clinical.errors import ClinicalError
from boneage.clinical.references import (
    MOST_BYTES,
    SHIPPED_REFERENCES,
    ReferenceNode,
    find_reference,
    load_reference,
    shipped_reference,
)
from boneage.sex import Sex

SEXES = st.sampled_from(list(Sex))
GOOD = (
    "# name: Our own\n# population: children of one town\n# citation: Nobody 2020\n"
    "sex,age_months,mean,sd\nF,24,25,5\nF,192,190,8\nM,24,25,5\nM,204,205,9.5\n"
)


def test_brush_nodes_as_printed() -> None:
    """Rows of Tables III and IV, with their ends, the disputed one and the place of the largest lead."""
    brush = shipped_reference("brush")
    assert [len(brush.nodes[sex]) for sex in (Sex.MALE, Sex.FEMALE)] == [24, 23]
    assert brush.at(Sex.MALE, 3) == (3, 3.01, 0.69)
    assert brush.at(Sex.MALE, 108) == (108, 113.9, 9.0)
    assert brush.at(Sex.MALE, 204) == (204, 206.21, 13.05)
    assert brush.at(Sex.FEMALE, 132) == (132, 137.87, 11.94)
    assert brush.at(Sex.FEMALE, 192) == (192, 189.44, 7.31)


def test_brush_children_lead_the_scale() -> None:
    leads = [
        (n.mean_months - n.age_months) / n.sd_months for rows in shipped_reference("brush").nodes.values() for n in rows
    ]
    assert round(max(leads), 2) == 0.66


@given(SEXES, st.floats(3, 192))
def test_default_mean_is_the_age(sex: Sex, age: float) -> None:
    node, brush = shipped_reference().at(sex, age), shipped_reference("brush").at(sex, age)
    assert node is not None
    assert brush is not None
    assert node.mean_months == pytest.approx(age, abs=1e-9)
    assert node.sd_months == brush.sd_months > 0


@pytest.mark.parametrize("identifier", SHIPPED_REFERENCES)
@pytest.mark.parametrize(("sex", "low", "high"), [(Sex.MALE, 3, 204), (Sex.FEMALE, 3, 192)])
def test_reference_ends(identifier: str, sex: Sex, low: float, high: float) -> None:
    """Both ends belong to the range; there is nothing beyond."""
    reference = shipped_reference(identifier)
    assert reference.range_months(sex) == (low, high)
    assert reference.at(sex, low) is not None
    assert reference.at(sex, high) is not None
    assert reference.at(sex, low - 0.01) is None
    assert reference.at(sex, high + 0.01) is None
    means, deviations = reference.curve(sex, [low - 1, low, high, high + 1])
    assert np.isnan(means).tolist() == np.isnan(deviations).tolist() == [True, False, False, True]


def test_interpolation_is_linear() -> None:
    node = shipped_reference("brush").at(Sex.MALE, 162)
    assert node is not None
    assert node == pytest.approx((162, (158.39 + 170.02) / 2, (10.44 + 10.72) / 2))


def test_shipped_reference_by_default() -> None:
    reference = shipped_reference()
    assert (reference.id, reference.range_months(Sex.FEMALE)) == ("gp-brush-sd", (3.0, 192.0))
    assert "1959" in reference.citation
    assert len(reference.sha256) == 64


def test_load_reference(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    reference = load_reference(path)
    assert (reference.id, reference.name, reference.citation) == ("own", "Our own", "Nobody 2020")
    assert reference.population == "children of one town"
    assert reference.at(Sex.FEMALE, 108) == ReferenceNode(108, 107.5, 6.5)
    assert find_reference(str(path)) == reference


def test_load_reference_of_one_sex_in_other_column_order(tmp_path: Path) -> None:
    path = tmp_path / "girls.csv"
    path.write_text("sd,mean,age_months,sex\n5,25,24,girl\n8,190,192,F\n", encoding="utf-8")
    reference = load_reference(path)
    assert reference.name == "girls"
    assert reference.at(Sex.FEMALE, 24) == ReferenceNode(24, 25, 5)
    assert reference.at(Sex.MALE, 24) is None
    assert reference.range_months(Sex.MALE) is None
    assert np.isnan(reference.curve(Sex.MALE, [24.0])[0]).all()


@pytest.mark.parametrize(
    ("old", "new", "code", "place"),
    [
        ("sex,age_months,mean,sd", "sex,age,mean,sd", "reference_columns", "line 4"),
        ("sex,age_months,mean,sd", "sex;age_months;mean;sd", "reference_columns", "line 4"),
        ("sex,age_months,mean,sd", "sex,mean,mean,sd", "reference_columns", "line 4"),
        ("F,192,190,8", "F,192,190", "reference_columns", "line 6"),
        ("F,192,190,8", "F,192,190,8,1", "reference_columns", "line 6"),
        ("F,192,190,8", 'F,192,190,"8', "reference_columns", "line 6"),
        ("F,192,190,8", "X,192,190,8", "reference_value", "line 6"),
        ("F,192,190,8", "F,192,190,0", "reference_value", "line 6"),
        ("F,192,190,8", "F,192,190,-8", "reference_value", "line 6"),
        ("F,192,190,8", "F,192,190,nan", "reference_value", "line 6"),
        ("F,192,190,8", "F,192,1_90,8", "reference_value", "line 6"),
        ("F,192,190,8", "F,192,190,", "reference_value", "line 6"),
        ("F,192,190,8", "F,192,19.0,8", "reference_value", "line 6"),
        ("F,192,190,8", "F,300,290,8", "reference_value", "line 6"),
        ("F,192,190,8", "F,24,26,8", "reference_order", "line 6"),
        ("F,192,190,8", "F,23,26,8", "reference_order", "line 6"),
        ("F,192,190,8", "F,48,24,8", "reference_value", "sex F"),
        ("F,192,190,8\n", "", "reference_empty", "sex F"),
        ("F,192,190,8", "F,192,190,0.8", "reference_units", "sex F"),
    ],
)
def test_load_reference_invalid(tmp_path: Path, old: str, new: str, code: str, place: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(GOOD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ClinicalError) as error:
        load_reference(path)
    assert error.value.code == code
    assert place in error.value.message
    assert str(tmp_path) not in error.value.message


def test_load_reference_in_years(tmp_path: Path) -> None:
    path = tmp_path / "years.csv"
    path.write_text("sex,age_months,mean,sd\nF,2,2.1,0.4\nF,16,15.9,0.7\n", encoding="utf-8")
    with pytest.raises(ClinicalError) as error:
        load_reference(path)
    assert error.value.code == "reference_units"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("absent.csv", None, "reference_not_found"),
        ("empty.csv", b"", "reference_empty"),
        ("header.csv", b"sex,age_months,mean,sd\n", "reference_empty"),
        ("latin.csv", "# name: Genève\n".encode("latin-1"), "reference_unreadable"),
        ("large.csv", b"#" * (MOST_BYTES + 1), "reference_unreadable"),
        ("brush.csv", GOOD.encode(), "reference_value"),
        ("a b.csv", GOOD.encode(), "reference_value"),
    ],
)
def test_load_reference_unusable(tmp_path: Path, name: str, content: bytes | None, code: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClinicalError) as error:
        load_reference(path)
    assert error.value.code == code


def test_load_reference_folder(tmp_path: Path) -> None:
    with pytest.raises(ClinicalError) as error:
        load_reference(tmp_path)
    assert error.value.code in {"reference_unreadable", "reference_value"}


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_load_reference_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever the file holds, the answer is a reference or an error with a code."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        load_reference(path)
    except ClinicalError as error:
        assert error.code.startswith("reference_")


def test_find_reference_default() -> None:
    assert find_reference(None) is find_reference("") is shipped_reference()
    assert find_reference("brush").id == "brush"
    with pytest.raises(ClinicalError) as error:
        shipped_reference("other")
    assert error.value.code == "reference_not_found"
