"""The content of a report on a radiograph that was read for both sexes: both readings side by side, without an SDS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from boneage import words
from boneage.assessment import Assessment, BothSexesAssessment
from boneage.clinical.change import SerialReading
from boneage.report.comparison import Decided
from boneage.report.content import ReadingContent, ReportContent, critical_sentences, report_content, technique
from boneage.report.facts import Row
from boneage.schema import AssessmentDocument, SexCode
from boneage.warnings_ import by_severity
from boneage.words import gettext, marked

Assessed = Assessment | BothSexesAssessment
"""A radiograph that was assessed, for one sex or for both."""


@dataclass(frozen=True)
class BothSexesContent:
    """Sentences and rows of a report on both readings. Their common lines are stated once.

    Attributes:
        title: heading without patient data.
        explanation: meaning of two readings, and the missing SDS.
        readings: reading for girls, then that for boys.
        chronological_age: age at the study in completed years and months; empty if it is unknown.
        no_sds: reason for the missing SDS.
        is_void: True if neither number may be used.
        warnings: warnings of both readings by severity, the gravest first.
        facts: radiograph and system.
        notice: statement that this is not a medical device.
        intended_use: intended use and contra-indications.
        report_text: four lines for a radiology information system.
    """

    title: str
    explanation: str
    readings: tuple[ReadingContent, ...]
    chronological_age: str
    no_sds: str
    is_void: bool
    warnings: tuple[words.WarningGroup, ...]
    facts: tuple[Row, ...]
    notice: tuple[str, ...]
    intended_use: tuple[str, ...]
    report_text: tuple[str, str, str, str]


_HEADINGS: Mapping[SexCode, str] = MappingProxyType(
    {"F": marked("Female standards (Greulich & Pyle)"), "M": marked("Male standards (Greulich & Pyle)")}
)


def both_sexes_content(
    girls: AssessmentDocument, boys: AssessmentDocument, decided: Decided | None = None
) -> BothSexesContent:
    """Return the content of a report on both readings in the reader's language.

    Args:
        girls: reading by the networks for girls.
        boys: reading by the networks for boys.
        decided: bone age that a physician entered, if there is one. It has no SDS either.
    """
    documents = (girls, boys)
    contents = tuple(report_content(one) for one in documents)
    is_void = all(one.is_void for one in contents)
    shared = (contents[0].chronological_age, contents[0].sds)
    warnings = {one.message: one for document in documents for one in document.warnings}
    groups = words.warning_groups(by_severity(list(warnings.values())))
    return BothSexesContent(
        title=contents[0].title,
        explanation=_explanation(decided),
        readings=tuple(_reading(*pair, shared) for pair in zip(documents, contents, strict=True)),
        chronological_age=shared[0],
        no_sds=shared[1],
        is_void=is_void,
        warnings=groups,
        facts=contents[0].facts,
        notice=contents[0].notice,
        intended_use=contents[0].intended_use,
        report_text=(
            technique(girls, _method(decided)),
            words.sentences(
                *([gettext("Bone age: %(age)s") % {"age": words.age(decided.age_months)}] if decided else []),
                *_estimates(documents, contents, is_void=is_void, is_decided=decided is not None),
                critical_sentences(groups) if is_void and decided is None else "",
            ),
            words.sentences(*shared),
            gettext("Comparison: no earlier radiograph was compared."),
        ),
    )


def readings_of(assessed: Assessed) -> tuple[Assessment, ...]:
    """Return the only reading, or those for girls and for boys."""
    return assessed.readings if isinstance(assessed, BothSexesAssessment) else (assessed,)


def content_of(assessed: Assessed, earlier: SerialReading | None = None) -> ReportContent | BothSexesContent:
    """Return the content of a report in the reader's language.

    Args:
        assessed: a radiograph's assessment.
        earlier: reading of an earlier radiograph of the child, with which one reading is compared.

    Raises:
        ClinicalError: ``reading_order`` if the earlier radiograph is known to be the later one.
    """
    if isinstance(assessed, BothSexesAssessment):
        return both_sexes_content(assessed.female.document(), assessed.male.document())
    return report_content(assessed.document(), earlier=earlier)


def _explanation(decided: Decided | None) -> str:
    """Return the meaning of two readings of one radiograph."""
    if decided is not None:
        return gettext(
            "The radiograph was read by female and by male standards. The bone age that counts is the physician's,"
            " and there is no SDS."
        )
    return gettext(
        "The radiograph was read by female and by male standards. Neither reading counts until a physician has"
        " decided, and there is no SDS."
    )


def both_headlines(readings: tuple[ReadingContent, ...]) -> str:
    """Return both bone ages, or their stamps, in one line."""
    return "; ".join(f"{one.heading}: {one.stamp or one.age}" for one in readings)


def _reading(document: AssessmentDocument, content: ReportContent, shared: tuple[str, ...]) -> ReadingContent:
    lines = tuple(line for line in content.answer if line not in shared)
    heading = gettext(_HEADINGS[document.sex])
    return ReadingContent(heading, content.age, content.is_void, content.stamp, lines, content.regions, content.bones)


def _method(decided: Decided | None) -> str:
    if decided is None:
        return gettext("Method: %(method)s, automatic estimates for both sexes (%(bundle)s)")
    return gettext("Method: %(method)s, automatic estimates for both sexes (%(bundle)s), decided by a physician")


def _estimates(
    documents: Sequence[AssessmentDocument], contents: Sequence[ReportContent], *, is_void: bool, is_decided: bool
) -> Iterator[str]:
    """Yield the sentences on both readings: bone age and likely range, or why the bone age must not be used.

    A reading that must not be used is left out once a physician has decided. If neither may be used (`is_void`), the
    reason stands behind both, and not here.
    """
    for document, content in zip(documents, contents, strict=True):
        if content.is_void and is_decided:
            continue
        text = gettext("Female standards: %(age)s") if document.sex == "F" else gettext("Male standards: %(age)s")
        yield text % {"age": gettext("no bone age") if content.is_void else content.age}
        yield content.likely_range
        yield critical_sentences(content.warnings) if content.is_void and not is_void else ""
