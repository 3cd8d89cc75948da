"""Command ``boneage archive``: options that contradict each other, and what is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.archive.parts import draw_archive
from tests.bundles import tiny_bundle
from tests.program_runs import boneage, error_of


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [".", "--dicomweb", "http://pacs/dicom-web"],
        [".", "--auth", __file__],
        [".", "--address", "tls://node:8786", "--workers", "2"],
        [".", "--from", "1.2.2010"],
        [".", "--from", "2010-02-02", "--to", "2010-02-01"],
    ],
)
def test_contradicting_options_are_usage_errors(tmp_path: Path, arguments: list[str]) -> None:
    result = boneage("archive", *arguments, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "[usage]" in result.stderr
    assert not (tmp_path / "out").exists()


def test_salt_must_lie_outside_of_the_results(tmp_path: Path) -> None:
    result = boneage("archive", tmp_path, "--out", tmp_path / "out", "--salt", tmp_path / "out" / "salt")
    assert result.exit_code == 2
    assert "outside" in error_of(result)


def test_empty_folder_is_an_error(tmp_path: Path) -> None:
    """It may be the mount point of a disk that is away. Nothing is written."""
    (tmp_path / "archive").mkdir()
    bundle = tiny_bundle(tmp_path / "tiny")
    result = boneage("archive", tmp_path / "archive", "--out", tmp_path / "out", "--bundle", bundle)
    assert result.exit_code == 6
    assert "[table_image_missing]" in result.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.salt").exists()


def test_silent_scheduler_and_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that does not answer is a failure with a code, and so are results of another selection."""
    monkeypatch.setattr("boneage.archive.engine.CONNECT_SECONDS", 1)
    archive = draw_archive(tmp_path / "archive", count=1)
    command = ["archive", archive, "--out", tmp_path / "out", "--bundle", tiny_bundle(tmp_path / "tiny")]
    result = boneage(*command, "--address", "tcp://127.0.0.1:9")
    assert result.exit_code == 8
    assert "[address_invalid]" in result.stderr
    result = boneage(*command, "--modality", "DX")
    assert result.exit_code == 6
    assert "another selection" in error_of(result)
