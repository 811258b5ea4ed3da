"""The guarded t test where designs are hard: few or uneven clusters, skewed items, few differences.

    python benchmarks/statistics_edges.py                      # 4000 experiments a design
    python benchmarks/statistics_edges.py --repetitions 10000

No design has an effect. Prints a Markdown table, as `statistics_calibration.py` does too. The exit
status is 1 where a size lies outside 0.03 to 0.07, or a coverage outside 0.93 to 0.97, by more than
two Monte Carlo standard errors, and fewer than nine in ten of the experiments carry a caution of
`results.stats.cautions`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from steereval.results.stats import Effect, Guard, crossed_effect, mcnemar_midp, ratio_effect
from steereval.results.stats.anova import mean_squares
from steereval.results.stats.student import quasi_f_df, t_tails

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
Draw = Callable[[np.random.Generator], Effect]

SIZE, COVERAGE, CAUTIONED = (0.03, 0.07), (0.93, 0.97), 0.9
FREE, BOUNDED, BINARY = Guard(), Guard(-1.0, 1.0), Guard(-1.0, 1.0, is_binary=True)


@dataclass(frozen=True)
class Edge:
    """A hard design."""

    name: str
    shape: str
    draw: Callable[[np.random.Generator], Floats]
    """One experiment without an effect, differences [items, seeds]."""
    guard: Guard = FREE
    clusters: Labels | None = None

    def effect(self, diff: Floats) -> Effect:
        """By the guarded test, before the seed-robust one of a report."""
        found = crossed_effect(diff, self.clusters, guard=self.guard)
        if self.guard.is_binary and diff.shape[1] == 1 and self.clusters is None:
            midp = mcnemar_midp(int(np.sum(diff > 0)), int(np.sum(diff < 0)))
            return _replaced(found, max(found.p_value, midp))
        return found


def _replaced(effect: Effect, p_value: float) -> Effect:
    """`effect` by another p-value, with the interval that goes with it."""
    values = vars(effect) | {"p_value": p_value, "p_robust": p_value}
    if p_value >= 1.0 - effect.confidence:
        values |= {"low": min(effect.low, 0.0), "high": max(effect.high, 0.0)}
    return Effect(**values)


def clustered(sizes: Sequence[int], seeds: int, spread: float, by_cluster: float) -> Edge:
    """Normal effects of items, clusters and seeds."""
    labels = np.repeat(np.arange(len(sizes)), sizes)

    def draw(rng: np.random.Generator) -> Floats:
        diff = rng.normal(0, 0.3, (len(labels), seeds)) + rng.normal(0, 0.3, (len(labels), 1))
        common = rng.normal(0, by_cluster, (len(sizes), 1))[labels]
        return np.asarray(diff + common + rng.normal(0, spread, (1, seeds)))

    largest = max(sizes) / len(labels)
    return Edge(
        f"{len(sizes)} clusters, the largest {largest:.0%}",
        f"n {len(labels)}, S {seeds}, σ_seed {spread:g}",
        draw,
        clusters=labels,
    )


def skewed(n: int, seeds: int, spread: float) -> Edge:
    """Items of an exponential distribution."""

    def draw(rng: np.random.Generator) -> Floats:
        own = 0.3 * (rng.standard_exponential((n, 1)) - 1.0)
        return np.asarray(own + rng.normal(0, 0.1, (n, seeds)) + rng.normal(0, spread, (1, seeds)))

    return Edge("skewed items", f"n {n}, S {seeds}, σ_seed {spread:g}", draw)


def jumps(n: int, seeds: int, share: float) -> Edge:
    """Bounded scores of which few items change, by a lot."""

    def draw(rng: np.random.Generator) -> Floats:
        size = 0.6
        own = np.where(rng.random((n, 1)) < share, size, -size * share / (1 - share))
        return np.asarray(own + rng.normal(0, 0.01, (n, seeds)))

    return Edge(f"bounded, {share:.0%} of the items jump", f"n {n}, S {seeds}", draw, BOUNDED)


def binary(n: int, seeds: int, share: float) -> Edge:
    """Binary scores of which a share differs from the baseline, anew in each seed."""

    def draw(rng: np.random.Generator) -> Floats:
        differs = rng.random((n, seeds)) < share
        return np.asarray(np.where(differs, rng.choice([-1.0, 1.0], (n, seeds)), 0.0))

    return Edge(f"binary, {1 - share:.0%} agree", f"n {n}, S {seeds}", draw, BINARY)


def perplexity(n: int, seeds: int, spread: float) -> Edge:
    """Influence values of log ratios on texts of very different lengths."""

    def draw(rng: np.random.Generator) -> Floats:
        tokens = np.exp(rng.normal(3.0, 1.0, (n, 1))).round() + 1.0
        base = 3.0 * tokens + rng.normal(0, 1, (n, 1)) * np.sqrt(tokens)
        own = rng.normal(0, 0.3, (n, 1)) * tokens
        method = base + own + rng.normal(0, 0.1, (n, seeds)) * tokens
        method = method + rng.normal(0, spread, (1, seeds)) * tokens
        wide = np.repeat(base, seeds, 1), np.repeat(tokens, seeds, 1)
        return np.hstack([method, wide[0], wide[1]])

    return Edge("perplexity ratio", f"n {n}, S {seeds}, σ_seed {spread:g}", draw)


def even(groups: int, ratio: float, total: int) -> tuple[int, ...]:
    """Sizes that fall by `ratio` from cluster to cluster."""
    weights = ratio ** np.arange(groups)
    sizes = np.maximum(1, np.round(total * weights / weights.sum())).astype(int)
    sizes[0] += total - int(sizes.sum())
    return tuple(int(size) for size in sizes)


ONE_LARGE = (320, *[16] * 30)


def two_seeds(rng: np.random.Generator) -> Floats:
    """Two fits, which the report always cautions."""
    own = rng.normal(0, 0.3, (611, 2)) + rng.normal(0, 0.3, (611, 1))
    return np.asarray(own + rng.normal(0, 0.02, (1, 2)))


EDGES = (
    *(clustered(ONE_LARGE, s, d, 0.15) for s, d in ((1, 0.0), (3, 0.02), (3, 0.05), (5, 0.02))),
    *(clustered(even(6, 0.6, 300), s, d, 0.15) for s, d in ((1, 0.0), (3, 0.02), (5, 0.02))),
    clustered((40,) * 8, 3, 0.02, 0.15),
    *(skewed(37, s, d) for s, d in ((1, 0.0), (3, 0.02), (5, 0.02))),
    skewed(99, 3, 0.02),
    *(jumps(37, s, 0.1) for s in (1, 3)),
    *(jumps(n, 3, share) for n, share in ((99, 0.03), (99, 0.1), (400, 0.1))),
    *(binary(n, s, 0.05) for n, s in ((150, 1), (150, 3), (400, 3), (800, 3), (800, 5))),
    *(perplexity(37, s, d) for s, d in ((1, 0.0), (3, 0.02))),
    *(perplexity(150, s, 0.02) for s in (3, 5)),
    Edge("two seeds", "n 611, S 2, σ_seed 0.02", two_seeds),
)


@dataclass(frozen=True)
class Result:
    """What the test does in one design."""

    edge: Edge
    size: float
    coverage: float
    naive: float
    """Size of the crossed t on G - 1 degrees of freedom, with no guard."""
    cautioned: float
    """Share of the experiments that carry a caution."""
    caution: str
    """The most frequent one."""
    repetitions: int

    def broken(self) -> Iterator[str]:
        """The bounds that are missed without a caution."""
        if self.cautioned >= CAUTIONED:
            return
        for what, value, (low, high) in (
            ("size", self.size, SIZE),
            ("coverage", self.coverage, COVERAGE),
        ):
            slack = 2 * math.sqrt(max(value * (1 - value), 1e-4) / self.repetitions)
            if not low - slack <= value <= high + slack:
                yield f"{self.edge.name}, {self.edge.shape}: {what} {value:.3f}"


def measured(edge: Edge, repetitions: int) -> Result:
    """The figures of one design."""
    rng = np.random.default_rng(np.random.SeedSequence(list(f"{edge.name} {edge.shape}".encode())))
    sizes, covered, naive = 0, 0, 0
    cautions: Counter[str] = Counter()
    marked = 0
    for _ in range(repetitions):
        diff = edge.draw(rng)
        if edge.name == "perplexity ratio":
            method, base, tokens = np.hsplit(diff, 3)
            effect = ratio_effect(method, base, tokens, guard=FREE)
            plain = ratio_effect(method, base, tokens, resamples=0).p_value
        else:
            effect, plain = edge.effect(diff), naive_p(diff, edge.clusters)
        sizes += effect.p_value < 0.05
        covered += effect.low <= 0.0 <= effect.high
        naive += plain < 0.05
        found = [each for each in effect.cautions if each != "conditional on one seed"]
        cautions.update(found)
        marked += bool(found)
    most = max(cautions, key=lambda each: cautions[each], default="")
    shares = (count / repetitions for count in (sizes, covered, naive, marked))
    return Result(edge, *shares, caution=most, repetitions=repetitions)


def naive_p(diff: Floats, clusters: Labels | None) -> float:
    """The crossed t as it stands in the books."""
    n = len(diff)
    labels = np.arange(n) if clusters is None else clusters
    table = mean_squares(diff[None], labels, np.zeros(n, np.intp))
    item, seed, residual = table.squares
    total = np.maximum(item + seed - residual, item)
    degrees = (float(labels.max()), *table.degrees[1:])
    df = quasi_f_df(table.squares, degrees, total)
    se = np.maximum(np.sqrt(total / diff.size), 1e-300)
    return float(2.0 * t_tails(np.abs(diff.mean()) / se, df)[0])


def edge_table(results: Sequence[Result]) -> str:
    """The results as Markdown."""
    rows = [
        "| design | | size | coverage | size of the plain crossed t | cautioned | by |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in results:
        figures = (each.size, each.coverage, each.naive)
        cells = [f"{figure:.3f}" for figure in figures] + [f"{each.cautioned:.0%}", each.caution]
        rows.append("| " + " | ".join([each.edge.name, each.edge.shape, *cells]) + " |")
    return "\n".join(rows)


def main() -> int:
    """Print the table; the status is 1 if a bound is missed without a caution."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    repetitions = parser.parse_args().repetitions
    broken = edges(repetitions)
    print("\n" + ("\n".join(f"BROKEN: {what}" for what in broken) or "All bounds hold."))
    return 1 if broken else 0


def edges(repetitions: int) -> list[str]:
    """Print the table; the bounds that are missed without a caution."""
    results = [measured(edge, repetitions) for edge in EDGES]
    print(edge_table(results))
    return [what for each in results for what in each.broken()]


if __name__ == "__main__":
    sys.exit(main())
