"""Student's t: quantiles, tails, and the degrees of freedom of the crossed design."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from steereval.results.stats.effect import Floats

MeanSquares = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
"""Those of items, seeds and residual: numbers, or arrays of one shape."""


def t_quantiles(probability: float, df: npt.ArrayLike) -> Floats:
    """The quantiles of Student's t for each of `df`; infinite without degrees of freedom."""
    given = np.asarray(df, dtype=np.float64)
    usable = given > 0.0
    found = special.stdtrit(np.where(usable, given, 1.0), probability)
    return np.asarray(np.where(usable, found, np.inf), dtype=np.float64)


def t_tails(statistic: npt.ArrayLike, df: npt.ArrayLike) -> Floats:
    """P(T > statistic), elementwise; one half without degrees of freedom."""
    given = np.asarray(df, dtype=np.float64)
    usable = given > 0.0
    found = special.stdtr(np.where(usable, given, 1.0), -np.asarray(statistic, dtype=np.float64))
    return np.asarray(np.where(usable, found, 0.5), dtype=np.float64)


def t_quantile(probability: float, df: float) -> float:
    """The quantile of Student's t; infinite without degrees of freedom."""
    return float(t_quantiles(probability, df))


def t_tail(statistic: float, df: float) -> float:
    """P(T > statistic); one half without degrees of freedom."""
    return float(t_tails(statistic, df))


def quasi_f_df(
    squares: MeanSquares, degrees: tuple[float, float, float], total: npt.ArrayLike
) -> Floats:
    """Satterthwaite's degrees of freedom of `total`, a sum of mean squares (Clark 1973).

    `squares` and `degrees` are those of items, seeds and residual. Where the seeds' mean square
    exceeds the items', the seeds' own degrees of freedom are taken: with few seeds Satterthwaite's
    are too generous there. Where nothing varies, the smaller of the two.
    """
    item, seed, residual = (np.asarray(square, dtype=np.float64) for square in squares)
    df_item, df_seed, df_residual = degrees
    if df_seed <= 0.0:
        return np.full(item.shape, df_item)
    shares = item**2 / df_item + seed**2 / df_seed
    if df_residual > 0.0:
        shares = shares + residual**2 / df_residual
    whole = np.asarray(total, dtype=np.float64)
    usable = (whole > 0.0) & (shares > 0.0)
    df = np.where(usable, whole**2 / np.where(usable, shares, 1.0), min(df_item, df_seed))
    return np.asarray(np.where(seed > item, df_seed, df), dtype=np.float64)
