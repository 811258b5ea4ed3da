"""Student's t: quantiles, tails, and the degrees of freedom of the crossed design."""

from __future__ import annotations

import math

from scipy import special


def t_quantile(probability: float, df: float) -> float:
    """The quantile of Student's t; infinite without degrees of freedom."""
    return float(special.stdtrit(df, probability)) if df > 0.0 else math.inf


def t_tail(statistic: float, df: float) -> float:
    """P(T > statistic); one half without degrees of freedom."""
    return float(special.stdtr(df, -statistic)) if df > 0.0 else 0.5


def quasi_f_df(
    squares: tuple[float, float, float], degrees: tuple[float, float, float], total: float
) -> float:
    """Satterthwaite's degrees of freedom of `total`, a sum of mean squares (Clark 1973).

    `squares` and `degrees` are those of items, seeds and residual. Where the seeds' mean square
    exceeds the items', the seeds' own degrees of freedom are taken: with few seeds Satterthwaite's
    are too generous there. Where nothing varies, the smaller of the two.
    """
    item, seed, _ = squares
    df_item, df_seed, _ = degrees
    if df_seed <= 0.0:
        return df_item
    if seed > item:
        return df_seed
    if total <= 0.0:
        return min(df_item, df_seed)
    terms = [ms**2 / df for ms, df in zip(squares, degrees, strict=True) if df > 0.0]
    return total**2 / sum(terms)
