#!/usr/bin/env python
"""Fonts of the PDF report, cut from openly licensed fonts to the letters that a report may need.

`python tools/report_fonts.py FOLDER` reads ``Arimo-Regular.ttf``, ``Arimo-Bold.ttf`` (Debian: fonts-croscore) and
``DroidSansFallbackFull.ttf`` (Debian: fonts-droid-fallback) from the folder or below it, checks their SHA-256, and
writes the fonts of `boneage.web.report` again. Equal sources give equal files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click
from fontTools import subset
from fontTools.ttLib import TTFont

from boneage.files import atomic_write, sha256_of

FONTS = Path(__file__).resolve().parents[1] / "src/boneage/report/fonts"

SOURCES = {
    "Arimo-Regular.ttf": "5c315974260455a02fad62495a0ae9a783bb53f0eccf807deb75c7967e7a81d6",
    "Arimo-Bold.ttf": "10724c3733f60cdec733da1a439de9100e1593ceb219cc4d03c443bef1feb9b6",
    "DroidSansFallbackFull.ttf": "acb6440a713d880a13a21b468ba7cd43f5a2b2934972e51be791c880730777b8",
}
"""SHA-256 of the sources by name."""

_ALPHABETS = (
    (0x20, 0x7F),  # ASCII
    (0xA0, 0x250),  # Latin
    (0x2B0, 0x370),  # modifying letters and accents
    (0x370, 0x530),  # Greek, Cyrillic
    (0x1E00, 0x1F00),  # further Latin, Vietnamese
    (0x2000, 0x2070),  # punctuation
    (0x20A0, 0x20C0),  # currencies
    (0x2100, 0x2150),  # symbols made of letters
    (0x2190, 0x2200),  # arrows
    (0x2200, 0x2270),  # mathematics, the minus sign among it
)
"""Ranges of code points that are kept of Arimo."""

_ENCODINGS = (
    ("gb2312", range(0xA1, 0xF8), range(0xA1, 0xFF)),  # all of simplified Chinese, 6,763 characters
    ("big5", range(0xA4, 0xC7), range(0x40, 0xFF)),  # the 5,401 frequent traditional characters
    ("shift_jis", range(0x81, 0x98), range(0x40, 0xFD)),  # kana, and the 2,965 frequent Japanese characters
)
"""Encodings with the ranges of both bytes whose characters are kept of Droid Sans Fallback."""


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Write the fonts of the PDF report from the sources in FOLDER."""
    alphabets = {code for first, end in _ALPHABETS for code in range(first, end)}
    for name, style in (("Arimo-Regular.ttf", "Regular"), ("Arimo-Bold.ttf", "Bold")):
        _write(_source(folder, name), alphabets, "Boneage Sans", style)
    _write(_source(folder, "DroidSansFallbackFull.ttf"), set(_east_asian()), "Boneage Han", "Regular")


def _source(folder: Path, name: str) -> Path:
    """Return the path of a source after a check of its SHA-256."""
    path = next(iter(sorted(folder.rglob(name))), None)
    if path is None:
        raise click.ClickException(f"{name} is not in {folder}.")
    if sha256_of(path.read_bytes()) != SOURCES[name]:
        raise click.ClickException(f"{path} is another version: its SHA-256 is {sha256_of(path.read_bytes())}.")
    return path


def _east_asian() -> Iterator[int]:
    for encoding, firsts, seconds in _ENCODINGS:
        for first in firsts:
            for second in seconds:
                try:
                    yield ord(bytes((first, second)).decode(encoding))
                except (UnicodeDecodeError, TypeError):
                    continue


def _write(source: Path, code_points: Iterable[int], family: str, style: str) -> None:
    """Write the font's letters without hints and layout tables, under a name of its own."""
    options = subset.Options(
        hinting=False,
        layout_features=[],
        notdef_outline=True,
        glyph_names=False,
        recalc_timestamp=False,
        drop_tables=["GSUB", "GPOS", "GDEF", "DSIG", "vhea", "vmtx", "VORG", "gasp", "kern", "meta"],
    )
    font: TTFont = subset.load_font(source, options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=code_points)
    cutter.subset(font)
    names = {1: family, 2: style, 4: f"{family} {style}", 6: f"{family.replace(' ', '')}-{style}"}
    table = font["name"]
    for record in list(table.names):
        if record.nameID in names:
            table.setName(names[record.nameID], record.nameID, record.platformID, record.platEncID, record.langID)
    path = FONTS / f"{names[6]}.ttf"
    with atomic_write(path) as temporary:
        font.save(temporary)
    click.echo(f"{path.name}: {len(font.getBestCmap())} characters, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
