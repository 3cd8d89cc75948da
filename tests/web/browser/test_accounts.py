"""Second factor, lock of unused pages, and single sign-on in a real browser."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pyotp
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.web.browser.conftest import ADMINISTRATOR, PASSWORD, Service, free_port, serve
from tests.web.browser.looks import barriers, shoot
from tests.web.browser.steps import log_in
from tests.web.identity_provider import CLIENT_ID, CLIENT_SECRET, Provider, running_provider


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        # Another site than the service: browsers treat its redirects as from elsewhere.
        running.url = running.url.replace("127.0.0.1", "localhost")
        running.asks = True
        yield running


@pytest.fixture(scope="module")
def service(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With single sign-on; pages are locked after ten minutes."""
    port = free_port()
    yield from serve(
        tmp_path_factory.mktemp("accounts"),
        "clinic",
        port,
        BONEAGE_URL=f"http://127.0.0.1:{port}",
        BONEAGE_OIDC_ISSUER=provider.url,
        BONEAGE_OIDC_CLIENT_ID=CLIENT_ID,
        BONEAGE_OIDC_CLIENT_SECRET=CLIENT_SECRET,
        BONEAGE_READERS="bone-readers",
        BONEAGE_LOG_FORMAT="json",
        BONEAGE_ACCESS_LOG="1",
    )


@pytest.fixture
def tab(context: BrowserContext) -> Page:
    """A tab that may visit the provider."""
    return context.new_page()


def sign_on(tab: Page, service: Service) -> None:
    tab.goto(f"{service.url}/cases/")
    tab.get_by_role("link", name="Log in with single sign-on").click()
    tab.get_by_role("button", name="Log in as anna").click()
    expect(tab).to_have_url(f"{service.url}/cases/")


def test_sign_on_and_logout(tab: Page, service: Service, provider: Provider) -> None:
    """Single sign-on leads to the requested page although cookies are Strict, and logs out at both."""
    tab.goto(f"{service.url}/cases/")
    shoot(tab, "login-sign-on")
    assert barriers(tab) == []
    sign_on(tab, service)
    expect(tab.get_by_role("link", name="anna")).to_be_visible()
    tab.get_by_role("button", name="Log out").click()
    expect(tab).to_have_url(f"{service.url}/account/login")
    assert len(provider.logouts) == 1
    tab.goto(f"{service.url}/cases/")
    expect(tab).to_have_url(re.compile("/account/login"))


def test_lock_with_keyboard(page: Page, service: Service) -> None:
    """An unused page covers itself, shows nothing, and comes back as it was, all by keyboard."""
    page.clock.install()
    log_in(page, service)
    page.goto(f"{service.url}/account/")
    field = page.get_by_label("Purpose")
    field.fill("what I had begun")
    field.focus()
    page.clock.fast_forward("09:30")
    expect(page.get_by_role("dialog", name="Locked")).to_be_hidden()
    page.clock.fast_forward("01:00")
    dialog = page.get_by_role("dialog", name="Locked")
    expect(dialog).to_be_visible()
    expect(field).not_to_be_visible()
    expect(page).to_have_title("Locked · boneage")
    password = dialog.get_by_label(f"Password of {ADMINISTRATOR}")
    expect(password).to_be_focused()
    assert barriers(page) == []
    shoot(page, "locked")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    password.press_sequentially("wrong")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("This is not your password.")
    other = page.context.new_page()  # the service itself is locked
    other.goto(f"{service.url}/cases/")
    expect(other).to_have_url(re.compile("/account/unlock"))
    other.close()
    password.press_sequentially(PASSWORD)
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(field).to_have_value("what I had begun")
    expect(field).to_be_focused()
    expect(page).to_have_title(re.compile("Your account"))
    with page.expect_response(re.compile("/account/stay")):  # keys are use, and the service learns of it
        page.clock.fast_forward("09:00")
        page.keyboard.press("Shift")
    page.clock.fast_forward("09:00")
    expect(dialog).to_be_hidden()
    assert barriers(page) == []


def test_unlock_at_provider(tab: Page, service: Service) -> None:
    """Users of single sign-on unlock in a new tab; their page stays as it was."""
    tab.clock.install()
    sign_on(tab, service)
    tab.get_by_label("Search").first.fill("begun")
    tab.clock.fast_forward("10:30")
    dialog = tab.get_by_role("dialog", name="Locked")
    expect(dialog).to_be_visible()
    with tab.context.expect_page() as opened:
        dialog.get_by_role("link", name=re.compile("Unlock with single sign-on")).click()
    opened.value.get_by_role("button", name="Log in as anna").click()
    expect(opened.value.get_by_role("status")).to_contain_text("unlocked")
    expect(dialog).to_be_hidden()
    expect(tab.get_by_label("Search").first).to_have_value("begun")


def test_second_factor(page: Page, service: Service) -> None:
    """A user sets up an app, and logs in with its code. Last, because the administrator then needs the app."""
    log_in(page, service)
    page.goto(f"{service.url}/account/")
    page.get_by_role("link", name="Set up an authenticator app").click()
    expect(page.get_by_role("img", name="QR code of the key")).to_be_visible()
    assert barriers(page) == []
    shoot(page, "second-factor", whole=True)
    secret = page.locator("code.secret").inner_text().replace(" ", "")
    page.get_by_label("Code from the app").fill(pyotp.TOTP(secret).at(time.time(), counter_offset=-1))
    page.get_by_role("button", name="Set up").click()
    expect(page.locator("ul.codes li")).to_have_count(10)
    assert barriers(page) == []
    page.get_by_role("button", name="Log out").click()
    log_in(page, service)
    code = page.get_by_label("Code")
    expect(code).to_be_focused()
    assert barriers(page) == []
    code.fill("000000")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This code is wrong or was used before.")).to_be_visible()
    code.fill(pyotp.TOTP(secret).now())
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{service.url}/cases/")


def test_log_is_json(page: Page, service: Service) -> None:
    """Supervisor and web server log JSON lines, with the start and each request."""
    page.goto(f"{service.url}/about/?patient=SMITH")
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    loggers = {line["logger"] for line in lines}
    assert {"boneage.serve", "boneage.access"} <= loggers
    assert len({line["process"] for line in lines}) >= 2
    assert "/about/" in [line.get("route") for line in lines]
    assert "SMITH" not in service.log.read_text()
