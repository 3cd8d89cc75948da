"""Rejection of pictures without exactly one hand, and of radiographs of one hand.

    python benchmarks/rejections.py --radiographs radiographs.csv --split validation --points key_points_3.csv

All pictures are made by this program with fixed seeds. They are independent of `boneage.train.data.negatives`, on which
networks may have been trained. They are noise, blank images, photographs (random crops of those in matplotlib, and
computed ones), pages, two radiographs side by side, and forearms. Forearms are cut from radiographs by annotated key
points, or by those of the bundle. The output is Markdown. The option --keep writes the assessed pictures into a folder.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.errors import BundleError, Rejection
from boneage.evaluate.perturbations import border_grey, on_canvas, to_png
from boneage.hand.registration import POINT_NAMES, hand_length
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.csv_table import read_rows
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split, read_radiographs

Picture = NDArray[np.float32]
Points = NDArray[np.float64]
Finder = Callable[[LabelledRadiograph, Picture], Points | None]

HEIGHT, WIDTH = 720, 540
BEYOND_CAPITATE = 0.35
"""Position of the cut through the forearm, hand lengths, beyond the growth plates of radius and ulna."""
LEAST_FOREARM = 0.12
"""Minimum length of a forearm on the radiograph, hand lengths."""


@dataclass(frozen=True)
class Outcome:
    """Rejection of a picture, or the warnings of its assessment."""

    rejected: str
    warnings: tuple[str, ...]


def main() -> None:
    """Make the pictures, assess them and print the counts."""
    arguments = _arguments()
    bundle = Bundle.open(arguments.bundle, threads=1)
    radiographs = (
        []
        if arguments.radiographs is None
        else radiographs_of_split(read_radiographs(arguments.radiographs), arguments.split)
    )
    order = np.random.default_rng(arguments.seed).permutation(len(radiographs))
    shuffled = [radiographs[place] for place in order]
    print(f"Bundle {bundle.manifest.name} {bundle.manifest.version}; {arguments.each} pictures a kind at most.\n")
    print("| picture | tried | rejected | why | warnings of those assessed |\n|---|---:|---:|---|---|")
    all_outcomes: list[Outcome] = []
    for kind, pictures in _kinds(arguments, shuffled, bundle):
        outcomes = list(_ask(pictures, bundle, arguments.keep, kind))
        all_outcomes += outcomes
        _print_row(kind, outcomes)
    _print_row("**all that are not one hand**", all_outcomes)
    if shuffled:
        real = shuffled[: arguments.count] if arguments.count else shuffled
        _print_row(f"radiographs, {arguments.split}", list(_ask_radiographs(real, bundle)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="default")
    parser.add_argument(
        "--radiographs", type=Path, help="table of labelled radiographs; pictures made from none if left out"
    )
    parser.add_argument("--split", default="validation")
    parser.add_argument("--points", type=Path, help="CSV of key points, fractions; for other radiographs, as found")
    parser.add_argument("--each", type=int, default=100, help="pictures a kind")
    parser.add_argument("--count", type=int, help="radiographs as they are; all if left out")
    parser.add_argument("--seed", type=int, default=20250101)
    parser.add_argument("--keep", type=Path, help="folder for pictures that were assessed; never a public one")
    return parser.parse_args()


def _kinds(
    arguments: argparse.Namespace, radiographs: Sequence[LabelledRadiograph], bundle: Bundle
) -> Iterator[tuple[str, Iterator[Picture]]]:
    """Return every kind of picture by name; pictures are made lazily."""
    drawn: dict[str, Callable[[np.random.Generator], Picture]] = {
        "noise": _noise,
        "blank": _blank,
        "computed scene": _scene,
        "page": _page,
    }
    photographs = _photographs()
    if photographs:
        drawn["photograph"] = lambda generator: _photograph(generator, photographs)
    for number, (kind, draw) in enumerate(drawn.items()):
        generator = np.random.default_rng((arguments.seed, number))
        yield kind, (draw(generator) for _ in range(arguments.each))
    if radiographs:
        generator = np.random.default_rng((arguments.seed, 99))
        yield "two hands", islice(_pairs(generator, radiographs), arguments.each)
        for number, (name, arrange) in enumerate(ARRANGEMENTS.items()):
            generator = np.random.default_rng((arguments.seed, 100 + number))
            yield f"two hands, {name}", islice(_arranged_pairs(generator, radiographs, arrange), arguments.each)
        find = _by_table(arguments.points, _by_bundle(bundle)) if arguments.points else _by_bundle(bundle)
        yield "forearm", islice(_forearms(radiographs, find), arguments.each)


# --- pictures of nothing ---------------------------------------------------------------------------------------------


def _noise(generator: np.random.Generator) -> Picture:
    """Yield noise: white, pink or brown, uniform, or salt and pepper."""
    colour = generator.integers(4)
    if colour == 0:
        return np.clip(generator.normal(0.5, generator.uniform(0.02, 0.3), (HEIGHT, WIDTH)), 0, 1).astype(np.float32)
    if colour == 1:
        return generator.random((HEIGHT, WIDTH), dtype=np.float32)
    if colour == 2:
        pepper = generator.random((HEIGHT, WIDTH)) < generator.uniform(0.01, 0.4)
        grains = np.where(pepper, generator.integers(0, 2, (HEIGHT, WIDTH)), generator.random())
        fine = generator.normal(0, 0.01, (HEIGHT, WIDTH))  # few greys are rejected by the reader, which proves nothing
        return np.asarray(np.clip(grains + fine, 0, 1), dtype=np.float32)
    return _of_spectrum(generator, generator.uniform(0.5, 2.2))


def _of_spectrum(generator: np.random.Generator, exponent: float) -> Picture:
    """Return noise whose amplitude falls with a power of the frequency; 1 is pink."""
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(generator.standard_normal((HEIGHT, WIDTH))) / frequency**exponent
    spectrum[0, 0] = 0.0
    noise = np.fft.irfft2(spectrum, s=(HEIGHT, WIDTH))
    low, high = np.percentile(noise, (1, 99))
    return np.asarray(np.clip((noise - low) / (high - low), 0, 1), dtype=np.float32)


def _blank(generator: np.random.Generator) -> Picture:
    """Return an empty cassette: one grey, uneven light, grain, perhaps an unexposed edge."""
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    uneven = generator.uniform(-0.15, 0.15, 5) @ np.stack([x, y, x * y, x**2, y**2]).reshape(5, -1)
    picture = generator.uniform(0.02, 0.95) + uneven.reshape(HEIGHT, WIDTH)
    picture += generator.uniform(0, 0.03) * generator.standard_normal((HEIGHT, WIDTH))
    if generator.random() < 0.5:
        edge = generator.integers(5, 120, 4)
        picture[: edge[0]] = picture[HEIGHT - edge[1] :] = generator.choice([0.0, 1.0])
        picture[:, : edge[2]] = picture[:, WIDTH - edge[3] :] = generator.choice([0.0, 1.0])
    return np.asarray(np.clip(picture, 0, 1), dtype=np.float32)


def _scene(generator: np.random.Generator) -> Picture:
    """Return Voronoi cells, hills before a sky, or a fractal, with edges and shades like those of photographs."""
    kind = generator.integers(3)
    texture = _of_spectrum(generator, 1.2)
    if kind == 0:
        seeds = generator.uniform(0, 1, (int(generator.integers(8, 80)), 2)) * (HEIGHT, WIDTH)
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        nearest = np.zeros((HEIGHT, WIDTH), np.int64)
        least = np.full((HEIGHT, WIDTH), np.inf)
        for number, (row, column) in enumerate(seeds):
            distance = (y - row) ** 2 + (x - column) ** 2
            nearest[distance < least] = number
            least = np.minimum(least, distance)
        picture = generator.random(len(seeds))[nearest]
    elif kind == 1:
        y = np.arange(HEIGHT)[:, None]
        picture = np.broadcast_to(0.9 - 0.4 * y / HEIGHT, (HEIGHT, WIDTH)).copy()
        for depth in range(int(generator.integers(2, 6))):
            ridge = cv2.resize(generator.random((1, 9)), (WIDTH, 1), interpolation=cv2.INTER_CUBIC)[0]
            picture[y > HEIGHT * (0.25 + 0.12 * depth + 0.25 * ridge[None])] = generator.uniform(0.05, 0.7)
    else:
        z = np.linspace(-1.6, 1.6, WIDTH)[None] + 1j * np.linspace(-1.6, 1.6, HEIGHT)[:, None]
        constant = 0.7885 * np.exp(1j * generator.uniform(0, 2 * np.pi))
        picture = np.zeros((HEIGHT, WIDTH))
        for _ in range(40):
            inside = np.abs(z) < 4
            z[inside] = z[inside] ** 2 + constant
            picture += inside / 40
    return np.clip(0.8 * picture + 0.2 * texture, 0, 1).astype(np.float32)


def _page(generator: np.random.Generator) -> Picture:
    """Return printed lines of letters, black on white or white on black."""
    page = np.full((HEIGHT, WIDTH), 255, np.uint8)
    size, y = generator.uniform(0.4, 1.4), 40
    while y < HEIGHT - 20:
        letters = "".join(chr(97 + number) if number < 26 else " " for number in generator.integers(0, 31, 60))
        cv2.putText(page, letters, (int(generator.integers(5, 40)), y), cv2.FONT_HERSHEY_SIMPLEX, size, 0, 1)
        y += round(40 * size * generator.uniform(0.8, 1.6))
    picture = page.astype(np.float32) / np.float32(255)
    return picture if generator.random() < 0.5 else 1 - picture


def _photographs() -> list[Picture]:
    """Return matplotlib's sample photographs in grey; none if it is not installed."""
    try:
        from matplotlib import cbook  # noqa: PLC0415 - only here, and perhaps not installed
    except ImportError:
        return []
    photographs = []
    for name in ("grace_hopper.jpg", "Minduka_Present_Blue_Pack.png", "logo2.png"):
        path = Path(str(cbook.get_sample_data(name, asfileobj=False)))
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) if path.is_file() else None
        if grey is not None:
            photographs.append(grey.astype(np.float32) / np.float32(255))
    return photographs


def _photograph(generator: np.random.Generator, photographs: Sequence[Picture]) -> Picture:
    """Return an enlarged part of a photograph, unchanged, mirrored, rotated or inverted; mostly of the portrait."""
    whole = photographs[0 if generator.random() < 0.7 else int(generator.integers(len(photographs)))]
    sides = np.rint(np.array(whole.shape) * generator.uniform(0.4, 1.0)).astype(int)
    sides = np.minimum(sides, 2 * sides.min())  # no strips
    top, left = (int(generator.integers(free + 1)) for free in np.array(whole.shape) - sides)
    picture = np.rot90(whole[top : top + sides[0], left : left + sides[1]], int(generator.integers(4)))
    picture = picture[:, ::-1] if generator.random() < 0.5 else picture
    zoom = WIDTH / min(picture.shape)
    large = cv2.resize(np.ascontiguousarray(picture), None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    fine = generator.normal(0, 0.01, large.shape)  # the logo has few greys, which the reader would reject
    return np.asarray(np.clip((large if generator.random() < 0.7 else 1 - large) + fine, 0, 1), dtype=np.float32)


# --- pictures made from radiographs ----------------------------------------------------------------------------------


def _pairs(generator: np.random.Generator, radiographs: Sequence[LabelledRadiograph]) -> Iterator[Picture]:
    """Yield two radiographs of equal height side by side, the right one mirrored.

    Every fourth stands beside its own mirror image, and every fifth pair is stacked vertically.
    """
    for number in range(len(radiographs) // 2):
        first = read_radiograph(radiographs[2 * number].image).pixels
        second = first if number % 4 == 0 else read_radiograph(radiographs[2 * number + 1].image).pixels
        first, second = _stretched(first), _stretched(second)  # one exposure would give both the same range
        gap = int(generator.integers(0, 40))
        above = number % 5 == 0
        halves = [
            _of_side(half, WIDTH if above else HEIGHT, along=1 if above else 0) for half in (first, second[:, ::-1])
        ]
        between = ((0, gap), (0, 0)) if above else ((0, 0), (0, gap))
        halves[0] = np.pad(halves[0], between, constant_values=border_grey(first))
        yield np.concatenate(halves, axis=0 if above else 1)


def _arranged_pairs(
    generator: np.random.Generator,
    radiographs: Sequence[LabelledRadiograph],
    arrange: Callable[[np.random.Generator, Picture, Picture], Picture],
) -> Iterator[Picture]:
    """Yield pictures of two radiographs, 720 pixels high, the second mirrored."""
    for first, second in zip(radiographs[::2], radiographs[1::2], strict=False):
        pair = [
            _of_side(_stretched(read_radiograph(radiograph.image).pixels), HEIGHT, along=0)
            for radiograph in (first, second)
        ]
        yield arrange(generator, pair[0], np.ascontiguousarray(pair[1][:, ::-1]))


def _above(generator: np.random.Generator, first: Picture, second: Picture) -> Picture:
    """Stack two radiographs of equal width vertically."""
    second = _of_side(second, first.shape[1], along=1)
    gap = np.full((int(generator.integers(0, 40)), first.shape[1]), border_grey(first), np.float32)
    return np.concatenate([first, gap, second])


def _touching(generator: np.random.Generator, first: Picture, second: Picture) -> Picture:
    """Place two radiographs side by side with an overlap of a tenth, where the brighter pixel counts."""
    common = round(0.1 * min(first.shape[1], second.shape[1]))
    picture = np.zeros((HEIGHT, first.shape[1] + second.shape[1] - common), np.float32)
    picture[:, : first.shape[1]] = first
    part = picture[:, -second.shape[1] :]
    np.maximum(part, second, out=part)
    return picture


def _smaller(generator: np.random.Generator, first: Picture, second: Picture) -> Picture:
    """Place a second radiograph of 0.45 to 0.8 of the first one's height beside it."""
    second = _of_side(second, round(generator.uniform(0.45, 0.8) * HEIGHT), along=0)
    top = int(generator.integers(HEIGHT - second.shape[0] + 1))
    strip = np.full((HEIGHT, second.shape[1]), border_grey(first), np.float32)
    strip[top : top + second.shape[0]] = second
    return np.concatenate([first, strip], axis=1)


def _in_corner(generator: np.random.Generator, first: Picture, second: Picture) -> Picture:
    """Place a second radiograph of half the size over a corner of the first, on a picture wider by a third."""
    second = _of_side(second, HEIGHT // 2, along=0)
    wide = np.full((HEIGHT, second.shape[1] * 2 // 3), border_grey(first), np.float32)
    picture = np.concatenate([first, wide], axis=1)
    top = int(generator.choice([0, HEIGHT - second.shape[0]]))
    picture[top : top + second.shape[0], -second.shape[1] :] = second
    return picture


def _on_canvas(generator: np.random.Generator, first: Picture, second: Picture) -> Picture:
    """Place two radiographs side by side at random on a square of one grey, 1.2 to 2.5 times as wide as both."""
    pair = np.concatenate([first, second], axis=1)
    return on_canvas(pair, generator.uniform(1.2, 2.5), float(generator.choice([0.0, 0.5, 1.0])), generator)


def _scattered(generator: np.random.Generator, first: Picture, second: Picture) -> Picture:
    """Place each radiograph at random in its half of a black or grey picture, three times as wide as one of them."""
    height, width = 2 * HEIGHT, 3 * WIDTH
    picture = np.full((height, width), generator.choice([0.0, 0.3]), np.float32)
    for half, whole in enumerate((first, second)):
        one = whole[:, : width // 2]
        top = int(generator.integers(height - one.shape[0] + 1))
        left = half * (width // 2) + int(generator.integers(width // 2 - one.shape[1] + 1))
        picture[top : top + one.shape[0], left : left + one.shape[1]] = one
    return picture


ARRANGEMENTS = {
    "one above the other": _above,
    "touching": _touching,
    "the second smaller": _smaller,
    "the second small in a corner": _in_corner,
    "on a canvas": _on_canvas,
    "scattered on a canvas": _scattered,
}
"""Arrangements of two radiographs on one picture."""


def _stretched(pixels: Picture) -> Picture:
    """Stretch grey levels from the 1st to the 99th percentile to 0..1."""
    low, high = np.percentile(pixels, (1, 99))
    return np.asarray(np.clip((pixels - low) / max(high - low, 1e-6), 0, 1), dtype=np.float32)


def _of_side(pixels: Picture, side: int, along: int) -> Picture:
    """Return a picture scaled to the height (`along` 0) or width (1) `side`."""
    zoom = side / pixels.shape[along]
    size = (round(pixels.shape[1] * zoom), round(pixels.shape[0] * zoom))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _forearms(radiographs: Sequence[LabelledRadiograph], find: Finder) -> Iterator[Picture]:
    """Yield forearms beyond the capitate, from radiographs with a nearly upright hand and enough forearm.

    They are cut along rows and columns and enlarged to at least 400 pixels, with an aspect ratio of at most 2.5.
    """
    for radiograph in radiographs:
        pixels = read_radiograph(radiograph.image).pixels
        points_xy = find(radiograph, pixels)
        if points_xy is None:
            continue
        length, (x, y) = hand_length(points_xy), points_xy[2]
        along = (points_xy[2] - points_xy[0]) / length
        if along[1] < np.cos(np.radians(20)):
            continue
        top = round(y + (BEYOND_CAPITATE + 0.3 * abs(along[0])) * length)
        crop = pixels[top:]
        if crop.shape[0] < LEAST_FOREARM * length:
            continue
        half = min(0.6 * length, 1.25 * crop.shape[0])
        middle = x + along[0] * (top - y)
        crop = crop[:, max(0, round(middle - half)) : round(middle + half)]
        if min(crop.shape) < 8 or float(crop.std()) < 0.02:  # the radiograph is black there
            continue
        zoom = max(1.0, 400 / min(crop.shape))
        yield np.asarray(cv2.resize(crop, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _by_table(points: Path, otherwise: Finder) -> Finder:
    """Return a finder of key points from a table of fractions, or `otherwise` for radiographs outside the table."""
    columns = [f"{name}_{axis}" for name in POINT_NAMES for axis in "xy"]
    of_id = {
        row.text("id"): np.array([row.number(column) for column in columns]).reshape(3, 2)
        for row in read_rows(points, ("id", *columns))
    }

    def find(radiograph: LabelledRadiograph, pixels: Picture) -> Points | None:
        fractions = of_id.get(radiograph.id)
        return otherwise(radiograph, pixels) if fractions is None else fractions * (pixels.shape[1], pixels.shape[0])

    return find


def _by_bundle(bundle: Bundle) -> Finder:
    """Return a finder of key points by the bundle's own networks; none without such networks."""

    def find(radiograph: LabelledRadiograph, pixels: Picture) -> Points | None:
        if bundle.manifest.hand is None:
            return None
        try:
            return bundle.find_hand(pixels).points_xy
        except Rejection:
            return None

    return find


# --- asking ----------------------------------------------------------------------------------------------------------


def _ask(pictures: Iterator[Picture], bundle: Bundle, keep: Path | None, kind: str) -> Iterator[Outcome]:
    for number, picture in enumerate(pictures):
        data = to_png(picture)
        outcome = _outcome(data, Sex.FEMALE if number % 2 else Sex.MALE, bundle)
        if keep is not None and not outcome.rejected:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{kind.replace(' ', '-')}-{number}.png").write_bytes(data)
        yield outcome


def _ask_radiographs(radiographs: Sequence[LabelledRadiograph], bundle: Bundle) -> Iterator[Outcome]:
    with ThreadPoolExecutor(2) as pool:
        yield from pool.map(lambda radiograph: _outcome(radiograph.image, radiograph.sex, bundle), radiographs)


def _outcome(source: Path | bytes, sex: Sex, bundle: Bundle) -> Outcome:
    try:
        assessment = assess(source, sex, bundle)
    except BundleError:
        raise
    except Rejection as rejection:
        return Outcome(rejection.code, ())
    return Outcome("", tuple(warning.code.value for warning in assessment.warnings))


def _print_row(kind: str, outcomes: Sequence[Outcome]) -> None:
    rejected = [outcome.rejected for outcome in outcomes if outcome.rejected]
    share = f"{len(rejected) / len(outcomes):.1%}" if outcomes else "none made"
    warnings = Counter(warning for outcome in outcomes for warning in outcome.warnings)
    print(f"| {kind} | {len(outcomes)} | {share} | {_listed(Counter(rejected))} | {_listed(warnings)} |", flush=True)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{code} {count}" for code, count in counts.most_common())


if __name__ == "__main__":
    main()
