"""Calibration of a bundle by estimates out of fold: of each radiograph by the networks that were not trained on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from boneage.arrays import Months
from boneage.bundle.calibration import FEWEST_RADIOGRAPHS, Calibration, calibrate, disagreement, is_gain
from boneage.bundle.stages import StageWeights, fit_stages, stages_out_of_fold
from boneage.evaluate.metrics import mean_absolute_difference
from boneage.evaluate.predictions import Predictions, read_predictions, write_predictions
from boneage.hand.registration import Region
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.bundle.estimates import PREDICTIONS
from boneage.train.bundle.plan import PlannedRun
from boneage.train.run.processes import Report

RADIOGRAPHS_FOR_STAGES = 1_000
"""Smallest number of radiographs of a sex to which weights by stage are fitted, thirty numbers or more."""

Stages = Mapping[Sex, StageWeights]
"""Weights of the regions by stage of maturity, of the sexes that have them."""


def fit_calibration(
    runs: Sequence[PlannedRun],
    folder: Callable[[PlannedRun], Path],
    radiographs: Sequence[LabelledRadiograph],
    path: Path,
    report: Report,
) -> Calibration | None:
    """Write the table of out-of-fold estimates, and fit the calibration to it.

    Args:
        runs: all folds of all networks.
        folder: returns the folder of a run, which has its estimates.
        radiographs: labelled radiographs.
        path: path of the table.
        report: receives each line of the report.

    Returns:
        The calibration; None, with a line in the report, if it cannot be fitted.
    """
    ordinary = [run for run in runs if not run.recipe.augment.lost_detail]
    runs = ordinary or runs  # robust networks of a bundle that has others have no part in its ordinary estimates
    if not all(run.fold and run.recipe.data.sexes == "both" for run in runs):
        report("no estimates out of fold and no calibration: they need networks for both sexes that all have folds")
        return None
    tables = {run.name: read_predictions(folder(run) / PREDICTIONS) for run in runs}
    plain, left_out = out_of_fold(runs, tables, radiographs)
    table, stages = with_stages(plain, runs)
    write_predictions(path, table)
    if len(table) < FEWEST_RADIOGRAPHS:
        report(
            f"no calibration: {len(table)} radiographs have estimates out of fold, and it needs {FEWEST_RADIOGRAPHS}"
        )
        return None
    report(
        f"out of fold: MAD {_mad(table):.2f} months, {len(table)} radiographs;"
        f" {left_out} left out, which a network lacks"
    )
    if stages:
        report(f"weights by stage of maturity: MAD {_mad(table):.3f}, without them {_mad(plain):.3f} months")
    try:
        fitted = calibrate(
            table.sexes, table.boneage_months, table.age_months, fold_disagreement(runs, tables, radiographs, stages)
        )
    except ValueError as error:  # networks after a trial of one epoch may have no skill
        report(f"no calibration: {error}")
        return None
    return Calibration({sex: replace(one, stages=stages.get(sex)) for sex, one in fitted.by_sex.items()})


def _mad(table: Predictions) -> float:
    return float(mean_absolute_difference(table.boneage_months, table.age_months))


def with_stages(table: Predictions, runs: Sequence[PlannedRun]) -> tuple[Predictions, Stages]:
    """Fit weights by stage of maturity to out-of-fold estimates, where they lessen the error.

    A sex gets them if their mean absolute error is smaller by more than two standard errors on radiographs to which
    they were not fitted (ten folds). Bundles of one region, and sexes with fewer than `RADIOGRAPHS_FOR_STAGES`
    radiographs, have none.

    Args:
        table: table of `out_of_fold`.
        runs: all folds of all networks.

    Returns:
        The table with the estimates by those weights, each by weights that were fitted to other radiographs, and the
        weights.
    """
    ages, plain = _by_region({name: np.array(table.group(name), np.float64) for name in _networks(runs)}, runs)
    estimates, stages = table.age_months.copy(), {}
    for sex in Sex:
        chosen = np.array([one == sex for one in table.sexes], np.bool_)
        if len(ages) < 2 or chosen.sum() < RADIOGRAPHS_FOR_STAGES:
            continue
        labels, regions = table.boneage_months[chosen], {region: months[chosen] for region, months in ages.items()}
        tried = stages_out_of_fold(labels, regions, plain)
        if is_gain(np.abs(estimates[chosen] - labels) - np.abs(tried - labels)):
            estimates[chosen], stages[sex] = np.round(tried, 3), fit_stages(labels, regions, plain)
    return replace(table, age_months=estimates), stages


def _networks(runs: Sequence[PlannedRun]) -> list[str]:
    return list(dict.fromkeys(run.network.name for run in runs))


def _by_region(
    ages: Mapping[str, Months], runs: Sequence[PlannedRun]
) -> tuple[dict[Region, Months], dict[Region, float]]:
    """Return the mean of each region's networks, and the sum of their weights, by ages of each network (N,)."""
    networks = {run.network.name: (run.recipe.view.region, run.network.weight) for run in runs}
    weights: dict[Region, float] = {}
    totals: dict[Region, Months] = {}
    for name, (region, weight) in networks.items():
        weights[region] = weights.get(region, 0.0) + weight
        totals[region] = totals.get(region, np.zeros(len(ages[name]))) + weight * ages[name]
    return {region: total / weights[region] for region, total in totals.items()}, weights


def out_of_fold(
    runs: Sequence[PlannedRun], tables: Mapping[str, Predictions], radiographs: Sequence[LabelledRadiograph]
) -> tuple[Predictions, int]:
    """Return each radiograph's mean estimate by the networks that were not trained on it, weighted as in the bundle.

    Args:
        runs: all folds of all networks.
        tables: estimates by the run's name, with their part in the column ``part``.
        radiographs: labelled radiographs, whose order the table has.

    Returns:
        The table, with a column for each network, and the number of radiographs left out because a network lacks them.
    """
    by_network: dict[str, dict[str, float]] = {run.network.name: {} for run in runs}
    for run in runs:
        by_network[run.network.name] |= predictions_of_split(tables[run.name], "fold")
    weights = [run.network.weight for run in runs if run.fold == 1]
    chosen = [radiograph for radiograph in radiographs if all(radiograph.id in ages for ages in by_network.values())]
    columns = {
        network: np.array([ages[radiograph.id] for radiograph in chosen]) for network, ages in by_network.items()
    }
    estimated = {radiograph_id for ages in by_network.values() for radiograph_id in ages}
    mean = np.average(list(columns.values()), axis=0, weights=weights) if chosen else np.zeros(0)
    table = Predictions(
        ids=tuple(radiograph.id for radiograph in chosen),
        sexes=tuple(radiograph.sex for radiograph in chosen),
        boneage_months=np.array([radiograph.boneage_months for radiograph in chosen]),
        age_months=np.round(mean, 3),
        groups={network: tuple(f"{age:g}" for age in ages.tolist()) for network, ages in columns.items()},
    )
    return table, len(estimated) - len(chosen)


def fold_disagreement(
    runs: Sequence[PlannedRun],
    tables: Mapping[str, Predictions],
    radiographs: Sequence[LabelledRadiograph],
    stages: Stages,
) -> dict[Sex, float]:
    """Return the disagreement of the folds' ensembles on radiographs on which none was trained, months squared, by sex.

    Args:
        runs: see `out_of_fold`.
        tables: see `out_of_fold`.
        radiographs: see `out_of_fold`.
        stages: weights by stage, of the sexes that have them.

    Returns:
        `boneage.bundle.calibration.disagreement` of the folds of all networks, without the sexes that have no such
        radiographs; empty with a single fold, whose estimates are the bundle's own.
    """
    ages = {run.name: predictions_of_split(tables[run.name], "validation") for run in runs}
    of_networks: dict[str, set[int]] = {}
    for run in runs:
        of_networks.setdefault(run.network.name, set()).add(run.fold)
    folds = sorted(set.intersection(*of_networks.values()))
    by_sex: dict[Sex, float] = {}
    if len(folds) < 2:
        return by_sex
    for sex in Sex:
        chosen = [
            radiograph.id
            for radiograph in radiographs
            if radiograph.sex == sex and all(radiograph.id in estimates for estimates in ages.values())
        ]
        if not chosen:
            continue
        means = []
        for fold in folds:
            of_fold = [run for run in runs if run.fold == fold]
            rows = {run.network.name: np.array([ages[run.name][one] for one in chosen]) for run in of_fold}
            regions, plain = _by_region(rows, of_fold)
            means.append(
                stages[sex].ages(regions, plain)
                if sex in stages
                else np.average(list(regions.values()), axis=0, weights=[plain[region] for region in regions])
            )
        by_sex[sex] = disagreement(np.stack(means))
    return by_sex


def predictions_of_split(table: Predictions, part: str) -> dict[str, float]:
    """Return the estimates (months) of a part by the radiograph's id."""
    rows = zip(table.ids, table.group("part"), table.age_months.tolist(), strict=True)
    return {radiograph_id: age for radiograph_id, of, age in rows if of == part}
