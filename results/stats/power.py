"""Planning: the smallest effect that a design detects, and the design that an effect needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.effect import Effect, Floats
from steereval.results.stats.student import quasi_f_df, t_quantiles

MOST_ITEMS = 1_000_000
"""Larger designs are not searched."""

MOST_SEEDS = 1_000
"""Likewise."""


@dataclass(frozen=True)
class Variances:
    """What a design is planned from: the variance components of a difference."""

    item: float
    """Between items (`Effect.var_item`: with clusters it contains the design effect)."""

    seed: float
    """Between fits."""

    residual: float
    """Of what is left, items × seeds."""

    items_per_cluster: float = 1.0
    """The degrees of freedom are those of clusters of this size, the mean of equal ones that tell
    as much as the pilot's."""

    fits_per_seed: float = 1.0
    """Fits that a seed stands for (`Effect.fits_per_seed`)."""

    def __post_init__(self) -> None:
        """Refuse negative or infinite variances."""
        parts = (self.item, self.seed, self.residual)
        if min(parts) < 0 or not all(map(math.isfinite, parts)) or self.items_per_cluster < 1:
            raise InputError(
                f"the variances {', '.join(f'{part:g}' for part in parts)} with "
                f"{self.items_per_cluster:g} items a cluster are those of no difference",
                "Give finite numbers of at least 0, and clusters of at least one item.",
            )

    @classmethod
    def of(cls, effect: Effect) -> Variances:
        """The components that a pilot found."""
        return cls(
            effect.var_item,
            effect.var_seed,
            effect.var_residual,
            effect.n_items / (effect.effective_clusters or effect.n_clusters),
            effect.fits_per_seed,
        )


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
    if min(n_items, n_seeds) < 1:
        raise InputError(
            f"{n_items} items and {n_seeds} seeds are no design", "Give counts of at least 1."
        )
    per_cluster = 1.0 if n_clusters is None else n_items / n_clusters
    variances = Variances(var_item, var_seed, var_residual, per_cluster)
    return float(detectable_effects(variances, n_items, n_seeds, power, alpha))


def detectable_effects(
    variances: Variances,
    n_items: npt.ArrayLike,
    n_seeds: npt.ArrayLike,
    power: float = 0.8,
    alpha: float = 0.05,
) -> Floats:
    """`minimum_detectable_effect` for every pair of `n_items` and `n_seeds`, broadcast together."""
    checks.fraction("power", power)
    checks.fraction("alpha", alpha)
    n, s = np.broadcast_arrays(
        np.asarray(n_items, dtype=np.float64), np.asarray(n_seeds, dtype=np.float64)
    )
    item, seed, residual = variances.item, variances.seed, variances.residual
    squares = (s * item + residual, n * seed + residual, np.full(n.shape, residual))
    df_item = n / variances.items_per_cluster - 1.0
    df_seed = variances.fits_per_seed * (s - 1.0)
    degrees = (np.maximum(df_item, 1e-9), df_seed, (n - 1.0) * (s - 1.0))
    df = quasi_f_df(squares, degrees, squares[0] + squares[1] - squares[2])
    spread = np.sqrt(item / n + seed / s + residual / (n * s))
    found = (t_quantiles(1 - alpha / 2, df) + t_quantiles(power, df)) * spread
    return np.asarray(np.where(df_item <= 1e-9, np.inf, found), dtype=np.float64)


def normal_items(variance: float, effect: float, power: float = 0.8, alpha: float = 0.05) -> int:
    """n = (z_{1-alpha/2} + z_power)² `variance`/`effect`², rounded to the nearest (Miller 2024).

    `variance` is that of one item's mean difference. The t test asks for a few items more.
    """
    checks.fraction("power", power)
    checks.fraction("alpha", alpha)
    _check_effect(effect)
    z = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    return round(z**2 * variance / effect**2)


def least_items(
    effect: float, variances: Variances, n_seeds: int, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """The least number of items with which `n_seeds` seeds detect `effect`.

    None if MOST_ITEMS do not do: the seeds' own variance then bounds what can be seen.
    """
    variance = variances.item + variances.residual / n_seeds
    start = max(2, min(normal_items(variance, effect, power, alpha) - 1, MOST_ITEMS))
    width = 64
    while start <= MOST_ITEMS:
        counts = np.arange(start, min(start + width, MOST_ITEMS + 1))
        enough = detectable_effects(variances, counts, n_seeds, power, alpha) <= effect
        if enough.any():
            return int(counts[np.argmax(enough)])
        start, width = start + width, 2 * width
    return None


def least_seeds(
    effect: float, variances: Variances, n_items: int, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """The least number of seeds, from 1 on, with which `n_items` items detect `effect`.

    None if MOST_SEEDS do not do: the items' own variance then bounds what can be seen.
    """
    _check_effect(effect)
    counts = np.arange(1, MOST_SEEDS + 1)
    enough = detectable_effects(variances, n_items, counts, power, alpha) <= effect
    return int(counts[np.argmax(enough)]) if enough.any() else None


def _check_effect(effect: float) -> None:
    if not (math.isfinite(effect) and effect > 0):
        raise InputError(f"the wanted effect is {effect}", "Give a positive difference.")
