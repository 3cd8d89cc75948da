"""Template filters and tags for the texts of `boneage.web.texts`."""

from __future__ import annotations

from django import template

from boneage.web import texts

register = template.Library()
register.filter("age", texts.age)
register.filter("chronological_age", texts.chronological_age)
register.filter("months", texts.months)
register.filter("difference", texts.difference)
register.filter("ages_between", texts.ages_between)
register.filter("wide_range", texts.wide_range)
register.filter("narrow_range", texts.narrow_range)
register.filter("sex", texts.sex)
register.filter("region", texts.region)
register.filter("region_with_letter", texts.region_with_letter)
register.filter("day", texts.day)
register.filter("moment", texts.moment)
register.filter("browser", texts.browser)
register.filter("severity_word", texts.severity_word)
register.simple_tag(texts.rejection, name="rejection")
register.filter("warning_text", texts.warning)
