"""Columns of labelled radiographs by which commands select and group them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

from boneage.errors import TableError

if TYPE_CHECKING:
    from boneage.tables.radiographs import LabelledRadiograph

_LABEL_COLUMNS = frozenset({"id", "image", "male", "boneage"})


def require_columns(
    radiographs: Sequence[LabelledRadiograph],
    columns: Sequence[str],
    purpose: Literal["selected", "grouped"],
    own: Collection[str] = (),
) -> None:
    """Check that radiographs can be selected or grouped by columns, before they are assessed.

    Args:
        radiographs: Radiographs of one table, at least one.
        columns: Requested columns.
        purpose: Purpose of the columns, for the message.
        own: Columns of the output, which take the place of columns of these names.

    Raises:
        TableError: ``table_columns`` for the first column that cannot be used.
    """
    reserved = {name.casefold() for name in own}
    usable = [column for column in radiographs[0].groups if column.casefold() not in reserved]
    for column in columns:
        if column in usable:
            continue
        names = ", ".join(usable) or "none"
        if column.casefold() in reserved | _LABEL_COLUMNS | {"split"}:
            hint = " Choose it with --split." if column.casefold() == "split" else ""
            reason = f"Radiographs cannot be {purpose} by {column!r}.{hint}"
        else:
            reason = f"The radiographs have no column {column!r}."
        raise TableError("table_columns", f"{reason} They can be {purpose} by these columns: {names}.")
