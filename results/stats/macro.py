"""The macro-mean: one effect over several tasks that share their fit seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from steereval.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.anova import MeanSquareTable, mean_squares
from steereval.results.stats.effect import Effect, Floats, Labels
from steereval.results.stats.guard import Guard
from steereval.results.stats.seed_robust import seed_robust_p
from steereval.results.stats.student import quasi_f_df, t_quantile, t_tail


def macro_effect(
    diffs: Sequence[npt.ArrayLike],
    clusters: Sequence[npt.ArrayLike | None] | None = None,
    folds: Sequence[npt.ArrayLike | None] | None = None,
    confidence: float = 0.95,
    guards: Sequence[Guard] | None = None,
) -> Effect:
    """The mean over tasks of the mean differences `diffs` [tasks][items, seeds].

    Column s of every task is the same fit seed. The macro-mean is formed per seed first: a seed
    that is good on one task may be good on all, so the seed variance is that of the per-seed
    macro-means, while the variances of the items, which the tasks do not share, add:
    Var = max(A + B - C, A), with A = Σ_t MS_I,t/(T² n_t S), C the same of MS_IS, and B the variance
    of the per-seed macro-means over S; Satterthwaite's degrees of freedom, or S - 1 where B > A.

    `var_item`, `var_seed` and `var_residual` of the result are such that their shares, divided by
    `n_items` (the sum over tasks), `n_seeds` and both, are those of the variance. Tasks with other
    numbers of seeds, or a task with one item or cluster, are an InputError.
    guards: the scale of each task's differences, whose `Guard.added_variance` its items get.
    """
    matrices = [checks.items_by_seeds("diffs", diff) for diff in diffs]
    checks.fraction("confidence", confidence)
    if len({matrix.shape[1] for matrix in matrices}) != 1:
        shapes = ", ".join(str(matrix.shape) for matrix in matrices)
        raise InputError(f"the tasks have the shapes {shapes}", "Give all the same fit seeds.")
    labels = [checks.codes("clusters", _of(clusters, t), len(m)) for t, m in enumerate(matrices)]
    if min(int(label.max()) for label in labels) == 0:
        raise checks.too_few("clusters in a task", 1, 2)
    tables = [
        _table(matrix, label, _folds(folds, t, len(matrix)), None if guards is None else guards[t])
        for t, (matrix, label) in enumerate(zip(matrices, labels, strict=True))
    ]
    per_seed = np.mean([matrix.mean(axis=0) for matrix in matrices], axis=0)
    return _effect(per_seed, tables, [len(matrix) for matrix in matrices], labels, confidence)


def _table(matrix: Floats, labels: Labels, folds: Labels, guard: Guard | None) -> MeanSquareTable:
    table = mean_squares(matrix[None], labels, folds)
    if guard is None:
        return table
    added = guard.added_variance(matrix[None], labels, table)
    return table.with_item(table.squares[0] + matrix.size * added)


def _effect(
    per_seed: Floats,
    tables: Sequence[MeanSquareTable],
    sizes: Sequence[int],
    labels: Sequence[Labels],
    confidence: float,
) -> Effect:
    seeds, n = len(per_seed), sum(sizes)
    item, df_item = _summed(tables, sizes, seeds, 0)
    residual, df_residual = _summed(tables, sizes, seeds, 2)
    seed = float(np.var(per_seed, ddof=1)) / seeds if seeds > 1 else 0.0
    estimate, variance = float(per_seed.mean()), max(item + seed - residual, item)
    degrees = (df_item, seeds - 1.0, df_residual)
    df = float(quasi_f_df((item, seed, residual), degrees, variance))
    se = math.sqrt(variance)
    half = t_quantile((1 + confidence) / 2, df) * se
    groups = sum(int(label.max()) + 1 for label in labels)
    p_value = 2.0 * t_tail(abs(estimate) / se, df) if se > 0.0 else 2.0 ** (1 - groups)
    return Effect(
        estimate=estimate,
        se=se,
        df=df,
        low=estimate - half,
        high=estimate + half,
        p_value=1.0 if estimate == 0.0 else min(1.0, p_value),
        p_robust=_robust(estimate, (item, seed, residual), degrees, p_value),
        var_item=n * max(item - residual, 0.0),
        var_seed=seeds * max(seed - residual, 0.0),
        var_residual=n * seeds * residual,
        n_items=n,
        n_seeds=seeds,
        n_clusters=groups,
        confidence=confidence,
        test=f"crossed t over {len(sizes)} tasks" if seeds > 1 else "t over items of all tasks",
    )


def _robust(
    estimate: float,
    parts: tuple[float, float, float],
    degrees: tuple[float, float, float],
    p_value: float,
) -> float:
    if estimate == 0.0 or degrees[1] <= 0.0 or parts[0] <= 0.0:
        return 1.0 if estimate == 0.0 else min(1.0, p_value)
    squares = (np.array([parts[0]]), np.array([parts[1]]), np.array([parts[2]]))
    robust = seed_robust_p(np.array([estimate]), MeanSquareTable(squares, degrees), 1)
    return max(float(robust[0]), min(1.0, p_value))


def _summed(
    tables: Sequence[MeanSquareTable], sizes: Sequence[int], seeds: int, which: int
) -> tuple[float, float]:
    """One kind of mean squares, as it enters the variance, with Satterthwaite's df of the sum."""
    shares = np.array(
        [
            float(table.squares[which][0]) / (len(sizes) ** 2 * n * seeds)
            for table, n in zip(tables, sizes, strict=True)
        ]
    )
    degrees = np.array([table.degrees[which] for table in tables])
    usable = (degrees > 0.0) & (shares > 0.0)
    if not usable.any():
        return 0.0, float(degrees.sum())
    total = float(shares.sum())
    return total, float(total**2 / np.sum(shares[usable] ** 2 / degrees[usable]))


def _of(given: Sequence[npt.ArrayLike | None] | None, task: int) -> npt.ArrayLike | None:
    return None if given is None else given[task]


def _folds(given: Sequence[npt.ArrayLike | None] | None, task: int, n: int) -> Labels:
    mine = _of(given, task)
    return np.zeros(n, np.intp) if mine is None else checks.codes("folds", mine, n)
