"""Pages of the DICOM node in a real browser: the sex that is missing, whereabouts of results, dead letters."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from boneage.node.configuration import NodeSettings, Peer
from boneage.node.outcome import Result
from boneage.node.sender import send
from tests.node.orthanc import free_port
from tests.web.browser.conftest import Service, serve
from tests.web.browser.looks import barriers, shoot
from tests.web.browser.steps import log_in
from tests.web.node.arrivals import HOSPITAL, configured, radiograph


@pytest.fixture(scope="module")
def node_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def node_service(tmp_path_factory: pytest.TempPathFactory, node_port: int) -> Iterator[Service]:
    """The mode ``clinic`` as the node of a PACS that does not answer."""
    folder = tmp_path_factory.mktemp("node")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BONEAGE_PACS", str(configured(folder, HOSPITAL, port=node_port, pacs_port=free_port())))
        yield from serve(folder, "clinic")


def test_pages_of_node(page: Page, node_service: Service, node_port: int) -> None:
    """A radiograph without a sex is read by one click; its results wait for the PACS, and are given up."""
    node = Peer("node", "BONEAGE", "127.0.0.1", node_port)
    files = [
        radiograph(1, study="1.2.3", is_plate=True, PatientID="1001", AccessionNumber="ACC-1"),
        radiograph(1, study="1.2.4", is_plate=True, PatientID="1002", PatientSex="O", AccessionNumber="ACC-2"),
        radiograph(2, study="1.2.3", level=1, PatientID="1001", BodyPartExamined="CHEST"),
    ]
    assert [one.result for one in send(node, NodeSettings(ae_title="DXROOM1"), files)] == [Result.DONE] * 3
    log_in(page, node_service)
    page.goto(f"{node_service.url}/cases/")
    deadline = time.monotonic() + 60
    while not page.get_by_text("waits for pacs").count() and time.monotonic() < deadline:
        page.reload()
    expect(page.get_by_role("heading", name="Radiographs that need the sex of the child")).to_be_visible()
    assert barriers(page) == []
    shoot(page, "node-worklist", whole=True)
    page.set_viewport_size({"width": 390, "height": 844})
    shoot(page, "node-worklist-phone", whole=True)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_role("button", name="Male 1002", exact=True).click()
    expect(page.get_by_text("The radiograph is being assessed.")).to_be_visible()
    page.get_by_label("Search references").fill("ACC-1")
    expect(page.locator("#worklist tbody tr")).to_have_count(1)
    page.locator("#worklist tbody a.tag").click()
    expect(page.get_by_text("waits for pacs")).to_be_visible()
    assert barriers(page) == []
    shoot(page, "node-result")
    with closing(sqlite3.connect(node_service.store / "boneage.sqlite3", timeout=20)) as database:
        database.execute("UPDATE node_delivery SET state = 'dead', code = 'mismatch', status = 43264")
        database.commit()
    page.get_by_role("link", name="DICOM node").click()
    expect(page.get_by_role("heading", name="Not delivered")).to_be_visible()
    assert barriers(page) == []
    shoot(page, "node", whole=True)
    page.get_by_role("button", name="Give up").first.click()
    expect(page.get_by_text("The delivery has been given up.")).to_be_visible()
    page.get_by_role("button", name="Send again").first.click()
    expect(page.get_by_text("The result is being sent again.")).to_be_visible()
