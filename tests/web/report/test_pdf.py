"""The PDF of a report: PDF/A-2b, fonts and letters, letterhead."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import pikepdf
import pytest
from django.test import Client
from django.utils.html import escape
from django.utils.translation import override
from PIL import ImageCms
from pytest_django.fixtures import Settings

from boneage.report.fonts import BOLD, HAN, PLAIN, has_replacements, printable
from boneage.web.models import Assessment
from boneage.web.report.content import report_of
from boneage.web.report.letters import marked_up
from boneage.web.report.pdf import draw, pdf_bytes
from tests.web.pdf_text import pages_in, words_in_pdf

LANGUAGES = ["en", "pt-br", "es", "fr", "de", "zh-hans"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_pdf_is_archivable(open_mode: None, done_assessment: Callable[..., Assessment], language: str) -> None:
    """XMP, output intent, document ID and embedded fonts of PDF/A-2b, and no fault that qpdf finds."""
    assessment = done_assessment(note="李雷 Żółć Иван Nguyễn 陳 & <b>")
    with override(language):
        data = pdf_bytes(assessment)
    assert data.startswith(b"%PDF-1.7\n%\x93\x8c\x8b\x9e")
    with pikepdf.open(io.BytesIO(data)) as pdf:
        assert not pdf.check_pdf_syntax()
        metadata = pdf.open_metadata()
        assert metadata.pdfa_status == "2B"
        assert metadata["dc:title"] == str(pdf.docinfo["/Title"])
        assert metadata["dc:creator"] == [str(pdf.docinfo["/Author"])]
        assert metadata["pdf:Producer"] == str(pdf.docinfo["/Producer"])
        created = datetime.fromisoformat(metadata["xmp:CreateDate"])
        assert pikepdf.models.metadata.decode_pdf_date(str(pdf.docinfo["/CreationDate"])) == created
        assert len(pdf.Root.Metadata.get("/Filter", pikepdf.Array())) == 0
        [intent] = pdf.Root.OutputIntents
        assert (str(intent.S), int(intent.DestOutputProfile.N)) == ("/GTS_PDFA1", 3)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(intent.DestOutputProfile.read_bytes())).profile
        assert (profile.xcolor_space.strip(), profile.device_class) == ("RGB", "mntr")
        assert len(pdf.trailer.ID) == 2
        assert "/Encrypt" not in pdf.trailer
        fonts = [one for page in pdf.pages for one in page.Resources.Font.values()]
        assert {str(one.BaseFont).partition("+")[2] for one in fonts} >= {PLAIN, HAN}
        assert all("/FontFile2" in one.FontDescriptor and "/ToUnicode" in one for one in fonts)
        pictures = [one for one in pdf.objects if isinstance(one, pikepdf.Stream) and one.get("/Subtype") == "/Image"]
        assert len(pictures) == 3
        assert all("/SMask" not in one and one.ColorSpace in {"/DeviceRGB", "/DeviceGray"} for one in pictures)
        assert all("/Group" not in page for page in pdf.pages)
    assert "李雷ŻółćИванNguyễn陳&<b>" in words_in_pdf(data)


def test_each_stream_ends_on_a_line_of_its_own(open_mode: None, done_assessment: Callable[..., Assessment]) -> None:
    """The line end before ``endstream`` is not counted by the stream's length."""
    data = pdf_bytes(done_assessment())
    counted = 0
    for match in re.finditer(rb"/Length (\d+)[^>]*>>\s*stream\n", data):
        assert data[match.end() + int(match[1]) :].startswith(b"\nendstream\nendobj\n")
        counted += 1
    assert counted >= 8


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pdf_with_any_letters(open_mode: None, done_assessment: Callable[..., Assessment], language: str) -> None:
    """Letters that no font holds are replaced, and the PDF states this."""
    letters = np.random.default_rng(0).integers(32, 0x2FFFF, 500)
    note = "".join(map(chr, letters)).encode("utf-8", "ignore").decode()
    report = report_of(done_assessment(note=f"שלום\n{note}"))
    with override(language):
        pdf = draw(report)
        without = draw(replace(report, patient=()))
    assert not pikepdf.open(io.BytesIO(pdf)).check_pdf_syntax()
    assert "????" in words_in_pdf(pdf)
    if language == "en":
        assert "lacksomeletters" in words_in_pdf(pdf)
        assert "lacksomeletters" not in words_in_pdf(without)


def test_letters_and_their_fonts() -> None:
    """A letter is printed as it is, as its base letter, or as a question mark."""
    assert "".join(printable("Ż李\N{MINUS SIGN}ǆש")) == "Ż李\N{MINUS SIGN}ǆ?"
    assert "".join(printable("𝐀")) == "A"
    assert marked_up("a<李", BOLD) == f'<font name="{BOLD}">a&lt;</font><font name="{HAN}">李</font>'
    assert has_replacements(["plain", "ש"])
    assert not has_replacements(["plain\nЖ 骨"])


def test_pdf_long_note_continues(open_mode: None, done_assessment: Callable[..., Assessment]) -> None:
    """Long notes go on to another page."""
    pdf = pdf_bytes(done_assessment(note="word\n" * 60))
    assert pages_in(pdf) == 2
    assert words_in_pdf(pdf).count("word") == 60


def test_letterhead_on_page_and_pdf(
    open_mode: None, client: Client, settings: Settings, tmp_path: Path, done_assessment: Callable[..., Assessment]
) -> None:
    """Lines and logo of the setting stand on both."""
    (tmp_path / "letterhead.txt").write_text("Children's Hospital\n\nEndocrinology · 骨龄\n", encoding="utf-8")
    cv2.imwrite(str(tmp_path / "logo.png"), np.full((40, 100, 4), 128, np.uint8))
    settings.CONFIGURATION = replace(settings.CONFIGURATION, letterhead=str(tmp_path))
    assessment = done_assessment()
    pdf = pdf_bytes(assessment)
    page = client.get(f"/assessments/{assessment.pk}/report/").content.decode()
    letterhead = report_of(assessment).letterhead
    assert letterhead.logo_uri in page
    assert letterhead.logo_jpeg in pdf
    for line in letterhead.lines:
        assert escape(line) in page
        assert "".join(line.split()) in words_in_pdf(pdf)
    assert pages_in(pdf) == 1
