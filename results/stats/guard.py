"""Guards against intervals that are narrower than their data allow.

A variance that is estimated from items that hardly differ is an accident: no difference among five
items does not show that there is none. Two more observations, one at either end of what can be
observed, are therefore added to every variance of scores with a range, as Bonett and Price (2012)
add one pair to both kinds of discordant pairs. Where items differ a lot, they count for nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from steereval.results.stats.anova import MeanSquareTable
from steereval.results.stats.clusters import effective_clusters, jackknife_shifts
from steereval.results.stats.effect import Floats, Labels

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Guard:
    """The scale of the values whose mean is estimated."""

    low: float | None = None
    """The least possible value; None: the scale has no ends."""

    high: float | None = None
    """The largest possible value."""

    is_binary: bool = False
    """Whether the values are differences or means of scores that are 0 or 1."""

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest possible value."""
        low = -math.inf if self.low is None else self.low
        return low, math.inf if self.high is None else self.high

    def clipped(self, low: Floats, high: Floats) -> tuple[Floats, Floats]:
        """The ends of intervals, no further out than the scale."""
        if self.low is None or self.high is None:
            return low, high
        return np.maximum(low, self.low), np.minimum(high, self.high)

    def added_variance(self, stack: Floats, clusters: Labels, table: MeanSquareTable) -> Floats:
        """The variance that two more items, one at either end, add to that of the means.

        2R²/(N + 2)² + 2N(m - c)²/(N + 2)³, times the share of an item's variance that the mean over
        its seeds keeps. m is the mean, c the middle of the scale, and N the number of items less
        the design effect of the clusters. R is half of the scale for scores of 0 and 1, and where
        no item differs from another; for other scores half of the scale over √(N + 2), since most
        of them never come near its ends.

        Args:
            stack: Values [matrices, items, seeds].
            clusters: [items], codes.
            table: The mean squares of `stack`.

        Returns:
            [matrices]; 0 where the scale has no ends.
        """
        if self.low is None or self.high is None:
            return np.zeros(len(stack))
        item_means = stack.mean(axis=2)
        means, middle = item_means.mean(axis=1), (self.low + self.high) / 2.0
        n = _effective_items(item_means, clusters)
        reach = self._reach(item_means, means, n)
        added = 2.0 * reach**2 / (n + 2.0) ** 2
        if self.is_binary:
            added = added + 2.0 * n * (means - middle) ** 2 / (n + 2.0) ** 3
        return np.asarray(added * _kept_by_the_mean(table, stack.shape[2]), dtype=np.float64)

    def _reach(self, item_means: Floats, means: Floats, n: Floats) -> Floats:
        assert self.low is not None
        assert self.high is not None
        half = (self.high - self.low) / 2.0
        if self.is_binary:
            return np.full(len(means), half)
        furthest = np.abs(item_means - means[:, None]).max(axis=1)
        constant = furthest <= _ROUNDING * half
        return np.where(constant, half, half / np.sqrt(n + 2.0))


def _effective_items(item_means: Floats, clusters: Labels) -> Floats:
    """[matrices]: the number of items less the design effect that the clusters show; that of
    clusters of equal sizes where no item differs."""
    n = item_means.shape[1]
    if int(clusters.max()) + 1 == n:
        return np.full(len(item_means), float(n))
    alone = item_means.var(axis=1, ddof=1) / n
    together = np.sum(jackknife_shifts(item_means, clusters) ** 2, axis=1)
    least = min(effective_clusters(clusters), float(n))
    scale = np.abs(item_means).max(axis=1, initial=0.0) ** 2
    varies = alone > _ROUNDING**2 * scale
    effect = np.where(varies, together / np.where(varies, alone, 1.0), n / least)
    return np.asarray(n / np.clip(effect, 1.0, n / least), dtype=np.float64)


def _kept_by_the_mean(table: MeanSquareTable, seeds: int) -> Floats:
    """[matrices]: variance of an item's mean over its seeds, over that of one of its values."""
    item, _, residual = table.squares
    if seeds == 1:
        return np.ones(len(item))
    item_variance = np.maximum((item - residual) / seeds, 0.0)
    whole = item_variance + residual
    return np.where(
        whole > 0.0, (item_variance + residual / seeds) / np.where(whole > 0.0, whole, 1.0), 1.0
    )
