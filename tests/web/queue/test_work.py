"""A worker's work: the reading of a file, and the chronological age that is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_django.fixtures import Settings

from boneage.errors import Rejection, RejectionCode
from boneage.phantom import draw_hand
from boneage.reading.limit import CPU_SECONDS
from boneage.sex import Sex
from boneage.web.models import Assessment, State
from boneage.web.queue import jobs, work
from boneage.web.queue.answer import PutOffError
from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle
from tests.radiograph_files import dicom_dataset, dicom_file


def submitted(**fields: Any) -> Assessment:
    return Assessment(sex="F", radiograph_bytes=1, radiograph_sha256="", **fields)


def test_long_reading_is_put_off_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A radiograph that takes long is put off once."""
    limits: list[float] = []

    def timeout(_radiograph: bytes, cpu_seconds: float) -> None:
        limits.append(cpu_seconds)
        raise Rejection(RejectionCode.READING_TIMEOUT, "It takes long.")

    monkeypatch.setattr(work, "read_radiograph_limited", timeout)
    with pytest.raises(PutOffError):
        work.assess_bytes(submitted(attempt=1), b"radiograph")
    answer = work.assess_bytes(submitted(attempt=2), b"radiograph")
    assert (answer.state, answer.code) == (State.REJECTED, "reading_timeout")
    assert limits[0] < limits[1] == CPU_SECONDS


@pytest.mark.django_db
def test_study_date_of_file_is_stored(clinic: None, settings: Settings, tmp_path: Path) -> None:
    """The file's study date is kept, and the warning is shown."""
    bundle, atlas = tiny_bundle(tmp_path / "tiny", hand=True), draw_atlas(tmp_path / "atlas")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, bundle=str(bundle), atlas=str(atlas))
    pixels = np.rint(draw_hand(height=640, width=480) * 255).astype(np.uint8)
    radiograph = dicom_file(dicom_dataset(pixels, 8, PatientBirthDate="20140310", StudyDate="20240615"))
    assessment = jobs.submit(jobs.Submission(radiograph, "radiograph.dcm", Sex.FEMALE, birth_date=date(2012, 1, 5)))
    assert jobs.run(str(assessment.pk), worker="w", assess=work.assess_bytes)
    assessment.refresh_from_db()
    assert (assessment.state, assessment.study_date) == (State.DONE, date(2024, 6, 15))
    assert set(assessment.pictures.values_list("kind", flat=True)) == {"upload", "radiograph", "thumbnail", "heat"}
    assert assessment.chronological_age_months == pytest.approx(149.3, abs=0.1)
    assert assessment.chronological_age_precision == "days"
    assert "age_differs_from_file" in [warning.code for warning in assessment.finished.warnings]


@pytest.mark.django_db
def test_age_in_whole_years_stays_an_interval(clinic: None, settings: Settings, tmp_path: Path) -> None:
    """A file with `013Y`, and an age of 13 years typed without months."""
    bundle, atlas = tiny_bundle(tmp_path / "tiny", hand=True), draw_atlas(tmp_path / "atlas")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, bundle=str(bundle), atlas=str(atlas))
    pixels = np.rint(draw_hand(height=640, width=480) * 255).astype(np.uint8)
    stated = dicom_file(dicom_dataset(pixels, 8, PatientAge="013Y", StudyDate="20240615"))
    silent = dicom_file(dicom_dataset(pixels, 8, PatientAge="", StudyDate="20240615"))
    by_file = jobs.submit(jobs.Submission(stated, "a.dcm", Sex.FEMALE))
    typed = jobs.submit(
        jobs.Submission(silent, "b.dcm", Sex.FEMALE, given_age_months=156.0, given_age_precision="years")
    )
    for assessment in (by_file, typed):
        assert jobs.run(str(assessment.pk), worker="w", assess=work.assess_bytes)
        assessment.refresh_from_db()
        assert (assessment.chronological_age_months, assessment.chronological_age_precision) == (162.0, "years")
        age = assessment.finished.chronological_age
        assert age is not None
        assert (age.lower_months, age.upper_months, age.completed_months) == (156.0, 168.0, None)
        assert "age_in_whole_years" in [warning.code for warning in assessment.finished.warnings]
        assert assessment.difference_months is None
