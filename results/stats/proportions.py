"""Proportions: single ones, and paired ones from their discordant pairs."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy import stats

from steereval.common.errors import InputError, UnknownNameError
from steereval.results.stats import checks
from steereval.results.stats.student import t_quantile

LARGE_SAMPLE = 30
"""From so many trials on the Wilson interval serves; below it Clopper and Pearson's."""


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Newcombe 1998, method 3)."""
    _check_count(successes, n)
    z = float(stats.norm.ppf((1 + checks.fraction("confidence", confidence)) / 2))
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low = 0.0 if successes == 0 else centre - half
    return low, 1.0 if successes == n else centre + half


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of Clopper and Pearson (1934), which covers at least as it says."""
    _check_count(successes, n)
    tail = (1 - checks.fraction("confidence", confidence)) / 2
    low = 0.0 if successes == 0 else stats.beta.ppf(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else stats.beta.ppf(1 - tail, successes + 1, n - successes)
    return float(low), float(high)


def proportion_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson from LARGE_SAMPLE trials on, else Clopper-Pearson."""
    interval = wilson if n >= LARGE_SAMPLE else clopper_pearson
    return interval(successes, n, confidence)


def mcnemar_midp(b: int, c: int) -> float:
    """Two-sided mid-p of McNemar's test, `b` and `c` being the discordant pairs.

    2 P(X < m) + P(X = m) with m = min(b, c), X binomial(b + c, ½) (Fagerland et al. 2013).
    """
    if b < 0 or c < 0:
        raise InputError(f"the discordant pairs are {b} and {c}", "Give two counts.")
    smaller = min(b, c)
    binomial = stats.binom(b + c, 0.5)
    return min(1.0, float(2 * binomial.cdf(smaller) - binomial.pmf(smaller)))


def paired_proportion_ci(
    b: int, c: int, n: int, method: str = "bonett-price", confidence: float = 0.95
) -> tuple[float, float, float]:
    """(difference, low, high) of two paired proportions, difference = (b - c)/n.

    `b` pairs speak for the first, `c` for the second, of `n` pairs. method: "bonett-price"
    (Bonett & Price 2012: one pair is added to b and to c) or "t" (over the n differences).
    """
    if b < 0 or c < 0 or n < 1 or b + c > n:
        raise InputError(f"b = {b}, c = {c}, n = {n} are not paired counts", "b + c is at most n.")
    checks.fraction("confidence", confidence)
    if method not in _PAIRED:
        raise UnknownNameError.of("interval for paired proportions", method, _PAIRED)
    low, high = _PAIRED[method](b, c, n, confidence)
    return (b - c) / n, max(low, -1.0), min(high, 1.0)


def _bonett_price(b: int, c: int, n: int, confidence: float) -> tuple[float, float]:
    first, second = (b + 1) / (n + 2), (c + 1) / (n + 2)
    centre = first - second
    z = float(stats.norm.ppf((1 + confidence) / 2))
    half = z * math.sqrt((first + second - centre**2) / (n + 2))
    return centre - half, centre + half


def _paired_t(b: int, c: int, n: int, confidence: float) -> tuple[float, float]:
    if n == 1:
        return -1.0, 1.0
    centre = (b - c) / n
    se = math.sqrt(max(b + c - n * centre**2, 0.0) / (n * (n - 1)))
    half = t_quantile((1 + confidence) / 2, n - 1) * se
    return centre - half, centre + half


_PAIRED: dict[str, Callable[[int, int, int, float], tuple[float, float]]] = {
    "bonett-price": _bonett_price,
    "t": _paired_t,
}


def _check_count(successes: int, n: int) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise InputError(
            f"{successes} of {n} is not a proportion", "Give 0 <= successes <= n, n > 0."
        )
