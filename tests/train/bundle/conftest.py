"""Graphs that are traced once for all tests, as tracing takes most of their time, and a tiny bundle."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from boneage.bundle.bundle import Bundle
from boneage.sex import Sex
from boneage.train.bundle import export as exporting
from boneage.train.bundle.write import NetworkMember, write_bundle
from boneage.train.networks.layers import AgeNetwork
from tests.train.bundle.tiny_networks import FACTS, MEAN, SPREAD, VIEW, random_network


@pytest.fixture(scope="session", autouse=True)
def graphs_traced_once() -> Iterator[None]:
    """Return the same bytes for a network with the same weights and inputs; any other graph is traced."""
    trace, traced_before = exporting.trace_graph, dict[str, bytes]()

    def traced(graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str], opset: int) -> bytes:
        key = graph_key(graph.eval(), inputs, outputs, opset)
        if key not in traced_before:
            traced_before[key] = trace(graph, inputs, outputs, opset)
        for parameter in graph.parameters():
            parameter.data = torch.empty(0)  # `trace_graph` does the same
        return traced_before[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "trace_graph", traced)
        yield


def graph_key(graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str], opset: int) -> str:
    """Checksum of everything that decides on a traced graph: classes, their plain attributes, tensors and inputs."""
    digest = hashlib.sha256(repr((outputs, opset)).encode())
    for name, module in graph.named_modules():
        plain = sorted((key, repr(value)) for key, value in vars(module).items() if not key.startswith("_"))
        digest.update(repr((name, type(module).__module__, type(module).__qualname__, plain)).encode())
    for name, tensor in (*inputs.items(), *graph.named_parameters(), *graph.named_buffers()):
        digest.update(repr((name, tuple(tensor.shape), str(tensor.dtype))).encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@pytest.fixture(scope="session")
def traced() -> bytes:
    """The graph of `random_network()`, traced once: that takes most of an export's time."""
    graph = exporting.AgeGraph(random_network(), MEAN, SPREAD)
    inputs = {"view": torch.rand(2, 1, VIEW.height, VIEW.width), "sex": torch.eye(2)}
    return exporting.trace_graph(graph, inputs, ["age_months", "embedding", "activation"], 20)


@pytest.fixture
def quick(traced: bytes, monkeypatch: pytest.MonkeyPatch) -> NetworkMember:
    """A member whose export takes its graph from `traced`."""
    monkeypatch.setattr(exporting, "trace_graph", lambda *_: traced)
    return NetworkMember("only", random_network(), VIEW, MEAN, SPREAD)


@pytest.fixture(scope="session")
def networks() -> list[AgeNetwork]:
    return [random_network(), random_network("instance, flatten")]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, networks: list[AgeNetwork]) -> Bundle:
    members = [
        NetworkMember("residual", networks[0], VIEW, MEAN, SPREAD, mirror=True, weight=2.0),
        NetworkMember("girls", networks[1], VIEW, 100.0, 30.0, sexes=(Sex.FEMALE,)),
    ]
    return write_bundle(members, FACTS, tmp_path_factory.mktemp("parent") / "new" / "tiny")
