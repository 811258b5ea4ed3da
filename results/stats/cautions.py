"""Where an interval or a test is not to be trusted: rules on the data, and what a report says.

docs/calibration.md shows for each rule the designs in which the tests miss their level.
"""

from __future__ import annotations

import math

import numpy as np

from steereval.results.stats.clusters import jackknife_shifts, jackknife_variances
from steereval.results.stats.effect import Effect, Floats, Labels
from steereval.results.stats.guard import Guard

FEW_CLUSTERS = "few clusters"
FEW_CARRIERS = "a few items make the difference"
SKEWED = "skewed items"
FEW_DIFFER = "few items differ"
FITS_DISAGREE = "fits agree little on the items"
ONE_ITEM = "one more item could overturn it"
OUT_OF_REACH = "too few clusters for any claim"
NO_VARIATION = "no item differs from another"

LEAST_CLUSTERS = 6.0
"""Effective clusters below which a design is cautioned."""

LEAST_CARRIERS = 20.0
"""Effective number of items that make the variance, below which it is cautioned."""

MOST_SKEWNESS = 0.12
"""Skewness of an estimate from which on it is cautioned."""

LEAST_DIFFERING = 25
"""Items of binary scores that differ in a run, below which a comparison is cautioned."""

LEAST_AGREEMENT = 2.5
"""Mean square of items over that of the residual, below which a test is too cautious."""


def cautions(effect: Effect, diff: Floats, clusters: Labels, guard: Guard) -> list[str]:
    """The rules that apply to one comparison.

    Args:
        effect: The estimate from `diff`.
        diff: [items, seeds].
        clusters: [items], codes.
        guard: The scale of `diff`.

    Returns:
        Cautions, in the order of the constants above.
    """
    se = effect.se
    if not np.isfinite(se):
        return [NO_VARIATION]
    marks = []
    if has_few_clusters(clusters, effect.effective_clusters or effect.n_clusters):
        marks.append(FEW_CLUSTERS)
    if not guard.is_binary and has_few_carriers(diff, clusters):
        marks.append(FEW_CARRIERS)
    elif not guard.is_binary and is_skewed(effect.skewness, effect.n_clusters):
        marks.append(SKEWED)
    if guard.is_binary and few_differ(diff):
        marks.append(FEW_DIFFER)
    if fits_disagree(diff, clusters):
        marks.append(FITS_DISAGREE)
    if one_item_overturns(len(diff), se, guard):
        marks.append(ONE_ITEM)
    return marks


def has_few_clusters(clusters: Labels, effective: float) -> bool:
    """Whether items come in clusters, fewer than LEAST_CLUSTERS of equal sizes in effect."""
    return int(clusters.max()) + 1 < len(clusters) and effective < LEAST_CLUSTERS


def has_few_carriers(diff: Floats, clusters: Labels) -> bool:
    """Whether (Σ c²)²/Σ c⁴ of the clusters' shares c of the mean is below LEAST_CARRIERS.

    A third of the number of items for normal values, 1 where a single item makes the variance; of
    short lists it is called few below a quarter of the items.
    """
    shares = jackknife_shifts(diff.mean(axis=1)[None], clusters)[0] ** 2
    total = float(np.sum(shares**2))
    if total == 0.0:
        return False
    carriers = float(np.sum(shares)) ** 2 / total
    return bool(carriers < min(LEAST_CARRIERS, len(shares) / 4.0))


def is_skewed(skewness: float, groups: int) -> bool:
    """Whether the skewness of an estimate over `groups` clusters or items exceeds MOST_SKEWNESS,
    and twice what it is by chance, √6/`groups` for normal values.

    The t test and the skewness-corrected one then reject different samples, and the larger
    p-value of both can be too cautious: size 0.01 where a fifth of 60 items jumps.
    """
    return abs(skewness) > max(MOST_SKEWNESS, 2.0 * math.sqrt(6.0) / groups)


def few_differ(diff: Floats) -> bool:
    """Whether fewer than LEAST_DIFFERING items differ in a run, on average over the seeds.

    Two pseudo-pairs then weigh as much as what was seen: the test claims less than it could.
    """
    return bool(np.count_nonzero(diff) < LEAST_DIFFERING * diff.shape[1])


def fits_disagree(diff: Floats, clusters: Labels) -> bool:
    """Whether items of three seeds or more differ little more from each other than between seeds.

    The seeds' mean square then often exceeds the items' by chance, and the interval takes the few
    degrees of freedom of the seeds: at 0.05 sizes are 0.02 to 0.03, coverages 0.97 to 0.98.
    """
    n, seeds = diff.shape
    if seeds < 3 or n < 2:
        return False
    means = diff.mean(axis=1)
    interaction = diff - means[:, None] - (diff.mean(axis=0) - diff.mean())[None, :]
    residual = float(np.sum(interaction**2)) / ((n - 1) * (seeds - 1))
    item = n * seeds * float(jackknife_variances(means[None], clusters)[0])
    return bool(residual > 0.0 and item < LEAST_AGREEMENT * residual)


def one_item_overturns(n: int, se: float, guard: Guard) -> bool:
    """Whether one more item at the end of the scale would move the mean by two standard errors."""
    if guard.low is None or guard.high is None or guard.is_binary:
        return False
    return (guard.high - guard.low) / 2.0 / n > 2.0 * se
