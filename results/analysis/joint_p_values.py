"""Adjusting the tests of one family together, by the largest of them: max-T."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import block_diag

from steereval.results.analysis.comparison import Comparison
from steereval.results.analysis.leaderboard import Row
from steereval.results.stats import crossed_correlation, max_t_crossed, max_t_sign_flip
from steereval.results.stats.crossed import RESAMPLES
from steereval.results.stats.effect import Floats


def joint_p_values(rows: Sequence[Row], seed: int) -> list[float]:
    """Adjusted p-values of `rows`, all of which have a comparison.

    With one seed in all of them by sign flips that the tests of a task share; else from a normal
    copula with the correlations of the estimates, which the items of a task make. Tests of
    different tasks count as independent, which is cautious.
    """
    blocks: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        blocks.setdefault(row.task.name, []).append(i)
    members = [[_comparison(rows[i]) for i in places] for places in blocks.values()]
    order = [i for places in blocks.values() for i in places]
    p_values = np.empty(len(rows))
    if all(comparison.effect.n_seeds == 1 for block in members for comparison in block):
        flips = [(_columns(block), block[0].labels) for block in members]
        p_values[order] = max_t_sign_flip(flips, RESAMPLES, seed)
    else:
        raw = [comparison.effect.p_value for block in members for comparison in block]
        correlation = block_diag(*[_correlation(block) for block in members])
        p_values[order] = max_t_crossed(raw, correlation, RESAMPLES, seed)
    return [float(p) for p in p_values]


def _comparison(row: Row) -> Comparison:
    assert row.comparison is not None
    return row.comparison


def _columns(block: Sequence[Comparison]) -> Floats:
    """[items, tests]: the seeds' means; every test of a task has the same items."""
    return np.column_stack([comparison.values.mean(axis=1) for comparison in block])


def _correlation(block: Sequence[Comparison]) -> Floats:
    if block[0].effect.n_clusters < 2:
        return np.eye(len(block))
    errors = [comparison.effect.se for comparison in block]
    return crossed_correlation(_columns(block).T, block[0].labels, errors)
