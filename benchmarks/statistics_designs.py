"""Hard designs without an effect: those that the cautions were tuned on, and fresh ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from statistics_report_test import ACCURACY, FREE, PERPLEXITY, SCORE, Floats, Labels

from steereval.results.store.manifest import Metric


@dataclass(frozen=True)
class Edge:
    """A hard design."""

    name: str
    shape: str
    draw: Callable[[np.random.Generator], Floats]
    """One experiment without an effect: values as `reported` takes them."""
    metric: Metric = FREE
    clusters: Labels | None = None
    folds: Labels | None = None


def _shape(n: int, seeds: int, spread: float | None = None) -> str:
    return f"n {n}, S {seeds}" + ("" if spread is None else f", σ_seed {spread:g}")


def clustered(sizes: Sequence[int], seeds: int, spread: float, by_cluster: float) -> Edge:
    """Normal effects of items, clusters and seeds."""
    labels = np.repeat(np.arange(len(sizes)), sizes)

    def draw(rng: np.random.Generator) -> Floats:
        diff = rng.normal(0, 0.3, (len(labels), seeds)) + rng.normal(0, 0.3, (len(labels), 1))
        common = rng.normal(0, by_cluster, (len(sizes), 1))[labels]
        return np.asarray(diff + common + rng.normal(0, spread, (1, seeds)))

    largest = max(sizes) / len(labels)
    name = f"{len(sizes)} clusters, the largest {largest:.0%}"
    return Edge(name, _shape(len(labels), seeds, spread), draw, clusters=labels)


def fits(n: int, seeds: int, spread: float, sd_item: float = 0.3, n_folds: int = 1) -> Edge:
    """Normal effects of items, seeds (or fits of folds) and a residual of 0.3."""
    folds = np.arange(n) % n_folds

    def draw(rng: np.random.Generator) -> Floats:
        items = rng.normal(0, sd_item, (n, 1)) + rng.normal(0, 0.3, (n, seeds))
        return np.asarray(items + rng.normal(0, spread, (n_folds, seeds))[folds])

    name = "normal items" if n_folds == 1 else f"normal items, {n_folds} folds"
    name += "" if sd_item == 0.3 else f", σ_item {sd_item:g}"
    return Edge(name, _shape(n, seeds, spread), draw, folds=folds if n_folds > 1 else None)


def skewed(n: int, seeds: int, spread: float) -> Edge:
    """Items of an exponential distribution."""

    def draw(rng: np.random.Generator) -> Floats:
        items = 0.3 * (rng.standard_exponential((n, 1)) - 1.0)
        return np.asarray(
            items + rng.normal(0, 0.1, (n, seeds)) + rng.normal(0, spread, (1, seeds))
        )

    return Edge("skewed items", _shape(n, seeds, spread), draw)


def log_normal(n: int, seeds: int, spread: float, sigma: float = 0.8) -> Edge:
    """Items of a log-normal distribution."""

    def draw(rng: np.random.Generator) -> Floats:
        items = 0.2 * (np.exp(rng.normal(0, sigma, (n, 1))) - np.exp(sigma**2 / 2))
        return np.asarray(
            items + rng.normal(0, 0.1, (n, seeds)) + rng.normal(0, spread, (1, seeds))
        )

    return Edge(f"log-normal items, σ {sigma:g}", _shape(n, seeds, spread), draw)


def heavy(n: int, seeds: int, spread: float) -> Edge:
    """Items of Student's t on three degrees of freedom."""

    def draw(rng: np.random.Generator) -> Floats:
        items = 0.2 * rng.standard_t(3, (n, 1))
        return np.asarray(
            items + rng.normal(0, 0.2, (n, seeds)) + rng.normal(0, spread, (1, seeds))
        )

    return Edge("heavy tails", _shape(n, seeds, spread), draw)


def jumps(n: int, seeds: int, share: float, noise: float = 0.01) -> Edge:
    """Bounded scores of which few items change, by a lot."""

    def draw(rng: np.random.Generator) -> Floats:
        size = 0.6
        items = np.where(rng.random((n, 1)) < share, size, -size * share / (1 - share))
        return np.asarray(items + rng.normal(0, noise, (n, seeds)))

    return Edge(f"bounded, {share:.0%} of the items jump", _shape(n, seeds), draw, SCORE)


def betas(n: int, seeds: int, spread: float) -> Edge:
    """Bounded scores, differences of two beta variables, of which the seeds share the baseline."""

    def draw(rng: np.random.Generator) -> Floats:
        base, method = rng.beta(1, 3, (n, 1)), rng.beta(1, 3, (n, 1))
        moved = method + rng.normal(0, spread, (1, seeds)) + rng.normal(0, 0.05, (n, seeds))
        return np.asarray(moved - base)

    return Edge("bounded, beta scores", _shape(n, seeds, spread), draw, SCORE)


def binary(n: int, seeds: int, share: float) -> Edge:
    """Binary scores of which a share differs from the baseline, drawn again in each seed."""

    def draw(rng: np.random.Generator) -> Floats:
        differs = rng.random((n, seeds)) < share
        return np.asarray(np.where(differs, rng.choice([-1.0, 1.0], (n, seeds)), 0.0))

    return Edge(f"binary, {1 - share:.0%} agree", _shape(n, seeds), draw, ACCURACY)


def binary_shared(n: int, seeds: int, share: float, common: float) -> Edge:
    """Binary scores where a difference occurs in all seeds with probability `common`."""

    def draw(rng: np.random.Generator) -> Floats:
        signs = rng.choice([-1.0, 1.0], (n, 1))
        everywhere = rng.random((n, 1)) < share * common
        alone = rng.random((n, seeds)) < share * (1 - common)
        lone = np.where(alone, rng.choice([-1.0, 1.0], (n, seeds)), 0.0)
        return np.asarray(np.where(everywhere, signs, lone))

    name = f"binary, {1 - share:.0%} agree, {common:.0%} of the rest in all fits"
    return Edge(name, _shape(n, seeds), draw, ACCURACY)


def perplexity(n: int, seeds: int, spread: float, lengths: float = 1.0) -> Edge:
    """Log ratios on texts of very different lengths."""

    def draw(rng: np.random.Generator) -> Floats:
        tokens = np.exp(rng.normal(3.0, lengths, (n, 1))).round() + 1.0
        base = 3.0 * tokens + rng.normal(0, 1, (n, 1)) * np.sqrt(tokens)
        items = rng.normal(0, 0.3, (n, 1)) * tokens
        method = base + items + rng.normal(0, 0.1, (n, seeds)) * tokens
        method = method + rng.normal(0, spread, (1, seeds)) * tokens
        return np.stack([method, np.repeat(base, seeds, 1), np.repeat(tokens, seeds, 1)])

    name = "perplexity ratio" if lengths == 1.0 else f"perplexity ratio, σ_length {lengths:g}"
    return Edge(name, _shape(n, seeds, spread), draw, PERPLEXITY)


def falling(groups: int, ratio: float, total: int) -> tuple[int, ...]:
    """Sizes that fall by `ratio` from cluster to cluster."""
    weights = ratio ** np.arange(groups)
    sizes = np.maximum(1, np.round(total * weights / weights.sum())).astype(int)
    sizes[0] += total - int(sizes.sum())
    return tuple(int(size) for size in sizes)


TUNED = (
    *(
        clustered((320, *[16] * 30), s, d, 0.15)
        for s, d in ((1, 0.0), (3, 0.02), (3, 0.05), (5, 0.02))
    ),
    *(clustered(falling(6, 0.6, 300), s, d, 0.15) for s, d in ((1, 0.0), (3, 0.02), (5, 0.02))),
    clustered((40,) * 8, 3, 0.02, 0.15),
    *(skewed(37, s, d) for s, d in ((1, 0.0), (3, 0.02), (5, 0.02))),
    skewed(99, 3, 0.02),
    *(jumps(37, s, 0.1) for s in (1, 3)),
    *(jumps(n, 3, share) for n, share in ((99, 0.03), (99, 0.1), (400, 0.1))),
    *(binary(n, s, 0.05) for n, s in ((150, 1), (150, 3), (400, 3), (800, 3), (800, 5))),
    *(perplexity(37, s, d) for s, d in ((1, 0.0), (3, 0.02))),
    *(perplexity(150, s, 0.02) for s in (3, 5)),
    fits(611, 2, 0.02),
)
"""The designs on which the thresholds of `results.stats.cautions` were set."""

FRESH = (
    *(clustered(falling(12, 0.75, 240), s, d, 0.2) for s, d in ((1, 0.0), (3, 0.01), (4, 0.03))),
    *(clustered((150, *[10] * 45), s, d, 0.1) for s, d in ((1, 0.0), (3, 0.03))),
    clustered((150, 150, *[10] * 20), 3, 0.02, 0.15),
    *(clustered((20,) * 7, s, d, 0.15) for s, d in ((1, 0.0), (3, 0.03))),
    clustered((25,) * 20, 4, 0.01, 0.3),
    *(fits(500, s, d) for s in (3, 4) for d in (0.0, 0.01, 0.05)),
    *(fits(300, s, d) for s, d in ((2, 0.0), (7, 0.02))),
    *(fits(400, s, 0.0, sd_item) for s, sd_item in ((3, 0.15), (3, 0.25), (5, 0.1), (5, 0.2))),
    fits(450, 3, 0.03, n_folds=3),
    *(log_normal(60, s, d) for s, d in ((1, 0.0), (4, 0.01))),
    log_normal(250, 3, 0.02),
    heavy(80, 3, 0.03),
    *(betas(n, s, d) for n, s, d in ((45, 3, 0.02), (120, 1, 0.0))),
    *(jumps(n, s, share) for n, s, share in ((150, 5, 0.05), (60, 3, 0.2), (250, 1, 0.15))),
    *(binary(n, s, x) for n, s, x in ((1000, 3, 0.02), (250, 4, 0.1), (120, 1, 0.15))),
    *(binary_shared(n, s, x, 0.7) for n, s, x in ((500, 3, 0.08), (300, 5, 0.2))),
    *(perplexity(n, s, d, 0.6) for n, s, d in ((60, 1, 0.0), (300, 4, 0.01))),
)
"""Designs of other sizes, distributions and agreement, drawn up before they were measured.

One of them, where a fifth of 60 bounded items jumps, has led to the caution of skewed items.
"""

SECOND = (
    *(clustered(falling(16, 0.8, 330), s, d, 0.25) for s, d in ((1, 0.0), (5, 0.01))),
    *(clustered((60, 60, 60, *[12] * 25), s, d, 0.12) for s, d in ((3, 0.0), (4, 0.05))),
    clustered((15,) * 9, 3, 0.01, 0.2),
    clustered((3,) * 70, 3, 0.04, 0.3),
    *(fits(180, s, d) for s, d in ((3, 0.02), (5, 0.0), (5, 0.05), (2, 0.03))),
    *(fits(1200, s, d) for s, d in ((3, 0.01), (4, 0.03))),
    *(fits(700, s, 0.01, sd_item) for s, sd_item in ((3, 0.2), (4, 0.2), (7, 0.12))),
    fits(320, 4, 0.02, n_folds=4),
    *(log_normal(n, s, d, 0.5) for n, s, d in ((45, 3, 0.0), (160, 1, 0.0), (400, 5, 0.02))),
    *(heavy(n, s, d) for n, s, d in ((200, 4, 0.0), (30, 1, 0.0))),
    *(betas(n, s, d) for n, s, d in ((70, 5, 0.03), (300, 3, 0.0), (35, 1, 0.0))),
    *(
        jumps(n, s, share, 0.03)
        for n, s, share in ((80, 3, 0.25), (50, 1, 0.3), (220, 4, 0.08), (120, 1, 0.2))
    ),
    *(binary(n, s, x) for n, s, x in ((600, 3, 0.3), (90, 1, 0.4), (2000, 5, 0.03))),
    *(binary_shared(n, s, x, 0.9) for n, s, x in ((350, 3, 0.15), (800, 4, 0.05))),
    *(perplexity(n, s, d, 0.8) for n, s, d in ((100, 3, 0.01), (500, 1, 0.0))),
)
"""Designs that were drawn up after that rule, before they were measured."""
