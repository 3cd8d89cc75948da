#!/usr/bin/env python
"""Takes the pictures of the service's pages in docs/images: `make pictures` fills a demonstration clinic in a browser.

The radiographs are plates of the shipped atlas, averages of registered hands, so that no picture shows a patient.
References, dates, measurements and decisions are invented.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from tests.chromium import chromium
from tests.web.browser.conftest import Service, serve
from tests.web.browser.drawn_radiographs import plate
from tests.web.browser.steps import log_in, submit

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"

WIDTH, COLOURS = 1100, 256
"""Largest width of a picture, pixels, and number of its colours."""

VIEWPORT_WIDTH, VIEWPORT_HEIGHT = 1440, 900
"""Size of the browser's window, pixels."""


@dataclass(frozen=True)
class Visit:
    """One radiograph of an invented child.

    Attributes:
        plate_months: age of the plate that is taken for it, months.
        study: date of the study.
        decision: ``accept``, ``correct`` or nothing.
    """

    plate_months: float
    study: str
    decision: str = "accept"


@dataclass(frozen=True)
class Child:
    """An invented child."""

    reference: str
    sex: str
    birth: str
    visits: Sequence[Visit]


FOLLOWED = Child(
    "P-0042",
    "M",
    "2014-03-10",
    [Visit(72, "2022-03-10"), Visit(89, "2023-03-10"), Visit(103, "2024-03-10"), Visit(124, "2025-03-10")],
)
"""A boy with delayed growth, whose page and pictures are shown."""

CHILDREN = (
    FOLLOWED,
    Child("P-0043", "F", "2017-08-21", [Visit(120, "2025-09-02")]),
    Child("P-0044", "M", "2012-11-05", [Visit(150, "2025-09-09", "correct")]),
    Child("P-0045", "F", "2013-01-17", [Visit(132, "2024-09-20"), Visit(144, "2025-09-23")]),
    Child("P-0046", "F", "2014-06-30", [Visit(106, "2025-10-14", "")]),
    Child("P-0047", "M", "2018-02-11", [Visit(96, "2025-10-20", "")]),
)


def decide(page: Page, decision: str) -> None:
    """Accept or correct the estimate of the page."""
    panel = page.locator("#decision")
    if decision == "accept":
        panel.get_by_role("button", name=re.compile("^Accept")).click()
        expect(panel.get_by_role("status")).to_contain_text("Accepted")
    elif decision == "correct":
        page.keyboard.press("c")
        expect(panel.get_by_label("Years")).to_be_focused()
        for text in ("12", "2", "carpal bones"):
            page.keyboard.type(text)
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("#answer")).to_contain_text("corrected by a physician")


def fill_worklist(page: Page, service: Service, folder: Path) -> None:
    """Submit the radiographs of all children."""
    for child in CHILDREN:
        for visit in child.visits:
            radiograph, _ = plate(folder, child.sex, visit.plate_months)
            of_child = {"reference": child.reference, "birth": child.birth, "sex": child.sex}
            submit(page, service, radiograph, study=visit.study, **of_child)
            decide(page, visit.decision)


def enter_measurements(page: Page) -> Locator:
    """Enter the measurements of the child whose page is open, and return the part of the page about adult height."""
    height = page.locator("#height")
    height.get_by_text("Measurements", exact=True).click()
    values = {"Height, cm": "136", "Weight, kg": "31", "Height of the mother, cm": "165"}
    for label, value in {**values, "Height of the father, cm": "174"}.items():
        height.get_by_label(label, exact=True).fill(value)
    height.get_by_label("None of these").check()
    height.get_by_role("button", name="Save the measurements").click()
    expect(height.locator("table tbody tr")).not_to_have_count(0)
    return height


def pictures(page: Page, service: Service, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the PNG file of each picture."""
    log_in(page, service)
    fill_worklist(page, service, folder)

    page.goto(f"{service.url}/cases/")
    page.get_by_role("link", name=FOLLOWED.reference).click()
    height = enter_measurements(page)
    page.reload()  # without the note that the measurements were saved
    yield "case", page.screenshot(full_page=True, animations="disabled")
    yield "adult-height", height.screenshot(animations="disabled")
    page.get_by_role("link", name="Compare two radiographs").click()
    expect(page.locator(".registered svg")).to_have_count(2)
    page.wait_for_load_state("networkidle")
    yield "comparison", page.screenshot(animations="disabled")

    page.goto(f"{service.url}/cases/")
    page.get_by_role("link", name=FOLLOWED.reference).click()
    page.locator("#radiographs tbody tr").last.get_by_role("link").first.click()
    expect(page.locator("#answer-title")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.locator("[data-stage]").focus()
    for key in "hoe":  # heat map, outline of the hand, outlines of bones
        page.keyboard.press(key)
    yield "result", page.screenshot(animations="disabled")

    page.emulate_media(color_scheme="dark")
    page.goto(f"{service.url}/cases/")
    expect(page.locator("#worklist tbody tr").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    yield "worklist", page.screenshot(animations="disabled")


def write_small(screenshot: bytes, path: Path) -> None:
    """Write a screenshot with few colours, not wider than `WIDTH`."""
    whole = Image.open(BytesIO(screenshot)).convert("RGB")
    if whole.width > WIDTH:
        whole = whole.resize((WIDTH, round(whole.height * WIDTH / whole.width)), Image.Resampling.LANCZOS)
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main(images: Path) -> None:
    """Write all pictures into a folder."""
    images.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        page = browser.new_page(
            viewport={"width": VIEWPORT_WIDTH, "height": VIEWPORT_HEIGHT}, locale="en-GB", reduced_motion="reduce"
        )
        page.set_default_timeout(60_000)
        for service in serve(folder, "clinic", BONEAGE_LOCK_MINUTES="0"):
            for picture, screenshot in pictures(page, service, folder):
                write_small(screenshot, images / f"{picture}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
