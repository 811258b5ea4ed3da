"""Interleaved timing of two ways of doing the same thing, and the interval of the median ratio."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import binom


@dataclass(frozen=True)
class Ratio:
    """Time of one way over that of the other."""

    median: float
    low: float
    high: float
    """The interval from low to high covers the median with at least 95 %."""
    pairs: int

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def interleaved(one: Callable[[], object], other: Callable[[], object], pairs: int) -> list[float]:
    """Times of `one` over `other`, run in turn, each first in every second pair."""
    for _ in range(2):
        one(), other()
    ratios = []
    for index in range(pairs):
        if index % 2:
            below, above = seconds(other), seconds(one)
        else:
            above, below = seconds(one), seconds(other)
        ratios.append(above / below)
    return ratios


def seconds(work: Callable[[], object]) -> float:
    """Wall time of `work`, the GPU's share included."""
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def median(ratios: list[float]) -> Ratio:
    """The median, and the order statistics that enclose it with at least 95 %."""
    ordered, count = np.sort(ratios), len(ratios)
    rank = max(int(binom.ppf(0.025, count, 0.5)), 1)
    low, high = float(ordered[rank - 1]), float(ordered[count - rank])
    return Ratio(float(np.median(ordered)), low, high, count)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
