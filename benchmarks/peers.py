"""Time and memory of one radiograph with networks of the shapes that other systems serve, beside the whole walk here.

    python benchmarks/peers.py                                                  # the drawn phantom
    python benchmarks/peers.py --radiographs radiographs.csv --count 10         # radiographs enlarged to 1,500 x 2,000

The networks are built here as ONNX graphs with random weights, since their time does not depend on the weights. They
run through ONNX Runtime with its usual settings, after decoding, scaling and normalising of the file. What else those
systems do, such as masking the hand, is left out, to their advantage. Each system runs in a process of its own; all
assess one radiograph after the other, so that other work on the machine slows all alike. The output is Markdown.

Shapes: Deeplasia (Rassmann et al. 2023), three EfficientNets (Tan & Le 2019); 16 Bit (Cicero & Bilbily 2017),
Inception-V3 (Szegedy et al. 2016) on ten crops; ConvNeXt-tiny (Liu et al. 2022); DenseNet-169 (Huang et al. 2017).
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # it ships no types
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from boneage.bundle.bundle import Bundle
from boneage.composition import assess
from boneage.phantom import write_sample
from boneage.report.report import json_text
from boneage.tables.radiographs import radiographs_of_split, read_radiographs
from latency import chosen_radiographs, enlarged

# --- networks ---------------------------------------------------------------------------------------------------------


class Network:
    """An ONNX graph with random weights, built layer by layer.

    Batch normalisation directly after a convolution is part of the convolution, as every runtime makes it.

    Attributes:
        channels: number of channels of each tensor by its name.
    """

    def __init__(self, channels: int = 3) -> None:
        self.channels = {"image": channels}
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._random = np.random.default_rng(0)

    def node(self, kind: str, inputs: Sequence[str], channels: int, **attributes: Any) -> str:
        """Add a node with one output, and return the name of the output."""
        name = f"{kind}-{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        self.channels[name] = channels
        return name

    def weight(self, *shape: int, fan: int = 1) -> str:
        """Add a random weight, and return its name."""
        name = f"weight-{len(self._weights)}"
        values = self._random.standard_normal(shape, dtype=np.float32) / np.float32(math.sqrt(fan))
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def constant(self, values: NDArray[Any]) -> str:
        """Add a constant, and return its name."""
        name = f"constant-{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(
        self, x: str, channels: int, kernel: int | tuple[int, int], stride: int = 1, groups: int = 1, pad: bool = True
    ) -> str:
        """Add a convolution with a bias."""
        high, wide = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        entering = self.channels[x] // groups
        weight = self.weight(channels, entering, high, wide, fan=entering * high * wide)
        pads = [high // 2, wide // 2] * 2 if pad else [0, 0, 0, 0]
        return self.node(
            "Conv",
            [x, weight, self.weight(channels)],
            channels,
            kernel_shape=[high, wide],
            strides=[stride] * 2,
            group=groups,
            pads=pads,
        )

    def relu(self, x: str) -> str:
        """Add a rectifier."""
        return self.node("Relu", [x], self.channels[x])

    def silu(self, x: str) -> str:
        """Add x times its sigmoid."""
        return self.node("Mul", [x, self.node("Sigmoid", [x], self.channels[x])], self.channels[x])

    def add(self, x: str, y: str) -> str:
        """Add the sum of two tensors."""
        return self.node("Add", [x, y], self.channels[x])

    def concat(self, *parts: str) -> str:
        """Add the concatenation of the channels of several tensors."""
        return self.node("Concat", parts, sum(self.channels[part] for part in parts), axis=1)

    def pool(self, x: str, kind: str = "MaxPool", kernel: int = 3, stride: int = 2, pad: int = 0) -> str:
        """Add a pooling."""
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self.node(kind, [x], self.channels[x], **shape)

    def norm_relu(self, x: str) -> str:
        """Add a batch normalisation before a convolution, which stays a layer of its own, and a rectifier."""
        count = self.channels[x]
        ones, zeros = self.constant(np.ones(count, np.float32)), self.constant(np.zeros(count, np.float32))
        return self.relu(self.node("BatchNormalization", [x, ones, zeros, zeros, ones], count))

    def model(self, x: str, batch: int, side: int) -> bytes:
        """Return the graph, with the mean over the last map and one linear layer as its end, as bytes."""
        flat = self.node("Flatten", [self.node("GlobalAveragePool", [x], self.channels[x])], self.channels[x])
        weight = self.weight(self.channels[x], 1, fan=self.channels[x])
        self._nodes.append(helper.make_node("MatMul", [flat, weight], ["age"]))
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, self.channels["image"], side, side])
        age = helper.make_tensor_value_info("age", TensorProto.FLOAT, [batch, 1])
        graph = helper.make_graph(self._nodes, "peer", [image], [age], self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        serialised: bytes = model.SerializeToString()
        return serialised


_EFFICIENTNET = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""Expansion, channels, blocks, stride and kernel of the stages of EfficientNet-B0 (Tan & Le 2019, table 1)."""


def efficientnet(side: int, width: float = 1.0, depth: float = 1.0) -> bytes:
    """Return an EfficientNet of a width and depth relative to B0, for an image of one channel."""

    def scaled(channels: int) -> int:
        rounded = max(8, int(channels * width + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * channels * width else rounded

    network = Network(1)
    x = network.silu(network.conv("image", scaled(32), 3, 2))
    for expansion, channels, blocks, first_stride, kernel in _EFFICIENTNET:
        for block in range(math.ceil(blocks * depth)):
            entering, stride = network.channels[x], first_stride if block == 0 else 1
            inner = network.silu(network.conv(x, entering * expansion, 1)) if expansion > 1 else x
            inner = network.silu(network.conv(inner, entering * expansion, kernel, stride, groups=entering * expansion))
            squeezed = network.node("GlobalAveragePool", [inner], network.channels[inner])
            squeezed = network.silu(network.conv(squeezed, max(1, entering // 4), 1))
            gate = network.node(
                "Sigmoid", [network.conv(squeezed, network.channels[inner], 1)], network.channels[inner]
            )
            out = network.conv(network.node("Mul", [inner, gate], network.channels[inner]), scaled(channels), 1)
            x = network.add(out, x) if stride == 1 and entering == scaled(channels) else out
    return network.model(network.silu(network.conv(x, scaled(1280), 1)), 1, side)


def inception_v3(side: int, batch: int) -> bytes:
    """Return an Inception-V3 for images of three channels."""
    network = Network()

    def conv(x: str, channels: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True) -> str:
        return network.relu(network.conv(x, channels, kernel, stride, pad=pad))

    def pooled(x: str, channels: int) -> str:
        return conv(network.pool(x, "AveragePool", stride=1, pad=1), channels, 1)

    x = conv(conv(conv("image", 32, 3, 2, pad=False), 32, 3, pad=False), 64, 3)
    x = network.pool(conv(conv(network.pool(x), 80, 1), 192, 3, pad=False))
    for last in (32, 64, 64):
        five, three = conv(conv(x, 48, 1), 64, 5), conv(conv(conv(x, 64, 1), 96, 3), 96, 3)
        x = network.concat(conv(x, 64, 1), five, three, pooled(x, last))
    three = conv(conv(conv(x, 64, 1), 96, 3), 96, 3, 2, pad=False)
    x = network.concat(conv(x, 384, 3, 2, pad=False), three, network.pool(x))
    for inner in (128, 160, 160, 192):
        once = conv(conv(conv(x, inner, 1), inner, (1, 7)), 192, (7, 1))
        twice = conv(conv(conv(x, inner, 1), inner, (7, 1)), inner, (1, 7))
        twice = conv(conv(twice, inner, (7, 1)), 192, (1, 7))
        x = network.concat(conv(x, 192, 1), once, twice, pooled(x, 192))
    seven = conv(conv(conv(conv(x, 192, 1), 192, (1, 7)), 192, (7, 1)), 192, 3, 2, pad=False)
    x = network.concat(conv(conv(x, 192, 1), 320, 3, 2, pad=False), seven, network.pool(x))
    for _ in range(2):
        once = conv(x, 384, 1)
        twice = conv(conv(x, 448, 1), 384, 3)
        parts = [conv(part, 384, kernel) for part in (once, twice) for kernel in ((1, 3), (3, 1))]
        x = network.concat(conv(x, 320, 1), *parts, pooled(x, 192))
    return network.model(x, batch, side)


def convnext_tiny(side: int) -> bytes:
    """Return a ConvNeXt-tiny for an image of three channels."""
    network = Network()

    def norm(x: str, channels: int) -> str:
        scale, shift = network.constant(np.ones(channels, np.float32)), network.constant(np.zeros(channels, np.float32))
        return network.node("LayerNormalization", [x, scale, shift], channels, axis=-1)

    def turned(x: str, *order: int) -> str:
        return network.node("Transpose", [x], network.channels[x], perm=list(order))

    x = "image"
    for stage, (channels, blocks) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3))):
        if stage == 0:
            x = network.conv(x, channels, 4, 4, pad=False)
            x = turned(norm(turned(x, 0, 2, 3, 1), channels), 0, 3, 1, 2)
        else:
            x = turned(norm(turned(x, 0, 2, 3, 1), network.channels[x]), 0, 3, 1, 2)
            x = network.conv(x, channels, 2, 2, pad=False)
        for _ in range(blocks):
            inner = norm(turned(network.conv(x, channels, 7, groups=channels), 0, 2, 3, 1), channels)
            wide = network.node("MatMul", [inner, network.weight(channels, 4 * channels, fan=channels)], 4 * channels)
            wide = network.node("Gelu", [network.add(wide, network.weight(4 * channels))], 4 * channels)
            inner = network.node("MatMul", [wide, network.weight(4 * channels, channels, fan=4 * channels)], channels)
            inner = network.node(
                "Mul", [network.add(inner, network.weight(channels)), network.weight(channels)], channels
            )
            x = network.add(x, turned(inner, 0, 3, 1, 2))
    return network.model(x, 1, side)


def densenet_169(side: int) -> bytes:
    """Return a DenseNet-169 for an image of three channels."""
    network = Network()
    x = network.pool(network.relu(network.conv("image", 64, 7, 2)), pad=1)
    for stage, layers in enumerate((6, 12, 32, 32)):
        if stage:
            x = network.pool(network.conv(network.norm_relu(x), network.channels[x] // 2, 1), "AveragePool", kernel=2)
        for _ in range(layers):
            narrow = network.relu(network.conv(network.norm_relu(x), 128, 1))
            x = network.concat(x, network.conv(narrow, 32, 3))
    return network.model(network.norm_relu(x), 1, side)


# --- systems ----------------------------------------------------------------------------------------------------------

Reader = Callable[[Path], object]


def _session(graph: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _image(path: Path, side: int, channels: int) -> NDArray[np.float32]:
    """Return a file as float32 (1, channels, side, side), scaled to fit, padded and normalised."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert grey is not None
    zoom = side / max(grey.shape)
    size = (round(grey.shape[1] * zoom), round(grey.shape[0] * zoom))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    square = np.zeros((side, side), np.float32)
    square[: size[1], : size[0]] = small
    square = (square - square.mean()) / square.std()
    return np.repeat(square[None, None], channels, axis=1)


def _ours(bundle_name: str, threads: int) -> Reader:
    bundle = Bundle.open(bundle_name, threads=threads)
    return lambda path: json_text(assess(path, "F", bundle))


def _of_graphs(graphs: Sequence[tuple[bytes, int]], channels: int, threads: int) -> Reader:
    """Return a system that averages several networks, each with the side of its image."""
    sessions = [(_session(graph, threads), side) for graph, side in graphs]
    return lambda path: [session.run(None, {"image": _image(path, side, channels)}) for session, side in sessions]


def _sixteen_bit(threads: int) -> Reader:
    """Return a system that averages one network over ten crops: corners and middle, and their mirror images."""
    session, side, whole = _session(inception_v3(500, 1), threads), 500, 560

    def read(path: Path) -> object:
        image, far = _image(path, whole, 3), whole - side
        corners = [(0, 0), (0, far), (far, 0), (far, far), (far // 2, far // 2)]
        crops = [image[:, :, top : top + side, left : left + side] for top, left in corners]
        crops += [crop[:, :, :, ::-1] for crop in crops]
        return [session.run(None, {"image": np.ascontiguousarray(crop)}) for crop in crops]

    return read


SYSTEMS: dict[str, Callable[[int], Reader]] = {
    "boneage, bundle `standard`": lambda threads: _ours("standard", threads),
    "boneage, bundle `fast`": lambda threads: _ours("fast", threads),
    "Deeplasia's shape: EfficientNet-B0 and B4 at 512 px, B0 at 1,024 px": lambda threads: _of_graphs(
        [(efficientnet(512), 512), (efficientnet(512, 1.4, 1.8), 512), (efficientnet(1024), 1024)], 1, threads
    ),
    "16 Bit's shape: Inception-V3 at 500 px, ten crops": _sixteen_bit,
    "ConvNeXt-tiny at 512 px": lambda threads: _of_graphs([(convnext_tiny(512), 512)], 3, threads),
    "DenseNet-169 at 500 px": lambda threads: _of_graphs([(densenet_169(500), 500)], 3, threads),
}


def _work(system: str, threads: int) -> None:
    """Read the files that are named on standard input, one a line, and print wall and processor time and memory."""
    cv2.setNumThreads(threads)
    read = SYSTEMS[system](threads)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        read(Path(line.strip()))
        times = [1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(json.dumps([*times, peak]), flush=True)


# --- measurement ------------------------------------------------------------------------------------------------------


def main() -> None:
    """Run one system, or all of them in turn."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--radiographs", type=Path, help="table of labelled radiographs; the drawn phantom if left out")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        _work(arguments.worker, arguments.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        measured = _measured(list(_files(arguments.radiographs, arguments.count, Path(folder))), arguments.threads)
    _print(measured, arguments)


def _files(table: Path | None, count: int, folder: Path) -> Iterator[Path]:
    if table is None:
        yield from [write_sample(folder / "phantom.png")] * count
        return
    for radiograph in chosen_radiographs(radiographs_of_split(read_radiographs(table), "validation"), count):
        path = folder / f"{radiograph.id}.png"
        cv2.imwrite(str(path), enlarged(radiograph))
        yield path


def _measured(files: list[Path], threads: int) -> dict[str, NDArray[np.float64]]:
    """Return wall and processor time, ms, and peak memory, MiB, of each radiograph (N, 3) by system."""
    measured: dict[str, list[list[float]]] = {system: [] for system in SYSTEMS}
    workers = {
        system: subprocess.Popen(
            [sys.executable, __file__, "--worker", system, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for system in SYSTEMS
    }
    try:
        for place, path in enumerate([files[0], *files]):  # the first one warms up
            for system, worker in workers.items():
                assert worker.stdin is not None
                assert worker.stdout is not None
                print(path, file=worker.stdin, flush=True)
                times = json.loads(worker.stdout.readline())
                measured[system] += [times] if place else []
    finally:
        for worker in workers.values():
            worker.communicate()
    return {system: np.array(rows) for system, rows in measured.items()}


def _print(measured: dict[str, NDArray[np.float64]], arguments: argparse.Namespace) -> None:
    first = next(iter(measured.values()))
    print(f"{len(first)} radiographs of 1,500 x 2,000 pixels, PNG; {arguments.threads} threads; medians.\n")
    print("| system | wall, ms | processor, ms | times `standard`'s processor time | peak, MiB | radiographs an hour |")
    print("|---|---:|---:|---:|---:|---:|")
    for system, rows in measured.items():
        wall, cpu, peak = (statistics.median(column) for column in rows.T.tolist())
        ratio = statistics.median((rows[:, 1] / first[:, 1]).tolist())
        print(f"| {system} | {wall:.0f} | {cpu:.0f} | {ratio:.1f} | {peak:.0f} | {3.6e6 / wall:,.0f} |")


if __name__ == "__main__":
    main()
