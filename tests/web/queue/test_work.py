"""A worker's work: the child's age at the radiograph, by whoever knows it, and doubts where the file says otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from boneage.errors import Rejection, RejectionCode
from boneage.phantom import draw_hand
from boneage.reading.dicom.facts import age_at_study
from boneage.reading.facts import RadiographFacts
from boneage.reading.limit import CPU_SECONDS
from boneage.sex import Sex
from boneage.warnings_ import WarningCode
from boneage.web.chronological_age import months_between
from boneage.web.models import Assessment, State
from boneage.web.queue import jobs, work
from boneage.web.queue.answer import PutOffError
from tests.atlases import draw_atlas
from tests.bundles import tiny_bundle
from tests.radiograph_files import dicom_dataset, dicom_file

BIRTHS = st.dates(date(2000, 1, 1), date(2010, 12, 31))
STUDIES = st.dates(date(2011, 1, 1), date(2020, 12, 31))


def facts(birth: date | None, study: date | None, stated: str | None = None) -> RadiographFacts:
    """What a DICOM file with these attributes says."""
    age_months, ages_differ = age_at_study(stated, birth, study)
    return RadiographFacts(
        "dicom", 8, birth_date=birth, study_date=study, age_months=age_months, ages_differ=ages_differ
    )


def submitted(**said: Any) -> Assessment:
    return Assessment(sex="F", radiograph_bytes=1, radiograph_sha256="", **said)


def codes(radiograph: Assessment, said: RadiographFacts) -> list[WarningCode]:
    return [
        warning.code for warning in work._warnings_of_age(radiograph, said, work.chronological_age(radiograph, said))
    ]


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


@given(birth=BIRTHS, file_birth=BIRTHS, study=STUDIES, file_study=STUDIES)
def test_chronological_age_prefers_given_dates(birth: date, file_birth: date, study: date, file_study: date) -> None:
    """A date that is given goes before the files and together with its other."""
    said = facts(file_birth, file_study)
    assert work.chronological_age(submitted(), said) == months_between(file_birth, file_study)
    assert work.chronological_age(submitted(birth_date=birth), said) == months_between(birth, file_study)
    assert work.chronological_age(submitted(study_date=study), said) == months_between(file_birth, study)
    both = submitted(birth_date=birth, study_date=study, given_age_months=1.0)
    assert work.chronological_age(both, said) == months_between(birth, study)
    assert work.chronological_age(submitted(birth_date=birth, given_age_months=77.0), said) == 77.0


@given(birth=BIRTHS, file_birth=BIRTHS, study=STUDIES)
def test_warning_for_another_child(birth: date, file_birth: date, study: date) -> None:
    """A month and less may be how somebody counted."""
    is_other = abs(months_between(birth, file_birth)) > 1
    found = codes(submitted(birth_date=birth), facts(file_birth, study))
    assert found == ([WarningCode.AGE_DIFFERS_FROM_FILE] if is_other else [])


@given(years=st.integers(1, 17), months=st.floats(0, 240))
def test_warning_tolerates_whole_years(years: int, months: float) -> None:
    """An age in whole years is not taken for exact."""
    found = codes(submitted(given_age_months=months), facts(None, None, f"{years:03d}Y"))
    assert bool(found) == (abs(months - 12 * years) > 12)


@given(birth=BIRTHS, study=STUDIES)
def test_chronological_age_unknown(birth: date, study: date) -> None:
    """What does not tell an age tells none."""
    nothing = facts(None, None)
    for radiograph in (submitted(), submitted(birth_date=birth), submitted(study_date=study)):
        assert work.chronological_age(radiograph, nothing) is None
        assert codes(radiograph, nothing) == []
    before = facts(None, birth - timedelta(days=1))
    assert work.chronological_age(submitted(birth_date=birth), before) is None
    contradictory = replace(facts(birth, study), ages_differ=True, age_months=None)
    assert work.chronological_age(submitted(), contradictory) is None
    assert work.chronological_age(submitted(study_date=study), contradictory) is None


@pytest.mark.django_db
def test_study_date_of_file_is_stored(clinic: None, settings: Settings, tmp_path: Path) -> None:
    """The files study date is kept and the doubt shown."""
    bundle, atlas = tiny_bundle(tmp_path / "tiny", hand=True), draw_atlas(tmp_path / "atlas")
    settings.CONFIGURATION = replace(settings.CONFIGURATION, bundle=str(bundle), atlas=str(atlas))
    pixels = np.rint(draw_hand(height=640, width=480) * 255).astype(np.uint8)
    radiograph = dicom_file(dicom_dataset(pixels, 8, PatientBirthDate="20140310", StudyDate="20240615"))
    assessment = jobs.submit(jobs.Submission(radiograph, "radiograph.dcm", Sex.FEMALE, birth_date=date(2012, 1, 5)))
    assert jobs.run(str(assessment.pk), worker="w", assess=work.assess_bytes)
    assessment.refresh_from_db()
    assert (assessment.state, assessment.study_date) == (State.DONE, date(2024, 6, 15))
    assert assessment.chronological_age_months == pytest.approx(149.3, abs=0.1)
    result = assessment.result
    assert result is not None
    assert "age_differs_from_file" in [warning["code"] for warning in result["warnings"]]
