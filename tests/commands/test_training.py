"""Parts that the commands share which train networks."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from boneage.cli import cli
from boneage.commands.training import exit_by, keyed, matching, positive_count

NAMES = ["souza-a", "souza-b", "inception-v3"]


@pytest.mark.parametrize(
    ("only", "chosen"),
    [(None, NAMES), ("inception*, souza-a", ["souza-a", "inception-v3"]), ("souza-[ab]", NAMES[:2])],
)
def test_matching(only: str | None, chosen: list[str]) -> None:
    """Names keep their order, whatever that of the patterns."""
    assert matching(only, NAMES) == chosen


def test_matching_rejects_pattern_without_match() -> None:
    """A misspelt name would otherwise leave its network untrained."""
    with pytest.raises(click.UsageError, match="souza-i"):
        matching("souza-a,souza-i", NAMES)


@pytest.mark.parametrize(
    "text", ["deep=1,shallow=2,deep=3", "deep=1,shallow=2,flat=3", "deep=", "deep", "deep=1=2", "0", "x"]
)
def test_keyed_rejects(text: str) -> None:
    """Each key is named once at most, and each value is a number."""
    with pytest.raises(click.UsageError, match="--epochs"):
        keyed("--epochs", text, ("shallow", "deep"), positive_count)


def test_keyed_parses_one_for_all_or_some() -> None:
    """Keys that are not named keep their default."""
    keys = ("shallow", "deep")
    assert keyed("--epochs", "Deep=1,shallow=2", keys, positive_count) == {"shallow": 2, "deep": 1}
    assert keyed("--epochs", " deep = 10", keys, positive_count) == {"deep": 10}
    assert keyed("--epochs", "3", keys, positive_count) == {"shallow": 3, "deep": 3}


def test_keyed_names_a_misspelt_key() -> None:
    with pytest.raises(click.UsageError, match=r"--epochs has no key 'deap'\. The keys are shallow, deep\."):
        keyed("--epochs", "deap=10", ("shallow", "deep"), positive_count)


@pytest.mark.parametrize(
    ("failed", "status"), [({}, 0), ({"a": 5}, 5), ({"a": 5, "b": 5}, 5), ({"a": 5, "b": 3}, 1), ({"a": -9}, 1)]
)
def test_exit_by(failed: dict[str, int], status: int) -> None:
    """The command ends by the status of its failed runs, if they agree; a killed run has none of its own."""
    result = CliRunner().invoke(click.command()(lambda: exit_by(failed)))
    assert result.exit_code == status
    assert all(name in result.stderr for name in failed)


def test_training_commands_share_options() -> None:
    """Every command that trains has the same choice of devices."""
    names = [name for name in cli.list_commands(click.Context(cli)) if name != "mine"]
    commands = {name: cli.get_command(click.Context(cli), name) for name in names}
    options = {
        name: option
        for name, command in commands.items()
        if command is not None
        for option in command.params
        if option.name == "accelerator"
    }
    assert set(options) == {"train", "build", "finetune", "grid", "candidates"}
    assert len({(str(option.type), option.default) for option in options.values()}) == 1
