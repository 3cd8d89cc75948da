"""Adult height by all methods side by side, each with its range or with the reason why it gives none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from boneage.clinical.height import bayley_pinneau, khamis_roche, reinehr, rwt
from boneage.clinical.height.bands import combined_half_width, method_half_width_90
from boneage.clinical.height.codes import BandMeaning, Contraindication, Method, Note, Reason
from boneage.clinical.height.inputs import HeightInputs
from boneage.clinical.height.midparental import HALF_RANGE_CM, target_height
from boneage.clinical.height.who_2007 import height_sds
from boneage.sex import Sex

CITATIONS: Mapping[Method, str] = MappingProxyType(
    {
        Method.BAYLEY_PINNEAU: "Bayley & Pinneau, J Pediatr 1952;40:423-441",
        Method.RWT_1975: "Roche, Wainer & Thissen, Pediatrics 1975;56:1026-1033",
        Method.RWT_ADJUSTED_1993: "Khamis & Guo, Am J Hum Biol 1993;5:669-679",
        Method.KHAMIS_ROCHE_1995: "Khamis & Roche, Pediatrics 1994;94:504-507; erratum 1995;95:457",
        Method.REINEHR_2019: "Reinehr et al., Horm Res Paediatr 2019;91:186-194",
        Method.TARGET_HEIGHT: "Tanner, Goldstein & Whitehouse, Arch Dis Child 1970;45:755-762",
    }
)
"""Publication of each method."""

SDS_CITATION = "de Onis et al., Bull World Health Organ 2007;85:660-667"
"""Publication of the height reference."""

NEAR_MATURITY_MONTHS = MappingProxyType({Sex.FEMALE: 180.0, Sex.MALE: 192.0})
"""Bone age in months by sex from which a hand is at or near skeletal maturity."""
LEAST_MONTHS = 24.0
"""Age and bone age in months below which the bone age of the hand is unreliable."""
SAME_MONTH_DAYS = 31
"""Distance in days of height and radiograph up to which nothing is noted."""
MOST_DAYS = 92
"""Distance in days of height and radiograph up to which both are used together."""
UNUSUAL_DIFFERENCE_MONTHS = 24.0
"""Difference of bone age and age in months from which the regressions get a note; some two SD in healthy children."""


@dataclass(frozen=True)
class HeightPrediction:
    """One row: a method's prediction with its range, or the reason why there is none.

    Attributes:
        method: the method.
        variant: group of the method's table (such as ``"average"``), or None where the method has one table.
        prediction_cm: predicted adult height, or target height, in cm; None where ``reason`` is given.
        lower_cm: lower end of the range in cm. For a prediction it is never below the child's present height.
        upper_cm: upper end of the range in cm.
        band: meaning of the range.
        reason: reason for a missing prediction.
        notes: remarks, in the order of :class:`~boneage.clinical.height.codes.Note`.
    """

    method: Method
    variant: str | None = None
    prediction_cm: float | None = None
    lower_cm: float | None = None
    upper_cm: float | None = None
    band: BandMeaning | None = None
    reason: Reason | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class HeightSds:
    """Height SDS by WHO 2007 at one age, or the reason why there is none.

    Attributes:
        sds: the standard deviation score.
        reason: reason for a missing score.
    """

    sds: float | None = None
    reason: Reason | None = None


@dataclass(frozen=True)
class AdultHeightTable:
    """All methods side by side. No row is preferred over another.

    Attributes:
        rows: at least one row for each method, in the order of :class:`~boneage.clinical.height.codes.Method`. A method
            has several rows where the interval of the bone age crosses a bound between its groups.
        sds_for_age: height SDS for the chronological age on the day of the height.
        sds_for_bone_age: height SDS for the bone age.
        contraindications: the conditions present, in the order of their enumeration.
        notes: remarks that concern the whole table.
    """

    rows: tuple[HeightPrediction, ...]
    sds_for_age: HeightSds
    sds_for_bone_age: HeightSds
    contraindications: tuple[Contraindication, ...] = ()
    notes: tuple[Note, ...] = ()

    def rows_of(self, method: Method) -> tuple[HeightPrediction, ...]:
        """Return the rows of one method."""
        return tuple(row for row in self.rows if row.method is method)


def predict_adult_height(inputs: HeightInputs) -> AdultHeightTable:
    """Return the adult height by every method that is offered, with a reason where a method gives none.

    The methods hold for children without disease or treatment that changes growth. Where a contra-indication is
    present, only the target height and the SDS are given.

    Args:
        inputs: measurements of the child, which were checked when they were made.
    """
    rows = (
        *_bayley_pinneau(inputs),
        _rwt_1975(inputs),
        _rwt_1993(inputs),
        _khamis_roche(inputs),
        *_reinehr(inputs),
        _target_height(inputs),
    )
    present = inputs.contraindications
    notes = [Note.CONTRAINDICATIONS_NOT_RECORDED] if present is None else []
    if inputs.height_cm is not None and inputs.height_days_from_radiograph is None:
        notes.append(Note.HEIGHT_DATE_UNKNOWN)
    return AdultHeightTable(
        rows,
        _sds_for_age(inputs),
        _sds_for_bone_age(inputs),
        tuple(condition for condition in Contraindication if present and condition in present),
        _in_order(notes),
    )


def _bayley_pinneau(inputs: HeightInputs) -> tuple[HeightPrediction, ...]:
    method = Method.BAYLEY_PINNEAU
    reason = _missing(inputs, bone_age=True)
    bone_age, height, interval = inputs.bone_age_months, inputs.height_cm, inputs.bone_age_range_80
    if reason or bone_age is None or height is None or interval is None:
        return (HeightPrediction(method, reason=reason),)
    groups = bayley_pinneau.groups_within(inputs.age_months, *interval)
    own_group = bayley_pinneau.group_of(inputs.age_months, bone_age)
    rows = []
    for group in groups:
        notes = _group_notes(len(groups) > 1, group is own_group)
        prediction = bayley_pinneau.predict(inputs.sex, group, bone_age, height)
        if prediction is None:
            rows.append(HeightPrediction(method, group.value, reason=Reason.NO_TABLE, notes=_in_order(notes)))
            continue
        table = bayley_pinneau.percent_tables()[(inputs.sex.value, group.value)]
        slope = bayley_pinneau.slope_by_percent(table, bone_age, height, inputs.reading_half_width_80)
        rows.append(_row(inputs, method, prediction, slope, variant=group.value, notes=notes))
    return tuple(rows)


def _reinehr(inputs: HeightInputs) -> tuple[HeightPrediction, ...]:
    method = Method.REINEHR_2019
    if inputs.sex is not Sex.MALE:
        return (HeightPrediction(method, reason=Reason.BOYS_ONLY),)
    reason = _missing(inputs, bone_age=True)
    bone_age, height, interval = inputs.bone_age_months, inputs.height_cm, inputs.bone_age_range_80
    if reason or bone_age is None or height is None or interval is None:
        return (HeightPrediction(method, reason=reason),)
    own_group = reinehr.group_of(inputs.age_months, bone_age)
    if own_group is None:
        return (HeightPrediction(method, reason=Reason.NEEDS_DELAY),)
    ends = [reinehr.group_of(inputs.age_months, end) for end in interval]
    groups = [group for group in reinehr.DelayGroup if group is own_group or group in ends]
    rows = []
    for group in groups:
        notes = [*_group_notes(len(groups) > 1, group is own_group), Note.ONLY_IF_CONSTITUTIONAL_DELAY]
        if ends[1] is None:
            notes.append(Note.DELAY_UNCERTAIN)
        prediction = reinehr.predict(group, inputs.age_months, bone_age, height)
        if prediction is None:
            rows.append(HeightPrediction(method, group.value, reason=Reason.NO_TABLE, notes=_in_order(notes)))
            continue
        table = reinehr.percent_tables()[(group.value,)]
        slope = bayley_pinneau.slope_by_percent(table, bone_age, height, inputs.reading_half_width_80)
        rows.append(_row(inputs, method, prediction, slope, variant=group.value, notes=notes))
    return tuple(rows)


def _rwt_1975(inputs: HeightInputs) -> HeightPrediction:
    method = Method.RWT_1975
    reason = _missing(inputs, bone_age=True, weight=True, parents=True)
    bone_age, height, weight, midparent = _measures(inputs)
    if reason or bone_age is None or height is None or weight is None or midparent is None:
        return HeightPrediction(method, reason=reason)
    if _near_maturity(inputs):
        return HeightPrediction(method, reason=Reason.NEAR_MATURITY)
    age = inputs.age_at_height_months
    length = inputs.recumbent_length_cm
    notes = _regression_notes(inputs, bone_age)
    if length is None:
        length = height + rwt.LENGTH_MINUS_STATURE_CM
        notes.append(Note.LENGTH_FROM_STATURE)
    prediction = rwt.predict_1975(inputs.sex, age, length, weight, midparent, bone_age)
    if prediction is None:
        return HeightPrediction(method, reason=Reason.NO_TABLE)
    if rwt.is_uncertain_1975(inputs.sex, age):
        notes.append(Note.TABLE_VALUE_UNCERTAIN)
    slope = rwt.table_1975(inputs.sex).at(age)[4] / 12
    return _row(inputs, method, prediction, slope, notes=notes)


def _rwt_1993(inputs: HeightInputs) -> HeightPrediction:
    method = Method.RWT_ADJUSTED_1993
    reason = _missing(inputs, bone_age=True, weight=True, parents=True)
    bone_age, height, weight, midparent = _measures(inputs)
    if reason or bone_age is None or height is None or weight is None or midparent is None:
        return HeightPrediction(method, reason=reason)
    age = inputs.age_at_height_months
    at_18 = rwt.predict_1993_at_18(inputs.sex, age, height, weight, midparent, bone_age)
    if at_18 is None:
        return HeightPrediction(method, reason=Reason.NO_TABLE)
    slope = rwt.table_1993(inputs.sex).at(age)[4] / 12
    notes = [*_regression_notes(inputs, bone_age), Note.INCREMENT_AFTER_18]
    return _row(inputs, method, at_18 + rwt.INCREMENT_AFTER_18_CM[inputs.sex], slope, notes=notes)


def _khamis_roche(inputs: HeightInputs) -> HeightPrediction:
    method = Method.KHAMIS_ROCHE_1995
    reason = _missing(inputs, weight=True, parents=True)
    _, height, weight, midparent = _measures(inputs)
    if reason or height is None or weight is None or midparent is None:
        return HeightPrediction(method, reason=reason)
    prediction = khamis_roche.predict(inputs.sex, inputs.age_at_height_months, height, weight, midparent)
    if prediction is None:
        return HeightPrediction(method, reason=Reason.NO_TABLE)
    return _row(inputs, method, prediction, None, notes=_parents_notes(inputs))


def _target_height(inputs: HeightInputs) -> HeightPrediction:
    method = Method.TARGET_HEIGHT
    if inputs.mother is None or inputs.father is None:
        return HeightPrediction(method, reason=Reason.NEEDS_PARENTS_HEIGHTS)
    target = target_height(inputs.sex, inputs.mother.cm, inputs.father.cm)
    notes = _parents_notes(inputs)
    if inputs.contraindications:
        notes.append(Note.CONTRAINDICATION_PRESENT)
    return HeightPrediction(
        method,
        None,
        target,
        target - HALF_RANGE_CM,
        target + HALF_RANGE_CM,
        BandMeaning.TARGET_RANGE,
        notes=_in_order(notes),
    )


def _row(
    inputs: HeightInputs,
    method: Method,
    prediction: float,
    slope: float | None,
    *,
    variant: str | None = None,
    notes: list[Note],
) -> HeightPrediction:
    """Return a row with its range.

    Args:
        inputs: measurements of the child.
        method: a method of prediction.
        prediction: predicted adult height in cm.
        slope: cm of prediction for each month of bone age; None for a method that takes no bone age.
        variant: group of the method's table.
        notes: remarks so far.
    """
    if inputs.height_cm is None or prediction < inputs.height_cm:
        return HeightPrediction(method, variant, reason=Reason.BELOW_PRESENT_HEIGHT, notes=_in_order(notes))
    mature = _near_maturity(inputs)
    method_half, band = method_half_width_90(method, inputs.sex, inputs.age_at_height_months, mature=mature)
    half = combined_half_width(method_half, abs(slope or 0.0) * inputs.reading_half_width_80)
    notes = list(notes)
    if mature:
        notes.append(Note.NEAR_MATURITY)
    if slope is not None:
        notes += _reading_notes(inputs)
    if prediction - half < inputs.height_cm:
        notes.append(Note.LIMITED_BY_PRESENT_HEIGHT)
    lower = max(prediction - half, inputs.height_cm)
    return HeightPrediction(method, variant, prediction, lower, prediction + half, band, notes=_in_order(notes))


def _missing(
    inputs: HeightInputs, *, bone_age: bool = False, weight: bool = False, parents: bool = False
) -> Reason | None:
    """Return the first reason for which a method with these needs gives no prediction."""
    date_apart = inputs.height_days_from_radiograph is not None and abs(inputs.height_days_from_radiograph) > MOST_DAYS
    bone_age_months = inputs.bone_age_months
    under_two = inputs.age_months < LEAST_MONTHS or (bone_age_months is not None and bone_age_months < LEAST_MONTHS)
    checks = (
        (bool(inputs.contraindications), Reason.CONTRAINDICATED),
        (not inputs.age_exact, Reason.NEEDS_EXACT_AGE),
        (inputs.height_cm is None, Reason.NEEDS_HEIGHT),
        (bone_age and bone_age_months is None, Reason.NEEDS_BONE_AGE),
        (bone_age and under_two, Reason.UNDER_TWO_YEARS),
        (bone_age and date_apart, Reason.NEEDS_CURRENT_HEIGHT),
        (weight and inputs.weight_kg is None, Reason.NEEDS_WEIGHT),
        (parents and inputs.midparent_cm is None, Reason.NEEDS_PARENTS_HEIGHTS),
    )
    return next((reason for applies, reason in checks if applies), None)


def _measures(inputs: HeightInputs) -> tuple[float | None, float | None, float | None, float | None]:
    return inputs.bone_age_months, inputs.height_cm, inputs.weight_kg, inputs.midparent_cm


def _near_maturity(inputs: HeightInputs) -> bool:
    return inputs.bone_age_months is not None and inputs.bone_age_months >= NEAR_MATURITY_MONTHS[inputs.sex]


def _group_notes(several: bool, own: bool) -> list[Note]:
    if not several:
        return []
    return [Note.SEVERAL_GROUPS, Note.GROUP_OF_ESTIMATE] if own else [Note.SEVERAL_GROUPS]


def _parents_notes(inputs: HeightInputs) -> list[Note]:
    return [Note.PARENTS_HEIGHTS_REPORTED] if inputs.parents_reported else []


def _regression_notes(inputs: HeightInputs, bone_age_months: float) -> list[Note]:
    notes = [Note.WHOLE_HAND_BONE_AGE, *_parents_notes(inputs)]
    if abs(bone_age_months - inputs.age_months) >= UNUSUAL_DIFFERENCE_MONTHS:
        notes.append(Note.UNUSUAL_BONE_AGE)
    return notes


def _reading_notes(inputs: HeightInputs) -> list[Note]:
    notes = [Note.READING_ERROR_ASSUMED] if inputs.bone_age_interval_80 is None else []
    if abs(inputs.height_days_from_radiograph or 0) > SAME_MONTH_DAYS:
        notes.append(Note.HEIGHT_NOT_SAME_DAY)
    return notes


def _sds_for_age(inputs: HeightInputs) -> HeightSds:
    if not inputs.age_exact:
        return HeightSds(reason=Reason.NEEDS_EXACT_AGE)
    return _sds_at(inputs, inputs.age_at_height_months)


def _sds_for_bone_age(inputs: HeightInputs) -> HeightSds:
    if inputs.bone_age_months is None:
        return HeightSds(reason=Reason.NEEDS_BONE_AGE)
    if abs(inputs.height_days_from_radiograph or 0) > MOST_DAYS:
        return HeightSds(reason=Reason.NEEDS_CURRENT_HEIGHT)
    return _sds_at(inputs, inputs.bone_age_months)


def _sds_at(inputs: HeightInputs, age_months: float) -> HeightSds:
    if inputs.height_cm is None:
        return HeightSds(reason=Reason.NEEDS_HEIGHT)
    sds = height_sds(inputs.sex, age_months, inputs.height_cm)
    return HeightSds(reason=Reason.NO_TABLE) if sds is None else HeightSds(sds)


def _in_order(notes: list[Note]) -> tuple[Note, ...]:
    return tuple(note for note in Note if note in notes)
