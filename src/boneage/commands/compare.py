"""Command ``boneage compare`` for predictions of the same radiographs."""

from __future__ import annotations

from pathlib import Path

import click

from boneage.commands.outputs import keep_inputs


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="[NAME=]PREDICTIONS...")
@click.option("--out", type=click.Path(path_type=Path), help="CSV table of the figures to write.")
def compare(tables: tuple[str, ...], out: Path | None) -> None:
    """Compare PREDICTIONS (CSV with id,sex,boneage,age_months) on their common radiographs.

    The command prints a table in Markdown: MAD and CCC of each row, and the difference of its MAD from the row
    above, with 95 % confidence intervals of a paired bootstrap over radiographs. For an ablation, each row should
    differ from the one above in one respect. The label of a row is NAME, or else the name of its file.

    \b
    Examples:
      boneage compare first/predictions.csv second/predictions.csv
      boneage compare "L1=runs/a/validation.csv" "label distribution=runs/b/validation.csv" --out ablation.csv
    """
    from boneage.evaluate.comparison import compare as compared
    from boneage.evaluate.comparison import comparison_lines, write_comparison
    from boneage.evaluate.predictions import read_predictions

    read, paths = {}, []
    for given in tables:
        name, separator, path = given.partition("=")
        name, path = (name.strip(), path) if separator else (Path(given).with_suffix("").as_posix(), given)
        if name in read:
            raise click.UsageError(f"Two tables have the name {name!r}: give another one.")
        paths.append(Path(path))
        read[name] = read_predictions(paths[-1])
    keep_inputs(paths, [out])
    comparison = compared(read)
    click.echo("\n".join(comparison_lines(comparison)))
    left_out = f"; {comparison.left_out} that some table lacks are left out" if comparison.left_out else ""
    click.echo(f"\n{comparison.radiographs} radiographs{left_out}. Months; 95 % bootstrap confidence intervals.")
    if out is not None:
        write_comparison(out, comparison)
