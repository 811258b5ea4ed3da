"""The crossed estimator: a mean difference over items × seeds, both drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from steereval.results.stats import checks
from steereval.results.stats.anova import MeanSquareTable, effective_folds, mean_squares
from steereval.results.stats.cautions import NO_VARIATION, OUT_OF_REACH, cautions
from steereval.results.stats.clusters import (
    EXACT_CLUSTERS,
    cluster_sign_flip,
    effective_clusters,
    jackknife_shifts,
    least_p,
)
from steereval.results.stats.effect import UNBOUNDED, Effect, Floats, Labels
from steereval.results.stats.guard import Guard
from steereval.results.stats.seed_robust import seed_robust_p
from steereval.results.stats.skewness import half_widths, two_sided_p
from steereval.results.stats.student import quasi_f_df

RESAMPLES = 10_000
"""Sign flips drawn where a test resamples."""

T_OVER_ITEMS = "t over items"
T_OVER_CLUSTERS = "t over clusters"

_ROUNDING = 1e-12


@dataclass(frozen=True)
class CrossedEstimates:
    """Crossed estimates of several matrices of differences, each field [matrices]."""

    estimate: Floats
    """The mean differences."""

    se: Floats
    """Their standard errors."""

    df: Floats
    """Degrees of freedom."""

    low: Floats
    """Lower ends of the intervals."""

    high: Floats
    """Upper ends of the intervals."""

    p_value: Floats
    """Two-sided, by the t test."""

    p_robust: Floats
    """Two-sided, not trusting few seeds that agree: see `seed_robust_p`."""

    skewness: Floats
    """As in `Effect`."""

    var_item: Floats
    """As in `Effect`."""

    var_seed: Floats
    """As in `Effect`."""

    var_residual: Floats
    """As in `Effect`."""


def crossed_effect(
    diff: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    *,
    resamples: int = RESAMPLES,
    seed: int | Sequence[int] = 0,
    guard: Guard | None = None,
) -> Effect:
    """The mean of `diff` [items, seeds] with an uncertainty over items and seeds.

    d_is = δ + a_i + b_s + e_is. Var = max(MS_I + MS_S - MS_IS, MS_I)/(nS), degrees of freedom by
    Satterthwaite (quasi-F, Clark 1973), or those of the seeds where MS_S > MS_I.

    clusters [items]: the item term MS_I/(nS) is the CR3 cluster-jackknife variance instead, with
    the degrees of freedom of the effective number of clusters.
    folds [items]: each fold × seed is one fit, b_fs independent of each other; MS_S is then the
    mean of the folds' own MS_S, weighted by their numbers of items.
    One seed: everything is conditional on that seed, from items (t) or clusters (sign flips,
    `resamples` of them from `seed`; with 0 of them by t all the same).
    One item or one cluster: the standard error is infinite and p is 1.
    No variation at all: the p-value is that of the sign flips, 2^(1 - clusters), not 0.
    guard: the scale of `diff`. The estimate then carries what the report's numbers rest on: the
    variance of `Guard.added_variance`, the larger one of the p-values of t and of Hall's
    skewness-corrected t, an interval that leaves out just what these reject, and cautions. One
    seed goes by that t instead of sign flips, and claims nothing that no pattern of signs over the
    clusters could. Without variation on a scale without ends nothing is estimated: the standard
    error is infinite and p is 1.
    NaN and infinite differences are an InputError.
    """
    matrix = checks.items_by_seeds("diff", diff)
    labels, fold_codes = _codes(len(matrix), clusters, folds)
    checks.fraction("confidence", confidence)
    if labels.max() == 0:
        return _unbounded(matrix, confidence)
    estimates = _estimates(matrix[None], labels, fold_codes, confidence, guard)
    effect = _effect(estimates, matrix, labels, confidence)
    effect = replace(effect, fits_per_seed=effective_folds(fold_codes))
    if guard is not None:
        return _guarded(effect, matrix, labels, guard)
    if matrix.shape[1] == 1 and clusters is not None and resamples > 0:
        p_value = cluster_sign_flip(matrix[:, 0], labels, resamples, seed)
        effect = with_sign_flip(effect, p_value, resamples)
    return effect


def crossed_estimates(
    diffs: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    guard: Guard | None = None,
) -> CrossedEstimates:
    """`crossed_effect` of every matrix of `diffs` [matrices, items, seeds], all by the t test.

    At least two clusters; a stack of another form, or with values that are not finite, is an
    InputError.
    """
    stack = checks.finite("diffs", diffs)
    checks.fraction("confidence", confidence)
    if stack.ndim != 3:
        raise checks.wrong_dimensions("diffs", stack, "a stack [matrices, items, seeds]")
    labels, fold_codes = _codes(stack.shape[1], clusters, folds)
    if labels.max() == 0:
        raise checks.too_few("clusters", 1, 2)
    return _estimates(stack, labels, fold_codes, confidence, guard)


def _codes(
    n: int, clusters: npt.ArrayLike | None, folds: npt.ArrayLike | None
) -> tuple[Labels, Labels]:
    labels = checks.codes("clusters", clusters, n)
    return labels, np.zeros(n, np.intp) if folds is None else checks.codes("folds", folds, n)


def _estimates(
    stack: Floats,
    clusters: Labels,
    folds: Labels,
    confidence: float,
    guard: Guard | None = None,
) -> CrossedEstimates:
    _, n, seeds = stack.shape
    table = mean_squares(stack, clusters, folds)
    if guard is not None:
        added = guard.added_variance(stack, clusters, table)
        table = table.with_item(table.squares[0] + n * seeds * added)
    item, seed, residual = table.squares
    total = np.maximum(item + seed - residual, item)
    estimate, se = stack.mean(axis=(1, 2)), np.sqrt(total / (n * seeds))
    constant = se <= _ROUNDING * np.abs(stack).max(axis=(1, 2))
    total = np.where(constant, 0.0, total)
    se = np.where(constant, 0.0 if guard is None else np.inf, se)
    df = quasi_f_df(table.squares, table.degrees, total)
    skewness = np.zeros(len(stack)) if guard is None else _skewness(stack, clusters, se)
    below, above = half_widths(confidence, skewness, df)
    p_value = _t_test(estimate, se, df, skewness, int(clusters.max()) + 1)
    robust = p_value.copy()
    if seeds > 1:
        varies = ~constant
        robust[varies] = seed_robust_p(estimate[varies], table.of(varies), n * seeds)
    low, high = estimate - _times(se, below), estimate + _times(se, above)
    if guard is not None:
        low, high = guard.clipped(low, high)
    return CrossedEstimates(
        estimate=estimate,
        se=se,
        df=df,
        low=low,
        high=high,
        p_value=p_value,
        p_robust=np.maximum(robust, p_value),
        skewness=skewness,
        **_components(table, n, seeds),
    )


def _times(se: Floats, half: Floats) -> Floats:
    """Half widths of intervals; 0 where the standard error is."""
    return np.where(se == 0.0, 0.0, se * np.where(se == 0.0, 1.0, half))


def _skewness(stack: Floats, clusters: Labels, se: Floats) -> Floats:
    """[matrices]: the skewness of the estimates, of the clusters' (or items') shares in them."""
    shares = jackknife_shifts(stack.mean(axis=2), clusters)
    cubes = np.sum(shares**3, axis=1)
    usable = np.isfinite(se) & (se > 0.0)
    return np.where(usable, cubes / np.where(usable, se, 1.0) ** 3, 0.0)


def _components(table: MeanSquareTable, n: int, seeds: int) -> dict[str, Floats]:
    item, seed, residual = table.squares
    return {
        "var_item": np.maximum((item - residual) / seeds, 0.0),
        "var_seed": np.maximum((seed - residual) / n, 0.0),
        "var_residual": residual,
    }


def _t_test(estimate: Floats, se: Floats, df: Floats, skewness: Floats, groups: int) -> Floats:
    varies = se > 0.0
    ratio = estimate / np.where(varies, se, 1.0)
    p = np.where(varies, two_sided_p(ratio, skewness, df), 2.0 ** (1 - groups))
    return np.asarray(np.where(estimate == 0.0, 1.0, p), dtype=np.float64)


def _effect(
    estimates: CrossedEstimates, matrix: Floats, clusters: Labels, confidence: float
) -> Effect:
    n, seeds = matrix.shape
    groups = int(clusters.max()) + 1
    over = T_OVER_ITEMS if groups == n else T_OVER_CLUSTERS
    numbers: dict[str, Any] = {name: float(values[0]) for name, values in vars(estimates).items()}
    return Effect(
        **numbers,
        n_items=n,
        n_seeds=seeds,
        n_clusters=groups,
        confidence=confidence,
        test="crossed t" if seeds > 1 else over,
        interval="t",
        effective_clusters=effective_clusters(clusters),
    )


def _guarded(effect: Effect, matrix: Floats, clusters: Labels, guard: Guard) -> Effect:
    """`effect` with its cautions, and without a claim that no pattern of signs could make."""
    if math.isinf(effect.se):
        low, high = guard.ends
        return replace(effect, p_value=1.0, p_robust=1.0, low=low, high=high,
                       interval=UNBOUNDED, marks=(NO_VARIATION,))  # fmt: skip
    marks = cautions(effect, matrix, clusters, guard)
    effect = replace(effect, test=f"{effect.test}, skewness-corrected", marks=tuple(marks))
    if effect.n_seeds > 1:
        return effect
    least = least_p(effect.n_clusters)
    p_value = max(effect.p_value, least)
    effect = replace(effect, p_value=p_value, p_robust=max(effect.p_robust, p_value))
    if least < 1.0 - effect.confidence:
        return effect
    low, high = guard.ends
    return replace(effect, low=low, high=high, interval=UNBOUNDED, marks=(OUT_OF_REACH, *marks))


def with_sign_flip(effect: Effect, p_value: float, resamples: int) -> Effect:
    """`effect` of one seed with the p-value of `resamples` sign flips over its clusters."""
    units = "clusters" if effect.n_clusters < effect.n_items else "items"
    how = "all patterns" if effect.n_clusters <= EXACT_CLUSTERS else f"{resamples} resamples"
    test = f"sign flip over {units}, {how}"
    return replace(effect, p_value=p_value, p_robust=p_value, test=test)


def _unbounded(matrix: Floats, confidence: float) -> Effect:
    """One item, or one cluster: there is an estimate, and nothing can be said about its error."""
    n, seeds = matrix.shape
    return Effect(
        estimate=float(matrix.mean()),
        se=math.inf,
        df=0.0,
        low=-math.inf,
        high=math.inf,
        p_value=1.0,
        p_robust=1.0,
        var_item=math.inf,
        var_seed=0.0,
        var_residual=0.0,
        n_items=n,
        n_seeds=seeds,
        n_clusters=1,
        confidence=confidence,
        test="none: one item or cluster",
        interval=UNBOUNDED,
    )
