"""Writing of a model bundle: exported graphs, checksums, self-test and manifest in one step."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from torch import nn

from boneage.bundle.bundle import Bundle
from boneage.bundle.check import check_bundle, predict_phantom
from boneage.bundle.manifest import (
    MANIFEST_NAME,
    HandGraph,
    HandGraphs,
    Manifest,
    Member,
    QualityGraph,
    SelfTest,
    write_manifest,
)
from boneage.bundle.quality import QualityLabel, QualityLimit
from boneage.errors import BundleError
from boneage.files import sha256_of
from boneage.hand.search import HandLimits
from boneage.hand.views import ViewSpec
from boneage.sex import Sex
from boneage.train.bundle.export import HandGraphKind, export_graph, export_hand_graph
from boneage.train.bundle.integers import SELF_TEST_TOLERANCE_MONTHS, Feed, in_integers
from boneage.train.bundle.weight_bits import (
    WeightBits,
    decode_weights,
    encode_weights,
    encoded_from,
    phantom_views,
    stored_bits,
    with_origin,
)
from boneage.train.networks.layers import AgeNetwork

_QUALITY_NAME = "quality.onnx"
_OUTLINES_NAME = "outlines.onnx"


@dataclass(frozen=True)
class NetworkMember:
    """Trained network that becomes a member of a bundle.

    Attributes:
        name: name of the member, in lower case; the graph's file is named after it.
        network: network with its trained weights, on any device; it is not changed.
        view: view on which it was trained.
        age_mean_months, age_spread_months: mean and spread of the ages in training, the network's unit.
        mirror, sexes, weight, robust: see `boneage.bundle.manifest.Member`.
    """

    name: str
    network: AgeNetwork
    view: ViewSpec
    age_mean_months: float
    age_spread_months: float
    mirror: bool = False
    sexes: tuple[Sex, ...] = (Sex.FEMALE, Sex.MALE)
    weight: float = 1.0
    robust: bool = False


@dataclass(frozen=True)
class TrainedHandNetwork:
    """Trained network that locates the hand or its points; see `export_hand_graph`.

    Attributes:
        network: network with its trained weights, on any device; it is not changed.
        height, width: size of its view, pixels.
    """

    network: nn.Module
    height: int
    width: int


@dataclass(frozen=True)
class TrainedHandNetworks:
    """Trained networks that locate the hand and become part of a bundle.

    Attributes:
        mask: network with logits of each pixel's membership of the hand, on the whole radiograph.
        locate: network with key points on the whole radiograph.
        refine: network with key points on the hand as `locate` registers it.
        limits: limits beyond which a radiograph is rejected.
    """

    mask: TrainedHandNetwork
    locate: TrainedHandNetwork
    refine: TrainedHandNetwork
    limits: HandLimits = field(default_factory=HandLimits)


@dataclass(frozen=True)
class TrainedQualityNetwork(TrainedHandNetwork):
    """Trained quality network that becomes part of a bundle.

    Attributes:
        limits: limits of its labels (`boneage.bundle.manifest.QualityGraph`).
    """

    limits: Mapping[QualityLabel, QualityLimit]


def write_bundle(
    members: Sequence[NetworkMember],
    facts: Manifest,
    directory: str | Path,
    *,
    hand: Bundle | TrainedHandNetworks | None = None,
    quality: TrainedQualityNetwork | None = None,
    weight_bits: WeightBits = 16,
    overwrite: bool = False,
    finish: Callable[[Bundle], Manifest] | None = None,
) -> Bundle:
    """Write a complete bundle: graphs, checksums, self-test through ONNX Runtime and manifest.

    It is built beside its destination, checked, and moved there by renaming.

    Args:
        members: networks for ages, at least one for each sex; none, with hand networks, for a bundle that only locates
            hands.
        facts: manifest without members, hand networks and results of the self-test, which are filled in here.
        directory: folder of the bundle; it never exists half-written.
        hand: hand networks, either trained ones or a bundle whose hand graphs and limits are taken over. A bundle's
            graphs stay unchanged unless 8 bits are requested, and its networks for quality and outlines are taken over
            too.
        quality: trained quality network, which replaces that of the bundle `hand`.
        weight_bits: bits of the weights; see `export_graph`.
        overwrite: True to replace an existing bundle.
        finish: receives the checked bundle before it is moved, and returns the final manifest. An error in it leaves
            nothing behind.

    Returns:
        The bundle, opened at its destination.

    Raises:
        BundleError: ``bundle_exists`` if there is something at `directory`; ``bundle_invalid`` if the manifest is not
            valid, or two graphs have one name; ``bundle_mismatch`` if the bundle `hand` has no hand networks;
            ``bundle_output`` if a network returns numbers that are not finite.
    """
    directory = Path(directory)
    if isinstance(hand, Bundle) and hand.manifest.hand is None:
        raise BundleError("bundle_mismatch", f"The bundle {hand.manifest.name} has no hand networks to take over.")
    with _built_beside(directory, overwrite=overwrite) as built:
        _fill(built, members, facts, hand, quality, weight_bits)
        if finish is not None:
            write_manifest(finish(Bundle.open(built)), built)
    return Bundle.open(directory)


def rewrite_bundle(
    bundle: Bundle,
    manifest: Manifest,
    directory: str | Path,
    *,
    members: Sequence[NetworkMember] = (),
    joints: TrainedHandNetwork | None = None,
    outlines: TrainedHandNetwork | None = None,
    quality: TrainedQualityNetwork | None = None,
    feeds: Mapping[str, Sequence[Feed]] = MappingProxyType({}),
    weight_bits: WeightBits = 16,
    overwrite: bool = False,
    finish: Callable[[Bundle], Manifest] | None = None,
) -> Bundle:
    """Write a new bundle with the same graphs, another manifest, and optionally further or new networks.

    Args:
        bundle: bundle whose graphs are copied.
        manifest: manifest with these graphs, except for the further and new ones.
        directory: folder of the new bundle; it never exists half-written.
        members: further networks for ages.
        joints: trained network for joints, which replaces the bundle's.
        outlines: trained network for outlines, which replaces the bundle's.
        quality: trained quality network, which replaces the bundle's.
        feeds: inputs by the file names of the copied graphs that will compute with integers; ranges are measured on
            them (`boneage.train.bundle.integers`).
        weight_bits: bits of those networks' weights; see `export_graph`.
        overwrite: True to replace an existing bundle.
        finish: see `write_bundle`.

    Raises:
        BundleError: see `write_bundle`.
    """
    directory = Path(directory)
    with _built_beside(directory, overwrite=overwrite) as built:
        kept: list[Member | HandGraph | QualityGraph] = [*manifest.members]
        if joints is not None and manifest.hand is not None:
            located = _export_hand_network(built / _hand_graph_name("joints"), joints, "joints", weight_bits)
            kept += [one for name, one in manifest.hand.by_name().items() if name != "joints"]
            manifest = replace(manifest, hand=replace(manifest.hand, joints=located))
        elif manifest.hand is not None:
            kept += manifest.hand.by_name().values()
        if outlines is not None:
            manifest = replace(
                manifest, outlines=_export_hand_network(built / _OUTLINES_NAME, outlines, "outlines", weight_bits)
            )
        elif manifest.outlines is not None:
            kept.append(manifest.outlines)
        if quality is not None:
            manifest = replace(manifest, quality=_export_quality(built, quality, weight_bits))
        elif manifest.quality is not None:
            kept.append(manifest.quality)
        for graph in kept:
            shutil.copyfile(bundle.directory / graph.graph, built / graph.graph)
        manifest = _with_integers(built, manifest, feeds)
        further = tuple(_export_member(built, member, weight_bits) for member in members)
        changed = [member for member in manifest.members if member.graph in feeds]
        manifest = replace(manifest, members=(*manifest.members, *further))
        self_test = manifest.self_test
        measured = _phantom_ages(Bundle(built, manifest), [*changed, *further])
        all_ages = {sex: {**self_test.age_months[sex], **ages} for sex, ages in measured.items()}
        ages_months = {
            sex: {one.name: ages[one.name] for one in manifest.members if sex in one.sexes}
            for sex, ages in all_ages.items()
        }
        tolerance = max(self_test.tolerance_months, SELF_TEST_TOLERANCE_MONTHS if changed else 0.0)
        write_manifest(replace(manifest, self_test=SelfTest(ages_months, tolerance)), built)
        _reject_failing(built)
        if finish is not None:
            write_manifest(finish(Bundle.open(built)), built)
    return Bundle.open(directory)


_EntryT = TypeVar("_EntryT", Member, HandGraph)


def _with_integers(directory: Path, manifest: Manifest, feeds: Mapping[str, Sequence[Feed]]) -> Manifest:
    """Replace the graphs that have inputs by ones that compute with integers."""

    def changed(entry: _EntryT) -> _EntryT:
        if entry.graph not in feeds:
            return entry
        path = directory / entry.graph
        path.write_bytes(in_integers(path.read_bytes(), feeds[entry.graph], entry.sha256))
        return replace(entry, sha256=sha256_of(path))

    hand, outlines = manifest.hand, manifest.outlines
    return replace(
        manifest,
        members=tuple(changed(member) for member in manifest.members),
        hand=hand and replace(hand, **{name: changed(graph) for name, graph in hand.by_name().items()}),  # type: ignore[arg-type]  # names are those of graphs
        outlines=outlines and changed(outlines),
    )


@contextmanager
def _built_beside(directory: Path, *, overwrite: bool) -> Iterator[Path]:
    """Provide an empty folder beside a bundle's destination.

    It is moved to the destination at the end, and removed after an error.
    """
    reject_taken(directory, overwrite=overwrite)
    directory.parent.mkdir(parents=True, exist_ok=True)
    workplace = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        built = workplace / directory.name
        built.mkdir()
        yield built
        _move(built, directory, workplace / "former")
    finally:
        shutil.rmtree(workplace)


def reject_taken(directory: Path, *, overwrite: bool) -> None:
    """Reject a folder in which no new bundle may be written.

    Raises:
        BundleError: ``bundle_exists`` if the folder holds something else than a bundle, or is not to be overwritten.
    """
    if directory.exists() and not (overwrite and (directory / MANIFEST_NAME).is_file()):
        raise BundleError("bundle_exists", f"{directory} exists already. Choose another folder, or overwrite a bundle.")


def _fill(
    directory: Path,
    members: Sequence[NetworkMember],
    facts: Manifest,
    hand: Bundle | TrainedHandNetworks | None,
    quality: TrainedQualityNetwork | None,
    bits: WeightBits,
) -> None:
    """Write all files of a bundle into an empty folder, and check them."""
    graphs = _take_over_hand(directory, hand, bits) if isinstance(hand, Bundle) else _export_hand(directory, hand, bits)
    entries = tuple(_export_member(directory, member, bits) for member in members)
    judge = _export_quality(directory, quality, bits) if quality else _take_over_quality(directory, hand, bits)
    outlines = _take_over_outlines(directory, hand, bits)
    manifest = replace(facts, members=entries, hand=graphs, quality=judge, outlines=outlines)
    ages = _phantom_ages(Bundle(directory, manifest), entries)
    write_manifest(replace(manifest, self_test=SelfTest(ages, facts.self_test.tolerance_months)), directory)
    _reject_failing(directory)


def _phantom_ages(bundle: Bundle, members: Sequence[Member]) -> dict[Sex, dict[str, float]]:
    """Return the members' ages of the drawn phantom, months, by sex and name."""
    ages: dict[Sex, dict[str, float]] = {sex: {} for sex in Sex}
    for member in members:
        for sex, age_months in predict_phantom(bundle, member).items():
            ages[sex][member.name] = age_months
    return ages


def _reject_failing(directory: Path) -> None:
    failed = [result for result in check_bundle(Bundle.open(directory)) if not result.passed]
    if failed:
        raise BundleError("bundle_invalid", f"The new bundle fails its check: {failed[0].name}: {failed[0].detail}")


def _move(built: Path, directory: Path, former: Path) -> None:
    """Rename `built` to `directory` and an existing folder there to `former`, and undo both if that fails."""
    if directory.exists():
        directory.rename(former)
    try:
        built.rename(directory)
    except OSError:
        if former.exists():
            former.rename(directory)
        raise


def _hand_graph_name(name: str) -> str:
    return f"hand-{name}.onnx"


def _take_over_hand(directory: Path, bundle: Bundle, bits: WeightBits) -> HandGraphs | None:
    """Take over a bundle's hand graphs, unchanged unless 8 bits are requested and they have more."""
    graphs = bundle.manifest.hand
    if graphs is None:
        return None
    renamed = {
        name: _take_over(bundle.directory, graph, directory / _hand_graph_name(name), bits)
        for name, graph in graphs.by_name().items()
    }
    return HandGraphs(**renamed, limits=graphs.limits)


_GraphT = TypeVar("_GraphT", HandGraph, QualityGraph)


def _take_over_quality(
    directory: Path, hand: Bundle | TrainedHandNetworks | None, bits: WeightBits
) -> QualityGraph | None:
    """Take over the quality network of the bundle that provides the hand networks, if it has one."""
    if not isinstance(hand, Bundle) or hand.manifest.quality is None:
        return None
    return _take_over(hand.directory, hand.manifest.quality, directory / _QUALITY_NAME, bits)


def _take_over_outlines(
    directory: Path, hand: Bundle | TrainedHandNetworks | None, bits: WeightBits
) -> HandGraph | None:
    """Take over the network for outlines of the bundle that provides the hand networks, if it has one."""
    if not isinstance(hand, Bundle) or hand.manifest.outlines is None:
        return None
    return _take_over(hand.directory, hand.manifest.outlines, directory / _OUTLINES_NAME, bits)


def _export_quality(directory: Path, quality: TrainedQualityNetwork, bits: WeightBits) -> QualityGraph:
    path = directory / _QUALITY_NAME
    height, width = quality.height, quality.width
    export_hand_graph(quality.network, path, kind="quality", height=height, width=width, weight_bits=bits)
    return QualityGraph(path.name, sha256_of(path), height, width, quality.limits)


def _take_over(former: Path, graph: _GraphT, path: Path, bits: WeightBits) -> _GraphT:
    """Copy a graph, or re-encode its weights. A copy keeps its checksum, which the new bundle's check compares."""
    source = former / graph.graph
    stored = source.read_bytes()
    intact = sha256_of(stored) == graph.sha256
    if intact and bits == 8 < stored_bits(stored):
        whole = with_origin(decode_weights(stored), encoded_from(source) or graph.sha256)
        smaller, reached = encode_weights(whole, path.name, {"view": phantom_views(graph.height, graph.width)}, bits)
        if reached < stored_bits(stored):
            path.write_bytes(smaller)
            return replace(graph, graph=path.name, sha256=sha256_of(path))
    path.write_bytes(stored)
    return replace(graph, graph=path.name)


def _export_hand(directory: Path, networks: TrainedHandNetworks | None, bits: WeightBits) -> HandGraphs | None:
    if networks is None:
        return None
    mask = _export_hand_network(directory / _hand_graph_name("mask"), networks.mask, "mask", bits)
    locate = _export_hand_network(directory / _hand_graph_name("locate"), networks.locate, "points", bits)
    refine = _export_hand_network(directory / _hand_graph_name("refine"), networks.refine, "points", bits)
    return HandGraphs(mask, locate, refine, limits=networks.limits)


def _export_hand_network(path: Path, hand: TrainedHandNetwork, kind: HandGraphKind, bits: WeightBits) -> HandGraph:
    export_hand_graph(hand.network, path, kind=kind, height=hand.height, width=hand.width, weight_bits=bits)
    return HandGraph(path.name, sha256_of(path), hand.height, hand.width)


def _export_member(directory: Path, member: NetworkMember, bits: WeightBits) -> Member:
    path = directory / f"{member.name}.onnx"
    if path.exists():
        raise BundleError("bundle_invalid", f"Two networks of the new bundle have the name {member.name}.")
    exported = export_graph(
        member.network,
        path,
        height=member.view.height,
        width=member.view.width,
        age_mean_months=member.age_mean_months,
        age_spread_months=member.age_spread_months,
        weight_bits=bits,
    )
    return Member(
        name=member.name,
        graph=exported.path.name,
        sha256=sha256_of(exported.path),
        view=member.view,
        cells=member.network.cells,
        age_mean_months=member.age_mean_months,
        age_spread_months=member.age_spread_months,
        mirror=member.mirror,
        sexes=member.sexes,
        weight=member.weight,
        robust=member.robust,
    )
