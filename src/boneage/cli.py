"""The command line: one command a verb. Each command's module is imported only when that command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from boneage.errors import BoneageError
from boneage.file_names import shown

_COMMANDS = {
    "assess": "Assess the bone age on radiographs of the hand.",
    "sample": "Write a drawn phantom hand to try the program on.",
    "serve": "Serve the page: drop a radiograph, see its bone age.",
    "worker": "Assess radiographs of a service that runs elsewhere.",
    "bundle": "List, show and check bundles of networks.",
    "train": "Train a network from a recipe and a table of radiographs.",
    "build": "Train all networks of a plan, and make one calibrated bundle of them.",
    "finetune": "Adapt a bundle to radiographs of one's own.",
    "mine": "Make masks of hands by positive mining, with a page to review them.",
    "grid": "Train and compare the 18 networks of Iglovikov et al.",
    "curve": "Plot the errors of training runs by epoch, radiographs or resolution.",
    "export": "Export a trained network as a bundle.",
    "evaluate": "Compute the errors on labelled radiographs, with tables and plots.",
    "compare": "Compare several predictions of the same radiographs, row by row.",
    "maps": "Average heat maps by stage of development.",
    "atlas": "List, check, draw and make reference atlases.",
}
"""Each command with its line in the help; its function has the same name, in the module ``boneage.commands.<name>``."""

_EXTRAS = {
    **dict.fromkeys(("torch", "lightning", "tqdm", "onnx", "onnxscript", "tensorboard"), "train"),
    "matplotlib": "plot",
    **dict.fromkeys(
        ("axes", "csp", "dj_database_url", "django", "django_htmx", "django_tasks", "django_tasks_db"), "web"
    ),
    **dict.fromkeys(("granian", "ninja", "psycopg", "reportlab", "whitenoise"), "web"),
}
"""Packages that only some commands need, with the extra of ours that brings them."""

_EXIT_CODES = """\
\b
Exit codes:
  0    done; every radiograph was assessed
  1    a failure that no other number names
  2    wrong usage
  3    at least one radiograph was rejected (the others were assessed)
  4    the bundle is missing or damaged
  5    the training recipe is invalid
  6    a table cannot be used
  7    the atlas is missing or damaged
  8    the service cannot be run as it is set up
  130  stopped by Ctrl-C, or assess by SIGTERM

Errors are one line on standard error: a sentence, and a stable code in brackets (docs/codes.md has
them all). Set BONEAGE_TRACEBACK=1 to see where an unforeseen one came from.

Not a medical device."""


class LazyGroup(click.Group):
    """A group that knows its commands by name alone, and ends every failure with one line and the right exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(import_module(f"boneage.commands.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101  # narrows the type; a wrong table is a bug
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, without importing all commands to suggest similar names."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None:
            if name.startswith("-"):
                raise click.NoSuchOption(name, ctx=ctx)
            raise click.UsageError(f"There is no command {name!r}; there are {', '.join(_COMMANDS)}.", ctx)
        return name, command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and exit with the documented status unless `standalone_mode` is False."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            status = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except Exception as error:
            status = _told(error)
        sys.exit(status if isinstance(status, int) else 0)


@click.group(
    cls=LazyGroup,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="boneage")
def cli() -> None:
    """Bone age from a radiograph of the hand: the age, its typical error, and where the networks looked.

    \b
    Try it:
      boneage sample hand.png
      boneage assess hand.png --sex F --out out
    """


def main() -> None:
    """The program ``boneage``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a path may hold what the terminal's encoding has not
            stream.reconfigure(errors="backslashreplace")
    cli()


def _told(error: Exception) -> int:
    """Tell an error in one line on standard error. Returns the exit status."""
    status = 1
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    if isinstance(error, BoneageError):
        sentence, code, status = error.message, error.code, error.exit_status
    elif isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "boneage"
        sentence, code, status = f"{error.format_message().rstrip('.')}. See '{path} --help'.", "usage", error.exit_code
    elif isinstance(error, click.ClickException):
        sentence, code, status = error.format_message(), "usage", error.exit_code
    elif isinstance(error, click.Abort):
        sentence, code, status = "Stopped.", "stopped", 130
    elif isinstance(error, ModuleNotFoundError) and error.name in _EXTRAS:
        sentence, code = f"This command needs {error.name}: install boneage[{_EXTRAS[error.name]}].", "extra_missing"
    elif isinstance(error, OSError):
        place = f": {error.filename}" if error.filename else ""
        sentence, code = f"{error.strerror or error}{place}.", "file_error"
    else:
        from boneage.commands.each_radiograph import unforeseen

        told = unforeseen(error)
        sentence, code = told.message, told.code
    click.echo(f"error: {shown(' '.join(sentence.split()))} [{code}]", err=True)
    return status
