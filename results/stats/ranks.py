"""Ranks with their intervals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from steereval.common.errors import InputError
from steereval.results.stats import checks


def rank_intervals(
    estimates: npt.ArrayLike, p_adjusted: npt.ArrayLike, alpha: float = 0.05
) -> list[tuple[int, int]]:
    """[(best, worst)] of M methods: the ranks that adjusted paired tests leave open.

    `estimates` [M], higher is better; `p_adjusted` [M, M], symmetric, the diagonal is not read.
    best = 1 + number significantly better, worst = M - number significantly worse.
    """
    values = checks.finite("estimates", estimates)
    p_matrix = np.asarray(p_adjusted, dtype=np.float64)
    m = len(values)
    if p_matrix.shape != (m, m):
        raise InputError(
            f"p_adjusted has shape {p_matrix.shape}, and there are {m} estimates",
            "Give one p-value for every pair of estimates.",
        )
    differs = (p_matrix < alpha) & ~np.eye(m, dtype=bool)
    better = differs & (values[None, :] > values[:, None])
    worse = differs & (values[None, :] < values[:, None])
    return [(1 + int(b), m - int(w)) for b, w in zip(better.sum(1), worse.sum(1), strict=True)]
