"""A bundle adapted to other radiographs is better on them, reports its figures honestly, and is complete."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import boneage
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import Band, Calibration, SexCalibration
from boneage.bundle.check import check_bundle
from boneage.bundle.stages import StageWeights
from boneage.errors import RecipeError
from boneage.hand.bones import BONES
from boneage.hand.registration import Region
from boneage.hand.views import ViewSpec
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.bundle import finetune as tuning
from boneage.train.bundle.correction import LinearCorrection, apply_correction
from boneage.train.bundle.finetune import TuningResult, finetune, paired_difference
from boneage.train.bundle.tuning import TuningOptions, combine_out_of_fold
from boneage.train.bundle.tuning_data import split_for_tuning
from boneage.train.networks.bones import BoneNetwork
from boneage.train.run.age_tasks import AgeUnit
from boneage.train.run.engine import Engine
from boneage.train.run.run_folder import read_run_record
from tests.bundles import tiny_bundle
from tests.error_codes import code_of
from tests.train.drawn_radiographs import draw_folder
from tests.train.tuned_bundles import bone_recipe, bundle_of, random_network, recipe_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

CPU = Engine("cpu", 1)
OPTIONS = TuningOptions(epochs=2, learning_rate=0.02, folds=2, data="drawn phantoms")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One network for both sexes, asked about mirror images too, and one for girls."""
    recipe = recipe_of("residual")
    girls = replace(recipe, data=replace(recipe.data, sexes="F"))
    return bundle_of(
        tmp_path_factory.mktemp("bundles") / "random",
        {"both": recipe, "girls": girls},
        both={"mirror": True, "weight": 2.0},
        girls={"sexes": (Sex.FEMALE,)},
    )


@pytest.fixture(scope="module")
def radiographs(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[LabelledRadiograph]:
    """Phantoms of a population that is two years ahead of what the bundle says of them."""
    table = draw_folder(tmp_path_factory.mktemp("phantoms"), count=40)
    drawn = read_radiographs(table, table.parent / "radiographs")
    estimates = [boneage.assess(radiograph.image, radiograph.sex, bundle).age_months for radiograph in drawn]
    noise = np.random.default_rng(0).normal(0, 2, len(drawn))
    return [
        replace(radiograph, boneage_months=float(np.clip(age + 24 + more, 0, 240)))
        for radiograph, age, more in zip(drawn, estimates, noise, strict=True)
    ]


@pytest.fixture(scope="module")
def tuned(
    bundle: Bundle, radiographs: list[LabelledRadiograph], tmp_path_factory: pytest.TempPathFactory
) -> TuningResult:
    """Tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "FEWEST_TO_CALIBRATE", 20)
        patch.setattr(tuning, "EMBEDDING_STATS_RADIOGRAPHS", 10)
        return finetune(bundle, radiographs, tmp_path_factory.mktemp("out") / "ours", OPTIONS, engine=CPU, quiet=True)


def held_out(directory: Path) -> list[dict[str, str]]:
    with directory.with_name(f"{directory.name}.runs").joinpath("held-out.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_finetune_improves_held_out_radiographs(tuned: TuningResult) -> None:
    assert tuned.after < tuned.before
    assert tuned.difference.value == pytest.approx(tuned.after - tuned.before)
    assert tuned.helped
    assert tuned.method == min(tuned.out_of_fold, key=lambda method: tuned.out_of_fold[method])
    assert set(tuned.out_of_fold) == {"unchanged", "line", "networks"}
    assert tuned.training_radiographs + tuned.held_out_radiographs == 40
    manifest = tuned.bundle.manifest
    assert f"{tuned.held_out_radiographs} of these radiographs were held out" in manifest.data
    assert "no gain" not in manifest.data
    assert manifest.name == "random-tuned"
    assert manifest.metrics["mad_months"] == pytest.approx(tuned.after, abs=0.01)
    assert manifest.metrics["radiographs"] == tuned.held_out_radiographs


def test_finetune_bundle_complete_and_similar(tuned: TuningResult, bundle: Bundle) -> None:
    results = check_bundle(tuned.bundle)
    assert all(result.passed for result in results), results
    for new, old in zip(tuned.bundle.members, bundle.members, strict=True):
        assert (new.name, new.view, new.mirror, new.sexes, new.weight) == (
            *(old.name, old.view, old.mirror, old.sexes, old.weight),
        )
        assert new.embedding_stats is not None
    assert tuned.bundle.manifest.calibration is not None
    assert str(tuned.bundle.directory.parent) not in (tuned.bundle.directory / "bundle.json").read_text()


def test_finetune_figures_match_assessments(
    tuned: TuningResult, bundle: Bundle, radiographs: list[LabelledRadiograph]
) -> None:
    rows = held_out(tuned.bundle.directory)
    assert len(rows) == tuned.held_out_radiographs
    by_id = {radiograph.id: radiograph for radiograph in radiographs}
    for row in rows:
        radiograph = by_id[row["id"]]
        assert float(row["boneage"]) == radiograph.boneage_months
        for column, assessed_by in (("before", bundle), ("age_months", tuned.bundle)):
            estimate = boneage.assess(radiograph.image, radiograph.sex, assessed_by).age_months
            assert float(row[column]) == pytest.approx(estimate, abs=0.02)


def test_finetune_does_not_train_on_held_out(tuned: TuningResult) -> None:
    kept = {row["id"] for row in held_out(tuned.bundle.directory)}
    runs = tuned.bundle.directory.with_name("ours.runs")
    trained_on = {
        radiograph for record in runs.glob("*/*/recipe.json") for radiograph in read_run_record(record.parent)["train"]
    }
    assert len(list(runs.glob("*/*/recipe.json"))) >= 4
    assert not kept & trained_on


def test_finetune_repeats_from_finished_runs(
    tuned: TuningResult, bundle: Bundle, radiographs: list[LabelledRadiograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "FEWEST_TO_CALIBRATE", 20)
    monkeypatch.setattr(tuning, "EMBEDDING_STATS_RADIOGRAPHS", 10)
    directory = tuned.bundle.directory
    checkpoints = {path: path.stat().st_mtime_ns for path in directory.parent.glob("ours.runs/*/*/last.ckpt")}
    again = finetune(bundle, radiographs, directory, OPTIONS, engine=CPU, quiet=True, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    assert replace(again, bundle=tuned.bundle) == tuned
    assert code_of(lambda: finetune(bundle, radiographs, directory, OPTIONS)) == "bundle_exists"
    other = replace(OPTIONS, epochs=3)
    with pytest.raises(RecipeError, match=r"ours\.runs holds trainings .* Delete this") as error:
        finetune(bundle, radiographs, directory, other, engine=CPU, quiet=True, overwrite=True)
    assert error.value.code == "recipe_changed"


def test_finetune_without_gain_is_reported(
    bundle: Bundle, radiographs: list[LabelledRadiograph], tmp_path: Path
) -> None:
    # Labels that no radiograph can explain; networks for both sexes alone, and no cross-validation that would turn this
    # away.
    shuffled = np.random.default_rng(0).permutation([radiograph.boneage_months for radiograph in radiographs])
    bad = [
        replace(radiograph, boneage_months=float(age)) for radiograph, age in zip(radiographs, shuffled, strict=True)
    ]
    for number, radiograph in enumerate(bad):
        if number % 5 == 0:
            estimate = boneage.assess(radiograph.image, radiograph.sex, bundle).age_months
            bad[number] = replace(radiograph, boneage_months=round(estimate, 1), split="validation")
        else:
            bad[number] = replace(radiograph, split="train")
    result = finetune(bundle, bad, tmp_path / "bad", replace(OPTIONS, folds=0, epochs=1), engine=CPU, quiet=True)
    assert not result.helped
    assert result.method == "networks"
    assert result.out_of_fold == {}
    assert result.held_out_radiographs == 8
    assert "no gain is shown" in result.bundle.manifest.data
    assert result.bundle.manifest.calibration is None


def test_finetune_rejects_few_radiographs_or_no_recipes(
    bundle: Bundle, radiographs: list[LabelledRadiograph], tmp_path: Path
) -> None:
    """Too few radiographs and bundles without recipes are rejected."""
    out = tmp_path / "out"
    assert code_of(lambda: finetune(bundle, radiographs[:10], out)) == "table_split"
    assert (
        code_of(lambda: finetune(bundle, [replace(radiograph, split="train") for radiograph in radiographs], out))
        == "table_split"
    )
    tiny = Bundle.open(tiny_bundle(tmp_path / "tiny"))
    assert code_of(lambda: finetune(tiny, radiographs, out)) == "bundle_mismatch"
    finder = Bundle.open(tiny_bundle(tmp_path / "finder", views=(), hand=True, metrics={}))
    assert code_of(lambda: finetune(finder, radiographs, out)) == "bundle_mismatch"
    assert not out.exists()


def test_split_for_tuning_draws_by_sex(radiographs: list[LabelledRadiograph]) -> None:
    parts = split_for_tuning(radiographs, 0.25, seed=0)
    for sex in Sex:
        assert sum(radiograph.split == "validation" for radiograph in parts if radiograph.sex == sex) == 5
    assert {radiograph.id: radiograph.split for radiograph in parts} == {
        radiograph.id: radiograph.split for radiograph in split_for_tuning(radiographs[::-1], 0.25, seed=0)
    }


# --- networks for single bones, and weights by stage of maturity ---

BAND = Band(None, 350, 9.0, 16.0, 6.0)


def with_stages(bundle: Bundle, stages: StageWeights) -> Bundle:
    calibration = Calibration({sex: SexCalibration(0.0, 1.0, (BAND,), stages) for sex in Sex})
    return Bundle(bundle.directory, replace(bundle.manifest, calibration=calibration), threads=1)


@pytest.fixture(scope="module")
def bones(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One network for single bones, whose mean gets 24 months more at every stage."""
    folder = tmp_path_factory.mktemp("bones")
    finder = Bundle.open(tiny_bundle(folder / "hand", views=(), hand=True, joints=True, metrics={}))
    bundle = bundle_of(folder / "random", {"bones": bone_recipe()}, hand=finder)
    return with_stages(bundle, StageWeights({"bones": (1.0,) * 6}, (24.0,) * 6))


@pytest.fixture(scope="module")
def hands(bones: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[LabelledRadiograph]:
    """Phantoms of the ages that the bundle estimates."""
    table = draw_folder(tmp_path_factory.mktemp("hands"), count=24, side=400)
    drawn = read_radiographs(table, table.parent / "radiographs")
    noise = np.random.default_rng(0).normal(0, 1, len(drawn))
    return [
        replace(one, boneage_months=boneage.assess(one.image, one.sex, bones).age_months + float(more))
        for one, more in zip(drawn, noise, strict=True)
    ]


def test_finetune_trains_networks_for_bones(bones: Bundle, hands: list[LabelledRadiograph], tmp_path: Path) -> None:
    """The ages of the bones are trained, too, and a bundle without a calibration has no weights by stage."""
    result = finetune(bones, hands, tmp_path / "ours", replace(OPTIONS, folds=0, epochs=1), engine=CPU, quiet=True)
    assert result.method == "networks"
    assert result.bundle.manifest.calibration is None
    assert all(check.passed for check in check_bundle(result.bundle))
    before, after = (boneage.assess(hands[3].image, Sex.FEMALE, one) for one in (bones, result.bundle))
    ages = [(old.age_months, new.age_months) for old, new in zip(before.bones, after.bones, strict=True)]
    assert len(ages) == len(BONES)
    assert any(old is not None and new is not None and abs(new - old) > 1 for old, new in ages)


def test_finetune_keeps_weights_by_stage_that_help(
    bones: Bundle, hands: list[LabelledRadiograph], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "FEWEST_TO_CALIBRATE", 19)
    options = replace(OPTIONS, learning_rate=1e-6, epochs=1)
    result = finetune(bones, hands, tmp_path / "ours", options, engine=CPU, quiet=True)
    calibration, former = result.bundle.manifest.calibration, bones.manifest.calibration
    assert calibration is not None and former is not None
    assert result.method == "unchanged"
    assert result.out_of_fold["unchanged"] < 2
    for sex in Sex:
        assert calibration.by_sex[sex].stages == former.by_sex[sex].stages
    assert result.after == pytest.approx(result.before, abs=1)


@given(wrong=st.lists(st.floats(-40, 40), min_size=20, max_size=20), better=st.sampled_from([0, 1]))
@settings(max_examples=25, deadline=None)
def test_combine_out_of_fold_keeps_smaller_error(bundle: Bundle, wrong: list[float], better: int) -> None:
    """Weights by stage are kept by the sexes whose error they lessen, without a correction of changed networks."""
    first, second = (replace(bundle.members[0], name=name, weight=1.0) for name in ("first", "second"))
    second = replace(second, view=ViewSpec("A", 64, 48, "hand"))
    weights: dict[Region, tuple[float, ...]] = {"radiograph": (1.0,) * 6, "A": (0.0,) * 6}
    stages = with_stages(bundle, StageWeights(weights, (3.0,) * 6)).manifest.calibration
    manifest = replace(bundle.manifest, members=(first, second), calibration=stages)
    radiographs = [
        LabelledRadiograph(str(number), Path(), Sex.FEMALE if number % 2 else Sex.MALE, 60.0 + 5 * number)
        for number in range(len(wrong))
    ]
    exact = {one.id: one.boneage_months for one in radiographs}
    moved = {one.id: one.boneage_months + more for one, more in zip(radiographs, wrong, strict=True)}
    estimates = {"first": moved, "second": exact} if better else {"first": exact, "second": moved}
    labels = np.array(list(exact.values()))
    plain = combine_out_of_fold(manifest, radiographs, estimates, "networks", stages=False)
    chosen = combine_out_of_fold(manifest, radiographs, estimates, "networks", stages=True)
    np.testing.assert_allclose(plain.age_months, labels + np.array(wrong) / 2)
    assert plain.stages == {}
    assert np.abs(chosen.age_months - labels).sum() <= np.abs(plain.age_months - labels).sum() + 1e-9
    for sex, kept in chosen.stages.items():
        assert not better
        assert kept.correction_months == (0.0,) * 6
        of_sex = np.array([one.sex == sex for one in radiographs])
        np.testing.assert_allclose(chosen.age_months[of_sex], labels[of_sex])
    unchanged = combine_out_of_fold(manifest, radiographs, estimates, "unchanged", stages=True)
    for sex, kept in unchanged.stages.items():
        assert stages is not None and kept == stages.by_sex[sex].stages


def test_apply_correction_to_bones() -> None:
    """The ages of single bones are corrected by the line of the hand."""
    network = random_network(bone_recipe())
    assert isinstance(network, BoneNetwork)
    views, sexes = torch.randn(2, 1, 48, 96, generator=torch.Generator().manual_seed(0)), torch.eye(2)
    unit, months = AgeUnit.of_range(), network.head.months

    def ages_of_bones() -> torch.Tensor:
        bones = network.explain(views, sexes).bones
        assert bones is not None
        return bones @ months

    with torch.no_grad():
        network.bone_months.weight.mul_(0.01)
        network.bone_months.bias.copy_(-((months - 120) ** 2) / (2 * 8.0**2))
        before = ages_of_bones()
        apply_correction(network, unit, LinearCorrection(30.0, 0.9), unit)
        after = ages_of_bones()
    torch.testing.assert_close(after, 30 + 0.9 * before, atol=0.5, rtol=0)


# --- lines ---

months = st.floats(0.0, 240.0)


@given(
    slope=st.floats(0.6, 1.8),
    shift=st.floats(-30, 30),
    unit=st.tuples(st.floats(60, 180), st.floats(10, 80)),
    to=st.tuples(st.floats(60, 180), st.floats(10, 80)),
)
@settings(max_examples=20, deadline=None)
def test_apply_correction_to_number(
    slope: float, shift: float, unit: tuple[float, float], to: tuple[float, float]
) -> None:
    network = random_network(recipe_of("residual"))
    line, old, new = LinearCorrection(shift, slope), AgeUnit(*unit), AgeUnit(*to)
    view, sex = torch.randn(4, 1, 64, 48, generator=torch.Generator().manual_seed(0)), torch.eye(2)[[0, 1, 0, 1]]
    with torch.no_grad():
        expected = line(old.to_months(network(view, sex)).double().numpy())
        apply_correction(network, old, line, new)
        np.testing.assert_allclose(new.to_months(network(view, sex)).double().numpy(), expected, atol=0.01)


@given(slope=st.floats(0.7, 1.4), shift=st.floats(-15, 15), middle=st.floats(90, 150))
@settings(max_examples=20, deadline=None)
def test_apply_correction_to_distribution(slope: float, shift: float, middle: float) -> None:
    network = random_network(recipe_of("residual-distribution"))
    last: Any = network.head.dense[-1]
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.copy_(-((network.head.months - middle) ** 2) / (2 * 8.0**2))
        view, sex = torch.randn(2, 1, 64, 48, generator=torch.Generator().manual_seed(0)), torch.eye(2)
        unit = AgeUnit.of_range()
        line = LinearCorrection(shift + 120 * (1 - slope), slope)
        expected = line(unit.to_months(network(view, sex)).double().numpy())
        apply_correction(network, unit, line, unit)
        np.testing.assert_allclose(unit.to_months(network(view, sex)).double().numpy(), expected, atol=0.5)


@given(st.lists(months, min_size=2, max_size=40), st.floats(-40, 40), st.floats(0.6, 1.9))
def test_fitted_recovers_line(estimates: list[float], shift: float, slope: float) -> None:
    ages = np.array(estimates)
    line = LinearCorrection.fitted(ages, shift + slope * ages)
    np.testing.assert_allclose(line(ages), shift + slope * ages, atol=0.1 + 40 * (np.ptp(ages) < 1))


def test_fitted_slope_out_of_range_becomes_shift() -> None:
    ages = np.array([50.0, 100.0, 150.0])
    assert LinearCorrection.fitted(ages, -ages) == LinearCorrection(-200.0, 1.0)
    assert LinearCorrection.fitted(np.full(3, 100.0), ages) == LinearCorrection(0.0, 1.0)


@given(st.lists(st.tuples(months, months, months), min_size=1, max_size=30))
@settings(deadline=None)
def test_paired_difference_is_change_of_errors(radiographs: list[tuple[float, float, float]]) -> None:
    labels, before, after = np.array(radiographs).T
    change = paired_difference(labels, before, after)
    assert change.value == pytest.approx(np.abs(after - labels).mean() - np.abs(before - labels).mean(), abs=1e-9)
    assert change.low <= change.high
    back = paired_difference(labels, after, before)
    assert (back.low, back.high) == pytest.approx((-change.high, -change.low), abs=1e-9)
    assert not math.isnan(change.low)
