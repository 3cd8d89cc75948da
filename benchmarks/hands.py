"""Accuracy of a bundle's hands: key points, masks, rejections and time on annotated held-out radiographs.

    python benchmarks/hands.py --bundle hand --radiographs radiographs.csv --points key_points_3.csv \
        --run runs/hand-refine --masks runs/mining/masks.csv --sheets out/hands

With ``--run``, the errors of the run's own network are printed beside those of the bundle, on the same radiographs.
The option ``--sheets`` also writes contact sheets of registered hands for visual inspection, of random radiographs and
of those with the most uncertain points. They show patients and must not be published.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.errors import Rejection
from boneage.geometry import Transform, sample
from boneage.hand.registration import BOXES, FRAME_HEIGHT, FRAME_WIDTH, POINT_NAMES, Hand, hand_length
from boneage.hand.views import ViewSpec, cut_view, mask_through, measure_grey, view_transform
from boneage.reading.radiograph import read_radiograph
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.annotations import load_mask, read_key_points
from boneage.train.run.curve import read_history
from boneage.train.run.hand_tasks import intersection_over_union, outline_distance

TILE = ViewSpec("A", 200, 150, "hand")


@dataclass(frozen=True)
class HandResult:
    """Radiograph with its pixels and its hand or rejection."""

    radiograph: LabelledRadiograph
    pixels: NDArray[np.float32]
    hand: Hand | Rejection
    seconds: float


def find_all(radiographs: Sequence[LabelledRadiograph], bundle: Bundle) -> Iterator[HandResult]:
    """Find the hands of radiographs, one after the other."""
    for radiograph in radiographs:
        pixels = read_radiograph(radiograph.image).pixels
        began = time.perf_counter()
        try:
            hand: Hand | Rejection = bundle.find_hand(pixels)
        except Rejection as rejection:
            hand = rejection
        yield HandResult(radiograph, pixels, hand, time.perf_counter() - began)


def report(title: str, results: Sequence[HandResult]) -> None:
    """Print rejections and time."""
    rejected = Counter(one.hand.code for one in results if isinstance(one.hand, Rejection))
    wall = statistics.median(one.seconds for one in results)
    print(
        f"\n{title}: {len(results)} radiographs, rejected {sum(rejected.values())} {dict(rejected)}, median "
        f"{1e3 * wall:.0f} ms"
    )


def measure_points(results: Sequence[HandResult], points: dict[str, NDArray[np.float64]]) -> None:
    """Print errors of key points as shares of the hand's length (capitate to tip of the middle finger)."""
    errors = []
    for one in results:
        if isinstance(one.hand, Hand):
            truth = points[one.radiograph.id] * (one.pixels.shape[1], one.pixels.shape[0])
            errors.append(np.linalg.norm(one.hand.points_xy - truth, axis=1) / hand_length(truth))
    shares = 100 * np.array(errors)
    for index, name in enumerate(POINT_NAMES):
        of_point = shares[:, index]
        print(
            f"{name:11} median {np.median(of_point):.2f} %, 95th percentile {np.percentile(of_point, 95):.2f} %,"
            f" largest {of_point.max():.1f} %"
        )


def report_run(run: Path) -> None:
    """Print the errors of a run's own network on its held-out radiographs after the last epoch."""
    last = read_history(run)[-1]
    print(f"\nthe network of {run.name} alone, after {last['epoch']:.0f} epochs:")
    for name in POINT_NAMES:
        median, high = (last[f"{name}_{figure}_percent"] for figure in ("median", "p95"))
        print(f"{name:11} median {median:.2f} %, 95th percentile {high:.2f} %")


def measure_masks(results: Sequence[HandResult], masks: dict[str, Path]) -> None:
    """Print IoU and distance of the outlines on the annotation's own grid, within the mask's view of the hand."""
    unions, distances = [], []
    for one in results:
        if isinstance(one.hand, Hand):
            truth = load_mask(masks[one.radiograph.id])
            to_truth = Transform.scale(truth.shape[1] / one.pixels.shape[1], truth.shape[0] / one.pixels.shape[0])
            mask = mask_through(one.hand, to_truth, truth.shape) > 0.5
            looked_at = replace(one.hand, mask=np.ones_like(one.hand.mask))
            covered = mask_through(looked_at, to_truth, truth.shape) > 0.5
            truth = truth * covered
            unions.append(intersection_over_union(mask, truth))
            distances.append(100 * outline_distance(mask, truth) / max(truth.shape))
    print(f"IoU mean {np.mean(unions):.4f}, least {min(unions):.4f}, as far as the masks reach")
    print(f"outlines {np.mean(distances):.2f} % of the radiograph's longer side apart")


def write_sheet(path: Path, results: Sequence[HandResult], columns: int = 10) -> None:
    """Draw each radiograph with outline and key points beside its registered region A."""
    tiles = [_tile(one) for one in results]
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows))


def contrast(one: HandResult) -> float:
    """Return the share of the radiograph's grey range that the hand spans: small on dark radiographs and beside white
    borders.
    """
    if not isinstance(one.hand, Hand):
        return 0.0
    levels = measure_grey(one.pixels, "hand", one.hand)
    return (levels.high - levels.low) / max(float(np.ptp(one.pixels)), 1e-6)


def write_contrast_sheet(path: Path, results: Sequence[HandResult], columns: int = 10) -> None:
    """Draw each hand unchanged, and masked with normalised contrast."""
    tiles = [_before_and_after(one) for one in results if isinstance(one.hand, Hand)]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, len(tiles), columns)]
    cv2.imwrite(str(path), np.vstack(rows))


def _before_and_after(one: HandResult) -> NDArray[np.uint8]:
    assert isinstance(one.hand, Hand)
    before = sample(one.pixels, view_transform(_shape(one), TILE, one.hand), TILE.height, TILE.width)
    low, high = float(one.pixels.min()), float(one.pixels.max())
    after = cut_view(one.pixels, TILE, hand=one.hand)
    pair = [_eight_bit(before, low, high), _eight_bit(after, float(after.min()), float(after.max()))]
    return np.asarray(np.hstack(pair), dtype=np.uint8)


def _shape(one: HandResult) -> tuple[int, int]:
    return one.pixels.shape[0], one.pixels.shape[1]


def _tile(one: HandResult) -> NDArray[np.uint8]:
    zoom = min(TILE.height / one.pixels.shape[0], TILE.width / one.pixels.shape[1])
    to_tile = Transform.scale(zoom)
    grey = sample(one.pixels, to_tile, TILE.height, TILE.width)
    low, high = np.percentile(grey, (1, 99))
    radiograph = cv2.cvtColor(_eight_bit(grey, low, high), cv2.COLOR_GRAY2BGR)
    right = np.zeros_like(radiograph)
    if isinstance(one.hand, Hand):
        mask = (mask_through(one.hand, to_tile, (TILE.height, TILE.width)) > 0.5).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(radiograph, outlines, -1, (0, 220, 0), 1)
        for (x, y), colour in zip(
            to_tile.points(one.hand.points_xy), ((0, 220, 255), (255, 80, 80), (80, 80, 255)), strict=True
        ):
            cv2.circle(radiograph, (int(x), int(y)), 3, colour, -1)
        view = cut_view(one.pixels, TILE, hand=one.hand)
        right = cv2.cvtColor(_eight_bit(view, float(view.min()), float(view.max())), cv2.COLOR_GRAY2BGR)
    else:
        cv2.putText(right, one.hand.code[:16], (2, 100), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (80, 80, 255), 1)
    cv2.putText(right, one.radiograph.id, (2, 196), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 220, 220), 1)
    return np.asarray(np.hstack([radiograph, right]), dtype=np.uint8)


def _eight_bit(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    return np.asarray(255 * np.clip((values - low) / max(high - low, 1e-6), 0, 1), dtype=np.uint8)


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--points", type=Path, help="annotated key points")
    parser.add_argument("--run", type=Path, help="run of key points: its validation radiographs are looked at")
    parser.add_argument("--masks", type=Path, help="masks.csv of a mining: its held-out radiographs are looked at")
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    parser.add_argument(
        "--random", type=int, default=200, help="radiographs of the sheets, drawn from the split validation"
    )
    parser.add_argument("--worst", type=int, default=50, help="of these, so many with the most uncertain points")
    parser.add_argument(
        "--hardest", type=int, default=0, help="before and after: so many radiographs of the least contrast"
    )
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bundle = Bundle.open(given.bundle)
    radiographs = {radiograph.id: radiograph for radiograph in read_radiographs(given.radiographs)}
    print(f"frame {FRAME_HEIGHT} x {FRAME_WIDTH}, regions {dict(BOXES)}")
    if given.points and given.run:
        held_out = json.loads((given.run / "recipe.json").read_text(encoding="utf-8"))["validation"]
        results = list(find_all([radiographs[radiograph_id] for radiograph_id in held_out], bundle))
        report("annotated points", results)
        measure_points(results, read_key_points(given.points))
        report_run(given.run)
    if given.masks:
        with given.masks.open(newline="", encoding="utf-8") as file:
            rows = {
                row["id"]: given.masks.parent / row["mask"]
                for row in csv.DictReader(file)
                if row["status"] == "held_out"
            }
        results = list(find_all([radiographs[radiograph_id] for radiograph_id in rows], bundle))
        report("annotated outlines", results)
        measure_masks(results, rows)
    if given.sheets:
        validation = [radiograph for radiograph in radiographs.values() if radiograph.split == "validation"]
        order = np.random.default_rng(given.seed).permutation(len(validation))[: given.random]
        results = list(find_all([validation[index] for index in order], bundle))
        report("radiographs of the sheets", results)
        for start in range(0, len(results), 50):
            write_sheet(given.sheets / f"random-{start // 50}.png", results[start : start + 50])
        if given.hardest:
            results = list(find_all(validation, bundle))
            report("the split validation", results)
            write_contrast_sheet(given.sheets / "contrast.png", sorted(results, key=contrast)[: given.hardest])
        results.sort(key=lambda one: -np.inf if isinstance(one.hand, Rejection) else -one.hand.spread)
        write_sheet(given.sheets / "worst.png", results[: given.worst])


if __name__ == "__main__":
    main()
