"""The mode ``open`` in a real browser: drop, wait, read, decide, print, change language, be rejected."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.web.browser.conftest import Service
from tests.web.browser.drawn_radiographs import broken, dicom, no_hand, plate
from tests.web.browser.looks import barriers, shoot
from tests.web.browser.steps import RESULT, assess, choose_sex, drop


def downloaded(page: Page, name: str) -> bytes:
    """The content of a link that downloads a file."""
    with page.expect_download() as caught:
        page.get_by_role("link", name=name, exact=True).click()
    return Path(caught.value.path()).read_bytes()


def shown_months(page: Page) -> float:
    """The estimate in months, as the page's JSON says."""
    result = json.loads(downloaded(page, "JSON"))
    assert isinstance(result["age_months"], float)
    return result["age_months"]


def test_plate_gives_age_and_neighbours(page: Page, open_service: Service, tmp_path: Path) -> None:
    """A dropped plate gives its age and its neighbours."""
    radiograph, age_months = plate(tmp_path, "F", 100)
    page.goto(f"{open_service.url}/")
    assert barriers(page) == []
    shoot(page, "home")
    drop(page, radiograph)
    choose_sex(page, "F")
    shoot(page, "home-radiograph")
    page.locator("li.radiograph [data-send]").click()
    page.wait_for_url(RESULT)
    expect(page.locator(".age").first).to_contain_text("year")
    assert shown_months(page) == pytest.approx(age_months, abs=12)

    key = page.locator("[data-plate-age]")
    nearest = key.inner_text()
    page.locator("[data-plate-step='1']").click()
    expect(key).not_to_have_text(nearest)
    page.locator("[data-plate-step='-1']").click()
    expect(key).to_have_text(nearest)
    page.get_by_text("Similarity", exact=True).click()
    expect(page.locator("[data-plate-most-similar]")).to_be_visible()
    assert barriers(page) == []
    shoot(page, "result", whole=True)


OVERLAPPING_NAMES = """() => {
  const texts = [...document.querySelectorAll("g.regions text:not(.halo)")];
  const boxes = texts.map((text) => [text.textContent, text.getBoundingClientRect()]);
  return boxes.flatMap(([name, one], index) => boxes.slice(index + 1)
    .filter(([, other]) => one.left < other.right && other.left < one.right
      && one.top + 3 < other.bottom - 3 && other.top + 3 < one.bottom - 3)
    .map(([other]) => [name, other]));
}"""
"""Pairs of regions whose names lie upon one another; the boxes of text are taller than letters."""


def test_viewer_keys(page: Page, open_service: Service, tmp_path: Path) -> None:
    """The viewer by keys."""
    radiograph, _ = plate(tmp_path, "M", 150)
    assess(page, open_service, radiograph, "M")
    stage = page.locator("[data-stage]")
    stage.focus()
    for key, name in (
        ("h", "heat"),
        ("o", "outline"),
        ("e", "epiphyses"),
        ("k", "points"),
        ("r", "regions"),
        ("i", "invert"),
    ):
        button = page.locator(f"[data-do={name}]")
        before = button.get_attribute("aria-pressed")
        page.keyboard.press(key)
        expect(button).to_have_attribute("aria-pressed", "false" if before == "true" else "true")
    shoot(page, "viewer-all")
    for key in "ki":
        page.keyboard.press(key)
    shoot(page, "viewer")
    assert page.evaluate(OVERLAPPING_NAMES) == []
    button = page.locator("[data-do=heat]")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    stage.focus()
    readout = page.locator("[data-readout]")
    before_text = readout.inner_text()
    page.keyboard.press("+")
    expect(readout).not_to_have_text(before_text)
    page.keyboard.press("Backspace")
    expect(readout).to_have_text(before_text)
    page.keyboard.press("w")
    expect(readout).not_to_have_text(before_text)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.locator("[data-slide=level]").focus()
    page.keyboard.press("ArrowRight")
    expect(readout).not_to_have_text(before_text)


def test_accept_then_correct(page: Page, open_service: Service, tmp_path: Path) -> None:
    """Accept then correct with a reason."""
    radiograph, _ = plate(tmp_path, "F", 60)
    assess(page, open_service, radiograph, "F")
    decision = page.locator("#decision")
    decision.get_by_role("button", name=re.compile("^Accept")).click()
    expect(decision.get_by_role("status")).to_contain_text("Accepted")
    decision.get_by_text("Correct again").click()
    years, months = (decision.get_by_label(name, exact=True) for name in ("Years", "Months"))
    years.fill("5")
    months.fill("6")
    decision.get_by_role("button", name="Save the correction").click()
    expect(decision.locator(".errorlist")).to_be_visible()  # a reason is missing
    decision.get_by_label("Reason").fill("Carpals behind the fingers")
    decision.get_by_role("button", name="Save the correction").click()
    expect(decision.get_by_role("status")).to_contain_text("5 years 6 months")
    page.reload()
    expect(page.locator("#decision")).to_contain_text("Corrected")
    data = json.loads(downloaded(page, "JSON"))
    assert data["decision"]["age_months"] == 66


def test_report_prints_on_one_page(page: Page, open_service: Service, tmp_path: Path) -> None:
    """The report prints on one page."""
    radiograph, _ = plate(tmp_path, "M", 120)
    assess(page, open_service, radiograph, "M")
    pdf = downloaded(page, "PDF")
    assert pdf.startswith(b"%PDF-")
    page.get_by_role("link", name="Report", exact=True).click()
    expect(page.get_by_role("article")).to_be_visible()
    assert barriers(page) == []
    shoot(page, "report", whole=True)
    page.emulate_media(media="print")
    expect(page.locator("header.top")).to_be_hidden()
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    shoot(page, "report-print", whole=True)


def test_shared_copy_shows_hand_only(page: Page, open_service: Service, tmp_path: Path) -> None:
    """The copy for sharing shows the hand alone."""
    radiograph, _ = plate(tmp_path, "F", 130)
    assess(page, open_service, radiograph, "F")
    assert downloaded(page, "Copy for sharing").startswith(b"\x89PNG")


@pytest.mark.parametrize("language", ["de", "zh-hans", "pt-br", "es", "fr"])
def test_pages_in_other_languages(page: Page, open_service: Service, tmp_path: Path, language: str) -> None:
    """Every page in another language."""
    page.goto(f"{open_service.url}/")
    english = page.locator("h1").inner_text()
    page.locator("#language").select_option(language)
    expect(page.locator("html")).to_have_attribute("lang", language)
    assert page.locator("h1").inner_text() != english
    radiograph, _ = plate(tmp_path, "M", 80)
    drop(page, radiograph)
    choose_sex(page, "M")
    page.locator("li.radiograph [data-send]").click()
    page.wait_for_url(RESULT)
    expect(page.locator("#answer-title")).to_be_visible()
    assert "Estimated bone age (Greulich & Pyle)" not in page.locator("main").inner_text()
    shoot(page, f"result-{language}", whole=True)


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize(
    ("device", "width", "height"), [("phone", 390, 844), ("desktop", 1440, 900), ("4k", 3840, 2160)]
)
def test_pages_from_phone_to_4k(
    page: Page, open_service: Service, tmp_path: Path, scheme: str, device: str, width: int, height: int
) -> None:
    """Nothing is cut off at the side, and axe finds no barrier."""
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    radiograph, _ = plate(tmp_path, "F", 110)
    assess(page, open_service, radiograph, "F")
    for address in (page.url, f"{open_service.url}/", f"{open_service.url}/atlas/", f"{open_service.url}/about/"):
        page.goto(address)
        name = address.rstrip("/").rsplit("/", 1)[-1][:5] if address != f"{open_service.url}/" else "home"
        page.wait_for_load_state("networkidle")
        shoot(page, f"{device}-{scheme}-{'result' if address.count('-') > 3 else name}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert barriers(page) == []


def test_no_hand_is_rejected_with_advice(page: Page, open_service: Service, tmp_path: Path) -> None:
    """A radiograph without a hand is rejected with advice."""
    assess(page, open_service, no_hand(tmp_path), "F")
    expect(page.locator("#rejected-title")).to_contain_text(re.compile("No hand|could not be located"))
    expect(page.locator(".advice")).not_to_be_empty()
    assert page.locator(".age").count() == 0
    assert barriers(page) == []
    shoot(page, "rejected")


def test_broken_file_is_rejected_with_advice(page: Page, open_service: Service, tmp_path: Path) -> None:
    """A broken file is rejected with advice."""
    assess(page, open_service, broken(tmp_path), "M")
    expect(page.locator("#rejected-title")).to_contain_text("could not be read")
    assert page.locator(".age").count() == 0


def test_radiograph_without_sex_is_not_sent(page: Page, open_service: Service, tmp_path: Path) -> None:
    """A radiograph without a sex is not sent."""
    radiograph, _ = plate(tmp_path, "F", 90)
    page.goto(f"{open_service.url}/")
    drop(page, radiograph)
    page.locator("li.radiograph [data-send]").click()
    expect(page.locator("li.radiograph [data-errors]")).not_to_be_empty()
    expect(page).to_have_url(f"{open_service.url}/")


def test_several_radiographs(page: Page, open_service: Service, tmp_path: Path) -> None:
    """Several radiographs at once."""
    page.goto(f"{open_service.url}/")
    radiographs = [plate(tmp_path, "F", 70)[0], plate(tmp_path, "F", 140)[0], no_hand(tmp_path)]
    page.set_input_files("#files", [str(radiograph) for radiograph in radiographs])
    page.locator("[data-all-sex=F]").click()
    page.locator("[data-all]").click()
    expect(page.locator(".outcome[data-state=done]")).to_have_count(2)
    expect(page.locator(".outcome[data-state=rejected]")).to_have_count(1)
    shoot(page, "several")
    assert barriers(page) == []


def choose_files(page: Page, service: Service, radiographs: list[Path]) -> None:
    """A page with these radiographs in its list."""
    page.goto(f"{service.url}/")
    page.set_input_files("#files", [str(radiograph) for radiograph in radiographs])
    expect(page.locator("li.radiograph")).to_have_count(len(radiographs))


def test_confirm_all_sexes(page: Page, open_service: Service, tmp_path: Path) -> None:
    """Sexes from the files are confirmed at once."""
    sexes = ["F", "M", "F"]
    radiographs = [dicom(tmp_path, f"{row}.dcm", sex, 90, stated_sex=sex) for row, sex in enumerate(sexes)]
    choose_files(page, open_service, radiographs)
    confirm_all = page.locator("[data-all-confirm]")
    expect(confirm_all).to_be_visible()
    expect(page.locator("[data-confirm]:visible")).to_have_count(3)
    confirm_all.click()
    expect(page.locator("[data-confirm]:visible")).to_have_count(0)
    expect(confirm_all).to_be_hidden()
    for row, sex in enumerate(sexes):
        expect(page.locator("li.radiograph").nth(row).locator(f"input[value={sex}]")).to_be_checked()


@pytest.mark.parametrize(("chosen", "other"), ["FM", "MF"])
def test_sex_for_all_keeps_sexes_from_files(
    page: Page, open_service: Service, tmp_path: Path, chosen: str, other: str
) -> None:
    """The file that agrees is confirmed by it, the one that does not still asks."""
    radiographs = [
        dicom(tmp_path, f"{stated_sex}.dcm", "F", 90, stated_sex=stated_sex) for stated_sex in (None, chosen, other)
    ]
    choose_files(page, open_service, radiographs)
    expect(page.locator("[data-confirm]:visible")).to_have_count(2)
    page.locator(f"[data-all-sex={chosen}]").click()
    silent, agreeing, contrary = page.locator("li.radiograph").all()
    for row, sex in ((silent, chosen), (agreeing, chosen), (contrary, other)):
        expect(row.locator(f"input[value={sex}]")).to_be_checked()
    expect(silent.locator("[data-confirm]")).to_be_hidden()
    expect(agreeing.locator("[data-confirm]")).to_be_hidden()
    expect(contrary.locator("[data-confirm]")).to_be_visible()
    contrary.locator("[data-send]").click()
    expect(contrary.locator("[data-errors]")).not_to_be_empty()


def test_radiographs_are_sent_in_order(page: Page, open_service: Service, tmp_path: Path) -> None:
    """In the list's order, though the first is slow and the second is turned away; what cannot be sent stays."""
    empty = tmp_path / "empty.png"
    empty.touch()
    radiographs = [dicom(tmp_path, f"radiograph-{row}.dcm", "F", 60 + 20 * row, stated_sex=None) for row in range(4)]
    steps: list[str] = []

    def turn_away(route: Route) -> None:
        """Slowly the first, with an error the second."""
        (name,) = (
            radiograph.name
            for radiograph in radiographs
            if radiograph.name.encode() in (route.request.post_data_buffer or b"")
        )
        steps.append(f"{name} comes")
        page.wait_for_timeout(400 if name == radiographs[0].name else 20)
        steps.append(f"{name} goes")
        if name == radiographs[1].name:
            route.fulfill(status=503, json={"code": "busy", "message": "Later."})
        else:
            row = f"/assessments/{name}/row"
            route.fulfill(status=201, json={"id": name, "result": row, "row": row})

    choose_files(page, open_service, [*radiographs, empty])
    page.route(f"{open_service.url}{page.locator('.assess').get_attribute('data-submit')}", turn_away)
    page.route(re.compile("/row$"), lambda route: route.fulfill(status=404))
    assert "radiograph-0.dcm was added" in page.locator("[data-status]").inner_text()
    assert "empty.png" not in page.locator("[data-status]").inner_text()
    page.locator("[data-all-sex=F]").click()
    page.locator("[data-all]").click()
    expect(page.locator("li.radiograph.sent")).to_have_count(3)
    expect(page.locator("li.radiograph").nth(1).locator("[data-errors]")).to_have_text("Later.")
    assert steps == [f"{radiograph.name} {step}" for radiograph in radiographs for step in ("comes", "goes")]
    for name in ("bar-sex", "all"):
        expect(page.locator(f"[data-{name}]")).to_be_hidden()
    expect(page.locator("[data-clear]")).to_be_visible()


def test_bar_hides_without_usable_radiographs(page: Page, open_service: Service, tmp_path: Path) -> None:
    """The bar goes when only unusable radiographs are left."""
    radiographs = [
        dicom(tmp_path, "radiograph.dcm", "F", 90, stated_sex=None),
        *(tmp_path / f"empty-{row}.png" for row in range(3)),
    ]
    for radiograph in radiographs[1:]:
        radiograph.touch()
    choose_files(page, open_service, radiographs)
    expect(page.locator("[data-clear]")).to_be_visible()
    expect(page.locator("[data-all]")).to_be_hidden()
    expect(page.locator("[data-bar-sex]")).to_be_hidden()
    expect(page.locator("[data-status]")).to_have_text("radiograph.dcm was added.")


def test_delete_now(page: Page, open_service: Service, tmp_path: Path) -> None:
    """Deleted at once."""
    radiograph, _ = plate(tmp_path, "F", 160)
    assess(page, open_service, radiograph, "F")
    address = page.url
    page.get_by_text("Delete now").click()
    page.get_by_role("button", name="Delete permanently").click()
    expect(page).to_have_url(f"{open_service.url}/")
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == 404


def test_open_mode_has_no_accounts(page: Page, open_service: Service) -> None:
    """There are no accounts."""
    answer = page.goto(f"{open_service.url}/cases/")
    assert answer is not None
    assert answer.status == 404
