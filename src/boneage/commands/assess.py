"""``boneage assess``: one film or thousands."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.each_film import exit_status, sigterm_interrupts, summary, unforeseen

if TYPE_CHECKING:
    from boneage.bundle import Bundle
    from boneage.errors import BoneageError
    from boneage.explain import Evidence
    from boneage.report import Outcome

_SEXES = ("f", "m", "female", "male")
_STOPPED = 130
_BAR_WIDTH = 28


@dataclass(frozen=True)
class _Film:
    """What to assess: the file, the text by which the user named it, and the sex as written."""

    path: Path
    image: str
    sex_text: str


def _checked_sex(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and value.lower() not in _SEXES:
        raise click.BadParameter(f"{value!r} is none of the two that the nets know: give F or M.")
    return value


@click.command(
    epilog="""\
\b
Exit codes:
  0    every film was assessed
  1    a film failed unforeseen, or an output cannot be written
  2    wrong usage
  3    at least one film was refused; the others were assessed
  4    the bundle is missing or damaged
  6    the list cannot be used
  130  stopped by Ctrl-C or SIGTERM; what was done is written

Refused films are told on standard error, one line each with a stable code, and so is a count at the end."""
)
@click.argument("files", nargs=-1, type=click.Path(readable=False))
@click.option(
    "--sex",
    metavar="F|M",
    callback=_checked_sex,
    help="Of all FILES. Required with FILES; never taken from the file.",
)
@click.option(
    "--list",
    "listed",
    type=click.Path(readable=False, path_type=Path),
    help="CSV with the columns image,sex instead of FILES.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each film.")
@click.option(
    "--csv", "table", type=click.Path(dir_okay=False, path_type=Path), help="Write a table: image,sex,age_months,..."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for overlay, page and JSON of each film."
)
@click.option(
    "--steps",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of one film: folder for pictures of every step, from the hand's mask to the maps.",
)
@click.option(
    "--evidence",
    type=click.Choice(["both", "raising"]),
    default="both",
    show_default=True,
    help="What the heat map shows: what moved the age up or down, or only what raised it (Grad-CAM's positive part).",
)
@click.option(
    "--outline/--no-outline",
    default=True,
    show_default=True,
    help="Draw in overlay and page where the hand was found, if the bundle looks for it.",
)
@click.option(
    "--bundle", "bundle_name", default="default", show_default=True, help="Name of a shipped bundle, or a folder."
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="For the nets.")
def assess(  # click passes options by name
    files: tuple[str, ...],
    sex: str | None,
    listed: Path | None,
    as_json: bool,
    table: Path | None,
    out: Path | None,
    steps: Path | None,
    evidence: Evidence,
    outline: bool,
    bundle_name: str,
    threads: int,
) -> int:
    """Assess the bone age on radiographs of the hand: PNG, TIFF, JPEG, WebP or DICOM.

    With --out DIR, each film gets <name>.overlay.png, <name>.html and <name>.json there. A name that another film's
    report has, of this run or an earlier one, gets a number: the JSON says by the checksum of the film whose it is, and
    only the same film's report is replaced. A refused film gets its JSON with the reason, and an earlier page and
    overlay of it are removed. What a film is refused for is told on standard error, and the others are assessed.

    With --steps DIR, one film gets 01_original.png, 02_mask.png and so on there, and all of them on the sheet
    steps.png. A film that is refused for its hand gets the first two.
    """
    films = _films(files, sex, listed)
    inputs = [*(film.path for film in films), *([listed] if listed else [])]
    _refuse_overwriting(table, inputs, out)
    if steps is not None:
        _refuse_steps_of(films, steps)

    from boneage.bundle import Bundle
    from boneage.files import ensure_writable
    from boneage.report import Refused, csv_row, write_csv

    bundle = Bundle.open(bundle_name, threads=threads)
    if steps is not None and not bundle.finds_hands:
        raise click.UsageError(
            f"The bundle {bundle.manifest.name} does not look for the hand: it has no steps to show."
        )
    if table is not None:
        ensure_writable(table)
    reports = None if out is None else _Reports(out, evidence, outline, [*inputs, *([table] if table else [])])
    progress = _Progress(len(films))
    rows: list[list[str]] = []
    errors: list[BoneageError] = []
    stopped = False
    try:
        with sigterm_interrupts(), progress:
            for film in films:
                progress.begin(film)
                outcome, stem = _assess_one(film, bundle, reports)
                progress.tell(film, outcome, as_json=as_json)
                rows.append(csv_row(film.image, outcome, stem))
                errors += [outcome.error] if isinstance(outcome, Refused) else []
                if steps is not None:
                    _draw_steps(film, outcome, bundle, steps, evidence)
    except KeyboardInterrupt:
        stopped = True
    finally:
        if table is not None:  # what was done before a failure or an interruption is kept
            write_csv(table, rows)
    if stopped:
        kept = f"; {table} holds these" if table is not None else ""
        click.echo(f"error: Stopped after {len(rows)} of {len(films)}{kept}. [stopped]", err=True)
        return _STOPPED
    if len(films) > 1:
        click.echo(summary(len(films), errors), err=True)
    return exit_status(errors)


def _films(files: Sequence[str], sex: str | None, listed: Path | None) -> list[_Film]:
    if listed is not None:
        if files or sex is not None:
            raise click.UsageError("--list gives the films and their sexes; leave out FILES and --sex.")
        from boneage.films import read_list

        return [_Film(one.image, one.image_text, one.sex_text) for one in read_list(listed)]
    if not files:
        raise click.UsageError("Give FILES with --sex, or --list.")
    folder = next((file for file in files if Path(file).is_dir()), None)
    if folder is not None:
        raise click.UsageError(f"{folder} is a folder: give the films in it, {Path(folder) / '*'}")
    if sex is None:
        raise click.UsageError(f"Give the sex, --sex F or --sex M: it is needed and never guessed.{_said_by(files)}")
    return [_Film(Path(file), file, sex) for file in files]


def _said_by(files: Sequence[str]) -> str:
    """What the first file says of the sex, as a sentence; empty if it says nothing."""
    from boneage.errors import Refusal
    from boneage.radiograph import read_radiograph

    try:
        said = read_radiograph(files[0]).facts.sex
    except Refusal:
        return ""  # its own refusal comes when it is assessed
    return "" if said is None else f" The file {Path(files[0]).name} says {said.value}."


def _refuse_overwriting(table: Path | None, inputs: Sequence[Path], out: Path | None) -> None:
    if table is None:
        return
    if _absolute(table) in {_absolute(path) for path in inputs}:
        raise click.UsageError(f"--csv {table} would overwrite an input.")
    if out is None:
        return
    from boneage.report import OUTPUT_SUFFIXES

    if _absolute(table) == _absolute(out):
        raise click.UsageError("--csv and --out are the same place: one is a file and the other a folder.")
    if _absolute(table.parent) == _absolute(out) and table.name.endswith(OUTPUT_SUFFIXES) and table.exists():
        raise click.UsageError(f"--csv {table} would overwrite a report.")


def _absolute(path: Path) -> str:
    return str(path.resolve()).casefold()  # some file systems do not tell cases apart


def _refuse_steps_of(films: Sequence[_Film], folder: Path) -> None:
    """Steps are of one film, which their files must not overwrite."""
    if len(films) != 1:
        raise click.UsageError(f"--steps shows the steps of one film, not of {len(films)}.")
    from boneage.steps import STEP_FILE

    film = films[0].path
    if _absolute(film.parent) == _absolute(folder) and STEP_FILE.fullmatch(film.name):
        raise click.UsageError(f"--steps {folder} would overwrite the film.")


def _draw_steps(film: _Film, outcome: Outcome, bundle: Bundle, folder: Path, evidence: Evidence) -> None:
    """Write the pictures of a film's steps; of one that was refused for its hand, film and mask.

    Raises:
        OSError: the folder cannot be written to.
    """
    from boneage.errors import RefusalCode
    from boneage.radiograph import read_radiograph
    from boneage.report import Refused
    from boneage.steps import draw_refused, draw_steps, write_steps

    looked_for_hand = (RefusalCode.NO_HAND, RefusalCode.SEVERAL_HANDS, RefusalCode.POINTS_UNCERTAIN)
    if not isinstance(outcome, Refused):
        write_steps(folder, draw_steps(read_radiograph(film.path).pixels, outcome, evidence))
    elif outcome.error.code in looked_for_hand:
        write_steps(folder, draw_refused(read_radiograph(film.path).pixels, bundle.hand_nets()))


class _Reports:
    """The folder of reports, in which each film has a stem of its own."""

    def __init__(self, folder: Path, evidence: Evidence, outline: bool, reserved: Sequence[Path]) -> None:
        """`reserved` are files that must not be overwritten: films, and what else the command writes or reads."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._evidence = evidence
        self._outline = outline
        self._taken = set(map(_absolute, reserved))

    def write(self, film: _Film, outcome: Outcome) -> str:
        """Write a film's files, and give their stem; empty if it was refused and has not even a checksum."""
        from boneage.report import Refused, write_files, write_refusal

        sha256 = outcome.sha256 if isinstance(outcome, Refused) else outcome.source_sha256
        if sha256 is None and isinstance(outcome, Refused):
            return ""
        stem = self._stem(film.path.stem, sha256)
        if isinstance(outcome, Refused):
            write_refusal(outcome, self._folder, stem, film.path.name)
        else:
            write_files(outcome, self._folder, stem, self._evidence, outline=self._outline)
        self._taken |= self._outputs(stem)
        return stem

    def _stem(self, wanted: str, sha256: str | None) -> str:
        """The film's own stem, numbered where another film of this run or an earlier one has it."""
        from boneage.report import may_write

        free = (stem for stem in _numbered(wanted) if self._taken.isdisjoint(self._outputs(stem)))
        return next(stem for stem in free if may_write(self._folder, stem, sha256))

    def _outputs(self, stem: str) -> set[str]:
        from boneage.report import outputs_of

        return set(map(_absolute, outputs_of(self._folder, stem)))


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}-{number}"
        number += 1


def _assess_one(film: _Film, bundle: Bundle, reports: _Reports | None) -> tuple[Outcome, str]:
    """What became of a film, and the stem of its report.

    Raises:
        BundleError: the bundle failed, and would for the next film.
        OSError: the folder of reports cannot be written to, and could not for the next film.
    """
    from boneage.errors import BundleError

    outcome = _outcome(film, bundle)
    if reports is None:
        return outcome, ""
    try:
        return outcome, reports.write(film, outcome)
    except (BundleError, OSError):
        raise
    except Exception as error:
        from boneage.report import Refused

        sha256 = outcome.sha256 if isinstance(outcome, Refused) else outcome.source_sha256
        outcome = Refused(film.sex_text, unforeseen(error), sha256)
        return outcome, reports.write(film, outcome)


def _outcome(film: _Film, bundle: Bundle) -> Outcome:
    """The assessment of a file that is read once, or why there is none.

    Raises:
        BundleError: as `_assess_one`.
    """
    from boneage.assessment import assess as assess_film
    from boneage.errors import BundleError, Refusal
    from boneage.radiograph import read_file
    from boneage.report import Refused

    data: bytes | None = None
    try:
        data = read_file(film.path)
        return assess_film(data, film.sex_text, bundle, name=film.path.name)
    except BundleError:
        raise
    except Refusal as refusal:
        error: BoneageError = refusal
    except Exception as unknown:
        error = unforeseen(unknown)
    return Refused(film.sex_text, error, None if data is None else hashlib.sha256(data).hexdigest())


class _Progress(logging.Handler):
    """Results on standard output; refusals, what readers warn of, and a bar on standard error.

    The bar is drawn only where a person watches. As a log handler it names the film that a warning is about.
    """

    def __init__(self, total: int) -> None:
        super().__init__()
        self._total = total
        self._done = 0
        self._watched = total > 1 and sys.stderr.isatty()
        self._image = ""

    def __enter__(self) -> None:
        logging.getLogger("boneage").addHandler(self)

    def __exit__(self, *_raised: object) -> None:
        logging.getLogger("boneage").removeHandler(self)
        self.clear()

    def begin(self, film: _Film) -> None:
        """A film is looked at now."""
        self._image = film.image or str(film.path)

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a warning with the film's name."""
        self.clear()
        click.echo(f"{record.levelname.lower()}: {self._image}: {record.getMessage()}", err=True)
        self._draw()

    def tell(self, film: _Film, outcome: Outcome, *, as_json: bool) -> None:
        """Say what became of a film, and move on by one."""
        from boneage.report import Refused, json_text, text

        self.clear()
        if isinstance(outcome, Refused):
            click.echo(f"error: {self._image}: {outcome.error.message} [{outcome.error.code}]", err=True)
        if as_json:
            click.echo(json_text(outcome, film.image))
        elif not isinstance(outcome, Refused):
            click.echo(text(self._image, outcome))
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
