"""Command ``boneage completion``: the script by which a shell completes commands and options."""

from __future__ import annotations

import click


@click.command(
    epilog="""\
\b
Enable it for your account:
  bash   echo 'eval "$(boneage completion bash)"' >> ~/.bashrc
  zsh    echo 'eval "$(boneage completion zsh)"' >> ~/.zshrc
  fish   boneage completion fish > ~/.config/fish/completions/boneage.fish""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script by which a shell completes commands, options and file names of boneage."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101  # narrows the type: the choices are those of click
    click.echo(complete(ctx.find_root().command, {}, "boneage", "_BONEAGE_COMPLETE").source())
