"""Damaged files through `read_radiograph`: each gives a radiograph or a named refusal, in time and in bounded memory.

    python benchmarks/fuzz_radiograph.py --count 10000 --seed 0

Takes the drawn film in every format and DICOM transfer syntax (tests/radiograph_files.py), damages these files in many
ways, all from the seed (tests/damaged_files.py), and reads each in a worker process. Exit status 1 if a worker died,
took over 5 s, grew over 1 GiB, or raised anything but a Refusal.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are no installed package

from tests.damaged_files import mutated_files, outcome_of  # needs the path above

TIME_LIMIT_S = 5.0
MEMORY_LIMIT_MIB = 1024
ADDRESS_SPACE_GIB = 6
"""Keeps a runaway worker from taking the machine along; the limit that counts is that of resident memory."""


def serve(connection: Connection) -> None:
    """Worker: files come in, (outcome, seconds, peak MiB) go out."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_GIB * 2**30,) * 2)
    cv2.setNumThreads(1)
    while data := connection.recv_bytes():
        start = time.perf_counter()
        outcome = outcome_of(data)
        seconds = time.perf_counter() - start
        connection.send((outcome, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


class Worker:
    """A process that reads, and is replaced when it dies, hangs or grows."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.send_bytes(bytes(128) + b"DICM")  # so that imports are not timed
        self._connection.recv()

    def _replace(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()
        self._start()

    def read(self, data: bytes) -> tuple[str, float, float]:
        """Outcome (also ``hang``, ``crash``, ``memory``), seconds, and the worker's peak memory so far, MiB."""
        try:
            self._connection.send_bytes(data)
            if not self._connection.poll(TIME_LIMIT_S):
                self._replace()
                return "hang", TIME_LIMIT_S, 0.0
            outcome, seconds, peak_mib = self._connection.recv()
        except (EOFError, OSError):
            self._replace()
            return "crash", 0.0, 0.0
        if peak_mib > MEMORY_LIMIT_MIB:
            self._replace()
            return "memory", seconds, peak_mib
        return outcome, seconds, peak_mib

    def close(self) -> None:
        """End the process."""
        self._connection.send_bytes(b"")
        self._process.join()


@dataclass
class Tally:
    """What became of the damaged files of one format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    peak_mib: float = 0.0

    def add(self, outcome: str, seconds: float, peak_mib: float) -> None:
        """Count one file."""
        self.outcomes[outcome.partition(":")[0]] += 1
        self.slowest_s = max(self.slowest_s, seconds)
        self.peak_mib = max(self.peak_mib, peak_mib)


FAILURES = ("crash", "hang", "memory", "exception")


def run(count: int, seed: int, keep: str | None) -> dict[str, Tally]:
    """Read `count` damaged files; those that fail are kept in a folder if one is given."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    worker = Worker()
    for index, (name, data) in enumerate(mutated_files(count, seed)):
        outcome, seconds, peak_mib = worker.read(data)
        tallies[name].add(outcome, seconds, peak_mib)
        if outcome.partition(":")[0] in FAILURES:
            print(f"file {index} ({name}): {outcome}", file=sys.stderr)
            if keep:
                with open(f"{keep}/{index}.bin", "wb") as file:  # noqa: PTH123  # a name, not a path, is at hand
                    file.write(data)
    worker.close()
    return tallies


def print_table(tallies: dict[str, Tally]) -> None:
    """A Markdown table, a row a format."""
    found = {outcome for tally in tallies.values() for outcome in tally.outcomes}
    columns = ["readable", *sorted(found - {"readable", *FAILURES}), *FAILURES]
    print("| format | files | " + " | ".join(columns) + " | slowest, s | peak, MiB |")
    print("|---" * (len(columns) + 4) + "|")
    for name, tally in tallies.items():
        counts = " | ".join(str(tally.outcomes[column]) for column in columns)
        print(f"| {name} | {tally.outcomes.total()} | {counts} | {tally.slowest_s:.3f} | {tally.peak_mib:.0f} |")
    total: Counter[str] = sum((tally.outcomes for tally in tallies.values()), Counter())
    slowest, peak = (max(getattr(tally, of) for tally in tallies.values()) for of in ("slowest_s", "peak_mib"))
    counts = " | ".join(str(total[column]) for column in columns)
    print(f"| **all** | {total.total()} | {counts} | {slowest:.3f} | {peak:.0f} |")


def main() -> int:
    """Run, print, and say by the exit status whether all went well."""
    parser = argparse.ArgumentParser(description="Damaged files through read_radiograph.")
    parser.add_argument("--count", type=int, default=10_000, help="how many damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", help="folder for the files that failed")
    arguments = parser.parse_args()
    start = time.perf_counter()
    tallies = run(arguments.count, arguments.seed, arguments.keep)
    print_table(tallies)
    failures = sum(tally.outcomes[outcome] for tally in tallies.values() for outcome in FAILURES)
    print(f"\n{arguments.count} files, seed {arguments.seed}, {time.perf_counter() - start:.0f} s: {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
