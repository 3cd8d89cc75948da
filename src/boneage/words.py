"""Words for people in the language of the reader: ages, numbers, dates, sexes, regions and warnings.

The command line chooses a language with `use_language`; the service passes on the language of each request
(`use_translator`). English is the language of the source. Catalogues: docs/languages.md.
"""

from __future__ import annotations

import gettext as standard_gettext
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from boneage.clinical.ages import ChronologicalAge
from boneage.hand.registration import HAND_REGIONS, REGION_TITLES
from boneage.schema import WarningDocument
from boneage.severity import Severity
from boneage.warnings_ import WARNING_TEXTS, WarningCode

LOCALE = Path(__file__).parent / "locale"
"""Folder of the catalogues: ``<language>/LC_MESSAGES/django.po``."""

DOMAIN = "django"
"""Name of the catalogues, which Django prescribes."""

SOURCE_LANGUAGE = "en"


class Translator(Protocol):
    """Translation of messages, as of the standard library's `gettext.NullTranslations`."""

    def gettext(self, message: str) -> str:
        """Return the translation of a message."""

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        """Return the translation of a message with a singular and a plural."""


Chooser = Callable[[], tuple[str, Translator]]
"""Returns the locale's name, such as ``pt_BR``, and the translator."""

_ENGLISH: tuple[str, Translator] = (SOURCE_LANGUAGE, standard_gettext.NullTranslations())
_chosen: ContextVar[tuple[str, Translator] | None] = ContextVar("boneage_language", default=None)
_choosers: list[Chooser] = [lambda: _ENGLISH]


def use_translator(chooser: Chooser) -> None:
    """Let a program decide about the language of each call, as the service does for each request.

    Args:
        chooser: is called for each text.
    """
    _choosers[0] = chooser


@contextmanager
def use_language(language: str) -> Iterator[None]:
    """Use a language within the block.

    Args:
        language: one of `languages`.

    Raises:
        LookupError: there is no catalogue for this language.
    """
    token = _chosen.set(_opened(language))
    try:
        yield
    finally:
        _chosen.reset(token)


def _current() -> tuple[str, Translator]:
    """Return the language of the block (`use_language`), else that of the program (`use_translator`)."""
    return _chosen.get() or _choosers[0]()


def languages(locale: Path = LOCALE) -> list[str]:
    """Return English and the languages that have a catalogue, such as ``pt_BR``, by name.

    Args:
        locale: folder of the catalogues.
    """
    return [SOURCE_LANGUAGE, *sorted(path.parent.parent.name for path in locale.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))]


def _opened(language: str) -> tuple[str, Translator]:
    if language == SOURCE_LANGUAGE:
        return _ENGLISH
    if language not in languages():
        raise LookupError(f"no catalogue for the language {language!r}; there are {', '.join(languages())}")
    return language, standard_gettext.translation(DOMAIN, LOCALE, [language])


def gettext(message: str) -> str:
    """Return a message in the reader's language."""
    return _current()[1].gettext(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """Return a message that counts something in the reader's language."""
    return _current()[1].ngettext(singular, plural, count)


def marked(message: str) -> str:
    """Return the message itself: it is translated where it is used, and extracted here."""
    return message


def _locale() -> str:
    return _current()[0]


def language() -> str:
    """Return the reader's language as a locale's name, such as ``pt_BR``."""
    return _locale()


# numbers, ages and dates


def number(value: float, decimals: int = 1) -> str:
    """Return a number with fixed decimals as the language writes it."""
    from babel.numbers import format_decimal  # noqa: PLC0415  # slow to import, and not needed by every command

    pattern = "#,##0." + "0" * decimals if decimals else "#,##0"
    return str(format_decimal(round(value, decimals) + 0.0, pattern, locale=_locale()))


def signed(value: float, decimals: int = 1) -> str:
    """Return a number with its sign, a plus or a minus sign; zero has none."""
    rounded = round(value, decimals)
    sign = "+" if rounded > 0 else "\N{MINUS SIGN}" if rounded < 0 else ""
    return sign + number(abs(rounded), decimals)


def months(count: float | None, decimals: int = 1) -> str:
    """Return a number of months with its unit; empty for None."""
    if count is None:
        return ""
    return gettext("%(number)s months") % {"number": number(count, int(decimals))}


def age(months_old: float | None) -> str:
    """Return an age to the nearest month, ``7 years 3 months``; empty for None. The sign is ignored."""
    return "" if months_old is None else _years_and_months(_current()[1], *divmod(round(abs(months_old)), 12))


def age_in_words(months_old: float) -> str:
    """Return an age in English whatever the reader's language, as the JSON has it."""
    return _years_and_months(_ENGLISH[1], *divmod(round(abs(months_old)), 12))


def completed_age(years: int, rest: int) -> str:
    """Return completed years and months in words, without the part that is 0."""
    return _years_and_months(_current()[1], years, rest)


def chronological_age(age_at_study: ChronologicalAge | None) -> str:
    """Return a chronological age in completed years and months, as clinics count it; empty for None.

    An age in whole years has its range: ``13 years (13 years 0 months to 13 years 11 months)``.
    """
    if age_at_study is None:
        return ""
    if age_at_study.is_known_to_the_month:
        return completed_age(*age_at_study.completed)
    bounds = [_full_age(*one) for one in (age_at_study.completed, age_at_study.last_completed)]
    return gettext("%(age)s (%(low)s to %(high)s)") % {
        "age": _full_age(age_at_study.completed.years),
        "low": bounds[0],
        "high": bounds[1],
    }


def _full_age(years: int, rest: int | None = None) -> str:
    """Return completed years and months in words, a 0 included; the years alone if the months are unknown."""
    in_years = ngettext("%(count)d year", "%(count)d years", years) % {"count": years}
    if rest is None:
        return in_years
    in_months = ngettext("%(count)d month", "%(count)d months", rest) % {"count": rest}
    return gettext("%(years)s %(months)s") % {"years": in_years, "months": in_months}


def _years_and_months(translator: Translator, years: int, rest: int) -> str:
    in_years = translator.ngettext("%(count)d year", "%(count)d years", years) % {"count": years}
    in_months = translator.ngettext("%(count)d month", "%(count)d months", rest) % {"count": rest}
    if not years:
        return in_months
    if not rest:
        return in_years
    return translator.gettext("%(years)s %(months)s") % {"years": in_years, "months": in_months}


def age_with_months(months_old: float) -> str:
    """Return an age in words, followed by its months in parentheses."""
    return gettext("%(age)s (%(months)s)") % {"age": age(months_old), "months": months(months_old)}


def ages_between(bounds: tuple[float, float] | None) -> str:
    """Return a range of ages, ``6 years 3 months to 9 years 5 months``; empty for None."""
    if bounds is None:
        return ""
    return gettext("%(low)s to %(high)s") % {"low": age(bounds[0]), "high": age(bounds[1])}


def difference(months_ahead: float | None) -> str:
    """Return the bone age against the chronological age in words, to a tenth of a month; empty for None.

    Whole months would not add up with the ages, since the chronological age is counted in completed months.
    """
    if months_ahead is None:
        return ""
    if round(months_ahead, 1) == 0:
        return gettext("the same as the chronological age")
    if months_ahead > 0:
        return gettext("%(age)s ahead of the chronological age") % {"age": months(months_ahead)}
    return gettext("%(age)s behind the chronological age") % {"age": months(abs(months_ahead))}


def sentences(*parts: str) -> str:
    """Join sentences that have no full stop, leaving empty ones out."""
    ended = (gettext("%(sentence)s.") % {"sentence": part} for part in parts if part)
    return ("" if language().startswith("zh") else " ").join(ended)


def day(when: date | None) -> str:
    """Return a date with its month in letters; empty for None."""
    from babel.dates import format_date  # noqa: PLC0415  # see `number`

    return "" if when is None else str(format_date(when, "long", locale=_locale()))


def moment(when: datetime) -> str:
    """Return date and time of an aware moment with its offset, ``30 November 2026, 10:15 UTC+01:00``."""
    offset = f"{when:%z}"
    place = "UTC" if offset in {"", "+0000"} else f"UTC{offset[:3]}:{offset[3:5]}"
    comma = "" if language().startswith("zh") else ","
    return f"{day(when)}{comma} {when:%H:%M} {place}"


# sexes, regions and warnings

SEXES: Mapping[str, str] = MappingProxyType(
    {"F": marked("female"), "M": marked("male"), "both": marked("unknown or other")}
)

_SEX_PLACES = ("given", "said")
"""Places of warnings' sentences that hold ``F`` or ``M``."""

_AGE_PLACES = ("given_age", "file_age")
"""Places of warnings' sentences that hold an age in English: years, or years and months."""

_REGION_PLACES = ("region", "regions", "highest", "lowest")
"""Places of warnings' sentences that hold titles of regions in English, several after one another with commas."""


def sex(code: str | None) -> str:
    """Return a sex in words, from ``F``, ``M`` or ``both``; empty for None."""
    word = SEXES.get(code or "")
    return "" if word is None else gettext(word)


_TITLES: Mapping[str, str] = MappingProxyType({str(key): title for key, title in REGION_TITLES.items()})


def region(name: str) -> str:
    """Return the bones of a region in words."""
    title = _TITLES.get(name)
    return name if title is None else gettext(title)


def region_with_letter(name: str) -> str:
    """Return the bones of a region after its letter: ``B · carpal bones``."""
    return f"{name} · {region(name)}" if name in HAND_REGIONS else region(name)


_BONES: Mapping[str, str] = MappingProxyType(
    {
        "radius": marked("radius"),
        "ulna": marked("ulna"),
        "carpals": marked("carpal bones"),
        "metacarpal_1": marked("base of the first metacarpal"),
        "ip_1": marked("interphalangeal joint of the thumb"),
        "mcp": marked("metacarpophalangeal joint %(ray)s"),
        "pip": marked("proximal interphalangeal joint %(ray)s"),
        "dip": marked("distal interphalangeal joint %(ray)s"),
    }
)
"""Names of bones and joints (`boneage.schema.BoneDocument`); rays are numbered from the thumb."""

_UNREADABLE: Mapping[str, str] = MappingProxyType(
    {
        "cut_off": marked("cut off by the edge of the radiograph"),
        "joints_uncertain": marked("its joints were not located with certainty"),
        "no_contrast": marked("no contrast"),
        "implausible": marked("its bone age is uncertain and far from that of the other bones"),
    }
)


def bone(name: str) -> str:
    """Return a bone or joint in words: ``proximal interphalangeal joint 3``."""
    if name in _BONES:
        return gettext(_BONES[name])
    kind, _, ray = name.partition("_")
    return gettext(_BONES[kind]) % {"ray": ray} if kind in _BONES else name


def unreadable(reason: str) -> str:
    """Return the reason why a bone could not be read, in words."""
    return gettext(_UNREADABLE[reason])


_HEAT_MAPS: Mapping[str, str] = MappingProxyType(
    {
        "both": marked("Heat map (Grad-CAM): orange places raised the estimate, blue ones lowered it"),
        "raising": marked("Heat map (Grad-CAM, positive part): places that raised the estimate"),
    }
)


def heat_map(evidence: str = "both") -> str:
    """Return the caption of a picture with a heat map (`boneage.explain.Evidence`), which explains its colours."""
    return gettext(_HEAT_MAPS[evidence])


def warning(document: WarningDocument) -> str:
    """Return a warning's sentence; the English one if a result of another version has other places."""
    template = WARNING_TEXTS.get(document.template)
    stated = document.message or document.code.replace("_", " ")
    if template is None:
        return stated
    try:
        return gettext(template).format(**{name: _value(name, value) for name, value in document.values.items()})
    except KeyError:
        return stated


def _value(place: str, value: str | float) -> str | float:
    """Return the value of a warning's place, in words where it names a sex or regions."""
    if place in _SEX_PLACES:
        return sex(str(value))
    if place in _AGE_PLACES:
        years, *rest = (int(part) for part in str(value).split() if part.isdecimal())
        return _full_age(years, *rest)
    return ", ".join(map(gettext, str(value).split(", "))) if place in _REGION_PLACES else value


def region_in_words(name: str) -> str:
    """Return a region in English, with its letter: ``B carpal bones``."""
    title = _TITLES[name]
    return f"{name} {title}" if name in HAND_REGIONS else title


def is_phantom(warnings: Iterable[WarningDocument]) -> bool:
    """Return whether the warnings state that the radiograph is the drawn phantom."""
    return any(document.code == WarningCode.PHANTOM for document in warnings)


def stamp(warnings: Iterable[WarningDocument], *, is_meaningless: bool) -> str:
    """Return the words beside a number that must not be used.

    Args:
        warnings: Warnings of its result.
        is_meaningless: True if the number is no bone age at all.
    """
    if is_phantom(warnings):
        return gettext("Drawn phantom: this number has no meaning")
    return gettext("Not a bone age: outside 0 to 19 years") if is_meaningless else gettext("Do not use this number")


SEVERITY_TITLES: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.CRITICAL: marked("Do not use this number"),
        Severity.CAUTION: marked("Please check"),
        Severity.INFO: marked("For information"),
    }
)
"""Heading of the warnings of a severity, the gravest first."""

SEVERITY_WORDS: Mapping[Severity, str] = MappingProxyType(
    {Severity.CRITICAL: marked("Critical"), Severity.CAUTION: marked("Caution"), Severity.INFO: marked("Information")}
)


def severity_word(severity: str) -> str:
    """Return a severity in one word."""
    return gettext(SEVERITY_WORDS[Severity(severity)])


@dataclass(frozen=True)
class WarningGroup:
    """The warnings of one severity.

    Attributes:
        severity: Severity of all of them.
        title: heading.
        sentences: one for each warning.
    """

    severity: Severity
    title: str
    sentences: tuple[str, ...]


def warning_groups(warnings: Iterable[WarningDocument]) -> tuple[WarningGroup, ...]:
    """Return warnings by severity, the gravest first; severities without a warning are left out."""
    listed = list(warnings)
    groups = (
        WarningGroup(severity, gettext(title), tuple(warning(one) for one in listed if one.severity is severity))
        for severity, title in SEVERITY_TITLES.items()
    )
    return tuple(group for group in groups if group.sentences)
