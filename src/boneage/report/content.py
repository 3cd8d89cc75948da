"""The content of a report, in the reader's language: made once, and shown by command line, report files and service.

`report_content` takes an assessment by the project's schema. The words come from `boneage.words`, which translates
them. Nothing here names a patient: the service adds what identifies one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from boneage import words
from boneage.clinical.change import SerialReading
from boneage.clinical.documents import chronological_age, counted_reading, counted_warnings
from boneage.clinical.references import Reference
from boneage.clinical.sds import INTERVAL_PERCENT
from boneage.report.comparison import Decided, comparison, counted_months, serial_reading
from boneage.report.facts import Row, fact_rows
from boneage.schema import (
    AssessmentDocument,
    BoneDocument,
    ClinicalDocument,
    DeterminationCode,
    NormalRangeDocument,
    ReferenceDocument,
    WithheldCode,
)
from boneage.severity import Severity, highest_severity
from boneage.words import gettext, marked


@dataclass(frozen=True)
class ReadingContent:
    """A bone age on a report with the lines below it.

    Attributes:
        heading: heading of the bone age.
        age: bone age in words.
        is_void: True if the number must not be used.
        stamp: words beside such a number.
        lines: lines below the bone age.
        regions: bone age by each region alone.
        bones: bone ages by each bone or joint alone, a row for each kind.
    """

    heading: str
    age: str
    is_void: bool
    stamp: str
    lines: tuple[str, ...]
    regions: tuple[Row, ...]
    bones: tuple[Row, ...]


@dataclass(frozen=True)
class ReportContent:
    """Sentences and rows of a report, from top to bottom; those without a value are empty.

    Attributes:
        title: heading without patient data.
        age: bone age that counts, in words.
        months: the same in months, with the method.
        is_void: True if the number must not be used.
        stamp: words beside such a number.
        likely_range: 80 % prediction interval of the estimate, for one reader.
        consensus_range: 80 % prediction interval for the mean of several readers.
        wide_range: 95 % prediction interval of the estimate, for one reader.
        error: mean absolute difference of estimates from readers.
        estimate: the estimate that a physician corrected.
        chronological_age: age at the study in completed years and months.
        difference: bone age against chronological age.
        sds: SDS with its interval and determination, or the reason why there is none.
        reference: reference of SDS and normal range.
        normal_range: normal range of bone age at the chronological age.
        comparison: comparison with an earlier radiograph.
        warnings: warnings by severity, the gravest first.
        regions: bone age by each region alone.
        bones: bone ages by each bone or joint alone, a row for each kind.
        plates: most probable plates of the atlas.
        facts: radiograph and system.
        notice: statement that this is not a medical device.
        intended_use: intended use and contra-indications.
        report_text: four lines for a radiology information system.
    """

    title: str
    age: str
    months: str
    is_void: bool
    stamp: str
    likely_range: str
    consensus_range: str
    wide_range: str
    error: str
    estimate: str
    chronological_age: str
    difference: str
    sds: str
    reference: str
    normal_range: str
    comparison: str
    warnings: tuple[words.WarningGroup, ...]
    regions: tuple[Row, ...]
    bones: tuple[Row, ...]
    plates: str
    facts: tuple[Row, ...]
    notice: tuple[str, ...]
    intended_use: tuple[str, ...]
    report_text: tuple[str, str, str, str]

    @property
    def answer(self) -> tuple[str, ...]:
        """Lines below the bone age, without empty ones."""
        lines = (
            self.months,
            self.estimate,
            self.likely_range,
            self.consensus_range,
            self.wide_range,
            self.chronological_age,
            self.difference,
            self.sds,
            self.normal_range,
            self.reference,
            self.comparison,
            self.error,
            self.plates,
        )
        return tuple(line for line in lines if line)

    @property
    def readings(self) -> tuple[ReadingContent, ...]:
        """The bone age as the only reading, as `boneage.report.both_sexes` has two."""
        heading = gettext("Bone age")
        return (ReadingContent(heading, self.age, self.is_void, self.stamp, self.answer, self.regions, self.bones),)


def report_content(
    document: AssessmentDocument, decided: Decided | None = None, *, earlier: SerialReading | None = None
) -> ReportContent:
    """Return the content of a report in the reader's language.

    Args:
        document: the assessment.
        decided: the physician's decision, if there is one. A corrected bone age has its own SDS.
        earlier: reading of an earlier radiograph of the child, with which this one is compared.

    Raises:
        ClinicalError: ``reading_order`` if the earlier radiograph is known to be the later one.
    """
    is_unusable = document.is_meaningless or highest_severity(one.severity for one in document.warnings) is (
        Severity.CRITICAL
    )
    is_void = is_unusable and decided is None
    months_old = counted_months(document, decided)
    clinical = clinical_of(document, decided)
    stamp = words.stamp(document.warnings, is_meaningless=document.is_meaningless) if is_void else ""
    of_estimate = not is_unusable and not (decided is not None and decided.is_corrected)
    likely = _likely_range(document) if of_estimate else ""
    groups = words.warning_groups(counted_warnings(document, clinical))
    is_phantom = words.is_phantom(document.warnings) and decided is None
    age_line = "" if is_phantom else _age_line(clinical)
    sds = "" if is_phantom else sds_sentence(clinical)
    compared = "" if earlier is None or is_void else comparison(earlier, serial_reading(document, decided))
    return ReportContent(
        title=gettext("Bone age report"),
        age=words.age(months_old),
        months="" if is_void else _months_line(document, months_old),
        is_void=is_void,
        stamp=stamp,
        likely_range=likely,
        consensus_range=_consensus_range(document) if of_estimate else "",
        wide_range=_wide_range(document) if of_estimate else "",
        error=_error(document) if of_estimate else "",
        estimate=_estimate(document, decided, is_unusable),
        chronological_age=age_line,
        difference="" if is_void else difference_sentence(clinical),
        sds=sds,
        reference=_reference_line(clinical),
        normal_range="" if is_void else _normal_range(clinical.normal_range),
        comparison=compared,
        warnings=groups,
        regions=() if is_unusable else tuple(_regions(document)),
        bones=() if is_unusable else tuple(_bones(document)),
        plates=plates_sentence(document) if of_estimate else "",
        facts=tuple(fact_rows(document)),
        notice=notice(),
        intended_use=intended_use(),
        report_text=(
            technique(document, _method(decided)),
            words.sentences(
                gettext("No bone age is reported")
                if is_void
                else gettext("Bone age: %(age)s") % {"age": words.age(months_old)},
                likely,
                critical_sentences(groups) if is_void else "",
            ),
            words.sentences(age_line, sds, _reference_line(clinical)),
            compared or gettext("Comparison: no earlier radiograph was compared."),
        ),
    )


def clinical_of(document: AssessmentDocument, decided: Decided | None) -> ClinicalDocument:
    """Return the clinical reading of the bone age that counts, by the reference stored with the estimate."""
    if decided is None:
        return document
    return counted_reading(document, decided.age_months, is_corrected=decided.is_corrected)


# --- the bone age ---


def _months_line(document: AssessmentDocument, months_old: float) -> str:
    return gettext("%(months)s by %(method)s, %(sex)s") % {
        "months": words.months(months_old),
        "method": document.method,
        "sex": words.sex(document.sex),
    }


def _estimate(document: AssessmentDocument, decided: Decided | None, is_unusable: bool) -> str:
    if decided is None or not decided.is_corrected or is_unusable:
        return ""
    return gettext("Estimated bone age: %(age)s (%(months)s)") % {
        "age": words.age(document.age_months),
        "months": words.months(document.age_months),
    }


def _likely_range(document: AssessmentDocument) -> str:
    """Return the 80 % prediction interval, open above near maturity."""
    if document.interval_80_months is None:
        return ""
    if document.near_maturity is not None and document.near_maturity.is_near:
        return gettext("Likely range of this reading: %(age)s and above (80 %% prediction interval)") % {
            "age": words.age(document.interval_80_months[0])
        }
    return gettext("Likely range of this reading: %(ages)s (80 %% prediction interval)") % {
        "ages": words.ages_between(document.interval_80_months)
    }


def _consensus_range(document: AssessmentDocument) -> str:
    is_near = document.near_maturity is not None and document.near_maturity.is_near
    if document.consensus_interval_80_months is None or is_near:
        return ""
    return gettext("Likely range of the mean of several readers: %(ages)s (80 %% prediction interval)") % {
        "ages": words.ages_between(document.consensus_interval_80_months)
    }


def _wide_range(document: AssessmentDocument) -> str:
    if document.interval_months is None or (document.near_maturity is not None and document.near_maturity.is_near):
        return ""
    ages = words.ages_between(document.interval_months)
    if document.interval_coverage is None:
        return gettext("95 %% prediction interval of the estimate: %(ages)s") % {"ages": ages}
    return gettext(
        "95 %% prediction interval of the estimate: %(ages)s "
        "(contained %(percent)s %% of the readings of the validation radiographs)"
    ) % {"ages": ages, "percent": words.number(100 * document.interval_coverage)}


def _error(document: AssessmentDocument) -> str:
    if document.typical_error_months is None:
        return ""
    return gettext("Mean absolute difference (MAD) of the estimate: %(months)s") % {
        "months": words.months(document.typical_error_months)
    }


def _regions(document: AssessmentDocument) -> Iterator[Row]:
    for name, months_old in document.region_ages_months.items():
        yield words.region_with_letter(name), words.age_with_months(max(months_old, 0.0))


def bone_rows(document: AssessmentDocument) -> Iterator[Row]:
    """Yield each bone or joint with its bone age, or with the reason why it could not be read."""
    for bone in document.bones:
        if bone.age_months is not None:
            yield words.bone(bone.name), words.age_with_months(max(bone.age_months, 0.0))
        elif bone.unreadable is not None:
            yield words.bone(bone.name), words.unreadable(bone.unreadable)


def _bones(document: AssessmentDocument) -> Iterator[Row]:
    """Yield a row for each kind of bone or joint, from thumb to little finger; a dash for one without an age."""
    kinds: dict[str, list[BoneDocument]] = {}
    for bone in document.bones:
        kinds.setdefault(bone.name.partition("_")[0], []).append(bone)
    for kind, bones in kinds.items():
        bones.sort(key=lambda bone: bone.name)
        rays = [bone.name.partition("_")[2] for bone in bones]
        name = words.bone(bones[0].name if len(bones) == 1 else f"{kind}_{rays[0]}\N{EN DASH}{rays[-1]}")
        ages = ["\N{EN DASH}" if bone.age_months is None else words.number(bone.age_months, 0) for bone in bones]
        yield name, gettext("%(number)s months") % {"number": " · ".join(ages)}


def plates_sentence(document: AssessmentDocument) -> str:
    """Return the ages of the most probable plates with their probabilities; empty without an atlas."""
    if document.nearest_plates is None:
        return ""
    plates = [
        gettext("%(age)s (%(percent)s %%)")
        % {"age": words.age(plate.age_months), "percent": words.number(100 * plate.probability, 0)}
        for plate in document.nearest_plates.plates
    ]
    return gettext("Most probable plates of the atlas: %(plates)s") % {"plates": ", ".join(plates)}


# --- the child ---


def _age_line(document: ClinicalDocument) -> str:
    age = words.chronological_age(chronological_age(document.chronological_age))
    return gettext("Chronological age: %(age)s") % {"age": age} if age else ""


def difference_sentence(document: ClinicalDocument) -> str:
    """Return the bone age against the chronological age; empty where it is withheld."""
    if document.difference is None:
        return ""
    if document.difference.months is not None:
        return gettext("Difference: %(difference)s") % {"difference": words.difference(document.difference.months)}
    low, high = document.difference.range_months
    return gettext("Difference: %(low)s to %(high)s months, since the age is known in whole years only") % {
        "low": words.signed(low, 1),
        "high": words.signed(high, 1),
    }


DETERMINATIONS: Mapping[DeterminationCode, str] = MappingProxyType(
    {
        "delayed": marked("delayed"),
        "normal": marked("within normal limits"),
        "advanced": marked("advanced"),
        "borderline": marked("borderline"),
    }
)
"""Classes of a bone age in words."""

NO_SDS: Mapping[WithheldCode, str] = MappingProxyType(
    {
        "no_estimate": marked("No SDS: there is no bone age"),
        "meaningless": marked("No SDS: the number is not a bone age"),
        "critical_warning": marked("No SDS: a critical warning excludes the bone age from use"),
        "beyond_scale": marked("No SDS: the chronological age lies beyond the scale"),
        "under_two_years": marked("No SDS: the child is under two years old"),
        "sex_unknown": marked("No SDS: the sex is unknown or other"),
        "near_maturity": marked("No SDS: the hand is at or near skeletal maturity"),
        "age_unknown": marked("No SDS: the chronological age is unknown"),
        "age_in_whole_years": marked("No SDS: the chronological age is known in whole years only"),
        "over_reference_age": marked("No SDS: the child is over 16 years (girls) or 17 years (boys)"),
        "outside_reference": marked("No SDS: the reference has no values at this age"),
    }
)
"""Sentences for a missing SDS, by reason."""


def determination(document: ClinicalDocument) -> str:
    """Return the class of the bone age in words, a borderline one with its classes; empty without one."""
    if document.determination is None:
        return ""
    if document.determination != "borderline":
        return gettext(DETERMINATIONS[document.determination])
    classes = " / ".join(gettext(DETERMINATIONS[one]) for one in document.determination_candidates)
    return gettext("borderline (%(classes)s)") % {"classes": classes}


def sds_sentence(document: ClinicalDocument) -> str:
    """Return the SDS with interval and determination, or the reason why there is none."""
    if document.sds is None:
        if document.sds_range is not None:
            low, high = document.sds_range
            return gettext("SDS between %(low)s and %(high)s, since the age is known in whole years only") % {
                "low": words.signed(low, 2),
                "high": words.signed(high, 2),
            }
        return "" if document.determination_reason is None else gettext(NO_SDS[document.determination_reason])
    values = {"sds": words.signed(document.sds, 2), "determination": determination(document)}
    if document.sds_interval_80 is None:
        return gettext("SDS %(sds)s: %(determination)s") % values
    low, high = document.sds_interval_80
    values |= {"low": words.signed(low, 2), "high": words.signed(high, 2), "percent": str(INTERVAL_PERCENT)}
    return gettext("SDS %(sds)s (%(percent)s %% interval %(low)s to %(high)s): %(determination)s") % values


def _reference_line(document: ClinicalDocument) -> str:
    if document.sds is None and document.sds_range is None:
        return ""
    return gettext("Reference: %(name)s") % {"name": reference_name(document.reference)}


def reference_name(reference: Reference | ReferenceDocument) -> str:
    """Return the name of a reference; those that are shipped are translated."""
    return gettext(_REFERENCES.get(reference.id, reference.name))


_REFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "gp-brush-sd": marked("Greulich & Pyle (mean = chronological age, SD of Brush Foundation)"),
        "brush": marked("Brush Foundation (mean and SD)"),
    }
)


def _normal_range(normal: NormalRangeDocument | None) -> str:
    if normal is None:
        return ""
    if normal.is_open_above:
        return gettext("Normal range at this age: %(age)s and above (mean ± 2 SD)") % {
            "age": words.age(normal.lower_months)
        }
    return gettext("Normal range at this age: %(ages)s (mean ± 2 SD)") % {
        "ages": words.ages_between((normal.lower_months, normal.upper_months))
    }


# --- the report text ---


def technique(document: AssessmentDocument, method: str) -> str:
    """Return the first line of the report text: the radiograph with its side, and the method.

    Args:
        document: the assessment.
        method: sentence on the method with the places ``method`` and ``bundle``, without its full stop.
    """
    shown = {
        "L": gettext("Radiograph of the left hand and wrist"),
        "R": gettext("Radiograph of the right hand and wrist"),
    }.get(document.facts.side or "", gettext("Radiograph of the hand and wrist"))
    values = {"method": document.method, "bundle": f"{document.bundle.name} {document.bundle.version}"}
    return words.sentences(shown, method % values)


def _method(decided: Decided | None) -> str:
    if decided is None:
        return gettext("Method: %(method)s, automatic estimate (%(bundle)s)")
    if decided.is_corrected:
        return gettext("Method: %(method)s, automatic estimate (%(bundle)s), corrected by a physician")
    return gettext("Method: %(method)s, automatic estimate (%(bundle)s), accepted by a physician")


def critical_sentences(groups: Sequence[words.WarningGroup]) -> str:
    """Return the sentences of critical warnings as one, without its full stop; empty without any."""
    sentences = [sentence for group in groups if group.severity is Severity.CRITICAL for sentence in group.sentences]
    return ("" if words.language().startswith("zh") else " ").join(sentences).rstrip(".。")


# --- notices ---


def notice() -> tuple[str, ...]:
    """Return the statement that this is not a medical device."""
    return (
        gettext("Not a medical device."),
        gettext("For research and teaching; a physician must read the radiograph."),
    )


def intended_use() -> tuple[str, ...]:
    """Return intended use and contra-indications (`boneage.clinical.intended_use`)."""
    return (
        gettext(
            "For one posteroanterior (PA) radiograph of one hand, at 2 to 16 years (girls) or 2 to 17 years (boys),"
            " read by a physician."
        ),
        gettext(
            "Not for the estimation of an unknown age, and not with closed growth plates, skeletal dysplasia, Turner"
            " syndrome, Madelung deformity, a fracture or a cast."
        ),
    )
