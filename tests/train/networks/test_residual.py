"""The residual network: shapes, skips and its beginning."""

from __future__ import annotations

import pytest
import torch

from boneage.train.networks.residual import ResidualBlock, ResidualNetwork


@pytest.mark.parametrize(("height", "width", "grid"), [(256, 192, (8, 6)), (64, 96, (2, 3)), (100, 70, (4, 3))])
def test_grid_is_one_in_32(height: int, width: int, grid: tuple[int, int]) -> None:
    network = ResidualNetwork("number", height, width, widths=(4, 8, 12, 16), depths=(1, 1, 2, 1), hidden=5).eval()
    view, sex = torch.randn(2, 1, height, width), torch.eye(2)
    assert network.features(view).shape == (2, 16, *grid)
    explained = network.explain(view, sex)
    assert (explained.age.shape, explained.embedding.shape) == ((2,), (2, 5))
    assert explained.activation.shape == (2, *grid)


def test_any_size_of_view() -> None:
    """A network takes views of other sizes than it was made for."""
    network = ResidualNetwork("number", 64, 64, widths=(4, 8), depths=(1, 1), hidden=3).eval()
    assert network(torch.randn(2, 1, 48, 80), torch.eye(2)).shape == (2,)


@pytest.mark.parametrize(("channels", "stride", "projected"), [(4, 1, False), (4, 2, True), (8, 1, True)])
def test_block_projects_skip_on_new_shape(channels: int, stride: int, projected: bool) -> None:
    """A block projects its skip only where shapes differ."""
    block = ResidualBlock(4, channels, stride)
    assert bool(list(block.skip.parameters())) == projected
    assert block(torch.randn(2, 4, 8, 8)).shape == (2, channels, 8 // stride, 8 // stride)


def test_block_begins_as_identity() -> None:
    x = torch.rand(2, 4, 8, 8)
    torch.testing.assert_close(ResidualBlock(4, 4, 1).eval()(x), x)


def test_depths_and_widths_make_blocks() -> None:
    network = ResidualNetwork("number", 64, 64, widths=(4, 8, 12), depths=(2, 1, 3))
    blocks = [each for each in network.features.modules() if isinstance(each, ResidualBlock)]
    assert [each.second.out_channels for each in blocks] == [4, 4, 8, 12, 12, 12]
    assert [each.first.stride[0] for each in blocks] == [1, 1, 2, 2, 1, 1]


def test_default_number_of_weights() -> None:
    """Within the 2 to 8 million weights at which a CPU serves and trains it in reasonable time."""
    parameters = sum(each.numel() for each in ResidualNetwork("number", 256, 192).parameters())
    assert 2_000_000 < parameters < 8_000_000


def test_dropout_in_head() -> None:
    network = ResidualNetwork("number", 32, 32, widths=(4,), depths=(1,), hidden=64, dropout=0.5).train()
    view, sex = torch.randn(2, 1, 32, 32), torch.eye(2)
    assert not torch.allclose(network(view, sex), network(view, sex))
    torch.testing.assert_close(network.features(view), network.features(view))
