"""Packing of a training: radiographs cut to the hand, labels and hands in one file of limited size.

Each radiograph is cut to the hand's mask and `MARGIN` around it. The grey scale of a view follows from the whole mask,
with the forearm, so that all of it is kept. The radiograph is reduced to the hand length beyond which no view of the
recipes becomes sharper. Its grey levels are stretched to those of the hand, stored in 8 bits, and compressed as WebP at
the highest quality with which the archive has the wanted size. The hands move into the new pixels, so that they need
not be located again. Radiographs without a hand are kept whole: folds are drawn from all ids of a table, and would
differ without them.

The same radiographs, hands and versions make the same bytes.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import boneage
from boneage.errors import RecipeError, Rejection, TableError
from boneage.files import atomic_write
from boneage.geometry import OVERSAMPLING, Transform, downsample_area, reduced_shape
from boneage.hand.bones import BONES, tile_sides
from boneage.hand.borders import Window
from boneage.hand.registration import BOXES, HAND_LENGTH, Hand
from boneage.hand.views import GreyScale, frame_to_view
from boneage.tables.radiographs import LabelledRadiograph, write_radiographs
from boneage.train.data.cache import RadiographCache
from boneage.train.data.hands import HANDS_FOLDER, HandTable, write_hands
from boneage.train.data.unpack import (
    ARCHIVE_FORMAT,
    IMAGES_FOLDER,
    README,
    RECORD,
    TABLE,
    ArchiveRecord,
    checksum_of,
)
from boneage.train.recipe import Recipe

MARGIN = 0.2
"""Width of the air around the hand's mask that remains, as a share of the hand's length.

Views for ages show `boneage.hand.registration.MASK_MARGIN` around the mask. The quality network and the hand networks
read the air beyond. It is cheap: without a cut, an archive is 5 % larger."""

GREY_MARGIN = 0.25
"""Grey levels beyond those of the hand that remain, as a share of the span of the hand's grey scale.

Views with the grey scale of the hand show none of them. The range of a packed radiograph is that of its hand, since
the error of the compression has one size on all radiographs: it would hide the bones of a dark one."""

LEAST_QUALITY = 20
"""Lowest WebP quality. Below, blocks of the compression show on bones."""

MOST_QUALITY = 95
"""Highest WebP quality. Above, files grow fast, while the error stays that of the colour space."""

_METHOD = 6
"""Effort of the WebP encoder, the highest. Files are 5 % smaller than with the usual one."""

_SAMPLED = 400
"""Number of radiographs from which the size of an archive is estimated."""

_RESERVE = 0.02
"""Share of the wanted size that the estimate leaves free, about its standard error."""

_THREADS = 2
_MEGABYTE = 1_000_000
_DATE = (1980, 1, 1, 0, 0, 0)

_README = """Radiographs for the training of bone age networks, packed by boneage {version}.

{count} radiographs, cut to the hand, with labels, sexes, splits, and the hands that were located on them. The terms of
the radiographs from which this archive was made hold for it, too. It contains images of patients.

Training on another machine:

    pip install 'boneage[train]'
    boneage build {plan} --radiographs ARCHIVE.zip --out my-{plan}

ARCHIVE.zip is this file. A single network is trained by

    boneage train RECIPE --radiographs ARCHIVE.zip --out runs/RECIPE

See docs/training.md.
"""

Mapped = Callable[[Sequence[LabelledRadiograph]], Iterable[LabelledRadiograph]]
"""Function that wraps radiographs while they are compressed."""


@dataclass(frozen=True)
class PackResult:
    """Outcome of a packing.

    Attributes:
        record: record of the archive.
        megabytes: size of the archive, millions of bytes.
        without_hand: number of radiographs that are kept whole, since they have no hand.
        unreadable: number of radiographs that could not be read, and are empty files.
    """

    record: ArchiveRecord
    megabytes: float
    without_hand: int
    unreadable: int


@dataclass(frozen=True)
class Crop:
    """Part of a radiograph, and its size in an archive.

    Attributes:
        window: the part.
        zoom: factor by which it is reduced, at most 1.
        darkest, brightest: grey levels of the original, 0..1, that become 0 and 1; those beyond are clipped.
    """

    window: Window
    zoom: float
    darkest: float = 0.0
    brightest: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (H, W) in the archive, pixels."""
        return reduced_shape((self.window.height, self.window.width), self.zoom)

    @property
    def to_radiograph(self) -> Transform:
        """Transform from the coordinates of the packed radiograph to those of the original."""
        rows, columns = self.shape
        to_window = Transform.scale(self.window.width / columns, self.window.height / rows)
        return to_window.then(Transform.shift(self.window.left, self.window.top))

    def cut(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the packed radiograph, uint8 (H, W), of an original, float32 0..1."""
        reduced = downsample_area(self.window.cut(pixels), self.zoom)
        stretched = (reduced - np.float32(self.darkest)) / np.float32(self.brightest - self.darkest)
        return np.asarray(np.rint(np.clip(stretched, 0.0, 1.0) * 255), dtype=np.uint8)

    def with_greys(self, grey: GreyScale, *, inverted: bool) -> Crop:
        """Return the crop with the range of a hand's grey scale, and `GREY_MARGIN` beyond it.

        Args:
            grey: grey scale by the rule ``hand``, bone bright.
            inverted: True if bone is dark on the radiograph.
        """
        margin = GREY_MARGIN * (grey.high - grey.low)
        darkest, brightest = grey.low - margin, grey.high + margin
        if inverted:
            darkest, brightest = 1.0 - brightest, 1.0 - darkest
        return replace(self, darkest=darkest, brightest=brightest)


def needed_hand_pixels(recipe: Recipe) -> float:
    """Return the length of a hand, pixels, beyond which the views of a recipe do not become sharper.

    It is the length at which `boneage.geometry.sample` begins to average the radiograph, on the largest view of the
    augmentation.

    Raises:
        RecipeError: ``recipe_invalid`` if the recipe reads whole radiographs, which an archive does not have.
    """
    spec = recipe.view
    if spec.region == "radiograph":
        raise RecipeError(
            "recipe_invalid",
            f"The recipe {recipe.title!r} reads whole radiographs, and an archive holds their hands only.",
        )
    if spec.region == "bones":
        zoom = min(tile_sides(spec)) / min(bone.side for bone in BONES)
    else:
        zoom = frame_to_view(spec).zoom
    return HAND_LENGTH * zoom * OVERSAMPLING * (1 + recipe.augment.zoom)


def hand_crop(hand: Hand, shape: tuple[int, int], hand_pixels: float) -> Crop:
    """Return the part of a radiograph of shape (H, W) that goes into an archive.

    Args:
        hand: hand on the radiograph.
        shape: shape of the radiograph.
        hand_pixels: length to which a longer hand is reduced, pixels.
    """
    rows, columns = np.nonzero(hand.mask)
    mask_xy = hand.radiograph_to_mask.inverse().points(np.column_stack([columns, rows]) + 0.5)
    shown_xy = np.concatenate([mask_xy, hand.points_xy])
    margin = MARGIN * hand.length_pixels
    left, top = np.floor(shown_xy.min(axis=0) - margin).astype(int).tolist()
    right, bottom = np.ceil(shown_xy.max(axis=0) + margin).astype(int).tolist()
    window = Window(max(0, left), max(0, top), min(shape[1], right), min(shape[0], bottom))
    return Crop(window, min(1.0, hand_pixels / hand.length_pixels))


def packed_crop(
    radiograph_id: str, cache: RadiographCache, hands: HandTable, *, hand_pixels: float, hand_greys: bool
) -> Crop:
    """Return the crop of a radiograph. For the arguments see `pack`."""
    shape = cache.shape(radiograph_id)
    if radiograph_id not in hands:
        return whole_crop(shape, hand_pixels)
    hand = hands.hand(radiograph_id)
    crop = hand_crop(hand, shape, hand_pixels)
    try:
        grey = cache.grey(radiograph_id, "hand", hand)
    except Rejection:  # one even grey, which the training rejects
        return crop
    return crop.with_greys(grey, inverted=hand.inverted) if hand_greys else crop


def whole_crop(shape: tuple[int, int], hand_pixels: float) -> Crop:
    """Return the crop of a radiograph without a hand: all of it, as large as one with a hand and its surroundings."""
    side = hand_pixels * BOXES["surroundings"].height / HAND_LENGTH
    return Crop(Window.of(shape), min(1.0, side / max(shape)))


def pack(
    radiographs: Sequence[LabelledRadiograph],
    cache: RadiographCache,
    hands: HandTable,
    out: Path,
    *,
    plan: str,
    hand_pixels: float,
    hand_greys: bool,
    megabytes: float,
    progress: Mapped = iter,
) -> PackResult:
    """Pack radiographs with their hands into one file.

    Args:
        radiographs: a whole table.
        cache: its decoded radiographs.
        hands: hands on them.
        out: path of the archive, which appears there complete.
        plan: name of the plan, for the record.
        hand_pixels: length to which longer hands are reduced, pixels (`needed_hand_pixels`).
        hand_greys: True if all views have the grey scale of the hand, to which the grey levels are then stretched.
        megabytes: largest size of the archive, millions of bytes.
        progress: wraps the radiographs while they are compressed, once or more often.

    Raises:
        TableError: ``table_archive_size`` if the radiographs do not fit even at the lowest quality.
        OSError: The archive cannot be written.
    """
    crops = {
        one.id: packed_crop(one.id, cache, hands, hand_pixels=hand_pixels, hand_greys=hand_greys)
        for one in radiographs
        if one.id in cache
    }
    tables = _tables(radiographs, crops, hands, plan)
    most = round(megabytes * _MEGABYTE)

    def encoded(chosen: Sequence[LabelledRadiograph], quality: int, shown: Mapped = iter) -> list[bytes]:
        def encode(one: LabelledRadiograph) -> bytes:
            return _encoded(crops[one.id].cut(cache.pixels(one.id)), quality) if one.id in crops else b""

        with ThreadPoolExecutor(_THREADS) as pool:
            return [image for _, image in zip(shown(chosen), pool.map(encode, chosen), strict=True)]

    def archive(images: Sequence[bytes], quality: int) -> tuple[bytes, ArchiveRecord]:
        named = {_image_name(number): image for number, image in enumerate(images)}
        record = ArchiveRecord(
            format=ARCHIVE_FORMAT,
            boneage=boneage.__version__,
            plan=plan,
            hand_pixels=round(hand_pixels, 1),
            quality=quality,
            radiographs=len(radiographs),
            sha256=checksum_of(sorted({**tables, **named}.items())),
        )
        return _zipped({RECORD: (json.dumps(asdict(record), indent=1) + "\n").encode(), **tables, **named}), record

    fixed = len(archive([b""] * len(radiographs), 0)[0])
    sampled = list(radiographs[:: max(1, len(radiographs) // _SAMPLED)])
    share = len(radiographs) / len(sampled)
    wanted = (1 - _RESERVE) * (most - fixed)
    quality = _highest_quality(lambda quality: share * sum(map(len, encoded(sampled, quality))) <= wanted)
    while True:
        content, record = archive(encoded(radiographs, quality, progress), quality)
        if len(content) <= most:
            break
        if quality == LEAST_QUALITY:
            raise TableError(
                "table_archive_size",
                f"{len(radiographs)} radiographs need {_rounded_up(len(content))} MB at the lowest quality, more"
                f" than {megabytes:g} MB. Allow a larger file, or pack fewer radiographs.",
            )
        quality -= 1
    with atomic_write(out) as temporary:
        temporary.write_bytes(content)
    return PackResult(
        record, len(content) / _MEGABYTE, sum(one not in hands for one in crops), len(radiographs) - len(crops)
    )


def _rounded_up(size: int) -> str:
    """Return a number of bytes in megabytes, rounded up to hundredths."""
    return f"{math.ceil(100 * size / _MEGABYTE) / 100:g}"


def _highest_quality(fits: Callable[[int], bool]) -> int:
    """Return the highest quality that fits, by bisection; the lowest one if none does."""
    low, high = LEAST_QUALITY, MOST_QUALITY
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _encoded(pixels: NDArray[np.uint8], quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality, method=_METHOD)
    return buffer.getvalue()


def _image_name(number: int) -> str:
    return f"{IMAGES_FOLDER}/{number + 1:06d}.webp"


def _tables(
    radiographs: Sequence[LabelledRadiograph], crops: Mapping[str, Crop], hands: HandTable, plan: str
) -> dict[str, bytes]:
    """Return the files of an archive other than the images and the record, by name."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / README).write_text(
            _README.format(version=boneage.__version__, count=len(radiographs), plan=plan), encoding="utf-8"
        )
        write_radiographs(
            folder / TABLE,
            [replace(one, image=folder / _image_name(number)) for number, one in enumerate(radiographs)],
        )
        (folder / HANDS_FOLDER).mkdir()
        write_hands(
            folder / HANDS_FOLDER,
            {one: hands.hand(one).on(crop.to_radiograph) for one, crop in crops.items() if one in hands},
            hands.rejected,
            mask_shape=hands.mask_shape,
            found_by=hands.fingerprint,
            shapes={one: crop.shape for one, crop in crops.items()},
        )
        paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP file of these files in their order, with one date for all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name, _DATE)
            member.create_system, member.external_attr = 3, 0o644 << 16  # as on Unix, whatever the system
            is_image = name.startswith(f"{IMAGES_FOLDER}/")
            archive.writestr(member, content, zipfile.ZIP_STORED if is_image else zipfile.ZIP_DEFLATED, compresslevel=9)
    return buffer.getvalue()
