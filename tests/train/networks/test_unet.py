"""U-Net: a value for every pixel, whatever is folded."""

from __future__ import annotations

import pytest
import torch

from boneage.errors import RecipeError
from boneage.train.networks.unet import UNetwork, UNetworkTrunk


@pytest.mark.parametrize("fold", [1, 2, 4])
@pytest.mark.parametrize(("height", "width"), [(32, 48), (64, 32)])
def test_logit_for_every_pixel(height: int, width: int, fold: int) -> None:
    network = UNetwork(height, width, widths=(4, 6, 8), fold=fold)
    assert network(torch.randn(2, 1, height, width)).shape == (2, 1, height, width)


def test_trunk_finest_and_deepest_features() -> None:
    trunk = UNetworkTrunk(32, 48, widths=(4, 6, 8), fold=2)
    features, deepest = trunk(torch.randn(3, 1, 32, 48))
    assert features.shape == (3, trunk.channels, 16, 24) == (3, 4, 16, 24)
    assert deepest.shape == (3, trunk.deepest_channels, 4, 6) == (3, 8, 4, 6)


@pytest.mark.parametrize(("height", "width"), [(33, 48), (32, 50), (36, 48), (31, 47)])
def test_size_not_divisible_rejected(height: int, width: int) -> None:
    with pytest.raises(RecipeError, match="multiples of 8") as caught:
        UNetwork(height, width, widths=(4, 6, 8), fold=2)
    assert caught.value.code == "recipe_invalid"


def test_default_takes_view_of_recipe() -> None:
    assert UNetwork(256, 256).trunk.deepest_channels == 128


def test_every_weight_has_gradient_without_mixing() -> None:
    """Every weight learns and views of a batch do not mix."""
    torch.manual_seed(0)
    network = UNetwork(32, 32, widths=(4, 6), fold=2)
    views = torch.randn(3, 1, 32, 32)
    network(views).square().mean().backward()
    assert all(weights.grad is not None and bool(weights.grad.any()) for weights in network.parameters())
    network.eval()
    with torch.no_grad():
        assert torch.allclose(network(views)[1:2], network(views[1:2]), atol=1e-5)


def test_pixel_lies_where_it_was() -> None:
    """Folding and unfolding are each other's reverse: only the neighbourhood of a changed pixel answers otherwise."""
    torch.manual_seed(0)
    network = UNetwork(64, 64, widths=(4,), fold=2).eval()
    view = torch.randn(1, 1, 64, 64)
    other = view.clone()
    other[0, 0, 21, 40] += 3
    with torch.no_grad():
        rows, columns = torch.nonzero((network(other) - network(view))[0, 0], as_tuple=True)
    assert rows.min() >= 20 - 4
    assert rows.max() <= 21 + 4
    assert columns.min() >= 40 - 4
    assert columns.max() <= 41 + 4
