"""Graphs that several tests trace are traced once: tracing is most of the time of these tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from boneage.train.bundle import export as exporting


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
