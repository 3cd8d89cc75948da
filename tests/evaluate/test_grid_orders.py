from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from boneage.evaluate.grid import CELLS, ENSEMBLE, Cell, Place, Resamples, align
from boneage.evaluate.grid_orders import Claim, Verdict, paper_orders
from tests.evaluate.drawn_grid import drawn_grid


def test_paper_orders_confirmed_or_contradicted() -> None:
    tables = drawn_grid(1500)
    orders = paper_orders(grid := align(tables), Resamples(grid, count=300))
    assert Counter(order.claim for order in orders) == {
        Claim.REGIONS: 7 * 3,
        Claim.COHORTS: 2 * 2 * 4,
        Claim.TYPES: 3 * 4,
        Claim.ENSEMBLE: 6 + 3,
    }
    assert all(order.verdict is Verdict.CONFIRMED for order in orders if order.claim is not Claim.TYPES)
    swap = {"A": "B", "B": "A", "C": "C"}
    turned = {cell: tables[cell._replace(region=swap[cell.region])] for cell in CELLS}  # type: ignore[arg-type]  # a literal by construction
    orders = paper_orders(grid := align(turned), Resamples(grid, count=300))
    regions = [order.verdict for order in orders if order.better.row in ("A", "C")]
    assert set(regions[:2]) == {Verdict.CONTRADICTED}


def test_paper_orders_same_network_is_undecided() -> None:
    tables = drawn_grid(100)
    same = {cell: tables[cell._replace(region="A")] for cell in CELLS}
    orders = paper_orders(grid := align(same), Resamples(grid, count=50))
    regions = [order for order in orders if order.claim is Claim.REGIONS]
    assert {order.verdict for order in regions} == {Verdict.UNDECIDED}
    assert all(order.difference.value == pytest.approx(0.0, abs=1e-9) for order in regions)


def test_paper_orders_compare_cohorts_within_one_sex() -> None:
    orders = paper_orders(grid := align(drawn_grid(100)), Resamples(grid, count=20))
    place = Place("regression-males", ENSEMBLE)
    (order,) = [each for each in orders if each.claim is Claim.COHORTS and each.better == place]
    boys = np.array([sex == "M" for sex in grid.sexes])
    assert (order.radiographs, order.count) == ("boys", boys.sum())
    errors = {
        place: np.abs(grid.estimates[place] - grid.boneage_months)[boys].mean() for place in (order.worse, order.better)
    }
    assert order.difference.value == pytest.approx(errors[order.worse] - errors[order.better])


def test_paper_orders_pairing_reveals_steady_differences() -> None:
    tables = drawn_grid(300)
    better = Cell("classification", "mixed", "A")
    table = tables[better]
    shifted = table.age_months + 0.5 * np.sign(table.error_months)  # each radiograph worse by half a month
    tables[Cell("regression", "mixed", "A")] = type(table)(table.ids, table.sexes, table.boneage_months, shifted)
    orders = paper_orders(grid := align(tables), Resamples(grid, count=100))
    (order,) = [
        each for each in orders if each.claim is Claim.TYPES and each.better == Place("classification-mixed", "A")
    ]
    assert order.verdict is Verdict.CONFIRMED
    assert order.difference.low == pytest.approx(0.5, abs=0.05)


def test_paper_orders_skip_missing_networks() -> None:
    tables = drawn_grid(50)
    two = {cell: tables[cell] for cell in (Cell("regression", "mixed", "A"), Cell("regression", "mixed", "C"))}
    (order,) = paper_orders(grid := align(two), Resamples(grid, count=10))
    assert (order.worse.title, order.better.title) == ("regression mixed C", "regression mixed A")
