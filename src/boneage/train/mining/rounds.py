"""Rounds of a mining project: training on available masks, measurement on held-out outlines, prediction of the others.

Held-out outlines choose nothing: a round's network is the one after its last epoch, whichever was best on them.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.errors import RecipeError, Rejection, TableError
from boneage.files import write_text
from boneage.geometry import Transform, sample
from boneage.hand.mask import whole_hand
from boneage.hand.views import ViewSpec, measure_grey, view_transform
from boneage.tables.csv_table import read_rows, write_rows
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.data.annotations import load_mask
from boneage.train.data.cache import RadiographCache
from boneage.train.data.hand_views import predict_masks
from boneage.train.mining.outlines import mask_shape, write_mask
from boneage.train.mining.records import (
    CACHED_SIDE,
    RECORD,
    Progress,
    Round,
    radiograph_cache,
    read_rounds,
    round_folder,
)
from boneage.train.mining.state import (
    RadiographMask,
    Status,
    changing,
    mask_path,
    read_masks,
    read_settings,
)
from boneage.train.recipe import Recipe, load_recipe
from boneage.train.run.engine import DEFAULT_ENGINE, Engine
from boneage.train.run.hand_tasks import intersection_over_union, outline_distance
from boneage.train.run.loop import train
from boneage.train.run.weights import load_hand_run

log = logging.getLogger(__name__)

Order = Literal["random", "uncertainty"]

RECIPE = "hand-mask"

_MASKS_OF_A_ROUND = {Status.OUTLINE: "train", Status.ACCEPTED: "train", Status.HELD_OUT: "validation"}
"""Split of masks in a round by their status."""

_PREDICTED_AT_ONCE = 16
"""Number of radiographs in a batch. Larger batches exceed a CPU's cache: 64 took 1.7 times as long per radiograph."""

_LEAST = np.float32(1e-4)
"""Smallest distance of a probability from 0 and 1; nearer ones count as equally certain."""

_WRITTEN_AT_ONCE = 256
"""Number of predictions between two changes of the table, which is lost if the command is killed."""


def train_round(
    folder: Path,
    changes: tuple[str, ...] = (),
    *,
    engine: Engine = DEFAULT_ENGINE,
    quiet: bool = False,
) -> Round | None:
    """Train the next round's network, or continue a round in progress.

    It starts from the weights of the previous round. Its training masks are the outlines and accepted masks at the time
    when the round started.

    Args:
        folder: folder of the mining.
        changes: changes of the recipe ``hand-mask``; see `boneage.train.recipe.load_recipe`.
        engine: devices and processes.
        quiet: True to show no progress bars.

    Returns:
        The round's record; None in processes that write none.

    Raises:
        RecipeError: see `boneage.train.run.loop.train`; ``recipe_invalid`` if the folder is not a mining project.
        TableError: see that function and `read_masks`.
    """
    began = time.monotonic()
    radiographs = read_settings(folder).read_radiographs()
    number = len(read_rounds(folder)) + 1
    run = round_folder(folder, number)
    recipe = load_recipe(RECIPE, (*_round_changes(folder, number), *changes))
    masks = round_masks(folder, run, radiographs)
    _same_radiographs(folder, masks, radiographs)
    # All radiographs share one cache; those without a target are in neither part.
    parted = [
        replace(radiograph, split=_MASKS_OF_A_ROUND[masks[radiograph.id].status] if radiograph.id in masks else None)
        for radiograph in radiographs.values()
    ]
    finished = train(recipe, parted, run, cache_folder=folder / "cache", engine=engine, quiet=quiet)
    if finished.rank != 0:
        return None
    measured = _measure(folder, run, [mask for mask in masks.values() if mask.status is Status.HELD_OUT], radiographs)
    counts = {status: sum(mask.status is status for mask in masks.values()) for status in _MASKS_OF_A_ROUND}
    record = Round(
        number=number,
        outlines=counts[Status.OUTLINE],
        accepted=counts[Status.ACCEPTED],
        held_out=len(measured),
        iou=float(np.mean([one[1] for one in measured])),
        iou_lowest=min(one[1] for one in measured),
        boundary=float(np.mean([one[2] for one in measured])),
        seconds=round(time.monotonic() - began, 1),
    )
    write_text(run / RECORD, json.dumps(asdict(record), indent=1) + "\n")
    return record


def round_masks(folder: Path, run: Path, radiographs: Mapping[str, LabelledRadiograph]) -> dict[str, RadiographMask]:
    """Return the masks for training and measurement of a round: those of its table once it has started.

    Accepted masks of radiographs of the split ``validation`` are left out, because these radiographs measure what is
    built on the masks.
    """
    masks = read_masks(folder)
    table = run / "targets.csv"
    if not (table.exists() and (run / "recipe.json").exists()):  # that file is the loop's first
        kept = {radiograph_id for radiograph_id, radiograph in radiographs.items() if radiograph.split == "validation"}
        chosen = [
            mask
            for mask in masks.values()
            if mask.status in _MASKS_OF_A_ROUND and not (mask.status is Status.ACCEPTED and mask.id in kept)
        ]
        rows = [(mask.id, f"../{mask.mask}", mask.status.value) for mask in chosen]
        write_rows(table, ("id", "mask", "status"), rows)
    begun = _read_targets(table)
    return {
        radiograph_id: RadiographMask(radiograph_id, status, mask=path)
        for radiograph_id, (status, path) in begun.items()
    }


def _read_targets(table: Path) -> dict[str, tuple[Status, str]]:
    rows = read_rows(table, ("id", "mask", "status"))
    kinds = {status.value: status for status in _MASKS_OF_A_ROUND}
    for row in rows:
        if row.cells["status"] not in kinds:
            raise row.bad_value("status", f"must be one of {', '.join(kinds)}")
    return {row.text("id"): (kinds[row.cells["status"]], row.text("mask").removeprefix("../")) for row in rows}


def _round_changes(folder: Path, number: int) -> tuple[str, ...]:
    """Return the changes of the recipe for a round."""
    targets = (round_folder(folder, number) / "targets.csv").resolve()
    changes = [
        f"data.targets={json.dumps(str(targets), ensure_ascii=False)}",
        f"data.longest_side={CACHED_SIDE}",
    ]
    if number > 1:
        earlier = round_folder(folder, number - 1).resolve()
        changes.append(f"train.initial_weights={json.dumps(str(earlier), ensure_ascii=False)}")
    return tuple(changes)


def _measure(
    folder: Path, run: Path, held_out: Sequence[RadiographMask], radiographs: Mapping[str, LabelledRadiograph]
) -> list[tuple[str, float, float]]:
    """Return id, IoU and boundary error of each held-out outline, and write them to the run's ``held_out.csv``."""
    cache = radiograph_cache(folder, list(radiographs.values()))
    recipe, network = _load_network(run)
    outlines = {mask.id: load_mask(folder / mask.mask) for mask in held_out}
    measured = []
    for predicted in _predictions(network, recipe, [radiographs[radiograph_id] for radiograph_id in outlines], cache):
        outline = outlines[predicted.id]
        mask = predicted.mask(outline.shape)
        measured.append(
            (predicted.id, intersection_over_union(mask, outline), outline_distance(mask, outline) / max(mask.shape))
        )
    if not measured:
        raise TableError("table_empty", "None of the radiographs with a held-out outline can be read.")
    write_rows(run / "held_out.csv", ("id", "iou", "boundary"), measured)
    return measured


def _load_network(run: Path) -> tuple[Recipe, nn.Module]:
    recipe, network, *_ = load_hand_run(run, "last")
    return recipe, network


@dataclass(frozen=True, eq=False)
class _Prediction:
    """Outputs of a network for one radiograph.

    Attributes:
        id: id of the radiograph.
        radiograph_shape: its rows and columns, pixels.
        spec: view of the network.
        probabilities: float32 (k, h, w) on the view: of the radiograph, then of its changed copies, transformed back.
    """

    id: str
    radiograph_shape: tuple[int, int]
    spec: ViewSpec
    probabilities: NDArray[np.float32]

    def mask(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the radiograph's mask of this shape, 0 and 1: its largest component, holes filled (section 2).

        Logits are interpolated between the view's pixels. Probabilities rise from 0 to 1 within a pixel, so a threshold
        other than 0.5 would move every border, and each round would add to that.
        """
        rows, columns = self.radiograph_shape
        to_mask = view_transform(self.radiograph_shape, self.spec).inverse()
        to_mask = to_mask.then(Transform.scale(shape[1] / columns, shape[0] / rows))
        certain = np.clip(self.probabilities[0], _LEAST, 1 - _LEAST)
        logits = sample(np.log(certain / (1 - certain)), to_mask, *shape, fill=math.log(_LEAST))
        return whole_hand(1 / (1 + np.exp(-logits)))

    def uncertainty(self) -> float:
        """Return 1 - IoU between the radiograph's mask and that of the most different copy, 0..1; 1 without a hand."""
        first, *others = map(whole_hand, self.probabilities)
        if not first.any():
            return 1.0
        return max(1.0 - intersection_over_union(first, other) for other in others)


class Copies(nn.Module):
    """Mask network on a view and on changed copies of it, with the outputs transformed back and stacked vertically.

    The copies are the mirror image and the view rotated by 90 degrees (by 180 if it is not square).

    Args:
        network: network from views (N, 1, h, w) to logits (N, 1, h, w).
        others: further networks, which read the unchanged view.
    """

    def __init__(self, network: nn.Module, others: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.network, self.others = network, nn.ModuleList(others)
        self.count = 3 + len(others)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs

    def forward(self, view: Tensor) -> Tensor:
        """Map a view (N, 1, h, w) to logits (N, 1, count * h, w)."""
        quarters = 1 if view.shape[-2] == view.shape[-1] else 2
        mirrored = self.network(view.flip(-1)).flip(-1)
        turned = torch.rot90(self.network(torch.rot90(view, quarters, (-2, -1))), -quarters, (-2, -1))
        others = [other(view).float() for other in self.others]
        return torch.cat([self.network(view).float(), mirrored.float(), turned.float(), *others], dim=-2)


def _predictions(
    network: nn.Module, recipe: Recipe, radiographs: Iterable[LabelledRadiograph], cache: RadiographCache
) -> Iterator[_Prediction]:
    """Yield the network's outputs for radiographs, in order, without unreadable or uniform radiographs."""
    waiting: deque[tuple[str, tuple[int, int]]] = deque()

    def pixels() -> Iterator[NDArray[np.float32]]:
        for radiograph in radiographs:
            if radiograph.id not in cache:
                continue
            of_radiograph = cache.pixels(radiograph.id)
            try:
                measure_grey(of_radiograph, recipe.view.grey)
            except Rejection as rejection:
                log.warning("the radiograph %s is left out: %s", radiograph.id, rejection)
                continue
            waiting.append((radiograph.id, (of_radiograph.shape[0], of_radiograph.shape[1])))
            yield of_radiograph

    half = recipe.train.precision == "bf16-mixed"
    for answer in predict_masks(network, pixels(), recipe.view, batch_size=_PREDICTED_AT_ONCE, half_precision=half):
        radiograph_id, shape = waiting.popleft()
        yield _Prediction(radiograph_id, shape, recipe.view, answer.reshape(-1, recipe.view.height, recipe.view.width))


def predict_round(
    folder: Path,
    count: int = 0,
    order: Order = "random",
    *,
    against: int | None = None,
    progress: Progress | None = None,
    decoding: Progress | None = None,
) -> list[str]:
    """Predict masks with the latest round's network, for a decision.

    Radiographs without an accepted mask that this round has not predicted yet can be predicted.

    Args:
        folder: folder of the mining.
        count: final number of radiographs with masks of this round, including existing ones, so that a killed command
            can be repeated; 0 for all.
        order: ``random``, or ``uncertainty`` for radiographs with the most uncertain earlier mask first, then any.
        against: another round whose network is compared too; its view must be the same.
        progress: wraps the radiographs that are predicted.
        decoding: wraps the radiographs that are decoded, unless they are in the cache.

    Returns:
        Ids of the radiographs that were predicted now.

    Raises:
        RecipeError: ``recipe_invalid`` if no round was trained, or the round for comparison does not fit.
        TableError: see `boneage.train.mining.state.read_masks`, `boneage.tables.radiographs.read_radiographs` and
            `radiograph_cache`.
    """
    settings = read_settings(folder)
    radiographs, masks = settings.read_radiographs(), read_masks(folder)
    _same_radiographs(folder, masks, radiographs)
    rounds = read_rounds(folder)
    if not rounds:
        raise RecipeError("recipe_invalid", f"{folder} has no trained round. Run `boneage mine train` first.")
    number = len(rounds)
    recipe, network = _load_network(round_folder(folder, number))
    copies = Copies(network, [] if against is None else [_network_to_compare(folder, against, recipe)])
    chosen = choose_radiographs(masks, number, count, order, seed=settings.seed)
    cache = radiograph_cache(folder, list(radiographs.values()), decoding)
    wanted: Iterable[LabelledRadiograph] = [radiographs[radiograph_id] for radiograph_id in chosen]
    predictions = _predictions(copies, recipe, progress(wanted) if progress else wanted, cache)
    done: list[str] = []
    while part := list(islice(predictions, _WRITTEN_AT_ONCE)):
        done += write_predicted_masks(folder, number, part)
    return done


def write_predicted_masks(folder: Path, number: int, predictions: Sequence[_Prediction]) -> list[str]:
    """Write masks, then the table, and return the radiographs' ids."""
    drawn: dict[str, tuple[float, str]] = {}
    for prediction in predictions:
        path = mask_path(f"round-{number}", prediction.id)
        write_mask(folder / path, prediction.mask(mask_shape(prediction.radiograph_shape)))
        drawn[prediction.id] = (prediction.uncertainty(), path)
    with changing(folder) as masks:
        for radiograph_id, (uncertainty, path) in drawn.items():
            masks[radiograph_id] = masks[radiograph_id].predicted(number, uncertainty, path)
    return list(drawn)


def _network_to_compare(folder: Path, number: int, recipe: Recipe) -> nn.Module:
    other_recipe, network = _load_network(round_folder(folder, number))
    if other_recipe.view != recipe.view:
        raise RecipeError(
            "recipe_invalid", f"Round {number} has another view than the latest one. Choose a round with the same view."
        )
    return network


def choose_radiographs(
    masks: Mapping[str, RadiographMask], number: int, count: int, order: Order, *, seed: int
) -> list[str]:
    """Return the radiographs that a round predicts next; see `predict_round`."""
    open_to = {Status.UNSEEN, Status.PENDING, Status.DISCARDED}
    candidates = [mask for mask in masks.values() if mask.status in open_to and mask.round != number]
    drawn = np.random.default_rng((seed, number)).permutation(len(candidates))
    chosen = [candidates[place] for place in drawn]
    if order == "uncertainty":
        chosen.sort(key=lambda mask: -1.0 if mask.uncertainty is None else mask.uncertainty, reverse=True)
    predicted = sum(mask.round == number for mask in masks.values())
    return [mask.id for mask in (chosen[: max(0, count - predicted)] if count else chosen)]


def _same_radiographs(
    folder: Path, masks: Mapping[str, RadiographMask], radiographs: Mapping[str, LabelledRadiograph]
) -> None:
    missing = [radiograph_id for radiograph_id in masks if radiograph_id not in radiographs]
    if missing:
        raise TableError(
            "table_value",
            f"{folder}: the table of radiographs no longer has {len(missing)} of the mining's radiographs, "
            f"{missing[0]!r} first.",
        )
