"""Common mistakes, for comparison: a test with pooled rows, and a bootstrap over few seeds."""

from __future__ import annotations

import math

import numpy as np
from statistics_report_test import Floats

from steereval.results.stats.student import t_tails


def pooled_p(diff: Floats) -> Floats:
    """The error to design out: every row an observation of its own."""
    rows = diff.reshape(len(diff), -1)
    n = rows.shape[1]
    t = rows.mean(axis=1) / np.maximum(rows.std(axis=1, ddof=1), 1e-300) * math.sqrt(n)
    return 2 * t_tails(np.abs(t), n - 1)


def bootstrap_excludes(rng: np.random.Generator, per_seed: Floats, draws: int = 1000) -> Floats:
    """Whether a percentile bootstrap of the seeds' means leaves 0 out of its 95 % interval."""
    seeds = per_seed.shape[1]
    picked = rng.integers(0, seeds, (draws, seeds))
    counts = np.stack([np.bincount(row, minlength=seeds) for row in picked]) / seeds
    low, high = np.quantile(per_seed @ counts.T, [0.025, 0.975], axis=1)
    return ((low > 0) | (high < 0)).astype(np.float64)
