"""ONNX Runtime sessions: graphs are read with their checksums verified, loaded on the CPU and run.

Errors are :class:`~boneage.errors.BundleError`; `boneage.bundle.bundle` lists their codes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from boneage.errors import BundleError
from boneage.files import sha256_of

PROVIDER_SETTING = "BONEAGE_PROVIDER"
"""Environment variable that names the execution provider of ONNX Runtime: a key of `PROVIDERS`."""

PROVIDERS: Mapping[str, str] = MappingProxyType(
    {"cpu": "CPUExecutionProvider", "openvino": "OpenVINOExecutionProvider", "cuda": "CUDAExecutionProvider"}
)
"""Names that ONNX Runtime gives the execution providers."""


class Graph(Protocol):
    """An entry of a manifest that names an ONNX graph and its checksum."""

    @property
    def graph(self) -> str:
        """File name of the graph, beside the manifest."""

    @property
    def sha256(self) -> str:
        """Checksum of that file."""


class Node(Protocol):
    """An input or output of a session."""

    name: str
    type: str
    shape: list[int | str | None]


class Session(Protocol):
    """The part of ``onnxruntime.InferenceSession`` that is used."""

    def get_inputs(self) -> list[Node]:
        """Return the inputs."""

    def get_outputs(self) -> list[Node]:
        """Return the outputs."""

    def run(self, names: list[str], feed: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the named outputs for inputs by their names."""


def import_onnxruntime() -> Any:
    """Import ONNX Runtime so that it sends nothing over the network and keeps no files of its own.

    Some of its builds count their use under the user's cache folder and look up a host of their maker's. Both end with
    a variable of the environment that it reads while it is imported, and with a call. The import is late, since it
    takes a good part of the time to start.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415  # it ships no types

    if hasattr(onnxruntime, "disable_telemetry_events"):
        onnxruntime.disable_telemetry_events()
    return onnxruntime


def read_graph(directory: Path, graph: Graph) -> bytes:
    """Return the bytes of a graph after verifying their checksum.

    These very bytes are loaded, so that the file cannot be exchanged in between.

    Raises:
        BundleError: ``bundle_invalid`` if the file cannot be read, ``bundle_checksum`` if it is another one.
    """
    try:
        data = (directory / graph.graph).read_bytes()
    except OSError as error:
        raise BundleError("bundle_invalid", f"The graph {graph.graph} cannot be read: {error}.") from error
    if sha256_of(data) != graph.sha256:
        raise BundleError(
            "bundle_checksum", f"The graph {graph.graph} is damaged or was exchanged: its checksum is another."
        )
    return data


def open_session(directory: Path, graph: Graph, threads: int) -> Session:
    """Verify a graph and load it on the CPU, or by the provider of the setting ``BONEAGE_PROVIDER``.

    Args:
        directory: folder of the bundle.
        graph: entry of its manifest.
        threads: number of threads for one run, at least 1.

    Raises:
        BundleError: as `read_graph`; ``bundle_invalid`` also if ONNX Runtime cannot load the graph;
            ``provider_missing`` if that provider is unknown, not installed or without its device.
    """
    data = read_graph(directory, graph)
    onnxruntime = import_onnxruntime()
    provider = _provider(onnxruntime)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Both keep the memory of the largest batch for good, and the search for a hand has large ones: a worker then holds
    # 900 MiB instead of 250, and is no faster (docs/results.md).
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # With a dozen graphs that wait for their turn, each would keep its threads busy with waiting.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(data, options, providers=_provider_options(provider, threads))
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise BundleError("bundle_invalid", f"The graph {graph.graph} cannot be loaded: {error}") from error
    if provider not in session.get_providers():  # ONNX Runtime goes on without it
        raise BundleError(
            "provider_missing",
            f"{provider} of {PROVIDER_SETTING} cannot be used: its device or libraries are missing.",
        )
    opened: Session = session
    return opened


def _provider(onnxruntime: Any) -> str:
    """Return the provider of the setting, in the words of ONNX Runtime.

    Raises:
        BundleError: ``provider_missing``.
    """
    name = os.environ.get(PROVIDER_SETTING, "").strip().lower() or "cpu"
    if name not in PROVIDERS:
        raise BundleError(
            "provider_missing", f"{PROVIDER_SETTING} must be one of {', '.join(PROVIDERS)}, not {name!r}."
        )
    if PROVIDERS[name] not in onnxruntime.get_available_providers():
        raise BundleError(
            "provider_missing",
            f"The installed ONNX Runtime has no {PROVIDERS[name]}. Install a build that has it, or unset"
            f" {PROVIDER_SETTING}.",
        )
    return PROVIDERS[name]


def _provider_options(provider: str, threads: int) -> list[Any]:
    """Return the providers of a session, each graph node on the first that can run it."""
    if provider == PROVIDERS["openvino"]:  # it has threads of its own
        return [(provider, {"device_type": "CPU", "num_of_threads": str(threads)}), PROVIDERS["cpu"]]
    return list(dict.fromkeys([provider, PROVIDERS["cpu"]]))


def run_session(
    session: Session, graph: str, names: list[str], feed: dict[str, NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """Return the named outputs of a graph.

    Raises:
        BundleError: ``bundle_mismatch`` if ONNX Runtime cannot run it on these inputs.
    """
    try:
        return session.run(names, feed)
    except Exception as error:  # ONNX Runtime's errors have no common base but this
        raise BundleError("bundle_mismatch", f"The graph {graph} cannot run: {error}") from error


def run_on_views(
    session: Session, graph: str, views: NDArray[np.float32], shapes: Mapping[str, tuple[int, ...]]
) -> list[NDArray[np.float32]]:
    """Run a graph that reads views alone, and validate its outputs.

    Args:
        session: the loaded graph.
        graph: its file name, for messages.
        views: float32 (N, h, w).
        shapes: shape of each output for one view.

    Returns:
        The outputs in the order of `shapes`, each with N in front of its shape.

    Raises:
        BundleError: ``bundle_mismatch`` for an output of another shape, ``bundle_output`` for one that is not finite or
            not in its range.
    """
    feed = {"view": np.ascontiguousarray(views[:, None], dtype=np.float32)}
    arrays = run_session(session, graph, list(shapes), feed)
    for (output, shape), array in zip(shapes.items(), arrays, strict=True):
        if array.shape != (len(views), *shape):
            raise BundleError("bundle_mismatch", f"The graph {graph} gave {output} of shape {array.shape}.")
        if not (np.isfinite(array).all() and _is_in_range(output, array)):
            raise BundleError("bundle_output", f"The graph {graph} gave values of {output} that are out of range.")
    return arrays


def _is_in_range(output: str, array: NDArray[np.float32]) -> bool:
    """Return whether an output of `run_on_views` is in its range: probabilities, spreads, or any points."""
    if output == "spread":
        return bool((array >= 0).all())
    if output == "points":
        return True
    in_range = bool((array >= 0).all() and (array <= 1 + 1e-4).all())
    return in_range and (output != "hands" or bool(np.abs(array.sum(axis=1) - 1).max() < 1e-3))
