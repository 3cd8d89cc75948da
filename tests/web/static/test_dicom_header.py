"""The browser finds in the head of a DICOM file what the program's own reader finds, and garbage is silent."""

from __future__ import annotations

import json
import logging
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import boneage.web
from boneage.clinical.ages import AgeIssue, age_in_file
from boneage.reading.dicom.facts import read_facts
from tests.radiograph_files import dicom_dataset, dicom_file

SCRIPT = Path(boneage.web.__file__).parent / "static" / "web" / "dicom_header.js"
NODE = shutil.which("node")
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
PIXELS = np.zeros((16, 16), np.uint16)

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def run_node(folder: Path, program: str, files: list[bytes]) -> Any:
    """Output, as JSON, of a program with the reader's functions and ``radiographs``, a list of Uint8Array."""
    shutil.copy(SCRIPT, folder / "dicom_header.mjs")
    names = [f"{number}.dcm" for number in range(len(files))]
    for name, content in zip(names, files, strict=True):
        (folder / name).write_bytes(content)
    (folder / "main.mjs").write_text(
        'import { readFileSync } from "node:fs";\nimport { headerOf, readHeader } from "./dicom_header.mjs";\n'
        f"const radiographs = {json.dumps(names)}.map((name) => new Uint8Array(readFileSync(name)));\n{program}"
    )
    assert NODE is not None
    done = subprocess.run([NODE, "main.mjs"], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ_ALL = "console.log(JSON.stringify(radiographs.map(readHeader)));"


def nested(undefined: bool) -> Sequence:
    """A sequence with a patient of another sex in it, two levels deep; lengths given or left open."""
    inner, outer = Dataset(), Dataset()
    inner.PatientSex, inner.PatientBirthDate = "M", "19000101"
    outer.OtherPatientIDsSequence = Sequence([inner])
    sequence = Sequence([outer, Dataset()])
    for item in (inner, outer):
        item.is_undefined_length_sequence_item = undefined
    outer["OtherPatientIDsSequence"].is_undefined_length = undefined
    return sequence


def drawn(random_: random.Random) -> Dataset:
    """A data set whose patient's data are there, missing or malformed at random."""
    dataset: Dataset = dicom_dataset(PIXELS, 12)
    values = {
        "PatientSex": ["F", "M", "O", "", "m", None],
        "PatientBirthDate": ["20120304", "2012.03.04", "20120231", "soon", "", None],
        "StudyDate": ["20200615", "20110101", "", None],
        "AcquisitionDate": ["20200616", None],
        "PatientAge": ["008Y", "099M", "012W", "010D", "8", "", None],
    }
    for keyword, choices in values.items():
        value = random_.choice(choices)
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    if random_.random() < 0.5:
        undefined = random_.random() < 0.5
        dataset.ReferencedStudySequence = nested(undefined)  # 0008,1110: before the patient
        dataset["ReferencedStudySequence"].is_undefined_length = undefined
    return dataset


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_header_agrees_with_reader(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It finds what the programs reader finds."""
    caplog.set_level(logging.CRITICAL)
    random_ = random.Random(7)
    datasets = [drawn(random_) for _ in range(300)]
    syntaxes = [random_.choice([IMPLICIT, EXPLICIT]) for _ in datasets]
    files = [dicom_file(dataset, syntax) for dataset, syntax in zip(datasets, syntaxes, strict=True)]
    files = [file if random_.random() < 0.8 else file[132:] for file in files]  # some without a preamble
    headers = run_node(tmp_path, READ_ALL, files)
    for dataset, header in zip(datasets, headers, strict=True):
        facts = read_facts(dataset, bits_stored=12, photometric="MONOCHROME2", inverted=False)
        assert header["sex"] == facts.sex
        assert header["birthDate"] == (facts.birth_date.isoformat() if facts.birth_date else None)
        assert header["studyDate"] == (facts.study_date.isoformat() if facts.study_date else None)
        in_file = age_in_file(facts.patient_age, facts.birth_date, facts.study_date)
        assert header["ageMonths"] == (None if in_file.age is None else pytest.approx(in_file.age.lower_months))
        assert header["ageInYears"] == (in_file.age is not None and not in_file.age.is_known_to_the_month)
        assert header["agesDiffer"] == (in_file.issue in (AgeIssue.AGES_DIFFER, AgeIssue.STUDY_BEFORE_BIRTH))
    assert sum(header["sex"] is not None for header in headers) > 50
    assert sum(header["ageMonths"] is not None for header in headers) > 50


def test_header_of_unsupported_file(tmp_path: Path) -> None:
    """A file that is not DICOM or cannot be read has no facts."""
    from boneage.phantom import sample_png

    big_endian = dicom_file(dicom_dataset(PIXELS, 12), "1.2.840.10008.1.2.2")
    png, empty, big = run_node(tmp_path, READ_ALL, [sample_png(), b"", big_endian])
    assert png is None
    assert empty is None
    assert big["sex"] is None


def test_header_reads_beginning_only(tmp_path: Path) -> None:
    """Only the beginning of a file is read."""
    radiograph = dicom_file(dicom_dataset(PIXELS, 12)) + bytes(500_000)
    program = """
    const asked = [];
    const file = { slice: (from, to) => { asked.push([from, to]); return new Blob([radiographs[0]]).slice(from, to); }
    }; const said = await headerOf(file);
    const broken = await headerOf({ slice() { throw new Error("the disk is gone"); } });
    console.log(JSON.stringify({ asked, sex: said.sex, broken }));"""
    assert run_node(tmp_path, program, [radiograph]) == {"asked": [[0, 262144]], "sex": "F", "broken": None}


def test_header_of_damaged_file_never_fails(tmp_path: Path) -> None:
    """Truncated and garbled files are never an error."""
    dataset = dicom_dataset(PIXELS, 12, ReferencedStudySequence=nested(undefined=True))
    dataset["ReferencedStudySequence"].is_undefined_length = True
    files = [dicom_file(dataset, IMPLICIT), dicom_file(dataset, EXPLICIT)]
    program = """
    let seed = 1;
    const random = (below) => { seed = (seed * 48271) % 2147483647; return seed % below; };
    let count = 0, found = 0;
    const allowed = (said) => said === null || (["F", "M", null].includes(said.sex)
      && [said.birthDate, said.studyDate].every((day) => day === null || /^\\d{4}-\\d{2}-\\d{2}$/.test(day))
      && (said.ageMonths === null || Number.isFinite(said.ageMonths)));
    const attempt = (bytes) => { const said = readHeader(bytes); count += 1; found += Boolean(said && said.sex);
      if (!allowed(said)) throw new Error(JSON.stringify(said)); };
    for (const radiograph of radiographs) {
      for (let length = 0; length <= radiograph.length; length += 1) attempt(radiograph.subarray(0, length));
      for (let round = 0; round < 4000; round += 1) {
        const garbled = radiograph.slice();
        for (let times = 1 + random(12); times > 0; times -= 1)
          garbled[random(garbled.length)] = random(4) ? random(256) : 255;
        attempt(garbled);
      }
      for (let round = 0; round < 500; round += 1) {
        const noise = Uint8Array.from({ length: 600 }, () => random(256));
        noise.set([68, 73, 67, 77], 128);
        attempt(noise);
      }
    }
    console.log(JSON.stringify({ count, found }));"""
    header = run_node(tmp_path, program, files)
    assert header["count"] > 9000
    assert header["found"] > 4000
