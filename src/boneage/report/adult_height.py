"""Words on adult height by several methods (`boneage.clinical.height`), in the reader's language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from boneage import words
from boneage.clinical.height import (
    CITATIONS,
    AdultHeightTable,
    BandMeaning,
    Contraindication,
    HeightInputError,
    HeightPrediction,
    HeightSds,
    Method,
    Note,
    Reason,
)
from boneage.words import gettext, marked

METHODS: Mapping[Method, str] = MappingProxyType(
    {
        Method.BAYLEY_PINNEAU: marked("Bayley & Pinneau 1952"),
        Method.RWT_1975: marked("Roche, Wainer & Thissen 1975"),
        Method.RWT_ADJUSTED_1993: marked("Khamis & Guo 1993 (adjusted Roche-Wainer-Thissen)"),
        Method.KHAMIS_ROCHE_1995: marked("Khamis & Roche 1995 (without a bone age)"),
        Method.REINEHR_2019: marked("Reinehr et al. 2019 (boys with constitutional delay)"),
        Method.TARGET_HEIGHT: marked("Target height by the parents' heights"),
    }
)
"""Names of the methods."""

_VARIANTS: Mapping[str, str] = MappingProxyType(
    {
        "average": marked("table for a bone age within one year of the age"),
        "accelerated": marked("table for a bone age one year or more ahead"),
        "retarded": marked("table for a bone age one year or more behind"),
        "delay_1_to_2_years": marked("delay of more than one and less than two years"),
        "delay_2_years_or_more": marked("delay of two years or more"),
    }
)

REASONS: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.CONTRAINDICATED: marked("Not offered: a condition is present for which no prediction is valid"),
        Reason.NO_TABLE: marked("No table: age or bone age lies outside the published table"),
        Reason.NEEDS_EXACT_AGE: marked("The chronological age is known in whole years only"),
        Reason.NEEDS_HEIGHT: marked("The height is missing"),
        Reason.NEEDS_CURRENT_HEIGHT: marked("Height and radiograph are more than three months apart"),
        Reason.NEEDS_WEIGHT: marked("The weight is missing"),
        Reason.NEEDS_PARENTS_HEIGHTS: marked("The height of a parent is missing"),
        Reason.NEEDS_BONE_AGE: marked("There is no bone age"),
        Reason.BOYS_ONLY: marked("For boys only"),
        Reason.NEEDS_DELAY: marked("The bone age is not more than one year behind"),
        Reason.UNDER_TWO_YEARS: marked("The child or the bone age is under two years"),
        Reason.NEAR_MATURITY: marked("The hand is at or near skeletal maturity"),
        Reason.BELOW_PRESENT_HEIGHT: marked("The method gives less than the present height"),
    }
)
"""Sentences for a missing prediction or score, by reason."""

_NOTES: Mapping[Note, str] = MappingProxyType(
    {
        Note.SEVERAL_GROUPS: marked("The 80 % interval of the bone age crosses the bound between two groups"),
        Note.GROUP_OF_ESTIMATE: marked("Group of the bone age itself"),
        Note.LENGTH_FROM_STATURE: marked("Recumbent length taken as height plus 1.25 cm"),
        Note.WHOLE_HAND_BONE_AGE: marked("The method was made for bone ages that are read bone by bone"),
        Note.UNUSUAL_BONE_AGE: marked("Bone age and age differ by two years or more"),
        Note.TABLE_VALUE_UNCERTAIN: marked("A printed coefficient is uncertain, by about 0.5 cm"),
        Note.INCREMENT_AFTER_18: marked("With the authors' increment after 18 years"),
        Note.PARENTS_HEIGHTS_REPORTED: marked("The height of a parent was reported, not measured"),
        Note.READING_ERROR_ASSUMED: marked("The error of the physician's reading is assumed (SD of 7 months)"),
        Note.HEIGHT_NOT_SAME_DAY: marked("Height and radiograph are more than one month apart"),
        Note.HEIGHT_DATE_UNKNOWN: marked("The date of the height is unknown; the day of the radiograph is assumed"),
        Note.NEAR_MATURITY: marked("Little growth remains"),
        Note.ONLY_IF_CONSTITUTIONAL_DELAY: marked("Valid only if constitutional delay has been diagnosed"),
        Note.DELAY_UNCERTAIN: marked("The interval of the bone age includes a delay of one year or less"),
        Note.LIMITED_BY_PRESENT_HEIGHT: marked("The range begins at the present height"),
        Note.CONTRAINDICATION_PRESENT: marked("May not apply to this child, because of the condition present"),
        Note.CONTRAINDICATIONS_NOT_RECORDED: marked(
            "It is not recorded whether a condition is present for which no prediction is valid"
        ),
    }
)

_BANDS: Mapping[BandMeaning, str] = MappingProxyType(
    {
        BandMeaning.PRINTED_90: marked("90 % error of the method, with the error of the bone age"),
        BandMeaning.ASSUMED_90: marked("90 % error of a comparable method, with the error of the bone age"),
        BandMeaning.LEAST: marked("minimum error, without a stated probability"),
        BandMeaning.TARGET_RANGE: marked("target range of the family, ± 8.5 cm"),
    }
)

CONTRAINDICATIONS: Mapping[Contraindication, str] = MappingProxyType(
    {
        Contraindication.UNDER_TREATMENT: marked("Treatment that changes growth or skeletal maturation"),
        Contraindication.PRECOCIOUS_PUBERTY: marked("Precocious puberty"),
        Contraindication.SKELETAL_DYSPLASIA: marked("Skeletal dysplasia"),
        Contraindication.TURNER_SYNDROME: marked("Turner syndrome"),
        Contraindication.SMALL_FOR_GESTATIONAL_AGE: marked("Born small for gestational age"),
    }
)
"""Names of the conditions for which no prediction is valid."""

INPUT_ERRORS: Mapping[str, str] = MappingProxyType(
    {
        "not_a_number": marked("Enter a number."),
        "age_out_of_range": marked("The chronological age must be above 0 and at most 25 years."),
        "age_in_years": marked("This height does not agree with the age. Check both."),
        "bone_age_out_of_range": marked("The bone age must be from 0 to 20 years."),
        "bone_age_interval": marked("The interval does not contain the bone age."),
        "height_in_metres": marked("This looks like metres. Enter centimetres."),
        "height_in_millimetres": marked("This looks like millimetres. Enter centimetres."),
        "height_out_of_range": marked("This height is not possible. Enter centimetres."),
        "height_implausible": marked("This height is not plausible at this age. Check height and dates."),
        "length_without_height": marked("Enter the standing height, too."),
        "length_and_height_disagree": marked("Recumbent length and height do not agree."),
        "weight_in_grams": marked("This looks like grams. Enter kilograms."),
        "weight_out_of_range": marked("The weight must be from 2 to 300 kg."),
        "menarche_of_boy": marked("Menarche was entered for a boy. Check the sex."),
        "menarche_age": marked("The age at menarche does not agree with the other entries."),
    }
)
"""Sentences for inputs that cannot be right, by the code of the error."""


@dataclass(frozen=True)
class AdultHeightRow:
    """One row of the table, in words; those without a value are empty.

    Attributes:
        method: name of the method.
        group: group of its table.
        citation: publication.
        prediction: predicted height.
        interval: range, without its unit.
        meaning: meaning of the range.
        reason: reason for a missing prediction.
        notes: remarks.
    """

    method: str
    group: str
    citation: str
    prediction: str
    interval: str
    meaning: str
    reason: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class AdultHeightContent:
    """All methods side by side, in words.

    Attributes:
        rows: one row for each method and group.
        height_sds: height SDS for the chronological age and for the bone age.
        notes: remarks that concern all rows.
        caution: statement that no row is the child's adult height.
    """

    rows: tuple[AdultHeightRow, ...]
    height_sds: tuple[str, str]
    notes: tuple[str, ...]
    caution: str

    @property
    def lines(self) -> tuple[str, ...]:
        """The table as lines of text."""
        rows = (line for row in self.rows for line in _lines(row))
        return (*rows, *self.height_sds, *self.notes, self.caution)


def adult_height_content(table: AdultHeightTable) -> AdultHeightContent:
    """Return the table in the reader's language."""
    present = [gettext(CONTRAINDICATIONS[one]) for one in table.contraindications]
    conditions = [gettext("Present: %(conditions)s") % {"conditions": "; ".join(present)}] if present else []
    return AdultHeightContent(
        rows=tuple(_row(row) for row in table.rows),
        height_sds=(
            _sds(gettext("Height SDS for the chronological age (WHO 2007)"), table.sds_for_age),
            _sds(gettext("Height SDS for the bone age (WHO 2007)"), table.sds_for_bone_age),
        ),
        notes=(*conditions, *(gettext(_NOTES[note]) for note in table.notes)),
        caution=gettext(
            "No row is the child's adult height: methods and ranges describe healthy children, and an actual height "
            "can lie outside all of them."
        ),
    )


def input_error(error: HeightInputError) -> str:
    """Return the sentence for an input that cannot be right."""
    return gettext(INPUT_ERRORS[error.code])


def centimetres(height: float) -> str:
    """Return a height with its unit."""
    return gettext("%(number)s cm") % {"number": words.number(height)}


def _row(row: HeightPrediction) -> AdultHeightRow:
    has_range = row.lower_cm is not None and row.upper_cm is not None
    return AdultHeightRow(
        method=gettext(METHODS[row.method]),
        group="" if row.variant is None else gettext(_VARIANTS[row.variant]),
        citation=CITATIONS[row.method],
        prediction="" if row.prediction_cm is None else centimetres(row.prediction_cm),
        interval=f"{words.number(row.lower_cm or 0.0)}\N{EN DASH}{words.number(row.upper_cm or 0.0)}"
        if has_range
        else "",
        meaning=_meaning(row),
        reason="" if row.reason is None else gettext(REASONS[row.reason]),
        notes=tuple(gettext(_NOTES[note]) for note in row.notes),
    )


def _meaning(row: HeightPrediction) -> str:
    if row.method is Method.KHAMIS_ROCHE_1995 and row.band is BandMeaning.ASSUMED_90:
        return gettext("90 % error of a comparable method")  # it takes no bone age
    return "" if row.band is None else gettext(_BANDS[row.band])


def _sds(name: str, score: HeightSds) -> str:
    if score.sds is not None:
        return f"{name}: {words.signed(score.sds, 2)}"
    return f"{name}: {gettext(REASONS[score.reason])}" if score.reason is not None else name


def _lines(row: AdultHeightRow) -> Iterator[str]:
    head = f"{row.method}, {row.group}" if row.group else row.method
    yield f"{head}: {f'{row.prediction} ({row.interval})' if row.prediction else row.reason}"
    remarks = "; ".join(filter(None, (row.meaning, *row.notes)))
    if remarks:
        yield f"  {remarks}"
