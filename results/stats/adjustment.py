"""Families of tests: adjusted p-values, and in how many places an effect replicates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from steereval.common.errors import UnknownNameError
from steereval.results.stats import checks
from steereval.results.stats.effect import Floats


def adjust(p_values: npt.ArrayLike, method: str) -> Floats:
    """Adjusted p-values [tests] in the order given.

    method: "holm", "bonferroni" and "hochberg" hold the chance of any false claim, "bh" and "by"
    (Benjamini-Hochberg, -Yekutieli) the share of false ones; "none" leaves them as they are.
    Written out since the library at hand collects garbage at every call, 0.1 s in a large process;
    it is the oracle of the tests.
    """
    array = checks.p_values(p_values)
    if method not in _METHODS:
        raise UnknownNameError.of("correction", method, _METHODS)
    order = np.argsort(array, kind="stable")
    adjusted = np.empty_like(array)
    adjusted[order] = np.minimum(_METHODS[method](array[order]), 1.0)
    return adjusted


def partial_conjunction(p_values: npt.ArrayLike) -> Floats:
    """p_{u/N} for u = 1..N: "there is an effect in at least u of the N places".

    max over j <= u of (N - j + 1) p_(j), at most 1 (Benjamini & Heller 2008, by Holm's steps). It
    holds under any dependence.
    """
    return np.minimum(_holm(np.sort(checks.p_values(p_values))), 1.0)


def _holm(ordered: Floats) -> Floats:
    left = np.arange(len(ordered), 0, -1)
    return np.asarray(np.maximum.accumulate(left * ordered), dtype=np.float64)


def _hochberg(ordered: Floats) -> Floats:
    return _from_the_largest(np.arange(len(ordered), 0, -1) * ordered)


def _benjamini_hochberg(ordered: Floats) -> Floats:
    n = len(ordered)
    return _from_the_largest(n / np.arange(1, n + 1) * ordered)


def _benjamini_yekutieli(ordered: Floats) -> Floats:
    harmonic = float(np.sum(1.0 / np.arange(1, len(ordered) + 1)))
    return _benjamini_hochberg(ordered) * harmonic


def _from_the_largest(steps: Floats) -> Floats:
    return np.asarray(np.minimum.accumulate(steps[::-1])[::-1], dtype=np.float64)


_METHODS: dict[str, Callable[[Floats], Floats]] = {
    "holm": _holm,
    "bonferroni": lambda ordered: len(ordered) * ordered,
    "hochberg": _hochberg,
    "bh": _benjamini_hochberg,
    "by": _benjamini_yekutieli,
    "none": lambda ordered: ordered,
}
