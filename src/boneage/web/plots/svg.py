"""Pieces of the plots that are drawn on the server."""

from __future__ import annotations

from collections.abc import Iterable


def number(value: float) -> str:
    """A number as SVG wants it, whatever the language."""
    return f"{value:.1f}"


def path(points: Iterable[tuple[float, float]]) -> str:
    """Straight lines from point (x, y) to point, for an element's ``d``."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)
