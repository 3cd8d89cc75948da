"""The plot of the SDS against age: every radiograph is where it belongs."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from boneage.web.models import Verdict
from boneage.web.plots.sds import SdsPoint, sds_plot


def drawn(points: list[SdsPoint]) -> ET.Element:
    return ET.fromstring(str(sds_plot(points)))


def scores(svg: ET.Element) -> list[int]:
    """The numbers of the vertical axis, from the lowest."""
    ticks = [t.text or "" for t in svg.iter("text") if t.get("class") == "tick" and t.get("text-anchor") == "end"]
    return [int(tick.replace("\N{MINUS SIGN}", "-")) for tick in ticks]


@given(
    st.lists(
        st.builds(
            SdsPoint, st.floats(24, 204), st.floats(-9, 9), st.none(), st.sampled_from([None, *Verdict]), st.just("x")
        ),
        min_size=1,
        max_size=5,
    )
)
def test_sds_plot_points_lie_within_axes(points: list[SdsPoint]) -> None:
    """One mark each; the axis is symmetrical and holds at least 3 on either side."""
    svg = drawn(points)
    shown = scores(svg)
    assert shown[0] == -shown[-1]
    assert 3 <= shown[-1] <= 6
    marks = [group for group in svg.iter("g") if group.get("class", "").startswith("radiograph")]
    assert len(marks) == len(points)
    for mark in marks:
        dot = next(part for part in mark if part.get("class") == "dot")
        y = float(dot.attrib["cy"]) if dot.tag == "circle" else float(re.findall(r"[\d.]+", dot.attrib["d"])[1]) + 8
        assert 13.9 <= y <= 318.1


def test_sds_plot_band_and_bar() -> None:
    """The band reaches from -2 to +2, and the bar from end to end of the interval."""
    svg = drawn([SdsPoint(120.0, 0.0, (-1.0, 1.5), None, "Age 10 years: SDS 0.00.")])
    band = next(part for part in svg.iter("path") if part.get("class") == "band").attrib["d"]
    heights = sorted({float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", band)})
    per_score = (318 - 14) / 6
    assert heights == pytest.approx([166 - 2 * per_score, 166 + 2 * per_score], abs=0.06)
    bar = next(part for part in svg.iter("path") if part.get("class") == "bar").attrib["d"]
    ends = [float(y) for y in re.findall(r"M[\d.]+ ([\d.]+)h8", bar)]
    assert ends == pytest.approx([166 + per_score, 166 - 1.5 * per_score], abs=0.06)


@pytest.mark.parametrize("language", ["en", "de", "fr", "pt-br"])
def test_sds_plot_coordinates_ignore_language(language: str) -> None:
    """Coordinates are not translated."""
    with translation.override(language):
        svg = str(sds_plot([SdsPoint(100.4, -1.5, (-2.5, -0.5), Verdict.CORRECTED, "<b>")]))
    assert "<b>" not in svg
    for path in re.findall(r' d="([^"]*)"', svg):
        assert re.fullmatch(r"[MLHVZhlvz0-9. \-]+", path)
