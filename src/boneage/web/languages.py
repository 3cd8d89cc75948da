"""Languages of the service: English, the language of the source, and each language that has a catalogue."""

from __future__ import annotations

from pathlib import Path

from django.conf.locale import LANG_INFO
from django.utils.translation import to_language

from boneage import words


def languages(locale: Path = words.LOCALE) -> list[tuple[str, str]]:
    """Return the code and native name of each language for Django's ``LANGUAGES``, English first.

    Args:
        locale: folder of the catalogues, as `boneage.words.languages` reads it.
    """
    codes = [to_language(name) for name in words.languages(locale)]
    return [(code, _own_name(code)) for code in codes]


def _own_name(code: str) -> str:
    """Return the native name of a language as in a list; its code if Django does not know it."""
    name = str(LANG_INFO.get(code, {}).get("name_local", code))
    return name[:1].upper() + name[1:]
