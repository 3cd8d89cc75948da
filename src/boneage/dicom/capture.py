"""The result as Secondary Capture: the radiograph with outline and heat map, and the reading burned in beside it.

A PACS viewer shows it like any other image of the study. Nothing that identifies the patient is burned in.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from boneage import words
from boneage.dicom import codes
from boneage.dicom.identity import ResultKey, instance_reference, laterality, new_object
from boneage.report.content import ReportContent
from boneage.report.fonts import BOLD, HAN, PLAIN, font_file, font_of, spans
from boneage.schema import AssessmentDocument
from boneage.severity import Severity
from boneage.words import gettext

SERIES_NUMBER = 991
WIDTH, PICTURE_WIDTH, HEIGHT = 1200, 640, 900
_MARGIN, _GAP = 28, 10
_PAPER, _INK, _FAINT, _ALARM = (0, 0, 0), (236, 236, 236), (170, 170, 178), (255, 120, 104)


def secondary_capture(
    source: Dataset, key: ResultKey, page: NDArray[np.uint8], *, is_verified: bool, now: datetime
) -> Dataset:
    """Return a page as a Secondary Capture in the study of the radiograph (PS3.3, A.8.1).

    Args:
        source: data set of the radiograph.
        key: key of the result.
        page: uint8 (H, W, 3), RGB, as `draw_page` gives it.
        is_verified: True if a physician decided on the bone age.
        now: moment at which it is made, with a time zone.
    """
    made = new_object(
        source, key, "sc", sop_class=SecondaryCaptureImageStorage, modality="OT", series_number=SERIES_NUMBER, now=now
    )
    made.ConversionType = "WSD"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.BurnedInAnnotation = "YES"
    made.BodyPartExamined = str(source.get("BodyPartExamined", "") or "HAND")
    made.Laterality, made.PatientOrientation = laterality(source), ""
    made.DerivationDescription = "Bone age estimate with outline of the hand and heat map"
    made.ImageComments = "Verified by a physician" if is_verified else "Automatic estimate, not verified"
    made.SourceImageSequence = [_source_image(source)]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "RGB", 0
    made.Rows, made.Columns = page.shape[:2]
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    content = page.tobytes()
    made.PixelData = content + b"\0" * (len(content) % 2)
    made["PixelData"].VR = "OB"
    return made


def _source_image(source: Dataset) -> Dataset:
    item = instance_reference(source)
    item.PurposeOfReferenceCodeSequence = [codes.coded(codes.SOURCE_IMAGE)]
    return item


@dataclass(frozen=True)
class _Line:
    """Line of the page, which may be wrapped."""

    text: str
    size: int
    colour: tuple[int, int, int] = _INK
    is_bold: bool = False


def draw_page(
    document: AssessmentDocument, content: ReportContent, picture: NDArray[np.uint8], *, is_verified: bool
) -> NDArray[np.uint8]:
    """Draw the page of a result in the current language (`boneage.words.use_language`).

    Args:
        document: the assessment.
        content: content of its report in the same language.
        picture: uint8 (h, w, 3), RGB: the radiograph with outline and heat map.
        is_verified: True if a physician decided on the bone age.

    Returns:
        uint8 (H, 1200, 3), RGB, at least 900 pixels high.
    """
    return _drawn(_lines(document, content, is_verified=is_verified), picture)


def draw_rejection(title: str, advice: str) -> NDArray[np.uint8]:
    """Draw the page of a radiograph that was not assessed, in the current language, without a picture.

    Args:
        title: reason as a sentence.
        advice: the remedy as a sentence.

    Returns:
        uint8 (H, 1200, 3), RGB, at least 900 pixels high.
    """
    lines = (
        _Line(gettext("Bone age"), 24, _FAINT),
        _Line(gettext("Not assessed"), 46, _ALARM, is_bold=True),
        _Line(title, 22),
        _Line(advice, 22),
    )
    return _drawn(lines, np.zeros((1, 1, 3), dtype=np.uint8))


def _drawn(lines: Iterable[_Line], picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a page with a picture on the left, and lines of text on the right, which are wrapped."""
    wrapped = [piece for line in lines for piece in _wrapped(line)]
    text_height = sum(line.size + _GAP for line in wrapped) + 2 * _MARGIN
    page = Image.new("RGB", (WIDTH, max(HEIGHT, text_height)), _PAPER)
    hand = Image.fromarray(picture)
    hand.thumbnail((PICTURE_WIDTH, page.height))
    scale = min(PICTURE_WIDTH / hand.width, page.height / hand.height)
    hand = hand.resize((round(hand.width * scale), round(hand.height * scale)), Image.Resampling.LANCZOS)
    page.paste(hand, ((PICTURE_WIDTH - hand.width) // 2, (page.height - hand.height) // 2))
    drawing, top = ImageDraw.Draw(page), _MARGIN
    for line in wrapped:
        _draw(drawing, (PICTURE_WIDTH + _MARGIN, top), line)
        top += line.size + _GAP
    return np.asarray(page, dtype=np.uint8)


def _lines(document: AssessmentDocument, content: ReportContent, *, is_verified: bool) -> Iterator[_Line]:
    """Yield the lines of the text from top to bottom."""
    yield _Line(content.title, 24, _FAINT)
    yield _Line(content.stamp or content.age, 46, _ALARM if content.stamp else _INK, is_bold=True)
    for text in content.answer:
        yield _Line(text, 22)
    yield _Line(words.heat_map(), 18, _FAINT)
    for group in content.warnings:
        for sentence in group.sentences:
            yield _Line(f"{group.title}: {sentence}", 20, _ALARM if group.severity is Severity.CRITICAL else _INK)
    bundle = gettext("%(name)s, version %(version)s") % {
        "name": document.bundle.name,
        "version": document.bundle.version,
    }
    yield _Line(gettext("Model bundle: %(bundle)s") % {"bundle": bundle}, 18, _FAINT)
    if not is_verified:
        yield _Line(gettext("Automatic estimate, not verified by a physician."), 20, _FAINT, is_bold=True)
    for text in content.notice:
        yield _Line(text, 18, _FAINT)


def _wrapped(line: _Line) -> Iterator[_Line]:
    """Yield a line in pieces that fit the column; Chinese may break between any two letters."""
    room, current = WIDTH - PICTURE_WIDTH - 2 * _MARGIN, ""
    for word in _words(line.text):
        if current and _width(current + word.rstrip(), line) > room:
            yield _Line(current.rstrip(), line.size, line.colour, line.is_bold)
            current = ""
        current += word
    yield _Line(current.rstrip(), line.size, line.colour, line.is_bold)


def _words(text: str) -> Iterator[str]:
    """Yield what may not be broken: words with the space behind them, and letters of Chinese."""
    word = ""
    for letter in text:
        if font_of(letter) == HAN:
            if word:
                yield word
            yield letter
            word = ""
        else:
            word += letter
            if letter == " ":
                yield word
                word = ""
    if word:
        yield word


def _runs(line: _Line) -> Iterator[tuple[str, ImageFont.FreeTypeFont]]:
    """Yield the parts of a line with their fonts."""
    for font, letters in spans(line.text, BOLD if line.is_bold else PLAIN):
        yield letters, ImageFont.truetype(font_file(font), line.size)


def _width(text: str, line: _Line) -> float:
    return sum(font.getlength(part) for part, font in _runs(_Line(text, line.size, is_bold=line.is_bold)))


def _draw(drawing: ImageDraw.ImageDraw, left_top: tuple[float, float], line: _Line) -> None:
    left, top = left_top
    for part, font in _runs(line):
        drawing.text((left, top + line.size), part, fill=line.colour, font=font, anchor="ls")
        left += font.getlength(part)
