"""Geometry: the way back is exact, and pixels go where points go."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.geometry import Transform, downsample_area, fit_inside, lies_inside, sample
from boneage.image_pyramid import ImagePyramid

number = st.floats(-200, 200)
zoom = st.floats(0.05, 20)
degrees = st.floats(-360, 360)


@st.composite
def transforms(draw: st.DrawFn) -> Transform:
    """Any composition of mirror, scale, rotation and shift."""
    transform = Transform.scale(draw(zoom)).then(Transform.rotation(draw(degrees)))
    if draw(st.booleans()):
        transform = transform.then(Transform.mirror(draw(st.floats(1, 500))))
    return transform.then(Transform.shift(draw(number), draw(number)))


@given(transforms(), number, number)
def test_inverse_restores_points(transform: Transform, x: float, y: float) -> None:
    point = np.array([[x, y]])
    assert np.allclose(transform.inverse().points(transform.points(point)), point, atol=1e-6)


@given(transforms(), transforms(), number, number)
def test_then_applies_in_order(first: Transform, second: Transform, x: float, y: float) -> None:
    point = np.array([x, y])
    together = first.then(second).points(point)
    assert np.allclose(together, second.points(first.points(point)), rtol=1e-9, atol=1e-6)


@given(transforms())
def test_zoom_scales_lengths(transform: Transform) -> None:
    ends = transform.points(np.array([[0.0, 0.0], [3.0, 4.0]]))
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(5 * transform.zoom, rel=1e-9)


@given(transforms(), number, number)
def test_about_keeps_its_origin(transform: Transform, x: float, y: float) -> None:
    turn = Transform.rotation(33).then(Transform.scale(transform.zoom))
    assert np.allclose(turn.about(x, y).points(np.array([x, y])), [x, y], atol=1e-6)


def test_inverse_rejects_singular_transform() -> None:
    with pytest.raises(ValueError, match="no inverse"):
        Transform(a=0, e=0).inverse()


def test_rotation_is_clockwise_on_the_screen() -> None:
    assert np.allclose(Transform.rotation(90).points(np.array([1.0, 0.0])), [0.0, 1.0])


@given(st.integers(20, 3000), st.integers(20, 3000), st.integers(20, 500), st.integers(20, 500))
def test_fit_inside_touches_two_edges_and_keeps_the_centre(rows: int, columns: int, height: int, width: int) -> None:
    fit = fit_inside(rows, columns, height, width)
    (left, top), (right, bottom) = fit.points(np.array([[0, 0], [columns, rows]]))
    assert min(left, top) == pytest.approx(0, abs=1e-6)
    assert left == pytest.approx(width - right, abs=1e-6)
    assert top == pytest.approx(height - bottom, abs=1e-6)
    assert fit.a == fit.e


def test_identity_sampling_changes_nothing() -> None:
    pixels = np.random.default_rng(0).random((40, 30), dtype=np.float32)
    assert np.array_equal(sample(pixels, Transform(), 40, 30), pixels)


def test_mirror_sampling_is_numpys_flip() -> None:
    pixels = np.random.default_rng(0).random((40, 31), dtype=np.float32)
    assert np.allclose(sample(pixels, Transform.mirror(31), 40, 31), pixels[:, ::-1], atol=1e-6)


@given(degrees, st.floats(0.08, 2.5), st.booleans())
def test_sample_moves_pixels_like_points(angle: float, scale: float, mirrored: bool) -> None:
    """A blob drawn at a point is found at the mapped point, whatever the resolution of the radiograph."""
    place = np.array([420.0, 330.0])
    grid = np.mgrid[0:800, 0:900] + 0.5
    sigma = 6.0 / min(scale, 1.0)
    blob = np.exp(-((grid[1] - place[0]) ** 2 + (grid[0] - place[1]) ** 2) / (2 * sigma**2)).astype(np.float32)
    transform = Transform.mirror(900) if mirrored else Transform()
    transform = transform.then(Transform.rotation(angle).then(Transform.scale(scale)).about(450, 400))
    centre = transform.points(place)
    size = 160
    transform = transform.then(Transform.shift(*(size / 2 - centre)))
    image = sample(blob, transform, size, size)
    moments = cv2.moments(image)
    x, y = moments["m10"] / moments["m00"] + 0.5, moments["m01"] / moments["m00"] + 0.5
    assert np.hypot(x - size / 2, y - size / 2) < 0.15


def test_sample_averages_fine_patterns() -> None:
    """Stripes of one pixel vanish into grey when a radiograph is reduced sixteenfold."""
    stripes = np.tile(np.array([0.0, 1.0], dtype=np.float32), (1600, 800))
    reduced = sample(stripes, Transform.scale(1 / 16), 100, 100)
    assert np.abs(reduced - 0.5).max() < 0.05


@settings(deadline=None)
@given(st.integers(40, 900), st.integers(40, 900), st.floats(0.04, 0.6), degrees, st.floats(0.0, 1.0), st.data())
def test_sample_of_a_part_is_that_part_of_the_whole(
    rows: int, columns: int, scale: float, angle: float, x: float, data: st.DataObject
) -> None:
    """A ramp and a wave, both far coarser than the target's pixels, look the same however little of them is shown."""
    down, across = (np.arange(count, dtype=np.float32) + 0.5 for count in (rows, columns))
    wave = np.sin(2 * np.pi * down / max(rows, 60 / scale))[:, None] + np.cos(across / max(columns, 60 / scale))
    y, height, width = data.draw(st.floats(0.0, 1.0)), data.draw(st.integers(4, 40)), data.draw(st.integers(4, 40))
    turned = Transform.scale(scale).then(Transform.rotation(angle))
    centre = turned.points(np.array([x * columns, y * rows]))
    transform = turned.then(Transform.shift(width / 2 - centre[0], height / 2 - centre[1]))
    sampled = sample(wave, transform, height, width, fill=9.0)
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=2)
    places = transform.inverse().points(grid)
    margin = 1.5 / scale
    well_inside = ((places > margin) & (places < np.array([columns, rows]) - margin)).all(axis=2)
    expected = np.sin(2 * np.pi * places[..., 1] / max(rows, 60 / scale)) + np.cos(
        places[..., 0] / max(columns, 60 / scale)
    )
    assert np.abs(sampled - expected)[well_inside].max(initial=0.0) < 0.02
    far = ((places < -margin) | (places > np.array([columns, rows]) + margin)).any(axis=2)
    assert (sampled[far] == 9.0).all()


@given(st.integers(3, 400), st.integers(3, 400), st.floats(0.01, 0.9))
def test_a_pyramid_is_sampled_like_its_picture(rows: int, columns: int, scale: float) -> None:
    pixels = np.random.default_rng(rows).random((rows, columns), dtype=np.float32)
    pyramid = ImagePyramid(pixels)
    for _ in range(2):  # the second time from copies that exist
        assert np.array_equal(
            sample(pyramid, Transform.scale(scale), 20, 20), sample(pixels, Transform.scale(scale), 20, 20)
        )
        assert np.array_equal(downsample_area(pyramid, scale), downsample_area(pixels, scale))


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.3, 1 / 3, 0.4])
def test_sample_part_whose_edges_are_whole_pixels(scale: float) -> None:
    """The same pixels are averaged where pixels of the part and of the radiograph end at the same place."""
    pixels = np.random.default_rng(0).random((2000, 1500), dtype=np.float32)
    for share in range(1, 20):
        height, width = round(20 * share * scale * 5), round(15 * share * scale * 5)
        part = sample(pixels, Transform.shift(-150, -200).then(Transform.scale(scale)), height, width)
        assert part.shape == (height, width) and 0.2 < part.mean() < 0.8


def test_sample_fills_outside() -> None:
    image = sample(np.ones((20, 20), dtype=np.float32), Transform.shift(50, 0), 20, 20, fill=-3.0)
    assert np.all(image == -3.0)


def test_lies_inside_matches_sampling() -> None:
    transform = Transform.rotation(20.0).then(Transform.scale(0.7)).then(Transform.shift(9, 4))
    inside = lies_inside(transform, (30, 20), 40, 50)
    covered = sample(np.ones((30, 20), np.float32), transform, 40, 50)
    assert inside.shape == (40, 50)
    assert 0 < inside.sum() < inside.size
    assert covered[~inside].max() < 0.51 < covered[inside].max()
    assert covered[inside].min() > 0.2


@given(st.integers(1, 60), st.floats(0.002, 0.3), st.booleans())
def test_narrow_pictures_are_not_blurred_along_their_longer_side(side: int, scale: float, upright: bool) -> None:
    """A wave of 8 pixels of the target keeps its height, however narrow the picture is."""
    length = round(60 / scale)
    wave = np.sin(2 * np.pi * (np.arange(length) + 0.5) * scale / 8).astype(np.float32)
    picture = np.tile(wave, (side, 1)) if not upright else np.tile(wave[:, None], (1, side))
    height, width = (60, max(1, round(side * scale))) if upright else (max(1, round(side * scale)), 60)
    across, down = width / picture.shape[1], height / picture.shape[0]
    sampled = sample(picture, Transform.scale(across, down), height, width)
    assert np.ptp(sampled[5:-5] if upright else sampled[:, 5:-5]) > 1.6
