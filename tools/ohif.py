#!/usr/bin/env python
"""Shows result objects in OHIF on Orthanc, as a radiologist sees them: `make ohif` fetches the viewer and runs this.

A reference plate of the atlas becomes a DICOM radiograph. It and its result objects are stored in an Orthanc server,
and a browser opens the study. The program fails unless the viewer draws the outline of the hand and the words
"Bone age: N mo" onto the radiograph. The pictures show the radiograph with the structured report, and the page.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
from playwright.sync_api import Page, expect, sync_playwright

from boneage.atlas import Atlas
from boneage.cli import cli
from boneage.dicom.plate import plate_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from tests.chromium import CHROMIUM
from tests.node.orthanc import Orthanc, free_port, running_orthanc

PLATE = "F-132"
DICOM_WEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"

CONFIGURATION = """\
window.config = {
  routerBasename: null, extensions: [], modes: [], investigationalUseDialog: {option: 'never'},
  defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc', wadoUriRoot: '/wado', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web',
      qidoSupportsIncludeField: false, imageRendering: 'wadors', thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true,
      supportsFuzzyMatching: false, supportsWildcard: true, bulkDataURI: {enabled: true}
    }
  }]
};
"""


def radiograph() -> bytes:
    """Return the plate as a DICOM file."""
    atlas = Atlas.open()
    plate = atlas.plate(PLATE)
    return plate_file(plate.key, atlas.picture(plate), plate.sex.value, plate.age_months)


def viewer(dist: Path, orthanc: Orthanc) -> ThreadingHTTPServer:
    """Return a server of OHIF and, at the same origin, of Orthanc's DICOMweb paths."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, directory=str(dist), **named)

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            if path.startswith(("/dicom-web", "/wado")):
                self._forward()
            elif path == "/app-config.js":
                self._answer(200, "text/javascript", CONFIGURATION.encode())
            else:
                if not (dist / path.lstrip("/")).is_file():
                    self.path = "/index.html"  # the viewer's own paths
                super().do_GET()

        def _forward(self) -> None:
            headers = {name: self.headers[name] for name in ("Accept", "Host") if self.headers[name]}
            address = f"http://127.0.0.1:{orthanc.http_port}{self.path}"
            try:
                with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
                    self._answer(answer.status, answer.headers["Content-Type"], answer.read())
            except urllib.error.HTTPError as error:
                self._answer(error.code, error.headers["Content-Type"], error.read())

        def _answer(self, status: int, media_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def open_study(page: Page, address: str, study: str, out: Path) -> str:
    """Open the study, take both pictures, and return what the viewer writes onto the radiograph."""
    page.goto(f"{address}/viewer?StudyInstanceUIDs={study}")
    pages = page.locator("[data-cy=study-browser-thumbnail]")
    expect(pages).to_have_count(2)
    tour = page.get_by_text("Skip all")
    tour.wait_for()
    tour.click()
    page.locator("[data-cy=study-browser-thumbnail-no-image]").dblclick()
    outline = page.locator("svg.svg-layer")
    for _ in range(10):
        page.wait_for_timeout(1000)
        page.mouse.move(800, 500)
        page.mouse.wheel(0, 50)  # the viewer draws annotations at the next movement
        written = " | ".join(outline.locator("tspan").evaluate_all("found => found.map(one => one.textContent)"))
        if "Bone age" in written and outline.locator("path, polyline").count():
            break
    page.screenshot(path=out / "radiograph.png")
    pages.nth(1).dblclick()
    page.wait_for_timeout(5000)  # the canvas is no element that could be waited for
    page.screenshot(path=out / "page.png")
    return written


def main(dist: Path, out: Path) -> int:
    """Store, look, and return the exit status."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plate.dcm").write_bytes(radiograph())
        objects = folder / "objects"
        cli.main(["pacs", "objects", str(folder / "plate.dcm"), "--out", str(objects)], standalone_mode=False)
        (folder / "orthanc").mkdir()
        web = {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado", "Ssl": False}
        with running_orthanc(folder / "orthanc", free_port(), Plugins=[DICOM_WEB], DicomWeb=web) as orthanc:
            for path in (folder / "plate.dcm", *objects.glob("*.dcm")):
                orthanc.upload(path.read_bytes())
            server = viewer(dist, orthanc)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with sync_playwright() as playwright:
                flags = [
                    "--no-sandbox",
                    "--enable-unsafe-swiftshader",
                    "--disable-background-networking",
                    "--no-first-run",
                ]
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
                written = open_study(
                    browser.new_page(viewport={"width": 1500, "height": 950}),
                    f"http://127.0.0.1:{server.server_port}",
                    str(pydicom.dcmread(folder / "plate.dcm", stop_before_pixels=True).StudyInstanceUID),
                    out,
                )
                browser.close()
            server.shutdown()
    sys.stdout.write(f"{written}\n")
    return 0 if re.search(r"Bone age: \d+\.\d+ mo", written) else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
