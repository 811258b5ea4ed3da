"""Means of what was measured on items, with their intervals, and how they are written."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from steereval.results.analysis import wording
from steereval.results.questions.matrix import Matrix
from steereval.results.stats import Effect, auc_influence, crossed_effect, log_ratio_influence
from steereval.results.stats.effect import Floats


@dataclass(frozen=True)
class Unit:
    """How a number is written."""

    name: str
    """Its name, as at an axis."""

    suffix: str = ""
    """Text after the number: " %"."""

    scale: float = 1.0
    """Factor for display."""

    signed: bool = False
    """Whether a plus is written: it is a change."""

    decimals: int = 0
    """At least so many."""

    is_tiny: bool = False
    """Whether small numbers are written with powers of ten: 2.4e-04."""


SHARE = Unit("%", "\N{NO-BREAK SPACE}%", 100.0)
CHANGE = Unit("%", "\N{NO-BREAK SPACE}%", 100.0, True)
COSINE = Unit("cosine")
AUC = Unit("AUC")
AUC_CHANGE = Unit("AUC", signed=True)
NATS = Unit("nats", "\N{NO-BREAK SPACE}nats", signed=True)
DEGREES = Unit("degrees", "°")
SPEED = Unit("tokens per second")
PLAIN = Unit("")
POINTS = Unit("points", "\N{NO-BREAK SPACE}points", 100.0, True, 1)

ERROR = Unit("%", "\N{NO-BREAK SPACE}%", 100.0, is_tiny=True)

DECIMALS = 3
"""At most so many; one more of means below SMALL."""

SMALL = 0.1

TINY = 1e-3
"""Below it a tiny unit's means have powers of ten."""


@dataclass(frozen=True)
class Estimate:
    """A mean over items and fit seeds with its interval."""

    mean: float
    """In its own unit."""

    low: float
    """Lower end; -inf where one item or one cluster leaves it open."""

    high: float
    """Upper end."""

    n_items: int
    """Number of items."""

    n_clusters: int
    """Number of clusters; the number of items where none are known."""

    n_seeds: int
    """Number of fit seeds, or of repetitions."""

    def words(self, unit: Unit) -> str:
        """With its interval: "71 % [64, 78]"."""
        decimals, parts = self._decimals(unit), (self.mean, self.low, self.high)
        mean, low, high = (wording.number(unit.scale * x, decimals, unit.signed) for x in parts)
        if unit.is_tiny and 0.0 < abs(unit.scale * self.mean) < TINY:
            mean, low, high = (f"{unit.scale * x:.1e}" for x in parts)
        return f"{mean}{unit.suffix} [{low}, {high}]"

    def _decimals(self, unit: Unit) -> int:
        """So many that half the interval's width is at least three units of the last."""
        half, mean = unit.scale * (self.high - self.low) / 2, abs(unit.scale * self.mean)
        if not 0.0 < half < math.inf:
            return 2 if unit.scale == 1.0 else 0
        most = DECIMALS + (mean < SMALL)
        return min(most, max(unit.decimals, math.ceil(math.log10(3.0 / half))))

    def times(self, factor: float) -> Estimate:
        """The same in another unit."""
        ends = sorted((factor * self.low, factor * self.high))
        return replace(self, mean=factor * self.mean, low=ends[0], high=ends[1])

    def exponential(self) -> Estimate:
        """exp of it and of its ends: of a logarithm of a ratio the ratio."""
        mean, low, high = (math.exp(min(x, 700.0)) for x in (self.mean, self.low, self.high))
        return replace(self, mean=mean, low=low, high=high)

    def shifted(self, by: float) -> Estimate:
        """With `by` added."""
        return replace(self, mean=self.mean + by, low=self.low + by, high=self.high + by)


def estimate(effect: Effect) -> Estimate:
    """The part of `effect` that is written."""
    return Estimate(
        *(effect.estimate, effect.low, effect.high),
        *(effect.n_items, effect.n_clusters, effect.n_seeds),
    )


def mean_of(matrix: Matrix, confidence: float) -> Estimate:
    """The mean over items × seeds, by the crossed estimator.

    Of a ragged matrix each seed's mean is over its own items: a ratio of sums, linearised.
    """
    values = matrix.values
    present = ~np.isnan(values)
    if not present.all():
        values = log_ratio_influence(np.where(present, values, 0.0), present.astype(np.float64))
    return estimate(crossed_effect(values, matrix.clusters, None, confidence, resamples=0))


def share_of(matrix: Matrix, confidence: float) -> Estimate:
    """The mean of shares, whose interval lies within 0 and 1.

    Where all are 0, or all are 1, the interval is Clopper and Pearson's for as many trials as there
    are clusters: that nothing else was seen does not mean that nothing else exists.
    """
    return share(mean_of(matrix, confidence), confidence)


def ratio_of(parts: Matrix, wholes: Matrix, confidence: float) -> Estimate | None:
    """The share Σ parts/Σ wholes, each of 0 and 1, with the interval of a ratio of sums.

    A part that was not measured is 0. Items and seeds without a whole are left out; None without
    any.
    """
    base = wholes.only(wholes.items[np.flatnonzero(wholes.values.sum(axis=1))])
    some = base.values.sum(axis=0) > 0
    if not some.any():
        return None
    above = parts.over(base, 0.0) * base.values
    values = log_ratio_influence(above[:, some], base.values[:, some])
    return share_of(replace(base, values=values), confidence)


def difference_of(a: Matrix, b: Matrix, confidence: float) -> Estimate | None:
    """The mean of a - b, paired by item and seed; None if nothing pairs."""
    paired = a.minus(b)
    return None if paired is None else mean_of(paired, confidence)


def auc_of(matrix: Matrix, confidence: float) -> Estimate | None:
    """The AUC of scores against their labels; None where one class is missing."""
    values = auc_values(matrix)
    return None if values is None else share(mean_of(values, confidence), confidence)


def auc_values(matrix: Matrix) -> Matrix | None:
    """Values whose mean is the AUC, so that two AUCs over the same items can be compared."""
    if matrix.labels is None or matrix.labels.all() or not matrix.labels.any():
        return None
    return replace(matrix, values=auc_influence(matrix.values, matrix.labels))


def share(estimate: Estimate, confidence: float) -> Estimate:
    """An estimate of a share, or of an AUC, which lies within 0 and 1; at either see `share_of`."""
    low, high = max(estimate.low, 0.0), min(estimate.high, 1.0)
    if estimate.low == estimate.high and estimate.mean in (0.0, 1.0):
        open_end = 1 - ((1 - confidence) / 2) ** (1 / estimate.n_clusters)
        low, high = (0.0, open_end) if estimate.mean == 0.0 else (1.0 - open_end, 1.0)
    return replace(estimate, low=low, high=high)


def cosine_of(matrix: Matrix, confidence: float) -> Estimate:
    """The mean of cosines, whose interval lies within -1 and 1."""
    mean = mean_of(matrix, confidence)
    return replace(mean, low=max(mean.low, -1.0), high=min(mean.high, 1.0))


def of_columns(values: Floats, like: Matrix) -> Matrix:
    """`values` [items, seeds] in the place of those of `like`."""
    return replace(like, values=np.asarray(values, dtype=np.float64))
