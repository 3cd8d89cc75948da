"""The age that a row of a list of radiographs states."""

from __future__ import annotations

from boneage.clinical.ages import StatedAge, parse_written_age
from boneage.clinical.errors import ClinicalError
from boneage.errors import TableError
from boneage.file_names import shown
from boneage.tables.radiographs import ListedRadiograph


def listed_age(listed: ListedRadiograph) -> StatedAge:
    """Return the dates and the age of a row.

    Raises:
        TableError: ``table_value`` for an age that cannot be read.
    """
    try:
        age = parse_written_age(listed.age_text) if listed.age_text else None
    except ClinicalError as error:
        raise TableError(
            "table_value",
            f"The age {listed.age_text!r} of {shown(listed.image_text)} cannot be read. {error.message}",
        ) from None
    return StatedAge(listed.birth_date, listed.study_date, age)
