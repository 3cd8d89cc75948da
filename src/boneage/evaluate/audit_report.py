"""An audit as text, Markdown and tidy CSV."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from boneage.evaluate.audit import (
    LARGEST_BIAS_MONTHS,
    SMALLEST_COVERAGE,
    SMALLEST_JUDGED,
    Audit,
    AuditGroup,
    Fitness,
    Gap,
)
from boneage.evaluate.metrics import Figure
from boneage.evaluate.tables import markdown_table, radiographs_in_words, two_decimals, with_interval
from boneage.tables.csv_table import write_rows

RULE = (
    f"Rule: the mean of estimate minus reading (bias) must lie within ± {LARGEST_BIAS_MONTHS:g} months, and at least "
    f"{100 * SMALLEST_COVERAGE:g} % of the readings within the 95 % prediction interval. The rule is applied to all "
    f"radiographs and to every group of {SMALLEST_JUDGED} or more. A group that fails is undecided where the "
    "confidence interval still reaches within the limits."
)

_VERDICTS = {
    Fitness.FIT: "Fit for use here: all judged groups keep the limits.",
    Fitness.UNDECIDED: "Undecided: some groups fail, which may be chance. More radiographs of these groups are needed.",
    Fitness.UNFIT: "Not fit for use here without a correction: some groups fail beyond chance.",
    Fitness.TOO_FEW: f"Too few radiographs: at least {SMALLEST_JUDGED} with a 95 % prediction interval are needed.",
}

WORDS = {
    Fitness.FIT: "fit",
    Fitness.UNDECIDED: "undecided",
    Fitness.UNFIT: "not fit",
    Fitness.TOO_FEW: "too few",
}

HEADS = (
    "radiographs",
    "rejected",
    "warned",
    "MAD",
    "bias [95 % interval]",
    "slope",
    "within 80 %",
    "within 95 %",
    "verdict",
)
SDS_HEADS = ("with SDS", "delayed (read)", "advanced (read)", "changed class")

NOTES = (
    "Bias is estimate minus reading, in months; a positive one means that estimates are too old. Slope is that of the "
    "readings on the estimates; 1 is ideal. Bands are those of the estimate, and a rejected radiograph counts in the "
    "band of its reading. Warned are those with a caution or a critical warning.",
    "Intervals of figures are percentile bootstrap intervals over radiographs with a fixed seed. The interval of a gap "
    "is widened for the number of pairs, and its p value is adjusted by Holm's method.",
    "One reader's readings scatter by some 6 months (SD), so that MAD cannot fall far below 5 months, whatever the "
    "estimate.",
)


def title_of(criterion: str) -> str:
    """Return the heading of a criterion: ``By sex and band of the estimate``."""
    names = {"all": "All radiographs", "band": "band of the estimate"}
    parts = [names.get(part, part) for part in criterion.split(" x ")]
    return parts[0] if criterion == "all" else f"By {' and '.join(parts)}"


def by_criterion(audit: Audit) -> dict[str, list[AuditGroup]]:
    """Return the groups of each criterion, in their order."""
    groups: dict[str, list[AuditGroup]] = {}
    for group in audit.groups:
        groups.setdefault(group.criterion, []).append(group)
    return groups


def cells(group: AuditGroup) -> tuple[str, ...]:
    """Return the cells of a group below `HEADS`."""
    mad, shift, slope = (group.figures.get(name) for name in ("mad", "bias", "slope"))
    return (
        str(group.n),
        str(group.rejected),
        str(group.warned),
        "" if mad is None else two_decimals(mad.value),
        "" if shift is None else with_interval(shift, "+"),
        "" if slope is None else two_decimals(slope.value),
        _percent(group.figures.get("coverage_80")),
        _percent(group.figures.get("coverage_95")),
        WORDS[group.fitness],
    )


def sds_cells(group: AuditGroup) -> tuple[str, ...]:
    """Return the cells of a group below `SDS_HEADS`: shares by the estimates, and by the readings in brackets."""
    if "flipped" not in group.figures:
        return (str(group.with_sds), "", "", "")
    share = {name: _percent(group.figures[name]) for name in group.figures}
    return (
        str(group.with_sds),
        f"{share['delayed']} ({share['read_delayed']})",
        f"{share['advanced']} ({share['read_advanced']})",
        share["flipped"],
    )


def has_sds(audit: Audit) -> bool:
    """Return True if some radiographs have an SDS."""
    return audit.groups[0].with_sds > 0


def gap_sentence(gap: Gap) -> str:
    """Return the largest gap of a criterion in words."""
    pairs = "1 pair" if gap.pairs == 1 else f"{gap.pairs} pairs"
    return (
        f"{title_of(gap.criterion)}: {gap.older} against {gap.younger}, {with_interval(gap.months)} months of bias "
        f"(p = {gap.p:.3f} after Holm, {pairs})"
    )


def failing_sentences(audit: Audit) -> list[str]:
    """Return the groups that fail, those beyond chance first."""
    failing = [group for fitness in (Fitness.UNFIT, Fitness.UNDECIDED) for group in audit.of(fitness)]
    return [f"{WORDS[group.fitness].capitalize()}: {_group_words(group)}" for group in failing]


def verdict_sentences(audit: Audit) -> str:
    """Return the verdict, and the groups that are too small for it."""
    small = [group for group in audit.of(Fitness.TOO_FEW) if group.criterion != "all"]
    if audit.fitness is Fitness.TOO_FEW or not small:
        return _VERDICTS[audit.fitness]
    groups = "1 group is" if len(small) == 1 else f"{len(small)} groups are"
    columns = [
        f"by {title_of(criterion).removeprefix('By ')}"
        for criterion, groups in by_criterion(audit).items()
        if " x " not in criterion and all(group.fitness is Fitness.TOO_FEW for group in groups)
    ]
    none = f" None is judged {', '.join(columns)}." if columns else ""
    return f"{_VERDICTS[audit.fitness]} {groups} too small to be judged.{none}"


def summary_lines(audit: Audit) -> Iterator[str]:
    """Yield verdict, failing groups and gaps as lines of Markdown for a person."""
    yield verdict_sentences(audit)
    yield ""
    yield from (f"- {sentence}" for sentence in failing_sentences(audit))
    if audit.gaps:
        yield from ("", "Largest gaps between groups:", "")
        yield from (f"- {gap_sentence(gap)}" for gap in audit.gaps)


def _group_words(group: AuditGroup) -> str:
    shift, coverage = group.figures["bias"], group.figures["coverage_95"]
    return (
        f"{group.name} ({radiographs_in_words(group.n)}), bias "
        f"{with_interval(shift, '+')} months, {_percent(coverage)} within the 95 % interval"
    )


def to_markdown(audit: Audit, notes: Sequence[str] = ()) -> str:
    """Return an audit as one Markdown text.

    Args:
        audit: the audit.
        notes: lines of the list below the heading, on the radiographs and the bundle.
    """
    lines = ["# Audit", "", *(f"- {note}" for note in notes), "", *summary_lines(audit), "", RULE]
    for criterion, groups in by_criterion(audit).items():
        rows = [(group.name, *cells(group)) for group in groups]
        lines += ["", f"## {title_of(criterion)}", "", *markdown_table(("", *HEADS), rows)]
    if has_sds(audit):
        rows = [(group.name, *sds_cells(group)) for group in audit.groups if group.with_sds]
        lines += ["", f"## SDS ({audit.reference})", "", *markdown_table(("", *SDS_HEADS), rows)]
    return "\n".join([*lines, "", *(line for note in NOTES for line in (note, ""))])


def write_tidy(path: Path, audit: Audit) -> None:
    """Write one row for each figure, ``criterion,group,n,rejected,warned,with_sds,fitness,metric,value,low,high``.

    A group without figures has one row with an empty metric. Undefined values are empty.
    """
    columns = ("criterion", "group", "n", "rejected", "warned", "with_sds", "fitness", "metric", "value", "low", "high")
    rows: list[Sequence[object]] = []
    for group in audit.groups:
        counts = (group.n, group.rejected, group.warned, group.with_sds)
        start = (group.criterion, group.name, *counts, group.fitness.value)
        rows += [(*start, name, *_tidy(figure)) for name, figure in group.figures.items()] or [(*start, *[""] * 4)]
    for gap in audit.gaps:
        name = f"{gap.older} - {gap.younger}"
        rows.append((gap.criterion, name, *[""] * 5, "gap", *_tidy(gap.months)))
        rows.append((gap.criterion, name, *[""] * 5, "gap_p_holm", f"{gap.p:.6g}", "", ""))
    write_rows(path, columns, rows)


def _tidy(figure: Figure) -> tuple[str, ...]:
    return tuple(f"{value:.6g}" if math.isfinite(value) else "" for value in (figure.value, figure.low, figure.high))


def _percent(figure: Figure | None) -> str:
    return "" if figure is None else f"{100 * figure.value:.1f} %"
