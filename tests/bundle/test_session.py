"""Sessions of ONNX Runtime: they load the graph of the manifest alone, send nothing, and need their provider."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import read_manifest, write_manifest
from boneage.files import sha256_of
from boneage.sex import Sex
from tests.bundle.exchanged_graphs import views
from tests.bundles import tiny_graph
from tests.error_codes import code_of


def test_run_graph_exchanged_after_opening(folder: Path) -> None:
    bundle = Bundle.open(folder)
    (folder / "member-0.onnx").write_bytes(tiny_graph(shift_months=50).SerializeToString())
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "bundle_checksum"


def test_run_file_that_is_no_graph(folder: Path) -> None:
    manifest = read_manifest(folder)
    (folder / "member-0.onnx").write_bytes(b"this is no graph")
    first = replace(manifest.members[0], sha256=sha256_of(folder / "member-0.onnx"))
    write_manifest(replace(manifest, members=(first, manifest.members[1])), folder)
    bundle = Bundle.open(folder)
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "bundle_invalid"


# --- nothing is sent anywhere ---


_RUN_ONCE = """
import sys
from pathlib import Path
from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle
bundle = Bundle.open(Path(sys.argv[1]))
assert all(result.passed for result in check_bundle(bundle))
import os, onnxruntime
assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
"""


def test_run_leaves_nothing_in_the_home_folder(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    places = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "XDG_DATA_HOME": str(home / "data")}
    subprocess.run([sys.executable, "-c", _RUN_ONCE, str(folder)], check=True, env=environment | places)
    assert list(home.iterdir()) == []


# --- providers ---


@pytest.mark.parametrize("name", ["cuda", "abacus"])
def test_run_provider_that_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("BONEAGE_PROVIDER", name)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    bundle = Bundle.open(folder)
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "provider_missing"


def test_run_provider_without_its_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime goes on with the processor if a provider's libraries are missing; that is an error here."""
    load = onnxruntime.InferenceSession
    monkeypatch.setenv("BONEAGE_PROVIDER", "CUDA")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda data, options, providers: load(data, options))
    bundle = Bundle.open(folder)
    assert code_of(lambda: bundle.run(bundle.members[0], views()[0], Sex.MALE)) == "provider_missing"
