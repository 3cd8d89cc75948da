"""Calibration by estimates out of fold: putting folds together, and weights by stage of maturity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.evaluate.predictions import Predictions, write_predictions
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.bundle.out_of_fold import (
    RADIOGRAPHS_FOR_STAGES,
    fit_calibration,
    fold_disagreement,
    out_of_fold,
    predictions_of_split,
    with_stages,
)
from boneage.train.bundle.plan import Plan, PlannedNetwork, PlannedRun, planned_runs


@pytest.mark.parametrize(("folds", "sexes"), [(0, "both"), (2, "F")])
def test_fit_calibration_without_folds_or_one_sex(folds: int, sexes: str, tmp_path: Path) -> None:
    plan = Plan("small", "A small one", (PlannedNetwork("a", "residual", (f"data.sexes={sexes}",), folds),))
    messages: list[str] = []
    path = tmp_path / "table.csv"
    assert fit_calibration(planned_runs(plan), lambda run: tmp_path / run.name, [], path, messages.append) is None
    assert messages == [
        "no estimates out of fold and no calibration: they need networks for both sexes that all have folds"
    ]
    assert not path.exists()


Drawn = tuple[list[PlannedRun], dict[str, Predictions], list[LabelledRadiograph], dict[tuple[str, str], float]]


@st.composite
def drawn_folds(draw: st.DrawFn) -> Drawn:
    """Runs of some networks and folds, their tables, the radiographs, and the estimate of each network and radiograph
    out of fold."""
    folds, count = draw(st.integers(2, 4)), draw(st.integers(3, 12))
    weights = draw(st.lists(st.floats(0.1, 10.0), min_size=1, max_size=3))
    ages = st.floats(-20.0, 260.0).map(lambda age: round(age, 3))
    networks = tuple(PlannedNetwork(f"n{n}", "residual", (), folds, weight) for n, weight in enumerate(weights))
    runs = planned_runs(Plan("p", "title", networks))
    radiographs = [
        LabelledRadiograph(str(n), Path("x"), draw(st.sampled_from(list(Sex))), 100.0 + n) for n in range(count)
    ]
    aside = radiographs[: draw(st.integers(0, count - 1))]
    estimates: dict[tuple[str, str], float] = {}
    tables: dict[str, Predictions] = {}
    for run in runs:
        held = [
            radiograph
            for n, radiograph in enumerate(radiographs[len(aside) :])
            if n % folds == run.fold - 1 and draw(st.booleans())
        ]
        chosen = [*held, *aside]
        predicted = [draw(ages) for _ in chosen]
        estimates |= {(run.network.name, radiograph.id): age for radiograph, age in zip(held, predicted, strict=False)}
        tables[run.name] = Predictions(
            tuple(radiograph.id for radiograph in chosen),
            tuple(radiograph.sex for radiograph in chosen),
            np.array([radiograph.boneage_months for radiograph in chosen]),
            np.array(predicted),
            {"part": ("fold",) * len(held) + ("validation",) * len(aside)},
        )
    return runs, tables, radiographs, estimates


@settings(max_examples=30)
@given(drawn_folds())
def test_out_of_fold_weighted_mean_or_left_out(drawn: Drawn) -> None:
    """A radiograph out of fold is the weighted mean of all networks or left out."""
    runs, tables, radiographs, estimates = drawn
    table, left_out = out_of_fold(runs, tables, radiographs)
    networks = {run.network.name: run.network.weight for run in runs}
    whole = [
        radiograph.id
        for radiograph in radiographs
        if all((network, radiograph.id) in estimates for network in networks)
    ]
    assert list(table.ids) == whole
    assert left_out == len({radiograph_id for _, radiograph_id in estimates}) - len(whole)
    for radiograph_id, age in zip(table.ids, table.age_months, strict=True):
        mean = sum(estimates[network, radiograph_id] * weight for network, weight in networks.items()) / sum(
            networks.values()
        )
        assert age == pytest.approx(mean, abs=1e-3)


@settings(max_examples=30)
@given(drawn_folds(), st.floats(-30, 30))
def test_fold_disagreement_of_bundle(drawn: Drawn, shift: float) -> None:
    """A shift of all folds alike changes nothing; a shift of the first fold alone counts by its square."""
    runs, tables, radiographs, _ = drawn
    disagreement = fold_disagreement(runs, tables, radiographs, {})
    seen = [predictions_of_split(table, "validation") for table in tables.values()]
    aside = [radiograph for radiograph in radiographs if all(radiograph.id in ages for ages in seen)]
    assert set(disagreement) == {radiograph.sex for radiograph in aside}
    assert fold_disagreement([run for run in runs if run.fold == 1], tables, radiographs, {}) == {}, (
        "one fold is the bundle itself"
    )
    alike = {name: replace(table, age_months=table.age_months + shift) for name, table in tables.items()}
    assert fold_disagreement(runs, alike, radiographs, {}) == pytest.approx(disagreement, abs=1e-6)
    folds = max(run.fold for run in runs)
    level = {name: replace(table, age_months=np.full(len(table), 100.0)) for name, table in tables.items()}
    firsts = {run.name for run in runs if run.fold == 1}
    apart = {
        name: replace(table, age_months=table.age_months + shift * (name in firsts)) for name, table in level.items()
    }
    assert fold_disagreement(runs, apart, radiographs, {}) == pytest.approx(
        dict.fromkeys(disagreement, shift**2 * (folds - 1) / folds**2), abs=1e-6
    )


# weights by stage


TWO_REGIONS = Plan(
    "two",
    "Two regions",
    (PlannedNetwork("b", "distribution-b", (), 2), PlannedNetwork("d", "distribution-d", (), 2)),
)


def estimates_of_regions(count: int, *, better: float, seed: int = 0) -> Predictions:
    """Return `count` girls: region B errs by `better` months below 10 years and 12 above, D the other way round."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(24, 216, count)
    young = labels < 120
    ages = [labels + rng.normal(0, 1, count) * np.where(chosen, better, 12.0) for chosen in (young, ~young)]
    return Predictions(
        tuple(map(str, range(count))),
        (Sex.FEMALE,) * count,
        labels,
        np.mean(ages, axis=0),
        {name: tuple(f"{age:g}" for age in column) for name, column in zip("bd", ages, strict=True)},
    )


def test_with_stages_takes_the_region_that_is_worth_more() -> None:
    table = estimates_of_regions(2 * RADIOGRAPHS_FOR_STAGES, better=4.0)
    staged, stages = with_stages(table, planned_runs(TWO_REGIONS))
    assert set(stages) == {Sex.FEMALE}
    assert stages[Sex.FEMALE].at(48.0)["B"] > 0.75
    assert stages[Sex.FEMALE].at(190.0)["D"] > 0.75
    before, after = (np.abs(one.age_months - one.boneage_months).mean() for one in (table, staged))
    assert after < 0.8 * before


@pytest.mark.parametrize(
    ("count", "better"), [(RADIOGRAPHS_FOR_STAGES - 1, 4.0), (RADIOGRAPHS_FOR_STAGES, 12.0)], ids=["few", "alike"]
)
def test_with_stages_leaves_plain_weights(count: int, better: float) -> None:
    """Too few radiographs, or regions that are worth the same at any stage, have no weights by stage."""
    table = estimates_of_regions(count, better=better)
    staged, stages = with_stages(table, planned_runs(TWO_REGIONS))
    assert not stages
    assert np.array_equal(staged.age_months, table.age_months)


def test_fit_calibration_with_stages(tmp_path: Path) -> None:
    """Both folds' tables give one calibration, whose disagreement is that of the weighted folds."""
    runs, count = planned_runs(TWO_REGIONS), 2 * RADIOGRAPHS_FOR_STAGES
    table = estimates_of_regions(count, better=4.0)
    radiographs = [
        LabelledRadiograph(one, Path("x"), Sex.FEMALE, label)
        for one, label in zip(table.ids, table.boneage_months, strict=True)
    ]
    for run in runs:
        held = np.arange(count) % 2 == run.fold - 1
        ages = np.array(table.group(run.network.name), np.float64)
        chosen = Predictions(
            tuple(one for one, is_held in zip(table.ids, held, strict=True) if is_held),
            (Sex.FEMALE,) * int(held.sum()),
            table.boneage_months[held],
            ages[held],
            {"part": ("fold",) * int(held.sum())},
        )
        (tmp_path / run.name).mkdir()
        write_predictions(tmp_path / run.name / "predictions.csv", chosen)
    lines: list[str] = []
    calibration = fit_calibration(runs, lambda run: tmp_path / run.name, radiographs, tmp_path / "t.csv", lines.append)
    assert calibration is not None
    assert calibration.by_sex[Sex.FEMALE].stages == with_stages(table, runs)[1][Sex.FEMALE]
    assert calibration.by_sex[Sex.MALE].stages is None
    assert any(line.startswith("weights by stage of maturity: MAD ") for line in lines)
