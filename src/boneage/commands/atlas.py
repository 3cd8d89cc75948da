"""``boneage atlas list | check | sheet | make | embed``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from boneage.commands.progress import quiet_option, with_progress

if TYPE_CHECKING:
    from boneage.atlas import Atlas
    from boneage.atlas_index import AtlasDescription, Plate
    from boneage.bundle.bundle import Bundle
    from boneage.errors import Rejection
    from boneage.sex import Sex

_JUDGED_MONTHS = (24.0, 204.0)
"""Range of ages, 2 to 17 years, over which the check's means are taken."""

_WORST_SHOWN = 3

_ATLAS = click.argument("name_or_dir", default="default")
_BUNDLE = click.option(
    "--bundle", default="default", show_default=True, metavar="NAME_OR_DIR", help="Bundle whose networks are used."
)


@click.group()
def atlas() -> None:
    """List, check, draw and make reference atlases: images of hands at each age.

    NAME_OR_DIR is the open atlas that comes with the program (default), or a folder of your own plates with an
    index.csv: sex,age_months,file (see docs/atlas.md).
    """


@atlas.command("list")
@click.argument("name_or_dir", required=False)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each line.")
def list_(name_or_dir: str | None, as_json: bool) -> None:
    """List the atlases that come with the program, or the plates of NAME_OR_DIR."""
    import json

    from boneage.atlas import Atlas, list_atlases

    if name_or_dir is None:
        for one in list_atlases():
            summary = {"name": one.name, "title": one.title, "plates": len(one.plates)}
            click.echo(json.dumps(summary) if as_json else f"{one.name}: {one.title} ({len(one.plates)} plates)")
        return
    opened = Atlas.open(name_or_dir)
    for plate in opened.plates:
        if as_json:
            keys = {"key": plate.key, "sex": plate.sex.value, "age_months": plate.age_months, "file": plate.file}
            click.echo(json.dumps({**keys, "count": plate.count}))
        else:
            averaged = "" if plate.count is None else f", average of {plate.count} radiographs"
            click.echo(f"{plate.key}: {plate.age_months:g} months, {plate.file}{averaged}")
    if not as_json:
        _print_description(opened.about)


@atlas.command()
@_ATLAS
@_BUNDLE
@click.option("--csv", "table", type=click.Path(dir_okay=False, path_type=Path), help="Also write the ages as a table.")
@quiet_option
@click.pass_context
def check(ctx: click.Context, name_or_dir: str, bundle: str, table: Path | None, quiet: bool) -> None:
    """Assess every plate of NAME_OR_DIR, and print each estimate beside the plate's age.

    Means are over plates of 2 to 17 years. The exit code is 3 if a plate was rejected.
    """
    from boneage.atlas import Atlas
    from boneage.bundle.bundle import Bundle
    from boneage.errors import Rejection
    from boneage.sex import Sex
    from boneage.tables.csv_table import write_rows

    opened = Atlas.open(name_or_dir)
    outcomes = _assessed(opened, Bundle.open(bundle), quiet)
    ages = [(plate, age) for plate, age in outcomes if not isinstance(age, Rejection)]
    for plate, age in outcomes:
        if isinstance(age, Rejection):
            click.echo(f"{plate.key}: rejected: {age.message} [{age.code}]")
        else:
            click.echo(f"{plate.key}: assessed {age:6.1f} months, {age - plate.age_months:+5.1f}")
    if table is not None:
        write_rows(
            table,
            ("plate", "sex", "age_months", "assessed_months"),
            [(plate.key, plate.sex.value, plate.age_months, round(age, 2)) for plate, age in ages],
        )
    for sex in Sex:
        _print_difference([(plate, age) for plate, age in ages if plate.sex is sex], sex)
    rejected = len(outcomes) - len(ages)
    click.echo(f"{len(ages)} plates assessed, {rejected} rejected")
    if rejected:
        ctx.exit(Rejection.exit_status)


def _assessed(opened: Atlas, bundle: Bundle, quiet: bool) -> list[tuple[Plate, float | Rejection]]:
    """Return the bundle's age of every plate, months, or the reason for its rejection."""
    from boneage.composition import assess
    from boneage.errors import Rejection

    outcomes: list[tuple[Plate, float | Rejection]] = []
    for plate in with_progress(opened.plates, label="assessing", quiet=quiet):
        try:
            outcomes.append((plate, assess(opened.directory / plate.file, plate.sex, bundle).age_months))
        except Rejection as rejection:
            outcomes.append((plate, rejection))
    return outcomes


def _print_difference(ages: Sequence[tuple[Plate, float]], sex: Sex) -> None:
    """Print the mean absolute difference over plates of 2 to 17 years, and the worst of them."""
    low, high = _JUDGED_MONTHS
    judged = [(abs(age - plate.age_months), plate.key) for plate, age in ages if low <= plate.age_months <= high]
    if not judged:
        click.echo(f"{sex.value}: no plates of {low / 12:g} to {high / 12:g} years")
        return
    mean = sum(off for off, _ in judged) / len(judged)
    worst = ", ".join(f"{key} {off:.1f}" for off, key in sorted(judged, reverse=True)[:_WORST_SHOWN])
    click.echo(
        f"{sex.value}: mean absolute difference {mean:.2f} months over {len(judged)} plates of {low / 12:g} to"
        f" {high / 12:g} years; worst {worst}"
    )


@atlas.command()
@_ATLAS
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="PNG file.")
@click.option("--columns", default=9, show_default=True, type=click.IntRange(1, 40), help="Plates side by side.")
@click.option(
    "--height", default=256, show_default=True, type=click.IntRange(32, 2000), help="Height of a plate, pixels."
)
def sheet(name_or_dir: str, out: Path, columns: int, height: int) -> None:
    """Draw all plates of NAME_OR_DIR on one contact sheet."""
    from boneage.atlas import Atlas, contact_sheet
    from boneage.explain import encode_picture
    from boneage.files import atomic_write

    if out.suffix.lower() != ".png":
        raise click.UsageError(f"The sheet is a PNG: {out} must end with .png.")
    opened = Atlas.open(name_or_dir)
    with atomic_write(out) as temporary:
        temporary.write_bytes(encode_picture(".png", contact_sheet(opened, columns=columns, height=height)))
    click.echo(f"{out}: {len(opened.plates)} plates")


@atlas.command()
@click.option(
    "--radiographs", type=click.Path(path_type=Path), required=True, help="CSV with id,boneage,male and split."
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the atlas.")
@click.option(
    "--bundle", default="default", show_default=True, metavar="NAME_OR_DIR", help="Bundle whose networks find hands."
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of decoded radiographs. [default: beside OUT]",
)
@click.option("--name", default="open", show_default=True, help="Name of the atlas.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Seed of the choice between equally good radiographs.",
)
@click.option(
    "--processes", default=2, show_default=True, type=click.IntRange(1, 64), help="Number of parallel processes."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing atlas.")
@quiet_option
def make(
    radiographs: Path,
    images: Path | None,
    out: Path,
    bundle: str,
    cache: Path | None,
    name: str,
    seed: int,
    processes: int,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Make an open atlas of averages from the training part of RADIOGRAPHS.

    Each plate averages at least 20 registered hands near its age, warped smoothly onto one another. Plates that cannot
    be made by the rules of docs/atlas.md are left out. Needs boneage[train].

    \b
    Example:
      boneage atlas make --radiographs radiographs.csv --out my-atlas
      boneage atlas check my-atlas
    """  # click reads the control character
    from boneage.atlas import Atlas
    from boneage.atlas_index import INDEX_NAME
    from boneage.bundle.bundle import Bundle
    from boneage.tables.radiographs import read_radiographs, split_radiographs
    from boneage.train.atlas.make_atlas import make_atlas
    from boneage.train.data.cache import build_cache
    from boneage.train.data.hands import open_hands

    if out.exists() and not (overwrite and (out / INDEX_NAME).is_file()):
        raise click.UsageError(f"{out} exists already. --overwrite replaces an atlas, and nothing else.")
    listed = read_radiographs(radiographs, images)
    decoded = build_cache(listed, cache or out.parent / "cache", longest_side=2048, progress=_bar("decoding", quiet))
    hands = open_hands(bundle, listed, decoded, progress=_bar("hands", quiet))
    training, _ = split_radiographs(listed)
    made = make_atlas(
        training, decoded, hands, out, name=name, seed=seed, processes=processes, progress=_bar("atlas", quiet)
    )
    for one in made:
        if one.left_out:
            click.echo(f"{one.plate.key}: left out: {one.left_out}")
    whole = [one for one in made if not one.left_out]
    Atlas.open(out).store_embeddings([Bundle.open(bundle)])
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    highest = max(one.highest_correlation for one in whole)
    click.echo(
        f"{out}: {len(whole)} plates of {min(one.count for one in whole)} to {max(one.count for one in whole)}"
        f" radiographs, {size:.2f} MB; no radiograph correlates with a plate by more than {highest:.3f}"
    )


@atlas.command()
@_ATLAS
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    default=("default",),
    show_default=True,
    help="Bundle whose networks are used; may be repeated.",
)
def embed(name_or_dir: str, bundles: tuple[str, ...]) -> None:
    """Compute the plates' embeddings once and store them in the folder of NAME_OR_DIR, which speeds up similarity.

    Embeddings stored before are replaced. They carry the networks' checksums, so that they are never used with other
    networks.
    """
    from boneage.atlas import Atlas
    from boneage.bundle.bundle import Bundle

    path = Atlas.open(name_or_dir).store_embeddings([Bundle.open(name) for name in bundles])
    click.echo(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def _print_description(about: AtlasDescription) -> None:
    for label, text in (("title", about.title), ("made", about.made), ("licence", about.licence)):
        if text:
            click.echo(f"{label}: {text}")
    for key, reason in about.left_out.items():
        click.echo(f"left out: {key}: {reason}")


def _bar(label: str, quiet: bool) -> Any:
    from functools import partial

    return partial(with_progress, label=label, quiet=quiet)
