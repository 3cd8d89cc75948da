"""Which radiographs of a child are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from django.utils import timezone

from boneage.web.cases.earlier import earlier_of
from boneage.web.cases.follow_up import follow_up, radiographs_of, usable
from boneage.web.cases.registered import registered
from boneage.web.models import BOTH, Assessment, Case
from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with, with_result

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clinic")]

Maker = Callable[..., Assessment]


@pytest.fixture
def child() -> Case:
    return Case.objects.create(reference="P-1", sex="F", birth_date=date(2012, 1, 1))


@pytest.fixture
def make(child: Case, done_assessment: Maker) -> Maker:
    """A radiograph of the child at an age in years, of a file of its own."""

    def made(years: float, months: float = 94.0, **fields: Any) -> Assessment:
        fields.setdefault("radiograph_sha256", f"{years:064}".replace(".", "0"))
        fields.setdefault("answer", answer_of_phantom(months, chronological=12 * years))
        return done_assessment(case=child, **fields)

    return made


def compared(child: Case) -> list[Assessment]:
    course = follow_up(radiographs_of(child), child.sex)
    return [] if course is None else list(course.assessments)


def test_follow_up_in_order_of_age(child: Case, make: Maker) -> None:
    """The last change comes first; three radiographs have an overall change, two have none."""
    third, first = make(9, 120.0), make(7, 90.0)
    course = follow_up(radiographs_of(child), "F")
    assert course is not None
    assert course.overall is None
    second = make(8, 104.0)
    course = follow_up(radiographs_of(child), "F")
    assert course is not None
    assert course.assessments == (first, second, third)
    assert [interval.later for interval in course.intervals] == [third, second]
    assert course.overall is not None
    assert (course.overall.earlier, course.overall.change.difference_months) == (first, 30.0)
    assert list(course.sds) == [first.pk, second.pk, third.pk]


def test_same_pixels_in_another_file_are_one_radiograph(child: Case, make: Maker) -> None:
    """A radiograph that came twice, under two identifiers and headers, is no follow-up."""
    same = {"answer": replace(answer_of_phantom(94.0, chronological=84.0), pixels_sha256="a" * 64)}
    first, again = make(7, **same), make(7, radiograph_sha256="b" * 64, **same)
    assert compared(child) == [again]
    assert earlier_of(again) is None
    assert again.same_radiograph_earlier == first
    assert first.same_radiograph_earlier is None
    other = make(8, 104.0)
    assert compared(child) == [again, other]


def test_follow_up_leaves_out_unusable(child: Case, make: Maker) -> None:
    """A critical estimate, one that was assessed again, one without an age, and one that is no bone age."""
    good = make(8)
    make(9, answer=answer_with(CRITICAL))
    make(10, superseded_by=good)
    make(11, answer=answer_of_phantom(99.0, chronological=None))
    make(12, answer=with_result(answer_of_phantom(99.0, chronological=144.0), is_meaningless=True))
    assert compared(child) == [good]


def test_follow_up_leaves_out_other_sex(child: Case, make: Maker) -> None:
    """A result by the networks for boys is not compared in the case of a girl."""
    girls = make(8)
    boys = make(9, answer=answer_of_phantom(99.0, chronological=108.0, sex="M"), sex="M")
    assert compared(child) == [girls]
    assert usable([girls, boys]) == [girls]


def test_follow_up_counts_file_once(child: Case, make: Maker) -> None:
    """The decided assessment of a file counts, else the last one."""
    make(8, radiograph_sha256="a" * 64, submitted_at=timezone.now() - timedelta(days=1))
    last = make(8, radiograph_sha256="a" * 64)
    assert compared(child) == [last]
    decided = make(8, radiograph_sha256="a" * 64, submitted_at=timezone.now() - timedelta(days=2))
    decided.decision, decided.decided_months = "accepted", 94.0
    decided.save()
    assert compared(child) == [decided]


def test_follow_up_needs_order(child: Case, make: Maker) -> None:
    """Dates and ages that contradict each other, and a sex that is unknown, give no comparison."""
    make(8, study_date=date(2024, 1, 1))
    make(9, study_date=date(2023, 1, 1))
    assert len(compared(child)) == 2  # the dates count
    assert follow_up(radiographs_of(child), BOTH) is None
    assert follow_up([], "F") is None


def test_registered_radiograph(make: Maker) -> None:
    """The transform brings capitate and fingertip to their places in the frame; without a hand there is none."""
    shown = registered(make(8))
    assert shown is not None
    a, b, c, d, e, f = (float(value) for value in shown.matrix.removeprefix("matrix(").removesuffix(")").split())
    for (across, down), place in (((0.5, 0.1), (800, 100)), ((0.5, 0.75), (800, 1600))):
        x, y = across * shown.width, down * shown.height
        assert (a * x + c * y + e, b * x + d * y + f) == pytest.approx(place, abs=0.5)
    assert not shown.is_mirrored
    assert registered(make(9, answer=with_result(answer_of_phantom(), hand=None))) is None
