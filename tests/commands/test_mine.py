"""``boneage mine``: a mining project by commands alone."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boneage.commands.mine import mine
from boneage.errors import BoneageError, RecipeError, TableError
from boneage.train.mining.state import read_masks
from tests.train.drawn_radiographs import draw_folder
from tests.train.mining.minings import TINY, add_pending, begin_mining, write_outlines

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(mine, [str(argument) for argument in arguments])


def code_of(result: Result) -> str:
    assert isinstance(result.exception, BoneageError)
    return result.exception.code


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of twelve drawn radiographs, ids 0 to 11, 160 x 120."""
    return draw_folder(tmp_path_factory.mktemp("drawn"), count=12)


@pytest.fixture
def mining(tmp_path: Path, table: Path) -> Path:
    """With five pending masks of a round that was not trained here; in the order of uncertainty 6, 8, 7, 9, 5."""
    folder = begin_mining(tmp_path, table)
    add_pending(folder, {"5": 0.1, "6": 0.5, "7": 0.3, "8": 0.4, "9": 0.2})
    return folder


def statuses(folder: Path) -> dict[str, str]:
    return {
        radiograph_id: mask.status.value
        for radiograph_id, mask in read_masks(folder).items()
        if radiograph_id in "56789"
    }


def test_mine_two_rounds(tmp_path: Path, table: Path) -> None:
    folder, tiny = tmp_path / "mining", [f"--set={change}" for change in TINY]
    outlines = write_outlines(tmp_path / "outlines.json", 4)
    begun = run_command("start", folder, "--radiographs", table, "--outlines", outlines, "--held-out", 1)
    assert begun.stdout == f"{folder}: 12 radiographs, 3 outlines to train on, 1 held out, 8 radiographs to predict\n"
    first = run_command("train", folder, "--accelerator", "cpu", "--devices", 1, "--quiet", *tiny)
    assert first.exit_code == 0, first.exception
    assert "round 1: trained on 3 outlines and 0 accepted masks; 1 held-out outlines: IoU 0." in first.stdout
    assert run_command("predict", folder, "--count", 4, "--quiet").stdout.startswith("4 masks predicted")
    sheets = run_command("sheet", folder, "--out", tmp_path / "sheets", "--columns", 2, "--rows", 1, "--tile", 60)
    assert [Path(line).name for line in sheets.stdout.splitlines()] == ["pending-001.png", "pending-002.png"]
    decided = run_command("decide", folder, "--accept-rest-of", tmp_path / "sheets" / "pending-001.csv")
    assert decided.stdout == "2 accepted, 0 discarded, 0 were decided before\n"
    second = run_command("train", folder, "--accelerator", "cpu", "--devices", 1, "--quiet", *tiny)
    assert "round 2: trained on 3 outlines and 2 accepted masks" in second.stdout
    again = run_command("predict", folder, "--against", 1, "--quiet")
    assert again.stdout.startswith("6 masks predicted")  # the two pending ones too
    lines = run_command("status", folder).stdout.splitlines()
    assert lines[:2] == [
        "3 outline, 1 held_out, 6 pending, 2 accepted, 0 discarded, 0 unseen",
        "coverage 50.00% of 12 radiographs",
    ]
    with (folder / "rounds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["round"], row["trained_on"], row["accepted"]) for row in rows] == [("1", "3", "2"), ("2", "5", "0")]


def test_mine_decide_by_list_and_sheet(mining: Path, tmp_path: Path) -> None:
    """Radiographs are discarded by a list and the rest of a sheet accepted."""
    run_command("sheet", mining, "--out", tmp_path, "--columns", 2, "--rows", 2, "--tile", 60, "--quiet")
    (tmp_path / "bad.txt").write_text("8\n\n 5 \n")
    arguments = ("decide", mining, "--discard", tmp_path / "bad.txt", "--accept-rest-of", tmp_path / "pending-001.csv")
    result = run_command(*arguments)
    assert result.exit_code == 0, result.exception
    expected = {"5": "discarded", "6": "accepted", "7": "accepted", "8": "discarded", "9": "accepted"}
    assert statuses(mining) == expected
    assert run_command(*arguments).stdout == "0 accepted, 2 discarded, 3 were decided before\n"
    assert statuses(mining) == expected


def test_mine_decide_keeps_discarded(mining: Path, tmp_path: Path) -> None:
    """A radiograph that was discarded is not accepted by another sheet."""
    run_command("sheet", mining, "--out", tmp_path, "--tile", 60, "--quiet")
    (tmp_path / "bad.txt").write_text("8\n")
    run_command("decide", mining, "--discard", tmp_path / "bad.txt")
    run_command("decide", mining, "--accept-rest-of", tmp_path / "pending-001.csv")
    assert statuses(mining)["8"] == "discarded"


def test_mine_decide_rejects_replaced_sheet(mining: Path, tmp_path: Path) -> None:
    """A sheet of masks that were replaced accepts nothing."""
    run_command("sheet", mining, "--out", tmp_path, "--tile", 60, "--quiet")
    add_pending(mining, {"7": 0.0}, number=2)
    assert code_of(run_command("decide", mining, "--accept-rest-of", tmp_path / "pending-001.csv")) == "table_value"
    assert set(statuses(mining).values()) == {"pending"}


def test_mine_decide_reports_faults(mining: Path, tmp_path: Path) -> None:
    assert run_command("decide", mining).exit_code == 2
    assert code_of(run_command("decide", mining, "--discard", tmp_path / "none.txt")) == "table_not_found"
    (tmp_path / "bad.txt").write_text("99\n")
    assert code_of(run_command("decide", mining, "--discard", tmp_path / "bad.txt")) == "table_value"
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe8\x00")
    assert code_of(run_command("decide", mining, "--discard", tmp_path / "bad.txt")) == "table_unreadable"


@pytest.mark.parametrize("command", [("status",), ("train",), ("predict",), ("review",), ("sheet", "--out", "out")])
def test_mine_reports_other_folder(tmp_path: Path, command: tuple[str, ...]) -> None:
    result = run_command(command[0], tmp_path / "none", *command[1:])
    assert isinstance(result.exception, RecipeError)
    assert result.exception.code == "recipe_invalid"
    assert not (tmp_path / "none").exists()


def test_mine_reports_missing_table(mining: Path) -> None:
    (mining / "masks.csv").unlink()
    result = run_command("status", mining)
    assert isinstance(result.exception, TableError)
    assert result.exception.code == "table_not_found"


def test_mine_review_serves_until_stopped(mining: Path) -> None:
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # also where tests ignore it
    program = f"{listening}; from boneage.commands.mine import mine; mine()"
    command = [sys.executable, "-c", program, "review", str(mining), "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("5 masks to decide on: http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[-1] + "page/0", timeout=20) as page:
            assert b'"id": "6"' in page.read()
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "Ended. What was saved is in the table.\n"
    assert process.returncode == 0
