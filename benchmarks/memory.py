"""Resident memory of a process that assesses radiographs, after each kind of picture.

    python benchmarks/memory.py --bundle fast

A drawn hand is found at once. Noise and a blank picture are searched for a hand in many views, which takes the most
memory; the last row says how much of it stays.
"""

from __future__ import annotations

import argparse
import resource
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.errors import Rejection
from boneage.evaluate.perturbations import to_png
from boneage.phantom import sample_png
from boneage.sex import Sex


def resident_mebibytes() -> tuple[float, float]:
    """Return the resident memory of this process now and at its peak, MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    peak_kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize() / 2**20, peak_kibibytes / 2**10


def noise(height: int, width: int) -> NDArray[np.float32]:
    """Return coarse noise, (H, W), 0..1."""
    coarse = np.random.default_rng(0).random((height // 16, width // 16), dtype=np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1), dtype=np.float32)


def main() -> None:
    """Assess the pictures one after another and print the memory after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", default="default")
    bundle = Bundle.open(parser.parse_args().bundle, threads=1)
    hand, searched = sample_png(), to_png(noise(1200, 900))
    print("| after | resident, MiB | peak, MiB |\n|---|---:|---:|")
    steps = (("the bundle was opened", hand, 0), ("a hand", hand, 3), ("noise", searched, 3), ("a hand", hand, 3))
    for name, picture, times in steps:
        for _ in range(times):
            with suppress(Rejection):
                assess(picture, Sex.FEMALE, bundle)
        print("| {} | {:.0f} | {:.0f} |".format(name, *resident_mebibytes()))


if __name__ == "__main__":
    main()
