"""What the pages say of ages, warnings and rejections, in the reader's language."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_noop as marked

from boneage.hand.registration import HAND_REGIONS, REGION_TITLES
from boneage.warnings_ import WARNING_TEXTS, Severity, WarningCode

SEXES: Mapping[str, str] = MappingProxyType({"F": marked("female"), "M": marked("male")})

_SEX_PLACES = ("given", "said")
"""Places of warnings' sentences that hold ``F`` or ``M``."""

REJECTIONS: dict[str, tuple[str, str]] = {
    "unreadable": (
        marked("This file could not be read as an image."),
        marked(
            "Send the original DICOM file, or a PNG, TIFF or JPEG of the radiograph. If it is damaged, export it again."
        ),
    ),
    "reading_timeout": (
        marked("Reading this file took too long."),
        marked("Export the radiograph again, as DICOM or PNG."),
    ),
    "unsupported_format": (
        marked("This file format is not supported."),
        marked("Unpack an archive first. Export anything else as DICOM, PNG or TIFF."),
    ),
    "too_large": (
        marked("This radiograph is larger than the service allows."),
        marked("Export it with fewer pixels: 2,000 on the longer side are enough."),
    ),
    "too_small": (
        marked("This image has too few pixels to show ossification centres."),
        marked("Send the original radiograph, not a preview or an image from a document."),
    ),
    "not_grayscale": (
        marked("This is a colour image, not a radiograph."),
        marked("Send the radiograph itself, not a photograph of a screen or a coloured rendering."),
    ),
    "several_frames": (
        marked("This file contains several images."),
        marked("Send the image of the left hand as a separate file."),
    ),
    "not_a_radiograph": (
        marked("This file is not a radiograph."),
        marked("Choose the projection radiograph of the hand, not a report, a scanned page or another kind of study."),
    ),
    "no_contrast": (
        marked("This image has no contrast."),
        marked("Check the export: a display window may have hidden everything."),
    ),
    "no_hand": (
        marked("No hand was found on this radiograph."),
        marked("Send a radiograph of the whole left hand with the wrist, fingers straight and spread."),
    ),
    "several_hands": (
        marked("This radiograph shows more than one hand."),
        marked("Crop the image to the hand to be assessed, usually the left one, and send it again."),
    ),
    "points_uncertain": (
        marked("A hand was found, but its fingertips and wrist could not be located reliably."),
        marked("Send a radiograph of the whole hand with the wrist, fingers straight and spread, without a cast."),
    ),
    "sex_missing": (
        marked("The sex was not given."),
        marked("Boys and girls mature at different ages: choose one."),
    ),
    "worker_lost": (
        marked("The radiograph could not be assessed: every attempt was interrupted."),
        marked("Try again later. If the problem persists, tell the administrator of this service."),
    ),
}
"""What happened and what to do about it, by rejection code."""

OTHER_FAILURE = (
    marked("The radiograph could not be assessed because of an internal error."),
    marked("Try again later. If the problem persists, tell the administrator of this service."),
)


def rejection(code: str) -> dict[str, str]:
    """Return what happened (``title``) and what to do about it (``advice``)."""
    title, advice = REJECTIONS.get(code, OTHER_FAILURE)
    return {"title": gettext(title), "advice": gettext(advice)}


def age(months_old: float | None) -> str:
    """An age to the nearest month: ``7 years 3 months``; empty for None."""
    if months_old is None:
        return ""
    whole = round(abs(months_old))
    years, rest = divmod(whole, 12)
    in_years = ngettext("%(count)d year", "%(count)d years", years) % {"count": years}
    in_months = ngettext("%(count)d month", "%(count)d months", rest) % {"count": rest}
    if not years:
        return in_months
    return gettext("%(years)s %(months)s") % {"years": in_years, "months": in_months} if rest else in_years


def months(count: float | None, decimals: int = 1) -> str:
    """A number of months with its unit, as the language writes numbers; empty for None."""
    if count is None:
        return ""
    return gettext("%(number)s months") % {"number": number(count, int(decimals))}


def averaged(count: int) -> str:
    """Over how many radiographs a reference plate is averaged."""
    return ngettext("average of %(count)d radiograph", "average of %(count)d radiographs", count) % {"count": count}


def number(value: float, decimals: int = 1) -> str:
    """A number as the language writes it, rounded (Django's `number_format` cuts off)."""
    return number_format(round(value, decimals) + 0.0, decimals)


def difference(months_ahead: float | None) -> str:
    """Bone age against chronological age in words; empty for None."""
    if months_ahead is None:
        return ""
    if round(months_ahead) == 0:
        return gettext("the same as the chronological age")
    if months_ahead > 0:
        return gettext("%(age)s ahead of the chronological age") % {"age": age(months_ahead)}
    return gettext("%(age)s behind the chronological age") % {"age": age(months_ahead)}


def ages_between(bounds: tuple[float, float] | list[float] | None) -> str:
    """A range of ages: ``6 years 3 months to 9 years 5 months``; empty for None."""
    if bounds is None:
        return ""
    low, high = bounds
    return gettext("%(low)s to %(high)s") % {"low": age(low), "high": age(high)}


def wide_range(bounds: tuple[float, float] | list[float] | None) -> str:
    """The 95 % interval: ``95 % range: 6 years 3 months to 9 years 5 months``; empty for None."""
    return gettext("95 %% prediction interval: %(ages)s") % {"ages": ages_between(bounds)} if bounds else ""


def narrow_range(bounds: tuple[float, float] | list[float] | None) -> str:
    """The 80 % interval: ``80 % range: 6 years 10 months to 8 years 10 months``; empty for None."""
    return gettext("80 %% prediction interval: %(ages)s") % {"ages": ages_between(bounds)} if bounds else ""


def sex(code: str | None) -> str:
    """A sex in words, from ``F`` or ``M``; empty for None."""
    word = SEXES.get(code or "")
    return "" if word is None else gettext(word)


def region(name: str) -> str:
    """What a region is, in words."""
    title = {str(key): value for key, value in REGION_TITLES.items()}.get(name)
    return name if title is None else gettext(title)


def region_with_letter(name: str) -> str:
    """The same, after the letter by which a region is called: ``B · carpal bones``."""
    return f"{name} · {region(name)}" if name in HAND_REGIONS else region(name)


def is_phantom(warnings: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a result's warnings say that it is the drawn phantom."""
    return any(said["code"] == WarningCode.PHANTOM for said in warnings)


def stamp(warnings: Iterable[Mapping[str, Any]], *, is_meaningless: bool) -> str:
    """What stands beside a number that must not be used.

    Args:
        warnings: of its result.
        is_meaningless: whether it is no bone age at all.
    """
    if is_phantom(warnings):
        return gettext("Drawn phantom: this number means nothing")
    return gettext("No bone age: outside 0 to 19 years") if is_meaningless else gettext("Do not use this number")


def day(when: date | None) -> str:
    """A date as the language writes it, its month in letters so that nobody takes it for the day; empty for None."""
    return "" if when is None else date_format(when, "DATE_FORMAT")


def moment(when: datetime | None) -> str:
    """Date and time with the name of the time zone; empty for None."""
    if when is None:
        return ""
    local = timezone.localtime(when)
    return f"{date_format(local, 'DATETIME_FORMAT')} {local.tzname()}"


def warning(said: dict[str, Any]) -> str:
    """A warning's sentence from its text's key and values, as the result keeps them."""
    template = WARNING_TEXTS.get(said.get("text", ""))
    if template is None:
        return str(said["code"]).replace("_", " ")
    values = {name: sex(value) if name in _SEX_PLACES else value for name, value in said["values"].items()}
    return gettext(template).format(**values)


SEVERITY_TITLES: Mapping[Severity, str] = MappingProxyType(
    {
        Severity.CRITICAL: marked("Do not use this number"),
        Severity.CAUTION: marked("Please check"),
        Severity.INFO: marked("For information"),
    }
)
"""What stands above the warnings of a severity, the gravest first."""

SEVERITY_WORDS: Mapping[Severity, str] = MappingProxyType(
    {Severity.CRITICAL: marked("Critical"), Severity.CAUTION: marked("Caution"), Severity.INFO: marked("Information")}
)


def severity_word(severity: str) -> str:
    """A severity in one word."""
    return gettext(SEVERITY_WORDS[Severity(severity)])


@dataclass(frozen=True)
class WarningGroup:
    """The warnings of one severity.

    Attributes:
        severity: of all of them.
        title: what stands above them.
        sentences: one a warning.
    """

    severity: Severity
    title: str
    sentences: tuple[str, ...]


def warning_groups(warnings: Iterable[dict[str, Any]]) -> tuple[WarningGroup, ...]:
    """Return a result's warnings by severity, the gravest first; severities without a warning are left out."""
    listed = list(warnings)
    found = (
        WarningGroup(severity, gettext(title), tuple(warning(one) for one in listed if one["severity"] == severity))
        for severity, title in SEVERITY_TITLES.items()
    )
    return tuple(group for group in found if group.sentences)


_BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


def browser(agent: str) -> str:
    """Return what a reader calls a browser, by the name that it sends; at most 40 characters of an unknown one."""
    found = [next((name for mark, name in known if mark in agent), "") for known in (_BROWSERS, _SYSTEMS)]
    return ", ".join(filter(None, found)) or agent[:40] or gettext("unknown")
