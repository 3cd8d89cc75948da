"""Drawn images without a hand: noise, scenes, pages of text, other bones and more."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Image

DrawnKind = Literal["noise", "blank", "frame", "marker", "scene", "face", "pattern", "page", "bones", "chest"]

LEAST_GRAIN = 0.002
"""Standard deviation of the weakest grain.

A radiograph with a single grey level would be rejected before any network.
"""


def draw_picture(generator: np.random.Generator, kind: DrawnKind, longest_side: int) -> Image:
    """Draw an image of a kind, and develop it like a radiograph: blurred, grainy, with some range of greys."""
    short = max(24, round(longest_side * generator.uniform(0.6, 1.0)))
    shape = (longest_side, short) if generator.random() < 0.7 else (short, longest_side)
    picture = _DRAW[kind](generator, shape)
    if generator.random() < 0.3:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), generator.uniform(0.5, 2.5)), dtype=np.float32)
    if kind not in ("frame", "blank") and generator.random() < 0.2:
        picture = picture * _collimation(generator, shape)
    if kind != "marker" and generator.random() < 0.25:
        _write_letters(generator, picture, count=1)
    return _developed(generator, picture)


def _developed(generator: np.random.Generator, picture: Image) -> Image:
    """Apply a random gamma, inversion, range of greys and grain."""
    picture = np.clip(picture, 0, 1) ** np.float32(math.exp(generator.normal(0, 0.35)))
    if generator.random() < 0.4:
        picture = 1 - picture
    low, high = generator.uniform(0, 0.3), generator.uniform(0.6, 1.0)
    picture = np.float32(low) + np.float32(high - low) * picture
    grain = LEAST_GRAIN + (generator.exponential(0.015) if generator.random() < 0.6 else 0.0)
    picture = picture + np.float32(grain) * generator.standard_normal(picture.shape, dtype=np.float32)
    return np.ascontiguousarray(np.clip(picture, 0, 1), dtype=np.float32)


def _clouds(generator: np.random.Generator, shape: tuple[int, int], roughness: float = 0.5) -> Image:
    """Draw noise of many scales, each finer one weaker by `roughness`, stretched to 0..1; 0.5 is about 1/f."""
    height, width = shape
    total = np.zeros(shape, np.float32)
    strength, side = 1.0, 3
    while side < 2 * max(shape):
        grid = (min(height, side), min(width, side))
        octave = generator.standard_normal(grid, dtype=np.float32)
        total += np.float32(strength) * cv2.resize(octave, (width, height), interpolation=cv2.INTER_LINEAR)
        strength, side = strength * roughness, 2 * side
    return _stretched(total)


def _stretched(picture: Image) -> Image:
    low, high = float(picture.min()), float(picture.max())
    return np.asarray((picture - low) / max(high - low, 1e-6), dtype=np.float32)


def _noise(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw white noise, noise of one scale, of many scales, speckles or lines."""
    colour = generator.integers(5)
    if colour == 0:
        return generator.random(shape, dtype=np.float32)
    if colour == 1:
        return _clouds(generator, shape, generator.uniform(0.3, 0.95))
    white = generator.standard_normal(shape, dtype=np.float32)
    if colour == 2:
        blurred = cv2.GaussianBlur(white, (0, 0), math.exp(generator.uniform(-0.5, 2.0)))
        return _stretched(np.asarray(blurred, dtype=np.float32))
    if colour == 3:
        return np.where(np.abs(white) > generator.uniform(1, 3), np.sign(white) / 2 + 0.5, 0.5).astype(np.float32)
    lines = generator.standard_normal((shape[0], 1), dtype=np.float32)
    return _stretched(lines + np.float32(generator.uniform(0, 0.5)) * white)


def _blank(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw one grey, a slope, or a fall of light to the edges, nearly without grain."""
    height, width = shape
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    turn = generator.uniform(0, 2 * math.pi)
    slope = np.float32(math.cos(turn)) * x + np.float32(math.sin(turn)) * y
    centre = generator.uniform(-0.7, 0.7, 2).astype(np.float32)
    bowl = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    strength = generator.uniform(0, 0.4, 2).astype(np.float32) * generator.integers(0, 2, 2).astype(np.float32)
    level = np.float32(generator.uniform(0, 1))
    grain = np.float32(0.01) * generator.standard_normal(shape, dtype=np.float32)
    return np.asarray(level + strength[0] * slope + strength[1] * bowl + grain, dtype=np.float32)


def _collimation(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw a collimated field, 1 inside and nearly 0 outside: a rotated rectangle or a circle."""
    height, width = shape
    field = np.full(shape, generator.uniform(0, 0.15), np.float32)
    centre = (width * generator.uniform(0.4, 0.6), height * generator.uniform(0.4, 0.6))
    if generator.random() < 0.2:
        cv2.circle(field, (round(centre[0]), round(centre[1])), round(0.45 * min(shape)), 1.0, -1, cv2.LINE_AA)
        return field
    size = (width * generator.uniform(0.5, 0.95), height * generator.uniform(0.5, 0.95))
    box = cv2.boxPoints((centre, size, generator.normal(0, 6)))
    cv2.fillConvexPoly(field, np.rint(box).astype(np.int32), 1.0, cv2.LINE_AA)
    return field


def _frame(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw collimated fields and borders with nothing in them."""
    inside = np.float32(generator.uniform(0.2, 0.8)) + np.float32(0.3) * (_blank(generator, shape) - np.float32(0.5))
    picture = inside * _collimation(generator, shape)
    if generator.random() < 0.5:
        picture = picture * _collimation(generator, shape)
    if generator.random() < 0.5:
        wide = max(1, round(generator.uniform(0.01, 0.08) * max(shape)))
        cv2.rectangle(picture, (0, 0), (shape[1] - 1, shape[0] - 1), generator.uniform(0, 1), 2 * wide)
    return picture


def _marker(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw lead letters, arrows, rulers and step wedges on an empty radiograph."""
    picture = np.float32(0.35) * _blank(generator, shape)
    _write_letters(generator, picture, count=int(generator.integers(1, 6)))
    if generator.random() < 0.4:
        _draw_ruler(generator, picture)
    if generator.random() < 0.4:
        _draw_steps(generator, picture)
    return picture


def _write_letters(generator: np.random.Generator, picture: Image, count: int) -> None:
    """Write words in lead onto the image, some of them in a frame."""
    height, width = picture.shape
    lead = np.zeros(picture.shape, np.uint8)  # OpenCV writes on 8 bits only
    for _ in range(count):
        text = "".join(generator.choice(list("LRABCDEFGHPX0123456789"), generator.integers(1, 7)))
        size = max(height, width) * generator.uniform(0.0015, 0.006)
        place = (int(generator.integers(-10, width)), int(generator.integers(10, height + 10)))
        thick = max(1, round(max(height, width) * generator.uniform(0.004, 0.02)))
        font = int(generator.choice([cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX]))
        cv2.putText(lead, text, place, font, size, 255, thick, cv2.LINE_AA)
        if generator.random() < 0.3:
            corner = (place[0] + round(size * 22 * len(text)), place[1] - round(size * 26))
            cv2.rectangle(lead, place, corner, 255, thick)
    share = lead.astype(np.float32) / np.float32(255)
    picture += share * (np.float32(generator.uniform(0.7, 1)) - picture)


def _draw_ruler(generator: np.random.Generator, picture: Image) -> None:
    height, width = picture.shape
    x, step = round(generator.uniform(0.05, 0.9) * width), max(3, round(generator.uniform(0.02, 0.06) * height))
    for number, y in enumerate(range(0, height, step)):
        long = round(width * (0.06 if number % 5 == 0 else 0.03))
        cv2.line(picture, (x, y), (x + long, y), 0.9, 1)


def _draw_steps(generator: np.random.Generator, picture: Image) -> None:
    height, width = picture.shape
    count = int(generator.integers(4, 10))
    left, top = generator.uniform(0, 0.5, 2) * (width, height)
    wide, tall = 0.5 * width / count, generator.uniform(0.05, 0.15) * height
    for number in range(count):
        corner = (round(left + number * wide), round(top))
        opposite = (round(left + (number + 1) * wide), round(top + tall))
        cv2.rectangle(picture, corner, opposite, 0.2 + 0.75 * number / count, -1)


def _scene(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw objects of all sizes in front of each other (the dead leaves model), in some cases in a room."""
    picture = _clouds(generator, shape, generator.uniform(0.4, 0.65))
    if generator.random() < 0.4:
        _draw_room(generator, picture)
    for _ in range(int(generator.integers(5, 60))):
        size = max(shape) * min(0.5, 0.02 / max(generator.random(), 0.03))  # many small ones, few large ones
        _draw_thing(generator, picture, size)
    return np.float32(0.75) * picture + np.float32(0.25) * _clouds(generator, shape, 0.7)


def _draw_thing(generator: np.random.Generator, picture: Image, size: float) -> None:
    height, width = picture.shape
    centre = (round(generator.uniform(0, width)), round(generator.uniform(0, height)))
    shade, form = float(generator.random()), generator.integers(3)
    axes = (max(1, round(size * generator.uniform(0.3, 1))), max(1, round(size * generator.uniform(0.3, 1))))
    turn = generator.uniform(0, 360)
    if form == 0:
        cv2.ellipse(picture, centre, axes, turn, 0, 360, shade, -1, cv2.LINE_AA)
    elif form == 1:
        box = cv2.boxPoints((centre, (2.0 * axes[0], 2.0 * axes[1]), turn))
        cv2.fillConvexPoly(picture, np.rint(box).astype(np.int32), shade, cv2.LINE_AA)
    else:
        corners = generator.normal(0, size, (int(generator.integers(3, 8)), 2)) + centre
        cv2.fillPoly(picture, [np.rint(corners).astype(np.int32)], shade, cv2.LINE_AA)


def _draw_room(generator: np.random.Generator, picture: Image) -> None:
    """Draw lines that run to one point, and a horizon."""
    height, width = picture.shape
    horizon = round(generator.uniform(0.3, 0.7) * height)
    picture[horizon:] = 0.5 * picture[horizon:] + 0.5 * np.float32(generator.random())
    vanishing = (round(generator.uniform(0, width)), horizon)
    for x in np.linspace(-width, 2 * width, int(generator.integers(4, 20))):
        cv2.line(picture, vanishing, (round(float(x)), height), float(generator.random()), 1, cv2.LINE_AA)


def _face(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw ellipses arranged as a face, on a blurred background."""
    height, width = shape
    picture = np.float32(generator.uniform(0.3, 1)) * _clouds(generator, shape, 0.4)
    x, y, size = width * generator.uniform(0.35, 0.65), height * generator.uniform(0.4, 0.6), 0.3 * min(shape)
    size *= generator.uniform(0.7, 1.3)
    skin = generator.uniform(0.4, 0.9)

    def spot(dx: float, dy: float, wide: float, tall: float, shade: float) -> None:
        centre = (round(x + dx * size), round(y + dy * size))
        axes = (max(1, round(wide * size)), max(1, round(tall * size)))
        cv2.ellipse(picture, centre, axes, 0, 0, 360, shade, -1, cv2.LINE_AA)

    spot(0, 2.2, 1.6, 1.2, generator.random())  # shoulders
    spot(0, -0.25, 1.05, 1.25, generator.uniform(0, 0.5))  # hair
    spot(0, 0, 0.85, 1.15, skin)
    for side in (-1, 1):
        spot(0.36 * side, -0.15, 0.17, 0.1, min(1.0, skin + 0.25))
        spot(0.36 * side, -0.15, 0.08, 0.08, 0.1)
        spot(0.36 * side, -0.36, 0.2, 0.04, 0.2)
    spot(0, 0.2, 0.1, 0.2, 0.85 * skin)
    spot(0, 0.62, 0.32, generator.uniform(0.05, 0.15), 0.5 * skin)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), size / 30), dtype=np.float32)


def _pattern(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw periodic patterns: gratings, checks, rings, and windows of a house."""
    height, width = shape
    x, y = np.arange(width, dtype=np.float32)[None, :], np.arange(height, dtype=np.float32)[:, None]
    turn, period = generator.uniform(0, math.pi), max(shape) * generator.uniform(0.02, 0.3)
    along = np.float32(math.cos(turn)) * x + np.float32(math.sin(turn)) * y
    across = np.float32(math.cos(turn)) * y - np.float32(math.sin(turn)) * x
    first = np.sin(np.float32(2 * math.pi / period) * along)
    form = generator.integers(4)
    if form == 0:
        picture = 0.5 + 0.5 * first
    elif form == 1:
        picture = 0.5 + 0.5 * first * np.sin(np.float32(2 * math.pi / period) * across)
    elif form == 2:
        centre = generator.uniform(0, 1, 2) * (width, height)
        radius = np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1]))
        picture = 0.5 + 0.5 * np.sin(np.float32(2 * math.pi / period) * radius)
    else:
        second = np.sin(np.float32(2 * math.pi / (period * generator.uniform(0.5, 2))) * across)
        picture = np.where((first > 0.3) & (second > 0.1), 0.85, 0.25)
    if generator.random() < 0.4:
        picture = (picture > 0.5).astype(np.float32)
    return np.asarray(0.85 * picture + 0.15 * _clouds(generator, shape), dtype=np.float32)


def _page(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw a page of text: words, lines, a heading, a table or an image on paper."""
    height, width = shape
    picture = np.full(shape, generator.uniform(0.85, 1.0), np.float32)
    ink, margin = generator.uniform(0, 0.3), round(generator.uniform(0.03, 0.12) * width)
    size = max(3, round(height * generator.uniform(0.012, 0.05)))
    y = margin
    while y < height - margin:
        if generator.random() < 0.08:
            tall = round(generator.uniform(0.1, 0.3) * height)
            shade = float(generator.uniform(0.2, 0.9))
            cv2.rectangle(
                picture, (margin, y), (width - margin, y + tall), shade, -1 if generator.random() < 0.5 else 1
            )
            y += tall
        elif generator.random() > 0.1:
            _write_line(generator, picture, (margin, y), size, ink)
        y += round(1.8 * size) + 1
    return picture


def _write_line(
    generator: np.random.Generator, picture: Image, start_xy: tuple[int, int], size: int, ink: float
) -> None:
    """Write one line of words, whose letters are strokes and resemble print at this size."""
    x, y = start_xy
    end = picture.shape[1] - x
    if generator.random() < 0.2:
        end = round(end * generator.uniform(0.3, 0.9))
    letters = max(1, (end - x) // max(2, round(0.6 * size)))
    for number, kind in enumerate(generator.integers(0, 7, letters)):
        left = x + round(0.6 * size * number)
        if kind < 3:
            cv2.line(picture, (left, y), (left, y + size), ink, max(1, size // 6))
        elif kind < 5:
            cv2.rectangle(picture, (left, y + size // 3), (left + size // 3, y + size), ink, max(1, size // 6))
        elif kind == 5:
            cv2.line(picture, (left, y + size), (left + size // 3, y), ink, max(1, size // 6))


def _bones(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw one or two long bones in soft tissue, with or without a joint: arm, leg, knee, elbow."""
    height, width = shape
    picture = np.full(shape, 0.05, np.float32)
    middle = np.array([width / 2, height / 2]) + generator.normal(0, 0.05, 2) * (width, height)
    turn = generator.normal(math.pi / 2, 0.4)
    direction = np.array([math.cos(turn), math.sin(turn)])
    aside = np.array([-direction[1], direction[0]])
    half = 0.8 * max(shape)
    flesh = generator.uniform(0.12, 0.3) * min(shape)
    _draw_tube(picture, middle - half * direction, middle + half * direction, flesh, generator.uniform(0.2, 0.4))
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.02 * max(shape)), dtype=np.float32)
    two = generator.random() < 0.5
    thick = flesh * generator.uniform(0.2, 0.35) * (0.7 if two else 1.2)
    for offset in (-0.5, 0.5) if two else (0.0,):
        foot = middle + offset * flesh * aside
        if generator.random() < 0.5:  # a joint in the middle
            gap = thick * generator.uniform(0.2, 0.6) * direction
            _draw_bone(generator, picture, foot - gap, foot - half * direction, thick)
            _draw_bone(generator, picture, foot + gap, foot + half * direction, thick)
        else:
            _draw_bone(generator, picture, foot - half * direction, foot + half * direction, thick)
    return np.clip(picture + np.float32(0.06) * (_clouds(generator, shape) - np.float32(0.5)), 0, 1)


def _draw_tube(
    picture: Image, start_xy: NDArray[np.float64], end_xy: NDArray[np.float64], radius: float, grey: float
) -> None:
    first, last = np.rint(start_xy).astype(int), np.rint(end_xy).astype(int)
    thick = max(1, round(2 * radius))
    cv2.line(picture, (int(first[0]), int(first[1])), (int(last[0]), int(last[1])), grey, thick, cv2.LINE_AA)


def _draw_bone(
    generator: np.random.Generator,
    picture: Image,
    joint_xy: NDArray[np.float64],
    far_xy: NDArray[np.float64],
    radius: float,
) -> None:
    """Draw a shaft with bright walls and a wider, softer end at the joint."""
    wall, marrow = generator.uniform(0.7, 0.95), generator.uniform(0.45, 0.65)
    _draw_tube(picture, joint_xy, far_xy, radius, wall)
    _draw_tube(picture, joint_xy, far_xy, radius * generator.uniform(0.4, 0.7), marrow)
    along = (far_xy - joint_xy) / max(float(np.linalg.norm(far_xy - joint_xy)), 1e-6)
    head = joint_xy + along * radius
    axes = (max(1, round(1.1 * radius)), max(1, round(radius * generator.uniform(1.3, 1.9))))
    turn = math.degrees(math.atan2(along[1], along[0]))
    cv2.ellipse(picture, (round(head[0]), round(head[1])), axes, turn, 0, 360, 0.5 * (wall + marrow), -1, cv2.LINE_AA)


def _chest(generator: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Draw lungs, ribs, spine and heart; or a skull, a bright shell around clouds."""
    height, width = shape
    picture = np.full(shape, generator.uniform(0.5, 0.7), np.float32)
    if generator.random() < 0.3:
        centre, axes = (width // 2, height // 2), (round(0.36 * width), round(0.4 * height))
        picture = np.float32(0.1) + np.float32(0.2) * _clouds(generator, shape)
        cv2.ellipse(picture, centre, axes, 0, 0, 360, 0.55, -1, cv2.LINE_AA)
        cv2.ellipse(picture, centre, axes, 0, 0, 360, 0.95, max(2, round(0.03 * width)), cv2.LINE_AA)
        for side in (-1, 1):
            eye = (round(width * (0.5 + 0.15 * side)), round(0.58 * height))
            cv2.circle(picture, eye, round(0.09 * width), 0.3, -1, cv2.LINE_AA)
        return np.clip(picture + np.float32(0.15) * _clouds(generator, shape, 0.7), 0, 1)
    lungs = np.zeros(shape, np.float32)
    for side in (-1, 1):
        centre = (round(width * (0.5 + 0.22 * side)), round(0.48 * height))
        cv2.ellipse(lungs, centre, (round(0.16 * width), round(0.36 * height)), 6 * side, 0, 360, 1.0, -1, cv2.LINE_AA)
    picture = picture - np.float32(0.45) * cv2.GaussianBlur(lungs, (0, 0), 0.015 * max(shape))
    for number in range(int(generator.integers(6, 11))):
        y = round(height * (0.08 + 0.085 * number))
        for side, start, end in ((-1, 180, 280), (1, 260, 360)):
            centre = (round(width * (0.5 + 0.03 * side)), y + round(0.12 * height))
            axes = (round(0.37 * width), round(0.13 * height))
            thick = max(1, round(0.015 * height))
            cv2.ellipse(picture, centre, axes, 8 * side, start, end, generator.uniform(0.5, 0.7), thick, cv2.LINE_AA)
    _draw_tube(picture, np.array([width / 2, 0.0]), np.array([width / 2, height]), 0.05 * width, 0.85)
    heart = (round(0.56 * width), round(0.62 * height))
    cv2.ellipse(picture, heart, (round(0.14 * width), round(0.16 * height)), 30, 0, 360, 0.8, -1, cv2.LINE_AA)
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.006 * max(shape))
    return np.asarray(0.9 * blurred + 0.1 * _clouds(generator, shape), dtype=np.float32)


_DRAW: Mapping[DrawnKind, Callable[[np.random.Generator, tuple[int, int]], Image]] = MappingProxyType(
    {
        "noise": _noise,
        "blank": _blank,
        "frame": _frame,
        "marker": _marker,
        "scene": _scene,
        "face": _face,
        "pattern": _pattern,
        "page": _page,
        "bones": _bones,
        "chest": _chest,
    }
)
