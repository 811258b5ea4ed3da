"""Several methods on several tasks: Friedman's test, the critical difference, robust summaries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from steereval.results.stats import checks
from steereval.results.stats.effect import Floats

ENOUGH_TASKS = 10
"""From so many tasks on they may be seen as a sample of tasks."""


@dataclass(frozen=True)
class Friedman:
    """Methods compared by their ranks on many tasks (Demšar 2006)."""

    ranks: tuple[float, ...]
    """[methods], mean rank over the tasks, 1 the best, ties shared."""

    chi_square: float
    """Friedman's χ² with methods - 1 degrees of freedom, not corrected for ties."""

    chi_square_ties: float
    """The same corrected for ties; 0 where everything is tied."""

    f_statistic: float
    """Iman and Davenport's F, from `chi_square`; infinite where all tasks rank alike."""

    p_value: float
    """Of `f_statistic`, with (k - 1) and (k - 1)(N - 1) degrees of freedom."""

    critical_difference: float
    """Nemenyi's: mean ranks farther apart differ significantly at `alpha`."""


def friedman(scores: npt.ArrayLike, alpha: float = 0.05) -> Friedman:
    """Friedman's test of `scores` [tasks, methods], higher is better.

    CD = q_{1-alpha; k, ∞}/√2 √(k (k + 1)/(6 N)), q of the studentised range (Nemenyi 1963).
    Fewer than two tasks or methods are an InputError.
    """
    matrix = checks.finite("scores", scores)
    checks.fraction("alpha", alpha)
    if matrix.ndim != 2:
        raise checks.wrong_dimensions("scores", matrix, "a matrix [tasks, methods]")
    n, k = matrix.shape
    if min(n, k) < 2:
        raise checks.too_few("tasks or methods", min(n, k), 2)
    ranks = stats.rankdata(-matrix, axis=1)
    mean = ranks.mean(axis=0)
    chi_square = 12 * n / (k * (k + 1)) * float(np.sum((mean - (k + 1) / 2) ** 2))
    spare = n * (k - 1) - chi_square
    f_statistic = (n - 1) * chi_square / spare if spare > 1e-9 else math.inf
    width = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2)
    return Friedman(
        ranks=tuple(float(rank) for rank in mean),
        chi_square=chi_square,
        chi_square_ties=_with_ties(ranks, chi_square),
        f_statistic=f_statistic,
        p_value=float(stats.f.sf(f_statistic, k - 1, (k - 1) * (n - 1))),
        critical_difference=width * math.sqrt(k * (k + 1) / (6 * n)),
    )


def _with_ties(ranks: Floats, chi_square: float) -> float:
    n, k = ranks.shape
    counts = (np.unique(row, return_counts=True)[1].astype(np.float64) for row in ranks)
    ties = sum(float(np.sum(count**3 - count)) for count in counts)
    spare = 1 - ties / (n * k * (k**2 - 1))
    return chi_square / spare if spare > 1e-12 else 0.0


def interquartile_mean(values: npt.ArrayLike) -> float:
    """The mean of the middle half of all `values`, a quarter trimmed at either end.

    As in Agarwal et al. 2021 over tasks × seeds: robust against one task that goes wild. The number
    trimmed is rounded down.
    """
    return float(stats.trim_mean(checks.finite("values", values).ravel(), 0.25))


def probability_of_improvement(scores: npt.ArrayLike, baseline: npt.ArrayLike) -> float:
    """P(a fit of the method beats one of the baseline on a task), over `scores` [tasks, seeds].

    The share of pairs (s, s') with scores_ts > baseline_ts', ties counting half, averaged over the
    tasks (Agarwal et al. 2021); `baseline` [tasks, seeds'], higher is better.
    """
    a, b = checks.finite("scores", scores), checks.finite("baseline", baseline)
    for name, array in (("scores", a), ("baseline", b)):
        if array.ndim != 2:
            raise checks.wrong_dimensions(name, array, "a matrix [tasks, seeds]")
    signs = np.sign(a[:, :, None] - b[:, None, :])
    return float(0.5 + 0.5 * signs.mean())
