"""Cold start: median wall time of whole processes.

    python benchmarks/cold_start.py [--bundle NAME_OR_DIR] [--repeats 9]

Prints Markdown. File caches are warm, as they are for anyone who runs the program twice.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Measure and print the times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    program = [sys.executable, "-m", "boneage"]
    with tempfile.TemporaryDirectory() as folder:
        radiograph = Path(folder) / "sample.png"
        subprocess.run([*program, "sample", str(radiograph)], check=True, capture_output=True)
        assess = [*program, "assess", str(radiograph), "--sex", "F", "--bundle", arguments.bundle]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "boneage --help": [*program, "--help"],
            "boneage assess sample.png --sex F": assess,
            "boneage assess sample.png --sex F --out out": [*assess, "--out", str(Path(folder) / "out")],
        }
        print("| command | median, s | fastest | slowest |\n|---|---:|---:|---:|")
        for name, command in commands.items():
            walls = [_wall(command) for _ in range(arguments.repeats)]
            print(f"| `{name}` | {statistics.median(walls):.2f} | {min(walls):.2f} | {max(walls):.2f} |", flush=True)


def _wall(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
