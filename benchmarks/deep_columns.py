"""Probe of the deep columns of Table I: which change lets them train, in a few hundred steps each.

    python benchmarks/deep_columns.py souza-e --side 64 --steps 200 --radiographs radiographs.csv --cache runs/cache

Every variant has the same radiographs, views, order and seed. It differs from the paper's text (Glorot's
initialisation, Adam at Keras' default rate of 1e-3) in what its name says. The probe prints the MAD on validation
radiographs after the last step, beside that of a constant estimate, and the share of living units of the first dense
layer (above zero for any validation radiograph).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.data.cache import RadiographCache, build_cache
from boneage.train.data.epochs import training_batches, validation_batches
from boneage.train.data.splits import choose_radiographs, draw_radiographs
from boneage.train.networks.layers import AgeHead, AgeNetwork, memory_format
from boneage.train.networks.souza import BuildingBlock
from boneage.train.recipe import Recipe, load_recipe
from boneage.train.run.age_tasks import AgeUnit, predict
from boneage.train.run.weights import build_recipe_network

Change = Callable[[AgeNetwork], None]


@dataclass(frozen=True)
class Variant:
    """Variant of a training.

    Attributes:
        rate: highest learning rate.
        change: change of the new network.
        warm_up: share of the steps over which the rate rises linearly.
        gradient_norm: norm to which gradients are clipped; 0 for never.
    """

    rate: float = 1e-3
    change: Change | None = None
    warm_up: float = 0.0
    gradient_norm: float = 0.0


def he_initialisation(network: AgeNetwork) -> None:
    """Initialise kernels and matrices for ReLU (He et al. 2015) in the place of Glorot's rule."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")


def zero_last_scale(network: AgeNetwork) -> None:
    """Begin each building block as the identity: its last normalisation has the scale 0."""
    for module in network.modules():
        if isinstance(module, BuildingBlock):
            nn.init.zeros_(module.second.normalisation.weight)  # type: ignore[arg-type]


def normalised_inputs(network: AgeNetwork) -> None:
    """Normalise the inputs of the first dense layer over the batch."""
    first = network.head.dense[0]
    assert isinstance(first, nn.Linear)
    network.head.dense[0] = nn.Sequential(nn.BatchNorm1d(first.in_features, affine=False), first)


def average_pooling(network: AgeNetwork) -> None:
    """Give the dense layers the mean of each channel of the last map, in the place of the flattened map."""
    network.head = AgeHead(network.head.channels, grid=(1, 1), hidden=(256, 64), pooling="average")


VARIANTS: Mapping[str, Variant] = {
    "the paper's text: Glorot, 1e-3": Variant(),
    "1e-4": Variant(rate=1e-4),
    "3e-4": Variant(rate=3e-4),
    "warm-up and clipped gradients, 1e-3": Variant(warm_up=0.3, gradient_norm=1.0),
    "warm-up and clipped gradients, 3e-4": Variant(rate=3e-4, warm_up=0.3, gradient_norm=1.0),
    "He's initialisation, 1e-3": Variant(change=he_initialisation),
    "last scale of blocks 0, 1e-3": Variant(change=zero_last_scale),
    "dense inputs normalised over the batch, 1e-3": Variant(change=normalised_inputs),
    "average pooling in the place of flattening, 1e-3": Variant(change=average_pooling),
    "average pooling, 3e-4": Variant(rate=3e-4, change=average_pooling),
}


def probe(
    recipe: Recipe,
    variant: Variant,
    steps: int,
    training: Sequence[LabelledRadiograph],
    validation: Sequence[LabelledRadiograph],
    cache: RadiographCache,
) -> tuple[float, float]:
    """Train a variant, and return its MAD on the validation radiographs, months, and the share of living units."""
    torch.manual_seed(recipe.train.seed)
    network = build_recipe_network(recipe)
    assert isinstance(network, AgeNetwork)
    if variant.change is not None:
        variant.change(network)
    layout = memory_format(network, torch.device("cpu"))
    nn.Module.to(network, memory_format=layout)  # type: ignore[call-overload]  # not in the stub
    optimizer = torch.optim.Adam(network.parameters(), lr=variant.rate)
    unit, step, epoch = AgeUnit.of(training), 0, 0
    network.train()
    while step < steps:
        for views, sexes, months in training_batches(training, cache, recipe, epoch):
            if step == steps:
                break
            for group in optimizer.param_groups:
                group["lr"] = variant.rate * min(1.0, (step + 1) / max(1.0, variant.warm_up * steps))
            with torch.autocast("cpu", torch.bfloat16):
                estimates = network(views.to(memory_format=layout), sexes)
            loss = nn.functional.l1_loss(estimates.float(), unit.from_months(months)) + network.penalty()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if variant.gradient_norm:
                nn.utils.clip_grad_norm_(network.parameters(), variant.gradient_norm)
            optimizer.step()
            step += 1
        epoch += 1
    network.eval()
    alive: list[Tensor] = []
    first = network.head.dense[0]
    hook = first.register_forward_hook(lambda _layer, _inputs, output: alive.append((output > 0).any(dim=0)))
    batches = validation_batches(validation, cache, recipe.view, batch_size=64, workers=0)
    estimates_months = predict(network, batches, unit)
    hook.remove()
    labels = np.array([radiograph.boneage_months for radiograph in validation])
    living = float(torch.stack(alive).any(dim=0).float().mean())
    return float(np.abs(estimates_months - labels).mean()), living


def main() -> None:
    """Read the options, train all variants and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("recipe", help="souza-e to souza-h")
    parser.add_argument("--radiographs", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="folder of decoded radiographs")
    parser.add_argument("--side", type=int, default=64, help="height and width of the views, pixels")
    parser.add_argument("--steps", type=int, default=200, help="steps of 32 radiographs")
    parser.add_argument("--only", default="", help="numbers of the variants, from 1, separated by commas")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    recipe = load_recipe(given.recipe, (f"view.height={given.side}", f"view.width={given.side}", "train.workers=0"))
    radiographs = read_radiographs(given.radiographs)
    cache = build_cache(radiographs, given.cache, longest_side=recipe.data.longest_side)
    training, validation = choose_radiographs(recipe, radiographs)
    training = draw_radiographs(training, recipe.train.batch_size * given.steps, 0)
    validation = draw_radiographs(validation, 300, 0)
    labels = np.array([radiograph.boneage_months for radiograph in validation])
    median = np.median([radiograph.boneage_months for radiograph in training])
    print(f"{recipe.title}, {given.side} px, {given.steps} steps on {len(training)} radiographs")
    print(f"{'a constant estimate':48} MAD {np.abs(labels - median).mean():.1f}", flush=True)
    chosen = {int(number) for number in given.only.split(",") if number}
    for number, (name, variant) in enumerate(VARIANTS.items(), start=1):
        if not chosen or number in chosen:
            began = time.process_time()
            mad, living = probe(recipe, variant, given.steps, training, validation, cache)
            seconds = time.process_time() - began
            print(f"{name:48} MAD {mad:.1f}, living units {100 * living:.0f} %, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
