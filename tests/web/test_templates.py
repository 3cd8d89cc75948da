"""Templates read views, never documents: a renamed key of the schema would be an empty place on a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import boneage.web

TEMPLATES = Path(boneage.web.__file__).parent / "templates"

DOCUMENTS = re.compile(r"\.(?:readings|finished|stored|result)\b")
"""Attributes of `boneage.web.models.Assessment` that are documents."""

ALLOWED = {"content.readings", "report.content.readings", "row.result", "row.peer.results", "row.stored"}
"""Texts of a report (`boneage.report.content`), and rows of the page of the DICOM node."""


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_templates_read_no_document(path: Path) -> None:
    """`tests.web.conftest.documents_stay_in_python` finds those that a view passes."""
    code = " ".join(re.findall(r"\{[{%].*?[%}]\}", path.read_text(encoding="utf-8")))
    for name in ALLOWED:
        code = code.replace(name, "")
    code = re.sub(r"""(?:"[^"]*"|'[^']*')""", "", code)
    assert not DOCUMENTS.findall(code)
