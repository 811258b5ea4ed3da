"""Adjusting for several correlated tests together: the largest of them under no effect at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.clusters import flipped_statistics, jackknife_shifts
from steereval.results.stats.effect import Floats

_TIE = 1e-9


def max_t_sign_flip(
    blocks: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
    resamples: int,
    seed: int | Sequence[int],
) -> Floats:
    """[tests]: adjusted p-values of the columns of all `blocks`, one seed each.

    A block is (diffs [items, tests], clusters [items]), the tests of one task: they share the signs
    of a flip over clusters, blocks do not. The statistic is mean / CR3 standard error; by Westfall
    and Young's step-down a test is compared with the largest of those that are no more extreme than
    itself. p = (1 + hits)/(1 + resamples). A block with one cluster has p = 1.
    """
    if resamples < 1:
        raise InputError(f"resamples is {resamples}", "Give at least 1, better 10000.")
    children = np.random.SeedSequence(seed).spawn(len(blocks))
    parts = []
    for (diffs, clusters), child in zip(blocks, children, strict=True):
        matrix = checks.items_by_seeds("diffs", diffs)
        labels = checks.codes("clusters", clusters, len(matrix))
        if labels.max() == 0:
            parts.append((np.zeros(matrix.shape[1]), np.zeros((resamples, matrix.shape[1]))))
        else:
            parts.append(
                flipped_statistics(matrix, labels, resamples, child.generate_state(4).tolist())
            )
    if not parts:
        return np.zeros(0)
    return _step_down(np.concatenate([o for o, _ in parts]), np.hstack([f for _, f in parts]))


def _step_down(observed: Floats, flips: Floats) -> Floats:
    """`observed` [tests] and `flips` [resamples, tests], larger for more extreme."""
    order = np.argsort(-observed, kind="stable")
    largest = np.maximum.accumulate(flips[:, order[::-1]], axis=1)[:, ::-1]
    hits = np.count_nonzero(largest >= observed[order] * (1 - _TIE), axis=0)
    adjusted = np.empty(len(observed))
    adjusted[order] = np.maximum.accumulate((hits + 1.0) / (len(flips) + 1.0))
    return adjusted


def max_t_crossed(
    p_values: npt.ArrayLike,
    correlation: npt.ArrayLike,
    resamples: int,
    seed: int | Sequence[int],
) -> Floats:
    """[tests]: adjusted p-values from `p_values` [tests] of correlated crossed t tests.

    `resamples` draws from a normal distribution with `correlation` [tests, tests] become p-values,
    each by its own margin, and the least of them is compared with the given ones, step by step as
    in `max_t_sign_flip`. The copula is normal where a multivariate t would share one denominator
    between all tests: every test has a seed variance of its own, and with a shared one the chance
    of a false claim was 0.11 in place of 0.07 (docs/statistics.md).
    """
    given = checks.p_values(p_values)
    matrix = checks.finite("correlation", correlation) if len(given) else np.zeros((0, 0))
    if matrix.shape != (len(given), len(given)):
        raise InputError(
            f"correlation has shape {matrix.shape}, and there are {len(given)} p-values",
            "Give one row and one column for each test.",
        )
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    normal = generator.standard_normal((resamples, len(given))) @ _root(matrix).T
    deviates = -special.ndtri(np.maximum(given, 1e-300) / 2)
    resampled = _step_down(np.asarray(deviates, dtype=np.float64), np.abs(normal))
    return np.maximum(resampled, given)


def _root(correlation: Floats) -> Floats:
    """A with A Aᵀ = the nearest matrix without negative eigenvalues, its diagonal put back to 1."""
    values, vectors = np.linalg.eigh(np.clip(correlation, -1.0, 1.0))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    norms = np.linalg.norm(root, axis=1, keepdims=True)
    return np.asarray(root / np.maximum(norms, 1e-12), dtype=np.float64)


def crossed_correlation(
    item_means: npt.ArrayLike, clusters: npt.ArrayLike, standard_errors: npt.ArrayLike
) -> Floats:
    """[tests, tests]: correlations of estimates from their `item_means` [tests, items].

    The covariances are the items' part, CR3 over `clusters` [items]; the variances are the squares
    of the crossed `standard_errors` [tests]. The seeds' part of the covariances is left out: three
    to five seeds correlate by chance, and where they do move methods together this only adds
    caution.
    """
    means = checks.finite("item_means", item_means)
    spread = checks.finite("standard_errors", standard_errors)
    if means.ndim != 2 or spread.shape != means.shape[:1]:
        raise InputError(
            f"item_means and standard_errors have the shapes {means.shape} and {spread.shape}",
            "Give [tests, items] and [tests].",
        )
    shifts = jackknife_shifts(means, checks.codes("clusters", clusters, means.shape[1]))
    scale = np.outer(spread, spread)
    correlation = np.zeros(scale.shape)
    np.divide(shifts @ shifts.T, scale, out=correlation, where=scale > 0.0)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(np.clip(correlation, -1.0, 1.0), dtype=np.float64)
