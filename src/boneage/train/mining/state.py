"""State of a mining project: a table of radiographs with their masks, and its settings.

A mining project is a folder. ``mining.json`` holds the settings, ``masks.csv`` has a row for each radiograph, ``masks``
holds the images, and ``round-N`` the training run of each round. Every change of the table writes the file in one step,
so an interruption always leaves a valid table.
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
COLUMNS = ("id", "status", "round", "uncertainty", "mask", "discarded_in")

_writing = threading.Lock()


class Status(StrEnum):
    """Status of a radiograph's mask."""

    OUTLINE = "outline"
    """Drawn by a person, for training."""
    HELD_OUT = "held_out"
    """Drawn by a person, for measurement only."""
    PENDING = "pending"
    """Predicted, without a decision."""
    ACCEPTED = "accepted"
    """Predicted and accepted, for training."""
    DISCARDED = "discarded"
    """Predicted and discarded; a later round's network predicts it again."""
    UNSEEN = "unseen"
    """Not predicted yet."""


DRAWN = frozenset({Status.OUTLINE, Status.HELD_OUT})
"""Status of masks drawn by a person."""

PREDICTED = frozenset({Status.PENDING, Status.ACCEPTED, Status.DISCARDED})
"""Status of masks predicted by a network, on which a person can decide."""


@dataclass(frozen=True)
class RadiographMask:
    """Row of one radiograph.

    Attributes:
        id: id of the radiograph.
        status: see `Status`.
        round: round whose network predicted the mask, from 1; 0 for a drawn mask; None without a mask.
        uncertainty: 0 (certain) to 1: 1 - IoU between the radiograph's mask and those of changed copies
            (`rounds.predict_round`); None for a drawn mask, or without one.
        mask: path of its PNG (0 and 255), relative to the mining's folder; empty without one.
        discarded_in: rounds whose mask of this radiograph was discarded, in order.
    """

    id: str
    status: Status = Status.UNSEEN
    round: int | None = None
    uncertainty: float | None = None
    mask: str = ""
    discarded_in: tuple[int, ...] = ()

    def predicted(self, number: int, uncertainty: float, mask: str) -> RadiographMask:
        """Return the row with the mask of a round's network, for a decision."""
        return replace(self, status=Status.PENDING, round=number, uncertainty=uncertainty, mask=mask)

    def accepted(self) -> RadiographMask:
        """Return the row with its mask accepted."""
        kept = tuple(number for number in self.discarded_in if number != self.round)
        return replace(self, status=Status.ACCEPTED, discarded_in=kept)

    def discarded(self) -> RadiographMask:
        """Return the row with its mask discarded."""
        rounds = {*self.discarded_in, *(() if self.round is None else (self.round,))}
        return replace(self, status=Status.DISCARDED, discarded_in=tuple(sorted(rounds)))


@dataclass(frozen=True)
class Settings:
    """Settings of a mining project.

    Attributes:
        radiographs: table of the radiographs; see `boneage.tables.radiographs.read_radiographs`.
        images: folder of their images; None for that function's default.
        seed: seed of the held-out outlines and of every random order.
    """

    radiographs: Path
    images: Path | None
    seed: int

    def read_radiographs(self) -> dict[str, LabelledRadiograph]:
        """Return the radiographs by id.

        Raises:
            TableError: see `boneage.tables.radiographs.read_radiographs`.
        """
        return {radiograph.id: radiograph for radiograph in read_radiographs(self.radiographs, self.images)}


def write_settings(folder: Path, settings: Settings) -> None:
    """Make `folder` a mining project. Paths are stored as absolute ones, independent of the working directory."""
    values = asdict(settings)
    values["radiographs"] = str(settings.radiographs.resolve())
    values["images"] = None if settings.images is None else str(settings.images.resolve())
    write_text(folder / SETTINGS, json.dumps({"format": 1, **values}, indent=1) + "\n")


def read_settings(folder: Path) -> Settings:
    """Read the settings of a mining project.

    Raises:
        RecipeError: ``recipe_invalid`` if the folder is not a mining project.
    """
    try:
        values = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        images = None if values["images"] is None else Path(values["images"])
        return Settings(Path(values["radiographs"]), images, int(values["seed"]))
    except OSError as error:
        raise RecipeError(
            "recipe_invalid", f"{folder} holds no mining ({SETTINGS}). Begin with `boneage mine start`."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError("recipe_invalid", f"{folder / SETTINGS} is damaged: {error!r}.") from error


def read_masks(folder: Path) -> dict[str, RadiographMask]:
    """Read the table by the radiographs' ids, in the order of the radiographs.

    Raises:
        TableError: see `boneage.tables.csv_table.read_rows`; ``table_duplicate``; ``table_value`` with the line of a
            bad cell.
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
        uncertainty=row.number("uncertainty", 0.0, 1.0) if cells["uncertainty"] else None,
        mask=cells["mask"],
        discarded_in=tuple(int(number) for number in rounds),
    )


def write_masks(folder: Path, masks: Mapping[str, RadiographMask]) -> None:
    """Write the table in one step."""
    write_rows(folder / TABLE, COLUMNS, map(_cells, masks.values()))


def _cells(mask: RadiographMask) -> tuple[object, ...]:
    number = "" if mask.round is None else mask.round
    uncertainty = "" if mask.uncertainty is None else round(mask.uncertainty, 5)
    return (mask.id, mask.status.value, number, uncertainty, mask.mask, " ".join(map(str, mask.discarded_in)))


@contextmanager
def changing(folder: Path) -> Iterator[dict[str, RadiographMask]]:
    """Provide the current table, and write it back if the block ends without an error.

    Threads take turns; the commands of one mining should too.

    Raises:
        TableError: see `read_masks`.
    """
    with _writing:
        masks = read_masks(folder)
        before = dict(masks)
        yield masks
        if masks != before:
            write_masks(folder, masks)


def decide(folder: Path, good: Mapping[str, bool], rounds: Mapping[str, int] | None = None) -> None:
    """Accept and discard predicted masks, in one change of the table. A decision may be changed later.

    Args:
        folder: folder of the mining.
        good: decisions by radiograph's id, True to accept its mask and False to discard it.
        rounds: round whose mask was viewed, by radiograph's id, if it is recorded.

    Raises:
        TableError: ``table_value`` if a radiograph is unknown or has no predicted mask, or if its mask was replaced
            after it was viewed; then nothing is changed.
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
                    f"{folder / TABLE}: {radiograph_id!r} has a mask of round {mask.round} by now;"
                    f" the one decided on was of round {rounds[radiograph_id]}. Look at it again.",
                )
            masks[radiograph_id] = mask.accepted() if is_good else mask.discarded()


def mask_path(place: str, radiograph_id: str) -> str:
    """Return the path of a radiograph's mask, relative to the mining. `place` is ``outlines`` or ``round-N``."""
    return f"masks/{place}/{quote(radiograph_id, safe=' ')}.png"
