"""The check of a whole bundle: its files, checksums and signatures, and its self-test on the drawn phantom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from boneage.bundle.bundle import Bundle
from boneage.bundle.manifest import MANIFEST_NAME, Member
from boneage.bundle.quality import QUALITY_LABELS
from boneage.bundle.session import Graph, read_graph
from boneage.errors import BundleError
from boneage.geometry import Transform, downsample_area
from boneage.hand.joints import Joints
from boneage.hand.mask import components, filled
from boneage.hand.member_views import cut_member_view
from boneage.hand.registration import Hand
from boneage.phantom import draw_hand, phantom_points
from boneage.sex import Sex

_PHANTOM_FLESH = 0.12
"""Smallest brightness, of 1, of the drawn phantom's hand."""


@dataclass(frozen=True)
class CheckResult:
    """One check of a bundle. `detail` is the measured result, or the reason of the failure."""

    name: str
    passed: bool
    detail: str


def check_bundle(bundle: Bundle) -> list[CheckResult]:
    """Check that a bundle has no unnamed files, right checksums and signatures, and passes its self-test."""
    tests: list[tuple[str, Callable[[], str]]] = [("files", partial(_check_files, bundle))]
    for name, graph in bundle.graphs().items():
        tests.append((f"checksum {name}", partial(_check_checksum, bundle, graph)))
    if bundle.finds_hands:
        tests.append(("signature of the hand networks", partial(_check_hand_networks, bundle)))
    if bundle.manifest.quality is not None:
        tests.append(("signature of the quality network", partial(_check_quality, bundle)))
    if bundle.manifest.outlines is not None:
        tests.append(("signature of the network for outlines", partial(_check_outlines, bundle)))
    for member in bundle.members:
        tests += [
            (f"signature {member.name}", partial(_check_signature, bundle, member)),
            (f"self-test {member.name}", partial(_check_self_test, bundle, member)),
        ]
    return [_attempt(name, test) for name, test in tests]


def predict_phantom(bundle: Bundle, member: Member) -> dict[Sex, float]:
    """Return a member's ages of the drawn phantom, months, for each sex that it serves. The self-test expects these.

    The position of the phantom's hand is given, so that the result does not depend on the hand networks, which were
    never trained on drawings.
    """
    view = cut_member_view(draw_hand(), member.view, hand=_phantom_hand() if member.view.needs_hand else None)
    return {sex: bundle.run(member, view, sex).age_months for sex in member.sexes}


def _phantom_hand() -> Hand:
    """Return the hand of the phantom that is drawn without arguments."""
    drawn = draw_hand()
    small = downsample_area(drawn, 1 / 10)
    return Hand(
        points_xy=phantom_points(height=drawn.shape[0], width=drawn.shape[1]),
        mask=filled(components(small > _PHANTOM_FLESH)[0]),
        radiograph_to_mask=Transform.scale(small.shape[1] / drawn.shape[1], small.shape[0] / drawn.shape[0]),
        joints=Joints.typical(),
    )


def _check_files(bundle: Bundle) -> str:
    named = {MANIFEST_NAME, *(graph.graph for graph in bundle.graphs().values())}
    strange = sorted(path.name for path in bundle.directory.iterdir() if path.name not in named)
    if strange:
        raise BundleError("bundle_invalid", f"The manifest does not name {', '.join(strange)}.")
    return f"{len(named)} files, all named"


def _check_checksum(bundle: Bundle, graph: Graph) -> str:
    return f"{len(read_graph(bundle.directory, graph)) / 1e6:.2f} MB, sha256 {graph.sha256[:12]}…"


def _check_hand_networks(bundle: Bundle) -> str:
    """Run each hand network on an empty view, which validates its outputs."""
    networks = bundle.hand_networks()
    networks.mask(np.zeros((2, *networks.mask_shape), np.float32))
    networks.locate(np.zeros((2, networks.locate_spec.height, networks.locate_spec.width), np.float32))
    networks.refine(np.zeros((2, networks.refine_spec.height, networks.refine_spec.width), np.float32))
    return ", ".join(networks.graphs.by_name())


def _check_quality(bundle: Bundle) -> str:
    """Run the quality network on an empty view, which validates its outputs."""
    graph = bundle.quality_graph()
    bundle.run_quality(np.zeros((graph.height, graph.width), np.float32))
    return ", ".join(QUALITY_LABELS)


def _check_outlines(bundle: Bundle) -> str:
    """Run the network for outlines on an empty view, which validates its output."""
    graph = bundle.outline_graph()
    bundle.run_outlines(np.zeros((graph.height, graph.width), np.float32))
    return f"outlines ({graph.height}, {graph.width})"


def _check_signature(bundle: Bundle, member: Member) -> str:
    session = bundle.session(member)
    return ", ".join(f"{node.name} {tuple(node.shape)}" for node in session.get_inputs() + session.get_outputs())


def _check_self_test(bundle: Bundle, member: Member) -> str:
    expected = bundle.manifest.self_test
    ages = predict_phantom(bundle, member)
    off = max(abs(age - expected.age_months[sex][member.name]) for sex, age in ages.items())
    if not off <= expected.tolerance_months:
        raise BundleError("bundle_output", f"The ages of the drawn phantom differ by {off:.3f} months.")
    return f"differs by {off:.4f} months, {expected.tolerance_months:g} allowed"


def _attempt(name: str, test: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, True, test())
    except BundleError as error:
        return CheckResult(name, False, str(error))
