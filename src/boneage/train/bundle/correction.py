"""Linear correction of a network's ages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from boneage.arrays import Months
from boneage.bundle.calibration import SLOPES
from boneage.train.networks import AgeNetwork
from boneage.train.run.age_tasks import AgeUnit


@dataclass(frozen=True)
class LinearCorrection:
    """Linear correction of estimates: months become ``intercept_months + slope * months``."""

    intercept_months: float = 0.0
    slope: float = 1.0

    @classmethod
    def fitted(cls, estimates: Months, labels: Months) -> LinearCorrection:
        """Fit the correction by least squares.

        The slope is 1 if the fitted slope lies outside of `boneage.bundle.calibration.SLOPES`.

        Args:
            estimates: (N,), months.
            labels: (N,), months.
        """
        deviations = estimates - estimates.mean()
        square = float(deviations @ deviations)
        slope = float(deviations @ (labels - labels.mean())) / square if square > 0 else 1.0
        slope = slope if SLOPES[0] <= slope <= SLOPES[1] else 1.0
        return cls(float(labels.mean() - slope * estimates.mean()), slope)

    def __call__(self, months: Months) -> Months:
        """Return the corrected months, in the same shape."""
        return self.intercept_months + self.slope * months


def apply_correction(network: AgeNetwork, unit: AgeUnit, correction: LinearCorrection, to: AgeUnit) -> None:
    """Correct the last layers of a network in place, and convert it to another unit.

    The correction of a network that returns a number is exact. A network that returns a distribution over months takes
    the logits of the uncorrected months, interpolated between two months, which is nearly exact. A network for single
    bones is corrected for the hand and for each bone.

    Args:
        network: network in `unit`.
        unit: unit of its training.
        correction: correction in months.
        to: unit of the result; a distribution has one unit only.
    """
    with torch.no_grad():
        for last in network.last_layers:
            if network.gives_distribution:
                _correct_distribution(last, network.head.months.double(), correction)
            else:
                gain = correction.slope * unit.spread_months / to.spread_months
                middle = correction.slope * unit.mean_months + correction.intercept_months
                last.weight.mul_(gain)
                last.bias.mul_(gain).add_((middle - to.mean_months) / to.spread_months)


def _correct_distribution(last: nn.Linear, months: Tensor, correction: LinearCorrection) -> None:
    """Let the logits of the months (240,) be those of the months before the correction."""
    source = ((months - correction.intercept_months) / correction.slope).clamp(0, len(months) - 1)
    low = source.floor().long().clamp(max=len(months) - 2)
    part = (source - low).to(last.weight.dtype)
    last.weight.copy_(last.weight[low] * (1 - part)[:, None] + last.weight[low + 1] * part[:, None])
    last.bias.copy_(last.bias[low] * (1 - part) + last.bias[low + 1] * part)
