"""An estimated difference with its uncertainty: what every estimator here returns."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
"""An array of double-precision numbers; the docstrings name the shapes."""

Labels = npt.NDArray[np.intp]
"""Integer codes of clusters or folds, one an item."""

ONE_SEED = "conditional on one seed"
TOO_FEW_SEEDS = "too few seeds"
UNBOUNDED = "unbounded"
"""The interval of an estimate whose error is unknown."""


@dataclass(frozen=True)
class Effect:
    """A mean difference over items × seeds, its standard error, interval and test.

    The unit is that of the differences given (for `ratio_effect`: the logarithm of a ratio).
    """

    estimate: float
    """The mean difference."""

    se: float
    """Standard error over items (or clusters) and seeds; infinite where it cannot be estimated."""

    df: float
    """Degrees of freedom of the t distribution behind `low`, `high` and the t test."""

    low: float
    """Lower end of the two-sided interval."""

    high: float
    """Upper end of the two-sided interval."""

    p_value: float
    """Two-sided p-value against no difference, by the test that `test` names."""

    p_robust: float
    """Two-sided p-value that does not trust few seeds to show their whole spread; at least
    `p_value`, and the same where the test is conditional on one seed.
    """

    var_item: float
    """Variance between items, as it enters `se`: with clusters it contains the design effect.

    With one seed it contains the residual, since one seed cannot separate the two.
    """

    var_seed: float
    """Variance between seeds, truncated at 0; 0 with one seed.

    With folds it is that of the mean over the folds, each of which is a fit of its own.
    """

    var_residual: float
    """Variance of what is left, items × seeds; 0 with one seed."""

    n_items: int
    """Number of items."""

    n_seeds: int
    """Number of seeds."""

    n_clusters: int
    """Number of clusters; the number of items where none are given."""

    confidence: float
    """Coverage that `low` and `high` aim at."""

    fits_per_seed: float = 1.0
    """Fits that a seed stands for: with folds their effective number."""

    test: str = "crossed t"
    """The test behind `p_value`, in words, with its number of resamples if it has any."""

    interval: str = "t"
    """The kind of interval that `low` and `high` are, in words."""

    effective_clusters: float | None = None
    """The number of equal-sized clusters with as much information; None: `n_clusters`."""

    skewness: float = 0.0
    """That of the estimate, for the skewness-corrected t; 0 where it is not corrected."""

    marks: tuple[str, ...] = ()
    """Cautions about the data: see `results.stats.cautions`."""

    @property
    def is_unbounded(self) -> bool:
        """Whether nothing can be said about the error of the estimate."""
        return math.isinf(self.se) or self.interval == UNBOUNDED

    @property
    def cautions(self) -> tuple[str, ...]:
        """Limits of the interval and of the test."""
        seeds = {1: ONE_SEED, 2: TOO_FEW_SEEDS}.get(self.n_seeds)
        return self.marks if seeds is None else (seeds, *self.marks)

    @property
    def caution(self) -> str:
        """The cautions in one line; empty where there are none."""
        return ", ".join(self.cautions)
