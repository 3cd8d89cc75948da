"""Command line with one command for each verb. The module of a command is imported only when it runs."""

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
    "archive": "Assess a whole archive: a folder, a list, a CD or a PACS.",
    "height": "Print the adult height by published methods, side by side.",
    "sample": "Write an average hand of a known age to try the program on.",
    "serve": "Serve the web pages and the REST API.",
    "worker": "Assess radiographs for a service on another machine.",
    "accounts": "Change accounts of a service on its own machine.",
    "audit-log": "Send the audit log of a service to other systems.",
    "pacs": "Write results as DICOM objects, and check the connection to a PACS.",
    "doctor": "Print what is installed, and check it on a reference plate.",
    "completion": "Print the script for completion in a shell.",
    "bundle": "List, show and check model bundles.",
    "train": "Train a network from a recipe and a table of radiographs.",
    "build": "Train all networks of a plan, and make a calibrated bundle.",
    "pack": "Pack radiographs with their hands into one file, to train elsewhere.",
    "finetune": "Adapt a bundle to your own radiographs.",
    "mine": "Make hand masks by positive mining, with a page to review them.",
    "grid": "Train and compare the 18 networks of Iglovikov et al.",
    "candidates": "Train and compare the candidate networks of Souza & Oliveira.",
    "curve": "Plot errors of training runs by epoch, number of radiographs or resolution.",
    "export": "Export a trained network as a bundle.",
    "evaluate": "Measure errors on labelled radiographs, with tables and plots.",
    "audit": "Judge by your own radiographs whether a bundle is fit for use.",
    "compare": "Compare predictions of the same radiographs, row by row.",
    "maps": "Average heat maps by stage of development.",
    "atlas": "List, check, draw and make reference atlases.",
}
"""Commands with their lines in the help. The function of a command has its name, in ``boneage.commands.<name>``."""

_EXTRAS = {
    **dict.fromkeys(("torch", "lightning", "tqdm", "onnx", "onnxscript", "tensorboard"), "train"),
    "matplotlib": "plot",
    **dict.fromkeys(("dask", "distributed", "pyarrow"), "archive"),
    **dict.fromkeys(("highdicom", "PIL", "pynetdicom"), "pacs"),
    **dict.fromkeys(
        ("axes", "csp", "dj_database_url", "django", "django_htmx", "django_tasks", "django_tasks_db"), "web"
    ),
    **dict.fromkeys(("granian", "ninja", "psycopg", "pyotp", "reportlab", "segno", "whitenoise"), "web"),
    **dict.fromkeys(("authlib", "cryptography", "joserfc", "requests"), "web"),
}
"""Packages that only some commands need, with the extra that installs them."""

_EXIT_CODES = """\
\b
Exit codes:
  0    success; every radiograph was assessed
  1    any other failure
  2    wrong usage
  3    at least one radiograph was rejected (the others were assessed)
  4    the bundle is missing or damaged
  5    the training recipe is invalid
  6    a table cannot be used
  7    the atlas is missing or damaged
  8    the settings of the service are invalid
  9    the reference of healthy children cannot be used
  10   a peer of the DICOM node does not answer, or does not accept what is needed
  130  stopped by Ctrl-C (assess also by SIGTERM)

An error is one line on standard error: a sentence, and a stable code in brackets (see
docs/codes.md). BONEAGE_TRACEBACK=1 shows the traceback of an unexpected error.

Not a medical device."""


class LazyGroup(click.Group):
    """Command group that imports a command when it runs, and ends every failure with one line and its exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of use."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in _COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(import_module(f"boneage.commands.{name}"), name)
        assert isinstance(command, click.Command)  # noqa: S101  # narrows the type; a wrong table is a bug
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command without importing all commands to suggest similar names."""
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
            status = _print_error(error)
        sys.exit(status if isinstance(status, int) else 0)


@click.group(
    cls=LazyGroup,
    epilog=_EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(package_name="boneage")
def cli() -> None:
    """Estimate bone age from a radiograph of the hand, with a prediction interval and a heat map.

    \b
    Try it:
      boneage sample hand.png
      boneage assess hand.png --sex F --age 11y0m --out out
    """


def main() -> None:
    """Run the program ``boneage``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a path may have characters outside the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    cli()


def _print_error(error: Exception) -> int:
    """Print an error in one line on standard error, and return the exit status."""
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

        unexpected = unforeseen(error)
        sentence, code = unexpected.message, unexpected.code
    click.echo(f"error: {shown(' '.join(sentence.split()))} [{code}]", err=True)
    return status
