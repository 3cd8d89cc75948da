"""The rounds of a mining: train on the masks at hand, measure on held-out outlines, predict the films that have none.

Held-out outlines choose nothing: a round's net is the one after its last epoch, whichever was best on them.
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

from boneage.errors import RecipeError, Refusal, TableError
from boneage.files import write_text
from boneage.geometry import Transform, sample
from boneage.hand.mask import whole_hand
from boneage.hand.views import ViewSpec, measure_grey, view_transform
from boneage.tables.csv_table import read_rows, write_rows
from boneage.tables.radiographs import LabelledFilm
from boneage.train.data.annotations import load_mask
from boneage.train.data.cache import FilmCache
from boneage.train.data.hand_views import predict_masks
from boneage.train.mining.outlines import mask_shape, write_mask
from boneage.train.mining.records import CACHED_SIDE, RECORD, Progress, Round, film_cache, read_rounds, round_folder
from boneage.train.mining.state import (
    FilmMask,
    Status,
    changing,
    mask_path,
    read_masks,
    read_settings,
)
from boneage.train.recipe import Recipe, load_recipe
from boneage.train.run.loop import Engine, load_hand_run, train
from boneage.train.run.tasks import intersection_over_union, outline_distance

log = logging.getLogger(__name__)

Order = Literal["random", "doubt"]

RECIPE = "hand-mask"

_MASKS_OF_A_ROUND = {Status.OUTLINE: "train", Status.ACCEPTED: "train", Status.HELD_OUT: "validation"}
"""The part in a round of masks by their status."""

_PREDICTED_AT_ONCE = 16
"""Larger batches leave a CPU's cache: 64 took 1.7 times as long a film."""

_LEAST = np.float32(1e-4)
"""Probabilities nearer to 0 or 1 than this are as certain."""

_WRITTEN_AT_ONCE = 256
"""Predictions between two changes of the table; so many are lost if the command is killed."""


def train_round(
    folder: Path,
    changes: tuple[str, ...] = (),
    *,
    engine: Engine = Engine(),  # noqa: B008 - frozen
    quiet: bool = False,
) -> Round | None:
    """Train the next round's net, or go on with the round that was begun.

    It starts from the weights of the round before. Its training masks are those of the moment when it was begun,
    outlines and accepted ones.

    Args:
        folder: of the mining.
        changes: of the recipe ``hand-mask``, as `boneage.train.recipe.load_recipe` takes them.
        engine: devices and processes.
        quiet: no progress bars.

    Returns:
        The round's record; None in processes that keep none.

    Raises:
        RecipeError: as `boneage.train.run.loop.train`; ``recipe_invalid`` if the folder is no mining.
        TableError: as that function and `read_masks`.
    """
    began = time.monotonic()
    films = read_settings(folder).read_films()
    number = len(read_rounds(folder)) + 1
    run = round_folder(folder, number)
    recipe = load_recipe(RECIPE, (*_round_changes(folder, number), *changes))
    masks = _round_masks(folder, run, films)
    _same_films(folder, masks, films)
    # All films, so that there is one cache; those without a target are in neither part.
    parted = [
        replace(film, split=_MASKS_OF_A_ROUND[masks[film.id].status] if film.id in masks else None)
        for film in films.values()
    ]
    finished = train(recipe, parted, run, cache_folder=folder / "cache", engine=engine, quiet=quiet)
    if finished.rank != 0:
        return None
    measured = _measure(folder, run, [mask for mask in masks.values() if mask.status is Status.HELD_OUT], films)
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


def _round_masks(folder: Path, run: Path, films: Mapping[str, LabelledFilm]) -> dict[str, FilmMask]:
    """The masks that a round trains on and measures with: those of its table if it was begun, else those of now.

    Accepted masks of films of the split ``validation`` train nothing: those films measure what is built on the masks.
    """
    masks = read_masks(folder)
    table = run / "targets.csv"
    if not (table.exists() and (run / "recipe.json").exists()):  # that file is the loop's first
        kept = {film_id for film_id, film in films.items() if film.split == "validation"}
        chosen = [
            mask
            for mask in masks.values()
            if mask.status in _MASKS_OF_A_ROUND and not (mask.status is Status.ACCEPTED and mask.id in kept)
        ]
        rows = [(mask.id, f"../{mask.mask}", mask.status.value) for mask in chosen]
        write_rows(table, ("id", "mask", "status"), rows)
    begun = _read_targets(table)
    return {film_id: FilmMask(film_id, status, mask=path) for film_id, (status, path) in begun.items()}


def _read_targets(table: Path) -> dict[str, tuple[Status, str]]:
    rows = read_rows(table, ("id", "mask", "status"))
    kinds = {status.value: status for status in _MASKS_OF_A_ROUND}
    for row in rows:
        if row.cells["status"] not in kinds:
            raise row.bad_value("status", f"must be one of {', '.join(kinds)}")
    return {row.text("id"): (kinds[row.cells["status"]], row.text("mask").removeprefix("../")) for row in rows}


def _round_changes(folder: Path, number: int) -> tuple[str, ...]:
    """What a round changes in the recipe."""
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
    folder: Path, run: Path, held_out: Sequence[FilmMask], films: Mapping[str, LabelledFilm]
) -> list[tuple[str, float, float]]:
    """Id, IoU and boundary error of each held-out outline, also written to the run's ``held_out.csv``."""
    cache = film_cache(folder, list(films.values()))
    recipe, net = _load_net(run)
    outlines = {mask.id: load_mask(folder / mask.mask) for mask in held_out}
    measured = []
    for predicted in _predictions(net, recipe, [films[film_id] for film_id in outlines], cache):
        outline = outlines[predicted.id]
        mask = predicted.mask(outline.shape)
        measured.append(
            (predicted.id, intersection_over_union(mask, outline), outline_distance(mask, outline) / max(mask.shape))
        )
    if not measured:
        raise TableError("table_empty", "None of the films with a held-out outline can be read.")
    write_rows(run / "held_out.csv", ("id", "iou", "boundary"), measured)
    return measured


def _load_net(run: Path) -> tuple[Recipe, nn.Module]:
    recipe, net, *_ = load_hand_run(run, "last")
    return recipe, net


@dataclass(frozen=True, eq=False)
class _Prediction:
    """A net's answers for one film.

    Attributes:
        id: of the film.
        film_shape: its rows and columns, pixels.
        spec: the net's view.
        probabilities: float32 (k, h, w) on the view: of the film, then of its changed copies, brought back.
    """

    id: str
    film_shape: tuple[int, int]
    spec: ViewSpec
    probabilities: NDArray[np.float32]

    def mask(self, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """The film's mask of this shape, 0 and 1: its largest component, holes filled (section 2).

        Between the view's pixels logits are interpolated. Of probabilities, which rise from 0 to 1 within a pixel, a
        threshold other than 0.5 would move every border, and each round would add to that.
        """
        rows, columns = self.film_shape
        to_mask = view_transform(self.film_shape, self.spec).inverse()
        to_mask = to_mask.then(Transform.scale(shape[1] / columns, shape[0] / rows))
        certain = np.clip(self.probabilities[0], _LEAST, 1 - _LEAST)
        logits = sample(np.log(certain / (1 - certain)), to_mask, *shape, fill=math.log(_LEAST))
        return whole_hand(1 / (1 + np.exp(-logits)))

    def doubt(self) -> float:
        """1 - IoU between the film's mask and that of the copy which differs most, 0..1; 1 if there is no hand."""
        first, *others = map(whole_hand, self.probabilities)
        if not first.any():
            return 1.0
        return max(1.0 - intersection_over_union(first, other) for other in others)


class Copies(nn.Module):
    """A mask net on a view and on changed copies of it, each answer brought back and set under the one before.

    The copies are the mirror image and the view turned by 90 degrees (by 180 if it is no square).

    Args:
        net: views (N, 1, h, w) to logits (N, 1, h, w).
        others: further nets, which see the unchanged view.
    """

    def __init__(self, net: nn.Module, others: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.net, self.others = net, nn.ModuleList(others)
        self.count = 3 + len(others)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast on CPUs

    def forward(self, view: Tensor) -> Tensor:
        """View (N, 1, h, w) to logits (N, 1, count * h, w)."""
        quarters = 1 if view.shape[-2] == view.shape[-1] else 2
        mirrored = self.net(view.flip(-1)).flip(-1)
        turned = torch.rot90(self.net(torch.rot90(view, quarters, (-2, -1))), -quarters, (-2, -1))
        others = [other(view).float() for other in self.others]
        return torch.cat([self.net(view).float(), mirrored.float(), turned.float(), *others], dim=-2)


def _predictions(
    net: nn.Module, recipe: Recipe, films: Iterable[LabelledFilm], cache: FilmCache
) -> Iterator[_Prediction]:
    """The net's answers for these films, in order. Films that cannot be read, or show one even grey, are left out."""
    waiting: deque[tuple[str, tuple[int, int]]] = deque()

    def pixels() -> Iterator[NDArray[np.float32]]:
        for film in films:
            if film.id not in cache:
                continue
            of_film = cache.pixels(film.id)
            try:
                measure_grey(of_film, recipe.view.grey)
            except Refusal as refusal:
                log.warning("the film %s is left out: %s", film.id, refusal)
                continue
            waiting.append((film.id, (of_film.shape[0], of_film.shape[1])))
            yield of_film

    half = recipe.train.precision == "bf16-mixed"
    for answer in predict_masks(net, pixels(), recipe.view, batch_size=_PREDICTED_AT_ONCE, half_precision=half):
        film_id, shape = waiting.popleft()
        yield _Prediction(film_id, shape, recipe.view, answer.reshape(-1, recipe.view.height, recipe.view.width))


def predict_round(
    folder: Path,
    count: int = 0,
    order: Order = "random",
    *,
    against: int | None = None,
    progress: Progress | None = None,
    decoding: Progress | None = None,
) -> list[str]:
    """Predict masks with the latest round's net, to be decided on.

    Films can be predicted that nobody has accepted a mask of and that this round has not predicted yet.

    Args:
        folder: of the mining.
        count: how many films of this round are to have masks in the end, those included that have them by now, so
            that a command that was killed can be given again; 0 for all.
        order: which films: ``random``, or ``doubt``, those whose earlier mask was the most doubtful, then any.
        against: another round whose net is also compared with; its view must be the same.
        progress: wraps the films that are predicted.
        decoding: wraps the films that are decoded, where that was not done before.

    Returns:
        The films that were predicted now, by id.

    Raises:
        RecipeError: ``recipe_invalid`` if no round was trained, or that to compare with does not go with it.
        TableError: as `boneage.train.mining.state.read_masks`, `boneage.tables.radiographs.read_films` and
            `film_cache`.
    """
    settings = read_settings(folder)
    films, masks = settings.read_films(), read_masks(folder)
    _same_films(folder, masks, films)
    rounds = read_rounds(folder)
    if not rounds:
        raise RecipeError("recipe_invalid", f"{folder} has no trained round; run mine train.")
    number = len(rounds)
    recipe, net = _load_net(round_folder(folder, number))
    copies = Copies(net, [] if against is None else [_net_to_compare(folder, against, recipe)])
    chosen = choose_films(masks, number, count, order, seed=settings.seed)
    cache = film_cache(folder, list(films.values()), decoding)
    wanted: Iterable[LabelledFilm] = [films[film_id] for film_id in chosen]
    predictions = _predictions(copies, recipe, progress(wanted) if progress else wanted, cache)
    done: list[str] = []
    while part := list(islice(predictions, _WRITTEN_AT_ONCE)):
        done += _keep(folder, number, part)
    return done


def _keep(folder: Path, number: int, predictions: Sequence[_Prediction]) -> list[str]:
    """Write masks, then the table. Returns the films' ids."""
    drawn: dict[str, tuple[float, str]] = {}
    for prediction in predictions:
        path = mask_path(f"round-{number}", prediction.id)
        write_mask(folder / path, prediction.mask(mask_shape(prediction.film_shape)))
        drawn[prediction.id] = (prediction.doubt(), path)
    with changing(folder) as masks:
        for film_id, (doubt, path) in drawn.items():
            masks[film_id] = masks[film_id].predicted(number, doubt, path)
    return list(drawn)


def _net_to_compare(folder: Path, number: int, recipe: Recipe) -> nn.Module:
    other_recipe, net = _load_net(round_folder(folder, number))
    if other_recipe.view != recipe.view:
        raise RecipeError("recipe_invalid", f"Round {number} has another view than the latest: they cannot compare.")
    return net


def choose_films(masks: Mapping[str, FilmMask], number: int, count: int, order: Order, *, seed: int) -> list[str]:
    """Which films a round predicts next; see `predict_round`."""
    open_to = {Status.UNSEEN, Status.PENDING, Status.DISCARDED}
    candidates = [mask for mask in masks.values() if mask.status in open_to and mask.round != number]
    drawn = np.random.default_rng((seed, number)).permutation(len(candidates))
    chosen = [candidates[place] for place in drawn]
    if order == "doubt":
        chosen.sort(key=lambda mask: -1.0 if mask.doubt is None else mask.doubt, reverse=True)
    predicted = sum(mask.round == number for mask in masks.values())
    return [mask.id for mask in (chosen[: max(0, count - predicted)] if count else chosen)]


def _same_films(folder: Path, masks: Mapping[str, FilmMask], films: Mapping[str, LabelledFilm]) -> None:
    missing = [film_id for film_id in masks if film_id not in films]
    if missing:
        raise TableError(
            "table_value",
            f"{folder}: the table of films no longer has {len(missing)} of the mining's films, {missing[0]!r} first.",
        )
