"""The command `boneage height`: the table as text and as JSON, and what it rejects."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from boneage.cli import cli

BOY = ["--sex", "M", "--age", "12y0m", "--bone-age", "10y6m", "--height", "143.5", "--weight", "36"]
PARENTS = ["--mother", "165", "--father", "178"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["height", *arguments])


def test_height_prints_methods() -> None:
    """One line for each method and group, with remarks, scores and the caution."""
    result = run(*BOY, *PARENTS, "--condition", "none")
    assert result.exit_code == 0
    for text in ("Bayley & Pinneau 1952", "Khamis & Roche 1995", "178.0 cm (169.5–186.5)", "WHO 2007", "No row is"):
        assert text in result.output
    assert "not recorded" not in result.output


def test_height_as_json() -> None:
    """Codes and numbers of the same table."""
    document = json.loads(run(*BOY, *PARENTS, "--parents-measured", "--json").output)
    target = document["rows"][-1]
    assert (target["method"], target["prediction_cm"], target["notes"]) == ("target_height", 178.0, [])
    assert document["notes"] == ["height_date_unknown", "contraindications_not_recorded"]
    assert document["sds_for_age"]["sds"] == pytest.approx(-0.8, abs=0.15)


def test_height_interval_gives_groups() -> None:
    """The 80 % interval decides about the groups of Bayley & Pinneau."""
    narrow = json.loads(run(*BOY, "--bone-age-interval", "124", "129", "--json").output)
    wide = json.loads(run(*BOY, "--bone-age-interval", "117", "136", "--json").output)
    groups = [[row["group"] for row in one["rows"] if row["method"] == "bayley_pinneau"] for one in (narrow, wide)]
    assert groups == [["retarded"], ["retarded", "average"]]


def test_height_in_another_language() -> None:
    """The lines are in the chosen language; names of methods and numbers stay."""
    result = run(*BOY, *PARENTS, "--language", "de")
    assert result.exit_code == 0
    assert "178,0" in result.output


def test_height_condition_withholds() -> None:
    """Under treatment no method is offered."""
    result = run(*BOY, *PARENTS, "--condition", "treatment")
    assert "Present: Treatment that changes growth" in result.output
    assert result.output.count("Not offered") == 5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--sex", "M", "--age", "12y0m", "--height", "1.43"], "height_in_metres"),
        (["--sex", "M", "--age", "12y0m", "--height", "143", "--weight", "36000"], "weight_in_grams"),
        (["--sex", "x", "--age", "12y0m"], "usage"),
        (["--sex", "M", "--age", "12y0m", "--condition", "none", "--condition", "sga"], "usage"),
    ],
)
def test_height_rejects(arguments: list[str], code: str) -> None:
    """An input that cannot be right ends with wrong usage, and its code."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert f"[{code}]" in result.output
