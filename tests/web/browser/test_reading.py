"""Reading one radiograph after another in the mode ``clinic``: upload, viewer, text, decision, next, corrections."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Response, expect

from tests.web.browser.conftest import Service
from tests.web.browser.drawn_radiographs import dicom
from tests.web.browser.looks import barriers, shoot
from tests.web.browser.steps import RESULT, log_in

GREATEST_PAGE_BYTES = 500_000
"""Weight of the page of a result without the radiograph itself."""

FILE = {"PatientID": "4711-A", "AccessionNumber": "ACC 9", "PixelSpacing": [0.5, 0.5], "PatientBirthDate": "20130412"}

HAS_MOVED = "(before) => document.querySelector('[data-plate-picture]').style.transform !== before"


@pytest.fixture(scope="module")
def results(browser: Browser, clinic_service: Service, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Addresses of the results of a girl's radiographs as DICOM, of 2021 and 2024."""
    context = browser.new_context(locale="en-GB", viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    page, addresses = context.new_page(), []
    log_in(page, clinic_service)
    for months, study in ((84, "20210301"), (112, "20240301")):
        file = dicom(
            tmp_path_factory.mktemp("dicom"),
            f"{study}.dcm",
            "F",
            months,
            stated_sex="F",
            bits=12,
            StudyDate=study,
            **FILE,
        )
        page.goto(f"{clinic_service.url}/")
        page.set_input_files("#files", str(file))
        row = page.locator("li.radiograph")
        expect(row.locator("canvas")).to_be_visible()  # browsers themselves draw no DICOM
        row.locator("[data-confirm-button]").click()
        field, offer = row.locator("[name=reference]"), row.locator("[data-offer=patientId]")
        expect(offer).to_contain_text("4711-A")
        expect(field).to_have_value("")  # nothing is entered unasked
        shoot(page, "home-dicom")
        offer.click()
        expect(field).to_have_value("4711-A")
        row.locator("[data-send]").click()
        page.wait_for_url(RESULT)
        expect(page.locator("#answer-title")).to_be_visible()
        page.wait_for_load_state("networkidle")
        addresses.append(page.url)
    context.close()
    return addresses


@pytest.fixture
def result(page: Page, clinic_service: Service, results: list[str]) -> Iterator[Page]:
    """The page of the last radiograph, its picture in 16 bits."""
    log_in(page, clinic_service)
    page.goto(results[-1])
    expect(page.locator("[data-viewer][data-levels='4096']")).to_be_visible()
    yield page


def plate_place(page: Page) -> str:
    """Return where the comparison lies."""
    place = page.locator("[data-plate-picture]").evaluate("(image) => image.style.transform")
    assert isinstance(place, str)
    return place


def test_viewer_panes_move_together(result: Page) -> None:
    """Keys work without focus in the viewer, and the plate follows zoom, rotation and inversion."""
    readout = result.locator("[data-readout]")
    hand, place = readout.inner_text(), plate_place(result)
    result.keyboard.press("+")
    expect(readout).not_to_have_text(hand)
    result.wait_for_function(HAS_MOVED, arg=place)
    result.keyboard.press("0")
    expect(readout).to_have_text(hand)
    result.keyboard.press("2")
    expect(readout).not_to_have_text(hand)
    result.keyboard.press("Backspace")
    result.keyboard.press("t")
    result.wait_for_function(HAS_MOVED, arg=place)
    result.keyboard.press("Shift+T")
    result.keyboard.press("i")
    expect(result.locator("[data-plate-picture]")).to_have_class(re.compile("inverted"))
    result.keyboard.press("i")
    over = result.locator("[data-plate-over]")
    expect(over).to_be_hidden()
    result.keyboard.press("p")
    expect(over).to_be_visible()
    shoot(result, "viewer-plate")
    result.keyboard.press("Escape")
    expect(over).to_be_hidden()
    result.get_by_text("Earlier", exact=True).click()
    expect(result.locator("[data-plate-compared]")).to_contain_text("2021")
    shoot(result, "viewer-earlier")
    stage = result.locator("[data-plate-stage]")
    stage.focus()
    before = plate_place(result)
    result.keyboard.press("ArrowLeft")
    result.wait_for_function(HAS_MOVED, arg=before)


def test_viewer_magnifies_and_measures(result: Page) -> None:
    """A magnifier, and a ruler in mm by mouse and by keys."""
    box = result.locator("[data-stage]").bounding_box()
    assert box is not None
    result.keyboard.press("z")
    expect(result.locator("[data-do=loupe]")).to_have_attribute("aria-pressed", "true")
    result.mouse.move(box["x"] + 200, box["y"] + 200)
    result.keyboard.press("m")
    measured = result.locator(".measure text:not(.halo)")
    expect(measured).to_have_text(re.compile(r"^[\d.]+ mm$"))
    shoot(result, "viewer-tools")
    result.mouse.move(box["x"] + 100, box["y"] + 100)
    result.mouse.down()
    result.mouse.move(box["x"] + 200, box["y"] + 100)
    result.mouse.up()
    zoom = result.locator("[data-readout]").inner_text().split()[0]
    expected = 100 / (int(zoom) / 100) * 0.5  # CSS pixels by the radiograph's, each of 0.5 mm
    assert float((measured.text_content() or "").split()[0]) == pytest.approx(expected, rel=0.03)
    before = measured.text_content() or ""
    result.locator("[data-stage]").focus()
    result.keyboard.press("ArrowRight")
    expect(measured).not_to_have_text(before)
    expect(result.locator("[data-spoken]")).to_have_text(measured.text_content() or "")
    assert barriers(result) == []
    result.keyboard.press("Escape")
    expect(measured).to_be_hidden()


def test_keys_can_be_limited_to_viewer(result: Page) -> None:
    """Single keys can be switched off outside of the viewer."""
    result.keyboard.press("?")
    dialog = result.get_by_role("dialog", name="Keys and gestures")
    assert barriers(result) == []
    shoot(result, "viewer-keys")
    dialog.get_by_label("Keys work on the whole page").uncheck()
    dialog.get_by_role("button", name="Close").click()
    heat = result.locator("[data-do=heat]")
    result.locator("#details > summary").focus()
    result.keyboard.press("h")
    expect(heat).to_have_attribute("aria-pressed", "false")
    result.locator("[data-stage]").focus()
    result.keyboard.press("h")
    expect(heat).to_have_attribute("aria-pressed", "true")


def test_bone_under_pointer_shows_its_ruler(result: Page) -> None:
    """A tile shows the age of its bone with a ruler while the pointer is on it, and the table has the same ruler."""
    reading, tile = result.locator("[data-bone-reading]"), result.locator("g.bones polygon").nth(7)
    expect(reading).to_be_hidden()
    result.locator("[data-stage]").focus()
    result.keyboard.press("b")
    expect(tile).to_be_visible()
    tile.hover()
    expect(reading).to_contain_text("metacarpophalangeal joint 3: ")
    expect(reading.locator("svg .bone")).to_be_visible()
    stage, panel = result.locator("[data-stage]").bounding_box(), reading.bounding_box()
    assert stage is not None and panel is not None
    assert panel["y"] >= stage["y"] + stage["height"] - 1  # it covers neither the hand nor the legend
    shoot(result, "viewer-bone")
    result.locator("h1").hover()
    expect(reading).to_be_hidden()
    result.locator("#details > summary").click()
    expect(result.locator("svg.bone-ruler .bone")).to_have_count(18)
    assert barriers(result) == []
    shoot(result, "bone-rulers")


def test_report_text_is_copied(result: Page) -> None:
    """The text with the comparison, announced; selected where the browser allows no copying."""
    result.context.grant_permissions(["clipboard-read", "clipboard-write"])
    button, status = result.get_by_role("button", name="Copy text"), result.locator("[data-copy-status]")
    button.focus()
    result.keyboard.press("Enter")
    expect(status).to_have_text("The report text was copied.")
    text = result.evaluate("navigator.clipboard.readText()")
    assert len(text.splitlines()) == 4
    assert "Comparison with the radiograph of March 1, 2021" in text
    result.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error()); }")
    button.click()
    expect(status).to_contain_text("Ctrl+C")
    assert result.evaluate("getSelection().toString()").startswith("Radiograph of the ")


def test_result_page_is_light(page: Page, clinic_service: Service, results: list[str]) -> None:
    """The page with scripts, styles, heat map and plates weighs little beside the radiograph."""
    log_in(page, clinic_service)
    page.wait_for_load_state("networkidle")
    answers: list[Response] = []

    def keep(answer: Response) -> None:
        answers.append(answer)

    page.on("response", keep)
    page.goto(results[-1])
    expect(page.locator("[data-viewer][data-levels='4096']")).to_be_visible()
    page.wait_for_load_state("networkidle")
    sizes = {one.url: len(one.body()) for one in answers if not one.url.endswith((".jpg", "grey.png"))}
    assert sum(sizes.values()) < GREATEST_PAGE_BYTES, sizes


def test_accept_correct_next_by_keys(result: Page, clinic_service: Service, results: list[str]) -> None:
    """Along the worklist's filter with the keys alone; what is corrected shows in the card at once."""
    result.goto(f"{clinic_service.url}/cases/")
    expect(result.locator("#worklist tbody tr")).to_have_count(1)
    result.goto(results[0])
    expect(result.locator("[data-next]")).to_be_visible()
    result.keyboard.press("a")
    decision = result.locator("#decision")
    expect(decision.get_by_role("status")).to_contain_text("Accepted")
    result.keyboard.press("n")
    result.wait_for_url(results[-1])
    expect(result.locator(".place")).to_contain_text("1 of 1")
    result.keyboard.press("c")
    expect(decision.get_by_label("Years")).to_be_focused()
    result.keyboard.type("9")
    for text in ("2", "carpal bones"):
        result.keyboard.press("Tab")
        result.keyboard.type(text)
    result.keyboard.press("Tab")
    result.keyboard.press("Enter")
    expect(result.locator("#answer .age")).to_have_text("9 years 2 months")
    expect(result.locator("#answer")).to_contain_text("corrected by a physician")
    assert barriers(result) == []
    shoot(result, "result-corrected")


def test_wrong_case_and_wrong_sex(result: Page, results: list[str]) -> None:
    """A radiograph moves to another case, and is assessed again as the other sex there."""
    result.goto(results[0])
    result.get_by_text("Wrong sex or wrong case").click()
    assert barriers(result) == []
    change = result.locator("#change")
    change.get_by_role("button", name="Assess again as male").click()
    expect(change.get_by_role("alert")).to_contain_text("Move this radiograph to another case first")
    change.get_by_label("Patient reference").fill("4712")
    change.get_by_role("button", name="Move", exact=True).click()
    expect(result.get_by_role("link", name="Case 4712")).to_be_visible()
    result.get_by_text("Wrong sex or wrong case").click()
    change.get_by_role("button", name="Assess again as male").click()
    result.wait_for_url(lambda url: url not in results and RESULT.search(url) is not None)
    expect(result.locator("#answer")).to_contain_text("The sex was given as male")
    result.goto(results[0])
    expect(result.get_by_role("note")).to_contain_text("This radiograph was assessed again")
    expect(result.locator("[data-accept]")).to_have_count(0)
    shoot(result, "superseded")
