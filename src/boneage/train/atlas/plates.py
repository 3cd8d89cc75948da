"""The open atlas: for each sex and age of Greulich and Pyle's plates the mean of registered hands near that age.

Which radiographs a plate is made of follows from their labels, the pixels of the hand and a seed. Their weights, which
also say how well each hand agrees with the mean, are tilted so that the weighted mean of the labels is the plate's age.
A plate that cannot be made by these rules is left out, and the atlas says why.
"""

from __future__ import annotations

import json
import math
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.atlas import Atlas
from boneage.atlas_index import ABOUT_NAME, INDEX_NAME, Plate
from boneage.errors import AtlasError
from boneage.files import write_text
from boneage.geometry import downsample_area
from boneage.hand.mask import components, filled
from boneage.hand.registration import Hand
from boneage.hand.views import measure_grey
from boneage.sex import Sex
from boneage.tables.csv_table import write_rows
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.atlas.mean_hand import (
    PLATE_BOX,
    PLATE_HEIGHT,
    PLATE_WIDTH,
    MeanHand,
    RegisteredRadiograph,
    mean_hand,
)
from boneage.train.data.cache import RadiographCache
from boneage.train.data.hands import HandTable

FEWEST_RADIOGRAPHS = 20
"""No plate averages fewer, by number and in effect (1 / sum of squared weights)."""

LARGEST_CORRELATION = 0.98
"""No training radiograph may be as near to a plate as this (`radiograph_correlations`)."""

AGE_TOLERANCE_MONTHS = 0.5

PLATE_MONTHS: Mapping[Sex, tuple[int, ...]] = MappingProxyType(
    {
        Sex.FEMALE: (0, 3, 6, 9, 12, 15, 18, 24, 30, 36, 42, 50, 60, 69, 82, 94, 106, 120, 132, 144, 156, 162, 168,
                     180, 192, 204, 216),
        Sex.MALE: (0, 3, 6, 9, 12, 15, 18, 24, 32, 36, 42, 48, 54, 60, 72, 84, 96, 108, 120, 132, 138, 150, 156, 162,
                   168, 180, 186, 192, 204, 216, 228),
    }
)  # fmt: skip
"""Ages of the standards of W. W. Greulich and S. I. Pyle, *Radiographic Atlas of Skeletal Development of the Hand and
Wrist*, 2nd edition, Stanford 1959, months; one transcription, of the list in dfnr2/bone-age-app (e871c54). The
labels of the RSNA challenge crowd at these ages."""

_CANDIDATES = 48
"""Radiographs that a mean begins with, if there are as many."""

_WIDEST_WINDOW_MONTHS = 12.0
_YOUNGEST_WINDOW_MONTHS = 7.0
"""Radiographs lie within 7 months and a twelfth of the plate's age of it, at most 12: development is fastest at
first."""

_SHARP_PIXELS = 300.0
_BLUNT_MONTHS = 3.0
"""A hand with fewer pixels from capitate to fingertip stands behind sharper ones, as if its label lay 3 months farther
away."""

_NEAR_MONTHS = 1.0
"""Labels this near count as the plate's age when radiographs are chosen; of the others as many younger as older
ones."""

_LEAST_WEIGHT_SHARE = 0.05
"""Of the largest weight: a radiograph with less does not count as one that a plate averages."""

_SHARPENING, _SHARPENING_PIXELS = 0.6, 1.5
_BRIGHTEST_LEVEL = 245
_HAND_LEVEL = 8
"""A plate's pixel that is brighter, of 255, lies in the hand."""

_QUALITY = 95
_CHECKED_FACTOR = 2
"""Radiographs are compared with plates that are so many times smaller, at about the radiographs' own resolution."""

_RADIOGRAPHS_AT_ONCE = 200

INDEX_COLUMNS = (
    "sex", "age_months", "file", "count", "effective_count", "mean_age_months", "youngest_months", "oldest_months",
    "highest_correlation",
)  # fmt: skip

LICENCE = (
    "Averages of radiographs of the RSNA 2017 Pediatric Bone Age Challenge: research and non-commercial use with"
    " attribution (Halabi et al., Radiology 2019;290:498-503)."
)


class Progress(Protocol):
    """Wraps results as they come, as tqdm does."""

    def __call__(self, results: Iterable[Any], /, *, total: int) -> Iterable[Any]:
        """Args: what comes, and how many there will be."""


def _silent(results: Iterable[Any], /, *, total: int) -> Iterable[Any]:
    return results


@dataclass(frozen=True)
class MadePlate:
    """A plate, or why there is none.

    Attributes:
        sex, age_months: that it stands for.
        left_out: why there is none; empty for a plate.
        picture: uint8 (PLATE_HEIGHT, PLATE_WIDTH).
        count: radiographs that it averages.
        effective_count: 1 / sum of squared weights.
        mean_age_months: weighted mean of the labels.
        ages_months: lowest and highest label.
        highest_correlation: with any training radiograph of the sex; -1 while unknown.
    """

    sex: Sex
    age_months: int
    left_out: str = ""
    picture: NDArray[np.uint8] | None = None
    count: int = 0
    effective_count: float = 0.0
    mean_age_months: float = math.nan
    ages_months: tuple[float, float] = (math.nan, math.nan)
    highest_correlation: float = -1.0

    @property
    def plate(self) -> Plate:
        """As the atlas lists it."""
        bare = Plate(self.sex, self.age_months, "", self.count)
        return Plate(self.sex, self.age_months, f"{bare.key}.webp", self.count)


# --- which radiographs, and how much each counts ---


def window_months(age_months: float) -> float:
    """How far from a plate's age the label of a radiograph of it may lie."""
    return min(_WIDEST_WINDOW_MONTHS, _YOUNGEST_WINDOW_MONTHS + age_months / 12)


def choose_radiographs(
    radiographs: Sequence[LabelledRadiograph], hands: HandTable, sex: Sex, age_months: float, seed: int = 0
) -> list[LabelledRadiograph]:
    """The radiographs that a plate's mean begins with: near in age, sharp ones first, as many younger as older ones.

    Args:
        radiographs: of the training split; those without a hand are passed over.
        hands: of them.
        sex: of the plate.
        age_months: of the plate.
        seed: decides between radiographs that are as good.
    """
    window = window_months(age_months)
    near = [f for f in radiographs if f.sex is sex and f.id in hands and abs(f.boneage_months - age_months) <= window]
    order = np.random.default_rng((seed, int(age_months))).permutation(len(near))
    ranked = sorted((near[place] for place in order), key=partial(_rank, hands=hands, age_months=age_months))
    sides: dict[int, list[LabelledRadiograph]] = {-1: [], 0: [], 1: []}
    for radiograph in ranked:
        off = radiograph.boneage_months - age_months
        sides[0 if abs(off) <= _NEAR_MONTHS else int(math.copysign(1, off))].append(radiograph)
    chosen = sides[0][:_CANDIDATES]
    for pair in zip(sides[-1], sides[1], strict=False):
        if len(chosen) + 2 <= _CANDIDATES:
            chosen += pair
    spare = [radiograph for radiograph in ranked if radiograph not in chosen]
    return chosen + spare[: max(2 * FEWEST_RADIOGRAPHS - len(chosen), 0)]


def _rank(radiograph: LabelledRadiograph, hands: HandTable, age_months: float) -> float:
    blunt = hands.hand(radiograph.id).length_pixels < _SHARP_PIXELS
    return round(abs(radiograph.boneage_months - age_months) / _BLUNT_MONTHS) + float(blunt)


def age_weights(
    ages_months: NDArray[np.float64], trust: NDArray[np.float64], age_months: float
) -> NDArray[np.float64] | None:
    """Weights, of sum 1, with which the mean label is the plate's age: trust times a bell about that age, tilted.

    Args:
        ages_months: (N,) labels.
        trust: (N,) at least 0.
        age_months: of the plate.

    Returns:
        (N,); None if that mean cannot be reached within half a month.
    """
    off = ages_months - age_months
    counting = trust > 0
    if not counting.any():
        return None
    reach = float(np.abs(off[counting]).max())
    base = trust * np.exp(-0.5 * (off / (reach / 1.5 + 1.0)) ** 2)

    def tilted(slope: float) -> NDArray[np.float64]:
        weights = base * np.exp(np.clip(slope * off, -50, 50))
        return np.asarray(weights / weights.sum())

    low, high = -20.0 / max(reach, 1e-6), 20.0 / max(reach, 1e-6)
    if not tilted(low) @ off < 0 < tilted(high) @ off:
        # All lie on one side: no tilt helps, nor is one needed where they are as near as makes no difference.
        plain = tilted(0.0)
        return plain if abs(plain @ off) <= AGE_TOLERANCE_MONTHS else None
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if tilted(middle) @ off < 0 else (low, middle)
    return tilted((low + high) / 2)


def trust_in(agreement: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much hands count that agree so well (N,): the worst fifth not at all, of fewer than 40 a twentieth."""
    count = len(agreement)
    dropped = 20 if count >= 40 else 5 if count >= 25 else 0
    low, high = np.percentile(agreement, [dropped, 2 * dropped + 10])
    trust = np.clip((agreement - low) / max(high - low, 1e-9), 0, 1)
    return np.asarray(trust if dropped else np.maximum(trust, 0.5), np.float64)


def effective_count(weights: NDArray[np.float64]) -> float:
    """Of how many equally weighted radiographs a mean with these weights, of sum 1, has the variance."""
    return float(1 / (weights**2).sum())


# --- one plate ---


def make_plate(
    radiographs: Sequence[LabelledRadiograph], cache: RadiographCache, hands: HandTable, sex: Sex, age_months: int
) -> MadePlate:
    """Make one plate.

    Args:
        radiographs: that `choose_radiographs` chose.
        cache: of their pixels.
        hands: of them.
        sex: of the plate.
        age_months: of the plate.
    """
    if len(radiographs) < FEWEST_RADIOGRAPHS:
        return MadePlate(
            sex, age_months, left_out=f"only {len(radiographs)} radiographs within {window_months(age_months):g} months"
        )
    ages = np.array([radiograph.boneage_months for radiograph in radiographs])
    at_most = age_weights(ages, np.ones(len(ages)), age_months)
    if at_most is None or effective_count(at_most) < FEWEST_RADIOGRAPHS:
        return MadePlate(
            sex,
            age_months,
            left_out=f"too few of the {len(radiographs)} radiographs within reach lie on one side of its age",
        )

    def weigh(agreement: NDArray[np.float64]) -> NDArray[np.float64]:
        trust = trust_in(agreement) if agreement.any() else np.ones(len(ages))
        weights = age_weights(ages, trust, age_months)
        return trust / trust.sum() if weights is None else weights

    mean = mean_hand([_registered(radiograph, cache, hands) for radiograph in radiographs], weigh)
    weights = mean.weights
    counted = weights >= _LEAST_WEIGHT_SHARE * weights.max()
    count, effective, age = int(counted.sum()), effective_count(weights), float(weights @ ages)
    if abs(age - age_months) > AGE_TOLERANCE_MONTHS:
        return MadePlate(sex, age_months, left_out=f"the mean age of the radiographs within reach is {age:.1f} months")
    if min(count, effective) < FEWEST_RADIOGRAPHS:
        return MadePlate(sex, age_months, left_out=f"it would average {count} radiographs, in effect {effective:.1f}")
    return MadePlate(
        sex,
        age_months,
        picture=plate_picture(mean),
        count=count,
        effective_count=effective,
        mean_age_months=age,
        ages_months=(float(ages[counted].min()), float(ages[counted].max())),
    )


def plate_picture(mean: MeanHand) -> NDArray[np.uint8]:
    """A mean as a picture, uint8: a little sharpened, and scaled so that all but the brightest thousandth is shown."""
    blurred = cv2.GaussianBlur(mean.grey, (0, 0), _SHARPENING_PIXELS)
    sharp = np.maximum(mean.grey + _SHARPENING * (mean.grey - blurred), 0)
    brightest = float(np.percentile(sharp[mean.inside > 0.5], 99.9))
    return np.clip(np.rint(sharp / brightest * _BRIGHTEST_LEVEL), 0, 255).astype(np.uint8)


def _registered(radiograph: LabelledRadiograph, cache: RadiographCache, hands: HandTable) -> RegisteredRadiograph:
    pixels, hand = cache.pixels(radiograph.id), hands.hand(radiograph.id)
    return RegisteredRadiograph(pixels, hand, cache.grey(radiograph.id, "hand", hand))


# --- how near a plate comes to any radiograph ---


def radiograph_correlations(
    pictures: Sequence[NDArray[np.uint8]], pixels: NDArray[np.float32], hand: Hand
) -> NDArray[np.float64]:
    """Correlation of a radiograph's registered view with plates, over the pixels of each plate's hand.

    The radiograph is registered by its key points, as plates are, and not bent; what lies outside its own hand's mask,
    or off the radiograph, is black. Both are taken at half of the plates' size.

    Args:
        pictures: of plates, uint8 (PLATE_HEIGHT, PLATE_WIDTH) each.
        pixels: the radiograph, float32 (H, W), 0..1.
        hand: on it.

    Returns:
        (number of plates,), -1..1.
    """
    return _Plates.of(pictures).correlations(pixels, hand)


@dataclass(frozen=True)
class _Plates:
    """Plates to compare radiographs with: `inside` 1 on each plate's hand, else 0; `unit` its grey levels there, with
    mean 0 and length 1, 0 elsewhere. Float32 (plates, pixels) each.
    """

    inside: NDArray[np.float32]
    unit: NDArray[np.float32]

    @classmethod
    def of(cls, pictures: Sequence[NDArray[np.uint8]]) -> _Plates:
        inside, units = [], []
        for picture in pictures:
            small = downsample_area(picture.astype(np.float32), 1 / _CHECKED_FACTOR)
            bright = components(small > _HAND_LEVEL)
            mask = (filled(bright[0]) if len(bright) else np.zeros(small.shape, np.uint8)).ravel() > 0
            unit = np.where(mask, small.ravel() - (small.ravel()[mask].mean() if mask.any() else 0), 0)
            inside.append(mask.astype(np.float32))
            units.append(unit / max(float(np.linalg.norm(unit)), 1e-6))
        return cls(np.stack(inside), np.stack(units).astype(np.float32))

    def correlations(self, pixels: NDArray[np.float32], hand: Hand) -> NDArray[np.float64]:
        """As `radiograph_correlations`."""
        radiograph = RegisteredRadiograph(pixels, hand, measure_grey(pixels, "hand", hand))
        still = np.zeros((PLATE_HEIGHT // _CHECKED_FACTOR, PLATE_WIDTH // _CHECKED_FACTOR, 2), np.float32)
        view = radiograph.on_plate(still, _CHECKED_FACTOR)[0].ravel()
        view = view - view.mean()
        count = np.maximum(self.inside.sum(axis=1), 1)
        squares = self.inside @ view**2 - (self.inside @ view) ** 2 / count
        return np.asarray(self.unit @ view / np.sqrt(np.maximum(squares, 1e-6)), np.float64)


# --- the whole atlas ---


@dataclass(frozen=True)
class _Source:
    """What each process holds: set once in it."""

    cache: RadiographCache
    hands: HandTable


_source: _Source | None = None


def _begin(cache: RadiographCache, hands: HandTable) -> None:
    global _source  # noqa: PLW0603 - of a process of its own
    cv2.setNumThreads(1)  # processes share the cores
    _source = _Source(cache, hands)


def _make(order: tuple[Sex, int, Sequence[LabelledRadiograph]]) -> MadePlate:
    assert _source is not None  # noqa: S101 - `_begin` came first
    sex, age_months, radiographs = order
    return make_plate(radiographs, _source.cache, _source.hands, sex, age_months)


def _compare(order: tuple[Sequence[NDArray[np.uint8]], Sequence[LabelledRadiograph]]) -> NDArray[np.float64]:
    """Of some radiographs the highest correlation with each plate."""
    assert _source is not None  # noqa: S101 - as above
    pictures, radiographs = order
    plates, cache, hands = _Plates.of(pictures), _source.cache, _source.hands
    found = [plates.correlations(cache.pixels(radiograph.id), hands.hand(radiograph.id)) for radiograph in radiographs]
    return np.asarray(np.max(found, axis=0))


def make_atlas(
    radiographs: Sequence[LabelledRadiograph],
    cache: RadiographCache,
    hands: HandTable,
    out: Path,
    *,
    name: str = "open",
    seed: int = 0,
    processes: int = 2,
    ages_months: Mapping[Sex, Sequence[int]] = PLATE_MONTHS,
    progress: Progress = _silent,
) -> list[MadePlate]:
    """Make an atlas, in the place of one that is there.

    Args:
        radiographs: of the training split only.
        cache: of their pixels.
        hands: of them.
        out: its folder, written beside and renamed when whole.
        name: of the atlas.
        seed: decides between radiographs that are as good for a plate.
        processes: at once.
        ages_months: of the plates to make.
        progress: of the plates, and then of the comparison of every radiograph with them.

    Returns:
        All plates, also those left out.

    Raises:
        AtlasError: ``atlas_invalid`` if no plate can be made.
    """
    orders = [
        (sex, age, choose_radiographs(radiographs, hands, sex, age, seed))
        for sex, ages in ages_months.items()
        for age in ages
    ]
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (cache, hands)) as pool:
        made = list(progress(pool.map(_make, orders), total=len(orders)))
        compared = list(_compared(pool, made, radiographs, hands, progress))
    whole = [one for one in compared if not one.left_out]
    if not whole:
        raise AtlasError(
            "atlas_invalid", f"None of the {len(made)} plates can be made of {len(radiographs)} radiographs."
        )
    _write(compared, out, _about(name, compared, len(radiographs), seed))
    return compared


def _compared(
    pool: ProcessPoolExecutor,
    made: Sequence[MadePlate],
    radiographs: Sequence[LabelledRadiograph],
    hands: HandTable,
    progress: Progress,
) -> Iterator[MadePlate]:
    """The plates with their highest correlation with any radiograph of the sex; those too near to one left out."""
    orders = []
    for sex in Sex:
        pictures = [stored_as(one.picture) for one in made if one.sex is sex and one.picture is not None]
        own = [radiograph for radiograph in radiographs if radiograph.sex is sex and radiograph.id in hands]
        if pictures:
            orders += [
                (sex, (pictures, own[at : at + _RADIOGRAPHS_AT_ONCE]))
                for at in range(0, len(own), _RADIOGRAPHS_AT_ONCE)
            ]
    highest: dict[Sex, NDArray[np.float64]] = {}
    results = progress(pool.map(_compare, [order for _, order in orders]), total=len(orders))
    for (sex, _), found in zip(orders, results, strict=True):
        highest[sex] = np.maximum(highest.get(sex, found), found)
    for sex in Sex:
        values = iter(highest.get(sex, ()))
        for one in made:
            if one.sex is sex:
                yield one if one.picture is None else _with_correlation(one, float(next(values)))


def _with_correlation(one: MadePlate, highest: float) -> MadePlate:
    if highest >= LARGEST_CORRELATION:
        return MadePlate(one.sex, one.age_months, left_out=f"a radiograph correlates with it by {highest:.3f}")
    return MadePlate(**{**vars(one), "highest_correlation": highest})


def stored_as(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture as it comes back from its file."""
    return np.asarray(cv2.imdecode(np.frombuffer(_coded(picture), np.uint8), cv2.IMREAD_GRAYSCALE), np.uint8)


def _coded(picture: NDArray[np.uint8]) -> bytes:
    _, coded = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return coded.tobytes()


def _about(name: str, made: Sequence[MadePlate], radiographs: int, seed: int) -> dict[str, Any]:
    return {
        "format": 1,
        "name": name,
        "title": "Open atlas: averages of registered hands",
        "made": (
            f"Each plate is the weighted mean of at least {FEWEST_RADIOGRAPHS} radiographs of one sex near its "
            f"age, by the"
            " readers' labels, each registered by three key points and bent smoothly onto the mean by optical flow;"
            " weights are such that the mean label is the plate's age. Its shape is the mean shape. Grey levels are"
            f" those within the hand, a little sharpened (unsharp mask, {_SHARPENING:g} at {_SHARPENING_PIXELS:g} px)."
            " No patient is shown. Not the plates of Greulich and Pyle."
        ),
        "licence": LICENCE,
        "created": datetime.now(UTC).date().isoformat(),
        "radiographs": radiographs,
        "seed": seed,
        "frame_box": list(PLATE_BOX),
        "left_out": {one.plate.key: one.left_out for one in made if one.left_out},
    }


def _write(made: Sequence[MadePlate], out: Path, about: Mapping[str, Any]) -> None:
    temporary = out.with_name(f".{out.name}-{secrets.token_hex(4)}")
    temporary.mkdir(parents=True)
    try:
        rows = []
        for one in made:
            if one.picture is not None:
                (temporary / one.plate.file).write_bytes(_coded(one.picture))
                rows.append(_row(one))
        write_rows(temporary / INDEX_NAME, INDEX_COLUMNS, rows)
        write_text(temporary / ABOUT_NAME, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        Atlas.open(temporary)  # that it can be read
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _row(one: MadePlate) -> tuple[object, ...]:
    return (
        one.sex.value,
        one.age_months,
        one.plate.file,
        one.count,
        round(one.effective_count, 1),
        round(one.mean_age_months, 2),
        round(one.ages_months[0], 1),
        round(one.ages_months[1], 1),
        round(one.highest_correlation, 4),
    )
