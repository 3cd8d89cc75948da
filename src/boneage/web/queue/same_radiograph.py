"""The same radiograph under two patients: one of them is the wrong one, and neither bone age may be used.

Radiographs are the same if their pixels are (`Assessment.pixels_sha256`), whatever their files and identifiers.
`Assessment.readings` adds the warning ``same_radiograph_other_patient`` to both, so that every output has it. Decisions
that did not know of it are withdrawn.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection

from boneage.web.accounts.audit import SYSTEM, Action, record
from boneage.web.models import Assessment, State

_LOCK = 0x626F6E67
"""First number of the PostgreSQL locks under which the patients of a radiograph are compared."""


def hold(checksums: Iterable[str]) -> None:
    """Let one transaction at a time change who has a radiograph. Rows are locked afterwards, as everywhere.

    Otherwise two results that are written at the same moment would not see each other. SQLite has one writer at a time
    anyway.

    Args:
        checksums: checksums of pixels; empty ones do not count.
    """
    if connection.vendor != "postgresql":
        return
    numbers = sorted({int(one[:8], 16) - 2**31 for one in checksums if one})
    with connection.cursor() as cursor:
        for number in numbers:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, number])


def mark(checksums: Iterable[str]) -> None:
    """Note for each assessment of a radiograph whether another patient has it, too. `hold` comes first.

    Two departments may have a case of one child each: the reference of the patient decides.

    Args:
        checksums: checksums of pixels; empty ones do not count.
    """
    for checksum in sorted({one for one in checksums if one}):
        rows = Assessment.objects.filter(pixels_sha256=checksum, superseded_by=None, state=State.DONE)
        rows = rows.exclude(case=None).select_related("case").order_by("pk")
        of_patients = list(rows.select_for_update(of=("self",)))  # a decision at the same moment is kept
        has_several = len({one.case.reference for one in of_patients if one.case is not None}) > 1
        for one in of_patients:
            if one.same_radiograph_elsewhere != has_several:
                one.same_radiograph_elsewhere = has_several
                is_withdrawn = has_several and one.decision != ""
                columns = one.withdraw_decision() if is_withdrawn else one.derive()
                one.save(update_fields=["same_radiograph_elsewhere", *columns])
                if is_withdrawn:
                    record(SYSTEM, Action.DECISION_WITHDRAWN, one)
