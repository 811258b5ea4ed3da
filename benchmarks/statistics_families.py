"""Families of tests in simulated experiments: how often they claim what is not there.

    python benchmarks/statistics_families.py                      # 1000 experiments a design
    python benchmarks/statistics_families.py --repetitions 2500

Prints Markdown tables; `statistics_calibration.py` prints them too. The exit status is 1 where a
family that the report uses claims something in more than 5 % of the experiments, by more than two
Monte Carlo standard errors.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from steereval.results import stats
from steereval.results.stats.crossed import CrossedEstimates

Floats = npt.NDArray[np.float64]

METHODS, LEVEL = 10, 0.05
GUARD = stats.Guard()
"""As a report gives it for scores on a scale without ends: every test is skewness-corrected."""

SEEDS, SPREADS = (3, 4, 5), (0.0, 0.01, 0.02, 0.03, 0.05)
EFFECTS = (0.03, 0.05)
TASKS = 4
RANKED_EVERY = 2
"""Rank intervals test 55 pairs and are drawn in one of so many experiments."""

HELD = ("Holm", "max-T", "ranks", "2 of 4", "macro-mean")
"""Tests behind the claims of the report, which must hold their level."""

BY_T = ("Holm, crossed t", "max-T, crossed t", "ranks, crossed t")
"""The same by the crossed t, for comparison."""


@dataclass(frozen=True)
class Family:
    """A design, and how often each way of adjusting claims something."""

    n: int
    seeds: int
    sd_seed: float
    rates: dict[str, float]
    trials: dict[str, int]

    @property
    def name(self) -> str:
        return f"n {self.n}, S {self.seeds}, σ_seed {self.sd_seed:g}"

    def broken(self) -> Iterator[str]:
        """The claims that come too often."""
        for column in HELD:
            rate, count = self.rates.get(column, 0.0), self.trials.get(column, 1)
            if rate > LEVEL + 2 * math.sqrt(LEVEL * (1 - LEVEL) / count):
                yield f"{column} in {self.name}: {rate:.3f}"


def draw(rng: np.random.Generator, n: int, seeds: int, sd_seed: float) -> Floats:
    """[methods, items, seeds] of differences without effect.

    Half of the items' variance is the baseline's and shared by all; each method has its own fits.
    """
    sd = 0.3 * math.sqrt(0.5)
    diffs = rng.normal(0, sd, (1, n, 1)) + rng.normal(0, sd, (METHODS, n, 1))
    diffs = diffs + rng.normal(0, sd_seed, (METHODS, 1, seeds))
    return diffs + rng.normal(0, 0.3, (METHODS, n, seeds))


def family_lines(repetitions: int) -> list[Family]:
    """Ten useless methods on the same items, for several seeds and for one."""
    designs = [(800, seeds, spread) for seeds in SEEDS for spread in SPREADS]
    return [_family(*design, repetitions) for design in [*designs, (800, 10, 0.02), (800, 1, 0.0)]]


def _family(n: int, seeds: int, sd_seed: float, repetitions: int) -> Family:
    rng = _generator(f"family {n} {seeds} {sd_seed}")
    hits_of: dict[str, list[bool]] = {}
    for number in range(repetitions):
        diffs = draw(rng, n, seeds, sd_seed)
        claims = _claims(rng, diffs)
        if seeds > 1 and number % RANKED_EVERY == 0:
            claims |= _rank_claims(diffs) | _claims_across(rng, n // TASKS, seeds, sd_seed)
        for column, claimed in claims.items():
            hits_of.setdefault(column, []).append(claimed)
    rates = {column: float(np.mean(hits)) for column, hits in hits_of.items()}
    return Family(n, seeds, sd_seed, rates, {column: len(hits) for column, hits in hits_of.items()})


def _claims(rng: np.random.Generator, diffs: Floats) -> dict[str, bool]:
    """Whether any of the methods is claimed to differ from the baseline."""
    n, seeds = diffs.shape[1:]
    estimates, seed = stats.crossed_estimates(diffs, guard=GUARD), int(rng.integers(2**32))
    if seeds == 1:
        columns, items = diffs[:, :, 0].T, np.arange(n)
        alone = stats.sign_flip_p_values(columns, items, 1999, seed)
        together = stats.max_t_sign_flip([(columns, items)], 1999, seed)
        return {"Holm": _any(stats.adjust(alone, "holm")), "max-T": _any(together)}
    correlation = stats.crossed_correlation(diffs.mean(axis=2), np.arange(n), estimates.se)
    claims = {}
    for p_values, words in ((estimates.p_robust, ""), (estimates.p_value, ", crossed t")):
        claims[f"Holm{words}"] = _any(stats.adjust(p_values, "holm"))
        together = stats.max_t_crossed(p_values, correlation, 2000, seed)
        claims[f"max-T{words}"] = _any(together)
    return claims


def _rank_claims(diffs: Floats) -> dict[str, bool]:
    """Whether any rank of the methods and the baseline is claimed: none is left open to all."""
    arms = np.concatenate([np.zeros_like(diffs[:1]), diffs])
    pairs = list(combinations(range(len(arms)), 2))
    pairs_of_arms = np.stack([arms[a] - arms[b] for a, b in pairs])
    estimates = stats.crossed_estimates(pairs_of_arms, guard=GUARD)
    means = arms.mean(axis=(1, 2))
    claims = {}
    for p_values, words in ((estimates.p_robust, ""), (estimates.p_value, ", crossed t")):
        matrix = np.ones((len(arms), len(arms)))
        for (a, b), p in zip(pairs, stats.adjust(p_values, "holm"), strict=True):
            matrix[a, b] = matrix[b, a] = p
        open_to_all = (1, len(arms))
        ranks = stats.rank_intervals(means, matrix, LEVEL)
        claims[f"ranks{words}"] = any(rank != open_to_all for rank in ranks)
    return claims


def _claims_across(rng: np.random.Generator, n: int, seeds: int, sd_seed: float) -> dict[str, bool]:
    """A method that helps in one of four tasks, and macro-means of ten useless methods over them.

    The tasks share the fit seeds.
    """
    fits = rng.normal(0, sd_seed, (METHODS, 1, 1, seeds))
    diffs = fits + rng.normal(0, 0.3, (METHODS, TASKS, n, 1))
    diffs = diffs + rng.normal(0, 0.3, (METHODS, TASKS, n, seeds))
    one = diffs[0].copy()
    one[0] += 10.0
    estimates = stats.crossed_estimates(one, guard=GUARD)
    one_sided = np.where(estimates.estimate > 0, estimates.p_robust / 2, 1 - estimates.p_robust / 2)
    guards = [GUARD] * TASKS
    macro = [stats.macro_effect(list(method), guards=guards).p_robust for method in diffs]
    return {
        "2 of 4": bool(stats.partial_conjunction(one_sided)[1] < LEVEL),
        "macro-mean": _any(stats.adjust(macro, "holm")),
    }


def power_lines(repetitions: int) -> list[tuple[str, dict[str, float]]]:
    """Chance that the one method of ten that has an effect is claimed, and that of a test alone."""
    lines = []
    for seeds in SEEDS:
        for spread in SPREADS:
            rng = _generator(f"power {seeds} {spread}")
            hits: dict[str, list[bool]] = {}
            for _ in range(repetitions):
                diffs = draw(rng, 800, seeds, spread)
                for effect in EFFECTS:
                    moved = diffs.copy()
                    moved[0] += effect
                    for column, claimed in _found(
                        stats.crossed_estimates(moved, guard=GUARD)
                    ).items():
                        hits.setdefault(f"{100 * effect:g} points, {column}", []).append(claimed)
            rates = {column: float(np.mean(each)) for column, each in hits.items()}
            lines.append((f"n 800, S {seeds}, σ_seed {spread:g}", rates))
    return lines


def _found(estimates: CrossedEstimates) -> dict[str, bool]:
    return {
        f"{how}{words}": bool(adjusted[0] < LEVEL)
        for p_values, words in ((estimates.p_robust, ""), (estimates.p_value, ", crossed t"))
        for how, adjusted in (("alone", p_values), ("Holm", stats.adjust(p_values, "holm")))
    }


def _any(p_values: Floats) -> bool:
    return bool(np.min(p_values) < LEVEL)


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(list(name.encode())))


def table(rows: Sequence[tuple[str, dict[str, float]]], columns: Sequence[str], head: str) -> str:
    """Markdown; a figure that was not looked at is left out."""
    lines = [f"| {head} | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    for name, rates in rows:
        cells = [f"{rates[column]:.3f}" if column in rates else "" for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(repetitions: int) -> list[str]:
    """Print both tables; what is broken."""
    families = family_lines(repetitions)
    print(
        f"\nFamilies of ten useless methods, {repetitions} experiments (half of them for ",
        end="",
    )
    print("ranks, 2 of 4 and the macro-mean): chance of any claim at 0.05.\n")
    print(table([(f.name, f.rates) for f in families], [*HELD, *BY_T], "family"))
    powers = power_lines(max(repetitions // 4, 50))
    print("\nPower: one of the ten has an effect.\n")
    print(table(powers, list(powers[0][1]), "design"))
    return [what for family in families for what in family.broken()]


def main() -> int:
    """Print the tables; the status is 1 if a family does not hold its level."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    broken = report(parser.parse_args().repetitions)
    print("\n" + ("\n".join(f"BROKEN: {what}" for what in broken) or "All families hold."))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
