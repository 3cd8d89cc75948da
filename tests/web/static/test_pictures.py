"""The browser's own decoders: 16-bit PNG for the viewer, and DICOM for previews."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import boneage.web
from boneage.web.queue.pictures import GREY_LEVELS, GREY_SIDE, grey_png
from tests.radiograph_files import coded, dicom_dataset, dicom_file, drawn_radiograph

STATIC = Path(boneage.web.__file__).parent / "static" / "web"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def run_node(folder: Path, scripts: list[str], program: str) -> Any:
    """Return what a program prints as JSON, with these modules beside it."""
    (folder / "package.json").write_text('{"type": "module"}')
    for script in scripts:
        shutil.copy(STATIC / script, folder / script)
    (folder / "main.js").write_text(f'import {{ readFileSync, openAsBlob }} from "node:fs";\n{program}')
    assert NODE is not None
    done = subprocess.run([NODE, "main.js"], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ = """
import { readGreyPng, percentiles } from "./grey_png.js";
const file = readFileSync("grey.png");
const read = await readGreyPng(file.buffer.slice(file.byteOffset, file.byteOffset + file.length));
const shown = percentiles(read.pixels, 65536, [0.002, 0.998]);
console.log(JSON.stringify({ ...read, pixels: [...read.pixels], shown }));
"""


@pytest.mark.parametrize("strategy", range(5))
def test_grey_png_is_read_exactly(tmp_path: Path, strategy: int) -> None:
    """Every filter of PNG gives the pixels that OpenCV has written."""
    pixels = drawn_radiograph((53, 41)) ^ np.arange(41, dtype=np.uint16)
    options = [cv2.IMWRITE_PNG_FILTER, 8 << strategy] if hasattr(cv2, "IMWRITE_PNG_FILTER") else []
    (tmp_path / "grey.png").write_bytes(coded(".png", pixels, *options))
    read = run_node(tmp_path, ["grey_png.js"], READ)
    assert (read["width"], read["height"]) == (41, 53)
    assert np.array_equal(np.reshape(read["pixels"], (53, 41)), pixels)
    low, high = np.percentile(pixels, (0.2, 99.8), method="lower")
    assert read["shown"] == pytest.approx([low, high], abs=0.02 * (high - low))


def test_grey_png_of_worker(tmp_path: Path) -> None:
    """The worker's picture has the radiograph's levels, bone bright, at a size that graphics cards take."""
    pixels = drawn_radiograph((2600, 30), 12).astype(np.float32) / np.float32(4095)
    (tmp_path / "grey.png").write_bytes(grey_png(pixels, is_inverted=False))
    inverted = cv2.imdecode(np.frombuffer(grey_png(pixels[:50], is_inverted=True), np.uint8), cv2.IMREAD_UNCHANGED)
    assert inverted is not None
    assert np.array_equal(inverted, np.rint((1 - pixels[:50]) * (GREY_LEVELS - 1)))
    read = run_node(tmp_path, ["grey_png.js"], READ)
    assert (read["width"], read["height"]) == (24, GREY_SIDE)
    assert max(read["pixels"]) < GREY_LEVELS


PREVIEW = """
import { drawable } from "./dicom_preview.js";
globalThis.ImageData = function (width, height) {
  return { width, height, data: new Uint8ClampedArray(4 * width * height) };
};
const read = await drawable(await openAsBlob("file"), 40).catch((error) => ({ error: error.message }));
const grey = read.data ? [...read.data].filter((_, at) => at % 4 === 0) : null;
console.log(JSON.stringify({ width: read.width, height: read.height, grey, error: read.error, size: read.size }));
"""
PREVIEW_SCRIPTS = ["dicom_header.js", "dicom_preview.js"]


@pytest.mark.parametrize(("bits", "photometric"), [(8, "MONOCHROME2"), (12, "MONOCHROME2"), (16, "MONOCHROME1")])
def test_preview_of_uncompressed_dicom(tmp_path: Path, bits: int, photometric: str) -> None:
    """The preview has every second pixel, spread over 8 bits."""
    pixels = drawn_radiograph((80, 60), bits)
    stored = pixels.astype(np.uint8) if bits == 8 else pixels
    dataset = dicom_dataset(stored, bits, PhotometricInterpretation=photometric)
    (tmp_path / "file").write_bytes(dicom_file(dataset))
    read = run_node(tmp_path, PREVIEW_SCRIPTS, PREVIEW)
    sampled = pixels[::2, ::2].astype(np.float64)
    grey = 255 * (sampled - sampled.min()) / np.ptp(sampled)
    expected = 255 - grey if photometric == "MONOCHROME1" else grey
    assert (read["width"], read["height"]) == (30, 40)
    assert np.abs(np.reshape(read["grey"], (40, 30)) - expected).max() <= 1


def test_preview_of_other_files(tmp_path: Path) -> None:
    """The browser itself draws other files; a damaged DICOM file has no preview."""
    (tmp_path / "file").write_bytes(coded(".png", drawn_radiograph()))
    assert run_node(tmp_path, PREVIEW_SCRIPTS, PREVIEW)["size"] == (tmp_path / "file").stat().st_size
    whole = dicom_file(dicom_dataset(drawn_radiograph((80, 60), 12), 12))
    (tmp_path / "file").write_bytes(whole[:-4000])
    assert run_node(tmp_path, PREVIEW_SCRIPTS, PREVIEW)["error"]
