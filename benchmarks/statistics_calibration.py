"""Size, coverage and power of the tests in simulated experiments, compared with common mistakes.

    python benchmarks/statistics_calibration.py                       # 4000 experiments a design
    python benchmarks/statistics_calibration.py --repetitions 20000

Prints Markdown tables. The exit status is 1 where a figure lies outside the bounds that the
documentation gives by more than two Monte Carlo standard errors: sizes within 0.03 and 0.07 at a
nominal 0.05 and coverage within 0.93 and 0.97 with one seed and with three or more, discrete tests
and two seeds at most 0.07, exact intervals at least 0.95. Measured is the test of a report, by the
code of the report (`statistics_report_test.py`).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats
from statistics_edges import edges
from statistics_families import report as families
from statistics_mistakes import bootstrap_excludes, pooled_p
from statistics_report_test import ACCURACY, FREE, PERPLEXITY, Checked, MacroTested, components

from steereval.results import stats
from steereval.results.stats.cautions import LEAST_DIFFERING
from steereval.results.stats.crossed import CrossedEstimates
from steereval.results.stats.skewness import one_sided_p

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]
Bounds = tuple[float, float]

SIZE, COVERAGE = (0.03, 0.07), (0.93, 0.97)
BINARY = stats.Guard(-1.0, 1.0, is_binary=True)
AT_MOST, EXACT, ANY = (0.0, 0.07), (0.95, 1.0), (0.0, 1.0)
CHUNK = 250


@dataclass(frozen=True)
class Design:
    """Items × seeds with normal effects of items, clusters, seeds (or fits) and residuals."""

    name: str
    n: int
    seeds: int
    sd_seed: float
    sizes: tuple[int, ...] = ()
    n_folds: int = 1
    n_tasks: int = 1
    binary: bool = False
    sd_item: float = 0.3
    sd_cluster: float = 0.0
    sd_noise: float = 0.3

    @property
    def clusters(self) -> Labels | None:
        if not self.sizes:
            return None
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @property
    def folds(self) -> Labels | None:
        return np.arange(self.n) % self.n_folds if self.n_folds > 1 else None

    @property
    def variances(self) -> stats.Variances:
        squares = sum(size**2 for size in self.sizes)
        item = self.sd_item**2 + self.sd_cluster**2 * squares / self.n
        # Of equal ones that tell as much, as `Variances.of` a pilot has it.
        per_cluster = squares / self.n if self.sizes else 1.0
        return stats.Variances(
            item,
            self.sd_seed**2 / self.n_folds,
            self.sd_noise**2,
            per_cluster,
            self.n_folds,
        )

    def draw(self, rng: np.random.Generator, repetitions: int) -> Floats:
        """[repetitions, tasks, items, seeds] of differences whose mean is 0."""
        shape = (repetitions, self.n_tasks, self.n, self.seeds)
        fits = rng.normal(0, self.sd_seed, (repetitions, 1, self.n_folds, self.seeds))
        item = rng.normal(0, self.sd_item, (*shape[:3], 1))
        if self.binary:
            return self._binary(rng, item, fits, shape)
        diff = rng.normal(0, self.sd_noise, shape) + item
        diff += fits[:, :, self.folds if self.folds is not None else np.zeros(self.n, np.intp)]
        if self.clusters is not None:
            common = rng.normal(0, self.sd_cluster, (*shape[:2], len(self.sizes), 1))
            diff += common[:, :, self.clusters]
        return diff

    def _binary(
        self, rng: np.random.Generator, item: Floats, fits: Floats, shape: tuple[int, ...]
    ) -> Floats:
        """Right or wrong where a latent score exceeds 0: half are right in both arms."""
        method = item + fits + rng.normal(0, self.sd_noise, shape)
        baseline = item + rng.normal(0, self.sd_noise, (*shape[:3], 1))
        return (method > 0).astype(np.float64) - (baseline > 0)


@dataclass
class Line:
    """Results of one test in one design; a figure that was not measured is None."""

    design: str
    shape: str
    test: str
    size: float | None = None
    coverage: float | None = None
    power: float | None = None
    crossed: float | None = None
    pooled: float | None = None
    bootstrap: float | None = None
    size_bounds: Bounds = ANY
    coverage_bounds: Bounds = ANY
    repetitions: int = 0
    disagreements: int = 0
    """Experiments in which the report itself says something else than these figures."""

    def broken(self) -> list[str]:
        """The bounds that this line breaks."""
        breaches = [f"{self.design}: {self.disagreements} reports differ"] * bool(
            self.disagreements
        )
        for what, value, (low, high) in (
            ("size", self.size, self.size_bounds),
            ("coverage", self.coverage, self.coverage_bounds),
        ):
            if value is None:
                continue
            slack = 2 * math.sqrt(max(value * (1 - value), 1e-4) / max(self.repetitions, 1))
            if not low - slack <= value <= high + slack:
                breaches.append(
                    f"{self.design}, {self.test}: {what} {value:.3f}, not {low} to {high}"
                )
        return breaches


def skewed(groups: int, ratio: float, total: int) -> tuple[int, ...]:
    """Sizes that fall by `ratio` from cluster to cluster, `total` in all."""
    weights = ratio ** np.arange(groups)
    sizes = np.maximum(1, np.round(total * weights / weights.sum())).astype(int)
    sizes[0] += total - int(sizes.sum())
    return tuple(int(size) for size in sizes)


UNEVEN, EVEN = skewed(38, 0.88, 800), (20,) * 40

CROSSED = (
    Design("the usual grid", 800, 5, 0.02),
    Design("three seeds", 800, 3, 0.02),
    Design("three seeds that spread", 800, 3, 0.05),
    Design("seeds that do nothing", 800, 5, 0.0),
    Design("few items", 50, 5, 0.02),
    Design("few items, three seeds", 50, 3, 0.05),
    Design("many items, ten seeds", 2000, 10, 0.01),
    Design("many items, five seeds", 2000, 5, 0.05),
    Design("40 even clusters", 800, 5, 0.02, sizes=EVEN, sd_cluster=0.15),
    Design("38 uneven clusters", 800, 5, 0.02, sizes=UNEVEN, sd_cluster=0.15),
    Design("38 uneven clusters, three seeds", 800, 3, 0.05, sizes=UNEVEN, sd_cluster=0.15),
    Design("two folds", 800, 3, 0.05, n_folds=2),
    Design("two folds, five seeds", 800, 5, 0.02, n_folds=2),
    Design("four tasks share their seeds", 200, 5, 0.05, n_tasks=4),
    Design("four tasks, three seeds", 200, 3, 0.02, n_tasks=4),
    Design("binary", 800, 5, 0.02, binary=True),
    Design("binary, few items", 200, 3, 0.05, binary=True),
    Design("two seeds (too few)", 800, 2, 0.02),
    Design("two seeds that spread (too few)", 800, 2, 0.05),
)

ONE_SEED = (
    Design("one seed, items", 800, 1, 0.0),
    Design("one seed, few items", 50, 1, 0.0),
    Design("one seed, 40 even clusters", 800, 1, 0.0, sizes=EVEN, sd_cluster=0.15),
    Design("one seed, 38 uneven clusters", 800, 1, 0.0, sizes=UNEVEN, sd_cluster=0.15),
)


def main() -> int:
    """Print the tables; the status is 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    repetitions = parser.parse_args().repetitions
    lines = [crossed_line(design, repetitions) for design in CROSSED]
    lines += [line for design in ONE_SEED for line in one_seed_lines(design, repetitions)]
    lines += [*binary_lines(repetitions), *interval_lines(repetitions), ratio_line(repetitions)]
    lines += [*margin_lines(repetitions)]
    print(f"{repetitions} experiments a design, nominal size 0.05, nominal coverage 0.95.\n")
    print(table(lines), flush=True)
    broken = [what for line in lines for what in line.broken()]
    broken += edges(repetitions)
    broken += families(max(repetitions // 4, 100))
    print("\n" + ("\n".join(f"BROKEN: {what}" for what in broken) or "All bounds hold."))
    return 1 if broken else 0


def chunks(repetitions: int) -> Iterator[int]:
    """Numbers of repetitions that are drawn together."""
    for start in range(0, repetitions, CHUNK):
        yield min(CHUNK, repetitions - start)


def generator(name: str) -> np.random.Generator:
    """A generator of the design's own, so that designs do not depend on each other."""
    return np.random.default_rng(np.random.SeedSequence(list(name.encode())))


def crossed_line(design: Design, repetitions: int) -> Line:
    """The reported test, the crossed t, a test with pooled rows, and a percentile bootstrap over
    seeds."""
    rng = generator(design.name)
    tested: Checked | MacroTested = MacroTested()
    if design.n_tasks == 1:
        tested = Checked(ACCURACY if design.binary else FREE, design.clusters, design.folds)
    estimates, pooled, excluded = [], [], []
    for count in chunks(repetitions):
        diff = design.draw(rng, count)
        estimates.append(tested.add(diff if design.n_tasks > 1 else diff[:, 0]))
        pooled.append(pooled_p(diff))
        excluded.append(bootstrap_excludes(rng, diff.mean(axis=(1, 2))))
    variances = design.variances
    if design.binary:  # what latent scores make of right and wrong has no simple formula
        variances = stats.Variances(*np.mean([components(each) for each in estimates], axis=(0, 2)))
    few = design.seeds < 3
    return Line(
        design.name,
        shape_words(design),
        "macro-mean, seed-robust t" if design.n_tasks > 1 else "seed-robust t",
        size=tested.size,
        coverage=tested.coverage,
        power=power_at_mde(design, variances, repetitions),
        crossed=tested.crossed_size,
        pooled=float(np.mean(np.concatenate(pooled) < 0.05)),
        bootstrap=float(np.mean(np.concatenate(excluded))),
        size_bounds=AT_MOST if few else SIZE,
        coverage_bounds=(COVERAGE[0], 1.0) if few else COVERAGE,
        repetitions=repetitions,
        disagreements=tested.disagreements,
    )


def power_at_mde(design: Design, variances: stats.Variances, repetitions: int) -> float:
    """How often an effect of the detectable size is claimed, in other experiments."""
    rng = generator(f"power {design.name}")
    effect = float(stats.detectable_effects(variances, design.n * design.n_tasks, design.seeds))
    tested: Checked | MacroTested = MacroTested()
    if design.n_tasks == 1:
        tested = Checked(FREE, design.clusters, design.folds)
    for count in chunks(repetitions):
        diff = design.draw(rng, count) + effect
        tested.add(diff if design.n_tasks > 1 else diff[:, 0])
    return tested.size


def one_seed_lines(design: Design, repetitions: int) -> Iterator[Line]:
    """The report's test of one seed, conditional on it, and sign flips."""
    rng = generator(design.name)
    clusters = design.clusters if design.sizes else np.arange(design.n)
    tested, flips, pooled = Checked(FREE, design.clusters), [], []
    for number, count in enumerate(chunks(repetitions)):
        diff = design.draw(rng, count)[:, 0]
        tested.add(diff)
        flips.append(stats.sign_flip_p_values(diff[:, :, 0].T, clusters, 1999, number))
        pooled.append(pooled_p(diff))
    flipped = float(np.mean(np.concatenate(flips) < 0.05))
    for test, size in (("t, skewness-corrected", tested.size), ("sign flips", flipped)):
        yield Line(
            design.name,
            shape_words(design),
            test,
            size=size,
            coverage=tested.coverage if test != "sign flips" else None,
            pooled=float(np.mean(np.concatenate(pooled) < 0.05)),
            size_bounds=SIZE,
            coverage_bounds=COVERAGE,
            repetitions=repetitions,
            disagreements=tested.disagreements,
        )


def binary_lines(repetitions: int) -> Iterator[Line]:
    """One run of binary scores: t with two pseudo-pairs and McNemar's mid-p, the larger one."""
    for n, share in ((50, 0.2), (150, 0.1), (800, 0.02), (800, 0.2), (2000, 0.1)):
        rng = generator(f"binary {n} {share}")
        counts = rng.multinomial(n, [share / 2, share / 2, 1 - share], size=repetitions)
        pairs, inverse = np.unique(counts[:, :2], axis=0, return_inverse=True)
        p_values = np.array([paired_p(int(b), int(c), n) for b, c in pairs])[inverse.ravel()]
        few = "few items differ" if n * share < LEAST_DIFFERING else ""
        yield Line(
            f"binary, {share:.0%} discordant",
            f"n {n}, S 1",
            "t with two pseudo-pairs, McNemar mid-p" + (f" ({few})" if few else ""),
            size=float(np.mean(p_values < 0.05)),
            coverage=float(np.mean(p_values >= 0.05)),
            size_bounds=AT_MOST,
            coverage_bounds=(0.93, 1.0),
            repetitions=repetitions,
        )


def paired_p(b: int, c: int, n: int) -> float:
    """The report's p-value of `b` and `c` discordant pairs among `n`."""
    diff = np.repeat([1.0, -1.0, 0.0], [b, c, n - b - c])[:, None]
    return max(stats.crossed_effect(diff, guard=BINARY).p_value, stats.mcnemar_midp(b, c))


def interval_lines(repetitions: int) -> Iterator[Line]:
    """Intervals of one proportion, exactly, and of a short list of bounded scores."""
    for name, n, p in (("wilson", 100, 0.3), ("clopper_pearson", 25, 0.1)):
        mass = scipy_stats.binom.pmf(np.arange(n + 1), n, p)
        ends = np.array([getattr(stats, name)(k, n) for k in range(n + 1)])
        covered = (ends[:, 0] <= p) & (p <= ends[:, 1])
        yield Line(
            f"a proportion of {p}",
            f"n {n}",
            name.replace("_", "-"),
            coverage=float(mass @ covered),
            coverage_bounds=EXACT if name == "clopper_pearson" else COVERAGE,
            repetitions=10**9,
        )
    rng = generator("bounded")
    values = rng.beta(2, 4, (repetitions, 50, 1))
    estimates = stats.crossed_estimates(values, guard=stats.Guard(0.0, 1.0))
    covered = (estimates.low <= 1 / 3) & (estimates.high >= 1 / 3)
    yield Line(
        "bounded scores, skewed", "n 50, S 1", "t, skewness-corrected",
        coverage=float(np.mean(covered)), coverage_bounds=COVERAGE, repetitions=repetitions,
    )  # fmt: skip


def ratio_line(repetitions: int) -> Line:
    """Log ratios of perplexities on the same texts, with texts of very different lengths."""
    rng, tested = generator("ratio"), Checked(PERPLEXITY)
    for count in chunks(repetitions):
        shape = (count, 150, 4)
        tokens = np.broadcast_to(rng.integers(5, 200, (count, 150, 1)).astype(np.float64), shape)
        base = tokens * 3 + rng.normal(0, 1, (count, 150, 1)) * np.sqrt(tokens)
        method = base + rng.normal(0, 0.02, (count, 1, 4)) * tokens + rng.normal(0, 2, shape)
        tested.add(np.stack([method, base, tokens], axis=1))
    return Line(
        "perplexity ratio", "n 150, S 4, σ_seed 0.02", "seed-robust t of influence values",
        size=tested.size, coverage=tested.coverage, crossed=tested.crossed_size,
        size_bounds=SIZE, coverage_bounds=COVERAGE, repetitions=repetitions,
        disagreements=tested.disagreements,
    )  # fmt: skip


def margin_lines(repetitions: int) -> Iterator[Line]:
    """A loss of exactly the margin: how often it passes as non-inferior."""
    margin = 0.05
    for seeds, spread in ((3, 0.03), (5, 0.02)):
        design, passed = Design("a loss of exactly the margin", 800, seeds, spread), []
        rng = generator(shape_words(design))
        for count in chunks(repetitions):
            diff = design.draw(rng, count)[:, 0] - margin
            estimates: CrossedEstimates = stats.crossed_estimates(diff, guard=stats.Guard())
            statistic = (estimates.estimate + margin) / estimates.se
            passed.append(one_sided_p(statistic, estimates.skewness, estimates.df) < 0.05)
        yield Line(
            design.name, shape_words(design), "non-inferiority, one-sided",
            size=float(np.mean(np.concatenate(passed))), size_bounds=SIZE, repetitions=repetitions,
        )  # fmt: skip


def shape_words(design: Design) -> str:
    """Items, seeds and the seeds' spread."""
    tasks = f"{design.n_tasks} × " if design.n_tasks > 1 else ""
    spread = f", σ_seed {design.sd_seed:g}" if design.seeds > 1 else ""
    return f"n {tasks}{design.n}, S {design.seeds}{spread}"


def table(lines: Sequence[Line]) -> str:
    """The lines as Markdown."""
    head = "design | | test | size | coverage | power at the MDE"
    others = "crossed t | rows pooled | bootstrap of seeds"
    rows = [f"| {head} | {others} |", "| --- | --- | --- |" + " ---: |" * 6]
    for line in lines:
        figures = (line.size, line.coverage, line.power, line.crossed, line.pooled, line.bootstrap)
        cells = ["" if figure is None else f"{figure:.3f}" for figure in figures]
        rows.append("| " + " | ".join([line.design, line.shape, line.test, *cells]) + " |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
