"""Detectable effects and required designs, in words: from a pilot run or given variances."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from steereval.common.errors import InputError
from steereval.results.analysis import wording
from steereval.results.analysis.leaderboard import Row
from steereval.results.analysis.run_analysis import analyse
from steereval.results.stats import Variances, detectable_effects, least_items, least_seeds
from steereval.results.store.manifest import RATIO, Metric
from steereval.results.store.run_folder import RunFolder

ITEMS = (100, 200, 400, 800, 1600)
SEEDS = (1, 3, 5, 10)

FEW_SEEDS = (
    "This is one comparison by the test of a report. Where a report corrects for many comparisons, "
    "few seeds cost much more: `--alpha` takes the level that is left for one of them."
)
"""Parts that the tables of a plan leave out."""


@dataclass(frozen=True)
class Design:
    """The request: numbers of items and seeds, a wanted effect, power and level."""

    items: tuple[int, ...] = ITEMS
    """Rows of the table."""

    seeds: tuple[int, ...] = SEEDS
    """Columns of the table."""

    effect: float | None = None
    """In the unit of the scores (0.03 is 3 points); for a ratio its relative change."""

    power: float = 0.8
    """Chance of a significant difference."""

    alpha: float = 0.05
    """Level of the two-sided test, before any correction."""

    def __post_init__(self) -> None:
        """Refuse designs without items or seeds."""
        if not self.items or not self.seeds or min(*self.items, *self.seeds) < 1:
            raise InputError(
                f"items {list(self.items)} and seeds {list(self.seeds)} are not a design",
                "Give counts of at least 1.",
            )


@dataclass(frozen=True)
class _Scale:
    """How differences are written."""

    metric: Metric

    def to_words(self, effect: float) -> str:
        if math.isinf(effect):
            return "∞"
        if self.metric.kind == RATIO:
            return f"× {wording.factor(effect)}"
        if self.metric.in_points:
            return f"{100 * effect:.1f}"
        return f"{effect:.4g}"

    def wanted(self, effect: float) -> float:
        """A wanted effect on the scale of the variances."""
        return math.log1p(effect) if self.metric.kind == RATIO else effect


def plan_from_pilot(
    run: RunFolder, design: Design, methods: Sequence[str] = (), tasks: Sequence[str] = ()
) -> Iterator[str]:
    """Markdown lines for every primary comparison of `run`, or those of `methods` and `tasks`.

    InputError if nothing is left to plan from.
    """
    rows = [row for row in analyse(run).rows if row.is_primary and row.comparison is not None]
    chosen = [
        row
        for row in rows
        if (not methods or row.arm.method in methods) and (not tasks or row.task.name in tasks)
    ]
    if not chosen:
        known = ", ".join(sorted({f"{row.arm.method} on {row.task.name}" for row in rows}))
        raise InputError(
            "the pilot has no such comparison with its baseline", f"It has: {known or 'none'}."
        )
    for row in chosen:
        yield from _of_row(row, design)


def plan_from_variances(variances: Variances, design: Design) -> Iterator[str]:
    """Markdown lines for `variances` of scores from 0 to 1, shown in points."""
    yield "## From the variances given\n"
    yield from _lines(variances, design, _Scale(Metric("score", "bounded", True)))


def _of_row(row: Row, design: Design) -> Iterator[str]:
    assert row.comparison is not None
    effect = row.comparison.effect
    yield f"## {row.model}: {row.name} on {row.task.name}, {row.metric.name}\n"
    if not math.isfinite(effect.se):
        yield "One item or one cluster says nothing about variances: no plan can be made from it.\n"
        return
    seeds = "1 seed" if effect.n_seeds == 1 else f"{effect.n_seeds} seeds"
    yield f"Pilot: {effect.n_items} items, {effect.n_clusters} clusters, {seeds}."
    if effect.n_seeds == 1 and not row.is_unseeded:
        yield "One seed says nothing about the seeds' variance: the plan takes it to be 0."
    elif effect.n_seeds < 5 and not row.is_unseeded:
        yield "Few seeds estimate their variance only roughly; plan for more than the least number."
    yield from _lines(Variances.of(effect), design, _Scale(row.metric))


def _lines(variances: Variances, design: Design, scale: _Scale) -> Iterator[str]:
    yield (
        f"Variances of the difference: items {variances.item:.3g}, seeds {variances.seed:.3g}, "
        f"residual {variances.residual:.3g}.\n"
    )
    unit = " in points" if scale.metric.in_points else ""
    level = f"{100 * design.alpha:g} %"
    yield f"Least difference{unit} detected at {level} with a power of {100 * design.power:g} %:\n"
    yield "| items | " + " | ".join(f"S = {s}" for s in design.seeds) + " |"
    yield "| ---: |" + " ---: |" * len(design.seeds)
    for n in design.items:
        effects = detectable_effects(variances, n, design.seeds, design.power, design.alpha)
        yield f"| {n} | " + " | ".join(scale.to_words(float(x)) for x in effects) + " |"
    yield ""
    if max(design.seeds) > 1:
        yield FEW_SEEDS + "\n"
    if design.effect is not None:
        yield from _needed(variances, design, scale, design.effect)


def _needed(variances: Variances, design: Design, scale: _Scale, effect: float) -> Iterator[str]:
    wanted, power, alpha = scale.wanted(effect), design.power, design.alpha
    yield f"To detect {scale.to_words(wanted)}:\n"
    for seeds in design.seeds:
        n = least_items(wanted, variances, seeds, power, alpha)
        words = "no number of items suffices" if n is None else f"{n} items"
        yield f"- with {seeds} seed{'s' if seeds > 1 else ''}: {words}"
    for n in design.items:
        least = least_seeds(wanted, variances, n, power, alpha)
        words = "no number of seeds suffices" if least is None else f"{least} or more seeds"
        yield f"- with {n} items: {words}"
    yield ""
