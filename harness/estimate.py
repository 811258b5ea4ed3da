"""What a grid costs and what it can show, before it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from steereval.cost import Cost, Counter
from steereval.errors import SteerEvalError
from steereval.plan import Cell, groups
from steereval.results.stats import minimum_detectable_effect
from steereval.spec import Grid
from steereval.supplies import Supplies

DISCORDANT = 0.2
"""Assumed share of items on which a method and the baseline differ, for a binary metric."""


def describe(grid: Grid, cells: Sequence[Cell], supplies: Supplies) -> Iterator[str]:
    """Lines about each task: items, requests over all cells, and the detectable effect."""
    for task in grid.tasks:
        own = [cell for cell in cells if cell.task.name == task.name]
        try:
            loaded = supplies.task(own[0])
        except SteerEvalError as error:
            yield f"{task.name}: size unknown, {error}"
            continue
        items = min(task.limit or math.inf, len(loaded.eval_docs))
        share = grid.select.share if grid.select else 0.0
        validation = min(math.ceil(share * items), int(items) - 1)
        yield (
            f"{task.name}: {int(items)} items ({validation} for choosing strengths, "
            f"{int(items) - validation} for the test) x {len(own)} cells = "
            f"{int(items) * len(own)} item scores"
        )
        yield "  " + _detectable(int(items) - validation, len(grid.seeds.fit))


def describe_noise_floor(grid: Grid, cells: Sequence[Cell]) -> str:
    """Which cells are computed twice, or how to have some."""
    twice = [cell for cell in cells if cell.is_repeat]
    if twice:
        return f"{len(twice)} cells are computed twice, with batches of {grid.repeat_batch_size}"
    return "no cell is computed twice: `noise_floor: METHOD` shows what is noise"


def _detectable(items: int, seeds: int) -> str:
    effect = minimum_detectable_effect(DISCORDANT, 0.0, 0.0, items, seeds)
    return (
        f"detects {100 * effect:.1f} points or more with 80 % power (a binary metric, "
        f"{DISCORDANT:.0%} of the answers changed, seeds alike)"
    )


def describe_cost(grid: Grid, cells: Sequence[Cell], supplies: Supplies) -> Iterator[str]:
    """A table of the groups of cells: tokens and work, with and without sharing; fits and
    the perplexity of generated texts aside.

    Alone means one cell after the other, as runs of lm-eval's own model would answer.
    """
    counter = Counter(supplies, grid.run.batch_size)
    total, uncounted = Cost(), list[str]()
    found = groups(cells)
    yield f"{len(found)} groups, each answered in one pass (tokens; below and above the steering):"
    yield _line("model", "task", "layer", "cells", "alone", "below", "above", "less work")
    for group in found:
        steered = group[-1]
        name = steered.model.name, steered.task.name, steered.layer or "-", str(len(group))
        try:
            cost = counter.count(group)
        except SteerEvalError as error:
            uncounted.append(str(error))
            yield _line(*name, "?", "?", "?", "?")
            continue
        total += cost
        yield _line(*name, *_counts(cost))
    if total.alone:
        yield _line("in all", "", "", str(len(cells)), *_counts(total))
        yield (
            f"{_count(total.flops_alone)} FLOP one cell after the other, {_count(total.flops)} "
            f"together; {_count(total.generated)} tokens are generated at most"
        )
    for reason in dict.fromkeys(uncounted):
        yield f"tokens not counted: {reason}"


def _line(model: str, task: str, layer: str, cells: str, *rest: str) -> str:
    return f"  {model[-24:]:24} {task:24} {layer:>8} {cells:>6}" + "".join(f"{x:>11}" for x in rest)


def _counts(cost: Cost) -> tuple[str, ...]:
    tokens = (cost.alone, cost.lower, cost.upper)
    return *map(_count, tokens), f"{cost.flops_alone / cost.flops:.1f}x"


def _count(number: float) -> str:
    """Three digits and a unit, such as `1.23 M`."""
    for unit, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"
