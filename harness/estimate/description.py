"""What a grid costs and what it can show, before it runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from steereval.common.errors import ModelError, SteerEvalError
from steereval.harness.config.grid import Grid
from steereval.harness.estimate.cost import Counter
from steereval.harness.estimate.gpu_hours import RATE, Seconds, seconds_of
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import groups, tasks_named
from steereval.harness.planning.known_cost import (
    judging_flops,
    known_cost,
    known_size,
    reading_flops,
)
from steereval.harness.planning.task_resources import TaskResources
from steereval.harness.planning.token_cost import Cost
from steereval.models.methods.registry import get_method
from steereval.results.stats import least_p, minimum_detectable_effect
from steereval.tasks.catalogue.cards import card, categories_of, cluster_of

DISCORDANT = 0.2
"""Assumed share of items on which a method and the baseline differ, for a binary metric."""


def describe(grid: Grid, cells: Sequence[Cell], supplies: TaskResources) -> Iterator[str]:
    """Lines about each task: items, requests over all cells, and the detectable effect."""
    for task in grid.tasks:
        own = [cell for cell in cells if cell.task.name == task.name]
        try:
            documents, origin = len(supplies.task(own[0]).eval_docs), ""
        except SteerEvalError as error:
            known = known_size(own[0])
            if known is None:
                yield f"{task.name}: size unknown, {error}"
                continue
            documents, origin = known.documents, " by its card"
        items = int(min(task.limit or math.inf, documents))
        share = grid.select.share if grid.select else 0.0
        validation = min(math.ceil(share * items), items - 1)
        yield (
            f"{task.name}: {items} items{origin} ({validation} for choosing strengths, "
            f"{items - validation} for the test) x {len(own)} cells = "
            f"{items * len(own)} item scores"
        )
        yield "  " + _detectable(items - validation, len(grid.seeds.fit))
        warning = _out_of_reach(grid, cells, items - validation, _clusters(own[0], items, supplies))
        if warning:
            yield f"  {warning}"


def _clusters(cell: Cell, items: int, supplies: TaskResources) -> int | None:
    """Number of clusters of a task's first items; None where its documents are not at hand."""
    try:
        task, described = supplies.task(cell), card(cell.task.name)
        documents = list(islice(task.eval_docs, items))
        categories = categories_of(described.name)
        found = [cluster_of(described.name, document, categories) for document in documents]
    except SteerEvalError:
        return None
    return len({cluster or str(number) for number, cluster in enumerate(found)})


def _out_of_reach(
    grid: Grid, cells: Sequence[Cell], items: int, clusters: int | None
) -> str | None:
    """A warning where no outcome of a task could be significant; None where one could.

    With one fit seed no p-value is below that of sign flips over the clusters; the correction
    multiplies the smallest by the number of tests, the arms times the target tasks.
    """
    units = items if clusters is None else min(items, clusters)
    if len(grid.seeds.fit) > 1 or units < 1:
        return None
    arms = {cell.arm for cell in cells if cell.method.name != grid.analysis.baseline}
    tests = max(1, len(arms) * sum(task.role == "target" for task in grid.tasks))
    alpha, least = 1.0 - grid.analysis.confidence, least_p(units)
    if least * tests < alpha:
        return None
    enough = math.floor(1.0 - math.log2(alpha / tests)) + 1
    what = "items" if clusters is None or clusters >= items else "clusters"
    return (
        f"warning: no outcome can be significant: with one fit seed and {units} {what} no p-value "
        f"is below {least:.2g}, and the smallest of {tests} must be below {alpha / tests:.2g}; use "
        f"{enough} or more {what}, or several fit seeds"
    )


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


@dataclass
class _Costs:
    """Costs of groups: counted, or else from known shapes and sizes."""

    counter: Counter
    """Counts exactly what it can."""
    known: int = 0
    """Groups whose cost was not counted but is known roughly."""
    reasons: dict[str, None] = field(default_factory=dict)
    """Why groups were not counted."""
    _missing: set[str] = field(default_factory=set)
    _counted: dict[str, Cost] = field(default_factory=dict)

    def of(self, group: Sequence[Cell]) -> Cost | None:
        """The cost of `group`; None where nothing is known of it.

        A model or task that is not available is not requested again, which may take seconds. Nor is
        a group counted that feeds its model just what another one does.
        """
        model, tasks = group[0].model.name, {cell.task.name for cell in group}
        if not self._missing & {model, *tasks}:
            try:
                key = _fed(group)
                if key not in self._counted:
                    self._counted[key] = self.counter.count(group)
                return self._counted[key]
            except SteerEvalError as error:
                self.reasons[str(error)] = None
                self._missing |= {model} if isinstance(error, ModelError) else tasks
        found = known_cost(group)
        self.known += found is not None
        return found


def _fed(group: Sequence[Cell]) -> str:
    """All of a group that its tokens depend on: where its cells act, not by what or how far."""
    acting = [
        (
            cell.task,
            cell.layer,
            cell.positions,
            cell.contrast.name if cell.contrast else "",
            cell.strength == 0,
            any(kind.per_query for kind in get_method(cell.method.name).kinds),
        )
        for cell in group
    ]
    return repr((group[0].model, group[0].fewshot_seed, acting))


def describe_cost(grid: Grid, cells: Sequence[Cell], supplies: TaskResources) -> Iterator[str]:
    """A table of the groups of cells by model, task and layers: tokens and work, with and without
    sharing; without fits and the perplexity of generated texts. Then how long a GPU would take, for
    large models.

    Alone means one cell after the other, as runs of lm-eval's own model would answer.
    """
    costs = _Costs(Counter(supplies, grid.run.batch_size))
    found = groups(cells)
    yield f"{len(found)} groups, each answered in one pass (tokens; below and above the steering):"
    yield _line("model", "task", "layer", "cells", "alone", "below", "above", "less work")
    total, time = Cost(), Seconds()
    for place, alike in _by_place(found).items():
        each = [costs.of(group) for group in alike]
        known = [cost for cost in each if cost is not None]
        name = (*place, str(sum(map(len, alike))))
        if len(known) < len(each):
            yield _line(*name, "?", "?", "?", "?")
            continue
        times = (seconds_of(cost, grid.run.batch_size) or Seconds() for cost in known)
        cost, time = sum(known, Cost()), sum(times, time)
        total += cost
        yield _line(*name, *_counts(cost))
    if total.tokens_unshared:
        yield _line("in all", "", "", str(len(cells)), *_counts(total))
        yield (
            f"{_count(total.flops_alone)} FLOP one cell after the other, {_count(total.flops)} "
            f"together; {_count(total.generated)} tokens are generated at most"
        )
    if time.alone:
        yield from _describe_hours(time, cells)
    for reason in costs.reasons:
        yield f"tokens not counted: {reason}"
    if costs.known:
        yield (
            f"{costs.known} of {len(found)} groups were not counted but estimated, from the "
            "models' known shapes and the tasks' known sizes"
        )


def _by_place(
    found: Sequence[Sequence[Cell]],
) -> dict[tuple[str, str, str], list[Sequence[Cell]]]:
    """The groups of each model, task and set of layers."""
    places: dict[tuple[str, str, str], list[Sequence[Cell]]] = {}
    for group in found:
        steered = group[-1]
        place = (steered.model.name, tasks_named(group), steered.layer or "-")
        places.setdefault(place, []).append(group)
    return places


def _describe_hours(time: Seconds, cells: Sequence[Cell]) -> Iterator[str]:
    """GPU hours with and without sharing, of reading the contrast sets and of judges."""
    yield (
        f"about {_hours(time.alone)} GPU hours one cell after the other, {_hours(time.together)} "
        f"together, {_hours(time.generating)} of them writing answers (an A100 in bfloat16, "
        "without loading and training; see docs/reproducing-the-paper.md)"
    )
    for what, (flops, unknown) in (
        ("reading the contrast sets, once for all fits", reading_flops(cells)),
        ("the judges", judging_flops(cells)),
    ):
        aside = f"; unknown for {', '.join(unknown)}" if unknown else ""
        if flops or unknown:
            yield f"about {_hours(flops / RATE)} more for {what}{aside}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g}"


def _line(model: str, task: str, layer: str, cells: str, *rest: str) -> str:
    return f"  {model[-24:]:24} {task:29} {layer:>8} {cells:>6}" + "".join(f"{x:>11}" for x in rest)


def _counts(cost: Cost) -> tuple[str, ...]:
    tokens = (cost.tokens_unshared, cost.below, cost.above)
    return *map(_count, tokens), f"{cost.flops_alone / cost.flops:.1f}x"


def _count(number: float) -> str:
    """Three digits and a unit, such as `1.23 M`."""
    for unit, size in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"
