"""Facts on a radiograph as lines for the pages."""

from __future__ import annotations

from dataclasses import replace

from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext

from boneage.report.facts import Row, fact_rows
from boneage.web.models import Assessment


def radiograph_lines(assessment: Assessment) -> list[Row]:
    """Return (term, value) in the active language, without unknown values.

    Args:
        assessment: one that is done.
    """
    result = assessment.readings[0]  # facts are the same in both readings
    facts = replace(result.facts, study_date=assessment.study_date or result.facts.study_date)
    size, *others = fact_rows(replace(result, facts=facts))
    lines = [
        (gettext("File"), assessment.radiograph_name),
        size,
        (gettext("File size"), filesizeformat(assessment.radiograph_bytes)),
        *others,
    ]
    return [(term, value) for term, value in lines if value]
