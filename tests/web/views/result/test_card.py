"""The card of a result: it states why numbers are withheld, and follows corrections and earlier radiographs."""

from __future__ import annotations

from datetime import date

import pytest
from django.test import Client

from boneage.web.models import Case
from tests.web.conftest import answer_of_phantom
from tests.web.views.result.result_pages import HTMX, LogIn, MakeAssessment, address, plates_of, text_of

pytestmark = pytest.mark.django_db


def test_card_states_why_numbers_are_withheld(open_mode: None, done_assessment: MakeAssessment, client: Client) -> None:
    """Without a chronological age there is neither ruler nor SDS, and the card names the reason."""
    body = text_of(client, address(done_assessment(answer_of_phantom(chronological=None))))
    assert "No SDS: the chronological age is unknown" in body
    assert 'class="plot ruler"' not in body


def test_card_follows_correction(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """A correction brings the card with its own SDS and without the estimate's range."""
    assessment, client = done_assessment(), log_in()
    correction = {"verdict": "corrected", "years": "9", "months": "6", "reason": "r"}
    body = client.post(address(assessment, "decide"), correction, headers=HTMX).content.decode()
    card = body[body.index('id="answer"') :]
    assert 'hx-swap-oob="true"' in card
    assert '<p class="age">9 years 6 months</p>' in card
    assert "Estimated bone age: 7 years 10 months" in card
    assert "Likely range" not in card
    assert "SDS +2.42: advanced" in card
    assert "corrected by a physician" in card


def test_card_of_superseded_result(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """The age of a superseded result is struck out, and nothing states what it would mean."""
    client, meanings = log_in(), ("SDS +", "within normal limits", "Likely range", 'class="plot ruler"')
    current = done_assessment()
    old = done_assessment(superseded_by=current)
    cards = [
        body[body.index('id="answer"') : body.index('id="decision"')]
        for body in (text_of(client, address(one)) for one in (current, old))
    ]
    assert all(meaning in cards[0] for meaning in meanings)
    assert not any(meaning in cards[1] for meaning in meanings)
    assert "<s>7 years 10 months</s>" in cards[1]


def test_card_shows_previous_radiograph(clinic: None, done_assessment: MakeAssessment, log_in: LogIn) -> None:
    """The child's radiograph before this one, with a link and for the viewer."""
    case = Case.objects.create(reference="P1", sex="F")
    earlier = done_assessment(
        answer_of_phantom(70.0, chronological=70.0), case=case, study_date=date(2020, 5, 1), radiograph_sha256="1" * 64
    )
    later = done_assessment(case=case, study_date=date(2022, 5, 1))
    client = log_in()
    body = text_of(client, address(later))
    assert "Previous radiograph, May 1, 2020: <b>5 years 10 months</b>" in body
    assert "Comparison with the radiograph of May 1, 2020" in body
    shown = plates_of(client, later)["earlier"]
    assert (shown["url"], shown["age"]) == (address(earlier, "radiograph.jpg"), "5 years 10 months")
