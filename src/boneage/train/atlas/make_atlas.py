"""Production of the open atlas: for each sex and age of Greulich and Pyle's plates, the mean of registered hands.

The radiographs of a plate follow from their labels, the pixels of the hand and a seed. Their weights also depend on how
well each hand agrees with the mean, and are tilted so that the weighted mean of the labels is the plate's age. A plate
that cannot be made by these rules is left out, and the atlas states the reason.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.atlas import Atlas
from boneage.atlas_index import ABOUT_NAME, INDEX_NAME
from boneage.errors import AtlasError
from boneage.files import write_text
from boneage.sex import Sex
from boneage.tables.csv_table import write_rows
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.atlas.correlation import PlateStack
from boneage.train.atlas.mean_hand import (
    PLATE_BOX,
)
from boneage.train.atlas.plates import SHARPENING, SHARPENING_PIXELS, MadePlate, encoded, make_plate, stored_as
from boneage.train.atlas.selection import FEWEST_RADIOGRAPHS, choose_radiographs
from boneage.train.data.cache import RadiographCache
from boneage.train.data.hands import HandTable

LARGEST_CORRELATION = 0.98
"""Correlation of a training radiograph with a plate from which on the plate is left out (`radiograph_correlations`)."""

PLATE_MONTHS: Mapping[Sex, tuple[int, ...]] = MappingProxyType(
    {
        Sex.FEMALE: (
            *(0, 3, 6, 9, 12, 15, 18, 24, 30, 36, 42, 50, 60, 69, 82, 94, 106, 120, 132, 144, 156, 162, 168, 180, 192),
            *(204, 216),
        ),
        Sex.MALE: (
            *(0, 3, 6, 9, 12, 15, 18, 24, 32, 36, 42, 48, 54, 60, 72, 84, 96, 108, 120, 132, 138, 150, 156, 162, 168),
            *(180, 186, 192, 204, 216, 228),
        ),
    }
)
"""Ages of the standards of Greulich and Pyle, months, for which the labels of the RSNA challenge are frequent.

Source: W. W. Greulich and S. I. Pyle, *Radiographic Atlas of Skeletal Development of the Hand and Wrist*, 2nd edition,
Stanford 1959; one transcription, of the list in dfnr2/bone-age-app (e871c54).
"""

_RADIOGRAPHS_AT_ONCE = 200

INDEX_COLUMNS = (
    *("sex", "age_months", "file", "count", "effective_count", "mean_age_months", "youngest_months", "oldest_months"),
    "highest_correlation",
)

LICENCE = (
    "Averages of radiographs of the RSNA 2017 Pediatric Bone Age Challenge: research and non-commercial use with"
    " attribution (Halabi et al., Radiology 2019;290:498-503)."
)


class Progress(Protocol):
    """Wrapper of results as they arrive, like tqdm."""

    def __call__(self, results: Iterable[Any], /, *, total: int) -> Iterable[Any]:
        """Wrap the results.

        Args:
            results: results as they arrive.
            total: their number.
        """


def _silent(results: Iterable[Any], /, *, total: int) -> Iterable[Any]:
    return results


@dataclass(frozen=True)
class _Source:
    """Data of each process, set once in it."""

    cache: RadiographCache
    hands: HandTable


_source: _Source | None = None


def _set_source(cache: RadiographCache, hands: HandTable) -> None:
    global _source  # noqa: PLW0603 - each process has its own
    cv2.setNumThreads(1)  # processes share the cores
    _source = _Source(cache, hands)


def _make(order: tuple[Sex, int, Sequence[LabelledRadiograph]]) -> MadePlate:
    assert _source is not None  # noqa: S101 - `_set_source` came first
    sex, age_months, radiographs = order
    return make_plate(radiographs, _source.cache, _source.hands, sex, age_months)


def _compare(order: tuple[Sequence[NDArray[np.uint8]], Sequence[LabelledRadiograph]]) -> NDArray[np.float64]:
    """Return the highest correlation of some radiographs with each plate."""
    assert _source is not None  # noqa: S101 - as above
    pictures, radiographs = order
    plates, cache, hands = PlateStack.of(pictures), _source.cache, _source.hands
    values = [plates.correlations(cache.pixels(radiograph.id), hands.hand(radiograph.id)) for radiograph in radiographs]
    return np.asarray(np.max(values, axis=0))


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
    """Make an atlas, which replaces an existing one.

    Args:
        radiographs: radiographs of the training split only.
        cache: decoded radiographs.
        hands: hands on them.
        out: folder of the atlas, written beside it and renamed when complete.
        name: name of the atlas.
        seed: seed that decides between equally suitable radiographs of a plate.
        processes: number of processes.
        ages_months: ages of the plates to make.
        progress: wraps the plates, and then the comparison of every radiograph with them.

    Returns:
        All plates, including those left out.

    Raises:
        AtlasError: ``atlas_invalid`` if no plate can be made.
    """
    orders = [
        (sex, age, choose_radiographs(radiographs, hands, sex, age, seed))
        for sex, ages in ages_months.items()
        for age in ages
    ]
    with ProcessPoolExecutor(processes, get_context("spawn"), _set_source, (cache, hands)) as pool:
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
    """Yield the plates with their highest correlation with any radiograph of the sex; similar ones are left out."""
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
    for (sex, _), values in zip(orders, results, strict=True):
        highest[sex] = np.maximum(highest.get(sex, values), values)
    for sex in Sex:
        of_sex = iter(highest.get(sex, ()))
        for one in made:
            if one.sex is sex:
                yield one if one.picture is None else _with_correlation(one, float(next(of_sex)))


def _with_correlation(one: MadePlate, highest: float) -> MadePlate:
    if highest >= LARGEST_CORRELATION:
        return MadePlate(one.sex, one.age_months, left_out=f"a radiograph correlates with it by {highest:.3f}")
    return MadePlate(**{**vars(one), "highest_correlation": highest})


def _about(name: str, made: Sequence[MadePlate], radiographs: int, seed: int) -> dict[str, Any]:
    return {
        "format": 1,
        "name": name,
        "title": "Open atlas: averages of registered hands",
        "made": (
            f"Each plate is the weighted mean of at least {FEWEST_RADIOGRAPHS} radiographs of one sex near its"
            " age, by the readers' labels, each registered by three key points and bent smoothly onto the mean"
            " by optical flow; weights are such that the mean label is the plate's age. Its shape is the mean"
            f" shape. Grey levels are those within the hand, a little sharpened (unsharp mask, {SHARPENING:g}"
            f" at {SHARPENING_PIXELS:g} px). No patient is shown. Not the plates of Greulich and Pyle."
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
                (temporary / one.plate.file).write_bytes(encoded(one.picture))
                rows.append(_row(one))
        write_rows(temporary / INDEX_NAME, INDEX_COLUMNS, rows)
        write_text(temporary / ABOUT_NAME, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        Atlas.open(temporary)  # checks that it can be read
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
