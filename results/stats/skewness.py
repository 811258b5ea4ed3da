"""Student's t where the items are skewed: Hall's transformation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from steereval.results.stats.effect import Floats
from steereval.results.stats.student import t_quantiles, t_tails


def corrected(statistic: npt.ArrayLike, skewness: npt.ArrayLike) -> Floats:
    """Hall's cubic transformation of t statistics, elementwise.

    g(T) = T + aT²/3 + a²T³/27 + a/6 (Hall 1992), which is monotone in T.

    Args:
        statistic: T = (estimate - value)/standard error.
        skewness: a, the skewness of the estimate: for the mean of n items that of an item over √n.
    """
    t, a = np.asarray(statistic, np.float64), np.asarray(skewness, np.float64)
    return np.asarray(t + a * t**2 / 3.0 + a**2 * t**3 / 27.0 + a / 6.0, dtype=np.float64)


def restored(value: npt.ArrayLike, skewness: npt.ArrayLike) -> Floats:
    """The T of which `corrected` gives `value`, elementwise."""
    x, a = np.broadcast_arrays(np.asarray(value, np.float64), np.asarray(skewness, np.float64))
    tiny = np.abs(a) < 1e-8
    safe = np.where(tiny, 1.0, a)
    inverse = 3.0 / safe * (np.cbrt(1.0 + safe * (x - safe / 6.0)) - 1.0)
    return np.asarray(np.where(tiny, x, inverse), dtype=np.float64)


def one_sided_p(statistic: npt.ArrayLike, skewness: npt.ArrayLike, df: npt.ArrayLike) -> Floats:
    """P-values against "not above", elementwise: the larger one of T and of g(T)."""
    t = np.asarray(statistic, dtype=np.float64)
    return t_tails(np.minimum(t, corrected(t, skewness)), df)


def two_sided_p(statistic: npt.ArrayLike, skewness: npt.ArrayLike, df: npt.ArrayLike) -> Floats:
    """Two-sided p-values, elementwise: the larger one of T and of g(T).

    The correction alone claims too much where tails are heavy and even, T alone where they are
    skewed.
    """
    t = np.abs(np.asarray(statistic, dtype=np.float64))
    other = np.abs(corrected(statistic, skewness))
    return np.minimum(1.0, 2.0 * t_tails(np.minimum(t, other), df))


def half_widths(
    confidence: float, skewness: npt.ArrayLike, df: npt.ArrayLike
) -> tuple[Floats, Floats]:
    """How many standard errors the interval reaches below and above the estimate.

    The hull of the intervals of T and of g(T): it leaves out a value exactly where `two_sided_p`
    of that value is below 1 - `confidence`.
    """
    quantile = t_quantiles((1.0 + confidence) / 2.0, df)
    finite = np.where(np.isfinite(quantile), quantile, 0.0)
    below = np.maximum(quantile, np.abs(restored(finite, skewness)))
    above = np.maximum(quantile, np.abs(restored(-finite, skewness)))
    return below, above
