"""Losses of the hand networks, and of ages told as distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from boneage.bundle.manifest import AGES
from boneage.train.networks.points import LocatedPoints

EPSILON = 1e-7
"""Keeps logarithms and the quotient of Eq. 3 finite where label and prediction are both 0."""

DISTANCE_SHARE = 50.0
"""Weight of the distance of points, in halves of the view's longer side, beside the heat maps' entropy."""

LIKELIHOOD_SHARE = 0.02
"""Weight of what the paper's network learns of its errors' size, beside the squared error."""

COUNT_SHARE = 0.5
"""Weight of the number of hands beside the points."""

HEAT_SPREAD = 1.2
"""Standard deviation of the heat map that is asked for, in its own places."""


def label_distribution_loss(log_distribution: Tensor, months: Tensor, spread: float) -> Tensor:
    """Label distribution learning (Geng 2016): how far, in nats, the network's distribution is from one about the
    label.

    A label is one reader's. So what is asked for is a normal distribution about it, cut to 0 to 239 months; the mean
    Kullback-Leibler divergence from it is 0 at best.

    Args:
        log_distribution: (N, 240), logarithms of the months' probabilities.
        months: (N,), the labels.
        spread: standard deviation of the distribution asked for, months, above 0.
    """
    ages = torch.arange(float(AGES), device=months.device)
    log_target = torch.log_softmax(-((ages - months[:, None]) ** 2) / (2 * spread**2), dim=1)
    return (log_target.exp() * (log_target - log_distribution)).sum(dim=1).mean()


def jaccard(probability: Tensor, label: Tensor) -> Tensor:
    """The differentiable Jaccard index of Iglovikov et al., Eq. 3: a mean over pixels, as printed.

    J = 1/n sum(y p / (y + p - y p)). A pixel with label 0 adds nothing, so that J is at most the share of pixels in the
    hand, and -log J at least the logarithm of its inverse.

    Args:
        probability: any shape, 0..1.
        label: of the same shape, 0 or 1.
    """
    product = probability * label
    return (product / (probability + label - product + EPSILON)).mean()


def mask_loss(logits: Tensor, label: Tensor) -> Tensor:
    """L = H - log J (Iglovikov et al., Eqs. 1-3), with the binary cross entropy H of Eq. 2.

    Args:
        logits: (N, 1, H, W); the probability is their logistic function.
        label: (N, 1, H, W), 0 or 1.
    """
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), label)
    return entropy - torch.log(jaccard(torch.sigmoid(logits.float()), label) + EPSILON)


def points_loss(
    located: LocatedPoints, points_xy: Tensor, on_view: Tensor, hands: Tensor, *, half_size: Tensor, fold: int
) -> Tensor:
    """Of points and of the number of hands.

    With heat maps: their cross entropy with a Gaussian about the true place, and the distance of the mean place.
    Without (the paper's network): mean squared error of coordinates in -1..1 (Eq. 4), and the likelihood of the errors'
    size.

    Args:
        located: the network's answer, with logits of the number of hands.
        points_xy: (N, 3, 2), pixels of the view.
        on_view: (N, 3), 1 where a point is known and lies on the view.
        hands: (N,), class 0, 1 or 2.
        half_size: (2,), half the width and height of the view, pixels.
        fold: pixels of the view a place of the heat maps.
    """
    count = torch.nn.functional.cross_entropy(located.hands.float(), hands)
    distance = (located.points.float() - points_xy).norm(dim=2)
    if located.heat is None:
        square = (((located.points - points_xy) / half_size) ** 2).mean(dim=2)
        spread = located.spread + EPSILON
        likelihood = torch.log(spread) + distance.detach() / spread  # it learns the errors' size and does not pull
        each = square + LIKELIHOOD_SHARE * likelihood
    else:
        target = _gaussians(points_xy / fold - 0.5, located.heat.shape[2], located.heat.shape[3])
        entropy = -(target * located.heat.float()).sum(dim=(2, 3))
        each = entropy + DISTANCE_SHARE * distance / half_size.max()
    loss: Tensor = COUNT_SHARE * count + (each * on_view).sum() / on_view.sum().clamp(min=1)
    return loss


def _gaussians(centres_xy: Tensor, height: int, width: int) -> Tensor:
    """Gaussians about these places (N, 3, 2) on a grid, (N, 3, height, width), each of which sums to 1."""
    rows = torch.arange(height, device=centres_xy.device, dtype=centres_xy.dtype)
    columns = torch.arange(width, device=centres_xy.device, dtype=centres_xy.dtype)
    y = -((rows - centres_xy[..., 1:]) ** 2) / (2 * HEAT_SPREAD**2)
    x = -((columns - centres_xy[..., :1]) ** 2) / (2 * HEAT_SPREAD**2)
    return torch.softmax(y, dim=2).unsqueeze(3) * torch.softmax(x, dim=2).unsqueeze(2)
