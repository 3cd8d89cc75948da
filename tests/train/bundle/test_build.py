"""A bundle built by a plan: finished runs are kept, and estimates out of fold calibrate the bundle."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import boneage
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import calibrate
from boneage.bundle.check import check_bundle
from boneage.errors import BoneageError
from boneage.evaluate.predictions import read_predictions
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.bundle import build as building
from boneage.train.bundle.build import Build, build_bundle, train_and_estimate
from boneage.train.bundle.out_of_fold import fold_disagreement
from boneage.train.bundle.plan import Plan, PlannedNetwork, load_plan, planned_runs
from boneage.train.data.cache import build_cache
from boneage.train.data.hands import open_hands
from boneage.train.data.pack import pack
from boneage.train.recipe import load_recipe, parse_recipe
from boneage.train.run.engine import Engine
from boneage.train.run.loop import train
from boneage.train.run.predict import set_aside
from boneage.train.run.processes import Job
from boneage.train.run.run_folder import read_run_record
from tests.bundles import tiny_bundle
from tests.error_codes import code_of
from tests.train.drawn_radiographs import TINY, draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

SMALL = (
    *("network.options.widths=[4, 8]", "network.options.depths=[1, 1]", "train.epochs=1", "train.resize=[]"),
    *("view.height=48", "view.width=48", "train.batch_size=8", "train.precision=32-true", "train.workers=0"),
    "data.validation_share=0.2",
)
"""Changes of the recipe with which a network trains in a second."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 radiographs; beside them a bundle that finds their hands, and a recipe."""
    folder = tmp_path_factory.mktemp("radiographs")
    tiny_bundle(folder / "hands", hand=True)
    (folder / "tiny.toml").write_text(TINY, encoding="utf-8")
    return draw_folder(folder, count=40)


def radiographs_of(table: Path) -> list[LabelledRadiograph]:
    return read_radiographs(table, table.parent / "radiographs")


def here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs jobs in this process, and lists their names."""
    names: list[str] = []

    def run_jobs(jobs: Sequence[Job], _at_once: int, _report: Callable[[str], None]) -> dict[str, int]:
        failed = {}
        for job in jobs:
            names.append(job.name)
            order = json.loads(json.dumps(job.order))
            images = None if order["images"] is None else Path(order["images"])
            radiographs = read_radiographs(Path(order["radiographs"]), images)
            where = {"accelerator": order["accelerator"], "number": order["number"]}
            try:
                train_and_estimate(
                    parse_recipe(order["recipe"]), radiographs, Path(order["folder"]), Path(order["cache"]), **where
                )
            except BoneageError as error:
                failed[job.name] = error.exit_status
        return failed

    monkeypatch.setattr(building, "run_jobs", run_jobs)
    return names


def test_build_bundle_takes_archive(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs get the table that was unpacked once, and nothing locates its hands again."""
    radiographs, hands = radiographs_of(table), str(table.parent / "hands")
    cache = build_cache(radiographs, table.parent / "cache", longest_side=2048)
    located = open_hands(hands, radiographs, cache)
    pack(
        radiographs, cache, located, tmp_path / "a.zip", plan="small", hand_pixels=60.0, hand_greys=True, megabytes=0.1
    )
    monkeypatch.setattr(Bundle, "find_hand", None)
    jobs: list[Job] = []

    def run_jobs(planned: Sequence[Job], *_: object) -> dict[str, int]:
        jobs.extend(planned)
        return {job.name: 1 for job in planned}

    monkeypatch.setattr(building, "run_jobs", run_jobs)
    plan = Plan("small", "A small one", (PlannedNetwork("c", "full-c", (), 2),), hands=hands)
    build = Build(plan, tmp_path / "a.zip", tmp_path / "runs", changes=SMALL, accelerator="cpu")
    assert build_bundle(build, tmp_path / "small", report=lambda _: None).failed == {"c-fold-1": 1, "c-fold-2": 1}
    (folder,) = (tmp_path / "cache").glob("packed-*")
    assert {job.order["radiographs"] for job in jobs} == {str(folder / "radiographs.csv")}


# --- one bundle ---


@pytest.fixture(scope="module")
def built(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Build, Path, list[str], list[str]]:
    """A bundle of two networks of two folds: the build, its folder, the trained runs and the messages. Tests only
    read it."""
    place = tmp_path_factory.mktemp("built")
    network = PlannedNetwork("c", "full-c", (), 2, 3.0)
    plan = Plan(
        "small",
        "A small one",
        (network, PlannedNetwork("whole", str(table.parent / "tiny.toml"), (), 2)),
        weight_bits=8,
    )
    messages: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        trained = here(patch)
        build = Build(
            replace(plan, hands=str(table.parent / "hands")),
            table,
            place / "runs",
            table.parent / "radiographs",
            (*SMALL, "train.epochs=3", "train.learning_rate=0.02"),
            table.parent / "cache",
            accelerator="cpu",
        )
        result = build_bundle(build, place / "small", report=messages.append)
        assert result.failed == {}
    return build, place / "small", trained, messages


Built = tuple[Build, Path, list[str], list[str]]


def test_build_bundle_makes_complete_bundle(built: Built) -> None:
    build, place, trained, _ = built
    assert trained == ["c-fold-1", "c-fold-2", "whole-fold-1", "whole-fold-2"]
    bundle = Bundle.open(place)
    assert all(result.passed for result in check_bundle(bundle))
    assert [(member.name, member.weight) for member in bundle.members] == [
        *(("c-fold-1", 1.5), ("c-fold-2", 1.5), ("whole-fold-1", 0.5), ("whole-fold-2", 0.5)),
    ]
    assert not any(member.mirror for member in bundle.members)
    assert bundle.finds_hands
    assert bundle.manifest.title == "A small one"
    aside = {radiograph.id for radiograph in set_aside(load_recipe("residual"), radiographs_of(build.radiographs))}
    assert bundle.manifest.metrics["radiographs"] == len(aside) == 8  # 20 %
    assert set(bundle.manifest.recipe["c-fold-2"]) == set(load_recipe("full-c").to_dict())


def test_out_of_fold_table_of_build(built: Built) -> None:
    """Radiographs out of fold are those that train each by networks that did not see it."""
    build, _, _, messages = built
    radiographs = {radiograph.id: radiograph for radiograph in radiographs_of(build.radiographs)}
    table = read_predictions(build.out_of_fold)
    runs = planned_runs(build.plan, build.changes)
    aside = {radiograph.id for radiograph in set_aside(runs[0].recipe, list(radiographs.values()))}
    single: dict[str, dict[str, float]] = defaultdict(dict)
    for run in runs:
        own = read_predictions(build.folder(run) / "predictions.csv")
        trained_on = set(read_run_record(build.folder(run))["train"])
        assert trained_on.isdisjoint(own.ids)
        parts = dict(zip(own.ids, own.group("part"), strict=True))
        assert {radiograph_id for radiograph_id, part in parts.items() if part == "validation"} == aside
        in_fold = {one: age for one, age in zip(own.ids, own.age_months, strict=True) if parts[one] == "fold"}
        single[run.network.name] |= in_fold
    assert set(single["whole"]) == set(radiographs) - aside
    assert set(table.ids) == set(single["whole"]) == set(single["c"])
    assert f"{len(table)} radiographs; 0 left out" in messages[-1]
    for radiograph_id, label, age, c, whole in zip(
        table.ids, table.boneage_months, table.age_months, table.group("c"), table.group("whole"), strict=True
    ):
        assert label == radiographs[radiograph_id].boneage_months
        assert (float(c), float(whole)) == pytest.approx(
            (single["c"][radiograph_id], single["whole"][radiograph_id]), abs=1e-2
        )
        assert age == pytest.approx((3 * single["c"][radiograph_id] + single["whole"][radiograph_id]) / 4, abs=1e-2)


def test_build_bundle_calibrated_and_measured(built: Built) -> None:
    """The bundle is calibrated by them and measured so."""
    build, place, _, _ = built
    bundle = Bundle.open(place)
    runs, radiographs = planned_runs(build.plan, build.changes), radiographs_of(build.radiographs)
    tables = {run.name: read_predictions(build.folder(run) / "predictions.csv") for run in runs}
    table = read_predictions(build.out_of_fold)
    disagreement = fold_disagreement(runs, tables, radiographs, {})
    assert min(disagreement.values()) > 0
    assert bundle.manifest.calibration == calibrate(table.sexes, table.boneage_months, table.age_months, disagreement)
    aside = set_aside(runs[0].recipe, radiographs)
    answers = [boneage.assess(radiograph.image, radiograph.sex, bundle).estimate for radiograph in aside]
    assert all(answer.is_calibrated for answer in answers)
    errors = [
        abs(answer.age_months - radiograph.boneage_months) for answer, radiograph in zip(answers, aside, strict=True)
    ]
    assert bundle.manifest.metrics["mad_months"] == pytest.approx(np.mean(errors), abs=0.05)
    # Members of the bundle estimate what the tables of their runs state for the same radiographs.
    for run in runs:
        reported = dict(zip(tables[run.name].ids, tables[run.name].age_months, strict=True))
        for radiograph, answer in zip(aside, answers, strict=True):
            assert answer.member_ages_months[run.name] == pytest.approx(reported[radiograph.id], abs=0.75)


def test_build_bundle_keeps_and_continues_runs(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished runs are kept, and interrupted ones are resumed."""
    build, place, _, _ = built
    trained = here(monkeypatch)
    monkeypatch.setattr(building, "release", lambda *_, **__: None)
    runs = planned_runs(build.plan, build.changes)
    weights = {run.name: (build.folder(run) / "last.ckpt").stat().st_mtime_ns for run in runs}
    messages: list[str] = []
    build_bundle(build, place.parent / "again", report=messages.append)
    assert (trained, messages[0]) == ([], "4 of 4 networks are done already")
    before = (build.runs / "whole-fold-2" / "predictions.csv").read_bytes()
    (build.runs / "whole-fold-2" / "predictions.csv").unlink()
    build_bundle(build, place.parent / "again", report=messages.append)
    assert trained == ["whole-fold-2"]
    assert (build.runs / "whole-fold-2" / "predictions.csv").read_bytes() == before
    assert weights == {name: (build.runs / name / "last.ckpt").stat().st_mtime_ns for name in weights}


def test_build_bundle_adds_networks_to_kept_ones(
    built: Built, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks that a bundle has are not trained again, have the plan's weights, and are calibrated with the new."""
    build, place, _, _ = built
    trained = here(monkeypatch)
    recipe = str(table.parent / "tiny.toml")
    networks = (PlannedNetwork("whole", recipe, (), 2, 2.0), PlannedNetwork("new", recipe, ("train.seed=5",), 2))
    plan = replace(build.plan, networks=networks, version="2")
    request = replace(build, plan=plan, runs=tmp_path / "runs", kept=str(place))
    messages: list[str] = []
    result = build_bundle(request, tmp_path / "more", report=messages.append)
    assert trained == ["new-fold-1", "new-fold-2"]
    bundle, kept = Bundle.open(tmp_path / "more"), Bundle.open(place)
    assert result.released is not None
    assert [(member.name, member.weight) for member in bundle.members] == [
        *(("whole-fold-1", 1.0), ("whole-fold-2", 1.0), ("new-fold-1", 0.5), ("new-fold-2", 0.5)),
    ]
    assert all(one.passed for one in check_bundle(bundle))
    graphs = {member.name: member.sha256 for member in kept.members}
    assert all(graphs[member.name] == member.sha256 for member in bundle.members[:2])
    assert bundle.manifest.metrics["radiographs"] == 8
    table_of_both = read_predictions(request.out_of_fold)
    former = read_predictions(build.out_of_fold)
    ages = dict(zip(former.ids, map(float, former.group("whole")), strict=True))
    whole = np.array([float(age) for age in table_of_both.group("whole")])
    np.testing.assert_allclose(whole, [ages[one] for one in table_of_both.ids], atol=1.0)  # weights of 8 bits


def test_build_bundle_rejects_before_training(
    built: Built, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans whose networks cannot be joined are rejected before anything is trained."""
    build, place, _, _ = built
    trained = here(monkeypatch)

    def rejected(changed: Build, directory: Path = tmp_path / "no") -> str:
        return code_of(lambda: build_bundle(changed, directory, report=print))

    assert rejected(build, place) == "bundle_exists"
    assert rejected(replace(build, changes=(*build.changes, "train.epochs=5"))) == "recipe_changed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "boneage.train.data.hands.HANDS_VERSION", 999
        )  # hands are found otherwise than when these were trained
        assert rejected(build) == "recipe_changed"
    few = tmp_path / "radiographs.csv"
    few.write_text("\n".join(table.read_text(encoding="utf-8").splitlines()[:3]) + "\n", encoding="utf-8")
    assert rejected(replace(build, radiographs=few, runs=tmp_path / "runs")) == "table_split"
    assert trained == []
    assert not (tmp_path / "no").exists()


def test_build_bundle_failed_training_makes_no_bundle(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here(monkeypatch)
    damaged = tmp_path / "runs" / "whole" / "last.ckpt"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"no weights")
    plan = Plan("small", "A small one", (PlannedNetwork("whole", str(table.parent / "tiny.toml")),))
    build = Build(plan, table, tmp_path / "runs", table.parent / "radiographs", SMALL, table.parent / "cache", "cpu")
    done = build_bundle(build, tmp_path / "small", report=print)
    assert (done.released, done.failed) == (None, {"whole": 5})
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("name", ["full-a", "full-b", "full-c", "full-d", "full-e"])
def test_planned_runs_full_train_on_few_radiographs(name: str, table: Path, tmp_path: Path) -> None:
    recipe = load_recipe(name, (*SMALL, f'data.hands="{table.parent / "hands"}"', "data.folds=5", "data.fold=5"))
    finished = train(
        recipe,
        radiographs_of(table),
        tmp_path / name,
        cache_folder=table.parent / "cache",
        engine=Engine("cpu", 1),
        quiet=True,
    )
    assert np.isfinite(finished.state.history[-1]["mad_months"])
    assert recipe.view.region == load_plan("full").networks["abcde".index(name[-1])].recipe[-1].upper()
