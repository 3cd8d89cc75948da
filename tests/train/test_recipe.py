"""Recipes: the shipped ones are valid, and each fault is rejected with its place."""

from __future__ import annotations

import tomllib
from functools import partial

import pytest

from boneage.errors import RecipeError
from boneage.train.networks import build_hand_network, build_network
from boneage.train.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_load_recipe_shipped_round_trip(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.title
    assert parse_recipe(recipe.to_dict()) == recipe


@pytest.mark.parametrize("name", [n for n in shipped_recipes() if n != "inception-v3" and not n.endswith(tuple("fgh"))])
def test_load_recipe_shipped_builds_its_network(name: str) -> None:
    recipe = load_recipe(name)
    build = build_network if recipe.task == "age" else partial(build_hand_network, recipe.task)
    network = build(recipe.network.name, recipe.view.height, recipe.view.width, **recipe.network.options)
    assert sum(weights.numel() for weights in network.parameters()) > 0


def test_shipped_recipes_of_table_one() -> None:
    assert {f"souza-{column}" for column in "abcdefgh"} <= set(shipped_recipes())
    assert all(load_recipe(f"souza-{column}").view.height == 256 for column in "abcdefgh")


def test_load_recipe_changes_are_typed_like_toml() -> None:
    recipe = load_recipe("residual", ("train.epochs=3", "train.resize=[]", "title=other", "augment.flip=0"))
    assert (recipe.train.epochs, recipe.train.resize, recipe.title, recipe.augment.flip) == (3, (), "other", 0.0)


def test_size_at_follows_the_phases() -> None:
    recipe = load_recipe("residual", ("train.epochs=4", "train.resize=[{epochs=2,height=64,width=48}]"))
    assert [recipe.size_at(epoch) for epoch in range(4)] == [(64, 48), (64, 48), (256, 192), (256, 192)]


@pytest.mark.parametrize(
    ("toml", "word"),
    [
        ('title = "x"\nepoch = 3', "epoch is unknown"),
        ('title = "x"\n[train]\nepochs = "3"', "train.epochs must be a whole number"),
        ('title = "x"\n[train]\nepochs = 0', "train.epochs must be at least 1, not 0"),
        ('title = "x"\n[train]\nepochs = true', "train.epochs must be a whole number"),
        ('title = "x"\n[train]\noptimizer = "sgd"', "optimizer"),
        ('title = "x"\n[augment]\nflip = 2', "flip"),
        ('title = "x"\n[view]\nheight = 8', "height"),
        ('title = "x"\n[train]\nresize = [{epochs = 99, height = 64, width = 64}]', "resize"),
        ('title = "x"\n[data]\nvalidation_share = 1.0', "validation_share"),
        *((f'title = "x"\n[train]\n{key} = -1', key) for key in ("seed", "workers", "patience")),
        *((f'title = "x"\n[train]\n{key} = -1.0', key) for key in ("gradient_norm", "weight_decay")),
        *(
            (f'title = "x"\n[data]\n{key} = -1', f"data.{key} must be at least 0")
            for key in ("train_limit", "validation_limit", "split_seed")
        ),
        (f'title = "x"\n[train]\nseed = {2**32}', "seed"),
        ('title = "x"\n[train]\nlearning_rate = inf', "learning_rate"),
        ('title = "x"\n[augment]\nzoom = nan', "zoom"),
        ('title = "x"\n[train]\nresize = [{epochs = 1, height = 16, width = 64}]', "resize"),
        ('title = "x"\n[train]\nresize = [{epochs = 1, height = 64, width = 31}]', "resize"),
        ('title = "x"\n[train]\nresize = [{epochs = 0, height = 64, width = 64}]', "resize"),
        ('title = "x"\n[train]\nprecision = "16-mixed"', "precision"),
        ("[train]\nepochs = 3", "title"),
        ("view = 3\ntitle = 'x'", "view must be an object or table"),
        ('title = "x"\ntask = "sex"', "task must be one of"),
        ('title = "x"\ntask = "mask"', "data.targets is needed by the task mask"),
        ('title = "x"\n[view]\nregion = "A"', "data.hands is needed by the view A"),
        ('title = "x"\n[view]\ngrey = "hand"', "data.hands is needed by .* the grey rule hand"),
        ('title = "x"\n[train]\nviews_per_epoch = 10', "views_per_epoch"),
        *((f'title = "x"\n[augment]\n{key} = 0.1', key) for key in ("any_rotation", "inversion", "negative", "pair")),
        *(
            (f'title = "x"\ntask = "points"\n[data]\ntargets = "t.csv"\n[augment]\n{shares}', word)
            for shares, word in (
                ("frame = 1.5", "augment.frame must be at most 1"),
                ("negative = 0.6\npair = 0.6", "augment.pair and negative must be at most 1 together"),
            )
        ),
        ('title = "x"\n[data]\nheld_out = -1', "data.held_out must be at least 0"),
        *(
            (f'title = "x"\n[data]\nfolds = {folds}\nfold = {fold}', "data.folds? must")
            for folds, fold in ((3, 0), (3, 4), (1, 1), (0, 1), (-2, 0), (3, -1))
        ),
        ('title = "x"\n[train]\nwatched_radiographs = -1', "watched_radiographs"),
        ('title = "x"\ntask = "mask"\n[data]\ntargets = "t"\n[train]\nwatched_radiographs = 9', "networks for ages"),
        ('title = "x"\ntask = "mask"\n[data]\ntargets = "t"\nfolds = 2\nfold = 1', "networks for ages"),
    ],
)
def test_parse_recipe_fault_is_named(toml: str, word: str) -> None:
    with pytest.raises(RecipeError, match=word) as error:
        parse_recipe(tomllib.loads(toml))
    assert error.value.code == "recipe_invalid"


@pytest.mark.parametrize("change", ["train.epochs", "train.epochs=[", "nothing.at=1", "title.x=3", "train.epochs.x=3"])
def test_load_recipe_invalid_change(change: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe("residual", (change,))
    assert error.value.code == "recipe_invalid"


def test_load_recipe_unknown_lists_the_shipped() -> None:
    with pytest.raises(RecipeError, match="souza-h"):
        load_recipe("souza-z")


def test_parse_recipe_defaults() -> None:
    assert parse_recipe({"title": "x"}) == Recipe("x")
