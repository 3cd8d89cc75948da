"""Fine-tuning of a bundle to your own radiographs: another population, another atlas, or other equipment.

Three methods are compared by cross-validation on the training radiographs, and the best is chosen:

* the bundle's networks unchanged;
* their estimates, corrected by a line for each network, which needs a small number of radiographs only;
* networks that are trained for some further epochs from these corrected networks.

The out-of-fold estimates of the chosen method also calibrate the new bundle (`boneage.bundle.calibration`). Other
radiographs are held out from all of this, and show the gain.

Networks are restored from their graphs (`boneage.train.bundle.from_bundle`) and trained by `boneage.train.run.loop`.
Each training is a run with its own folder, which continues after an interruption.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from boneage.arrays import Months
from boneage.bundle.bundle import Bundle
from boneage.bundle.calibration import Calibration, calibrate
from boneage.bundle.embedding_stats import EmbeddingStats
from boneage.bundle.manifest import Manifest, Member
from boneage.errors import BundleError
from boneage.evaluate.metrics import Figure, mean_absolute_difference, measure
from boneage.evaluate.predictions import Predictions, write_predictions
from boneage.tables.radiographs import LabelledRadiograph
from boneage.train.bundle.export import bone_parity, parity
from boneage.train.bundle.from_bundle import PARITY_LIMIT_MONTHS
from boneage.train.bundle.measure import measure_bundle
from boneage.train.bundle.release import EMBEDDING_STATS_RADIOGRAPHS, PARITY_RADIOGRAPHS
from boneage.train.bundle.tuning import Method, OutOfFold, Tuning, TuningOptions, train_from_network
from boneage.train.bundle.tuning_data import TuningData, label_months, split_for_tuning
from boneage.train.bundle.write import NetworkMember, reject_taken, write_bundle
from boneage.train.data.cache import Progress
from boneage.train.run.engine import Engine

FEWEST_TO_CALIBRATE = 100
"""Smallest number of training radiographs with which the new bundle is calibrated.

With fewer radiographs, the intervals follow from the error on the held-out radiographs, if those are enough
(`boneage.bundle.manifest.FEWEST_MEASURED`). Otherwise the new bundle gives no intervals.
"""

log = logging.getLogger(__name__)

_ONE_DEVICE = Engine(devices=1)

_DEFAULT_OPTIONS = TuningOptions()


@dataclass(frozen=True)
class TuningResult:
    """Outcome of fine-tuning.

    Attributes:
        bundle: the new bundle at its destination.
        method: chosen method.
        out_of_fold: MAD (months) by method on the training radiographs, each estimated by networks that were not
            trained on it. Empty without folds.
        training_radiographs, held_out_radiographs: number of radiographs.
        before, after: MAD on the held-out radiographs, months.
        difference: `after` minus `before`, with the 95 % interval of a bootstrap over radiographs; below 0 for a gain.
        rejected: codes of the radiographs that cannot be read or show no hand, by id.
    """

    bundle: Bundle
    method: Method
    out_of_fold: Mapping[Method, float]
    training_radiographs: int
    held_out_radiographs: int
    before: float
    after: float
    difference: Figure
    rejected: Mapping[str, str]

    @property
    def helped(self) -> bool:
        """True if the whole interval of the difference on held-out radiographs is below 0."""
        return self.difference.high < 0


def finetune(
    bundle: Bundle,
    radiographs: Sequence[LabelledRadiograph],
    directory: Path,
    options: TuningOptions = _DEFAULT_OPTIONS,
    *,
    cache_folder: Path | None = None,
    engine: Engine = _ONE_DEVICE,
    overwrite: bool = False,
    quiet: bool = False,
    progress: Progress = iter,
) -> TuningResult:
    """Adapt a bundle to labelled radiographs, and write the new bundle.

    Args:
        bundle: bundle whose manifest holds its members' recipes.
        radiographs: some hundreds. If the table has a column ``split``, those of ``train`` are used for training and
            those of ``validation`` are held out. Otherwise a share is drawn.
        directory: folder of the new bundle, which appears there complete. Runs lie beside it in ``<directory>.runs``
            and continue from there on another call; so does the table ``held-out.csv`` with the estimates of both
            bundles.
        options: options of fine-tuning.
        cache_folder: folder of decoded radiographs; by default ``cache`` among the runs.
        engine: devices of the runs.
        overwrite: True to replace an existing bundle.
        quiet: True to show no progress bars of training.
        progress: wraps the radiographs while the new bundle is measured.

    Raises:
        BundleError: ``bundle_exists`` if there is something at `directory`; ``bundle_mismatch`` or ``bundle_output`` if
            a member cannot be restored from its graph (`boneage.train.bundle.from_bundle`).
        TableError: ``table_split`` if there are too few training radiographs or none is held out; see also
            `boneage.train.data.cache.build_cache`.
        RecipeError: see `boneage.train.run.loop.train`; ``recipe_changed`` if existing runs have other radiographs or
            options.
        KeyboardInterrupt: see `boneage.train.run.loop.train`.
    """
    reject_taken(directory, overwrite=overwrite)
    # Networks that stand in on lost detail are left out: own radiographs would make them networks like the others.
    ordinary = replace(bundle.manifest, members=bundle.manifest.ordinary_members)
    bundle = Bundle(bundle.directory, ordinary, threads=bundle.threads)
    runs = directory.with_name(f"{directory.name}.runs")
    data = TuningData.open(
        bundle,
        split_for_tuning(radiographs, options.held_out_share, options.seed),
        cache_folder or runs / "cache",
        progress,
    )
    tuning = Tuning(bundle, data, options, partial(train_from_network, data, runs, engine, quiet))
    labels = label_months(data.training)
    calibrated = bool(options.folds) and len(labels) >= FEWEST_TO_CALIBRATE
    out_of_fold = tuning.out_of_fold(stages=calibrated) if options.folds else {}
    scores = {method: float(mean_absolute_difference(labels, one.age_months)) for method, one in out_of_fold.items()}
    method: Method = min(scores, key=lambda one: scores[one]) if scores else "networks"
    calibration = _calibration(data, out_of_fold[method]) if calibrated else None
    members = tuning.members(method)
    before = data.estimates(bundle, data.held_out)
    finish = _Finish(data, members, before, calibration, progress)
    facts = _manifest(bundle, tuning, options, method)
    made = write_bundle(
        members, facts, directory, hand=bundle if bundle.finds_hands else None, overwrite=overwrite, finish=finish
    )
    write_predictions(runs / "held-out.csv", _table(data.held_out, before, finish.after))
    held = label_months(data.held_out)
    return TuningResult(
        bundle=made,
        method=method,
        out_of_fold=scores,
        training_radiographs=len(data.training),
        held_out_radiographs=len(held),
        before=float(mean_absolute_difference(held, before)),
        after=float(mean_absolute_difference(held, finish.after)),
        difference=paired_difference(held, before, finish.after),
        rejected=data.rejected,
    )


def _calibration(data: TuningData, out_of_fold: OutOfFold) -> Calibration:
    """Fit the calibration of the new bundle, and add the weights by stage that the ages were combined with."""
    sexes = [radiograph.sex for radiograph in data.training]
    fitted = calibrate(sexes, label_months(data.training), out_of_fold.age_months)
    return Calibration({sex: replace(one, stages=out_of_fold.stages.get(sex)) for sex, one in fitted.by_sex.items()})


def paired_difference(labels: Months, before: Months, after: Months) -> Figure:
    """Return the change of the mean absolute difference, months, with the interval of a bootstrap over radiographs.

    Args:
        labels: (N,) months.
        before: (N,), ages by one bundle.
        after: (N,), ages by another bundle.
    """

    def change(one: Months, other: Months) -> Months:
        return np.asarray((other - one).mean(axis=-1))

    return measure(np.abs(before - labels), np.abs(after - labels), {"change": change})["change"]


def _table(radiographs: Sequence[LabelledRadiograph], before: Months, after: Months) -> Predictions:
    return Predictions(
        ids=tuple(radiograph.id for radiograph in radiographs),
        sexes=tuple(radiograph.sex for radiograph in radiographs),
        boneage_months=label_months(radiographs),
        age_months=np.round(after, 3),
        groups={"before": tuple(f"{age:.3f}" for age in before)},
    )


class _Finish:
    """Final step of a new bundle: calibration, figures, and comparison of its graphs with their networks."""

    def __init__(
        self,
        data: TuningData,
        members: Sequence[NetworkMember],
        before: Months,
        calibration: Calibration | None,
        progress: Progress,
    ) -> None:
        self.data, self.members, self.before = data, members, before
        self.calibration, self.progress = calibration, progress
        self.after: Months = np.zeros(0)

    def __call__(self, bundle: Bundle) -> Manifest:
        """Return the manifest with the values that depend on the finished bundle."""
        manifest = replace(bundle.manifest, calibration=self.calibration)
        calibrated = Bundle(bundle.directory, manifest, threads=bundle.threads)
        radiographs = self.data.held_out
        for made, member in zip(self.members, calibrated.members, strict=True):
            self._reject_difference(calibrated, made, member)
        self.after = self.data.estimates(calibrated, radiographs)
        difference = paired_difference(label_months(radiographs), self.before, self.after)
        statement = f"{len(radiographs)} of these radiographs were held out: {_describe_change(difference)}."
        members = tuple(
            replace(member, embedding_stats=self._embedding_stats(calibrated, member)) for member in bundle.members
        )
        measured = measure_bundle(calibrated, radiographs, progress=self.progress)
        return measured.into(replace(manifest, members=members, data=f"{manifest.data} {statement}"), weights="last")

    def _embedding_stats(self, bundle: Bundle, member: Member) -> EmbeddingStats | None:
        """Return a member's embedding statistics on the held-out radiographs, or on all if those are too few."""
        for radiographs in (self.data.held_out, [*self.data.held_out, *self.data.training]):
            served = [radiograph for radiograph in radiographs if radiograph.sex in member.sexes]
            if len(served) >= EMBEDDING_STATS_RADIOGRAPHS:
                outputs = self.data.outputs(bundle, member, served)
                return EmbeddingStats.of(np.stack([output.embedding for output in outputs]))
        return None

    def _reject_difference(self, bundle: Bundle, made: NetworkMember, member: Member) -> None:
        served = [radiograph for radiograph in self.data.held_out if radiograph.sex in member.sexes][
            :PARITY_RADIOGRAPHS
        ]
        if not served:
            return
        views = torch.cat([batch[0] for batch in self.data.views(member, served)])[:, 0].numpy()
        difference = parity(made.network, bundle, views, member=member.name)
        if made.network.gives_bones:
            difference = max(difference, bone_parity(made.network, bundle, views, member=member.name))
        if not difference <= PARITY_LIMIT_MONTHS:
            raise BundleError(
                "bundle_output", f"The graph of {member.name} differs from its network by {difference:.3f} months."
            )


def _describe_change(difference: Figure) -> str:
    """Return a sentence about the change on the held-out radiographs."""
    change = f"the mean absolute difference changed by {difference.value:+.2f} months"
    interval = f"95 % interval {difference.low:+.2f} to {difference.high:+.2f}"
    verdict = "" if difference.high < 0 else "; no gain is shown"
    return f"{change} ({interval}{verdict})"


_METHOD_TEXTS: Mapping[Method, str] = {
    "unchanged": "Networks unchanged, calibrated",
    "line": "Estimates corrected by a line fitted",
    "networks": "Fine-tuned",
}


def _manifest(bundle: Bundle, tuning: Tuning, options: TuningOptions, method: Method) -> Manifest:
    old, data = bundle.manifest, tuning.data
    origin = f"{old.name} {old.version}"
    recipes: dict[str, Any] = dict(old.recipe)
    if method == "networks":
        for member in bundle.members:
            # Paths of this machine are replaced by what they stand for.
            run = tuning.recipe(member)
            hands = old.name if run.data.hands else ""
            portable = replace(
                run, data=replace(run.data, hands=hands), train=replace(run.train, initial_weights=origin)
            )
            recipes[member.name] = portable.to_dict()
    radiographs = options.data or "radiographs of the user"
    return Manifest(
        name=options.name or f"{old.name}-tuned"[:64],
        version="1",
        title=f"{old.title}, adapted",
        created=datetime.now(UTC).date().isoformat(),
        recipe=recipes,
        data=f"{old.data or origin}. {_METHOD_TEXTS[method]} on {len(data.training)} more: {radiographs}.",
        licence=options.licence or old.licence,
        repeat_sd_months=None if method == "networks" else old.repeat_sd_months,
        reader_sd_months=old.reader_sd_months,
    )
