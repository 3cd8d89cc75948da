"""The README's examples run as they are written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from boneage.bundle.shipped import DEFAULT_BUNDLE
from boneage.cli import cli
from boneage.phantom import draw_hand
from tests.bundles import tiny_bundle

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ *(?:\.venv/bin/)?(boneage [a-z].*?)(?:\s+#.*)?$", README, flags=re.MULTILINE)


def write_dicom(path: Path) -> None:
    """A drawn phantom as a digital radiograph of 12 bits."""
    pixels = np.rint(draw_hand(8.0, height=800, width=600) ** 0.7 * 4095).astype(np.uint16)  # same as the sample
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    radiograph = pydicom.Dataset()
    radiograph.file_meta = meta
    radiograph.SOPClassUID, radiograph.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    radiograph.Modality, radiograph.PhotometricInterpretation = "DX", "MONOCHROME2"
    radiograph.Rows, radiograph.Columns, radiograph.SamplesPerPixel = 800, 600, 1
    radiograph.BitsAllocated, radiograph.BitsStored, radiograph.HighBit, radiograph.PixelRepresentation = 16, 12, 11, 0
    radiograph.PixelData = pixels.tobytes()
    radiograph.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("shipped", [False, True])
def test_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: bool) -> None:
    """With a tiny bundle in the place of the default one, and with the default one."""
    if not shipped:
        tiny_bundle(tmp_path / DEFAULT_BUNDLE, hand=True)
        monkeypatch.setattr("boneage.bundle.shipped.SHIPPED", tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 2
    write_dicom(tmp_path / "hand.dcm")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)  # the examples are the test's input
    assert names["estimate"].age_months == pytest.approx(names["assessment"].age_months, abs=1e-3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_exist_with_options(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options


def test_commands_are_present() -> None:
    assert len(COMMANDS) >= 4
