"""One radiograph through every output of command line and service: they agree in every clinical value."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils.translation import override
from pytest_django.fixtures import Settings

import boneage
from boneage import composition
from boneage.bundle.bone_ages import BoneAge
from boneage.bundle.bundle import Bundle
from boneage.checks import radiograph as checks
from boneage.hand.bones import BONES
from boneage.phantom import draw_hand
from boneage.report import report as files
from boneage.report.content import ReportContent, report_content
from boneage.report.page import page
from boneage.sex import Sex
from boneage.web.cases import exports
from boneage.web.models import Assessment
from boneage.web.queue import jobs, work
from boneage.web.report.content import one_sex_content, report_of
from boneage.web.report.pdf import draw
from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle
from tests.radiograph_files import dicom_dataset, dicom_file
from tests.web.pdf_text import pages_in, words_in_pdf

AGES = {
    "dates": {"PatientBirthDate": "20140310", "StudyDate": "20240615"},
    "whole years": {"PatientAge": "013Y", "StudyDate": "20240615"},
    "no age": {"PatientAge": ""},
}
"""Elements of the DICOM file by what it states about the child's age."""

NOT_COMPARED = {"timings_ms", "image", "id", "decision", "plates", "nearest_plates"}
"""Keys of the JSON that differ between the command line and the service."""


def text_of(page: str) -> str:
    """The text of a page, without spaces."""
    return "".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


@pytest.mark.django_db
@pytest.mark.parametrize("language", ["en", "pt-br", "zh-hans"])
@pytest.mark.parametrize("stated", AGES)
def test_all_outputs_agree(
    open_mode: None,
    client: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    stated: str,
    language: str,
) -> None:
    """JSON, pages, report file, PDF, tables, API and printed lines, in three languages."""
    # Otherwise the drawn hand is recognised as the phantom, and has no SDS.
    monkeypatch.setattr(checks, "phantom_similarity", lambda *_: 0.0)
    # The tiny bundle does not read single bones.
    monkeypatch.setattr(composition, "bone_ages", lambda *_: bones())
    bundle, atlas = tiny_bundle(tmp_path / "tiny", hand=True), draw_atlas(tmp_path / "atlas")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, bundle=str(bundle), atlas=str(atlas))
    pixels = np.rint(draw_hand(height=640, width=480) * 255).astype(np.uint8)
    path = tmp_path / "hand.dcm"
    path.write_bytes(dicom_file(dicom_dataset(pixels, 8, **AGES[stated])))

    by_command = boneage.assess(path, sex="F", bundle=bundle)
    submitted = jobs.submit(jobs.Submission(path.read_bytes(), path.name, Sex.FEMALE))
    assert jobs.run(str(submitted.pk), worker="w", assess=work.assess_bytes)
    submitted.refresh_from_db()

    agree_in_numbers(client, submitted, by_command, Bundle.open(bundle))
    with override(language):
        content = one_sex_content(submitted)
        of_command = report_content(by_command.document())
        assert content.report_text == of_command.report_text
        assert content.sds == of_command.sds
        assert content.age == of_command.age
        texts = {
            "page": text_of(get(client, submitted, "report/", language)),
            "PDF": words_in_pdf(draw(report_of(submitted))),
            "report file": text_of(page(by_command)),
            "printed": "".join(files.text("hand.dcm", by_command).split()),
        }
        assert len(content.bones) == 8
        assert pages_in(draw(report_of(submitted))) == 1
        for name, text in texts.items():
            by_bone = () if name == "printed" else (cell for row in content.bones for cell in row)
            for line in (*clinical_lines(content), *by_bone):
                assert "".join(line.split()) in text, (name, line)
        card = text_of(get(client, submitted, "", language))
        assert "".join(content.sds.split()) in card
        assert "".join(content.age.split()) in card
    check_age(content, stated)


def clinical_lines(content: ReportContent) -> list[str]:
    """Lines that every output has."""
    return [
        line
        for line in (
            content.age,
            content.months,
            content.likely_range,
            content.wide_range,
            content.chronological_age,
            content.difference,
            content.sds,
            content.normal_range,
            content.reference,
        )
        if line
    ]


def bones() -> tuple[BoneAge, ...]:
    """Single bones, of which one was not read."""
    corners = ((100.0, 100.0), (140.0, 100.0), (140.0, 140.0), (100.0, 140.0))
    return tuple(
        BoneAge(bone.name, corners, None, 90.25 + place, (70.0, 120.5), 1 / len(BONES))
        if bone.name != "carpals"
        else BoneAge(bone.name, corners, "implausible", weight=1 / len(BONES))
        for place, bone in enumerate(BONES)
    )


def agree_in_numbers(client: Client, submitted: Assessment, by_command: Any, bundle: Bundle) -> None:
    """JSON of command line, service and API; table rows of command line and service."""
    printed = json.loads(files.json_text(by_command))
    stored = json.loads(client.get(f"/assessments/{submitted.pk}/result.json").content)
    answered = client.get(f"/api/assessments/{submitted.pk}/result").json()
    for key in printed.keys() - NOT_COMPARED:
        assert stored[key] == printed[key], key
        assert answered[key] == printed[key], key
    row = dict(zip(files.CSV_COLUMNS, *files.csv_rows("hand.dcm", by_command, files.csv_settings(bundle)), strict=True))
    table = client.get(f"/assessments/{submitted.pk}/result.csv").content.decode("utf-8-sig")
    [cells] = csv.DictReader(io.StringIO(table, newline=""))
    components = client.get(f"/api/assessments/{submitted.pk}/fhir").json()["entry"][1]["resource"]["component"]
    of_bones = [one["valueQuantity"]["value"] for one in components if "BABONE" in str(one) and "valueQuantity" in one]
    assert of_bones == [round(bone["age_months"], 1) for bone in printed["bones"] if bone["age_months"] is not None]
    assert len(of_bones) == len(BONES) - 1
    for column in set(exports.COLUMNS) & set(row) - {"image", "program_version"}:
        assert cells[column] == row[column], column


def check_age(content: ReportContent, stated: str) -> None:
    """Check what the stated age allows."""
    assert bool(content.chronological_age) is (stated != "no age")
    assert bool(content.difference) is (stated != "no age")
    assert bool(content.reference) is (stated != "no age")
    assert bool(content.sds)


def get(client: Client, submitted: Assessment, address: str, language: str) -> str:
    response = client.get(f"/assessments/{submitted.pk}/{address}", headers={"Accept-Language": language})
    assert response.status_code == 200
    return str(response.content.decode())
