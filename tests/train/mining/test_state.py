from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.errors import BoneageError, RecipeError, TableError
from boneage.train.mining.state import (
    RadiographMask,
    Settings,
    Status,
    changing,
    decide,
    mask_path,
    read_masks,
    read_settings,
    write_masks,
    write_settings,
)

PENDING = RadiographMask("a", Status.PENDING, 2, 0.25, "masks/round-2/a.png", (1,))


@st.composite
def radiograph_masks(draw: st.DrawFn) -> RadiographMask:
    """Any row that a mining project may hold."""
    radiograph_id = draw(st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1))
    mask = RadiographMask(radiograph_id)
    for number in range(1, draw(st.integers(0, 4)) + 1):
        mask = mask.predicted(number, round(draw(st.floats(0, 1)), 5), mask_path(f"round-{number}", radiograph_id))
        mask = draw(st.sampled_from([mask, mask.accepted(), mask.discarded()]))
    return mask


@settings(deadline=None, max_examples=25)
@given(st.lists(radiograph_masks(), min_size=1, unique_by=lambda mask: mask.id))
def test_masks_round_trip(tmp_path_factory: pytest.TempPathFactory, masks: list[RadiographMask]) -> None:
    folder = tmp_path_factory.mktemp("mining")
    write_masks(folder, {mask.id: mask for mask in masks})
    assert list(read_masks(folder).values()) == masks


def test_decide_discard_remembered_until_accepted() -> None:
    """A discard is remembered by its round until it is taken back."""
    discarded = PENDING.discarded()
    assert (discarded.status, discarded.discarded_in) == (Status.DISCARDED, (1, 2))
    assert discarded.discarded() == discarded
    assert (discarded.accepted().status, discarded.accepted().discarded_in) == (Status.ACCEPTED, (1,))
    again = discarded.predicted(3, 0.5, "masks/round-3/a.png")
    assert (again.status, again.round, again.discarded_in) == (Status.PENDING, 3, (1, 2))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,good,1,0.1,m.png,", "status must be one of"),
        ("a,pending,1,0.1,,", "mask does not go with"),
        ("a,unseen,,,m.png,", "mask does not go with"),
        ("a,pending,-1,0.1,m.png,", "round must lie"),
        ("a,pending,1,1.5,m.png,", "uncertainty must lie"),
        ("a,pending,1,0.1,m.png,one", "discarded_in must be"),
    ],
)
def test_read_masks_damaged_row_named(tmp_path: Path, row: str, reason: str) -> None:
    (tmp_path / "masks.csv").write_text(f"id,status,round,uncertainty,mask,discarded_in\n{row}\n")
    with pytest.raises(TableError, match=reason) as raised:
        read_masks(tmp_path)
    assert raised.value.code == "table_value"
    assert "line 2" in raised.value.message


def test_changing_failure_leaves_table(tmp_path: Path) -> None:
    write_masks(tmp_path, {"a": PENDING})
    with pytest.raises(ZeroDivisionError), changing(tmp_path) as masks:
        masks["a"] = masks["a"].accepted()
        raise ZeroDivisionError
    assert read_masks(tmp_path) == {"a": PENDING}


def test_decide_may_be_changed(tmp_path: Path) -> None:
    write_masks(tmp_path, {"a": PENDING, "b": RadiographMask("b", Status.PENDING, 2, 0.1, "b.png")})
    decide(tmp_path, {"a": True, "b": False})
    assert [mask.status for mask in read_masks(tmp_path).values()] == ["accepted", "discarded"]
    decide(tmp_path, {"a": False})
    assert [mask.status for mask in read_masks(tmp_path).values()] == ["discarded", "discarded"]


@pytest.mark.parametrize(
    ("decisions", "rounds"),
    [({"c": True}, None), ({"drawn": False}, None), ({"unseen": True}, None), ({"a": True}, {"a": 1})],
)
def test_decide_invalid_changes_nothing(
    tmp_path: Path, decisions: dict[str, bool], rounds: dict[str, int] | None
) -> None:
    before = {
        "a": PENDING,
        "b": RadiographMask("b", Status.PENDING, 2, 0.1, "b.png"),
        "drawn": RadiographMask("drawn", Status.OUTLINE, 0, None, "d.png"),
        "unseen": RadiographMask("unseen"),
    }
    write_masks(tmp_path, before)
    with pytest.raises(TableError) as raised:
        decide(tmp_path, {"b": True, **decisions}, rounds)
    assert raised.value.code == "table_value"
    assert read_masks(tmp_path) == before


@settings(deadline=None, max_examples=25)
@given(st.text(min_size=1), st.text(min_size=1))
def test_mask_path_inside_mining(first: str, second: str) -> None:
    """Masks lie inside the mining each in its own place."""
    paths = [Path(mask_path("round-1", radiograph_id)) for radiograph_id in (first, second)]
    assert all(path.parts[:2] == ("masks", "round-1") and len(path.parts) == 3 for path in paths)
    assert (paths[0] == paths[1]) == (first == second)


def test_settings_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_settings(tmp_path / "m", Settings(Path("radiographs.csv"), Path("images"), 7))
    monkeypatch.chdir("/")
    assert read_settings(tmp_path / "m") == Settings(tmp_path / "radiographs.csv", tmp_path / "images", 7)


@pytest.mark.parametrize(
    "content", [None, "[]", "{", '{"radiographs": 1, "images": null, "seed": 0}', '{"radiographs": "f"}']
)
def test_read_settings_of_other_folder(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "mining.json").write_text(content)
    with pytest.raises(BoneageError) as raised:
        read_settings(tmp_path)
    assert isinstance(raised.value, RecipeError)
    assert raised.value.code == "recipe_invalid"
