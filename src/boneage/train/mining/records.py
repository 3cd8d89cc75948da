"""Records of a mining project's rounds, and the decoded radiographs that its commands share. It needs no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from boneage.errors import RecipeError
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.mining.state import DRAWN, Status, read_masks

Progress = Callable[[Iterable[LabelledRadiograph]], Iterable[LabelledRadiograph]]

RECORD = "round.json"

CACHED_SIDE = 1024
"""Longest side of cached radiographs, pixels: four times the network's view, and enough for a person."""


@dataclass(frozen=True)
class Round:
    """Result of a round's training.

    Attributes:
        number: number of the round, from 1.
        outlines: number of drawn masks that trained it.
        accepted: number of predicted masks that trained it.
        held_out: number of outlines that measured it.
        iou, iou_lowest: IoU of its masks with those, mean and lowest, 0..1.
        boundary: mean distance of the borders, as a share of the radiograph's longest side.
        seconds: duration of the training, as far as this process measured it.
    """

    number: int
    outlines: int
    accepted: int
    held_out: int
    iou: float
    iou_lowest: float
    boundary: float
    seconds: float


def round_folder(folder: Path, number: int) -> Path:
    """Return the folder of a round's training: a run with the round's record."""
    return folder / f"round-{number}"


def read_rounds(folder: Path) -> list[Round]:
    """Return the records of all finished rounds, in order.

    Raises:
        RecipeError: ``recipe_invalid`` if a record is damaged.
    """
    rounds: list[Round] = []
    while (path := round_folder(folder, len(rounds) + 1) / RECORD).exists():
        try:
            rounds.append(Round(**json.loads(path.read_text(encoding="utf-8"))))
        except (ValueError, TypeError) as error:
            raise RecipeError("recipe_invalid", f"{path} is damaged: {error}.") from error
    return rounds


def radiograph_cache(
    folder: Path, radiographs: Sequence[LabelledRadiograph], progress: Progress | None = None
) -> RadiographCache:
    """Return the decoded radiographs of a mining project, which prediction, review and contact sheets share.

    Raises:
        TableError: see `boneage.train.data.cache.build_cache`.
    """
    return build_cache(radiographs, folder / "cache", longest_side=CACHED_SIDE, progress=progress)


def summary_rows(folder: Path) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    """Return columns and rows of ``rounds.csv``: training masks, measurement and result of each round.

    ``predicted`` are masks of that round's network that are still pending or have been decided on. ``coverage`` is the
    share of all radiographs with a drawn mask or one accepted up to that round.
    """
    columns = (
        *("round", "trained_on", "outlines", "accepted_before", "held_out", "iou", "iou_lowest", "boundary"),
        *("predicted", "accepted", "discarded", "pending", "coverage", "seconds"),
    )
    masks = list(read_masks(folder).values())
    covered = sum(mask.status in DRAWN for mask in masks)
    rows: list[tuple[object, ...]] = []
    for one in read_rounds(folder):
        here = [mask.status for mask in masks if mask.round == one.number]
        accepted, pending = here.count(Status.ACCEPTED), here.count(Status.PENDING)
        discarded = sum(one.number in mask.discarded_in for mask in masks)
        covered += accepted
        rows.append(
            (
                *(one.number, one.outlines + one.accepted, one.outlines, one.accepted, one.held_out),
                *(round(one.iou, 4), round(one.iou_lowest, 4), round(one.boundary, 5)),
                *(accepted + discarded + pending, accepted, discarded, pending),
                *(round(covered / len(masks), 4), one.seconds),
            )
        )
    return columns, rows
