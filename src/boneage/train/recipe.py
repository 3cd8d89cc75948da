"""Recipes: all that decides a training run, as TOML, read strictly so that no slip of the pen passes."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from boneage import strict
from boneage.errors import RecipeError
from boneage.hand.views import ViewSpec
from boneage.strict import Bounds, Count, InvalidValueError, NotNegative, Positive, Share

SEEDS = 2**32
"""Upper bound of seeds, which begin at 0."""

SMALLEST_SIDE = 32
"""Smallest height and width of a view, pixels."""

AtLeastOne = Annotated[int, Bounds(at_least=1)]
Seed = Annotated[int, Bounds(at_least=0, below=SEEDS)]
Side = Annotated[int, Bounds(at_least=SMALLEST_SIDE)]
BelowOne = Annotated[float, Bounds(at_least=0, below=1)]


@dataclass(frozen=True)
class NetworkOptions:
    """A network of `boneage.train.networks`, and its builder's own options."""

    name: str = "residual"
    options: dict[str, Any] = field(default_factory=dict)
    imagenet_weights: str = ""
    """Path of the standard ImageNet weights file; only for ``inception-v3``."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training view that leave the bone age as it is (Souza & Oliveira, section IV-A).

    Attributes:
        rotation_degrees: bound of the rotation, which is uniform in ± this.
        zoom: log-uniform in 1 / (1 + zoom) .. 1 + zoom.
        shift: uniform in ± this share of the view's height and width.
        flip: probability of a horizontal flip.
        gain, offset: contrast factor in 1 / (1 + gain) .. 1 + gain, and brightness in ± offset in units of the
            radiograph's spread.
        any_rotation: probability of a rotation by any angle; only for the hand networks
            (`boneage.train.data.hand_views`), like all that follow.
        inversion: probability of inverted grey.
        frame: probability of a border around the radiograph.
        negative: probability of an image without a hand in the radiograph's place.
        pair: probability of two hands; `negative` and `pair` together are at most 1.
        gamma: exponent of the grey levels between the bounds of the grey scale, log-uniform in 1 / (1 + gamma) ..
            1 + gamma; only for views of bones, joints and outlines.
        fewest_bones, most_bones: bounds of the number of bones that a view shows, which is uniform between them; only
            for views of bones, whose network is then trained to do without any of them. 0 for all bones.
        lost_detail: probability of a radiograph that lost detail (`boneage.train.data.lost_detail`); only for views of
            bones.
    """

    rotation_degrees: NotNegative = 0.0
    zoom: NotNegative = 0.0
    shift: NotNegative = 0.0
    flip: Share = 0.0
    gain: NotNegative = 0.0
    offset: NotNegative = 0.0
    any_rotation: Share = 0.0
    inversion: Share = 0.0
    frame: Share = 0.0
    negative: Share = 0.0
    pair: Share = 0.0
    gamma: NotNegative = 0.0
    fewest_bones: Count = 0
    most_bones: Count = 0
    lost_detail: Share = 0.0

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.negative + self.pair > 1:
            yield "pair", "and negative must be at most 1 together"
        if self.fewest_bones > self.most_bones:
            yield "fewest_bones", "must be at most most_bones"


@dataclass(frozen=True)
class Resize:
    """A phase on smaller views, which is cheaper: `epochs` epochs at height x width, before the full size."""

    epochs: AtLeastOne
    height: Side
    width: Side


@dataclass(frozen=True)
class Schedule:
    """Schedule and options of the optimisation.

    Attributes:
        epochs: largest number of epochs.
        batch_size: batch size of each process.
        optimizer: ``adam`` (Souza & Oliveira, section IV-B), ``adamw``, or ``muon`` (`boneage.train.run.optimizers`).
        learning_rate: highest learning rate.
        learning_rate_curve: ``constant``, or ``one-cycle``: linear rise, then cosine to nearly 0.
        warm_up: share of all steps, below 1, over which ``one-cycle`` rises.
        weight_decay: weight decay of matrices and kernels, not of biases and norms.
        loss: ``mae`` or ``mse``, of ages in their unit; or ``label-distribution``, for networks that output a
            distribution (`boneage.train.run.losses.label_distribution_loss`). The hand networks have losses of their
            own.
        label_spread: standard deviation of the distribution that ``label-distribution`` aims at, months; about the
            difference between two readers.
        age_unit: ``spread``, mean and spread of the training ages; or ``range``, 0 to 240 months as -1 to 1 (Iglovikov
            et al., section 4.1).
        views_per_epoch: number of views that are drawn from the radiographs each epoch; 0 for each radiograph once.
            Only for the hand networks, whose annotated radiographs are few.
        initial_weights: folder of a run of the same network whose last weights this one starts from; empty for fresh
            ones.
        average_decay: decay of the running average of weights that is validated and exported, below 1; 0 for the plain
            weights.
        precision: Lightning's name: ``32-true``, or ``bf16-mixed`` (2 to 4 times faster on CPUs that have it).
        watched_radiographs: number of validation radiographs, drawn with the seed, that give the figures of all epochs
            but the last; 0 for all. Only for networks for ages and the quality network, whose folds are large.
        patience: epochs without a better validation MAD before training stops; 0 for never.
        gradient_norm: norm to which gradients are clipped; 0 for never.
        seed: seed of weights, order and augmentation.
        workers: processes that cut views; 0 for none but the one that trains.
        resize: phases on smaller views, together shorter than all epochs.
    """

    epochs: AtLeastOne = 50
    batch_size: AtLeastOne = 32
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: Positive = 1e-3
    learning_rate_curve: Literal["constant", "one-cycle"] = "constant"
    warm_up: BelowOne = 0.15
    weight_decay: NotNegative = 0.0
    loss: Literal["mae", "mse", "label-distribution"] = "mae"
    label_spread: Positive = 6.0
    age_unit: Literal["spread", "range"] = "spread"
    views_per_epoch: Count = 0
    initial_weights: str = ""
    average_decay: BelowOne = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    watched_radiographs: Count = 0
    patience: Count = 0
    gradient_norm: NotNegative = 0.0
    seed: Seed = 0
    workers: Count = 1
    resize: tuple[Resize, ...] = ()

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if self.loss == "label-distribution" and self.age_unit != "range":
            yield "age_unit", "must be 'range' with the loss 'label-distribution'"
        if sum(phase.epochs for phase in self.resize) >= self.epochs:
            yield "resize", "must leave at least one epoch at the full size"


@dataclass(frozen=True)
class DataOptions:
    """Choice of the radiographs that train and that validate.

    Attributes:
        validation_share: share drawn at random where the table has no ``split`` column (20 %, section IV-B).
        split_seed: seed of that draw.
        train_limit, validation_limit: largest number of radiographs, the first by a seeded shuffle; 0 for all.
        longest_side: longest side at which radiographs are cached, pixels; larger ones are averaged down once. Only
            then does a view differ from the one in serving (by about 0.004 spreads).
        folds: parts of equal size of the radiographs that would train, by a draw with the seed; 0 for no
            cross-validation.
        fold: the part, from 1, that validates in the place of all others; the rest trains. The radiographs of the split
            ``validation`` are in neither: no fold is trained on them.
        sexes: sexes of the radiographs that train and validate: ``both``, ``F`` or ``M``.
        hands: bundle, by name or folder, whose hand networks find the hands for views of the registered frame.
        targets: table of masks or key points (`boneage.train.data.annotations`), for the hand networks.
        held_out: number of radiographs with targets that validate, those of the split ``validation`` first; 0 for
            just those.
    """

    validation_share: Annotated[float, Bounds(above=0, below=1)] = 0.2
    split_seed: Seed = 0
    train_limit: Count = 0
    validation_limit: Count = 0
    folds: Count = 0
    fold: Count = 0
    longest_side: Annotated[int, Bounds(at_least=64)] = 2048
    sexes: Literal["both", "F", "M"] = "both"
    hands: str = ""
    targets: str = ""
    held_out: Count = 0

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        is_fold = self.folds >= 2 and 1 <= self.fold <= self.folds
        if not is_fold and not self.folds == self.fold == 0:
            yield "fold", "must lie in 1..folds, with at least 2 folds; or both are 0"


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
        title: one line for people.
        task: task of the network (`boneage.train.run.tasks`): ages, the hand's mask, its key points, its
            joints, outlines of its epiphyses and carpal bones, or disturbances of a radiograph.
        network: network and its options.
        view: view that the network reads.
        data: choice of the radiographs.
        augment: random changes of the training views.
        train: schedule and options of the optimisation.
    """

    title: str
    task: Literal["age", "mask", "points", "joints", "outlines", "quality"] = "age"
    network: NetworkOptions = field(default_factory=NetworkOptions)
    view: ViewSpec = field(default_factory=ViewSpec)
    data: DataOptions = field(default_factory=DataOptions)
    augment: Augmentation = field(default_factory=Augmentation)
    train: Schedule = field(default_factory=Schedule)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        for side in ("height", "width"):
            if getattr(self.view, side) < SMALLEST_SIDE:
                yield f"view.{side}", f"must be at least {SMALLEST_SIDE}, not {getattr(self.view, side)}"
        if self.task == "age":
            yield from self._age_faults()
        if self.task == "quality" and ((self.view.region, self.view.grey) != ("surroundings", "percentile")):
            yield "view", "of the quality network must be the region 'surroundings' with the grey rule 'percentile'"
        if self.task == "quality" and not self.data.hands:
            yield "data.hands", "is needed by the quality network"
        if self.task in ("mask", "points", "joints", "outlines"):
            yield from self._hand_network_faults()
        if self.task == "joints" and ((self.view.region, self.view.grey) != ("A", "hand") or not self.data.hands):
            yield "view", "of the network for joints must be the region 'A' with the grey rule 'hand', and data.hands"
        if self.task == "outlines" and ((self.view.region, self.view.grey) != ("bones", "hand") or not self.data.hands):
            yield (
                "view",
                "of the network for outlines must be the region 'bones' with the grey rule 'hand', and data.hands",
            )

    def _age_faults(self) -> Iterator[tuple[str, str]]:
        for name in ("gamma", "most_bones"):
            if getattr(self.augment, name) and self.view.region != "bones":
                yield f"augment.{name}", "is for views of bones"
        if self.train.views_per_epoch:
            yield "train.views_per_epoch", "is for the hand networks"
        for name in ("any_rotation", "inversion", "frame", "negative", "pair"):
            if getattr(self.augment, name):
                yield f"augment.{name}", "is for the hand networks"
        if self.view.needs_hand and not self.data.hands:
            yield "data.hands", f"is needed by the view {self.view.region} with the grey rule {self.view.grey}"

    def _hand_network_faults(self) -> Iterator[tuple[str, str]]:
        if not self.data.targets:
            yield "data.targets", f"is needed by the task {self.task}"
        if self.train.watched_radiographs:
            yield "train.watched_radiographs", "is for networks for ages and the quality network"
        if self.data.folds:
            yield "data.folds", "is for networks for ages and the quality network"

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, with the keys of the TOML; the bundle's manifest contains them."""
        return dataclasses.asdict(self)

    def size_at(self, epoch: int) -> tuple[int, int]:
        """Return height and width of the views in an epoch, counted from 0."""
        for phase in self.train.resize:
            if epoch < phase.epochs:
                return phase.height, phase.width
            epoch -= phase.epochs
        return self.view.height, self.view.width


def shipped_recipes() -> dict[str, Path]:
    """Return the paths of the recipes inside the package, by name."""
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
    """Return a recipe's dictionary with absolute paths cut to their last two parts, for a bundle that is given away.

    Whole paths would disclose the folders of the machine that trained it, and help nobody else.
    """
    if isinstance(table, dict):
        return {key: without_folders(value) for key, value in table.items()}
    if isinstance(table, str) and Path(table).is_absolute():
        return "/".join(Path(table).parts[1:][-2:])
    return table


def read_table(name_or_path: str | Path, shipped: Mapping[str, Path], kind: str) -> tuple[Path, dict[str, Any]]:
    """Return the path of a TOML file, given by its shipped name or its path, and its content.

    Args:
        name_or_path: name of a shipped file, or a path.
        shipped: paths of the shipped files by name.
        kind: noun for the file in messages.

    Raises:
        RecipeError: ``recipe_invalid``.
    """
    path = shipped.get(str(name_or_path), Path(name_or_path))
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(shipped)
        raise RecipeError("recipe_invalid", f"There is no {kind} {str(name_or_path)!r}; shipped: {names}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError("recipe_invalid", f"{path.name} is not TOML: {error}.") from error


def parse_recipe(table: dict[str, Any]) -> Recipe:
    """Read a recipe from plain dictionaries.

    Raises:
        RecipeError: ``recipe_invalid``, with the place of the first fault.
    """
    try:
        return strict.read(Recipe, table)
    except InvalidValueError as error:
        raise RecipeError("recipe_invalid", f"The recipe is not valid: {error}.") from error


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
