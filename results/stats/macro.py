"""The macro-mean: one effect over several tasks that share their fit seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.anova import MeanSquareTable, mean_squares
from steereval.results.stats.clusters import jackknife_shifts
from steereval.results.stats.effect import Effect, Floats, Labels
from steereval.results.stats.guard import Guard
from steereval.results.stats.seed_robust import seed_robust_p
from steereval.results.stats.seed_robust_interval import half_widths, varies, widened
from steereval.results.stats.student import quasi_f_df, t_quantile, t_tail


def macro_effect(
    diffs: Sequence[npt.ArrayLike],
    clusters: Sequence[npt.ArrayLike | None] | None = None,
    folds: Sequence[npt.ArrayLike | None] | None = None,
    confidence: float = 0.95,
    *,
    guards: Sequence[Guard] | None = None,
    shared_clusters: bool = False,
    seed_robust: bool = False,
) -> Effect:
    """The mean over tasks of the mean differences `diffs`, a list over tasks of [items, seeds].

    Column s of every task is the same fit seed. The macro-mean is formed per seed first: a seed
    that is good on one task may be good on all, so the seed variance is that of the per-seed
    macro-means, while the variances of the items, which the tasks do not share, add:
    Var = max(A + B - C, A), with A = Σ_t MS_I,t/(T² n_t S), C the same of MS_IS, and B the variance
    of the per-seed macro-means over S; Satterthwaite's degrees of freedom, or S - 1 where B > A.

    shared_clusters: whether a label of `clusters` is the same cluster in every task that has it, as
    where two tasks score the same documents. Their items' parts do not add then: A is the CR3
    variance of the macro-mean over the clusters of all tasks.
    seed_robust: whether p-value and interval are those of `with_seed_robust`, as in a report.

    `var_item`, `var_seed` and `var_residual` of the result are such that their shares, divided by
    `n_items` (the sum over tasks), `n_seeds` and both, are those of the variance. Tasks with other
    numbers of seeds, or a task with one item or cluster, are an InputError.
    guards: the scale of each task's differences, whose `Guard.added_variance` its items get.
    """
    checks.fraction("confidence", confidence)
    matrices, labels = _checked(diffs, clusters)
    tables = [
        mean_squares(matrix[None], label, _folds(folds, t, len(matrix)))
        for t, (matrix, label) in enumerate(zip(matrices, labels, strict=True))
    ]
    sizes, seeds = [len(matrix) for matrix in matrices], matrices[0].shape[1]
    groups = sum(int(label.max()) + 1 for label in labels)
    items = _summed(tables, sizes, seeds, 0)
    if shared_clusters and clusters is not None:
        units = _common_codes(clusters)
        items, groups = _items_of_blocks(matrices, labels, units), int(max(map(np.max, units))) + 1
    if guards is not None:
        items = items[0] + _added(matrices, labels, tables, guards), items[1]
    per_seed = np.mean([matrix.mean(axis=0) for matrix in matrices], axis=0)
    residuals = _summed(tables, sizes, seeds, 2)
    counts = (sum(sizes), groups, len(sizes))
    effect, table = _effect(per_seed, items, residuals, counts, confidence)
    if not seed_robust or not varies(table, 1, abs(effect.estimate)) or seeds == 1:
        return effect
    return widened(effect, float(half_widths(table, 1, confidence)[0]))


def _checked(
    diffs: Sequence[npt.ArrayLike], clusters: Sequence[npt.ArrayLike | None] | None
) -> tuple[list[Floats], list[Labels]]:
    """The tasks' matrices [items, seeds] and cluster codes [items]."""
    matrices = [checks.items_by_seeds("diffs", diff) for diff in diffs]
    if len({matrix.shape[1] for matrix in matrices}) != 1:
        shapes = ", ".join(str(matrix.shape) for matrix in matrices)
        raise InputError(f"the tasks have the shapes {shapes}", "Give all the same fit seeds.")
    labels = [checks.codes("clusters", _of(clusters, t), len(m)) for t, m in enumerate(matrices)]
    if min(int(label.max()) for label in labels) == 0:
        raise checks.too_few("clusters in a task", 1, 2)
    return matrices, labels


def _added(
    matrices: Sequence[Floats],
    labels: Sequence[Labels],
    tables: Sequence[MeanSquareTable],
    guards: Sequence[Guard],
) -> float:
    """The variance that the guards add to the macro-mean."""
    parts = zip(matrices, labels, tables, guards, strict=True)
    added = [float(g.added_variance(m[None], label, table)[0]) for m, label, table, g in parts]
    return sum(added) / len(matrices) ** 2


def _effect(
    per_seed: Floats,
    items: tuple[float, float],
    residuals: tuple[float, float],
    counts: tuple[int, int, int],
    confidence: float,
) -> tuple[Effect, MeanSquareTable]:
    """The effect by the crossed t, and the parts of its variance as mean squares of one cell."""
    seeds, (n, groups, n_tasks) = len(per_seed), counts
    (item, df_item), (residual, df_residual) = items, residuals
    seed = float(np.var(per_seed, ddof=1)) / seeds if seeds > 1 else 0.0
    estimate, variance = float(per_seed.mean()), max(item + seed - residual, item)
    degrees = (df_item, seeds - 1.0, df_residual)
    table = MeanSquareTable((np.array([item]), np.array([seed]), np.array([residual])), degrees)
    df = float(quasi_f_df((item, seed, residual), degrees, variance))
    se = math.sqrt(variance)
    half = t_quantile((1 + confidence) / 2, df) * se
    p_value = 2.0 * t_tail(abs(estimate) / se, df) if se > 0.0 else 2.0 ** (1 - groups)
    effect = Effect(
        estimate=estimate,
        se=se,
        df=df,
        low=estimate - half,
        high=estimate + half,
        p_value=1.0 if estimate == 0.0 else min(1.0, p_value),
        p_robust=_robust(estimate, table, p_value),
        var_item=n * max(item - residual, 0.0),
        var_seed=seeds * max(seed - residual, 0.0),
        var_residual=n * seeds * residual,
        n_items=n,
        n_seeds=seeds,
        n_clusters=groups,
        confidence=confidence,
        test=f"crossed t over {n_tasks} tasks" if seeds > 1 else "t over items of all tasks",
    )
    return effect, table


def _robust(estimate: float, table: MeanSquareTable, p_value: float) -> float:
    if estimate == 0.0 or table.degrees[1] <= 0.0 or table.squares[0][0] <= 0.0:
        return 1.0 if estimate == 0.0 else min(1.0, p_value)
    robust = seed_robust_p(np.array([estimate]), table, 1)
    return max(float(robust[0]), min(1.0, p_value))


def _common_codes(clusters: Sequence[npt.ArrayLike | None]) -> list[Labels]:
    """[tasks][items]: codes of the labels, the same in all tasks."""
    if any(label is None for label in clusters):
        raise InputError("a task has no clusters", "Give labels that all tasks share, or none.")
    arrays = [np.asarray(label) for label in clusters]
    codes = checks.codes("clusters", np.concatenate(arrays), sum(map(len, arrays)))
    return np.split(codes, np.cumsum([len(array) for array in arrays])[:-1])


def _items_of_blocks(
    matrices: Sequence[Floats], labels: Sequence[Labels], units: Sequence[Labels]
) -> tuple[float, float]:
    """The items' part of the variance, and its degrees of freedom.

    Tasks that share a cluster, directly or through others, are a block: its variance is CR3's with
    the tasks' jackknife shifts of one cluster added, on G - 1 degrees of freedom. Blocks add.
    """
    variances, degrees = [], []
    for block in _blocks(units):
        shifts = np.zeros(int(max(map(np.max, units))) + 1)
        for task in block:
            means = matrices[task].mean(axis=1)[None]
            first = np.unique(labels[task], return_index=True)[1]
            shifts[units[task][first]] += jackknife_shifts(means, labels[task])[0] / len(matrices)
        variances.append(float(np.sum(shifts**2)))
        degrees.append(len(np.unique(np.concatenate([units[task] for task in block]))) - 1.0)
    total, spread = sum(variances), sum(v**2 / df for v, df in zip(variances, degrees, strict=True))
    return total, total**2 / spread if spread > 0.0 else sum(degrees)


def _blocks(units: Sequence[Labels]) -> list[list[int]]:
    """The tasks in groups that share no unit."""
    blocks: list[tuple[list[int], set[int]]] = []
    for task, codes in enumerate(units):
        members, labels = [task], set(codes.tolist())
        apart = [block for block in blocks if not block[1] & labels]
        for tasks, held in blocks:
            if held & labels:
                members, labels = [*tasks, *members], labels | held
        blocks = [*apart, (members, labels)]
    return [tasks for tasks, _ in blocks]


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
    task_folds = _of(given, task)
    return np.zeros(n, np.intp) if task_folds is None else checks.codes("folds", task_folds, n)
