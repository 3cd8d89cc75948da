"""Check of the documentation: links, modules in diagrams, and docs/commands.md.

`python docs/check.py` checks the pages; `--write` updates docs/commands.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from boneage.cli import cli

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "docs" / "commands.md"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
MODULE = re.compile(r'(?:"|<br/>)([a-z_]+(?:\.[a-z_]+)+)(?=["<])')
"""Names of modules in the labels of diagrams."""
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")


def commands_page() -> str:
    """Return the help of every command as Markdown."""
    parts = ["# Commands\n\nWritten by `make commands` from the program's own help.\n"]
    context = click.Context(cli, info_name="boneage", max_content_width=100, terminal_width=100)
    parts.append(_section(cli, context))
    for name in cli.list_commands(context):
        parts.extend(_tree(cli, name, context))
    return "\n".join(parts)


def _tree(group: click.Group, name: str, parent: click.Context) -> list[str]:
    command = group.get_command(parent, name)
    if command is None:
        raise SystemExit(f"the command {name} is listed but cannot be loaded")
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    parts = [_section(command, context)]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            parts.extend(_tree(command, child, context))
    return parts


def _section(command: click.Command, context: click.Context) -> str:
    return f"## {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"


def broken_links() -> list[str]:
    """Return the relative links in Markdown files that do not resolve."""
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")]:
        targets = LINK.findall(page.read_text(encoding="utf-8"))
        broken += [f"{page.relative_to(ROOT)}: {target}" for target in targets if not (page.parent / target).exists()]
    return broken


def missing_modules() -> list[str]:
    """Return the modules in diagrams of docs/architecture.md that do not exist."""
    package = ROOT / "src" / "boneage"
    names = sorted(set(MODULE.findall(ARCHITECTURE.read_text(encoding="utf-8"))))
    paths = {name: package.joinpath(*name.split(".")) for name in names}
    return [name for name, path in paths.items() if not (path.is_dir() or path.with_suffix(".py").is_file())]


def run() -> int:
    """Check or write the pages, and return the exit status."""
    if "--write" in sys.argv:
        COMMANDS.write_text(commands_page(), encoding="utf-8")
        return 0
    faults = [f"broken link in {entry}" for entry in broken_links()]
    faults += [f"docs/architecture.md draws the module {name}, which does not exist" for name in missing_modules()]
    if not COMMANDS.exists() or COMMANDS.read_text(encoding="utf-8") != commands_page():
        faults.append("docs/commands.md differs from the help of the commands: run `make commands`")
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(run())
