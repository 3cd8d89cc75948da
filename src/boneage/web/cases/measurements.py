"""Measurements that are kept with a case, and the adult height that several methods predict from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from boneage.clinical.ages import calendar_months, latest_study_day
from boneage.clinical.height import (
    AdultHeightTable,
    Contraindication,
    HeightInputError,
    HeightInputs,
    HeightSource,
    ParentHeight,
    predict_adult_height,
)
from boneage.report.adult_height import CONTRAINDICATIONS, input_error
from boneage.sex import Sex
from boneage.web.accounts.audit import Action, by_token, record
from boneage.web.cases.earlier import reading_of
from boneage.web.cases.follow_up import usable
from boneage.web.chronological_age import FIRST_DAY
from boneage.web.models import BOTH, Assessment, Case, Measurements, User

NONE_PRESENT = "none"
"""Choice of the form if every condition was excluded."""

SOURCES = [(HeightSource.MEASURED.value, _("measured")), (HeightSource.REPORTED.value, _("reported"))]

_FIELDS = {
    "height_cm": "height_cm",
    "weight_kg": "weight_kg",
    "mother": "mother_cm",
    "father": "father_cm",
    "menarche": "menarche",
    "menarche_age_months": "menarche_age_years",
}
"""Fields of the form by those of `HeightInputs`."""


@dataclass(frozen=True)
class AdultHeight:
    """Adult height of a child by all methods.

    Attributes:
        table: the methods side by side.
        radiograph: assessment whose bone age was used; None if there is none.
    """

    table: AdultHeightTable
    radiograph: Assessment | None


def measurements_of(case: Case) -> Measurements:
    """Return the measurements of a case; empty ones, which are not stored, if nobody has entered any."""
    return Measurements.objects.filter(case=case).first() or Measurements(case=case)


def adult_height(case: Case, measured: Measurements, assessments: Iterable[Assessment]) -> AdultHeight | None:
    """Return the adult height by all methods; None if the age is unknown, or the sex is unknown or other.

    The bone age is that of the radiograph nearest to the day of the height, or of the last one if a day is unknown.

    Args:
        case: the child.
        measured: its measurements.
        assessments: all assessments of the child.

    Raises:
        HeightInputError: a measurement cannot be right, also because age or bone age have changed since.
    """
    if case.sex == BOTH:
        return None
    radiograph = _nearest(
        [one for one in usable(assessments) if one.chronological_age is not None], measured.height_date
    )
    inputs = _inputs(case, measured, radiograph)
    return None if inputs is None else AdultHeight(predict_adult_height(inputs), radiograph)


def _nearest(assessments: Iterable[Assessment], day: date | None) -> Assessment | None:
    def order(one: Assessment) -> tuple[float, float]:
        apart = math.inf if day is None or one.study_date is None else abs((day - one.study_date).days)
        return apart, -(one.chronological_age_months or 0.0)

    return min(assessments, key=order, default=None)


def _inputs(case: Case, measured: Measurements, radiograph: Assessment | None) -> HeightInputs | None:
    """Return the inputs of all methods; None if the age is unknown."""
    by_radiograph: dict[str, Any] = {}
    if radiograph is not None and radiograph.chronological_age is not None:
        age = radiograph.chronological_age
        age_months, age_exact = age.middle_months, age.is_known_to_the_month
        reading = reading_of(radiograph)
        interval = reading.interval_80
        if interval is not None and reading.is_near_maturity:
            interval = (interval[0], math.inf)
        by_radiograph = {"bone_age_months": reading.bone_age_months, "bone_age_interval_80": interval}
        if measured.height_date is not None and radiograph.study_date is not None:
            by_radiograph["height_days_from_radiograph"] = (measured.height_date - radiograph.study_date).days
    elif case.birth_date is not None and measured.height_date is not None and measured.height_date > case.birth_date:
        age_months, age_exact = calendar_months(case.birth_date, measured.height_date), True
        by_radiograph = {"height_days_from_radiograph": 0}
    else:
        return None
    conditions = measured.contraindications
    return HeightInputs(
        sex=Sex(case.sex),
        age_months=age_months,
        age_exact=age_exact,
        height_cm=measured.height_cm,
        weight_kg=measured.weight_kg,
        mother=_parent(measured.mother_cm, measured.mother_source),
        father=_parent(measured.father_cm, measured.father_source),
        menarche=measured.menarche,
        menarche_age_months=measured.menarche_age_months,
        contraindications=None if conditions is None else frozenset(Contraindication(one) for one in conditions),
        **by_radiograph,
    )


def _parent(height_cm: float | None, source: str) -> ParentHeight | None:
    return None if height_cm is None else ParentHeight(height_cm, HeightSource(source or HeightSource.REPORTED))


def _number(label: Any, step: str = "0.1") -> forms.FloatField:
    return forms.FloatField(label=label, required=False, widget=forms.NumberInput(attrs={"step": step}))


def _source() -> forms.ChoiceField:
    return forms.ChoiceField(label=_("Origin"), choices=SOURCES, required=False, initial=HeightSource.REPORTED.value)


class MeasurementsForm(forms.Form):
    """Measurements of a child and its parents; every field is optional."""

    height_cm = _number(_("Height, cm"))
    height_date = forms.DateField(
        label=_("Measured on"),
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        error_messages={"invalid": _("Enter the date as YYYY-MM-DD.")},
    )
    weight_kg = _number(_("Weight, kg"))
    mother_cm = _number(_("Height of the mother, cm"))
    mother_source = _source()
    father_cm = _number(_("Height of the father, cm"))
    father_source = _source()
    menarche = forms.TypedChoiceField(
        label=_("Menarche"),
        choices=[("", _("unknown")), ("yes", _("yes")), ("no", _("no"))],
        coerce=lambda value: value == "yes",
        empty_value=None,
        required=False,
    )
    menarche_age_years = _number(_("Age at menarche, years"))
    contraindications = forms.MultipleChoiceField(
        label=_("Conditions for which no prediction is valid"),
        choices=[
            *((one.value, _(text)) for one, text in CONTRAINDICATIONS.items()),
            (NONE_PRESENT, _("None of these")),
        ],
        widget=forms.CheckboxSelectMultiple,
        required=False,
    )

    def __init__(self, case: Case, assessments: Iterable[Assessment], data: Any = None) -> None:
        self._case = case
        self._assessments = list(assessments)
        super().__init__(data, initial=_initial(measurements_of(case)))
        if case.sex == Sex.MALE:
            del self.fields["menarche"], self.fields["menarche_age_years"]

    def clean_height_date(self) -> date | None:
        """Reject a date in the future, and one before the birth."""
        day: date | None = self.cleaned_data["height_date"]
        if day is not None and not (self._case.birth_date or FIRST_DAY) <= day <= latest_study_day():
            raise ValidationError(_("The height must be measured after the birth, and not in the future."))
        return day

    def clean_contraindications(self) -> list[str] | None:
        """Return the conditions; an empty list if all are excluded, None if nothing is recorded."""
        chosen: list[str] = self.cleaned_data["contraindications"]
        if NONE_PRESENT in chosen and len(chosen) > 1:
            raise ValidationError(_("None of these contradicts the other choices."))
        return None if not chosen else [one for one in chosen if one != NONE_PRESENT]

    def clean(self) -> dict[str, Any]:
        """Check units and plausibility, and the agreement of the values with each other and with the radiographs."""
        super().clean()
        if not self.errors:
            try:
                adult_height(self._case, self.measurements(), self._assessments)
            except HeightInputError as error:
                name = _FIELDS.get(error.field, "height_cm" if error.field == "age_months" else "")
                self.add_error(name if name in self.fields else None, ValidationError(input_error(error), error.code))
        return self.cleaned_data

    def measurements(self) -> Measurements:
        """Return the values of the form, which are not stored yet."""
        values = self.cleaned_data
        years = values.get("menarche_age_years")
        return Measurements(
            case=self._case,
            height_cm=values.get("height_cm"),
            height_date=values.get("height_date"),
            weight_kg=values.get("weight_kg"),
            mother_cm=values.get("mother_cm"),
            mother_source=_source_of(values, "mother"),
            father_cm=values.get("father_cm"),
            father_source=_source_of(values, "father"),
            menarche=values.get("menarche"),
            menarche_age_months=None if years is None else 12 * years,
            contraindications=values.get("contraindications"),
        )


def _source_of(values: dict[str, Any], parent: str) -> str:
    """Return the origin of a parent's height; empty without a height."""
    if values.get(f"{parent}_cm") is None:
        return ""
    return values.get(f"{parent}_source") or HeightSource.REPORTED.value


def _initial(measured: Measurements) -> dict[str, Any]:
    names = ("height_cm", "height_date", "weight_kg", "mother_cm", "father_cm")
    conditions, months = measured.contraindications, measured.menarche_age_months
    return {
        **{name: getattr(measured, name) for name in names},
        "mother_source": measured.mother_source or HeightSource.REPORTED.value,
        "father_source": measured.father_source or HeightSource.REPORTED.value,
        "menarche": {None: "", True: "yes", False: "no"}[measured.menarche],
        "menarche_age_years": None if months is None else round(months / 12, 1),
        "contraindications": conditions if conditions is None or conditions else [NONE_PRESENT],
    }


@transaction.atomic
def change_measurements(case: Case, measured: Measurements, user: User | None, *, via: str = "") -> None:
    """Store measurements in place of those of the case. The audit log records the names of the values that changed.

    Args:
        case: the child.
        measured: valid measurements.
        user: the user.
        via: name of the API token that was used, for the audit log.

    Raises:
        Http404: the case is gone.
    """
    if not Case.objects.select_for_update().filter(pk=case.pk).exists():
        raise Http404
    before = measurements_of(case)
    names = [field.name for field in Measurements._meta.fields if field.name not in {"case", "changed_at"}]
    changed = [name for name in names if getattr(before, name) != getattr(measured, name)]
    if not changed:
        return
    measured.case, measured.changed_at = case, timezone.now()
    measured.save()
    Case.objects.filter(pk=case.pk).update(changed_at=timezone.now())
    record(user, Action.CASE_CHANGED, case, changed="measurements", values=changed, **by_token(via))


def problem_of(error: HeightInputError) -> str:
    """Return the reason for which stored measurements give no table, as when a birth date was changed since."""
    return gettext("The measurements do not agree with the radiographs: %(reason)s") % {"reason": input_error(error)}
