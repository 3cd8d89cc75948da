"""Presentation of an assessment in a program: one line, a card for a notebook, plain JSON and a table's row."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from base64 import b64encode
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.explain import HeatMap, overlay
from boneage.flat_row import flat_row
from boneage.schema import AssessmentDocument
from boneage.strict import to_plain
from boneage.words import age_in_words, ages_between, sex

_CARD_HEIGHT = 420
"""Height of the picture of a card, pixels."""
_COLOURS = {"critical": "#b3261e", "caution": "#8a5a00", "info": "#445"}


class Presentation(ABC):
    """Ways in which an assessment presents itself. A class that inherits them states its document and its picture."""

    picture: NDArray[np.uint8]

    @abstractmethod
    def document(self) -> AssessmentDocument:
        """Return the assessment by the project's one schema."""

    @abstractmethod
    def heat_map(self) -> HeatMap:
        """Return the heat map over `picture`."""

    def to_json(self) -> dict[str, Any]:
        """Return the document as plain JSON: what the command line, report files and the REST API write."""
        value: dict[str, Any] = to_plain(self.document())
        return value

    def to_row(self) -> dict[str, object]:
        """Return every scalar of the JSON by column, for a row of a table such as ``pandas.DataFrame([...])``.

        The columns are those of ``boneage assess --csv`` (`boneage.flat_row`).
        """
        return dict(flat_row(self.document()))

    def __repr__(self) -> str:
        """Return one line: file, sex, bone age, interval and codes of the warnings."""
        document = self.document()
        interval = document.interval_months
        parts = [f"{document.image or 'radiograph'}, {document.sex}: {document.age_text}"]
        parts += [] if interval is None else [f"95 % {interval[0]:.0f} to {interval[1]:.0f} months"]
        parts += [f"{warning.severity.value} {warning.code}" for warning in document.warnings]
        return f"<{type(self).__name__} {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        """Return a card for a notebook: radiograph with heat map, bone age, reading and warnings."""
        drawn = overlay(self.picture, self.heat_map(), scale_bar=False)
        small = cv2.resize(
            drawn, (round(drawn.shape[1] * _CARD_HEIGHT / drawn.shape[0]), _CARD_HEIGHT), interpolation=cv2.INTER_AREA
        )
        _, png = cv2.imencode(".png", small[..., ::-1])
        document = self.document()
        rows = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in _rows(document)
        )
        warnings = "".join(
            f'<li style="color: {_COLOURS[warning.severity.value]}">{html.escape(warning.message)}</li>'
            for warning in document.warnings
        )
        void = any(warning.severity.value == "critical" for warning in document.warnings)
        style = "text-decoration: line-through" if void else ""
        return (
            '<div style="display: flex; gap: 1.5em; align-items: flex-start">'
            f'<img alt="Radiograph with heat map" src="data:image/png;base64,{b64encode(png.tobytes()).decode()}">'
            f'<div><p style="font-size: 1.6em; margin: 0; {style}">{html.escape(document.age_text)}</p>'
            f"<table>{rows}</table><ul>{warnings}</ul><p>{html.escape(document.notice)}</p></div></div>"
        )


def _rows(document: AssessmentDocument) -> list[tuple[str, str]]:
    """Return names and texts of the card's table."""
    rows = [("Standard", f"{document.method}, {sex(document.sex)}")]
    if document.interval_80_months is not None:
        rows.append(("80 % prediction interval", ages_between(document.interval_80_months)))
    if document.chronological_age is not None:
        rows.append(("Chronological age", age_in_words(document.chronological_age.months)))
    if document.sds is not None:
        rows.append(("SDS", f"{document.sds:+.2f} ({document.determination}), by {document.reference.name}"))
    return rows
