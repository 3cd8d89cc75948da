"""Losses of the hand networks, and of ages as distributions."""

from __future__ import annotations

import torch
from torch import Tensor

from boneage.bundle.curve import AGES
from boneage.train.networks.points import LocatedPoints
from boneage.train.networks.tiles import split_tiles

EPSILON = 1e-7
"""Small number that keeps logarithms and the quotient of Eq. 3 finite where label and prediction are both 0."""

DISTANCE_SHARE = 50.0
"""Weight of the points' distance, in halves of the view's longer side, beside the entropy of the heat maps."""

LIKELIHOOD_SHARE = 0.02
"""Weight of the likelihood of the errors' size beside the squared error, in the paper's network."""

COUNT_SHARE = 0.5
"""Weight of the number of hands beside the points."""

HEAT_SPREAD = 1.2
"""Standard deviation of the target heat map, in its own places."""


def label_distribution_loss(log_distribution: Tensor, months: Tensor, spread: float) -> Tensor:
    """Return the loss of label distribution learning (Geng 2016), nats.

    A label is one reader's. The target is therefore a normal distribution about it, cut to 0 to 239 months. The loss is
    the mean Kullback-Leibler divergence from this target, which is 0 at best.

    Args:
        log_distribution: (N, 240), logarithms of the months' probabilities.
        months: (N,), the labels.
        spread: standard deviation of the target distribution, months, above 0.
    """
    ages = torch.arange(float(AGES), device=months.device)
    log_target = torch.log_softmax(-((ages - months[:, None]) ** 2) / (2 * spread**2), dim=1)
    return (log_target.exp() * (log_target - log_distribution)).sum(dim=1).mean()


def jaccard(probability: Tensor, label: Tensor) -> Tensor:
    """Return the differentiable Jaccard index of Iglovikov et al., Eq. 3: a mean over pixels, as printed.

    J = 1/n sum(y p / (y + p - y p)). A pixel with label 0 adds nothing. J is therefore at most the share of pixels in
    the hand, and -log J at least the logarithm of its inverse.

    Args:
        probability: any shape, 0..1.
        label: same shape, 0 or 1.
    """
    product = probability * label
    return (product / (probability + label - product + EPSILON)).mean()


def mask_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Return L = H - log J (Iglovikov et al., Eqs. 1-3), with the binary cross entropy H of Eq. 2.

    Args:
        logits: (N, 1, H, W); their logistic function is the probability.
        label: (N, 1, H, W), 0 or 1.
    """
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), label)
    return entropy - torch.log(jaccard(torch.sigmoid(logits.float()), label) + EPSILON)


def outline_loss(logits: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Return the binary cross entropy plus 1 - Dice, over the tiles of a view that show their bones.

    The Dice coefficient (Milletari et al., 3DV 2016) is that of each bone over the whole batch, averaged over the
    bones. Thin epiphyses of the fingers therefore count as much as the carpal bones. A young child's tile without an
    epiphysis adds nothing of its own.

    Args:
        logits: (N, 1, H, W) on a view of single bones; their logistic function is the probability.
        target: (N, 1, H, W), 0..1.
        present: (N, B), 1 for the tiles that count.
    """
    of_tiles, wanted = split_tiles(logits.float()), split_tiles(target)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(of_tiles, wanted, reduction="none")
    entropy = (entropy.mean(dim=(2, 3)) * present).sum() / present.sum().clamp(min=1)
    probability, counts = torch.sigmoid(of_tiles), present[:, :, None, None]
    common = (probability * wanted * counts).sum(dim=(0, 2, 3))
    both = ((probability + wanted) * counts).sum(dim=(0, 2, 3))
    return entropy + (1 - (2 * common + 1) / (both + 1)).mean()


def points_loss(
    located: LocatedPoints, points_xy: Tensor, on_view: Tensor, hands: Tensor, *, half_size: Tensor, fold: int
) -> Tensor:
    """Return the loss of the points and of the number of hands.

    With heat maps, it has the cross entropy with a Gaussian about the true place, and the distance of the mean place.
    Without heat maps (the paper's network), it has the mean squared error of coordinates in -1..1 (Eq. 4), and the
    likelihood of the errors' size.

    Args:
        located: output of the network, with logits of the number of hands.
        points_xy: (N, 3, 2), pixels of the view.
        on_view: (N, 3), 1 where a point is annotated and lies on the view.
        hands: (N,), class 0, 1 or 2.
        half_size: (2,), half the width and height of the view, pixels.
        fold: pixels of the view per place of the heat maps.
    """
    count = torch.nn.functional.cross_entropy(located.hands.float(), hands)
    if located.heat is None:
        distance = (located.points.float() - points_xy).norm(dim=2)
        square = (((located.points - points_xy) / half_size) ** 2).mean(dim=2)
        spread = located.spread + EPSILON
        likelihood = torch.log(spread) + distance.detach() / spread  # trains the size of errors only, not the points
        each = _mean_on_view(square + LIKELIHOOD_SHARE * likelihood, on_view)
    else:
        each = places_loss(located.points, located.heat, points_xy, on_view, half_size=half_size, fold=fold)
    return COUNT_SHARE * count + each


def places_loss(
    points: Tensor, heat: Tensor, points_xy: Tensor, on_view: Tensor, *, half_size: Tensor, fold: int
) -> Tensor:
    """Return the loss of heat maps and of their mean places, averaged over the points on the view.

    Args:
        points: (N, P, 2), mean places of the heat maps, pixels of the view.
        heat: logarithms of the heat maps, (N, P, h, w).
        points_xy: (N, P, 2), true places, pixels of the view.
        on_view: (N, P), 1 where a point is annotated and lies on the view.
        half_size: (2,), half the width and height of the view, pixels.
        fold: pixels of the view per place of the heat maps.
    """
    distance = (points.float() - points_xy).norm(dim=2)
    target = _gaussians(points_xy / fold - 0.5, heat.shape[2], heat.shape[3])
    entropy = -(target * heat.float()).sum(dim=(2, 3))
    return _mean_on_view(entropy + DISTANCE_SHARE * distance / half_size.max(), on_view)


def _mean_on_view(each: Tensor, on_view: Tensor) -> Tensor:
    return (each * on_view).sum() / on_view.sum().clamp(min=1)


def _gaussians(centres_xy: Tensor, height: int, width: int) -> Tensor:
    """Return Gaussians about places (N, P, 2) on a grid, (N, P, height, width), each with sum 1."""
    rows = torch.arange(height, device=centres_xy.device, dtype=centres_xy.dtype)
    columns = torch.arange(width, device=centres_xy.device, dtype=centres_xy.dtype)
    y = -((rows - centres_xy[..., 1:]) ** 2) / (2 * HEAT_SPREAD**2)
    x = -((columns - centres_xy[..., :1]) ** 2) / (2 * HEAT_SPREAD**2)
    return torch.softmax(y, dim=2).unsqueeze(3) * torch.softmax(x, dim=2).unsqueeze(2)
