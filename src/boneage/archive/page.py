"""Report of an archive as one self-contained page in English."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from boneage import words
from boneage.archive.figures import SMALLEST_GROUP, UNKNOWN, ArchiveFigures, GroupFigures, Histogram
from boneage.archive.rows import ArchiveRow
from boneage.archive.uncertain import picture_path
from boneage.report.page import escape
from boneage.report.page_template import ARCHIVE_PAGE

NOTES = (
    f"Means and medians are given for groups of {SMALLEST_GROUP} radiographs or more. The line of a drift is the 95 %"
    " confidence interval of the mean difference; the shaded part is within 3 months of the mean of all radiographs.",
    "A difference between groups may come from their patients as well as from the device or the program: look at the"
    " radiographs before drawing a conclusion.",
    "Not a medical device. For research and teaching; a physician must read the radiographs.",
)
_HEADS = (
    "radiographs",
    "rejected",
    "caution or critical",
    "bone age, median",
    "minus chronological age, mean",
    "with both ages",
    "95 % interval, median width",
)
_LARGEST_GROUPS = 40
"""Groups of a table that are shown; the others stand in one line below it."""
_LIMIT_MONTHS = 3.0
_REACH_MONTHS = 12.0
_WIDTH, _HEIGHT = 150.0, 20.0
_BARS_WIDTH, _BARS_HEIGHT, _AXIS = 300.0, 120.0, 14.0
_SEX_NAMES = {"F": "Girls", "M": "Boys", UNKNOWN: "Sex unknown"}


def archive_page(
    figures: ArchiveFigures,
    notes: Sequence[str],
    sheet: Sequence[ArchiveRow],
    pictures: Path,
    created: datetime | None = None,
) -> str:
    """Return the page, which forbids itself scripts and any network.

    Args:
        figures: Figures of the archive.
        notes: Notes on the source and the bundle.
        sheet: Rows of the most uncertain radiographs, in order.
        pictures: Folder of their pictures.
        created: Date and time to print; now if not given.
    """
    return ARCHIVE_PAGE.substitute(
        language="en",
        title="Archive: bone age",
        heading="Archive",
        name="bone age by boneage",
        created=escape(words.moment(created or datetime.now().astimezone())),
        content="\n".join(_content(figures, notes, sheet, pictures)),
        notes="".join(f"<p>{escape(note)}</p>" for note in NOTES),
    )


def _content(
    figures: ArchiveFigures, notes: Sequence[str], sheet: Sequence[ArchiveRow], pictures: Path
) -> Iterator[str]:
    every = figures.all
    counts = {
        "radiographs": every.n,
        "assessed": every.n - every.rejected,
        "rejected": every.rejected,
        "with a caution or critical warning": every.warned,
        "further copies of these": figures.items - every.n,
    }
    yield f'<ul class="counts">{"".join(f"<li><b>{count:,}</b>{name}</li>" for name, count in counts.items())}</ul>'
    yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"
    yield "<h2>Distributions</h2>"
    yield f'<div class="histograms">{"".join(_histogram(one) for one in figures.histograms)}</div>'
    yield '<p class="key"><i class="F"></i>girls<i class="M"></i>boys. Values beyond the ends count at the ends.</p>'
    yield from _counted("Rejections", "code", figures.rejections, every.n)
    yield from _counted("Warnings", "code", figures.warnings, every.n - every.rejected)
    yield from _counted("Sex", "", {_SEX_NAMES.get(sex, sex): n for sex, n in figures.sexes.items()}, every.n)
    yield from _groups("By year of the study", figures.by_year, every)
    yield from _groups("By device", figures.by_device, every)
    if sheet:
        yield "<h2>The most uncertain</h2>"
        yield (
            "<p>In the order of the gravest warning, the number of warnings, and the width of the 95 % interval."
            " The identity is that of the tables.</p>"
        )
        yield f'<div class="sheet">{"".join(_figure(row, pictures) for row in sheet)}</div>'


def _counted(title: str, head: str, counts: Mapping[str, int], total: int) -> Iterator[str]:
    if not counts:
        return
    yield f"<h2>{escape(title)}</h2>"
    yield _table(
        (head, "radiographs", "share"),
        [
            [f"<td>{escape(name)}</td>", f"<td>{count:,}</td>", f"<td>{100 * count / max(total, 1):.1f} %</td>"]
            for name, count in counts.items()
        ],
    )


def _groups(title: str, groups: Sequence[GroupFigures], every: GroupFigures) -> Iterator[str]:
    yield f"<h2>{escape(title)}</h2>"
    shown = groups[:_LARGEST_GROUPS]
    yield _table(("", f"drift, ± {_REACH_MONTHS:g} months", *_HEADS), [_row(group, every) for group in [*shown, every]])
    left = groups[_LARGEST_GROUPS:]
    if left:
        yield f"<p>{len(left)} smaller groups with {sum(group.n for group in left):,} radiographs are not shown.</p>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table from its heads, plain text, and rows of cells with their tags."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(group: GroupFigures, every: GroupFigures) -> list[str]:
    difference = (
        ""
        if group.difference_months is None
        else f"{group.difference_months:+.1f} ± {group.difference_error or 0.0:.1f}"
    )
    cells = (
        f"{group.n:,}",
        f"{100 * group.rejected / max(group.n, 1):.1f} %",
        f"{100 * group.warned / max(group.n - group.rejected, 1):.1f} %",
        "" if group.age_months is None else f"{group.age_months:.1f}",
        difference,
        f"{group.with_age:,}",
        "" if group.width_months is None else f"{group.width_months:.1f}",
    )
    drawn = f'<td class="plot">{_drift(group, every)}</td>'
    return [f"<td>{escape(group.name)}</td>", drawn, *(f"<td>{cell}</td>" for cell in cells)]


def _drift(group: GroupFigures, every: GroupFigures) -> str:
    """Return the mean difference of a group against that of all radiographs, as SVG; empty without figures."""
    if group.difference_months is None or every.difference_months is None:
        return ""
    shift, error = group.difference_months - every.difference_months, group.difference_error or 0.0
    low, middle, high = (_place(months) for months in (shift - error, shift, shift + error))
    left, right = _place(-_LIMIT_MONTHS), _place(_LIMIT_MONTHS)
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" aria-hidden="true">'
        f'<rect class="limits" x="{left:.1f}" y="0" width="{right - left:.1f}" height="{_HEIGHT:g}"/>'
        f'<line class="zero" x1="{_WIDTH / 2:g}" x2="{_WIDTH / 2:g}" y1="0" y2="{_HEIGHT:g}"/>'
        f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{_HEIGHT / 2:g}" y2="{_HEIGHT / 2:g}"/>'
        f'<circle cx="{middle:.1f}" cy="{_HEIGHT / 2:g}" r="2.6"/></svg>'
    )


def _place(months: float) -> float:
    """Return the place of a difference in a drawing, cut at its ends."""
    return _WIDTH * (0.5 + 0.5 * min(max(months / _REACH_MONTHS, -1.0), 1.0))


def _histogram(histogram: Histogram) -> str:
    """Return a distribution as SVG with the sexes on top of each other."""
    bins = len(histogram.edges) - 1
    totals = [sum(counts[place] for counts in histogram.counts.values()) for place in range(bins)]
    highest, width = max([1, *totals]), _BARS_WIDTH / bins
    bars: list[str] = []
    below = [0.0] * bins
    for name, counts in histogram.counts.items():
        for place, count in enumerate(counts):
            height = _BARS_HEIGHT * count / highest
            below[place] += height
            if count:
                x, y = place * width + 0.5, _BARS_HEIGHT - below[place]
                bars.append(
                    f'<rect class="{escape(name)}" x="{x:.1f}" y="{y:.1f}" width="{width - 1:.1f}"'
                    f' height="{height:.1f}"/>'
                )
    first, last = histogram.edges[0], histogram.edges[-1]
    middle = (first + last) / 2
    marks = zip((first, middle, last), (0.0, _BARS_WIDTH / 2, _BARS_WIDTH), ("start", "middle", "end"), strict=True)
    labels = "".join(
        f'<text x="{x:g}" y="{_BARS_HEIGHT + 11:g}" text-anchor="{anchor}">{value:g}</text>'
        for value, x, anchor in marks
    )
    label = f"{histogram.title}, {histogram.unit}: {sum(totals)} radiographs"
    return (
        f'<figure><svg viewBox="0 0 {_BARS_WIDTH:g} {_BARS_HEIGHT + _AXIS:g}" role="img" aria-label="{escape(label)}">'
        f'{"".join(bars)}<line class="axis" x1="0" x2="{_BARS_WIDTH:g}" y1="{_BARS_HEIGHT:g}" y2="{_BARS_HEIGHT:g}"/>'
        f"{labels}</svg><figcaption>{escape(histogram.title)}, {escape(histogram.unit)}"
        f" ({sum(totals):,} radiographs)</figcaption></figure>"
    )


def _figure(row: ArchiveRow, pictures: Path) -> str:
    """Return an uncertain radiograph with its picture, if there is one."""
    row_id = str(row["id"])
    try:
        data = base64.b64encode(picture_path(pictures, row_id).read_bytes()).decode("ascii")
        picture = f'<img src="data:image/jpeg;base64,{data}" alt="Hand of the radiograph {row_id[:8]}">'
    except FileNotFoundError:
        picture = '<div class="none"></div>'
    age, low, high = (row.get(name) for name in ("age_months", "interval_months_low", "interval_months_high"))
    lines = [f"{row.get('sex')}, {age} months"]
    lines += [f"95 % interval {low} to {high}"] if low is not None else []
    lines += [f"{row.get('severity')}: {str(row['warnings']).replace(' ', ', ')}"] if row.get("warnings") else []
    lines += [f"study of {row['study_year']}"] if row.get("study_year") else []
    lines += [row_id]
    return f"<figure>{picture}<figcaption>{'<br>'.join(map(escape, lines))}</figcaption></figure>"
