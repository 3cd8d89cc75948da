"""Languages of the service: English, the language of the source, and each language that has a catalogue."""

from __future__ import annotations

from pathlib import Path

from django.conf.locale import LANG_INFO
from django.utils.translation import to_language

LOCALE = Path(__file__).parent / "locale"

SOURCE_LANGUAGE = "en"


def languages(locale: Path = LOCALE) -> list[tuple[str, str]]:
    """Return the code and native name of each language for Django's ``LANGUAGES``: English first, then by code.

    Args:
        locale: folder of the catalogues: ``<language>/LC_MESSAGES/django.po``.
    """
    codes = sorted(to_language(path.parent.parent.name) for path in locale.glob("*/LC_MESSAGES/django.po"))
    return [(code, _own_name(code)) for code in [SOURCE_LANGUAGE, *codes]]


def _own_name(code: str) -> str:
    """Return the native name of a language as in a list; its code if Django does not know it."""
    name = str(LANG_INFO.get(code, {}).get("name_local", code))
    return name[:1].upper() + name[1:]
