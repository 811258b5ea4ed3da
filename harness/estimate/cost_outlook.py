"""Tokens, work and GPU time of a grid, before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from steereval.common.errors import ModelError, SteerEvalError
from steereval.harness.config.grid import Grid
from steereval.harness.estimate.cost import Counter
from steereval.harness.estimate.gpu_hours import RATE, Seconds, seconds_of
from steereval.harness.planning.cell import Cell
from steereval.harness.planning.groups import groups, tasks_named
from steereval.harness.planning.known_cost import judging_flops, known_cost, reading_flops
from steereval.harness.planning.task_resources import TaskResources
from steereval.harness.planning.token_cost import Cost
from steereval.models.methods.registry import get_method

_KEY = ("model", "task", "layer")
"""Columns that name a row of costs."""


@dataclass(frozen=True)
class CostRow:
    """The groups of one model, task and set of layers."""

    model: str
    """Name of the model; empty in a row that sums over models."""
    task: str
    """Name of the task, or of the tasks that are answered together."""
    layer: str
    """Steered layers; `-` without steering."""
    cells: int
    """Cells of the groups."""
    cost: Cost | None
    """Their cost; None where that of any group is unknown."""


@dataclass(frozen=True)
class ExtraWork:
    """Work of a grid outside its cells, as GPU time."""

    seconds: float
    """As far as it is known."""
    unknown: tuple[str, ...]
    """Names of models whose part is unknown."""


@dataclass(frozen=True)
class CostOutlook:
    """Cost of the cells of a grid, without fits and the perplexity of generated texts."""

    groups: int
    """Sets of cells that are answered in one pass."""
    rows: tuple[CostRow, ...]
    """By model, task and layers."""
    seconds: Seconds
    """GPU time of the models for which it can be estimated; zero for small ones."""
    fitting: ExtraWork
    """Reading the contrast sets, once for all fits."""
    judging: ExtraWork
    """The judges."""
    reasons: tuple[str, ...]
    """Why groups were not counted."""
    estimated: int
    """Groups whose cost was not counted, but estimated from known shapes and sizes."""

    @property
    def total(self) -> Cost:
        """The cost of the rows whose cost is known."""
        return sum((row.cost for row in self.rows if row.cost is not None), Cost())


def merged_rows(rows: Iterable[CostRow], *fields: str) -> list[CostRow]:
    """Rows summed over the columns that are not named.

    Args:
        rows: What to sum.
        fields: Columns that remain, of `model`, `task` and `layer`; the others become empty.
    """
    merged: dict[tuple[str, str, str], CostRow] = {}
    for row in rows:
        model, task, layer = (getattr(row, name) if name in fields else "" for name in _KEY)
        key = (model, task, layer)
        sum_so_far = merged.get(key, CostRow(*key, 0, Cost()))
        costs = [each.cost for each in (sum_so_far, row) if each.cost is not None]
        cost = sum(costs, Cost()) if len(costs) == 2 else None
        merged[key] = CostRow(*key, sum_so_far.cells + row.cells, cost)
    return list(merged.values())


def cost_outlook(grid: Grid, cells: Sequence[Cell], resources: TaskResources) -> CostOutlook:
    """Count what the cells of a grid cost, or estimate it where models or data are not at hand.

    Args:
        grid: The grid.
        cells: Its cells.
        resources: The tasks' data, where at hand. Nothing is downloaded.
    """
    costs = _Costs(Counter(resources, grid.run.batch_size))
    all_groups = groups(cells)
    rows, time = [], Seconds()
    for key, alike in _by_place(all_groups).items():
        group_costs = [costs.of(group) for group in alike]
        known = [cost for cost in group_costs if cost is not None]
        is_known = len(known) == len(group_costs)
        if is_known:
            times = (seconds_of(cost, grid.run.batch_size) or Seconds() for cost in known)
            time = sum(times, time)
        cell_count = sum(map(len, alike))
        rows.append(CostRow(*key, cell_count, sum(known, Cost()) if is_known else None))
    return CostOutlook(
        len(all_groups),
        tuple(rows),
        time,
        _extra(reading_flops(cells)),
        _extra(judging_flops(cells)),
        tuple(costs.reasons),
        costs.known,
    )


def _extra(work: tuple[float, Sequence[str]]) -> ExtraWork:
    operations, unknown = work
    return ExtraWork(operations / RATE, tuple(unknown))


def _by_place(
    all_groups: Sequence[Sequence[Cell]],
) -> dict[tuple[str, str, str], list[Sequence[Cell]]]:
    """The groups of each model, task and set of layers."""
    places: dict[tuple[str, str, str], list[Sequence[Cell]]] = {}
    for group in all_groups:
        steered = group[-1]
        place = (steered.model.name, tasks_named(group), steered.layer or "-")
        places.setdefault(place, []).append(group)
    return places


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

        A model or task that is missing is not looked for again: that may take seconds. Groups that
        feed their model the same tokens are counted once.
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
        cost = known_cost(group)
        self.known += cost is not None
        return cost


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
