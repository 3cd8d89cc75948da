"""Robustness of ``boneage archive``: workers and the program are killed at random, and the tables are compared.

    python benchmarks/archive_chaos.py --radiographs 400 --kills 10 --bundle fast

An undisturbed run comes first. In a second run over the same files, a random process of the program is killed
(SIGKILL) at random moments: a worker, or the program itself, which is then started again. At the end CSV and Parquet
must be equal to those of the undisturbed run, to the byte. The exit status is 1 otherwise.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from archive_files import write_archive
from archive_pacs import rows_in
from tests.archive.processes import children_of


def main() -> int:
    """Run the benchmark, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radiographs", type=int, default=400)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_archive(folder / "archive", "small", options.radiographs)
        start = time.monotonic()
        undisturbed = started(source, folder / "undisturbed", folder, options)
        assert undisturbed.wait() == 0
        seconds = time.monotonic() - start
        print(f"undisturbed: {seconds:.0f} s", flush=True)
        kills = disturb(source, folder, options, rng, seconds / (options.kills + 1))
        same = tables(folder / "undisturbed") == tables(folder / "disturbed")
        print(f"{kills['worker']} workers and {kills['program']} times the program were killed")
        print("the tables are equal to the byte" if same else "THE TABLES DIFFER")
        return 0 if same and sum(kills.values()) >= options.kills else 1


def disturb(
    source: Path, folder: Path, options: argparse.Namespace, rng: random.Random, pause: float
) -> dict[str, int]:
    """Run the program to its end while its processes are killed, and return the number of kills by kind."""
    kills, out = {"worker": 0, "program": 0}, folder / "disturbed"
    start = time.monotonic()
    process = started(source, out, folder, options)
    rows = 0
    while sum(kills.values()) < options.kills:
        if process.poll() == 0:
            print("the run ended before all kills: give more radiographs", flush=True)
            return kills
        if process.poll() is not None:  # killed while it started, it may give up; the same command continues
            process = started(source, out, folder, options)
        if rows_in(out) == rows:  # the next kill waits for progress, so that the run comes to its end
            time.sleep(0.2)
            continue
        time.sleep(rng.uniform(0.0, pause))
        rows = rows_in(out)
        children = children_of(process.pid)
        if children and rng.random() < 0.6:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(children), signal.SIGKILL)
                kills["worker"] += 1
        elif process.poll() is None:
            process.kill()
            process.wait()
            kills["program"] += 1
            print(f"killed with {rows} of {options.radiographs} rows in shards", flush=True)
            process = started(source, out, folder, options)
    while process.wait() != 0:
        process = started(source, out, folder, options)
    print(f"disturbed: {time.monotonic() - start:.0f} s, exit status {process.returncode}", flush=True)
    return kills


def started(source: Path, out: Path, folder: Path, options: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Start the program."""
    command = [sys.executable, "-m", "boneage", "archive", str(source), "--out", str(out), "--quiet"]
    command += ["--salt", str(folder / "salt"), "--bundle", options.bundle, "--workers", str(options.workers)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def tables(out: Path) -> dict[str, bytes]:
    """Return the bytes of all files of the tables."""
    paths = [out / "radiographs.csv", *sorted(out.glob("radiographs.parquet/*/*"))]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}


if __name__ == "__main__":
    sys.exit(main())
