"""Checks that tests of pages share: accessibility by axe, and screenshots for people."""

from __future__ import annotations

import os
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

GRAVE = {"serious", "critical"}


def barriers(page: Page) -> list[str]:
    """Serious and critical findings of axe on the page (WCAG 2.2, levels A and AA, and good practice)."""
    results = Axe().run(page)
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in results.response["violations"]
        if one["impact"] in GRAVE
    ]


def shoot(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep a picture of the page in the folder ``BONEAGE_SCREENSHOTS``, if that is set."""
    folder = os.environ.get("BONEAGE_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=whole, animations="disabled")
