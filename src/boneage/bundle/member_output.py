"""The output of a member's graph: its signature, its validation, and the mean over a view and its mirror image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneage.bundle.curve import AGES
from boneage.bundle.manifest import Member
from boneage.bundle.session import Session
from boneage.errors import BundleError
from boneage.hand.bones import BONES

_OUTPUTS = ("age_months", "embedding", "activation")
_DISTRIBUTION = "age_distribution"
_BONES, _BONE_WEIGHTS = "bone_distribution", "bone_weight"


@dataclass(frozen=True)
class BoneOutput:
    """Output for single bones, in the order of `boneage.hand.bones.BONES`.

    Attributes:
        distributions: float32 (B, 240), probability of each month of age by each bone; without meaning for a bone that
            cannot be read.
        weights: float32 (B,), weight of each bone in the age, 0 for a bone that cannot be read. They sum to 1.
    """

    distributions: NDArray[np.float32]
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class MemberOutput:
    """Output of one member for one view.

    A member that also reads the mirror image (`Member.mirror`) has the means over both as age, embedding and
    distribution.

    Attributes:
        age_months: estimated age.
        embedding: float32 (E,), the last hidden layer.
        activation: float32 (h, w) on the network's last feature map, in months: Grad-CAM's weighted sum before its
            ReLU, for the view itself.
        age_distribution: float32 (240,), probability of each month of age; None if the network has no such output.
        bones: distribution and weight of each bone; None for a network that does not read single bones.
        mirror_activation: float32 (h, w), the same map of the mirror image, on the mirror image's own grid; None for a
            member that does not read it.
        mirror_difference_months: absolute difference of the two ages; None for a member that does not read the mirror
            image.
    """

    age_months: float
    embedding: NDArray[np.float32]
    activation: NDArray[np.float32]
    age_distribution: NDArray[np.float32] | None = None
    bones: BoneOutput | None = None
    mirror_activation: NDArray[np.float32] | None = None
    mirror_difference_months: float | None = None


def reject_signature(session: Session, member: Member) -> None:
    """Reject a graph whose inputs or outputs are not those of the contract (`boneage.bundle.bundle`).

    Raises:
        BundleError: ``bundle_mismatch``.
    """
    view = member.view
    inputs = {node.name: node for node in session.get_inputs()}
    outputs = {node.name: node for node in session.get_outputs()}
    wanted: dict[str, tuple[int | None, ...]] = {"view": (None, 1, view.height, view.width), "sex": (None, 2)}
    if set(inputs) != set(wanted):
        raise _mismatch(member, f"has the inputs {sorted(inputs)}, not {sorted(wanted)}")
    further = {_DISTRIBUTION, _BONES, _BONE_WEIGHTS} if member.view.region == "bones" else {_DISTRIBUTION}
    if not set(_OUTPUTS) <= set(outputs) <= further.union(_OUTPUTS) or (_BONES in outputs) != (
        _BONE_WEIGHTS in outputs
    ):
        raise _mismatch(member, f"has the outputs {sorted(outputs)}, not {sorted(_OUTPUTS)}")
    wanted |= {"age_months": (None,), "embedding": (None, None), "activation": (None, None, None)}
    wanted |= {_DISTRIBUTION: (None, AGES), _BONES: (None, len(BONES), AGES), _BONE_WEIGHTS: (None, len(BONES))}
    for name, node in (inputs | outputs).items():
        if node.type != "tensor(float)" or not _fits(node.shape, wanted[name]):
            raise _mismatch(member, f"has {name} as {node.type} {node.shape}, not float32 {wanted[name]}")


def split_outputs(member: Member, arrays: dict[str, NDArray[np.float32]], count: int) -> list[MemberOutput]:
    """Split a graph's outputs into one for each view.

    Args:
        member: whose graph was run.
        arrays: outputs by name.
        count: number of views.

    Raises:
        BundleError: ``bundle_mismatch`` for a wrong shape; ``bundle_output`` for a value that is not finite, or an age
            distribution that does not sum to 1.
    """
    ranks = {"age_months": 1, "embedding": 2, "activation": 3, _DISTRIBUTION: 2, _BONES: 3, _BONE_WEIGHTS: 2}
    for name, rank in ranks.items():
        array = arrays.get(name)
        if array is None:
            continue
        if array.ndim != rank or len(array) != count or not array.size:
            raise _mismatch(member, f"gave {name} of shape {array.shape} for {count} views")
        if not np.isfinite(array).all():
            raise BundleError("bundle_output", f"The member {member.name} gave {name} that is not finite.")
    if member.embedding_stats is not None and arrays["embedding"].shape[1] != len(member.embedding_stats.mean):
        raise _mismatch(member, "gave an embedding of another length than the manifest's embedding_stats")
    distributions = arrays.get(_DISTRIBUTION)
    if distributions is not None and not _are_distributions(distributions):
        raise BundleError("bundle_output", f"The member {member.name} gave an age distribution that does not sum to 1.")
    bones = arrays.get(_BONES)
    if bones is not None and not _are_distributions(bones.reshape(-1, bones.shape[2])):
        raise BundleError(
            "bundle_output", f"The member {member.name} gave distributions of bones that do not sum to 1."
        )
    return [
        MemberOutput(
            age_months=float(arrays["age_months"][row]),
            embedding=arrays["embedding"][row],
            activation=arrays["activation"][row],
            age_distribution=None if distributions is None else distributions[row],
            bones=None if bones is None else BoneOutput(bones[row], arrays[_BONE_WEIGHTS][row]),
        )
        for row in range(count)
    ]


def mean_output(plain: MemberOutput, mirror: MemberOutput) -> MemberOutput:
    """Return the mean of the outputs for a view and for its mirror image."""
    distribution = plain.age_distribution
    if distribution is not None and mirror.age_distribution is not None:
        distribution = _mean(distribution, mirror.age_distribution)
    return MemberOutput(
        age_months=(plain.age_months + mirror.age_months) / 2,
        embedding=_mean(plain.embedding, mirror.embedding),
        activation=plain.activation,
        age_distribution=distribution,
        mirror_activation=mirror.activation,
        mirror_difference_months=abs(plain.age_months - mirror.age_months),
    )


def _mean(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    return (first + second) * np.float32(0.5)


def _are_distributions(rows: NDArray[np.float32]) -> bool:
    return bool(rows.min() >= 0 and np.abs(rows.sum(axis=1) - 1).max() <= 1e-3)


def _fits(shape: list[int | str | None], wanted: tuple[int | None, ...]) -> bool:
    """Return whether a declared shape allows the wanted one, and any batch size (the first axis)."""
    if len(shape) != len(wanted) or isinstance(shape[0], int):
        return False
    pairs = zip(shape, wanted, strict=True)
    return all(size is None or not isinstance(declared, int) or declared == size for declared, size in pairs)


def _mismatch(member: Member, message: str) -> BundleError:
    return BundleError("bundle_mismatch", f"The graph {member.graph} {message}.")
