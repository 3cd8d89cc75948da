"""Rate of ``boneage archive``: radiographs a second, processor time for each, memory, and the engine alone.

    python benchmarks/archive_rate.py                                      # 300 files of each kind, 1 and 2 workers
    python benchmarks/archive_rate.py --kinds small --count 20000 --workers 2        # the whole run of 20,000
    python benchmarks/archive_rate.py --engine 20000                       # the engine without assessments

Validation radiographs in $BONEAGE_DATA are repeated under changed headers: as they are (299 px), and enlarged to
1,500 x 2,000 px as PNG and as DICOM in JPEG 2000 and lossless JPEG. Memory is the sum over all processes of the
program, each page counted once (PSS): after a tenth of the run, and at its highest.

``--engine`` has files that do not exist, so that nothing is read or assessed. What remains is listing, distributing,
rows and journal. A simulation then combines the processor time of the one process that distributes with a time for
each assessment, for up to 64 workers. It is a simulation: no network and no file server takes part.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from archive_files import KINDS, write_archive
from archive_pacs import rows_in
from boneage.archive.folders import FileSource
from boneage.archive.items import ArchiveItem
from boneage.archive.run import BATCH_ITEMS, ArchiveOptions, read_archive
from tests.archive.processes import children_of

ASSESSMENT_SECONDS = (0.1, 0.2)
"""Times for one assessment in the simulation."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--engine", type=int, metavar="ITEMS", help="measure the engine alone, and simulate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.engine:
            simulate(measure_engine(Path(name), options.engine))
            return
        print("| files | workers | radiographs | a second | processor s each | memory, MiB | highest, MiB |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for kind in options.kinds:
            source = write_archive(Path(name) / kind, kind, options.count)
            for workers in options.workers:
                measure(source, Path(name) / f"{kind}-{workers}", kind, workers, options)


def measure(source: Path, out: Path, kind: str, workers: int, options: argparse.Namespace) -> None:
    """Run the program once, and print a line. The time runs from the first finished batch to the last."""
    command = [sys.executable, "-m", "boneage", "archive", str(source), "--out", str(out), "--quiet"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    process = subprocess.Popen(
        [*command, "--bundle", options.bundle, "--workers", str(workers)], stdout=subprocess.DEVNULL
    )
    first: tuple[float, int] | None = None
    memory: list[tuple[int, float]] = []
    last = (start, 0)
    while process.poll() is None:
        time.sleep(1.0)
        rows = rows_in(out)
        if rows > last[1]:
            last = (time.monotonic(), rows)
            first = first or last
        memory.append((rows, proportional_mebibytes([process.pid, *children_of(process.pid)])))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0
    seconds = time.monotonic() - start
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    count = options.count
    rate = (last[1] - first[1]) / (last[0] - first[0]) if first and last[0] > first[0] else count / seconds
    early = next((size for rows, size in memory if rows >= count / 10), 0.0)
    highest = max(size for _, size in memory)
    print(
        f"| {kind} | {workers} | {count} | {rate:.1f} | {processor / count:.3f} | {early:.0f} | {highest:.0f} |",
        flush=True,
    )


def proportional_mebibytes(processes: list[int]) -> float:
    """Return the memory of processes, each page counted once."""
    total = 0
    for process in processes:
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return total / 1024


# --- the engine alone -------------------------------------------------------------------------------------------------


def missing_files(count: int) -> Iterator[ArchiveItem]:
    """Yield items of files that do not exist."""
    return (ArchiveItem(f"/nowhere/{number}", f"1:{number}") for number in range(count))


def measure_engine(folder: Path, count: int) -> float:
    """Distribute items without work, and return the processor time of this process for each, seconds."""
    source = FileSource("nothing", count, list(missing_files(count)))
    start, processor = time.monotonic(), time.process_time()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    read_archive(source, folder / "engine", ArchiveOptions(salt=folder / "salt", bundle="fast", workers=2))
    seconds, processor = time.monotonic() - start, time.process_time() - processor
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    workers = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    print(f"{count} items without work, 2 workers: {seconds:.1f} s, {1e3 * processor / count:.2f} ms of processor time")
    print(f"for each in the distributing process, {1e3 * workers / count:.2f} ms in the workers (start included)")
    return processor / count


def simulate(overhead: float) -> None:
    """Print rates by number of workers, with the measured overhead of the one process that distributes."""
    print("\nSimulation, radiographs a second (share of the ideal rate):\n")
    print("| workers | " + " | ".join(f"{seconds:g} s each" for seconds in ASSESSMENT_SECONDS) + " |")
    print("|---:|" + "---:|" * len(ASSESSMENT_SECONDS))
    for workers in (1, 2, 4, 8, 16, 32, 64):
        rates = [simulated_rate(workers, seconds, overhead) for seconds in ASSESSMENT_SECONDS]
        cells = [
            f"{rate:.0f} ({100 * rate * seconds / workers:.0f} %)"
            for rate, seconds in zip(rates, ASSESSMENT_SECONDS, strict=True)
        ]
        print(f"| {workers} | {' | '.join(cells)} |")


def simulated_rate(workers: int, seconds: float, overhead: float, batches: int = 5000) -> float:
    """Return the rate of workers that take batches from one process, which needs time for each batch.

    Each worker has three batches waiting, as the engine gives it. Events are handled in the order of time.
    """
    free_at = 0.0  # when the distributing process is free
    ready = [(0.0, worker) for worker in range(workers) for _ in range(3)]  # requests for batches
    busy_until = [0.0] * workers
    heapq.heapify(ready)
    end = 0.0
    for _ in range(batches):
        moment, worker = heapq.heappop(ready)
        free_at = max(free_at, moment) + overhead * BATCH_ITEMS
        busy_until[worker] = max(busy_until[worker], free_at) + seconds * BATCH_ITEMS
        end = max(end, busy_until[worker])
        heapq.heappush(ready, (busy_until[worker], worker))
    return batches * BATCH_ITEMS / end


if __name__ == "__main__":
    main()
