"""Outputs never replace inputs, and have the ending of their format."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from boneage.cli import cli
from boneage.commands.outputs import keep_inputs, require_ending


def test_require_ending() -> None:
    require_ending("--out", Path("sheet.PNG"), ".png")
    require_ending("--out", None, ".png")
    with pytest.raises(click.UsageError, match=r"--out must end in \.png, and sheet\.txt does not"):
        require_ending("--out", Path("sheet.txt"), ".png")


def test_keep_inputs_recognises_the_same_file(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.touch()
    (tmp_path / "link.csv").symlink_to(table)
    (tmp_path / "hard.csv").hardlink_to(table)
    keep_inputs([table, None], [tmp_path / "other.csv", None])
    for output in (table, tmp_path / "link.csv", tmp_path / "hard.csv", tmp_path / "folder" / ".." / "table.csv"):
        with pytest.raises(click.UsageError, match="would replace the input"):
            keep_inputs([table], [output])
    with pytest.raises(click.UsageError, match="Two outputs"):
        keep_inputs([table], [tmp_path / "new.png", tmp_path / "new.png"])


TABLE = "id,sex,boneage,age_months\n1,F,100,101\n"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("table.csv", ("maps", "table.csv", "--out", "sheet.png", "--shares", "table.md")),
        ("table.csv", ("maps", "table.csv", "--out", "table.csv")),
        ("table.csv", ("maps", "table.csv", "--out", "sheet.txt")),
        ("table.csv", ("maps", "table.csv", "--out", "sheet.png", "--shares", "shares.csv")),
        ("tables.csv", ("evaluate", "tables.csv", "--out", ".", "--no-plots")),
        ("predictions.csv", ("evaluate", "--radiographs", "predictions.csv", "--out", ".", "--no-plots")),
        ("stress.csv", ("evaluate", "--radiographs", "stress.csv", "--out", ".", "--stress")),
        ("audit.csv", ("audit", "audit.csv", "--out", ".")),
        ("assessed.csv", ("audit", "--radiographs", "assessed.csv", "--out", ".")),
        ("table.csv", ("compare", "table.csv", "--out", "table.csv")),
        ("table.csv", ("curve", "runs", "--out", "table.csv")),
        ("stages.csv", ("candidates", "--radiographs", "stages.csv", "--out", ".")),
        ("grid.csv", ("grid", "--radiographs", "grid.csv", "--out", ".", "--no-plots")),
        ("table.zip", ("pack", "standard", "--radiographs", "table.zip", "--out", "table.zip", "--overwrite")),
    ],
)
def test_commands_keep_their_inputs(
    name: str, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command ends with the status of wrong usage before it reads or writes a file."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(TABLE, encoding="utf-8")
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2, result.output
    assert "[usage]" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert Path(name).read_text(encoding="utf-8") == TABLE
