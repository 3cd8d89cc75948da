"""A range of days in a form: the fields ``since`` and ``until``, each of which may be empty."""

from __future__ import annotations

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

REVERSED = "days_reversed"
"""Code of the error of a last day that lies before the first one."""


class DayRangeForm(forms.Form):
    """A form that has the fields ``since`` and ``until``, and rejects a range that ends before it begins."""

    def clean(self) -> None:
        """Report a reversed range at ``until``, instead of a table that is empty without a reason."""
        super().clean()
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since is not None and until is not None and until < since:
            self.add_error("until", ValidationError(_("The last day must not be before the first day."), REVERSED))
