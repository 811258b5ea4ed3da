"""Student's t: quantiles, tails, and the degrees of freedom of the crossed design."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

from steereval.results.stats.effect import Floats

Three = tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]
"""Values for items, seeds and residual: numbers, or arrays that broadcast."""


def t_quantiles(probability: float, df: npt.ArrayLike) -> Floats:
    """The quantiles of Student's t for each of `df`; infinite without degrees of freedom."""
    given = np.asarray(df, dtype=np.float64)
    usable = given > 0.0
    quantiles = special.stdtrit(np.where(usable, given, 1.0), probability)
    return np.asarray(np.where(usable, quantiles, np.inf), dtype=np.float64)


def t_tails(statistic: npt.ArrayLike, df: npt.ArrayLike) -> Floats:
    """P(T > statistic), elementwise; one half without degrees of freedom."""
    given = np.asarray(df, dtype=np.float64)
    usable = given > 0.0
    tails = special.stdtr(np.where(usable, given, 1.0), -np.asarray(statistic, dtype=np.float64))
    return np.asarray(np.where(usable, tails, 0.5), dtype=np.float64)


def t_quantile(probability: float, df: float) -> float:
    """The quantile of Student's t; infinite without degrees of freedom."""
    return float(t_quantiles(probability, df))


def t_tail(statistic: float, df: float) -> float:
    """P(T > statistic); one half without degrees of freedom."""
    return float(t_tails(statistic, df))


def quasi_f_df(squares: Three, degrees: Three, total: npt.ArrayLike) -> Floats:
    """Satterthwaite's degrees of freedom of `total`, a sum of mean squares (Clark 1973).

    `squares` and `degrees` are those of items, seeds and residual. Where the seeds' mean square
    exceeds the items', the seeds' own degrees of freedom are taken: with few seeds Satterthwaite's
    are too generous there. Where nothing varies, the smaller of the two; without any of the seeds,
    the items'.
    """
    item, seed, residual, df_item, df_seed, df_residual, whole = np.broadcast_arrays(
        *(np.asarray(x, dtype=np.float64) for x in (*squares, *degrees, total))
    )
    shares = sum(
        square**2 / np.where(df > 0.0, df, np.inf)
        for square, df in ((item, df_item), (seed, df_seed), (residual, df_residual))
    )
    usable = (whole > 0.0) & (shares > 0.0)
    df = np.where(usable, whole**2 / np.where(usable, shares, 1.0), np.minimum(df_item, df_seed))
    df = np.where(seed > item, df_seed, df)
    return np.asarray(np.where(df_seed > 0.0, df, df_item), dtype=np.float64)
