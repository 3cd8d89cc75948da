"""Single bones from training to the document: joints, a network for bones, its bundle, and its ages of bones."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest

from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle
from boneage.bundle.manifest import SelfTest
from boneage.composition import assess, assess_radiograph
from boneage.errors import BundleError, RecipeError, TableError
from boneage.evaluate.predictions import read_predictions
from boneage.hand.bones import BONES
from boneage.hand.joints import JOINT_NAMES, Joints
from boneage.hand.registration import Hand
from boneage.hand.views import view_transform
from boneage.reading.radiograph import read_radiograph
from boneage.sex import Sex
from boneage.strict import to_plain
from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from boneage.train.bundle.build import train_and_estimate
from boneage.train.bundle.estimates import write_member_estimates
from boneage.train.bundle.release import renew
from boneage.train.bundle.runs import reject_other_hands
from boneage.train.bundle.weight_bits import computes_in_integers
from boneage.train.recipe import Recipe, parse_recipe
from boneage.train.run.engine import Engine
from boneage.train.run.loop import train
from tests.bundles import REGION_VIEWS, tiny_bundle
from tests.train.drawn_radiographs import draw_folder

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*isinstance\\(treespec, LeafSpec\\).*",  # Lightning's use of a torch function that torch will drop
)

COUNT = 12


def tiny_recipe(task: str = "age", **parts: dict[str, Any]) -> Recipe:
    train = {
        **{"epochs": 1, "batch_size": 4, "optimizer": "adamw", "learning_rate": 1e-3, "seed": 1, "workers": 0},
        **parts.pop("train", {}),
    }
    return parse_recipe({"title": "tiny", "task": task, "train": train, **parts})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bones")


@pytest.fixture(scope="module")
def radiographs(folder: Path) -> list[LabelledRadiograph]:
    """Phantoms, a third of which are for validation."""
    table = draw_folder(folder, COUNT)
    lines = table.read_text(encoding="utf-8").splitlines()
    splits = ["split", *("validation" if number % 3 == 0 else "train" for number in range(COUNT))]
    table.write_text("\n".join(",".join(pair) for pair in zip(lines, splits, strict=True)) + "\n", encoding="utf-8")
    return read_radiographs(table)


@pytest.fixture(scope="module")
def first(folder: Path) -> Bundle:
    """A bundle of regions whose hand networks find the phantom's hand."""
    return Bundle.open(tiny_bundle(folder / "first", views=REGION_VIEWS, hand=True, distribution=True), threads=1)


@pytest.fixture(scope="module")
def joint_run(folder: Path, radiographs: list[LabelledRadiograph], first: Bundle) -> Path:
    rows: list[list[object]] = [["id", *(f"{name}_{axis}" for name in JOINT_NAMES for axis in "xy")]]
    for radiograph in radiographs:
        pixels = read_radiograph(radiograph.image).pixels
        to_radiograph = first.find_hand(pixels).radiograph_to_frame.inverse()
        fractions = to_radiograph.points(Joints.typical().frame_xy) / (pixels.shape[1], pixels.shape[0])
        rows.append([radiograph.id, *np.clip(fractions, -0.4, 1.4).ravel().tolist()])
    with (folder / "joints.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    recipe = tiny_recipe(
        task="joints",
        network={"name": "joints", "options": {"widths": [6, 8], "fold": 4}},
        view={"region": "A", "height": 64, "width": 48, "grey": "hand"},
        data={"hands": str(first.directory), "targets": str(folder / "joints.csv")},
        augment={"rotation_degrees": 5.0, "gamma": 0.5},
        train={"epochs": 8, "views_per_epoch": 32, "learning_rate": 0.02},
    )
    result = train(recipe, radiographs, folder / "runs/joints", engine=Engine("cpu", 1), quiet=True)
    history = result.state.history
    assert history[-1]["loss"] < history[0]["loss"]
    assert {"error_percent", "p95_percent", "mcp_3_median_percent"} <= set(history[0])
    return folder / "runs/joints"


@pytest.fixture(scope="module")
def with_joints(folder: Path, first: Bundle, joint_run: Path) -> Bundle:
    return renew(first, folder / "with-joints", version="2", joints=joint_run)


@pytest.fixture(scope="module")
def bone_run(folder: Path, radiographs: list[LabelledRadiograph], with_joints: Bundle) -> Path:
    recipe = tiny_recipe(
        network={"name": "bones", "options": {"stem": 4, "widths": [6, 8], "depths": [1, 1], "hidden": 8, "heads": 2}},
        view={"region": "bones", "height": 48, "width": 96, "grey": "hand"},
        data={"hands": str(with_joints.directory), "folds": 2, "fold": 1},
        augment={"rotation_degrees": 5.0, "gamma": 0.3, "fewest_bones": 4, "most_bones": 12},
        train={"loss": "label-distribution", "age_unit": "range", "epochs": 2},
    )
    run = folder / "runs/bones-fold-1"
    train_and_estimate(recipe, radiographs, run, folder / "cache", accelerator="cpu", number=0)
    return run


@pytest.fixture(scope="module")
def outline_run(folder: Path, radiographs: list[LabelledRadiograph], with_joints: Bundle) -> Path:
    """A run on masks of everything bright."""
    lines = ["id,mask"]
    for radiograph in radiographs:
        bright = (read_radiograph(radiograph.image).pixels > 0.5).astype(np.uint8)
        cv2.imwrite(str(folder / f"{radiograph.id}-bright.png"), 255 * bright)
        lines.append(f"{radiograph.id},{radiograph.id}-bright.png")
    (folder / "masks.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = tiny_recipe(
        task="outlines",
        network={"name": "outlines", "options": {"widths": [6, 8], "fold": 2}},
        view={"region": "bones", "height": 48, "width": 96, "grey": "hand"},
        data={"hands": str(with_joints.directory), "targets": str(folder / "masks.csv")},
        augment={"rotation_degrees": 5.0, "gamma": 0.3},
        train={"epochs": 4, "learning_rate": 0.02},
    )
    result = train(recipe, radiographs, folder / "runs/outlines", engine=Engine("cpu", 1), quiet=True)
    history = result.state.history
    assert history[-1]["loss"] < history[0]["loss"]
    assert {"dice", "dice_distance", "carpals_dice"} <= set(history[0])
    return folder / "runs/outlines"


@pytest.fixture(scope="module")
def renewed(folder: Path, radiographs: list[LabelledRadiograph], with_joints: Bundle, bone_run: Path) -> Bundle:
    return renew(
        with_joints,
        folder / "renewed",
        version="3",
        runs=[bone_run],
        weights={"bones-fold-1": 2.5},
        radiographs=radiographs,
    )


def test_joints_are_part_of_the_hand(with_joints: Bundle, first: Bundle, radiographs: list[LabelledRadiograph]) -> None:
    pixels = read_radiograph(radiographs[0].image).pixels
    joints = with_joints.find_hand(pixels).joints
    assert first.find_hand(pixels).joints is None
    assert joints is not None
    assert joints.frame_xy.shape == (len(JOINT_NAMES), 2)
    assert (joints.spread > 0).all()
    assert all(result.passed for result in check_bundle(with_joints))


def test_renewed_bundle_has_the_network_for_bones(renewed: Bundle, with_joints: Bundle) -> None:
    *others, bones = renewed.members
    assert [member.name for member in others] == [member.name for member in with_joints.members]
    assert (bones.name, bones.view.region, bones.weight) == ("bones-fold-1", "bones", 2.5)
    assert "bones-fold-1" in renewed.manifest.recipe
    assert all(result.passed for result in check_bundle(renewed))


def test_renew_replaces_network_of_same_name(
    folder: Path, radiographs: list[LabelledRadiograph], renewed: Bundle, bone_run: Path
) -> None:
    """A run takes the place of the bundle's network of its name, and keeps its weight unless another one is given."""
    made = renew(renewed, folder / "replaced", version="4", runs=[bone_run], radiographs=radiographs)
    name = renewed.members[-1].name
    other = renew(made, folder / "again", version="5", runs=[bone_run], radiographs=radiographs, weights={name: 1.5})
    assert [member.name for member in other.members] == [member.name for member in renewed.members]
    assert [member.name for member in made.members] == [member.name for member in renewed.members]
    assert [one.members[-1].weight for one in (renewed, made, other)] == [2.5, 2.5, 1.5]
    assert made.members[:-1] == renewed.members[:-1]
    assert all(result.passed for result in check_bundle(made))


def patch_joints(patch: pytest.MonkeyPatch, uncertain: int) -> None:
    """Let the bundle find the joints of a typical hand, of which the first are uncertain; ours was hardly trained."""
    find = Bundle.find_hand
    spread = np.where(np.arange(len(JOINT_NAMES)) < uncertain, 1.0, 0.01)

    def find_hand(bundle: Bundle, *inputs: Any) -> Hand:
        return replace(find(bundle, *inputs), joints=Joints(Joints.typical().frame_xy, spread))

    patch.setattr(Bundle, "find_hand", find_hand)


def test_assessment_has_an_age_for_each_bone(
    renewed: Bundle, radiographs: list[LabelledRadiograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_joints(monkeypatch, 0)
    assessment = assess(radiographs[5].image, "F", renewed)
    assert "bones" in assessment.region_ages_months
    assert [bone.name for bone in assessment.bones] == [bone.name for bone in BONES]
    read = [bone for bone in assessment.bones if bone.unreadable is None]
    assert len(read) > len(BONES) / 2
    assert all(bone.age_months is not None and 0 <= bone.age_months <= 239 for bone in read)
    assert sum(bone.weight for bone in read) == pytest.approx(1, abs=1e-3)
    document = to_plain(assessment.document())["bones"]
    assert {bone["name"]: bone["unreadable"] for bone in document} == {
        bone.name: bone.unreadable for bone in assessment.bones
    }
    assert all(len(bone["corners"]) == 4 for bone in document)


def test_outlines_are_those_of_the_radiograph(
    folder: Path,
    renewed: Bundle,
    outline_run: Path,
    radiographs: list[LabelledRadiograph],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A further network draws outlines of the bones that are read, and leaves their ages as they are."""
    with_outlines = renew(renewed, folder / "with-outlines", version="4", outlines=outline_run)
    assert all(result.passed for result in check_bundle(with_outlines))
    assert "network for outlines" in with_outlines.manifest.recipe
    assert with_outlines.members == renewed.members
    everything = np.ones((48, 96), np.float32)  # the network was hardly trained
    monkeypatch.setattr(Bundle, "run_outlines", lambda *_: everything)
    patch_joints(monkeypatch, 5)  # the wrist and the thumb
    before, after = (assess(radiographs[5].image, "F", bundle) for bundle in (renewed, with_outlines))
    assert before.estimate == after.estimate
    assert [bone.age_months for bone in before.bones] == [bone.age_months for bone in after.bones]
    assert not any(bone.outlines_xy for bone in before.bones)
    for bone in after.bones:
        assert len(bone.outlines_xy) == (bone.unreadable is None), bone.name
    (bare,) = assess_radiograph(read_radiograph(radiographs[5].image), (Sex.FEMALE,), with_outlines, outlined=False)
    assert bare.estimate == after.estimate
    assert bare.bones == tuple(replace(bone, outlines_xy=()) for bone in after.bones)
    (outline,) = next(bone for bone in after.document().bones if bone.name == "mcp_3").outlines
    corners = next(bone.corners_xy for bone in after.bones if bone.name == "mcp_3")
    np.testing.assert_allclose(sorted(np.ptp(outline, axis=0)), sorted(np.ptp(corners, axis=0)), rtol=0.1)


def test_renew_with_integers(folder: Path, renewed: Bundle, radiographs: list[LabelledRadiograph]) -> None:
    """All networks compute with integers, and the new bundle is measured, embeddings included."""
    made = renew(renewed, folder / "integers", version="5", radiographs=radiographs, integers=True)
    assert all(result.passed for result in check_bundle(made))
    for name, graph in made.graphs().items():
        stored = (made.directory / graph.graph).read_bytes()
        convolutions = sum(node.op_type == "Conv" for node in onnx.ModelProto.FromString(stored).graph.node)
        assert computes_in_integers(stored) == (convolutions > 2), name
    before, after = (assess(radiographs[5].image, "F", bundle).age_months for bundle in (renewed, made))
    assert before == pytest.approx(after, abs=5)
    assert made.manifest.metrics["radiographs"] == renewed.manifest.metrics["radiographs"]
    self_test = made.manifest.self_test
    assert self_test.age_months[Sex.FEMALE].keys() == {member.name for member in made.members}
    assert self_test.tolerance_months > renewed.manifest.self_test.tolerance_months
    with pytest.raises(TableError, match="table_split"):
        renew(renewed, folder / "untrained", version="6", radiographs=radiographs[::3], integers=True)


def test_unreadable_bones_have_a_reason_and_no_age(
    renewed: Bundle, radiographs: list[LabelledRadiograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_joints(monkeypatch, 5)  # the wrist and the thumb
    bones = {bone.name: bone for bone in assess(radiographs[5].image, "F", renewed).bones}
    thumb = [bones[name] for name in ("metacarpal_1", "mcp_1", "ip_1")]
    assert [bone.unreadable for bone in thumb] == ["joints_uncertain"] * 3
    assert all(bone.age_months is None and bone.weight == 0 for bone in thumb)
    assert bones["mcp_3"].unreadable is None


def test_network_for_bones_is_left_out_without_most_bones(
    renewed: Bundle, radiographs: list[LabelledRadiograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_joints(monkeypatch, len(JOINT_NAMES))
    assessment = assess(radiographs[5].image, "F", renewed)
    assert assessment.bones == ()
    assert "bones" not in assessment.region_ages_months


def test_heat_map_shows_the_bones_that_were_read(
    renewed: Bundle, radiographs: list[LabelledRadiograph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map of a network for bones alone has evidence on its tiles, and none on a tile that was not read."""
    patch_joints(monkeypatch, 4)
    only = Bundle(renewed.directory, replace(renewed.manifest, members=renewed.members[-1:]), threads=1)
    assessment = assess(radiographs[5].image, "F", only)
    read = [bone for bone in assessment.bones if bone.unreadable is None]
    assert 0 < len(read) < len(BONES) == len(assessment.bones)
    assert len(assessment.activations) == len(read)
    assert assessment.regions == ()
    strength = np.abs(assessment.heat_map(assessment.radiograph_shape).values)
    inside = np.zeros(strength.shape, np.uint8)
    for bone in read:
        cv2.fillConvexPoly(inside, np.rint(bone.corners_xy).astype(np.int32), 1)
    assert strength.sum() > 0 and strength[cv2.dilate(inside, np.ones((5, 5))) == 0].sum() == 0
    with pytest.raises(ValueError, match="each of its tiles"):
        view_transform((10, 10), renewed.members[-1].view, assessment.hand)


def test_renew_rejects_runs_on_other_hands(folder: Path, first: Bundle, bone_run: Path) -> None:
    with pytest.raises(RecipeError, match="recipe_changed"):
        renew(first, folder / "other", version="3", runs=[bone_run])
    with pytest.raises(RecipeError, match="task joints"):
        renew(first, folder / "other", version="3", joints=bone_run)
    with pytest.raises(RecipeError, match="task outlines"):
        renew(first, folder / "other", version="3", outlines=bone_run)


def test_runs_on_hands_by_other_limits_are_accepted(with_joints: Bundle, bone_run: Path) -> None:
    """Limits decide which radiographs are rejected, and not where a hand lies."""
    manifest = with_joints.manifest
    assert manifest.hand is not None
    limits = replace(manifest.hand.limits, least_inside=0.3)
    assert limits != manifest.hand.limits
    other = Bundle(with_joints.directory, replace(manifest, hand=replace(manifest.hand, limits=limits)), threads=1)
    reject_other_hands([bone_run], other)


def test_bones_need_a_network_for_joints(renewed: Bundle) -> None:
    manifest = renewed.manifest
    assert manifest.hand is not None
    without = replace(manifest, hand=replace(manifest.hand, joints=None))
    assert any("network for joints" in reason for _, reason in without.faults())
    outlines = replace(without, members=(), self_test=SelfTest({}), outlines=manifest.hand.mask)
    assert ("outlines", "needs a network for joints, and the bundle has none") in list(outlines.faults())


def test_member_estimates_equal_those_of_the_run(
    folder: Path, renewed: Bundle, radiographs: list[LabelledRadiograph], bone_run: Path
) -> None:
    only = Bundle(renewed.directory, replace(renewed.manifest, members=renewed.members[-1:]), threads=1)
    lines: list[str] = []
    write_member_estimates(only, radiographs, folder / "estimates", folder / "cache", report=lines.append)
    ours = read_predictions(folder / "estimates/bones-fold-1/predictions.csv")
    theirs = read_predictions(bone_run / "predictions.csv")
    assert len(lines) == 1
    assert sorted(zip(ours.ids, ours.group("part"), strict=True)) == sorted(
        zip(theirs.ids, theirs.group("part"), strict=True)
    )
    expected = dict(zip(theirs.ids, theirs.age_months.tolist(), strict=True))
    np.testing.assert_allclose(ours.age_months, [expected[one] for one in ours.ids], atol=0.1)
    write_member_estimates(only, radiographs, folder / "estimates", folder / "cache", report=lines.append)
    assert len(lines) == 1  # tables are kept


def test_member_estimates_need_folds(folder: Path, first: Bundle, radiographs: list[LabelledRadiograph]) -> None:
    with pytest.raises((RecipeError, BundleError)):
        write_member_estimates(first, radiographs, folder / "none", folder / "cache", report=print)
