"""Deletion: what belongs to a case goes with it, and the rest after the retention period."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from boneage.web.models import Assessment, Case
from boneage.web.node import outbox, studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Delivery, Instance, ResultFile
from boneage.web.node.retention import sweep
from boneage.web.queue import jobs
from tests.web.node.arrivals import header, instance

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("node")]


def test_case_takes_its_instances_along() -> None:
    """A case that is deleted leaves no instance, result or delivery. The same radiograph may come again."""
    DatabaseIntake().take(instance(header()), header())
    studies.advance()
    result = ResultFile.objects.create(
        instance=Instance.objects.get(), assessment=Assessment.objects.get(), kind="sc", file=b"x", sop_instance_uid="1"
    )
    outbox.add(result, ["pacs"])
    assert jobs.delete_case(Case.objects.get())
    assert not any(model.objects.exists() for model in (Instance, ResultFile, Delivery))
    DatabaseIntake().take(instance(header()), header())
    assert Instance.objects.count() == 1


@pytest.mark.parametrize(("days", "left"), [(0, 2), (30, 1)])
def test_instances_without_assessment_are_swept(settings: Settings, days: int, left: int) -> None:
    """Skipped radiographs, and those that nobody stated the sex of, go after the retention period."""
    settings.CONFIGURATION = replace(settings.CONFIGURATION, retention_days=days)
    for number in (1, 2):
        of = header(number, study=f"1.2.{number}", sex="")
        DatabaseIntake().take(instance(of), of)
    Instance.objects.filter(study_uid="1.2.1").update(changed_at=timezone.now() - timedelta(days=31))
    sweep()
    assert Instance.objects.count() == left


def test_skipped_instance_keeps_no_patient() -> None:
    """A radiograph that is not read leaves its checksums, the reason, and the accession number to look it up by."""
    of = header(body_part="CHEST")
    DatabaseIntake().take(instance(of), of)
    studies.advance()
    row = Instance.objects.get()
    assert (row.patient_id, row.accession, row.header_values, row.file) == ("", "A-99", None, None)
    assert (row.reason, row.data_sha256) == ("body_part", of.data_sha256)
