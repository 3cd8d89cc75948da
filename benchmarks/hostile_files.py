"""Measure the processor time and memory that files made to keep a reader busy take.

    python benchmarks/hostile_files.py --megabytes 25

Each kind of tests/hostile_files.py, of about this size, is read in a process of its own, and a table is printed. The
exit status is 1 if one took more than 2 s of processor time or 1 GiB of memory, or raised anything but a Rejection.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

import pydicom  # noqa: F401  # as above

import boneage.reading.dicom.read  # noqa: F401  # imports are not timed
from tests.damaged_files import outcome_of
from tests.hostile_files import KINDS

SECONDS, MEBIBYTES = 2.0, 1024
_LONGEST = 20.0


def measure(data: bytes) -> tuple[str, float, float]:
    """Return outcome, processor time, s, and peak memory, MiB, of reading a file in a copy of this process."""
    read_end, write_end = os.pipe()
    process = os.fork()
    if process == 0:
        signal.setitimer(signal.ITIMER_PROF, _LONGEST)
        os.write(write_end, outcome_of(data).encode()[:1000])
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        outcome = pipe.read().decode()
    _, status, usage = os.wait4(process, 0)
    if status:
        outcome = f"ended by signal {status & 127}"
    return outcome, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> int:
    """Measure and print, and return 0 if all went well."""
    parser = argparse.ArgumentParser(description="Processor time and memory of hostile files.")
    parser.add_argument("--megabytes", type=float, default=25.0, help="size of each file, as far as its kind allows")
    parser.add_argument("--only", default="", help="kinds whose names match this expression")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    failures = 0
    print("| kind | MB | outcome | CPU, s | peak, MiB |\n|---|---:|---|---:|---:|")
    for name, make in KINDS.items():
        if not re.search(arguments.only, name):
            continue
        data = make(int(arguments.megabytes * 1e6))
        outcome, seconds, mebibytes = measure(data)
        failed = seconds > SECONDS or mebibytes > MEBIBYTES or outcome.startswith(("exception", "ended"))
        failures += failed
        mark = " (!)" if failed else ""
        print(f"| {name} | {len(data) / 1e6:.1f} | {outcome}{mark} | {seconds:.2f} | {mebibytes:.0f} |", flush=True)
    print(f"\n{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
