"""The interval of the seed-robust p-value: all values that its test does not reject."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from steereval.results.stats import checks
from steereval.results.stats.anova import MeanSquareTable, mean_squares
from steereval.results.stats.crossed import crossed_effect
from steereval.results.stats.effect import Effect, Floats
from steereval.results.stats.guard import Guard
from steereval.results.stats.seed_robust import seed_robust_p

SEED_ROBUST = "seed-robust t"
"""Test and interval of an effect over several seeds that carries a claim."""

_CROSSED = "crossed t"

_STEPS = 60
_PRECISE = 1e-9
_ROUNDING = 1e-12
_LEAST_VARIANCE = 1e-6
_LEAST_P = 1e-300
_WIDENINGS = 40.0


def seed_robust_effect(
    diff: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    guard: Guard | None = None,
) -> Effect:
    """`crossed_effect` as a report shows it: p-value and interval do not trust few seeds.

    Args:
        diff: [items, seeds], differences without NaN.
        clusters: [items], labels; None where every item is by itself.
        folds: [items], labels of cross-fitted folds.
        confidence: Coverage that the interval aims at.
        guard: The scale of `diff`, as the report gives it: `Guard(-1, 1, is_binary=True)` for
            differences of scores that are 0 or 1, `Guard(-1, 1)` for others between 0 and 1,
            `Guard()` for a scale without ends.

    Returns:
        The effect of `with_seed_robust`; with one seed that of the t test over items.
    """
    effect = crossed_effect(diff, clusters, folds, confidence, resamples=0, guard=guard)
    return with_seed_robust(effect, diff, clusters, folds, guard)


def with_seed_robust(
    effect: Effect,
    diff: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    guard: Guard | None = None,
) -> Effect:
    """`effect`, an estimate from `diff`, with `p_robust` for its p-value and the interval of it.

    Neither becomes smaller than it was. With one seed, one cluster, or no variation at all there is
    nothing to do: the effect comes back as it is. `guard` is that of the estimate.
    """
    matrix = checks.items_by_seeds("diff", diff)
    n, seeds = matrix.shape
    labels = checks.codes("clusters", clusters, n)
    if seeds == 1 or labels.max() == 0:
        return effect
    fits = np.zeros(n, np.intp) if folds is None else checks.codes("folds", folds, n)
    table = mean_squares(matrix[None], labels, fits)
    if guard is not None:
        added = guard.added_variance(matrix[None], labels, table)
        table = table.with_item(table.squares[0] + matrix.size * added)
    if not varies(table, matrix.size, float(np.abs(matrix).max())):
        return effect
    return widened(effect, float(half_widths(table, matrix.size, effect.confidence)[0]))


def varies(table: MeanSquareTable, cells: int, largest: float) -> bool:
    """Whether the one matrix of `table`, whose largest absolute value is given, is not constant
    but for rounding."""
    return bool(_variances(table, cells)[0] > (_ROUNDING * largest) ** 2)


def _variances(table: MeanSquareTable, cells: npt.ArrayLike) -> Floats:
    item, seed, residual = table.squares
    return np.asarray(np.maximum(item + seed - residual, item) / np.asarray(cells))


def widened(effect: Effect, half: float) -> Effect:
    """`effect` by its robust p-value, and by the interval of half the width `half` if that is the
    wider one: a value is outside only where both tests reject it."""
    is_wider = effect.estimate - half <= effect.low
    return replace(
        effect,
        low=min(effect.low, effect.estimate - half),
        high=max(effect.high, effect.estimate + half),
        p_value=max(effect.p_value, effect.p_robust),
        test=effect.test.replace(_CROSSED, SEED_ROBUST),
        interval=SEED_ROBUST if is_wider else effect.interval,
    )


def half_widths(
    table: MeanSquareTable, cells: npt.ArrayLike, confidence: float, *, precise: float = _PRECISE
) -> Floats:
    """[matrices]: the distance at which `seed_robust_p` is 1 - `confidence`.

    Args:
        table: Mean squares of the matrices, of at least two seeds.
        cells: Number of items × seeds, one or [matrices].
        confidence: Of the interval estimate ± distance.
        precise: Largest difference of the logarithms of p and of the level.

    Returns:
        Distances in the unit of the differences; 0 where neither items nor seeds differ.
    """
    item, seed, _ = table.squares
    most = (item + seed) / np.asarray(cells)
    is_varied = most > 0.0
    # Without variance every distance is rejected: a start of 1 keeps the search finite.
    start = np.maximum(_variances(table, cells), _LEAST_VARIANCE * np.where(is_varied, most, 1.0))
    low = 0.5 * np.log(start)

    def above(log_distance: Floats) -> Floats:
        """Logarithm of p over 1 - confidence: it falls where the distance grows."""
        p = np.maximum(seed_robust_p(np.exp(log_distance), table, cells), _LEAST_P)
        return np.log(p / (1.0 - confidence))

    at_low, high = above(low), low.copy()
    at_high = at_low.copy()
    while np.any(at_high > 0.0):
        high = np.where(at_high > 0.0, high + 1.0, high)
        at_high = above(high)
    # Where most fiducial draws of the seeds have no variance, p is small at every distance.
    bottom = low - _WIDENINGS
    while np.any(is_searched := (at_low < 0.0) & (low > bottom)):
        low = np.where(is_searched, low - 1.0, low)
        at_low = above(low)
    widths = np.exp(_root(above, (low, high), (at_low, at_high), precise))
    return np.asarray(np.where(is_varied & (at_low >= 0.0), widths, 0.0), dtype=np.float64)


def _root(
    function: Callable[[Floats], Floats],
    ends: tuple[Floats, Floats],
    values: tuple[Floats, Floats],
    precise: float,
) -> Floats:
    """[matrices]: where a falling function is within `precise` of 0, between the `ends`, by false
    position; an end that stays twice counts half (the Illinois rule)."""
    (low, high), (at_low, at_high) = ends, values
    side = np.zeros(len(low))
    middle = low
    for _ in range(_STEPS):
        width = at_low - at_high
        middle = low + (high - low) * np.where(width > 0.0, at_low / np.maximum(width, 1e-300), 0.5)
        at_middle = function(middle)
        if np.all(np.abs(at_middle) <= precise):
            break
        beyond = at_middle <= 0.0
        at_low = np.where(beyond & (side > 0), at_low / 2.0, at_low)
        at_high = np.where(~beyond & (side < 0), at_high / 2.0, at_high)
        high, at_high = np.where(beyond, middle, high), np.where(beyond, at_middle, at_high)
        low, at_low = np.where(beyond, low, middle), np.where(beyond, at_low, at_middle)
        side = np.where(beyond, 1.0, -1.0)
    return middle
