"""Losses: what the papers' equations say, and least where the answer is right."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from boneage.hand.bones import BONES, TILE_COLUMNS, TILE_ROWS
from boneage.train.networks.points import LocatedPoints
from boneage.train.networks.tiles import join_tiles
from boneage.train.run.losses import (
    COUNT_SHARE,
    HEAT_SPREAD,
    LIKELIHOOD_SHARE,
    _gaussians,
    jaccard,
    label_distribution_loss,
    mask_loss,
    outline_loss,
    points_loss,
)

LABEL = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
PROBABILITY = torch.tensor([[[[0.8, 0.2], [0.5, 0.1]]]])

HALF = torch.tensor([32.0, 24.0])
"""Half the size of a view of 64 x 48 pixels."""

FOLD = 2


@given(months=st.floats(0, 239), spread=st.floats(1, 20), off=st.floats(0.5, 60))
@settings(deadline=None, max_examples=60)
def test_label_distribution_loss_lowest_at_target(months: float, spread: float, off: float) -> None:
    """The divergence is 0 for the target distribution, and grows with the distance from it."""
    ages = torch.arange(240.0)

    def about(centre: float) -> Tensor:
        return torch.log_softmax(-((ages - centre) ** 2) / (2 * spread**2), dim=0)[None]

    label = torch.tensor([months])
    assert float(label_distribution_loss(about(months), label, spread)) == pytest.approx(0.0, abs=1e-5)
    near = float(label_distribution_loss(about(months + off), label, spread))
    far = float(label_distribution_loss(about(months + 2 * off), label, spread))
    assert 0 < near < far
    if 60 < months < 120 and off < 30:  # far from both ends the divergence of two normal distributions is known
        assert near == pytest.approx(off**2 / (2 * spread**2), rel=1e-2)


def test_mask_loss_of_paper_by_hand() -> None:
    """Eqs. 1-3 on two by two pixels."""
    # Eq. 2: H = -1/4 (log 0.8 + log(1 - 0.2) + log 0.5 + log(1 - 0.1))
    #          =  1/4 (0.223144 + 0.223144 + 0.693147 + 0.105361) = 0.311199
    # Eq. 3: J =  1/4 (0.8 / (1 + 0.8 - 0.8) + 0 / 0.2 + 0.5 / (1 + 0.5 - 0.5) + 0 / 0.1) = 1/4 (0.8 + 0.5) = 0.325
    # Eq. 1: L = H - log J = 0.311199 + 1.123930 = 1.435129
    assert float(jaccard(PROBABILITY, LABEL)) == pytest.approx(0.325, abs=1e-6)
    assert float(mask_loss(torch.logit(PROBABILITY), LABEL)) == pytest.approx(1.435129, abs=2e-6)


def test_jaccard_at_most_share_of_hand() -> None:
    """A mean over all pixels, as Eq. 3 is printed: a perfect answer has J = 1/2 where half of the pixels are hand."""
    assert float(jaccard(LABEL, LABEL)) == pytest.approx(0.5, abs=1e-6)
    assert float(jaccard(1 - LABEL, LABEL)) == pytest.approx(0.0, abs=1e-6)
    assert float(mask_loss(40 * (LABEL - 0.5), LABEL)) == pytest.approx(math.log(2), abs=1e-5)


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_mask_loss_lower_for_nearer_answer(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    label = (torch.rand(2, 1, 5, 4, generator=generator) > 0.6).float()
    label[0, 0, 0, 0] = 1.0
    logits = torch.randn(2, 1, 5, 4, generator=generator)
    better = logits + (2 * label - 1) * torch.rand(2, 1, 5, 4, generator=generator)
    assert mask_loss(better, label) < mask_loss(logits, label)


@pytest.mark.parametrize("label", [torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), LABEL], ids=["none", "all", "half"])
@pytest.mark.parametrize("logit", [-200.0, 0.0, 200.0])
def test_mask_loss_finite_for_certain_network(label: Tensor, logit: float) -> None:
    """Loss and gradient are finite even where the network is sure."""
    logits = torch.full_like(label, logit, requires_grad=True)
    loss = mask_loss(logits, label)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_mask_loss_descends_to_mask() -> None:
    logits = torch.zeros_like(LABEL, requires_grad=True)
    optimizer = torch.optim.SGD([logits], lr=2.0)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = mask_loss(logits, LABEL)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
    assert torch.equal(logits > 0, LABEL > 0.5)


# --- points ---

TRUTH = torch.tensor([[[30.0, 6.0], [50.0, 26.0], [31.0, 40.0]]])
SEEN = torch.ones(1, 3)
ONE_HAND = torch.tensor([1])


def heat_of(points_xy: Tensor) -> Tensor:
    """Logarithms of the target heat maps of these points, on a view of 64 x 48 folded by two."""
    return _gaussians(points_xy / FOLD - 0.5, 24, 32).clamp(min=1e-30).log()


def located(
    points_xy: Tensor, *, heat: bool, spread: float = 1.0, hands: tuple[float, ...] = (0, 9, 0)
) -> LocatedPoints:
    spreads = torch.full((1, 3), spread)
    return LocatedPoints(points_xy, spreads, torch.tensor([hands]), heat_of(points_xy) if heat else None)


def cost(answer: LocatedPoints, on_view: Tensor = SEEN, hands: Tensor = ONE_HAND, truth: Tensor = TRUTH) -> float:
    return float(points_loss(answer, truth, on_view, hands, half_size=HALF, fold=FOLD))


def test_points_loss_heat_target_mean_and_spread() -> None:
    heat = _gaussians(TRUTH / FOLD - 0.5, 24, 32)[0]
    centres_y, centres_x = torch.meshgrid(torch.arange(24) + 0.5, torch.arange(32) + 0.5, indexing="ij")
    for place, (x, y) in zip(heat, TRUTH[0] / FOLD, strict=True):
        assert float(place.sum()) == pytest.approx(1, abs=1e-5)
        assert float((place * centres_x).sum()) == pytest.approx(float(x), abs=0.02)
        assert float((place * centres_y).sum()) == pytest.approx(float(y), abs=0.02)
        assert float((place * (centres_x - x) ** 2).sum()) ** 0.5 == pytest.approx(HEAT_SPREAD, abs=0.02)


@pytest.mark.parametrize("heat", [True, False])
@settings(deadline=None)
@given(
    row=st.integers(0, 2),
    degrees=st.floats(0, 360),
    near=st.floats(0.5, 3.0),
    farther=st.floats(0.5, 2.0),
)
def test_points_loss_lowest_at_truth(heat: bool, row: int, degrees: float, near: float, farther: float) -> None:
    """Points cost least at the truth and more the farther off."""
    direction = torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    off = torch.zeros_like(TRUTH)
    off[0, row] = direction
    answers = [located(TRUTH + distance * off, heat=heat) for distance in (0.0, near, near + farther)]
    right, beside, away = (cost(answer) for answer in answers)
    assert right < beside < away


def test_points_loss_of_paper_mean_square() -> None:
    """Eq. 4; beside it the likelihood of the errors' size, and the number of hands."""
    off = torch.tensor([[[3.2, 0.0], [0.0, 0.0], [0.0, -2.4]]])
    # Each coordinate in -1..1: 3.2 / 32 = 0.1 and 2.4 / 24 = 0.1, so that the mean of six squares is 0.02 / 6.
    likelihood = math.log(2) + (3.2 + 0.0 + 2.4) / 3 / 2
    count = math.log(1 + 2 * math.exp(-9))
    expected = 0.02 / 6 + LIKELIHOOD_SHARE * likelihood + COUNT_SHARE * count
    assert cost(located(TRUTH + off, heat=False, spread=2.0)) == pytest.approx(expected, abs=1e-6)


def test_points_loss_spread_fits_error_size() -> None:
    off = TRUTH + torch.tensor([3.0, 4.0])
    spreads = torch.linspace(1, 20, 191)
    costs = [cost(located(off, heat=False, spread=float(spread))) for spread in spreads]
    assert float(spreads[int(torch.tensor(costs).argmin())]) == pytest.approx(5.0, abs=0.11)
    points_xy = TRUTH.clone().requires_grad_()
    cost_at_truth = points_loss(located(points_xy, heat=False), TRUTH, SEEN, ONE_HAND, half_size=HALF, fold=FOLD)
    cost_at_truth.backward()  # type: ignore[no-untyped-call]  # torch's
    assert points_xy.grad is not None
    assert float(points_xy.grad.abs().max()) == 0


@pytest.mark.parametrize("heat", [True, False])
def test_points_loss_ignores_unknown_points(heat: bool) -> None:
    hidden = torch.tensor([[1.0, 0.0, 1.0]])
    away = TRUTH.clone()
    away[0, 1] += 9.0
    assert cost(located(away, heat=heat), hidden) == cost(located(TRUTH, heat=heat), hidden)
    assert cost(located(away, heat=heat)) > cost(located(TRUTH, heat=heat))
    none = cost(located(away, heat=heat, hands=(9, 0, 0)), torch.zeros(1, 3), torch.tensor([0]))
    assert none == pytest.approx(COUNT_SHARE * math.log(1 + 2 * math.exp(-9)), abs=1e-6)


@pytest.mark.parametrize("truth", [0, 1, 2])
def test_points_loss_lowest_for_right_count(truth: int) -> None:
    answers = [
        located(TRUTH, heat=True, hands=tuple(9.0 * (number == predicted) for number in range(3)))
        for predicted in range(3)
    ]
    costs = [cost(answer, hands=torch.tensor([truth])) for answer in answers]
    assert min(range(3), key=costs.__getitem__) == truth


def test_outline_loss_by_hand() -> None:
    """Two views with tiles of one pixel. One bone of the first view is not shown, and does not count."""
    probability, target, present = (torch.zeros(2, len(BONES)) for _ in range(3))
    probability += 0.5
    target[:, 0] = 1.0
    present += 1.0
    present[0, 1], probability[0, 1], target[0, 1] = 0.0, 0.999, 1.0

    def view(of_bones: Tensor) -> Tensor:
        return join_tiles(of_bones[:, :, None, None])[:, None]

    # Every pixel that counts has the entropy log 2. Dice with 1 added above and below: (2 * 1 + 1) / (3 + 1) for the
    # first bone, 1 / (0.5 + 1) for the second, which counts once, and 1 / (1 + 1) for the other sixteen.
    dice = (3 / 4 + 1 / 1.5 + (len(BONES) - 2) / 2) / len(BONES)
    loss = outline_loss(torch.logit(view(probability)), view(target), present)
    assert view(target).shape == (2, 1, TILE_ROWS, TILE_COLUMNS)
    assert float(loss) == pytest.approx(math.log(2) + 1 - dice, abs=1e-5)
    best = outline_loss(torch.logit(view(target).clamp(1e-6, 1 - 1e-6)), view(target), present)
    assert float(best) == pytest.approx(0, abs=1e-4)
