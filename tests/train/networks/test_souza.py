"""Table I of Souza & Oliveira, column by column."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from boneage.errors import RecipeError
from boneage.train.networks.souza import TABLE_I, Column, SouzaNetwork

# Table I as printed: convolutions, custom blocks, building blocks in each, filter size, L2, dropout, normalisation,
# augmentation, final validation MAD, epochs.
AS_PRINTED = {
    "A": (9, 3, 1, 3, 0.0, 0.0, None, False, 20.47, 50),
    "B": (9, 3, 1, 3, 0.0, 0.0, None, True, 10.47, 50),
    "C": (9, 3, 1, 3, 0.0, 0.0, nn.BatchNorm2d, True, 16.61, 50),
    "D": (9, 3, 1, 3, 0.0, 0.0, nn.InstanceNorm2d, True, 12.0, 50),
    "E": (35, 5, 3, 3, 0.0, 0.0, nn.InstanceNorm2d, True, 16.98, 50),
    "F": (35, 5, 3, 5, 0.0, 0.0, nn.InstanceNorm2d, True, 10.73, 50),
    "G": (35, 5, 3, 5, 0.0, 0.15, nn.InstanceNorm2d, True, 20.33, 150),
    "H": (35, 5, 3, 5, 0.0001, 0.15, nn.InstanceNorm2d, True, 9.74, 150),
}
WIDTHS = {3: (16, 32, 64), 5: (16, 32, 64, 128, 256)}
LETTERS = sorted(AS_PRINTED)


def network(letter: str, side: int = 64) -> SouzaNetwork:
    torch.manual_seed(0)
    return SouzaNetwork(TABLE_I[letter], side, side)


def convolutions(of: nn.Module) -> list[nn.Conv2d]:
    return [module for module in of.modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.parametrize("letter", LETTERS)
def test_table_1_counts_and_shapes(letter: str) -> None:
    count, blocks, building_blocks, kernel, _, dropout, normalisation, augment, mad, epochs = AS_PRINTED[letter]
    built, column = network(letter), TABLE_I[letter]
    assert len(convolutions(built)) == column.convolutions == count
    assert len(built.custom_blocks) == blocks
    for block, width in zip(built.custom_blocks, WIDTHS[blocks], strict=True):
        assert len(block.building_blocks) == building_blocks
        assert len(convolutions(block)) == column.convolutions_per_block == 1 + 2 * building_blocks
        assert {each.out_channels for each in convolutions(block)} == {width}
        assert {each.kernel_size for each in convolutions(block)} == {(kernel, kernel)}
        assert {each.stride for each in convolutions(block)} == {(1, 1)}
    norms = [each for each in built.modules() if isinstance(each, nn.BatchNorm2d | nn.InstanceNorm2d)]
    assert [type(each) for each in norms] == ([normalisation] * count if normalisation else [])
    assert all(each.affine for each in norms)
    assert {each.p for each in built.modules() if isinstance(each, nn.Dropout)} == {dropout}
    assert (column.augment, column.paper_mad_months, column.paper_epochs) == (augment, mad, epochs)


def test_table_1_columns_differ() -> None:
    """The columns of Table I differ, which decides between readings of its scanned row of filter sizes."""
    settings = [
        tuple(getattr(column, field.name) for field in fields(Column) if not field.name.startswith("paper_"))
        for column in TABLE_I.values()
    ]
    assert len(set(settings)) == len(TABLE_I) == 8


@pytest.mark.parametrize("letter", LETTERS)
def test_features_before_last_pooling(letter: str) -> None:
    """Features are the last building blocks before the last pooling."""
    built = network(letter).eval()
    poolings = AS_PRINTED[letter][1] - 1
    features = built.features(torch.randn(2, 1, 64, 64))
    assert features.shape == (2, WIDTHS[poolings + 1][-1], 64 >> poolings, 64 >> poolings)
    assert sum(isinstance(each, nn.MaxPool2d) for each in built.features.modules()) == poolings
    assert built.head.dense[0].in_features == features[0].numel() // 4 + 2


@pytest.mark.parametrize("letter", LETTERS)
def test_number_of_weights_at_full_size(letter: str) -> None:
    """Added up by hand: kernels, then a bias or a scale and a shift for each, then 256, 64 and 1 dense units."""
    count, blocks, building_blocks, kernel, _, _, normalisation, *_ = AS_PRINTED[letter]
    widths = WIDTHS[blocks]
    weights = sum(
        kernel**2 * (before * width + 2 * building_blocks * width**2)
        for before, width in zip((1, *widths), widths, strict=False)
    )
    weights += (2 if normalisation else 1) * (count // blocks) * sum(widths)
    flattened = widths[-1] * (256 >> blocks) ** 2
    weights += (flattened + 2 + 1) * 256 + (256 + 1) * 64 + 64 + 1
    assert sum(each.numel() for each in network(letter, 256).parameters()) == weights
    assert letter != "H" or weights == 18_401_329


def test_initial_weights_glorot_uniform() -> None:
    built = network("A")
    for layer in (*convolutions(built), *built.head.dense):
        fan = (layer.weight.shape[0] + layer.weight.shape[1]) * layer.weight[0, 0].numel()
        bound = (6 / fan) ** 0.5
        assert 0.8 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert not bool(layer.bias.any())


def test_penalty_of_h_grows_with_depth() -> None:
    """The kernels of block k of 5, all ones, cost k / 5 of 0.0001 each."""
    built = network("H")
    for deep, block in enumerate(built.custom_blocks, start=1):
        for each in convolutions(built):
            nn.init.zeros_(each.weight)
        for each in convolutions(block):
            nn.init.ones_(each.weight)
        kernels = sum(each.weight.numel() for each in convolutions(block))
        assert built.penalty().item() == pytest.approx(0.0001 * deep / 5 * kernels, rel=1e-5)


def test_penalty_gradient_on_kernels_only() -> None:
    built = network("H")
    built.penalty().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    charged = {name for name, each in built.named_parameters() if each.grad is not None and bool(each.grad.any())}
    assert charged == {name for name, each in built.named_parameters() if each.ndim == 4}
    for each in convolutions(built):
        assert each.weight.grad is not None
        assert bool((each.weight.grad * each.weight >= 0).all())


@pytest.mark.parametrize("letter", [letter for letter in LETTERS if letter != "H"])
def test_penalty_of_other_columns_is_zero(letter: str) -> None:
    assert float(network(letter).penalty()) == 0.0


@pytest.mark.parametrize("letter", ["C", "D"])
def test_normalisation_before_activation(letter: str) -> None:
    """Normalised convolutions give zero mean and unit variance: D's within a radiograph, C's within a batch."""
    block = network(letter).train().custom_blocks[0]
    y = block.widen(torch.randn(4, 1, 32, 32))
    over = (2, 3) if letter == "D" else (0, 2, 3)
    torch.testing.assert_close(y.mean(dim=over), torch.zeros_like(y.mean(dim=over)), atol=1e-5, rtol=0.0)
    variance = y.var(dim=over, correction=0)
    torch.testing.assert_close(variance, torch.ones_like(variance), atol=0.05, rtol=0.0)


def test_instance_normalisation_ignores_batch() -> None:
    """Instance normalisation knows nothing of the batch."""
    built = network("D").train()
    views, sex = torch.randn(3, 1, 64, 64), torch.eye(2)[[0, 1, 0]]
    torch.testing.assert_close(built(views, sex)[:1], built(views[:1], sex[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("letter", ["A", "G"])
def test_dropout_in_training_only(letter: str) -> None:
    built = network(letter).train()
    view, sex = torch.randn(1, 1, 64, 64), torch.eye(2)[:1]
    assert torch.allclose(built(view, sex), built(view, sex)) == (letter == "A")
    built.eval()
    torch.testing.assert_close(built(view, sex), built(view, sex))


@pytest.mark.parametrize(("letter", "height", "width"), [("A", 60, 64), ("H", 64, 80), ("H", 0, 64), ("D", 64, 4)])
def test_size_not_divisible_rejected(letter: str, height: int, width: int) -> None:
    with pytest.raises(
        RecipeError, match=rf"multiples of {TABLE_I[letter].size_step}, not {height} x {width}"
    ) as caught:
        SouzaNetwork(TABLE_I[letter], height, width)
    assert caught.value.code == "recipe_invalid"


def test_view_not_square() -> None:
    built = SouzaNetwork(TABLE_I["E"], 64, 96).eval()
    assert built.explain(torch.randn(1, 1, 64, 96), torch.eye(2)[:1]).activation.shape == (1, 4, 6)


def test_column_of_other_values() -> None:
    built = SouzaNetwork(replace(TABLE_I["D"], filters=(4, 8), kernel=5), 16, 16, hidden=(3,)).eval()
    assert built.explain(torch.randn(2, 1, 16, 16), torch.eye(2)).embedding.shape == (2, 3)
