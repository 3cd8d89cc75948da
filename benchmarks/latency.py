"""Time and memory of one warm assessment, from a PNG file of 1,500 x 2,000 pixels to JSON.

    python benchmarks/latency.py                                              # the drawn phantom
    python benchmarks/latency.py --radiographs radiographs.csv --split validation   # 20 radiographs, enlarged to that
    size

The output is Markdown. Radiographs are written only to a temporary folder.
"""

from __future__ import annotations

import argparse
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.phantom import write_sample
from boneage.reading.radiograph import read_radiograph
from boneage.report.report import json_text
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split, read_radiographs

HEIGHT, WIDTH = 2000, 1500
REST = "json and rest"
"""Name of the time outside of the steps of `Assessment.timings_ms`: warnings, JSON and the rest."""


@dataclass(frozen=True)
class Timed:
    """Radiograph with name, sex, label if known, estimate, and median wall time of each step, ms."""

    name: str
    sex: Sex
    boneage_months: float | None
    age_months: float
    steps_ms: dict[str, float]

    @property
    def total_ms(self) -> float:
        """Wall time from file to JSON, ms."""
        return sum(self.steps_ms.values())


def main() -> None:
    """Measure and print the times."""
    arguments = _arguments()
    bundle = Bundle.open(arguments.bundle, threads=arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        radiographs = list(_radiographs(arguments, Path(folder)))
        assess(radiographs[0][0], radiographs[0][1], bundle)  # loads the graphs and the drawn phantom
        timed = [_time(path, sex, age, bundle, arguments.repeats) for path, sex, age in radiographs]
    _print(timed, bundle, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--radiographs", type=Path, help="table of labelled radiographs; the drawn phantom if left out")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def _radiographs(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, Sex, float | None]]:
    if arguments.radiographs is None:
        path = write_sample(folder / "phantom.png")
        yield from ((path, sex, None) for sex in Sex)
        return
    for radiograph in chosen_radiographs(
        radiographs_of_split(read_radiographs(arguments.radiographs), arguments.split), arguments.count
    ):
        path = folder / f"{radiograph.id}.png"
        cv2.imwrite(str(path), enlarged(radiograph))
        yield path, radiograph.sex, radiograph.boneage_months


def chosen_radiographs(radiographs: list[LabelledRadiograph], count: int) -> list[LabelledRadiograph]:
    """Return radiographs spread evenly over the ages."""
    by_age = sorted(radiographs, key=lambda radiograph: (radiograph.boneage_months, radiograph.id))
    places = np.linspace(0, len(by_age) - 1, min(count, len(by_age))).round().astype(int)
    return [by_age[place] for place in places]


def enlarged(radiograph: LabelledRadiograph) -> NDArray[np.uint8]:
    """Return the radiograph in 8 bits, scaled to fit into 1,500 x 2,000 pixels."""
    pixels = read_radiograph(radiograph.image).pixels
    zoom = min(HEIGHT / pixels.shape[0], WIDTH / pixels.shape[1])
    large = cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.rint(np.clip(large, 0, 1) * 255), dtype=np.uint8)


def _time(path: Path, sex: Sex, boneage_months: float | None, bundle: Bundle, repeats: int) -> Timed:
    runs = []
    for _ in range(repeats):
        start = time.perf_counter()
        assessment = assess(path, sex, bundle)
        json_text(assessment)
        wall = 1e3 * (time.perf_counter() - start)
        steps = {step: spent for step, spent in assessment.timings_ms.items() if step != "total"}
        runs.append(steps | {REST: wall - sum(steps.values())})
    medians = {step: statistics.median(run[step] for run in runs) for step in runs[0]}
    return Timed(path.stem, sex, boneage_months, assessment.age_months, medians)


def _peak_mebibytes() -> float:
    """Return the largest resident size of this process so far, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


def _print(timed: list[Timed], bundle: Bundle, arguments: argparse.Namespace) -> None:
    totals = [one.total_ms for one in timed]
    middle = statistics.median(totals)
    print(
        f"Bundle {bundle.manifest.name} {bundle.manifest.version}, {arguments.threads} threads of ONNX Runtime, ",
        end="",
    )
    print(
        f"{platform.machine()}, Python {platform.python_version()}; {len(timed)} radiographs, "
        f"{arguments.repeats} runs each."
    )
    print(f"\n**Median {middle:.0f} ms a radiograph**, fastest {min(totals):.0f}, slowest {max(totals):.0f}.\n")
    print(f"Most memory that the process held, libraries and all: {_peak_mebibytes():.0f} MiB.\n")
    print("| step | median, ms | share |\n|---|---:|---:|")
    for step in timed[0].steps_ms:  # "find" only with a bundle that looks for the hand
        wall = statistics.median(one.steps_ms[step] for one in timed)
        print(f"| {step} | {wall:.1f} | {wall / middle:.0%} |")
    print("\n| radiograph | sex | reader, months | estimate, months | wall, ms |\n|---|---|---:|---:|---:|")
    for one in timed:
        reader = "" if one.boneage_months is None else f"{one.boneage_months:g}"
        print(f"| {one.name} | {one.sex.value} | {reader} | {one.age_months:.1f} | {one.total_ms:.0f} |")


if __name__ == "__main__":
    main()
