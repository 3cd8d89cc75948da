"""Archives for the benchmarks of `boneage archive`: validation radiographs repeated under changed headers.

The files lie in a temporary folder and are removed at the end. They are never committed.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from boneage.reading.radiograph import read_radiograph
from tests.radiograph_files import coded, dicom_dataset, dicom_file, jpeg_2000, jpeg_lossless

FULL_SIZE = (2000, 1500)
"""Shape of a radiograph from the clinic, pixels."""
JPEG_2000_SYNTAX, JPEG_LOSSLESS_SYNTAX = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.70"
_MODELS = ("Alpha", "Beta", "Gamma")

KINDS = ("small", "png", "j2k", "lossless")
"""Kinds of files: as they are, or at full size as PNG, and as DICOM in JPEG 2000 or lossless JPEG."""


def validation_radiographs() -> list[tuple[Path, str, float]]:
    """Return file, sex and age label in months of the validation radiographs of 299 px in $BONEAGE_DATA."""
    root = Path(os.environ["BONEAGE_DATA"]) / "rsna"
    with (root / "radiographs.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row["split"], row["resolution"]) == ("validation", "mid")]
    return [(root / row["image"], "M" if row["male"] == "True" else "F", float(row["boneage"])) for row in rows]


def write_archive(folder: Path, kind: str, count: int) -> Path:
    """Write an archive, and return its folder, or its list for files without a header.

    Args:
        folder: A new folder.
        kind: One of `KINDS`.
        count: Number of files. Radiographs are repeated with other identifiers, or with another text in the file.
    """
    folder.mkdir(parents=True)
    radiographs = validation_radiographs()
    encoders: dict[str, Callable[[Path], bytes]] = {
        "small": Path.read_bytes,
        "png": lambda path: coded(".png", _full(path, 8)),
        "j2k": lambda path: jpeg_2000(_full(path, 12)),
        "lossless": lambda path: jpeg_lossless(_full(path, 12), 12),
    }
    is_dicom = kind in {"j2k", "lossless"}
    distinct = count if kind == "small" else min(count, _DISTINCT)
    contents: dict[int, bytes] = {}
    rows = []
    for number in range(count):
        path, sex, months = radiographs[number % min(distinct, len(radiographs))]
        place = number % min(distinct, len(radiographs))
        if place not in contents:
            contents[place] = encoders[kind](path)
        name = folder / f"{number // 1000:03d}" / (f"{number}.dcm" if is_dicom else f"{number}{_suffix(kind, path)}")
        name.parent.mkdir(exist_ok=True)
        if is_dicom:
            name.write_bytes(_dicom(number, contents[place], kind, sex, months))
        else:
            name.write_bytes(contents[place] + f"copy {number}".encode())
            rows.append((name.relative_to(folder), sex))
    if is_dicom:
        return folder
    table = folder / "list.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "sex"), *rows])
    return table


_DISTINCT = 48
"""Different radiographs at full size, which are encoded once each."""


def small_dicom_files(count: int) -> Iterator[bytes]:
    """Yield uncompressed DICOM files of the validation radiographs, each a study of its own."""
    radiographs = validation_radiographs()
    for number in range(count):
        path, sex, months = radiographs[number % len(radiographs)]
        pixels = np.asarray(np.rint(read_radiograph(path).pixels * 4095), dtype=np.uint16)
        yield dicom_file(dicom_dataset(pixels, 12, **_header(number, sex, months)))


def _suffix(kind: str, path: Path) -> str:
    return path.suffix if kind == "small" else ".png"


def _full(path: Path, bits: int) -> NDArray[Any]:
    """Return a radiograph at full size, with the grain that real ones have."""
    pixels = cv2.resize(read_radiograph(path).pixels, FULL_SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(0).normal(0.0, 0.004, FULL_SIZE)
    levels = np.rint(np.clip(pixels + grain, 0.0, 1.0) * (2**bits - 1))
    return np.asarray(levels, dtype=np.uint8 if bits == 8 else np.uint16)


def _dicom(number: int, codestream: bytes, kind: str, sex: str, months: float) -> bytes:
    empty = np.zeros(FULL_SIZE, dtype=np.uint16)
    dataset = dicom_dataset(empty, 12, **_header(number, sex, months))
    syntax = JPEG_2000_SYNTAX if kind == "j2k" else JPEG_LOSSLESS_SYNTAX
    return dicom_file(dataset, syntax, codestream)


def _header(number: int, sex: str, months: float) -> dict[str, Any]:
    """Return identifiers, dates and a device by the number of a file. The age is the label with some noise."""
    year = 2005 + number % 15
    age = max(6.0, months + float(np.random.default_rng(number).normal(0.0, 10.0)))
    born = year + 0.5 - age / 12
    month = min(12, 1 + int(born % 1 * 12))
    return {
        "SOPInstanceUID": f"1.2.826.0.1.3680043.2.1125.9.{number}.3",
        "StudyInstanceUID": f"1.2.826.0.1.3680043.2.1125.9.{number}",
        "SeriesInstanceUID": f"1.2.826.0.1.3680043.2.1125.9.{number}.2",
        "PatientID": f"P{number}",
        "PatientSex": sex,
        "PatientAge": "",
        "PatientBirthDate": f"{int(born):04d}{month:02d}15",
        "StudyDate": f"{year}0701",
        "BodyPartExamined": "HAND",
        "Manufacturer": "Rays",
        "ManufacturerModelName": _MODELS[number % len(_MODELS)],
    }
