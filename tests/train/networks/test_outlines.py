"""The network for outlines: each tile is read by itself, with the prior of its bone; its graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from boneage.bundle.session import import_onnxruntime
from boneage.errors import RecipeError
from boneage.hand.bones import BONES, TILE_COLUMNS, TILE_ROWS
from boneage.train.bundle.export import export_hand_graph
from boneage.train.networks.outlines import OutlineNetwork
from boneage.train.networks.tiles import join_tiles, split_tiles

TILE = 12
HEIGHT, WIDTH = TILE * TILE_ROWS, TILE * TILE_COLUMNS


@pytest.fixture(scope="module")
def network() -> OutlineNetwork:
    torch.manual_seed(1)
    built = OutlineNetwork(HEIGHT, WIDTH, widths=(4, 6), fold=3)
    built.priors.data += torch.randn_like(built.priors)
    return built.eval()


def views() -> Tensor:
    return torch.randn(2, 1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(5))


def test_tiles_are_split_and_joined() -> None:
    tiles = split_tiles(views())
    assert tiles.shape == (2, len(BONES), TILE, TILE)
    torch.testing.assert_close(tiles[:, TILE_COLUMNS], views()[:, 0, TILE : 2 * TILE, :TILE])
    torch.testing.assert_close(join_tiles(tiles), views()[:, 0])


def test_tiles_are_read_one_by_one(network: OutlineNetwork) -> None:
    changed = views()
    changed[:, :, :TILE, TILE : 2 * TILE] += torch.randn(TILE, TILE)
    before, after = (split_tiles(network(view)) for view in (views(), changed))
    assert before.shape == (2, len(BONES), TILE, TILE)
    moved = (before - after).abs().amax(dim=(0, 2, 3)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [1]


def test_same_tile_differs_by_bone(network: OutlineNetwork) -> None:
    """The prior tells the network which bone a tile shows."""
    tile = torch.randn(TILE, TILE)
    logits = split_tiles(network(tile.repeat(TILE_ROWS, TILE_COLUMNS)[None, None]))[0]
    assert all(not torch.equal(logits[0], other) for other in logits[1:])


def test_exposure_does_not_count(network: OutlineNetwork) -> None:
    torch.testing.assert_close(network(2.5 * views() + 1.0), network(views()), atol=1e-3, rtol=0)


def test_view_that_does_not_divide_is_rejected() -> None:
    with pytest.raises(RecipeError, match="recipe_invalid"):
        OutlineNetwork(HEIGHT + 3, WIDTH, widths=(4, 6), fold=3)


def test_graph_equals_network(network: OutlineNetwork, tmp_path: Path) -> None:
    export_hand_graph(network, tmp_path / "o.onnx", kind="outlines", height=HEIGHT, width=WIDTH, weight_bits=32)
    session = import_onnxruntime().InferenceSession(str(tmp_path / "o.onnx"), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["outlines"], {"view": views().numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(probabilities, torch.sigmoid(network(views()))[:, 0].numpy(), atol=1e-5)
