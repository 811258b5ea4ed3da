"""A p-value that stays valid far below 5 % when the seeds are few."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import special

from steereval.results.stats.anova import MeanSquareTable
from steereval.results.stats.effect import Floats
from steereval.results.stats.student import t_tails

_NODES = np.linspace(-4.0, 4.0, 161)
_PROBABILITIES = special.expit(np.pi * np.sinh(_NODES))
_WEIGHTS = np.cosh(_NODES) * _PROBABILITIES * (1.0 - _PROBABILITIES)
"""Tanh-sinh quadrature over (0, 1), whose nodes reach far into both tails."""

_ROWS = 4096

_EXACT_BELOW = 0.01
"""Generalised p-values up to this one are taken as they are."""

_EXPONENT = 0.3
_LEAST_FACTOR = 0.5
"""Larger ones are multiplied by (p/0.01)^-0.3, and never by less than a half."""


def seed_robust_p(estimate: Floats, table: MeanSquareTable, cells: npt.ArrayLike) -> Floats:
    """Two-sided p-values that few seeds that agree by chance do not make small.

    The generalised p-value, recalibrated by `recalibrated`. It is meant to be combined with the
    crossed t: the test of a report takes the larger p-value of both. Together they hold their
    level for every spread of the seeds, from 0.001 to 0.1, and at 0.05 their size is at least
    0.03 where the items' mean square is 2.5 times the residual's (docs/calibration.md).

    Args:
        estimate: Mean differences [matrices].
        table: Their mean squares, of at least two seeds; not all of one may be 0.
        cells: Number of items × seeds, one or [matrices].

    Returns:
        p-values [matrices].
    """
    return recalibrated(generalised_p(estimate, table, cells), table.degrees[1])


def recalibrated(p_values: Floats, df_seed: float) -> Floats:
    """Generalised p-values [tests] on the scale of the level that they hold with the crossed t.

    The generalised test is exact where the seeds dominate and too cautious where they hardly
    spread: with three seeds its size at 0.05 is 0.01 to 0.02. Where the seeds dominate, the crossed
    t is exact too, so with it a larger p-value of the generalised test is enough at 0.05. Far
    below 0.05 the crossed t is no protection, and the p-values stay as they are.

    Args:
        p_values: Generalised p-values.
        df_seed: Degrees of freedom of the seeds; with one of them (two seeds) nothing changes.

    Returns:
        p × max((p/0.01)^-0.3, 1/2, 1/`df_seed`) where p exceeds 0.01: increasing in p.
    """
    least = min(1.0, max(_LEAST_FACTOR, 1.0 / df_seed))
    factors = (np.maximum(p_values, _EXACT_BELOW) / _EXACT_BELOW) ** -_EXPONENT
    return np.asarray(p_values * np.maximum(factors, least), dtype=np.float64)


def generalised_p(estimate: Floats, table: MeanSquareTable, cells: npt.ArrayLike) -> Floats:
    """Two-sided generalised p-values (Weerahandi 1995).

    MS_S (S - 1)/χ²_{S-1}, the fiducial distribution of the seeds' mean square, takes the place of
    the one MS_S that was seen: p is the mean over it of the t tail with
    Var = max(MS_I + MS_S df/χ² - MS_IS, MS_I)/`cells`, the items' degrees of freedom. Where the
    seeds dominate this is t with S - 1, where they do nothing and are many, the items' t.

    Args:
        estimate: Mean differences [matrices].
        table: Their mean squares, of at least two seeds; not all of one may be 0.
        cells: Number of items × seeds, one or [matrices].

    Returns:
        p-values [matrices].
    """
    df_item, df_seed, _ = table.degrees
    factors = _fiducial_factors(df_seed)
    df_items = np.broadcast_to(df_item, estimate.shape)[:, None]
    counts = np.broadcast_to(cells, estimate.shape)[:, None]
    p_values = np.empty(len(estimate))
    for start in range(0, len(estimate), _ROWS):
        rows = slice(start, start + _ROWS)
        item, seed, residual = (square[rows, None] for square in table.squares)
        variance = np.maximum(item + seed * factors - residual, item) / counts[rows]
        size = np.abs(estimate[rows, None])
        # Items all alike leave only the seeds' spread, which is none where its factor is 0.
        ratio = np.full(variance.shape, np.inf)
        np.divide(size, np.sqrt(variance), out=ratio, where=variance > 0.0)
        tails = t_tails(np.where(size > 0.0, ratio, 0.0), df_items[rows])
        p_values[rows] = 2.0 * (tails @ _WEIGHTS) / _WEIGHTS.sum()
    return np.asarray(np.minimum(p_values, 1.0), dtype=np.float64)


@lru_cache(maxsize=2048)
def _fiducial_factors(df_seed: float) -> Floats:
    """df/χ² at the nodes."""
    return np.asarray(df_seed / (2.0 * special.gammaincinv(df_seed / 2.0, _PROBABILITIES)))
