"""A p-value that stays valid far below 5 % when the seeds are few."""

from __future__ import annotations

import numpy as np
from scipy import special

from steereval.results.stats.anova import MeanSquareTable
from steereval.results.stats.effect import Floats
from steereval.results.stats.student import t_tails

_NODES = np.linspace(-4.0, 4.0, 161)
_PROBABILITIES = special.expit(np.pi * np.sinh(_NODES))
_WEIGHTS = np.cosh(_NODES) * _PROBABILITIES * (1.0 - _PROBABILITIES)
"""Tanh-sinh quadrature over (0, 1), whose nodes reach far into both tails."""

_ROWS = 4096


def seed_robust_p(estimate: Floats, table: MeanSquareTable, cells: int) -> Floats:
    """[matrices]: two-sided generalised p-values (Weerahandi 1995) of `estimate` [matrices].

    MS_S (S - 1)/χ²_{S-1}, the fiducial distribution of the seeds' mean square, takes the place of
    the one MS_S that was seen: p is the mean over it of the t tail with
    Var = max(MS_I + MS_S df/χ² - MS_IS, MS_I)/`cells`, the items' degrees of freedom. Where the
    seeds dominate this is t with S - 1, where they do nothing and are many, the items' t. Few seeds
    that agree by chance make the crossed t's tail too light; this one it leaves heavy. One seed, or
    no variation, is not for this function.
    """
    df_item, df_seed, _ = table.degrees
    factors = df_seed / (2.0 * special.gammaincinv(df_seed / 2.0, _PROBABILITIES))
    found = np.empty(len(estimate))
    for start in range(0, len(estimate), _ROWS):
        rows = slice(start, start + _ROWS)
        item, seed, residual = (square[rows, None] for square in table.squares)
        variance = np.maximum(item + seed * factors - residual, item) / cells
        size = np.abs(estimate[rows, None])
        # Items all alike leave only the seeds' spread, which is none where its factor is 0.
        ratio = np.full(variance.shape, np.inf)
        np.divide(size, np.sqrt(variance), out=ratio, where=variance > 0.0)
        tails = t_tails(np.where(size > 0.0, ratio, 0.0), df_item)
        found[rows] = 2.0 * (tails @ _WEIGHTS) / _WEIGHTS.sum()
    return np.asarray(np.minimum(found, 1.0), dtype=np.float64)
