"""Archive of a real PACS: objects pulled from Orthanc over DICOMweb, while Orthanc is restarted.

    python benchmarks/archive_pacs.py --objects 2000 --restarts 2 --bundle fast

Validation radiographs of 299 px in $BONEAGE_DATA become DICOM objects, each in a study of its own, and are stored in an
Orthanc of this machine. ``boneage archive`` reads them; meanwhile Orthanc is stopped for some seconds and started
again. At the end each object must have one row with its own checksum. The exit status is 1 otherwise.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from archive_files import small_dicom_files
from boneage.files import sha256_of
from tests.node.orthanc import Orthanc, free_port

AWAY_SECONDS = 5.0


def main() -> int:
    """Run the benchmark, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--bundle", default="fast")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    plugin = next(Path("/usr").glob("*/orthanc/plugins/libOrthancDicomWeb*"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pacs").mkdir()
        server = Orthanc(folder / "pacs", free_port(), Plugins=[str(plugin)])
        server.start()
        try:
            checksums = set()
            for file in small_dicom_files(options.objects):
                server.upload(file)
                checksums.add(sha256_of(file))
            print(f"{len(checksums)} objects are stored", flush=True)
            return pull(server, folder, options, checksums)
        finally:
            server.stop()


def pull(server: Orthanc, folder: Path, options: argparse.Namespace, checksums: set[str]) -> int:
    """Read the PACS with the program, restart the PACS on the way, and compare."""
    root, out = f"http://127.0.0.1:{server.http_port}/dicom-web", folder / "out"
    command = [sys.executable, "-m", "boneage", "archive", "--dicomweb", root, "--out", str(out), "--identifiers"]
    command += ["--bundle", options.bundle, "--workers", str(options.workers)]
    start = time.monotonic()
    process = subprocess.Popen(command)
    for number in range(options.restarts):
        wanted = options.objects * (number + 1) // (options.restarts + 1)
        while rows_in(out) < wanted and process.poll() is None:
            time.sleep(0.5)
        print(f"restart {number + 1} after {rows_in(out)} rows", flush=True)
        server.stop()
        time.sleep(AWAY_SECONDS)
        server.start()
    status = process.wait()
    seconds = time.monotonic() - start
    with (out / "radiographs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    same = len(rows) == len(checksums) and {row["radiograph_sha256"] for row in rows} == checksums
    rejected = sum(bool(row["error"]) for row in rows)
    print(f"exit status {status}; {len(rows)} rows, {rejected} rejected; {seconds:.0f} s", flush=True)
    print("each object has one row with its own checksum" if same else "ROWS AND OBJECTS DIFFER")
    return 0 if same and status == 0 else 1


def rows_in(out: Path) -> int:
    """Return the number of outcomes in the journal."""
    return sum(path.read_bytes().count(b"\n") for path in out.glob("state/rows-*.jsonl"))


if __name__ == "__main__":
    sys.exit(main())
