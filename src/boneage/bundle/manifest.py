"""The manifest of a bundle, ``bundle.json``: what it says, read strictly and written whole.

Whatever is not exactly a manifest is rejected by a :class:`~boneage.errors.BundleError` with the code
``bundle_invalid``; a folder without one with ``bundle_not_found``.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.calibration import SLOPES, Band, Calibration, Disagreement, SexCalibration
from boneage.bundle.quality import QUALITY_LABELS, QualityLabel, QualityLimit
from boneage.errors import BundleError
from boneage.files import write_text
from boneage.hand.find import HandLimits
from boneage.hand.registration import Region
from boneage.hand.views import CellGrid, GreyRule, ViewSpec
from boneage.sex import Sex

FORMAT = 4
"""Version of the manifest's layout that this program writes. It also reads the first, which has no hand networks, the
second, which has no calibration, and the third, which has no quality network and nothing about disagreement."""

_ADDED_LATER: Mapping[int, tuple[str, ...]] = {
    1: ("hand", "calibration", "quality", "disagreement"),
    2: ("calibration", "quality", "disagreement"),
    3: ("quality", "disagreement"),
}
"""Keys that an earlier format has not; without them it reads as the one that is written, their values null."""

MANIFEST_NAME = "bundle.json"

AGES = 240
"""Length of an age distribution: one place a month, from 0."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""What a bundle or a member may be called; it also does as the name of a folder or file."""

METRIC_TYPES: Mapping[str, type] = {
    "mad_months": float,
    "ccc": float,
    "rmse_months": float,
    "split": str,
    "radiographs": int,
    "mad_months_by_sex": dict,
    "interval_coverage": float,
    "region_spread_months": float,
    "weights": str,
}
"""What a manifest's metrics may hold: errors on `radiographs` radiographs of the split `split`, which the networks did
not learn.

``interval_coverage`` is the share, 0..1, of those radiographs whose label lies within the interval that is printed.
``region_spread_months`` is the difference between the highest and the lowest region's age that 97.5 % of those
radiographs do not exceed.
``weights`` are those of the ``last`` epoch, or of the ``best``: then these very radiographs chose the epoch, and the
errors are a little too small.
"""

EMBEDDING_STATS_PERCENTILE = 99.5
"""Of the validation radiographs' distances: what lies farther from their mean is called unlike them."""

SMALLEST_SPREAD = 1e-3
"""An embedding's place that hardly varies over the validation radiographs counts as if it spread by this much."""

_METRICS_NEEDED = {"mad_months", "split", "radiographs"}
_GRAPH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.onnx")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class EmbeddingStats:
    """Where a network's embeddings of validation radiographs lie, so that a picture unlike all of them is noticed.

    Attributes:
        mean: of each place of the embedding, E of them.
        spread: standard deviation of each place, above 0.
        limit: the distance that 99.5 % of the validation radiographs do not exceed.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    limit: float

    @classmethod
    def of(cls, embeddings: NDArray[np.floating]) -> EmbeddingStats:
        """Measured on the embeddings (N, E) of validation radiographs; every number has 4 significant digits."""
        mean = _rounded(embeddings.mean(axis=0))
        spread = _rounded(np.maximum(embeddings.std(axis=0), SMALLEST_SPREAD))
        measured = cls(mean, spread, 1.0)
        distances = [measured.distance(embedding) for embedding in embeddings]
        (limit,) = _rounded(np.percentile(distances, [EMBEDDING_STATS_PERCENTILE]))
        return cls(mean, spread, max(limit, SMALLEST_SPREAD))

    def distance(self, embedding: NDArray[np.floating]) -> float:
        """Root mean square, over the places, of the deviations from the mean in units of the spread.

        Args:
            embedding: (E,).

        Raises:
            BundleError: ``bundle_mismatch`` if it has another length.
        """
        if embedding.shape != (len(self.mean),):
            raise BundleError(
                "bundle_mismatch", f"An embedding has the shape {embedding.shape}, not {(len(self.mean),)}."
            )
        deviations = (np.asarray(embedding, np.float64) - np.array(self.mean)) / np.array(self.spread)
        return float(np.sqrt(np.mean(deviations**2)))


@dataclass(frozen=True)
class Member:
    """One network of a bundle.

    Attributes:
        name: unique in the bundle; lower case.
        graph: file name of its ONNX graph, beside the manifest.
        sha256: of that file, 64 hexadecimal digits.
        view: what it reads.
        cells: where the cells of its activation map lie on the view.
        age_mean_months, age_spread_months: of the ages that it was trained on, above 0; its graph has them built in.
        mirror: it is asked about the view and about its mirror image, and the answers are averaged.
        familiar: where its embeddings of validation radiographs lie; None if that was not measured.
        sexes: whom it may be asked about.
        weight: in the mean over members, above 0; weights need not sum to 1.
    """

    name: str
    graph: str
    sha256: str
    view: ViewSpec
    cells: CellGrid
    age_mean_months: float
    age_spread_months: float
    mirror: bool = False
    embedding_stats: EmbeddingStats | None = None
    sexes: tuple[Sex, ...] = (Sex.FEMALE, Sex.MALE)
    weight: float = 1.0

    def ood_score(self, embedding: NDArray[np.floating]) -> float | None:
        """How far an embedding (E,) lies from those of the validation radiographs, as a share of the limit.

        Above 1 the picture is unlike (nearly) all of them. None if the bundle does not say where those lie.

        Raises:
            BundleError: ``bundle_mismatch`` if the embedding has another length.
        """
        return (
            None
            if self.embedding_stats is None
            else self.embedding_stats.distance(embedding) / self.embedding_stats.limit
        )


@dataclass(frozen=True)
class HandGraph:
    """One of the networks that find the hand.

    Attributes:
        graph: file name of its ONNX graph, beside the manifest.
        sha256: of that file, 64 hexadecimal digits.
        height, width: of its view, pixels.
    """

    graph: str
    sha256: str
    height: int
    width: int


@dataclass(frozen=True)
class HandGraphs:
    """The networks that find the hand (`boneage.hand.find`).

    Attributes:
        mask: of the whole radiograph, to the probability of lying in the hand.
        locate: of the whole radiograph, to key points and number of hands.
        refine: of the hand as `locate` registers it, to the same.
        limits: beyond which a radiograph is rejected.
    """

    mask: HandGraph
    locate: HandGraph
    refine: HandGraph
    limits: HandLimits = field(default_factory=HandLimits)

    def by_name(self) -> dict[str, HandGraph]:
        """The three graphs."""
        return {"mask": self.mask, "locate": self.locate, "refine": self.refine}


@dataclass(frozen=True)
class QualityGraph:
    """The network that notices what disturbs a radiograph (`boneage.bundle.quality`).

    Attributes:
        graph: file name of its ONNX graph, beside the manifest.
        sha256: of that file, 64 hexadecimal digits.
        height, width: of its view, pixels.
        limits: from which probability each label counts; all of `boneage.bundle.quality.QUALITY_LABELS`.
    """

    graph: str
    sha256: str
    height: int
    width: int
    limits: Mapping[QualityLabel, QualityLimit]


@dataclass(frozen=True)
class SelfTest:
    """What each member answered for the drawn phantom (`boneage.phantom.draw_hand` as it is called without arguments).

    Attributes:
        age_months: by sex, then by the member's name.
        tolerance_months: how far another machine's answer may lie from it.
    """

    age_months: Mapping[Sex, Mapping[str, float]]
    tolerance_months: float = 0.5


@dataclass(frozen=True)
class Manifest:
    """What ``bundle.json`` says.

    Attributes:
        name: lower case; a shipped bundle's folder has the same.
        version: of this bundle, as its makers count.
        title: one line for a person.
        created: ISO 8601 date, or date and time.
        members: at least one for each sex, once the manifest is written; or none, of a bundle that only finds hands.
        hand: the networks that find the hand; None for a bundle whose members read whole radiographs.
        quality: the network that notices what disturbs a radiograph; None for a bundle without one. It needs `hand`.
        self_test: expected answers for the drawn phantom.
        recipe: as the networks were trained.
        metrics: empty, or the keys of `METRIC_TYPES` (``mad_months``, ``split`` and ``radiographs`` at least).
        calibration: the correction of the members' mean, and the intervals, by sex and age; None for a bundle whose
            intervals are those of its metrics.
        disagreement: how the regions' disagreement widens intervals and gives warnings; None where that was not
            measured.
        data: what the networks learnt from.
        licence: of the weights.
        format: layout of the manifest.
    """

    name: str
    version: str
    title: str
    created: str
    members: tuple[Member, ...] = ()
    hand: HandGraphs | None = None
    quality: QualityGraph | None = None
    self_test: SelfTest = field(default_factory=lambda: SelfTest({}))
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    disagreement: Disagreement | None = None
    data: str = ""
    licence: str = ""
    format: int = FORMAT

    @property
    def region_limits_months(self) -> tuple[float | None, float | None]:
        """How far apart regions may lie before there is a warning, and before the number shall not be used, months.

        Manifests of early formats have the first only, among their metrics.
        """
        if self.disagreement is None:
            return self.metrics.get("region_spread_months"), None
        return self.disagreement.caution_months, self.disagreement.critical_months

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and numbers."""
        written = asdict(self)
        written["self_test"]["age_months"] = {sex.value: dict(ages) for sex, ages in self.self_test.age_months.items()}
        for member in written["members"]:
            member["sexes"] = [sex.value for sex in member["sexes"]]
            if member["embedding_stats"] is not None:
                member["embedding_stats"] |= {key: list(member["embedding_stats"][key]) for key in ("mean", "spread")}
        written["members"] = list(written["members"])
        if written["hand"] is not None:
            limits = written["hand"]["limits"]
            limits["mask_areas"] = list(limits["mask_areas"])
        if written["quality"] is not None:
            written["quality"]["limits"] = dict(written["quality"]["limits"])
        if written["calibration"] is not None:
            by_sex = written["calibration"]["by_sex"].items()
            written["calibration"] = {sex.value: said | {"bands": list(said["bands"])} for sex, said in by_sex}
        return {"format": written.pop("format"), **written}

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """Read strictly: unknown or missing keys, wrong types and values out of range are rejected.

        Raises:
            BundleError: ``bundle_invalid``.
        """
        if isinstance(value, dict) and type(early := value.get("format")) is int and early in _ADDED_LATER:
            missing = dict.fromkeys(_ADDED_LATER[early])
            value = value if missing.keys() & value.keys() else {**value, "format": FORMAT, **missing}
        keys = _record(value, _MANIFEST_TYPES, "the manifest")
        if keys["format"] != FORMAT:
            raise _invalid(f"the manifest has format {keys['format']}; this program reads formats 1 to {FORMAT}")
        members = tuple(_read_member(member) for member in keys.pop("members"))
        manifest = cls(
            members=members,
            hand=_read_hand(keys.pop("hand")),
            quality=_read_quality(keys.pop("quality")),
            self_test=_read_self_test(keys.pop("self_test")),
            calibration=_read_calibration(keys.pop("calibration")),
            disagreement=_read_disagreement(keys.pop("disagreement")),
            **keys,
        )
        _validate(manifest)
        return manifest


def shipped_or_folder(name_or_dir: str | Path, shipped: Path, marker: str, default: str) -> Path | None:
    """The folder that a name or a path means, of bundles and of atlases; None if there is none.

    Args:
        name_or_dir: ``default``, the name of a shipped one, or a folder. A `Path` is always a folder.
        shipped: the folder of all shipped ones.
        marker: the file that each of them holds.
        default: the name that ``default`` stands for.
    """
    if isinstance(name_or_dir, str) and NAME.fullmatch(name_or_dir):
        if name_or_dir == "default":
            return shipped / default
        if (shipped / name_or_dir / marker).is_file():
            return shipped / name_or_dir
    directory = Path(name_or_dir)
    return directory if directory.is_dir() else None


def read_manifest(directory: Path) -> Manifest:
    """Read and validate the manifest of a bundle; no graph is touched.

    Raises:
        BundleError: ``bundle_not_found`` if there is none, ``bundle_invalid`` if it is not a manifest.
    """
    path = directory / MANIFEST_NAME
    try:
        text = path.read_bytes().decode("utf-8")
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError("bundle_not_found", f"There is no bundle at {directory}: no {MANIFEST_NAME}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError("bundle_invalid", f"{path} cannot be read: {error}.") from error
    return Manifest.from_json(value)


def write_manifest(manifest: Manifest, directory: Path) -> Path:
    """Validate a manifest and write it into a folder, in one piece. Returns the file's path.

    Raises:
        BundleError: ``bundle_invalid`` if it would not be read again as it is.
    """
    try:
        text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise _invalid(f"the manifest holds what JSON cannot: {error}") from error
    Manifest.from_json(json.loads(text))
    path = directory / MANIFEST_NAME
    write_text(path, text)
    return path


# --- reading strictly ---

_MANIFEST_TYPES: dict[str, type] = {
    "format": int,
    "name": str,
    "version": str,
    "title": str,
    "created": str,
    "members": list,
    "hand": object,
    "quality": object,
    "self_test": dict,
    "recipe": dict,
    "metrics": dict,
    "calibration": object,
    "disagreement": object,
    "data": str,
    "licence": str,
}
_MEMBER_TYPES: dict[str, type] = {
    "name": str,
    "graph": str,
    "sha256": str,
    "view": dict,
    "cells": dict,
    "age_mean_months": float,
    "age_spread_months": float,
    "mirror": bool,
    "embedding_stats": object,
    "sexes": list,
    "weight": float,
}
_EMBEDDING_STATS_TYPES: dict[str, type] = {"mean": list, "spread": list, "limit": float}
_CELL_TYPES: dict[str, type] = {"pixels": float, "first": float}
_HAND_TYPES: dict[str, type] = {"mask": dict, "locate": dict, "refine": dict, "limits": dict}
_HAND_GRAPH_TYPES: dict[str, type] = {"graph": str, "sha256": str, "height": int, "width": int}
_QUALITY_TYPES: dict[str, type] = {**_HAND_GRAPH_TYPES, "limits": dict}
_QUALITY_LIMIT_TYPES: dict[str, type] = {"caution": float, "critical": object}
_DISAGREEMENT_TYPES: dict[str, type] = {
    "scale_months": float,
    "factor": float,
    "caution_months": float,
    "critical_months": float,
}
_LIMIT_TYPES: dict[str, type] = {
    "least_mask_share": float,
    "least_one_hand": float,
    "largest_second_part": float,
    "largest_spread": float,
    "least_inside": float,
    "mask_areas": list,
}
_SEX_CALIBRATION_TYPES: dict[str, type] = {"intercept_months": float, "slope": float, "bands": list}
_BAND_TYPES: dict[str, type] = {
    "upper_months": object,
    "radiographs": int,
    "half_width_80_months": float,
    "half_width_95_months": float,
    "typical_error_months": float,
}
_VIEW_TYPES: dict[str, type] = {"region": str, "height": int, "width": int, "grey": str}


def _invalid(message: str) -> BundleError:
    return BundleError("bundle_invalid", f"This is no valid bundle: {message}.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys occur once."""
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key occurs twice")
    return record


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _record(value: Any, types: Mapping[str, type], where: str) -> dict[str, Any]:
    """An object with exactly these keys, each of its type."""
    if not isinstance(value, dict):
        raise _invalid(f"{where} is not an object")
    unknown, missing = sorted(set(value) - set(types)), sorted(set(types) - set(value))
    if unknown or missing:
        raise _invalid(f"{where} has unknown keys {unknown} and lacks {missing}")
    return {key: _typed(value[key], kind, f"{key} of {where}") for key, kind in types.items()}


def _typed(value: Any, kind: type, where: str) -> Any:
    """A value of this type; a finite whole number is also a float, true and false are no numbers."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) > 1e9 or math.isnan(value):
            raise _invalid(f"{where} is out of range")
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _invalid(f"{where} is not of type {kind.__name__}")
    return value


def _read_member(value: Any) -> Member:
    keys = _record(value, _MEMBER_TYPES, "a member")
    where = f"the member {keys['name']!r}"
    if not (NAME.fullmatch(keys["name"]) and _SHA256.fullmatch(keys["sha256"]) and keys["weight"] > 0):
        raise _invalid(f"{where} has a name, checksum or weight that is none")
    if not _GRAPH.fullmatch(keys["graph"]):
        raise _invalid(f"the graph of {where} is not the plain name of an ONNX file: {keys['graph']!r}")
    sexes = tuple(_read_sex(sex, where) for sex in keys.pop("sexes"))
    if not sexes or len(set(sexes)) != len(sexes):
        raise _invalid(f"{where} serves no sex, or one of them twice")
    cells = CellGrid(**_record(keys.pop("cells"), _CELL_TYPES, f"the cells of {where}"))
    if not 0 < cells.pixels <= 4096:
        raise _invalid(f"the cells of {where} are {cells.pixels} pixels wide")
    if not (0 < keys["age_mean_months"] < AGES and 0 < keys["age_spread_months"] < AGES):
        raise _invalid(f"the age mean and spread of {where} are out of range")
    embedding_stats = _read_embedding_stats(keys.pop("embedding_stats"), where)
    return Member(
        view=_read_view(keys.pop("view"), where), cells=cells, sexes=sexes, embedding_stats=embedding_stats, **keys
    )


def _read_embedding_stats(value: Any, member: str) -> EmbeddingStats | None:
    if value is None:
        return None
    where = f"what is familiar to {member}"
    keys = _record(value, _EMBEDDING_STATS_TYPES, where)
    mean, spread = (tuple(_typed(place, float, where) for place in keys[key]) for key in ("mean", "spread"))
    if not mean or len(mean) != len(spread) or not all(place > 0 for place in spread) or not keys["limit"] > 0:
        raise _invalid(f"{where} has no places, not as many of each, or a spread or limit that is not above 0")
    return EmbeddingStats(mean, spread, keys["limit"])


def _read_view(value: Any, where: str) -> ViewSpec:
    keys = _record(value, _VIEW_TYPES, f"the view of {where}")
    if keys["region"] not in get_args(Region) or keys["grey"] not in get_args(GreyRule):
        raise _invalid(f"the view of {where} has the region {keys['region']!r} and the grey rule {keys['grey']!r}")
    _reject_size(keys, f"the view of {where}")
    return ViewSpec(**keys)


def _reject_size(keys: Mapping[str, Any], where: str) -> None:
    if not (16 <= keys["height"] <= 4096 and 16 <= keys["width"] <= 4096):
        raise _invalid(f"{where} is smaller than 16 or larger than 4096 pixels")


def _read_hand(value: Any) -> HandGraphs | None:
    if value is None:
        return None
    keys = _record(value, _HAND_TYPES, "hand")
    graphs = {name: _read_hand_graph(keys[name], name) for name in ("mask", "locate", "refine")}
    limits = _record(keys["limits"], _LIMIT_TYPES, "the limits of hand")
    areas = [_typed(area, float, "mask_areas") for area in limits.pop("mask_areas")]
    if len(areas) != 2 or not 0 <= areas[0] < areas[1] or not all(0 <= limit <= 1 for limit in limits.values()):
        raise _invalid("a limit of hand is out of range")
    return HandGraphs(**graphs, limits=HandLimits(**limits, mask_areas=(areas[0], areas[1])))


def _read_hand_graph(value: Any, name: str) -> HandGraph:
    keys = _record(value, _HAND_GRAPH_TYPES, f"the hand network {name}")
    _reject_graph(keys, f"the hand network {name}")
    return HandGraph(**keys)


def _reject_graph(keys: Mapping[str, Any], where: str) -> None:
    if not (_GRAPH.fullmatch(keys["graph"]) and _SHA256.fullmatch(keys["sha256"])):
        raise _invalid(f"{where} has a graph or checksum that is none")
    _reject_size(keys, f"the view of {where}")


def _read_quality(value: Any) -> QualityGraph | None:
    if value is None:
        return None
    where = "the quality network"
    keys = _record(value, _QUALITY_TYPES, where)
    _reject_graph(keys, where)
    limits = _record(keys.pop("limits"), dict.fromkeys(QUALITY_LABELS, dict), f"the limits of {where}")
    return QualityGraph(limits={label: _read_quality_limit(limits[label], label) for label in QUALITY_LABELS}, **keys)


def _read_quality_limit(value: Any, label: str) -> QualityLimit:
    where = f"the limit of {label}"
    keys = _record(value, _QUALITY_LIMIT_TYPES, where)
    caution, critical = keys["caution"], keys["critical"]
    if critical is not None:
        critical = _typed(critical, float, where)
    if not 0 <= caution <= (1.0 if critical is None else critical) <= 1:
        raise _invalid(f"{where} is no probability, or its critical part lies below the other")
    return QualityLimit(caution, critical)


def _read_disagreement(value: Any) -> Disagreement | None:
    if value is None:
        return None
    keys = _record(value, _DISAGREEMENT_TYPES, "the disagreement")
    if not (keys["scale_months"] > 0 and 0 < keys["factor"] <= 1 and keys["caution_months"] > 0):
        raise _invalid("the disagreement's scale, factor or limit are out of range")
    if keys["critical_months"] < keys["caution_months"]:
        raise _invalid("the disagreement's critical limit lies below the other")
    return Disagreement(**keys)


def _read_calibration(value: Any) -> Calibration | None:
    if value is None:
        return None
    by_sex = _record(value, {sex.value: dict for sex in Sex}, "the calibration")
    return Calibration({sex: _read_sex_calibration(by_sex[sex.value], sex) for sex in Sex})


def _read_sex_calibration(value: Any, sex: Sex) -> SexCalibration:
    where = f"the calibration of {sex.value}"
    keys = _record(value, _SEX_CALIBRATION_TYPES, where)
    if not (SLOPES[0] <= keys["slope"] <= SLOPES[1] and abs(keys["intercept_months"]) < AGES):
        raise _invalid(f"{where} corrects by more than can be")
    bands = tuple(_read_band(band, where) for band in keys.pop("bands"))
    uppers = [-math.inf, *(math.inf if band.upper_months is None else band.upper_months for band in bands)]
    if uppers[-1] != math.inf or any(low >= high for low, high in pairwise(uppers)):
        raise _invalid(f"the bands of {where} do not rise to one without an end")
    return SexCalibration(bands=bands, **keys)


def _read_band(value: Any, calibration: str) -> Band:
    where = f"a band of {calibration}"
    keys = _record(value, _BAND_TYPES, where)
    upper = keys.pop("upper_months")
    if not 0 <= keys["half_width_80_months"] <= keys["half_width_95_months"] or keys["radiographs"] < 1:
        raise _invalid(f"{where} has half widths that do not rise from 0, or no radiographs")
    if keys["typical_error_months"] < 0:
        raise _invalid(f"{where} has an error below 0")
    return Band(upper_months=None if upper is None else _typed(upper, float, where), **keys)


def _read_sex(value: Any, where: str) -> Sex:
    if value not in ("F", "M"):
        raise _invalid(f"{where} names a sex as {value!r}, not F or M")
    return Sex(value)


def _read_self_test(value: Any) -> SelfTest:
    keys = _record(value, {"age_months": dict, "tolerance_months": float}, "the self-test")
    if not keys["tolerance_months"] > 0:
        raise _invalid("the self-test tolerates nothing")
    ages: dict[Sex, dict[str, float]] = {}
    for sex, by_member in keys["age_months"].items():
        where = "the self-test"
        named = _typed(by_member, dict, f"{sex} of {where}")
        ages[_read_sex(sex, where)] = {name: _typed(age, float, where) for name, age in named.items()}
    return SelfTest(ages, keys["tolerance_months"])


def _validate(manifest: Manifest) -> None:
    """Reject what no single key shows."""
    if not NAME.fullmatch(manifest.name) or not manifest.version or not manifest.title:
        raise _invalid("the name is not lower case letters and digits, or version or title are empty")
    try:
        datetime.datetime.fromisoformat(manifest.created)
    except ValueError as error:
        raise _invalid(f"created is not an ISO 8601 date: {manifest.created!r}") from error
    names = [member.name for member in manifest.members]
    if len(set(names)) != len(names):
        raise _invalid("two members have one name")
    blind = [member.name for member in manifest.members if member.view.needs_hand]
    if blind and manifest.hand is None:
        raise _invalid(f"the views of {', '.join(blind)} need hand networks, and there are none")
    if manifest.quality is not None and manifest.hand is None:
        raise _invalid("the quality network needs hand networks, and there are none")
    members_needed = bool(names) or manifest.hand is None
    for sex in Sex:
        serving = {member.name for member in manifest.members if sex in member.sexes}
        if (members_needed and not serving) or set(manifest.self_test.age_months.get(sex, {})) != serving:
            raise _invalid(f"there is no member for sex {sex}, or the self-test does not know just those there are")
    _validate_metrics(manifest.metrics)


def _validate_metrics(metrics: Mapping[str, Any]) -> None:
    """Metrics are none, or those of `METRIC_TYPES`; errors are not negative."""
    if not metrics:
        return
    unknown, missing = sorted(set(metrics) - set(METRIC_TYPES)), sorted(_METRICS_NEEDED - set(metrics))
    if unknown or missing:
        raise _invalid(f"the metrics have unknown keys {unknown} and lack {missing}")
    read = {key: _typed(value, METRIC_TYPES[key], f"{key} of the metrics") for key, value in metrics.items()}
    by_sex = read.get("mad_months_by_sex", {})
    if by_sex:
        by_sex = _record(by_sex, {"F": float, "M": float}, "mad_months_by_sex")
    errors = [read["mad_months"], *(read.get(key, 0.0) for key in ("rmse_months", "region_spread_months"))]
    errors += by_sex.values()
    shares = [abs(read.get("ccc", 0.0)), read.get("interval_coverage", 0.0)]
    if min(errors) < 0 or read["radiographs"] < 1 or not all(0 <= share <= 1 for share in shares):
        raise _invalid("a metric is out of range")
    if read.get("weights", "last") not in ("last", "best"):
        raise _invalid(f"the weights are those of the {read['weights']!r} epoch, not of the last or the best")


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    """To 4 significant digits."""
    return tuple(float(f"{value:.4g}") for value in values)
