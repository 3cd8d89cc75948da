"""The ruler of the result's card."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from boneage.schema import ChronologicalAgeDocument, NormalRangeDocument
from boneage.web.plots.ruler import Ruler, draw_ruler


def age(lower: float, upper: float | None = None) -> ChronologicalAgeDocument:
    """Return a chronological age, exact or as an interval."""
    return ChronologicalAgeDocument(
        months=lower,
        lower_months=lower,
        upper_months=upper or lower,
        years=int(lower // 12),
        completed_months=None,
        precision="years" if upper else "days",
        source="entered",
    )


def parts(ruler: Ruler) -> dict[str, ET.Element]:
    """Return the drawn parts by their class."""
    root = ET.fromstring(re.sub(r"<svg", '<svg xmlns=""', draw_ruler(ruler, "in <words>"), count=1))
    return {one.get("class", ""): one for one in root.iter() if one.get("class")} | {"root": root}


def box(part: ET.Element) -> tuple[float, float]:
    """Return left and right end of a bar or stroke."""
    rect = part if part.tag == "rect" else next(part.iter("rect"))
    left = float(rect.get("x", ""))
    return left, left + float(rect.get("width", ""))


def test_ruler_places_values_on_one_scale() -> None:
    """The likely range encloses the bone age, the normal range the chronological age."""
    normal = NormalRangeDocument(lower_months=110.0, upper_months=150.0, is_open_above=False)
    drawn = parts(Ruler(121.0, (102.0, 139.0), age(130.0), normal))
    assert next(drawn["root"].iter("desc")).text == "in <words>"
    likely, child, normal_bar = box(drawn["likely"]), box(drawn["age-mark"]), box(drawn["normal"])
    bone = float(re.match(r"M([\d.]+)", drawn["bone"].get("d", ""))[1])  # type: ignore[index]
    assert likely[0] < bone < likely[1]
    assert normal_bar[0] < sum(child) / 2 < normal_bar[1]
    assert bone < sum(child) / 2
    per_month = (likely[1] - likely[0]) / 37
    assert normal_bar[1] - normal_bar[0] == pytest.approx(40 * per_month, abs=0.2)


def test_ruler_draws_open_ranges_and_whole_years() -> None:
    """An open range ends in an arrow, an age in whole years is a year wide."""
    normal = NormalRangeDocument(lower_months=190.0, upper_months=228.0, is_open_above=True)
    drawn = parts(Ruler(215.0, (205.0, None), age(204.0, 216.0), normal))
    for name in ("likely", "normal"):
        assert next(drawn[name].iter("path"), None) is not None
    exact = parts(Ruler(215.0, (205.0, None), age(204.0), normal))
    widths = [box(one["age-mark"])[1] - box(one["age-mark"])[0] for one in (drawn, exact)]
    assert widths[0] > 4 * widths[1]


def test_ruler_without_ranges() -> None:
    """A corrected bone age has no likely range; where there is no reference, there is no normal range."""
    drawn = parts(Ruler(94.0, None, age(90.0), None))
    assert {"likely", "normal"}.isdisjoint(drawn)
