"""The state of a mining: one table of radiographs and their masks, and where it came from.

A mining is a folder: ``mining.json`` says whose radiographs they are, ``masks.csv`` has one row a radiograph, ``masks``
holds the pictures, ``round-N`` the training of each round. Every change of the table is one file written whole, so that
whatever is killed, the table holds a state that was meant.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from boneage.errors import RecipeError, TableError
from boneage.files import write_text
from boneage.tables.csv_table import Row, read_rows, reject_duplicates, write_rows
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs

TABLE, SETTINGS = "masks.csv", "mining.json"
COLUMNS = ("id", "status", "round", "doubt", "mask", "discarded_in")

_writing = threading.Lock()


class Status(StrEnum):
    """What is known of a radiograph's mask."""

    OUTLINE = "outline"
    """Drawn by a person; trains."""
    HELD_OUT = "held_out"
    """Drawn by a person; only measures, never trains."""
    PENDING = "pending"
    """Predicted; nobody has decided yet."""
    ACCEPTED = "accepted"
    """Predicted and found good; trains."""
    DISCARDED = "discarded"
    """Predicted and found bad; to be predicted again by a later round's network."""
    UNSEEN = "unseen"
    """Not predicted yet."""


DRAWN = frozenset({Status.OUTLINE, Status.HELD_OUT})
"""Masks drawn by a person."""

PREDICTED = frozenset({Status.PENDING, Status.ACCEPTED, Status.DISCARDED})
"""Masks predicted by a network, on which a person can decide."""


@dataclass(frozen=True)
class RadiographMask:
    """One radiograph's row.

    Attributes:
        id: of the radiograph.
        status: see `Status`.
        round: whose network predicted the mask, from 1; 0 for one drawn by a person; None without a mask.
        doubt: 0..1, 1 - IoU between the radiograph's mask and those of changed copies (`rounds.predict_round`); None
            for a mask that was drawn, or without one.
        mask: path of its PNG (0 and 255), relative to the mining's folder; empty without one.
        discarded_in: rounds whose mask of this radiograph was discarded, in order.
    """

    id: str
    status: Status = Status.UNSEEN
    round: int | None = None
    doubt: float | None = None
    mask: str = ""
    discarded_in: tuple[int, ...] = ()

    def predicted(self, number: int, doubt: float, mask: str) -> RadiographMask:
        """With the mask of a round's network, to be decided on."""
        return replace(self, status=Status.PENDING, round=number, doubt=doubt, mask=mask)

    def accepted(self) -> RadiographMask:
        """With its mask found good."""
        kept = tuple(number for number in self.discarded_in if number != self.round)
        return replace(self, status=Status.ACCEPTED, discarded_in=kept)

    def discarded(self) -> RadiographMask:
        """With its mask found bad."""
        rounds = {*self.discarded_in, *(() if self.round is None else (self.round,))}
        return replace(self, status=Status.DISCARDED, discarded_in=tuple(sorted(rounds)))


@dataclass(frozen=True)
class Settings:
    """Whose radiographs are mined.

    Attributes:
        radiographs: table of the radiographs, as `boneage.tables.radiographs.read_radiographs` takes it.
        images: folder of their files; None for that function's default.
        seed: of the draw of the held-out outlines and of every random order.
    """

    radiographs: Path
    images: Path | None
    seed: int

    def read_radiographs(self) -> dict[str, LabelledRadiograph]:
        """The radiographs by id.

        Raises:
            TableError: as `boneage.tables.radiographs.read_radiographs`.
        """
        return {radiograph.id: radiograph for radiograph in read_radiographs(self.radiographs, self.images)}


def write_settings(folder: Path, settings: Settings) -> None:
    """Make `folder` a mining. Paths are kept whole, so that any working directory will do."""
    said = asdict(settings)
    said["radiographs"] = str(settings.radiographs.resolve())
    said["images"] = None if settings.images is None else str(settings.images.resolve())
    write_text(folder / SETTINGS, json.dumps({"format": 1, **said}, indent=1) + "\n")


def read_settings(folder: Path) -> Settings:
    """What a mining's folder says of itself.

    Raises:
        RecipeError: ``recipe_invalid`` if it is none.
    """
    try:
        said = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        images = None if said["images"] is None else Path(said["images"])
        return Settings(Path(said["radiographs"]), images, int(said["seed"]))
    except OSError as error:
        raise RecipeError("recipe_invalid", f"{folder} holds no mining ({SETTINGS}); begin with mine start.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError("recipe_invalid", f"{folder / SETTINGS} is damaged: {error!r}.") from error


def read_masks(folder: Path) -> dict[str, RadiographMask]:
    """The table, by the radiographs' ids in the order of the radiographs.

    Raises:
        TableError: as `boneage.tables.csv_table.read_rows`; ``table_duplicate``; ``table_value`` with the line of a bad
            cell.
    """
    rows = read_rows(folder / TABLE, COLUMNS)
    reject_duplicates(rows, "id")
    return {mask.id: mask for mask in map(_parsed, rows)}


def _parsed(row: Row) -> RadiographMask:
    cells = row.cells
    if cells["status"] not in set(Status):
        raise row.bad_value("status", f"must be one of {', '.join(Status)}")
    status = Status(cells["status"])
    if (status is Status.UNSEEN) == bool(cells["mask"]):
        raise row.bad_value("mask", f"does not go with the status {status}")
    rounds = cells["discarded_in"].split()
    if not all(number.isdecimal() for number in rounds):
        raise row.bad_value("discarded_in", "must be rounds' numbers")
    return RadiographMask(
        id=row.text("id"),
        status=status,
        round=None if status is Status.UNSEEN else int(row.number("round", 0)),
        doubt=row.number("doubt", 0.0, 1.0) if cells["doubt"] else None,
        mask=cells["mask"],
        discarded_in=tuple(int(number) for number in rounds),
    )


def write_masks(folder: Path, masks: Mapping[str, RadiographMask]) -> None:
    """Write the table, in one piece."""
    write_rows(folder / TABLE, COLUMNS, map(_cells, masks.values()))


def _cells(mask: RadiographMask) -> tuple[object, ...]:
    number = "" if mask.round is None else mask.round
    doubt = "" if mask.doubt is None else round(mask.doubt, 5)
    return (mask.id, mask.status.value, number, doubt, mask.mask, " ".join(map(str, mask.discarded_in)))


@contextmanager
def changing(folder: Path) -> Iterator[dict[str, RadiographMask]]:
    """The table as it is now, written back if the block ends without an error. Threads take turns; the commands of one
    mining should too.

    Raises:
        TableError: as `read_masks`.
    """
    with _writing:
        masks = read_masks(folder)
        before = dict(masks)
        yield masks
        if masks != before:
            write_masks(folder, masks)


def decide(folder: Path, good: Mapping[str, bool], rounds: Mapping[str, int] | None = None) -> None:
    """Accept and discard predicted masks, in one change of the table. What was decided may be decided otherwise.

    Args:
        folder: of the mining.
        good: by radiograph's id, True to accept its mask and False to discard it.
        rounds: by radiograph's id, the round whose mask was looked at, where it is known.

    Raises:
        TableError: ``table_value`` if a radiograph is unknown or has no predicted mask, or if its mask has been
            replaced since it was looked at; then nothing is changed.
    """
    with changing(folder) as masks:
        for radiograph_id, is_good in good.items():
            mask = masks.get(radiograph_id)
            if mask is None or mask.status not in PREDICTED:
                reason = (
                    "is none of these radiographs" if mask is None else f"has no predicted mask but is {mask.status}"
                )
                raise TableError(
                    "table_value", f"{folder / TABLE}: {radiograph_id!r} {reason}: there is nothing to decide."
                )
            if rounds is not None and rounds.get(radiograph_id, mask.round) != mask.round:
                raise TableError(
                    "table_value",
                    f"{folder / TABLE}: {radiograph_id!r} has a mask of round {mask.round} by now; the one "
                    f"decided on was of"
                    f" round {rounds[radiograph_id]}. Look at it again.",
                )
            masks[radiograph_id] = mask.accepted() if is_good else mask.discarded()


def mask_path(place: str, radiograph_id: str) -> str:
    """Where a radiograph's mask lies, relative to the mining's folder; `place` is ``outlines`` or ``round-N``."""
    return f"masks/{place}/{quote(radiograph_id, safe=' ')}.png"
