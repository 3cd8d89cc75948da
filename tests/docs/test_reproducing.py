"""The page on the papers: it lists every table and figure, has their figures, and its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from boneage.cli import cli
from boneage.evaluate.grid import ENSEMBLE, PAPER_MONTHS, TOGETHER, Place
from boneage.train.networks.souza import TABLE_I

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reproducing-the-papers.md").read_text(encoding="utf-8")
SOUZA, IGLOVIKOV = re.split(r"^## (?:Souza|Iglovikov).*$", PAGE, flags=re.MULTILINE)[1:]
COMMANDS = [
    line.replace("\\\n", " ")
    for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in re.split(r"(?<!\\)\n", block.strip())
]


def _rows(text: str) -> list[list[str]]:
    """Return the cells of all rows of Markdown tables."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]


def _numbers_of_figures(section: str) -> set[int]:
    cells = [row[0] for row in _rows(section) if row[0].startswith("Fig. ")]
    numbers: set[int] = set()
    for cell in cells:
        numbers |= {int(number) for number in re.findall(r"(?:Fig\. |, | and )(\d+)", cell)}
    return numbers


@pytest.mark.parametrize("section", [SOUZA, IGLOVIKOV])
def test_page_lists_every_figure(section: str) -> None:
    """Both papers have nine figures."""
    assert set(range(1, 10)) <= _numbers_of_figures(section)


def test_page_has_table_one() -> None:
    rows = {row[0]: row for row in _rows(SOUZA) if row[0] in TABLE_I}
    assert list(rows) == list(TABLE_I)
    for name, column in TABLE_I.items():
        assert float(rows[name][1]) == column.paper_mad_months
        assert int(rows[name][2]) == column.paper_epochs


def test_page_has_ensembles_of_the_grid() -> None:
    papers = {
        "regression, mixed, ensemble of regions": Place("regression-mixed", ENSEMBLE),
        "regression, males": Place("regression-males", ENSEMBLE),
        "regression, females": Place("regression-females", ENSEMBLE),
        "classification, males": Place("classification-males", ENSEMBLE),
        "classification, females": Place("classification-females", ENSEMBLE),
        "all together": Place(TOGETHER, ENSEMBLE),
    }
    rows = {row[0]: row for row in _rows(IGLOVIKOV)}
    for name, place in papers.items():
        assert float(rows[name][1]) == PAPER_MONTHS[place]


def test_page_estimates_follow_from_rates() -> None:
    """Hours are epochs of 11,612 views at the measured rate and 0.7 ms for cutting, and up to 15 % for validation."""
    rows = [row for row in _rows(PAGE) if len(row) == 6 and row[1] == "128 x 128"]
    assert len(rows) == 7
    for row in rows:
        rate, epochs, hours = float(row[3]), int(row[4]), float(row[5])
        training = epochs * 11_612 * (1 / rate + 0.0007) / 3600
        assert training - 0.05 <= hours <= 1.15 * training + 0.05, row


@pytest.mark.parametrize("line", COMMANDS)
def test_page_commands_exist_with_options(line: str) -> None:
    program, name, *arguments = shlex.split(line)
    if program == "python":
        text = (ROOT / name).read_text(encoding="utf-8")
        assert all(f'"{argument}"' in text for argument in arguments if argument.startswith("--"))
        return
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= options


def test_page_is_linked() -> None:
    for page in ("README.md", "docs/index.md", "docs/results.md", "docs/grid.md", "mkdocs.yml"):
        assert "reproducing-the-papers.md" in (ROOT / page).read_text(encoding="utf-8"), page
