"""Assessments by two source trees in turn: processor time, wall time, and every difference of their results.

    git worktree add --detach ../before COMMIT
    python benchmarks/before_after.py --before ../before --radiographs radiographs.csv --count 200 --full-size

Each tree runs in a process of its own. Both assess one radiograph after the other, in changing order, so that other
work on the machine slows both alike. The output is Markdown. Radiographs are written only to a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

_ROOT = Path(__file__).resolve().parents[1]

_DIGITS = 4
"""Decimals of an estimate, months, in a worker's answers."""


@dataclass(frozen=True)
class Answer:
    """Result of one tree for one radiograph.

    Attributes:
        outcome: estimate in months, or the code of the rejection.
        warnings: codes of the warnings, sorted.
        wall_ms: time from file to JSON, ms.
        cpu_ms: processor time of all threads in the same period, ms.
    """

    outcome: float | str
    warnings: tuple[str, ...]
    wall_ms: float
    cpu_ms: float


class Tree:
    """A process that assesses radiographs with the sources of one tree."""

    def __init__(self, root: Path, bundle: str, threads: int) -> None:
        environment = os.environ | {"PYTHONPATH": str(root / "src")}
        command = [sys.executable, __file__, "--worker", "--bundle", bundle, "--threads", str(threads)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def assess(self, path: Path, sex: str) -> Answer:
        """Return the result for a file."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps([str(path), sex]), file=stdin, flush=True)
        record: dict[str, Any] = json.loads(stdout.readline())
        return Answer(record["outcome"], tuple(record["warnings"]), record["wall_ms"], record["cpu_ms"])

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Run a worker, or compare two trees."""
    arguments = _arguments()
    if arguments.worker:
        _work(arguments.bundle, arguments.threads)
        return
    trees = [Tree(root, arguments.bundle, arguments.threads) for root in (arguments.before, arguments.after)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            radiographs = _radiographs(arguments, Path(folder))
            pairs = {path.name: _compare(trees, path, sex, arguments.repeats) for path, sex in radiographs}
    finally:
        for tree in trees:
            tree.close()
    _print(pairs, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, help="folder of the other tree, which holds `src`")
    parser.add_argument("--after", type=Path, default=_ROOT, help="folder of this tree")
    parser.add_argument("--bundle", default="standard")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--radiographs", type=Path, help="table of labelled radiographs; the drawn phantom if left out")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--full-size", action="store_true", help="enlarge to 1,500 x 2,000 pixels")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each radiograph; the fastest counts")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.worker and arguments.before is None:
        parser.error("--before is missing")
    return arguments


def _work(bundle_name: str, threads: int) -> None:
    """Assess the files that are named on standard input, one a line, and print an answer for each."""
    from boneage import Bundle, Rejection, assess  # noqa: PLC0415  # of the tree of this process
    from boneage.report.report import json_text  # noqa: PLC0415

    cv2.setNumThreads(threads)
    bundle = Bundle.open(bundle_name, threads=threads)
    for line in sys.stdin:
        path, sex = json.loads(line)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            assessment = assess(path, sex, bundle)
            json_text(assessment)
            outcome: float | str = round(assessment.age_months, _DIGITS)
            warnings = sorted(warning.code.value for warning in assessment.warnings)
        except Rejection as rejection:
            outcome, warnings = str(rejection.code), []
        spent = {"wall_ms": 1e3 * (time.perf_counter() - wall), "cpu_ms": 1e3 * (time.process_time() - cpu)}
        print(json.dumps({"outcome": outcome, "warnings": warnings} | spent), flush=True)


def _radiographs(arguments: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, str]]:
    # Imported here, since a worker has the sources of the other tree, and fewer or other modules.
    from boneage.phantom import write_sample  # noqa: PLC0415
    from boneage.reading.radiograph import read_radiograph  # noqa: PLC0415
    from boneage.tables.radiographs import radiographs_of_split, read_radiographs  # noqa: PLC0415
    from latency import chosen_radiographs, enlarged  # noqa: PLC0415

    if arguments.radiographs is None:
        yield write_sample(folder / "phantom.png"), "F"
        return
    of_split = radiographs_of_split(read_radiographs(arguments.radiographs), arguments.split)
    for radiograph in chosen_radiographs(of_split, arguments.count):
        path = folder / f"{radiograph.id}.png"
        pixels = enlarged(radiograph) if arguments.full_size else 255 * read_radiograph(radiograph.image).pixels
        cv2.imwrite(str(path), pixels.round().astype("uint8"))
        yield path, radiograph.sex.value
        path.unlink()


def _compare(trees: list[Tree], path: Path, sex: str, repeats: int) -> tuple[Answer, Answer]:
    """Return the fastest answer of each tree; the trees take turns, and the first of a round changes."""
    answers: tuple[list[Answer], list[Answer]] = ([], [])
    for round_ in range(repeats + 1):  # the first round warms up
        for which in (0, 1) if round_ % 2 else (1, 0):
            answer = trees[which].assess(path, sex)
            answers[which].extend([answer] if round_ or repeats == 1 else [])
    before, after = (min(of_tree, key=lambda answer: answer.cpu_ms) for of_tree in answers)
    return before, after


def _print(pairs: dict[str, tuple[Answer, Answer]], arguments: argparse.Namespace) -> None:
    size = "enlarged to 1,500 x 2,000 pixels" if arguments.full_size else "in their own size"
    print(f"Bundle {arguments.bundle}, {arguments.threads} threads; {len(pairs)} radiographs {size}.\n")
    print("| median of | before, ms | after, ms | median ratio |\n|---|---:|---:|---:|")
    for name, field in (("processor time", "cpu_ms"), ("wall time", "wall_ms")):
        times = [(getattr(before, field), getattr(after, field)) for before, after in pairs.values()]
        before_ms, after_ms = (statistics.median(column) for column in zip(*times, strict=True))
        ratio = statistics.median(after / before for before, after in times)
        print(f"| {name} | {before_ms:.1f} | {after_ms:.1f} | {ratio:.3f} |")
    apart = [
        abs(before.outcome - after.outcome)
        for before, after in pairs.values()
        if isinstance(before.outcome, float) and isinstance(after.outcome, float)
    ]
    if apart:
        over = sum(months > 0.05 for months in apart)
        print(f"\n{len(apart)} estimates by both: difference at most {max(apart):.4f} months, ", end="")
        print(f"mean {statistics.fmean(apart):.4f}, median {statistics.median(apart):.4f}; {over} differ by over 0.05.")
    for name, (before, after) in pairs.items():
        if before.outcome != after.outcome and not (
            isinstance(before.outcome, float) and isinstance(after.outcome, float)
        ):
            print(f"* {name}: {before.outcome} before, {after.outcome} after")
        elif before.warnings != after.warnings:
            print(f"* {name}: warnings {before.warnings} before, {after.warnings} after")


if __name__ == "__main__":
    main()
