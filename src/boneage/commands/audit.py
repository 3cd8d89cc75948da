"""Command ``boneage audit`` for a hospital's own radiographs with readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.columns import require_columns
from boneage.commands.each_radiograph import assess_each, chosen_radiographs, none_assessed, open_for_many, summary
from boneage.commands.outputs import keep_inputs
from boneage.commands.progress import quiet_option
from boneage.errors import BoneageError

if TYPE_CHECKING:
    from boneage.assessment import Assessment
    from boneage.evaluate.audit_table import AuditTable
    from boneage.severity import Severity
    from boneage.tables.radiographs import LabelledRadiograph


@click.command()
@click.argument("table", required=False, type=click.Path(path_type=Path))
@click.option(
    "--radiographs", type=click.Path(path_type=Path), help="CSV table of radiographs with readings to assess first."
)
@click.option("--images", type=click.Path(path_type=Path), help="Folder of their images; by default that of the table.")
@click.option("--split", help="Split of the radiographs (column split), or all.")
@click.option(
    "--bundle", metavar="NAME_OR_DIR", help="Bundle that assesses the radiographs. [default: the shipped one]"
)
@click.option("--by", multiple=True, metavar="COLUMN", help="Column to group by; may be given several times.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the results.")
@quiet_option
def audit(
    *,
    table: Path | None,
    radiographs: Path | None,
    images: Path | None,
    split: str | None,
    bundle: str | None,
    by: tuple[str, ...],
    out: Path,
    quiet: bool,
) -> None:
    """Judge by your own radiographs with readings whether a bundle is fit for use at your hospital.

    The command assesses --radiographs, a CSV table with id,boneage,male (months; True or False), optionally image
    and chronological_age_months, and any columns to group by. It writes assessed.csv, which can be given as TABLE
    to audit again without the radiographs. At least 30 radiographs are needed.

    For all radiographs, by sex, by band of the estimate, by each COLUMN, and by each COLUMN crossed with sex and
    band, it measures rejections, warnings, MAD, bias, slope and coverage. With chronological ages it adds the shares
    called delayed or advanced. It then applies a fixed rule: bias within 3 months, and 90 % of the readings within
    the 95 % interval. It writes audit.md, audit.csv and audit.html, and prints the verdict. The exit code is 0
    whatever the verdict.

    \b
    Examples:
      boneage audit --radiographs radiographs.csv --by scanner --out audit
      boneage audit audit/assessed.csv --by scanner --by ward --out audit
    """
    from boneage.clinical.references import configured_reference
    from boneage.evaluate.audit import audit as audited
    from boneage.evaluate.audit_report import summary_lines, to_markdown, write_tidy
    from boneage.evaluate.audit_table import (
        AUDIT_COLUMNS,
        read_audit_table,
        read_chronological_ages,
        write_audit_table,
    )
    from boneage.files import write_text
    from boneage.report.audit_page import audit_page

    if (table is None) == (radiographs is None):
        raise click.UsageError("Give either a TABLE of assessed radiographs or --radiographs.")
    if radiographs is None and (images or split or bundle):
        raise click.UsageError("--images, --split and --bundle belong to --radiographs.")
    assessed_path = out / "assessed.csv"
    figures = [out / name for name in ("audit.md", "audit.csv", "audit.html")]
    keep_inputs([table, radiographs], [*figures, None if radiographs is None else assessed_path])
    if radiographs is not None:
        chosen = chosen_radiographs(radiographs, images, split)
        require_columns(chosen, by, "grouped", AUDIT_COLUMNS)
        ages = read_chronological_ages(radiographs, {radiograph.id for radiograph in chosen})
        source, (assessed, notes) = radiographs.name, _assess(chosen, ages, bundle or "default", quiet)
        write_audit_table(assessed_path, assessed)
    else:
        assert table is not None  # noqa: S101 - one of the two was given; for the type checker
        source, assessed, notes = table.name, read_audit_table(table), [f"Table: {table.name}"]
    result = audited(assessed, configured_reference(), by)
    write_text(out / "audit.md", to_markdown(result, notes))
    write_tidy(out / "audit.csv", result)
    write_text(out / "audit.html", audit_page(result, source, notes))
    click.echo("\n".join([*notes, "", *summary_lines(result)]))
    click.echo(f"\nTables of all groups: {out}")


def _assess(
    radiographs: Sequence[LabelledRadiograph], ages: Mapping[str, float], bundle_name: str, quiet: bool
) -> tuple[AuditTable, list[str]]:
    """Assess radiographs. Return them as the audit's table, and notes for the report.

    Args:
        radiographs: Radiographs with readings.
        ages: Chronological ages of the table, months, by the radiograph's id.
        bundle_name: Name of a shipped bundle, or a folder.
        quiet: True to show no progress.
    """
    import numpy as np

    from boneage.evaluate.audit_table import AUDIT_COLUMNS, AuditTable
    from boneage.evaluate.predictions import INTERVAL_PERCENTS, further_columns

    bundle = open_for_many(bundle_name)
    results = list(assess_each(radiographs, bundle, quiet=quiet))
    errors = [result for _, result in results if isinstance(result, BoneageError)]
    if len(errors) == len(results):
        raise none_assessed(errors)
    estimates = [None if isinstance(result, BoneageError) else result.estimate for _, result in results]
    intervals = {
        80: [None if one is None else one.interval_80_months for one in estimates],
        95: [None if one is None else one.interval_months for one in estimates],
    }
    unknown = (np.nan, np.nan)
    assessed = AuditTable(
        ids=tuple(radiograph.id for radiograph, _ in results),
        sexes=tuple(radiograph.sex for radiograph, _ in results),
        boneage_months=np.array([radiograph.boneage_months for radiograph, _ in results]),
        age_months=np.round([np.nan if one is None else one.age_months for one in estimates], 3),
        intervals={
            percent: np.round([bounds or unknown for bounds in intervals[percent]], 3)
            for percent in INTERVAL_PERCENTS
            if any(intervals[percent])
        },
        errors=tuple(result.code if isinstance(result, BoneageError) else "" for _, result in results),
        severities=tuple(_severity(result) for _, result in results),
        chronological_months=np.array(
            [ages.get(radiograph.id, _age_of_file(result)) for radiograph, result in results]
        ),
        groups=further_columns([radiograph for radiograph, _ in results], AUDIT_COLUMNS),
    )
    notes = [
        f"Bundle: {bundle.manifest.name} {bundle.manifest.version}",
        f"Radiographs: {len(radiographs)}, of which {summary(len(radiographs), errors)}",
    ]
    return assessed, notes


def _severity(result: Assessment | BoneageError) -> Severity | None:
    from boneage.severity import highest_severity

    return None if isinstance(result, BoneageError) else highest_severity(one.severity for one in result.warnings)


def _age_of_file(result: Assessment | BoneageError) -> float:
    """Return the chronological age of the file if it is known to the month, else NaN."""
    age = None if isinstance(result, BoneageError) else result.reading.chronological_age
    return float("nan") if age is None or not age.is_known_to_the_month else age.middle_months
