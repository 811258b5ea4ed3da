"""Planning: the smallest effect that a design detects, and the design that an effect needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.anova import MeanSquareTable
from steereval.results.stats.critical import detected_differences
from steereval.results.stats.effect import Effect, Floats
from steereval.results.stats.student import t_quantiles

MOST_ITEMS = 1_000_000
"""Larger designs are not searched."""

MOST_SEEDS = 1_000
"""Likewise."""

_PROBES = 8

Counts = npt.NDArray[np.intp]
"""Numbers of items or of seeds."""


@dataclass(frozen=True)
class Variances:
    """Variance components of a difference, from which a design is planned."""

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
    """The least difference that the test of a report finds with probability `power`.

    With one seed (t_{1-alpha/2} + t_power) √(σ²_item/n + σ²_e/n), on the degrees of freedom of the
    items or clusters; with several `detected_differences` of the mean squares that the variances
    make one expect.

    Args:
        var_item: Variance of a difference between items (`Effect.var_item`).
        var_seed: Variance between seeds; with one seed it adds to the error of the estimate.
        var_residual: Variance of what is left.
        n_items: Number of items.
        n_seeds: Number of seeds.
        power: Wanted power.
        alpha: Level of the two-sided test.
        n_clusters: Number of clusters; None: every item is one.

    Returns:
        A difference in the unit of the scores; infinite with one item or cluster.
    """
    if min(n_items, n_seeds) < 1:
        raise InputError(
            f"{n_items} items and {n_seeds} seeds are not a design", "Give counts of at least 1."
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
    df_item = n / variances.items_per_cluster - 1.0
    effects = np.full(n.shape, np.inf)
    for seeds in np.unique(s):
        rows = (s == seeds) & (df_item > 1e-9)
        effects[rows] = _detected(variances, n[rows], float(seeds), power, alpha)
    return effects


def _detected(variances: Variances, n: Floats, seeds: float, power: float, alpha: float) -> Floats:
    """Detected differences of designs with `n` [designs] items and the same number of seeds."""
    item, seed, residual = variances.item, variances.seed, variances.residual
    df_item = n / variances.items_per_cluster - 1.0
    if seeds == 1.0:
        spread = np.sqrt((item + residual) / n + seed)
        return (t_quantiles(1 - alpha / 2, df_item) + t_quantiles(power, df_item)) * spread
    if item + seed + residual == 0.0:
        return np.zeros(len(n))
    squares = (
        np.full(len(n), seeds * item + residual),
        n * seed + residual,
        np.full(len(n), residual),
    )
    degrees = df_item, variances.fits_per_seed * (seeds - 1.0), (n - 1.0) * (seeds - 1.0)
    return detected_differences(MeanSquareTable(squares, degrees), n * seeds, power, alpha)


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
    _check_effect(effect)

    def detects(counts: Counts) -> npt.NDArray[np.bool_]:
        return detectable_effects(variances, counts, n_seeds, power, alpha) <= effect

    return _least(detects, 2, MOST_ITEMS)


def least_seeds(
    effect: float, variances: Variances, n_items: int, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """The least number of seeds, from 1 on, with which `n_items` items detect `effect`.

    None if MOST_SEEDS do not do: the items' own variance then bounds what can be seen.
    """
    _check_effect(effect)

    def detects(counts: Counts) -> npt.NDArray[np.bool_]:
        return detectable_effects(variances, n_items, counts, power, alpha) <= effect

    return 1 if detects(np.ones(1, np.intp))[0] else _least(detects, 2, MOST_SEEDS)


def _least(detects: Callable[[Counts], npt.NDArray[np.bool_]], first: int, most: int) -> int | None:
    """A count from `first` to `most` that detects where the one before does not; None if none does.

    It is the least one where more detects more, which holds but for three seeds that come to
    dominate: there a larger n can detect up to 4 % less.
    """
    below = first - 1
    count = first
    while not detects(np.array([count]))[0]:
        if count == most:
            return None
        below, count = count, min(2 * count, most)
    while count - below > 1:
        counts = np.unique(np.linspace(below + 1, count, _PROBES).astype(np.intp))
        enough = int(np.argmax(detects(counts)))
        count = int(counts[enough])
        below = int(counts[enough - 1]) if enough else below
    return count


def _check_effect(effect: float) -> None:
    if not (math.isfinite(effect) and effect > 0):
        raise InputError(f"the wanted effect is {effect}", "Give a positive difference.")
