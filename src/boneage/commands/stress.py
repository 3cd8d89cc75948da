"""Stress test of ``boneage evaluate --stress``: radiographs unchanged and under every change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.each_radiograph import attempt, counted, each_radiograph, none_assessed, open_for_many
from boneage.errors import BoneageError

if TYPE_CHECKING:
    from boneage.assessment import Assessment
    from boneage.bundle.bundle import Bundle
    from boneage.evaluate.perturbations import Change
    from boneage.evaluate.stress import Answer
    from boneage.tables.radiographs import LabelledRadiograph

ALL_CHANGES = "all"


def chosen_changes(names: str) -> dict[str, Change]:
    """Return the changes of a list ``name,name``, in the order of tables.

    ``mild``, ``strong`` and ``disturbing`` name all changes of a kind, ``all`` the first two kinds.

    Raises:
        click.UsageError: If a name is unknown.
    """
    from boneage.evaluate.disturbances import DISTURBING_CHANGES
    from boneage.evaluate.perturbations import CHANGES

    all_changes = {**CHANGES, **DISTURBING_CHANGES}
    requested = {name.strip() for name in names.split(",") if name.strip()}
    valid = [ALL_CHANGES, "mild", "strong", "disturbing", *all_changes]
    unknown = requested.difference(valid)
    if not requested or unknown:
        wrong = ", ".join(sorted(unknown)) or "none"
        raise click.UsageError(f"--stress has no change {wrong}; give some of {', '.join(valid)}.")
    requested |= {"mild", "strong"} if ALL_CHANGES in requested else set()
    return {name: change for name, change in all_changes.items() if requested & {change.kind, name}}


def drawn_radiographs(
    radiographs: Sequence[LabelledRadiograph], count: int | None, seed: int
) -> list[LabelledRadiograph]:
    """Return `count` random radiographs in the table's order, or all if there are no more.

    The choice depends on ids and seed only.
    """
    import numpy as np

    if count is None or count >= len(radiographs):
        return list(radiographs)
    ids = sorted(radiograph.id for radiograph in radiographs)
    chosen = {ids[place] for place in np.random.default_rng(seed).permutation(len(ids))[:count]}
    return [radiograph for radiograph in radiographs if radiograph.id in chosen]


def stress(
    radiographs: Sequence[LabelledRadiograph],
    changes: dict[str, Change],
    bundle_name: str,
    out: Path,
    notes: Sequence[str],
    *,
    quiet: bool = False,
) -> list[BoneageError]:
    """Assess radiographs unchanged and changed, and write and print the figures.

    The outputs are ``stress.md``, ``stress.csv`` and ``stress_radiographs.csv`` (one row for each radiograph and
    change).

    Args:
        radiographs: Radiographs, at least one.
        changes: Changes by name.
        bundle_name: Name of a shipped bundle, or a folder.
        out: Folder for the results.
        notes: Lines about the selection of radiographs.
        quiet: True to show no progress.

    Returns:
        Unexpected failures. Rejections are figures here, not failures.

    Raises:
        BundleError: Same as in `boneage.bundle.bundle.Bundle.open`, or if the bundle failed.
        Rejection: ``all_rejected`` if no unchanged radiograph was assessed.
    """
    from boneage.evaluate.stress import (
        caught_lines,
        measure_changes,
        stress_lines,
        stress_markdown,
        write_answers,
        write_stress_table,
    )
    from boneage.files import write_text

    bundle = open_for_many(bundle_name)
    answers: list[Answer] = []
    failures: list[BoneageError] = []
    rejected: list[BoneageError] = []
    for radiograph, results in each_radiograph(
        radiographs, lambda radiograph: _under_changes(radiograph, changes, bundle), quiet=quiet
    ):
        answers += [_answer(radiograph, name, result) for name, result in results.items()]
        errors = {name: result for name, result in results.items() if isinstance(result, BoneageError)}
        failures += [error for error in errors.values() if error.exit_status == BoneageError.exit_status]
        rejected += [error for name, error in errors.items() if name not in changes]
    write_answers(out / "stress_radiographs.csv", answers)
    if len(rejected) == len(radiographs):
        raise none_assessed(rejected, f"; see {out / 'stress_radiographs.csv'}")
    measured = measure_changes(answers)
    notes = [
        f"Bundle: {bundle.manifest.name} {bundle.manifest.version}",
        *notes,
        f"Radiographs: {len(radiographs)}, of which {len(radiographs) - len(rejected)} assessed unchanged; "
        f"rejected: {counted(rejected)}",
    ]
    write_text(out / "stress.md", stress_markdown(measured, changes, "Radiographs under change", notes))
    write_stress_table(out / "stress.csv", measured, changes)
    click.echo("\n".join([*notes, "", *stress_lines(measured, changes), "", *caught_lines(measured, changes)]))
    click.echo(f"\nFigures, and the answers for each radiograph: {out}")
    return failures


def _answer(radiograph: LabelledRadiograph, change: str, result: Assessment | BoneageError) -> Answer:
    from boneage.evaluate.stress import Answer

    if isinstance(result, BoneageError):
        return Answer(radiograph.id, radiograph.sex, radiograph.boneage_months, change, None, result.code)
    warnings = tuple(warning.code.value for warning in result.warnings)
    severity = "" if result.severity is None else result.severity.value
    interval = result.estimate.interval_months
    return Answer(
        radiograph.id,
        radiograph.sex,
        radiograph.boneage_months,
        change,
        result.age_months,
        "",
        warnings,
        severity,
        interval,
    )


def _under_changes(
    radiograph: LabelledRadiograph, changes: dict[str, Change], bundle: Bundle
) -> dict[str, Assessment | BoneageError]:
    """Return the assessments of a radiograph unchanged and under each change, by name of the change."""
    from boneage.composition import assess
    from boneage.evaluate.perturbations import to_png
    from boneage.evaluate.stress import UNCHANGED
    from boneage.reading.radiograph import read_radiograph

    results = {UNCHANGED: attempt(lambda: assess(radiograph.image, radiograph.sex, bundle))}
    try:
        pixels = read_radiograph(radiograph.image).pixels
    except BoneageError as unreadable:
        return results | dict.fromkeys(changes, unreadable)
    for name, change in changes.items():

        def assess_changed(change: Change = change) -> Assessment:
            return assess(to_png(change.apply(pixels)), radiograph.sex, bundle, name=radiograph.image.name)

        results[name] = attempt(assess_changed)
    return results
