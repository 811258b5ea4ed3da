"""The crossed estimator: a mean difference over items × seeds, both drawn at random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from steereval.results.stats import checks
from steereval.results.stats.clusters import (
    EXACT_CLUSTERS,
    cluster_sign_flip,
    jackknife_variance,
)
from steereval.results.stats.effect import Effect, Floats, Labels
from steereval.results.stats.student import quasi_f_df, t_quantile, t_tail

RESAMPLES = 10_000
"""Sign flips drawn where a test resamples."""

_ROUNDING = 1e-12


@dataclass(frozen=True)
class _MeanSquares:
    """Mean squares of items, seeds and residual, with their degrees of freedom."""

    squares: tuple[float, float, float]
    degrees: tuple[float, float, float]


def crossed_effect(
    diff: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    *,
    resamples: int = RESAMPLES,
    seed: int | Sequence[int] = 0,
) -> Effect:
    """The mean of `diff` [items, seeds] with an uncertainty over items and seeds.

    d_is = δ + a_i + b_s + e_is. Var = max(MS_I + MS_S - MS_IS, MS_I)/(nS), degrees of freedom by
    Satterthwaite (quasi-F, Clark 1973), or those of the seeds where MS_S > MS_I.

    clusters [items]: the item term MS_I/(nS) is the CR3 cluster-jackknife variance instead.
    folds [items]: each fold × seed is one fit, b_fs independent of each other; MS_S is then the
    mean of the folds' own MS_S, weighted by their numbers of items.
    One seed: everything is conditional on that seed, from items (t) or clusters (sign flips,
    `resamples` of them from `seed`).
    One item or one cluster: the standard error is infinite and p is 1.
    No variation at all: the p-value is that of the sign flips, 2^(1 - clusters), not 0.
    NaN and infinite differences are an InputError.
    """
    matrix = checks.items_by_seeds("diff", diff)
    checks.fraction("confidence", confidence)
    labels = checks.codes("clusters", clusters, len(matrix))
    fold_codes = np.zeros(len(matrix), np.intp)
    if folds is not None:
        fold_codes = checks.codes("folds", folds, len(matrix))
    if labels.max() == 0:
        return _unbounded(matrix, confidence)
    effect = _from_squares(matrix, _mean_squares(matrix, labels, fold_codes), labels, confidence)
    if matrix.shape[1] == 1 and clusters is not None:
        effect = _with_sign_flip(effect, matrix[:, 0], labels, resamples, seed)
    return effect


def _mean_squares(matrix: Floats, clusters: Labels, folds: Labels) -> _MeanSquares:
    n, seeds = matrix.shape
    item_means = matrix.mean(axis=1)
    item = n * seeds * jackknife_variance(item_means, clusters)
    df_item = float(clusters.max())
    if seeds == 1:
        return _MeanSquares((item, 0.0, 0.0), (df_item, 0.0, 0.0))
    sizes = np.bincount(folds).astype(np.float64)
    fits = np.zeros((len(sizes), seeds))
    np.add.at(fits, folds, matrix)
    fits /= sizes[:, None]
    fit_effects = fits - fits.mean(axis=1, keepdims=True)
    per_fold = sizes * np.sum(fit_effects**2, axis=1) / (seeds - 1)
    df_residual = (n - len(sizes)) * (seeds - 1)
    residuals = matrix - item_means[:, None] - fit_effects[folds]
    residual = float(np.sum(residuals**2)) / df_residual if df_residual else 0.0
    effective_folds = float(np.sum(sizes**2) ** 2 / np.sum(sizes**4))
    degrees = (df_item, effective_folds * (seeds - 1), float(df_residual))
    return _MeanSquares((item, float(np.sum(sizes / n * per_fold)), residual), degrees)


def _from_squares(
    matrix: Floats, table: _MeanSquares, clusters: Labels, confidence: float
) -> Effect:
    n, seeds = matrix.shape
    item, seed, residual = table.squares
    total = max(item + seed - residual, item)
    estimate, se = float(matrix.mean()), math.sqrt(total / (n * seeds))
    groups = int(clusters.max()) + 1
    if se <= _ROUNDING * float(np.abs(matrix).max()):
        se = total = 0.0
    df = quasi_f_df(table.squares, table.degrees, total)
    half = t_quantile((1 + confidence) / 2, df) * se if se else 0.0
    return Effect(
        estimate=estimate,
        se=se,
        df=df,
        low=estimate - half,
        high=estimate + half,
        p_value=_t_test(estimate, se, df, groups),
        var_item=max((item - residual) / seeds, 0.0),
        var_seed=max((seed - residual) / n, 0.0),
        var_residual=residual,
        n_items=n,
        n_seeds=seeds,
        n_clusters=groups,
        confidence=confidence,
        test="crossed t" if seeds > 1 else "t over items",
        interval="t",
    )


def _t_test(estimate: float, se: float, df: float, groups: int) -> float:
    if estimate == 0.0:
        return 1.0
    if se == 0.0:
        return 2.0 ** (1 - groups)
    return min(1.0, 2.0 * t_tail(abs(estimate) / se, df))


def _with_sign_flip(
    effect: Effect, column: Floats, clusters: Labels, resamples: int, seed: int | Sequence[int]
) -> Effect:
    p_value = cluster_sign_flip(column, clusters, resamples, seed)
    units = "clusters" if effect.n_clusters < effect.n_items else "items"
    how = "all patterns" if effect.n_clusters <= EXACT_CLUSTERS else f"{resamples} resamples"
    return replace(effect, p_value=p_value, test=f"sign flip over {units}, {how}")


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
        var_item=math.inf,
        var_seed=0.0,
        var_residual=0.0,
        n_items=n,
        n_seeds=seeds,
        n_clusters=1,
        confidence=confidence,
        test="none: one item or cluster",
        interval="unbounded",
    )
