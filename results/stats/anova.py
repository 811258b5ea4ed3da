"""Mean squares of items × seeds, of many matrices at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steereval.results.stats.clusters import effective_clusters, jackknife_variances
from steereval.results.stats.effect import Floats, Labels


@dataclass(frozen=True)
class MeanSquareTable:
    """Two-way mean squares of matrices [items, seeds], with their degrees of freedom."""

    squares: tuple[Floats, Floats, Floats]
    """Of items, seeds and residual, each [matrices]."""

    degrees: tuple[float | Floats, float, float | Floats]
    """Of items (or clusters: their effective number less one), seeds and residual; those of items
    and residual may be [matrices], where the matrices have other numbers of items."""

    def with_item(self, item: Floats) -> MeanSquareTable:
        """The same with other mean squares of items [matrices]."""
        return MeanSquareTable((item, *self.squares[1:]), self.degrees)

    def of(self, rows: npt.NDArray[np.bool_]) -> MeanSquareTable:
        """The table of some of the matrices."""
        item, seed, residual = (square[rows] for square in self.squares)
        return MeanSquareTable((item, seed, residual), self.degrees)


def mean_squares(stack: Floats, clusters: Labels, folds: Labels) -> MeanSquareTable:
    """The mean squares of `stack` [matrices, items, seeds].

    `clusters` and `folds` [items] are codes 0, 1, …; MS_I is nS times the CR3 variance of the item
    means, which without clusters is the usual mean square. Each fold × seed is one fit: MS_S is the
    mean of the folds' own, weighted by their numbers of items.
    """
    _, n, seeds = stack.shape
    item_means = stack.mean(axis=2)
    item = n * seeds * jackknife_variances(item_means, clusters)
    df_item = effective_clusters(clusters) - 1.0
    if seeds == 1:
        nothing = np.zeros(len(stack))
        return MeanSquareTable((item, nothing, nothing), (df_item, 0.0, 0.0))
    sizes = np.bincount(folds).astype(np.float64)
    effects = fit_effects(stack, folds)
    per_fold = sizes * np.sum(effects**2, axis=2) / (seeds - 1)
    seed = np.sum(sizes / n * per_fold, axis=1)
    residuals = stack - item_means[:, :, None] - effects[:, folds]
    df_residual = (n - len(sizes)) * (seeds - 1)
    residual = np.einsum("rns,rns->r", residuals, residuals) / max(df_residual, 1)
    degrees = (df_item, effective_folds(folds) * (seeds - 1), float(df_residual))
    return MeanSquareTable((item, seed, residual), degrees)


def effective_folds(folds: Labels) -> float:
    """(Σ n_f²)²/Σ n_f⁴: the number of folds where they are equal, fewer where they are not."""
    sizes = np.bincount(folds).astype(np.float64)
    return float(np.sum(sizes**2) ** 2 / np.sum(sizes**4))


def fit_effects(stack: Floats, folds: Labels) -> Floats:
    """[matrices, folds, seeds]: the mean of each fit, less the mean of its fold."""
    fits = np.stack(
        [stack[:, folds == fold].mean(axis=1) for fold in range(int(folds.max()) + 1)], axis=1
    )
    centred: Floats = fits - fits.mean(axis=2, keepdims=True)
    return centred
