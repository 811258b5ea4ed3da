"""Families of tests: adjusted p-values, and in how many places an effect replicates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from statsmodels.stats.multitest import multipletests

from steereval.errors import UnknownNameError
from steereval.results.stats import checks
from steereval.results.stats.effect import Floats

_METHODS = {
    "holm": "holm",
    "bonferroni": "bonferroni",
    "hochberg": "simes-hochberg",
    "bh": "fdr_bh",
    "by": "fdr_by",
}


def adjust(p_values: npt.ArrayLike, method: str) -> Floats:
    """Adjusted p-values [tests] in the order given.

    method: "holm", "bonferroni" and "hochberg" hold the chance of any false claim, "bh" and "by"
    (Benjamini-Hochberg, -Yekutieli) the share of false ones; "none" leaves them as they are.
    """
    array = checks.p_values(p_values)
    if method != "none" and method not in _METHODS:
        raise UnknownNameError.of("correction", method, [*_METHODS, "none"])
    if method == "none" or array.size == 0:
        return array.copy()
    return np.asarray(multipletests(array, method=_METHODS[method])[1], dtype=np.float64)


def partial_conjunction(p_values: npt.ArrayLike) -> Floats:
    """p_{u/N} for u = 1..N: "there is an effect in at least u of the N places".

    max over j <= u of (N - j + 1) p_(j), at most 1 (Benjamini & Heller 2008, by Holm's steps). It
    holds under any dependence.
    """
    ordered = np.sort(checks.p_values(p_values))
    n = len(ordered)
    steps = np.minimum((n - np.arange(n)) * ordered, 1.0)
    return np.asarray(np.maximum.accumulate(steps), dtype=np.float64) if n else ordered
