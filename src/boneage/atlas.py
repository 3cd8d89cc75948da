"""The reference atlas: images of hands at each age, and the ones that are most similar to a radiograph.

There are two sources with one interface. The open atlas comes with the package: each plate is the average of at least
20 radiographs (`boneage.train.atlas.plates`), so it shows no patient. The other is a folder of the user's own licensed
plates with a table ``index.csv``; nothing of it is copied anywhere.

The table has the columns ``sex`` (F or M), ``file`` and one of ``age_months`` and ``age_years`` (``age`` is taken for
months). The optional column ``count`` is the number of radiographs that a plate averages. An ``atlas.json`` with a
description (`AtlasDescription`) may lie beside it. Both are read strictly (`boneage.strict`).

Similarity is measured between embeddings, the last hidden layer of one network (`similarity_member`). A plate's
embedding is computed like a radiograph's: the hand is found, the view is cut and the network is run.
"""

from __future__ import annotations

import io
import json
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from boneage.arrays import Embedding, Vector
from boneage.atlas_index import INDEX_NAME, AtlasDescription, Plate, read_description, read_index
from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import Member
from boneage.bundle.shipped import shipped_or_folder
from boneage.errors import AtlasError, BundleError, Rejection
from boneage.explain import encode_picture
from boneage.files import atomic_write, sha256_of
from boneage.geometry import fit_inside, sample
from boneage.hand.member_views import cut_member_view
from boneage.reading.headers.formats import read_image_header
from boneage.reading.radiograph import read_radiograph
from boneage.schema import NearestPlatesDocument, PlateDocument
from boneage.sex import Sex

log = logging.getLogger(__name__)

DEFAULT_ATLAS = "open"
"""Name of the shipped atlas that ``default`` stands for."""

SHIPPED_ATLASES = Path(__file__).parent / "atlases"
"""Folder of the atlases that come with the package."""

EMBEDDINGS_NAME = "embeddings.npz"

_BROWSERS_SHOW = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


class Atlas:
    """An opened atlas. Safe to use from several threads.

    Attributes:
        name: short name; the folder's name unless ``atlas.json`` contains another.
        title: one line for people.
        is_own: these are a user's own plates and not those that come with the package.
        plates: all plates, girls first, by age.
        directory: folder of the plates.
        about: content of ``atlas.json``; a description without any text if there is no such file.
    """

    def __init__(self, directory: Path, plates: Sequence[Plate], about: AtlasDescription) -> None:
        self.directory = directory
        self.about = about
        self.name = about.name or directory.resolve().name
        self.title = about.title or self.name
        self.is_own = SHIPPED_ATLASES not in directory.parents
        self.plates = tuple(sorted(plates, key=_order))
        self._by_key = {plate.key: plate for plate in self.plates}
        self._embeddings: dict[tuple[str, ...], dict[str, Embedding]] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, name_or_dir: str | Path = "default") -> Atlas:
        """Open an atlas. Images are read when they are needed.

        Args:
            name_or_dir: ``default``, the name of a shipped atlas, or a folder. A text that names a shipped atlas means
                that one; a `Path` is always a folder.

        Raises:
            AtlasError: ``atlas_not_found``; ``atlas_invalid`` if the index cannot be used or names no picture of the
                folder.
        """
        directory = _find(name_or_dir)
        return cls(directory, read_index(directory), read_description(directory))

    def for_sex(self, sex: Sex) -> tuple[Plate, ...]:
        """Return the plates of one sex, by age; none if the atlas has none."""
        return tuple(plate for plate in self.plates if plate.sex is sex)

    def plate(self, key: str) -> Plate:
        """Return a plate by its name.

        Raises:
            AtlasError: ``atlas_not_found`` if there is none of that name.
        """
        if key not in self._by_key:
            raise AtlasError("atlas_not_found", f"The atlas {self.name} has no plate {key!r}.")
        return self._by_key[key]

    def picture(self, plate: Plate) -> NDArray[np.uint8]:
        """Return a plate's image, uint8 (h, w), bone bright.

        Raises:
            AtlasError: ``atlas_invalid`` if it cannot be read.
        """
        pixels = self._pixels(plate)
        return np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)

    def picture_bytes(self, plate: Plate) -> tuple[bytes, str]:
        """Return a plate's image as a file that browsers show, unchanged or else as PNG, and its media type.

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
        """Return the plate of a sex whose age is nearest; the younger of two equally near ones.

        Raises:
            AtlasError: ``atlas_not_found`` if the atlas has none of this sex.
            ValueError: the age is not a number.
        """
        if math.isnan(age_months):
            raise ValueError("no plate is nearest to an age that is not a number")
        plates = self._some_of(sex)
        return min(plates, key=lambda plate: abs(plate.age_months - age_months))

    def most_probable(self, sex: Sex, distribution: Vector, count: int = 3) -> list[tuple[Plate, float]]:
        """Return the plates of a sex that are most probably the nearest to the bone age.

        Each month of the distribution belongs to the plate whose age is nearest, the younger of two equally near ones.

        Args:
            sex: sex of the patient.
            distribution: (N,), probability of each age in whole months from 0.
            count: number of plates, at least 1.

        Returns:
            At most `count` plates with their probabilities, the most probable first. The probabilities of all plates of
            the sex sum to 1.

        Raises:
            AtlasError: ``atlas_not_found`` if the atlas has none of this sex.
        """
        plates = self._some_of(sex)
        ages = np.array([plate.age_months for plate in plates])
        nearest = np.abs(np.arange(len(distribution))[:, None] - ages).argmin(axis=1)
        shares = np.bincount(nearest, weights=distribution, minlength=len(plates)) / distribution.sum()
        order = np.argsort(-shares, kind="stable")[:count]
        return [(plates[place], float(shares[place])) for place in order.tolist()]

    def nearest_plates(self, sex: Sex, distribution: Vector | None) -> NearestPlatesDocument | None:
        """Return the three most probable plates by the project's schema.

        Args:
            sex: sex of the patient.
            distribution: see `most_probable`, or None.

        Returns:
            The plates; None without a distribution, or if the atlas has none of this sex.
        """
        if distribution is None or not self.for_sex(sex):
            return None
        plates = tuple(
            PlateDocument(key=plate.key, age_months=plate.age_months, probability=round(probability, 3))
            for plate, probability in self.most_probable(sex, distribution)
        )
        return NearestPlatesDocument(atlas=self.name, plates=plates)

    def neighbours(self, plate: Plate) -> tuple[Plate | None, Plate | None]:
        """Return the next younger and the next older plate of the same sex; None at the ends.

        Raises:
            AtlasError: ``atlas_not_found`` if it is no plate of this atlas.
        """
        plates = self.for_sex(self.plate(plate.key).sex)
        place = [one.key for one in plates].index(plate.key)
        return plates[place - 1] if place else None, plates[place + 1] if place + 1 < len(plates) else None

    def embeddings(self, bundle: Bundle) -> Mapping[str, Embedding]:
        """Return each plate's embedding by the bundle's `similarity_member`, float32 (E,) by the plate's key.

        They are computed once, or read from the atlas's folder if they were stored there by the same networks for the
        same images (`store_embeddings`). Plates on which no hand is found, and those of a sex that the bundle does not
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
        """Return the plates of a sex that are most similar to a radiograph.

        Args:
            sex: sex of the patient.
            assessment_embedding: (E,), the radiograph's embedding by `similarity_member`
                (`boneage.Assessment.embeddings`).
            bundle: bundle that computed it.
            count: number of plates, at least 1.

        Returns:
            At most `count` plates with their distances (`similarity_distance`), the most similar first.

        Raises:
            AtlasError, BundleError: as `embeddings`; ``bundle_mismatch`` if the radiograph's embedding has another
                length.
        """
        embeddings = self._embeddings_of(sex, bundle)
        pairs = [
            (plate, similarity_distance(assessment_embedding, embeddings[plate.key]))
            for plate in self.for_sex(sex)
            if plate.key in embeddings
        ]
        return sorted(pairs, key=lambda pair: pair[1])[:count]

    def store_embeddings(self, bundles: Sequence[Bundle]) -> Path:
        """Compute the embeddings by these bundles, store them in the atlas's folder, and return the file's path.

        They replace the ones stored before, which are not read: the way from a plate to the views may have changed.

        Raises:
            AtlasError, BundleError: as `embeddings`.
            OSError: the folder cannot be written.
        """
        arrays: dict[str, NDArray[np.float32]] = {}
        for bundle in bundles:
            for sex in Sex:
                plates, member = self.for_sex(sex), similarity_member(bundle, sex)
                embeddings = self._computed(plates, bundle, member)
                rows = [embeddings[plate.key] for plate in plates if plate.key in embeddings]
                if rows:
                    missing = np.full_like(rows[0], np.nan)
                    under = self._stored_under(plates, _networks(bundle, member, sex))
                    arrays[under] = np.stack([embeddings.get(plate.key, missing) for plate in plates])
        path = self.directory / EMBEDDINGS_NAME
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **arrays)
        with self._lock:
            self._embeddings.clear()
        return path

    def _embeddings_of(self, sex: Sex, bundle: Bundle) -> Mapping[str, Embedding]:
        """Return the embeddings of the plates of one sex, computed or read once."""
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
        embeddings = {}
        for plate in plates:
            pixels = self._pixels(plate)
            try:
                hand = bundle.find_hand(pixels) if bundle.finds_hands or member.view.needs_hand else None
                view = cut_member_view(pixels, member.view, hand=hand)
            except Rejection as rejection:
                log.warning(
                    "the plate %s of the atlas %s is left out of similarity: %s", plate.key, self.name, rejection
                )
                continue
            embeddings[plate.key] = bundle.run(member, view, plate.sex).embedding
        return embeddings

    def _stored_under(self, plates: Sequence[Plate], networks: tuple[str, ...]) -> str:
        """Return the key of these plates' embeddings, a digest of the networks and the images."""
        parts = [*networks, *(f"{plate.key} {sha256_of(self._coded(plate))}" for plate in plates)]
        return sha256_of(json.dumps(parts).encode())[:32]

    def _read_stored(self, key: str, count: int) -> NDArray[np.float32] | None:
        """Return the rows stored under a key; None if there are none, or the file is damaged (it is only a cache)."""
        try:
            kept = io.BytesIO((self.directory / EMBEDDINGS_NAME).read_bytes())
            with np.load(kept, allow_pickle=False) as arrays:
                rows = np.asarray(arrays[key]) if key in arrays else None
        except FileNotFoundError:
            return None
        except Exception as error:  # a damaged archive raises what its parts raise
            log.warning("%s cannot be read and is computed again: %s", EMBEDDINGS_NAME, error)
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
    """Return the network whose embedding measures similarity.

    It is the one that reads the whole hand (region A), or else the first.

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
    """Return all of a bundle that decides an embedding: the graphs, and the use of mirror images."""
    hand = bundle.manifest.hand
    graphs = {} if hand is None else hand.by_name()
    finding = tuple(graph.sha256 for name, graph in graphs.items() if name != "joints" or member.view.region == "bones")
    return (sex.value, member.sha256, str(member.mirror), *finding)


def similarity_distance(one: Embedding, other: Embedding) -> float:
    """Return the distance of two embeddings (E,) of one network, the root mean square of their differences.

    On 200 validation radiographs the plate most similar by this distance was nearer to the reader's age than by the
    cosine (docs/atlas.md). The scale of the distance depends on the network.

    Raises:
        BundleError: ``bundle_mismatch`` if they are of different lengths.
    """
    if one.shape != other.shape or one.ndim != 1:
        raise BundleError("bundle_mismatch", f"Embeddings of the shapes {one.shape} and {other.shape} are not alike.")
    return float(np.sqrt(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)))


def list_atlases(directory: Path = SHIPPED_ATLASES) -> list[Atlas]:
    """List the atlases in a folder by name. The default is the package's folder.

    Raises:
        AtlasError: ``atlas_invalid`` for one that cannot be used.
    """
    return [Atlas.open(path.parent) for path in sorted(directory.glob(f"*/{INDEX_NAME}"))]


def contact_sheet(atlas: Atlas, *, columns: int = 9, height: int = 256) -> NDArray[np.uint8]:
    """Draw all plates of an atlas with their names, girls above boys, by age.

    Args:
        atlas: opened atlas.
        columns: number of plates side by side.
        height: height of a plate, pixels; its width is three quarters of it.

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
    """Draw a plate fitted into (height, width) with its name below, uint8 (height + label, width)."""
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


def _order(plate: Plate) -> tuple[int, float]:
    return list(Sex).index(plate.sex), plate.age_months
