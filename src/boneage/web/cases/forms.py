"""The form for a radiograph and the data on the child, shared by the page and the REST API."""

from __future__ import annotations

import unicodedata
from datetime import date
from typing import Any, cast

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from boneage.clinical.ages import (
    TOLERANCE_MONTHS,
    AgePrecision,
    calendar_months,
    exact_age,
    gap_months,
    latest_study_day,
)
from boneage.web.accounts import audit
from boneage.web.cases import idempotency
from boneage.web.cases.cases import give_birth_date
from boneage.web.chronological_age import age_of_columns
from boneage.web.departments import NO_DEPARTMENT
from boneage.web.models import SEXES, Assessment, Case, User, configuration
from boneage.web.queue import jobs

OLDEST_YEARS = 25
"""Maximum age of a child at the radiograph, years; bones are mature long before."""

LONGEST_REFERENCE = 160
"""Maximum number of characters of a patient reference: Patient ID and issuer of DICOM together have up to 131."""

OWN_CODES = frozenset(
    {
        "age_invalid",
        "ages_differ",
        "busy",
        "case_differs",
        "date_in_future",
        "reference_invalid",
        "study_before_birth",
        "too_large",
        "too_many",
        "too_old",
    }
)
"""Codes of problems that are not derived from the name of a field (`RadiographForm.problems`)."""

_DAY = "%Y-%m-%d"


def _date_field(label: Any) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        input_formats=[_DAY],
        widget=forms.DateInput(attrs={"type": "date"}, format=_DAY),
        error_messages={"invalid": _("Enter the date as YYYY-MM-DD.")},
    )


class RadiographForm(forms.Form):
    """A radiograph and the data on the child.

    In the mode ``open`` there is no ``reference``: a value sent under this name is ignored. Errors have codes, see
    ``docs/codes.md``.

    Args:
        *args: those of a form.
        user: the user, whose departments are offered; None in the mode ``open``.
        **kwargs: those of a form.

    Attributes:
        offers_departments: the user belongs to several departments, and chooses one.
    """

    radiograph = forms.FileField(
        label=_("Radiograph"),
        error_messages={
            "required": _("Choose a file."),
            "invalid": _("Choose a file."),
            "empty": _("This file is empty."),
        },
    )
    sex = forms.ChoiceField(
        label=_("Sex"),
        choices=SEXES,
        widget=forms.RadioSelect,
        error_messages={
            "required": _("Choose the sex: girls and boys mature at different ages."),
            "invalid_choice": _("The sex must be F, M or both."),
        },
    )
    birth_date = _date_field(_("Date of birth"))
    study_date = _date_field(_("Date of the radiograph"))
    given_age_years = forms.IntegerField(
        label=_("Years"), required=False, min_value=0, max_value=OLDEST_YEARS, widget=forms.NumberInput()
    )
    given_age_months = forms.FloatField(
        label=_("Months"),
        required=False,
        min_value=0,
        max_value=12 * OLDEST_YEARS,
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    reference = forms.CharField(
        label=_("Patient reference"),
        required=False,
        max_length=LONGEST_REFERENCE,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    department = forms.ChoiceField(
        label=_("Department"),
        required=False,
        error_messages={
            "required": _("Choose the department."),
            "invalid_choice": _("The department must be one of yours."),
        },
    )
    note = forms.CharField(label=_("Note"), required=False, max_length=2000, widget=forms.Textarea(attrs={"rows": 2}))

    def __init__(self, *args: Any, user: User | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if configuration().is_open:
            del self.fields["reference"]
        names = [NO_DEPARTMENT] if user is None else user.own_departments
        self.offers_departments = len(names) > 1
        self._department = NO_DEPARTMENT if self.offers_departments else names[0]
        self._limit_departments(names)

    def _limit_departments(self, names: list[str]) -> None:
        """Let the user state a department of their own only. It may be left out if there is a single one."""
        departments = configuration().department_list
        if not departments:
            del self.fields["department"]
            return
        field = cast(forms.ChoiceField, self.fields["department"])
        field.required = NO_DEPARTMENT not in names and self.offers_departments
        empty = "" if field.required else _("No department")
        own = [(name, departments.label(name)) for name in names if name != NO_DEPARTMENT]
        field.choices = [(NO_DEPARTMENT, empty), *own]

    @property
    def chosen_department(self) -> str:
        """Name of the department of the radiograph, of a form whose fields were cleaned."""
        return str(self.cleaned_data.get("department") or self._department)

    def clean_reference(self) -> str:
        """Return the reference in the form in which references are compared.

        Raises:
            ValidationError: ``reference_invalid``.
        """
        return composed_reference(self.cleaned_data["reference"])

    def clean_birth_date(self) -> date | None:
        """Reject a date in the future."""
        return _reject_future(self.cleaned_data["birth_date"])

    def clean_study_date(self) -> date | None:
        """Reject a date in the future."""
        return _reject_future(self.cleaned_data["study_date"])

    def clean(self) -> dict[str, Any]:
        """Check that the values agree with each other and with the case."""
        super().clean()
        case = self._known_case()
        try:
            self._reject_other_child(case)
        except ValidationError as error:
            self.add_error("reference", error)
        self._check_given_age()
        self._check_dates(case)
        return self.cleaned_data

    def problems(self) -> list[dict[str, str]]:
        """Return the problems for programs, in the order of the form: ``code``, ``field`` (empty for the whole form)
        and ``message``.

        Codes are those of this module; ``<field>_missing``; and ``<field>_invalid`` for an invalid value of a field.
        """
        errors = self.errors.get_json_data()
        order = [*self.fields, NON_FIELD_ERRORS]
        return [
            {
                "code": _code(name, error["code"]),
                "field": "" if name == NON_FIELD_ERRORS else name,
                "message": error["message"],
            }
            for name in order
            for error in errors.get(name, [])
        ]

    def reject_too_large(self) -> None:
        """Report that the upload was stopped because of its size (`boneage.web.cases.uploads`), not that a radiograph
        is missing.
        """
        self.errors.pop("radiograph", None)
        text = _("This file is larger than the limit of %(limit)s.")
        limit = filesizeformat(configuration().radiograph_bytes)
        self.add_error("radiograph", ValidationError(text, "too_large", params={"limit": limit}))

    def submit(
        self, *, user: User | None = None, client: str = "", via: str = "", key: idempotency.Key | None = None
    ) -> Assessment:
        """Store the radiograph of a valid form and put it into the queue, with its case and audit event, or nothing at
        all.

        Args:
            user: the user; None in the mode ``open``.
            client: client in the mode ``open``, see `boneage.web.accounts.access.client_of`.
            via: name of the API token that was used, for the audit log.
            key: key of the submission, if the program gave one and `idempotency.earlier` has found no assessment for
                it.

        Raises:
            IntegrityError: the same key came at the same time; nothing was kept.
            BusyError: ``busy``, ``too_many``.
            ValidationError: ``case_differs``, if the case was made in between.
        """
        values = self.cleaned_data
        radiograph: UploadedFile[bytes] = values["radiograph"]
        with transaction.atomic():
            case, is_completed = self._find_or_make_case()
            assessment = jobs.submit(
                jobs.Submission(
                    radiograph=radiograph.read(),
                    radiograph_name=radiograph.name or "",
                    sex=values["sex"],
                    birth_date=self._birth_date(case),
                    study_date=values["study_date"],
                    given_age_months=self._given_months(),
                    given_age_precision=self._given_precision(),
                    note=values["note"],
                    case=case,
                    department=self.chosen_department,
                    user=user,
                    client=client,
                )
            )
            detail = audit.by_token(via) | ({"birth_date_added": True} if is_completed else {})
            audit.record(user, audit.Action.SUBMIT, assessment, **detail)
            if key is not None:
                idempotency.keep(key, assessment, user)
        return assessment

    # --- the case ---

    def _known_case(self) -> Case | None:
        reference = self.cleaned_data.get("reference")
        return (
            Case.objects.filter(reference=reference, department=self.chosen_department).first() if reference else None
        )

    def _reject_other_child(self, case: Case | None) -> None:
        """Reject data that contradict the case: a mistyped reference would name another child."""
        if case is None:
            return
        sex, birth_date = self.cleaned_data.get("sex"), self.cleaned_data.get("birth_date")
        if sex and sex != case.sex:
            raise ValidationError(_("The case with this reference has another sex."), "case_differs")
        if birth_date and case.birth_date and birth_date != case.birth_date:
            raise ValidationError(_("The case with this reference has another date of birth."), "case_differs")

    def _find_or_make_case(self) -> tuple[Case | None, bool]:
        """Return the case of the reference, and whether this submission has added its date of birth."""
        values = self.cleaned_data
        if not values.get("reference"):
            return None, False
        if values["birth_date"] is not None:  # the case may take it, and its radiographs with it
            named = Case.objects.filter(reference=values["reference"], department=self.chosen_department)
            jobs.locked(Assessment.objects.filter(case__in=named))
        case, _is_new = Case.objects.select_for_update().get_or_create(
            reference=values["reference"],
            department=self.chosen_department,
            defaults={"sex": values["sex"], "birth_date": values["birth_date"]},
        )
        self._reject_other_child(case)
        if case.birth_date is not None or values["birth_date"] is None:
            return case, False
        case.birth_date = values["birth_date"]
        case.save(update_fields=["birth_date"])
        give_birth_date(case, values["birth_date"])
        return case, True

    def _birth_date(self, case: Case | None) -> date | None:
        """Return the date of birth from the form, otherwise from the case."""
        given: date | None = self.cleaned_data.get("birth_date")
        return given or (case.birth_date if case else None)

    # --- the age ---

    def _given_months(self) -> float | None:
        """Return the chronological age given as years and months, or as months alone; months."""
        years, months = self.cleaned_data.get("given_age_years"), self.cleaned_data.get("given_age_months")
        if years is None and months is None:
            return None
        return 12.0 * (years or 0) + (months or 0.0)

    def _given_precision(self) -> str:
        """Return the unit to which the given age is known; empty for an exact age or none.

        Years alone are known to the year, and years with whole months to the month. Months alone, and fractions of a
        month, are exact.
        """
        years, months = self.cleaned_data.get("given_age_years"), self.cleaned_data.get("given_age_months")
        if years is None:
            return ""
        if months is None:
            return AgePrecision.YEARS.value
        return AgePrecision.MONTHS.value if float(months).is_integer() else ""

    def _check_given_age(self) -> None:
        years, rest = self.cleaned_data.get("given_age_years"), self.cleaned_data.get("given_age_months")
        if years is None or rest is None:
            return
        if rest >= 12:
            self.add_error("given_age_months", ValidationError(_("With years, enter 0 to 11 months."), "age_invalid"))
        elif 12 * years + rest > 12 * OLDEST_YEARS:
            self.add_error("given_age_years", _too_old())

    def _check_dates(self, case: Case | None) -> None:
        birth, study = self._birth_date(case), self.cleaned_data.get("study_date")
        if birth is None or study is None:
            return
        if study < birth:
            error = ValidationError(_("The radiograph is dated before the birth."), "study_before_birth")
            self.add_error("study_date", error)
            return
        exact = calendar_months(birth, study)
        given = age_of_columns(self._given_months(), self._given_precision(), is_middle=False)
        if exact > 12 * OLDEST_YEARS:
            self.add_error("study_date", _too_old())
        elif given is not None and gap_months(exact_age(exact), given) > TOLERANCE_MONTHS:
            error = ValidationError(_("This age and the dates differ by more than a month."), "ages_differ")
            self.add_error("given_age_months", error)


def composed_reference(text: str) -> str:
    """Return a reference with composed letters, so that the same reference typed on two machines is equal.

    Raises:
        ValidationError: ``reference_invalid``.
    """
    reference = unicodedata.normalize("NFC", text)
    if not reference.isprintable():
        raise ValidationError(_("The reference must be a single line of text."), "reference_invalid")
    return reference


def _reject_future(day: date | None) -> date | None:
    if day is not None and day > latest_study_day():
        raise ValidationError(_("This date is in the future."), "date_in_future")
    return day


def _too_old() -> ValidationError:
    text = _("The age may be at most %(years)d years: bones are mature long before.")
    return ValidationError(text, "too_old", params={"years": OLDEST_YEARS})


def _code(field: str, code: str) -> str:
    if code == "required":
        return f"{field}_missing"
    return code if code in OWN_CODES else f"{field}_invalid"
