"""A real Chromium without a window, for tests of pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

from tests.programs import skip_without

CHROMIUM = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
"""Its program; None if there is none on this machine."""
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a Chromium, and end it after the block; skip the test if there is none."""
    if CHROMIUM is None:
        skip_without("there is no Chromium on this machine: `make system-packages` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield browser
        browser.close()
