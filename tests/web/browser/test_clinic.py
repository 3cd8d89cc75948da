"""The mode ``clinic`` in a real browser: log in, a child over time, the worklist, roles, the audit log."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from boneage.strict import to_plain
from boneage.warnings_ import ResultWarning
from tests.web.browser.conftest import Service
from tests.web.browser.drawn_radiographs import plate
from tests.web.browser.looks import barriers, shoot
from tests.web.browser.steps import RESULT, drop, log_in, submit
from tests.web.conftest import CRITICAL, code_and_reason
from tests.web.warned import WARNING_VALUES

FITS = """(place) => [...document.querySelectorAll(place + " .scroll")]
  .every((one) => one.scrollWidth <= one.clientWidth)"""
"""True if all tables of a part of the page are shown without a scroll bar."""


def test_pages_need_login(page: Page, clinic_service: Service) -> None:
    """Nothing is seen without logging in."""
    for path in ("/", "/cases/", "/atlas/", "/administration/audit/"):
        page.goto(f"{clinic_service.url}{path}")
        expect(page).to_have_url(re.compile("/account/login"))
    assert barriers(page) == []
    shoot(page, "login")


def test_wrong_password_is_reported(page: Page, clinic_service: Service) -> None:
    """A wrong password is reported."""
    log_in(page, clinic_service, "nobody", "wrong")
    expect(page.get_by_role("alert")).to_be_visible()


def test_password_can_be_shown(page: Page, clinic_service: Service) -> None:
    """A password can be shown while it is typed."""
    page.goto(f"{clinic_service.url}/account/login")
    field = page.get_by_label("Password", exact=True)
    button = page.get_by_role("button", name="Show what is typed: Password")
    field.fill("what I type")
    field.press("Tab")
    expect(button).to_be_focused()
    button.press("Space")
    expect(field).to_have_attribute("type", "text")
    expect(button).to_have_attribute("aria-pressed", "true")
    assert barriers(page) == []
    button.press("Space")
    expect(field).to_have_attribute("type", "password")


def test_account_sessions_and_tokens(page: Page, browser: Browser, clinic_service: Service) -> None:
    """A user sees sessions and issues a token."""
    elsewhere = browser.new_context(locale="en-GB").new_page()
    log_in(elsewhere, clinic_service)
    log_in(page, clinic_service)
    page.goto(f"{clinic_service.url}/account/")
    page.get_by_label("Purpose").fill("PACS")
    page.get_by_label("Valid for").select_option("30 days")
    page.get_by_role("button", name="Issue a token").click()
    expect(page.locator("code.secret")).to_contain_text("ba_")
    shoot(page, "account", whole=True)
    expect(page.get_by_text("This session")).to_have_count(1)
    page.get_by_role("button", name="End all other sessions").click()
    expect(page.get_by_role("status")).to_contain_text("ended")
    elsewhere.goto(f"{clinic_service.url}/cases/")
    expect(elsewhere).to_have_url(re.compile("/account/login"))
    elsewhere.context.close()


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_page_asks_before_session_ends(page: Page, clinic_service: Service, scheme: str) -> None:
    """A page asks before its session ends."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.clock.install()
    log_in(page, clinic_service)
    page.goto(f"{clinic_service.url}/account/")
    dialog = page.get_by_role("dialog", name="Are you still there?")
    page.clock.fast_forward("27:00")
    expect(dialog).to_be_hidden()
    page.clock.fast_forward("01:30")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Stay logged in")).to_be_focused()
    assert barriers(page) == []
    shoot(page, f"idle-{scheme}")
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    page.get_by_label("Purpose").fill("what I had begun")
    page.clock.fast_forward("27:00")
    expect(page.get_by_label("Purpose")).to_have_value("what I had begun")
    page.clock.fast_forward("04:00")
    expect(page.get_by_label("Purpose")).to_have_value("")  # loaded again: the server decides who sees it


def test_follow_up_of_child(page: Page, clinic_service: Service, tmp_path: Path) -> None:
    """A child over time."""
    log_in(page, clinic_service)
    for months, study in ((60, "2020-03-01"), (84, "2022-03-01"), (106, "2024-02-01")):
        radiograph, _ = plate(tmp_path, "F", months)
        submit(page, clinic_service, radiograph, reference="child 7", birth="2015-02-01", study=study)
        page.locator("#decision").get_by_role("button", name=re.compile("^Accept")).click()
        expect(page.locator("#decision").get_by_role("status")).to_contain_text("Accepted")
    page.get_by_role("link", name=re.compile("child 7")).click()
    expect(page.get_by_role("heading", name="child 7")).to_be_visible()
    expect(page.locator("#radiographs tbody tr")).to_have_count(3)
    expect(page.locator("figure svg.plot")).to_have_count(2)
    expect(page.locator(".interval").first).to_contain_text("Gain:")
    assert page.evaluate(FITS, "main")
    assert barriers(page) == []
    shoot(page, "follow-up", whole=True)
    enter_measurements(page)
    compare_radiographs(page)

    page.goto(f"{clinic_service.url}/cases/")
    expect(page.locator("#worklist tbody tr").first).to_be_visible()
    page.locator("#id_search").fill("no such child")
    expect(page.locator("#worklist tbody tr")).to_have_count(0)
    assert "child" not in page.url
    page.locator("#id_search").fill("child 7")
    expect(page.locator("#worklist tbody tr")).not_to_have_count(0)
    expect(page.locator("#worklist td.sds .tag")).to_be_visible()
    page.get_by_label("Determination").select_option("None")
    expect(page.locator("#worklist tbody tr")).to_have_count(0)
    page.get_by_label("Determination").select_option("Any")
    page.get_by_role("button", name="SDS").click()
    expect(page.locator("th.col-sds")).to_have_attribute("aria-sort", "ascending")
    assert page.evaluate(FITS, "#worklist")
    assert barriers(page) == []
    shoot(page, "worklist")


def enter_measurements(page: Page) -> None:
    """Enter measurements on the page of a child; a wrong unit is rejected at its field."""
    height = page.locator("#height")
    height.get_by_text("Measurements", exact=True).click()
    for label, value in (("Height, cm", "1.3"), ("Weight, kg", "28")):
        height.get_by_label(label, exact=True).fill(value)
    height.get_by_label("Height of the mother, cm").fill("165")
    height.get_by_label("Height of the father, cm").fill("178")
    height.get_by_label("None of these").check()
    height.get_by_role("button", name="Save the measurements").click()
    expect(height).to_contain_text("This looks like metres.")
    assert barriers(page) == []
    height.get_by_label("Height, cm", exact=True).fill("130")
    height.get_by_role("button", name="Save the measurements").click()
    expect(page.get_by_role("main").get_by_role("status").first).to_contain_text("have been saved")
    expect(height.locator("table tbody tr")).not_to_have_count(0)
    expect(height).to_contain_text("165.0 cm")  # the target height
    assert barriers(page) == []
    shoot(page, "adult-height", whole=True)


def compare_radiographs(page: Page) -> None:
    """Show two radiographs: both zoom together, and a key switches between them when one lies over the other."""
    page.get_by_role("link", name="Compare two radiographs").click()
    pictures = page.locator(".registered svg")
    expect(pictures).to_have_count(2)
    whole = pictures.first.get_attribute("viewBox")
    assert whole is not None
    page.get_by_role("button", name="Zoom in").click()
    expect(pictures.first).not_to_have_attribute("viewBox", whole)
    assert pictures.first.get_attribute("viewBox") == pictures.last.get_attribute("viewBox")
    page.get_by_role("button", name="Whole hand").click()
    assert barriers(page) == []
    shoot(page, "comparison")
    page.get_by_role("button", name="One over the other").click()
    expect(page.locator(".registered").first).to_be_hidden()
    page.locator("body").press("f")
    expect(page.locator(".registered").first).to_be_visible()
    expect(page.locator(".registered").last).to_be_hidden()


def test_sex_unknown_or_other(page: Page, clinic_service: Service, tmp_path: Path) -> None:
    """A radiograph is read for both sexes, and both readings stand side by side."""
    log_in(page, clinic_service)
    radiograph, _ = plate(tmp_path, "F", 118)
    page.goto(f"{clinic_service.url}/")
    drop(page, radiograph)
    row = page.locator("li.radiograph")
    row.get_by_text("Unknown or other").click()
    row.locator("[data-send]").click()
    page.wait_for_url(RESULT)
    expect(page.get_by_role("heading", name="Female standards")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("heading", name="Male standards (Greulich & Pyle)", exact=True)).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert barriers(page) == []
    shoot(page, "both-sexes", whole=True)


def warn(service: Service, address: str, *keys: str) -> None:
    """Give a finished assessment other warnings, as if the checks had raised them."""
    warnings = [ResultWarning.of(*code_and_reason(key), **WARNING_VALUES) for key in keys]
    written = json.dumps([to_plain(warning.document()) for warning in warnings])
    key = address.rstrip("/").split("/")[-1].replace("-", "")
    with closing(sqlite3.connect(service.store / "boneage.sqlite3", timeout=30)) as database, database:
        changed = database.execute(
            "UPDATE web_assessment SET severity = ?, result = json_set(result, '$.warnings', json(?)) WHERE id = ?",
            (warnings[0].severity.value, written, key),
        )
        assert changed.rowcount == 1


def test_critical_number_needs_second_click(page: Page, clinic_service: Service, tmp_path: Path) -> None:
    """A critical number is marked and accepted by a second click."""
    log_in(page, clinic_service)
    radiograph, _ = plate(tmp_path, "F", 94)
    submit(page, clinic_service, radiograph, reference="child 9", birth="2015-02-01", study="2023-03-01")
    address = page.url
    warn(clinic_service, address, CRITICAL, "saturated", "read_mirrored")
    for scheme in ("light", "dark"):
        for width in (390, 1440):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            page.set_viewport_size({"width": width, "height": 900})
            for name, path in (("result", address), ("report", f"{address}report/"), ("list", "/cases/")):
                page.goto(path if path.startswith("http") else f"{clinic_service.url}{path}")
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
                assert barriers(page) == [], name
                shoot(page, f"critical-{name}-{scheme}-{width}", whole=name == "report")
    expect(page.locator("#worklist tbody tr").first).to_contain_text("Critical")
    page.get_by_label("Warnings", exact=True).select_option("Critical")
    expect(page.locator("#worklist tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Warnings").click()
    expect(page.locator("th.col-warnings")).to_have_attribute("aria-sort", "descending")

    page.goto(address)
    decision = page.locator("#decision")
    decision.get_by_role("button", name=re.compile("^Accept")).press("Enter")
    question = decision.get_by_role("alert")
    expect(question).to_contain_text("Not accepted yet")
    expect(question).to_be_focused()  # and not its button: a second Enter must not accept
    assert barriers(page) == []
    shoot(page, "critical-confirm")
    page.keyboard.press("Enter")
    expect(decision.get_by_role("status")).not_to_contain_text("Accepted")
    page.keyboard.press("Tab")
    expect(decision.get_by_role("button", name=re.compile("anyway$"))).to_be_focused()
    decision.get_by_role("link", name="Cancel").click()
    expect(question).to_have_count(0)
    expect(decision.get_by_role("status")).not_to_contain_text("Accepted")
    decision.get_by_role("button", name=re.compile("^Accept")).click()
    decision.get_by_role("button", name=re.compile("anyway$")).click()
    expect(decision.get_by_role("status")).to_contain_text("Accepted")


def test_critical_number_confirmed_without_script(
    page: Page, browser: Browser, clinic_service: Service, tmp_path: Path
) -> None:
    """A critical number is confirmed without script too."""
    log_in(page, clinic_service)
    radiograph, _ = plate(tmp_path, "M", 94)
    submit(page, clinic_service, radiograph, reference="child 10", birth="2015-02-01", study="2023-03-01", sex="M")
    warn(clinic_service, page.url, CRITICAL)
    plain = browser.new_context(java_script_enabled=False, locale="en-GB").new_page()
    log_in(plain, clinic_service)
    plain.goto(page.url)
    decision = plain.locator("#decision")
    decision.get_by_role("button", name=re.compile("^Accept")).click()
    expect(decision).to_contain_text("Not accepted yet")
    decision.get_by_role("button", name=re.compile("anyway$")).click()
    expect(decision.get_by_role("status")).to_contain_text("Accepted")
    plain.context.close()


def test_reader_decides_once(page: Page, browser: Browser, clinic_service: Service, tmp_path: Path) -> None:
    """A reader decides once and administers nothing."""
    log_in(page, clinic_service)
    page.goto(f"{clinic_service.url}/administration/users/")
    assert barriers(page) == []
    page.get_by_label("Name").fill("rea")
    page.get_by_role("button", name="Create the account").click()
    given = page.locator("code.secret").inner_text().strip()
    shoot(page, "users")
    reader = browser.new_context(locale="en-GB").new_page()
    reader.set_default_timeout(60_000)
    log_in(reader, clinic_service, "rea", given)
    chosen = "a password of her own"
    expect(reader.get_by_text("Your one-time password has been used")).to_be_visible()
    shoot(reader, "first-password")
    for label in ("New password", "New password confirmation"):
        reader.get_by_label(label, exact=True).fill(chosen)
    reader.get_by_role("button", name="Change the password").click()
    expect(reader.get_by_text("Your one-time password has been used")).to_be_hidden()
    radiograph, _ = plate(tmp_path, "M", 130)
    submit(reader, clinic_service, radiograph, reference="child 8", birth="2012-05-01", study="2023-05-01", sex="M")
    decision = reader.locator("#decision")
    decision.get_by_role("button", name=re.compile("^Accept")).click()
    expect(decision).to_contain_text("Only a reviewer can change this decision")
    answer = reader.goto(f"{clinic_service.url}/administration/audit/")
    assert answer is not None
    assert answer.status == 403
    reader.context.close()

    page.goto(f"{clinic_service.url}/administration/audit/")
    expect(page.get_by_role("main")).to_contain_text("rea")
    assert "child 8" not in page.get_by_role("main").inner_text()
    assert barriers(page) == []
    shoot(page, "audit")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [390, 1440])
def test_pages_fit_screens(page: Page, clinic_service: Service, scheme: str, width: int) -> None:
    """Pages of the clinic fit."""
    log_in(page, clinic_service)
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for path in (
        "/cases/",
        "/account/",
        "/account/confirm",
        "/administration/users/",
        "/administration/users/1/",
        "/administration/audit/",
    ):
        page.goto(f"{clinic_service.url}{path}")
        shoot(page, f"clinic-{scheme}-{width}-{path.strip('/').split('/')[-1]}", whole=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert barriers(page) == [], path
