"""Tiny networks with random weights, drawn views for them, and their export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from boneage.bundle.manifest import Manifest
from boneage.hand.views import CellGrid, ViewSpec, cut_view
from boneage.phantom import draw_hand
from boneage.train.bundle.export import export_graph
from boneage.train.bundle.weight_bits import ExportedGraph, WeightBits
from boneage.train.networks.layers import AgeHead, AgeNetwork, Pooling
from boneage.train.networks.residual import ResidualNetwork
from boneage.train.networks.vgg import VggNetwork

VIEW = ViewSpec(height=64, width=48)
MEAN, SPREAD = 127.0, 41.0
FACTS = Manifest("tiny", "1", "Tiny networks", "2025-01-01", recipe={"network": {"name": "residual"}})


class InstanceNetwork(AgeNetwork):
    """Convolutions with instance normalisation, as Souza & Oliveira's Table I has them."""

    def __init__(self, pooling: Pooling, *, track: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1),
            nn.InstanceNorm2d(8, affine=True, track_running_stats=track),
            nn.ReLU(),
            nn.Conv2d(8, 12, 5, 2, 2, bias=False),
            nn.InstanceNorm2d(12, affine=True, track_running_stats=track),
            nn.ELU(),
        )
        self.cells = CellGrid(4.0, 0.5)
        self.head = AgeHead(12, grid=(16, 12), hidden=(16, 8), pooling=pooling, dropout=0.5)


def residual() -> AgeNetwork:
    return ResidualNetwork("number", VIEW.height, VIEW.width, widths=(16, 32), depths=(1, 1), hidden=16, dropout=0.5)


NETWORKS: dict[str, Callable[[], AgeNetwork]] = {
    "residual": residual,
    "instance, average": lambda: InstanceNetwork("average"),
    "instance, flatten": lambda: InstanceNetwork("flatten"),
    "instance, tracked": lambda: InstanceNetwork("average", track=True),
}


def random_network(name: str = "residual") -> AgeNetwork:
    """A network whose every parameter and statistic is random, and whose answers differ from radiograph to
    radiograph."""
    torch.manual_seed(3)
    network = NETWORKS[name]()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            if module.running_mean is not None and module.running_var is not None:
                nn.init.normal_(module.running_mean, 0, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    for layer in dense(network):
        nn.init.normal_(layer.weight, 0, 2 / layer.in_features**0.5)
    return network


def sure_network() -> VggNetwork:
    """A network whose distributions have one broad hump, elsewhere for each radiograph, as a trained network's have."""
    torch.manual_seed(3)
    network = VggNetwork("distribution", VIEW.height, VIEW.width, widths=(8, 12), hidden=(16, 16))
    last = dense(network)[-1]
    with torch.no_grad():
        network.train()(torch.from_numpy(views(8)[:, None]), torch.from_numpy(one_hot(8)))
        months = torch.linspace(-1, 1, 240)
        last.weight.copy_(torch.outer(months, torch.randn(16)) * 40)
        last.bias.copy_(-20 * months.square())
    return network.eval()


def dense(network: AgeNetwork) -> list[nn.Linear]:
    return [layer for layer in network.head.dense if isinstance(layer, nn.Linear)]


class MaskNetwork(nn.Module):
    """Logits of every pixel, as a U-Net gives them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 1, 1))

    def forward(self, view: Tensor) -> Tensor:
        logits: Tensor = self.layers(view)
        return logits


class PointsNetwork(nn.Module):
    """Points, spreads and hands from the pooled view, and something that training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(12, 12)

    def explain(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        values = self.dense(nn.functional.adaptive_avg_pool2d(view, (4, 3)).flatten(1))
        points, spread, hands = values[:, :6].reshape(-1, 3, 2), values[:, 6:9].exp(), values[:, 9:]
        return points * 20, spread, torch.softmax(hands, dim=1), None


def views(count: int) -> NDArray[np.float32]:
    radiographs = (draw_hand((4.0 + 3 * number) % 19, height=400, width=300, seed=number) for number in range(count))
    return np.stack([cut_view(radiograph, VIEW) for radiograph in radiographs])


def one_hot(count: int) -> NDArray[np.float32]:
    return np.eye(2, dtype=np.float32)[np.arange(count) % 2]


def export(network: AgeNetwork, path: Path, *, bits: WeightBits = 16) -> ExportedGraph:
    size = {"height": VIEW.height, "width": VIEW.width}
    return export_graph(network, path, **size, age_mean_months=MEAN, age_spread_months=SPREAD, weight_bits=bits)
