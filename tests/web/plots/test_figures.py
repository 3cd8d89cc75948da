"""The plot of the age: what its curve is, and that every mark lies on the picture."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from boneage.schema import AssessmentDocument
from boneage.web.plots.figures import age_curve, age_plot, heat_scales
from tests.documents import assessment_document

SVG = "{http://www.w3.org/2000/svg}"


def result(
    age: float, interval: list[float] | None, shares: list[float] | None = None, **changes: Any
) -> AssessmentDocument:
    changes = {"interval_80_months": None, **changes, "age_distribution": None if shares is None else tuple(shares)}
    return assessment_document(age, interval_months=None if interval is None else tuple(interval), **changes)


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_age_curve_without_spread() -> None:
    """Without spread there is no curve."""
    assert age_curve(result(100.0, None), None) is None


def test_age_curve_from_interval() -> None:
    """The interval gives a normal curve whose deviation it says."""
    curve = age_curve(result(100.0, [80.4, 119.6]), None)
    assert curve is not None
    assert curve.kind == "validation"
    mass = curve.density / curve.density.sum()
    mean = float((mass * curve.months).sum())
    assert mean == pytest.approx(100.0, abs=0.1)
    assert np.sqrt((mass * (curve.months - mean) ** 2).sum()) == pytest.approx(10.0, rel=0.01)


def test_age_curve_interval_cut_at_birth() -> None:
    """Half of an interval that was cut at 0 is too short: the longer half counts."""
    curve = age_curve(result(6.0, [0.0, 25.6]), None)
    assert curve is not None
    at_one_deviation = np.interp(16.0, curve.months, curve.density)
    assert at_one_deviation == pytest.approx(np.exp(-0.5), abs=0.01)


def test_age_curve_prefers_networks() -> None:
    """The networks' own interval takes precedence over that of validation."""
    shares = [0.0] * 240
    shares[120] = 0.7
    shares[60] = 0.3
    curve = age_curve(result(110.0, [91.0, 129.0], shares), None)
    assert curve is not None
    assert curve.kind == "networks"
    assert curve.months[np.argmax(curve.density)] == 120.0
    validation = age_curve(result(110.0, [91.0, 129.0]), None)
    assert validation is not None
    assert validation.caption != curve.caption
    assert "validation" in validation.caption
    calibrated = age_curve(result(110.0, [91.0, 129.0], interval_calibrated=True), None)
    assert calibrated is not None
    assert "this sex and near this age" in calibrated.caption


@given(
    age=st.floats(0.0, 228.0),
    half=st.floats(2.0, 60.0),
    chronological=st.none() | st.floats(0.0, 228.0),
)
def test_age_plot_lies_on_picture(age: float, half: float, chronological: float | None) -> None:
    """Everything lies on the picture and is described."""
    curve = age_curve(result(age, [max(0.0, age - half), min(228.0, age + half)]), chronological)
    assert curve is not None
    svg = parsed(age_plot(curve))
    _, _, width, height = map(float, svg.attrib["viewBox"].split())
    for path in svg.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", path.attrib["d"])]
        assert all(0 <= x <= width for x in numbers[::2])
        assert all(0 <= y <= height for y in numbers[1::2])
    marks = [group for group in svg.iter(f"{SVG}g") if "mark" in group.attrib["class"]]
    assert len(marks) == (1 if chronological is None else 2)
    for mark in marks:
        line, _, text = mark
        assert 0 <= float(line.attrib["x1"]) <= width
        assert text.text
    names = svg.attrib["aria-labelledby"].split()
    texts = {element.attrib.get("id"): element.text for element in svg}
    assert all(texts[name] for name in names)


def test_age_plot_shades_both_intervals() -> None:
    """The narrower interval is shaded twice and described."""
    wide, narrow = [80.0, 120.0], [88.0, 112.0]
    shaded = []
    for narrower in (None, tuple(narrow)):
        curve = age_curve(result(100.0, wide, interval_80_months=narrower), None)
        assert curve is not None
        svg = parsed(age_plot(curve))
        areas = [path.attrib["d"] for path in svg.iter(f"{SVG}path") if path.attrib["class"] == "interval"]
        shaded.append([[float(x) for x in re.findall(r"(\d+\.\d+) \d", area)] for area in areas])
        description = next(element.text for element in svg.iter(f"{SVG}desc"))
        assert description is not None
        assert "The shaded 95 % prediction interval goes from 6 years 8 months to 10 years." in description
        assert (
            "Its darker part, the 80 % prediction interval, goes from 7 years 4 months to 9 years 4 months."
            in description
        ) is bool(narrower)
    assert shaded[1][0] == shaded[0][0]
    (outer, inner), (_,) = shaded[1], shaded[0]
    assert min(outer) < min(inner) < max(inner) < max(outer)


def test_age_plot_numbers_ignore_language() -> None:
    """Numbers in the drawing do not follow the language."""
    curve = age_curve(result(94.25, [75.1, 113.4]), 90.5)
    assert curve is not None
    english = age_plot(curve)
    with translation.override("de"):
        german = age_plot(curve)
    paths = [path.attrib["d"] for path in parsed(english).iter(f"{SVG}path")]
    assert [path.attrib["d"] for path in parsed(german).iter(f"{SVG}path")] == paths


def test_heat_scales_differ_between_ends() -> None:
    """Scales of the heat map are colours and differ from end to end."""
    for colours in heat_scales().values():
        assert all(0 <= part <= 255 for colour in colours for part in colour)
        assert sum(abs(a - b) for a, b in zip(colours[0], colours[-1], strict=True)) > 100
