"""Command ``boneage sample``, which writes hands to try the program on: a reference plate, or drawn phantoms."""

from __future__ import annotations

from pathlib import Path

import click

_DRAWN_YEARS = (3.0, 17.0)
"""Youngest and oldest drawn hand of training; between these, the drawing changes with age."""
_DRAWN_HEIGHT, _DRAWN_WIDTH = 800, 600


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("sample.png"))
@click.option(
    "--plate",
    default="F-132",
    show_default=True,
    metavar="KEY",
    help="Plate of the open atlas; `boneage atlas list open` lists them.",
)
@click.option("--phantom", is_flag=True, help="Write the drawn phantom instead, whose estimate has no meaning.")
@click.option(
    "--training",
    "count",
    type=click.IntRange(2, 100_000),
    metavar="COUNT",
    help="Write COUNT drawn hands of different ages with their table, radiographs.csv, to the folder PATH instead, to"
    " try training, evaluation and audit on. Figures on them have no meaning.",
)
@click.option("--force", is_flag=True, help="Replace an existing file of this name, or files of the folder.")
def sample(path: Path, plate: str, phantom: bool, count: int | None, force: bool) -> None:
    """Write a reference plate of the open atlas to PATH (sample.png by default), a PNG or DICOM file to try the program
    on.

    A plate is the average of many registered hands, of no single patient. Its age is known, so that the estimate can be
    compared with it. A DICOM file (PATH ends with .dcm) has an invented patient of that age.
    """
    from boneage.files import atomic_write

    if count is not None:
        if phantom:
            raise click.UsageError("Give --training or --phantom, but not both.")
        _draw_training(path, count, force)
        return
    if path.is_dir():
        raise click.UsageError(f"{path} is a folder: give the name of a file.")
    if path.suffix.lower() not in ((".png",) if phantom else (".png", ".dcm")):
        raise click.UsageError(
            f"The sample is {'a PNG' if phantom else 'a PNG or DICOM'} file: give {path} that ending."
        )
    drawn, description = _phantom() if phantom else _plate(plate, path)
    if path.exists() and not force and path.read_bytes() != drawn:
        raise click.UsageError(f"{path} exists already and is another file; --force replaces it.")
    with atomic_write(path) as temporary:
        temporary.write_bytes(drawn)
    click.echo(f"{path}: {description}")


def _draw_training(folder: Path, count: int, force: bool) -> None:
    """Draw hands with their ages as labels, and write their table in RSNA's layout.

    Sexes alternate, and the drawing does not depend on them.

    Raises:
        click.UsageError: The folder has files already.
        OSError: A file cannot be written.
    """
    import numpy as np

    from boneage.explain import encode_picture
    from boneage.files import atomic_write, write_text
    from boneage.phantom import SAMPLE_GAMMA, draw_hand

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not force:
        raise click.UsageError(f"{folder} has files already; --force replaces those of the same name.")
    table, rows = folder / "radiographs.csv", ["id,boneage,male"]
    for number, years in enumerate(np.linspace(*_DRAWN_YEARS, count)):
        drawn = draw_hand(float(years), height=_DRAWN_HEIGHT, width=_DRAWN_WIDTH, seed=number)
        with atomic_write(table.with_suffix("") / f"{number}.png") as temporary:
            temporary.write_bytes(encode_picture(".png", np.rint(255 * drawn**SAMPLE_GAMMA).astype(np.uint8)))
        rows.append(f"{number},{round(12 * years)},{number % 2 == 0}")
    write_text(table, "\n".join(rows) + "\n")
    click.echo(f"{table}: {count} drawn hands, not patients. Figures on them have no meaning.")


def _phantom() -> tuple[bytes, str]:
    """Return the phantom and a sentence about it."""
    from boneage.phantom import sample_png

    return sample_png(), "a drawn phantom, not a patient. Its bone age has no meaning."


def _plate(key: str, path: Path) -> tuple[bytes, str]:
    """Return a plate of the open atlas as PNG or DICOM, by the ending of the path, and sentences about it.

    Raises:
        AtlasError: there is no such plate.
    """
    from boneage.atlas import Atlas
    from boneage.explain import encode_picture
    from boneage.words import age_in_words

    atlas = Atlas.open()
    plate = atlas.plate(key)
    group = {"F": "girls", "M": "boys"}[plate.sex.value]
    years, months = divmod(round(plate.age_months), 12)
    picture, sentence = (
        atlas.picture(plate),
        f"average hand of {plate.count} {group} of {age_in_words(plate.age_months)}",
    )
    if path.suffix.lower() == ".dcm":
        from boneage.dicom.plate import plate_file

        file = plate_file(plate.key, picture, plate.sex.value, plate.age_months)
        return file, f"{sentence}, not a patient.\nTry it: boneage assess {path} --sex {plate.sex.value}"
    return encode_picture(".png", picture), (
        f"{sentence}, not a patient.\nTry it: boneage assess {path} --sex {plate.sex.value} --age {years}y{months}m"
    )
