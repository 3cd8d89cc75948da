"""An audit as one self-contained page: verdict, gaps, and a table of each criterion with the biases drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from boneage import words
from boneage.evaluate.audit import LARGEST_BIAS_MONTHS, Audit, AuditGroup
from boneage.evaluate.audit_report import (
    HEADS,
    NOTES,
    RULE,
    SDS_HEADS,
    by_criterion,
    cells,
    failing_sentences,
    gap_sentence,
    has_sds,
    sds_cells,
    title_of,
    verdict_sentences,
)
from boneage.report.page import escape
from boneage.report.page_template import AUDIT_PAGE

_REACH_MONTHS = 12.0
"""Bias at either end of a drawing, months."""

_WIDTH, _HEIGHT = 150.0, 20.0


def audit_page(audit: Audit, name: str, notes: Sequence[str] = (), created: datetime | None = None) -> str:
    """Return the page, which forbids itself scripts and any network. It is in English, like the Markdown.

    Args:
        audit: audit to show.
        name: name of the table of radiographs.
        notes: notes on the radiographs and the bundle.
        created: date and time to print; now if not given.
    """
    return AUDIT_PAGE.substitute(
        language="en",
        title=escape(f"Audit: {name}"),
        heading="Audit",
        name=escape(name),
        created=escape(words.moment(created or datetime.now().astimezone())),
        content="\n".join(_content(audit, notes)),
        notes="".join(f"<p>{escape(note)}</p>" for note in (RULE, *NOTES)),
    )


def _content(audit: Audit, notes: Sequence[str]) -> Iterator[str]:
    yield f'<p class="verdict {audit.fitness.value}">{escape(verdict_sentences(audit))}</p>'
    yield _list([*failing_sentences(audit), *notes])
    if audit.gaps:
        yield "<h2>Largest gaps between groups</h2>"
        yield _list([gap_sentence(gap) for gap in audit.gaps])
    for criterion, groups in by_criterion(audit).items():
        yield f"<h2>{escape(title_of(criterion))}</h2>"
        yield _table(("", f"bias, ± {_REACH_MONTHS:g} months", *HEADS), [_row(group) for group in groups])
    if has_sds(audit):
        yield f"<h2>SDS ({escape(audit.reference)})</h2>"
        rows = [[group.name, *sds_cells(group)] for group in audit.groups if group.with_sds]
        yield _table(("", *SDS_HEADS), [[f"<td>{escape(cell)}</td>" for cell in row] for row in rows])


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table from its heads, plain text, and rows of cells with their tags."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(group: AuditGroup) -> list[str]:
    kind = group.fitness.value
    *plain, verdict = [escape(cell) for cell in cells(group)]
    drawn = f'<td class="plot {kind}">{_drawing(group)}</td>'
    numbers = [f"<td>{cell}</td>" for cell in plain]
    return [f"<td>{escape(group.name)}</td>", drawn, *numbers, f'<td class="{kind}">{verdict}</td>']


def _drawing(group: AuditGroup) -> str:
    """Return the bias with its interval over the limits of the rule, as SVG; empty without figures."""
    if "bias" not in group.figures:
        return ""
    shift = group.figures["bias"]
    low, middle, high = (_place(months) for months in (shift.low, shift.value, shift.high))
    left, right = _place(-LARGEST_BIAS_MONTHS), _place(LARGEST_BIAS_MONTHS)
    limits = f'<rect class="limits" x="{left:.1f}" y="0" width="{right - left:.1f}" height="{_HEIGHT:g}"/>'
    zero = f'<line class="zero" x1="{_WIDTH / 2:g}" x2="{_WIDTH / 2:g}" y1="0" y2="{_HEIGHT:g}"/>'
    interval = f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{_HEIGHT / 2:g}" y2="{_HEIGHT / 2:g}"/>'
    dot = f'<circle cx="{middle:.1f}" cy="{_HEIGHT / 2:g}" r="2.6"/>'
    return f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" aria-hidden="true">{limits}{zero}{interval}{dot}</svg>'


def _place(months: float) -> float:
    """Return the place of a bias in a drawing, cut at its ends."""
    return _WIDTH * (0.5 + 0.5 * min(max(months / _REACH_MONTHS, -1.0), 1.0))
