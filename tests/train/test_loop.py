"""The training loop: it learns, keeps what it promises, and a killed run ends like an unbroken one."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from boneage.errors import RecipeError, TableError
from boneage.films import read_films
from boneage.train import loop
from boneage.train.recipe import Recipe, Schedule, load_recipe
from tests.train.films import TINY, draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)


@pytest.fixture(scope="module")
def films_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("phantoms"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    return load_recipe(tmp_path / "tiny.toml")


def fit(recipe: Recipe, table: Path, folder: Path, **options: object) -> loop.RunState:
    films = read_films(table, table.parent / "films")
    engine = loop.Engine(accelerator="cpu", devices=1)
    return loop.train(recipe, films, folder, engine=engine, quiet=True, **options)  # type: ignore[arg-type]


def curve(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["mad_months"]) for row in csv.DictReader(file)]


def test_a_run_learns_and_keeps_its_record(films_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    longer = load_recipe(
        tmp_path / "tiny.toml",
        (
            *("train.epochs=24", "train.average_decay=0.0", "train.resize=[]", "train.batch_size=6"),
            *("train.learning_rate=0.01", "net.options.dropout=0.0", "augment.flip=0.0"),
            *("augment.rotation_degrees=0.0", "augment.shift=0.0", "augment.zoom=0.0"),
        ),
    )
    state = fit(longer, films_table, tmp_path / "run")
    assert state.epoch == 24
    losses = [row["loss"] for row in state.history]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "recipe.json",
        "metrics.csv",
        "curve.png",
        "tensorboard",
        "last.ckpt",
        "best.ckpt",
    }
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    loaded, _, unit, kept = loop.load_run(tmp_path / "run")
    assert loaded == longer
    assert unit.spread_months > 10
    assert kept.history[-1]["mad_months"] == state.best_mad_months  # best.ckpt is of the best epoch


def test_a_finished_run_is_not_trained_again_and_another_recipe_is_refused(
    films_table: Path, tmp_path: Path, recipe: Recipe
) -> None:
    first = fit(recipe, films_table, tmp_path / "run")
    assert fit(recipe, films_table, tmp_path / "run").history == first.history
    other = load_recipe(tmp_path / "tiny.toml", ("train.learning_rate=0.1",))
    with pytest.raises(RecipeError) as error:
        fit(other, films_table, tmp_path / "run")
    assert error.value.code == "recipe_changed"


def test_a_run_killed_in_mid_epoch_ends_with_the_curve_of_the_unbroken_one(
    films_table: Path, tmp_path: Path, recipe: Recipe
) -> None:
    command = [
        *(sys.executable, "-m", "boneage", "train", str(tmp_path / "tiny.toml"), "--films", str(films_table)),
        *("--images", str(films_table.parent / "films"), "--accelerator", "cpu", "--devices", "1", "--quiet"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", str(tmp_path / "whole")], check=True, env=environment, capture_output=True)
    broken = tmp_path / "broken"
    with subprocess.Popen(
        [*command, "--out", str(broken)], env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 120
        while not (broken / "last.ckpt").exists() and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert 1 <= len(curve(broken)) < 4
    subprocess.run([*command, "--out", str(broken)], check=True, env=environment, capture_output=True)
    assert np.allclose(curve(broken), curve(tmp_path / "whole"), atol=1e-3)


@pytest.mark.parametrize("name", ["recipe.json", "last.ckpt"])
def test_a_damaged_run_is_told(films_table: Path, tmp_path: Path, recipe: Recipe, name: str) -> None:
    del recipe
    short = load_recipe(tmp_path / "tiny.toml", ("train.epochs=2", "train.average_decay=0.0"))
    fit(short, films_table, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(b"{no")
    with pytest.raises(RecipeError, match="damaged"):
        loop.load_run(tmp_path / "run", "last")


def test_only_epochs_of_full_size_can_be_the_best() -> None:
    state = loop.RunState()
    assert not state.add({"mad_months": 1.0}, full_size=False)
    assert state.add({"mad_months": 9.0}, full_size=True)
    assert not state.add({"mad_months": 10.0}, full_size=True)
    assert (state.best_mad_months, state.stale_epochs, state.epoch) == (9.0, 1, 3)


def test_training_stops_early(films_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    stubborn = load_recipe(
        tmp_path / "tiny.toml",
        (
            *("train.patience=2", "train.epochs=30", "train.resize=[]"),
            *("train.learning_rate=1e-12", "train.average_decay=0.0"),
        ),
    )
    assert fit(stubborn, films_table, tmp_path / "run").epoch < 30


def test_a_net_of_one_size_is_not_resized(tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    with pytest.raises(RecipeError, match="one size"):
        loop.new_net(load_recipe(tmp_path / "tiny.toml", ('net.name="souza-a"', "net.options={}")))


def test_a_diverging_run_says_so(films_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    wild = load_recipe(tmp_path / "tiny.toml", ("train.learning_rate=1e38",))
    with pytest.raises(RecipeError) as error:
        fit(wild, films_table, tmp_path / "run")
    assert error.value.code == "recipe_diverged"


def test_a_split_column_is_kept_and_limits_hold(films_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    films = read_films(films_table, films_table.parent / "films")
    training, validation = loop.choose_films(recipe, films)
    assert (len(training), len(validation)) == (18, 6)
    assert not {film.id for film in training} & {film.id for film in validation}
    limited = load_recipe(tmp_path / "tiny.toml", ("data.train_limit=5", "data.validation_limit=2"))
    assert [len(part) for part in loop.choose_films(limited, films)] == [5, 2]
    with pytest.raises(TableError):
        loop.choose_films(recipe, [])


def test_one_cycle_rises_and_falls_to_nearly_nothing() -> None:
    schedule = Schedule(learning_rate=1.0, learning_rate_curve="one-cycle", warm_up=0.2)
    rates = [loop.learning_rate_at(schedule, progress) for progress in np.linspace(0, 1, 101)]
    assert max(rates) == pytest.approx(1.0)
    assert np.argmax(rates) == 20
    assert rates[-1] < 0.002
    assert all(rate > 0 for rate in rates)
    assert loop.learning_rate_at(Schedule(learning_rate=0.5), 0.7) == 0.5


def test_the_average_follows_the_net() -> None:
    net, average = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        net.weight.fill_(3.0)
    net.state_dict()["num_batches_tracked"].fill_(7)
    loop.update_average(average, net, 0.9, step=1000)
    assert torch.allclose(average.weight, torch.full((2,), 1.2))
    assert int(average.state_dict()["num_batches_tracked"]) == 7


def test_ages_come_back_from_the_unit_of_training() -> None:
    unit = loop.AgeUnit(127.0, 41.0)
    months = torch.tensor([0.0, 100.0, 228.0])
    assert torch.allclose(unit.to_months(unit.from_months(months)), months)
