"""Radiographs for fine-tuning: split, decoded and registered, with the bundle's estimates of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from boneage.arrays import Months
from boneage.bundle.bundle import Bundle
from boneage.bundle.estimate import combine
from boneage.bundle.manifest import Member
from boneage.bundle.member_output import MemberOutput
from boneage.errors import BundleError, Rejection, TableError
from boneage.tables.radiographs import LabelledRadiograph, radiographs_of_split
from boneage.train.bundle.from_bundle import member_recipe
from boneage.train.data.cache import Progress, RadiographCache, build_cache
from boneage.train.data.epochs import validation_batches
from boneage.train.data.hands import HandTable, open_hands

FEWEST_RADIOGRAPHS = 12
"""Smallest number of training radiographs."""

BATCH_SIZE = 32


def split_for_tuning(
    radiographs: Sequence[LabelledRadiograph], held_out_share: float, seed: int
) -> list[LabelledRadiograph]:
    """Return the radiographs with the split ``train`` or ``validation`` (held out), or that of the table.

    Args:
        radiographs: labelled radiographs.
        held_out_share: share that is held out, 0..1, if the table has no column ``split``.
        seed: seed of the draw.

    Raises:
        TableError: ``table_split`` if the table's split lacks one of both.
    """
    if any(radiograph.split is not None for radiograph in radiographs):
        radiographs_of_split(radiographs, "train")
        radiographs_of_split(radiographs, "validation")
        return list(radiographs)
    held_out: set[str] = set()
    for sex in sorted({radiograph.sex for radiograph in radiographs}):
        ids = sorted(radiograph.id for radiograph in radiographs if radiograph.sex == sex)
        order = np.random.default_rng(seed).permutation(len(ids))
        held_out |= {ids[place] for place in order[: round(len(ids) * held_out_share)]}
    return [
        replace(radiograph, split="validation" if radiograph.id in held_out else "train") for radiograph in radiographs
    ]


class TuningData:
    """Readable radiographs, their views, and the estimates of bundles for them.

    Attributes:
        radiographs: all radiographs. Unreadable ones have the split ``rejected``, so that training opens the same
            cache.
        training, held_out: parts of them.
        rejected: codes of rejected radiographs by id.
    """

    def __init__(
        self,
        radiographs: Sequence[LabelledRadiograph],
        cache: RadiographCache,
        hands: HandTable | None,
        rejected: Mapping[str, str],
        hand_networks: str,
        longest_side: int,
    ) -> None:
        self.cache, self.hands, self.rejected = cache, hands, rejected
        self.hand_networks, self.longest_side = hand_networks, longest_side
        self.radiographs = [
            replace(radiograph, split="rejected") if radiograph.id in rejected else radiograph
            for radiograph in radiographs
        ]
        self.training = [radiograph for radiograph in self.radiographs if radiograph.split == "train"]
        self.held_out = [radiograph for radiograph in self.radiographs if radiograph.split == "validation"]
        if len(self.training) < FEWEST_RADIOGRAPHS or not self.held_out:
            raise TableError(
                "table_split",
                f"{len(self.training)} readable radiographs for training and {len(self.held_out)} held out are too few."
                f" Provide at least {FEWEST_RADIOGRAPHS} and 1.",
            )

    @classmethod
    def open(
        cls, bundle: Bundle, radiographs: Sequence[LabelledRadiograph], cache_folder: Path, progress: Progress
    ) -> TuningData:
        """Decode the radiographs and locate their hands, or open the results of an earlier call."""
        recipes = [member_recipe(bundle, member) for member in bundle.members]
        if not recipes:
            raise BundleError(
                "bundle_mismatch", f"The bundle {bundle.manifest.name} holds no network for ages. Choose one that does."
            )
        longest_side = max(recipe.data.longest_side for recipe in recipes)
        cache = build_cache(radiographs, cache_folder, longest_side=longest_side, progress=progress)
        rejected = dict(cache.rejected)
        hands, hand_networks = None, str(bundle.directory.resolve())
        if any(member.view.needs_hand for member in bundle.members):
            hands = open_hands(hand_networks, radiographs, cache, progress=progress)
            rejected |= hands.rejected
        readable = [radiograph for radiograph in radiographs if radiograph.id not in rejected]
        for rule in {member.view.grey for member in bundle.members}:
            for radiograph in readable:
                try:
                    cache.grey(radiograph.id, rule, None if hands is None else hands.hand(radiograph.id))
                except Rejection as rejection:
                    rejected[radiograph.id] = rejection.code
        return cls(radiographs, cache, hands, rejected, hand_networks, longest_side)

    def views(self, member: Member, radiographs: Sequence[LabelledRadiograph]) -> Any:
        """Return batches of a member's views of radiographs, cut as in serving: (N, 1, H, W), sexes, ages."""
        return validation_batches(
            radiographs, self.cache, member.view, hands=self.hands, batch_size=BATCH_SIZE, workers=0
        )

    def outputs(self, bundle: Bundle, member: Member, radiographs: Sequence[LabelledRadiograph]) -> list[MemberOutput]:
        """Return the outputs of a bundle's member for radiographs, all of sexes that it serves."""
        sexes = iter([radiograph.sex for radiograph in radiographs])
        answers: list[MemberOutput] = []
        for views, *_ in self.views(member, radiographs):
            batch = [next(sexes) for _ in range(len(views))]
            answers += [_without_map(one) for one in bundle.run_batch(member, views[:, 0].numpy(), batch)]
        return answers

    def estimates(self, bundle: Bundle, radiographs: Sequence[LabelledRadiograph]) -> Months:
        """Return the ages (N,) that a bundle estimates for radiographs, as in an assessment."""
        by_radiograph: dict[str, dict[str, MemberOutput]] = {radiograph.id: {} for radiograph in radiographs}
        for member in bundle.members:
            served = [radiograph for radiograph in radiographs if radiograph.sex in member.sexes]
            for radiograph, output in zip(served, self.outputs(bundle, member, served), strict=True):
                by_radiograph[radiograph.id][member.name] = output
        ages = [
            combine(by_radiograph[radiograph.id], bundle.manifest, sex=radiograph.sex).age_months
            for radiograph in radiographs
        ]
        return np.array(ages)


def _without_map(output: MemberOutput) -> MemberOutput:
    """Remove the activation maps, which are not needed and large for thousands of outputs."""
    nothing = np.zeros((1, 1), np.float32)
    return replace(output, activation=nothing, mirror_activation=None)


def label_months(radiographs: Sequence[LabelledRadiograph]) -> Months:
    """Return the labels (N,), months."""
    return np.array([radiograph.boneage_months for radiograph in radiographs])
