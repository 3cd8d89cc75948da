"""Texts of the pages on ages, warnings and rejections, in the active language."""

from __future__ import annotations

from datetime import date, datetime

from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_noop as marked

from boneage import words

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
"""Title and advice by rejection code."""

OTHER_FAILURE = (
    marked("The radiograph could not be assessed because of an internal error."),
    marked("Try again later. If the problem persists, tell the administrator of this service."),
)


def rejection(code: str) -> dict[str, str]:
    """Return what happened (``title``) and what to do about it (``advice``)."""
    title, advice = REJECTIONS.get(code, OTHER_FAILURE)
    return {"title": gettext(title), "advice": gettext(advice)}


def averaged(count: int) -> str:
    """Return the number of radiographs over which a reference plate is averaged, in words."""
    return ngettext("average of %(count)d radiograph", "average of %(count)d radiographs", count) % {"count": count}


def wide_range(bounds: tuple[float, float] | None) -> str:
    """Return the 95 % prediction interval in words: ``95 % prediction interval: 6 years 3 months to 9 years 5 months``;
    empty for None.
    """
    return gettext("95 %% prediction interval: %(ages)s") % {"ages": words.ages_between(bounds)} if bounds else ""


def narrow_range(bounds: tuple[float, float] | None) -> str:
    """Return the 80 % prediction interval in words; empty for None."""
    return gettext("80 %% prediction interval: %(ages)s") % {"ages": words.ages_between(bounds)} if bounds else ""


def narrow_range_above(lowest_months: float) -> str:
    """Return the 80 % prediction interval in words near skeletal maturity, where it is open above."""
    return gettext("80 %% prediction interval: %(age)s and above") % {"age": words.age(lowest_months)}


def moment(when: datetime | None) -> str:
    """Return date and time in the service's time zone, with its offset; empty for None."""
    return "" if when is None else words.moment(timezone.localtime(when))


def iso_moment(when: datetime) -> str:
    """Return date and time in the service's time zone for programs, ``2026-11-30T10:15:00+01:00``."""
    return timezone.localtime(when).isoformat(timespec="seconds")


def day(when: date | datetime | None) -> str:
    """Return a date, or the date of a moment in the service's time zone, with its month in letters; empty for None."""
    return words.day(timezone.localtime(when).date() if isinstance(when, datetime) else when)


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
    """Return the usual name of a browser from its user agent; at most 40 characters of an unknown one."""
    names = [next((name for mark, name in table if mark in agent), "") for table in (_BROWSERS, _SYSTEMS)]
    return ", ".join(filter(None, names)) or agent[:40] or gettext("unknown")
