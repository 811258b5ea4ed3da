"""The bias-corrected and accelerated bootstrap over items, for short lists of bounded scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from steereval.results.stats import checks


def bca_interval(
    values: npt.ArrayLike,
    confidence: float = 0.95,
    *,
    seed: int | Sequence[int] = 0,
    resamples: int = 10_000,
) -> tuple[float, float]:
    """(low, high) of the mean of `values` [items] by Efron's BCa bootstrap, of items.

    Never over seeds: with three to five of them a bootstrap undercovers. Values that are all the
    same, or a single one, have no bootstrap distribution: (value, value).
    """
    array = checks.finite("values", values).ravel()
    checks.fraction("confidence", confidence)
    if np.ptp(array) <= 1e-12 * np.abs(array).max():
        return float(array[0]), float(array[0])
    result = stats.bootstrap(
        (array,),
        np.mean,
        n_resamples=resamples,
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(np.random.SeedSequence(seed)),
        vectorized=True,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
