"""``boneage pack``: labelled radiographs with their hands in one file, for a training on another machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from boneage.commands.outputs import keep_inputs
from boneage.commands.progress import quiet_option, with_progress
from boneage.commands.training import cache_option


@click.command()
@click.argument("plan")
@click.option("--radiographs", required=True, type=click.Path(path_type=Path), help="CSV with id,boneage,male.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option("--hand", metavar="NAME_OR_DIR", help="Bundle whose networks find the hands. [default: the plan's]")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The archive, a ZIP file.")
@click.option(
    "--megabytes",
    default=64.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Largest size of the archive.",
)
@cache_option()
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@quiet_option
def pack(
    plan: str,
    radiographs: Path,
    images: Path | None,
    hand: str | None,
    out: Path,
    megabytes: float,
    cache: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Pack labelled radiographs for a training by PLAN (a shipped name or a TOML file) on another machine.

    The radiographs are cut to the hand, reduced to the detail that the views of the plan show, and compressed at the
    best quality with which the file has the wanted size. Labels, splits and the hands come along. On the other machine,
    boneage build and boneage train take the archive in place of the table. A plan or recipe of your own is not in it.

    The archive holds images of patients, and is subject to the terms of the radiographs. Needs boneage[train].

    \b
    Examples:
      boneage pack standard --radiographs radiographs.csv --out training.zip
      boneage pack full --radiographs boneage-training-dataset.csv --out training.zip --megabytes 500
      boneage build standard --radiographs training.zip --out my-standard
    """
    from dataclasses import replace

    from boneage.files import ensure_writable
    from boneage.tables.radiographs import read_radiographs
    from boneage.train.bundle.plan import load_plan, planned_runs
    from boneage.train.data.cache import build_cache
    from boneage.train.data.hands import open_hands
    from boneage.train.data.pack import needed_hand_pixels
    from boneage.train.data.pack import pack as pack_radiographs

    keep_inputs([radiographs], [out])
    if out.exists() and not overwrite:
        raise click.UsageError(f"{out} exists already; --overwrite replaces it.")
    planned = load_plan(plan)
    planned = replace(planned, hands=hand) if hand else planned
    recipes = [run.recipe for run in planned_runs(planned)]
    hand_pixels = max(map(needed_hand_pixels, recipes))
    labelled = read_radiographs(radiographs, images)
    ensure_writable(out)
    progress = partial(with_progress, quiet=quiet)
    decoded = build_cache(
        labelled,
        cache or out.parent / "cache",
        longest_side=max(recipe.data.longest_side for recipe in recipes),
        progress=partial(progress, label="decoding"),
    )
    hands = open_hands(recipes[0].data.hands, labelled, decoded, progress=partial(progress, label="locating hands"))
    packed = pack_radiographs(
        labelled,
        decoded,
        hands,
        out,
        plan=planned.name,
        hand_pixels=hand_pixels,
        hand_greys=all(recipe.view.grey == "hand" for recipe in recipes),
        megabytes=megabytes,
        progress=partial(progress, label="compressing"),
    )
    click.echo(
        f"{out}: {packed.record.radiographs} radiographs, {packed.megabytes:.1f} MB, WebP quality"
        f" {packed.record.quality}, hands of at most {packed.record.hand_pixels:.0f} pixels"
    )
    if packed.without_hand or packed.unreadable:
        click.echo(
            f"{packed.without_hand} radiograph(s) without a hand are whole, and {packed.unreadable} that cannot be read"
            " are empty files: the folds stay the same."
        )
