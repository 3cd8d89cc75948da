"""Audits of drawn tables: figures by group, the rule, gaps with Holm's method, classes by SDS."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.clinical.references import shipped_reference
from boneage.errors import TableError
from boneage.evaluate.audit import Audit, AuditGroup, Fitness, audit, calibration_slope, holm, judge_group
from boneage.evaluate.audit_report import has_sds, to_markdown, verdict_sentences, write_tidy
from boneage.evaluate.audit_table import AuditTable, read_audit_table, write_audit_table
from boneage.evaluate.metrics import Figure
from boneage.report.audit_page import audit_page
from boneage.severity import Severity
from boneage.sex import Sex
from tests.evaluate.drawn_audit import drawn_table

REFERENCE = shipped_reference()


def audited(table: AuditTable, *by: str) -> Audit:
    return audit(table, REFERENCE, by, resamples=200)


def group_of(result: Audit, criterion: str, name: str) -> AuditGroup:
    return next(group for group in result.groups if (group.criterion, group.name) == (criterion, name))


def test_all_radiographs_are_measured() -> None:
    """Counts and figures of the whole table are those of plain numpy."""
    table = drawn_table()
    everything = audited(table, "ward").groups[0]
    errors = (table.age_months - table.boneage_months)[:-1]
    assert (everything.n, everything.rejected, everything.warned) == (200, 1, 2)
    assert everything.figures["mad"].value == pytest.approx(np.abs(errors).mean())
    assert everything.figures["bias"].value == pytest.approx(errors.mean())
    slope = np.polyfit(table.age_months[:-1], table.boneage_months[:-1], 1)[0]
    assert everything.figures["slope"].value == pytest.approx(slope)
    assert everything.figures["coverage_95"].value == pytest.approx((np.abs(errors) <= 15).mean())
    assert "coverage_80" not in everything.figures


@settings(max_examples=15, deadline=None)
@given(count=st.integers(6, 80), seed=st.integers(0, 99))
def test_groups_of_each_criterion_divide_the_table(count: int, seed: int) -> None:
    """Every radiograph is in one group of each criterion, rejected ones as well."""
    result = audit(drawn_table(count, seed), REFERENCE, ["ward"], resamples=5)
    criteria = {group.criterion for group in result.groups}
    assert criteria == {"all", "sex", "band", "sex x band", "ward", "ward x sex", "ward x band"}
    for criterion in criteria:
        groups = [group for group in result.groups if group.criterion == criterion]
        assert sum(group.n for group in groups) == count
        assert sum(group.rejected for group in groups) == 1
        assert len({group.name for group in groups}) == len(groups)


@pytest.mark.parametrize(
    ("shift", "coverage", "verdict"),
    [
        ((0.0, -1.0, 1.0), (0.95, 0.9, 1.0), Fitness.FIT),
        ((2.9, 1.0, 5.0), (0.90, 0.8, 1.0), Fitness.FIT),
        ((3.0, 1.0, 5.0), (0.95, 0.9, 1.0), Fitness.UNDECIDED),
        ((-4.0, -5.0, -3.0), (0.95, 0.9, 1.0), Fitness.UNFIT),
        ((0.0, -1.0, 1.0), (0.85, 0.8, 0.9), Fitness.UNDECIDED),
        ((0.0, -1.0, 1.0), (0.80, 0.7, 0.89), Fitness.UNFIT),
    ],
)
def test_rule(shift: tuple[float, ...], coverage: tuple[float, ...], verdict: Fitness) -> None:
    """Bias and coverage decide; the confidence interval tells chance from fault."""
    figures = {"bias": Figure(*shift), "coverage_95": Figure(*coverage)}
    assert judge_group(figures, 30) is verdict
    assert judge_group(figures, 29) is Fitness.TOO_FEW
    assert judge_group({"bias": Figure(*shift)}, 30) is Fitness.TOO_FEW


def test_shifted_group_is_found() -> None:
    """A ward whose estimates are 8 months too old is not fit, and makes the largest gap."""
    result = audited(drawn_table(shift=8.0), "ward")
    assert result.fitness is Fitness.UNFIT
    assert group_of(result, "ward", "A").fitness is Fitness.FIT
    assert group_of(result, "ward", "B").fitness is Fitness.UNFIT
    gap = next(gap for gap in result.gaps if gap.criterion == "ward")
    assert (gap.older, gap.younger, gap.pairs) == ("B", "A", 1)
    assert gap.months.low < 8.0 < gap.months.high
    assert gap.p < 0.001
    assert audited(drawn_table(), "ward").fitness is not Fitness.UNFIT


def test_too_few_radiographs_are_not_judged() -> None:
    """Below 30 there is no verdict."""
    assert audited(drawn_table(30)).fitness is Fitness.TOO_FEW  # one is rejected
    assert audited(drawn_table(31)).groups[0].fitness is not Fitness.TOO_FEW


def test_verdict_names_groups_that_are_not_judged() -> None:
    """A column of small groups only has no part in the verdict, and its words say so."""

    def group(criterion: str, name: str, fitness: Fitness) -> AuditGroup:
        return AuditGroup(criterion, name, 40 if fitness is Fitness.FIT else 10, 0, 0, {}, 0, fitness)

    whole = group("all", "All radiographs", Fitness.FIT)
    sexes = (group("sex", "Girls", Fitness.FIT), group("sex", "Boys", Fitness.FIT))
    wards = tuple(group("Ward", name, Fitness.TOO_FEW) for name in "AB")
    crossed = group("Ward x sex", "A, Girls", Fitness.TOO_FEW)
    fit = "Fit for use here: all judged groups keep the limits."
    assert verdict_sentences(Audit((whole, *sexes), (), Fitness.FIT, "")) == fit
    assert verdict_sentences(Audit((whole, *sexes, crossed), (), Fitness.FIT, "")) == (
        f"{fit} 1 group is too small to be judged."
    )
    assert verdict_sentences(Audit((whole, *sexes, *wards, crossed), (), Fitness.FIT, "")) == (
        f"{fit} 3 groups are too small to be judged. None is judged by Ward."
    )
    few = replace(whole, fitness=Fitness.TOO_FEW)
    assert "groups" not in verdict_sentences(Audit((few, *wards), (), Fitness.TOO_FEW, ""))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm(probabilities: list[float]) -> None:
    """Adjusted values keep the order, and lie between the values and Bonferroni's."""
    adjusted = holm(probabilities)
    order = sorted(range(len(probabilities)), key=lambda place: probabilities[place])
    assert [adjusted[place] for place in order] == sorted(adjusted)
    for before, after in zip(probabilities, adjusted, strict=True):
        assert before <= after <= min(1.0, len(probabilities) * before) + 1e-12 or after == max(adjusted)
    assert min(adjusted) == pytest.approx(min(1.0, len(probabilities) * min(probabilities)))


def test_holm_known_example() -> None:
    """Values as R's p.adjust gives them."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(max_examples=30, deadline=None)
@given(slope=st.floats(0.2, 2.0), shift=st.floats(-20, 20), seed=st.integers(0, 99))
def test_slope_of_exact_line(slope: float, shift: float, seed: int) -> None:
    """Readings on a line through the estimates have its slope."""
    estimates = np.random.default_rng(seed).uniform(20, 200, 40)
    assert calibration_slope(slope * estimates + shift, estimates) == pytest.approx(slope)
    assert math.isnan(float(calibration_slope(estimates, np.full(40, 90.0))))


def test_classes_by_sds() -> None:
    """Shares called delayed or advanced, and changed classes, are those of the reference at the chronological age."""
    table = drawn_table(40)
    ages = np.full(40, 120.0)
    node = REFERENCE.at(Sex.FEMALE, 120.0)
    assert node is not None
    readings = np.full(40, 120.0)
    estimates = readings.copy()
    estimates[:4] = 120.0 + 2.1 * node.sd_months  # called advanced, read normal
    readings[4:6] = estimates[4:6] = 120.0 - 2.5 * node.sd_months  # both delayed
    table = replace(
        table,
        sexes=(Sex.FEMALE,) * 40,
        boneage_months=readings,
        age_months=estimates,
        chronological_months=ages,
        severities=(None,) * 39 + (Severity.CRITICAL,),
        errors=("",) * 40,
        intervals={},
    )
    figures = audited(table).groups[0].figures
    assert audited(table).groups[0].with_sds == 39
    shares = {name: round(39 * figures[name].value) for name in ("delayed", "advanced", "read_delayed", "flipped")}
    assert shares == {"delayed": 2, "advanced": 4, "read_delayed": 2, "flipped": 4}
    assert not has_sds(audited(replace(table, chronological_months=np.full(40, math.nan))))


def test_written_table_reads_back(tmp_path: Path) -> None:
    """Numbers, rejections, severities and columns survive."""
    table = drawn_table(12)
    write_audit_table(tmp_path / "table.csv", table)
    read = read_audit_table(tmp_path / "table.csv")
    np.testing.assert_array_equal(read.age_months, table.age_months)
    np.testing.assert_array_equal(read.intervals[95], table.intervals[95])
    np.testing.assert_array_equal(read.chronological_months, table.chronological_months)
    assert (read.ids, read.sexes, read.errors, read.severities) == (
        table.ids,
        table.sexes,
        table.errors,
        table.severities,
    )
    assert read.groups == table.groups


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (["id,sex,boneage,age_months,severity", "1,F,100,99,bad"], "table_value"),
        (["id,sex,boneage,age_months,low_95", "1,F,100,99,80"], "table_columns"),
        (["id,sex,boneage,age_months,low_95,high_95", "1,F,100,99,80,70"], "table_value"),
        (["id,sex,boneage,age_months", "1,F,100,99", "1,F,100,99"], "table_duplicate"),
        (["id,sex,boneage,age_months", "1,F,100,abc"], "table_value"),
        (["id,sex,boneage", "1,F,100"], "table_columns"),
    ],
)
def test_faulty_tables_are_rejected(tmp_path: Path, rows: list[str], code: str) -> None:
    (tmp_path / "table.csv").write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(TableError) as caught:
        read_audit_table(tmp_path / "table.csv")
    assert caught.value.code == code


def test_nothing_assessed_or_unknown_column_is_rejected() -> None:
    table = drawn_table(8)
    with pytest.raises(TableError, match="No radiograph"):
        audited(replace(table, age_months=np.full(8, math.nan)))
    with pytest.raises(TableError, match="scanner"):
        audited(table, "scanner")


def test_reports_agree(tmp_path: Path) -> None:
    """Markdown, page and CSV have the same figures, and the page escapes names and runs nothing."""
    table = drawn_table(120, shift=8.0)
    table = replace(table, groups={"ward": tuple(ward.replace("A", "<i>A|</i>") for ward in table.groups["ward"])})
    result = audited(table, "ward")
    markdown, page = to_markdown(result, ["Bundle: x 1"]), audit_page(result, "<table>", ["Bundle: x 1"])
    write_tidy(tmp_path / "audit.csv", result)
    with (tmp_path / "audit.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    mad = result.groups[0].figures["mad"].value
    assert f"| {mad:.2f} |" in markdown
    assert f"<td>{mad:.2f}</td>" in page
    assert float(rows[0]["value"]) == pytest.approx(mad, rel=1e-5)
    assert {row["metric"] for row in rows} >= {"mad", "bias", "slope", "coverage_95", "flipped", "gap", "gap_p_holm"}
    assert "Not fit for use here" in markdown
    assert "Not fit for use here" in page
    assert "<i>" not in page
    assert "<script" not in page
    assert page.count("<svg") == sum(bool(group.figures) for group in result.groups)
