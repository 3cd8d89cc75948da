"""The age networks of Iglovikov et al.: layers as the paper counts them, sizes, cells, learning."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from boneage.hand.views import CellGrid
from boneage.train.networks import build_network
from boneage.train.networks.layers import Answer
from boneage.train.networks.vgg import VggNetwork, vgg_blocks

TINY = (4, 6, 8, 8, 8, 10)


def tiny(answer: Answer = "number", height: int = 64, width: int = 48, *, sex_input: bool = True) -> VggNetwork:
    torch.manual_seed(0)
    return VggNetwork(answer, height, width, widths=TINY, hidden=(12, 11), sex_input=sex_input)


def views(height: int = 64, width: int = 48, radiographs: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(radiographs, 1, height, width, generator=generator), torch.eye(2)[torch.arange(radiographs) % 2]


def test_layers_of_paper() -> None:
    """Section 4.1: six blocks of 32, 64, 128, 128, 256, 384 filters, two dense layers of 2,048, a single output."""
    network = build_network("vgg-regression", 128, 96)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [each.out_channels for each in convolutions] == [
        each for each in (32, 64, 128, 128, 256, 384) for _ in range(2)
    ]
    assert {each.kernel_size for each in convolutions} == {(3, 3)}
    dense = [tuple(layer.weight.shape) for layer in network.head.dense if isinstance(layer, nn.Linear)]
    assert dense == [(2048, 384 * 2 * 2 + 2), (2048, 2048), (1, 2048)]
    assert network.head.dropouts == (0.5, 0.5, 0.0)
    assert not network.gives_distribution
    kinds = [type(module) for module in network.features.children()][:7]
    assert kinds == [nn.Conv2d, nn.ELU, nn.BatchNorm2d, nn.Conv2d, nn.ELU, nn.BatchNorm2d, nn.MaxPool2d]


def test_classification_differs_in_last_layers() -> None:
    """Section 4.2: 240 classes."""
    first, second = (build_network(f"vgg-{kind}", 64, 64) for kind in ("regression", "classification"))
    shapes = [{name: tensor.shape for name, tensor in network.state_dict().items()} for network in (first, second)]
    assert {name for name in shapes[0] if shapes[0][name] != shapes[1][name]} == {
        "head.dense.2.weight",
        "head.dense.2.bias",
    }
    assert shapes[1]["head.dense.2.weight"] == (240, 2048)
    assert second.gives_distribution


@given(height=st.integers(16, 130), width=st.integers(16, 130), answer=st.sampled_from(["number", "distribution"]))
@settings(deadline=None, max_examples=25)
def test_any_size_of_view(height: int, width: int, answer: Answer) -> None:
    network = tiny(answer, height, width).eval()
    with torch.no_grad():
        explained = network.explain(*views(height, width, radiographs=1))
    cells = (-(-height // 32), -(-width // 32))
    assert explained.activation.shape == (1, *cells)
    # Cells begin on the view and cover all of it.
    assert network.cells == CellGrid(32.0, 16.0)
    for count, side in zip(cells, (height, width), strict=True):
        assert (count - 1) * network.cells.pixels < side <= count * network.cells.pixels


@given(height=st.integers(40, 160), width=st.integers(40, 160), place=st.tuples(st.floats(0, 1), st.floats(0, 1)))
@settings(deadline=None, max_examples=40)
def test_cell_depends_on_its_place(height: int, width: int, place: tuple[float, float]) -> None:
    """A bright dot answers strongest in the cell that the grid draws there, also past odd rows and columns."""
    blocks = vgg_blocks((1, 1, 1, 1, 1, 1)).eval()
    for module in blocks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.01)
            nn.init.constant_(module.weight[:, :, 1, 1], 1.0)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    row, column = (min(int(share * side), side - 1) for share, side in zip(place, (height, width), strict=True))
    view = torch.zeros(1, 1, height, width)
    view[0, 0, row, column] = 1.0
    with torch.no_grad():
        response = blocks(view)[0, 0]
    cells = tiny().cells
    expected = [round((each + 0.5 - cells.first) / cells.pixels - 1e-6) for each in (row, column)]
    assert list(divmod(int(response.argmax()), response.shape[1])) == expected


@pytest.mark.parametrize("answer", ["number", "distribution"])
def test_training_lowers_loss(answer: Answer) -> None:
    """A bright square's height is the age: a few steps of Adam find it, from views of two batches."""
    rows = torch.arange(32) % 16
    view = torch.zeros(32, 1, 32, 24)
    for radiograph, row in enumerate(rows.tolist()):
        view[radiograph, 0, row + 4 : row + 12, 8:16] = 1.0
    ages = rows / 8 - 1
    torch.manual_seed(0)
    network = VggNetwork(answer, 32, 24, widths=(4, 8, 8), hidden=(16,), dropout=0.0).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (network(view, torch.eye(2)[rows % 2]) - ages).abs().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.15 < losses[0]


def test_sex_input_off_ignores_sex() -> None:
    view, sex = views()
    with torch.no_grad():
        network = tiny(sex_input=False).eval()
        torch.testing.assert_close(network(view, sex), network(view, sex.flip(1)), rtol=0, atol=0)
    assert build_network("vgg-regression", 32, 32, hidden=[4], sex_input=False).head.dense[0].in_features == 384
