"""Files made to keep a reader busy take little time, with low bounds and files just above them."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator

import pytest

from boneage.errors import Rejection
from boneage.reading.dicom import bounds as dicom_bounds
from boneage.reading.headers import jpeg, jpeg2000, tiff_file, webp
from boneage.reading.headers import png as png_header
from boneage.reading.huffman_jpeg import stream
from boneage.reading.radiograph import read_radiograph
from tests.damaged_files import outcome_of
from tests.hostile_files import KINDS, chunk
from tests.radiograph_files import VALID

SIZE = 60_000

OUTCOMES = {
    "dicom nested, undefined length": "unreadable",
    "dicom nested, defined length": "readable",
    "dicom nested, to be put into words": "readable",
    "dicom nested, private": "unreadable",
    "dicom nested transfer syntax": "readable",
    "dicom elements": "unreadable",
    "dicom meta elements": "unreadable",
    "dicom items": "unreadable",
    "dicom items of a table": "unreadable",
    "dicom values": "readable",
    "dicom character sets": "unreadable",
    "dicom character set elements": "unreadable",
    "dicom fragments": "unreadable",
    "dicom fragments, defined length": "unreadable",
    "dicom sequence without VRs": "unreadable",
    "dicom shutters": "unreadable",
    "dicom jpeg, huffman tables": "unreadable",
    "dicom jpeg 2000, precincts": "unreadable",
    "dicom jpeg 2000, code blocks": "unreadable",
    "png surplus stream": "unreadable",
    "png text bombs": "readable",
    "png chunks": "unreadable",
    "png idat chunks": "unreadable",
    "jpeg markers": "unreadable",
    "jpeg 12 bit, restarts": "unreadable",
    "tiff directories": "unreadable",
    "tiff loop": "several_frames",
    "tiff surplus stream": "readable",
    "tiff jpeg scans": "too_large",
    "webp chunks": "unreadable",
}
"""Outcomes of the kinds that the bounds decide; the others may be read or not."""


@pytest.fixture(autouse=True)
def _low_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_bounds, "MOST_READS", 1500)
    monkeypatch.setattr(png_header, "MOST_CHUNKS", 500)
    monkeypatch.setattr(webp, "MOST_CHUNKS", 500)
    monkeypatch.setattr(jpeg, "MOST_SEGMENTS", 500)
    monkeypatch.setattr(png_header, "CHEAP_INFLATION", 1 << 20)
    monkeypatch.setattr(tiff_file, "MOST_ENTRIES", 200)
    monkeypatch.setattr(jpeg2000, "MOST_BLOCKS", 500)
    monkeypatch.setattr(jpeg, "LARGEST_PIXELS", 1_000_000)
    monkeypatch.setattr(stream, "MOST_INTERVALS", 500)


@pytest.mark.parametrize("kind", KINDS)
def test_read_radiograph_hostile_file_in_little_time(kind: str) -> None:
    """A hostile file takes little time."""
    file = KINDS[kind](SIZE)
    start = time.process_time()
    outcome = outcome_of(file)
    assert time.process_time() - start < 2
    assert outcome == OUTCOMES.get(kind, outcome)
    assert not outcome.startswith("exception")


def test_hostile_kinds_cover_all_outcomes() -> None:
    """Expected outcomes name kinds that exist."""
    assert set(OUTCOMES) <= set(KINDS)


def test_text_nested_sequence(caplog: pytest.LogCaptureFixture) -> None:
    """`str` of such a sequence does not end: pydicom repeats each error in that of the level above."""
    with caplog.at_level(logging.WARNING):
        radiograph = read_radiograph(KINDS["dicom nested, to be put into words"](SIZE))
    assert radiograph.facts.body_part is None
    assert "BodyPartExamined" in caplog.text


@pytest.fixture
def usual_recursion_limit() -> Iterator[None]:
    """Set Python's own limit. Hypothesis and others raise it, and then the file ends before the stack does."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.usefixtures("usual_recursion_limit")
def test_read_radiograph_sequences_nested_too_deeply() -> None:
    """The rejection names sequences that are nested too deeply."""
    with pytest.raises(Rejection, match="nested too deeply") as rejected:
        read_radiograph(KINDS["dicom nested, undefined length"](SIZE))
    assert rejected.value.code == "unreadable"


@pytest.mark.parametrize("pieces", range(40, 52))
def test_read_radiograph_bound_reached_in_any_piece(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rejection is the same in whichever piece of a sequence the bound is reached."""
    monkeypatch.setattr(dicom_bounds, "MOST_READS", pieces)
    with pytest.raises(Rejection, match="too many elements, items or values"):
        read_radiograph(KINDS["dicom nested, undefined length"](SIZE))


def test_read_shutter_logs_unknown_shapes_once(caplog: pytest.LogCaptureFixture) -> None:
    """Unknown shutter shapes are logged once."""
    with caplog.at_level(logging.WARNING), pytest.raises(Rejection):
        read_radiograph(KINDS["dicom shutters"](SIZE))
    assert len(caplog.records) == 1


def test_read_radiograph_png_surplus_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte too many is rejected, the right number read, however the stream is cut into chunks."""
    import zlib

    from tests.hostile_files import png

    monkeypatch.setattr(png_header, "CHEAP_INFLATION", -(1 << 30))
    rows = bytes((17 * row * column) % 251 if column else 0 for row in range(70) for column in range(81))
    for surplus, outcome in ((0, "readable"), (1, "unreadable")):
        stream = zlib.compress(rows + bytes(surplus))
        file = png(70, 80, *(chunk(b"IDAT", stream[at : at + 100]) for at in range(0, len(stream), 100)))
        assert outcome_of(file) == outcome


@pytest.mark.parametrize("name", ["jpeg colour", "jpeg progressive"])
def test_read_radiograph_jpeg_declared_jpeg_ls(name: str) -> None:
    """A JPEG that is declared JPEG-LS is unreadable: CharLS raises errors of its own."""
    file = bytearray(VALID[name])
    frame = file.index(b"\xff\xc2" if "progressive" in name else b"\xff\xc0")
    file[frame + 1] = 0xF7
    assert outcome_of(bytes(file)) == "unreadable"
