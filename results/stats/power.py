"""The smallest effect that a design detects."""

from __future__ import annotations

import math

from steereval.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.student import quasi_f_df, t_quantile


def minimum_detectable_effect(
    var_item: float,
    var_seed: float,
    var_residual: float,
    n_items: int,
    n_seeds: int,
    power: float = 0.8,
    alpha: float = 0.05,
    *,
    n_clusters: int | None = None,
) -> float:
    """(t_{1-alpha/2} + t_power) √(σ²_item/n + σ²_seed/S + σ²_e/(nS)), in the unit of the scores.

    The variances are those of differences (`Effect.var_item` and so on); the degrees of freedom
    those of the crossed estimator for the mean squares that these variances make one expect.
    With one seed they are the items' (or the `n_clusters`'). Infinite with one item or cluster.
    """
    checks.fraction("power", power)
    checks.fraction("alpha", alpha)
    if min(var_item, var_seed, var_residual) < 0 or min(n_items, n_seeds) < 1:
        raise InputError(
            f"variances {var_item}, {var_seed}, {var_residual} with {n_items} items and "
            f"{n_seeds} seeds are no design",
            "Give variances of at least 0 and counts of at least 1.",
        )
    df_item = (n_items if n_clusters is None else n_clusters) - 1.0
    if df_item < 1:
        return math.inf
    squares = (
        n_seeds * var_item + var_residual,
        n_items * var_seed + var_residual,
        var_residual,
    )
    degrees = (df_item, n_seeds - 1.0, (n_items - 1.0) * (n_seeds - 1.0))
    df = float(quasi_f_df(squares, degrees, squares[0] + squares[1] - squares[2]))
    variance = var_item / n_items + var_seed / n_seeds + var_residual / (n_items * n_seeds)
    return (t_quantile(1 - alpha / 2, df) + t_quantile(power, df)) * math.sqrt(variance)
