"""The manifest of a model bundle, ``bundle.json``: its content, a strict reader and an atomic writer.

A file that is not exactly a manifest is rejected by a :class:`~boneage.errors.BundleError` with the code
``bundle_invalid``, whose message names the place of the fault (`boneage.strict`). A folder without one is rejected with
``bundle_not_found``.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from boneage import strict
from boneage.bundle.calibration import Calibration, Disagreement
from boneage.bundle.curve import AGES, READER_SD_MONTHS, CurveCalibration, consensus_share
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.quality import QualityLabel, QualityLimit
from boneage.clinical.discordance import DiscordanceLimits
from boneage.errors import BundleError
from boneage.files import write_text
from boneage.hand.search import HandLimits
from boneage.hand.views import CellGrid, ViewSide, ViewSpec
from boneage.sex import Sex
from boneage.strict import Bounds, EveryKey, Fits, InvalidValueError, Length, Matching, NotEmpty, NotNegative, Share

FORMAT: Final = 1
"""Version of the manifest's layout, the only one that is read."""

MANIFEST_NAME = "bundle.json"

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Pattern of the names of bundles and members; they also serve as names of folders and files."""

Name = Annotated[
    str, Matching(NAME, "up to 64 small letters, digits and . _ -, with a letter or digit at the beginning")
]
GraphName = Annotated[
    str, Matching(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.onnx"), "the plain name of an ONNX file")
]
Sha256 = Annotated[str, Matching(re.compile(r"[0-9a-f]{64}"), "64 hexadecimal digits")]
AgeMonths = Annotated[float, Bounds(above=0, below=AGES)]
Error = NotNegative


class _NeededMetrics(TypedDict):
    """Figures that every measured bundle has."""

    mad_months: Error
    split: str
    radiographs: Annotated[int, Bounds(at_least=1)]


FEWEST_MEASURED = 20
"""Smallest number of validation radiographs from whose error an interval follows.

The root mean square of 20 normal errors has a standard error of 16 %. A conformal 95 % interval needs 19 errors
(`boneage.bundle.calibration.FEWEST_RADIOGRAPHS`). The error on a few radiographs may be near 0 by chance.
"""


class Metrics(_NeededMetrics, total=False):
    """Figures of a bundle on `radiographs` radiographs of the split `split`, on which it was not trained.

    ``ccc`` is the concordance correlation coefficient. ``interval_coverage`` is the share of those radiographs whose
    label lies within the printed prediction interval. ``region_spread_months`` is the difference between the highest
    and the lowest region's age that 97.5 % of those radiographs do not exceed. ``weights`` are those of the ``last``
    epoch or of the ``best``; in the latter case these very radiographs chose the epoch, and the errors are a little too
    small.
    """

    ccc: Annotated[float, Bounds(at_least=-1, at_most=1)]
    rmse_months: Error
    mad_months_by_sex: Annotated[Mapping[Sex, Error], EveryKey()]
    interval_coverage: Share
    region_spread_months: Error
    weights: Literal["last", "best"]


@dataclass(frozen=True)
class Member:
    """One network for ages of a bundle.

    Attributes:
        name: unique in the bundle.
        graph: file name of its ONNX graph, beside the manifest.
        sha256: checksum of that file, 64 hexadecimal digits.
        view: the view that it reads.
        cells: position of the cells of its activation map on the view.
        age_mean_months, age_spread_months: mean and standard deviation of the ages that it was trained on, above 0; its
            graph contains them.
        mirror: it also reads the mirror image of the view, and both results are averaged.
        embedding_stats: statistics of its embeddings of validation radiographs; None if they were not measured.
        sexes: sexes of the patients that it serves, at least one.
        weight: weight in the mean over the members, above 0; weights need not sum to 1.
        robust: it was trained on radiographs that lost detail, too (`boneage.checks.detail`).
    """

    name: Name
    graph: GraphName
    sha256: Sha256
    view: ViewSpec
    cells: CellGrid
    age_mean_months: AgeMonths
    age_spread_months: AgeMonths
    mirror: bool = False
    embedding_stats: EmbeddingStats | None = None
    sexes: Annotated[tuple[Sex, ...], Length(1)] = (Sex.FEMALE, Sex.MALE)
    weight: strict.Positive = 1.0
    robust: bool = False

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if len(set(self.sexes)) != len(self.sexes):
            yield "sexes", "must not contain a sex twice"

    def ood_score(self, embedding: NDArray[np.floating]) -> float | None:
        """Return the distance of an embedding (E,) from those of validation radiographs, as a share of its limit.

        Above 1 the image is out of distribution. It returns None if the bundle has no statistics of embeddings.

        Raises:
            BundleError: ``bundle_mismatch`` if the embedding has another length.
        """
        if self.embedding_stats is None:
            return None
        return self.embedding_stats.distance(embedding) / self.embedding_stats.limit


@dataclass(frozen=True)
class HandGraph:
    """One of the networks that find the hand, or that for outlines.

    Attributes:
        graph: file name of its ONNX graph, beside the manifest.
        sha256: checksum of that file, 64 hexadecimal digits.
        height, width: size of its view, pixels.
    """

    graph: GraphName
    sha256: Sha256
    height: ViewSide
    width: ViewSide


@dataclass(frozen=True)
class HandGraphs:
    """The networks that find the hand (`boneage.hand.find`).

    Attributes:
        mask: network from the whole radiograph to the probability of each pixel to lie in the hand.
        locate: network from the whole radiograph to key points and the number of hands.
        refine: network from the hand as `locate` registers it to the same.
        joints: network from the registered hand to its joints; None for a bundle that reads no single bones.
        limits: limits beyond which a radiograph is rejected.
    """

    mask: HandGraph
    locate: HandGraph
    refine: HandGraph
    joints: HandGraph | None = None
    limits: HandLimits = field(default_factory=HandLimits)

    def by_name(self) -> dict[str, HandGraph]:
        """Return the three or four graphs by the names of their attributes."""
        graphs = {"mask": self.mask, "locate": self.locate, "refine": self.refine}
        return graphs if self.joints is None else {**graphs, "joints": self.joints}


@dataclass(frozen=True)
class QualityGraph:
    """The network that detects disturbances of a radiograph (`boneage.bundle.quality`).

    Attributes:
        graph: file name of its ONNX graph, beside the manifest.
        sha256: checksum of that file, 64 hexadecimal digits.
        height, width: size of its view, pixels.
        limits: probabilities from which each label counts, for all of `boneage.bundle.quality.QUALITY_LABELS`.
    """

    graph: GraphName
    sha256: Sha256
    height: ViewSide
    width: ViewSide
    limits: Annotated[Mapping[QualityLabel, QualityLimit], EveryKey()]


@dataclass(frozen=True)
class SelfTest:
    """Expected ages of the drawn phantom (`boneage.phantom.draw_hand` without arguments).

    Attributes:
        age_months: expected age by sex, then by the member's name.
        tolerance_months: largest accepted difference on another machine, above 0.
    """

    age_months: Mapping[Sex, Mapping[str, float]]
    tolerance_months: strict.Positive = 0.5


@dataclass(frozen=True)
class Manifest:
    """Content of ``bundle.json``.

    Attributes:
        name: name of the bundle; a shipped bundle's folder has the same.
        version: version of this bundle, as its makers count.
        title: one line for people.
        created: ISO 8601 date, or date and time.
        members: at least one for each sex; or none in a bundle that only finds hands.
        hand: the networks that find the hand; None for a bundle whose members read whole radiographs.
        quality: the network that detects disturbances; None for a bundle without one. It needs `hand`.
        outlines: the network that outlines epiphyses and carpal bones (`boneage.hand.outlines`); None for a bundle
            without one. It needs a network for joints.
        self_test: expected ages of the drawn phantom.
        recipe: recipes of the networks, by name.
        metrics: empty, or figures as in `Metrics`.
        calibration: correction of the members' mean and prediction intervals, by sex and age; None for a bundle whose
            intervals follow from `curve` or its metrics.
        curve: calibration of the age distribution, whose central parts are the prediction intervals; None for a bundle
            without a distribution, or where that was not measured.
        disagreement: limits of the regions' disagreement, above which there are warnings; None where that was not
            measured.
        carpal_limits: usual differences of the carpal bones from the other regions, by sex and age; None where that was
            not measured.
        bone_powers: powers of the age distributions of single bones, by the bone's name (`boneage.bundle.bone_ages`);
            empty where they were not measured.
        repeat_sd_months: standard deviation of repeated readings of one hand; None if it was not measured.
        reader_sd_months: standard deviation of one reader's label about the mean of several readers, which is assumed
            (`boneage.bundle.curve.READER_SD_MONTHS`).
        data: description of the training data.
        licence: licence of the weights.
        format: layout of the manifest.
    """

    name: Name
    version: NotEmpty
    title: NotEmpty
    created: str
    members: tuple[Member, ...] = ()
    hand: HandGraphs | None = None
    quality: QualityGraph | None = None
    outlines: HandGraph | None = None
    self_test: SelfTest = field(default_factory=lambda: SelfTest({}))
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Annotated[Mapping[str, Any], Fits(Metrics, may_be_empty=True)] = field(default_factory=dict)
    calibration: Calibration | None = None
    curve: CurveCalibration | None = None
    disagreement: Disagreement | None = None
    carpal_limits: DiscordanceLimits | None = None
    bone_powers: Mapping[str, strict.Positive] = field(default_factory=dict)
    repeat_sd_months: strict.Positive | None = None
    reader_sd_months: strict.Positive = READER_SD_MONTHS
    data: str = ""
    licence: str = ""
    format: Literal[1] = FORMAT

    @property
    def region_limits_months(self) -> tuple[float | None, float | None]:
        """Differences between regions' ages above which there is a warning and above which the estimate is unusable.

        A bundle without `disagreement` has at most the first, among its metrics. Both are in months.
        """
        if self.disagreement is None:
            return self.metrics.get("region_spread_months"), None
        return self.disagreement.caution_months, self.disagreement.critical_months

    @property
    def stand_ins(self) -> frozenset[str]:
        """Names of the robust members of a bundle that also has others.

        They read radiographs that lost detail, in the place of all others, and only these.
        """
        robust = frozenset(member.name for member in self.members if member.robust)
        return robust if len(robust) < len(self.members) else frozenset()

    @property
    def ordinary_members(self) -> tuple[Member, ...]:
        """The members that read radiographs with all their detail."""
        stand_ins = self.stand_ins
        return tuple(member for member in self.members if member.name not in stand_ins)

    @property
    def has_measured_error(self) -> bool:
        """True if the metrics are of at least `FEWEST_MEASURED` radiographs, so that intervals can follow from them."""
        return bool(self.metrics.get("radiographs", 0) >= FEWEST_MEASURED)

    @property
    def consensus_share(self) -> float:
        """Width of an interval for the mean of several readers, as a share of that for one reader."""
        rmse = self.metrics.get("rmse_months") if self.has_measured_error else None
        return consensus_share(rmse, self.reader_sd_months)

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if not _is_date(self.created):
            yield "created", f"must be an ISO 8601 date, not {self.created!r}"
        names = [member.name for member in self.members]
        for number, member in enumerate(self.members):
            if member.name in names[:number]:
                yield f"members[{number}].name", f"must be unique: {member.name!r} occurs twice"
            if member.view.needs_hand and self.hand is None:
                yield f"members[{number}].view", f"of {member.name} needs hand networks, and the bundle has none"
            elif member.view.region == "bones" and (self.hand is None or self.hand.joints is None):
                yield f"members[{number}].view", f"of {member.name} needs a network for joints, and the bundle has none"
        if self.quality is not None and self.hand is None:
            yield "quality", "needs hand networks, and the bundle has none"
        if self.outlines is not None and (self.hand is None or self.hand.joints is None):
            yield "outlines", "needs a network for joints, and the bundle has none"
        for sex in Sex:
            served_by = {member.name for member in self.members if sex in member.sexes}
            ordinary = served_by - self.stand_ins
            if not ordinary and (names or self.hand is None):
                yield "members", f"must have a network for the sex {sex.value}"
            if set(self.self_test.age_months.get(sex, {})) != served_by:
                yield f"self_test.age_months.{sex.value}", f"must have exactly the members for that sex: {served_by}"

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain dictionaries, lists, texts and numbers.

        Raises:
            InvalidValueError: it contains a value that JSON has not.
        """
        plain = strict.to_plain(self)
        return {"format": plain.pop("format"), **plain}

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """Read a manifest strictly; every key must be there.

        Raises:
            BundleError: ``bundle_invalid``, with the place of the first fault.
        """
        version = value.get("format", FORMAT) if isinstance(value, dict) else FORMAT
        if isinstance(version, int) and version != FORMAT:
            raise _invalid(f"format {version} is not supported; this program reads format {FORMAT}")
        try:
            return strict.read(cls, value, complete=True)
        except InvalidValueError as error:
            raise _invalid(str(error)) from error


def read_manifest(directory: Path) -> Manifest:
    """Read and validate the manifest of a bundle, without any of its graphs.

    Raises:
        BundleError: ``bundle_not_found`` if there is none, ``bundle_invalid`` if it is not a manifest.
    """
    path = directory / MANIFEST_NAME
    try:
        value = strict.parse_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError("bundle_not_found", f"There is no bundle at {directory}: no {MANIFEST_NAME}.") from error
    except (OSError, ValueError) as error:
        raise BundleError("bundle_invalid", f"{path} cannot be read: {error}.") from error
    return Manifest.from_json(value)


def write_manifest(manifest: Manifest, directory: Path) -> Path:
    """Validate a manifest, write it into a folder in one piece, and return the file's path.

    Raises:
        BundleError: ``bundle_invalid`` if it would not be read again as it is.
    """
    try:
        plain = manifest.to_json()
    except InvalidValueError as error:
        raise _invalid(str(error)) from error
    Manifest.from_json(plain)
    path = directory / MANIFEST_NAME
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _is_date(text: str) -> bool:
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _invalid(message: str) -> BundleError:
    return BundleError("bundle_invalid", f"The manifest of the bundle is not valid: {message}.")
