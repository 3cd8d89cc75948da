"""Inception-V3's trunk against what is known of torchvision's, and the loader of its ImageNet weights."""

from __future__ import annotations

import io
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from boneage.errors import RecipeError
from boneage.train.networks.inception import (
    IMAGENET_MEAN,
    IMAGENET_SPREAD,
    InceptionNetwork,
    load_imagenet_weights,
)
from boneage.train.networks.residual import ResidualNetwork

State = dict[str, Tensor]


@lru_cache
def inception() -> InceptionNetwork:
    torch.manual_seed(0)
    return InceptionNetwork(128, 128).eval()


@pytest.fixture(scope="module")
def network() -> InceptionNetwork:
    return inception()


@pytest.fixture(scope="module")
def standard(network: InceptionNetwork) -> State:
    """A state dict with the names and shapes of torchvision's file; its values are drawn."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, value in network.features.state_dict().items():
        shape = (32, 3, 3, 3) if name == "Conv2d_1a_3x3.conv.weight" else tuple(value.shape)
        drawn = torch.rand(shape, generator=generator)
        state[name] = drawn + 0.5 if name.endswith("running_var") else drawn - 0.5
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, 2048), torch.zeros(1000)
    state["AuxLogits.conv0.conv.weight"] = torch.zeros(128, 768, 1, 1)
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def written(state: object, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(state, path)
    return path


def test_trunk_number_of_weights(network: InceptionNetwork) -> None:
    """27,161,264 with classes (2,049,000) and auxiliary classifier (3,326,696); one colour less two is 576 fewer."""
    assert sum(each.numel() for each in network.features.parameters()) == 27_161_264 - 2_049_000 - 3_326_696 - 576
    assert sum(isinstance(each, nn.Conv2d) for each in network.features.modules()) == 94


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Conv2d_1a_3x3.conv.weight", (32, 1, 3, 3)),
        ("Conv2d_4a_3x3.bn.running_var", (192,)),
        ("Mixed_5b.branch1x1.conv.weight", (64, 192, 1, 1)),
        ("Mixed_5d.branch5x5_2.conv.weight", (64, 48, 5, 5)),
        ("Mixed_6a.branch3x3dbl_3.conv.weight", (96, 96, 3, 3)),
        ("Mixed_6c.branch7x7_2.conv.weight", (160, 160, 1, 7)),
        ("Mixed_6e.branch7x7dbl_2.conv.weight", (192, 192, 7, 1)),
        ("Mixed_7a.branch7x7x3_3.conv.weight", (192, 192, 7, 1)),
        ("Mixed_7c.branch3x3dbl_3b.conv.weight", (384, 384, 3, 1)),
        ("Mixed_7c.branch_pool.bn.weight", (192,)),
    ],
)
def test_trunk_names_and_shapes(network: InceptionNetwork, name: str, shape: tuple[int, ...]) -> None:
    assert tuple(network.features.state_dict()[name].shape) == shape


@pytest.mark.parametrize(("side", "grid"), [(75, 1), (128, 2), (299, 8)])
def test_grid(network: InceptionNetwork, side: int, grid: int) -> None:
    """299 gives the 8 x 8 x 2048 of Szegedy et al., Table 1."""
    with torch.no_grad():
        assert network.features(torch.zeros(1, 1, side, side)).shape == (1, 2048, grid, grid)


def test_small_view_rejected() -> None:
    with pytest.raises(RecipeError, match="at least 75 x 75, not 74 x 128") as caught:
        InceptionNetwork(74, 128)
    assert caught.value.code == "recipe_invalid"


def test_imagenet_grey_stem_equals_colour_stem(network: InceptionNetwork, standard: State, tmp_path: Path) -> None:
    """Reference: normalised colours to -1..1 (torchvision's transform_input), three-channel kernels, normalisation."""
    load_imagenet_weights(network, written(standard, tmp_path))
    view = torch.randn(2, 1, 75, 81, generator=torch.Generator().manual_seed(4))
    grey_levels = torch.cat([view * s + m for m, s in zip(IMAGENET_MEAN, IMAGENET_SPREAD, strict=True)], dim=1)
    stem = "Conv2d_1a_3x3."
    expected = functional.batch_norm(
        functional.conv2d(2 * grey_levels - 1, standard[stem + "conv.weight"], stride=2),
        standard[stem + "bn.running_mean"],
        standard[stem + "bn.running_var"],
        standard[stem + "bn.weight"],
        standard[stem + "bn.bias"],
        eps=0.001,
    ).relu()
    with torch.no_grad():
        torch.testing.assert_close(
            network.features.get_submodule("Conv2d_1a_3x3")(view), expected, atol=1e-5, rtol=1e-4
        )


def test_imagenet_copies_trunk_only(network: InceptionNetwork, standard: State, tmp_path: Path) -> None:
    head = {name: value.clone() for name, value in network.head.state_dict().items()}
    load_imagenet_weights(
        network, written({**standard, "Mixed_5b.branch1x1.bn.num_batches_tracked": torch.tensor(9)}, tmp_path)
    )
    loaded = network.features.state_dict()
    for name in ("Mixed_5b.branch1x1.conv.weight", "Mixed_7c.branch_pool.bn.running_mean", "Conv2d_1a_3x3.bn.weight"):
        torch.testing.assert_close(loaded[name], standard[name])
    for name, value in network.head.state_dict().items():
        torch.testing.assert_close(value, head[name])


def test_imagenet_mismatch_named_and_not_loaded(network: InceptionNetwork, standard: State, tmp_path: Path) -> None:
    """Weights that do not fit are named, and nothing is loaded."""
    state = dict(standard)
    del state["Mixed_6b.branch1x1.conv.weight"]
    state["Mixed_7b.branch1x1.bn.bias"] = torch.zeros(3)
    state["layer1.0.conv1.weight"] = torch.zeros(1)
    state["Mixed_5c.branch1x1.bn.bias"] = torch.full((64,), torch.nan)
    state["Mixed_5b.branch1x1.conv.weight"] = torch.full((64, 192, 1, 1), 7.0)
    with pytest.raises(RecipeError) as caught:
        load_imagenet_weights(network, written(state, tmp_path))
    assert caught.value.code == "recipe_invalid"
    for fault in (
        "Mixed_6b.branch1x1.conv.weight is missing",
        "Mixed_7b.branch1x1.bn.bias has shape (3,), not (320,)",
        "layer1.0.conv1.weight does not belong",
        "Mixed_5c.branch1x1.bn.bias has values that are not finite",
    ):
        assert fault in caught.value.message
    assert "fc." not in caught.value.message
    assert not bool((network.features.state_dict()["Mixed_5b.branch1x1.conv.weight"] == 7.0).any())


def test_imagenet_grey_convolution_rejected(network: InceptionNetwork, standard: State, tmp_path: Path) -> None:
    """A grey first convolution is not the standard file."""
    state = {**standard, "Conv2d_1a_3x3.conv.weight": torch.zeros(32, 1, 3, 3)}
    with pytest.raises(RecipeError, match=r"shape \(32, 1, 3, 3\), not \(32, 3, 3, 3\)"):
        load_imagenet_weights(network, written(state, tmp_path))


def test_imagenet_other_network_rejected(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not for a ResidualNetwork"):
        load_imagenet_weights(ResidualNetwork("number", 64, 64, widths=(4,), depths=(1,)), tmp_path / "weights.pth")


@pytest.mark.parametrize("content", [[1, 2], {"fc.bias": 3}, {5: torch.zeros(1)}])
def test_imagenet_other_file_rejected(network: InceptionNetwork, content: object, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="not a dictionary of names and tensors"):
        load_imagenet_weights(network, written(content, tmp_path))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 broken archive", None])
def test_imagenet_damaged_or_missing_file(network: InceptionNetwork, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match="cannot be read"):
        load_imagenet_weights(network, path)


@given(cut=st.floats(0.0, 0.99), place=st.floats(0.0, 0.99), byte=st.integers(0, 255), older=st.booleans())
@settings(max_examples=60, deadline=None)
def test_imagenet_mutated_file_rejected(cut: float, place: float, byte: int, older: bool) -> None:
    """Cut short or with a byte changed, in both of torch's formats; nothing of it fits, whatever is still read."""
    buffer = io.BytesIO()
    torch.save({"fc.bias": torch.zeros(9), "b": torch.ones(2)}, buffer, _use_new_zipfile_serialization=not older)
    content = bytearray(buffer.getvalue())
    content[int(place * len(content))] = byte
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on odd pickle protocols
        path = Path(folder) / "weights.pth"
        path.write_bytes(content[: int(cut * len(content))] if byte % 2 else content)
        with pytest.raises(RecipeError):
            load_imagenet_weights(inception(), path)


class _Payload:
    """An object whose unpickling would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_imagenet_file_runs_no_code(network: InceptionNetwork, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_imagenet_weights(network, written({"fc.bias": _Payload(tmp_path / "ran")}, tmp_path))
    assert not (tmp_path / "ran").exists()
