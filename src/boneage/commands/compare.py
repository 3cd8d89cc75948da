"""``boneage compare``: several predictions of the same radiographs, row by row."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="[NAME=]PREDICTIONS...")
@click.option("--out", type=click.Path(path_type=Path), help="A CSV of the figures to write.")
def compare(tables: tuple[str, ...], out: Path | None) -> None:
    """Compare PREDICTIONS (CSV with id,sex,boneage,age_months) on the radiographs that all of them have.

    Prints a table in Markdown: MAD and CCC of each, and by how much its MAD differs from that of the row above, with
    95 % intervals of a paired bootstrap over radiographs. For ablations: each row should differ from the one above in
    one thing. A row is called NAME, or after its file.

    \b
    Examples:
      boneage compare first/predictions.csv second/predictions.csv
      boneage compare "L1=runs/a/validation.csv" "label distribution=runs/b/validation.csv" --out ablation.csv
    """
    from boneage.evaluate.comparison import compare as compared
    from boneage.evaluate.comparison import comparison_lines, write_comparison
    from boneage.evaluate.predictions import read_predictions

    read = {}
    for given in tables:
        name, separator, path = given.partition("=")
        name, path = (name.strip(), path) if separator else (Path(given).with_suffix("").as_posix(), given)
        if name in read:
            raise click.UsageError(f"Two tables are called {name!r}.")
        read[name] = read_predictions(Path(path))
    comparison = compared(read)
    click.echo("\n".join(comparison_lines(comparison)))
    left_out = f"; {comparison.left_out} that some table lacks are left out" if comparison.left_out else ""
    click.echo(f"\n{comparison.radiographs} radiographs{left_out}. Months; 95 % bootstrap intervals.")
    if out is not None:
        write_comparison(out, comparison)
