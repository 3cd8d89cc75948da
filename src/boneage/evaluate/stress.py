"""Robustness of estimates to changes of the radiograph: figures by change from a table of answers, without a model.

There are two questions: the invariance of the estimate (changed against unchanged radiograph), and its accuracy
(mean absolute difference from readers, MAD). Both are paired: only radiographs that were assessed with and without the
change count. Rejections are reported beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Months
from boneage.evaluate.metrics import (
    RESAMPLES,
    Figure,
    Metric,
    bias,
    mean_absolute_difference,
    measure,
)
from boneage.evaluate.perturbations import Change
from boneage.evaluate.tables import SMALLEST_GROUP, two_decimals, with_interval
from boneage.sex import Sex
from boneage.tables.csv_table import write_rows

UNCHANGED = "unchanged"
"""Name in the place of a change's name for the unchanged radiograph."""


@dataclass(frozen=True)
class Answer:
    """Outcome for one radiograph under one change.

    Attributes:
        radiograph_id: Unique id of the radiograph.
        sex: Sex of the patient.
        boneage_months: Label, months.
        change: Name of the change, or `UNCHANGED`.
        age_months: Estimate, months; None if the radiograph was rejected.
        error: Code of the rejection or failure; empty if the radiograph was assessed.
        warnings: Codes of the warnings.
        severity: Highest severity of the warnings: ``info``, ``caution``, ``critical``, or empty.
        interval_months: Bounds of the 95 % prediction interval; None without one.
    """

    radiograph_id: str
    sex: Sex
    boneage_months: float
    change: str
    age_months: float | None
    error: str = ""
    warnings: tuple[str, ...] = ()
    severity: str = ""
    interval_months: tuple[float, float] | None = None


FAR_MONTHS = 12.0
"""Change of the estimate, months, beyond which it needs a warning."""


@dataclass(frozen=True)
class Caught:
    """Numbers of radiographs with one change that were rejected or have warnings.

    Attributes:
        rejected: Number that was not assessed.
        critical, caution, unmarked: Numbers assessed by highest severity; ``info`` counts as unmarked.
        moved: Number assessed with an estimate more than `FAR_MONTHS` from that of the unchanged radiograph.
        moved_critical: Number of these with a critical warning.
        answered: Number assessed with an interval and without a critical warning.
        held: Number of these whose interval contains the label.
    """

    rejected: int
    critical: int
    caution: int
    unmarked: int
    moved: int
    moved_critical: int
    answered: int
    held: int


@dataclass(frozen=True)
class ChangeFigures:
    """Effect of one change on all radiographs.

    Attributes:
        change: Name of the change, or `UNCHANGED`.
        radiographs: Number of radiographs.
        errors: Number of rejections and failures, by code.
        warnings: Number of assessed radiographs with each warning, by code.
        pairs: Number of radiographs assessed with the change and without it.
        caught: Numbers of rejections and warnings.
        figures: Figures in months by metric; empty for fewer than `boneage.evaluate.tables.SMALLEST_GROUP` pairs:

            * ``mad``: mean absolute difference of the changed radiograph's estimate from the label;
            * ``mad_rise``: ``mad`` minus that of the same radiographs unchanged;
            * ``change``: mean absolute change of the estimate against the unchanged radiograph;
            * ``change_p95``: 95th percentile of these absolute changes;
            * ``shift``: mean change with its sign.
    """

    change: str
    radiographs: int
    errors: Mapping[str, int]
    warnings: Mapping[str, int]
    pairs: int
    caught: Caught
    figures: Mapping[str, Figure]


def _percentile_95(first: Months, second: Months) -> NDArray[np.float64]:
    return np.asarray(np.percentile(np.abs(second - first), 95, axis=-1))


_OF_CHANGE: Mapping[str, Metric] = MappingProxyType(
    {"change": mean_absolute_difference, "change_p95": _percentile_95, "shift": bias}
)


def measure_changes(answers: Sequence[Answer], *, resamples: int = RESAMPLES, seed: int = 0) -> list[ChangeFigures]:
    """Measure every change, in the order of first occurrence, with bootstrap intervals over radiographs.

    Args:
        answers: Answers, at most one for each radiograph and change, and one for each unchanged radiograph.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: If a radiograph has two answers for one change, or none unchanged.
    """
    by_change: dict[str, dict[str, Answer]] = {}
    for answer in answers:
        of_radiographs = by_change.setdefault(answer.change, {})
        if answer.radiograph_id in of_radiographs:
            raise ValueError(f"radiograph {answer.radiograph_id!r} has two answers for {answer.change!r}")
        of_radiographs[answer.radiograph_id] = answer
    unchanged = by_change.get(UNCHANGED, {})
    return [
        _measure_one(change, of_radiographs, unchanged, resamples, seed) for change, of_radiographs in by_change.items()
    ]


def _measure_one(
    change: str, of_radiographs: Mapping[str, Answer], unchanged: Mapping[str, Answer], resamples: int, seed: int
) -> ChangeFigures:
    missing = sorted(of_radiographs.keys() - unchanged.keys())
    if missing:
        raise ValueError(f"radiograph {missing[0]!r} was not assessed unchanged")
    triples = [
        (answer.boneage_months, unchanged[radiograph].age_months, answer.age_months)
        for radiograph, answer in of_radiographs.items()
        if answer.age_months is not None and unchanged[radiograph].age_months is not None
    ]
    figures: dict[str, Figure] = {}
    if len(triples) >= SMALLEST_GROUP:
        labels, before, after = np.array(triples, dtype=np.float64).T
        figures = {
            **measure(labels, after, {"mad": mean_absolute_difference}, resamples=resamples, seed=seed),
            # The mean difference of errors is the rise of the MAD, paired by radiograph.
            **measure(
                np.abs(before - labels), np.abs(after - labels), {"mad_rise": bias}, resamples=resamples, seed=seed
            ),
            **measure(before, after, _OF_CHANGE, resamples=resamples, seed=seed),
        }
    return ChangeFigures(
        change,
        len(of_radiographs),
        _counts(answer.error for answer in of_radiographs.values() if answer.error),
        _counts(warning for answer in of_radiographs.values() for warning in answer.warnings),
        len(triples),
        _caught(of_radiographs, unchanged),
        figures,
    )


def _caught(of_radiographs: Mapping[str, Answer], unchanged: Mapping[str, Answer]) -> Caught:
    assessed = {radiograph: answer for radiograph, answer in of_radiographs.items() if answer.age_months is not None}
    critical = {radiograph for radiograph, answer in assessed.items() if answer.severity == "critical"}
    caution = {radiograph for radiograph, answer in assessed.items() if answer.severity == "caution"}
    moved = {
        radiograph for radiograph, answer in assessed.items() if _distance(answer, unchanged[radiograph]) > FAR_MONTHS
    }
    intervals = {
        radiograph: answer.interval_months
        for radiograph, answer in assessed.items()
        if radiograph not in critical and answer.interval_months is not None
    }
    return Caught(
        rejected=len(of_radiographs) - len(assessed),
        critical=len(critical),
        caution=len(caution),
        unmarked=len(assessed) - len(critical) - len(caution),
        moved=len(moved),
        moved_critical=len(moved & critical),
        answered=len(intervals),
        held=sum(low <= assessed[radiograph].boneage_months <= high for radiograph, (low, high) in intervals.items()),
    )


def _distance(answer: Answer, unchanged: Answer) -> float:
    """Return the change of the estimate, months; 0 without an estimate to compare."""
    if answer.age_months is None or unchanged.age_months is None:
        return 0.0
    return abs(answer.age_months - unchanged.age_months)


def _counts(codes: Iterable[str]) -> dict[str, int]:
    """Return the counts of codes, most frequent first."""
    return dict(sorted(Counter(codes).items(), key=lambda pair: (-pair[1], pair[0])))


def stress_lines(measured: Sequence[ChangeFigures], changes: Mapping[str, Change]) -> list[str]:
    """Return the figures as lines of a Markdown table. Figures over their limit are bold."""
    heads = (
        *("", "kind", "rejected", "MAD [95 %]", "MAD rises by [95 %]", "estimate moves by [95 %]"),
        *("95th percentile", "shift", "limits: rise, move", "warnings"),
    )
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "---:|" * 6 + "---|---|"]
    return lines + ["| " + " | ".join(_cells(one, changes.get(one.change))) + " |" for one in measured]


def caught_lines(measured: Sequence[ChangeFigures], changes: Mapping[str, Change]) -> list[str]:
    """Return the numbers of rejections and warnings as lines of a Markdown table."""
    heads = (
        *("", "rejected", "critical", "caution", "unmarked", f"moved by > {FAR_MONTHS:g} months"),
        *("of them critical", "95 % interval holds the label, not critical"),
    )
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for one in measured:
        title = changes[one.change].title if one.change in changes else "unchanged"
        caught = one.caught
        counts = (caught.rejected, caught.critical, caught.caution, caught.unmarked, caught.moved)
        share = f"{caught.moved_critical}" if caught.moved else ""
        held = f"{caught.held} of {caught.answered}" if caught.answered else ""
        lines.append("| " + " | ".join([title, *map(str, counts), share, held]) + " |")
    return lines


def _cells(one: ChangeFigures, change: Change | None) -> list[str]:
    title, kind, limits = (change.title, change.kind, _limits(change)) if change else ("unchanged", "", "")
    rejected = _rejected(one)
    warnings = _listed(one.warnings)
    if not one.figures:
        return [title, kind, rejected, *[""] * 5, limits, warnings]
    figures = one.figures
    moved = change is not None
    return [
        title,
        kind,
        rejected,
        with_interval(figures["mad"]),
        _held(figures["mad_rise"], change.rise_limit_months, "+") if change else "",
        _held(figures["change"], change.change_limit_months) if change else "",
        f"{figures['change_p95'].value:.1f}" if moved else "",
        two_decimals(figures["shift"].value, "+") if moved else "",
        limits,
        warnings,
    ]


def _rejected(one: ChangeFigures) -> str:
    count = sum(one.errors.values())
    return f"{count} of {one.radiographs}" + (f" ({_listed(one.errors)})" if count else "")


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count}" for code, count in counts.items())


def _limits(change: Change) -> str:
    moves = "" if change.change_limit_months is None else f", {change.change_limit_months:g}"
    return f"{change.rise_limit_months:g}{moves}"


def _held(figure: Figure, limit_months: float | None, sign: str = "") -> str:
    text = with_interval(figure, sign)
    return f"**{text}**" if limit_months is not None and figure.value > limit_months else text


def stress_markdown(
    measured: Sequence[ChangeFigures], changes: Mapping[str, Change], heading: str, notes: Sequence[str] = ()
) -> str:
    """Return the tables as one Markdown text.

    Args:
        measured: Figures from `measure_changes`.
        changes: Changes by name, without `UNCHANGED`.
        heading: Heading of the text.
        notes: Lines of the list below the heading.
    """
    lines = [f"# {heading}", "", *(f"- {note}" for note in notes), *([""] if notes else [])]
    lines += [*stress_lines(measured, changes), "", *caught_lines(measured, changes)]
    lines += [
        "",
        "Figures are in months. MAD is the mean absolute difference from the labels. Its rise and the change of the "
        "estimate are measured on radiographs assessed both with the change and without it. Shift is the mean signed "
        "change. Intervals are percentile bootstrap intervals over radiographs with a fixed seed. Figures over their "
        f"limit are bold. Fewer than {SMALLEST_GROUP} such radiographs have no figures.",
    ]
    return "\n".join(lines) + "\n"


def write_stress_table(path: Path, measured: Sequence[ChangeFigures], changes: Mapping[str, Change]) -> None:
    """Write one row for each figure: ``change,kind,radiographs,pairs,metric,value,low,high``.

    Metrics are those of `ChangeFigures`, then the counts ``error:<code>``, ``warning:<code>`` and ``caught:<name>``
    (`Caught`), without an interval.
    """
    rows: list[Sequence[object]] = []
    for one in measured:
        kind = changes[one.change].kind if one.change in changes else ""
        start = (one.change, kind, one.radiographs, one.pairs)
        rows += [
            (*start, name, *(f"{value:.6g}" for value in (figure.value, figure.low, figure.high)))
            for name, figure in one.figures.items()
        ]
        rows += [(*start, f"error:{code}", count, "", "") for code, count in one.errors.items()]
        rows += [(*start, f"warning:{code}", count, "", "") for code, count in one.warnings.items()]
        rows += [(*start, f"caught:{name}", count, "", "") for name, count in asdict(one.caught).items() if count]
        if not (one.figures or one.errors or one.warnings):
            rows.append((*start, "", "", "", ""))
    write_rows(path, ("change", "kind", "radiographs", "pairs", "metric", "value", "low", "high"), rows)


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Write one row for each radiograph and change.

    Columns: ``id,sex,boneage,change,age_months,low_months,high_months,moved_months,error,severity,warnings``.

    ``moved_months`` is the estimate minus that of the unchanged radiograph; warnings are separated by spaces.
    """
    before = {answer.radiograph_id: answer.age_months for answer in answers if answer.change == UNCHANGED}

    def moved(answer: Answer) -> object:
        unchanged = before.get(answer.radiograph_id)
        if answer.age_months is None or unchanged is None:
            return ""
        return round(answer.age_months - unchanged, 3)

    columns = (
        *("id", "sex", "boneage", "change", "age_months", "low_months", "high_months", "moved_months"),
        *("error", "severity", "warnings"),
    )
    write_rows(
        path,
        columns,
        [
            (
                answer.radiograph_id,
                answer.sex,
                answer.boneage_months,
                answer.change,
                "" if answer.age_months is None else round(answer.age_months, 3),
                *("" if bound is None else round(bound, 3) for bound in answer.interval_months or (None, None)),
                moved(answer),
                answer.error,
                answer.severity,
                " ".join(answer.warnings),
            )
            for answer in answers
        ],
    )
