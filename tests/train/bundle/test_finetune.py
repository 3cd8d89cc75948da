"""A bundle adapted to other films is better on them, says so honestly, and is whole."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
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
from boneage.errors import BoneageError
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledFilm, read_films
from boneage.train.bundle import finetune as tuning
from boneage.train.bundle.finetune import Line, Tuned, TuningOptions, bend, finetune, paired_difference
from boneage.train.run.loop import Engine, run_facts
from boneage.train.run.tasks import AgeUnit
from tests.bundles import tiny_bundle
from tests.train.drawn_radiographs import draw_folder
from tests.train.tuned_bundles import bundle_of, random_net, recipe_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

CPU = Engine("cpu", 1)
OPTIONS = TuningOptions(epochs=2, learning_rate=0.02, folds=2, data="drawn phantoms")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """One net for both sexes, asked about mirror images too, and one for girls."""
    recipe = recipe_of("residual")
    girls = replace(recipe, data=replace(recipe.data, sexes="F"))
    return bundle_of(
        tmp_path_factory.mktemp("bundles") / "random",
        {"both": recipe, "girls": girls},
        both={"mirror": True, "weight": 2.0},
        girls={"sexes": (Sex.FEMALE,)},
    )


@pytest.fixture(scope="module")
def films(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> list[LabelledFilm]:
    """Phantoms of a population that is two years ahead of what the bundle says of them."""
    table = draw_folder(tmp_path_factory.mktemp("phantoms"), count=40)
    drawn = read_films(table, table.parent / "films")
    said = [boneage.assess(film.image, film.sex, bundle).age_months for film in drawn]
    noise = np.random.default_rng(0).normal(0, 2, len(drawn))
    return [
        replace(film, boneage_months=float(np.clip(age + 24 + more, 0, 240)))
        for film, age, more in zip(drawn, said, noise, strict=True)
    ]


@pytest.fixture(scope="module")
def tuned(bundle: Bundle, films: list[LabelledFilm], tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    """Tests only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "FEWEST_TO_CALIBRATE", 20)
        patch.setattr(tuning, "FAMILIAR_FILMS", 10)
        return finetune(bundle, films, tmp_path_factory.mktemp("out") / "ours", OPTIONS, engine=CPU, quiet=True)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(BoneageError) as caught:
        act()
    return caught.value.code


def held_out(directory: Path) -> list[dict[str, str]]:
    with directory.with_name(f"{directory.name}.runs").joinpath("held-out.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_new_bundle_is_better_on_films_held_out_and_says_so(tuned: Tuned) -> None:
    assert tuned.after < tuned.before
    assert tuned.difference.value == pytest.approx(tuned.after - tuned.before)
    assert tuned.helped
    assert tuned.way == min(tuned.out_of_fold, key=lambda way: tuned.out_of_fold[way])
    assert set(tuned.out_of_fold) == {"unchanged", "line", "nets"}
    assert tuned.training_films + tuned.held_out_films == 40
    manifest = tuned.bundle.manifest
    assert f"{tuned.held_out_films} of these films were held out" in manifest.data
    assert "no gain" not in manifest.data
    assert manifest.name == "random-tuned"
    assert manifest.metrics["mad_months"] == pytest.approx(tuned.after, abs=0.01)
    assert manifest.metrics["films"] == tuned.held_out_films


def test_the_new_bundle_is_whole_and_like_the_old_one(tuned: Tuned, bundle: Bundle) -> None:
    results = tuned.bundle.check()
    assert all(result.passed for result in results), results
    for new, old in zip(tuned.bundle.members, bundle.members, strict=True):
        assert (new.name, new.view, new.mirror, new.sexes, new.weight) == (
            *(old.name, old.view, old.mirror, old.sexes, old.weight),
        )
        assert new.familiar is not None
    assert tuned.bundle.manifest.calibration is not None
    assert str(tuned.bundle.directory.parent) not in (tuned.bundle.directory / "bundle.json").read_text()


def test_what_is_told_of_the_films_held_out_is_what_assessments_give(
    tuned: Tuned, bundle: Bundle, films: list[LabelledFilm]
) -> None:
    rows = held_out(tuned.bundle.directory)
    assert len(rows) == tuned.held_out_films
    by_id = {film.id: film for film in films}
    for row in rows:
        film = by_id[row["id"]]
        assert float(row["boneage"]) == film.boneage_months
        for column, asked in (("before", bundle), ("age_months", tuned.bundle)):
            said = boneage.assess(film.image, film.sex, asked).age_months
            assert float(row[column]) == pytest.approx(said, abs=0.02)


def test_no_film_held_out_is_learnt_from(tuned: Tuned) -> None:
    kept = {row["id"] for row in held_out(tuned.bundle.directory)}
    runs = tuned.bundle.directory.with_name("ours.runs")
    learnt = {film for record in runs.glob("*/*/recipe.json") for film in run_facts(record.parent)["train"]}
    assert len(list(runs.glob("*/*/recipe.json"))) >= 4
    assert not kept & learnt


def test_done_runs_are_kept_and_give_the_same_again(
    tuned: Tuned, bundle: Bundle, films: list[LabelledFilm], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "FEWEST_TO_CALIBRATE", 20)
    monkeypatch.setattr(tuning, "FAMILIAR_FILMS", 10)
    directory = tuned.bundle.directory
    checkpoints = {path: path.stat().st_mtime_ns for path in directory.parent.glob("ours.runs/*/*/last.ckpt")}
    again = finetune(bundle, films, directory, OPTIONS, engine=CPU, quiet=True, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    assert replace(again, bundle=tuned.bundle) == tuned
    assert code_of(lambda: finetune(bundle, films, directory, OPTIONS)) == "bundle_exists"
    other = replace(OPTIONS, epochs=3)
    assert code_of(lambda: finetune(bundle, films, directory, other, engine=CPU, quiet=True, overwrite=True)) == (
        "recipe_changed"
    )


def test_what_does_not_help_is_said(bundle: Bundle, films: list[LabelledFilm], tmp_path: Path) -> None:
    # Labels that no film can explain; nets for both sexes alone, and no cross-validation that would turn this away.
    shuffled = np.random.default_rng(0).permutation([film.boneage_months for film in films])
    bad = [replace(film, boneage_months=float(age)) for film, age in zip(films, shuffled, strict=True)]
    for number, film in enumerate(bad):
        if number % 5 == 0:
            said = boneage.assess(film.image, film.sex, bundle).age_months
            bad[number] = replace(film, boneage_months=round(said, 1), split="validation")
        else:
            bad[number] = replace(film, split="train")
    told = finetune(bundle, bad, tmp_path / "bad", replace(OPTIONS, folds=0, epochs=1), engine=CPU, quiet=True)
    assert not told.helped
    assert told.way == "nets"
    assert told.out_of_fold == {}
    assert told.held_out_films == 8
    assert "no gain is shown" in told.bundle.manifest.data
    assert told.bundle.manifest.calibration is None


def test_too_few_films_and_bundles_without_recipes_are_refused(
    bundle: Bundle, films: list[LabelledFilm], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert code_of(lambda: finetune(bundle, films[:10], out)) == "table_split"
    assert code_of(lambda: finetune(bundle, [replace(film, split="train") for film in films], out)) == "table_split"
    tiny = Bundle.open(tiny_bundle(tmp_path / "tiny"))
    assert code_of(lambda: finetune(tiny, films, out)) == "bundle_mismatch"
    finder = Bundle.open(tiny_bundle(tmp_path / "finder", views=(), hand=True, metrics={}))
    assert code_of(lambda: finetune(finder, films, out)) == "bundle_mismatch"
    assert not out.exists()


def test_films_held_out_are_drawn_by_sex(films: list[LabelledFilm]) -> None:
    parts = tuning._split(films, TuningOptions(held_out_share=0.25))
    for sex in Sex:
        assert sum(film.split == "validation" for film in parts if film.sex == sex) == 5
    assert {film.id: film.split for film in parts} == {
        film.id: film.split for film in tuning._split(films[::-1], TuningOptions(held_out_share=0.25))
    }


# --- lines ---

months = st.floats(0.0, 240.0)


@given(
    slope=st.floats(0.6, 1.8),
    shift=st.floats(-30, 30),
    unit=st.tuples(st.floats(60, 180), st.floats(10, 80)),
    to=st.tuples(st.floats(60, 180), st.floats(10, 80)),
)
@settings(max_examples=20, deadline=None)
def test_a_bent_net_answers_through_the_line(
    slope: float, shift: float, unit: tuple[float, float], to: tuple[float, float]
) -> None:
    net = random_net(recipe_of("residual"))
    line, old, new = Line(shift, slope), AgeUnit(*unit), AgeUnit(*to)
    view, sex = torch.randn(4, 1, 64, 48, generator=torch.Generator().manual_seed(0)), torch.eye(2)[[0, 1, 0, 1]]
    with torch.no_grad():
        expected = line(old.to_months(net(view, sex)).double().numpy())
        bend(net, old, line, new)
        np.testing.assert_allclose(new.to_months(net(view, sex)).double().numpy(), expected, atol=0.01)


@given(slope=st.floats(0.7, 1.4), shift=st.floats(-15, 15), middle=st.floats(90, 150))
@settings(max_examples=20, deadline=None)
def test_a_bent_distribution_moves_with_the_line(slope: float, shift: float, middle: float) -> None:
    net = random_net(recipe_of("residual-distribution"))
    last: Any = net.head.dense[-1]
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.copy_(-((net.head.months - middle) ** 2) / (2 * 8.0**2))
        view, sex = torch.randn(2, 1, 64, 48, generator=torch.Generator().manual_seed(0)), torch.eye(2)
        unit = AgeUnit.of_range()
        line = Line(shift + 120 * (1 - slope), slope)
        expected = line(unit.to_months(net(view, sex)).double().numpy())
        bend(net, unit, line, unit)
        np.testing.assert_allclose(unit.to_months(net(view, sex)).double().numpy(), expected, atol=0.5)


@given(st.lists(months, min_size=2, max_size=40), st.floats(-40, 40), st.floats(0.6, 1.9))
def test_a_line_is_found_again(said: list[float], shift: float, slope: float) -> None:
    ages = np.array(said)
    line = Line.fitted(ages, shift + slope * ages)
    np.testing.assert_allclose(line(ages), shift + slope * ages, atol=0.1 + 40 * (np.ptp(ages) < 1))


def test_a_line_that_no_bundle_may_have_becomes_a_shift() -> None:
    ages = np.array([50.0, 100.0, 150.0])
    assert Line.fitted(ages, -ages) == Line(-200.0, 1.0)
    assert Line.fitted(np.full(3, 100.0), ages) == Line(0.0, 1.0)


@given(st.lists(st.tuples(months, months, months), min_size=1, max_size=30))
@settings(deadline=None)
def test_the_change_is_that_of_the_errors(films: list[tuple[float, float, float]]) -> None:
    labels, before, after = np.array(films).T
    change = paired_difference(labels, before, after)
    assert change.value == pytest.approx(np.abs(after - labels).mean() - np.abs(before - labels).mean(), abs=1e-9)
    assert change.low <= change.high
    back = paired_difference(labels, after, before)
    assert (back.low, back.high) == pytest.approx((-change.high, -change.low), abs=1e-9)
    assert not math.isnan(change.low)
