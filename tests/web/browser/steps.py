"""Steps of a user that tests and pictures of pages share: log in, choose a radiograph, and wait for its result."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.web.browser.conftest import ADMINISTRATOR, PASSWORD, Service

RESULT = re.compile(r"/assessments/[0-9a-f-]{36}/$")

DROP = """([base64, name, place]) => {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: "image/png" }));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.querySelector(place).dispatchEvent(
      new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
}"""


def drop(page: Page, radiograph: Path) -> None:
    """Drop a file onto the page, as from a folder's window."""
    page.evaluate(DROP, [base64.b64encode(radiograph.read_bytes()).decode(), radiograph.name, "[data-drop]"])


def choose_sex(page: Page, sex: str, row: int = 0) -> None:
    page.locator("li.radiograph").nth(row).locator(f"input[name=sex][value={sex}]").check(force=True)


def assess(page: Page, service: Service, radiograph: Path, sex: str) -> None:
    """A radiograph dropped on the first page leads to its result."""
    page.goto(f"{service.url}/")
    drop(page, radiograph)
    choose_sex(page, sex)
    page.locator("li.radiograph [data-send]").click()
    page.wait_for_url(RESULT)
    expect(page.locator("#answer-title, #rejected-title")).to_be_visible()


def log_in(page: Page, service: Service, name: str = ADMINISTRATOR, password: str = PASSWORD) -> None:
    page.goto(f"{service.url}/account/login")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("main").get_by_role("button", name="Log in").click()


def submit(
    page: Page, service: Service, radiograph: Path, *, reference: str, birth: str, study: str, sex: str = "F"
) -> None:
    page.goto(f"{service.url}/")
    drop(page, radiograph)
    choose_sex(page, sex)
    row = page.locator("li.radiograph")
    row.locator("summary").click()
    row.locator("[name=reference]").fill(reference)
    row.locator("[name=birth_date]").fill(birth)
    row.locator("[name=study_date]").fill(study)
    row.locator("[data-send]").click()
    page.wait_for_url(RESULT)
    expect(page.locator("#answer-title")).to_be_visible(timeout=60_000)
    page.wait_for_load_state("networkidle")  # the last question of the waiting page may still be on its way
