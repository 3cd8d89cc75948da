from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import read_manifest, write_manifest
from boneage.composition import assess
from boneage.explain import Evidence
from boneage.hand.views import CellGrid, ViewSpec
from tests.assessment.radiographs import change_answers, radiograph, save
from tests.bundles import tiny_bundle


def test_heat_map_position_independent_of_size(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = np.zeros((8, 8), np.float32)
    grid[2, 4] = 2.0
    change_answers(monkeypatch, activation=grid)
    assessment = assess(png, "F", bundle)
    # Cell (2, 4) lies at (18, 10) of the square view; the radiograph, 300 x 400, takes the middle three quarters of it.
    side = bundle.members[0].view.height
    x, y = (18 / side - 0.125) / 0.75, 10 / side
    peaks = []
    for shape in (None, assessment.radiograph_shape, (100, 75)):
        heat = assessment.heat_map(shape)
        height, width = heat.values.shape
        found_y, found_x = np.unravel_index(heat.values.argmax(), heat.values.shape)
        assert (found_x + 0.5) / width == pytest.approx(x, abs=0.02)
        assert (found_y + 0.5) / height == pytest.approx(y, abs=0.02)
        peaks.append(heat.peak_months)
    assert peaks == pytest.approx([peaks[0]] * 3, rel=0.02)
    assert assessment.heat_map().values.shape == assessment.picture.shape


def test_activations_averaged_by_grid(png: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Bundle.run
    grids = {"member-0": np.full((8, 8), 4.0, np.float32), "member-1": np.full((8, 8), 1.0, np.float32)}
    monkeypatch.setattr(
        Bundle, "run", lambda self, member, *rest: replace(run(self, member, *rest), activation=grids[member.name])
    )
    (activation,) = assess(png, "F", bundle).activations
    first, second = (member.weight for member in bundle.members)
    assert activation.share == 1.0
    np.testing.assert_allclose(activation.grid, (4 * first + second) / (first + second), rtol=1e-6)
    grids["member-1"] = np.full((4, 4), 1.0, np.float32)
    assert [one.grid.shape for one in assess(png, "F", bundle).activations] == [(8, 8), (4, 4)]


@pytest.mark.parametrize("evidence", ["both", "raising"])
@pytest.mark.parametrize("shape", [(401, 300), (300, 400)])
def test_heat_map_of_mirror_image_is_mirrored(tmp_path: Path, shape: tuple[int, int], evidence: Evidence) -> None:
    """This also holds for a view that is wider than high and not divisible by its cells."""
    folder = tiny_bundle(tmp_path / "tiny", members=2, view=ViewSpec(height=64, width=80), mirror=True)
    manifest = read_manifest(folder)
    shifted = tuple(replace(member, cells=CellGrid(4.0, 0.5)) for member in manifest.members)
    write_manifest(replace(manifest, members=shifted), folder)
    both = Bundle.open(folder)
    pixels = radiograph(shape)
    pixels[20:60, 30:200] = 0.9
    plain, mirror = (
        assess(save(tmp_path / name, one), "F", both) for name, one in (("a.png", pixels), ("b.png", pixels[:, ::-1]))
    )
    assert [one.share for one in plain.activations] == [0.5, 0.5]
    assert plain.age_months == pytest.approx(mirror.age_months, abs=1e-3)
    first, second = plain.heat_map(evidence=evidence), mirror.heat_map(evidence=evidence)
    assert np.abs(first.values - first.values[:, ::-1]).max() > 0.3  # or anything would pass
    np.testing.assert_allclose(first.values, second.values[:, ::-1], atol=0.03)
    assert first.peak_months == pytest.approx(second.peak_months, rel=0.01)


@pytest.mark.parametrize("shape", [(0, 0), (10, 0), (-1, 5)])
def test_heat_map_rejects_empty_shape(png: Path, bundle: Bundle, shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        assess(png, "F", bundle).heat_map(shape)
