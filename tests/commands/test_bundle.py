"""Commands `boneage bundle list`, `show` and `check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boneage.bundle.shipped import list_bundles
from tests.bundles import tiny_bundle
from tests.program_runs import boneage, error_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


def test_bundle_list(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("boneage.bundle.shipped.list_bundles", lambda: list_bundles(bundle.parent))
    assert (
        boneage("bundle", "list").stdout
        == "  tiny 1.0: A tiny bundle for tests (1 network, validation MAD 8.50 months)\n"
    )
    assert json.loads(boneage("bundle", "list", "--json").stdout)["mad_months"] == 8.5


def test_bundle_show(bundle: Path) -> None:
    output = boneage("bundle", "show", bundle).stdout
    assert (
        "title: A tiny bundle for tests" in output
        and "view radiograph 48 x 64" in output
        and "metric ccc: 0.94" in output
    )
    assert json.loads(boneage("bundle", "show", bundle, "--json").stdout) == json.loads(
        (bundle / "bundle.json").read_text()
    )


def test_bundle_check(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "tiny")
    result = boneage("bundle", "check", folder)
    assert result.exit_code == 0 and "self-test" in result.stdout and "FAIL" not in result.stdout
    (folder / "stray.txt").write_text("")
    result = boneage("bundle", "check", folder)
    assert result.exit_code == 4 and "FAIL files" in result.stdout and "[bundle_check_failed]" in error_of(result)
