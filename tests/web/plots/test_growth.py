"""The plot of bone age against age: every radiograph is where it belongs, in every language."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from boneage.clinical.references import shipped_reference
from boneage.sex import Sex
from boneage.web.models import Verdict
from boneage.web.plots.growth import GrowthPoint, growth_plot

ages = st.floats(0, 228)
REFERENCE = shipped_reference()


def point(
    age: float,
    bone: float,
    *,
    interval: tuple[float, float] | None = None,
    verdict: Verdict | None = None,
    estimate: float | None = None,
    title: str = "",
) -> GrowthPoint:
    return GrowthPoint(age, bone, bone if estimate is None else estimate, interval, verdict, title or f"{age} {bone}")


points_of = st.lists(
    st.builds(
        point,
        ages,
        ages,
        interval=st.none() | st.tuples(ages, ages).map(lambda pair: (min(pair), max(pair))),
        verdict=st.sampled_from([None, *Verdict]),
        estimate=ages,
        title=st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1, max_size=9),
    ),
    max_size=6,
)


def drawn(points: list[GrowthPoint], sex: Sex = Sex.FEMALE) -> ET.Element:
    return ET.fromstring(str(growth_plot(points, sex, REFERENCE)))


def radiographs(svg: ET.Element) -> list[ET.Element]:
    return [group for group in svg.iter("g") if group.get("class", "").startswith("radiograph")]


def centre(radiograph: ET.Element) -> tuple[float, float]:
    dot = next(part for part in radiograph if part.get("class") == "dot")
    if dot.tag == "circle":
        return float(dot.attrib["cx"]), float(dot.attrib["cy"])
    x, y = re.findall(r"[\d.]+", dot.attrib["d"])[:2]
    return float(x), float(y) + 8


def years(svg: ET.Element) -> list[int]:
    return [int(t.text or "") for t in svg.iter("text") if t.get("class") == "tick" and t.get("text-anchor") == "end"]


@given(points_of, st.sampled_from(list(Sex)))
def test_growth_plot_points_lie_within_axes(points: list[GrowthPoint], sex: Sex) -> None:
    """One mark each, with its title; points and years agree on where an age is; at least four years are shown."""
    svg = drawn(points, sex)
    shown = years(svg)
    assert 4 <= shown[-1] - shown[0] <= 19
    assert 0 <= shown[0] <= shown[-1] <= 19
    marks = radiographs(svg)
    ordered = sorted(points, key=lambda p: p.chronological_months)
    assert [mark.findtext("title") for mark in marks] == [p.title for p in ordered]
    for mark, p in zip(marks, ordered, strict=True):
        x, y = centre(mark)
        assert 62 <= x <= 546
        assert 14 <= y <= 498
        last = shown[-1] if (shown[-1] - shown[0]) % 2 == 0 or shown[-1] - shown[0] <= 10 else None
        if last is not None and len(shown) == last - shown[0] + 1:
            scale = 484 / (last - shown[0]) / 12
            assert x == pytest.approx(62 + (p.chronological_months - 12 * shown[0]) * scale, abs=0.06)
            assert y == pytest.approx(498 - (p.bone_months - 12 * shown[0]) * scale, abs=0.06)


def test_growth_plot_shows_verdict() -> None:
    """The plot shows who decided."""
    svg = drawn(
        [
            point(100, 104, interval=(90, 118)),
            point(112, 117, verdict=Verdict.ACCEPTED),
            replace(
                point(124, 120, verdict=Verdict.CORRECTED, estimate=131, interval=(117, 145)),
                interval_80_months=(122, 140),
            ),
        ]
    )
    assert [radiograph.get("class") for radiograph in radiographs(svg)] == [
        "radiograph estimated",
        "radiograph accepted",
        "radiograph corrected",
    ]
    parts = [[part.get("class") for part in radiograph if part.tag != "title"] for radiograph in radiographs(svg)]
    assert parts == [["bar", "dot"], ["dot"], ["bar", "bar inner", "was", "dot"]]
    wide, narrow = (
        [float(y) for y in re.findall(r"(?:V| )([\d.]+)", radiographs(svg)[2][place].attrib["d"])] for place in (1, 2)
    )
    assert min(wide) < min(narrow) < max(narrow) < max(wide)
    estimated = next(part for part in radiographs(svg)[2] if part.get("class") == "was")
    assert float(re.findall(r"[\d.]+", estimated.attrib["d"])[1]) < centre(radiographs(svg)[2])[1]


def test_growth_plot_equal_ages_on_identity() -> None:
    """The line of identity is the diagonal of a square."""
    svg = drawn([point(60, 60), point(90, 90)])
    for radiograph in radiographs(svg):
        x, y = centre(radiograph)
        assert x - 62 == pytest.approx(498 - y, abs=0.11)
    line = next(part for part in svg.iter("path") if part.get("class") == "identity")
    assert line.get("d") == "M62.0 498.0L546.0 14.0"


def test_growth_plot_normal_range_by_sex() -> None:
    """At the same age the two bands differ, and each surrounds its mean."""
    girl, boy = (
        next(part for part in drawn([point(120, 120)], sex).iter("path") if part.get("class") == "band").get("d")
        for sex in Sex
    )
    assert girl != boy


@pytest.mark.parametrize("language", ["en", "de", "fr", "pt-br"])
def test_growth_plot_coordinates_ignore_language(language: str) -> None:
    """Coordinates are not translated."""
    with translation.override(language):
        svg = str(growth_plot([point(100.4, 103.7, interval=(90.2, 118.1))], Sex.MALE, REFERENCE))
    for path in re.findall(r' d="([^"]*)"', svg):
        assert re.fullmatch(r"[MLHVZhlvz0-9. \-]+", path)


def test_growth_plot_titles_are_escaped() -> None:
    """Titles are text."""
    assert "<b>" not in str(growth_plot([point(100, 100, title="<b>&")], Sex.MALE, REFERENCE))


@pytest.mark.parametrize(
    ("months", "fits"), [((0, 228), True), ((-0.1, 5), False), ((5, 228.1), False), ((None, 5), False)]
)
def test_growth_point_fits(months: tuple[Any, Any], fits: bool) -> None:
    """Which ages can be drawn."""
    assert GrowthPoint.fits(*months) is fits
