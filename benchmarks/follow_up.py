"""A child over four radiographs, through the service as it runs: what the page of a case shows, and its pictures.

    python benchmarks/follow_up.py [--pictures docs/images]

The radiographs are plates of the shipped atlas, which show no one patient: a boy of 8 to 11 years whose bones are two
years behind and catch up. The script starts `boneage serve` in the mode clinic with a store of its own, submits the
plates by the REST API, stores the measurements, prints changes and adult height, and takes pictures of the pages.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
from PIL import Image
from playwright.sync_api import sync_playwright

from boneage.atlas import Atlas
from boneage.sex import Sex
from service_process import Browser, serving

WIDTH, COLOURS = 1100, 64
"""Pixels and colours of the pictures."""

BIRTH = "2014-03-10"
STUDIES = (("2022-03-10", 72), ("2023-03-10", 84), ("2024-03-10", 102), ("2025-03-10", 120))
"""Day of each radiograph, and the age in months of the plate that stands in for it."""

MEASUREMENTS = {
    "height_cm": 136.5,
    "height_date": "2025-03-10",
    "weight_kg": 31.0,
    "mother_cm": 163.0,
    "mother_source": "measured",
    "father_cm": 176.0,
    "father_source": "reported",
    "contraindications": [],
}

ADMINISTRATOR = "astrid"

_TOKEN = """
import django
django.setup()
from boneage.web.models import ApiToken, User
print(ApiToken.issue(User.objects.get(), "follow-up")[1])
"""


def token(store: Path) -> str:
    """Return a token of the administrator."""
    environment = {**os.environ, **_settings(store), "DJANGO_SETTINGS_MODULE": "boneage.web.settings"}
    command = [sys.executable, "-c", _TOKEN]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def _settings(store: Path) -> dict[str, str]:
    return {"BONEAGE_STORE": str(store), "BONEAGE_MODE": "clinic"}


def submit(browser: Browser, png: bytes, study: str, headers: Mapping[str, str]) -> str:
    """Submit a radiograph, wait for its result, and return the id of its case.

    Raises:
        RuntimeError: If it was not assessed.
    """
    fields = {"sex": "M", "birth_date": BIRTH, "study_date": study, "reference": "P-0042"}
    answer = browser.post_radiograph("/api/assessments?wait=30", png, fields, headers).json()
    if answer.get("state") != "done":
        raise RuntimeError(f"The radiograph of {study} was not assessed: {answer}")
    return str(answer["case"])


def plates() -> Iterator[tuple[str, bytes]]:
    """Yield the day of each study with its plate as PNG."""
    atlas = Atlas.open()
    for study, months in STUDIES:
        picture = atlas.picture(atlas.nearest_by_age(Sex.MALE, months))
        yield study, cv2.imencode(".png", picture)[1].tobytes()


def describe(case: Any) -> Iterator[str]:
    """Yield what the case states, as lines."""
    for one in case["radiographs"]:
        age, bone = one["chronological_age_months"], one["bone_age_months"]
        yield f"{one['study_date']}: age {age:.1f}, bone age {bone:.1f} months, SDS {one['sds']}"
    for one in [*case["changes"], case["overall"]]:
        change = one["change"]
        low, high = change["gain_interval_95"]
        yield (
            f"in {change['distance_months']:.1f} months {change['difference_months']:+.1f}; "
            f"{change['gain_per_year']:.1f} a year ({low:.1f} to {high:.1f}): {change['verdict']}"
        )
    for row in case["adult_height"]["rows"]:
        name = row["method"] if row["group"] is None else f"{row['method']}, {row['group']}"
        yield f"{name}: {row['prediction_cm']} {row['range_cm']} {row['reason'] or ''}"


def take_pictures(url: str, password: str, case: str, folder: Path) -> None:
    """Take pictures of the pages, small."""
    folder.mkdir(parents=True, exist_ok=True)
    chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB")
        page.goto(f"{url}/account/login")
        page.get_by_label("Username").fill(ADMINISTRATOR)
        page.get_by_label("Password", exact=True).fill(password)
        page.get_by_role("main").get_by_role("button", name="Log in").click()
        page.goto(f"{url}/cases/{case}/")
        page.wait_for_load_state("networkidle")
        save_small(page.screenshot(full_page=True, animations="disabled"), folder / "case.png")
        save_small(page.locator("#height").screenshot(), folder / "adult-height.png")
        page.goto(f"{url}/cases/{case}/compare")
        page.wait_for_load_state("networkidle")
        save_small(page.screenshot(animations="disabled"), folder / "comparison.png")
        browser.close()


def save_small(screenshot: bytes, path: Path) -> None:
    """Write a screenshot with few colours, at most 1,100 pixels wide."""
    whole = Image.open(io.BytesIO(screenshot)).convert("RGB")
    width = min(WIDTH, whole.width)
    small = whole.resize((width, round(whole.height * width / whole.width)), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Run the child through the service."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="Folder for the pictures of the pages.")
    parser.add_argument("--port", type=int, default=8765, help="Port of the service.")
    options = parser.parse_args()
    password = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary) / "store"
        flags = {"workers": "1", "create-administrator": ADMINISTRATOR}
        environment = {**_settings(store), "BONEAGE_ADMIN_PASSWORD": password}
        with serving(flags, environment, options.port) as service:
            headers = {"Authorization": f"Bearer {token(store)}"}
            browser = Browser(service.host, service.port)
            for study, png in plates():
                case = submit(browser, png, study, headers)
            body = json.dumps(MEASUREMENTS).encode()
            sent = {**headers, "Content-Type": "application/json"}
            answer = browser.ask("PUT", f"/api/cases/{case}/measurements", body, sent)
            print("\n".join(describe(answer.json())))
            if options.pictures:
                take_pictures(f"http://{service.host}:{service.port}", password, case, options.pictures)


if __name__ == "__main__":
    main()
