"""Text of a PDF."""

from __future__ import annotations

import io

import pypdf


def words_in_pdf(pdf: bytes) -> str:
    """The text that a PDF shows, in the order in which it is drawn, without spaces."""
    return "".join("".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(pdf)).pages)


def pages_in(pdf: bytes) -> int:
    """Number of pages."""
    return len(pypdf.PdfReader(io.BytesIO(pdf)).pages)
