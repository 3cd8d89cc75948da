"""Template filters and tags for the texts of `boneage.web.texts`."""

from __future__ import annotations

from django import template

from boneage import words
from boneage.web import texts
from boneage.web.models import Assessment


def ages_by_sex(assessment: Assessment) -> list[tuple[str, str]]:
    """Return the bone age and the sex of each reading of a finished assessment, in words."""
    return [(words.age(reading.age_months), words.sex(reading.sex)) for reading in assessment.readings]


register = template.Library()
register.filter("ages_by_sex", ages_by_sex)
register.filter("age", words.age)
register.filter("chronological_age", words.chronological_age)
register.filter("months", words.months)
register.filter("difference", words.difference)
register.filter("ages_between", words.ages_between)
register.filter("sex", words.sex)
register.filter("region", words.region)
register.filter("region_with_letter", words.region_with_letter)
register.filter("day", texts.day)
register.filter("moment", texts.moment)
register.filter("browser", texts.browser)
register.filter("severity_word", words.severity_word)
register.simple_tag(texts.rejection, name="rejection")
