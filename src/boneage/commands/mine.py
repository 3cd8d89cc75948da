"""``boneage mine start | train | predict | review | sheet | decide | status``: hand masks by positive mining."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.progress import quiet_option, with_progress
from boneage.commands.training import accelerator_option

if TYPE_CHECKING:
    from boneage.tables.radiographs import LabelledRadiograph
    from boneage.train.data.cache import RadiographCache
    from boneage.train.mining.rounds import Order
    from boneage.train.mining.state import RadiographMask
    from boneage.train.mining.tiles import SheetKind

_FOLDER = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))


@click.group()
def mine() -> None:
    """Make hand masks for all radiographs from a few outlines: train, predict, accept the good masks, repeat.

    FOLDER holds a mining project: its table masks.csv, the masks, and the training run of each round. Every command can
    be stopped and repeated. Needs boneage[train].

    \b
    Example:
      boneage mine start mining --radiographs radiographs.csv --outlines hand_outlines.json
      boneage mine train mining
      boneage mine predict mining --count 1000
      boneage mine review mining
      boneage mine status mining
    """


@mine.command()
@_FOLDER
@click.option("--radiographs", type=click.Path(path_type=Path), required=True, help="CSV with id,boneage,male.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of <id>.png; if the CSV has no image column.")
@click.option(
    "--outlines", type=click.Path(path_type=Path), required=True, help="JSON of polygons by the radiograph's id."
)
@click.option(
    "--held-out",
    default=20,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of outlines that are held out from training.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Seed of this and all other random choices.",
)
def start(folder: Path, radiographs: Path, images: Path | None, outlines: Path, held_out: int, seed: int) -> None:
    """Start a mining project in FOLDER from the outlines of some radiographs.

    The polygons' points are fractions of the radiograph's width and height:
    {"1377": [{"exterior": [[0.64, 0.38], ...], "interior": []}]}.
    """
    from boneage.train.mining.outlines import start as begin
    from boneage.train.mining.state import Settings, Status

    masks = begin(folder, Settings(radiographs, images, seed), outlines, held_out)
    counts = Counter(mask.status for mask in masks.values())
    click.echo(
        f"{folder}: {len(masks)} radiographs, {counts[Status.OUTLINE]} outlines to train on, "
        f"{counts[Status.HELD_OUT]} held out, {counts[Status.UNSEEN]} radiographs to predict"
    )


@mine.command()
@_FOLDER
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe hand-mask.")
@accelerator_option
@click.option("--devices", default="auto", show_default=True, help="Number of devices.")
@quiet_option
def train(folder: Path, changes: tuple[str, ...], accelerator: str, devices: str, quiet: bool) -> None:
    """Train the next round's network on the outlines and the accepted masks of FOLDER.

    It starts from the weights of the previous round, and is measured on the held-out outlines. A training that was
    stopped continues with the masks of its start: repeat the command with the same options.
    """
    from boneage.train.mining.rounds import train_round
    from boneage.train.run.engine import Engine

    if devices != "auto" and not devices.isdigit():
        raise click.UsageError(f"--devices is a number or auto, not {devices!r}.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    engine = Engine(accelerator, int(devices) if devices.isdigit() else devices)
    record = train_round(folder, changes, engine=engine, quiet=quiet)
    if record is not None:
        _write_summary(folder)
        click.echo(
            f"round {record.number}: trained on {record.outlines} outlines and {record.accepted} accepted masks;"
            f" {record.held_out} held-out outlines: IoU {record.iou:.4f}, lowest {record.iou_lowest:.4f}, boundary"
            f" error {record.boundary:.2%} of the radiograph's longest side"
        )


@mine.command()
@_FOLDER
@click.option(
    "--count", type=click.IntRange(min=1), help="Total number of masks in this round. [default: all radiographs]"
)
@click.option(
    "--order",
    type=click.Choice(["random", "uncertainty"]),
    default="random",
    show_default=True,
    help="Order of the radiographs: random, or with the most uncertain earlier masks first.",
)
@click.option("--against", type=click.IntRange(min=1), metavar="ROUND", help="Also compare with this round's network.")
@quiet_option
def predict(folder: Path, count: int | None, order: Order, against: int | None, quiet: bool) -> None:
    """Predict masks of radiographs in FOLDER that have no accepted one, with the latest round's network.

    A mask is the largest connected component with its holes filled. Its uncertainty is 1 - IoU with the mask of
    the mirror image or of the radiograph rotated by 90 degrees, whichever differs more.
    """
    from boneage.train.mining.rounds import predict_round

    done = predict_round(
        folder,
        count or 0,
        order,
        against=against,
        progress=_bar("radiographs", quiet),
        decoding=_bar("decoding", quiet),
    )
    click.echo(f"{len(done)} masks predicted. View them with `boneage mine review` or `boneage mine sheet`.")


@mine.command()
@_FOLDER
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port of the server. [default: any free one]")
@click.option("--page", default=60, show_default=True, type=click.IntRange(1, 400), help="Radiographs per page.")
@click.option("--order", type=click.Choice(["uncertainty", "random"]), default="uncertainty", show_default=True)
@quiet_option
def review(folder: Path, port: int, page: int, order: str, quiet: bool) -> None:
    """Accept and discard the predicted masks of FOLDER on a local page, with the keyboard.

    Open the printed address in a browser on this machine. Decisions are saved page by page. End with Ctrl-C.
    """
    from boneage.train.mining.review import ReviewServer, ReviewSession
    from boneage.train.mining.tiles import at_random, choose_masks

    masks, cache, seed = _opened(folder, quiet)
    pending = choose_masks(masks, "pending", seed=seed)
    session = ReviewSession(folder, at_random(pending, seed) if order == "random" else pending, cache, page)
    with ReviewServer(session, port) as server:
        click.echo(f"{len(session.masks)} masks to decide on: {server.address}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("Ended. What was saved is in the table.")


@mine.command()
@_FOLDER
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the sheets.")
@click.option(
    "--what",
    "kind",
    type=click.Choice(["pending", "worst", "random", "accepted"]),
    default="pending",
    show_default=True,
    help="Kind of masks. worst and random include accepted ones. All but random begin with the most uncertain.",
)
@click.option("--count", type=click.IntRange(min=1), help="Largest number of masks. [default: all]")
@click.option("--columns", default=10, show_default=True, type=click.IntRange(1, 40), help="Radiographs side by side.")
@click.option("--rows", default=5, show_default=True, type=click.IntRange(1, 40), help="Rows of a sheet.")
@click.option(
    "--tile", default=180, show_default=True, type=click.IntRange(60, 800), help="Width of a radiograph, pixels."
)
@quiet_option
def sheet(
    folder: Path, out: Path, kind: SheetKind, count: int | None, columns: int, rows: int, tile: int, quiet: bool
) -> None:
    """Draw contact sheets of masks in FOLDER, each with a table of its radiographs for mine decide.

    Each radiograph has its id, the round of its mask and the uncertainty of the mask below it.
    """
    from boneage.train.mining.tiles import Grid, choose_masks, write_sheets

    masks, cache, seed = _opened(folder, quiet)
    chosen = [mask for mask in choose_masks(masks, kind, seed=seed) if mask.id in cache]
    grid = Grid(columns, rows, tile, tile * 5 // 4)
    for path in write_sheets(folder, out, kind, chosen[:count], cache, grid):
        click.echo(path)


@mine.command()
@_FOLDER
@click.option(
    "--discard", type=click.Path(dir_okay=False, path_type=Path), help="File with the ids to discard, one per line."
)
@click.option(
    "--accept-rest-of",
    "sheets",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Table of a sheet whose other radiographs are accepted; may be given several times.",
)
def decide(folder: Path, discard: Path | None, sheets: tuple[Path, ...]) -> None:
    """Discard and accept masks of FOLDER after viewing sheets, in one change of its table.

    Earlier decisions on radiographs of the sheets remain, unless a radiograph is discarded now. A
    sheet of an earlier round is rejected where its masks have been replaced.

    \b
    Example:
      boneage mine decide mining --discard bad.txt --accept-rest-of sheets/pending-001.csv
    """
    from boneage.train.mining.state import Status, read_masks
    from boneage.train.mining.state import decide as keep
    from boneage.train.mining.tiles import read_sheet

    if discard is None and not sheets:
        raise click.UsageError("Give --discard, --accept-rest-of, or both.")
    bad = [] if discard is None else _ids(discard)
    rounds = {radiograph_id: number for path in sheets for radiograph_id, number in read_sheet(path).items()}
    masks = read_masks(folder)
    rest = [radiograph_id for radiograph_id in rounds if radiograph_id not in set(bad)]
    undecided = [one for one in rest if one not in masks or masks[one].status is Status.PENDING]
    keep(folder, {**dict.fromkeys(undecided, True), **dict.fromkeys(bad, False)}, rounds)
    click.echo(
        f"{len(undecided)} accepted, {len(set(bad))} discarded, {len(rest) - len(undecided)} were decided before"
    )


@mine.command()
@_FOLDER
def status(folder: Path) -> None:
    """Report the progress of the mining in FOLDER, and write FOLDER/rounds.csv."""
    from boneage.train.mining.state import DRAWN, Status, read_masks, read_settings

    read_settings(folder)
    masks = read_masks(folder).values()
    counts = Counter(mask.status for mask in masks)
    click.echo(", ".join(f"{counts[one]} {one.value}" for one in Status))
    covered = sum(counts[one] for one in (*DRAWN, Status.ACCEPTED))
    click.echo(f"coverage {covered / len(masks):.2%} of {len(masks)} radiographs")
    columns, rows = _write_summary(folder)
    if rows:
        lines = [list(columns), *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
        for line in lines:
            click.echo("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _write_summary(folder: Path) -> tuple[Sequence[str], Sequence[Sequence[object]]]:
    from boneage.tables.csv_table import write_rows
    from boneage.train.mining.records import summary_rows

    columns, rows = summary_rows(folder)
    write_rows(folder / "rounds.csv", columns, rows)
    return columns, rows


def _opened(folder: Path, quiet: bool) -> tuple[dict[str, RadiographMask], RadiographCache, int]:
    """Masks, decoded radiographs and seed of a mining project."""
    from boneage.train.mining.records import radiograph_cache
    from boneage.train.mining.state import read_masks, read_settings

    settings = read_settings(folder)
    masks = read_masks(folder)
    return (
        masks,
        radiograph_cache(folder, list(settings.read_radiographs().values()), _bar("decoding", quiet)),
        settings.seed,
    )


def _ids(path: Path) -> list[str]:
    """Return the lines of a file, without empty ones.

    Raises:
        TableError: ``table_not_found``, ``table_unreadable``.
    """
    from boneage.errors import TableError

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise TableError("table_not_found", f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise TableError("table_unreadable", f"{path} cannot be read as text: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def _bar(title: str, quiet: bool) -> Callable[[Iterable[LabelledRadiograph]], Iterable[LabelledRadiograph]]:
    """Return a wrapper that shows progress through radiographs in a terminal."""
    return lambda radiographs: with_progress(radiographs, label=title, quiet=quiet)
