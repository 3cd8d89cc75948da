"""The training loop: it learns, keeps what it promises, and a killed run ends like an unbroken one."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from boneage.errors import RecipeError
from boneage.sex import Sex
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.splits import choose_radiographs
from boneage.train.recipe import Recipe, load_recipe
from boneage.train.run import loop
from boneage.train.run.engine import Engine
from boneage.train.run.run_folder import RunState
from boneage.train.run.weights import load_run, new_network
from tests.error_codes import code_of
from tests.train.drawn_radiographs import TINY, draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)


@pytest.fixture(scope="module")
def radiographs_table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("phantoms"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    return load_recipe(tmp_path / "tiny.toml")


def of_distributions(recipe: Recipe, **train: Any) -> Recipe:
    """The recipe of a network that answers, and learns, by distributions."""
    network = replace(recipe.network, name="residual-distribution")
    schedule = replace(recipe.train, loss="label-distribution", age_unit="range", **train)
    return replace(recipe, network=network, train=schedule)


CPU = Engine(accelerator="cpu", devices=1)


def radiographs_of(table: Path) -> list[LabelledRadiograph]:
    return read_radiographs(table, table.parent / "radiographs")


def fit(recipe: Recipe, table: Path, folder: Path) -> RunState:
    return loop.train(recipe, radiographs_of(table), folder, engine=CPU, quiet=True).state


def command(folder: Path, table: Path, *more: str) -> list[str]:
    """The arguments of ``python`` that train ``tiny.toml`` in the folder ``run`` beside it."""
    return [
        *(
            "-m",
            "boneage",
            "train",
            str(folder / "tiny.toml"),
            "--radiographs",
            str(table),
            "--out",
            str(folder / "run"),
        ),
        *("--images", str(table.parent / "radiographs"), "--accelerator", "cpu", "--quiet", *more),
    ]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def wait_for(path: Path) -> None:
    until = time.monotonic() + 120
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.005)


def curve(folder: Path) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["mad_months"]) for row in csv.DictReader(file)]


def test_train_lowers_loss_and_writes_record(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    longer = load_recipe(
        tmp_path / "tiny.toml",
        (
            *("train.epochs=24", "train.average_decay=0.0", "train.resize=[]", "train.batch_size=6"),
            *("train.learning_rate=0.01", "network.options.dropout=0.0", "augment.flip=0.0"),
            *("augment.rotation_degrees=0.0", "augment.shift=0.0", "augment.zoom=0.0"),
        ),
    )
    state = fit(longer, radiographs_table, tmp_path / "run")
    assert state.epoch == 24
    losses = [row["loss"] for row in state.history]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "recipe.json",
        "run.lock",
        "metrics.csv",
        "curve.png",
        "tensorboard",
        "last.ckpt",
        "best.ckpt",
    }
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    loaded, _, unit, kept = load_run(tmp_path / "run")
    assert loaded == longer
    assert unit.spread_months > 10
    assert kept.history[-1]["mad_months"] == state.best  # best.ckpt is of the best epoch


def test_train_finished_run_and_other_recipe(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    """A finished run is not trained again and another recipe is rejected."""
    first = fit(recipe, radiographs_table, tmp_path / "run")
    assert fit(recipe, radiographs_table, tmp_path / "run").history == first.history
    other = load_recipe(tmp_path / "tiny.toml", ("train.learning_rate=0.1",))
    with pytest.raises(RecipeError, match=r"differs in recipe\.train\.learning_rate\.") as error:
        fit(other, radiographs_table, tmp_path / "run")
    assert error.value.code == "recipe_changed"


def test_train_rejects_other_labels_or_processes(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    fit(recipe, radiographs_table, tmp_path / "run")
    radiographs = radiographs_of(radiographs_table)
    swapped = [
        replace(radiographs[0], sex=Sex.MALE if radiographs[0].sex is Sex.FEMALE else Sex.FEMALE),
        *radiographs[1:],
    ]
    with pytest.raises(RecipeError, match=r"differs in labels\.0\."):
        loop.train(recipe, swapped, tmp_path / "run", engine=CPU, quiet=True)
    path = tmp_path / "run" / "recipe.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "processes": 2}))
    with pytest.raises(RecipeError, match=r"differs in processes\."):
        fit(recipe, radiographs_table, tmp_path / "run")


def test_train_leaves_out_unreadable_radiographs(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    radiographs = radiographs_of(radiographs_table)
    training, validation = choose_radiographs(recipe, radiographs)
    one = [
        replace(radiograph, image=tmp_path / "broken.png") if radiograph is training[0] else radiograph
        for radiograph in radiographs
    ]
    short = load_recipe(tmp_path / "tiny.toml", ("train.epochs=1", "train.resize=[]"))
    finished = loop.train(short, one, tmp_path / "run", engine=CPU, quiet=True)
    assert finished.rejected == {training[0].id: "unreadable"}
    none = [
        replace(radiograph, image=tmp_path / "broken.png") if radiograph in validation else radiograph
        for radiograph in radiographs
    ]
    assert code_of(lambda: loop.train(short, none, tmp_path / "none", engine=CPU, quiet=True)) == "table_empty"
    assert not (tmp_path / "none").exists()


# --- devices and processes ---


def test_launch_rejects_missing_devices(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    radiographs = radiographs_of(radiographs_table)
    for engine in (Engine(accelerator="gpu"), Engine(accelerator="cpu", devices=0)):
        if engine.accelerator == "gpu" and torch.cuda.is_available():
            continue
        act = partial(loop.train, recipe, radiographs, tmp_path / "run", engine=engine, quiet=True)
        assert code_of(act) == "recipe_invalid"
    assert not (tmp_path / "run").exists()


def test_train_in_two_processes_of_torchrun(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    more = ("--set", "train.epochs=2", "--set", "train.workers=1", "--set", "train.batch_size=3")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, *command(tmp_path, radiographs_table, *more)],
        check=False,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epochs, validation MAD") == 1
    assert done.stdout.startswith(f"{tmp_path / 'run'}: 2 epochs, ")
    facts = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert facts["processes"] == 2
    steps = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["optimizer"]["state"][0]["step"]
    assert int(steps) == 2 * len(facts["train"]) // 2 // 3  # each process has half of the radiographs
    one = [sys.executable, *command(tmp_path, radiographs_table, *more)]
    alone = subprocess.run(one, check=False, env=ENVIRONMENT, capture_output=True, text=True)
    assert alone.returncode == 5
    assert "differs in processes" in alone.stderr


# --- interruptions ---


def test_train_interrupted_after_current_batch(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    """One interruption ends a run after the batch under way."""
    del recipe
    more = ("--devices", "1", "--set", "train.epochs=10000", "--set", "train.workers=1")
    with subprocess.Popen(
        [sys.executable, *command(tmp_path, radiographs_table, *more)],
        **{"env": ENVIRONMENT, "stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True},  # type: ignore[call-overload]  # its many types
    ) as process:
        wait_for(tmp_path / "run" / "last.ckpt")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "error: Stopped. [stopped]"


def test_train_killed_locked_and_resumed(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    """A run killed in mid epoch lets nobody in before and ends with the curve of the unbroken one."""
    del recipe
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
        shutil.copy(tmp_path / "tiny.toml", tmp_path / name)
    whole, broken = (
        [sys.executable, *command(tmp_path / name, radiographs_table, "--devices", "1")] for name in ("whole", "broken")
    )
    subprocess.run(whole, check=True, env=ENVIRONMENT, capture_output=True)
    with subprocess.Popen(broken, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        wait_for(tmp_path / "broken" / "run" / "last.ckpt")
        process.send_signal(signal.SIGSTOP)
        second = subprocess.run(broken, check=False, env=ENVIRONMENT, capture_output=True, text=True)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert (second.returncode, "recipe_busy" in second.stderr) == (5, True)
    assert 1 <= len(curve(tmp_path / "broken" / "run")) < 4
    subprocess.run(broken, check=True, env=ENVIRONMENT, capture_output=True)
    assert np.allclose(curve(tmp_path / "broken" / "run"), curve(tmp_path / "whole" / "run"), atol=1e-3)


@pytest.mark.parametrize("name", ["recipe.json", "last.ckpt"])
def test_load_run_damaged(radiographs_table: Path, tmp_path: Path, recipe: Recipe, name: str) -> None:
    del recipe
    short = load_recipe(tmp_path / "tiny.toml", ("train.epochs=2", "train.average_decay=0.0"))
    fit(short, radiographs_table, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(b"{no")
    with pytest.raises(RecipeError, match="damaged"):
        load_run(tmp_path / "run", "last")


def test_train_stops_by_patience(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    stubborn = load_recipe(
        tmp_path / "tiny.toml",
        (
            *("train.patience=2", "train.epochs=30", "train.resize=[]"),
            *("train.learning_rate=1e-12", "train.average_decay=0.0"),
        ),
    )
    state = fit(stubborn, radiographs_table, tmp_path / "run")
    errors = curve(tmp_path / "run")
    assert len(errors) == state.epoch < 30
    assert state.epoch == int(np.argmin(errors)) + 1 + 2  # the best epoch, and two that were no better


def test_new_network_rejects_resize_of_fixed_size(tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    with pytest.raises(RecipeError, match="one size"):
        new_network(load_recipe(tmp_path / "tiny.toml", ('network.name="souza-a"', "network.options={}")))


def test_train_rejects_diverging_loss(radiographs_table: Path, tmp_path: Path, recipe: Recipe) -> None:
    del recipe
    wild = load_recipe(tmp_path / "tiny.toml", ("train.learning_rate=1e12",))
    with pytest.raises(RecipeError) as error:
        fit(wild, radiographs_table, tmp_path / "run")
    assert error.value.code == "recipe_diverged"


def test_train_by_distributions(recipe: Recipe, radiographs_table: Path, tmp_path: Path) -> None:
    """The loss falls, and the unit is the one in which such networks answer."""
    whole = fit(of_distributions(recipe, epochs=12, learning_rate=2e-2), radiographs_table, tmp_path / "whole")
    assert whole.history[-1]["loss"] < 0.97 * whole.history[0]["loss"]
    _, network, unit, _ = load_run(tmp_path / "whole", "last")
    assert network.gives_distribution
    assert (unit.mean_months, unit.spread_months) == (120.0, 120.0)


def test_train_rejects_loss_without_distribution(recipe: Recipe, radiographs_table: Path, tmp_path: Path) -> None:
    changed = replace(of_distributions(recipe), network=recipe.network)
    assert code_of(lambda: fit(changed, radiographs_table, tmp_path / "run")) == "recipe_invalid"
