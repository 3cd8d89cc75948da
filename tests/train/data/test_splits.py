"""Choice of radiographs: what validates is not trained, by splits, folds, sexes and limits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.splits import choose_radiographs
from boneage.train.recipe import load_recipe
from tests.error_codes import code_of
from tests.train.drawn_targets import recipe_for


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
