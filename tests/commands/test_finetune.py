"""``boneage finetune``: from a table of radiographs and a bundle to a bundle, by one command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle
from boneage.cli import cli
from boneage.hand.views import ViewSpec
from tests.bundles import tiny_bundle
from tests.train.drawn_radiographs import draw_folder
from tests.train.tuned_bundles import bundle_of, recipe_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_finetune_command_with_hand_networks(tmp_path: Path) -> None:
    """A bundle that finds hands is adapted by one command."""
    finder = Bundle.open(tiny_bundle(tmp_path / "finder", views=(), hand=True, metrics={}))
    recipe = recipe_of("residual-distribution")
    recipe = replace(
        recipe, view=ViewSpec("C", 32, 64, "hand"), data=replace(recipe.data, hands=str(tmp_path / "finder"))
    )
    bundle = bundle_of(tmp_path / "random", {"c": recipe}, hand=finder)
    table = draw_folder(tmp_path / "phantoms", count=18, side=400)
    (tmp_path / "phantoms" / "radiographs" / "4.png").write_bytes(b"no picture")
    result = run_command(
        *("finetune", table, "--bundle", tmp_path / "random", "--out", tmp_path / "ours", "--folds", 0, "--epochs", 1),
        *("--accelerator", "cpu", "--quiet", "--name", "ours"),
    )
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "1 radiograph(s) were rejected and left out: unreadable (1)"
    assert lines[1].startswith("held out, 4 radiographs: MAD ")
    assert lines[-1] == str(tmp_path / "ours")
    assert not any("intervals follow" in line for line in lines)
    assert "the new bundle gives no prediction interval and no error, since fewer than 20" in result.stderr
    ours = Bundle.open(tmp_path / "ours")
    assert ours.manifest.name == "ours"
    assert ours.hand_networks().fingerprint() == bundle.hand_networks().fingerprint()
    assert all(check.passed for check in check_bundle(ours))
    # An adapted bundle can be adapted again: its manifest holds the recipe as run, without this machine's paths.
    text = (tmp_path / "ours" / "bundle.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert json.loads(text)["recipe"]["c"]["train"]["initial_weights"] == "random 1"
    second_run = run_command(
        "assess", tmp_path / "phantoms" / "radiographs" / "3.png", "--sex", "F", "--bundle", tmp_path / "ours"
    )
    assert second_run.exit_code == 0, second_run.stderr
    assert "validated on 4 radiographs only" in second_run.output


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("--folds", "1"), 2, "usage"),
        (("--folds", "11"), 2, "usage"),
        (("--learning-rate", "0"), 2, "usage"),
        (("--bundle", "nowhere"), 4, "bundle_not_found"),
        ((), 6, "table_not_found"),
    ],
)
def test_finetune_command_reports_errors_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], status: int, code: str
) -> None:
    result = run_command("finetune", tmp_path / "none.csv", "--out", tmp_path / "ours", *arguments)
    assert result.exit_code == status
    (line,) = result.stderr.splitlines()
    assert line.endswith(f"[{code}]")
    assert list(tmp_path.iterdir()) == []
