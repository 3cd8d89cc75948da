"""Check the documentation: relative links lead somewhere, and docs/commands.md is the commands' own help.

`python docs/check.py` checks; with `--write` it writes docs/commands.md anew.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from boneage.cli import cli

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ROOT / "docs" / "commands.md"
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")


def commands_page() -> str:
    """The help of every command, as Markdown."""
    parts = ["# Commands\n\nWritten by `make docs` from the program's own help.\n"]
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
    """Relative links in Markdown files that lead nowhere."""
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")]:
        targets = LINK.findall(page.read_text(encoding="utf-8"))
        broken += [f"{page.relative_to(ROOT)}: {target}" for target in targets if not (page.parent / target).exists()]
    return broken


def run() -> int:
    """Exit status: 0 if all is well."""
    if "--write" in sys.argv:
        COMMANDS.write_text(commands_page(), encoding="utf-8")
        return 0
    faults = [f"broken link in {entry}" for entry in broken_links()]
    if not COMMANDS.exists() or COMMANDS.read_text(encoding="utf-8") != commands_page():
        faults.append("docs/commands.md is not what the commands say: run `make docs`")
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(run())
