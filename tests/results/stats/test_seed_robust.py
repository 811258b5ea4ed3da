"""The seed-robust test: level and coverage for every spread of the seeds, and what it detects."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special
from scipy import stats as scipy_stats

from steereval.results import stats
from steereval.results.stats.anova import MeanSquareTable
from steereval.results.stats.critical import critical_distances
from steereval.results.stats.seed_robust import recalibrated
from steereval.results.stats.seed_robust_interval import half_widths

Floats = npt.NDArray[np.float64]

MANY = 1e9
"""Degrees of freedom of the items: their mean square is known."""

SPREADS = np.array([0.0, 0.1, 0.3, 1.0, 2.0, 5.0, 8.0, 12.0, 22.0, 40.0, 100.0, 400.0])
"""Expected mean square of seeds over that of the residual, less 1."""

AGREEMENTS = (2.5, 4.0, 10.0, 30.0)
"""Mean square of items over that of the residual."""


def sizes(seeds: int, agreement: float, level: float) -> Floats:
    """[spreads]: exact sizes with many items, by integration over the seeds' mean square."""
    df = seeds - 1.0
    squares = np.exp(np.linspace(-14.0, 9.0, 160))
    item, residual = np.full_like(squares, agreement), np.ones_like(squares)
    table = MeanSquareTable((item, squares, residual), (MANY, df, MANY))
    limits = critical_distances(table, 1.0, level)
    result = []
    for spread in SPREADS:
        scale = (1.0 + spread) / df
        weights = scipy_stats.chi2.pdf(squares / scale, df) * squares
        tails = 2.0 * special.ndtr(-limits / np.sqrt(agreement + spread))
        result.append(float(np.sum(tails * weights) / np.sum(weights)))
    return np.array(result)


@pytest.mark.parametrize("seeds", [3, 4, 5])
@pytest.mark.parametrize("agreement", AGREEMENTS)
def test_size_at_five_per_cent_lies_within_the_bounds(seeds: int, agreement: float) -> None:
    result = sizes(seeds, agreement, 0.05)
    assert result.min() >= 0.0295
    assert result.max() <= 0.061


@pytest.mark.parametrize(("level", "most"), [(0.025, 1.15), (0.01, 1.02), (0.005, 1.02)])
@pytest.mark.parametrize("seeds", [3, 4, 5])
def test_far_below_five_per_cent_the_level_holds(seeds: int, level: float, most: float) -> None:
    for agreement in (1.02, *AGREEMENTS):
        assert sizes(seeds, agreement, level).max() <= most * level


@pytest.mark.parametrize("level", [0.05, 0.005])
def test_two_seeds_hold_their_level(level: float) -> None:
    for agreement in (1.02, *AGREEMENTS):
        assert sizes(2, agreement, level)[:-1].max() <= 1.02 * level


def test_small_p_values_are_not_recalibrated() -> None:
    p_values = np.array([1e-9, 1e-4, 0.01])
    assert np.array_equal(recalibrated(p_values, 2.0), p_values)
    large = np.array([0.1, 0.3, 1.0])
    assert recalibrated(large, 2.0) == pytest.approx(large / 2.0, rel=0.01)
    assert np.array_equal(recalibrated(large, 1.0), large)


@given(st.lists(st.floats(1e-12, 1.0), min_size=2, max_size=9), st.floats(1.0, 20.0))
def test_recalibration_keeps_the_order(p_values: list[float], df_seed: float) -> None:
    ordered = recalibrated(np.sort(p_values), df_seed)
    assert np.all(np.diff(ordered) >= 0.0)
    assert np.all(ordered <= np.sort(p_values))


def test_three_seeds_that_agree_cover_about_95_per_cent() -> None:
    """Without recalibration the interval covers 0.98."""
    rng = np.random.default_rng(21)
    stack = rng.normal(0, 0.3, (2000, 300, 1)) + rng.normal(0, 0.3, (2000, 300, 3))
    p_values = stats.crossed_estimates(stack, guard=stats.Guard()).p_robust
    assert 0.03 <= np.mean(p_values < 0.05) <= 0.07


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.0), (3, 0.05), (5, 0.02)])
def test_the_detectable_effect_is_that_of_the_reported_test(seeds: int, spread: float) -> None:
    rng = np.random.default_rng(seeds)
    shape = (1500, 300, seeds)
    effect = stats.minimum_detectable_effect(0.09, spread**2, 0.09, 300, seeds)
    stack = effect + rng.normal(0, 0.3, (*shape[:2], 1)) + rng.normal(0, 0.3, shape)
    stack += rng.normal(0, spread, (1500, 1, seeds))
    power = np.mean(stats.crossed_estimates(stack).p_robust < 0.05)
    assert 0.76 <= power <= 0.84


def test_more_items_and_more_seeds_detect_more() -> None:
    variances = stats.Variances(0.09, 0.0004, 0.09)
    by_items = stats.detectable_effects(variances, np.geomspace(10, 5000, 12).astype(int), 5)
    assert np.all(np.diff(by_items) < 0.0)
    by_seeds = stats.detectable_effects(variances, 200, np.arange(2, 9))
    assert np.all(np.diff(by_seeds) < 0.0)


def test_variances_of_nothing_detect_everything() -> None:
    assert stats.minimum_detectable_effect(0.0, 0.0, 0.0, 50, 3) == 0.0


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_the_search_for_the_interval_ends_without_variance_of_items(n_seeds: int) -> None:
    """Item means that are all equal leave no variance, or that of the seeds alone."""
    item, seed, residual = np.meshgrid([0.0, 1.0], [0.0, 1e-9, 1.0, 40.0], [0.0, 1.0, 30.0])
    squares = (item.ravel(), seed.ravel(), residual.ravel())
    degrees = np.full(item.size, 19.0), n_seeds - 1.0, np.full(item.size, 19.0 * (n_seeds - 1))
    widths = half_widths(MeanSquareTable(squares, degrees), 20.0 * n_seeds, 0.95)
    assert np.all(np.isfinite(widths))
    assert np.all(widths[squares[0] > 0.0] > 0.0)
    assert np.all(widths[(squares[0] == 0.0) & (squares[1] == 0.0)] == 0.0)
