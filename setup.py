"""Compiles the catalogues of messages when the package is built or installed; all else is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from setuptools import setup
from setuptools.command.build_py import build_py

LOCALE = Path(__file__).resolve().parent / "src" / "boneage" / "locale"


def compile_catalogues(locale: Path = LOCALE) -> list[Path]:
    """Write each ``django.po`` as the ``django.mo`` beside it that Django reads. Returns what was written."""
    written = []
    for source in sorted(locale.glob("*/LC_MESSAGES/django.po")):
        with source.open("rb") as text:
            catalogue = read_po(text, domain="django", abort_invalid=True)
        target = source.with_suffix(".mo")
        temporary = target.with_suffix(".mo.part")
        with temporary.open("wb") as compiled:
            write_mo(compiled, catalogue)
        temporary.replace(target)
        written.append(target)
    return written


class BuildWithCatalogues(build_py):
    """The usual build, also that of an editable installation, after the catalogues."""

    def run(self) -> None:
        """Build."""
        compile_catalogues()
        super().run()


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildWithCatalogues})
