"""Read damaged files: each gives a radiograph or a named rejection, in time and in bounded memory.

    python benchmarks/fuzz_radiograph.py --count 1000000 --seeds 0 1 2 3 --keep out/failed --log out/fuzz.log

The files are the drawn radiograph in every format and DICOM transfer syntax (tests/radiograph_files.py). They are
damaged in many ways, with and without regard to their structure (tests/damaged_files.py), all from the seed. A worker
process reads each with `read_radiograph`, or with the whole of `assess` by `--whole`.

The exit status is 1 if a worker died, took over 5 s of processor time, grew over 1 GiB, or raised anything but a
Rejection. `--start` resumes an earlier run.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import multiprocessing
import re
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import TextIO

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from tests.damaged_files import format_of, mutated_file, outcome_of  # needs the path above

CPU_LIMIT_S = 5.0
MEMORY_LIMIT_MIB = 1024
ADDRESS_SPACE_GIB = 6
"""Address space of a worker, which protects the machine. The limit that counts is that of resident memory."""
BATCH = 200
"""Files whose outcomes a worker reports together."""
SILENCE_S = 600.0
"""Time without a report after which a worker is killed, since it waits without using processor time."""
LOG_EVERY_S = 30.0

Result = tuple[str, str, float, float]
"""Format, outcome, processor time, s, and the worker's peak memory so far, MiB, of one file."""


# the worker


def serve(
    connection: Connection, at_hand: ctypes.c_uint64, whole: bool, only: str, seed: int, start: int, end: int
) -> None:
    """Read files and send batches of results. The index of the current file stands in shared memory."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_GIB * 2**30,) * 2)
    cv2.setNumThreads(1)
    logging.disable()
    outcome = _assessing() if whole else outcome_of
    outcome(bytes(128) + b"DICM")  # imports are not timed
    connection.send([])
    results: list[tuple[int, Result | None]] = []
    for index in range(start, end):
        if not re.search(only, format_of(index)):
            continue
        name, data = mutated_file(seed, index)
        at_hand.value = index
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT_S)  # nothing handles SIGPROF: it ends the process
        result = outcome(data)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        seconds, peak_mib = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if peak_mib > MEMORY_LIMIT_MIB and not result.startswith("exception"):
            result = "memory"
        results.append((index, (name, result, seconds, peak_mib)))
        if len(results) == BATCH or result == "memory":
            connection.send(results)
            results = []
        if result == "memory":
            return
    connection.send([*results, (end - 1, None)])


def _assessing() -> Callable[[bytes], str]:
    """Return a function like `outcome_of` for the whole of `assess` with the bundle `fast`."""
    from boneage.bundle.bundle import Bundle  # noqa: PLC0415  # as above
    from boneage.composition import assess  # noqa: PLC0415  # slow, and not always needed
    from boneage.errors import Rejection  # noqa: PLC0415  # as above
    from boneage.sex import Sex  # noqa: PLC0415  # as above

    bundle = Bundle.open("fast")

    def outcome(data: bytes) -> str:
        try:
            assess(data, Sex.FEMALE, bundle)
        except Rejection as rejection:
            return rejection.code
        except Exception as error:  # counted as a failure
            return f"exception: {type(error).__name__}: {error}"
        return "readable"

    return outcome


class Worker:
    """A process that reads a range of files."""

    def __init__(self, whole: bool, only: str, seed: int, start: int, end: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._at_hand = RawValue(ctypes.c_uint64, start)
        self._connection, theirs = context.Pipe(duplex=False)
        arguments = (theirs, self._at_hand, whole, only, seed, start, end)
        self._process = context.Process(target=serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def results(self) -> list[tuple[int, Result | None]] | None:
        """Return the next batch, or None if the worker ended or no longer reports."""
        try:
            return self._connection.recv() if self._connection.poll(SILENCE_S) else None
        except (EOFError, OSError):
            return None

    def failure(self) -> tuple[int, Result]:
        """End the worker, and return the index and result of the file at which it ended."""
        silent = self._process.is_alive()
        if silent:
            self._process.join(1.0)
            self._process.kill()
        self._process.join()
        index = self._at_hand.value
        hung = self._process.exitcode in {-signal.SIGPROF, -signal.SIGKILL}
        self._connection.close()
        return index, ("?", "hang" if hung else "crash", CPU_LIMIT_S if hung else 0.0, 0.0)

    def close(self) -> None:
        """Wait until the worker has ended."""
        self._process.join()
        self._connection.close()


# counting


@dataclass
class Tally:
    """Outcomes of the damaged files of one format."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    peak_mib: float = 0.0

    def add(self, outcome: str, seconds: float, peak_mib: float) -> None:
        """Count one file."""
        self.outcomes[outcome.partition(":")[0]] += 1
        self.slowest_s = max(self.slowest_s, seconds)
        self.peak_mib = max(self.peak_mib, peak_mib)


FAILURES = ("crash", "hang", "memory", "exception")


@dataclass
class Run:
    """A run over files of several seeds.

    Attributes:
        log: Stream for progress and failures, a line each.
        keep: Folder for files that failed.
        whole: True if files go through the whole of `assess`.
        only: Regular expression for the formats of files.
        tallies: Outcomes by format.
    """

    log: TextIO
    keep: Path | None
    whole: bool
    only: str
    tallies: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    begun: float = field(default_factory=time.monotonic)
    _logged: float = 0.0

    def read(self, seed: int, start: int, count: int) -> None:
        """Read the files of one seed, in as many successive processes as it takes."""
        index, end = start, start + count
        while index < end:
            worker = Worker(self.whole, self.only, seed, index, end)
            while index < end:
                batch = worker.results()
                if batch is None:
                    index = self._lost(worker, seed, index)
                    break
                for at, result in batch:
                    if result is not None:
                        self._add(seed, at, result)
                    index = at + 1
                self._say(f"seed {seed}, next index {index} of {end}", due=LOG_EVERY_S)
                if batch and batch[-1][1] is not None and batch[-1][1][1] == "memory":
                    break
            worker.close()

    def _lost(self, worker: Worker, seed: int, index: int) -> int:
        """Count the file at which a worker ended, and the unreported ones before it. Return the next index."""
        at, (_, outcome, seconds, peak) = worker.failure()
        for before in range(index, at):
            if re.search(self.only, format_of(before)):
                self._add(seed, before, (format_of(before), "not told", 0.0, 0.0))
        self._add(seed, at, (format_of(at), outcome, seconds, peak))
        return at + 1

    def _add(self, seed: int, index: int, result: Result) -> None:
        name, outcome, seconds, peak_mib = result
        self.tallies[name].add(outcome, seconds, peak_mib)
        if outcome.partition(":")[0] in FAILURES:
            self._say(f"FAILURE seed {seed}, index {index} ({name}): {outcome}")
            if self.keep is not None:
                (self.keep / f"{seed}-{index}.bin").write_bytes(mutated_file(seed, index)[1])

    @property
    def outcomes(self) -> Counter[str]:
        """Return the counts of all outcomes."""
        return sum((tally.outcomes for tally in self.tallies.values()), Counter())

    @property
    def failures(self) -> int:
        """Return the number of files that failed."""
        return sum(self.outcomes[outcome] for outcome in FAILURES)

    def _say(self, text: str, due: float = 0.0) -> None:
        """Write a line with the totals, unless one was written less than `due` seconds ago."""
        now = time.monotonic()
        if due and now - self._logged < due:
            return
        self._logged = now
        done = self.outcomes.total()
        slowest = max((tally.slowest_s for tally in self.tallies.values()), default=0.0)
        peak = max((tally.peak_mib for tally in self.tallies.values()), default=0.0)
        rate = done / max(1e-9, now - self.begun)
        print(
            f"{time.strftime('%H:%M:%S')} {text}: {done} files, {rate:.0f}/s, {self.failures} failures, slowest"
            f" {slowest:.2f} s of CPU, peak {peak:.0f} MiB, {self.outcomes['readable']} readable",
            file=self.log,
            flush=True,
        )

    def finish(self) -> None:
        """Write the table of all formats."""
        self._say("end")
        print_table(self.tallies, self.log)


def print_table(tallies: dict[str, Tally], log: TextIO) -> None:
    """Write a Markdown table with a row for each format."""
    outcomes = {outcome for tally in tallies.values() for outcome in tally.outcomes}
    columns = ["readable", *sorted(outcomes - {"readable", *FAILURES}), *FAILURES]
    print("| format | files | " + " | ".join(columns) + " | slowest, s of CPU | peak, MiB |", file=log)
    print("|---" * (len(columns) + 4) + "|", file=log)
    total = Tally()
    for name, tally in sorted(tallies.items()):
        _print_row(name, tally, columns, log)
        total.outcomes += tally.outcomes
        total.slowest_s, total.peak_mib = max(total.slowest_s, tally.slowest_s), max(total.peak_mib, tally.peak_mib)
    _print_row("**all**", total, columns, log)
    log.flush()


def _print_row(name: str, tally: Tally, columns: list[str], log: TextIO) -> None:
    counts = " | ".join(str(tally.outcomes[column]) for column in columns)
    print(f"| {name} | {tally.outcomes.total()} | {counts} | {tally.slowest_s:.2f} | {tally.peak_mib:.0f} |", file=log)


def main() -> int:
    """Run the fuzzer, write the results, and return 0 if all went well."""
    parser = argparse.ArgumentParser(description="Damaged files through read_radiograph.")
    parser.add_argument("--count", type=int, default=10_000, help="how many damaged files, of all seeds together")
    parser.add_argument("--seeds", "--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--start", type=int, default=0, help="first index of each seed")
    parser.add_argument("--only", default="", help="formats whose names match this expression")
    parser.add_argument("--whole", action="store_true", help="through the whole of assess, with the bundle `fast`")
    parser.add_argument("--keep", type=Path, help="folder for the files that failed")
    parser.add_argument("--log", type=argparse.FileType("a"), default=sys.stdout, help="file for progress and table")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    run = Run(arguments.log, arguments.keep, arguments.whole, arguments.only)
    for seed in arguments.seeds:
        run.read(seed, arguments.start, arguments.count // len(arguments.seeds))
    run.finish()
    return 1 if run.failures else 0


if __name__ == "__main__":
    sys.exit(main())
