"""Content of the printable report in the active language, once for the page and the PDF."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext

from boneage import words
from boneage.explain import HeatMap
from boneage.report.both_sexes import BothSexesContent, both_sexes_content
from boneage.report.content import ReportContent, report_content
from boneage.web import texts
from boneage.web.cases.earlier import decided, earlier_of
from boneage.web.cases.exports import last_decision
from boneage.web.cases.radiograph_facts import radiograph_lines
from boneage.web.letterhead import Letterhead
from boneage.web.models import BOTH, Assessment, User, Verdict, configuration
from boneage.web.report.figures import Figure, figures, heat_map_of


@dataclass(frozen=True)
class Report:
    """The report of the service: the content of every report, and the data that only the service holds.

    Attributes:
        letterhead: lines and logo of the institution.
        content: content that command line and report files show, too (`boneage.report.content`).
        created: date and time of printing, in the service's time zone.
        patient: rows on the patient.
        decision: physician who decided, and the reason; or the sentence that nobody has.
        figures: hand, heat map, reference plate.
        map_note: limits of the heat map; empty for two readings, whose heat maps are not stored.
        facts: rows on the radiograph and the system.
        signature: terms that are filled in by hand.
    """

    letterhead: Letterhead
    content: ReportContent | BothSexesContent
    created: datetime
    patient: tuple[tuple[str, str], ...]
    decision: tuple[str, ...]
    figures: tuple[Figure, ...]
    map_note: str
    facts: tuple[tuple[str, str], ...]
    signature: tuple[str, ...]

    @property
    def printed_at(self) -> str:
        """Date and time of printing, in words."""
        return texts.moment(self.created)

    @property
    def shared(self) -> tuple[str, ...]:
        """Lines on both readings together; none for one reading."""
        if not isinstance(self.content, BothSexesContent):
            return ()
        return tuple(line for line in (self.content.chronological_age, self.content.explanation) if line)

    def texts(self) -> Iterator[str]:
        """Yield every text of the report."""
        content = self.content
        yield from (*self.letterhead.lines, content.title, self.printed_at, *self.shared)
        for reading in content.readings:
            yield from (reading.heading, reading.age, reading.stamp, *reading.lines)
            for row in (*reading.regions, *reading.bones):
                yield from row
        yield from (*self.decision, self.map_note, *content.notice, *content.intended_use, *self.signature)
        yield from (figure.caption for figure in self.figures)
        for group in content.warnings:
            yield from (group.title, *group.sentences)
        for row in (*self.patient, *self.facts):
            yield from row


def report_of(assessment: Assessment, printed_at: datetime | None = None) -> Report:
    """Return the report on a finished assessment.

    Args:
        assessment: a finished one.
        printed_at: date and time to print; now if not given.
    """
    content, heat = content_of(assessment), heat_map_of(assessment)
    return Report(
        letterhead=configuration().letterhead_content,
        content=content,
        created=timezone.localtime(printed_at),
        patient=tuple(_patient(assessment)),
        decision=tuple(_decision(assessment)),
        figures=figures(assessment, heat, is_void=content.is_void),
        map_note="" if isinstance(content, BothSexesContent) else _map_note(heat),
        facts=tuple(_facts(assessment)),
        signature=(gettext("Date"), gettext("Name"), gettext("Signature")),
    )


def content_of(assessment: Assessment) -> ReportContent | BothSexesContent:
    """Return the content of a finished assessment's report, with the decision that counts."""
    if assessment.sex == BOTH:
        girls, boys = assessment.readings
        return both_sexes_content(girls, boys, decided(assessment))
    return one_sex_content(assessment)


def one_sex_content(assessment: Assessment) -> ReportContent:
    """Return the content of the report on an assessment of a known sex, with the decision that counts."""
    earlier = earlier_of(assessment)
    return report_content(
        assessment.finished, decided(assessment), earlier=None if earlier is None else earlier.reading
    )


def _patient(assessment: Assessment) -> Iterator[tuple[str, str]]:
    case = assessment.case
    yield from _filled(
        (gettext("Patient reference"), case.reference if case is not None else ""),
        (gettext("Sex"), words.sex(assessment.sex)),
        (gettext("Date of birth"), words.day(assessment.birth_date)),
        (gettext("Date of the radiograph"), words.day(assessment.study_date)),
        (gettext("Note"), assessment.note),
    )


def _decision(assessment: Assessment) -> Iterator[str]:
    decision = last_decision(assessment)
    if decision is None:
        yield gettext("No physician has decided on this estimate yet.")
        return
    values = {"when": texts.moment(decision.decided_at), "age": words.age(decision.age_months)}
    accepted = decision.verdict == Verdict.ACCEPTED
    if decision.decided_by is None:
        yield (
            gettext("Accepted on %(when)s: %(age)s") if accepted else gettext("Corrected on %(when)s: %(age)s")
        ) % values
    else:
        values["name"] = decision.decided_by.signature
        sentence = (
            gettext("Accepted by %(name)s on %(when)s: %(age)s")
            if accepted
            else gettext("Corrected by %(name)s on %(when)s: %(age)s")
        )
        yield sentence % values
    if decision.reason:
        yield gettext("Reason: %(reason)s") % {"reason": decision.reason}


def name_of(user: User) -> str:
    """Return the name of a user on reports: the full name, else the name of the account."""
    return user.get_full_name() or user.username


def _map_note(heat: HeatMap | None) -> str:
    if heat is None:
        return gettext("There is no heat map: no place of the radiograph influenced the estimate.")
    return gettext("The heat map shows which places raised or lowered the estimate, not whether it is right.")


# --- tables -----------------------------------------------------------------------------------------------------------


def _facts(assessment: Assessment) -> Iterator[tuple[str, str]]:
    yield gettext("Submitted"), texts.moment(assessment.submitted_at)
    yield from radiograph_lines(assessment)
    yield gettext("Assessment"), str(assessment.pk)


def _filled(*rows: tuple[str, str | None]) -> Iterator[tuple[str, str]]:
    """Return the rows that have a value."""
    return ((term, value) for term, value in rows if value)
