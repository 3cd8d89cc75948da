"""A bundle made from runs has the figures that its users get and the networks that were trained, or is not written."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import boneage
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import Band, Calibration, SexCalibration
from boneage.bundle.check import check_bundle
from boneage.evaluate.metrics import concordance
from boneage.hand.views import cut_view
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.bundle import release as releasing
from boneage.train.bundle import weight_bits
from boneage.train.bundle.measure import measure_bundle
from boneage.train.bundle.release import ReleaseOptions, ReleaseResult, release
from boneage.train.bundle.runs import HandRuns, load_runs
from boneage.train.data.hands import hand_fingerprint
from boneage.train.data.splits import choose_radiographs
from boneage.train.recipe import load_recipe, parse_recipe
from boneage.train.run.age_tasks import radiograph_labels
from boneage.train.run.engine import Engine
from boneage.train.run.loop import train
from tests.bundles import tiny_bundle
from tests.error_codes import code_of
from tests.train.drawn_radiographs import TINY, draw_folder
from tests.train.drawn_targets import draw_targets, recipe_for

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

SHIFTED = Calibration({sex: SexCalibration(50.0, 1.0, (Band(None, 200, 8.0, 15.0, 6.0),)) for sex in Sex})
OPTIONS = ReleaseOptions("small", version="7", data="drawn phantoms", licence="Apache-2.0")


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledRadiograph]:
    table = draw_folder(tmp_path_factory.mktemp("phantoms"))
    return read_radiographs(table, table.parent / "radiographs")


@pytest.fixture(scope="module")
def run(radiographs: list[LabelledRadiograph], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for two epochs; tests only read it."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    recipe = load_recipe(folder / "tiny.toml", ("train.epochs=2", "train.learning_rate=0.02"))
    train(recipe, radiographs, folder / "Trained", engine=Engine(accelerator="cpu", devices=1), quiet=True)
    return folder / "Trained"


@pytest.fixture(scope="module")
def released(
    run: Path, radiographs: list[LabelledRadiograph], tmp_path_factory: pytest.TempPathFactory
) -> ReleaseResult:
    """The run as a bundle; tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releasing, "EMBEDDING_STATS_RADIOGRAPHS", 6)
        return release([run], tmp_path_factory.mktemp("bundles") / "small", OPTIONS, radiographs=radiographs)


def validation_of(run: Path, radiographs: list[LabelledRadiograph]) -> list[LabelledRadiograph]:
    kept = json.loads((run / "recipe.json").read_text(encoding="utf-8"))["validation"]
    return [radiograph for radiograph in radiographs if radiograph.id in kept]


def other_run(run: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of a run that says something else of itself."""
    shutil.copytree(run, folder)
    facts = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    change(facts)
    (folder / "recipe.json").write_text(json.dumps(facts), encoding="utf-8")
    return folder


# --- one run ---


def test_release_bundle_is_complete(released: ReleaseResult, run: Path) -> None:
    bundle = Bundle.open(released.bundle.directory)
    results = check_bundle(bundle)
    assert all(result.passed for result in results), results
    manifest = bundle.manifest
    assert [member.name for member in bundle.members] == ["trained"]
    assert (manifest.name, manifest.version, manifest.title) == ("small", "7", "tiny")
    assert (manifest.data, manifest.licence) == ("drawn phantoms", "Apache-2.0")
    trained = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    assert json.loads(json.dumps(manifest.recipe)) == {"trained": trained["recipe"]}
    (member,) = bundle.members
    assert member.age_mean_months == trained["age_unit"]["mean_months"]
    assert member.age_spread_months == trained["age_unit"]["spread_months"]
    assert member.mirror


def test_release_figures_match_assessments(
    released: ReleaseResult, run: Path, radiographs: list[LabelledRadiograph]
) -> None:
    """The figures are those of assessing the validation radiographs."""
    validation = validation_of(run, radiographs)
    months = np.array(
        [boneage.assess(radiograph.image, radiograph.sex, released.bundle).age_months for radiograph in validation]
    )
    labels = np.array([radiograph.boneage_months for radiograph in validation])
    errors = np.abs(months - labels)
    metrics = released.bundle.manifest.metrics
    assert (metrics["split"], metrics["radiographs"]) == ("validation", len(validation))
    assert metrics["mad_months"] == pytest.approx(errors.mean(), abs=0.05)
    assert metrics["rmse_months"] == pytest.approx(np.sqrt((errors**2).mean()), abs=0.05)
    assert metrics["ccc"] == pytest.approx(float(concordance(labels, months)), abs=1e-3)
    assert metrics["weights"] == "last"
    intervals = [
        boneage.assess(radiograph.image, radiograph.sex, released.bundle).estimate.interval_months
        for radiograph in validation
    ]
    assert intervals == [None] * len(validation)  # too few radiographs for an interval
    assert "interval_coverage" not in metrics
    assert released.validation_radiographs == len(validation)
    for sex in Sex:
        chosen = [radiograph.sex == sex for radiograph in validation]
        assert metrics["mad_months_by_sex"][sex.value] == pytest.approx(errors[chosen].mean(), abs=0.05)


def test_release_graphs_agree_with_networks(released: ReleaseResult) -> None:
    assert released.parity_months is not None
    assert 0.0 < released.parity_months < 0.05


def test_release_embedding_stats_of_validation(
    released: ReleaseResult, run: Path, radiographs: list[LabelledRadiograph]
) -> None:
    """Validation radiographs are familiar and others less so."""
    (member,) = released.bundle.members
    assert member.embedding_stats is not None
    rng = np.random.default_rng(0)
    for radiograph in validation_of(run, radiographs):
        view = cut_view(read_radiograph(radiograph.image).pixels, member.view)
        usual = member.ood_score(released.bundle.run(member, view, radiograph.sex).embedding)
        assert usual is not None
        assert usual <= 1.05
    noise = 5 * rng.standard_normal(view.shape).astype(np.float32)
    strange = member.ood_score(released.bundle.run(member, noise, radiograph.sex).embedding)
    assert strange is not None
    assert strange > 1.5


def test_release_few_radiographs_without_embedding_stats(
    run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path
) -> None:
    """Too few radiographs say nothing of what is familiar."""
    small = release([run], tmp_path / "small", replace(OPTIONS, mirror=False), radiographs=radiographs)
    assert [(member.embedding_stats, member.mirror) for member in small.bundle.members] == [(None, False)]


def test_release_rejects_other_labels(run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path) -> None:
    first = radiographs[0]
    for other in (
        replace(first, boneage_months=first.boneage_months + 1),
        replace(first, sex=Sex.MALE if first.sex is Sex.FEMALE else Sex.FEMALE),
    ):
        changed = [other, *radiographs[1:]]
        act = partial(release, [run], tmp_path / "small", OPTIONS, radiographs=changed)
        assert code_of(act) == "recipe_changed"
    assert list(tmp_path.iterdir()) == []


def test_release_logs_missing_radiographs(
    run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = validation_of(run, radiographs)
    with caplog.at_level(logging.WARNING):
        some = release([run], tmp_path / "small", OPTIONS, radiographs=kept[:2])
    assert (some.bundle.manifest.metrics["radiographs"], some.validation_radiographs) == (2, len(kept))
    assert f"only 2 of the {len(kept)} radiographs" in caplog.text


def test_largest_parity_rejects_other_weights(
    released: ReleaseResult,
    run: Path,
    radiographs: list[LabelledRadiograph],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (trained,) = load_runs([run], "last")
    with torch.no_grad():
        next(reversed(list(trained.network.parameters()))).add_(
            0.01
        )  # the last bias: all ages, by 0.01 of their spread
    monkeypatch.setattr(releasing, "PARITY_RADIOGRAPHS", 2)
    assert code_of(lambda: releasing.largest_parity([trained], released.bundle, radiographs, 0.05)) == "bundle_output"
    difference = releasing.largest_parity([trained], released.bundle, radiographs, 100.0)
    assert difference == pytest.approx(0.01 * trained.unit.spread_months, abs=0.05)


def test_release_figure_of_bf16_run_matches_curve(
    radiographs: list[LabelledRadiograph], run: Path, tmp_path: Path
) -> None:
    """The curve of a run in bf16 ends with the figure of its bundle."""
    recipe = load_recipe(run.parent / "tiny.toml", ("train.epochs=2", 'train.precision="bf16-mixed"'))
    finished = train(recipe, radiographs, tmp_path / "half", engine=Engine(accelerator="cpu", devices=1), quiet=True)
    plain = release([tmp_path / "half"], tmp_path / "plain", replace(OPTIONS, mirror=False), radiographs=radiographs)
    last_mad = finished.state.history[-1]["mad_months"]
    assert plain.bundle.manifest.metrics["mad_months"] == pytest.approx(last_mad, abs=0.002)


def test_release_without_radiographs_has_no_figures(run: Path, tmp_path: Path) -> None:
    plain = release([run], tmp_path / "plain", replace(OPTIONS, title="A title", weights="best"))
    assert plain.parity_months is None
    assert plain.bundle.manifest.metrics == {}
    assert plain.bundle.manifest.title == "A title"


# --- several runs ---


def test_release_two_runs_become_two_members(run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path) -> None:
    """Two runs become two members whose mean is measured."""
    second = other_run(run, tmp_path / "second", lambda facts: None)
    checkpoint = torch.load(second / "last.ckpt", weights_only=True)
    *_, bias = checkpoint["average"].values()
    bias += 0.5
    torch.save(checkpoint, second / "last.ckpt")
    both = release([run, second], tmp_path / "both", OPTIONS, radiographs=radiographs)
    assert [(member.name, member.weight) for member in both.bundle.members] == [("trained", 1.0), ("second", 1.0)]
    assert both.parity_months is not None
    assert both.parity_months < 0.05
    validation = validation_of(run, radiographs)
    answers = [boneage.assess(radiograph.image, radiograph.sex, both.bundle).estimate for radiograph in validation]
    for answer in answers:
        first_age, second_age = answer.member_ages_months.values()
        assert second_age - first_age == pytest.approx(0.5 * both.bundle.members[0].age_spread_months, abs=0.1)
    errors = [
        abs(one.age_months - radiograph.boneage_months) for one, radiograph in zip(answers, validation, strict=True)
    ]
    assert both.bundle.manifest.metrics["mad_months"] == pytest.approx(np.mean(errors), abs=0.05)


def test_release_members_keep_their_units(run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path) -> None:
    second = other_run(run, tmp_path / "second", lambda facts: facts["age_unit"].update(mean_months=100.0))
    both = release([run, second], tmp_path / "both", OPTIONS, radiographs=radiographs)
    assert both.parity_months is not None
    assert both.parity_months < 0.05
    assert [member.age_mean_months for member in both.bundle.members][1] == 100.0
    radiograph = radiographs[0]
    first_age, second_age = boneage.assess(
        radiograph.image, radiograph.sex, both.bundle
    ).estimate.member_ages_months.values()
    assert first_age - second_age == pytest.approx(both.bundle.members[0].age_mean_months - 100.0, abs=0.05)


def test_release_rejects_runs_without_common_validation(
    run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path
) -> None:
    """Runs without a common validation radiograph are rejected."""
    second = other_run(run, tmp_path / "second", lambda facts: facts.update(validation=facts["train"]))
    assert code_of(lambda: release([run, second], tmp_path / "both", OPTIONS, radiographs=radiographs)) == "table_empty"
    assert not (tmp_path / "both").exists()


def test_release_measures_only_unseen_radiographs(
    run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path
) -> None:
    validation = validation_of(run, radiographs)
    second = other_run(run, tmp_path / "second", lambda facts: facts.update(validation=facts["validation"][:2]))
    both = release([run, second], tmp_path / "both", OPTIONS, radiographs=radiographs)
    assert both.bundle.manifest.metrics["radiographs"] == both.validation_radiographs == 2
    expected = dict(measure_bundle(both.bundle, validation[:2]).metrics) | {"weights": "last"}
    assert both.bundle.manifest.metrics == expected


def fold_of(run: Path, folder: Path, radiographs: list[LabelledRadiograph], fold: int) -> Path:
    """A copy of a run that says that it was one of two folds."""

    def part(facts: dict[str, Any]) -> None:
        facts["recipe"]["data"] |= {"folds": 2, "fold": fold}
        training, held = choose_radiographs(parse_recipe(facts["recipe"]), radiographs)
        facts |= {
            "train": [radiograph.id for radiograph in training],
            "validation": [radiograph.id for radiograph in held],
        }
        facts["labels"] = radiograph_labels([*training, *held])

    return other_run(run, folder, part)


def test_release_folds_measured_on_set_aside(run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path) -> None:
    """Folds are measured on the radiographs that none of them has seen."""
    runs = [fold_of(run, tmp_path / f"fold-{fold}", radiographs, fold) for fold in (1, 2)]
    options = replace(OPTIONS, mirror=False, weight_bits=8, member_weights={"fold-2": 3.0}, calibration=SHIFTED)
    both = release(runs, tmp_path / "both", options, radiographs=radiographs)
    assert (
        both.validation_radiographs
        == both.bundle.manifest.metrics["radiographs"]
        == len(validation_of(run, radiographs))
    )
    assert [member.weight for member in both.bundle.members] == [1.0, 3.0]
    # The figures are those of calibrated ages: these networks are equal, and all their ages are corrected by 50 months.
    plain = release([run], tmp_path / "plain", replace(OPTIONS, mirror=False), radiographs=radiographs).bundle
    for radiograph in validation_of(run, radiographs):
        ages = [boneage.assess(radiograph.image, radiograph.sex, bundle).age_months for bundle in (both.bundle, plain)]
        assert ages[0] - ages[1] == pytest.approx(50, abs=0.5)
    assert both.bundle.manifest.calibration == SHIFTED
    expected = dict(measure_bundle(both.bundle, validation_of(run, radiographs)).metrics) | {"weights": "last"}
    assert both.bundle.manifest.metrics == expected
    # Without radiographs there is nothing to say of them.
    assert release(runs, tmp_path / "unmeasured", options).validation_radiographs == 0


@pytest.mark.parametrize("name", ["trained", "Not a name"])
def test_release_rejects_folders_that_are_no_names(name: str, run: Path, tmp_path: Path) -> None:
    second = other_run(run, tmp_path / name, lambda facts: None)
    assert code_of(lambda: release([run, second], tmp_path / "both", OPTIONS)) == "recipe_invalid"


def test_release_rejects_missing_run(run: Path, tmp_path: Path) -> None:
    for runs in ([tmp_path / "nothing"], [run, tmp_path / "nothing"]):
        assert code_of(partial(release, runs, tmp_path / "small", OPTIONS)) == "recipe_invalid"


def test_release_rejects_no_networks(tmp_path: Path) -> None:
    assert code_of(lambda: release([], tmp_path / "small", OPTIONS)) == "bundle_invalid"
    assert list(tmp_path.iterdir()) == []


# --- hand networks, and runs on regions of the hand ---


@pytest.fixture(scope="module")
def hand_runs(radiographs: list[LabelledRadiograph], tmp_path_factory: pytest.TempPathFactory) -> HandRuns:
    """Trained for one epoch."""
    folder = tmp_path_factory.mktemp("hand-runs")
    targets = draw_targets(radiographs, folder)
    for name, task, region in (
        ("mask", "mask", "radiograph"),
        ("locate", "points", "radiograph"),
        ("refine", "points", "surroundings"),
    ):
        recipe = recipe_for(task, targets[task], view={"region": region}, train={"epochs": 1, "views_per_epoch": 6})
        train(recipe, radiographs, folder / name, engine=Engine(accelerator="cpu", devices=1), quiet=True)
    return HandRuns(*(folder / name for name in ("mask", "locate", "refine")))


def test_release_hand_runs_make_hand_bundle(hand_runs: HandRuns, tmp_path: Path) -> None:
    """Runs for the hand networks become a bundle that finds hands."""
    bundle = release([], tmp_path / "small", OPTIONS, hand=hand_runs).bundle
    assert bundle.finds_hands
    assert bundle.members == ()
    assert all(result.passed for result in check_bundle(bundle))
    assert set(bundle.manifest.recipe) == {"hand network mask", "hand network locate", "hand network refine"}
    assert [(network.height, network.width) for network in bundle.hand_networks().graphs.by_name().values()] == [
        (32, 32)
    ] * 3
    # Another bundle takes over the same networks, and says what they are.
    other = release([], tmp_path / "other", OPTIONS, hand=bundle).bundle
    assert other.hand_networks().fingerprint() == bundle.hand_networks().fingerprint()
    assert other.manifest.recipe == bundle.manifest.recipe
    # The bundle does not state the folder of its radiographs.
    assert str(hand_runs.mask.parent) not in (bundle.directory / "bundle.json").read_text(encoding="utf-8")
    targets = json.loads((hand_runs.mask / "recipe.json").read_text(encoding="utf-8"))["recipe"]["data"]["targets"]
    assert bundle.manifest.recipe["hand network mask"]["data"]["targets"] == "/".join(Path(targets).parts[-2:])


def test_release_rejects_wrong_hand_runs(hand_runs: HandRuns, run: Path, tmp_path: Path) -> None:
    """Runs for other networks of the hand are rejected."""
    for wrong in (
        replace(hand_runs, mask=hand_runs.locate),
        replace(hand_runs, locate=hand_runs.refine),
        replace(hand_runs, refine=hand_runs.locate),
        replace(hand_runs, locate=run),
        replace(hand_runs, locate=tmp_path / "nothing"),
    ):
        assert code_of(partial(release, [], tmp_path / "small", OPTIONS, hand=wrong)) == "recipe_invalid"
    assert code_of(lambda: release([hand_runs.mask], tmp_path / "small", OPTIONS)) == "recipe_invalid"
    assert list(tmp_path.iterdir()) == []


def test_release_cohorts_serve_their_sexes(tmp_path: Path) -> None:
    """Runs of two cohorts on a region become members for their sexes."""
    finder = tiny_bundle(tmp_path / "finder", name="finder", views=(), hand=True, metrics={})
    table = draw_folder(tmp_path / "phantoms", count=12, side=400)
    radiographs = read_radiographs(table, tmp_path / "phantoms" / "radiographs")
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    changes = ("train.epochs=1", "train.resize=[]", 'view.region="C"', 'view.grey="hand"', f'data.hands="{finder}"')
    for sex in Sex:
        recipe = load_recipe(tmp_path / "tiny.toml", (*changes, f"data.sexes={sex.value}"))
        train(recipe, radiographs, tmp_path / f"c-{sex.value}", engine=Engine(accelerator="cpu", devices=1), quiet=True)
    runs = [tmp_path / f"c-{sex.value}" for sex in Sex]
    released = release(runs, tmp_path / "small", OPTIONS, hand=Bundle.open(finder), radiographs=radiographs)
    bundle = released.bundle
    assert all(result.passed for result in check_bundle(bundle))
    assert [(member.view.region, member.mirror, member.sexes) for member in bundle.members] == [
        ("C", False, (sex,)) for sex in Sex
    ]
    kept = [radiograph for one in runs for radiograph in validation_of(one, radiographs)]
    assert bundle.manifest.metrics["radiographs"] == released.validation_radiographs == len(kept) == 4
    assert released.parity_months is not None
    assert released.parity_months < 0.05
    errors = [
        abs(boneage.assess(radiograph.image, radiograph.sex, bundle).age_months - radiograph.boneage_months)
        for radiograph in kept
    ]
    assert bundle.manifest.metrics["mad_months"] == pytest.approx(np.mean(errors), abs=0.05)
    # Without the networks that find the hand such members are of no use.
    assert code_of(lambda: release(runs, tmp_path / "blind", OPTIONS)) == "bundle_invalid"


def test_release_accepts_8_bit_hand_networks(
    hand_runs: HandRuns, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_bits, "_FEWEST", 10)  # these networks are tiny
    none = dict.fromkeys(weight_bits.WEIGHT_LIMITS[8], 1e9)  # and hardly trained
    monkeypatch.setattr(weight_bits, "WEIGHT_LIMITS", {8: none, 16: weight_bits.WEIGHT_LIMITS[16]})
    sixteen = release([], tmp_path / "sixteen", OPTIONS, hand=hand_runs).bundle
    retrained = other_run(run, tmp_path / "learnt", lambda facts: facts.update(hands=hand_fingerprint(sixteen)))
    eight = release([retrained], tmp_path / "eight", replace(OPTIONS, weight_bits=8), hand=sixteen).bundle
    assert hand_fingerprint(eight) != hand_fingerprint(sixteen)
    again = release(
        [retrained], tmp_path / "again", OPTIONS, hand=eight
    ).bundle  # the bundle has these hand networks already
    assert hand_fingerprint(again) == hand_fingerprint(eight)
    other = other_run(run, tmp_path / "other", lambda facts: facts.update(hands=["version 2", "a", "b", "c", "d"]))
    assert code_of(lambda: release([other], tmp_path / "no", OPTIONS, hand=eight)) == "recipe_changed"
    newer = other_run(run, tmp_path / "newer", lambda facts: facts.update(hands=hand_fingerprint(eight)))
    assert code_of(lambda: release([newer], tmp_path / "no", OPTIONS, hand=sixteen)) == "recipe_changed"


# --- failures leave everything as it was ---


def test_release_overwrites_only_with_measured_bundle(
    run: Path, radiographs: list[LabelledRadiograph], tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    broken = [replace(radiograph, image=tmp_path / "broken.png") for radiograph in radiographs]
    folder = tiny_bundle(tmp_path / "bundle")
    before = sorted(tmp_path.iterdir())
    assert code_of(lambda: release([run], folder, OPTIONS, radiographs=radiographs)) == "bundle_exists"
    assert code_of(lambda: release([run], folder, OPTIONS, radiographs=broken, overwrite=True)) == "table_empty"
    assert Bundle.open(folder).manifest.name == "tiny"
    assert sorted(tmp_path.iterdir()) == before
