"""``boneage assess``: one film or thousands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from boneage.bundle import Bundle
    from boneage.films import ListedFilm
    from boneage.report import Outcome

_SEXES = click.Choice(["F", "M", "female", "male"], case_sensitive=False)
_REFUSED = 3
_BAR_WIDTH = 28


@dataclass(frozen=True)
class _Film:
    """What to assess: the file, how the user named it, and the sex as written."""

    path: Path
    image: str
    sex_text: str


@click.command(
    epilog="""\
\b
Exit codes:
  0  every film was assessed
  2  wrong usage
  3  at least one film was refused; the others were assessed
  4  the bundle is missing or damaged
  6  the list cannot be used

Refused films are told on standard error, one line each with a stable code."""
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--sex", type=_SEXES, metavar="F|M", help="Of all FILES. Required with FILES; never taken from the file.")
@click.option(
    "--list", "listed", type=click.Path(path_type=Path), help="CSV with the columns image,sex instead of FILES."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each film.")
@click.option(
    "--csv", "table", type=click.Path(dir_okay=False, path_type=Path), help="Write a table: image,sex,age_months,..."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for overlay, page and JSON of each film."
)
@click.option(
    "--bundle", "bundle_name", default="default", show_default=True, help="Name of a shipped bundle, or a folder."
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="For the nets.")
def assess(  # click passes options by name
    files: tuple[Path, ...],
    sex: str | None,
    listed: Path | None,
    as_json: bool,
    table: Path | None,
    out: Path | None,
    bundle_name: str,
    threads: int,
) -> int:
    """Assess the bone age on radiographs of the hand: PNG, TIFF, JPEG, WebP or DICOM.

    With --out DIR, each film gets <name>.overlay.png, <name>.html and <name>.json there; films of the same name get
    a number. What a film is refused for is told on standard error, and the others are assessed.
    """
    films = _films(files, sex, listed)
    _refuse_overwriting(table, "--csv", [*(film.path for film in films), *([listed] if listed else [])])

    from boneage.bundle import Bundle
    from boneage.report import Refused, csv_row, write_csv

    bundle = Bundle.open(bundle_name, threads=threads)
    stems = _stems(films, out)
    rows: list[list[str]] = []
    refused = 0
    progress = _Progress(len(films))
    try:
        for film, stem in zip(films, stems, strict=True):
            outcome = _assess_one(film, bundle)
            _write_one(outcome, out, stem)
            progress.tell(film, outcome, as_json=as_json)
            rows.append(csv_row(film.image, outcome))
            refused += isinstance(outcome, Refused)
    finally:
        progress.clear()
        if table is not None:  # what was done before a failure or an interruption is kept
            write_csv(table, rows)
    return _REFUSED if refused else 0


def _films(files: Sequence[Path], sex: str | None, listed: Path | None) -> list[_Film]:
    if listed is not None:
        if files or sex is not None:
            raise click.UsageError("--list gives the films and their sexes; leave out FILES and --sex.")
        from boneage.films import read_list

        return [_from_list(one, listed) for one in read_list(listed)]
    if not files:
        raise click.UsageError("Give FILES with --sex, or --list.")
    if sex is None:
        raise click.UsageError(f"Give the sex, --sex F or --sex M: it is needed and never guessed.{_said_by(files)}")
    return [_Film(path, str(path), sex) for path in files]


def _from_list(one: ListedFilm, listed: Path) -> _Film:
    """The film with its path as the list has it: relative to the list if it lies below it."""
    inside = one.image.is_relative_to(listed.parent)
    return _Film(one.image, str(one.image.relative_to(listed.parent) if inside else one.image), one.sex_text)


def _said_by(files: Sequence[Path]) -> str:
    """What the first file says of the sex, as a sentence; empty if it says nothing."""
    from boneage.errors import Refusal
    from boneage.radiograph import read_radiograph

    try:
        said = read_radiograph(files[0]).facts.sex
    except Refusal:
        return ""  # its own refusal comes when it is assessed
    return "" if said is None else f" The file {files[0].name} says {said.value}."


def _refuse_overwriting(target: Path | None, option: str, inputs: Sequence[Path]) -> None:
    if target is not None and _absolute(target) in {_absolute(path) for path in inputs}:
        raise click.UsageError(f"{option} {target} would overwrite an input.")


def _absolute(path: Path) -> str:
    return str(path.resolve()).casefold()  # some file systems do not tell cases apart


def _stems(films: Sequence[_Film], out: Path | None) -> list[str]:
    """A stem for each film's files in `out`: the file's own, numbered where it is taken or would overwrite a film."""
    if out is None:
        return ["" for _ in films]
    from boneage.report import outputs_of

    taken = {_absolute(film.path) for film in films}
    stems = []
    for film in films:
        stem = next(
            stem for stem in _numbered(film.path.stem) if taken.isdisjoint(map(_absolute, outputs_of(out, stem)))
        )
        taken |= set(map(_absolute, outputs_of(out, stem)))
        stems.append(stem)
    return stems


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def _assess_one(film: _Film, bundle: Bundle) -> Outcome:
    from boneage.assessment import assess as assess_film
    from boneage.errors import Refusal
    from boneage.report import Refused

    try:
        return assess_film(film.path, film.sex_text, bundle)
    except Refusal as refusal:
        return Refused(film.sex_text, refusal)


def _write_one(outcome: Outcome, out: Path | None, stem: str) -> None:
    from boneage.report import Refused, write_files

    if out is not None and not isinstance(outcome, Refused):
        write_files(outcome, out, stem)


class _Progress:
    """Results on standard output, refusals and a bar on standard error; the bar only where a person watches."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._watched = total > 1 and sys.stderr.isatty()

    def tell(self, film: _Film, outcome: Outcome, *, as_json: bool) -> None:
        """Say what became of a film, and move on by one."""
        from boneage.report import Refused, json_text, text

        self.clear()
        if isinstance(outcome, Refused):
            click.echo(f"error: {film.image}: {outcome.error.message} [{outcome.error.code}]", err=True)
        if as_json:
            click.echo(json_text(outcome, film.path.name))
        elif not isinstance(outcome, Refused):
            click.echo(text(film.image, outcome))
        self._done += 1
        self._draw()

    def clear(self) -> None:
        """Take the bar away."""
        if self._watched:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _draw(self) -> None:
        if self._watched and self._done < self._total:
            filled = _BAR_WIDTH * self._done // self._total
            bar = "#" * filled + "." * (_BAR_WIDTH - filled)
            click.echo(f"[{bar}] {self._done}/{self._total}", nl=False, err=True)
