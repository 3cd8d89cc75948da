"""Plans: the shipped ones are valid, folds share a network's weight, and each fault is rejected with its place."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.errors import RecipeError
from boneage.train.bundle.plan import Plan, PlannedNetwork, load_plan, planned_runs, shipped_plans
from boneage.train.recipe import shipped_recipes

PLAN = """
name = "small"
title = "A small bundle"
hands = "my hands"
[[networks]]
name = "a"
recipe = "registered-a"
changes = ["train.epochs=20", "train.seed=7"]
folds = 3
weight = 2.0
[[networks]]
name = "whole"
recipe = "own.toml"
"""


def write(folder: Path, text: str = PLAN) -> Path:
    own = shipped_recipes()["residual"].read_text(encoding="utf-8")
    (folder / "own.toml").write_text(own.replace("seed = ", "seed = 4  # "), encoding="utf-8")
    (folder / "plan.toml").write_text(text, encoding="utf-8")
    return folder / "plan.toml"


@pytest.mark.parametrize("name", sorted(shipped_plans()))
def test_planned_runs_shipped_plan(name: str) -> None:
    plan = load_plan(name)
    runs = planned_runs(plan)
    assert (
        len({run.name for run in runs})
        == len(runs)
        == sum(network.kept_folds or network.folds or 1 for network in plan.networks)
    )
    if any(run.recipe.view.needs_hand for run in runs):
        assert plan.hands
    assert plan.title
    assert plan.licence


def test_planned_runs_full_has_regions_and_bones_in_five_folds() -> None:
    recipes = [run.recipe for run in planned_runs(load_plan("full"))]
    assert [recipe.view.region for recipe in recipes] == [*"AAAAABBBBBCCCCCDDDDDEEEEE", *["bones"] * 5]
    assert (recipes[0].view.height, recipes[0].view.width) == (512, 384)
    assert {recipe.train.loss for recipe in recipes} == {"label-distribution"}


def test_planned_runs_plan_recipes_and_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = load_plan(write(tmp_path))
    assert (plan.version, plan.weight_bits) == ("1", 16)
    monkeypatch.chdir(tmp_path.parent)  # a recipe's path is relative to the plan's folder, not to this one
    runs = planned_runs(plan, ("train.epochs=2", "train.resize=[]"))
    assert [(run.name, run.fold) for run in runs] == [("a-fold-1", 1), ("a-fold-2", 2), ("a-fold-3", 3), ("whole", 0)]
    assert [(run.recipe.data.folds, run.recipe.data.fold) for run in runs] == [(3, 1), (3, 2), (3, 3), (0, 0)]
    assert {(run.recipe.train.epochs, run.recipe.data.hands) for run in runs} == {(2, "my hands")}
    assert [run.recipe.train.seed for run in runs] == [7, 7, 7, 4]
    assert planned_runs(plan)[0].recipe.train.epochs == 20


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.01, 100.0)), min_size=1, max_size=4),
    st.integers(2, 6),
    st.integers(0, 2),
)
def test_planned_runs_folds_share_the_weight(networks: list[tuple[bool, float]], folds: int, kept: int) -> None:
    planned = [
        PlannedNetwork(f"n{n}", "residual", (), folds * cut, weight, kept * cut)
        for n, (cut, weight) in enumerate(networks)
    ]
    runs = planned_runs(Plan("p", "title", tuple(planned)))
    for network, (cut, _) in zip(planned, networks, strict=True):
        own = [run.weight for run in runs if run.network is network]
        assert len(own) == ((kept or folds) if cut else 1)
        assert sum(own) == pytest.approx(network.weight)
        assert len(set(own)) == 1


NETWORK = '[[networks]]\nname = "a"\nrecipe = "residual"\n'
HEAD = 'name = "x"\ntitle = "x"\n'


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        (HEAD, "networks is missing"),
        (HEAD + "networks = []", "networks must not be empty"),
        (HEAD + "seed = 3\n" + NETWORK, "seed is unknown"),
        (HEAD + NETWORK + "fold = 3", r"networks\[0\].fold is unknown"),
        (HEAD + NETWORK + 'folds = "3"', "folds"),
        (HEAD + NETWORK + "folds = 1", "at least 2"),
        (HEAD + NETWORK + "folds = -2", "at least 0"),
        (HEAD + NETWORK + "weight = 0.0", r"networks\[0\].weight must be above 0"),
        (HEAD + NETWORK + "kept_folds = 1", r"networks\[0\].kept_folds must be at most the folds"),
        (HEAD + NETWORK + "folds = 2\nkept_folds = 3", r"networks\[0\].kept_folds must be at most the folds"),
        (HEAD + NETWORK + NETWORK, r"networks\[1\].name gives a second member the name"),
        (
            HEAD + NETWORK + "folds = 2\n" + NETWORK.replace('"a"', '"a-fold-1"'),
            r"networks\[1\].name gives a second member the name",
        ),
        (
            HEAD + NETWORK + "folds = 2\n" + NETWORK.replace('"a"', '"b"') + "folds = 3",
            r"networks\[1\].folds must be the same",
        ),
        (HEAD + NETWORK.replace('"a"', '"A network"'), "small letters"),
        (HEAD + "weight_bits = 4\n" + NETWORK, "weight_bits"),
        ('name = "../x"\ntitle = "x"\n' + NETWORK, "small letters"),
        ("name = ", "not TOML"),
    ],
)
def test_load_plan_fault_is_named(toml: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=word) as caught:
        load_plan(write(tmp_path, toml))
    assert caught.value.code == "recipe_invalid"


def test_networks_may_keep_different_folds(tmp_path: Path) -> None:
    """A network may have fewer folds than the others; the rest of the radiographs has no estimate out of fold."""
    toml = HEAD + NETWORK + "folds = 3\nkept_folds = 2\n" + NETWORK.replace('"a"', '"b"') + "folds = 3"
    runs = planned_runs(load_plan(write(tmp_path, toml)))
    assert [run.name for run in runs] == ["a-fold-1", "a-fold-2", "b-fold-1", "b-fold-2", "b-fold-3"]


def test_load_plan_unknown_lists_the_shipped() -> None:
    with pytest.raises(RecipeError, match="full"):
        load_plan("no-plan")


@pytest.mark.parametrize(
    "changes",
    [
        ("data.folds=2", "data.fold=1"),
        ("train.epochs=0",),
        ('task="mask"', 'data.targets="x.csv"'),
        ("data.split_seed=2",),
    ],
)
def test_planned_runs_recipe_that_does_not_fit(changes: tuple[str, ...]) -> None:
    plan = Plan("p", "title", (PlannedNetwork("a", "residual", changes, 2), PlannedNetwork("b", "residual")))
    with pytest.raises(RecipeError) as caught:
        planned_runs(plan)
    assert caught.value.code == "recipe_invalid"


def test_plan_documented_example_has_its_keys() -> None:
    """The documentation's example has the keys of the dataclasses, so that a copy of it is read."""
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    assert set(tomllib.loads(example)) <= set(Plan.__dataclass_fields__)
    assert set(tomllib.loads(example)["networks"][0]) == set(PlannedNetwork.__dataclass_fields__)
