"""Whether predicted probabilities are those that come true: the expected calibration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steereval.common.errors import InputError
from steereval.results.stats import checks
from steereval.results.stats.effect import Floats

BINS = 10
"""Bins of equally many items."""

LEAST_ITEMS = 10
"""Of a bin; shorter lists are cut into fewer bins."""


@dataclass(frozen=True)
class Calibration:
    """How far predictions and outcomes are apart."""

    error: float
    """Expected calibration error: mean over items of |mean prediction - share| of their bin."""

    by_chance: float
    """Mean of `error` if the predictions were true: chance alone keeps it above 0."""

    chance_bound: float
    """95th percentile of `error` if the predictions were true."""

    predicted: Floats
    """[bins], mean predictions."""

    came_true: Floats
    """[bins], shares of positives."""

    n_items: int
    """Number of items."""

    @property
    def is_off(self) -> bool:
        """Whether the error is larger than true predictions would show."""
        return self.error > self.chance_bound


def calibration(
    probabilities: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    bins: int = BINS,
    resamples: int = 1000,
    seed: int | Sequence[int] = 0,
) -> Calibration:
    """The calibration of `probabilities` [items] of being positive, `labels` [items].

    Bins hold equally many items (Nixon et al. 2019), at least LEAST_ITEMS each. The error is
    compared with that of labels drawn from the probabilities themselves (Bröcker & Smith 2007),
    `resamples` times, by a generator from SeedSequence(seed). Probabilities outside [0, 1] are an
    InputError.
    """
    p = checks.finite("probabilities", probabilities).ravel()
    y = np.asarray(labels, dtype=np.float64).ravel()
    if p.shape != y.shape or p.min() < 0.0 or p.max() > 1.0:
        raise InputError(
            f"{p.shape} probabilities from {p.min():g} to {p.max():g} and {y.shape} labels do not "
            "fit each other",
            "Give one probability from 0 to 1 and one label an item.",
        )
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    count = max(1, min(bins, len(p) // LEAST_ITEMS))
    starts = np.arange(count) * len(p) // count
    sizes = np.diff(np.append(starts, len(p)))
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    drawn = (generator.random((resamples, len(p))) < p).astype(np.float64)
    errors = _errors(p, np.vstack([y, drawn]), starts)
    return Calibration(
        error=float(errors[0]),
        by_chance=float(errors[1:].mean()),
        chance_bound=float(np.quantile(errors[1:], 0.95)),
        predicted=np.add.reduceat(p, starts) / sizes,
        came_true=np.add.reduceat(y, starts) / sizes,
        n_items=len(p),
    )


def _errors(p: Floats, labels: Floats, starts: npt.NDArray[np.intp]) -> Floats:
    """[rows]: the error of each row of `labels` [rows, items]."""
    gaps = np.abs(np.add.reduceat(p - labels, starts, axis=1)).sum(axis=1)
    return np.asarray(gaps / len(p), dtype=np.float64)
