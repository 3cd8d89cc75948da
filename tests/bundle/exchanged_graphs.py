"""Bundles whose graphs are exchanged, and what running, loading and checking them reports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
import pytest

from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle
from boneage.bundle.manifest import read_manifest, write_manifest
from boneage.files import sha256_of
from boneage.phantom import draw_hand
from tests.bundles import TINY_VIEW

PHANTOM = draw_hand(9.0, height=500, width=375)


def views(count: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, TINY_VIEW.height, TINY_VIEW.width), dtype=np.float32)


def exchange_graph(folder: Path, graph: onnx.ModelProto) -> Bundle:
    """Put another graph in the first member's place, with a checksum that fits."""
    manifest = read_manifest(folder)
    first = manifest.members[0]
    (folder / first.graph).write_bytes(graph.SerializeToString())
    first = replace(first, sha256=sha256_of(folder / first.graph))
    write_manifest(replace(manifest, members=(first, *manifest.members[1:])), folder)
    return Bundle.open(folder)


def failed_checks(bundle: Bundle) -> list[str]:
    return [result.name for result in check_bundle(bundle) if not result.passed]


def count_loads(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[str]:
    """Return a list to which every graph of the folder that is loaded from now on adds its name."""
    loaded: list[str] = []
    names = {path.read_bytes(): path.name for path in folder.glob("*.onnx")}
    load = onnxruntime.InferenceSession

    def counting(graph: bytes, *arguments: Any, **options: Any) -> Any:
        loaded.append(names[graph])
        return load(graph, *arguments, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", counting)
    return loaded
