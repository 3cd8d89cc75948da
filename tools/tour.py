#!/usr/bin/env python
"""Makes a short tour of the pages, an animated picture: `make tour` reads a reference plate with the service.

The plate is an average of registered hands, so that the tour shows no patient. Each scene is a screenshot of a real
Chromium at the service's own pages, and is shown for some seconds.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from tests.chromium import chromium
from tests.web.browser.conftest import serve
from tests.web.browser.drawn_radiographs import dicom
from tests.web.browser.steps import RESULT

TOUR = Path(__file__).resolve().parents[1] / "docs" / "images" / "tour.webp"

LARGEST_BYTES = 600_000
"""Largest picture that a page of the documentation may load."""

VIEWPORT_WIDTH, VIEWPORT_HEIGHT = 1280, 800
WIDTH = 960
"""Size of the browser's window and width of the tour, pixels. Letters of 14 px stay legible at 10.5 px."""

QUALITY = 60
"""Quality of a frame. Below 50, grey levels of the radiograph show steps."""

Scene = tuple[float, Callable[[Page], None]]
"""Seconds for which a scene is shown, and the steps that lead to it."""


def _press(key: str) -> Callable[[Page], None]:
    return lambda page: page.keyboard.press(key)


def _send(page: Page) -> None:
    page.locator("li.radiograph [data-send]").click()
    page.wait_for_url(RESULT)
    expect(page.locator("#answer-title")).to_be_visible()
    page.wait_for_load_state("networkidle")


def _focus_viewer(page: Page) -> None:
    page.locator("[data-stage]").focus()
    page.keyboard.press("b")


def _accept(page: Page) -> None:
    page.keyboard.press("Escape")
    decision = page.locator("#decision")
    decision.get_by_role("button", name="Accept").click()
    expect(decision.get_by_role("status")).to_contain_text("Accepted")


def _choose_file(file: Path) -> Callable[[Page], None]:
    def choose(page: Page) -> None:
        page.set_input_files("#files", str(file))
        expect(page.locator("li.radiograph canvas")).to_be_visible()

    return choose


def scenes(folder: Path, address: str) -> Iterator[Scene]:
    """Yield the scenes from the first page to the decision.

    Args:
        folder: Folder for the radiograph, a DICOM file that states a sex and dates.
        address: Address of the service.
    """
    file = dicom(
        folder, "radiograph.dcm", "F", 132, stated_sex="F", bits=12, PatientBirthDate="20130310", StudyDate="20240310"
    )
    yield 1.5, lambda page: page.wait_for_url(f"{address}/")
    yield 1.5, _choose_file(file)
    yield 1.2, lambda page: page.locator("li.radiograph [data-confirm-button]").click()
    yield 3.0, _send
    yield 2.5, _focus_viewer
    yield 2.0, _press("h")
    yield 1.5, _press("b")
    yield 2.0, _press("p")
    yield 3.0, _accept


def frames(folder: Path) -> Iterator[tuple[Image.Image, int]]:
    """Yield the frames with their milliseconds."""
    for service in serve(folder, "open"):
        with chromium() as browser:
            page = browser.new_page(
                viewport={"width": VIEWPORT_WIDTH, "height": VIEWPORT_HEIGHT}, locale="en-GB", reduced_motion="reduce"
            )
            page.set_default_timeout(60_000)
            page.goto(f"{service.url}/")
            for seconds, act in scenes(folder, service.url):
                act(page)
                page.wait_for_timeout(300)
                shot = Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
                height = round(shot.height * WIDTH / shot.width)
                yield shot.resize((WIDTH, height), Image.Resampling.LANCZOS), round(1000 * seconds)


def main(path: Path) -> None:
    """Write the tour, and fail if it is too large for a page."""
    with tempfile.TemporaryDirectory() as folder:
        shots, durations = zip(*frames(Path(folder)), strict=True)
    first, *others = shots
    first.save(path, save_all=True, append_images=others, duration=durations, loop=0, quality=QUALITY, method=6)
    size = path.stat().st_size
    sys.stdout.write(f"{path}: {len(shots)} scenes, {sum(durations) / 1000:.0f} s, {size / 1000:.0f} kB\n")
    if size > LARGEST_BYTES:
        sys.exit(f"The tour has more than {LARGEST_BYTES / 1000:.0f} kB.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TOUR)
