"""Networks for key points: where a heat map has its peak, there is the point."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from boneage.errors import RecipeError
from boneage.train.networks.points import KeyPointNetwork, LocatedPoints, VGGKeyPointNetwork

HEIGHT, WIDTH, FOLD = 32, 48, 2


class GivenHeat(nn.Module):
    """In the place of the layer that makes heat maps."""

    def __init__(self, heat: Tensor) -> None:
        super().__init__()
        self.heat = heat

    def forward(self, features: Tensor) -> Tensor:
        return self.heat.expand(len(features), -1, -1, -1)


def network_with(heat: Tensor) -> KeyPointNetwork:
    network = KeyPointNetwork(HEIGHT, WIDTH, widths=(4, 6), fold=FOLD).eval()
    network.heat = GivenHeat(heat)  # type: ignore[assignment]  # it stands for the layer
    return network


def located(network: nn.Module, count: int = 1) -> LocatedPoints:
    with torch.no_grad():
        answer: LocatedPoints = network(torch.zeros(count, 1, HEIGHT, WIDTH))
    return answer


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 23)), min_size=3, max_size=3))
def test_points_at_peak(places: list[tuple[int, int]]) -> None:
    heat = torch.zeros(1, 3, 16, 24)
    for number, (row, column) in enumerate(places):
        heat[0, number, row, column] = 50.0
    answer = located(network_with(heat))
    expected = torch.tensor([[((column + 0.5) * FOLD, (row + 0.5) * FOLD) for row, column in places]])
    assert torch.allclose(answer.points, expected, atol=1e-3)
    assert float(answer.spread.max()) < 0.01


def test_points_between_two_peaks() -> None:
    """Between two peaks lies the point and they are its spread."""
    heat = torch.zeros(1, 3, 16, 24)
    heat[0, :, 4, 5] = heat[0, :, 4, 15] = 50.0
    answer = located(network_with(heat))
    assert torch.allclose(answer.points, torch.tensor([10.5 * FOLD, 4.5 * FOLD]).expand(1, 3, 2), atol=1e-3)
    assert torch.allclose(answer.spread, torch.tensor(5.0 * FOLD), atol=1e-3)


def test_points_of_uniform_map() -> None:
    answer = located(network_with(torch.zeros(1, 3, 16, 24)))
    assert torch.allclose(answer.points, torch.tensor([WIDTH / 2, HEIGHT / 2]).expand(1, 3, 2), atol=1e-3)
    assert float(answer.spread.min()) > WIDTH / 4


@pytest.mark.parametrize("fold", [1, 2])
def test_heat_maps_shape_and_sum(fold: int) -> None:
    answer = located(KeyPointNetwork(HEIGHT, WIDTH, widths=(4, 6), fold=fold).eval(), 2)
    assert answer.heat is not None
    assert answer.heat.shape == (2, 3, HEIGHT // fold, WIDTH // fold)
    assert torch.allclose(answer.heat.exp().sum(dim=(2, 3)), torch.ones(2, 3), atol=1e-5)
    assert (answer.points.shape, answer.spread.shape, answer.hands.shape) == ((2, 3, 2), (2, 3), (2, 3))


@pytest.mark.parametrize(("height", "width"), [(33, 48), (32, 46)])
def test_key_point_network_rejects_sizes(height: int, width: int) -> None:
    with pytest.raises(RecipeError) as caught:
        KeyPointNetwork(height, width, widths=(4, 6), fold=2)
    assert caught.value.code == "recipe_invalid"


# --- the paper's ---


def small_vgg(height: int = HEIGHT, width: int = WIDTH) -> VGGKeyPointNetwork:
    return VGGKeyPointNetwork(height, width, widths=(4, 6, 8), hidden=(10, 8))


@pytest.mark.parametrize(("height", "width"), [(130, 100), (33, 47)])
def test_vgg_key_points_any_size(height: int, width: int) -> None:
    with torch.no_grad():
        answer = small_vgg(height, width)(torch.randn(2, 1, height, width))
    assert (answer.points.shape, answer.spread.shape, answer.hands.shape) == ((2, 3, 2), (2, 3), (2, 3))
    assert float(answer.spread.min()) > 0
    assert answer.heat is None


def test_vgg_key_points_layers() -> None:
    """Section 3: three blocks of 64, 128 and 256, each two convolutions with ELU and batch normalisation before a
    maximum pooling; three dense layers; dropout.
    """
    layers = list(VGGKeyPointNetwork(130, 100).layers)
    convolutions = [layer.out_channels for layer in layers if isinstance(layer, nn.Conv2d)]
    kinds = [type(layer).__name__ for layer in layers]
    assert convolutions == [64, 64, 128, 128, 256, 256]
    assert kinds[:14] == [*["Conv2d", "ELU", "BatchNorm2d"] * 2, "MaxPool2d"] * 2
    assert kinds.count("MaxPool2d") == 3
    assert kinds.count("Linear") == 3
    assert kinds.count("Dropout") == 2


def test_vgg_key_points_coordinates_over_view() -> None:
    network = small_vgg().eval()
    last = network.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([-1.0, -1.0, 0.0, 0.0, 1.0, 1.0, *[0.0] * 6]))
    assert torch.allclose(located(network).points, torch.tensor([[[0.0, 0.0], [24.0, 16.0], [48.0, 32.0]]]))


@pytest.mark.parametrize("network", [KeyPointNetwork(HEIGHT, WIDTH, widths=(4, 6)), small_vgg()], ids=["heat", "paper"])
def test_explain_probabilities_without_heat(network: KeyPointNetwork | VGGKeyPointNetwork) -> None:
    """An explained answer has probabilities and no heat."""
    view = torch.randn(2, 1, HEIGHT, WIDTH)
    network.eval()
    with torch.no_grad():
        plain, explained = network(view), network.explain(view)
    assert explained.heat is None
    assert torch.allclose(explained.hands.sum(dim=1), torch.ones(2))
    assert torch.allclose(explained.hands, torch.softmax(plain.hands, dim=1))
    assert torch.equal(explained.points, plain.points)
    assert torch.equal(explained.spread, plain.spread)


@pytest.mark.parametrize("network", [KeyPointNetwork(HEIGHT, WIDTH, widths=(4, 6)), small_vgg()], ids=["heat", "paper"])
def test_every_weight_has_gradient(network: KeyPointNetwork | VGGKeyPointNetwork) -> None:
    torch.manual_seed(0)
    answer = network.train()(torch.randn(4, 1, HEIGHT, WIDTH))
    (answer.points.square().mean() + answer.spread.mean() + answer.hands.square().mean()).backward()
    assert all(weights.grad is not None and bool(weights.grad.any()) for weights in network.parameters())
