"""Cluster-robust variance (CR3, the cluster jackknife) and sign flips over clusters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.effect import Floats, Labels

EXACT_CLUSTERS = 16
"""Up to so many clusters all 2^G sign patterns are tried instead of a random sample."""

_ROWS = 1024
_TIE = 1e-9
_ROUNDING = 1e-13


def jackknife_variances(item_means: Floats, clusters: Labels) -> Floats:
    """[rows]: CR3 variances of the means of `item_means` [rows, items].

    `clusters` [items] are codes 0..G-1, at least two. (G - 1)/G Σ_g (mean without cluster g -
    mean)²; with singletons exactly s²/n (MacKinnon, Nielsen & Webb 2023).
    """
    variances: Floats = np.sum(jackknife_shifts(item_means, clusters) ** 2, axis=1)
    return variances


def jackknife_shifts(item_means: Floats, clusters: Labels) -> Floats:
    """[rows, clusters]: √((G - 1)/G) (mean - mean without cluster g), whose squares sum to CR3's.

    Their cross products are the CR3 covariances of the rows' means.
    """
    sizes = np.bincount(clusters)
    centred = item_means - item_means.mean(axis=1, keepdims=True)
    shifts: Floats = sums_by_cluster(centred, clusters) / (len(clusters) - sizes)
    scaled: Floats = shifts * np.sqrt((len(sizes) - 1) / len(sizes))
    return scaled


def effective_clusters(clusters: Labels) -> float:
    """The number of equal-sized clusters with as much information as `clusters` [items].

    (Σ n_g)²/Σ n_g² (Carter, Schnepel & Steigerwald 2017, for effects of whole clusters): G where
    all sizes are equal, fewer the more uneven they are. One less is the degrees of freedom of the
    CR3 variance: with G - 1 tests claim too much where one cluster holds much of the items.
    """
    sizes = np.bincount(clusters).astype(np.float64)
    return float(sizes.sum() ** 2 / np.sum(sizes**2))


def least_p(groups: int) -> float:
    """The least two-sided p-value of sign flips over `groups` clusters or items: 2^(1 - groups)."""
    return 2.0 ** (1 - groups)


def sums_by_cluster(values: Floats, clusters: Labels) -> Floats:
    """[rows, clusters] sums of `values` [rows, items]; every code 0..G-1 occurs."""
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=-1))
    sums: Floats = np.add.reduceat(values[:, order], starts, axis=1)
    return sums


def cluster_sign_flip(
    diff: npt.ArrayLike, clusters: npt.ArrayLike, resamples: int, seed: int | Sequence[int]
) -> float:
    """Two-sided p-value of a studentised sign flip over clusters.

    `diff` [items], `clusters` [items]. The statistic is mean / CR3 standard error, computed again
    for every pattern of signs. With at most EXACT_CLUSTERS clusters all patterns are tried and
    `resamples` is not used; else p = (1 + hits) / (1 + resamples), with a generator from
    SeedSequence(seed). It is conditional on the seed: sign flips over items ignore its variance.
    """
    column = checks.finite("diff", diff)
    if column.ndim != 1:
        raise InputError(f"diff has {column.ndim} dimensions", "Give one difference an item.")
    return float(sign_flip_p_values(column[:, None], clusters, resamples, seed)[0])


def sign_flip_p_values(
    diffs: npt.ArrayLike, clusters: npt.ArrayLike, resamples: int, seed: int | Sequence[int]
) -> Floats:
    """`cluster_sign_flip` of every column of `diffs` [items, columns] with shared signs."""
    matrix = checks.items_by_seeds("diffs", diffs)
    labels = checks.codes("clusters", clusters, len(matrix))
    if resamples < 1:
        raise InputError(f"resamples is {resamples}", "Give at least 1, better 10000.")
    sizes = np.bincount(labels)
    if len(sizes) == 1:
        return np.ones(matrix.shape[1])
    sums = np.ascontiguousarray(sums_by_cluster(matrix.T, labels).T)
    return _flip(_Studentised(sums, sizes), resamples, seed)


def flipped_statistics(
    diffs: Floats, clusters: Labels, resamples: int, seed: int | Sequence[int]
) -> tuple[Floats, Floats]:
    """Squared studentised means of `diffs` [items, columns], as they are and under random flips.

    The first is [columns], the second [resamples, columns]; the columns share the signs. Infinite
    where a mean has no variance, 0 where both are 0. `clusters` [items] are codes, at least two.
    """
    sums = np.ascontiguousarray(sums_by_cluster(diffs.T, clusters).T)
    statistic = _Studentised(sums, np.bincount(clusters))
    patterns = _random_flips(statistic.groups, resamples, seed)
    flips = [_ratio(*statistic(pattern)) for pattern in patterns]
    return _ratio(*statistic.observed()), np.concatenate(flips)


def _ratio(squares: Floats, variances: Floats) -> Floats:
    ratio = np.full(squares.shape, np.inf)
    np.divide(squares, variances, out=ratio, where=variances > 0.0)
    return np.where(squares == 0.0, 0.0, ratio)


class _Studentised:
    """Squared mean and CR3 variance of sums [clusters, columns] with some clusters' signs turned.

    A sum over turned signs is the whole sum less twice that of the turned ones, so flips are 0 and
    1, and both sums that a column needs come from one matrix product.
    """

    def __init__(self, sums: Floats, sizes: npt.NDArray[np.intp]) -> None:
        self.groups = len(sizes)
        self._n = int(sizes.sum())
        weights = 1.0 / (self._n - sizes) ** 2
        self._both = np.hstack([sums / self._n, sums * (weights * sizes)[:, None]])
        self._quadratic = float(np.sum(weights * sizes**2))
        self._constant = np.sum(weights[:, None] * sums**2, axis=0)

    def observed(self) -> tuple[Floats, Floats]:
        """The squared means and the variances as they are, both [columns]."""
        square, variance = self(np.zeros((1, self.groups)))
        return square[0], variance[0]

    def __call__(self, flips: Floats) -> tuple[Floats, Floats]:
        """For flips [rows, clusters] of 0 and 1 the two, both [rows, columns]."""
        sums = self._both.sum(axis=0) - 2.0 * (flips @ self._both)
        mean, cross = np.hsplit(sums, 2)
        variance = self._quadratic * mean**2 - 2 * mean * cross + self._constant
        variance[variance < _ROUNDING * self._constant] = 0.0
        return mean**2, variance


def _flip(statistic: _Studentised, resamples: int, seed: int | Sequence[int]) -> Floats:
    mean, variance = statistic.observed()
    exact = statistic.groups <= EXACT_CLUSTERS
    patterns = (
        _all_flips(statistic.groups) if exact else _random_flips(statistic.groups, resamples, seed)
    )
    hits, tried = np.zeros(len(mean)), 0
    for flips in patterns:
        mean_flipped, variance_flipped = statistic(flips)
        as_large = mean_flipped * variance >= mean * variance_flipped * (1 - _TIE)
        hits += np.count_nonzero(as_large, axis=0)
        tried += len(flips)
    result: Floats = hits / tried if exact else (hits + 1) / (tried + 1)
    return result


def _all_flips(groups: int) -> Iterator[Floats]:
    """Half of all patterns, the first cluster never turned: the others give the same squares."""
    numbers = np.arange(2 ** (groups - 1))
    for start in range(0, len(numbers), _ROWS):
        bits = numbers[start : start + _ROWS, None] >> np.arange(groups) & 1
        yield bits.astype(np.float64)


def _random_flips(groups: int, resamples: int, seed: int | Sequence[int]) -> Iterator[Floats]:
    """Fair coins, eight to a byte."""
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    width = -(-groups // 8)
    for start in range(0, resamples, _ROWS):
        rows = min(_ROWS, resamples - start)
        drawn = np.frombuffer(generator.bytes(rows * width), np.uint8).reshape(rows, width)
        yield np.unpackbits(drawn, axis=1, count=groups).astype(np.float64)
