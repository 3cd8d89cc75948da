"""The page of a finished assessment: its numbers, warnings and texts, and its place in the worklist."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from tests.web.conftest import CRITICAL, answer_of_phantom, answer_with, with_result
from tests.web.views.result.result_pages import LogIn, MakeAssessment, address, text_of

pytestmark = pytest.mark.django_db


def test_done_page(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The answer with all that belongs to it."""
    body = text_of(client, address(done_assessment(answer_of_phantom(chronological=90.0))))
    for text in (
        '<p class="age">7 years 10 months</p>',
        "Likely range of this reading: 6 years 10 months to 8 years 10 months (80 % prediction interval)",
        "95 % prediction interval of the estimate: 6 years 3 months to 9 years 5 months (contained 94.5 %",
        'class="plot ruler"',
        "SDS +0.40",
        "Mean absolute difference (MAD) of the estimate: 7.5 months",
        "Normal range at this age",
        "Copy text",
        "Comparison: no earlier radiograph was compared.",
        "It is the same for every radiograph.",
        "7 years 6 months",
        "4.0 months ahead of the chronological age",
        "The radiograph has only",
        "<td>B · carpal bones</td>",
        'class="plot age-plot"',
        "this result will be deleted in",
        "Delete now",
        "copy.png",
    ):
        assert text in body, text


def test_page_has_no_inline_code(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """The content security policy would forbid it."""
    body = text_of(client, address(done_assessment()))
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", body)
    scripts = re.findall(r"<script[^>]*>", body)
    assert scripts
    assert all("src=" in script or 'type="application/json"' in script for script in scripts)


@pytest.mark.parametrize(
    ("codes", "text"),
    [(["phantom"], "this number has no meaning"), (["outside_training_range"], "outside 0 to 19 years")],
)
def test_meaningless_number_is_struck_through(
    open_mode: None, done_assessment: MakeAssessment, client: Client, codes: list[str], text: str
) -> None:
    """A meaningless number is struck through."""
    answer = with_result(answer_with(*codes), is_meaningless=True)
    body = text_of(client, address(done_assessment(answer)))
    assert "<s>7 years 10 months</s>" in body
    assert "7 years" not in body.partition("</title>")[0]
    assert text in body
    assert "Accept 7" not in body
    assert "age-plot" not in body
    assert "Mean absolute difference (MAD)" not in body


def test_warnings_by_severity(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Warnings stand by severity the gravest first."""
    assessment = done_assessment(answer_with(CRITICAL, "saturated", "read_mirrored"))
    body = text_of(client, address(assessment))
    assert body.index("note critical") < body.index("note caution") < body.index("info-warnings")
    assert "<s>7 years 10 months</s>" in body
    for word in ("Do not use this number", "Please check", "For information", "Accept 7 years 10 months…"):
        assert word in body
    assert "Mean absolute difference (MAD)" not in body
    assert "ahead of the chronological age" not in body
    assert "7 years" not in body.partition("</title>")[0]
    assert "do not use the number" in text_of(client, address(assessment, "state"), headers={"HX-Request": "true"})


def test_information_is_no_concern(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Information alone is no concern."""
    body = text_of(client, address(done_assessment(answer_with("read_mirrored"))))
    assert "info-warnings" in body
    assert not any(word in body for word in ("note critical", "note caution", "<s>"))


def test_file_names_are_escaped(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Names of files are escaped."""
    body = text_of(client, address(done_assessment(radiograph_name='<img src=x onerror="1">.png', note="<b>note</b>")))
    assert "<img src=x" not in body
    assert "<b>note</b>" not in body


def test_bundle_without_hands(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """A bundle that finds no hands."""
    bare = with_result(answer_of_phantom(), hand=None, region_ages_months={})
    unknown = dict.fromkeys(
        ("typical_error_months", "interval_months", "interval_80_months", "interval_coverage"), None
    )
    body = text_of(client, address(done_assessment(with_result(bare, **unknown))))
    assert "7 years 10 months" in body
    for missing in ("Bone age by region", "age-plot", "% range"):
        assert missing not in body


@pytest.mark.parametrize(("coverage", "held"), [(0.951, True), (None, False)])
def test_calibrated_bundle_texts(
    open_mode: None, done_assessment: MakeAssessment, client: Client, coverage: float | None, held: bool
) -> None:
    """A calibrated bundle speaks of radiographs of the sex and near the age."""
    answer = with_result(answer_of_phantom(), interval_calibrated=True, interval_coverage=coverage)
    body = text_of(client, address(done_assessment(answer)))
    assert "with readers on radiographs of this sex and near this age." in body
    assert ("(contained 95.1 % of the readings of the validation radiographs)" in body) is held
    assert "Distribution of the errors on radiographs of this sex and near this age" in body
    assert "the same for every radiograph" not in body


def test_result_without_80_percent_interval(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """An answer from before there were 80 percent ranges is shown."""
    page = address(
        done_assessment(with_result(answer_of_phantom(), interval_80_months=None, consensus_interval_80_months=None))
    )
    body = text_of(client, page)
    assert "95 % prediction interval of the estimate: 6 years 3 months to 9 years 5 months" in body
    assert "80 % prediction interval" not in body
    report = text_of(client, f"{page}report/")
    assert "95 % prediction interval of the estimate: 6 years 3 months to 9 years 5 months (contained 94.5 %" in report
    assert "80 % prediction interval" not in report


def test_place_in_worklist(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """The page counts along the worklist's last filter, and names the next radiograph; before, it counts nothing."""
    first, second = (done_assessment(radiograph_name=name) for name in ("a1.png", "a2.png"))
    done_assessment(radiograph_name="b.png")
    client = log_in()
    assert "1 of 2" not in text_of(client, address(first))
    client.post("/cases/", {"search": "a", "sort": "date"})
    body = text_of(client, address(first))
    assert "1 of 2" in body
    assert f'href="{address(second)}" data-next' in body
    body = text_of(client, address(second))
    assert "2 of 2" in body
    assert "data-next" not in body
