"""Training speed of recipes on one thread, in processor time, by precision, memory layout and batch size.

    python benchmarks/training_speed.py souza-a souza-h --side 128 --batch 16,32,64
    python benchmarks/training_speed.py souza-a --side 128 --radiographs radiographs.csv --cache runs/cache

Steps are forward, backward and Adam on random views, a few for each setting, interleaved over all settings. With
``--radiographs`` the cutting of views from the cache is measured too. Processor time hardly depends on other work on
the machine. The rate is images for each processor second, beside the multiplications of a forward pass.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import torch
from torch import Tensor, nn

from boneage.tables.radiographs import read_radiographs
from boneage.train.data.cache import build_cache
from boneage.train.data.epochs import training_batches
from boneage.train.data.splits import choose_radiographs
from boneage.train.recipe import Recipe, load_recipe
from boneage.train.run.weights import build_recipe_network

Layout = Literal["channels_last", "contiguous"]


class Setting(NamedTuple):
    """Setting of a training step."""

    precision: str
    layout: Layout
    batch: int


def steps(recipe: Recipe, setting: Setting) -> Iterator[float]:
    """Yield the processor seconds of each training step on random views, without end. The first one warms up."""
    torch.manual_seed(0)
    layout = torch.channels_last if setting.layout == "channels_last" else torch.contiguous_format
    network = build_recipe_network(recipe).train()
    nn.Module.to(network, memory_format=layout)  # type: ignore[call-overload]  # not in the stub
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5)
    view = torch.randn(setting.batch, 1, recipe.view.height, recipe.view.width).to(memory_format=layout)
    inputs = (view,) if recipe.task == "points" else (view, torch.eye(2)[torch.arange(setting.batch) % 2])
    while True:
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=setting.precision == "bf16-mixed"):
            loss = _loss(network(*inputs))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield time.process_time() - began


def _loss(output: object) -> Tensor:
    tensor = output if isinstance(output, Tensor) else output[0]  # type: ignore[index]
    return tensor.float().abs().mean()


def multiplications(recipe: Recipe) -> float:
    """Return the multiplications of convolutions and dense layers in a forward pass of one view, in millions."""
    total = 0

    def add(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += layer.weight[0].numel() * output.numel()
        elif isinstance(layer, nn.Linear):
            total += layer.in_features * output.numel()

    network = build_recipe_network(recipe).eval()
    for layer in network.modules():
        layer.register_forward_hook(add)
    view = torch.zeros(1, 1, recipe.view.height, recipe.view.width)
    with torch.no_grad():
        network(view) if recipe.task == "points" else network(view, torch.eye(2)[:1])
    return total / 1e6


def measure(recipes: dict[str, Recipe], settings: list[Setting], rounds: int) -> None:
    """Print images for each processor second of every recipe and setting: the fastest of some interleaved steps."""
    print(f"{'recipe':20}{'parameters':>12}{'10^6 mult.':>12}{'view':>12}  precision   layout         batch  images/s")
    for name, recipe in recipes.items():
        runs = {setting: steps(recipe, setting) for setting in settings}
        for run in runs.values():
            next(run)
        fastest = {setting: min(next(run) for _ in range(rounds)) for setting, run in runs.items()}
        millions = multiplications(recipe)
        parameters = sum(weights.numel() for weights in build_recipe_network(recipe).parameters())
        for setting, seconds in fastest.items():
            view = f"{recipe.view.height} x {recipe.view.width}"
            row = f"{name:20}{parameters:12,}{millions:12,.0f}{view:>12}  {setting.precision:11} {setting.layout:14}"
            print(f"{row} {setting.batch:5}  {setting.batch / seconds:.1f}", flush=True)


def measure_views(recipe: Recipe, table: Path, cache_folder: Path, count: int) -> None:
    """Print the processor time of cutting a training view from the cache, with the recipe's augmentation."""
    radiographs = read_radiographs(table)
    cache = build_cache(radiographs, cache_folder, longest_side=recipe.data.longest_side)
    training = choose_radiographs(recipe, radiographs)[0][:count]
    for radiograph in training:
        cache.grey(radiograph.id, recipe.view.grey)
    began = time.process_time()
    images = sum(len(batch[0]) for batch in training_batches(training, cache, recipe, 0))
    seconds = (time.process_time() - began) / images
    print(f"cutting a view of {recipe.title}: {1e3 * seconds:.2f} ms, {1 / seconds:.0f} views a second")


def main() -> None:
    """Read the options, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("recipes", nargs="+", help="shipped names or TOML files")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change all recipes")
    parser.add_argument("--side", type=int, help="height and width of the views, pixels")
    parser.add_argument("--size", metavar="HEIGHTxWIDTH", help="size of the views, pixels")
    parser.add_argument("--batch", default="32", help="batch sizes")
    parser.add_argument("--precision", default="32-true,bf16-mixed")
    parser.add_argument("--layout", default="channels_last,contiguous")
    parser.add_argument("--rounds", type=int, default=3, help="steps of each setting, of which the fastest counts")
    parser.add_argument("--radiographs", type=Path, help="table of radiographs, to measure the cutting of views")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder of decoded radiographs")
    parser.add_argument("--count", type=int, default=640, help="number of views to cut")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sides = given.size.split("x") if given.size else [given.side, given.side] if given.side else []
    changes = [*given.set, *(f"view.{name}={side}" for name, side in zip(("height", "width"), sides, strict=False))]
    changes.append("train.workers=0")
    recipes = {name: load_recipe(name, tuple(changes)) for name in given.recipes}
    batches = [int(size) for size in given.batch.split(",")]
    chosen = itertools.product(given.precision.split(","), given.layout.split(","), batches)
    measure(recipes, [Setting(*setting) for setting in chosen], given.rounds)
    if given.radiographs:
        for recipe in recipes.values():
            measure_views(recipe, given.radiographs, given.cache, given.count)


if __name__ == "__main__":
    main()
