"""Errors of the clinical package."""

from __future__ import annotations

from boneage.errors import BoneageError


class ClinicalError(BoneageError):
    """Input from which no clinical reading can be made.

    ``study_before_birth``: the study date lies before the birth date.
    ``study_in_future``: the study date lies after the last possible day.
    ``birth_too_early``: the birth date lies before 1900.
    ``age_malformed``: a text is not a DICOM age, or the months beside whole years are not 0 to 11.
    ``age_out_of_range``: an age is negative, above 130 years or not a finite number.
    ``estimate_invalid``: a bone age, an interval or a distribution is not what its field needs.
    ``reference_not_found``: there is no reference file at that place, and no shipped reference of that name.
    ``reference_unreadable``: the reference file is too large, not UTF-8 or not CSV.
    ``reference_columns``: a column of the reference is missing, unknown or named twice.
    ``reference_value``: a cell of the reference does not hold what its column needs.
    ``reference_order``: the ages of a sex do not rise from row to row.
    ``reference_units``: the reference is in years instead of months.
    ``reference_empty``: a sex has a single row, or the reference has none.
    ``limits_invalid``: the limits of carpal discordance are incomplete or contradictory.
    ``reading_order``: the later of two readings is not later.
    """

    exit_status = 9
