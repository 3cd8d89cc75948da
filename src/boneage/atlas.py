"""The reference atlas: what a hand looks like at each age. Pictures, ages, and which is most similar to a radiograph.

Two sources, one interface. The open atlas comes with the package: each plate is the average of at least 20 radiographs
(`boneage.train.atlas.plates`), so it shows no patient. Or a folder of the user's own licensed plates, with a table
``index.csv``; nothing of it is copied anywhere.

A folder of plates has ``index.csv`` with the columns ``sex`` (F or M), ``file`` and one of ``age_months`` and
``age_years`` (``age`` is taken for months); ``count`` says over how many radiographs a plate is averaged. An
``atlas.json`` with ``name``, ``title``, ``made`` and ``licence`` may lie beside it.

Similarity is measured between embeddings, the last hidden layers of one network (`similarity_member`), of which a
plate's is computed as a radiograph's: the hand found, the view cut, the network run.
"""

from __future__ import annotations

import io
import json
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Embedding
from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import Member, shipped_or_folder
from boneage.errors import AtlasError, BoneageError, BundleError, Rejection, TableError
from boneage.explain import encode_picture
from boneage.files import atomic_write, sha256_of
from boneage.geometry import fit_inside, sample
from boneage.hand.views import cut_view
from boneage.reading.headers.formats import read_image_header
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.tables.csv_table import Row, read_rows, reject_years

log = logging.getLogger(__name__)

DEFAULT_ATLAS = "open"
"""The shipped atlas that ``default`` stands for."""

SHIPPED_ATLASES = Path(__file__).parent / "atlases"
"""Where the atlases lie that come with the package."""

INDEX_NAME, ABOUT_NAME, EMBEDDINGS_NAME = "index.csv", "atlas.json", "embeddings.npz"

OLDEST_PLATE_MONTHS = 240.0

_AGE_COLUMNS: Mapping[str, float] = MappingProxyType({"age_months": 1.0, "age": 1.0, "age_years": 12.0})
"""Columns that may hold a plate's age, the first that is there counts, with the months of their unit."""

_BROWSERS_SHOW = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


@dataclass(frozen=True)
class Plate:
    """One picture of an atlas.

    Attributes:
        sex: of the hands.
        age_months: the bone age that it stands for, 0 to 240 months.
        file: its name in the atlas's folder.
        count: over how many radiographs it is averaged; None if it is no average.
    """

    sex: Sex
    age_months: float
    file: str
    count: int | None = None

    @property
    def key(self) -> str:
        """A stable name: ``F-094`` for girls of 94 months; a tenth of a month follows where there is one."""
        whole, tenths = divmod(round(10 * self.age_months), 10)
        return f"{self.sex.value}-{whole:03d}" + (f".{tenths}" if tenths else "")


class Atlas:
    """An opened atlas. May be used from several threads at once.

    Attributes:
        name: short; of the user's own plates the folder's name unless it says another.
        title: one line for people.
        is_own: these are a user's own plates and not those that come with the package.
        plates: all, girls first, by age.
        directory: where they lie.
        about: what ``atlas.json`` says; empty without it.
    """

    def __init__(self, directory: Path, plates: Sequence[Plate], about: Mapping[str, Any]) -> None:
        self.directory = directory
        self.about = about
        self.name = str(about.get("name", directory.resolve().name))
        self.title = str(about.get("title", self.name))
        self.is_own = SHIPPED_ATLASES not in directory.parents
        self.plates = tuple(sorted(plates, key=_order))
        self._by_key = {plate.key: plate for plate in self.plates}
        self._embeddings: dict[tuple[str, ...], dict[str, Embedding]] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, name_or_dir: str | Path = "default") -> Atlas:
        """Open an atlas. Pictures are read when they are asked for.

        Args:
            name_or_dir: ``default``, the name of a shipped atlas, or a folder. A text that names a shipped atlas means
                that one; a `Path` is always a folder.

        Raises:
            AtlasError: ``atlas_not_found``; ``atlas_invalid`` if the index cannot be used or names no picture of the
                folder.
        """
        directory = _find(name_or_dir)
        return cls(directory, _read_index(directory), _read_about(directory))

    def for_sex(self, sex: Sex) -> tuple[Plate, ...]:
        """The plates of one sex, by age; none if the atlas has none."""
        return tuple(plate for plate in self.plates if plate.sex is sex)

    def plate(self, key: str) -> Plate:
        """A plate by its name.

        Raises:
            AtlasError: ``atlas_not_found`` if there is none of that name.
        """
        if key not in self._by_key:
            raise AtlasError("atlas_not_found", f"The atlas {self.name} has no plate {key!r}.")
        return self._by_key[key]

    def picture(self, plate: Plate) -> NDArray[np.uint8]:
        """A plate's picture, uint8 (h, w), bone bright.

        Raises:
            AtlasError: ``atlas_invalid`` if it cannot be read.
        """
        pixels = self._pixels(plate)
        return np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)

    def picture_bytes(self, plate: Plate) -> tuple[bytes, str]:
        """A plate's picture as a file that browsers show, and its media type: as it lies there, or else as PNG.

        Raises:
            AtlasError: as `picture`.
        """
        coded = self._coded(plate)
        try:
            header = read_image_header(coded)
        except Rejection as rejection:
            raise self._unreadable(plate, rejection.message) from rejection
        media_type = _BROWSERS_SHOW.get(header.format) if header is not None else None
        if media_type is not None:
            return coded, media_type
        return encode_picture(".png", self.picture(plate)), "image/png"

    def nearest_by_age(self, sex: Sex, age_months: float) -> Plate:
        """The plate of a sex whose age is nearest; of two as near the younger.

        Raises:
            AtlasError: ``atlas_not_found`` if the atlas has none of this sex.
            ValueError: the age is not a number.
        """
        if math.isnan(age_months):
            raise ValueError("no plate is nearest to an age that is not a number")
        plates = self._some_of(sex)
        return min(plates, key=lambda plate: abs(plate.age_months - age_months))

    def neighbours(self, plate: Plate) -> tuple[Plate | None, Plate | None]:
        """The next younger and the next older plate of the same sex; None at the ends.

        Raises:
            AtlasError: ``atlas_not_found`` if it is no plate of this atlas.
        """
        plates = self.for_sex(self.plate(plate.key).sex)
        place = [one.key for one in plates].index(plate.key)
        return plates[place - 1] if place else None, plates[place + 1] if place + 1 < len(plates) else None

    def embeddings(self, bundle: Bundle) -> Mapping[str, Embedding]:
        """Each plate's embedding by the bundle's `similarity_member`, float32 (E,) by the plate's key.

        Computed once, or read from the atlas's folder if it was computed there by the same networks on the same
        pictures (`store_embeddings`). Plates on which no hand is found, and those of a sex that the bundle does not
        serve, are left out; the log names them.

        Raises:
            AtlasError: ``atlas_invalid`` if a picture cannot be read.
            BundleError: as `boneage.bundle.bundle.Bundle.run`.
        """
        served = [sex for sex in Sex if bundle.members_for(sex)]
        return MappingProxyType({key: row for sex in served for key, row in self._embeddings_of(sex, bundle).items()})

    def nearest_by_similarity(
        self, sex: Sex, assessment_embedding: Embedding, bundle: Bundle, count: int = 3
    ) -> list[tuple[Plate, float]]:
        """The plates of a sex that are most similar to a radiograph.

        Args:
            sex: of the patient.
            assessment_embedding: (E,), the radiograph's, by `similarity_member` (`boneage.Assessment.embeddings` has
                it).
            bundle: that made it.
            count: how many plates, at least 1.

        Returns:
            At most `count` plates with their distances (`similarity_distance`), the most similar first.

        Raises:
            AtlasError, BundleError: as `embeddings`; ``bundle_mismatch`` if the radiograph's embedding has another
                length.
        """
        known = self._embeddings_of(sex, bundle)
        pairs = [
            (plate, similarity_distance(assessment_embedding, known[plate.key]))
            for plate in self.for_sex(sex)
            if plate.key in known
        ]
        return sorted(pairs, key=lambda pair: pair[1])[:count]

    def store_embeddings(self, bundles: Sequence[Bundle]) -> Path:
        """Keep the embeddings by these bundles in the atlas's folder, in the place of what was kept. Returns the file.

        Raises:
            AtlasError, BundleError: as `embeddings`.
            OSError: the folder cannot be written.
        """
        arrays: dict[str, NDArray[np.float32]] = {}
        for bundle in bundles:
            known = self.embeddings(bundle)
            for sex in Sex:
                plates = self.for_sex(sex)
                rows = [known[plate.key] for plate in plates if plate.key in known]
                if rows:
                    missing = np.full_like(rows[0], np.nan)
                    under = self._stored_under(plates, _networks(bundle, similarity_member(bundle, sex), sex))
                    arrays[under] = np.stack([known.get(plate.key, missing) for plate in plates])
        path = self.directory / EMBEDDINGS_NAME
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)
        return path

    def _embeddings_of(self, sex: Sex, bundle: Bundle) -> Mapping[str, Embedding]:
        """Of the plates of one sex, computed or read once."""
        plates, member = self.for_sex(sex), similarity_member(bundle, sex)
        networks = _networks(bundle, member, sex)
        with self._lock:
            if plates and networks not in self._embeddings:
                stored = self._read_stored(self._stored_under(plates, networks), len(plates))
                if stored is None:
                    self._embeddings[networks] = self._computed(plates, bundle, member)
                else:
                    pairs = zip(plates, stored, strict=True)
                    self._embeddings[networks] = {plate.key: row for plate, row in pairs if np.isfinite(row).all()}
            return self._embeddings.get(networks, {})

    def _computed(self, plates: Sequence[Plate], bundle: Bundle, member: Member) -> dict[str, Embedding]:
        found = {}
        for plate in plates:
            pixels = self._pixels(plate)
            try:
                hand = bundle.find_hand(pixels) if bundle.finds_hands or member.view.needs_hand else None
                view = cut_view(pixels, member.view, hand=hand)
            except Rejection as rejection:
                log.warning(
                    "the plate %s of the atlas %s is left out of similarity: %s", plate.key, self.name, rejection
                )
                continue
            found[plate.key] = bundle.run(member, view, plate.sex).embedding
        return found

    def _stored_under(self, plates: Sequence[Plate], networks: tuple[str, ...]) -> str:
        """What decides the embeddings of these plates: the networks and the pictures."""
        said = [*networks, *(f"{plate.key} {sha256_of(self._coded(plate))}" for plate in plates)]
        return sha256_of(json.dumps(said).encode())[:32]

    def _read_stored(self, key: str, count: int) -> NDArray[np.float32] | None:
        """The rows kept under a key; None if there are none, or the file is damaged (it is only a convenience)."""
        try:
            kept = io.BytesIO((self.directory / EMBEDDINGS_NAME).read_bytes())
            with np.load(kept, allow_pickle=False) as arrays:
                rows = np.asarray(arrays[key]) if key in arrays else None
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged archive raises what its parts raise
            log.warning("%s cannot be read and is computed anew: %s", EMBEDDINGS_NAME, error)
            return None
        return rows if rows is not None and rows.dtype == np.float32 and rows.shape[:1] == (count,) else None

    def _some_of(self, sex: Sex) -> tuple[Plate, ...]:
        plates = self.for_sex(sex)
        if not plates:
            raise AtlasError("atlas_not_found", f"The atlas {self.name} has no plates of the sex {sex.value}.")
        return plates

    def _coded(self, plate: Plate) -> bytes:
        try:
            return (self.directory / self.plate(plate.key).file).read_bytes()
        except OSError as error:
            raise self._unreadable(plate, f"{error.strerror}.") from error

    def _pixels(self, plate: Plate) -> NDArray[np.float32]:
        try:
            return read_radiograph(self._coded(plate)).pixels
        except Rejection as rejection:
            raise self._unreadable(plate, rejection.message) from rejection

    def _unreadable(self, plate: Plate, reason: str) -> AtlasError:
        return AtlasError(
            "atlas_invalid", f"The picture {plate.file} of the atlas {self.name} cannot be read: {reason}"
        )


def similarity_member(bundle: Bundle, sex: Sex) -> Member:
    """The network by whose embedding similarity is measured: the one that reads the whole hand (region A), or else the
    first.

    Raises:
        BundleError: ``bundle_mismatch`` if the bundle has no network for this sex.
    """
    members = bundle.members_for(sex)
    if not members:
        raise BundleError(
            "bundle_mismatch", f"The bundle {bundle.manifest.name} has no network for the sex {sex.value}."
        )
    return next((member for member in members if member.view.region == "A"), members[0])


def _networks(bundle: Bundle, member: Member, sex: Sex) -> tuple[str, ...]:
    """What of a bundle decides an embedding: the graphs, and how they are asked."""
    hand = bundle.manifest.hand
    finding = () if hand is None else tuple(graph.sha256 for graph in hand.by_name().values())
    return (sex.value, member.sha256, str(member.mirror), *finding)


def similarity_distance(one: Embedding, other: Embedding) -> float:
    """How unlike two embeddings (E,) of one network are: the root mean square of their differences, 0 or more.

    On 200 validation radiographs the plate most similar by this lay nearer to the reader's age than by the cosine
    (docs/atlas.md). What a distance of 1 means depends on the network.

    Raises:
        BundleError: ``bundle_mismatch`` if they are of different lengths.
    """
    if one.shape != other.shape or one.ndim != 1:
        raise BundleError("bundle_mismatch", f"Embeddings of the shapes {one.shape} and {other.shape} are not alike.")
    return float(np.sqrt(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)))


def list_atlases(directory: Path = SHIPPED_ATLASES) -> list[Atlas]:
    """The atlases in a folder, by default those that come with the package, by name.

    Raises:
        AtlasError: ``atlas_invalid`` for one that cannot be used.
    """
    return [Atlas.open(path.parent) for path in sorted(directory.glob(f"*/{INDEX_NAME}"))]


def contact_sheet(atlas: Atlas, *, columns: int = 9, height: int = 256) -> NDArray[np.uint8]:
    """All plates of an atlas with their names, girls above boys, by age.

    Args:
        atlas: opened.
        columns: plates side by side.
        height: of one, pixels; its width is three quarters.

    Returns:
        uint8 (H, W).

    Raises:
        AtlasError: as `Atlas.picture`.
    """
    width, label = 3 * height // 4, 18
    strips = []
    for sex in Sex:
        tiles = [_tile(atlas, plate, height, width, label) for plate in atlas.for_sex(sex)]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns) if tiles else []
        strips += [np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]
    return np.vstack(strips)


def _tile(atlas: Atlas, plate: Plate, height: int, width: int, label: int) -> NDArray[np.uint8]:
    """A plate fitted into (height, width) with its name below, uint8 (height + label, width)."""
    picture = atlas.picture(plate).astype(np.float32)
    shown = sample(picture, fit_inside(picture.shape[0], picture.shape[1], height, width), height, width)
    tile = np.zeros((height + label, width), np.uint8)
    tile[:height] = np.rint(shown)
    words = f"{plate.key}" + ("" if plate.count is None else f"  n {plate.count}")
    cv2.putText(tile, words, (4, height + label - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, 200, 1, cv2.LINE_AA)
    return tile


# --- reading ---


def _find(name_or_dir: str | Path) -> Path:
    directory = shipped_or_folder(name_or_dir, SHIPPED_ATLASES, INDEX_NAME, DEFAULT_ATLAS)
    if directory is None:
        raise AtlasError("atlas_not_found", f"{name_or_dir} is neither a shipped atlas nor a folder.")
    return directory


def _read_about(directory: Path) -> Mapping[str, Any]:
    path = directory / ABOUT_NAME
    if not path.exists():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AtlasError("atlas_invalid", f"{path} cannot be read: {error}.") from error
    if not isinstance(about, dict):
        raise AtlasError("atlas_invalid", f"{path} is not a JSON object.")
    return about


def _read_index(directory: Path) -> list[Plate]:
    try:
        rows = read_rows(directory / INDEX_NAME, ("sex", "file"), (*_AGE_COLUMNS, "count"))
        column = next((name for name in _AGE_COLUMNS if name in rows[0].cells), None)
        if column is None:
            raise AtlasError("atlas_invalid", f"{directory / INDEX_NAME} has no column age_months or age_years.")
        if column != "age_years":
            reject_years(rows, column)
        plates = [_plate(directory, row, column) for row in rows]
    except (TableError, Rejection) as error:
        raise AtlasError("atlas_invalid", _cause(directory, error)) from error
    _reject_duplicates(directory, plates)
    return plates


def _cause(directory: Path, error: BoneageError) -> str:
    return error.message if isinstance(error, TableError) else f"{directory / INDEX_NAME}: {error.message}"


def _plate(directory: Path, row: Row, column: str) -> Plate:
    months = _AGE_COLUMNS[column] * row.number(column, 0.0, OLDEST_PLATE_MONTHS / _AGE_COLUMNS[column])
    file = row.text("file")
    # A web service hands these files out, so that nothing outside of the folder may be named.
    inside = (directory / file).resolve().is_relative_to(directory.resolve())
    if not inside or not (directory / file).is_file():
        raise row.bad_value("file", "must be a picture in the atlas's folder")
    count = int(row.number("count", 1)) if row.cells.get("count") else None
    return Plate(Sex.parse(row.text("sex")), round(10 * months) / 10, file, count)


def _reject_duplicates(directory: Path, plates: Sequence[Plate]) -> None:
    keys = [plate.key for plate in plates]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise AtlasError("atlas_invalid", f"{directory / INDEX_NAME} has more than one plate {', '.join(twice)}.")


def _order(plate: Plate) -> tuple[int, float]:
    return list(Sex).index(plate.sex), plate.age_months
