"""The strict reader: valid values round-trip, and each single damage is rejected with its place."""

from __future__ import annotations

import copy
import enum
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Annotated, Any, Literal, TypedDict
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boneage.bundle.calibration import Band, Calibration, Disagreement, SexCalibration
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.manifest import HandGraph, Manifest, Member
from boneage.bundle.quality import QualityLimit
from boneage.hand.search import HandLimits
from boneage.hand.views import CellGrid, ViewSpec
from boneage.sex import Sex
from boneage.strict import (
    Bounds,
    EveryKey,
    Fits,
    InvalidValueError,
    Length,
    Matching,
    parse_json,
    read,
    to_plain,
)
from boneage.train.bundle.plan import Plan
from boneage.train.recipe import Augmentation, DataOptions, Recipe, Schedule
from tests.bundles import CALIBRATION, DISAGREEMENT


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class _Needed(TypedDict):
    error: Annotated[float, Bounds(at_least=0)]


class Figures(_Needed, total=False):
    count: int


@dataclass(frozen=True)
class Leaf:
    width: Annotated[int, Bounds(at_least=1, below=100)]
    label: Annotated[str, Matching(re.compile("[a-z]+"), "small letters")]
    share: Annotated[float, Bounds(above=0, at_most=1)] = 0.5


@dataclass(frozen=True)
class Tree:
    """One field of each kind that the reader knows."""

    leaves: Annotated[tuple[Leaf, ...], Length(1)]
    pair: tuple[int, float]
    by_colour: Annotated[Mapping[Colour, Leaf], EveryKey()]
    by_name: Mapping[str, bool]
    bits: Literal[8, 16, "all"]
    colour: Colour
    first: Leaf | None
    limit: float | None
    figures: Annotated[Mapping[str, Any], Fits(Figures, may_be_empty=True)]
    free: Any
    day: date
    mixed: Mapping[str, str | float]
    options: dict[str, Any] = field(default_factory=dict)

    def faults(self) -> Iterator[tuple[str, str]]:
        if self.limit is not None and self.first is not None and self.limit < self.first.share:
            yield "limit", "must not lie below first.share"


NUMBERS = st.floats(-1e12, 1e12)
LEAVES = st.builds(
    Leaf,
    width=st.integers(1, 99),
    label=st.from_regex("[a-z]{1,8}", fullmatch=True),
    share=st.floats(0, 1, exclude_min=True),
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TREES = st.builds(
    Tree,
    leaves=st.lists(LEAVES, min_size=1, max_size=3).map(tuple),
    pair=st.tuples(st.integers(), NUMBERS),
    by_colour=st.fixed_dictionaries({Colour.RED: LEAVES, Colour.BLUE: LEAVES}),
    by_name=st.dictionaries(st.text(max_size=5), st.booleans(), max_size=3),
    bits=st.sampled_from([8, 16, "all"]),
    colour=st.sampled_from(Colour),
    first=st.none() | LEAVES,
    limit=st.none() | st.floats(1, 1e12),
    figures=st.just({}) | st.fixed_dictionaries({"error": st.floats(0, 9)}, optional={"count": st.integers()}),
    free=PLAIN,
    day=st.dates(),
    mixed=st.dictionaries(st.text(max_size=5), st.text(max_size=5) | NUMBERS, max_size=3),
    options=st.dictionaries(st.text(max_size=5), PLAIN, max_size=2),
)


def fault_of(kind: type, value: Any, *, complete: bool = False, text: bool = False) -> InvalidValueError:
    with pytest.raises(InvalidValueError) as caught:
        read(kind, value, complete=complete, text=text)
    return caught.value


@given(TREES)
def test_read_round_trip(tree: Tree) -> None:
    plain = to_plain(tree)
    assert read(Tree, json.loads(json.dumps(plain, allow_nan=False)), complete=True) == tree
    assert read(Tree, plain) == tree


TREE = Tree(
    leaves=(Leaf(1, "a"), Leaf(2, "b")),
    pair=(3, 4.5),
    by_colour={Colour.RED: Leaf(5, "r"), Colour.BLUE: Leaf(6, "b")},
    by_name={"one": True, "two words": False},
    bits=8,
    colour=Colour.RED,
    first=Leaf(7, "f", 0.25),
    limit=9.0,
    figures={"error": 0.5, "count": 3},
    free=None,
    day=date(2014, 3, 10),
    mixed={"text": "a", "number": 1.5},
)

DAMAGES: list[tuple[str, tuple[str | int, ...], Any]] = [
    ("leaves", ("leaves",), []),
    ("leaves", ("leaves",), {"0": 1}),
    ("leaves", ("leaves",), "text"),
    ("leaves[1]", ("leaves", 1), None),
    ("leaves[1]", ("leaves", 1), [1]),
    ("leaves[1].width", ("leaves", 1, "width"), 0),
    ("leaves[1].width", ("leaves", 1, "width"), 100),
    ("leaves[1].width", ("leaves", 1, "width"), 5.0),
    ("leaves[1].width", ("leaves", 1, "width"), True),
    ("leaves[1].width", ("leaves", 1, "width"), "5"),
    ("leaves[0].label", ("leaves", 0, "label"), "A"),
    ("leaves[0].label", ("leaves", 0, "label"), "a\n"),
    ("leaves[0].label", ("leaves", 0, "label"), 3),
    ("leaves[0].share", ("leaves", 0, "share"), 0),
    ("leaves[0].share", ("leaves", 0, "share"), 1.01),
    ("leaves[0].share", ("leaves", 0, "share"), math.nan),
    ("leaves[0].share", ("leaves", 0, "share"), False),
    ("pair", ("pair",), [1]),
    ("pair", ("pair",), [1, 2, 3]),
    ("pair[0]", ("pair", 0), 1.5),
    ("pair[1]", ("pair", 1), math.inf),
    ("pair[1]", ("pair", 1), 1.1e12),
    ("pair[1]", ("pair", 1), 10**400),
    ("by_colour.green", ("by_colour", "green"), {}),
    ("by_colour.blue.width", ("by_colour", "blue", "width"), -1),
    ("by_name['two words']", ("by_name", "two words"), 1),
    ("bits", ("bits",), 8.0),
    ("bits", ("bits",), "8"),
    ("bits", ("bits",), [8]),
    ("colour", ("colour",), "green"),
    ("colour", ("colour",), ["red"]),
    ("first.width", ("first", "width"), None),
    ("limit", ("limit",), "9"),
    ("limit", ("limit",), 0.1),  # a rule over two fields
    ("figures.error", ("figures", "error"), -0.5),
    ("figures.mean", ("figures", "mean"), 1),
    ("figures", ("figures",), None),
    ("free", ("free",), math.nan),
    ("free[1].x", ("free",), [1, {"x": math.inf}]),
    ("day", ("day",), "10.3.2014"),
    ("day", ("day",), 2014),
    ("mixed.text", ("mixed", "text"), None),
    ("mixed.number", ("mixed", "number"), [1.5]),
    ("options", ("options",), None),
    ("options.a", ("options", "a"), object()),
]


@pytest.mark.parametrize(
    ("place", "path", "damage"), DAMAGES, ids=lambda one: "object" if type(one) is object else str(one)[:40]
)
def test_read_damage_is_named(place: str, path: tuple[str | int, ...], damage: Any) -> None:
    value = to_plain(TREE)
    at(value, path[:-1])[path[-1]] = damage
    error = fault_of(Tree, value)
    assert error.place == place
    assert str(error).startswith(f"{place} must" if path[-1] != "mean" else f"{place} is unknown")


@pytest.mark.parametrize("value", [None, [], "text", 3, True])
def test_read_root_must_be_an_object(value: Any) -> None:
    error = fault_of(Tree, value)
    assert error.place == ""
    assert str(error).startswith("the value as a whole must be an object")


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def objects(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All objects in plain values, with their places."""
    if isinstance(value, dict):
        yield place, value
        for key, item in value.items():
            segment = key if re.fullmatch("[A-Za-z_][A-Za-z0-9_-]*", key) else f"[{key!r}]"
            yield from objects(item, joined(place, segment))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from objects(item, f"{place}[{number}]")


def joined(outer: str, inner: str) -> str:
    return outer + inner if inner.startswith("[") or not outer else f"{outer}.{inner}"


EXAMPLES: list[Any] = [
    TREE,
    Recipe("title", train=Schedule(epochs=3)),
    Schedule(),
    DataOptions(),
    Augmentation(),
    Band(100.0, 400, 8.25, 14.5, 5.5),
    CALIBRATION,
    DISAGREEMENT,
    QualityLimit(0.5, 0.9),
    HandLimits(),
    CellGrid(4.0, 2.0),
    ViewSpec(),
    EmbeddingStats((0.0, 1.0), (1.0, 2.0), 3.0),
    HandGraph("mask.onnx", "0" * 64, 64, 64),
    Member("a", "a.onnx", "f" * 64, ViewSpec(), CellGrid(4.0, 2.0), 127.0, 41.0),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: type(one).__name__)
def test_read_example_round_trip(example: Any) -> None:
    plain = json.loads(json.dumps(to_plain(example)))
    assert read(type(example), plain, complete=True) == example


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: type(one).__name__)
def test_read_unknown_key_is_named(example: Any) -> None:
    free = ("by_name", "free", "mixed", "options", "network.options", "by_colour")
    places = [place for place, _ in objects(to_plain(example)) if place not in free]
    for place in places:
        value = to_plain(example)
        dict(objects(value))[place]["surprise"] = 1
        error = fault_of(type(example), value)
        assert error.place == joined(place, "surprise")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: type(one).__name__)
def test_read_complete_needs_every_key(example: Any) -> None:
    free = ("by_name", "free", "mixed", "options", "network.options", "figures")
    for place, record in objects(to_plain(example)):
        for key in record if place not in free else ():
            value = to_plain(example)
            del dict(objects(value))[place][key]
            error = fault_of(type(example), value, complete=True)
            assert error.place == joined(place, key)
            assert error.reason == "is missing"


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of all values that are no objects or lists."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, (*path, key))
    else:
        yield path


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: type(one).__name__)
def test_read_wrong_type_is_named(example: Any) -> None:
    """An object in the place of a scalar is a fault of just that place, whatever the type; so is no finite number."""
    plain = to_plain(example)
    for path in leaves(plain):
        if path[0] == "free":
            continue
        for wrong in ({"x": 1}, math.nan, math.inf):
            value = copy.deepcopy(plain)
            at(value, path[:-1])[path[-1]] = wrong
            place = fault_of(type(example), value).place
            expected = ""
            for key in path:
                expected = joined(expected, f"[{key!r}]" if isinstance(key, int) or " " in key else key)
            assert place == expected or (isinstance(wrong, dict) and place.startswith(f"{expected}."))


def test_read_missing_key_without_default_is_named() -> None:
    assert read(Recipe, {"title": "x"}) == Recipe("x")
    assert str(fault_of(Recipe, {"task": "age"})) == "title is missing"
    assert str(fault_of(Plan, {"name": "x", "title": "x"})) == "networks is missing"


def test_read_rule_over_fields_is_named() -> None:
    bands = (Band(100.0, 1, 2.0, 3.0, 1.0), Band(90.0, 1, 2.0, 3.0, 1.0), Band(None, 1, 2.0, 3.0, 1.0))
    calibration = Calibration(dict.fromkeys(Sex, SexCalibration(0.0, 1.0, bands)))
    assert fault_of(Calibration, to_plain(calibration)).place == "by_sex.F.bands[0].upper_months"
    narrow = replace(DISAGREEMENT, critical_months=1.0)
    assert fault_of(Disagreement, to_plain(narrow)).place == "critical_months"


def test_read_text_parses_cells() -> None:
    @dataclass(frozen=True)
    class Cells:
        age: Annotated[float, Bounds(at_least=0)]
        count: int | None = None

    read_cells = partial(read, text=True)
    assert read_cells(Leaf, {"width": "3", "label": "a", "share": "0.25"}) == Leaf(3, "a", 0.25)
    for wrong in ("", "three", "nan", "1e999", "3,5"):
        assert fault_of(Leaf, {"width": "3", "label": "a", "share": wrong}, text=True).place == "share"
    assert fault_of(Leaf, {"width": "3.5", "label": "a"}, text=True).place == "width"


def test_read_unsupported_type_is_an_error_of_the_program() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: bytes

    Odd.__annotations__["value"] = bytes
    with pytest.raises(TypeError, match="no rule"):
        read(Odd, {"value": b""})


@given(PLAIN)
def test_read_any_value_is_rejected_or_round_trips(value: Any) -> None:
    for kind in (Tree, Recipe, Plan, Manifest, Calibration):
        try:
            built: Any = read(kind, value)
        except InvalidValueError:
            continue
        assert read(kind, to_plain(built)) == built


def test_to_plain_writes_dates_and_uuids_as_texts() -> None:
    moment, identifier = datetime(2025, 3, 4, 15, 6, tzinfo=UTC), UUID(int=7)
    plain = to_plain({"date": moment.date(), "moment": moment, "id": identifier})
    assert plain == {"date": "2025-03-04", "moment": "2025-03-04T15:06:00+00:00", "id": str(identifier)}


@pytest.mark.parametrize(
    "value",
    [object(), math.nan, math.inf, b"bytes", {1: 2}, [object()]],
    ids=["object", "nan", "inf", "bytes", "numbers as keys", "list of objects"],
)
def test_to_plain_rejects_what_json_lacks(value: Any) -> None:
    with pytest.raises(InvalidValueError):
        to_plain({"key": value})


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"a": 1, "a": 1}', b"[NaN]", b"[-Infinity]", b"\xff", b"[" * 100_000], ids=repr
)
def test_parse_json_rejects(data: bytes) -> None:
    with pytest.raises(ValueError):  # json's own errors among them
        parse_json(data)


@given(PLAIN)
def test_parse_json_round_trip(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value
