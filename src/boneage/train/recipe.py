"""Recipes: everything that decides a training run, as TOML. Unknown keys are rejected, so that no slip passes."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from boneage.errors import RecipeError
from boneage.hand.views import ViewSpec

SEEDS = 2**32
"""Seeds lie below, from 0."""

SMALLEST_SIDE = 32
"""Of a view, pixels."""


@dataclass(frozen=True)
class NetworkOptions:
    """Which network of `boneage.train.networks`, and its builder's own options."""

    name: str = "residual"
    options: dict[str, Any] = field(default_factory=dict)
    imagenet_weights: str = ""
    """Path of the standard ImageNet weights file; only for ``inception-v3``."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training view that leave the bone age as it is (Souza & Oliveira, section IV-A).

    Attributes:
        rotation_degrees: uniform in ± this.
        zoom: log-uniform in 1 / (1 + zoom) .. 1 + zoom.
        shift: uniform in ± this share of the view's height and width.
        flip: probability of a horizontal flip.
        gain, offset: contrast factor in 1 / (1 + gain) .. 1 + gain and brightness in ± offset, in units of the
            radiograph's
        spread.
        any_rotation, inversion, frame, negative, pair: only for the hand networks (`boneage.train.data.hand_views`):
        probabilities of a rotation by any angle, of inverted grey, of a border about the radiograph, of a picture
        without a hand in the radiograph's place, and of two hands.
    """

    rotation_degrees: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    flip: float = 0.0
    gain: float = 0.0
    offset: float = 0.0
    any_rotation: float = 0.0
    inversion: float = 0.0
    frame: float = 0.0
    negative: float = 0.0
    pair: float = 0.0


@dataclass(frozen=True)
class Resize:
    """A phase on smaller views, which is cheaper: `epochs` epochs at height x width, before the full size."""

    epochs: int
    height: int
    width: int


@dataclass(frozen=True)
class Schedule:
    """How the network is fitted.

    Attributes:
        epochs: at most so many.
        batch_size: of each process.
        optimizer: ``adam`` (Souza & Oliveira, section IV-B), ``adamw``, or ``muon`` (`boneage.train.run.optimizers`).
        learning_rate: the highest.
        learning_rate_curve: ``constant``, or ``one-cycle``: linear rise, then cosine to nearly 0.
        warm_up: share of all steps, 0..1, over which ``one-cycle`` rises.
        weight_decay: on matrices and kernels, not on biases and norms.
        loss: ``mae`` or ``mse``, of ages in their unit; or ``label-distribution``, of networks that answer by a
            distribution (`boneage.train.run.losses.label_distribution_loss`). The hand networks have losses of their
            own.
        label_spread: of the distribution that ``label-distribution`` asks for, months: about how two readers differ.
        age_unit: ``spread``, mean and spread of the training ages; or ``range``, 0 to 240 months as -1 to 1 (Iglovikov
            et al., section 4.1).
        views_per_epoch: so many views are drawn from the radiographs each epoch; 0 for each radiograph once. Only for
            the hand networks, whose annotated radiographs are few.
        initial_weights: folder of a run of the same network whose last weights this one starts from; empty for fresh
            ones.
        average_decay: of the running average of weights that is validated and exported; 0 for the plain weights.
        precision: Lightning's name: ``32-true``, or ``bf16-mixed`` (2 to 4 times faster on CPUs that have it).
        watched_radiographs: so many of the validation radiographs, drawn with the seed, give the figures of all epochs
            but the last; 0 for all. Only for networks for ages and the quality network. Folds are large.
        patience: epochs without a better validation MAD before training stops; 0 for never.
        gradient_norm: gradients are clipped to this norm; 0 for never.
        seed: of weights, order and augmentation.
        workers: processes that cut views; 0 for none but the one that trains.
        resize: phases on smaller views.
    """

    epochs: int = 50
    batch_size: int = 32
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: float = 1e-3
    learning_rate_curve: Literal["constant", "one-cycle"] = "constant"
    warm_up: float = 0.15
    weight_decay: float = 0.0
    loss: Literal["mae", "mse", "label-distribution"] = "mae"
    label_spread: float = 6.0
    age_unit: Literal["spread", "range"] = "spread"
    views_per_epoch: int = 0
    initial_weights: str = ""
    average_decay: float = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    watched_radiographs: int = 0
    patience: int = 0
    gradient_norm: float = 0.0
    seed: int = 0
    workers: int = 1
    resize: tuple[Resize, ...] = ()


@dataclass(frozen=True)
class DataOptions:
    """Which radiographs train and which validate.

    Attributes:
        validation_share: share drawn at random where the table has no ``split`` column (20 %, section IV-B).
        split_seed: of that draw.
        train_limit, validation_limit: at most so many radiographs, the first by a seeded shuffle; 0 for all.
        longest_side: radiographs are cached at most this large, pixels; larger ones are averaged down once, and only
            then does a view differ from the one in serving (by about 0.004 spreads).
        folds: parts of equal size of the radiographs that would train, by a draw with the seed; 0 for no
            cross-validation.
        fold: the part, from 1, that validates in the place of all others; the rest trains. The radiographs of the split
            ``validation`` are in neither: no fold has seen them.
        sexes: whose radiographs train and validate: ``both``, ``F`` or ``M``.
        hands: bundle, by name or folder, whose hand networks find the hands for views of the registered frame.
        targets: table of masks or key points (`boneage.train.data.annotations`), for the hand networks.
        held_out: so many of the radiographs with targets validate, those of the split ``validation`` first; 0 for just
            those.
    """

    validation_share: float = 0.2
    split_seed: int = 0
    train_limit: int = 0
    validation_limit: int = 0
    folds: int = 0
    fold: int = 0
    longest_side: int = 2048
    sexes: Literal["both", "F", "M"] = "both"
    hands: str = ""
    targets: str = ""
    held_out: int = 0


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
        title: one line for a person.
        task: what the network learns (`boneage.train.run.tasks`): ages, the hand's mask, its key points, or what
            disturbs a radiograph.
        network, view, data, augment, train: see there.
    """

    title: str
    task: Literal["age", "mask", "points", "quality"] = "age"
    network: NetworkOptions = field(default_factory=NetworkOptions)
    view: ViewSpec = field(default_factory=ViewSpec)
    data: DataOptions = field(default_factory=DataOptions)
    augment: Augmentation = field(default_factory=Augmentation)
    train: Schedule = field(default_factory=Schedule)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries, as they stand in the TOML; what the bundle's manifest keeps."""
        return dataclasses.asdict(self)

    def size_at(self, epoch: int) -> tuple[int, int]:
        """Height and width of the views in this epoch, counted from 0."""
        for phase in self.train.resize:
            if epoch < phase.epochs:
                return phase.height, phase.width
            epoch -= phase.epochs
        return self.view.height, self.view.width


def shipped_recipes() -> dict[str, Path]:
    """Recipes inside the package, by name."""
    folder = Path(str(resources.files("boneage.train") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_recipe(name_or_path: str | Path, changes: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe by its name in the package or its path.

    Args:
        name_or_path: ``souza-h`` or ``my/recipe.toml``.
        changes: overrides such as ``train.epochs=3``, values written as in TOML.

    Raises:
        RecipeError: ``recipe_invalid``.
    """
    _, table = read_table(name_or_path, shipped_recipes(), "recipe")
    for change in changes:
        _override(table, change)
    return parse_recipe(table)


def without_folders(table: Any) -> Any:
    """A recipe's dictionary as a bundle that is given away keeps it: of absolute paths only the last two parts.

    They would tell the folders of the machine that trained it, and help nobody else.
    """
    if isinstance(table, dict):
        return {key: without_folders(value) for key, value in table.items()}
    if isinstance(table, str) and Path(table).is_absolute():
        return "/".join(Path(table).parts[1:][-2:])
    return table


def read_table(name_or_path: str | Path, shipped: Mapping[str, Path], kind: str) -> tuple[Path, dict[str, Any]]:
    """A TOML file by its shipped name or its path, and where it lies.

    Raises:
        RecipeError: ``recipe_invalid``.
    """
    path = shipped.get(str(name_or_path), Path(name_or_path))
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(shipped)
        raise RecipeError("recipe_invalid", f"There is no {kind} {str(name_or_path)!r}; shipped: {known}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError("recipe_invalid", f"{path.name} is not TOML: {error}.") from error


def parse_recipe(table: dict[str, Any]) -> Recipe:
    """From plain dictionaries.

    Raises:
        RecipeError: ``recipe_invalid``, with the place of the fault.
    """
    recipe = build_strictly(Recipe, table, "recipe")
    _check_ranges(recipe)
    return recipe


def _override(table: dict[str, Any], change: str) -> None:
    """Apply ``a.b=value`` to nested dictionaries."""
    dotted, separator, text = change.partition("=")
    if not separator:
        raise RecipeError("recipe_invalid", f"A change is written key=value, not {change!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, key = dotted.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError("recipe_invalid", f"{change!r}: {parent} holds no further keys.")
    table[key] = value


T = typing.TypeVar("T")


def build_strictly(kind: type[T], table: Any, place: str) -> T:
    """Build a dataclass from a dictionary, rejecting unknown keys and wrong types."""
    if not isinstance(table, dict):
        raise RecipeError("recipe_invalid", f"{place} must be a table, not {table!r}.")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(table) - set(hints))
    if unknown:
        raise RecipeError("recipe_invalid", f"{place} has no {', '.join(unknown)}; it knows {', '.join(hints)}.")
    values = {key: _value(hints[key], value, f"{place}.{key}") for key, value in table.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise RecipeError("recipe_invalid", f"{place}: {error}.") from error


def _value(hint: Any, value: Any, place: str) -> Any:
    """Check and convert one value to its annotated type."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return build_strictly(typing.cast("type[Any]", hint), value, place)
    if origin is Literal:
        if value in typing.get_args(hint):
            return value
        raise RecipeError("recipe_invalid", f"{place} must be one of {typing.get_args(hint)}, not {value!r}.")
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(typing.get_args(hint)[0], item, f"{place}[{n}]") for n, item in enumerate(value))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise RecipeError("recipe_invalid", f"{place} must be a finite number, not {value!r}.")
        return float(value)
    plain = origin or hint
    if isinstance(plain, type) and not isinstance(hint, types.GenericAlias) and type(value) is not plain:
        raise RecipeError("recipe_invalid", f"{place} must be of type {plain.__name__}, not {value!r}.")
    return value


def _check_ranges(recipe: Recipe) -> None:
    """Reject values that cannot be meant."""
    train, view, augment, data = recipe.train, recipe.view, recipe.augment, recipe.data
    sides = [view.height, view.width, *(side for phase in train.resize for side in (phase.height, phase.width))]
    counts = [
        train.patience,
        train.workers,
        train.watched_radiographs,
        data.train_limit,
        data.validation_limit,
        data.held_out,
    ]
    shares = [augment.any_rotation, augment.inversion, augment.frame, augment.negative + augment.pair]
    is_age = recipe.task == "age"
    splits_radiographs = recipe.task in ("age", "quality")
    demands = {
        "train.epochs and train.batch_size must be at least 1": min(train.epochs, train.batch_size) >= 1,
        "train.learning_rate must be positive": train.learning_rate > 0,
        "train.weight_decay and train.gradient_norm must not be negative": train.weight_decay >= 0
        and train.gradient_norm >= 0,
        "train.label_spread must be positive": train.label_spread > 0,
        "train.loss label-distribution needs train.age_unit range": train.loss != "label-distribution"
        or train.age_unit == "range",
        "train.warm_up must lie in 0..1": 0 <= train.warm_up < 1,
        "train.average_decay must lie in 0..1": 0 <= train.average_decay < 1,
        "train.patience, train.workers, train.watched_radiographs and the limits of data must not be negative": min(
            counts
        )
        >= 0,
        "train.watched_radiographs is for networks for ages and the quality network": splits_radiographs
        or not train.watched_radiographs,
        "data.fold must lie in 1..data.folds, of which there are at least 2; or both are 0": (
            data.folds >= 2 and 1 <= data.fold <= data.folds
        )
        or data.folds == data.fold == 0,
        "data.folds are for networks for ages and the quality network": splits_radiographs or not data.folds,
        "train.views_per_epoch must not be negative, and is for the hand networks": train.views_per_epoch >= 0
        and not (is_age and train.views_per_epoch),
        "augment's any_rotation, inversion, frame and negative + pair must lie in 0..1": max(shares) <= 1,
        "augment's any_rotation, inversion, frame, negative and pair are for the hand networks": not (
            is_age and any(shares)
        ),
        f"a recipe with the view {view.region} and the grey rule {view.grey} needs data.hands": bool(data.hands)
        or not (is_age and view.needs_hand),
        "the quality network's view is surroundings with the grey rule percentile, found by data.hands": (
            recipe.task != "quality"
            or ((view.region, view.grey) == ("surroundings", "percentile") and bool(data.hands))
        ),
        f"the task {recipe.task} needs data.targets": splits_radiographs or bool(data.targets),
        f"train.seed and data.split_seed must lie in 0..{SEEDS - 1}": min(train.seed, data.split_seed) >= 0
        and max(train.seed, data.split_seed) < SEEDS,
        "train.resize must have phases of at least 1 epoch": all(phase.epochs >= 1 for phase in train.resize),
        "train.resize must leave at least one epoch": sum(phase.epochs for phase in train.resize) < train.epochs,
        f"heights and widths, of view and of train.resize, must be at least {SMALLEST_SIDE}": min(sides)
        >= SMALLEST_SIDE,
        "augment.flip must lie in 0..1": 0 <= augment.flip <= 1,
        "augment values must not be negative": min(dataclasses.astuple(augment)) >= 0,
        "data.validation_share must lie between 0 and 1": 0 < data.validation_share < 1,
        "data.longest_side must be at least 64": data.longest_side >= 64,
    }
    for demand, holds in demands.items():
        if not holds:
            raise RecipeError("recipe_invalid", f"{demand}.")
