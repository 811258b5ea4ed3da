"""How far a difference must be from 0 for the test of a report, before and over experiments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from steereval.results.stats.anova import MeanSquareTable
from steereval.results.stats.effect import Floats
from steereval.results.stats.seed_robust_interval import half_widths
from steereval.results.stats.student import quasi_f_df, t_quantiles, t_tails

_NODES, _WEIGHTS = special.roots_legendre(5)
_NODES, _WEIGHTS = (_NODES + 1.0) / 2.0, _WEIGHTS / 2.0
"""Gauss-Legendre quadrature over (0, 1)."""

_STEPS = 40
_PRECISE = 1e-4


def critical_distances(table: MeanSquareTable, cells: npt.ArrayLike, alpha: float) -> Floats:
    """The least differences that the test of a report rejects at `alpha`, for several seeds.

    The larger one of the half widths of the crossed t and of the seed-robust p-value.

    Args:
        table: Mean squares of the matrices, of at least two seeds; not all of one may be 0.
        cells: Number of items × seeds, one or [matrices].
        alpha: Level of the two-sided test.

    Returns:
        Distances [matrices], in the unit of the differences, where p agrees with `alpha` to 1e-4
        of it.
    """
    item, seed, residual = table.squares
    total = np.maximum(item + seed - residual, item)
    quantiles = t_quantiles(1.0 - alpha / 2.0, quasi_f_df(table.squares, table.degrees, total))
    crossed = quantiles * np.sqrt(total / np.asarray(cells))
    robust = half_widths(table, cells, 1.0 - alpha, precise=_PRECISE)
    return np.asarray(np.maximum(crossed, robust), dtype=np.float64)


def detected_differences(
    expected: MeanSquareTable, cells: Floats, power: float, alpha: float
) -> Floats:
    """The difference that the test of a report rejects with probability `power`.

    Few seeds show a mean square of their own, MS_S χ²/df, and with it the critical distance
    changes from experiment to experiment: the power is the mean over its distribution of the
    probability that an estimate, t-distributed on the items' degrees of freedom, exceeds it.

    Args:
        expected: Expected mean squares of the designs, of at least two seeds.
        cells: Number of items × seeds [designs].
        power: Wanted power.
        alpha: Level of the two-sided test.

    Returns:
        Differences [designs], in the unit of the scores.
    """
    df_item, df_seed, df_residual = expected.degrees
    factors, weights = _seed_factors(expected)
    shape = factors.shape
    item, seed, residual = (np.broadcast_to(each[:, None], shape) for each in expected.squares)
    df_items, df_residuals = (
        np.repeat(np.broadcast_to(df, cells.shape), shape[1]) for df in (df_item, df_residual)
    )
    squares = (item.ravel(), (seed * factors).ravel(), residual.ravel())
    drawn = MeanSquareTable(squares, (df_items, df_seed, df_residuals))
    limits = critical_distances(drawn, np.repeat(cells, shape[1]), alpha).reshape(shape)
    item, seed, residual = expected.squares
    spread = np.sqrt((item + seed - residual) / cells)

    def detection(difference: Floats) -> Floats:
        statistic = (limits - difference[:, None]) / spread[:, None]
        tails = t_tails(statistic, df_items.reshape(shape))
        return np.asarray(np.sum(tails * weights, axis=1), dtype=np.float64)

    return _where(detection, power, limits.min(axis=1), limits.max(axis=1) + 40.0 * spread)


def _seed_factors(expected: MeanSquareTable) -> tuple[Floats, Floats]:
    """χ²/df of the seeds' mean squares with their weights, both [designs, nodes].

    The critical distance jumps where MS_S exceeds MS_I, so both sides have nodes of their own.
    """
    item, seed, _ = expected.squares
    half = expected.degrees[1] / 2.0
    ratio = np.full(item.shape, np.inf)
    np.divide(item, seed, out=ratio, where=seed > 0.0)
    below = special.gammainc(half, half * ratio)[:, None]
    probabilities = np.hstack([below * _NODES, below + (1.0 - below) * _NODES])
    weights = np.hstack([below * _WEIGHTS, (1.0 - below) * _WEIGHTS])
    most = 1.0 - 1e-12
    factors = special.gammaincinv(half, np.minimum(probabilities, most)) / half
    return np.asarray(factors, dtype=np.float64), np.asarray(weights, dtype=np.float64)


def _where(
    function: Callable[[Floats], Floats], wanted: float, low: Floats, high: Floats
) -> Floats:
    """[designs]: where a growing function is `wanted`, by bisection."""
    for _ in range(_STEPS):
        middle = (low + high) / 2.0
        enough = function(middle) >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high
