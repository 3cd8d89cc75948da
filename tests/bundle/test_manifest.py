"""The manifest: the reader rejects every fault, and what is written is read again."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneage.bundle.bundle import Bundle, with_calibration
from boneage.bundle.calibration import Disagreement, calibrate
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.manifest import Manifest, SelfTest, read_manifest, write_manifest
from boneage.bundle.quality import QUALITY_LABELS
from boneage.errors import BundleError
from boneage.hand.search import HandLimits
from boneage.hand.views import ViewSpec
from boneage.sex import Sex
from tests.bundles import (
    CALIBRATION,
    CURVE,
    DISAGREEMENT,
    METRICS,
    REGION_VIEWS,
    tiny_bundle,
    write_quality_network,
)
from tests.error_codes import code_of

EMBEDDING_STATS = EmbeddingStats(mean=(0.0, 0.5, 1.0, -1.0), spread=(1.0, 0.5, 2.0, 0.25), limit=3.0)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of two members, with hand networks, that tests only read."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    tiny_bundle(folder, members=2, mirror=True, embedding_stats=EMBEDDING_STATS, hand=True)
    bundle = with_calibration(folder, CALIBRATION, metrics=METRICS)
    quality = write_quality_network(folder)
    write_manifest(replace(bundle.manifest, quality=quality, curve=CURVE, disagreement=DISAGREEMENT), folder)
    return Bundle.open(folder)


def manifest_json(bundle: Bundle) -> Any:
    return json.loads((bundle.directory / "bundle.json").read_text())


def test_write_manifest_round_trip(shared: Bundle, tmp_path: Path) -> None:
    assert Manifest.from_json(shared.manifest.to_json()) == shared.manifest
    write_manifest(shared.manifest, tmp_path)
    assert read_manifest(tmp_path) == shared.manifest
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.json"]


OBJECTS: list[tuple[str | int, ...]] = [
    (),
    ("members", 0),
    ("members", 0, "view"),
    ("members", 0, "cells"),
    ("members", 0, "embedding_stats"),
    ("hand",),
    ("hand", "mask"),
    ("hand", "refine"),
    ("hand", "limits"),
    ("self_test",),
    ("calibration",),
    ("curve", "by_sex", "F", "bands", 0),
    ("carpal_limits", "by_sex", "M", 0),
    ("calibration", "by_sex"),
    ("calibration", "by_sex", "F"),
    ("calibration", "by_sex", "F", "bands", 0),
    ("quality",),
    ("quality", "limits"),
    ("quality", "limits", "metal"),
    ("disagreement",),
]
KEYS: list[tuple[str | int, ...]] = [
    *((key,) for key in ("format", "name", "version", "title", "created", "members", "self_test", "recipe", "metrics")),
    *((key,) for key in ("data", "licence", "hand", "calibration", "quality", "disagreement")),
    *(("quality", key) for key in ("graph", "sha256", "height", "width", "limits")),
    *(("quality", "limits", label) for label in QUALITY_LABELS),
    *(("quality", "limits", "plaster", key) for key in ("caution", "critical")),
    *(("disagreement", limit.name) for limit in fields(Disagreement)),
    *(("calibration", "by_sex", sex) for sex in ("F", "M")),
    *(("calibration", "by_sex", "M", key) for key in ("intercept_months", "slope", "bands", "stages")),
    *(
        ("calibration", "by_sex", "F", "bands", 0, key)
        for key in ("upper_months", "radiographs", "typical_error_months")
    ),
    *(("calibration", "by_sex", "F", "bands", 0, f"half_width_{percent}_months") for percent in (80, 95)),
    *(("hand", key) for key in ("mask", "locate", "refine", "limits")),
    *(("hand", "locate", key) for key in ("graph", "sha256", "height", "width")),
    *(("hand", "limits", limit.name) for limit in fields(HandLimits)),
    *(("members", 0, key) for key in ("name", "graph", "sha256", "view", "cells", "sexes", "weight")),
    *(("members", 0, key) for key in ("age_mean_months", "age_spread_months", "mirror", "embedding_stats")),
    *(("members", 0, "embedding_stats", key) for key in ("mean", "spread", "limit")),
    *(("members", 0, "cells", key) for key in ("pixels", "first")),
    *(("members", 0, "view", key) for key in ("region", "height", "width", "grey")),
    *(("self_test", key) for key in ("age_months", "tolerance_months")),
]


OPTIONAL = [("mirror", True)] + [
    (key, None) for key in ("embedding_stats", "hand", "calibration", "stages", "quality", "disagreement", "critical")
]


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_from_json_unknown_key(shared: Bundle, path: tuple[str | int, ...]) -> None:
    value = manifest_json(shared)
    at(value, path)["surprise"] = 1
    assert code_of(lambda: Manifest.from_json(value)) == "bundle_invalid"


@pytest.mark.parametrize("path", KEYS, ids=str)
def test_from_json_missing_key_or_wrong_type(shared: Bundle, path: tuple[str | int, ...]) -> None:
    for wrong in (None, True, ["x"], {"x": 1}, 1.5e300, math.nan, ""):
        value = manifest_json(shared)
        if path[0] in ("data", "licence") and wrong == "":
            continue  # these may be empty
        if path[0] == "recipe" and isinstance(wrong, dict):
            continue  # a recipe may hold anything
        if (path[-1], wrong) in OPTIONAL:
            continue
        at(value, path[:-1])[path[-1]] = wrong
        assert code_of(partial(Manifest.from_json, value)) == "bundle_invalid", wrong
    value = manifest_json(shared)
    del at(value, path[:-1])[path[-1]]
    assert code_of(lambda: Manifest.from_json(value)) == "bundle_invalid"


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("format",), 0),
        (("format",), 2),
        (("format",), 1.0),
        (("format",), True),
        (("format",), "1"),
        (("name",), "Has Capitals"),
        (("created",), "yesterday"),
        (("members", 0, "age_spread_months"), 0),
        (("members", 0, "age_mean_months"), -1),
        (("members", 0, "mirror"), 1),
        (("members", 0, "embedding_stats", "limit"), 0),
        (("members", 0, "embedding_stats", "spread"), [1.0, 1.0, 1.0, 0.0]),
        (("members", 0, "embedding_stats", "mean"), [1.0, 1.0, 1.0]),
        (("members", 0, "embedding_stats", "mean"), ["1", "1", "1", "1"]),
        (("members",), []),  # and a self-test that knows two
        (("members", 0, "graph"), "../elsewhere.onnx"),
        (("members", 0, "graph"), "/etc/passwd"),
        (("members", 0, "graph"), "..\\elsewhere.onnx"),
        (("members", 0, "graph"), "model.pkl"),
        (("members", 0, "graph"), ".onnx"),
        (("members", 0, "sha256"), "0" * 63),
        (("members", 0, "weight"), 0),
        (("members", 0, "weight"), -1.0),
        (("members", 0, "sexes"), []),
        (("members", 0, "sexes"), ["F", "F"]),
        (("members", 0, "sexes"), ["F", "O"]),
        (("members", 0, "sexes"), [["F"]]),
        (("members", 0, "name"), "member-1"),
        (("members", 0, "view", "region"), "elbow"),
        (("members", 0, "view", "grey"), "purple"),
        (("members", 0, "view", "height"), 0),
        (("members", 0, "view", "width"), 100_000),
        (("members", 0, "cells", "pixels"), 0),
        (("self_test", "tolerance_months"), 0),
        (("self_test", "age_months"), {"F": {"member-0": 1.0, "member-1": 1.0}}),
        (("self_test", "age_months", "F"), {"member-0": 1.0}),
        (("metrics", "mad_months"), -1.0),
        (("metrics", "mad_months"), "8.5"),
        (("metrics", "ccc"), 1.5),
        (("metrics", "radiographs"), 0),
        (("metrics", "accuracy"), 0.9),
        (("metrics", "interval_coverage"), 1.1),
        (("metrics", "weights"), "lucky"),
        (("metrics", "mad_months_by_sex"), {"F": 8.0}),
        (("metrics", "region_spread_months"), -0.1),
        (("calibration",), {}),
        (("calibration", "by_sex", "F", "slope"), 0.49),
        (("calibration", "by_sex", "F", "slope"), 2.1),
        (("calibration", "by_sex", "F", "intercept_months"), -240),
        (("calibration", "by_sex", "F", "bands"), []),
        (("calibration", "by_sex", "F", "bands"), [None]),
        (("calibration", "by_sex", "F", "bands", 1, "upper_months"), 228.0),  # nothing for what lies above
        (("calibration", "by_sex", "F", "bands", 0, "upper_months"), None),  # nothing left for the second
        (("calibration", "by_sex", "F", "bands", 0, "upper_months"), "100"),
        (("calibration", "by_sex", "F", "bands", 0, "half_width_80_months"), 14.6),  # wider than the 95 % interval
        (("calibration", "by_sex", "F", "bands", 0, "half_width_80_months"), -0.1),
        (("calibration", "by_sex", "F", "bands", 0, "radiographs"), 0),
        (("calibration", "by_sex", "F", "bands", 0, "typical_error_months"), -0.1),
        (("hand",), None),  # and a quality network that needs it
        (("quality", "graph"), "../quality.onnx"),
        (("quality", "height"), 15),
        (("quality", "limits", "plaster", "caution"), 0.95),  # above the critical one
        (("quality", "limits", "plaster", "critical"), 1.1),
        (("quality", "limits", "metal", "caution"), -0.1),
        (("curve", "by_sex", "F", "bands"), []),
        (("curve", "by_sex", "F", "bands", 0, "power"), 0.0),
        (("curve", "by_sex", "F", "bands", 0, "radiographs"), 0),
        (("curve", "by_sex", "F", "bands", 1, "upper_months"), 228.0),
        (("curve", "by_sex"), {}),
        (("carpal_limits", "by_sex", "F", 1, "lower_age_months"), 119.0),  # overlaps with the band before
        (("carpal_limits", "by_sex", "F", 0, "high_months"), -13.0),
        (("repeat_sd_months",), 0.0),
        (("reader_sd_months",), 0.0),
        (("reader_sd_months",), None),
        (("disagreement", "caution_months"), 0.0),
        (("disagreement", "critical_months"), 29.0),  # below the other
        (("hand", "locate", "graph"), "../locate.onnx"),
        (("hand", "locate", "graph"), "locate.pkl"),
        (("hand", "refine", "sha256"), "f" * 65),
        (("hand", "mask", "height"), 15),
        (("hand", "mask", "width"), 4097),
        (("hand", "limits", "least_one_hand"), 1.1),
        (("hand", "limits", "largest_spread"), -0.01),
        (("hand", "limits", "mask_areas"), [0.3]),
        (("hand", "limits", "mask_areas"), [2.5, 0.3]),
        (("hand", "limits", "mask_areas"), [-0.1, 2.5]),
        (("hand", "limits", "mask_areas"), ["0.3", 2.5]),
    ],
    ids=str,
)
def test_from_json_out_of_range(shared: Bundle, path: tuple[str | int, ...], wrong: object) -> None:
    value = manifest_json(shared)
    at(value, path[:-1])[path[-1]] = wrong
    assert code_of(lambda: Manifest.from_json(value)) == "bundle_invalid"


def test_from_json_names_the_place(shared: Bundle) -> None:
    value = manifest_json(shared)
    value["members"][1]["view"]["height"] = 8
    with pytest.raises(BundleError, match=r"members\[1\]\.view\.height must be at least 16, not 8\.") as caught:
        Manifest.from_json(value)
    assert caught.value.code == "bundle_invalid"


def test_from_json_other_format_is_rejected(shared: Bundle) -> None:
    with pytest.raises(BundleError, match="format 2 is not supported; this program reads format 1"):
        Manifest.from_json(manifest_json(shared) | {"format": 2, "added_later": None})


def test_region_limits_without_disagreement(shared: Bundle) -> None:
    assert shared.manifest.region_limits_months == (30.0, 45.0)
    plain = replace(shared.manifest, disagreement=None)
    assert plain.region_limits_months == (None, None)
    assert replace(plain, metrics=METRICS | {"region_spread_months": 20.0}).region_limits_months == (20.0, None)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), count=st.integers(19, 800))
def test_from_json_fitted_calibration_round_trip(shared: Bundle, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    sexes = [Sex.FEMALE if girl else Sex.MALE for girl in rng.random(count) < 0.7]
    labels = rng.uniform(0, 228, count)
    calibration = calibrate(sexes, labels, 0.9 * labels + rng.normal(0, 9, count))
    calibrated = replace(shared.manifest, calibration=calibration)
    assert Manifest.from_json(json.loads(json.dumps(calibrated.to_json()))) == calibrated


def test_read_manifest_shipped() -> None:
    assert Bundle.open("default").manifest.members


def test_from_json_hand_limits_round_trip(shared: Bundle) -> None:
    assert shared.manifest.hand is not None
    limits = HandLimits(least_one_hand=0.75, largest_spread=0.05, mask_areas=(0.25, 2.0))
    other = replace(shared.manifest, hand=replace(shared.manifest.hand, limits=limits))
    read = Manifest.from_json(json.loads(json.dumps(other.to_json())))
    assert read == other
    assert read.hand is not None
    assert list(read.hand.by_name()) == ["mask", "locate", "refine"]


@pytest.mark.parametrize("spec", REGION_VIEWS, ids=lambda spec: spec.region)
def test_from_json_hand_views_need_hand_networks(shared: Bundle, spec: ViewSpec) -> None:
    first, *others = shared.members
    regional = replace(shared.manifest, members=(replace(first, view=spec), *others))
    assert Manifest.from_json(regional.to_json()) == regional
    blind = replace(regional, hand=None)
    with pytest.raises(BundleError, match=rf"members\[0\]\.view of {first.name} needs hand networks") as caught:
        Manifest.from_json(blind.to_json())
    assert caught.value.code == "bundle_invalid"


def test_from_json_without_members_needs_hand_networks(shared: Bundle) -> None:
    alone = replace(shared.manifest, members=(), self_test=SelfTest({}), metrics={})
    assert Manifest.from_json(alone.to_json()) == alone
    nothing = replace(alone, hand=None)
    assert code_of(lambda: Manifest.from_json(nothing.to_json())) == "bundle_invalid"


def test_from_json_metrics_all_or_none(shared: Bundle) -> None:
    value = manifest_json(shared)
    assert Manifest.from_json(value | {"metrics": {}}).metrics == {}
    for needed in ("mad_months", "split", "radiographs"):
        part = {key: figure for key, figure in METRICS.items() if key != needed}
        assert code_of(partial(Manifest.from_json, value | {"metrics": part})) == "bundle_invalid"


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"format": 1, "format": 1}', '{"format": NaN}', "\udcff", "[" * 100_000],
    ids=["nothing", "list", "null", "cut off", "key twice", "NaN", "no UTF-8", "deep"],
)
def test_read_manifest_not_a_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / "bundle.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert code_of(lambda: read_manifest(tmp_path)) == "bundle_invalid"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(KEYS), wrong=json_values)
def test_from_json_any_value_anywhere(shared: Bundle, path: tuple[str | int, ...], wrong: object) -> None:
    value = manifest_json(shared)
    at(value, path[:-1])[path[-1]] = wrong
    try:
        manifest = Manifest.from_json(value)
    except BundleError as error:
        assert error.code == "bundle_invalid"
    else:
        assert Manifest.from_json(manifest.to_json()).to_json() == manifest.to_json()


def test_write_manifest_invalid_is_not_written(shared: Bundle, tmp_path: Path) -> None:
    for broken in (replace(shared.manifest, name="Not A Name"), replace(shared.manifest, recipe={"network": object()})):
        assert code_of(partial(write_manifest, broken, tmp_path)) == "bundle_invalid"
    assert list(tmp_path.iterdir()) == []


# --- embedding statistics ---


def test_distance_in_units_of_the_spread() -> None:
    assert EMBEDDING_STATS.distance(np.array(EMBEDDING_STATS.mean, np.float32)) == 0.0
    # one of four places is off by two spreads
    assert EMBEDDING_STATS.distance(np.array([0.0, 0.5, 5.0, -1.0], np.float32)) == pytest.approx(1.0)


@settings(deadline=None)
@given(seed=st.integers(0, 1000), count=st.integers(1, 400), places=st.integers(1, 20))
def test_embedding_stats_limit_leaves_one_in_200_outside(seed: int, count: int, places: int) -> None:
    drawn = np.random.default_rng(seed).standard_normal((count, places)) * 100
    drawn[:, 0] = 7.0  # a place that never varies
    embedding_stats = EmbeddingStats.of(drawn)
    distances = np.array([embedding_stats.distance(embedding) for embedding in drawn])
    assert np.mean(distances > embedding_stats.limit * 1.001) <= 0.005 + 1 / count
    assert np.mean(distances > embedding_stats.limit * 0.999) >= 0.005 or places == 1 or count == 1
    assert embedding_stats.spread[0] == 0.001
    assert all(
        float(f"{value:.4g}") == value
        for value in (*embedding_stats.mean, *embedding_stats.spread, embedding_stats.limit)
    )


def test_ood_score_is_a_share_of_the_limit(shared: Bundle) -> None:
    member = shared.members[0]
    assert member.ood_score(np.array([0.0, 0.5, 5.0, -1.0])) == pytest.approx(1 / 3)
    assert replace(member, embedding_stats=None).ood_score(np.zeros(4)) is None
    assert code_of(lambda: member.ood_score(np.zeros(5))) == "bundle_mismatch"
