"""Outputs of the program on unusual cases: infant, fused hand, adult, unknown sex, wrong age.

    python benchmarks/special_cases.py [--write docs/special-cases.md]

The radiographs are plates of the shipped atlas, which show no one patient. A plate stands for a radiograph of its own
age as a DICOM file, whose elements state what the case needs.
"""

from __future__ import annotations

import argparse
import io
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

import boneage
from boneage.atlas import Atlas
from boneage.bundle.bundle import Bundle
from boneage.clinical.ages import parse_written_age
from boneage.report.both_sexes import Assessed, content_of, readings_of
from boneage.report.report import report_text, text
from boneage.sex import BOTH_SEXES

PAGE_WIDTH = 100
"""Characters of a line of the page."""


@dataclass(frozen=True)
class Case:
    """A radiograph and the age that is stated for it.

    Attributes:
        title: heading on the page.
        plate: key of the plate in the open atlas.
        sex: sex as it is given.
        age: age as it is given, or empty.
        elements: elements of the DICOM file.
        meaning: sentence on the case.
    """

    title: str
    plate: str
    sex: str
    meaning: str
    age: str = ""
    elements: dict[str, str] = field(default_factory=dict)


CASES = (
    Case(
        "Infant under two years",
        "M-015",
        "M",
        "A boy of 10 months, by his dates.",
        elements={"PatientBirthDate": "20230515", "StudyDate": "20240320"},
    ),
    Case("Fused hand", "M-216", "M", "A boy of 16 years and 2 months with closed growth plates.", age="16y2m"),
    Case("Adult", "F-204", "F", "A woman of 24 years with closed growth plates.", age="24y0m"),
    Case("Unknown sex", "F-132", BOTH_SEXES, "A child of 11 years whose sex is unknown.", age="11y0m"),
    Case(
        "Another age in the file",
        "F-132",
        "F",
        "A girl of 11 years whose file states 8 years.",
        age="11y0m",
        elements={"PatientAge": "008Y"},
    ),
    Case(
        "Dates in the wrong order",
        "F-132",
        "F",
        "The study date lies before the date of birth.",
        elements={"PatientBirthDate": "20240315", "StudyDate": "20230320"},
    ),
    Case("Age in whole years", "F-132", "F", "Only the completed years are known.", elements={"PatientAge": "011Y"}),
    Case("No age", "F-132", "F", "Neither the file nor the user states an age."),
)


def dicom(pixels: np.ndarray, elements: dict[str, str]) -> bytes:
    """Return uint8 pixels (H, W) as a DICOM file with these elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    dataset.Modality, dataset.BodyPartExamined = "DX", "HAND"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    for name, value in elements.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def assessed(case: Case, bundle: Bundle, atlas: Atlas) -> Assessed:
    """Return the assessment of a case."""
    file = dicom(atlas.picture(atlas.plate(case.plate)), case.elements)
    age = parse_written_age(case.age) if case.age else None
    if case.sex == BOTH_SEXES:
        return boneage.assess_for_both_sexes(file, bundle, age=age)
    return boneage.assess(file, case.sex, bundle, age=age)


def json_keys(one: Assessed) -> Iterator[tuple[str, str]]:
    """Yield the keys of the JSON that differ between the cases, with their values."""
    documents = [reading.document() for reading in readings_of(one)]

    def each(*values: object) -> str:
        return " / ".join("null" if value is None else str(value) for value in dict.fromkeys(values))

    yield "age_months", each(*(document.age_months for document in documents))
    yield (
        "difference.months",
        each(*(None if document.difference is None else document.difference.months for document in documents)),
    )
    yield "sds", each(*(document.sds for document in documents))
    yield "determination", each(*(document.determination for document in documents))
    yield "determination_reason", each(*(document.determination_reason for document in documents))
    yield (
        "near_maturity.is_near",
        each(
            *(document.near_maturity is not None and document.near_maturity.is_near for document in documents)
        ).lower(),
    )
    warnings = dict.fromkeys(
        f"{warning.code} ({warning.severity.value})" for document in documents for warning in document.warnings
    )
    yield "warnings", ", ".join(warnings) or "none"


def row(case: Case, one: Assessed) -> list[str]:
    """Return the row of a case in the table."""
    content = content_of(one)
    readings = content.readings
    age = " / ".join(f"~~{reading.age}~~ {reading.stamp}" if reading.is_void else reading.age for reading in readings)
    values = dict(json_keys(one))
    sds = values["sds"] if values["sds"] != "null" else f"`{values['determination_reason']}`"
    return [case.title, age, sds, values["warnings"]]


def page(bundle: Bundle, atlas: Atlas) -> str:
    """Return the page as Markdown."""
    results = [(case, assessed(case, bundle, atlas)) for case in CASES]
    lines = ["# Special cases", ""]
    lines += textwrap.wrap(
        "This page has what each output states on unusual radiographs. It is written by"
        " `python benchmarks/special_cases.py --write docs/special-cases.md`, which runs the program on plates of the"
        f" open atlas with the bundle `{bundle.manifest.name}` {bundle.manifest.version}. A plate is the average of"
        " many hands and shows no patient.",
        PAGE_WIDTH,
    )
    lines += ["", "| Case | Bone age | SDS, or reason for none | Warnings |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row(*result)) + " |" for result in results]
    for case, one in results:
        lines += [
            "",
            f"## {case.title}",
            "",
            f"{case.meaning} Plate `{case.plate}`.",
            "",
            "Printed lines; pages, report and PDF have the same sentences:",
            "",
            "```text",
        ]
        lines += _wrapped(text("radiograph.dcm", one))
        lines += ["```", "", "Report text:", "", "```text", *_wrapped(report_text(one)), "```", ""]
        lines += ["| JSON key | Value |", "|---|---|", *(f"| `{key}` | {value} |" for key, value in json_keys(one))]
    return "\n".join(lines) + "\n"


def _wrapped(lines: str) -> Iterator[str]:
    for line in lines.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        yield from textwrap.wrap(line, PAGE_WIDTH, subsequent_indent=f"{indent}  ")


def main() -> None:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="file of the page; it is printed if not given")
    options = parser.parse_args()
    made = page(Bundle.open(), Atlas.open())
    if options.write is None:
        print(made, end="")
    else:
        options.write.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
